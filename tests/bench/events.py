"""Both ends of a stream of events: an upstream that writes the time into each, and callers who look at the same clock.

The upstream takes the time just before it sends an event, the caller as soon as it has bytes in its hand. A stream has
a fixed number of events and then ends, so an event that something in between keeps back, drops or doubles is noticed:
every stream must bring all of its events, in order, and its end.

    python -m tests.bench.events PORT                      the upstream; `GET /150` is a stream of 150 events
    python -m tests.bench.events < plan.json > tally.json  the callers
"""

import asyncio
import gc
import itertools
import json
import sys
import time
from array import array
from dataclasses import asdict, dataclass
from typing import cast

import httptools

from tests.bench.load import percentile
from tests.bench.loop import runner

STREAMS = 50
INTERVAL_SECONDS = 0.02

_LATE_SECONDS_MAX = 15.0


class Events(asyncio.Protocol):
    """A connection of the upstream: one stream after the other."""

    _phases = itertools.cycle(range(STREAMS))

    def __init__(self) -> None:
        self._head = b""
        self._next: asyncio.TimerHandle | None = None
        self._transport: asyncio.WriteTransport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.WriteTransport, transport)  # uvloop's own is no subclass of it

    def data_received(self, data: bytes) -> None:
        self._head += data
        if self._head.endswith(b"\r\n\r\n"):
            count = int(self._head.split(b" ", 2)[1].rpartition(b"/")[2])
            self._head = b""
            self._transport.write(
                b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nCache-Control: no-cache\r\n"
                b"Transfer-Encoding: chunked\r\n\r\n"
            )
            loop = asyncio.get_running_loop()
            self._at(loop.time() + INTERVAL_SECONDS * next(self._phases) / STREAMS, 0, count)

    def connection_lost(self, error: Exception | None) -> None:
        if self._next is not None:
            self._next.cancel()

    def _at(self, due: float, number: int, count: int) -> None:
        self._next = asyncio.get_running_loop().call_at(due, self._write, due, number, count)

    def _write(self, due: float, number: int, count: int) -> None:
        if number == count:
            self._transport.write(b"0\r\n\r\n")
            return
        self._send(number, b"data: %d %d\n\n" % (number, time.monotonic_ns()))
        self._at(due + INTERVAL_SECONDS, number + 1, count)

    def _send(self, number: int, event: bytes) -> None:
        self._transport.write(b"%x\r\n%s\r\n" % (len(event), event))


@dataclass(frozen=True, slots=True)
class Plan:
    port: int
    path: str
    """Without the number of events, which is its last part."""
    seconds: float = 3.0
    warm_up_seconds: float = 0.5
    streams: int = STREAMS

    @property
    def uncounted(self) -> int:
        return int(self.warm_up_seconds / INTERVAL_SECONDS)

    @property
    def events(self) -> int:
        """Of each stream."""
        return self.uncounted + max(1, int(self.seconds / INTERVAL_SECONDS))


@dataclass(slots=True)
class Tally:
    """What came of it. `whole` streams brought every event in its order, and their end."""

    streams: int
    whole: int = 0
    first_wrong: str = ""
    p50_ms: float = 0.0
    p99_ms: float = 0.0


class _Stream(asyncio.Protocol):
    """A caller who reads one stream to its end."""

    def __init__(self, plan: Plan, lags: "array[float]") -> None:
        self._plan = plan
        self._lags = lags
        self._parser = httptools.HttpResponseParser(self)
        self._rest = b""
        self._got = 0
        self._read_ns = 0
        self.wrong = ""
        self.ended = asyncio.Event()
        self._transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        plan = self._plan
        self._transport.write(
            f"GET {plan.path}{plan.events} HTTP/1.1\r\nHost: 127.0.0.1:{plan.port}\r\n"
            "Accept: text/event-stream\r\n\r\n".encode()
        )

    def data_received(self, data: bytes) -> None:
        self._read_ns = time.monotonic_ns()
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as error:
            self._end(f"{error}: {data[:200]!r}")

    def on_body(self, body: bytes) -> None:
        *events, self._rest = (self._rest + body).split(b"\n\n")
        for event in events:
            self._take(event)

    def on_message_complete(self) -> None:
        status = self._parser.get_status_code()
        right = status == 200 and self._got == self._plan.events
        self._end("" if right else f"status {status}, {self._got} of {self._plan.events} events, {self._rest[:200]!r}")

    def connection_lost(self, error: Exception | None) -> None:
        self._end(f"the connection ended after {self._got} of {self._plan.events} events")

    def _take(self, event: bytes) -> None:
        words = event.split(b" ")
        if len(words) != 3 or words[:2] != [b"data:", b"%d" % self._got]:
            self._end(f"event {self._got} is {event[:200]!r}")
            return
        self._got += 1
        if self._got > self._plan.uncounted:
            self._lags.append((self._read_ns - int(words[2])) / 1e6)

    def _end(self, wrong: str) -> None:
        if not self.ended.is_set():
            self.wrong = wrong
            self.ended.set()
            self._transport.close()


async def listen(plan: Plan) -> Tally:
    """All streams at once, to their ends."""
    loop, lags, tally = asyncio.get_running_loop(), array("d"), Tally(plan.streams)
    streams = [_Stream(plan, lags) for _ in range(plan.streams)]
    for stream in streams:
        await loop.create_connection(lambda stream=stream: stream, "127.0.0.1", plan.port)  # type: ignore[misc]
    try:
        async with asyncio.timeout(plan.events * INTERVAL_SECONDS + _LATE_SECONDS_MAX):
            for stream in streams:
                await stream.ended.wait()
    except TimeoutError:
        tally.first_wrong = "a stream did not end in time"
    tally.whole = sum(stream.ended.is_set() and not stream.wrong for stream in streams)
    tally.first_wrong = next((stream.wrong for stream in streams if stream.wrong), tally.first_wrong)
    ordered = sorted(lags)
    tally.p50_ms, tally.p99_ms = (round(percentile(ordered, percent), 3) for percent in (50, 99))
    return tally


async def _serve(port: int) -> None:
    server = await asyncio.get_running_loop().create_server(Events, "127.0.0.1", port, backlog=1024)
    await server.serve_forever()


def main() -> None:
    gc.disable()  # a pause would be counted as the contender's
    with runner() as loop:
        if len(sys.argv) > 1:
            loop.run(_serve(int(sys.argv[1])))
        else:
            json.dump(asdict(loop.run(listen(Plan(**json.load(sys.stdin))))), sys.stdout)


if __name__ == "__main__":
    main()
