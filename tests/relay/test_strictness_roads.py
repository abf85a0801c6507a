"""No spelling of a target and no field leads to another price, to what no route names, or to another identity."""

import pytest

from gateway.cli.stage import Stage
from tests.callers import Funded
from tests.conftest import StageMaker
from tests.raw import RawUpstream
from tests.relay.refusing import (
    CHUNKED,
    all_pass,
    balance,
    bearer,
    config,
    connected,
    head,
    post,
)

# --- roads that lead to another price ---------------------------------------------------------------------------------

TRICKS = [
    "/free/../paid/x", "/free/%2e%2e/paid/x", "/free/%2E%2E/paid/x", "/free/.%2e/paid/x", "/free/..%2fpaid/x",
    "/free/..%2Fpaid/x", "/free/%2e%2e%2fpaid/x", "/free/..%5cpaid/x", "/free/%252e%252e/paid/x",
    "/free/..;/paid/x", "/free/..;a=b/paid/x", "/free/%2e%2e;/paid/x", "/free/.;/../paid/x", "/free/x/../../paid/x",
    "/free//../paid/x", "/free/./x", "/free/.", "/free/..", "/free/../", "/free/x/..", "/free/\\../paid/x",
    "/free\\..\\paid\\x",
    "//paid/x", "///paid/x", "//free/../paid/x", "/%2fpaid/x", "/%2Fpaid/x", "/paid%2fx", "/%70aid/x", "/%2570aid/x",
    "/paid;/x",
    "/paid;a=b/x", "/;/paid/x", "/free;/../paid/x", "/%5cpaid/x", "/paid%5cx", "/./paid/x", "/x/../paid/x",
    "/%c0%ae%c0%ae/paid/x",
    "/PAID/x", "/Paid/x", "/paid", "/paid%00/x", "/free/%00/../paid/x", "/free/%0d%0a/paid", "/free/%zz", "/free/%",
    "/free/%2",
    "/free/\xc0\xae\xc0\xae/paid/x", "/free%2f..%2fpaid%2fx", "/free/..%u2215paid/x", "/paid/", "/paid/%2e", "/paid/x",
    "http://a.example/paid/x", "http://a.example//paid/x", "http://a.example/free/../paid/x",
    "http://a.example/%70aid/x",
    "http://a.example\\@b/paid/x", "/free/x#/../paid", "/nowhere", "/nowhere/free/x", "/", "/fre", "/free", "/freex/",
    "*",
    "?/free/x", "/?/free/x", ";/free/x", "/;/free/x", "//a.example/free/x", "/free%2fx", "/free%3b/x", "/%66ree/x",
]  # fmt: skip


@pytest.mark.parametrize("line", ["X: y", "X-Original-URL: /free/x", "X-Forwarded-Path: /free/x", "Gateway-Account: a"])
@pytest.mark.parametrize("method", ["GET", "OPTIONS"])
async def test_no_spelling_reaches_a_price_without_money_or_what_no_route_names(
    stage: Stage, upstream: RawUpstream, method: str, line: str
) -> None:
    statuses = {}
    for target in TRICKS:
        async with connected(stage.url) as wire:
            wire.send(head(line, method=method, target=target))
            statuses[target] = (await wire.answer()).status
    assert {target for target, status in statuses.items() if status not in (400, 402, 404)} == set()
    assert {target for target, status in statuses.items() if status == 402} == {
        "/paid/", "/paid/x", "http://a.example/paid/x",
    }  # fmt: skip
    assert upstream.connections == 0


@pytest.mark.parametrize(
    "line",
    [
        "X-Original-URL: /paid/x", "X-Rewrite-URL: /paid/x", "X-Forwarded-Path: /paid/x", "X-Forwarded-Prefix: /paid",
        "X-Forwarded-Host: b.example", "X-Forwarded-Uri: /paid/x", "x-original-url: /paid/x", "X_Original_URL: /paid/x",
        "X-Forwarded-User: root", "X-Forwarded-Port: 1", "Forwarded: host=b.example", "X-Forwarded-Server: b",
    ],
)  # fmt: skip
async def test_fields_that_say_where_a_request_belongs_do_not_pass(
    stage: Stage, upstream: RawUpstream, line: str
) -> None:
    await all_pass(stage, upstream, {line: head(line, target="/free/x")})
    first, second = upstream.visits
    assert first.request_line == b"GET /free/x HTTP/1.1"
    differing = [name for name, value in first.fields if (name, value) not in second.fields]
    assert {name.lower() for name in differing} <= {b"gateway-request-id", b"traceparent"}


