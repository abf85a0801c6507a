"""Request limits by the `limits` library, in this process's memory.

The window slides: the previous period counts for the part of it that still lies within the last `seconds`, so a caller
cannot have twice its limit around the turn of a minute, and a subject costs two counters however high its limit is.
"""

from limits import RateLimitItem, RateLimitItemPerSecond
from limits.aio.storage import MemoryStorage
from limits.aio.strategies import SlidingWindowCounterRateLimiter

from gateway.core.routes import Rate
from gateway.ports import Clock, Window


class MemoryRateLimits:
    """Implements `ports.RateLimits`."""

    def __init__(self, clock: Clock) -> None:
        self._limiter = SlidingWindowCounterRateLimiter(MemoryStorage())
        self._clock = clock
        self._items: dict[Rate, RateLimitItem] = {}

    async def hit(self, rate: Rate, subject: str) -> Window:
        item = self._items.get(rate)
        if item is None:
            item = self._items[rate] = RateLimitItemPerSecond(rate.amount, rate.seconds)
        allowed = await self._limiter.hit(item, subject)
        stats = await self._limiter.get_window_stats(item, subject)
        reset_seconds = max(0, round(stats.reset_time - self._clock.now_ms() / 1000))
        return Window(rate, allowed, stats.remaining, reset_seconds)
