"""After a `101` the two connections belong to each other: bytes both ways, and whoever leaves is missed.

WebSockets by raw bytes and by a library on both ends, and protocols that nobody has heard of.
"""

import asyncio
import hashlib
import os
import random
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress

import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.typing import Subprotocol

from gateway.cli.stage import Stage
from tests.callers import Funded, audited, funded
from tests.conftest import StageMaker
from tests.raw import OK, RawUpstream, Visit, answering
from tests.relay.wire import Wire, ask, request

TORTURE = bool(os.environ.get("GATEWAY_TORTURE"))
MESSAGE_BYTES = 100_000_000 if TORTURE else 8_000_000
PRICE_MICROS = 2_000
UPGRADE = ("Connection: keep-alive, Upgrade", "Upgrade: raw/1.0, Other")
SWITCHED = b"HTTP/1.1 101 Switching Pr\xf6tocols\r\nConnection: upgrade\r\nUpgrade: raw/1.0\r\nX-Kept: 1\r\n\r\n"
EVERY_BYTE = bytes(range(256)) * 4

Tunnels = Callable[..., Awaitable[Stage]]


@pytest.fixture
async def make_tunnels(make_stage: StageMaker) -> Tunnels:
    """A gateway before an upstream with tight timeouts: a tunnel may be silent for longer than any of them."""

    async def make(url: str, *, idle: str = "400ms", opening: str = "400ms") -> Stage:
        return await make_stage(
            stripe=None,
            upstreams={
                "raw": {
                    "url": url, "first_byte_timeout": opening, "idle_timeout": idle, "ejection": {"failures": 9}
                }
            },
            timeouts={"body": "400ms", "keep_alive": "400ms", "head": opening},
            routes=[
                {"name": "paid", "match": "/paid/", "upstream": "raw", "price": "0.002 usd"},
                {"name": "all", "match": "/", "upstream": "raw", "price": "free"},
            ],
        )  # fmt: skip

    return make


@pytest.fixture
async def stage(make_tunnels: Tunnels, upstream: RawUpstream) -> Stage:
    return await make_tunnels(upstream.url)


@pytest.fixture
async def caller(stage: Stage) -> Funded:
    [caller] = await funded(stage, "1.00 usd")
    return caller


def bearer(caller: Funded) -> str:
    return f"Authorization: Bearer {caller.token}"


async def spent(stage: Stage, caller: Funded) -> int:
    """Of the caller's dollar, with nothing left on hold."""
    for _ in range(100):
        found = await stage.gateway.ledger.balance(caller.account, "usd")
        if not found.held.micros:
            return 1_000_000 - found.available.micros
        await asyncio.sleep(0.02)
    raise AssertionError("something is still on hold")


@asynccontextmanager
async def switched(url: str, *lines: str, path: str = "/x") -> AsyncIterator[Wire]:
    """A connection on which the upstream has switched protocols."""
    async with await Wire.to(url) as wire:
        await wire.send(request(path, *UPGRADE, *lines))
        assert (await wire.head()).status == 101
        yield wire


def then(talk: Callable[[Visit], Awaitable[None]]) -> Callable[[Visit], Awaitable[None]]:
    """A script that switches and then talks."""

    async def script(visit: Visit) -> None:
        visit.writer.write(SWITCHED)
        await talk(visit)

    return script


async def echo(visit: Visit) -> None:
    """Until the caller has said its last."""
    while data := await visit.reader.read(65_536):
        visit.writer.write(data)
        await visit.writer.drain()
    visit.writer.write_eof()


# --- switching --------------------------------------------------------------------------------------------------------


