"""The road, seen from both sockets: what the caller sent is what the upstream got.

One suite for both forms of the exchange, the relay and aiohttp's. What only one of them can do, its own test says.
"""

import asyncio
import gzip
import json
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from gateway.cli.stage import Stage
from tests import leaks
from tests.callers import Funded, audited, funded
from tests.conftest import StageMaker
from tests.forms import FORMS
from tests.gateway_process import patiently
from tests.raw import OK, RawUpstream, Visit, answering, ask, closed, split


@pytest.fixture(params=FORMS)
def form(request: pytest.FixtureRequest) -> str:
    """Which form of the exchange serves."""
    found: str = request.param
    return found


@pytest.fixture
async def make_stage(tmp_path: Path, form: str) -> AsyncIterator[StageMaker]:
    """As everybody's, in both forms."""
    stages: list[Stage] = []

    async def make(**overrides: Any) -> Stage:
        stage = await leaks.started(FORMS[form], tmp_path / f"stage{len(stages)}", patiently(overrides))
        stages.append(stage)
        return stage

    yield make
    for stage in stages:
        await stage.stop()


@pytest.fixture
async def upstream() -> AsyncIterator[RawUpstream]:
    upstream = RawUpstream()
    await upstream.start()
    yield upstream
    await upstream.stop()


@pytest.fixture
async def stage(make_stage: StageMaker, upstream: RawUpstream) -> Stage:
    """A gateway before the recording upstream, with tight timeouts."""
    return await make_stage(
        upstreams={
            "raw": {"url": upstream.url, "first_byte_timeout": "800ms", "idle_timeout": "800ms"},
            "dead": {"url": "http://127.0.0.1:1"},
        },
        limits={"request_body_max": "1 MiB", "request_head_max": "16 KiB", "request_headers_max": 20},
        timeouts={"body": "800ms"},
        tokens={"header": "X-Api-Key"},
        routes=[
            {"name": "paid", "match": "/paid/", "upstream": "raw", "price": "0.002 usd"},
            {"name": "relaxed", "match": "/relaxed/", "upstream": "raw", "price": "0.002 usd", "durability": "relaxed"},
            {"name": "free", "match": "/free/", "upstream": "raw", "price": "free"},
            {"name": "cut", "match": "/cut/", "upstream": "raw", "strip_prefix": True, "price": "free"},
            {"name": "dead", "match": "/dead/", "upstream": "dead", "price": "0.002 usd"},
            {"name": "few", "match": "/few/", "upstream": "raw", "price": "free", "limit": "3/minute"},
        ],
    )


@pytest.fixture
async def caller(stage: Stage) -> Funded:
    [caller] = await funded(stage, "1.00 usd")
    return caller


def get(target: str, *lines: str, method: str = "GET") -> bytes:
    head = [f"{method} {target} HTTP/1.1", "Host: api.example", *lines, "Connection: close", "", ""]
    return "\r\n".join(head).encode("latin-1")


def bearer(caller: Funded) -> str:
    return f"Authorization: Bearer {caller.token}"


async def balance(stage: Stage, caller: Funded) -> tuple[int, int]:
    found = await stage.gateway.ledger.balance(caller.account, "usd")
    return found.available.micros, found.held.micros


# --- targets ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "target",
    [
        "/free/a%2Fb", "/free/a%2fb", "/free/%41", "/free/a+b", "/free/a;b", "/free/[x]", "/free/%ff", "/free/x?",
        "/free/x??a=/../", "/free//x//", "/free/x?q=%2e%2e&r=a%20b", "/free/é?x".encode().decode("latin-1"),
    ],
)  # fmt: skip
async def test_a_target_arrives_as_it_was_sent_or_not_at_all(stage: Stage, upstream: RawUpstream, target: str) -> None:
    status, _, _ = split(await ask(stage.url, get(target)))
    if target.isascii():
        assert status == 200
        assert upstream.visits[0].request_line == f"GET {target} HTTP/1.1".encode()
    else:
        assert status == 400
        assert upstream.visits == []


async def test_a_stripped_prefix_leaves_the_rest_alone(stage: Stage, upstream: RawUpstream) -> None:
    await ask(stage.url, get("/cut/a%2Fb?x=%2F"))
    assert upstream.visits[0].request_line == b"GET /a%2Fb?x=%2F HTTP/1.1"


@pytest.mark.parametrize(
    "target",
    [
        "/free/../paid/x", "/free/%2e%2e/paid/x", "/free/%2E./paid/x", "/free/..%2fpaid/x", "/free/..%5cpaid/x",
        "/free/%252e%252e/paid/x", "/free/..;/paid/x", "/free/.%00./x", "/free/./x", "/free/x/..", "//paid/x",
        "/%70aid/x", "/paid;a/x", "/free/x#y", "/free/a\\b", "/free/a%0d%0ab", "/free/%zz",
    ],
)  # fmt: skip
async def test_no_spelling_reaches_another_routes_price(stage: Stage, upstream: RawUpstream, target: str) -> None:
    status, _, _ = split(await ask(stage.url, get(target)))
    assert status == 400
    assert upstream.visits == []


