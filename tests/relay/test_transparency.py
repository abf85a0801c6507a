"""Byte for byte, both ways: what is sent is what arrives, and what is added or taken away is named here.

Through real sockets, with an upstream that records bytes and callers that write them. What both forms of the exchange
promise stands in `tests/web/test_proxy.py`; this is what the relay alone can do, aiohttp being what it is.
"""

import asyncio
import gzip
import hashlib
import random
from collections.abc import Awaitable, Callable
from itertools import pairwise

import pytest

from gateway.cli.stage import Stage
from gateway.relay import exchange
from gateway.relay.upstream import UpstreamConnection
from tests.callers import Funded, funded
from tests.conftest import StageMaker
from tests.raw import OK, RawUpstream, Script, Visit, answering
from tests.relay.wire import Wire, ask, request

HIGH_BYTES = bytes(range(0x80, 0x100))
EVERY_BYTE = bytes(range(256)) * 9
OURS_UPSTREAM = [
    b"X-Forwarded-For", b"X-Forwarded-Proto", b"X-Forwarded-Host", b"Forwarded", b"Via", b"Gateway-Request-Id",
    b"traceparent",
]  # fmt: skip
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n"
PRICE_MICROS = 2_000


@pytest.fixture
async def stage(make_stage: StageMaker, upstream: RawUpstream) -> Stage:
    """A free route for everything, and a priced one."""
    return await make_stage(
        stripe=None,
        upstreams={"raw": {"url": upstream.url}},
        limits={"request_body_max": "32 MiB", "request_head_max": "16 KiB"},
        routes=[
            {"name": "paid", "match": "/paid/", "upstream": "raw", "price": "0.002 usd"},
            {"name": "all", "match": "/", "upstream": "raw", "price": "free"},
        ],
    )


@pytest.fixture
async def caller(stage: Stage) -> Funded:
    [caller] = await funded(stage, "1.00 usd")
    return caller


def bearer(caller: Funded) -> str:
    return f"Authorization: Bearer {caller.token}"


async def spent(stage: Stage, caller: Funded) -> int:
    """Of the caller's dollar, with nothing left on hold."""
    found = await stage.gateway.ledger.balance(caller.account, "usd")
    assert not found.held.micros
    return 1_000_000 - found.available.micros


def in_turn(*answers: bytes) -> Script:
    """Each visit gets the next of these."""
    left = list(answers)

    async def script(visit: Visit) -> None:
        visit.writer.write(left.pop(0))
        await visit.writer.drain()

    return script


async def read_chunks(visit: Visit, on_chunk: Callable[[bytes], Awaitable[None]] | None = None) -> list[bytes]:
    """A chunked body, chunk by chunk, up to and with its last CRLF."""
    chunks = []
    while size := int((await visit.reader.readuntil(b"\r\n"))[:-2], 16):
        chunks.append((await visit.reader.readexactly(size + 2))[:-2])
        if on_chunk is not None:
            await on_chunk(chunks[-1])
    assert await visit.reader.readexactly(2) == b"\r\n"
    return chunks


# --- requests ---------------------------------------------------------------------------------------------------------


FIELDS: list[tuple[bytes, bytes]] = [
    (b"user-AGENT", b"me/1.0 (it; is) [me]"), (b"X-Twice", b"1"), (b"Accept", b"*/*"), (b"x-tWICE", b"2"),
    (b"X-Utf8", "Grüße, 世界 🌍".encode()), (b"X-Latin", "Grüße".encode("latin-1")), (b"X-High", HIGH_BYTES),
    (b"X-Empty", b""), (b"X-Inner", b"a\tb  c"), (b"X-Quoted", b'"a, b"; q="\\""'), (b"X-Twice", b"1"),
    (b"!#$%&'*+-.^`|~9", b"a name may look like this"), (b"ETag", b'W/"x"'), (b"Cookie", b"a=1; b=\xe9; a=2"),
    (b"Cookie", b"c=3"), (b"X-Colons", b": a:b ::"), (b"Referer", b"http://x/?a=b&c=%20#d"), (b"DNT", b"1"),
]  # fmt: skip


async def test_a_requests_fields_keep_order_case_and_every_byte(stage: Stage, upstream: RawUpstream) -> None:
    sent = [name + b": " + value for name, value in FIELDS]
    assert (await ask(stage.url, request("/x", *sent))).status == 200
    [visit] = upstream.visits
    (first, _), *rest = visit.fields
    assert first == b"Host"
    assert rest[: len(FIELDS)] == FIELDS
    assert [name for name, _ in rest[len(FIELDS) :]] == OURS_UPSTREAM


async def test_blanks_around_a_value_are_not_part_of_it(stage: Stage, upstream: RawUpstream) -> None:
    await ask(stage.url, request("/x", b"X-Blank: \t  a b \t ", b"X-None:a"))
    assert b"\r\nX-Blank: a b\r\nX-None: a\r\n" in upstream.visits[0].head


