"""Keep the books: balances in memory over a durable store, many records in one commit.

Holding, recording and settling touch only memory; one task takes whatever has gathered and commits it as one batch. At
64 connections this makes a debit cost microseconds where a transaction per request costs an fsync each. Why the money
is nevertheless exact:

- **One decider.** Every hold passes through this object on one event loop, between two awaits, so N concurrent requests
  of which K are affordable are K holds and N-K refusals.
- **The gate.** A strict answer waits until the batch with its record is durable; each waits on a future of its own, so
  that one that is cancelled cannot disturb the others.
- **One draft at a time.** The next is not taken before the last was committed. A commit that fails is not guessed
  about: the store is reopened and the *same* draft is tried again, and the store recognises a draft that had landed.
  (An fsync is never repeated on a handle on which it failed: the kernel may have dropped the dirty pages and report
  success.)
- **While the store is stuck** holds are refused after half a second, and answers that wait for their record give up
  after one. Their records are compensated by a correction that is queued behind them, so they cost nothing.
- **The watermark** (see `core/ledger.py`) is kept here: a record counts as begun when its answer's first byte is
  written or its hold is settled. When it goes quiet after strict records, an empty batch stores the final watermark, so
  that a crash in idle time voids nothing.

Accounts are loaded when first used, read by the same call that commits, so that a load can never miss a credit that
is being committed. Accounts with nothing in flight leave the memory in the order of their last use.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field

from gateway.core.ids import RequestId
from gateway.core.ledger import Balance, Committed, Credit, Draft, Kind, Tail, Tariff, voids
from gateway.core.money import Money
from gateway.core.refusals import LedgerUnavailable, PaymentRequired
from gateway.core.routes import Durability
from gateway.ports import Clock, Hold, LedgerStore, StoreBusy, StoreFailed

Key = tuple[str, str]
"""A holder and a unit."""


@dataclass(frozen=True, slots=True)
class Pace:
    """How the keeper spaces its work, in seconds."""

    gap: float = 0.002  # from the start of one commit to the start of the next
    quiet: float = 0.05  # without new records, before the final watermark is stored
    refuse_after: float = 0.5  # a commit that takes longer closes the paid routes
    give_up_after: float = 1.0  # and longer still: answers that wait for it are refused
    retry: float = 0.1  # between attempts while the store is stuck


@dataclass(frozen=True, slots=True)
class Recovered:
    """What was given away when the books were opened after a crash."""

    count: int
    micros: int


class _Account:
    """One account in memory. `row` is 0 while nobody has paid into it."""

    __slots__ = ("available", "currency", "draft", "held", "holder", "row")

    def __init__(self, holder: str, currency: str, row: int, available: int) -> None:
        self.holder = holder
        self.currency = currency
        self.row = row
        self.available = available
        self.held = 0
        self.draft = 0  # the last draft that holds a record of it


class _Hold:
    """Implements `ports.Hold`. `number` is that of its gated record, 0 if there is none."""

    __slots__ = (
        "_begin", "account", "ceiling", "failed", "id", "number", "recorded", "settled", "tariff", "token",
    )  # fmt: skip

    def __init__(
        self, account: _Account, ceiling: int, id: RequestId, token: int, tariff: int, begin: Callable[[int], None]
    ) -> None:
        self.account = account
        self.ceiling = ceiling
        self.id = id
        self.token = token
        self.tariff = tariff
        self.recorded = 0
        self.number = 0
        self.failed = False
        self.settled = False
        self._begin = begin

    @property
    def balance(self) -> Money:
        account = self.account
        released = 0 if self.settled else self.ceiling - self.recorded
        return Money(account.available + released, account.currency)

    def started(self) -> None:
        if self.number:
            self._begin(self.number)
            self.number = 0


@dataclass(slots=True)
class _Waiting:
    """Who waits for one draft."""

    gates: list[tuple[asyncio.Future[None], _Hold]] = field(default_factory=list)
    credits: list[asyncio.Future[bool]] = field(default_factory=list)
    loads: dict[Key, list[asyncio.Future[_Account]]] = field(default_factory=dict)

    def give_up(self) -> None:
        """Let everybody go. What was queued is still written; who was refused is compensated by `settle`."""
        for gate, hold in self.gates:
            if not gate.done():
                hold.failed = True
                gate.set_exception(LedgerUnavailable())
        for credit in self.credits:
            if not credit.done():
                credit.set_exception(LedgerUnavailable())
        for waiters in self.loads.values():
            for waiter in waiters:
                if not waiter.done():
                    waiter.set_exception(LedgerUnavailable())


class Keeper:
    """The ledger of this process. Implements `ports.Ledger` over a `ports.LedgerStore`."""

    def __init__(
        self,
        store: LedgerStore,
        clock: Clock,
        *,
        pace: Pace | None = None,
        accounts_max: int = 100_000,
        report: Callable[[str], None] = lambda problem: None,
    ) -> None:
        self._store = store
        self._clock = clock
        self._pace = pace or Pace()
        self._accounts_max = accounts_max
        self._report = report
        self._accounts: OrderedDict[Key, _Account] = OrderedDict()
        self._begun: OrderedDict[int, None] = OrderedDict()  # gated records whose answers have not begun
        self._tariffs: dict[Tariff, int] = {}
        self._work = asyncio.Event()
        self._stuck_since: float | None = None
        self._closing = False
        self._task: asyncio.Task[None] | None = None
        self._watchdog: asyncio.TimerHandle
        self._draft = Draft(seq=1, first=1)
        self._waiting = _Waiting()
        self._committed_seq = 0
        self._stored_started = 0

    # --- life ---------------------------------------------------------------------------------------------------------

    async def open(self) -> Recovered:
        """Open the store, void what a crash left half done, and begin. Raises StoreDamaged, StoreLocked."""
        tail = await self._store.open()
        recovered = await self._recover(tail)
        self._task = asyncio.create_task(self._run(), name="ledger keeper")
        self._task.add_done_callback(self._ended)
        return recovered

    async def close(self) -> None:
        self._closing = True
        self._work.set()
        if self._task is not None:
            await asyncio.wait([self._task])
        await self._store.close()

    def _ended(self, task: asyncio.Task[None]) -> None:
        """The keeper stopped: from now on everybody is refused rather than left to wait."""
        self._closing = True
        self._waiting.give_up()
        if not task.cancelled() and task.exception() is not None:
            self._report(f"the ledger keeper stopped: {task.exception()!r}")

    async def _recover(self, tail: Tail) -> Recovered:
        self._tariffs = dict(tail.tariffs)
        self._committed_seq = tail.seq
        self._draft = Draft(seq=tail.seq + 1, first=tail.first)
        undo = voids(tail.unstarted)
        for record in undo:
            self._draft.add(record)
        if undo:
            draft = self._take()
            draft.quiet = True
            await self._commit_until_done(draft)
            self._committed(draft)
        else:
            self._stored_started = tail.first - 1
        return Recovered(len(undo), -sum(record.micros for record in undo))

    # --- the port -----------------------------------------------------------------------------------------------------

    async def hold(self, account: str, ceiling: Money, *, id: RequestId, token: int, tariff: Tariff) -> Hold:
        self._refuse_if_stuck()
        key = (account, ceiling.currency)
        # Nothing is ever taken from a copy that has left the memory: another request might load a second one.
        while (found := self._accounts.get(key)) is None:
            await self._load(key)
            self._refuse_if_stuck()
        # From here to the return nothing is awaited: deciding and taking are one step.
        if found.available < ceiling.micros:
            raise PaymentRequired(price=ceiling, balance=Money(found.available, ceiling.currency))
        found.available -= ceiling.micros
        found.held += ceiling.micros
        self._accounts.move_to_end(key)
        return _Hold(found, ceiling.micros, id, token, self._tariff(tariff), self._answer_begun)

    async def start(self, hold: Hold, due: Money, durability: Durability) -> None:
        assert isinstance(hold, _Hold)
        if not due:
            return
        if not 0 < due.micros <= hold.ceiling:
            raise ValueError(f"{due} is less than nothing, or more than was held")
        if self._task is None or self._task.done():
            hold.failed = True
            raise LedgerUnavailable()
        gated = durability == "strict"
        number = self._record(Kind.GATED_CAPTURE if gated else Kind.CAPTURE, hold, due.micros)
        hold.recorded = due.micros
        if not gated:
            return
        hold.number = number
        self._begun[number] = None
        gate: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.gates.append((gate, hold))
        await gate

    def settle(self, hold: Hold, cost: Money) -> Money:
        assert isinstance(hold, _Hold)
        if hold.settled:
            return Money(hold.recorded, hold.account.currency)
        hold.settled = True
        micros = 0 if hold.failed else max(0, min(cost.micros, hold.ceiling))
        if micros != hold.recorded:
            self._record(Kind.CORRECTION if hold.recorded else Kind.CAPTURE, hold, micros - hold.recorded)
            hold.recorded = micros
        account = hold.account
        account.held -= hold.ceiling
        account.available += hold.ceiling - micros
        if hold.number:
            self._answer_begun(hold.number)
            hold.number = 0
        return cost if cost.micros == micros else Money(micros, account.currency)

    async def credit(self, credit: Credit) -> bool:
        self._refuse_if_stuck()
        added: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._draft.credits.append(credit)
        self._waiting.credits.append(added)
        self._work.set()
        return await added

    async def balance(self, account: str, currency: str) -> Balance:
        found = self._accounts.get((account, currency)) or await self._load((account, currency))
        return Balance(Money(found.available, currency), Money(found.held, currency))

    async def funded(self, account: str, currency: str) -> bool:
        found = self._accounts.get((account, currency)) or await self._load((account, currency))
        return found.row > 0

    # --- what it takes ------------------------------------------------------------------------------------------------

    @property
    def stuck(self) -> bool:
        """Whether a commit has been under way for so long that paid routes are closed, or the keeper has ended."""
        if self._closing:
            return True
        if self._stuck_since is None:
            return False
        return asyncio.get_running_loop().time() - self._stuck_since > self._pace.refuse_after

    def _refuse_if_stuck(self) -> None:
        if (self._closing or self._stuck_since is not None) and self.stuck:
            raise LedgerUnavailable()

    def _answer_begun(self, number: int) -> None:
        """From the next turn of the loop on: uvloop hands what was written to the kernel at the end of a turn."""
        asyncio.get_running_loop().call_soon(self._begun.pop, number, None)

    def _tariff(self, tariff: Tariff) -> int:
        found = self._tariffs.get(tariff)
        if found is None:
            found = self._tariffs[tariff] = len(self._tariffs) + 1
            self._draft.tariffs.append((found, tariff))
        return found

    def _record(self, kind: Kind, hold: _Hold, micros: int) -> int:
        account = hold.account
        account.draft = self._draft.seq
        if not self._work.is_set():
            self._work.set()
        return self._draft.write(kind, hold.tariff, account.row, hold.token, micros, hold.id)

    async def _load(self, key: Key) -> _Account:
        """One account; everybody who asks for it at once shares one read."""
        self._refuse_if_stuck()
        waiters = self._waiting.loads.get(key)
        if waiters is None:
            waiters = self._waiting.loads[key] = []
            self._draft.loads.append(key)
            self._work.set()
        waiter: asyncio.Future[_Account] = asyncio.get_running_loop().create_future()
        waiters.append(waiter)
        return await waiter

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
            rest = self._pace.gap - (loop.time() - begun)
            if rest > 0 and not self._closing:
                await asyncio.sleep(rest)

    async def _next_work(self) -> None:
        """Until there is something to commit: work that was queued, or the final watermark after a quiet while."""
        while not self._closing:
            owed = self._stored_started < self._last_number()
            try:
                async with asyncio.timeout(self._pace.quiet if owed else None):
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
        waiting, self._waiting = self._waiting, _Waiting()
        draft = self._take()
        self._stuck_since = asyncio.get_running_loop().time()
        self._watch(waiting)
        try:
            done = await self._commit_until_done(draft)
            if done is not None:
                self._committed(draft)
                self._wake(draft, done, waiting)
        except BaseException:
            waiting.give_up()  # the keeper ends here, and nobody else knows who waits for this draft
            raise
        finally:
            self._stuck_since = None
            self._watchdog.cancel()
        if done is None:
            waiting.give_up()
        return done is not None

    def _take(self) -> Draft:
        draft = self._draft
        draft.at_ms = self._clock.now_ms()
        draft.started = self._started()
        following = draft.seq + 1 if draft.writes else draft.seq
        self._draft = Draft(seq=following, first=draft.first + draft.count)
        self._work.clear()
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

    def _watch(self, waiting: _Waiting) -> None:
        """Should the commit take too long, refuse who waits for it and who has gathered behind it, until it is done."""
        self._watchdog = asyncio.get_running_loop().call_later(self._pace.give_up_after, self._give_up, waiting)

    def _give_up(self, waiting: _Waiting) -> None:
        waiting.give_up()
        self._waiting.give_up()
        self._watch(waiting)

    def _committed(self, draft: Draft) -> None:
        if draft.writes:
            self._committed_seq = draft.seq
            self._stored_started = draft.started

    def _wake(self, draft: Draft, done: Committed, waiting: _Waiting) -> None:
        for credit, new in zip(draft.credits, done.credited, strict=True):
            self._apply(credit, new, done)
        for future, new in zip(waiting.credits, done.credited, strict=True):
            if future.done():
                continue
            if new is None:
                future.set_exception(ValueError("this is more than an account can hold"))
            else:
                future.set_result(new)
        for key, waiters in waiting.loads.items():
            account = self._accounts.get(key) or self._admit(key, done)
            for waiter in waiters:
                if not waiter.done():
                    waiter.set_result(account)
        for gate, _ in waiting.gates:
            if not gate.done():
                gate.set_result(None)
        # Once those who were woken have run: an account that was loaded for them is idle until then.
        asyncio.get_running_loop().call_soon(self._forget_the_idle)

    def _apply(self, credit: Credit, new: bool | None, done: Committed) -> None:
        """A credit that was committed reaches the account in memory, if it is there."""
        key = (credit.account, credit.amount.currency)
        account = self._accounts.get(key)
        if account is not None and new:
            account.row = done.accounts[key].id
            account.available += credit.amount.micros

    def _admit(self, key: Key, done: Committed) -> _Account:
        row = done.accounts.get(key)
        account = _Account(key[0], key[1], row.id if row else 0, row.available if row else 0)
        self._accounts[key] = account
        return account

    def _forget_the_idle(self) -> None:
        looked_at = 0
        while len(self._accounts) > self._accounts_max and looked_at < 64:
            key, account = self._accounts.popitem(last=False)
            if account.held or account.draft > self._committed_seq:
                self._accounts[key] = account
            looked_at += 1

    def _started(self) -> int:
        """The number up to which every gated record's answer has begun."""
        if self._begun:
            return next(iter(self._begun)) - 1
        return self._last_number()

    def _last_number(self) -> int:
        return self._draft.first + self._draft.count - 1
