"""The requests: what it proves is that each was captured once and never cost less than 0 or more than its capture.

A void is the one change that takes all of it back: of a gated capture, whose answer had not started, and only once.
How this is exact with few requests in memory is told in the package's docstring, under *Memory*.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from gateway.adapters.sqlite.audit.layout import CAPTURE, CORRECTION, GATED_CAPTURE, RENEWAL, VOID, Row, records_of
from gateway.adapters.sqlite.audit.report import Findings

_REQUESTS_AT_ONCE = 250_000

RequestKey = tuple[int, int, int]
"""The time and the number of a request, and the account that paid for it."""


@dataclass(slots=True)
class _Request:
    """How one request stands: the number, size and kind of its capture (0 if there was none), and its sum."""

    number: int = 0
    captured: int = 0
    gated: bool = False
    sum: int = 0
    voided: bool = False


class Requests:
    """Follows what each request did cost. Exact, with few of them in memory: see the package's docstring."""

    def __init__(self, findings: Findings, *, after: int = 0) -> None:
        """`after`: the batches up to this one are not looked at, and may hold the captures of what changes later."""
        self.unknown = 0
        self._after = after
        self._findings = findings
        self._open: dict[RequestKey, _Request] = {}
        self._late: set[RequestKey] = set()
        self._edge: int | None = None

    def take(self, seq: int, number: int, kind: int, micros: int, key: RequestKey, started: int) -> None:
        """One record. `started` is the watermark of the batch before."""
        if self._edge is not None and key[0] < self._edge:
            self._late.add(key)
            return
        self._judge(self._open.setdefault(key, _Request()), seq, number, kind, micros, key, started)
        if len(self._open) > _REQUESTS_AT_ONCE:
            times = sorted(at_ms for at_ms, _, _ in self._open)
            self._edge = times[len(times) // 2] + 1
            self._open = {key: request for key, request in self._open.items() if key[0] >= self._edge}

    def follow_latecomers(self, batches: Iterator[Row]) -> None:
        """Go through the records again, for those requests that had been let go when a record of them came."""
        if not self._late:
            return
        latecomers = {key: _Request() for key in self._late}
        started = 0
        for batch in batches:
            for number, (kind, _, _, id, _, micros, at_ms, request) in records_of(batch):
                late = latecomers.get((at_ms, request, id))
                if late is not None:
                    self._judge(late, batch["seq"], number, kind, micros, (at_ms, request, id), started)
            started = batch["started"]

    def _judge(
        self, request: _Request, seq: int, number: int, kind: int, micros: int, key: RequestKey, started: int
    ) -> None:
        """Add a record to its request, and say what it may not do."""
        after = request.sum + micros
        wrong = None
        if kind in (CAPTURE, GATED_CAPTURE):
            if request.number:
                wrong = "captures it again"
            request.number, request.captured, request.gated = number, micros, kind == GATED_CAPTURE
        elif not request.number and self._after:
            self.unknown += 1
            return
        elif not request.number:
            wrong = "changes it before it was captured"
        elif request.voided:
            wrong = "changes it after it was voided"
        elif kind == RENEWAL:
            request.captured += micros
        elif kind == CORRECTION and after > request.captured:
            wrong = f"raises it to {after}, above its capture of {request.captured}"
        elif kind == VOID:
            wrong = _wrong_void(request, after, started)
            request.voided = True
        if wrong is None and after < 0:
            wrong = f"takes it below zero, to {after}"
        request.sum = after
        if wrong is not None:
            name = f"req_{key[0] & (1 << 64) - 1:012x}{key[1] & (1 << 64) - 1:016x}"
            what = f"holds a record {number} of request {name} of account {key[2]} that {wrong}"
            self._findings.add("batch", seq, "payload", what)


def _wrong_void(request: _Request, after: int, started: int) -> str | None:
    if not request.gated:
        return "voids a capture that was not gated"
    if request.number <= started:
        return "voids a capture whose answer had started"
    return f"leaves {after} of it" if after else None
