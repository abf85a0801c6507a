"""An upstream for machines without nginx: the same bytes for every request, on connections that stay open.

python -m tests.bench.canned PORT BYTES
"""

import asyncio
import sys
from typing import cast

from gateway.cli.run import runner


def body_of(size: int) -> bytes:
    """An answer's body: JSON of exactly this many bytes."""
    frame = b'{"answer":"%s"}'
    return frame % (b"x" * (size - len(frame % b"")))


def answer_with(body: bytes, status: bytes = b"200 OK") -> bytes:
    """A whole answer."""
    return b"HTTP/1.1 %s\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s" % (status, len(body), body)


class Canned(asyncio.Protocol):
    """One connection. It takes a request without a body for every empty line, which is all that it is ever sent."""

    def __init__(self, answer: bytes) -> None:
        self._answer = answer
        self._rest = b""
        self.transport: asyncio.WriteTransport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.WriteTransport, transport)  # uvloop's own is no subclass of it

    def data_received(self, data: bytes) -> None:
        *requests, self._rest = (self._rest + data).split(b"\r\n\r\n")
        for _ in requests:
            self.transport.write(self.answer())

    def answer(self) -> bytes:
        """The next answer."""
        return self._answer


async def _serve(port: int, body_bytes: int) -> None:
    answer = answer_with(body_of(body_bytes))
    server = await asyncio.get_running_loop().create_server(lambda: Canned(answer), "127.0.0.1", port, backlog=1024)
    await server.serve_forever()


if __name__ == "__main__":
    with runner() as loop:
        loop.run(_serve(int(sys.argv[1]), int(sys.argv[2])))
