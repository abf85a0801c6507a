"""Lend to worker processes: slices of accounts go out, their records come in.

Each worker decides by itself as long as its slice lasts, so a request costs no question. What makes that exact:

- **A slice is taken out of the account** before it goes out, so no two can spend the same micro. It is volatile: when a
  worker ends, whatever it had not reported is available again.
- **Before a no, everybody is asked.** A worker that lacks money gets it from what is left, and if that is not enough
  the slices of the others are recalled. Workers take turns at an account, so that nobody is lent what one who was asked
  already has parted with. Only when all have parted with what they could is the answer final. One that
  does not answer (stopped, or busy beyond reason) makes it doubtful: 503 and try again, never a false 402.
- **A worker's draft** is written into the next commit with a note of where it came from. Its gated records stand in
  the watermark's way until the worker says that their answers have begun; those of a worker that ends are voided.
- **When the keeper dies** slices are forgotten, and each worker tells the next keeper what is spoken for and how far
  its answers have begun. Nothing is lent, and nothing voided, before all who live have done so.

**The keeper may itself borrow** (many hosts on one database: `ports.Lender`). Then what the database says of an account
speaks for all hosts, but not for our own workers; so before a no

- **our workers are asked first**, and all of it goes back to the database with the question. It decides whose turn it
  is among the hosts; whoever has it sees all that nobody speaks for. What comes is held for the worker in the very step
  in which it comes. If it is less than was wanted it is nobody's yet: another host may call it back before it is lent
  on, and then the question is asked again. (Two who each hold less than a price would else pass it to and fro, or each
  keep its part.)
- **when another host asks**, our workers are called in, and until all of it has gone back nothing is lent on. That does
  not wait for a worker's turn, because a turn may be waiting for that very host; turns and calls share only the moments
  in which something is lent or recalled here.
- **a host's loan outlives its keeper's process.** The next one takes it up, and the workers' claims come out of it.
  Where somebody else had the books meanwhile, claims are void: whoever makes them must go.
"""

import asyncio
from collections import OrderedDict
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from weakref import WeakValueDictionary

from gateway.core.caps import is_cap
from gateway.core.ids import RequestId
from gateway.core.ledger import Claim, Committed, Credit, Drawn, Kind, Origin, Record, Reversal, Tail, Tariff, slice_of
from gateway.core.refusals import LedgerUnavailable
from gateway.flows.keep.accounts import Account, Key
from gateway.flows.keep.keeper import Keeper

ANSWER_SECONDS_MAX = 0.5
"""How long a worker may take to part with what was recalled."""
TURN_SECONDS_MAX = 0.8
"""How long a worker's turn may last before it is told to try again."""

_DELTAS = frozenset((Kind.CORRECTION, Kind.RENEWAL))


class Disorder(Exception):
    """A worker reports what it cannot have: it is not to be trusted any further."""


@dataclass(frozen=True, slots=True)
class WorkerDraft:
    """What a worker wants written. `tariffs` are those that it uses for the first time, by its own numbers."""

    seq: int
    started: int
    first: int
    payload: bytes
    tariffs: Mapping[int, Tariff] = field(default_factory=dict)
    credits: tuple[Credit, ...] = ()


