"""What a route does to a request and its answer, and what an upstream is told: the same in both forms."""

import asyncio
import base64
import re
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import jwt
import pytest

from gateway.cli.stage import Stage
from tests import leaks
from tests.callers import Funded, funded
from tests.conftest import StageMaker
from tests.forms import FORMS
from tests.gateway_process import patiently
from tests.raw import RawUpstream, answering, split
from tests.raw import ask as ask_raw
from tests.relay.wire import Wire, ask, request

CONTEXT_KEY = "0c9d8e7f6a5b4c3d2e1f0a9b8c7d6e5f-context"
TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
RouteMaker = Callable[..., Awaitable[Stage]]


@pytest.fixture(params=FORMS)
async def with_route(
    request: pytest.FixtureRequest, tmp_path: Path, upstream: RawUpstream
) -> AsyncIterator[RouteMaker]:
    """Makes a stage with one route more, which takes everything that a priced one does not."""
    stages: list[Stage] = []

    async def make(*, trusted: list[str] | None = None, credential: Any = None, **route: Any) -> Stage:
        named = {"name": "made", "match": "/", "upstream": "raw", "price": "free", **route}
        priced = {"name": "paid", "match": "/paid/", "upstream": "raw", "price": "0.002 usd"}
        overrides: dict[str, Any] = {
            "stripe": None,
            "upstreams": {"raw": {"url": upstream.url, **({"credential": credential} if credential else {})}},
            "routes": [named, priced | {key: route[key] for key in ("context_key",) if key in route}],
        }
        if trusted:
            overrides["trusted_proxies"] = trusted
        stage = await leaks.started(FORMS[request.param], tmp_path / f"s{len(stages)}", patiently(overrides))
        stages.append(stage)
        return stage

    yield make
    for stage in stages:
        await stage.stop()


def bearer(caller: Funded) -> str:
    return f"Authorization: Bearer {caller.token}"


# --- paths ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("route", "sent", "arrives"),
    [
        ({"match": "/v1/", "strip_prefix": True}, "/v1/", "/"),
        ({"match": "/v1/", "strip_prefix": True}, "/v1/a/b%2Fc/?d=/v1/&e=%20", "/a/b%2Fc/?d=/v1/&e=%20"),
        ({"match": "/v1/", "strip_prefix": True}, "/v1/v1/x", "/v1/x"),
        ({"match": "/v1/"}, "/v1/x?", "/v1/x?"),
        ({"match": "/v1/", "rewrite": "/api/v2/"}, "/v1/x?q", "/api/v2/x?q"),
        ({"match": "/v1/", "rewrite": "/"}, "/v1/x", "/x"),
        ({"match": "/", "rewrite": "/base/"}, "/x/", "/base/x/"),
        ({"match": "/one", "rewrite": "/another"}, "/one?a=/one", "/another?a=/one"),
    ],
)
async def test_a_route_replaces_the_beginning_of_a_path_and_no_other_byte(
    with_route: RouteMaker, upstream: RawUpstream, route: dict[str, Any], sent: str, arrives: str
) -> None:
    stage = await with_route(**route)
    assert (await ask(stage.url, request(sent))).status == 200
    assert upstream.visits[0].request_line == f"GET {arrives} HTTP/1.1".encode()


@pytest.mark.parametrize("host", ["upstream", "caller", "named.example:8080"])
async def test_host_is_what_the_route_says(with_route: RouteMaker, upstream: RawUpstream, host: str) -> None:
    stage = await with_route(host=host)
    await ask(stage.url, request("/x").replace(b"api.example", b"Api.Example:81"))
    told = {"upstream": upstream.url.removeprefix("http://"), "caller": "Api.Example:81"}.get(host, host)
    [visit] = upstream.visits
    assert visit.values(b"Host") == [told.encode()]
    assert visit.values(b"X-Forwarded-Host") == [b"Api.Example:81"]


# --- fields -----------------------------------------------------------------------------------------------------------