async def test_addresses_of_ours_never_reach_an_upstream(make_stage: StageMaker, upstream: RawUpstream) -> None:
    stage = await make_stage(
        upstreams={"raw": {"url": upstream.url}},
        routes=[{"name": "all", "match": "/", "upstream": "raw", "price": "free"}],
    )
    nothing = (404, "no_route")
    ours = {
        "/-/nothing": nothing,
        "/.well-known/nothing": nothing,
        "/-/webhooks/stripe": (405, "method_not_allowed"),
    }
    for target, refused in ours.items():
        status, fields, body = split(await ask(stage.url, get(target)))
        told = json.loads(body)
        assert ((status, told["code"]), told["request_id"]) == (refused, dict(fields)["Gateway-Request-Id"])
    assert upstream.visits == []
    assert split(await ask(stage.url, get("/anything")))[0] == 200


# --- fields -----------------------------------------------------------------------------------------------------------


async def test_nothing_is_invented_for_the_upstream(stage: Stage, upstream: RawUpstream) -> None:
    await ask(stage.url, get("/free/x", "x-Mixed-CASE: Ä ok".encode().decode("latin-1"), "X-Twice: 1", "X-Twice: 2"))
    visit = upstream.visits[0]
    names = [name for name, _ in visit.fields]
    assert set(names) == {
        b"Host", b"x-Mixed-CASE", b"X-Twice", b"X-Forwarded-For", b"X-Forwarded-Proto", b"X-Forwarded-Host",
        b"Forwarded", b"Via", b"Gateway-Request-Id", b"traceparent",
    }  # fmt: skip
    assert visit.values(b"x-mixed-case") == ["Ä ok".encode()]
    assert visit.values(b"X-Twice") == [b"1", b"2"]
    assert visit.values(b"Host") == [upstream.url.removeprefix("http://").encode()]
    assert visit.values(b"X-Forwarded-Host") == [b"api.example"]


async def test_names_keep_their_spelling(stage: Stage, upstream: RawUpstream) -> None:
    await ask(stage.url, get("/free/x", "accept-LANGUAGE: en", "CONTENT-TYPE: x/y", "user-agent: me", "cookie: a=1"))
    names = {name for name, _ in upstream.visits[0].fields}
    assert names >= {b"accept-LANGUAGE", b"CONTENT-TYPE", b"user-agent", b"cookie"}


@pytest.mark.parametrize(
    "lines",
    [
        ("Transfer-Encoding: gzip, chunked",), ("Transfer-Encoding: chunked, chunked",),
        ("Transfer-Encoding: chunked", "Transfer-Encoding: chunked"), ("Transfer-Encoding: identity",),
    ],
)  # fmt: skip
async def test_a_transfer_coding_that_would_be_lost_is_refused(
    stage: Stage, upstream: RawUpstream, lines: tuple[str, ...]
) -> None:
    assert split(await ask(stage.url, get("/free/x", *lines, method="POST") + b"0\r\n\r\n"))[0] == 400
    assert upstream.visits == []


@pytest.mark.parametrize("version", ["HTTP/2.0", "HTTP/0.9", "HTTP/1.2"])
async def test_other_versions_are_refused(stage: Stage, upstream: RawUpstream, version: str) -> None:
    assert b" 400 " in (await ask(stage.url, get("/free/x").replace(b"HTTP/1.1", version.encode())))[:20]
    assert upstream.visits == []


async def test_a_reason_that_is_not_ascii_passes_or_is_left_out(stage: Stage, upstream: RawUpstream, form: str) -> None:
    upstream.script = answering(b"HTTP/1.1 200 Gr\xfc\xdfe\r\nContent-Length: 2\r\n\r\nok")
    reason = b"Gr\xfc\xdfe" if form == "relay" else b""
    assert (await ask(stage.url, get("/free/x"))).startswith(b"HTTP/1.1 200 %b\r\n" % reason)


async def test_fields_that_only_we_may_set_never_pass(stage: Stage, upstream: RawUpstream) -> None:
    await ask(
        stage.url,
        get(
            "/free/x", "Gateway-Account: acct_other", "gateway-cost: 0", "Gateway_Account: acct_other", "X_Real_Ip: 1",
            "X-Forwarded-For: 6.6.6.6", "Forwarded: for=6.6.6.6", "X-Real-IP: 6.6.6.6", "Keep-Alive: 5", "TE: gzip",
            "Gateway-Request-Id: req_other",
            "Proxy-Authorization: Basic x", "Upgrade: h2c", "HTTP2-Settings: AAA", "X-Hop: 1", "Connection: x-hop",
        ),
    )  # fmt: skip
    visit = upstream.visits[0]
    seen = {name.lower() for name, _ in visit.fields}
    assert seen == {
        b"host", b"x-forwarded-for", b"x-forwarded-proto", b"x-forwarded-host", b"forwarded", b"via",
        b"gateway-request-id", b"traceparent",
    }  # fmt: skip
    assert visit.values(b"X-Forwarded-For") == [b"127.0.0.1"]
    assert visit.values(b"Forwarded") == [b'for=127.0.0.1;host="api.example";proto=http']
    assert visit.values(b"Gateway-Request-Id") != [b"req_other"]


