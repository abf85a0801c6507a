"""Request limits in this process's memory. The counting is `core/limits.py`; this gives it the time."""

from collections.abc import Sequence

from gateway.core.limits import Ask, Limiter, Place, Rate, Stand
from gateway.ports import Admitted, Clock


class MemoryRateLimits:
    """Implements `ports.RateLimits`."""

    def __init__(self, clock: Clock, limiter: Limiter | None = None) -> None:
        self._clock = clock
        self._limiter = Limiter() if limiter is None else limiter

    async def admit(self, asks: Sequence[Ask], places: Sequence[Place]) -> Admitted:
        stands = self._limiter.admit(asks, places, self._clock.now_ms())
        if not places:
            return Admitted(stands, _nothing_to_give_back)
        keys = [place.key for place in places] if all(stand.allowed for stand in stands) else []
        return Admitted(stands, lambda: self._leave(keys))

    async def hit(self, rate: Rate, subject: str) -> Stand:
        [stand] = await self.hit_all([Ask(rate, subject)])
        return stand

    async def hit_all(self, asks: Sequence[Ask]) -> Sequence[Stand]:
        return self._limiter.admit(asks, [], self._clock.now_ms())

    @property
    def down(self) -> bool:
        return False

    @property
    def failures(self) -> int:
        return 0

    async def open(self) -> None:
        """Nothing is connected."""

    async def close(self) -> None:
        """There is nothing to let go of."""

    def _leave(self, keys: list[str]) -> None:
        self._limiter.leave(keys)
        keys.clear()


def _nothing_to_give_back() -> None:
    """No place was taken."""
