"""What leaves with our signature ends, is for somebody, and says who made it."""

from typing import Any

import pytest

from gateway.core.jwt_keys import LIFE_DAYS
from gateway.core.jwts import NotAccepted
from gateway.flows.sign import Sign
from tests.core.test_jwt_keys import ring
from tests.fakes import FakeClock

OURS = "https://shop.example"


def made() -> tuple[Sign, FakeClock, int]:
    clock = FakeClock()
    return Sign(ring(1), issuer=OURS, clock=clock), clock, clock.ms // 1000


def test_a_token_says_who_made_it_and_when_and_comes_back_as_it_went() -> None:
    sign, _, now = made()
    claims = {"sub": "cus_1", "aud": "web", "exp": now + 60}
    assert sign.verify(sign.sign(claims), audience="web") == {**claims, "iss": OURS, "iat": now}


def test_a_token_is_good_until_its_end_and_not_at_it() -> None:
    sign, clock, now = made()
    token = sign.sign({"exp": now + 60})
    clock.pass_seconds(59.999)
    sign.verify(token)
    clock.pass_seconds(0.001)
    with pytest.raises(NotAccepted, match="expired"):
        sign.verify(token)
    assert sign.verify(token, even_ended=True)["exp"] == now + 60


def test_what_does_not_end_in_time_is_not_signed() -> None:
    sign, _, now = made()
    last = now + LIFE_DAYS * 86_400
    sign.sign({"exp": last})
    for ends in (None, last + 1, now, now - 1, float(now + 60), True, str(now + 60)):
        with pytest.raises(ValueError, match="a token ends"):
            sign.sign({} if ends is None else {"exp": ends})


@pytest.mark.parametrize(
    ("claims", "asked", "why"),
    [
        ({"aud": "web"}, {"audience": "app"}, "aud"),
        ({}, {"audience": "app"}, "aud"),
        ({"aud": ["a", "b"]}, {"audience": "c"}, "aud"),
        ({"iss": "https://licences.example"}, {}, "iss"),
        ({}, {"issuer": "https://licences.example"}, "iss"),
        ({"nbf": 1_800_000_001}, {}, "nbf"),
        ({}, {"kind": "licence+jwt"}, "header"),
    ],
)
def test_a_token_for_another_purpose_is_refused(claims: dict[str, Any], asked: dict[str, Any], why: str) -> None:
    sign, _, now = made()
    with pytest.raises(NotAccepted, match=why):
        sign.verify(sign.sign({"exp": now + 60, **claims}), **asked)


def test_a_token_may_have_several_audiences_and_another_issuer() -> None:
    sign, _, now = made()
    token = sign.sign({"exp": now + 60, "aud": ["a", "b"], "iss": "licences"}, kind="licence+jwt")
    assert sign.verify(token, kind="licence+jwt", audience="b", issuer="licences")["aud"] == ["a", "b"]