async def test_any_method_passes(stage: Stage, upstream: RawUpstream) -> None:
    for method in ("PURGE", "PROPFIND", "M-SEARCH", "MKCALENDAR", "REPORT", "QUERY", "X", "FROBNICATE_1"):
        data = request("/x?y", "Content-Length: 3", method=method, body=b"abc")
        assert (await ask(stage.url, data)).status == 200
        assert upstream.visits[-1].request_line == f"{method} /x?y HTTP/1.1".encode()
        assert upstream.visits[-1].body == b"abc"


async def test_a_method_in_small_letters_is_refused(stage: Stage, upstream: RawUpstream) -> None:
    """Methods are case-sensitive, and servers disagree about whether `get` is GET."""
    assert (await ask(stage.url, request("/x", method="get"))).status == 400
    assert upstream.visits == []


async def test_options_of_a_whole_server_reaches_it(stage: Stage, upstream: RawUpstream) -> None:
    upstream.script = answering(b"HTTP/1.1 200 OK\r\nAllow: GET, PURGE\r\nContent-Length: 0\r\n\r\n")
    seen = await ask(stage.url, request("*", method="OPTIONS"))
    assert seen.values(b"Allow") == [b"GET, PURGE"]
    await ask(stage.url, request("http://api.example", method="OPTIONS"))
    assert [visit.request_line for visit in upstream.visits] == [b"OPTIONS * HTTP/1.1"] * 2