async def test_what_the_callers_proxies_said_stays_before_what_we_say(stage: Stage, upstream: RawUpstream) -> None:
    trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    await ask(stage.url, get("/free/x", "Via: 1.1 theirs", f"traceparent: {trace}"))
    assert upstream.visits[0].values(b"Via") == [b"1.1 theirs", b"1.1 farebox"]
    assert upstream.visits[0].values(b"traceparent") == [trace.encode()]


@pytest.mark.parametrize("place", ["Authorization: Bearer {}", "X-Api-Key: {}", "Cookie: a=1; gateway_token={}; b=2"])
async def test_a_token_counts_wherever_it_stands_and_never_passes(
    stage: Stage, upstream: RawUpstream, caller: Funded, place: str
) -> None:
    status, _, _ = split(await ask(stage.url, get("/paid/x", place.format(caller.token))))
    assert status == 200
    assert caller.token.encode() not in upstream.visits[0].head
    if place.startswith("Cookie"):
        assert upstream.visits[0].values(b"Cookie") == [b"a=1; b=2"]


async def test_credentials_meant_for_the_upstream_pass(stage: Stage, upstream: RawUpstream, caller: Funded) -> None:
    await ask(stage.url, get("/paid/x", "Authorization: Basic dTpw", f"X-Api-Key: {caller.token}"))
    assert upstream.visits[0].values(b"Authorization") == [b"Basic dTpw"]
    await ask(stage.url, get("/free/x", "Authorization: Bearer somebody-elses"))
    assert upstream.visits[1].values(b"Authorization") == [b"Bearer somebody-elses"]


async def test_bytes_that_are_no_text_pass_exactly_or_not_at_all(
    stage: Stage, upstream: RawUpstream, form: str
) -> None:
    status, _, body = split(await ask(stage.url, get("/free/x", "X-Odd: \xff\xfe")))
    if form == "relay":
        assert status == 200
        assert upstream.visits[0].values(b"X-Odd") == [b"\xff\xfe"]
    else:
        assert status == 400
        assert b"X-Odd" in body
        assert upstream.visits == []


@pytest.mark.parametrize(
    "lines",
    [
        ("Host: api.example",), ("Host: b",), ("Content-Length: 005",), ("Content-Length: +5",),
        ("Content-Length: 0", "Content-Length: 0"), ("Content-Length: 0", "Transfer-Encoding: chunked"),
        ("Upgrade: websocket", "Connection: Upgrade", "Transfer-Encoding: chunked"),
    ],
)  # fmt: skip
async def test_a_head_that_can_be_read_in_two_ways_is_refused(
    stage: Stage, upstream: RawUpstream, lines: tuple[str, ...]
) -> None:
    request = get("/free/x", *lines, method="POST") + b"0\r\n\r\n"
    assert split(await ask(stage.url, request))[0] == 400
    assert upstream.visits == []


@pytest.mark.parametrize("host", ["a b", "u@a", "a/b", "a:b:c", ""])
async def test_a_host_that_is_none_is_refused(stage: Stage, upstream: RawUpstream, host: str) -> None:
    request = get("/free/x").replace(b"Host: api.example", f"Host: {host}".encode())
    assert split(await ask(stage.url, request))[0] == 400
    assert upstream.visits == []


async def test_a_connection_field_cannot_unframe_a_body(stage: Stage, upstream: RawUpstream) -> None:
    smuggled = b"GET /free/smuggled HTTP/1.1\r\nHost: a\r\n\r\n"
    lines = ("Connection: content-length", f"Content-Length: {len(smuggled)}")
    await ask(stage.url, get("/free/x", *lines, method="POST") + smuggled)
    [visit] = upstream.visits
    assert visit.body == smuggled


async def test_more_fields_than_there_may_be_are_refused(stage: Stage, upstream: RawUpstream) -> None:
    lines = [f"X-{number}: y" for number in range(18)]  # and Host and Connection
    assert split(await ask(stage.url, get("/free/x", *lines)))[0] == 200
    status, _, body = split(await ask(stage.url, get("/free/x", *lines, "X: y")))
    assert status == 431
    assert b"head_too_large" in body
    assert len(upstream.visits) == 1


async def test_a_head_over_the_bound_is_refused(stage: Stage, upstream: RawUpstream) -> None:
    many = [f"X-{number}: {'y' * 2000}" for number in range(9)]
    status, _, body = split(await ask(stage.url, get("/free/x", *many)))
    assert status == 431
    assert b"head_too_large" in body
    assert split(await ask(stage.url, get("/free/x", *many[:7])))[0] == 200
    assert len(upstream.visits) == 1


async def test_the_answers_fields_arrive_in_order_and_none_is_invented(stage: Stage, upstream: RawUpstream) -> None:
    upstream.script = answering(
        b"HTTP/1.1 404 Nicht da\r\nSet-Cookie: a=1\r\nx-lower: 1\r\nSet-Cookie: b=2\r\nKeep-Alive: timeout=9\r\n"
        b"Gateway-Balance: a lie\r\nContent-Length: 2\r\n\r\nno"
    )
    answer = await ask(stage.url, get("/free/x"))
    status, fields, body = split(answer)
    assert answer.startswith(b"HTTP/1.1 404 Nicht da\r\n")
    assert (status, body) == (404, b"no")
    assert [value for name, value in fields if name == "Set-Cookie"] == ["a=1", "b=2"]
    assert {name.lower() for name, _ in fields} == {
        "set-cookie", "x-lower", "content-length", "gateway-request-id", "date", "connection",
    }  # fmt: skip


