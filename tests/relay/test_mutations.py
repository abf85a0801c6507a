"""Twenty thousand requests that chance has spoiled: none is a 500, none hangs, and the upstream sees only whole ones.

Thirty good requests are cut, flipped, spliced and padded, and sent on raw connections, some of which are used again.
The upstream keeps every byte of each of its connections; a parser that shares nothing with the gateway's then reads
them as a strict server would. What it cannot read to the last byte, or may not have been forwarded, fails with the seed
and the index of the mutations that were under way: `SEED` and `mutated(index)` make the very same bytes again.

`make test` runs a part of it, `GATEWAY_TORTURE=1` all.
"""

import asyncio
import os
import random
import re
from collections.abc import AsyncIterator
from typing import Any, NamedTuple

import pytest

from tests.callers import Funded, audited, funded
from tests.conftest import StageMaker
from tests.relay.refusing import Malformed, connected

SEED = int(os.environ.get("GATEWAY_MUTATIONS_SEED", "20261121"))
COUNT = 20_000 if os.environ.get("GATEWAY_TORTURE") else 1_500
AT_ONCE = 24
PRICE = 2_000
TOKEN = "TOKEN"  # stands for a funded caller's; replaced when sent, so that mutations do not depend on it
HANG_SECONDS = 8.0

CHUNKED = "Transfer-Encoding: chunked"
PAYS = f"Authorization: Bearer {TOKEN}"


def _request(line: str, *lines: str, body: bytes = b"", host: str = "a.example") -> bytes:
    return "\r\n".join([f"{line} HTTP/1.1", f"Host: {host}", *lines, "", ""]).encode() + body


CHUNKS = b"5\r\nhello\r\n6;a=b\r\n world\r\n0\r\n\r\n"
_WEBSOCKET = ("Upgrade: websocket", "Connection: Upgrade", "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: eA==")
TEMPLATES = [
    _request("GET /free/x"),
    _request("GET /free/x?a=b&c=%20d", "Accept: */*", "User-Agent: test", "Cookie: a=1; b=2"),
    _request("HEAD /free/x", "Accept: text/html"),
    _request("DELETE /free/x/y;z", "X-Empty:"),
    _request("OPTIONS *"),
    _request("GET /paid/x", PAYS),
    _request("GET /paid/x"),
    _request("GET /paid/x", "Authorization: Bearer fbx_nonsense"),
    _request("POST /paid/x", PAYS, "Content-Length: 5", body=b"hello"),
    _request("POST /paid/x", PAYS, CHUNKED, body=CHUNKS),
    _request("POST /free/x", "Content-Length: 11", "Content-Type: text/plain", body=b"hello world"),
    _request("PUT /free/x", "Content-Length: 0"),
    _request("POST /free/x", CHUNKED, body=CHUNKS),
    _request("POST /free/x", CHUNKED, "TE: trailers", "Trailer: T", body=b"3\r\nabc\r\n0\r\nT: u\r\nV: w\r\n\r\n"),
    _request("POST /free/x", "Content-Length: 5", "Expect: 100-continue", body=b"hello"),
    _request("POST /free/x", CHUNKED, "Expect: 100-continue", body=CHUNKS),
    _request("GET /free/x", *_WEBSOCKET),
    _request("GET http://a.example/free/x?y"),
    _request("POST http://a.example/paid/x", PAYS, "Content-Length: 3", body=b"abc"),
    _request("GET /free/1") + _request("GET /free/2") + _request("GET /free/3"),
    _request("POST /free/1", "Content-Length: 5", body=b"hello") + _request("GET /paid/2", PAYS),
    _request("POST /paid/1", PAYS, CHUNKED, body=CHUNKS) + _request("GET /free/2", "Connection: close"),
    _request("GET /-/wallet") + _request("GET /free/x") + _request("GET /-/style.css"),
    _request("POST /-/nothing", "Content-Length: 5", body=b"hello") + _request("GET /free/x"),
    _request("POST /-/webhooks/stripe", "Stripe-Signature: t=1,v1=00", "Content-Length: 2", body=b"{}"),
    _request("POST /-/webhooks/stripe", CHUNKED, body=CHUNKS),
    _request("GET /-/wallet", "Accept: text/html", PAYS, "Upgrade: h2c", "Connection: upgrade, http2-settings"),
    _request(
        "GET /free/x", "Connection: keep-alive, x-hop", "X-Hop: 1", "X-Forwarded-For: 1.2.3.4", "Gateway-Account: x"
    ),
    _request("GET /free/x", "Connection: keep-alive").replace(b"HTTP/1.1", b"HTTP/1.0"),
    _request("POST /paid/x", PAYS, "Content-Length: 5", body=b"hello").replace(b"HTTP/1.1", b"HTTP/1.0"),
]
_INSERTED = [
    b"\r\n", b"\n", b"\r", b"\0", b" ", b"\t", b":", b"\r\n\r\n", b"\r\n ", b"99999999999999999999", b"-1", b"0", b"00",
    b"ffffffff",
    b"\x0b", b"\x85", b"\xa0", b"\xff", b";", b",", b"%", b"/../", b"%2e%2e/", b"//", b"#", b"?", b"_", b"HTTP/1.1",
    b"HTTP/2.0",
    b"chunked", b"Content-Length: 3\r\n", b"Transfer-Encoding: chunked\r\n", b"Host: b.example\r\n",
    b"Connection: close\r\n",
    b"GET /free/smuggled HTTP/1.1\r\nHost: a.example\r\n\r\n",
    b"GET /paid/smuggled HTTP/1.1\r\nHost: a.example\r\n\r\n", b"0\r\n\r\n",
    b"Content-Length: 100\r\nX: ", b"Upgrade: websocket\r\nConnection: Upgrade\r\n", b"Expect: 100-continue\r\n",
    b"Gateway-Account: acct_1\r\n",
    b"X-Forwarded-For: 6.6.6.6\r\n", b"/paid/", b"/free/", b"/-/",
]  # fmt: skip


