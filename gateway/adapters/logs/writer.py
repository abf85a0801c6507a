"""Lines on their way out. A log is never in a request's way.

Whoever logs only puts a line in a queue; one thread per stream joins what waits
there into one write. When a stream is slower than the gateway (a pipe that nobody reads) or takes nothing any more (a
full disk, a reader that is gone), lines are lost and counted, and the log says how many as soon as it goes on:

    {"event": "log lines dropped", "count": 17}

The thread writes to the descriptor itself where there is one. A thread that is stuck inside `sys.stdout` holds its
lock, and so would freeze whoever prints next, and the interpreter when it ends.
"""

import atexit
import json
import os
import select
import threading
from itertools import accumulate
from queue import SimpleQueue
from typing import TextIO

from gateway.adapters.logs.files import LogFile

WAITING_LINES_MAX = 10_000
CLOSE_SECONDS = 1.0
_GATHER_SECONDS = 0.02  # a thread that is woken for each line takes a tenth of a request's time


class LineWriter:
    """Writes lines to a stream from a thread of its own. Calling it never waits and never raises.

    The thread begins with the first line. Lines arrive in the order in which they were given, whole and once, or are
    counted as lost.
    """

    def __init__(self, stream: TextIO | LogFile, *, waiting_lines_max: int = WAITING_LINES_MAX) -> None:
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
        self.lost = 0
        """How many lines did not arrive, from the beginning."""

    def __call__(self, line: str) -> None:
        """Take a line, which ends in a line feed."""
        if self._closed or self._waiting.qsize() >= self._waiting_lines_max:
            with self._lock:
                self._dropped += 1
                self.lost += 1
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
        counts, given, carried = [1] * len(lines), len(lines), bool(self._failed)
        if self._failed:
            lines, counts = [_notice(self._failed), *lines], [self._failed, *counts]
        if dropped:
            lines, counts = [*lines, _notice(dropped)], [*counts, dropped]
        arrived = self._put(lines)
        self._failed = sum(counts[arrived:])
        with self._lock:
            self.lost += given - min(given, max(0, arrived - carried))

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


def _write_some(descriptor: int, data: memoryview) -> int:
    try:
        return os.write(descriptor, data)
    except BlockingIOError:  # somebody who shares the pipe has made it non-blocking
        select.select([], [descriptor], [])
        return 0


def _notice(count: int) -> str:
    return json.dumps({"event": "log lines dropped", "count": count}) + "\n"