async def test_a_redirect_is_passed_on_and_not_followed(stage: Stage, upstream: RawUpstream) -> None:
    upstream.script = answering(b"HTTP/1.1 302 Found\r\nLocation: http://elsewhere/\r\nContent-Length: 0\r\n\r\n")
    status, fields, _ = split(await ask(stage.url, get("/free/x")))
    assert status == 302
    assert ("Location", "http://elsewhere/") in fields


@pytest.mark.parametrize(
    ("method", "answer"),
    [
        ("HEAD", b"HTTP/1.1 200 OK\r\nContent-Length: 1234\r\nETag: x\r\n\r\n"),
        ("GET", b"HTTP/1.1 204 No Content\r\nETag: x\r\n\r\n"),
        ("GET", b"HTTP/1.1 304 Not Modified\r\nETag: x\r\n\r\n"),
    ],
)
async def test_answers_without_a_body_keep_their_fields(
    stage: Stage, upstream: RawUpstream, method: str, answer: bytes
) -> None:
    upstream.script = answering(answer)
    status, fields, body = split(await ask(stage.url, get("/free/x", method=method)))
    assert status == int(answer.split(b" ")[1])
    assert body == b""
    assert ("ETag", "x") in fields
    if method == "HEAD":
        assert ("Content-Length", "1234") in fields


# --- bodies -----------------------------------------------------------------------------------------------------------


async def test_coded_bodies_pass_untouched_both_ways(stage: Stage, upstream: RawUpstream) -> None:
    sent, answered = gzip.compress(b"up" * 500), gzip.compress(b"down" * 500)
    head = b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(answered)
    upstream.script = answering(head + answered)
    request = get("/free/x", "Content-Encoding: gzip", f"Content-Length: {len(sent)}", method="POST") + sent
    _, fields, body = split(await ask(stage.url, request))
    assert upstream.visits[0].body == sent
    assert upstream.visits[0].values(b"Content-Encoding") == [b"gzip"]
    assert body == answered
    assert ("Content-Encoding", "gzip") in fields


async def test_an_answer_that_only_claims_to_be_coded_passes_too(stage: Stage, upstream: RawUpstream) -> None:
    upstream.script = answering(b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 4\r\n\r\nnope")
    assert split(await ask(stage.url, get("/free/x")))[2] == b"nope"


async def test_a_chunked_upload_arrives_whole(stage: Stage, upstream: RawUpstream) -> None:
    chunks = b"5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n"
    await ask(stage.url, get("/free/x", "Transfer-Encoding: chunked", method="POST") + chunks)
    assert upstream.visits[0].body == b"hello world"


async def test_a_post_without_a_body_says_so(stage: Stage, upstream: RawUpstream) -> None:
    await ask(stage.url, get("/free/x", "Content-Length: 0", method="POST"))
    assert upstream.visits[0].values(b"Content-Length") == [b"0"]


async def test_a_body_over_the_bound_is_refused_and_free(stage: Stage, upstream: RawUpstream, caller: Funded) -> None:
    request = get("/paid/x", bearer(caller), f"Content-Length: {2 << 20}", method="POST")
    status, _, body = split(await ask(stage.url, request))
    assert (status, upstream.visits) == (413, [])
    assert b"body_too_large" in body
    chunk = b"40000\r\n" + b"x" * 0x40000 + b"\r\n"
    request = get("/paid/x", bearer(caller), "Transfer-Encoding: chunked", method="POST") + chunk * 5 + b"0\r\n\r\n"
    assert split(await ask(stage.url, request))[0] == 413
    assert await balance(stage, caller) == (1_000_000, 0)


async def test_only_a_caller_that_pays_is_told_to_send_its_body(
    stage: Stage, upstream: RawUpstream, caller: Funded, form: str
) -> None:
    unpaid = get("/paid/x", "Expect: 100-continue", "Content-Length: 2", method="POST")
    assert (await ask(stage.url, unpaid)).startswith(b"HTTP/1.1 402")
    paid = get("/paid/x", bearer(caller), "Expect: 100-continue", "Content-Length: 2", method="POST") + b"hi"
    answer = await ask(stage.url, paid)
    assert b"HTTP/1.1 200" in answer
    assert upstream.visits[0].body == b"hi"
    if form == "aiohttp":  # the relay asks the upstream, and passes on what it says
        assert answer.startswith(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200")
        assert upstream.visits[0].values(b"Expect") == []


async def test_the_first_bytes_of_a_stream_do_not_wait_for_the_last(
    stage: Stage, upstream: RawUpstream, caller: Funded
) -> None:
    go_on = asyncio.Event()

    async def script(visit: Visit) -> None:
        visit.writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")
        visit.writer.write(b"9\r\ndata: 1\n\n\r\n")
        await go_on.wait()
        visit.writer.write(b"9\r\ndata: 2\n\n\r\n0\r\n\r\n")

    upstream.script = script
    host, port = stage.url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(get("/paid/x", bearer(caller)))
    head = await reader.readuntil(b"\r\n\r\n")
    assert b"Gateway-Cost: 0.002 usd" in head
    assert b"data: 1" in await reader.readuntil(b"data: 1")
    go_on.set()
    assert (await reader.read()).endswith(b"0\r\n\r\n")
    await closed(writer)


async def test_a_slow_reader_slows_the_upstream(stage: Stage, upstream: RawUpstream) -> None:
    sent = 0
    stalled = asyncio.Event()

    async def script(visit: Visit) -> None:
        nonlocal sent
        visit.writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 268435456\r\n\r\n")
        while sent < 268435456:
            visit.writer.write(b"x" * 65536)
            sent += 65536
            try:
                async with asyncio.timeout(0.3):
                    await visit.writer.drain()
            except TimeoutError:
                stalled.set()
                await visit.writer.drain()

    upstream.script = script
    host, port = stage.url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port), limit=65536)
    writer.write(get("/free/x"))
    await reader.readuntil(b"\r\n\r\n")
    async with asyncio.timeout(20):
        await stalled.wait()
    assert sent < 64 << 20
    writer.transport.abort()
    await closed(writer)