async def test_rules_for_fields_take_out_then_set_then_add(with_route: RouteMaker, upstream: RawUpstream) -> None:
    upstream.script = answering(
        b"HTTP/1.1 200 OK\r\nX-A: 1\r\nServer: it\r\nX-B: 1\r\nx-a: 2\r\nx-c: 1\r\nContent-Length: 2\r\n\r\nok"
    )
    rules = {"remove": ["X-b", "Server"], "set": {"X-A": "set é"}, "add": {"X-C": ["2", "3"], "X-New": "4"}}
    stage = await with_route(request_headers=rules, answer_headers=rules)
    seen = await ask(stage.url, request("/x", "X-A: 1", "x-a: 2", "X-B: 1", "x-c: 1", "X-Other: 1"))
    [visit] = upstream.visits
    for found in (visit, seen):
        assert found.values(b"X-B") == []
        assert found.values(b"X-A") in (["set é".encode("latin-1")], ["set é".encode()])
        assert found.values(b"X-C") == [b"1", b"2", b"3"]
        assert found.values(b"X-New") == [b"4"]
    assert seen.values(b"Server") == []
    assert visit.values(b"X-Other") == [b"1"]


@pytest.mark.parametrize(
    ("credential", "name", "value"),
    [
        ({"header": {"name": "X-Api-Key", "value": "ours"}}, b"X-Api-Key", b"ours"),
        ({"basic": {"user": "me", "password": "pä:ss"}}, b"Authorization", base64.b64encode("me:pä:ss".encode())),
    ],
    ids=["header", "basic"],
)
async def test_the_upstream_sees_our_credential_and_no_other_of_its_name(
    with_route: RouteMaker, upstream: RawUpstream, credential: dict[str, Any], name: bytes, value: bytes
) -> None:
    stage = await with_route(credential=credential)
    [caller] = await funded(stage, "1.00 usd")
    await ask(stage.url, request("/x", f"{name.decode()}: Theirs one", f"{name.decode().lower()}: theirs two"))
    await ask(stage.url, request("/paid/x", bearer(caller)))
    for visit in upstream.visits:
        assert visit.values(name) == [b"Basic " + value if name == b"Authorization" else value]
        assert caller.token.encode() not in visit.head


async def test_a_credential_in_the_query_replaces_every_spelling_of_its_name(
    with_route: RouteMaker, upstream: RawUpstream
) -> None:
    stage = await with_route(credential={"query": {"name": "api-key", "value": "a b&c=d/é"}})
    for query, told in (
        ("", "?api-key=a%20b%26c%3Dd%2F%C3%A9"),
        ("?", "?api-key=a%20b%26c%3Dd%2F%C3%A9"),
        ("?a=1&api-key=x&b=%20", "?a=1&b=%20&api-key=a%20b%26c%3Dd%2F%C3%A9"),
        ("?api%2Dkey=x&api-key", "?api-key=a%20b%26c%3Dd%2F%C3%A9"),
    ):
        await ask(stage.url, request("/x" + query))
        assert upstream.visits[-1].request_line == f"GET /x{told} HTTP/1.1".encode()


async def test_fields_of_one_name_all_arrive_however_it_is_spelled(
    with_route: RouteMaker, upstream: RawUpstream
) -> None:
    stage = await with_route()
    upstream.script = answering(b"HTTP/1.1 200 OK\r\nX-A: 1\r\nx-a: 2\r\nX-a: 3\r\nContent-Length: 2\r\n\r\nok")
    seen = await ask(stage.url, request("/x", "X-A: 1", "x-a: 2", "X-a: 3"))
    assert upstream.visits[0].values(b"X-A") == seen.values(b"X-A") == [b"1", b"2", b"3"]


