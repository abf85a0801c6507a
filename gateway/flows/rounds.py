"""Work that is done again and again while the gateway runs, and outlives the records being away for a while."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress

from gateway.core.refusals import RecordsUnavailable


class Rounds:
    """One piece of work, every so many seconds, from its opening to its close."""

    def __init__(self, work: Callable[[], Awaitable[object]], *, every_seconds: float, name: str) -> None:
        self._work = work
        self._every_seconds = every_seconds
        self._name = name
        self._task: asyncio.Task[None] | None = None

    def open(self) -> None:
        """Begin, with a first round at once."""
        self._task = asyncio.create_task(self._run(), name=self._name)

    async def close(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            self._task = None

    async def _run(self) -> None:
        while True:
            with suppress(RecordsUnavailable):  # the next round finds them back, or does not
                await self._work()
            await asyncio.sleep(self._every_seconds)