async def test_a_caller_that_reads_until_the_time_for_all_is_over_pays_as_if_it_had_left(
    make_stage: StageMaker,
) -> None:
    sent = 0

    async def script(visit: Visit) -> None:
        nonlocal sent
        visit.writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 268435456\r\n\r\n")
        while sent < 268435456:
            visit.writer.write(b"x" * 65536)
            sent += 65536
            await visit.writer.drain()

    upstream = RawUpstream(script)
    await upstream.start()
    stage = await make_stage(
        upstreams={"raw": {"url": upstream.url, "total_timeout": "500ms"}},
        routes=[{"name": "paid", "match": "/paid/", "upstream": "raw", "price": "0.002 usd"}],
    )
    [caller] = await funded(stage, "1.00 usd")
    host, port = stage.url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port), limit=65536)
    writer.write(get("/paid/x", bearer(caller)))
    await reader.readuntil(b"\r\n\r\n")
    await asyncio.sleep(0.9)
    with suppress(ConnectionError):
        while await reader.read(1 << 20):
            pass
    assert sent < 64 << 20
    await closed(writer)
    await upstream.stop()
    assert await balance(stage, caller) == (998_000, 0)


# --- upstreams --------------------------------------------------------------------------------------------------------


async def test_servers_take_turns_and_one_that_is_dead_is_passed_over(
    make_stage: StageMaker, upstream: RawUpstream
) -> None:
    other = RawUpstream()
    await other.start()
    stage = await make_stage(
        upstreams={"two": {"servers": [upstream.url, other.url], "ejection": {"failures": 1, "time": "30s"}}},
        routes=[{"name": "all", "match": "/", "upstream": "two", "price": "free"}],
    )
    for _ in range(4):
        assert split(await ask(stage.url, get("/x")))[0] == 200
    assert (len(upstream.visits), len(other.visits)) == (2, 2)
    await other.stop()
    for _ in range(4):
        await ask(stage.url, get("/x"))  # the first to find out may find it on a connection that was open
    assert [split(await ask(stage.url, get("/x")))[0] for _ in range(4)] == [200] * 4


async def test_a_dead_server_is_tried_once_and_the_next_one_answers(
    make_stage: StageMaker, upstream: RawUpstream
) -> None:
    stage = await make_stage(
        upstreams={
            "two": {"servers": ["http://127.0.0.1:1", upstream.url], "ejection": {"failures": 1, "time": "30s"}}
        },
        routes=[{"name": "all", "match": "/", "upstream": "two", "price": "free"}],
    )
    request = get("/x", "Content-Length: 5", method="POST") + b"hello"
    for _ in range(3):
        assert split(await ask(stage.url, request))[0] == 200
    assert [visit.body for visit in upstream.visits] == [b"hello"] * 3


async def test_without_retries_a_dead_server_is_told_to_the_caller(
    make_stage: StageMaker, upstream: RawUpstream
) -> None:
    stage = await make_stage(
        upstreams={"two": {"servers": ["http://127.0.0.1:1", upstream.url], "retries": 0}},
        routes=[{"name": "all", "match": "/", "upstream": "two", "price": "free"}],
    )
    assert [split(await ask(stage.url, get("/x")))[0] for _ in range(3)] == [502, 200, 502]


async def test_when_every_server_failed_lately_nobody_is_asked(make_stage: StageMaker) -> None:
    stage = await make_stage(
        upstreams={"dead": {"url": "http://127.0.0.1:1", "ejection": {"failures": 2, "time": "30s"}}},
        routes=[{"name": "all", "match": "/", "upstream": "dead", "price": "free"}],
    )
    assert [split(await ask(stage.url, get("/x")))[0] for _ in range(2)] == [502, 502]
    status, fields, body = split(await ask(stage.url, get("/x")))
    assert status == 503
    assert b'"code": "upstream_unavailable"' in body
    assert 1 <= int(dict(fields)["Retry-After"]) <= 30


