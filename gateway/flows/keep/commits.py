"""Commits: what gathers is written as one batch, again and again, and whoever waits for it is told.

One task takes whatever has gathered and commits it. At 64 connections this makes a debit cost microseconds where a
transaction per request costs an fsync each.

- **The gate.** A strict answer waits until the batch with its record is durable; each waits on a future of its own, so
  that one that is cancelled cannot disturb the others.
- **Haste only where somebody waits.** A commit costs the same whatever it holds. While nobody waits for what has
  gathered, which is so on relaxed routes, commits are 10 ms apart instead of 2.
- **One draft at a time.** The next is not taken before the last was committed. A commit that fails is not guessed
  about: the store is reopened and the *same* draft is tried again, and the store recognises a draft that had landed.
  (An fsync is never repeated on a handle on which it failed: the kernel may have dropped the dirty pages and report
  success.)
- **While the store is stuck** holds are refused after half a second, and answers that wait for their record give up
  after one. Their records are compensated by a correction that is queued behind them, so they cost nothing.
- **The watermark** (see `core/ledger.py`) is kept here: a record counts as begun when its answer's first byte is
  written or its hold is settled. When it goes quiet after strict records, an empty batch stores the final watermark, so
  that a crash in idle time voids nothing. A worker has nothing to store: what it says so goes to the keeper, costs no
  commit, and is waited for by the watermark of all the others. So it says it much sooner.
"""

import asyncio
from abc import ABC, abstractmethod
from collections import OrderedDict
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace

from gateway.core.counting import Durations
from gateway.core.ids import RequestId
from gateway.core.ledger import Committed, Credit, Draft, Origin, Tariff
from gateway.core.refusals import LedgerUnavailable
from gateway.flows.keep.accounts import Account, Waiting
from gateway.ports import Clock, LedgerStore, StoreBusy, StoreFailed


@dataclass(frozen=True, slots=True)
class Pace:
    """How the keeper spaces its work, in seconds."""

    gap: float = 0.002  # from the start of one commit to the start of the next
    enough: int = 64  # records that are worth a commit of their own, however short the gap
    idly: float = 0.01  # from one start to the next while nobody waits for what has gathered
    quiet: float = 0.05  # without new records, before the final watermark is stored
    refuse_after: float = 0.5  # a commit that takes longer closes the paid routes
    give_up_after: float = 1.0  # and longer still: answers that wait for it are refused
    retry: float = 0.1  # between attempts while the store is stuck
    idle: float = 1.0  # a slice that nobody used for so long goes back

    @classmethod
    def patient(cls, seconds: float, *, gap: float = gap) -> "Pace":
        """Answers wait for their record for so long; half of it closes the paid routes."""
        return cls(gap=gap, refuse_after=seconds / 2, give_up_after=seconds)

    @classmethod
    def of_a_worker(cls, seconds: float) -> "Pace":
        """Who keeps the books gathers what workers send, so they send at once; as patient as `patient`."""
        return replace(cls.patient(seconds, gap=0), quiet=0.001)


