"""No event holds a secret, whatever it is called and wherever it stands; and what is no secret stays readable."""

from typing import Any

import pytest

from gateway.core.ids import RequestId
from gateway.core.keyring import Keyring
from gateway.core.redaction import REDACTED, clean, path_of, redacted
from gateway.core.secrets import Secret
from gateway.core.tokens import TokenMint

TOKEN = TokenMint(Keyring([Secret("k" * 32)]), "test").mint(now_ms=1, random=b"x" * 12).reveal()
JWT = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJhY2N0XzEifQ.c2lnbmF0dXJl"
SECRETS = {
    TOKEN: "[token]",
    f"fbr_{'aB3-_x' * 7}": "[token]",
    f"fbc_{'aB3-_x' * 7}": "[token]",
    f"fbs_{'aB3-_x' * 7}": "[token]",
    f"inv_{'0a1b2c' * 6}": "[token]",
    "pi_3Nabc9DEF_secret_XyZ123abc": "[client secret]",
    "sk_test_51Nq8JkLmPzRtVwXyAbCdEf": "[stripe key]",
    "rk_live_51Nq8JkLmPzRtVwXyAbCdEf": "[stripe key]",
    "whsec_9fK2mQ7xTzB4nH8vLc3YpR6s": "[webhook secret]",
    JWT: "[jwt]",
    "someone.else+tag@mail.shop.example": "[e-mail]",
    "4242 4242 4242 4242": "[card number]",
    "4000-0027-6000-3184": "[card number]",
    "378282246310005": "[card number]",
    "-----BEGIN RSA PRIVATE KEY-----\nMIIE\nAAAA\n-----END RSA PRIVATE KEY-----": "[private key]",
}


@pytest.mark.parametrize("secret", SECRETS)
@pytest.mark.parametrize("frame", ["{}", "it was {}, they said", "('{}',)", '{{"x": "{}"}}', "a={};b"])
def test_what_has_the_shape_of_a_secret_is_taken_out(secret: str, frame: str) -> None:
    assert redacted(frame.format(secret)) == frame.format(SECRETS[secret])


@pytest.mark.parametrize(
    ("target", "path"),
    [
        ("/a/b?token=x", "/a/b"), ("http://user:pass@a.example/x?y", "/x"), ("http://u@a.example", "/"), ("*", "*"),
        (f"/x/{TOKEN}/y", "/x/[token]/y"), (f"/{JWT}", "/[jwt]"), ("/of/a.b@c.example/1", "/of/[e-mail]/1"),
        ("/of/a.b%40c.example/1", "/of/[e-mail]/1"), ("/pay/4242424242424242", "/pay/[card number]"),
        (f"/i/inv_{'0a1b2c' * 6}", "/i/[token]"),
        ("/k/sk_live_51Nq8JkLmPzR", "/k/[stripe key]"), ("/w/whsec_9fK2mQ7xTzB4", "/w/[webhook secret]"),
        ("/2027-01-15/req_01a3185c50000000000000000007", "/2027-01-15/req_01a3185c50000000000000000007"),
        ("//x/../y", "//x/../y"), ("", ""), ("-", "-"), ("a.example:443", "a.example:443"),
    ],
)  # fmt: skip
def test_of_a_target_only_the_path_is_logged_and_no_secret_in_it(target: str, path: str) -> None:
    assert path_of(target) == path


def test_credentials_are_taken_out_where_they_stand() -> None:
    assert redacted("Authorization: Bearer abc.def-123") == "Authorization: Bearer [credential]"
    assert redacted("basic dXNlcjpwYXNz x") == "basic [credential] x"
    assert redacted("postgresql://user:pa:ss@db/x and redis://:secret@cache:1") == (
        "postgresql://[password]@db/x and redis://[password]@cache:1"
    )


@pytest.mark.parametrize(
    "text",
    [
        str(RequestId(1_767_225_600_000, 7)), "acct_018bcfe568000102030405060708090a", "tok_01234567890123456789",
        "evt_1Nq8JkLmPz", "4242 4242 4242 4243", "1767225600000", "2027-01-15T08:00:00.042Z", "http://127.0.0.1:8402/x",
        "it is sk_ but no key", "a bearer of news", "x@y", "0.002 usd", "127.0.0.1:9001", "file.py:12 main",
        "0af7651916cd43dd8448eb211c80319c", "",
    ],
)  # fmt: skip
def test_what_is_none_stays_as_it_is(text: str) -> None:
    assert redacted(text) == text


@pytest.mark.parametrize(
    "name",
    ["authorization", "Cookie", "set-cookie", "password", "api_key", "secret", "webhook_secrets", "operator_token",
     "stripe.secret_key", "email", "e-mail", "card", "body", "peer_pepper", "signature"],
)  # fmt: skip
def test_what_is_called_a_secret_is_one(name: str) -> None:
    assert clean({name: "harmless", "deep": {name: ["x"]}}) == {name: REDACTED, "deep": {name: REDACTED}}


@pytest.mark.parametrize("name", ["keys", "tokens", "token_count", "email_sent", "cardinality", "route", "request_id"])
def test_what_only_sounds_like_one_is_not(name: str) -> None:
    assert clean({name: "harmless"}) == {name: "harmless"}


@pytest.mark.parametrize(
    "piece", ["x", "1", "@", "a@", "%40", "eyJ.", "://", ":", "fb_test_", "sk_", "-----BEGIN ", " "]
)
def test_a_long_text_takes_no_longer_than_its_length(piece: str) -> None:
    """What is not linear does not come back from half a million characters."""
    assert len(redacted(piece * (500_000 // len(piece)))) > 0


def test_numbers_and_answers_give_nothing_away() -> None:
    fields: dict[str, Any] = {"token": 3, "password": None, "card": True, "cost": 0.5}
    assert clean(fields) == fields


def test_every_depth_is_looked_at() -> None:
    deep: Any = TOKEN
    for _ in range(12):
        deep = [deep, {"x": deep}, (deep,), Exception(deep)]
        text = str(clean({"deep": deep}))
        assert TOKEN not in text
        if len(text) > 100_000:
            break
    assert clean({"x": {TOKEN: 1}}) == {"x": {"[token]": 1}}
    assert clean({"x": Secret("shown?")}) == {"x": "Secret(…)"}