async def test_a_body_that_the_caller_breaks_is_not_the_servers_fault(
    make_stage: StageMaker, upstream: RawUpstream
) -> None:
    stage = await make_stage(
        upstreams={"raw": {"url": upstream.url, "ejection": {"failures": 1, "time": "30s"}}},
        routes=[{"name": "all", "match": "/", "upstream": "raw", "price": "free"}],
    )
    broken = get("/x", "Transfer-Encoding: chunked", method="POST") + b"5\r\nhello\r\nzz\r\n"
    assert split(await ask(stage.url, broken))[0] == 400
    assert split(await ask(stage.url, get("/x")))[0] == 200


async def test_a_server_that_never_answers_is_left_out_if_there_is_another(
    make_stage: StageMaker, upstream: RawUpstream
) -> None:
    other = RawUpstream()
    await other.start()
    upstream.script = _silent
    rules = {"first_byte_timeout": "300ms", "ejection": {"failures": 1, "time": "30s"}, "retries": 0}
    stage = await make_stage(
        upstreams={"two": {"servers": [upstream.url, other.url], **rules}, "one": {"url": upstream.url, **rules}},
        routes=[{"name": name, "match": f"/{name}/", "upstream": name, "price": "free"} for name in ("one", "two")],
    )
    assert [split(await ask(stage.url, get("/two/x")))[0] for _ in range(4)] == [504, 200, 200, 200]
    assert [split(await ask(stage.url, get("/one/x")))[0] for _ in range(2)] == [504, 504]
    upstream.script = answering(OK)
    assert split(await ask(stage.url, get("/one/x")))[0] == 200
    await other.stop()


@pytest.mark.parametrize(
    ("host", "seen"), [("upstream", None), ("caller", b"api.example"), ("other.example", b"other.example")]
)
async def test_the_upstream_sees_the_host_that_the_route_says(
    make_stage: StageMaker, upstream: RawUpstream, host: str, seen: bytes | None
) -> None:
    stage = await make_stage(
        upstreams={"raw": {"url": upstream.url}},
        routes=[{"name": "all", "match": "/", "upstream": "raw", "price": "free", "host": host}],
    )
    await ask(stage.url, get("/x"))
    assert upstream.visits[0].values(b"Host") == [seen or upstream.url.removeprefix("http://").encode()]


async def test_a_route_changes_fields_both_ways(make_stage: StageMaker, upstream: RawUpstream) -> None:
    upstream.script = answering(b"HTTP/1.1 200 OK\r\nX-Powered-By: it\r\nX-Kept: 1\r\nContent-Length: 2\r\n\r\nok")
    stage = await make_stage(
        upstreams={"raw": {"url": upstream.url}},
        routes=[
            {
                "name": "all", "match": "/", "upstream": "raw", "price": "free",
                "request_headers": {"set": {"X-Set": "ours"}, "add": {"X-Added": "too"}, "remove": ["X-Gone"]},
                "answer_headers": {"set": {"X-Answer": "ours"}, "remove": ["X-Powered-By"]},
            }
        ],
    )  # fmt: skip
    _, fields, _ = split(await ask(stage.url, get("/x", "x-set: theirs", "X-Added: theirs", "X-Gone: x")))
    [visit] = upstream.visits
    assert (visit.values(b"X-Set"), visit.values(b"X-Gone")) == ([b"ours"], [])
    assert visit.values(b"X-Added") == [b"theirs", b"too"]
    assert ("X-Answer", "ours") in fields
    assert ("X-Kept", "1") in fields
    assert "X-Powered-By" not in dict(fields)


async def test_an_upstream_gets_its_credential_and_never_the_callers(
    make_stage: StageMaker, upstream: RawUpstream
) -> None:
    stage = await make_stage(
        upstreams={
            "header": {"url": upstream.url, "credential": {"header": {"name": "X-Api-Key", "value": "ours 1"}}},
            "query": {"url": upstream.url, "credential": {"query": {"name": "key", "value": "ours 2&"}}},
        },
        routes=[
            {"name": "header", "match": "/header/", "upstream": "header", "price": "free"},
            {"name": "query", "match": "/query/", "upstream": "query", "price": "free", "strip_prefix": True},
        ],
    )
    await ask(stage.url, get("/header/x", "x-api-key: theirs"))
    await ask(stage.url, get("/query/x?a=%20&%6bey=theirs"))
    first, second = upstream.visits
    assert first.values(b"X-Api-Key") == [b"ours 1"]
    assert second.request_line == b"GET /x?a=%20&key=ours%202%26 HTTP/1.1"


