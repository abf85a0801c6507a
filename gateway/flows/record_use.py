"""What a process has counted of routes goes to the records now and then, where all processes add theirs.

It is beside the road: a request is counted anyway, and what was counted since the last time is written, all
at once. What a crash takes with it is some seconds of numbers that nobody is paid by.
"""

from collections.abc import Callable
from contextlib import suppress

from gateway.core.refusals import RecordsUnavailable
from gateway.core.route_use import Measures
from gateway.core.statements import DAY_MS
from gateway.core.transfers import hour_of
from gateway.ports import Clock, RouteUse

EVERY_SECONDS = 10.0
KEEP_DAYS = 31


class RecordUse:
    """`counted` says all that this process has counted since it began."""

    def __init__(self, book: RouteUse, *, counted: Callable[[], Measures], clock: Clock) -> None:
        self._book = book
        self._counted = counted
        self._clock = clock
        self._written: Measures = {}

    async def write(self) -> None:
        """What is new. Raises RecordsUnavailable; then it is written the next time."""
        counted = self._counted()
        more = {key: number - self._written.get(key, 0) for key, number in counted.items()}
        more = {key: number for key, number in more.items() if number}
        if more:
            await self._book.add_use(hour_of(self._clock.now_ms()), more)
        self._written = counted

    async def leave(self) -> None:
        """Once more, if it can be."""
        with suppress(RecordsUnavailable):
            await self.write()

    async def drop_old(self) -> None:
        """Forget what nobody is shown any more. Raises RecordsUnavailable."""
        await self._book.drop_use(hour_of(self._clock.now_ms() - KEEP_DAYS * DAY_MS))