@dataclass(frozen=True, slots=True)
class Greeting:
    """How a worker comes: new, or back with a claim and the draft of which it does not know whether it landed."""

    worker: str
    fresh: bool
    claim: Claim
    pending_seq: int = 0
    pending_spent: Mapping[int, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Landed:
    """What became of a worker's draft."""

    credited: list[bool | None]
    rows: list[int]
    """The account rows of its credits, in their order; 0 where nothing was added."""
    elsewhere: Mapping[int, int]
    """What others have of the accounts that it moved."""


@dataclass(slots=True)
class _Slice:
    account: Account
    micros: int


@dataclass(slots=True)
class _Unanswered:
    """A gated record whose answer has not begun. `micros` is net of its corrections."""

    number: int
    account: Account
    tariff: int
    token: int
    micros: int
    request: RequestId


class Branch:
    """One worker, as its lender sees it.

    `recall` asks it to part with an account's slice, `ended` after a request; `begone` tells it that it is not wanted,
    `changed` that a wallet is not what it was, `anything_changed` that any may not be.
    """

    def __init__(
        self,
        greeting: Greeting,
        recall: Callable[[int], None],
        ended: Callable[[RequestId], Awaitable[bool]] | None = None,
        begone: Callable[[], None] = lambda: None,
        changed: Callable[[str, str], None] = lambda holder, unit: None,
        anything_changed: Callable[[], None] = lambda: None,
    ) -> None:
        self.ended = ended
        self.begone = begone
        self.changed = changed
        self.anything_changed = anything_changed
        self.worker = greeting.worker
        self.greeting = greeting
        self.recall = recall
        self.silent = False
        self.landed = 0  # the last draft that is known to be durable
        self.slices: dict[int, _Slice] = {}
        self.tariffs: dict[int, int] = {}
        self.unanswered: OrderedDict[int, _Unanswered] = OrderedDict()
        self.by_request: dict[tuple[int, int], dict[int, _Unanswered]] = {}  # and by account row: a cap has one, too
        self.recalls: dict[int, asyncio.Future[None]] = {}

    def slice_of(self, account: Account) -> int:
        found = self.slices.get(account.row)
        return found.micros if found is not None else 0

    def lend(self, account: Account, micros: int) -> None:
        account.available -= micros
        account.lent += micros
        found = self.slices.get(account.row)
        if found is None:
            account.pins += 1
            self.slices[account.row] = _Slice(account, micros)
        else:
            found.micros += micros

    def take_back(self, row: int, micros: int) -> None:
        """It parts with this much. Raises Disorder if it had less."""
        found = self.slices.get(row)
        if not 0 <= micros <= (found.micros if found is not None else 0):
            raise Disorder(f"gives back {micros} of account {row}, which it does not have")
        if found is not None:
            found.micros -= micros
            found.account.lent -= micros
            found.account.available += micros

    def forget(self, row: int) -> None:
        """It has no use for the account just now."""
        found = self.slices.get(row)
        if found is not None and not found.micros:
            found.account.pins -= 1
            del self.slices[row]


class Slices:
    """Lends a keeper's accounts to workers. Implements `ports.Survivors`.

    `expected` are the workers that were alive when this keeper's process began.
    """

    def __init__(
        self,
        keeper: Keeper,
        *,
        workers: int,
        expected: Iterable[str] = (),
        gather_seconds: float = 2.0,
        voided: Callable[[int, int], None] = lambda requests, micros: None,
    ) -> None:
        """`voided` is told how many requests of a worker that ended were voided, and what they had come to."""
        self._keeper = keeper
        self._voided = voided
        self._workers = workers
        self._gather_seconds = gather_seconds
        self._branches: dict[str, Branch] = {}
        self._expected = set(expected)
        self._arrived = asyncio.Event()
        self._open = asyncio.Event()
        self._origins: list[Origin] = []
        self._kept: list[tuple[Branch, int, int, Record]] = []
        self._early: list[tuple[Branch, Mapping[int, int], bool]] = []
        self._turns: WeakValueDictionary[Key, asyncio.Lock] = WeakValueDictionary()
        self._moves: WeakValueDictionary[int, asyncio.Lock] = WeakValueDictionary()
        if not self._expected:
            self._arrived.set()
        keeper.lends_through(
            self.recall_everything, self.ended, self.called_in, self.tell_changed, self.tell_anything_changed
        )

    @property
    def count(self) -> int:
        """How many slices all workers have together."""
        return sum(len(branch.slices) for branch in self._branches.values())

    # --- who is there -------------------------------------------------------------------------------------------------

    def join(self, branch: Branch) -> bool:
        """A worker comes; whether it may stay. One that was given up may not: what it had is not its own any more."""
        greeting = branch.greeting
        if branch.worker in self._branches or not (greeting.fresh or branch.worker in self._expected):
            return False
        self._branches[branch.worker] = branch
        self._expected.discard(branch.worker)
        if not self._expected:
            self._arrived.set()
        return True

    def leave(self, branch: Branch) -> None:
        """A worker has ended. What it had is available again; what it had not answered was never charged."""
        if self._branches.get(branch.worker) is not branch:
            return
        del self._branches[branch.worker]
        self._void_all(branch)
        for row, slice in list(branch.slices.items()):
            branch.take_back(row, slice.micros)
            branch.forget(row)
        for recalled in branch.recalls.values():
            if not recalled.done():
                recalled.set_result(None)

    def _void_all(self, branch: Branch) -> None:
        keeper, requests, micros = self._keeper, set[RequestId](), 0
        for left in branch.unanswered.values():
            if left.micros > 0:
                keeper.write(Kind.VOID, left.tariff, left.account, left.token, -left.micros, left.request)
                left.account.available += left.micros
                if not is_cap(left.account.currency):
                    requests.add(left.request)
                    micros += left.micros
            keeper.begun(left.number)
            left.account.pins -= 1
        branch.unanswered.clear()
        branch.by_request.clear()
        if requests:
            self._voided(len(requests), micros)

    # --- a new keeper -------------------------------------------------------------------------------------------------

    async def gather(self, tail: Tail) -> None:
        try:
            async with asyncio.timeout(self._gather_seconds):
                await self._arrived.wait()
        except TimeoutError:
            self._expected.clear()  # whoever comes now has been given up
        if tail.anew:
            for survivor in [branch for branch in self._branches.values() if not branch.greeting.fresh]:
                self._dismiss(survivor)
        self._origins = list(tail.origins)
        for origin in self._origins:
            branch = self._branches.get(origin.worker)
            if branch is not None:
                branch.landed = max(branch.landed, origin.seq)

    def keep(self, number: int, record: Record) -> bool:
        for origin in self._origins:
            branch = self._branches.get(origin.worker)
            if branch is None or not origin.first <= number < origin.first + origin.count:
                continue
            local = origin.local + number - origin.first
            waits = record.kind is Kind.GATED_CAPTURE and local > branch.greeting.claim.started
            if waits:
                self._keeper.gate(number)
            if waits or record.kind in _DELTAS:
                self._kept.append((branch, local, number, record))
            return True
        return False

    async def begin(self) -> None:
        """Take up what the workers have told, and begin to lend. Once, when the keeper is open."""
        accounts: dict[int, Account] = {}
        answering = {id(branch): branch for branch, _, _, _ in self._kept}  # some of them may have left meanwhile
        for branch in (answering | {id(branch): branch for branch in self._branches.values()}).values():
            await self._take_up(branch, accounts)
        self._keeper.claims_are_taken_up()
        # Where nothing of an account is spoken for, its requests have ended, and so has all else that they paid with.
        ended = {record.request for _, _, _, record in self._kept if record.account not in accounts}
        for branch, local, number, record in self._kept:
            if record.kind in _DELTAS:
                request = record.request.at_ms, record.request.number
                self._correct(branch, request, record.account, record.micros)
            elif record.request in ended:
                self._keeper.begun(number)
            else:
                account = accounts[record.account]
                waits = _Unanswered(number, account, record.tariff, record.token, record.micros, record.request)
                self._wait_for(branch, local, waits)
        for branch in answering.values():
            if self._branches.get(branch.worker) is not branch:
                self._void_all(branch)
        self._kept.clear()
        self._open.set()
        for branch, returns, in_use in self._early:
            if self._branches.get(branch.worker) is branch:
                self.give_back(branch, returns, in_use=in_use)
        self._early.clear()

    async def _take_up(self, branch: Branch, accounts: dict[int, Account]) -> None:
        """What it claims is its slice. If a lender of ours has less for it than that, it must go."""
        keeper, claim, spent = self._keeper, branch.greeting.claim, branch.greeting.pending_spent
        landed = branch.landed >= branch.greeting.pending_seq > 0
        claimed = []
        for row, holder, unit, micros in claim.slices:
            account = accounts[row] = await keeper.claimed(row, (holder, unit))
            claimed.append((account, micros - (spent.get(row, 0) if landed else 0)))
        if self._branches.get(branch.worker) is not branch:
            return  # it has left meanwhile
        if keeper.borrows and any(account.available < micros for account, micros in claimed):
            self._dismiss(branch)
            return
        branch.tariffs = {local: keeper.tariff(tariff) for local, tariff in claim.tariffs.items()}
        for account, micros in claimed:
            branch.lend(account, micros)

    def _dismiss(self, branch: Branch) -> None:
        """What it has is not its own any more."""
        self.leave(branch)
        branch.begone()

    # --- slices -------------------------------------------------------------------------------------------------------

    async def draw(self, branch: Branch, holder: str, unit: str, micros: int) -> Drawn:
        """A slice for a worker that lacks so much. Raises LedgerUnavailable."""
        await self._open.wait()
        key = (holder, unit)
        if not micros:
            account = await self._keeper.account(key, beside=True)
            return self._drawn(branch, account, 0)
        async with self._turns.setdefault(key, asyncio.Lock()):
            if self._keeper.borrows:
                return await self._draw_on(branch, key, micros)
            return await self._draw(branch, await self._keeper.account(key), micros)

    async def _draw(self, branch: Branch, account: Account, micros: int) -> Drawn:
        """It is this worker's turn: what the others part with for it is given to nobody else meanwhile."""
        doubtful = False
        if account.available < micros:
            doubtful = not await self._recall(account, branch)
            account = await self._keeper.account(account.key)
        return self._lend(branch, account, micros, doubtful=doubtful)

    async def _draw_on(self, branch: Branch, key: Key, micros: int) -> Drawn:
        """The same of an account that is on loan to us: what we have, what our workers have, what there is at all."""
        keeper, loop = self._keeper, asyncio.get_running_loop()
        until = loop.time() + TURN_SECONDS_MAX
        account, sure = keeper.in_hand(key), True
        # While more is elsewhere than with our workers, that is where to ask first; but a no is said only after both.
        both = account is None or account.elsewhere <= account.lent
        while True:
            if account is not None:
                async with self._move(account.row):
                    if both and account.spendable < micros:
                        sure = await self._recall(account, branch)
                    if account.spendable >= micros and keeper.in_memory(account):
                        return self._lend(branch, account, micros)
            fetcher = await keeper.fetch(key, micros)
            account = fetcher.found
            try:
                if fetcher.held:
                    account.release(micros)
                    return self._lend(branch, account, micros, spare=not self._move(account.row).locked())
                if both:
                    async with self._move(account.row):
                        if fetcher.untouched or loop.time() > until:
                            doubtful = fetcher.doubtful or not sure or not fetcher.untouched
                            return self._lend(branch, account, micros, doubtful=doubtful)
                both = True
            finally:
                account.pins -= 1

    def _move(self, row: int) -> asyncio.Lock:
        """Whoever has it may lend of this account, or recall and give away what comes in."""
        return self._moves.setdefault(row, asyncio.Lock())

    def _lend(
        self, branch: Branch, account: Account, micros: int, *, doubtful: bool = False, spare: bool = True
    ) -> Drawn:
        """As much as there is; with something to `spare`, so that it asks seldom."""
        granted = 0
        if not self._keeper.in_memory(account):
            doubtful = doubtful or account.available > 0  # it has left the memory since it was looked at
        elif self._branches.get(branch.worker) is branch:
            cut = slice_of(micros, account.spendable, self._workers)
            granted = cut if spare else min(cut, micros)
        if granted:
            branch.lend(account, granted)
            self._keeper.used(account)
        return self._drawn(branch, account, granted, doubtful=doubtful)

    def _drawn(self, branch: Branch, account: Account, granted: int, *, doubtful: bool = False) -> Drawn:
        named, owes = () if account.worth < 0 else account.purses, account.owes or account.available < 0
        return Drawn(account.row, granted, self._elsewhere(branch, account), doubtful, named, owes)

    @asynccontextmanager
    async def called_in(self, row: int) -> AsyncIterator[bool]:
        """As `ports.Borrower`."""
        await self._open.wait()
        async with self._move(row):
            account = self._keeper.on_loan(row)
            yield account is None or await self._recall(account, None)

    async def reverse(self, reversal: Reversal) -> bool:
        """Take money back for a worker. Raises LedgerUnavailable, ValueError."""
        await self._open.wait()
        return await self._keeper.reverse(reversal)

    def tell_changed(self, holder: str, unit: str) -> None:
        """As `ports.Borrower.changed`, to all workers."""
        for branch in self._branches.values():
            branch.changed(holder, unit)

    def tell_anything_changed(self) -> None:
        """As `ports.Borrower.anything_changed`, to all workers."""
        for branch in self._branches.values():
            branch.anything_changed()

    async def ended(self, request: RequestId) -> bool:
        """Whether no worker has it under way. Raises LedgerUnavailable if one does not say so."""
        await self._open.wait()
        for branch in list(self._branches.values()):
            if branch.ended is not None and not await self._ask(branch.ended, request):
                return False
            if (request.at_ms, request.number) in branch.by_request:
                return False  # it is over, but for the word that its answer had begun
        return True

    async def _ask(self, ended: Callable[[RequestId], Awaitable[bool]], request: RequestId) -> bool:
        try:
            async with asyncio.timeout(ANSWER_SECONDS_MAX):
                return await ended(request)
        except TimeoutError:
            raise LedgerUnavailable() from None

    async def recall_everything(self, account: Account) -> None:
        """Ask everybody to part with what they have of an account, and wait for those who answer."""
        await self._open.wait()
        async with self._turns.setdefault(account.key, asyncio.Lock()):
            await self._recall(account, None)

    async def _recall(self, account: Account, asker: Branch | None) -> bool:
        """Ask everybody else to part with what they have of an account; whether all did."""
        sure, waits = True, []
        for branch in self._branches.values():
            if branch is asker or not branch.slice_of(account):
                continue
            if branch.silent:
                sure = False
                continue
            recalled = branch.recalls.get(account.row)
            if recalled is None:
                recalled = branch.recalls[account.row] = asyncio.get_running_loop().create_future()
                branch.recall(account.row)
            waits.append((branch, recalled))
        if waits:
            await asyncio.wait([recalled for _, recalled in waits], timeout=ANSWER_SECONDS_MAX)
        for branch, recalled in waits:
            if not recalled.done():
                branch.silent, sure = True, False
        return sure

    def recalled(self, branch: Branch, row: int, micros: int) -> None:
        """A worker has parted with this much. Raises Disorder."""
        branch.take_back(row, micros)
        recalled = branch.recalls.pop(row, None)
        if recalled is not None and not recalled.done():
            recalled.set_result(None)

    def give_back(self, branch: Branch, returns: Mapping[int, int], *, in_use: bool = False) -> None:
        """A worker returns what it does not need. Raises Disorder."""
        if not self._open.is_set():
            self._early.append((branch, returns, in_use))  # its claim is not taken up yet
            return
        for row, micros in returns.items():
            branch.take_back(row, micros)
            if not in_use:
                branch.forget(row)

    def _elsewhere(self, branch: Branch, account: Account) -> int:
        return account.available + account.lent + account.elsewhere - branch.slice_of(account)

    # --- drafts -------------------------------------------------------------------------------------------------------

    async def take(self, branch: Branch, draft: WorkerDraft) -> Landed:
        """Write a worker's draft; returns when it is durable. Raises Disorder, LedgerUnavailable.

        One that an earlier keeper had written is recognised.
        """
        await self._open.wait()
        if self._branches.get(branch.worker) is not branch:
            raise Disorder("has left")
        if draft.seq <= branch.landed:
            self._started(branch, draft.started)
            return Landed([False] * len(draft.credits), [0] * len(draft.credits), {})
        rows = self._write(branch, draft)
        credits = [self._keeper.add_credit(credit) for credit in draft.credits]
        self._started(branch, draft.started)
        if not draft.payload and not credits:
            return Landed([], [], {})
        done = await self._keeper.durable()
        branch.landed = draft.seq
        return self._landed(branch, draft, done, credits, rows)

    def _landed(
        self, branch: Branch, draft: WorkerDraft, done: Committed, credits: list[int], rows: Iterable[int]
    ) -> Landed:
        found = [done.accounts.get(credit.key) for credit in draft.credits]
        elsewhere = {
            row: self._elsewhere(branch, slice.account) for row in rows if (slice := branch.slices.get(row)) is not None
        }
        return Landed(
            [done.credited[place] for place in credits], [row.id if row is not None else 0 for row in found], elsewhere
        )

    def _write(self, branch: Branch, draft: WorkerDraft) -> Iterable[int]:
        """Put its records into the next commit; the accounts that they move."""
        records = list(Record.unpacked(draft.payload))
        spent: dict[int, int] = {}
        for _, _, row, _, micros, _, _ in records:
            spent[row] = spent.get(row, 0) + micros
        for row, micros in spent.items():
            slice = branch.slices.get(row)
            if slice is None or slice.micros < micros:
                raise Disorder(f"spends {micros} of account {row}, which it does not have")
        keeper = self._keeper
        for own, tariff_of in draft.tariffs.items():
            branch.tariffs[own] = keeper.tariff(tariff_of)
        first = keeper.next_number
        for local, (kind, tariff, row, token, micros, at_ms, unique) in enumerate(records, draft.first):
            account, request, known = branch.slices[row].account, RequestId(at_ms, unique), branch.tariffs[tariff]
            number = keeper.write(kind, known, account, token, micros, request)
            if kind == Kind.GATED_CAPTURE:
                keeper.gate(number)
                self._wait_for(branch, local, _Unanswered(number, account, known, token, micros, request))
            elif kind in _DELTAS:
                self._correct(branch, (at_ms, unique), row, micros)
        if records:
            keeper.add_origin(Origin(branch.worker, draft.seq, first, len(records), draft.first))
        for row, micros in spent.items():
            slice = branch.slices[row]
            slice.micros -= micros
            slice.account.lent -= micros
        return spent

    def _wait_for(self, branch: Branch, local: int, waits: _Unanswered) -> None:
        waits.account.pins += 1
        branch.unanswered[local] = waits
        request = waits.request.at_ms, waits.request.number
        branch.by_request.setdefault(request, {})[waits.account.row] = waits

    def _correct(self, branch: Branch, request: tuple[int, int], row: int, micros: int) -> None:
        waits = branch.by_request.get(request, {}).get(row)
        if waits is not None:
            waits.micros += micros

    def _started(self, branch: Branch, started: int) -> None:
        """Every answer up to this number has begun."""
        unanswered = branch.unanswered
        while unanswered and (local := next(iter(unanswered))) <= started:
            done = unanswered.pop(local)
            _forget(branch, done)
            done.account.pins -= 1
            self._keeper.begun(done.number)


def _forget(branch: Branch, done: _Unanswered) -> None:
    request = done.request.at_ms, done.request.number
    rows = branch.by_request.get(request, {})
    rows.pop(done.account.row, None)
    if not rows:
        branch.by_request.pop(request, None)
