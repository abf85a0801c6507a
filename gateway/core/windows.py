"""Windows that hold so many hits in so much time, in the three ways that the `limits` library knows.

- A fixed window begins with the first hit and holds its amount until its time is over. One number, but twice the amount
  may pass around its end.
- A moving window holds at any moment not more than its amount within the time before: exact, at the cost of
  remembering each hit.
- A sliding window counts by periods, and of the previous period the part that still lies within the time before. Two
  numbers, and a caller cannot have twice its amount around the turn of a period.

They admit what the library's strategies admit (`tests/core/test_windows.py` holds them against it on the same clock),
but for two things: what was refused is never counted, and the times are whole milliseconds, not floats. `wait_ms` asks
and counts nothing; `take` counts. So several windows can be asked before any of them counts.

A clock that is set back a little (less than the window's time) finds what was counted still counting; one that jumps
further begins anew, so that nobody is locked out for longer than two windows.
"""

from collections import deque
from typing import Literal, Protocol

Kind = Literal["sliding", "fixed", "moving"]


class Window(Protocol):
    """Counts the hits of one subject."""

    def wait_ms(self, now_ms: int, cost: int) -> int:
        """How long until `cost` more fits: 0 if it does now. What never fits waits for a whole window."""

    def take(self, now_ms: int, cost: int) -> tuple[int, int]:
        """Count; what is left then. Only after `wait_ms` has said 0, at the same moment and for the same cost."""

    def left(self, now_ms: int) -> tuple[int, int]:
        """What still fits, and in how many milliseconds more begins to."""

    def is_idle(self, now_ms: int) -> bool:
        """Whether what was counted does not matter any more."""


def window(kind: Kind, amount: int, period_ms: int) -> Window:
    """A new one."""
    return _KINDS[kind](amount, period_ms)


class FixedWindow:
    """From the first hit on."""

    __slots__ = ("amount", "begun_ms", "period_ms", "used")

    def __init__(self, amount: int, period_ms: int) -> None:
        self.amount = amount
        self.period_ms = period_ms
        self.begun_ms = 0
        self.used = 0

    def wait_ms(self, now_ms: int, cost: int) -> int:
        if self.is_idle(now_ms):
            self.used = 0
        if self.used + cost <= self.amount:
            return 0
        return self.begun_ms + self.period_ms - now_ms if cost <= self.amount else self.period_ms

    def take(self, now_ms: int, cost: int) -> tuple[int, int]:
        if not self.used:
            self.begun_ms = now_ms
        self.used += cost
        return self.left(now_ms)

    def left(self, now_ms: int) -> tuple[int, int]:
        if not self.used or self.is_idle(now_ms):
            return self.amount, self.period_ms
        return self.amount - self.used, self.begun_ms + self.period_ms - now_ms

    def is_idle(self, now_ms: int) -> bool:
        return abs(now_ms - self.begun_ms) >= self.period_ms


class MovingWindow:
    """The last so many milliseconds, at any moment. What is as old as the window still counts."""

    __slots__ = ("amount", "hits", "period_ms", "used")

    def __init__(self, amount: int, period_ms: int) -> None:
        self.amount = amount
        self.period_ms = period_ms
        self.hits: deque[tuple[int, int]] = deque()
        self.used = 0

    def wait_ms(self, now_ms: int, cost: int) -> int:
        self._drop(now_ms)
        missing = self.used + cost - self.amount
        if missing <= 0:
            return 0
        for hit_ms, hit_cost in self.hits:
            missing -= hit_cost
            if missing <= 0:
                return self._gone_in(hit_ms, now_ms)
        return self.period_ms

    def take(self, now_ms: int, cost: int) -> tuple[int, int]:
        at_ms = max(now_ms, self.hits[-1][0]) if self.hits else now_ms
        self.hits.append((at_ms, cost))
        self.used += cost
        return self.amount - self.used, self._gone_in(self.hits[0][0], now_ms)

    def left(self, now_ms: int) -> tuple[int, int]:
        self._drop(now_ms)
        reset_ms = self._gone_in(self.hits[0][0], now_ms) if self.hits else self.period_ms
        return self.amount - self.used, reset_ms

    def is_idle(self, now_ms: int) -> bool:
        return not self.hits or abs(now_ms - self.hits[-1][0]) > self.period_ms

    def _gone_in(self, hit_ms: int, now_ms: int) -> int:
        return hit_ms + self.period_ms + 1 - now_ms

    def _drop(self, now_ms: int) -> None:
        hits, oldest_ms = self.hits, now_ms - self.period_ms
        if hits and hits[-1][0] > now_ms + self.period_ms:
            hits.clear()
            self.used = 0
        while hits and hits[0][0] < oldest_ms:
            self.used -= hits.popleft()[1]


class SlidingWindow:
    """This period, and the part of the one before that lies within its length."""

    __slots__ = ("amount", "before", "now", "period", "period_ms")

    def __init__(self, amount: int, period_ms: int) -> None:
        self.amount = amount
        self.period_ms = period_ms
        self.period = 0
        self.now = 0
        self.before = 0

    def wait_ms(self, now_ms: int, cost: int) -> int:
        left_ms = self._turn(now_ms)
        amount, period_ms, before = self.amount, self.period_ms, self.before
        room = amount - cost - self.now
        if room >= 0 and (not before or before * left_ms // period_ms <= room):
            return 0
        if cost > amount:
            return period_ms
        if room >= 0:  # when enough of the period before has slid out
            return left_ms - ((room + 1) * period_ms - 1) // before
        # In the next period, when enough of this one has.
        return left_ms + period_ms - min(period_ms, ((amount - cost + 1) * period_ms - 1) // self.now)

    def take(self, now_ms: int, cost: int) -> tuple[int, int]:
        self.now += cost
        period_ms, before = self.period_ms, self.before
        left_ms = (self.period + 1) * period_ms - now_ms
        if left_ms > period_ms:
            left_ms = period_ms  # as in `_turn`
        return self.amount - self.now - (before * left_ms // period_ms if before else 0), left_ms

    def left(self, now_ms: int) -> tuple[int, int]:
        left_ms = self._turn(now_ms)
        return self.amount - self.now - self.before * left_ms // self.period_ms, left_ms

    def is_idle(self, now_ms: int) -> bool:
        return not -1 <= now_ms // self.period_ms - self.period <= 1

    def _turn(self, now_ms: int) -> int:
        """Go to the period of this moment; how much of it is left."""
        period, passed_ms = divmod(now_ms, self.period_ms)
        if period != self.period:
            if period == self.period - 1:
                return self.period_ms  # the clock was set back a little: as if this period began now
            self.before = self.now if period == self.period + 1 else 0
            self.period, self.now = period, 0
        return self.period_ms - passed_ms


_KINDS: dict[Kind, type[FixedWindow] | type[MovingWindow] | type[SlidingWindow]] = {
    "fixed": FixedWindow,
    "moving": MovingWindow,
    "sliding": SlidingWindow,
}