async def test_the_switch_is_passed_on_with_its_fields(stage: Stage, upstream: RawUpstream, caller: Funded) -> None:
    upstream.script = then(echo)
    async with await Wire.to(stage.url) as wire:
        await wire.send(request("/paid/x", *UPGRADE, bearer(caller), "Sec-WebSocket-Key: abc=="))
        seen = await wire.head()
        assert seen.line == b"HTTP/1.1 101 Switching Pr\xf6tocols"
        assert sorted(name for name, _ in seen.fields) == [
            b"Connection", b"Gateway-Balance", b"Gateway-Cost", b"Gateway-Request-Id", b"Upgrade", b"X-Kept",
        ]  # fmt: skip
        assert seen.values(b"Upgrade") == [b"raw/1.0"]
        assert seen.values(b"Connection") == [b"Upgrade"]
        assert seen.values(b"Gateway-Cost") == [b"0.002 usd"]
    [visit] = upstream.visits
    assert visit.values(b"Upgrade") == [b"raw/1.0, Other"]
    assert visit.values(b"Connection") == [b"Upgrade"]
    assert visit.values(b"Sec-WebSocket-Key") == [b"abc=="]


async def test_a_tunnel_passes_every_byte_both_ways(stage: Stage, upstream: RawUpstream) -> None:
    upstream.script = then(echo)
    async with switched(stage.url) as wire:
        for data in (EVERY_BYTE, b"\r\n\r\n", b"GET /x HTTP/1.1\r\nHost: x\r\n\r\n", b"0\r\n\r\n", b"\x00"):
            await wire.send(data)
            assert await wire.exactly(len(data)) == data
    assert len(upstream.visits) == 1


async def test_what_stands_right_behind_the_heads_belongs_to_the_tunnel(stage: Stage, upstream: RawUpstream) -> None:
    """The caller does not wait for the 101, and the upstream speaks in the same breath."""
    early = b""

    async def script(visit: Visit) -> None:
        nonlocal early
        visit.writer.write(SWITCHED + b"first words" + EVERY_BYTE)
        early = await visit.reader.readexactly(5)
        await echo(visit)

    upstream.script = script
    async with await Wire.to(stage.url) as wire:
        await wire.send(request("/x", *UPGRADE) + b"hello" + b"more")
        assert (await wire.head()).status == 101
        assert await wire.exactly(11 + len(EVERY_BYTE) + 4) == b"first words" + EVERY_BYTE + b"more"
    assert early == b"hello"


async def test_much_that_comes_before_the_switch_is_told_waits(
    stage: Stage, upstream: RawUpstream, caller: Funded
) -> None:
    """More than is kept while the price is on its way to the disk."""
    said = random.Random(1).randbytes(1_000_000)

    async def talk(visit: Visit) -> None:
        visit.writer.write(said)
        await echo(visit)

    upstream.script = then(talk)
    async with switched(stage.url, bearer(caller), path="/paid/x") as wire:
        assert await wire.exactly(len(said)) == said
        await wire.send(b"still there")
        assert await wire.exactly(11) == b"still there"
    assert await spent(stage, caller) == PRICE_MICROS


async def test_a_tunnel_may_be_silent(stage: Stage, upstream: RawUpstream) -> None:
    upstream.script = then(echo)
    async with switched(stage.url) as wire:
        assert await wire.silent(0.9)  # more than any of the timeouts
        await wire.send(b"awake")
        assert await wire.exactly(5) == b"awake"


@pytest.mark.parametrize("status", [403, 426, 200])
async def test_a_refused_upgrade_is_an_ordinary_answer(
    stage: Stage, upstream: RawUpstream, caller: Funded, status: int
) -> None:
    upstream.script = answering(
        b"HTTP/1.1 %d So\r\nUpgrade: other/2\r\nConnection: Upgrade\r\nContent-Length: 2\r\n\r\nno" % status
    )
    async with await Wire.to(stage.url) as wire:
        await wire.send(request("/paid/x", *UPGRADE, bearer(caller)))
        seen = await wire.answer()
        assert (seen.status, seen.body) == (status, b"no")
        # What a caller must upgrade to, a 426 has to say (RFC 9110, section 15.5.22).
        assert seen.values(b"Upgrade") == ([b"other/2"] if status == 426 else [])
        assert seen.values(b"Connection") == ([b"Upgrade"] if status == 426 else [])
        upstream.script = answering(OK)
        await wire.send(request("/x"))
        assert (await wire.answer()).body == b"ok"
    assert await spent(stage, caller) == (PRICE_MICROS if status == 200 else 0)
    assert upstream.connections == 1


