"""The load: callers that keep their connections open and ask again as soon as they were answered.

Every answer is read to its end and compared whole, so an answer that is wrong, cut or missing is counted, never
overlooked. When the time is up each connection still waits for the answer that it is owed: afterwards the number of
answers is the number of requests that were sent, to the last one, and the books must show the same number.

A latency is the time from handing the request to the kernel to having the last byte of its answer.

    python -m tests.bench.load < plan.json > tally.json
"""

import asyncio
import gc
import json
import os
import sys
import time
from array import array
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, cast

from tests.bench import cores
from tests.bench.loop import runner

_OWED_SECONDS_MAX = 15.0
_CONNECTS_SECONDS_MAX = 10.0


@dataclass(frozen=True, slots=True)
class Plan:
    """What is asked, of whom, and for how long."""

    port: int
    path: str
    tokens: tuple[str, ...]
    body: str
    """What a right answer brings."""
    fields: tuple[str, ...] = ()
    """More lines for the head of each request."""
    varied: bool = False
    """Whether each request brings a value that was never seen before."""
    posted: str = ""
    """What each request brings, as JSON; nothing: they are GET, which alone may be varied."""
    connections: int = 64
    warm_up_seconds: float = 0.5
    seconds: float = 5.0
    contender_pids: tuple[int, ...] = ()
    upstream_pid: int = 0
    contender_cores: tuple[int, ...] = ()
    load_cores: tuple[int, ...] = ()


@dataclass(slots=True)
class Tally:
    """What came of it. `sent` is `served` + `wrong` + `missing`, over everything that was sent."""

    sent: int = 0
    served: int = 0
    wrong: int = 0
    missing: int = 0
    first_wrong: str = ""
    counted: int = 0
    """Right answers within the time that counts."""
    seconds: float = 0.0
    p50_ms: float = 0.0
    p99_ms: float = 0.0
    contender_core: cores.Share | None = None
    load_cores: cores.Share | None = None

    @property
    def per_second(self) -> float:
        return self.counted / self.seconds if self.seconds else 0.0

    @property
    def right(self) -> bool:
        return self.served > 0 and not self.wrong and not self.missing


@dataclass(slots=True)
class _Stretch:
    """The time that counts: from the end of the warm-up to the end."""

    open: bool = False
    latencies: "array[float]" = field(default_factory=lambda: array("d"))


class Load:
    """One run of a plan."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        end = b"" if plan.varied else b"\r\n" + plan.posted.encode()
        self._requests = [head(plan, token) + end for token in plan.tokens or ("",)]
        self._trace = int.from_bytes(os.urandom(16))
        self.body = plan.body.encode()
        self.tally = Tally()
        self.stretch = _Stretch()
        self.stopping = False
        self._open: set[_Connection] = set()
        self._all_closed = asyncio.Event()

    async def run(self) -> Tally:
        plan, tally, loop = self._plan, self.tally, asyncio.get_running_loop()
        for _ in range(plan.connections):
            async with asyncio.timeout(_CONNECTS_SECONDS_MAX):
                await loop.create_connection(lambda: _Connection(self), "127.0.0.1", plan.port)
        await asyncio.sleep(plan.warm_up_seconds)
        before, begun = self._spent(), time.perf_counter()
        self.stretch.open = True
        await asyncio.sleep(plan.seconds)
        self.stretch.open = False
        tally.seconds = time.perf_counter() - begun
        tally.contender_core, tally.load_cores = map(cores.share, before, self._spent())
        await self._owed()
        self._note_latencies()
        return tally

    def next_request(self) -> bytes:
        """The next token asks."""
        sent = self.tally.sent
        self.tally.sent = sent + 1
        request = self._requests[sent % len(self._requests)]
        if self._plan.varied:
            return b"%sTraceparent: 00-%032x-%016x-01\r\n\r\n" % (request, self._trace ^ sent, sent)
        return request

    def opened(self, connection: "_Connection") -> None:
        self._open.add(connection)

    def closed(self, connection: "_Connection") -> None:
        self._open.discard(connection)
        if not self._open:
            self._all_closed.set()

    def note_wrong(self, answer: bytes) -> None:
        self.tally.wrong += 1
        if self.tally.wrong == 1:
            self.tally.first_wrong = answer[:1000].decode("latin-1")

    async def _owed(self) -> None:
        """Send nothing more, and wait for every answer that is on its way."""
        self.stopping = True
        try:
            async with asyncio.timeout(_OWED_SECONDS_MAX):
                await self._all_closed.wait()
        except TimeoutError:
            for connection in list(self._open):
                connection.abort()
        self.tally.missing = self.tally.sent - self.tally.served - self.tally.wrong

    def _spent(self) -> list[cores.Spent | None]:
        """What the contender's core and the load's had spent so far."""
        plan = self._plan
        return [
            cores.spent(plan.contender_cores, plan.contender_pids),
            cores.spent(plan.load_cores, (plan.upstream_pid, os.getpid())),
        ]

    def _note_latencies(self) -> None:
        latencies = sorted(self.stretch.latencies)
        self.tally.counted = len(latencies)
        self.tally.p50_ms = round(percentile(latencies, 50) * 1000, 3)
        self.tally.p99_ms = round(percentile(latencies, 99) * 1000, 3)


class _Connection(asyncio.Protocol):
    """One caller's connection: a request, its answer, the next request."""

    def __init__(self, load: Load) -> None:
        self._load = load
        self._begun = b""
        self._asked_at = 0.0
        self._transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's own is no subclass of it
        self._load.opened(self)
        self._ask()

    def data_received(self, data: bytes) -> None:
        if self._begun:
            data = self._begun + data
        length, head_length = measure(data)
        if len(data) < length:
            self._begun = data
            return
        self._begun = b""
        self._answered(data, head_length)
        if self._load.stopping or not length:
            self._transport.close()
        else:
            self._ask()

    def connection_lost(self, error: Exception | None) -> None:
        self._load.closed(self)

    def abort(self) -> None:
        self._transport.abort()

    def _ask(self) -> None:
        self._asked_at = time.perf_counter()
        self._transport.write(self._load.next_request())

    def _answered(self, answer: bytes, head_length: int) -> None:
        load = self._load
        body = answer[head_length:]
        if answer[9:12] != b"200" or (body != load.body and unchunked(body) != load.body):
            load.note_wrong(answer)
            return
        load.tally.served += 1
        if load.stretch.open:
            load.stretch.latencies.append(time.perf_counter() - self._asked_at)


