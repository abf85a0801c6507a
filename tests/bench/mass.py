"""Both ends of a large body: whoever reads it compares every byte, and may be told to be slow.

python -m tests.bench.mass PORT                      the upstream; `GET /1000`, `POST /0` (bytes a second; 0: all)
python -m tests.bench.mass < plan.json > tally.json  the caller, who looks at the contender's memory meanwhile
"""

import json
import random
import socket
import socketserver
import sys
import threading
import time
from dataclasses import asdict, dataclass
from io import BufferedIOBase
from typing import Literal, Self

from tests.bench.processes import resident_bytes

Way = Literal["down", "up"]
_PART_BYTES = 256 * 1024
_BLOCK_BYTES = 65_521  # a prime: no buffer's size divides it, so bytes of another place are never the right ones
_CONTENT = random.Random(1).randbytes(_BLOCK_BYTES) * (2 + _PART_BYTES // _BLOCK_BYTES)
_LOOK_SECONDS = 0.005
STUCK_SECONDS = 30.0


def content(at: int, length: int) -> memoryview:
    """What is sent from this place on."""
    begin = at % _BLOCK_BYTES
    return memoryview(_CONTENT)[begin : begin + min(length, _PART_BYTES)]


class Reading:
    """Takes bytes, compares them, and is no faster than it is told to be (0: as fast as it can)."""

    def __init__(self, bytes_per_second: int) -> None:
        self._bytes_per_second = bytes_per_second
        self._begun = time.perf_counter()
        self.taken = 0
        self.right = True

    def take(self, data: bytes) -> None:
        self.right = self.right and _CONTENT.startswith(data, self.taken % _BLOCK_BYTES)
        self.taken += len(data)
        if self._bytes_per_second:
            time.sleep(max(0.0, self._begun + self.taken / self._bytes_per_second - time.perf_counter()))

    def take_all(self, file: BufferedIOBase, length: int) -> None:
        """This many bytes, or until there are no more."""
        while self.taken < length and (data := file.read1(min(_PART_BYTES, length - self.taken))):
            self.take(data)


class Upstream(socketserver.StreamRequestHandler):
    """A connection of the upstream."""

    def handle(self) -> None:
        while line := self.rfile.readline():
            method, target, _ = line.split()
            asked = int(target.rpartition(b"/")[2])
            length = _length(self.rfile)
            if method == b"GET":
                self.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % asked)
                _give(self.connection, asked)
            else:
                reading = Reading(asked)
                reading.take_all(self.rfile, length)
                said = json.dumps({"bytes": reading.taken if reading.right else -1}).encode()
                self.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(said), said))


class _Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True


def serving(port: int) -> socketserver.ThreadingTCPServer:
    """The upstream; it listens, and is yet to be told to serve."""
    return _Server(("127.0.0.1", port), Upstream)


def _length(file: BufferedIOBase) -> int:
    """What the head says of the body's length, once it is read to its end."""
    length = 0
    while (line := file.readline()) not in (b"\r\n", b""):
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length":
            length = int(value)
    return length


def _give(connection: socket.socket, size: int) -> None:
    at = 0
    while at < size:
        part = content(at, size - at)
        connection.sendall(part)
        at += len(part)


@dataclass(frozen=True, slots=True)
class Plan:
    port: int
    prefix: str
    way: Way
    bytes_per_second: int
    """How fast the reading end is; 0: as fast as it can."""
    contender_pid: int
    size: int


@dataclass(frozen=True, slots=True)
class Tally:
    way: Way
    bytes_per_second: int
    """What the reading end was told."""
    right: bool
    said: str
    """How the answer began."""
    seconds: float
    peak_bytes: int | None
    """The most memory that the contender had meanwhile."""


class Watch(threading.Thread):
    """Looks at a process' memory until it is left."""

    def __init__(self, pid: int) -> None:
        super().__init__(daemon=True)
        self._pid = pid
        self._left = threading.Event()
        self.peak_bytes: int | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._left.set()
        self.join()

    def run(self) -> None:
        while (found := resident_bytes(self._pid)) is not None:
            self.peak_bytes = max(self.peak_bytes or 0, found)
            if self._left.wait(_LOOK_SECONDS):
                break


def passed(plan: Plan) -> Tally:
    """Everything once, one way."""
    with (
        Watch(plan.contender_pid) as watch,
        socket.create_connection(("127.0.0.1", plan.port), timeout=STUCK_SECONDS) as connection,
        connection.makefile("rb") as answer,
    ):
        begun = time.perf_counter()
        right, said = (_down if plan.way == "down" else _up)(plan, connection, answer)
        seconds = time.perf_counter() - begun
    return Tally(plan.way, plan.bytes_per_second, right, said, seconds, watch.peak_bytes)


def _down(plan: Plan, connection: socket.socket, answer: BufferedIOBase) -> tuple[bool, str]:
    connection.sendall(f"GET {plan.prefix}{plan.size} HTTP/1.1\r\nHost: 127.0.0.1:{plan.port}\r\n\r\n".encode())
    said, length = answer.readline(), _length(answer)
    reading = Reading(plan.bytes_per_second)
    reading.take_all(answer, length)
    return b" 200 " in said and reading.right and reading.taken == plan.size, said.decode("latin-1")


def _up(plan: Plan, connection: socket.socket, answer: BufferedIOBase) -> tuple[bool, str]:
    connection.sendall(
        f"POST {plan.prefix}{plan.bytes_per_second} HTTP/1.1\r\nHost: 127.0.0.1:{plan.port}\r\n"
        f"Content-Length: {plan.size}\r\n\r\n".encode()
    )
    _give(connection, plan.size)
    said = answer.readline()
    body = answer.read(_length(answer))
    return b" 200 " in said and body == json.dumps({"bytes": plan.size}).encode(), f"{said!r} {body[:200]!r}"


def main() -> None:
    if len(sys.argv) > 1:
        with serving(int(sys.argv[1])) as server:
            server.serve_forever()
    else:
        json.dump(asdict(passed(Plan(**json.load(sys.stdin)))), sys.stdout)


if __name__ == "__main__":
    main()