async def test_only_a_trusted_front_is_believed(make_stage: StageMaker, upstream: RawUpstream) -> None:
    said = ("X-Forwarded-For: 1.1.1.1, 6.6.6.6", "X-Forwarded-Proto: https", "X-Forwarded-Host: told.example")
    config = {
        "upstreams": {"raw": {"url": upstream.url}},
        "routes": [{"name": "all", "match": "/", "upstream": "raw", "price": "free", "limit": "1/minute"}],
    }
    stage = await make_stage(**config, trusted_proxies=["127.0.0.1"])
    assert split(await ask(stage.url, get("/x", *said)))[0] == 200
    assert split(await ask(stage.url, get("/x", *said)))[0] == 429
    assert split(await ask(stage.url, get("/x", "X-Forwarded-For: 6.6.6.7")))[0] == 200
    visit = upstream.visits[0]
    assert visit.values(b"X-Forwarded-For") == [b"6.6.6.6, 127.0.0.1"]
    assert visit.values(b"Forwarded") == [b'for=6.6.6.6;host="told.example";proto=https']
    stage = await make_stage(**config)
    assert split(await ask(stage.url, get("/x", *said)))[0] == 200
    assert upstream.visits[2].values(b"X-Forwarded-For") == [b"127.0.0.1"]
    assert upstream.visits[2].values(b"X-Forwarded-Proto") == [b"http"]


async def test_an_absolute_target_is_that_of_its_host_or_refused(stage: Stage, upstream: RawUpstream) -> None:
    assert split(await ask(stage.url, get("http://api.example/free/x?y")))[0] == 200
    assert upstream.visits[0].request_line == b"GET /free/x?y HTTP/1.1"
    for target in ("http://other.example/free/x", "http://u@api.example/free/x", "http://api.example/free/../paid/x"):
        assert split(await ask(stage.url, get(target)))[0] == 400
    assert len(upstream.visits) == 1


# --- trouble ----------------------------------------------------------------------------------------------------------


async def test_a_dead_upstream_costs_nothing(stage: Stage, caller: Funded) -> None:
    status, fields, body = split(await ask(stage.url, get("/dead/x", bearer(caller))))
    assert status == 502
    assert ("Gateway-Error", "upstream_failed") in fields
    assert b'"charged": false' in body
    assert await balance(stage, caller) == (1_000_000, 0)


async def test_an_upstream_that_never_answers_costs_nothing(
    stage: Stage, upstream: RawUpstream, caller: Funded
) -> None:
    upstream.script = _silent
    assert split(await ask(stage.url, get("/paid/x", bearer(caller))))[0] == 504
    assert await balance(stage, caller) == (1_000_000, 0)
    await asyncio.wait_for(upstream.visits[0].gone.wait(), 5)


@pytest.mark.parametrize("status", [400, 404, 429, 500, 503])
async def test_an_upstreams_error_is_passed_on_and_costs_nothing(
    stage: Stage, upstream: RawUpstream, caller: Funded, status: int
) -> None:
    upstream.script = answering(b"HTTP/1.1 %d Odd\r\nContent-Length: 3\r\n\r\nbad" % status)
    seen, fields, body = split(await ask(stage.url, get("/paid/x", bearer(caller))))
    assert (seen, body) == (status, b"bad")
    assert ("Gateway-Cost", "0.00 usd") in fields
    assert ("Gateway-Balance", "1.00 usd") in fields
    assert await balance(stage, caller) == (1_000_000, 0)


@pytest.mark.parametrize(
    "garbage",
    [
        b"SSH-2.0-x\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX: a\x00b\r\n\r\n",
        b"",
    ],
)
async def test_an_upstream_that_talks_nonsense_is_a_502(
    stage: Stage, upstream: RawUpstream, caller: Funded, garbage: bytes
) -> None:
    async def script(visit: Visit) -> None:
        visit.writer.write(garbage)
        visit.writer.close()

    upstream.script = script
    assert split(await ask(stage.url, get("/paid/x", bearer(caller))))[0] == 502
    assert await balance(stage, caller) == (1_000_000, 0)


@pytest.mark.parametrize("route", ["paid", "relaxed"])
@pytest.mark.parametrize(
    "head",
    [b"Content-Length: 100\r\n\r\nhalf", b"Transfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n"],
    ids=["length", "chunks"],
)
async def test_an_answer_that_the_upstream_cuts_looks_cut_and_is_free(
    stage: Stage, upstream: RawUpstream, caller: Funded, head: bytes, route: str
) -> None:
    async def script(visit: Visit) -> None:
        visit.writer.write(b"HTTP/1.1 200 OK\r\n" + head)
        visit.writer.close()

    upstream.script = script
    answer = await ask(stage.url, get(f"/{route}/x", bearer(caller)))
    status, fields, body = split(answer)
    if status == 502:  # while its price was on the way to the disk: nothing of it had been said
        assert route == "paid"
    else:
        assert status == 200
        assert body in (b"", b"half", b"4\r\nhalf\r\n")
        assert dict(fields).get("Content-Length", "100") == "100"
    assert await balance(stage, caller) == (1_000_000, 0)
    settings = stage.settings
    await stage.stop_gateway()
    await stage.start_gateway(settings)
    assert audited(stage).totals["usd"].spent == 0


async def test_a_cut_answer_looks_cut_to_http_1_0_too(stage: Stage, upstream: RawUpstream) -> None:
    async def script(visit: Visit) -> None:
        visit.writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n")
        await visit.writer.drain()
        visit.writer.close()

    upstream.script = script
    with pytest.raises(ConnectionResetError):
        await ask(stage.url, get("/free/x").replace(b"HTTP/1.1", b"HTTP/1.0"))


