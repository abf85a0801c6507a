"""Request limits in this process's memory: two counters a subject.

The window slides: the previous period counts for the part of it that still lies within the last `seconds`, so a caller
cannot have twice its limit around the turn of a minute, and a subject costs two counters however high its limit is. The
`limits` library decides the same (`tests/adapters/test_ratelimits.py` holds ours against it) in ten times the time.

Subjects whose counters say nothing any more are forgotten, a few with each new one, so that the memory holds no more
than those of the last two periods.
"""

from math import ceil, floor

from gateway.core.routes import Rate
from gateway.ports import Clock, Window

_FORGET_AT_ONCE = 4


class MemoryRateLimits:
    """Implements `ports.RateLimits`."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._counters: dict[str, _Counter] = {}

    async def hit(self, rate: Rate, subject: str) -> Window:
        return self.count(rate, subject)

    def count(self, rate: Rate, subject: str) -> Window:
        """The same, at once."""
        now_ms = self._clock.now_ms()
        counter = self._counters.get(subject)
        if counter is None or counter.rate is not rate:
            counter = self._begin(rate, subject, now_ms)
        return counter.hit(now_ms)

    def _begin(self, rate: Rate, subject: str, now_ms: int) -> "_Counter":
        """A new subject, or one whose rate a reload has changed."""
        for old in list(_first(self._counters, _FORGET_AT_ONCE)):
            counter = self._counters.pop(old)
            if counter.counts(now_ms):
                self._counters[old] = counter  # at the end: its turn comes again
        counter = self._counters[subject] = _Counter(rate)
        return counter


def _first(counters: "dict[str, _Counter]", count: int) -> list[str]:
    return [subject for subject, _ in zip(counters, range(count), strict=False)]


class _Counter:
    """One subject's requests in this period and in the one before it."""

    __slots__ = ("before", "now", "period", "period_ms", "rate")

    def __init__(self, rate: Rate) -> None:
        self.rate = rate
        self.period_ms = rate.seconds * 1000
        self.period = 0
        self.now = 0
        self.before = 0

    def counts(self, now_ms: int) -> bool:
        """Whether what was counted still matters."""
        return self.period >= now_ms // self.period_ms - 1

    def hit(self, now_ms: int) -> Window:
        period_ms = self.period_ms
        period, passed_ms = divmod(now_ms, period_ms)
        if period != self.period:
            self.before = self.now if period == self.period + 1 else 0
            self.period, self.now = period, 0
        left_ms = period_ms - passed_ms
        amount = self.rate.amount
        used = self.now + (self.before * left_ms // period_ms if self.before else 0)
        if used < amount:
            self.now += 1
            return Window(self.rate, True, amount - used - 1, ceil(left_ms / 1000))
        return Window(self.rate, False, 0, ceil(self._wait_ms(left_ms) / 1000))

    def _wait_ms(self, left_ms: int) -> int:
        """Until one more request fits: when enough of the previous period has slid out, or this one begins to."""
        amount = self.rate.amount
        if self.now < amount:
            return left_ms - floor((amount - self.now) * self.period_ms / self.before) + 1
        return left_ms + (self.now - amount) * self.period_ms // self.now + 1
