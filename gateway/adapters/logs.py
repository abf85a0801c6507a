"""Logs: structlog for events, one cheap line per request. Never a token, a cookie, a body, an e-mail address or a key.

A log is never in a request's way. Whoever logs only puts a line in a queue; one thread per stream joins what waits
there into one write. When a stream is slower than the gateway (a pipe that nobody reads) or takes nothing any more (a
full disk, a reader that is gone), lines are lost and counted, and the log says how many as soon as it goes on:

    {"event": "log lines dropped", "count": 17}

The thread writes to the descriptor itself where there is one. A thread that is stuck inside `sys.stdout` holds its
lock, and so would freeze whoever prints next, and the interpreter when it ends.

A request's line is put together by hand because structlog's processors cost more than the rest of the request.
structlog is imported where it is first needed: it brings `rich` along, which costs each command of ours 0.1 s.
"""

import atexit
import json
import os
import select
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from functools import lru_cache
from itertools import accumulate
from json.encoder import encode_basestring_ascii as _encode
from queue import SimpleQueue
from typing import TextIO

from gateway.core.callers import Caller
from gateway.core.money import Money
from gateway.core.routes import Route
from gateway.core.tokens import hidden
from gateway.ports import Clock, Exchange

WAITING_LINES_MAX = 10_000
CLOSE_SECONDS = 1.0
_GATHER_SECONDS = 0.02  # a thread that is woken for each line takes a tenth of a request's time
_events: "LineWriter | None" = None


def configure(*, console: bool, level: str, at_once: bool = False) -> None:
    """Set up structlog: JSON lines, or something for people's eyes on a terminal.

    `at_once` is for a process that forks and may have no threads: each event is written before the call returns.
    """
    import structlog

    global _events
    close()
    _events = None if at_once else LineWriter(sys.stderr)
    logger = _EventLogger(_events or _write_at_once)
    renderer = structlog.dev.ConsoleRenderer() if console else structlog.processors.JSONRenderer(sort_keys=False)
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=lambda *_: logger,
        cache_logger_on_first_use=True,
    )


def report(event: str, *, level: str = "warning", **fields: object) -> None:
    """Something happened that an operator should know. Before `configure`, structlog is as the host has set it up."""
    import structlog

    getattr(structlog.get_logger(), level)(event, **fields)


def close() -> None:
    """Write the events that wait, within a second. Later ones are lost until `configure` is called again."""
    if _events is not None:
        _events.close()


class RequestLog:
    """Implements `ports.Served`: a JSON line a request."""

    def __init__(self, clock: Clock, out: TextIO | None = None) -> None:
        self._clock = clock
        self._writer = LineWriter(out or sys.stdout)
        self._second = -1
        self._second_text = ""

    def __call__(self, exchange: Exchange, route: Route | None, caller: Caller) -> None:
        now_ms = self._clock.now_ms()
        second, ms = divmod(now_ms, 1000)
        if second != self._second:
            self._second_text = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second))
            self._second = second
        id = exchange.id
        cost = exchange.cost
        self._writer(
            f'{{"timestamp": "{self._second_text}.{ms:03d}Z", "level": "info", "event": "request"'
            f', "request_id": "{id}", "route": {_encode(route.name) if route else "null"}'
            f', "method": {_encode(exchange.method)}, "path": {_encode(hidden(exchange.target.partition("?")[0]))}'
            f', "status": {exchange.status:d}, "ms": {now_ms - id.at_ms:d}'
            f', "account": {_encode(caller.account) if caller.account else "null"}'
            f', "cost": {"null" if cost is None else _cost_text(cost.micros, cost.currency)}}}\n'
        )

    def close(self) -> None:
        """Write the lines that wait, within a second, and nothing after that."""
        self._writer.close()


