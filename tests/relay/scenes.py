"""What the tests of trouble share: upstreams that misbehave by their path, callers that leave, and looks inside."""

import asyncio
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, replace
from typing import Any

from gateway.cli.stage import Stage
from gateway.relay.listener import Relay
from tests.callers import Funded
from tests.raw import OK, RawUpstream, Visit, closed

HALF = b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf"
EVENTS = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n9\r\ndata: 1\n\n\r\n"
SWITCHED = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: toy\r\nConnection: Upgrade\r\n\r\n"
DRIPS = 10
DRIP_SECONDS = 0.1
BIG_BYTES = 8 << 20


async def _silent(visit: Visit) -> None:
    await visit.reader.read()


async def _late(visit: Visit) -> None:
    await asyncio.sleep(0.15)
    visit.writer.write(OK)


async def _half(visit: Visit) -> None:
    visit.writer.write(HALF)
    await visit.reader.read()


async def _drip(visit: Visit) -> None:
    visit.writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % DRIPS)
    for _ in range(DRIPS):
        await asyncio.sleep(DRIP_SECONDS)
        visit.writer.write(b"x")


async def _events(visit: Visit) -> None:
    visit.writer.write(EVENTS)
    await visit.reader.read()


async def _late_events(visit: Visit) -> None:
    visit.writer.write(EVENTS)
    await asyncio.sleep(0.9)
    visit.writer.write(b"9\r\ndata: 2\n\n\r\n0\r\n\r\n")


async def _switch(visit: Visit) -> None:
    visit.writer.write(SWITCHED)
    while data := await visit.reader.read(1000):
        visit.writer.write(data)


async def _sink(visit: Visit) -> None:
    visit.writer.write(SWITCHED)
    while data := await visit.reader.read(65_536):
        if data.endswith(b"!"):
            visit.writer.write(b"seen")


async def _big(visit: Visit) -> None:
    size = int(visit.request_line.split(b"size=")[1].split()[0]) if b"size=" in visit.request_line else BIG_BYTES
    visit.writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size)
    for at in range(0, size, 65_536):
        visit.writer.write(b"x" * min(65_536, size - at))
        await visit.writer.drain()


async def _error(visit: Visit) -> None:
    visit.writer.write(b"HTTP/1.1 500 Oh\r\nContent-Length: 2\r\n\r\nno")


async def _hang_up(visit: Visit) -> None:
    visit.writer.close()


async def _ok(visit: Visit) -> None:
    visit.writer.write(OK)


_SCRIPTS: dict[bytes, Callable[[Visit], Awaitable[None]]] = {
    b"silent": _silent, b"late": _late, b"half": _half, b"drip": _drip, b"events": _events, b"big": _big,
    b"late-events": _late_events, b"switch": _switch, b"sink": _sink, b"error": _error, b"hang-up": _hang_up,
}  # fmt: skip


async def by_path(visit: Visit) -> None:
    """Misbehaves as the last part of the path says."""
    name = visit.request_line.split()[1].partition(b"?")[0].rpartition(b"/")[2]
    await _SCRIPTS.get(name, _ok)(visit)


@asynccontextmanager
async def toy_upstream(script: Callable[[Visit], Awaitable[None]] = by_path) -> AsyncIterator[RawUpstream]:
    upstream = RawUpstream(script)
    await upstream.start()
    try:
        yield upstream
    finally:
        await upstream.stop()


Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def serving(handler: Handler, **where: Any) -> AsyncIterator[str]:
    """A server of bare sockets; its URL, if it has an address."""
    tasks: set[asyncio.Task[None]] = set()

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        task.add_done_callback(tasks.discard)
        with suppress(OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            await handler(reader, writer)
        writer.transport.abort()

    if "path" in where:
        server: asyncio.Server = await asyncio.start_unix_server(connected, **where)
    elif "sock" in where:
        server = await asyncio.start_server(connected, **where)
    else:
        server = await asyncio.start_server(connected, where.pop("host", "127.0.0.1"), 0, **where)
    name = server.sockets[0].getsockname()
    try:
        yield "" if isinstance(name, str) else f"http://127.0.0.1:{name[1]}"
    finally:
        server.close()
        for task in list(tasks):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def small_socket() -> socket.socket:
    """A listening socket whose connections take little that nobody reads."""
    made = socket.socket()
    made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8192)
    made.bind(("127.0.0.1", 0))
    return made


