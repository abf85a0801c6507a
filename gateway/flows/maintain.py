"""Keep house: fold what is over, prune what need not be kept, end purses, a little at a time while requests are served.

Both are done in short steps between commits, with a rest after each, so that a commit waits for one step at most. None
of it is on the way of any request: what fails is reported once and tried again at the next turn. At the close whatever
is left is folded, as far as the time allows; what is not is folded after the next start.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from gateway.core.ledger import Committed, Draft, Tail
from gateway.core.refusals import LedgerUnavailable
from gateway.ports import Bookkeeping, BooksRefused, Clock, Entries, LedgerStore, StoreBusy, StoreFailed

DAY_MS = 86_400_000
_AFTER_EVERY_HOUR = 2**62


@dataclass(frozen=True, slots=True)
class Rhythm:
    """How housekeeping spaces its work, in seconds."""

    every: float = 30.0
    rest: float = 0.02  # after a step, while commits go first
    close: float = 5.0  # for what is left at the close


class Maintain:
    """Housekeeping in the background. `batches_days` is how long batches are kept; None: for ever.

    `ledger` takes away what is left in purses whose time is over; a keeper that is not there yet is asked for later.
    """

    def __init__(
        self,
        books: Bookkeeping,
        clock: Clock,
        *,
        batches_days: int | None = None,
        ledger: Callable[[], Entries] | None = None,
        rhythm: Rhythm | None = None,
        report: Callable[[str], None] = lambda problem: None,
    ) -> None:
        self._books = books
        self._clock = clock
        self._batches_days = batches_days
        self._ledger = ledger
        self._rhythm = rhythm or Rhythm()
        self._report = report
        self._task: asyncio.Task[None] | None = None
        self._told = ""

    def open(self) -> None:
        """Begin. The books are open."""
        self._task = asyncio.create_task(self._run(), name="housekeeping")

    async def close(self) -> None:
        """Stop, and fold what is left. Before the books are closed."""
        if self._task is None:
            return
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        self._task = None
        try:
            async with asyncio.timeout(self._rhythm.close):
                await self._try(lambda: self._books.fold(closed_before_ms=_AFTER_EVERY_HOUR), rest=0)
        except TimeoutError:
            pass
        finally:
            await self._books.close()

    async def _run(self) -> None:
        while True:
            await self.turn()
            await asyncio.sleep(self._rhythm.every)

    async def turn(self) -> None:
        """Everything that can be done now."""
        now = self._clock.now_ms()
        await self._try(self._sign, rest=0)
        await self._try(self._end_purses, rest=self._rhythm.rest)
        done = await self._try(lambda: self._books.fold(closed_before_ms=now), rest=self._rhythm.rest)
        if done and self._batches_days is not None:
            before = now - self._batches_days * DAY_MS
            done = await self._try(lambda: self._books.prune(before_ms=before), rest=self._rhythm.rest)
        if done and self._told:
            self._told = ""
            self._report("housekeeping goes on")

    async def _end_purses(self) -> bool:
        """Whether something was taken away: then there may be more."""
        taken = False
        if self._ledger is not None:
            for entry in await self._books.expired(now_ms=self._clock.now_ms()):
                taken = await self._ledger().reverse(entry) or taken
        return taken

    async def _sign(self) -> bool:
        await self._books.sign()
        return False

    async def _try(self, step: Callable[[], Awaitable[bool]], *, rest: float) -> bool:
        """Step by step to the end; False if something was in the way, which is told once."""
        more = True
        try:
            while more:
                more = await step()
                await asyncio.sleep(rest if more else 0)
        except (StoreBusy, LedgerUnavailable):
            return False
        except (StoreFailed, BooksRefused) as problem:
            if str(problem) != self._told:
                self._told = str(problem)
                self._report(f"housekeeping stopped: {problem}")
            return False
        return True


class Housekept:
    """A store that is kept in order from its opening to its last commit. Implements `ports.LedgerStore`."""

    def __init__(self, store: LedgerStore, housekeeping: Maintain) -> None:
        self._store = store
        self._housekeeping = housekeeping

    async def open(self) -> Tail:
        tail = await self._store.open()
        self._housekeeping.open()
        return tail

    async def reopen(self) -> None:
        await self._store.reopen()

    async def commit(self, draft: Draft) -> Committed:
        return await self._store.commit(draft)

    async def close(self) -> None:
        try:
            await self._housekeeping.close()
        finally:
            await self._store.close()
