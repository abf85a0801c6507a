"""An upstream that records bytes and a client that sends them: no HTTP library that could share a bug with ours."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field

Script = Callable[["Visit"], Awaitable[None]]


@dataclass(slots=True)
class Visit:
    """One request as the upstream's socket saw it."""

    head: bytes
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    body: bytes = b""
    gone: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def request_line(self) -> bytes:
        return self.head.split(b"\r\n", 1)[0]

    @property
    def fields(self) -> list[tuple[bytes, bytes]]:
        lines = self.head.split(b"\r\n")[1:-2]
        return [(name, value.lstrip()) for name, _, value in (line.partition(b":") for line in lines)]

    def values(self, name: bytes) -> list[bytes]:
        return [value for key, value in self.fields if key.lower() == name.lower()]


def answering(answer: bytes) -> Script:
    """A script that reads the body and says these bytes."""

    async def script(visit: Visit) -> None:
        visit.writer.write(answer)
        await visit.writer.drain()

    return script


OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


class RawUpstream:
    """A server that keeps every request head and body, and answers by a script that a test may change."""

    def __init__(self, script: Script | None = None) -> None:
        self.script = script or answering(OK)
        self.reads_bodies = True
        """Whether a script begins when the body has come; else it begins with the head, and reads for itself."""
        self.visits: list[Visit] = []
        self.connections = 0
        self.visited = asyncio.Event()
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._writers: set[asyncio.StreamWriter] = set()

    @property
    def url(self) -> str:
        assert self._server is not None
        return f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._connected, "127.0.0.1", 0)

    async def stop(self) -> None:
        assert self._server is not None
        self._server.close()
        for _ in range(10):  # turns, for whoever was accepted just now: a task, a transport, a task of ours
            await asyncio.sleep(0)
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for writer in self._writers:
            writer.transport.abort()
        await asyncio.sleep(0)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        self._writers.add(writer)
        self.connections += 1
        try:
            while True:
                visit = Visit(await reader.readuntil(b"\r\n\r\n"), reader, writer)
                self.visits.append(visit)
                visit.body = await _body(visit) if self.reads_bodies else b""
                self.visited.set()
                await self.script(visit)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            for visit in self.visits:
                if visit.writer is writer:
                    visit.gone.set()
            await closed(writer)
            self._writers.discard(writer)


async def _body(visit: Visit) -> bytes:
    """The body as framed: raw chunks are kept with their framing."""
    for length in visit.values(b"Content-Length"):
        return await visit.reader.readexactly(int(length))
    if not visit.values(b"Transfer-Encoding"):
        return b""
    content = b""
    while True:
        size = int((await visit.reader.readuntil(b"\r\n")).strip(), 16)
        content += (await visit.reader.readexactly(size + 2))[:-2]
        if size == 0:
            return content


async def ask(url: str, request: bytes) -> bytes:
    """Send these bytes and return everything that comes back until the server closes (send `Connection: close`)."""
    host, port = url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    try:
        writer.write(request)
        async with asyncio.timeout(20):
            return await reader.read()
    finally:
        await closed(writer)


async def closed(writer: asyncio.StreamWriter) -> None:
    """Close and wait until it is: a socket that the loop's end finds open fails whichever test comes next."""
    writer.close()
    with suppress(OSError):
        await writer.wait_closed()


def split(answer: bytes) -> tuple[int, list[tuple[str, str]], bytes]:
    """Status, fields and body of an answer."""
    head, _, body = answer.partition(b"\r\n\r\n")
    first, *lines = head.decode("latin-1").split("\r\n")
    fields = [(name, value.strip()) for name, _, value in (line.partition(":") for line in lines)]
    return int(first.split(" ")[1]), fields, body
