"""Tokens of outside providers, without anybody: which key may judge which token, and what is no token."""

import base64
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core import jwts
from gateway.core.jwts import ALGORITHMS, BadKeySet, Issuer, KeySet, NotAccepted
from tests.providers import Provider, ec_key, ed_key, public_jwk, rsa_key, segment

NOW = 1_800_000_000.0
ISSUER = Issuer("clerk", "https://clerk.example", frozenset(("RS256",)), audiences=frozenset(("us",)))


def keys(*found: dict[str, Any]) -> KeySet:
    return KeySet.parse(json.dumps({"keys": list(found)}).encode())


def read(algorithm: str = "RS256", **more: Any) -> jwts.Unverified:
    who = Provider(url="https://clerk.example", algorithm=algorithm, **more)
    return jwts.read(who.token())


@pytest.mark.parametrize(
    ("algorithm", "key"),
    [("RS256", rsa_key(1)), ("RS512", rsa_key(1)), ("PS256", rsa_key(1)), ("ES256", ec_key()), ("EdDSA", ed_key())],
)
def test_each_algorithm_is_judged_by_its_own_kind_of_key(algorithm: str, key: Any) -> None:
    token = read(algorithm, keys={"k": key})
    issuer = Issuer("x", "https://clerk.example", frozenset(ALGORITHMS))
    known = keys(public_jwk(rsa_key(2), "k2"), public_jwk(key, "k"))
    found = known.find("k", algorithm)
    assert found is not None
    jwts.check_signature(token, issuer, found)
    others = [other for other in ALGORITHMS if known.find("k", other) is not None]
    assert all(other[:2] in (algorithm[:2], "RS", "PS") for other in others)
    for other in others:
        if other != algorithm:
            wrong = known.find("k", other)
            assert wrong is not None
            with pytest.raises(NotAccepted, match="algorithm"):
                jwts.check_signature(token, issuer, wrong)


def test_a_key_that_says_what_it_is_for_is_for_nothing_else() -> None:
    known = keys(
        public_jwk(rsa_key(1), "k", alg="RS256"), public_jwk(rsa_key(1), "enc", use="enc"),
        public_jwk(rsa_key(1), "ops", key_ops=["encrypt"]),
        {"kty": "oct", "kid": "oct", "k": "c2VjcmV0", "alg": "HS256"},
    )  # fmt: skip
    assert known.find("k", "RS256") is not None
    assert known.find("k", "PS256") is None
    assert [known.find(kid, "RS256") for kid in ("enc", "ops", "oct", "K", "")] == [None] * 5
    assert known.find("oct", "HS256") is None


def test_a_token_without_a_kid_is_judged_by_the_only_key_that_it_can_be_and_by_no_choice() -> None:
    assert keys(public_jwk(rsa_key(1), "a"), public_jwk(ec_key(), "b")).find(None, "RS256") is not None
    assert keys(public_jwk(rsa_key(1), "a"), public_jwk(rsa_key(2), "b")).find(None, "RS256") is None


def test_weak_and_giant_keys_are_none() -> None:
    good = public_jwk(rsa_key(1), "k")
    assert keys(good).find("k", "RS256") is not None
    for changed in (
        {"n": good["n"][:171]},
        {"n": good["n"] * 50},
        {"e": good["n"]},
        {"n": "%%%"},
        {"n": 7},
        {"e": None},
    ):
        assert keys({**good, **changed}).find("k", "RS256") is None, changed
    assert keys({**public_jwk(ec_key(), "k"), "x": "AAAA"}).find("k", "ES256") is None, "it is not on its curve"


@pytest.mark.parametrize(
    "content", [b"", b"[]", b"{}", b'{"keys": {}}', b'{"keys": []}', b'{"keys": [1]}', b"[" * 60_000, b"\xff"]
)
def test_what_is_no_set_of_keys(content: bytes) -> None:
    with pytest.raises(BadKeySet):
        KeySet.parse(content)


def test_no_more_keys_are_kept_than_a_provider_can_need() -> None:
    many = [public_jwk(rsa_key(1), f"k{number}") for number in range(jwts.KEYS_MAX + 1)]
    assert keys(*many).find(f"k{jwts.KEYS_MAX - 1}", "RS256") is not None
    assert keys(*many).find(f"k{jwts.KEYS_MAX}", "RS256") is None


def person(**claims: Any) -> jwts.Person:
    said = {"iss": ISSUER.url, "sub": "ann", "aud": "us", "exp": NOW + 60, **claims}
    kept = {name: value for name, value in said.items() if value is not None}
    return jwts.person(jwts.Unverified("RS256", None, "", b"", b"", kept), ISSUER, now=NOW)


def test_each_moment_has_its_edge_and_the_leeway_moves_it() -> None:
    assert person().until == NOW + 70
    for good in ({"exp": NOW - 9.9}, {"nbf": NOW + 10}, {"iat": NOW + 10}, {"aud": ["x", "us"]}):
        assert person(**good).subject == "ann"
    wrong: list[dict[str, Any]] = [
        {"exp": NOW - 10}, {"nbf": NOW + 10.1}, {"iat": NOW + 10.1}, {"exp": True}, {"exp": None}, {"exp": "1"},
        {"exp": 10**400}, {"iat": -(10**400)}, {"exp": float("inf")}, {"nbf": 2**53},
        {"exp": float("nan")}, {"nbf": []}, {"aud": None}, {"aud": ["x"]}, {"aud": {"us": 1}}, {"aud": "us "},
        {"iss": None}, {"iss": [ISSUER.url]}, {"sub": 7}, {"sub": "x" * 256}, {"sub": "a\nb"}, {"sub": "\x00"},
    ]  # fmt: skip
    for bad in wrong:
        with pytest.raises(NotAccepted):
            person(**bad)


def test_two_issuers_never_have_one_person() -> None:
    one, other = jwts.Person("a", "ann", 0, {}), jwts.Person("b", "ann", 0, {})
    assert one.identity != other.identity
    assert "\0" in one.identity, "no token is such a text"


@given(st.text(max_size=60) | st.from_regex(r"[A-Za-z0-9_-]{1,20}\.[A-Za-z0-9_-]{1,20}\.[A-Za-z0-9_-]{0,20}"))
def test_whatever_is_sent_is_read_or_not_accepted(text: str) -> None:
    for token in (text, f"{segment({'alg': text, 'kid': text})}.{segment({'iss': text})}.{text}"):
        try:
            found = jwts.read(token)
        except NotAccepted:
            continue
        assert token.encode().startswith(found.signed)


def test_deep_nesting_and_too_much_are_no_token() -> None:
    deep = "[" * 5000
    nested = base64.urlsafe_b64encode(deep.encode()).decode().rstrip("=")
    long = Provider(url=ISSUER.url).token(much="x" * jwts.TOKEN_CHARACTERS_MAX)
    for token in (f"{nested}.{nested}.x", "a." * 3000, long):
        with pytest.raises(NotAccepted):
            jwts.read(token)
