"""Keys: what is wrong with one is said at the start by the setting's name, and none is ever shown."""

import re
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import pytest
from pydantic import BaseModel

from gateway.core.secrets import Secret
from gateway.settings import SettingsInvalid, from_mapping
from gateway.settings.plain import plain, secrets_in
from gateway.settings.shapes import GatewayShape
from tests.settings.asking import LIVE_KEY, OPERATOR_TOKEN, PEPPER, SEALING_KEY, full, mistakes, only, settings

ROOT = Path(__file__).parents[2]
AUDITOR = "Lr6Yw2Kc9Vb4Nx8Zm1Qs5Td7Fg3Hj0Pu"
GOOD = {"sealing_keys": [SEALING_KEY], "peppers": [PEPPER], "operator_token": OPERATOR_TOKEN, "auditor_token": AUDITOR}
HTTPS = {"public_url": "https://pay.example.com", "trusted_proxies": ["127.0.0.1/32"]}
WEAK = ("", "short", "a" * 40, "changeme-changeme-changeme-changeme", "your-secret-here-your-secret-here")


def refused(tmp_path: Path, **changes: Any) -> str:
    with pytest.raises(SettingsInvalid) as invalid:
        from_mapping(full(**changes), base=tmp_path, make_secrets=True)
    return str(invalid.value)


@pytest.mark.parametrize("weak", WEAK)
@pytest.mark.parametrize("name", sorted(GOOD))
def test_start_refuses_a_weak_key_with_its_settings_name(name: str, weak: str, tmp_path: Path) -> None:
    value = [weak] if name.endswith("s") else weak
    words = refused(tmp_path, secrets={**GOOD, name: value})
    assert f"secrets.{name}" in words
    assert not weak or weak not in words, "and does not show it"


def test_start_refuses_keys_of_the_other_mode_and_missing_ones(tmp_path: Path) -> None:
    assert "stripe.secret_key" in refused(tmp_path, stripe={"secret_key": LIVE_KEY})
    live = {"mode": "live", **HTTPS}
    assert "stripe.secret_key" in refused(tmp_path, **live)
    assert "stripe.webhook_secrets" in refused(tmp_path, stripe={"webhook_secrets": []})


def test_every_setting_that_is_secret_is_typed_so_that_it_never_prints(tmp_path: Path) -> None:
    found = settings(tmp_path, full(secrets=GOOD))
    secrets = dict(secrets_in(found))
    assert {"secrets.operator_token", "secrets.sealing_keys[0]", "stripe.secret_key"} <= secrets.keys()
    for shown in (repr(found), str(found), f"{found}", str(plain(found))):
        for path, secret in secrets.items():
            assert secret.reveal() not in shown, path


def shapes_in(shape: type[BaseModel], found: set[type[BaseModel]]) -> set[type[BaseModel]]:
    """A shape and all that are in it."""
    if shape not in found:
        found.add(shape)
        for field in shape.model_fields.values():
            for below in types_in(field.annotation):
                if isinstance(below, type) and issubclass(below, BaseModel):
                    shapes_in(below, found)
    return found


def types_in(annotation: object) -> Iterator[object]:
    yield annotation
    for below in get_args(annotation):
        yield from types_in(below)


def test_no_setting_that_is_called_a_secret_is_a_plain_text() -> None:
    """Of every shape: whoever adds a password as a text fails here."""
    called = re.compile(r"(?:^|_)(?:secrets?|password|peppers|sealing_keys|secret_key|(?:operator|auditor)_token)$")
    walked, seen = shapes_in(GatewayShape, set()), 0
    assert len(walked) > 20
    for shape in walked:
        for name, field in shape.model_fields.items():
            held = list(types_in(field.annotation))
            if called.search(name) and not any(isinstance(one, type) and issubclass(one, BaseModel) for one in held):
                assert Secret in held, f"{shape.__name__}.{name} is not typed as a secret"
                seen += 1
    assert seen >= 8


def test_files_of_keys_and_money_are_their_owners_alone(tmp_path: Path) -> None:
    made = from_mapping(full(secrets=None), base=tmp_path, make_secrets=True)
    assert stat.S_IMODE(made.secrets_path.stat().st_mode) == 0o700
    files = list(made.secrets_path.iterdir())
    assert {file.name for file in files} == {"sealing_key", "pepper", "jwt.pem", "operator_token"}
    assert {stat.S_IMODE(file.stat().st_mode) for file in files} == {0o600}
    (made.secrets_path / "pepper").chmod(0o640)
    assert "chmod 600" in refused(tmp_path, secrets=None)


def tracked() -> Iterator[tuple[str, str]]:
    names = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for name in names.splitlines():
        path = ROOT / name
        if path.is_file() and not name.startswith("tests/") and path.stat().st_size < 2_000_000:
            yield name, path.read_text(errors="replace")


def test_no_key_is_in_the_repository() -> None:
    shapes = re.compile(
        r"\b(?:sk|rk)_live_[A-Za-z0-9]{16,}|\bwhsec_[A-Za-z0-9]{24,}"
        r"|-----BEGIN (?:RSA |EC )?PRIVATE KEY-----\n[A-Za-z0-9]"
    )
    found = [(name, text[at.start() : at.start() + 12]) for name, text in tracked() for at in shapes.finditer(text)]
    assert not found
    assert shapes.search(f"sk_live_{'a' * 20}"), "or this test could not fail"


def test_environments_do_not_share_keys(tmp_path: Path) -> None:
    """One key for two purposes is refused, and so is a live key where nothing is encrypted."""
    assert "equal secrets" in refused(tmp_path, secrets={**GOOD, "auditor_token": OPERATOR_TOKEN})
    live = full(mode="live", stripe={"secret_key": LIVE_KEY}, public_url="http://pay.example.com")
    with pytest.raises(SettingsInvalid, match="https://"):
        from_mapping(live, base=tmp_path, make_secrets=True)


def test_a_secret_cannot_be_printed_or_pickled() -> None:
    secret = Secret("the very secret")
    assert "very" not in f"{secret} {secret!r} {secret:>40} %s" % secret
    with pytest.raises(TypeError):
        secret.__reduce__()


@pytest.mark.parametrize(
    ("key", "variable", "where"),
    [
        ("secrest", None, "secrest"),
        (None, "GATEWAY_STRIPE__SECRET_KYE", "environment: GATEWAY_STRIPE__SECRET_KYE"),
        (None, "GATEWAY_STRIPE__SECRET_KYE_FILE", "environment: GATEWAY_STRIPE__SECRET_KYE_FILE"),
    ],
)
def test_what_is_no_setting_is_refused_by_its_name_wherever_it_stands(
    tmp_path: Path, key: str | None, variable: str | None, where: str
) -> None:
    content = full() if key is None else {**full(), key: "sk_test_0123456789abcdef"}
    environ = {} if variable is None else {variable: "sk_test_0123456789abcdef"}
    found = only(mistakes(tmp_path, content, environ))
    assert where in str(found)
    assert "0123456789abcdef" not in str(found), "what stands there may be a secret"
