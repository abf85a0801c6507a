"""The search of the suite's logs finds what it is there to find."""

import json
from pathlib import Path

import pytest

from gateway.core.secrets import Secret
from tests import leaks

CLEAN = '{"event": "request", "request_id": "req_01a3185c50000000000000000007", "path": "/x", "token": "tok_1"}\n'
PLANTED = {
    "a token": "fb_test_1a2b" + "x" * 40,
    "a key of Stripe's": "sk_test_51Nq8JkLmPz",
    "a webhook secret": "whsec_9fK2mQ7x",
    "a signed token": "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.abc",
    "a credential": "Authorization: Bearer abcdefghijk",
    "a private key": "-----BEGIN PRIVATE KEY-----",
    "an address": "someone@shop.example",
    "a card": "4242 4242 4242 4242",
    "a secret of the settings": "pepper-pepper-pepper",
}


def planted(folder: Path, text: str) -> list[str]:
    log = folder / "a.log"
    log.write_text(CLEAN + json.dumps({"event": "x", "said": text}) + "\n")
    leaks.note(log, {"peppers": (Secret("pepper-pepper-pepper"),)})
    return leaks.search(folder)


def test_a_log_without_secrets_is_clean(tmp_path: Path) -> None:
    assert planted(tmp_path, "nothing") == []


@pytest.mark.parametrize("kind", PLANTED)
def test_what_is_planted_is_found(tmp_path: Path, kind: str) -> None:
    [found] = planted(tmp_path, PLANTED[kind])
    assert f": {kind}: " in found


def test_every_shape_is_planted() -> None:
    assert set(PLANTED) == {*leaks.SHAPES, "a secret of the settings"}


def test_what_was_put_aside_is_searched_too(tmp_path: Path) -> None:
    planted(tmp_path, PLANTED["a token"])
    (tmp_path / "a.log").rename(tmp_path / "a.log.20270101T000000Z")
    assert len(leaks.search(tmp_path)) == 1


def test_the_secrets_of_settings_are_found_wherever_they_are() -> None:
    value = {"a": [Secret("one"), (Secret("two\nthree"),)], "b": frozenset((Secret("four"),)), "c": 5}
    assert sorted(leaks.secrets_in(value)) == ["four", "one", "three", "two"]


def test_a_log_is_searched_many_lines_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leaks, "_AT_ONCE_BYTES", 64)
    lines = [f'{{"event": "request", "number": {number}}}' for number in range(40)]
    lines[31] += " whsec_0123456789"
    (tmp_path / "x.log").write_text("\n".join(lines) + "\n")
    [found] = leaks.search(tmp_path)
    assert found.endswith(f"a webhook secret: {lines[31]}")