async def test_an_upgrade_that_is_not_paid_for_is_refused(stage: Stage, upstream: RawUpstream) -> None:
    async with await Wire.to(stage.url) as wire:
        await wire.send(request("/paid/x", *UPGRADE))
        assert (await wire.answer()).status == 402
        await wire.send(request("/x"))
        assert (await wire.answer()).body == b"ok"
    assert len(upstream.visits) == 1


async def test_a_switch_that_nobody_asked_for_is_a_fault(stage: Stage, upstream: RawUpstream, caller: Funded) -> None:
    upstream.script = then(echo)
    for data in (
        request("/paid/x", bearer(caller)),
        request("/paid/x", bearer(caller), "Upgrade: raw/1.0"),  # not in Connection
        request("/paid/x", bearer(caller), *UPGRADE, version="1.0"),
        request("/paid/x", bearer(caller), "Upgrade: h2c", "Connection: Upgrade"),
    ):
        assert (await ask(stage.url, data)).status == 502
    assert all(not visit.values(b"Upgrade") for visit in upstream.visits)
    assert await spent(stage, caller) == 0


# --- money ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("end", ["caller", "upstream", "reset by caller", "reset by upstream"])
async def test_a_tunnel_is_charged_once_however_it_ends(
    stage: Stage, upstream: RawUpstream, caller: Funded, end: str
) -> None:
    async def talk(visit: Visit) -> None:
        assert await visit.reader.readexactly(5) == b"hello"
        visit.writer.write(b"hello")
        if end == "reset by upstream":
            _reset(visit.writer)
        elif end == "upstream":
            visit.writer.close()
        else:
            await visit.reader.read()

    upstream.script = then(talk)
    async with switched(stage.url, bearer(caller), path="/paid/x") as wire:
        await wire.send(b"hello")
        if not end.startswith("reset"):
            assert await wire.exactly(5) == b"hello"
        if end == "reset by caller":
            _reset(wire.writer)
        elif end == "reset by upstream":
            with pytest.raises((ConnectionResetError, asyncio.IncompleteReadError)):
                await wire.exactly(100)
    assert await spent(stage, caller) == PRICE_MICROS
    await stage.stop_gateway()
    assert audited(stage).totals["usd"].spent == PRICE_MICROS


def _reset(writer: asyncio.StreamWriter) -> None:
    opened = writer.get_extra_info("socket")
    opened.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


# --- ends -------------------------------------------------------------------------------------------------------------


async def test_the_caller_may_end_its_half_first(stage: Stage, upstream: RawUpstream) -> None:
    """And goes on listening, for longer than it may be silent, as long as something comes."""

    async def talk(visit: Visit) -> None:
        said = await visit.reader.read()
        for _ in range(9):
            await asyncio.sleep(0.1)
            visit.writer.write(said)
        visit.writer.write_eof()

    upstream.script = then(talk)
    async with switched(stage.url) as wire:
        await wire.send(b"all that I say;")
        wire.writer.write_eof()
        assert await wire.rest() == b"all that I say;" * 9


async def test_the_upstream_may_end_its_half_first(stage: Stage, upstream: RawUpstream) -> None:
    heard = asyncio.get_running_loop().create_future()

    async def talk(visit: Visit) -> None:
        visit.writer.write(b"all that I say")
        visit.writer.write_eof()
        heard.set_result(await visit.reader.read())

    upstream.script = then(talk)
    async with switched(stage.url) as wire:
        assert await wire.rest() == b"all that I say"
        for _ in range(9):
            await wire.send(b"piece;")
            await asyncio.sleep(0.1)
        wire.writer.write_eof()
        assert await asyncio.wait_for(heard, 2) == b"piece;" * 9


@pytest.mark.parametrize("upstream_talks", [True, False])
@pytest.mark.parametrize("how", ["closed", "reset"])
async def test_an_upstream_hears_within_two_seconds_that_its_caller_is_gone(
    stage: Stage, upstream: RawUpstream, how: str, upstream_talks: bool
) -> None:
    gone = asyncio.Event()

    async def talk(visit: Visit) -> None:
        try:
            while upstream_talks:
                visit.writer.write(b"tick")
                await visit.writer.drain()
                await asyncio.sleep(0.05)
            await visit.reader.read()
        finally:
            gone.set()

    upstream.script = then(talk)
    async with switched(stage.url) as wire:
        if how == "reset":
            _reset(wire.writer)
    await asyncio.wait_for(gone.wait(), 2)