@pytest.mark.parametrize("framing", ["length", "chunked"])
async def test_a_bodys_bytes_arrive_as_they_are(stage: Stage, upstream: RawUpstream, framing: str) -> None:
    pieces = [EVERY_BYTE[at : at + 100] for at in range(0, len(EVERY_BYTE), 100)]
    if framing == "length":
        lines, body = (f"Content-Length: {len(EVERY_BYTE)}",), EVERY_BYTE
    else:
        lines = ("Transfer-Encoding: chunked",)
        body = b"".join(b"%X;ext=1\r\n%b\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\nX-Trailer: 1\r\n\r\n"
    await ask(stage.url, request("/x", *lines, method="POST", body=body))
    [visit] = upstream.visits
    assert visit.body == EVERY_BYTE
    assert visit.values(b"Content-Length") == ([b"%d" % len(EVERY_BYTE)] if framing == "length" else [])
    assert visit.values(b"Transfer-Encoding") == ([] if framing == "length" else [b"chunked"])
    assert b"ext=1" not in visit.head


class Written:
    """An upstream connection's transport, and what was written to it, call by call."""

    def __init__(self, transport: asyncio.Transport, calls: list[bytes]) -> None:
        self._transport = transport
        self._calls = calls

    def write(self, data: bytes) -> None:
        self._calls.append(bytes(data))
        self._transport.write(data)

    def __getattr__(self, name: str) -> object:
        return getattr(self._transport, name)


async def test_a_head_goes_up_with_what_has_come_of_its_body_and_waits_for_nothing_else(
    stage: Stage, upstream: RawUpstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[bytes] = []
    made: Callable[..., None] = UpstreamConnection.connection_made
    monkeypatch.setattr(
        UpstreamConnection, "connection_made", lambda self, transport: made(self, Written(transport, calls))
    )
    posted = request("/x", "Content-Length: 6", method="POST", body=b"abcdef")
    async with await Wire.to(stage.url) as wire:
        await wire.send(posted)
        assert (await wire.answer()).status == 200
        [whole] = calls
        assert whole.startswith(b"POST /x HTTP/1.1\r\n")
        assert whole.endswith(b"\r\n\r\nabcdef")
        upstream.reads_bodies = False
        heads = asyncio.Event()

        async def script(visit: Visit) -> None:
            heads.set()
            await visit.reader.readexactly(6)
            visit.writer.write(OK)

        upstream.script = script
        await wire.send(posted[:-6])
        async with asyncio.timeout(5):
            await heads.wait()  # it has the head, though nothing of the body was sent yet
        await wire.send(b"abc")
        await wire.send(b"def")
        assert (await wire.answer()).status == 200
    assert calls[1].endswith(b"\r\n\r\n")
    assert b"".join(calls[2:]) == b"abcdef"


async def test_a_requests_trailers_go_no_further(stage: Stage, upstream: RawUpstream) -> None:
    """Chunk extensions and trailers have been used to smuggle requests; hardly anybody reads them."""
    upstream.reads_bodies = False
    raw = b""

    async def script(visit: Visit) -> None:
        nonlocal raw
        raw = await visit.reader.readuntil(b"\r\n\r\n")
        visit.writer.write(OK)

    upstream.script = script
    lines = ("Transfer-Encoding: chunked", "Trailer: X-Sum")
    body = b"5;a=b\r\nhello\r\n0\r\nX-Sum: 1\r\n\r\n"
    assert (await ask(stage.url, request("/x", *lines, method="POST", body=body))).status == 200
    assert raw == b"5\r\nhello\r\n0\r\n\r\n"
    assert upstream.visits[0].values(b"Trailer") == []


# --- heads of answers -------------------------------------------------------------------------------------------------


async def test_an_answers_fields_keep_order_case_and_every_byte(stage: Stage, upstream: RawUpstream) -> None:
    sent = [*FIELDS, (b"sERVER", b"theirs/1"), (b"Set-Cookie", b"a=1"), (b"date", b"whenever"), (b"Set-Cookie", b"b")]
    lines = b"".join(name + b": " + value + b"\r\n" for name, value in sent)
    upstream.script = answering(b"HTTP/1.1 200 OK\r\n" + lines + b"content-LENGTH: 2\r\n\r\nok")
    seen = await ask(stage.url, request("/x"))
    assert seen.fields[: len(sent) + 1] == [*sent, (b"content-LENGTH", b"2")]
    assert [name for name, _ in seen.fields[len(sent) + 1 :]] == [b"Gateway-Request-Id"]
    assert seen.body == b"ok"


async def test_a_date_is_added_where_there_is_none_and_a_server_never(stage: Stage, upstream: RawUpstream) -> None:
    seen = await ask(stage.url, request("/x"))
    assert [name for name, _ in seen.fields] == [b"Content-Length", b"Gateway-Request-Id", b"Date"]
    upstream.script = answering(OK.replace(b"\r\n\r\n", b"\r\nDate: then\r\nServer: it\r\n\r\n"))
    seen = await ask(stage.url, request("/x"))
    assert (seen.values(b"Date"), seen.values(b"Server")) == ([b"then"], [b"it"])


REASONS = [b" OK", b" ", b"", b' I\'m a (tea)pot: "x"!', b" Gr\xfc\xdfe", b" a\tb  c", " 世界".encode(), b" \xff\x80"]


async def test_every_status_and_reason_passes_on_one_connection(stage: Stage, upstream: RawUpstream) -> None:
    async def script(visit: Visit) -> None:
        status = int(visit.request_line.split(b"/", 2)[1].split(b" ")[0])
        reason = REASONS[status % len(REASONS)]
        framing = b"" if status in (204, 304) else b"Content-Length: 3\r\n"
        body = b"" if status in (204, 304) else b"%d" % status
        visit.writer.write(b"HTTP/1.1 %d%b\r\n%b\r\n%b" % (status, reason, framing, body))

    upstream.script = script
    async with await Wire.to(stage.url) as wire:
        for status in range(200, 600):
            await wire.send(request(f"/{status}"))
            seen = await wire.answer()
            assert seen.line == b"HTTP/1.1 %d %b" % (status, REASONS[status % len(REASONS)].removeprefix(b" "))
            assert seen.body == (b"" if status in (204, 304) else b"%d" % status)
    assert upstream.connections == 1


@pytest.mark.parametrize("location", [b"//else where/\xe9?a=%zz#f", b"http://127.0.0.1:1/", b"../x", b""])
async def test_a_redirect_goes_to_the_caller_as_it_is(stage: Stage, upstream: RawUpstream, location: bytes) -> None:
    statuses = (300, 301, 302, 303, 307, 308)
    for status in statuses:
        head = b"HTTP/1.1 %d Go\r\nLocation: %b\r\nContent-Length: 0\r\n\r\n" % (status, location)
        upstream.script = answering(head)
        seen = await ask(stage.url, request("/x"))
        assert (seen.status, seen.values(b"Location")) == (status, [location])
    assert len(upstream.visits) == len(statuses)


@pytest.mark.parametrize(
    ("method", "lines", "kept"),
    [
        ("HEAD", b"200 OK\r\nContent-Length: 1234\r\nETag: x\r\n", [b"Content-Length", b"ETag"]),
        ("HEAD", b"200 OK\r\nTransfer-Encoding: chunked\r\nETag: x\r\n", [b"ETag", b"Transfer-Encoding"]),
        ("HEAD", b"200 OK\r\nETag: x\r\n", [b"ETag"]),
        ("HEAD", b"404 No\r\nContent-Length: 0\r\n", [b"Content-Length"]),
        ("GET", b"204 No Content\r\nETag: x\r\nX-Count: 0\r\n", [b"ETag", b"X-Count"]),
        ("GET", b"304 Not Modified\r\nETag: x\r\nContent-Length: 1234\r\n", [b"ETag", b"Content-Length"]),
        ("GET", b"304 Not Modified\r\nETag: x\r\nTransfer-Encoding: chunked\r\n", [b"ETag"]),
        ("HEAD", b"304 Not Modified\r\nVary: *\r\n", [b"Vary"]),
        ("DELETE", b"205 Reset Content\r\nContent-Length: 0\r\n", [b"Content-Length"]),
    ],
)
async def test_an_answer_without_a_body_keeps_its_fields_and_both_connections(
    stage: Stage, upstream: RawUpstream, method: str, lines: bytes, kept: list[bytes]
) -> None:
    upstream.script = in_turn(b"HTTP/1.1 " + lines + b"\r\n", OK)
    async with await Wire.to(stage.url) as wire:
        await wire.send(request("/x", method=method) + request("/y"))
        seen = await wire.answer(bodiless=method == "HEAD")
        ours = (b"Gateway-Request-Id", b"Date")
        assert sorted(name for name, _ in seen.fields if name not in ours) == sorted(kept)
        assert seen.body == b""
        assert (await wire.answer()).body == b"ok"
    assert upstream.connections == 1


# --- bodies of answers ------------------------------------------------------------------------------------------------

ZSTD = bytes.fromhex("28b52ffd0058290000") + b"hello"  # a raw block; nobody on the road is to unpack it
CODED = {
    "gzip": gzip.compress(EVERY_BYTE), "br": bytes.fromhex("0b028068656c6c6f03"), "zstd": ZSTD,
    "gzip, br": EVERY_BYTE, "x-unheard-of": EVERY_BYTE,
}  # fmt: skip


@pytest.mark.parametrize("framing", ["length", "chunked", "close"])
async def test_a_coded_answer_is_not_touched(stage: Stage, upstream: RawUpstream, framing: str) -> None:
    for coding in (*CODED, "broken gzip"):
        await passes_untouched(stage, upstream, coding, framing)


async def passes_untouched(stage: Stage, upstream: RawUpstream, coding: str, framing: str) -> None:
    body = CODED.get(coding, CODED["gzip"][:-20])
    name = coding.removeprefix("broken ").encode()
    head = b"HTTP/1.1 200 OK\r\nContent-Encoding: %b\r\nVary: Accept-Encoding\r\n" % name

    async def script(visit: Visit) -> None:
        if framing == "length":
            visit.writer.write(head + b"Content-Length: %d\r\n\r\n" % len(body) + body)
        elif framing == "chunked":
            visit.writer.write(head + b"Transfer-Encoding: chunked\r\n\r\n%x\r\n%b\r\n0\r\n\r\n" % (len(body), body))
        else:
            visit.writer.write(head + b"\r\n" + body)
            visit.writer.close()

    upstream.script = script
    seen = await ask(stage.url, request("/x", "Accept-Encoding: gzip, br, zstd;q=0.1"))
    assert seen.body == body
    assert seen.values(b"Content-Encoding") == [name]
    assert upstream.visits[-1].values(b"Accept-Encoding") == [b"gzip, br, zstd;q=0.1"]


async def test_an_accept_encoding_is_never_invented(stage: Stage, upstream: RawUpstream) -> None:
    await ask(stage.url, request("/x"))
    assert {name.lower() for name, _ in upstream.visits[0].fields} == {
        b"host", *(name.lower() for name in OURS_UPSTREAM)
    }  # fmt: skip


async def test_a_close_delimited_answer_is_chunked_for_http_1_1(stage: Stage, upstream: RawUpstream) -> None:
    async def script(visit: Visit) -> None:
        visit.writer.write(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n" + EVERY_BYTE)
        visit.writer.close()

    upstream.script = script
    async with await Wire.to(stage.url) as wire:
        for _ in range(2):
            await wire.send(request("/x"))
            seen = await wire.answer()
            assert seen.values(b"Transfer-Encoding") == [b"chunked"]
            assert seen.values(b"Connection") == []
            assert seen.body == EVERY_BYTE


@pytest.mark.parametrize("keep", [True, False], ids=["kept", "closed"])
@pytest.mark.parametrize("framing", ["length", "chunked", "close"])
async def test_http_1_0_gets_an_answer_that_it_can_read(
    stage: Stage, upstream: RawUpstream, framing: str, keep: bool
) -> None:
    async def script(visit: Visit) -> None:
        heads = {
            "length": b"Content-Length: 5\r\n\r\nhello",
            "chunked": b"Transfer-Encoding: chunked\r\nTrailer: X\r\n\r\n2\r\nhe\r\n3\r\nllo\r\n0\r\nX: 1\r\n\r\n",
            "close": b"\r\nhello",
        }
        visit.writer.write(b"HTTP/1.1 200 OK\r\n" + heads[framing])
        if framing == "close":
            visit.writer.close()

    upstream.script = script
    lines = ["Connection: keep-alive"] if keep else []
    goes_on = keep and framing == "length"
    async with await Wire.to(stage.url) as wire:
        for _ in range(2 if goes_on else 1):
            await wire.send(request("/x", *lines, "TE: trailers", version="1.0"))
            seen = await wire.answer()
            assert seen.body == b"hello"
            assert seen.values(b"Transfer-Encoding") == []
            assert seen.values(b"Connection") == [b"keep-alive" if goes_on else b"close"]
        if not goes_on:
            assert await wire.rest() == b""
    assert upstream.visits[0].request_line == b"GET /x HTTP/1.1"


async def test_http_1_0_may_come_without_a_host(stage: Stage, upstream: RawUpstream) -> None:
    seen = await ask(stage.url, b"GET /x HTTP/1.0\r\n\r\n")
    assert seen.body == b"ok"
    assert upstream.visits[0].values(b"X-Forwarded-Host") == []
    assert upstream.visits[0].values(b"Host") == [upstream.url.removeprefix("http://").encode()]


@pytest.mark.parametrize("keep", [True, False], ids=["kept", "closed"])
async def test_an_upstream_of_http_1_0_is_served_too(stage: Stage, upstream: RawUpstream, keep: bool) -> None:
    async def script(visit: Visit) -> None:
        if keep:
            visit.writer.write(b"HTTP/1.0 200 Fine\r\nConnection: keep-alive\r\nContent-Length: 2\r\n\r\nok")
        else:
            visit.writer.write(b"HTTP/1.0 200 Fine\r\n\r\nok")
            visit.writer.close()

    upstream.script = script
    async with await Wire.to(stage.url) as wire:
        for _ in range(3):
            await wire.send(request("/x"))
            seen = await wire.answer()
            assert (seen.line, seen.body) == (b"HTTP/1.1 200 Fine", b"ok")
    assert upstream.connections == (1 if keep else 3)


async def test_each_event_of_a_stream_is_passed_on_at_once(stage: Stage, upstream: RawUpstream, caller: Funded) -> None:
    """In lockstep: the upstream says the next one only when the caller has read the last."""
    read = asyncio.Event()
    events = [b"data: %d\n\n" % number for number in range(20)]

    async def script(visit: Visit) -> None:
        visit.writer.write(CHUNKED + b"Content-Type: text/event-stream\r\n\r\n")
        for event in events:
            visit.writer.write(b"%x\r\n%b\r\n" % (len(event), event))
            await visit.writer.drain()
            await read.wait()
            read.clear()
        visit.writer.write(b"0\r\n\r\n")

    upstream.script = script
    async with await Wire.to(stage.url) as wire:
        await wire.send(request("/paid/x", bearer(caller)))
        assert (await wire.head()).values(b"Gateway-Cost") == [b"0.002 usd"]
        for event in events:
            assert await wire.chunk() == event
            read.set()
        assert await wire.chunk() == b""
    assert await spent(stage, caller) == PRICE_MICROS


# --- interim answers --------------------------------------------------------------------------------------------------

EARLY_HINTS = b"HTTP/1.1 103 Early H\xefnts\r\nLink: </a.css>; rel=preload\r\nLink: </b.js>\r\nGateway-Cost: 0\r\n\r\n"


async def test_interim_answers_pass_each_as_it_comes(stage: Stage, upstream: RawUpstream) -> None:
    go_on = asyncio.Event()

    async def script(visit: Visit) -> None:
        visit.writer.write(b"HTTP/1.1 102 Processing\r\n\r\n" + EARLY_HINTS)
        await go_on.wait()
        visit.writer.write(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </c>\r\n\r\n" + OK)

    upstream.script = script
    async with await Wire.to(stage.url) as wire:
        for _ in range(2):
            go_on.clear()
            await wire.send(request("/x"))
            assert (await wire.head()).line == b"HTTP/1.1 102 Processing"
            hints = await wire.head()
            assert hints.line == b"HTTP/1.1 103 Early H\xefnts"
            assert hints.fields == [(b"Link", b"</a.css>; rel=preload"), (b"Link", b"</b.js>")]
            go_on.set()
            assert (await wire.head()).values(b"Link") == [b"</c>"]  # nobody expected the 100
            assert (await wire.answer()).body == b"ok"


async def test_http_1_0_gets_no_interim_answer(stage: Stage, upstream: RawUpstream) -> None:
    upstream.script = answering(b"HTTP/1.1 102 Processing\r\n\r\n" + EARLY_HINTS + OK)
    assert (await ask(stage.url, request("/x", version="1.0"))).line == b"HTTP/1.1 200 OK"


# --- Expect: 100-continue ---------------------------------------------------------------------------------------------

EXPECTS = "Expect: 100-continue"


async def test_a_body_flows_when_the_upstream_says_so(stage: Stage, upstream: RawUpstream, caller: Funded) -> None:
    upstream.reads_bodies = False
    asked, go_on = asyncio.Event(), asyncio.Event()

    async def script(visit: Visit) -> None:
        asked.set()
        await go_on.wait()
        visit.writer.write(b"HTTP/1.1 100 Go ahead\r\nX-Ignored: 1\r\n\r\n")
        visit.body = await visit.reader.readexactly(5)
        visit.writer.write(OK)

    upstream.script = script
    async with await Wire.to(stage.url) as wire:
        await wire.send(request("/paid/x", bearer(caller), EXPECTS, "Content-Length: 5", method="POST"))
        await asyncio.wait_for(asked.wait(), 5)
        assert upstream.visits[0].values(b"Expect") == [b"100-continue"]
        assert await wire.silent(0.2)
        go_on.set()
        async with asyncio.timeout(0.5):  # it is the upstream's word, and not ours after a second
            assert (await wire.head()).status == 100
        await wire.send(b"hello")
        assert (await wire.answer()).body == b"ok"
    assert upstream.visits[0].body == b"hello"
    assert await spent(stage, caller) == PRICE_MICROS


async def test_a_100_that_nobody_expected_goes_no_further(stage: Stage, upstream: RawUpstream) -> None:
    upstream.reads_bodies = False

    async def script(visit: Visit) -> None:
        visit.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        visit.body = await visit.reader.readexactly(5)
        visit.writer.write(OK)

    upstream.script = script
    async with await Wire.to(stage.url) as wire:
        await wire.send(request("/x", "Content-Length: 5", method="POST"))
        assert await wire.silent(0.1)
        await wire.send(b"hello")
        assert (await wire.head()).status == 200


@pytest.mark.parametrize("status", [200, 401, 417])
async def test_a_caller_whose_body_is_not_wanted_never_hears_100(
    stage: Stage, upstream: RawUpstream, caller: Funded, status: int
) -> None:
    upstream.reads_bodies = False
    upstream.script = answering(b"HTTP/1.1 %d At once\r\nContent-Length: 2\r\n\r\nno" % status)
    async with await Wire.to(stage.url) as wire:
        await wire.send(request("/paid/x", bearer(caller), EXPECTS, "Content-Length: 500000", method="PUT"))
        seen = await wire.answer()
        assert (seen.status, seen.body) == (status, b"no")
        assert seen.values(b"Connection") == [b"close"]
        assert await wire.rest() == b""
    assert await spent(stage, caller) == (PRICE_MICROS if status < 400 else 0)


async def test_a_caller_is_not_left_waiting_for_an_upstream_that_ignores_expect(
    stage: Stage, upstream: RawUpstream
) -> None:
    loop = asyncio.get_running_loop()
    async with await Wire.to(stage.url) as wire:
        begun = loop.time()
        await wire.send(request("/x", EXPECTS, "Content-Length: 5", method="POST"))
        assert (await wire.head()).line == b"HTTP/1.1 100 Continue"
        assert 0.8 < loop.time() - begun < 5
        await wire.send(b"hello")
        assert (await wire.answer()).body == b"ok"
    assert upstream.visits[0].body == b"hello"


async def test_a_100_is_not_said_once_the_answer_is_known(
    stage: Stage, upstream: RawUpstream, caller: Funded, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The upstream has answered and the price is on its way to the disk when the second of patience is over."""
    upstream.reads_bodies = False
    upstream.script = answering(b"HTTP/1.1 401 No\r\nContent-Length: 2\r\n\r\nno")
    ledger = stage.gateway.ledger
    start = ledger.start

    async def slow(*arguments: object, **options: object) -> None:
        await asyncio.sleep(1.3)
        await start(*arguments, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(ledger, "start", slow)
    async with await Wire.to(stage.url) as wire:
        await wire.send(request("/paid/x", bearer(caller), EXPECTS, "Content-Length: 5", method="PUT"))
        assert (await wire.head()).status == 401


async def test_a_caller_that_cannot_pay_hears_402_and_no_100(stage: Stage, upstream: RawUpstream) -> None:
    async with await Wire.to(stage.url) as wire:
        await wire.send(request("/paid/x", EXPECTS, "Content-Length: 500000", method="PUT"))
        assert (await wire.answer()).status == 402
        assert await wire.rest() == b""
    assert upstream.visits == []


async def test_a_body_that_comes_unasked_is_not_held_up(
    stage: Stage, upstream: RawUpstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A caller that says Expect and does not wait."""
    monkeypatch.setattr(exchange, "_CONTINUE_SECONDS", 3600.0)
    async with await Wire.to(stage.url) as wire:
        await wire.send(request("/x", EXPECTS, "Content-Length: 5", method="POST", body=b"hello"))
        assert (await wire.answer()).body == b"ok"
    assert upstream.visits[0].body == b"hello"


# --- trailers ---------------------------------------------------------------------------------------------------------

TRAILED = (
    CHUNKED + b"Trailer: X-Sum, X-High\r\n\r\n5\r\nhello\r\n0\r\nX-Sum: abc\r\nx-HIGH: \xe9\xff\r\nX-Sum: def\r\n\r\n"
)


async def test_trailers_reach_a_caller_that_wants_them(stage: Stage, upstream: RawUpstream) -> None:
    upstream.script = answering(TRAILED)
    seen = await ask(stage.url, request("/x", "TE: trailers, deflate;q=0.5", "Connection: TE"))
    assert seen.body == b"hello"
    assert seen.values(b"Trailer") == [b"X-Sum, X-High"]
    assert seen.trailers == [(b"X-Sum", b"abc"), (b"x-HIGH", b"\xe9\xff"), (b"X-Sum", b"def")]
    [visit] = upstream.visits
    assert visit.values(b"TE") == [b"trailers"]
    assert visit.values(b"Connection") == [b"TE"]


async def test_trailers_do_not_reach_a_caller_that_did_not_ask(stage: Stage, upstream: RawUpstream) -> None:
    upstream.script = answering(TRAILED)
    async with await Wire.to(stage.url) as wire:
        for _ in range(2):
            await wire.send(request("/x"))
            seen = await wire.answer()
            assert (seen.body, seen.trailers, seen.values(b"Trailer")) == (b"hello", [], [])
    assert upstream.visits[0].values(b"TE") == []
    assert upstream.connections == 1


async def test_trailers_that_have_no_business_behind_a_body_are_left_out(stage: Stage, upstream: RawUpstream) -> None:
    said = b"X-Good: 1\r\nSet-Cookie: a=1\r\nGateway-Cost: 0\r\nContent-Type: x/y\r\nConnection: x\r\nHost: x\r\n"
    upstream.script = answering(CHUNKED + b"\r\n5\r\nhello\r\n0\r\n" + said + b"\r\n")
    seen = await ask(stage.url, request("/x", "TE: trailers"))
    assert (seen.body, seen.trailers) == (b"hello", [(b"X-Good", b"1")])


@pytest.mark.parametrize("trailer", [b"Content-Length: 5", b"transfer-encoding: chunked"])
async def test_a_trailer_that_frames_the_message_anew_cuts_the_answer(
    stage: Stage, upstream: RawUpstream, trailer: bytes
) -> None:
    async def script(visit: Visit) -> None:
        visit.writer.write(CHUNKED + b"\r\n5\r\nhello\r\n")
        await asyncio.sleep(0.05)
        visit.writer.write(b"0\r\n" + trailer + b"\r\n\r\n")

    upstream.script = script
    async with await Wire.to(stage.url) as wire:
        await wire.send(request("/x", "TE: trailers"))
        await wire.head()
        assert await wire.chunk() == b"hello"
        assert await wire.rest() == b""


# --- who speaks when --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [200, 413])
async def test_an_answer_may_come_before_the_body_ends(
    stage: Stage, upstream: RawUpstream, caller: Funded, status: int
) -> None:
    upstream.reads_bodies = False

    async def script(visit: Visit) -> None:
        visit.body = await visit.reader.readexactly(10)
        visit.writer.write(b"HTTP/1.1 %d Enough\r\nContent-Length: 6\r\n\r\nenough" % status)
        await visit.reader.read()

    upstream.script = script
    async with await Wire.to(stage.url) as wire:
        await wire.send(request("/paid/x", bearer(caller), "Content-Length: 1000000", method="POST", body=b"x" * 1000))
        seen = await wire.answer()
        assert (seen.status, seen.body) == (status, b"enough")
        await wire.send(b"x" * 999_000)  # it goes on talking, and is not reset before it could read
        assert await wire.rest() == b""
    assert await spent(stage, caller) == (PRICE_MICROS if status == 200 else 0)


async def test_an_upstream_may_answer_at_once_and_read_on(stage: Stage, upstream: RawUpstream) -> None:
    """The answer is whole long before the body: the connections are given up rather than used again."""
    upstream.reads_bodies = False

    async def script(visit: Visit) -> None:
        visit.writer.write(OK)
        visit.body = await visit.reader.read()

    upstream.script = script
    body = b"x" * 1_000_000
    async with await Wire.to(stage.url) as wire:
        await wire.send(request("/x", f"Content-Length: {len(body)}", method="POST"))
        seen = await wire.answer()
        assert (seen.body, seen.values(b"Connection")) == (b"ok", [b"close"])
        upstream.script = answering(OK)
        assert (await ask(stage.url, request("/y"))).body == b"ok"
    assert (len(upstream.visits), upstream.connections) == (2, 2)


@pytest.mark.parametrize("framing", ["length", "chunked"])
async def test_both_sides_may_speak_at_once(stage: Stage, upstream: RawUpstream, caller: Funded, framing: str) -> None:
    """An echo in lockstep: each piece comes back before the next one is sent."""
    upstream.reads_bodies = False
    pieces = [b"piece %02d" % number for number in range(20)]

    async def script(visit: Visit) -> None:
        visit.writer.write(CHUNKED + b"\r\n")

        async def echo(chunk: bytes) -> None:
            visit.writer.write(b"%x\r\n%b\r\n" % (len(chunk), chunk))

        if framing == "chunked":
            await read_chunks(visit, echo)
        else:
            for _ in pieces:
                await echo(await visit.reader.readexactly(8))
        visit.writer.write(b"0\r\n\r\n")

    upstream.script = script
    lines = ["Transfer-Encoding: chunked"] if framing == "chunked" else [f"Content-Length: {8 * len(pieces)}"]
    async with await Wire.to(stage.url) as wire:
        await wire.send(request("/paid/x", bearer(caller), *lines, method="POST"))
        assert (await wire.head()).status == 200
        for piece in pieces:
            await wire.send(b"%x\r\n%b\r\n" % (len(piece), piece) if framing == "chunked" else piece)
            assert await wire.chunk() == piece
        if framing == "chunked":
            await wire.send(b"0\r\n\r\n")
        assert await wire.chunk() == b""
    assert await spent(stage, caller) == PRICE_MICROS


async def test_a_long_upload_does_not_make_its_upstream_late(make_stage: StageMaker, upstream: RawUpstream) -> None:
    """The answer has begun, and its upstream is silent because it listens: that is not the upstream's idleness."""
    upstream.reads_bodies = False
    stage = await make_stage(
        stripe=None,
        upstreams={"raw": {"url": upstream.url, "idle_timeout": "300ms"}},
        routes=[{"name": "all", "match": "/", "upstream": "raw", "price": "free"}],
    )

    async def script(visit: Visit) -> None:
        visit.writer.write(CHUNKED + b"\r\n")
        size = sum(map(len, await read_chunks(visit)))
        visit.writer.write(b"2\r\n%02d\r\n0\r\n\r\n" % size)

    upstream.script = script
    async with await Wire.to(stage.url) as wire:
        await wire.send(request("/x", "Transfer-Encoding: chunked", method="POST"))
        assert (await wire.head()).status == 200
        for _ in range(10):
            await wire.send(b"1\r\nx\r\n")
            await asyncio.sleep(0.1)
        await wire.send(b"0\r\n\r\n")
        assert await wire.chunk() == b"10"


async def test_pipelined_requests_are_answered_in_order(stage: Stage, upstream: RawUpstream, caller: Funded) -> None:
    order = random.Random(1)

    async def script(visit: Visit) -> None:
        await asyncio.sleep(order.random() * 0.004)
        said = b" ".join(visit.request_line.split(b" ")[:2]) + visit.body
        visit.writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(said) + said)

    upstream.script = script
    wanted, data = [], b""
    for number in range(60):
        path = f"/{'paid' if number % 3 else 'free'}/{number}"
        if number % 4 == 0:
            data += request(path, bearer(caller), "Content-Length: 4", method="PUT", body=b"body")
            wanted.append(f"PUT {path}body".encode())
        elif number % 4 == 1:
            body = b"2\r\nbo\r\n2\r\ndy\r\n0\r\n\r\n"
            data += request(path, bearer(caller), "Transfer-Encoding: chunked", method="POST", body=body)
            wanted.append(f"POST {path}body".encode())
        else:
            data += request(path, bearer(caller))
            wanted.append(f"GET {path}".encode())
    async with await Wire.to(stage.url) as wire:
        cuts = [0, *sorted(order.sample(range(len(data)), 25)), len(data)]
        for begin, end in pairwise(cuts):
            await wire.send(data[begin:end])
            await asyncio.sleep(0)
        assert [(await wire.answer()).body for _ in wanted] == wanted
    assert await spent(stage, caller) == 40 * PRICE_MICROS


async def test_a_large_body_goes_up_and_comes_down_whole(stage: Stage, upstream: RawUpstream) -> None:
    sent = random.Random(2).randbytes(5_000_000)
    upstream.reads_bodies = False

    async def script(visit: Visit) -> None:
        digest = hashlib.sha256(b"".join(await read_chunks(visit))).hexdigest().encode()
        visit.writer.write(b"HTTP/1.1 200 OK\r\nX-Digest: %b\r\nContent-Length: %d\r\n\r\n" % (digest, len(sent)))
        visit.writer.write(sent)
        await visit.writer.drain()

    upstream.script = script
    async with await Wire.to(stage.url) as wire:
        await wire.send(request("/x", "Transfer-Encoding: chunked", method="POST"))
        for at in range(0, len(sent), 70_001):
            piece = sent[at : at + 70_001]
            await wire.send(b"%x\r\n%b\r\n" % (len(piece), piece))
        await wire.send(b"0\r\n\r\n")
        seen = await wire.answer()
    assert seen.values(b"X-Digest") == [hashlib.sha256(sent).hexdigest().encode()]
    assert seen.body == sent