async def test_a_method_override_passes_and_is_no_concern_of_the_price(
    stage: Stage, upstream: RawUpstream, caller: Funded
) -> None:
    override = head(bearer(caller), "X-HTTP-Method-Override: DELETE", target="/paid/x")
    await all_pass(stage, upstream, {"": override})
    assert upstream.visits[0].values(b"X-HTTP-Method-Override") == [b"DELETE"]
    assert upstream.visits[0].request_line == b"GET /paid/x HTTP/1.1"
    assert await balance(stage, caller) == 998_000


async def test_addresses_of_ours_are_ours_by_any_spelling_or_nobodys(
    make_stage: StageMaker, upstream: RawUpstream
) -> None:
    stage = await make_stage(
        upstreams={"raw": {"url": upstream.url}},
        routes=[{"name": "all", "match": "/", "upstream": "raw", "price": "free"}],
    )
    served = [
        "/-/wallet",
        "/-/wallet?x",
        "http://a.example/-/wallet",
        "HTTP://A.example:80/-/wallet?x=/../",
        "/-/%77allet",
    ]
    others = [
        "/-/", "//-/wallet", "/%2d/wallet", "/%2D/wallet", "/-%2fwallet", "/-%2Fwallet", "/-;x/wallet", "/-;/wallet",
        "/-/..", "/./-/wallet", "/x/../-/wallet", "/-\\wallet", "/-%5cwallet", "/.well-known/x", "//.well-known/x",
        "/%2ewell-known/x", "/.well%2dknown/x", "/.well-known%2fx", "/;/-/wallet", "http://a.example//-/wallet",
        "http://a.example/%2d/wallet", "/-/wallet/../../x", "/-//wallet", "/-/wallet/", "/-/WALLET",
        "/-/wallet;x", "/-/wallet%00", "/-/wallet%3fx", "/%252d/wallet", "/-/wallet%2f..", "http://b.example/-/wallet",
        "/-/%2e%2e/x", "/-/webhooks/../x", "/-/webhooks/stripe", "/.%77ell-known/x", "/.well-known/../x",
    ]  # fmt: skip
    statuses = {}
    for target in (*served, *others):
        async with connected(stage.url) as wire:
            wire.send(head("X-Original-URL: /x", target=target))
            answer = await wire.answer()
            statuses[target] = answer.status
            assert not answer.values(b"server")
    assert {target for target, status in statuses.items() if status == 200} - {"/-/"} == set(served)
    assert {statuses[target] for target in others if target != "/-/"} == {400, 404, 405}
    assert upstream.connections == 0
    theirs = ["/-", "/-x/", "/x/-/wallet", "/?/-/wallet", "/.well-known", "/.well-knownx/", "/-wallet", "/--/wallet"]
    await all_pass(stage, upstream, {target: head(target=target) for target in theirs})
    assert [visit.request_line.split(b" ")[1].decode() for visit in upstream.visits[::2]] == theirs


# --- who a caller claims to be ----------------------------------------------------------------------------------------

ALWAYS = {
    b"host", b"x-forwarded-for", b"x-forwarded-proto", b"x-forwarded-host", b"forwarded", b"via", b"gateway-request-id",
    b"traceparent",
}  # fmt: skip


async def test_a_claimed_identity_never_passes_in_any_spelling(stage: Stage, upstream: RawUpstream) -> None:
    names = [
        "Gateway-Account", "Gateway-Request-Id", "Gateway-Context", "Gateway-Cost", "Gateway-Balance", "Gateway-Error",
        "Gateway-Anything", "X-Forwarded-For", "X-Forwarded-Proto", "X-Forwarded-Host", "X-Forwarded-User", "X-Real-IP",
        "Forwarded", "HTTP2-Settings", "Proxy-Authorization", "Proxy-Connection", "Keep-Alive", "Proxy-Authenticate",
    ]  # fmt: skip
    for name in names:
        for spelling in (
            name,
            name.lower(),
            name.upper(),
            name.swapcase(),
            name.replace("-", "_"),
            name.replace("-", "_", 1),
        ):
            before = len(upstream.visits)
            async with connected(stage.url) as wire:
                wire.send(head(f"{spelling}: forged", target="/free/x"))
                assert (await wire.answer()).status == 200
            [visit] = upstream.visits[before:]
            assert {key.lower() for key, _ in visit.fields} == ALWAYS, spelling
            assert b"forged" not in visit.head, spelling