async def test_a_body_that_breaks_its_framing_is_refused_and_free(
    stage: Stage, upstream: RawUpstream, caller: Funded
) -> None:
    request = get("/paid/x", bearer(caller), "Transfer-Encoding: chunked", method="POST") + b"5\r\nhello\r\nzz\r\n"
    answer = await ask(stage.url, request)
    assert split(answer)[0] == 400
    assert caller.token.encode() not in answer
    assert await balance(stage, caller) == (1_000_000, 0)


async def test_a_body_that_stops_coming_is_given_up_and_free(
    stage: Stage, upstream: RawUpstream, caller: Funded
) -> None:
    request = get("/paid/x", bearer(caller), "Content-Length: 10", method="POST") + b"1"
    status, _, body = split(await ask(stage.url, request))
    assert status == 408
    assert b"body_too_slow" in body
    assert await balance(stage, caller) == (1_000_000, 0)


async def test_a_stream_that_falls_silent_is_cut(stage: Stage, upstream: RawUpstream, caller: Funded) -> None:
    async def script(visit: Visit) -> None:
        visit.writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf")
        await visit.reader.read()

    upstream.script = script
    assert (await ask(stage.url, get("/paid/x", bearer(caller)))).endswith(b"half")
    assert await balance(stage, caller) == (1_000_000, 0)


async def test_a_caller_that_leaves_is_left_and_leaves_no_hold(
    stage: Stage, upstream: RawUpstream, caller: Funded
) -> None:
    upstream.script = _silent
    host, port = stage.url.removeprefix("http://").split(":")
    _, writer = await asyncio.open_connection(host, int(port))
    writer.write(get("/paid/x", bearer(caller)))
    await upstream.visited.wait()
    assert await balance(stage, caller) == (998_000, 2_000)
    await closed(writer)
    await asyncio.wait_for(upstream.visits[0].gone.wait(), 2)
    assert await balance(stage, caller) == (1_000_000, 0)


async def test_connections_to_an_upstream_are_used_again(stage: Stage, upstream: RawUpstream) -> None:
    for _ in range(5):
        assert split(await ask(stage.url, get("/free/x")))[0] == 200
    assert (len(upstream.visits), upstream.connections) == (5, 1)


async def test_one_connection_carries_many_requests_in_order(
    stage: Stage, upstream: RawUpstream, caller: Funded
) -> None:
    host, port = stage.url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    for number in range(10):
        upstream.script = answering(OK.replace(b"ok", b"%02d" % number))
        path = ("/free/x", "/paid/x", "/-/wallet")[number % 3]
        writer.write(f"GET {path} HTTP/1.1\r\nHost: x\r\n{bearer(caller)}\r\n\r\n".encode())
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        assert head.startswith("HTTP/1.1 200")
        [length] = [line for line in head.split("\r\n") if line.lower().startswith("content-length")]
        body = await reader.readexactly(int(length.split(":")[1]))
        assert body == b"%02d" % number or path == "/-/wallet"
    await closed(writer)


@pytest.mark.parametrize("method", ["CONNECT", "TRACE"])
async def test_methods_that_are_never_served(stage: Stage, upstream: RawUpstream, method: str) -> None:
    assert split(await ask(stage.url, get("/free/x", method=method)))[0] in (404, 405)
    assert upstream.visits == []


# --- limits -----------------------------------------------------------------------------------------------------------


async def test_a_limit_is_told_before_and_after_it_is_reached(stage: Stage, upstream: RawUpstream) -> None:
    for left in (2, 1, 0):
        status, fields, _ = split(await ask(stage.url, get("/few/x")))
        assert status == 200
        assert ("RateLimit-Policy", '"few";q=3;w=60') in fields
        assert dict(fields)["RateLimit"].startswith(f'"few";r={left};t=')
    status, fields, body = split(await ask(stage.url, get("/few/x")))
    assert status == 429
    assert int(dict(fields)["Retry-After"]) > 0
    assert b'"code": "rate_limited"' in body
    assert len(upstream.visits) == 3


async def test_callers_with_money_at_one_address_have_each_their_own_limit(
    make_stage: StageMaker, upstream: RawUpstream
) -> None:
    stage = await make_stage(
        upstreams={"raw": {"url": upstream.url}},
        routes=[{"name": "few", "match": "/few/", "upstream": "raw", "price": "0.002 usd", "limit": "3/minute"}],
    )
    for caller in await funded(stage, "1.00 usd", count=2):
        statuses = [split(await ask(stage.url, get("/few/x", bearer(caller))))[0] for _ in range(4)]
        assert statuses == [200, 200, 200, 429]
    strangers = [split(await ask(stage.url, get("/few/x")))[0] for _ in range(4)]
    assert strangers == [402, 402, 402, 429]


async def test_a_bug_shows_nothing_but_the_request_id(
    stage: Stage, caller: Funded, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(*_: object) -> None:
        raise RuntimeError("a secret " + caller.token)

    monkeypatch.setattr(stage.gateway.proxy.serve, "_sell", broken)
    status, fields, body = split(await ask(stage.url, get("/paid/x", bearer(caller))))
    assert status == 500
    assert dict(fields)["Gateway-Request-Id"].encode() in body
    assert b"secret" not in body
    assert b"RuntimeError" not in body


async def _silent(visit: Visit) -> None:
    await visit.reader.read()