_UNKNOWN = sys.maxsize
_LAST_CHUNK = b"\r\n0\r\n\r\n"


def measure(data: bytes) -> tuple[int, int]:
    """How long the answer that begins here is as a whole, and its head. A length of 0 says that nobody can tell."""
    end = data.find(b"\r\n\r\n")
    if end < 0:
        return _UNKNOWN, 0
    fields = data[: end + 2].lower()
    at = fields.find(b"\r\ncontent-length:")
    if at < 0 and b"\r\ntransfer-encoding: chunked" in fields:
        return (len(data) if data.endswith(_LAST_CHUNK) else _UNKNOWN), end + 4
    if at < 0:
        return 0, end + 4
    return end + 4 + int(fields[at + 17 : fields.find(b"\r\n", at + 17)]), end + 4


def unchunked(data: bytes) -> bytes:
    """A body in chunks, without what frames them; nothing of what is framed otherwise."""
    pieces, at = [], 0
    try:
        while size := int(data[at : (end := data.index(b"\r\n", at))], 16):
            pieces.append(data[end + 2 : end + 2 + size])
            at = end + size + 4
    except ValueError:
        return b""
    return b"".join(pieces) if data[at:] == _LAST_CHUNK[2:] else b""


def head(plan: Plan, token: str) -> bytes:
    """A request but for the empty line at its end."""
    method = "POST" if plan.posted else "GET"
    lines = [f"{method} {plan.path} HTTP/1.1", f"Host: 127.0.0.1:{plan.port}", "User-Agent: bench", "Accept: */*"]
    if plan.posted:
        lines += ["Content-Type: application/json", f"Content-Length: {len(plan.posted.encode())}"]
    if token:
        lines.append(f"Authorization: Bearer {token}")
    more = (line for line in plan.fields if not (plan.varied and line.startswith("Traceparent:")))
    return "\r\n".join([*lines, *more, ""]).encode()


def percentile(ordered: Sequence[float], percent: int) -> float:
    """The smallest value that this share of all values does not exceed; 0 of none."""
    return ordered[max(0, -(-len(ordered) * percent // 100) - 1)] if ordered else 0.0


def main() -> None:
    content: dict[str, Any] = json.load(sys.stdin)
    for name in ("tokens", "fields", "contender_pids", "contender_cores", "load_cores"):
        content[name] = tuple(content[name])
    plan = Plan(**content)
    gc.disable()  # nothing here makes cycles, and a pause would be counted as the contender's
    with runner() as loop:
        tally = loop.run(Load(plan).run())
    json.dump(asdict(tally), sys.stdout)


if __name__ == "__main__":
    main()