class Commits(ABC):
    """The part of a keeper that writes. What a commit means for accounts is for those who build on it."""

    def __init__(self, store: LedgerStore, clock: Clock, *, pace: Pace, report: Callable[[str], None]) -> None:
        self._store = store
        self._clock = clock
        self._pace = pace
        self._report = report
        self._under_way: Mapping[int, int] = {}  # what the draft that is being committed spends, by account row
        self._begun: OrderedDict[int, None] = OrderedDict()  # gated records whose answers have not begun
        self._tariffs: dict[Tariff, int] = {}
        self._work = asyncio.Event()
        self._full = asyncio.Event()
        self._awaited = asyncio.Event()
        self._stuck_since: float | None = None
        self._closing = False
        self._task: asyncio.Task[None] | None = None
        self._watchdog: asyncio.TimerHandle
        self._loop: asyncio.AbstractEventLoop  # to ask for the running one is a system call each time
        self._draft = Draft(seq=1, first=1)
        self._waiting = Waiting()
        self._committed_seq = 0
        self._stored_started = 0
        self.commits = Durations()
        """How long they took, trouble among it."""
        self.records = 0
        """How many were committed."""

    @abstractmethod
    def _landed(self, draft: Draft) -> None:
        """What a draft has spent is spent in the books, too."""

    @abstractmethod
    def _comes_back(self, account: Account) -> None:
        """Something comes back to an account that is no plain one, and so may have been empty."""

    @abstractmethod
    def _wake(self, draft: Draft, done: Committed, waiting: Waiting) -> None:
        """Tell the accounts, and whoever waits for this draft."""

    def _begin(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._task = self._loop.create_task(self._run(), name="ledger keeper")
        self._task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        """The keeper stopped: from now on everybody is refused rather than left to wait."""
        self._closing = True
        self._waiting.end()
        if not task.cancelled() and task.exception() is not None:
            self._report(f"the ledger keeper stopped: {task.exception()!r}")

    # --- what is to be written ----------------------------------------------------------------------------------------

    def write(self, kind: int, tariff: int, account: Account, token: int, micros: int, request: RequestId) -> int:
        """Put a record into the next commit; its number."""
        draft = self._draft
        if not draft.count:
            self._work.set()
        account.draft = draft.seq
        if draft.count == self._pace.enough - 1:
            self._full.set()
        if micros < 0 and not account.plain:
            self._comes_back(account)
        return draft.write(kind, tariff, account.row, token, micros, request)

    def gate(self, number: int) -> None:
        """The answer to this record has not begun."""
        self._begun[number] = None

    def begun(self, number: int) -> None:
        """Now it has, or its request has ended."""
        self._begun.pop(number, None)

    def answer_begun(self, number: int) -> None:
        """From the next turn of the loop on: uvloop hands what was written to the kernel at the end of a turn."""
        self._loop.call_soon(self._begun.pop, number, None)

    def add_origin(self, origin: Origin) -> None:
        """Note in the next commit where its records come from."""
        self._draft.origins.append(origin)

    def add_credit(self, credit: Credit) -> int:
        """Put a credit into the next commit; its place there."""
        self._draft.credits.append(credit)
        self._hurry()
        return len(self._draft.credits) - 1

    def tariff(self, tariff: Tariff) -> int:
        """The number under which records name it."""
        found = self._tariffs.get(tariff)
        if found is None:
            found = self._tariffs[tariff] = len(self._tariffs) + 1
            self._draft.tariffs.append((found, tariff))
        return found

    def durable(self) -> asyncio.Future[Committed]:
        """Done when what was put into the next commit is durable, however long. May raise LedgerUnavailable."""
        self._hurry()
        whole: asyncio.Future[Committed] = asyncio.get_running_loop().create_future()
        self._waiting.whole.append(whole)
        return whole

    def _hurry(self) -> None:
        """Somebody waits for the next commit."""
        self._work.set()
        self._awaited.set()

    @property
    def waiting_records(self) -> int:
        """How many wait for the next commit."""
        return self._draft.count

    @property
    def next_number(self) -> int:
        """Of the next record."""
        return self._draft.first + self._draft.count

    # --- whether it can be --------------------------------------------------------------------------------------------

    @property
    def stuck(self) -> bool:
        """Whether a commit has been under way for so long that paid routes are closed, or the keeper has ended."""
        if self._closing:
            return True
        if self._stuck_since is None:
            return False
        return self._loop.time() - self._stuck_since > self._pace.refuse_after

    def _refuse_if_stuck(self) -> None:
        if (self._closing or self._stuck_since is not None) and self.stuck:
            raise LedgerUnavailable()

    @property
    def patience(self) -> float:
        """How long a request may wait, in seconds."""
        return self._pace.give_up_after

    def now_ms(self) -> int:
        return self._clock.now_ms()

    # --- commits ------------------------------------------------------------------------------------------------------

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await self._next_work()
            if self._closing:
                await asyncio.sleep(0)  # an answer that began in this turn counts from the next one on
                if not self._anything_to_write():
                    return
            begun = loop.time()
            if not await self._commit():
                return
            await _until(self._full, begun + self._pace.gap)
            idly = min(self._pace.idly, self._pace.quiet) if self._owed else self._pace.idly
            await _until(self._awaited, begun + idly)

    async def _next_work(self) -> None:
        """Until there is something to commit: work that was queued, or the final watermark after a quiet while."""
        while not self._closing:
            try:
                async with asyncio.timeout(self._pace.quiet if self._owed else None):
                    await self._work.wait()
                return
            except TimeoutError:
                if self._started() > self._stored_started:
                    self._draft.quiet = True
                    return

    def _anything_to_write(self) -> bool:
        self._draft.quiet = self._draft.quiet or self._started() > self._stored_started
        return self._draft.writes or bool(self._draft.loads)

    async def _commit(self) -> bool:
        """Write what has gathered and wake who waits for it. False if the store stayed stuck until the close."""
        waiting, self._waiting = self._waiting, Waiting()
        draft = self._take()
        self._stuck_since = asyncio.get_running_loop().time()
        self._watch(waiting)
        try:
            done = await self._commit_until_done(draft)
            if done is not None:
                self.commits.count(asyncio.get_running_loop().time() - self._stuck_since)
                self.records += draft.count
                self._committed(draft)
                self._wake(draft, done, waiting)
        except BaseException:
            waiting.end()  # the keeper ends here, and nobody else knows who waits for this draft
            raise
        finally:
            self._stuck_since = None
            self._watchdog.cancel()
        if done is None:
            waiting.end()
        return done is not None

    def _take(self) -> Draft:
        draft = self._draft
        draft.at_ms = self._clock.now_ms()
        draft.started = self._started()
        self._under_way = draft.spent
        following = draft.seq + 1 if draft.writes else draft.seq
        self._draft = Draft(seq=following, first=draft.first + draft.count)
        self._work.clear()
        self._full.clear()
        self._awaited.clear()
        return draft

    async def _commit_until_done(self, draft: Draft) -> Committed | None:
        """Try the same draft until it is written. None when the keeper was closed while the store was stuck."""
        reopen, told = False, ""
        while True:
            try:
                if reopen:
                    await self._store.reopen()
                    reopen = False
                done = await self._store.commit(draft)
                if told:
                    self._report("the ledger can be written again")
                return done
            except StoreBusy:
                problem = "the ledger is locked by another program"
            except StoreFailed as failure:
                problem, reopen = str(failure), True
            if problem != told:
                self._report(problem)
                told = problem
            if self._closing:
                return None
            await asyncio.sleep(self._pace.retry)

    def _watch(self, waiting: Waiting) -> None:
        """Should the commit take too long, refuse who waits for it and who has gathered behind it, until it is done."""
        self._watchdog = asyncio.get_running_loop().call_later(self._pace.give_up_after, self._give_up, waiting)

    def _give_up(self, waiting: Waiting) -> None:
        waiting.give_up()
        self._waiting.give_up()
        self._watch(waiting)

    def _committed(self, draft: Draft) -> None:
        if draft.writes:
            self._committed_seq = draft.seq
            self._stored_started = draft.started
        self._under_way = {}
        self._landed(draft)

    def _started(self) -> int:
        """The number up to which every gated record's answer has begun."""
        if self._begun:
            return next(iter(self._begun)) - 1
        return self._last_number()

    @property
    def _owed(self) -> bool:
        """Whether of what was written it is not on record yet that every answer has begun."""
        return self._stored_started < self._draft.first - 1

    def _last_number(self) -> int:
        return self._draft.first + self._draft.count - 1


async def _until(event: asyncio.Event, deadline: float) -> None:
    """Until it has happened, or that moment of the loop's time has come."""
    if not event.is_set() and deadline > asyncio.get_running_loop().time():
        with suppress(TimeoutError):
            async with asyncio.timeout_at(deadline):
                await event.wait()