def mutated(index: int) -> bytes:
    """The bytes of one request, or of a few in a row, spoiled a little."""
    chance = random.Random(SEED * 1_000_003 + index)
    data = chance.choice(TEMPLATES)
    for _ in range(chance.choice((0, 1, 1, 1, 2, 2, 3, 5))):
        data = chance.choice(_MUTATIONS)(chance, data)
    return data


def _flip(chance: random.Random, data: bytes) -> bytes:
    at = chance.randrange(len(data) or 1)
    return data[:at] + bytes([chance.randrange(256)]) + data[at + 1 :]


def _flip_bit(chance: random.Random, data: bytes) -> bytes:
    at = chance.randrange(len(data) or 1)
    return data[:at] + bytes(byte ^ 1 << chance.randrange(8) for byte in data[at : at + 1]) + data[at + 1 :]


def _delete(chance: random.Random, data: bytes) -> bytes:
    at = chance.randrange(len(data) or 1)
    return data[:at] + data[at + chance.choice((1, 1, 2, 4, 20)) :]


def _double(chance: random.Random, data: bytes) -> bytes:
    at = chance.randrange(len(data) or 1)
    end = at + chance.choice((1, 2, 8, 40))
    return data[:end] + data[at:end] + data[end:]


def _insert(chance: random.Random, data: bytes) -> bytes:
    at = chance.choice([chance.randrange(len(data) + 1), *(found.end() for found in re.finditer(rb"\r\n|: ?", data))])
    return data[:at] + chance.choice(_INSERTED) + data[at:]


def _swap_lines(chance: random.Random, data: bytes) -> bytes:
    lines = data.split(b"\r\n")
    a, b = chance.randrange(len(lines)), chance.randrange(len(lines))
    lines[a], lines[b] = lines[b], lines[a]
    return b"\r\n".join(lines)