async def test_a_half_that_stays_open_in_silence_is_closed_in_the_end(stage: Stage, upstream: RawUpstream) -> None:
    ended = asyncio.Event()

    async def talk(visit: Visit) -> None:
        await visit.reader.read()
        try:
            await asyncio.sleep(20)
        finally:
            ended.set()

    upstream.script = then(talk)
    async with switched(stage.url) as wire:
        wire.writer.write_eof()
        assert await wire.rest() == b""


async def test_a_caller_hears_that_its_upstream_broke_off(stage: Stage, upstream: RawUpstream) -> None:
    async def talk(visit: Visit) -> None:
        await visit.reader.readexactly(1)
        _reset(visit.writer)

    upstream.script = then(talk)
    async with switched(stage.url) as wire:
        await wire.send(b"x")
        with pytest.raises(ConnectionResetError):
            await wire.rest()


# --- back-pressure ----------------------------------------------------------------------------------------------------

FLOOD_BYTES = 40_000_000
STALL_BYTES_MAX = 24_000_000  # what the four sockets' own buffers may take on the way


async def test_an_upstream_that_does_not_read_stops_its_caller(make_tunnels: Tunnels, upstream: RawUpstream) -> None:
    stage = await make_tunnels(upstream.url, idle="1500ms")
    go_on, digest = asyncio.Event(), hashlib.sha256()

    async def talk(visit: Visit) -> None:
        await go_on.wait()
        left = FLOOD_BYTES
        while left:
            data = await visit.reader.read(1 << 20)
            digest.update(data)
            left -= len(data)
        await asyncio.sleep(1.9)  # nobody speaks for longer than an upstream may take nothing
        visit.writer.write(b"done")
        await echo(visit)

    upstream.script = then(talk)
    piece, sent = bytes(65_536), 0
    async with switched(stage.url) as wire:
        with suppress(TimeoutError):
            async with asyncio.timeout(0.4):
                while sent < FLOOD_BYTES:
                    wire.writer.write(piece)
                    sent += len(piece)
                    await wire.writer.drain()
        assert sent < STALL_BYTES_MAX
        go_on.set()
        await wire.send(bytes(FLOOD_BYTES - sent))
        assert await wire.exactly(4) == b"done"
        assert digest.digest() == hashlib.sha256(bytes(FLOOD_BYTES)).digest()
        await wire.send(b"awake")
        assert await wire.exactly(5) == b"awake"


