"""The load at a fixed rate: a request is sent when its time has come, whatever became of those before it.

Its latency counts from that time, not from when it could be sent, so a stall is felt by all who would have come while
it lasted. A load that waits for each answer sends nothing while it is stalled, and would report one slow request.

    python -m tests.bench.paced < plan.json > tally.json
"""

import gc
import json
import select
import socket
import sys
import time
from collections import deque
from dataclasses import asdict, dataclass

from tests.bench import load
from tests.bench.load import measure, percentile

PER_SECOND = 1000

_CONNECTIONS = 64
_STUCK_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class Plan:
    """What is asked, of whom, how often and how long."""

    port: int
    path: str
    tokens: tuple[str, ...]
    body: str
    per_second: int = PER_SECOND
    connections: int = _CONNECTIONS
    warm_up_seconds: float = 0.5
    seconds: float = 5.0


@dataclass(slots=True)
class Tally:
    """What came of it. `sent` is `served` + `wrong` + `missing`."""

    sent: int = 0
    served: int = 0
    wrong: int = 0
    missing: int = 0
    first_wrong: str = ""
    p50_ms: float = 0.0
    p99_ms: float = 0.0
    late_p99_ms: float = 0.0
    """How long after its time a request was sent."""

    @property
    def right(self) -> bool:
        return self.served > 0 and not self.wrong and not self.missing


@dataclass(slots=True)
class _Waiting:
    """A request on its way."""

    due: float
    counts: bool
    answer: bytes = b""


class Paced:
    """One run of a plan: plain sockets and `select`, whose clock is finer than the milliseconds of event loops."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        asked = load.Plan(plan.port, plan.path, plan.tokens, plan.body)
        self._requests = [load.head(asked, token) + b"\r\n" for token in plan.tokens or ("",)]
        self._body = plan.body.encode()
        self._tally = Tally()
        self._idle: deque[socket.socket] = deque()
        self._waiting: dict[socket.socket, _Waiting] = {}
        self._latencies: list[float] = []
        self._lateness: list[float] = []

    def run(self) -> Tally:
        plan, tally = self._plan, self._tally
        self._idle.extend(_connected(plan.port) for _ in range(plan.connections))
        total = int((plan.warm_up_seconds + plan.seconds) * plan.per_second)
        uncounted = int(plan.warm_up_seconds * plan.per_second)
        begun = time.perf_counter()
        while tally.sent < total or self._waiting:
            due, wait = begun + tally.sent / plan.per_second, _STUCK_SECONDS
            if tally.sent < total and self._idle:
                wait = due - time.perf_counter()
                if wait <= 0:
                    self._send(_Waiting(due, counts=tally.sent >= uncounted))
                    continue
            if not self._take(wait) and wait == _STUCK_SECONDS:
                break
        tally.missing = tally.sent - tally.served - tally.wrong
        latencies, lateness = sorted(self._latencies), sorted(self._lateness)
        tally.p50_ms, tally.p99_ms = (round(percentile(latencies, percent) * 1000, 3) for percent in (50, 99))
        tally.late_p99_ms = round(percentile(lateness, 99) * 1000, 3)
        for connection in (*self._idle, *self._waiting):
            connection.close()
        return tally

    def _send(self, waiting: _Waiting) -> None:
        """On the connection that has rested longest."""
        connection = self._idle.popleft()
        connection.sendall(self._requests[self._tally.sent % len(self._requests)])
        if waiting.counts:
            self._lateness.append(time.perf_counter() - waiting.due)
        self._tally.sent += 1
        self._waiting[connection] = waiting

    def _take(self, wait: float) -> bool:
        """Whatever arrives first, if it does in time."""
        readable: list[socket.socket] = select.select(list(self._waiting), (), (), wait)[0]
        for connection in readable:
            waiting, data = self._waiting[connection], _received(connection)
            waiting.answer += data
            length, head_length = measure(waiting.answer)
            if len(waiting.answer) >= length or not data:
                del self._waiting[connection]
                self._answered(waiting, head_length)
                self._keep(connection, reusable=bool(data and length))
        return bool(readable)

    def _answered(self, waiting: _Waiting, head_length: int) -> None:
        answer, tally = waiting.answer, self._tally
        if answer[9:12] != b"200" or answer[head_length:] != self._body:
            tally.first_wrong = tally.first_wrong or answer[:1000].decode("latin-1") or "(no answer)"
            tally.wrong += 1
            return
        tally.served += 1
        if waiting.counts:
            self._latencies.append(time.perf_counter() - waiting.due)

    def _keep(self, connection: socket.socket, *, reusable: bool) -> None:
        if not reusable:
            connection.close()
            connection = _connected(self._plan.port)
        self._idle.append(connection)


def _received(connection: socket.socket) -> bytes:
    """Nothing of one that has ended, however it did."""
    try:
        return connection.recv(65536)
    except ConnectionError:
        return b""


def _connected(port: int) -> socket.socket:
    connection = socket.create_connection(("127.0.0.1", port), timeout=_STUCK_SECONDS)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return connection


def main() -> None:
    plan = Plan(**json.load(sys.stdin))
    gc.disable()  # a pause would be counted as the contender's
    json.dump(asdict(Paced(plan).run()), sys.stdout)


if __name__ == "__main__":
    main()
