"""What must agree about secrets."""

from pathlib import Path
from typing import Any

import pytest

from gateway.core.keyring import Key
from gateway.core.secrets import Secret
from tests.settings.asking import (
    LIVE_KEY,
    PEPPER,
    SEALING_KEY,
    WEBHOOK_SECRET,
    full,
    mistakes,
    only,
    settings,
)

HTTPS = {"public_url": "https://pay.example.com"}


def test_a_live_key_in_mode_test_and_a_test_key_in_mode_live_are_mistakes(tmp_path: Path) -> None:
    for key in (LIVE_KEY, LIVE_KEY.replace("sk", "rk")):
        found = only(mistakes(tmp_path, full(stripe={"secret_key": key}, **HTTPS)))
        assert (found.path, found.words) == ("stripe.secret_key", "this is a live key, but mode is test")
    found = only(mistakes(tmp_path, full(mode="live", **HTTPS)))
    assert (found.path, found.words) == ("stripe.secret_key", "this is a test key, but mode is live")
    settings(tmp_path, full(mode="live", stripe={"secret_key": LIVE_KEY}, **HTTPS))


@pytest.mark.parametrize("public_url", ["http://127.0.0.1:8402", "http://pay.example.com", None])
def test_a_live_key_needs_https(public_url: str | None, tmp_path: Path) -> None:
    values = full(mode="live", stripe={"secret_key": LIVE_KEY}, public_url=public_url)
    found = only(mistakes(tmp_path, values))
    assert found.path == "public_url"
    assert "https://" in found.words


@pytest.mark.parametrize(
    ("secrets", "path", "other"),
    [
        ({"peppers": [SEALING_KEY]}, "secrets.peppers[0]", "secrets.sealing_keys"),
        ({"operator_token": PEPPER}, "secrets.operator_token", "secrets.peppers"),
        ({"operator_token": SEALING_KEY}, "secrets.operator_token", "secrets.sealing_keys"),
        ({"sealing_keys": [WEBHOOK_SECRET + "0123456789"]}, "secrets.sealing_keys[0]", "stripe.webhook_secrets"),
    ],
)
def test_equal_secrets_for_two_purposes_are_a_mistake(
    secrets: dict[str, Any], path: str, other: str, tmp_path: Path
) -> None:
    values = full(secrets=secrets, stripe={"webhook_secrets": [WEBHOOK_SECRET + "0123456789"]})
    found = only(mistakes(tmp_path, values))
    assert found.path == path
    assert found.words == f"equal secrets for two purposes: this is the same as {other}; make one for each"


def test_a_secret_listed_twice_is_a_mistake(tmp_path: Path) -> None:
    found = only(mistakes(tmp_path, full(secrets={"peppers": [PEPPER, PEPPER]})))
    assert found.path == "secrets.peppers[1]"
    assert "each in the list must be another" in found.words


def test_stripe_without_webhook_secrets_is_a_mistake(tmp_path: Path) -> None:
    found = only(mistakes(tmp_path, full(stripe={"webhook_secrets": None})))
    assert found.path == "stripe.webhook_secrets"


def test_a_secret_of_ours_must_be_long(tmp_path: Path) -> None:
    found = only(mistakes(tmp_path, full(secrets={"peppers": ["short-pepper"]})))
    assert found.words == "a secret needs 32 characters or more, this has 12"


def test_of_two_keys_of_one_id_the_older_would_be_lost(tmp_path: Path) -> None:
    by_id: dict[str, str] = {}
    number = 0
    while (id := Key(Secret(text := f"9yq2Zt0vR5mLw3Xk9BnPc6Df1Gh{number:08}")).id) not in by_id:
        by_id[id] = text
        number += 1
    pair = [text, by_id[id]]
    found = only(mistakes(tmp_path, full(secrets={"sealing_keys": pair})))
    assert (found.path, "the same id as secrets.sealing_keys[0]" in found.words) == ("secrets.sealing_keys[1]", True)
    settings(tmp_path, full(secrets={"peppers": pair}))
