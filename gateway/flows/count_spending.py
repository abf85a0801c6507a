"""What accounts spend goes to the records now and then, by the hour, where all processes add theirs.

It is only watched (`flows/watch_spending.py`), nobody is paid by it: a crash takes some seconds of sums with it.
A process counts so many accounts between two writes, and no more.
"""

from collections.abc import Callable
from contextlib import suppress

from gateway.core.refusals import RecordsUnavailable
from gateway.core.transfers import hour_of
from gateway.ports import Clock, Counted, Roots

EVERY_SECONDS = 20.0
ACCOUNTS_MAX = 20_000


class CountSpending:
    """`take` hands over what was counted since it was called last: micros by account."""

    def __init__(self, counts: Counted, *, take: Callable[[], dict[str, int]], roots: Roots, clock: Clock) -> None:
        self._counts = counts
        self._take = take
        self._roots = roots
        self._clock = clock
        self._left: dict[str, int] = {}

    async def write(self) -> None:
        """What is new. Raises RecordsUnavailable; then it is written the next time."""
        sums = self._left
        for account, micros in self._take().items():
            root = self._roots.root(account)
            if root in sums or len(sums) < ACCOUNTS_MAX:
                sums[root] = sums.get(root, 0) + micros
        if sums:
            await self._counts.add_spent(hour_of(self._clock.now_ms()), sums)
            self._left = {}

    async def leave(self) -> None:
        """Once more, if it can be."""
        with suppress(RecordsUnavailable):
            await self.write()