def _repeat_line(chance: random.Random, data: bytes) -> bytes:
    lines = data.split(b"\r\n")
    lines.insert(chance.randrange(len(lines)), chance.choice(lines))
    return b"\r\n".join(lines)


def _truncate(chance: random.Random, data: bytes) -> bytes:
    return data[: chance.randrange(len(data) + 1)]


def _change_case(chance: random.Random, data: bytes) -> bytes:
    at = chance.randrange(len(data) or 1)
    end = at + chance.choice((1, 5, 30))
    return data[:at] + data[at:end].swapcase() + data[end:]


def _change_number(chance: random.Random, data: bytes) -> bytes:
    found = list(re.finditer(rb"[0-9]+", data))
    if not found:
        return data
    which = chance.choice(found)
    number = chance.choice(
        (b"0", b"1", b"4", b"6", b"007", b"18446744073709551616", b"1000000", b"+5", b"5 ", b"0x5", b"")
    )
    return data[: which.start()] + number + data[which.end() :]


def _splice(chance: random.Random, data: bytes) -> bytes:
    other = chance.choice(TEMPLATES)
    return data[: chance.randrange(len(data) + 1)] + other[chance.randrange(len(other)) :]


def _end_lines_otherwise(chance: random.Random, data: bytes) -> bytes:
    return data.replace(b"\r\n", chance.choice((b"\n", b"\r", b"\n\r", b"\r\r\n")), chance.choice((1, 2, -1)))


_MUTATIONS = [
    _flip, _flip, _flip_bit, _delete, _delete, _double, _insert, _insert, _insert, _swap_lines, _repeat_line, _truncate,
    _change_case, _change_number, _change_number, _splice, _end_lines_otherwise,
]  # fmt: skip


# --- what the upstream saw --------------------------------------------------------------------------------------------


class Seen(NamedTuple):
    """A whole request that came out of the gateway."""

    method: bytes
    target: bytes
    fields: list[tuple[bytes, bytes]]
    body: bytes

    def values(self, name: bytes) -> list[bytes]:
        return [value for key, value in self.fields if key == name]


class Unfinished(Exception):
    """The bytes end before the request does."""


_TOKEN = rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_LINE = re.compile(rb"(%b) (/[\x21\x24-\x3b\x3d\x3f-\x5b\x5d\x5f\x61-\x7a\x7e]*|\*) HTTP/1\.1" % _TOKEN)
_FIELD = re.compile(rb"(%b): ([\t\x20-\x7e\x80-\xff]*)" % _TOKEN)


def read(data: bytes) -> tuple[Seen, bytes]:
    """The first request of `data`, and the rest. Raises Unfinished, and Malformed for what may not be."""
    if b"\r\n\r\n" not in data:
        raise Unfinished
    block, _, rest = data.partition(b"\r\n\r\n")
    first, *lines = block.split(b"\r\n")
    line = _LINE.fullmatch(first)
    if not line:
        raise Malformed(f"a request line is {first!r}")
    fields = []
    for text in lines:
        field = _FIELD.fullmatch(text)
        if not field or field[2] != field[2].strip(b" \t"):
            raise Malformed(f"a field is {text!r}")
        if b"_" in field[1]:
            raise Malformed(f"a name is {field[1]!r}")
        fields.append((field[1].lower(), field[2]))
    seen = Seen(line[1], line[2], fields, b"")
    for name in (b"host", b"x-forwarded-for", b"x-forwarded-proto", b"gateway-request-id"):
        if len(seen.values(name)) != 1:
            raise Malformed(f"{name!r} is there {len(seen.values(name))} times")
    if seen.values(b"x-forwarded-for") != [b"127.0.0.1"]:
        raise Malformed("it claims another address")
    body, rest = _read_body(seen, rest)
    return seen._replace(body=body), rest