async def test_http_1_0_sees_where_an_answer_of_unknown_length_ends(
    with_route: RouteMaker, upstream: RawUpstream
) -> None:
    """Also when it asked to keep the connection."""
    upstream.script = answering(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n")
    stage = await with_route()
    async with await Wire.to(stage.url) as wire:
        await wire.send(request("/x", "Connection: keep-alive", version="1.0"))
        assert (await wire.rest()).endswith(b"\r\n\r\nhello")


# --- who and what -----------------------------------------------------------------------------------------------------


async def test_an_upstream_is_told_which_request_and_whose(with_route: RouteMaker, upstream: RawUpstream) -> None:
    stage = await with_route()
    [caller] = await funded(stage, "1.00 usd")
    theirs = ("Gateway-Account: acct_other", "Gateway-Context: a.b.c", "Gateway-Request-Id: x", "GATEWAY-anything: x")
    answers = [await ask(stage.url, request(path, bearer(caller), *theirs)) for path in ("/paid/x", "/x")]
    paid, free = upstream.visits
    assert paid.values(b"Gateway-Account") == [caller.account.encode()]
    for visit, seen in zip(upstream.visits, answers, strict=True):
        [id] = visit.values(b"Gateway-Request-Id")
        assert seen.values(b"Gateway-Request-Id") == [id]
        assert re.fullmatch(rb"req_[0-9a-f]{28}", id)
        [trace] = visit.values(b"traceparent")
        assert re.fullmatch(rb"00-[0-9a-f]{32}-[0-9a-f]{16}-00", trace)
        assert id[16:] in trace
        assert visit.values(b"Gateway-Context") == visit.values(b"GATEWAY-anything") == []
    assert answers[0].values(b"Gateway-Cost") == [b"0.002 usd"]
    assert free.values(b"traceparent") != paid.values(b"traceparent")


async def test_a_callers_trace_goes_on(with_route: RouteMaker, upstream: RawUpstream) -> None:
    stage = await with_route()
    await ask(stage.url, request("/x", f"Traceparent: {TRACE}", "tracestate: a=1,b=2", "Via: 1.0 theirs"))
    [visit] = upstream.visits
    assert visit.values(b"traceparent") == [TRACE.encode()]
    assert visit.values(b"tracestate") == [b"a=1,b=2"]
    assert visit.values(b"Via") == [b"1.0 theirs", b"1.1 farebox"]


@pytest.mark.parametrize("lines", [("X-Forwarded-For: 6.6.6.6", "X-Forwarded-Proto: https", "Forwarded: for=6.6.6.6")])
async def test_nobody_is_trusted_who_was_not_named(
    with_route: RouteMaker, upstream: RawUpstream, lines: tuple[str, ...]
) -> None:
    for trusted in (None, ["10.0.0.0/8"]):
        stage = await with_route(trusted=trusted)
        await ask(stage.url, request("/x", *lines, "X-Real-IP: 6.6.6.6", "X-Forwarded-Host: evil.example"))
        visit = upstream.visits[-1]
        assert visit.values(b"X-Forwarded-For") == [b"127.0.0.1"]
        assert visit.values(b"X-Forwarded-Proto") == [b"http"]
        assert visit.values(b"X-Forwarded-Host") == [b"api.example"]
        assert visit.values(b"Forwarded") == [b'for=127.0.0.1;host="api.example";proto=http']
        assert visit.values(b"X-Real-IP") == []


async def test_a_trusted_front_is_believed_as_far_as_it_can_know(with_route: RouteMaker, upstream: RawUpstream) -> None:
    stage = await with_route(trusted=["127.0.0.1", "10.0.0.0/8"])
    chain = ("X-Forwarded-For: 6.6.6.6, 2001:db8::1", "X-Forwarded-For: 10.1.1.1", "X-Forwarded-Proto: https")
    await ask(stage.url, request("/x", *chain, "X-Forwarded-Host: told.example"))
    [visit] = upstream.visits
    assert visit.values(b"X-Forwarded-For") == [b"2001:db8::1, 10.1.1.1, 127.0.0.1"]
    assert visit.values(b"X-Forwarded-Proto") == [b"https"]
    assert visit.values(b"X-Forwarded-Host") == [b"told.example"]
    assert visit.values(b"Forwarded") == [b'for="[2001:db8::1]";host="told.example";proto=https']


async def test_one_fronts_connection_brings_many_callers(with_route: RouteMaker, upstream: RawUpstream) -> None:
    """Each with its own limit, although a connection remembers where it comes from."""
    stage = await with_route(trusted=["127.0.0.1"], limit="1/minute")
    async with await Wire.to(stage.url) as wire:
        for address, status in (("5.5.5.1", 200), ("5.5.5.2", 200), ("5.5.5.1", 429), ("5.5.5.3", 200)):
            await wire.send(request("/x", f"X-Forwarded-For: {address}"))
            assert (await wire.answer()).status == status
    told = [visit.values(b"X-Forwarded-For")[0] for visit in upstream.visits]
    assert told == [b"5.5.5.1, 127.0.0.1", b"5.5.5.2, 127.0.0.1", b"5.5.5.3, 127.0.0.1"]


# --- Gateway-Context --------------------------------------------------------------------------------------------------


async def test_an_upstream_can_verify_whose_request_it_is(with_route: RouteMaker, upstream: RawUpstream) -> None:
    stage = await with_route(context_key=CONTEXT_KEY)
    [caller] = await funded(stage, "1.00 usd")
    forged = jwt.encode({"sub": "acct_other", "aud": "raw"}, CONTEXT_KEY[::-1], algorithm="HS256")
    for path in ("/paid/x", "/x"):
        seen = await ask(stage.url, request(path, bearer(caller), f"Gateway-Context: {forged}", "gateway-context: x"))
        visit = upstream.visits[-1]
        [token] = visit.values(b"Gateway-Context")
        claims = jwt.decode(
            token.decode(), CONTEXT_KEY, algorithms=["HS256"], audience="raw", issuer=stage.settings.public_url,
            options={"require": ["exp", "iat", "aud", "iss", "sub"]},
        )  # fmt: skip
        assert claims["request"].encode() == seen.values(b"Gateway-Request-Id")[0]
        assert claims["route"] == ("paid" if path == "/paid/x" else "made")
        assert claims["sub"].encode() == (visit.values(b"Gateway-Account") or [b""])[0]
        assert claims["exp"] - claims["iat"] == 60
        assert abs(claims["iat"] - time.time()) < 5
    assert upstream.visits[0].values(b"Gateway-Account") == [caller.account.encode()]


async def test_every_requests_context_is_its_own(with_route: RouteMaker, upstream: RawUpstream) -> None:
    """On one connection, with the same fields, where much else is remembered."""
    stage = await with_route(context_key=CONTEXT_KEY)
    async with await Wire.to(stage.url) as wire:
        for _ in range(3):
            await wire.send(request("/x"))
            assert (await wire.answer()).status == 200
            await asyncio.sleep(0)
    tokens = {visit.values(b"Gateway-Context")[0] for visit in upstream.visits}
    assert len(tokens) == 3
    for token in tokens:
        assert jwt.decode(token.decode(), CONTEXT_KEY, algorithms=["HS256"], audience="raw")["sub"] == ""


async def test_our_own_pages_count_by_the_address_that_a_trusted_front_names(make_stage: StageMaker) -> None:
    stage = await make_stage(trusted_proxies=["127.0.0.1"])

    async def look(address: str) -> bytes:
        request = f"GET /-/paid?session_id=cs_test_x HTTP/1.1\r\nHost: x\r\nX-Forwarded-For: {address}\r\n"
        return split(await ask_raw(stage.url, f"{request}Connection: close\r\n\r\n".encode()))[2]

    first = await look("192.0.2.1")
    looks = [await look("192.0.2.1") for _ in range(40)]
    assert looks[-1] != first  # it has looked too often
    assert await look("192.0.2.2") == first
