"""How many calls an account has made of each step of a price, in the period that is now: for quotes.

As committed: what is under way, or was charged a moment ago, may not be in it yet.
"""

from gateway.core.routes import Route
from gateway.ports import CapLines, Clock, StoreFailed


class CountCalls:
    """Reads the counts of steps out of the books."""

    def __init__(self, lines: CapLines, clock: Clock) -> None:
        self._lines = lines
        self._clock = clock

    async def made(self, route: Route, account: str) -> list[int] | None:
        """Of each step that has an end; None while the books cannot be read."""
        now_ms = self._clock.now_ms()
        caps = [cap for one in route.steps if one.step is not None and (cap := one.step.cap(account)) is not None]
        try:
            return [(await self._lines.cap_line(cap.name(now_ms), cap.unit)).spent for cap in caps]
        except StoreFailed:
            return None