class LineWriter:
    """Writes lines to a stream from a thread of its own. Calling it never waits and never raises.

    The thread begins with the first line. Lines arrive in the order in which they were given, whole and once, or are
    counted as lost.
    """

    def __init__(self, stream: TextIO, *, waiting_lines_max: int = WAITING_LINES_MAX) -> None:
        self._stream = stream
        self._encoding = getattr(stream, "encoding", None) or "utf-8"
        self._waiting_lines_max = waiting_lines_max
        self._waiting: SimpleQueue[str | None] = SimpleQueue()
        self._lock = threading.Lock()  # for all that happens seldom
        self._thread: threading.Thread | None = None
        self._closed = False
        self._close_asked = threading.Event()
        self._dropped = 0  # refused by a full queue
        self._failed = 0  # refused by the stream
        self._torn = ""  # what ends a line that was cut

    def __call__(self, line: str) -> None:
        """Take a line, which ends in a line feed."""
        if self._closed or self._waiting.qsize() >= self._waiting_lines_max:
            with self._lock:
                self._dropped += 1
            return
        self._waiting.put(line)
        if self._thread is None:
            self._start()

    def close(self) -> None:
        """End the thread once it has written what waits; leave it behind if that takes more than a second."""
        with self._lock:
            thread, closed, self._closed = self._thread, self._closed, True
        self._close_asked.set()
        if thread is None or closed:
            return
        atexit.unregister(self.close)
        self._waiting.put(None)
        thread.join(CLOSE_SECONDS)

    def _start(self) -> None:
        with self._lock:
            if self._thread is not None or self._closed:
                return
            thread = threading.Thread(target=self._run, name="log", daemon=True)
            try:
                thread.start()
            except RuntimeError:
                return  # no thread to be had: the next line tries again, and what waits is bounded
            self._thread = thread
        atexit.register(self.close)

    def _run(self) -> None:
        line: str | None = ""
        while line is not None:
            lines = []
            line = self._waiting.get()
            if not self._closed:
                self._close_asked.wait(_GATHER_SECONDS)
            while line is not None:
                lines.append(line)
                if self._waiting.empty() or len(lines) >= self._waiting_lines_max:
                    break
                line = self._waiting.get()
            self._write(lines)

    def _write(self, lines: list[str]) -> None:
        """Write these, and how many are missing before and after them."""
        with self._lock:
            dropped, self._dropped = self._dropped, 0
        counts = [1] * len(lines)
        if self._failed:
            lines, counts = [_notice(self._failed), *lines], [self._failed, *counts]
        if dropped:
            lines, counts = [*lines, _notice(dropped)], [*counts, dropped]
        self._failed = sum(counts[self._put(lines) :])

    def _put(self, lines: list[str]) -> int:
        """How many of these lines arrived, from the first."""
        done, pieces = 0, [self._torn, *lines]
        data = "".join(pieces).encode(self._encoding, "backslashreplace")
        try:
            descriptor = self._descriptor()
            if descriptor is None:
                self._stream.write(data.decode(self._encoding))
                self._stream.flush()
                return len(lines)
            while done < len(data):
                done += _write_some(descriptor, memoryview(data)[done:])
        except Exception:  # whatever is wrong with the stream, no request has anything to do with it
            ends = accumulate(len(piece.encode(self._encoding, "backslashreplace")) for piece in pieces)
            arrived = sum(end <= done for end in ends) - 1
            if done:
                self._torn = "" if data[done - 1 : done] == b"\n" else "\n"
            return max(0, arrived)
        self._torn = ""
        return len(lines)

    def _descriptor(self) -> int | None:
        """Asked for each time: once a stream is closed (a ValueError), its number may be another file's."""
        try:
            return self._stream.fileno()
        except (AttributeError, OSError):
            return None  # it is in memory


def _write_at_once(line: str) -> None:
    with suppress(OSError):
        os.write(2, line.encode())


def _write_some(descriptor: int, data: memoryview) -> int:
    try:
        return os.write(descriptor, data)
    except BlockingIOError:  # somebody who shares the pipe has made it non-blocking
        select.select([], [descriptor], [])
        return 0


@lru_cache(1024)
def _cost_text(micros: int, currency: str) -> str:
    return _encode(str(Money(micros, currency)))


def _notice(count: int) -> str:
    return json.dumps({"event": "log lines dropped", "count": count}) + "\n"


class _EventLogger:
    """What structlog hands its finished lines to."""

    def __init__(self, write: Callable[[str], None]) -> None:
        self._write = write

    def msg(self, message: str) -> None:
        self._write(message + "\n")

    log = debug = info = warn = warning = err = error = exception = critical = fatal = failure = msg