# --- callers ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer; `fields` in small letters."""

    status: int
    fields: list[tuple[bytes, bytes]]
    body: bytes

    def values(self, name: bytes) -> list[bytes]:
        return [value for key, value in self.fields if key == name]

    @property
    def code(self) -> bytes:
        """Why the gateway refused; nothing for an upstream's answer."""
        return b"".join(self.values(b"gateway-error"))

    @property
    def closes(self) -> bool:
        return self.values(b"connection") == [b"close"]


@dataclass(frozen=True, slots=True)
class Wire:
    """One connection of a caller's."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    def send(self, data: bytes) -> None:
        self.writer.write(data)

    async def answer(self, seconds: float = 5) -> Answer:
        """The next answer, which must say how long it is."""
        async with asyncio.timeout(seconds):
            first, *lines = (await self.reader.readuntil(b"\r\n\r\n"))[:-4].split(b"\r\n")
            split = (line.partition(b": ") for line in lines)
            fields = [(name.lower(), value) for name, _, value in split]
            answer = Answer(int(first.split(b" ")[1]), fields, b"")
            if answer.status == 101:
                return answer
            [length] = answer.values(b"content-length")
            return replace(answer, body=await self.reader.readexactly(int(length)))

    async def rest(self, seconds: float = 5) -> bytes:
        """Everything until the gateway closes."""
        async with asyncio.timeout(seconds):
            return await self.reader.read()


@asynccontextmanager
async def connected(url: str, **how: Any) -> AsyncIterator[Wire]:
    host, _, port = url.partition("://")[2].rpartition(":")
    reader, writer = await asyncio.open_connection(host.strip("[]"), int(port), **how)
    try:
        yield Wire(reader, writer)
    finally:
        await closed(writer)


@asynccontextmanager
async def connected_slowly(url: str) -> AsyncIterator[Wire]:
    """A caller whose system takes little that it does not read."""
    host, port = url.removeprefix("http://").split(":")
    opened = socket.socket()
    opened.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8192)
    opened.setblocking(False)
    await asyncio.get_running_loop().sock_connect(opened, (host, int(port)))
    reader, writer = await asyncio.open_connection(sock=opened, limit=4096)
    try:
        yield Wire(reader, writer)
    finally:
        writer.transport.abort()
        await closed(writer)


def request(target: str, caller: Funded | None = None, *lines: str, method: str = "GET") -> bytes:
    bearer = [f"Authorization: Bearer {caller.token}"] if caller else []
    return "\r\n".join([f"{method} {target} HTTP/1.1", "Host: a.example", *bearer, *lines, "", ""]).encode()


def reset(wire: Wire) -> None:
    """Leave with a reset instead of an end."""
    wire.writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    wire.writer.transport.abort()


# --- looks inside -----------------------------------------------------------------------------------------------------


def relay_of(stage: Stage) -> Relay:
    assert stage.running is not None
    assert stage.running._relay is not None
    return stage.running._relay


def under_way(stage: Stage) -> int:
    """Requests that have a place."""
    places = stage.gateway.serve._places
    return sum(places._routes.values()) + sum(places._upstreams.values())


def callers_connected(stage: Stage) -> int:
    return len(relay_of(stage)._connections)


def upstream_connections(stage: Stage, *, busy: bool = False) -> int:
    """How many there are, to all upstreams; `busy`: of those only the ones that are no pool's."""
    pools = relay_of(stage).pools._pools.values()
    idle = sum(len(lane.idle) for pool in pools for lane in pool._lanes.values()) if busy else 0
    return sum(len(pool._open) for pool in pools) - idle


async def balance(stage: Stage, caller: Funded) -> tuple[int, int]:
    """What is available and what is on hold, in millionths."""
    found = await stage.gateway.ledger.balance(caller.account, "usd")
    return found.available.micros, found.held.micros


async def until(condition: Callable[[], object], seconds: float = 2) -> None:
    """Wait for something that happens on another connection."""
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.01)