CONNECTIONS = [
    ("host",), ("Host, content-length",), ("content-length",), ("transfer-encoding",),
    ("Content-Length, Transfer-Encoding",),
    ("authorization",), ("x-forwarded-for",), ("X-Forwarded-For, X-Forwarded-Host, Forwarded, Via",),
    ("gateway-account",),
    ("gateway-request-id, traceparent",), ("keep-alive", "host"), (" ,, host ,\t, ",), ("HOST",), ("expect",),
    ("upgrade",),
]  # fmt: skip


@pytest.mark.parametrize("body", ["length", "chunks"])
async def test_connection_takes_out_nothing_that_we_say_and_no_framing(
    make_stage: StageMaker, upstream: RawUpstream, body: str
) -> None:
    changed = config(upstream)
    changed["upstreams"]["raw"]["credential"] = {"header": {"name": "Authorization", "value": "ours"}}
    stage = await make_stage(**changed)
    smuggled = b"GET /free/smuggled HTTP/1.1\r\nHost: a\r\n\r\n"
    framing = CHUNKED if body == "chunks" else f"Content-Length: {len(smuggled)}"
    framed = b"%x\r\n%b\r\n0\r\n\r\n" % (len(smuggled), smuggled) if body == "chunks" else smuggled
    cases = {}
    for options in CONNECTIONS:
        lines = [f"Connection: {option}" for option in options]
        cases[str(options)] = post(*lines, framing, target="/free/x", body=framed)
        cases[f"{options}, last"] = post(framing, *lines, target="/free/x", body=framed)
    await all_pass(stage, upstream, cases)
    for visit in upstream.visits[::2]:
        assert visit.body == smuggled
        assert visit.values(b"Host") == [upstream.url.removeprefix("http://").encode()]
        assert visit.values(b"X-Forwarded-For") == [b"127.0.0.1"]
        assert visit.values(b"X-Forwarded-Host") == [b"a.example"]
        assert visit.values(b"Authorization") == [b"ours"]
        assert len(visit.values(b"Gateway-Request-Id")) == len(visit.values(b"traceparent")) == 1
        assert visit.values(b"Connection") == []


async def test_what_connection_names_stays_here(stage: Stage, upstream: RawUpstream) -> None:
    hops = ["X-Hop", "x-hop", " X-HOP ", "a, x-hop", "close2 ,\tX-Hop", "X-Hop,X-Hop", ",X-Hop,"]
    cases = {hop: head("X-Hop: 1", f"Connection: {hop}", "X-Stays: 1", target="/free/x") for hop in hops}
    cases["two fields"] = head("Connection: a", "x-hop: 1", "CONNECTION: x-hop", "X-Stays: 1", target="/free/x")
    await all_pass(stage, upstream, cases)
    for visit in upstream.visits[::2]:
        assert (visit.values(b"X-Hop"), visit.values(b"X-Stays")) == ([], [b"1"])


@pytest.mark.parametrize("upgrade", ["h2c", "H2C", "h2c, h2", "TLS/1.0", "h2"])
async def test_no_protocol_that_would_hide_requests_is_asked_for(
    stage: Stage, upstream: RawUpstream, upgrade: str
) -> None:
    lines = (f"Upgrade: {upgrade}", "HTTP2-Settings: AAMAAABkAAQAAP__", "Connection: Upgrade, HTTP2-Settings")
    await all_pass(stage, upstream, {upgrade: head(*lines, target="/free/x")})
    assert {name.lower() for name, _ in upstream.visits[0].fields} == ALWAYS
    assert not [visit for visit in upstream.visits if visit.values(b"Connection")]


async def test_a_dot_that_is_encoded_three_times_is_a_name_like_any_other(stage: Stage, upstream: RawUpstream) -> None:
    target = "/free/%25252e%25252e/paid/x"  # nobody decodes three times
    await all_pass(stage, upstream, {target: head(target=target)})
    assert upstream.visits[0].request_line == f"GET {target} HTTP/1.1".encode()
