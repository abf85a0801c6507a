"""An upstream for machines without nginx, on connections that stay open. The last part of the path says how many bytes
the answer brings: `GET /1024`.

python -m tests.bench.canned PORT
"""

import asyncio
import sys
from functools import cache
from typing import cast

from tests.bench.loop import runner


def body_of(size: int) -> bytes:
    """An answer's body: JSON of exactly this many bytes."""
    frame = b'{"answer":"%s"}'
    return frame % (b"x" * (size - len(frame % b"")))


def answer_with(body: bytes, status: bytes = b"200 OK") -> bytes:
    """A whole answer."""
    return b"HTTP/1.1 %s\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s" % (status, len(body), body)


class Canned(asyncio.Protocol):
    """One connection. It takes a request without a body for every empty line, which is all that it is ever sent."""

    def __init__(self) -> None:
        self._rest = b""
        self.transport: asyncio.WriteTransport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.WriteTransport, transport)  # uvloop's own is no subclass of it

    def data_received(self, data: bytes) -> None:
        *requests, self._rest = (self._rest + data).split(b"\r\n\r\n")
        for request in requests:
            self.transport.write(self.answer(request))

    def answer(self, request: bytes) -> bytes:
        """What this request gets."""
        return _asked_for(request.split(b" ", 2)[1])


@cache
def _asked_for(path: bytes) -> bytes:
    size = path.rpartition(b"/")[2]
    return answer_with(body_of(int(size))) if size.isdigit() else answer_with(b"", b"404 Not Found")


async def _serve(port: int) -> None:
    server = await asyncio.get_running_loop().create_server(Canned, "127.0.0.1", port, backlog=1024)
    await server.serve_forever()


if __name__ == "__main__":
    with runner() as loop:
        loop.run(_serve(int(sys.argv[1])))