async def test_a_caller_that_does_not_read_stops_its_upstream(stage: Stage, upstream: RawUpstream) -> None:
    sent = 0

    async def talk(visit: Visit) -> None:
        nonlocal sent
        piece = bytes(65_536)
        while sent < FLOOD_BYTES:
            visit.writer.write(piece)
            sent += len(piece)
            await visit.writer.drain()
        visit.writer.write(b"done")
        await echo(visit)

    upstream.script = then(talk)
    async with switched(stage.url) as wire:
        before = -1
        while sent != before:
            before = sent
            await asyncio.sleep(0.3)
        assert sent < STALL_BYTES_MAX
        await asyncio.sleep(0.7)  # longer than an upstream may be silent: this one would speak if it were let
        left = -(-FLOOD_BYTES // 65_536) * 65_536
        while left:
            left -= len(await wire.reader.read(min(left, 1 << 20)))
        assert await wire.exactly(4) == b"done"
        await wire.send(b"awake")
        assert await wire.exactly(5) == b"awake"


# --- a library on both ends -------------------------------------------------------------------------------------------


@asynccontextmanager
async def websocket_server(
    handler: Callable[[ServerConnection], Awaitable[None]], *subprotocols: str
) -> AsyncIterator[str]:
    offered = [Subprotocol(name) for name in subprotocols] or None
    async with serve(handler, "127.0.0.1", 0, max_size=None, subprotocols=offered) as server:
        [opened] = server.sockets
        yield f"http://127.0.0.1:{opened.getsockname()[1]}"


async def ws_echo(connection: ServerConnection) -> None:
    async for message in connection:
        await connection.send(message)


def websocket(stage: Stage, caller: Funded | None = None, path: str = "/paid/x", **options: object) -> connect:
    return connect(
        stage.url.replace("http:", "ws:") + path,
        additional_headers=caller.headers if caller else {},
        max_size=None,
        proxy=None,
        **options,  # type: ignore[arg-type]
    )


async def test_a_websocket_keeps_subprotocol_messages_fragments_and_pings(make_tunnels: Tunnels) -> None:
    fragments: list[str | bytes] = []

    async def handler(connection: ServerConnection) -> None:
        async for piece in connection.recv_streaming():
            fragments.append(piece)
        await (await connection.ping(b"from the server"))
        await ws_echo(connection)

    async with websocket_server(handler, "chat.v2", "chat") as url:
        stage = await make_tunnels(url)
        [caller] = await funded(stage, "1.00 usd")
        async with websocket(stage, caller, subprotocols=["chat"]) as connection:
            assert connection.subprotocol == "chat"
            await connection.send(iter(["one", "two", "three"]))
            assert await (await connection.ping(b"\x00\xff")) >= 0
            for message in ("Grüße 🌍", b"\x00\xff" * 40_000, "", b""):
                await connection.send(message)
                assert await connection.recv() == message
        assert "".join(map(str, fragments)) == "onetwothree"
        assert len([piece for piece in fragments if piece]) == 3
        assert await spent(stage, caller) == PRICE_MICROS


async def test_close_codes_and_reasons_pass_both_ways(make_tunnels: Tunnels) -> None:
    heard = asyncio.get_running_loop().create_future()

    async def handler(connection: ServerConnection) -> None:
        if connection.request is not None and connection.request.path == "/server":
            await connection.close(4002, "the server's reason é")
            return
        await connection.wait_closed()
        heard.set_result((connection.close_code, connection.close_reason))

    async with websocket_server(handler) as url:
        stage = await make_tunnels(url)
        async with websocket(stage, path="/caller") as connection:
            await connection.close(4001, "the caller's reason é")
        assert await asyncio.wait_for(heard, 2) == (4001, "the caller's reason é")
        async with websocket(stage, path="/server") as connection:
            with pytest.raises(ConnectionClosed):
                await connection.recv()
            assert (connection.close_code, connection.close_reason) == (4002, "the server's reason é")


async def test_a_websocket_that_is_not_paid_for_is_a_402(make_tunnels: Tunnels) -> None:
    async with websocket_server(ws_echo) as url:
        stage = await make_tunnels(url)
        with pytest.raises(InvalidStatus) as refused:
            async with websocket(stage):
                pass
        assert refused.value.response.status_code == 402


async def test_a_message_may_be_of_any_size(make_tunnels: Tunnels) -> None:
    """8 MB; 100 under torture."""
    message = random.Random(3).randbytes(MESSAGE_BYTES)

    async def handler(connection: ServerConnection) -> None:
        received = await connection.recv(decode=False)
        await connection.send(hashlib.sha256(received).digest())
        await connection.send(received)

    async with websocket_server(handler) as url:
        stage = await make_tunnels(url)
        async with websocket(stage, path="/x", compression=None) as connection:
            await connection.send(message)
            assert await connection.recv() == hashlib.sha256(message).digest()
            assert await connection.recv() == message


async def test_fifty_websockets_at_once_and_each_is_its_own(make_tunnels: Tunnels) -> None:
    async with websocket_server(ws_echo) as url:
        stage = await make_tunnels(url, opening="20s")  # fifty at once may take a busy machine a while
        [caller] = await funded(stage, "1.00 usd")

        async def talk(number: int) -> None:
            async with websocket(stage, caller) as connection:
                await _lockstep(connection, number)
                await asyncio.sleep(0.8)  # idle, longer than any that holds for it
                await _lockstep(connection, number)

        await asyncio.gather(*(talk(number) for number in range(50)))
        assert await spent(stage, caller) == 50 * PRICE_MICROS


async def _lockstep(connection: ClientConnection, number: int) -> None:
    for turn in range(5):
        await connection.send(f"{number} {turn}")
        assert await connection.recv() == f"{number} {turn}"
