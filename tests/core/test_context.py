"""What an upstream is told of a request."""

import jwt
import pytest

from gateway.core import context
from gateway.core.callers import ANONYMOUS, Caller
from gateway.core.ids import RequestId
from gateway.core.money import Money
from gateway.core.pricing import Price
from gateway.core.routes import Route, Server, Upstream
from gateway.core.secrets import Secret
from gateway.core.traces import trace

KEY = "0c9d8e7f6a5b4c3d2e1f0a9b8c7d6e5f"
ID = RequestId(1_767_225_600_999, 7)
KNOWN = Caller(account="acct_1")


def route(key: str | None = KEY) -> Route:
    upstream = Upstream("api", (Server("http", "api.example", 80),))
    return Route("all", "/", upstream, Price(Money.zero("usd")), context_key=Secret(key) if key else None)


def said(caller: Caller, *, issuer: str = "") -> dict[str, object]:
    token = context.signed(Secret(KEY), ID, caller.account, route(), issuer=issuer)
    claims: dict[str, object] = jwt.decode(
        token, KEY, algorithms=["HS256"], audience="api", options={"verify_exp": False, "verify_iat": False}
    )
    return claims


_, _, TRACE = trace(ID, None, "make")


def names(caller: Caller, *, key: str | None = None, traced: bool = False) -> list[str]:
    field = "" if traced else TRACE
    return [name for name, _ in context.fields(ID, caller, route(key), issuer="", traceparent=field)]


def test_only_what_is_known_is_told() -> None:
    assert names(ANONYMOUS) == ["Gateway-Request-Id", "traceparent"]
    assert names(KNOWN) == ["Gateway-Request-Id", "Gateway-Account", "traceparent"]
    assert names(KNOWN, traced=True) == ["Gateway-Request-Id", "Gateway-Account"]
    assert names(KNOWN, key=KEY, traced=True) == ["Gateway-Request-Id", "Gateway-Account", "Gateway-Context"]


def test_a_token_that_nobody_paid_for_opens_no_account() -> None:
    stranger = Caller(account="acct_1", fresh=Secret("x"))
    assert names(stranger) == ["Gateway-Request-Id", "traceparent"]
    [token] = [
        value
        for name, value in context.fields(ID, stranger, route(), issuer="", traceparent="")
        if name == "Gateway-Context"
    ]
    assert jwt.decode(token, options={"verify_signature": False})["sub"] == ""


def test_the_context_says_whose_request_it_is_for_a_minute() -> None:
    assert said(KNOWN, issuer="https://api.example") == {
        "iss": "https://api.example", "sub": "acct_1", "aud": "api", "route": "all", "request": str(ID),
        "iat": 1_767_225_600, "exp": 1_767_225_660,
    }  # fmt: skip
    assert said(ANONYMOUS) | {"iat": 0, "exp": 0} == {
        "iss": "farebox", "sub": "", "aud": "api", "route": "all", "request": str(ID), "iat": 0, "exp": 0,
    }  # fmt: skip


def test_another_key_does_not_verify_it() -> None:
    token = context.signed(Secret(KEY), ID, "acct_1", route(), issuer="")
    with pytest.raises(jwt.InvalidSignatureError):
        jwt.decode(token, KEY[::-1], algorithms=["HS256"], audience="api")


def test_a_made_traceparent_names_the_request() -> None:
    [(_, id), (_, sent)] = context.fields(ID, ANONYMOUS, route(None), issuer="", traceparent=TRACE)
    version, trace_id, parent, flags = sent.split("-")
    assert (version, flags, len(trace_id), len(parent)) == ("00", "00", 32, 16)
    assert trace_id == id[4:16] + "0000" + id[16:]
    assert parent == id[16:]