def _read_body(seen: Seen, data: bytes) -> tuple[bytes, bytes]:
    lengths, codings = seen.values(b"content-length"), seen.values(b"transfer-encoding")
    if len(lengths) + len(codings) > 1:
        raise Malformed("it is framed twice")
    if codings:
        if codings != [b"chunked"]:
            raise Malformed(f"its coding is {codings!r}")
        return _read_chunks(data)
    if not lengths:
        return b"", data
    if not re.fullmatch(rb"0|[1-9][0-9]*", lengths[0]):
        raise Malformed(f"its length is {lengths!r}")
    length = int(lengths[0])
    if len(data) < length:
        raise Unfinished
    return data[:length], data[length:]


def _read_chunks(data: bytes) -> tuple[bytes, bytes]:
    body = b""
    while True:
        line, end, data = data.partition(b"\r\n")
        if not end:
            raise Unfinished
        if not re.fullmatch(rb"[0-9a-f]{1,8}", line):
            raise Malformed(f"a chunk begins with {line!r}")
        size = int(line, 16)
        if len(data) < size + 2:
            raise Unfinished
        if data[size : size + 2] != b"\r\n":
            raise Malformed("a chunk is longer than its size, or a trailer has passed")
        body, data = body + data[:size], data[size + 2 :]
        if size == 0:
            return body, data


class Upstream:
    """Keeps the bytes of every connection, and answers whenever a whole request has come."""

    def __init__(self) -> None:
        self.seen: list[Seen] = []
        self.faults: list[str] = []
        self.unfinished = 0
        self._server: asyncio.Server
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._connected, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    async def stop(self) -> None:
        self._server.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        data = b""
        try:
            while piece := await reader.read(65_536):
                data = self._take(data + piece, writer)
                if b"\r\nexpect: 100-continue\r\n" in data.lower():
                    writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            self.unfinished += bool(data)
        except ConnectionError:
            self.unfinished += bool(data)
        finally:
            writer.close()

    def _take(self, data: bytes, writer: asyncio.StreamWriter) -> bytes:
        while data:
            try:
                seen, data = read(data)
            except Unfinished:
                return data
            except Malformed as fault:
                self.faults.append(f"{fault} in {data[:500]!r}")
                writer.close()
                return b""
            if data:
                self.faults.append(f"{data[:500]!r} came behind a request that was not answered")
            self.seen.append(seen)
            said = seen.target + b" " + seen.body
            body = b"" if seen.method == b"HEAD" else said
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(said), body))
        return data


@pytest.fixture
async def upstream() -> AsyncIterator[Upstream]:
    upstream = Upstream()
    await upstream.start()
    yield upstream
    await upstream.stop()


# --- the callers ------------------------------------------------------------------------------------------------------


