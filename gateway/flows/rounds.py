"""Work that is done again and again while the gateway runs, whatever goes wrong with one round of it."""

import asyncio
from collections.abc import Awaitable, Callable

from gateway.core.refusals import RecordsUnavailable


class Rounds:
    """One piece of work, every so many seconds, from its opening to its close.

    A round that fails is told to the event loop, as the exception of any task would be; the next one comes all the
    same. One that goes on failing in the same way is told once. Records that are away for a while are no failure: who
    reads them says so.
    """

    def __init__(self, work: Callable[[], Awaitable[object]], *, every_seconds: float, name: str) -> None:
        self._work = work
        self._every_seconds = every_seconds
        self._name = name
        self._task: asyncio.Task[None] | None = None
        self._told: type[Exception] | None = None

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
            await self._round()
            await asyncio.sleep(self._every_seconds)

    async def _round(self) -> None:
        try:
            await self._work()
        except RecordsUnavailable:
            return
        except Exception as error:
            if type(error) is not self._told:
                self._told = type(error)
                message = f"{self._name}: a round failed, the next comes in {self._every_seconds:g} s"
                asyncio.get_running_loop().call_exception_handler({"message": message, "exception": error})
        else:
            self._told = None