class Callers:
    """Sends mutations, `AT_ONCE` at a time, and keeps what went wrong."""

    def __init__(self, url: str, token: str) -> None:
        self._url = url
        self._token = token.encode()
        self._chance = random.Random(SEED)
        self.wrong: list[str] = []
        self.statuses: dict[int, int] = {}
        self._indices = iter(range(COUNT))

    async def send_all(self) -> None:
        await asyncio.gather(*(self._send_some() for _ in range(AT_ONCE)))

    async def _send_some(self) -> None:
        while batch := [
            index for _, index in zip(range(self._chance.choice((1, 1, 1, 2, 3))), self._indices, strict=False)
        ]:
            try:
                await asyncio.wait_for(self._converse(batch), HANG_SECONDS)
            except TimeoutError:
                self.wrong.append(f"{self._named(batch)} hangs")
            except ConnectionError:
                pass  # a cut is an answer too, where nothing better can be said
            except Malformed as fault:
                self.wrong.append(f"{self._named(batch)} is answered by no HTTP: {fault}")

    async def _converse(self, batch: list[int]) -> None:
        """The requests of a batch one behind the other on one connection, until it closes."""
        async with connected(self._url) as wire:
            for index in batch:
                data = mutated(index).replace(TOKEN.encode(), self._token)
                if self._chance.random() < 0.2:
                    await wire.send_slowly(data, max(1, len(data) // 5))
                else:
                    wire.send(data)
                if not await self._take_answers(wire, index):
                    return
            if self._chance.random() < 0.03:
                self._count(await wire.rest(HANG_SECONDS), batch[-1])  # whatever it waits for, it gives up
            elif self._chance.random() < 0.5 and wire.writer.can_write_eof() and not wire.writer.is_closing():
                wire.writer.write_eof()
                self._count(await wire.rest(HANG_SECONDS), batch[-1])

    async def _take_answers(self, wire: Any, index: int) -> bool:
        """What comes while something comes; whether the connection is still open."""
        data = b""
        try:
            while True:
                async with asyncio.timeout(0.03 if data else 0.1):
                    piece = await wire.reader.read(65_536)
                if not piece:
                    return False
                data += piece
        except TimeoutError:
            return True
        finally:
            self._count(data, index)

    def _count(self, data: bytes, index: int) -> None:
        for found in re.finditer(rb"HTTP/1\.1 ([0-9]{3}) [A-Za-z -]*\r\n", data):
            status = int(found[1])
            self.statuses[status] = self.statuses.get(status, 0) + 1
            if status == 500 or status in (502, 504):
                self.wrong.append(f"{self._named([index])} is a {status}")
        for named in (b"aiohttp", b"Traceback", b"httptools", b"llhttp"):
            if named in data:
                self.wrong.append(f"{self._named([index])} learns of {named!r}")

    def _named(self, indices: list[int]) -> str:
        return f"seed {SEED}, index {indices}: {[mutated(index) for index in indices]!r}"


async def test_spoiled_requests_are_refused_or_whole_and_paid(make_stage: StageMaker, upstream: Upstream) -> None:
    stage = await make_stage(
        upstreams={"raw": {"url": upstream.url, "first_byte_timeout": "3s", "idle_timeout": "3s"}},
        timeouts={"head": "250ms", "body": "250ms", "keep_alive": "500ms", "send": "1s"},
        limits={"request_body_max": "64 KiB", "request_head_max": "16 KiB", "request_headers_max": 40},
        routes=[
            {"name": "paid", "match": "/paid/", "upstream": "raw", "price": "0.002 usd"},
            {"name": "free", "match": "/free/", "upstream": "raw", "price": "free"},
        ],
    )
    [caller] = await funded(stage, "1000.00 usd")
    callers = Callers(stage.url, caller.token)
    await callers.send_all()

    found = (callers.wrong + upstream.faults)[:5]
    assert not found, f"seed {SEED}: {found}"
    assert callers.statuses.get(200, 0) > COUNT // 30, callers.statuses  # on a busy machine few are waited for
    assert callers.statuses.get(400, 0) > COUNT // 10
    assert {seen.target.split(b"/")[1] for seen in upstream.seen} <= {b"paid", b"free"}
    for seen in upstream.seen:
        assert caller.token.encode() not in b"".join(name + value for name, value in seen.fields)
        claims = seen.values(b"gateway-account")
        assert claims in ([], [caller.account.encode()])
        assert claims or not seen.target.startswith(b"/paid/"), f"seed {SEED}: {seen} was not paid"
    paid = sum(seen.target.startswith(b"/paid/") for seen in upstream.seen)
    await _is_charged(stage, caller, paid)


async def _is_charged(stage: Any, caller: Funded, paid: int) -> None:
    """Whatever the priced route's upstream saw is paid, but for answers that their caller did not wait for."""
    settings = stage.settings
    found = await stage.gateway.ledger.balance(caller.account, "usd")
    assert found.held.micros == 0
    spent = 1_000_000_000 - found.available.micros
    assert paid * PRICE // 4 <= spent <= paid * PRICE
    await stage.stop_gateway()
    assert audited(stage).totals["usd"].spent == spent
    await stage.start_gateway(settings)
