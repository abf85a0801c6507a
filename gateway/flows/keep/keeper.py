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
is being committed; whoever asked is granted its hold in the step in which the account arrives. Accounts with nothing in
flight leave the memory in the order of their last use.

**A keeper may borrow.** With several worker processes each has a keeper of its own over a store that is another
keeper's (`ports.Lender`): what it has of an account is a slice. It draws more when a hold needs more than is left,
gives back what lies idle or is recalled, and refuses for want of money only when its lender has no more.
`slices.py` is the lender's side. A keeper may do both: of what is on loan to it, some is `lent` on to its workers. What
it parts with, and what it counts as on loan, leaves that covered at every moment.

**A reversal** takes its whole amount out of the balance in memory at once, which may make it negative: so the question
before a hold stays the one that it is, and nobody is granted what has to go back. What is lent is then recalled. Of the
amount, the part that was there is `taken` from what was credited; the rest becomes debt. What is held, or could not be
recalled, stays covered: it is the debt that waits for the next credit, never a request under way.
"""

import asyncio
from collections import OrderedDict
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from dataclasses import dataclass

from gateway.core.ids import RequestId
from gateway.core.ledger import (
    Balance,
    Charge,
    Claim,
    Committed,
    Credit,
    Draft,
    Drawn,
    Kind,
    Origin,
    Refund,
    Reversal,
    Tail,
    Tariff,
    voids,
)
from gateway.core.money import AMOUNT_MICROS_MAX, Money
from gateway.core.purses import PLAIN, purse_named
from gateway.core.refusals import LedgerUnavailable, PaymentRequired
from gateway.core.routes import Durability
from gateway.flows.keep.accounts import Account, Asker, Fetcher, Holding, Key, Taker, Waiting
from gateway.flows.keep.wallets import SplitHold, Wallets, balance, worth
from gateway.ports import (
    Archive,
    Clock,
    Hold,
    LedgerStore,
    Lender,
    Refunds,
    RequestUnderWay,
    RequestUnknown,
    StoreBusy,
    StoreFailed,
    Survivors,
    Teller,
)


@dataclass(frozen=True, slots=True)
class Pace:
    """How the keeper spaces its work, in seconds."""

    gap: float = 0.002  # from the start of one commit to the start of the next
    enough: int = 64  # records that are worth a commit of their own, however short the gap
    quiet: float = 0.05  # without new records, before the final watermark is stored
    refuse_after: float = 0.5  # a commit that takes longer closes the paid routes
    give_up_after: float = 1.0  # and longer still: answers that wait for it are refused
    retry: float = 0.1  # between attempts while the store is stuck
    idle: float = 1.0  # a slice that nobody used for so long goes back


@dataclass(frozen=True, slots=True)
class Recovered:
    """What was given away when the books were opened after a crash."""

    count: int
    micros: int


class Keeper:
    """The ledger of this process. Implements `ports.Ledger` over a `ports.LedgerStore`."""

    def __init__(
        self,
        store: LedgerStore,
        clock: Clock,
        *,
        lender: Lender | None = None,
        teller: Teller | None = None,
        archive: Archive | None = None,
        refunds: Refunds | None = None,
        pace: Pace | None = None,
        accounts_max: int = 100_000,
        report: Callable[[str], None] = lambda problem: None,
    ) -> None:
        self._store = store
        self._clock = clock
        self._pace = pace or Pace()
        self._accounts_max = accounts_max
        self._report = report
        self._lender = lender
        self._teller = teller
        self._archive = archive
        self._refunds = refunds
        self._recall_lent: Callable[[Account], Awaitable[None]] | None = None
        self._ended_there: Callable[[RequestId], Awaitable[bool]] | None = None
        self._call_in: Callable[[int], AbstractAsyncContextManager[bool]] | None = None
        self._tell_changed: Callable[[str, str], None] = lambda holder, unit: None
        self._wallets = Wallets(self)
        self._kept: list[Account] = []  # on loan from before, until the workers have said what of it is theirs
        self._open: dict[int, Holding | SplitHold] = {}  # by the number of the request
        self._refunding = asyncio.Lock()
        self._accounts: OrderedDict[Key, Account] = OrderedDict()
        self._rows: dict[int, Account] = {}  # of a keeper that borrows
        self._under_way: Mapping[int, int] = {}  # what the draft that is being committed spends, by account row
        self._drawing: dict[Key, list[Asker]] = {}
        self._draws: set[asyncio.Task[None]] = set()
        self._round = 0
        self._rounds: asyncio.TimerHandle | None = None
        self._begun: OrderedDict[int, None] = OrderedDict()  # gated records whose answers have not begun
        self._tariffs: dict[Tariff, int] = {}
        self._work = asyncio.Event()
        self._full = asyncio.Event()
        self._stuck_since: float | None = None
        self._closing = False
        self._task: asyncio.Task[None] | None = None
        self._watchdog: asyncio.TimerHandle
        self._draft = Draft(seq=1, first=1)
        self._waiting = Waiting()
        self._committed_seq = 0
        self._stored_started = 0

    # --- life ---------------------------------------------------------------------------------------------------------

    async def open(self, survivors: Survivors | None = None) -> Recovered:
        """Open the store, void what a crash left half done, and begin. Raises StoreDamaged, StoreLocked.

        `survivors` are the workers that lived on while the keeper before this one died: they know of their answers.
        """
        if self._lender is not None:
            self._lender.lends_to(self)
        tail = await self._store.open()
        self._take_up(tail.loans)
        if survivors is not None:
            await survivors.gather(tail)
        recovered = await self._recover(tail, survivors)
        loop = asyncio.get_running_loop()
        self._task = loop.create_task(self._run(), name="ledger keeper")
        self._task.add_done_callback(self._ended)
        if self._lender is not None:
            self._rounds = loop.call_later(self._pace.idle, self._look_round)
        return recovered

    async def close(self) -> None:
        self._closing = True
        self._work.set()
        if self._rounds is not None:
            self._rounds.cancel()
        for draw in self._draws:
            draw.cancel()
        if self._task is not None:
            await asyncio.wait([self._task])
        await self._store.close()

    def _ended(self, task: asyncio.Task[None]) -> None:
        """The keeper stopped: from now on everybody is refused rather than left to wait."""
        self._closing = True
        self._waiting.end()
        if not task.cancelled() and task.exception() is not None:
            self._report(f"the ledger keeper stopped: {task.exception()!r}")

    async def _recover(self, tail: Tail, survivors: Survivors | None) -> Recovered:
        self._tariffs = dict(tail.tariffs)
        self._committed_seq = tail.seq
        self._draft = Draft(seq=tail.seq + 1, first=tail.first)
        numbered = enumerate(tail.unstarted, tail.started + 1)
        undo = voids(record for number, record in numbered if survivors is None or not survivors.keep(number, record))
        for record in undo:
            self._draft.add(record)
        if undo:
            draft = self._take()
            draft.quiet = True
            await self._commit_until_done(draft)
            self._committed(draft)
            for row, micros in draft.spent.items():
                if (account := self._rows.get(row)) is not None:
                    account.available -= micros
        else:
            self._stored_started = min(tail.first - 1, self._started())
        return Recovered(len(undo), -sum(record.micros for record in undo))

    def _take_up(self, loans: Sequence[tuple[int, str, str, int]]) -> None:
        """What was on loan to the keeper before this one is ours, until its workers have claimed their part of it."""
        for row, holder, unit, micros in loans:
            account = self._receive((holder, unit), Drawn(row, micros, 0, doubtful=False, purses=None))
            account.pins += 1
            self._kept.append(account)

    # --- the port -----------------------------------------------------------------------------------------------------

    async def hold(self, account: str, ceiling: Money, *, id: RequestId, token: int, tariff: Tariff) -> Hold:
        if self._closing or self._stuck_since is not None:
            self._refuse_if_stuck()
        key, micros = (account, ceiling.currency), ceiling.micros
        found = self._accounts.get(key)
        if found is not None and found.alone and found.available >= micros:
            # From the question to here nothing was awaited: deciding and taking are one step.
            found.available -= micros
            found.held += micros
            self._accounts.move_to_end(key)
        elif found is not None and found.alone and self._lender is None:
            raise PaymentRequired(price=ceiling, balance=Money(found.available, ceiling.currency))
        else:
            asker = await self._ask(key, ceiling) if found is None or found.alone else None
            if asker is None or not asker.held:
                split = await self._wallets.hold(key, ceiling, id=id, token=token, tariff=self.tariff(tariff))
                self._open[id.number] = split
                return split
            found = asker.found
        found.used = self._round
        priced = self._tariffs.get(tariff) or self.tariff(tariff)
        hold = self._open[id.number] = Holding(found, micros, id, token, priced, self.answer_begun)
        return hold

    async def start(self, hold: Hold, due: Money, durability: Durability) -> None:
        if not due:
            return
        if isinstance(hold, SplitHold):
            await self._wallets.start(hold, due, durability)
        elif (gate := self.record(hold, due, durability)) is not None:
            await gate

    def record(self, hold: Hold, due: Money, durability: Durability) -> asyncio.Future[None] | None:
        """Put what is due into the next commit; what its answer has to wait for, if it has to. As `start` raises."""
        assert isinstance(hold, Holding)
        if not 0 < due.micros <= hold.ceiling:
            raise ValueError(f"{due} is less than nothing, or more than was held")
        if self._task is None or self._task.done():
            hold.failed = True
            raise LedgerUnavailable()
        gated = durability == "strict"
        kind = Kind.GATED_CAPTURE if gated else Kind.CAPTURE
        number = self.write(kind, hold.tariff, hold.account, hold.token, due.micros, hold.id)
        hold.recorded = due.micros
        if not gated:
            return None
        hold.number = number
        self._begun[number] = None
        gate: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.gates.append((gate, hold))
        return gate

    async def renew(self, hold: Hold, due: Money, ahead: Money) -> None:
        assert isinstance(hold, Holding | SplitHold)
        if hold.settled or not hold.recorded <= due.micros <= hold.ceiling or ahead.micros < 0:
            raise ValueError(f"{due} is less than was recorded, or more than is held")
        self._refuse_if_stuck()
        recorded = None
        if due.micros > hold.recorded:
            for part, share in hold.spread(due.micros):
                if share.micros != part.recorded:
                    self._change(part, share.micros)
            recorded = self.durable()
        try:
            async with asyncio.timeout(self._pace.give_up_after):
                await self._set_aside(hold, due.micros + ahead.micros - hold.ceiling)
                if recorded is not None:
                    await recorded
        except BaseException as error:
            if recorded is not None:
                recorded.cancel()
            if isinstance(error, TimeoutError):
                raise LedgerUnavailable() from None
            raise

    def _change(self, hold: Holding, micros: int) -> None:
        """Record that it comes to so much by now."""
        kind = Kind.CORRECTION if micros < hold.recorded else Kind.RENEWAL if hold.recorded else Kind.CAPTURE
        self.write(kind, hold.tariff, hold.account, hold.token, micros - hold.recorded, hold.id)
        hold.recorded = micros

    async def _set_aside(self, hold: Holding | SplitHold, micros: int) -> None:
        """So much more for a hold. Cancelled, it has it or it has not."""
        if micros <= 0:
            return  # all of it is set aside: whatever the account owes by now
        if isinstance(hold, SplitHold):
            await self._wallets.set_aside(hold, micros)
            return
        account = hold.account
        if micros > account.available:
            missing = Money(micros, account.currency)
            if self._lender is None:
                raise PaymentRequired(price=missing, balance=Money(account.available, account.currency))
            asker = Asker(missing, beside=True)
            self._draw_for(account.key, asker, self._lender)
            await asker.account()
        else:
            account.hold(micros)
        hold.ceiling += micros

    def settle(self, hold: Hold, cost: Money) -> Money:
        assert isinstance(hold, Holding | SplitHold)
        if hold.settled:
            return hold.spent
        self._open.pop(hold.id.number, None)
        if isinstance(hold, SplitHold):
            return self._wallets.settle(hold, cost)
        hold.settled = True
        micros = 0 if hold.failed else max(0, min(cost.micros, hold.ceiling))
        if micros != hold.recorded:
            self._change(hold, micros)
        account = hold.account
        account.held -= hold.ceiling
        account.available += hold.ceiling - micros
        if hold.number:
            self.answer_begun(hold.number)
            hold.number = 0
        return cost if cost.micros == micros else Money(micros, account.currency)

    async def credit(self, credit: Credit) -> bool:
        self._refuse_if_stuck()
        added: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._waiting.credits.append((self.add_credit(credit), added))
        return await added

    async def reverse(self, reversal: Reversal) -> bool:
        self._refuse_if_stuck()
        if self._lender is not None:
            return await self._reverse_there(reversal)
        account = await self.account(reversal.key)
        if reversal.at_most:
            await self._recall_everything(account)
            if account.available <= 0:
                return False
            reversal = reversal.taking(min(account.available, reversal.amount.micros))
        micros = reversal.amount.micros
        if account.available - micros < -AMOUNT_MICROS_MAX:
            raise ValueError("this is more than an account can hold")
        account.available -= micros
        account.reversing += micros
        try:
            await self._recall_everything(account)
        except BaseException:
            account.available += micros
            account.reversing -= micros
            raise
        # Others that wait for the same recall have taken theirs off already: whoever comes here first is served first.
        there = account.available + account.reversing
        account.reversing -= micros
        self._draft.reversals.append((reversal, max(0, min(micros, there))))
        account.draft = self._draft.seq
        self._work.set()
        done: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._waiting.reversals.append((len(self._draft.reversals) - 1, done))
        return await done

    async def join(self, account: str, into: str, currency: str) -> bool:
        self._refuse_if_stuck()
        return await self._wallets.join((account, currency), into, self.reverse)

    async def refund(self, request: RequestId, reason: str) -> list[Charge]:
        self._refuse_if_stuck()
        if self._refunds is not None:
            return await self._refund_there(request, reason, self._refunds)
        if self._archive is None:
            raise NotImplementedError("requests cannot be found in these books")
        try:
            async with self._refunding, asyncio.timeout(2 * self._pace.give_up_after):
                return await self._refund(request, reason, self._archive)
        except (StoreFailed, TimeoutError):
            raise LedgerUnavailable() from None

    async def _refund(self, request: RequestId, reason: str, archive: Archive) -> list[Charge]:
        """First nothing more can come of the request, then it is all in the books, then they say what it did cost."""
        if not await self.ended(request):
            raise RequestUnderWay(str(request))
        found = await archive.charges_of(request)
        if not found or not all(charge.captured for charge in found):
            raise RequestUnknown(str(request))
        refunds = [Refund(request, charge, reason) for charge in found if charge.micros > 0]
        for refund in refunds:
            charge = refund.charge
            account = await self.account((charge.name, charge.unit))
            self.write(Kind.CORRECTION, charge.tariff, account, charge.token, -charge.micros, request)
            account.available += charge.micros
            self._draft.refunds.append(refund)
            if charge.name != charge.holder:
                self.changed(charge.holder, charge.unit)
        if refunds:
            await self.durable()
        return [refund.charge for refund in refunds]

    async def _refund_there(self, request: RequestId, reason: str, refunds: Refunds) -> list[Charge]:
        """By books that others keep, too: one of them may have served it."""
        try:
            async with self._refunding:
                return await refunds.refund(request, reason)
        except StoreFailed:
            raise LedgerUnavailable() from None

    async def ended(self, request: RequestId) -> bool:
        """Whether it is under way nowhere; if so, whatever was recorded of it is durable. Raises LedgerUnavailable."""
        hold = self._open.get(request.number)
        if hold is not None and hold.id == request:
            return False
        if self._ended_there is not None and not await self._ended_there(request):
            return False
        await self.durable()
        return True

    async def balance(self, account: str, currency: str) -> Balance:
        found = await self._wallets.accounts((account, currency))
        return Balance(Money(balance(found), currency), Money(sum(one.held for one in found), currency))

    async def funded(self, account: str, currency: str) -> bool:
        found = self._accounts.get((account, currency))
        if found is None or not (found.row or found.purses):
            found = (await self._ask((account, currency), None)).found
        return found.row > 0 or bool(found.purses)

    # --- borrowing: what the lender asks ------------------------------------------------------------------------------

    def claim(self) -> Claim:
        """What is still spoken for, as told to a lender that has forgotten; what else was on loan is void."""
        slices = []
        for account in self._accounts.values():
            # Not less than what is on its way: the lender wants that covered before the correction that follows it.
            spoken_for = account.slice - account.available
            account.slice = max(0, spoken_for, self._under_way.get(account.row, 0))
            account.available = account.slice - spoken_for
            if account.slice or account.held or account.draft > self._committed_seq:
                slices.append((account.row, account.holder, account.currency, account.slice))
        return Claim(self._started(), {id: tariff for tariff, id in self._tariffs.items()}, slices)

    def recall(self, row: int) -> int | None:
        account = self._rows.get(row)
        if account is None:
            return 0
        if account.deciding or account.available > self._free(account):
            return None
        return self._part_with(account)

    def changed(self, holder: str, unit: str) -> None:
        account = self._accounts.get((holder, unit))
        if account is not None:
            account.beside(None)
        self._tell_changed(holder, unit)

    def _free(self, account: Account) -> int:
        """What can be given back. What a correction has just released comes free when the correction is committed."""
        return account.slice - account.lent - max(0, self._under_way.get(account.row, 0))

    @asynccontextmanager
    async def called_in(self, row: int) -> AsyncIterator[bool]:
        if self._call_in is None:
            yield True
            return
        async with self._call_in(row) as sure:
            yield sure

    def _part_with(self, account: Account) -> int:
        micros = max(0, min(account.available, self._free(account)))
        account.available -= micros
        account.slice -= micros
        account.elsewhere += micros
        if micros:
            account.parted += 1
        return micros

    def _look_round(self) -> None:
        """Give back, and forget, what nobody has used since the round before. The longest unused stand in front."""
        assert self._lender is not None
        returns = {}
        for account in list(self._accounts.values()):
            if account.used >= self._round:
                break
            if account.held or account.pins or account.draft > self._committed_seq:
                self._accounts.move_to_end(account.key)
                continue
            del self._accounts[account.key]
            if self._rows.pop(account.row, None) is not None:
                returns[account.row] = self._part_with(account)
        if returns:
            self._lender.give_back(returns)
        self._round += 1
        self._rounds = asyncio.get_running_loop().call_later(self._pace.idle, self._look_round)

    async def _reverse_there(self, reversal: Reversal) -> bool:
        """Money is taken back where all of the account can be seen."""
        if self._teller is None:
            raise NotImplementedError("nothing can be taken back from these books")
        try:
            async with asyncio.timeout(2 * self._pace.give_up_after):
                return await self._teller.reverse(reversal)
        except (StoreFailed, TimeoutError):
            raise LedgerUnavailable() from None

    # --- lending: what the lender's side needs ------------------------------------------------------------------------

    def lends_through(
        self,
        recall: Callable[[Account], Awaitable[None]],
        ended: Callable[[RequestId], Awaitable[bool]],
        call_in: Callable[[int], AbstractAsyncContextManager[bool]],
        tell_changed: Callable[[str, str], None],
    ) -> None:
        """How to get back what can be had of what is lent of an account, and whether a request is over there.

        `call_in` and `tell_changed` are `ports.Borrower.called_in` and `changed`, of those who borrow from us.
        """
        self._tell_changed = tell_changed
        self._recall_lent = recall
        self._ended_there = ended
        self._call_in = call_in

    async def _recall_everything(self, account: Account) -> None:
        if account.lent and self._recall_lent is not None:
            account.pins += 1
            try:
                await self._recall_lent(account)
                self._refuse_if_stuck()
            finally:
                account.pins -= 1

    def in_memory(self, account: Account) -> bool:
        """Whether this is still the one that counts: nothing is ever taken from a copy that has left the memory."""
        return self._accounts.get(account.key) is account

    @property
    def borrows(self) -> bool:
        """Whether what we lend is itself on loan to us."""
        return self._lender is not None

    def in_hand(self, key: Key) -> Account | None:
        """An account, if it is in the memory just now."""
        return self._accounts.get(key)

    def on_loan(self, row: int) -> Account | None:
        """The account of this row, if something of it is on loan to us."""
        return self._rows.get(row)

    def used(self, account: Account) -> None:
        """It is lent from: so it does not lie idle."""
        account.used = self._round
        self._accounts.move_to_end(account.key)

    async def fetch(self, key: Key, micros: int) -> Fetcher:
        """Get an account's money to lend it on, from whoever lends to us. Raises LedgerUnavailable.

        Where there is so much, it is held, and `held` says so; else whatever there is stands in the account. The
        account is pinned: whoever asked takes the pin out.
        """
        self._refuse_if_stuck()
        assert self._lender is not None
        fetcher = Fetcher(Money(micros, key[1]))
        self._draw_for(key, fetcher, self._lender)
        await fetcher.account()
        return fetcher

    async def claimed(self, row: int, key: Key) -> Account:
        """The account of which a worker has claimed something, while its keeper takes the books up."""
        if self._lender is None:
            return await self.account(key)
        return self._accounts.get(key) or self._receive(key, Drawn(row, 0, 0, doubtful=False, purses=None))

    def claims_are_taken_up(self) -> None:
        """What nobody has claimed of the loans from before is ours."""
        for account in self._kept:
            account.pins -= 1
        self._kept.clear()

    def write(self, kind: int, tariff: int, account: Account, token: int, micros: int, request: RequestId) -> int:
        """Put a record into the next commit; its number."""
        if not self._work.is_set():
            self._work.set()
        draft = self._draft
        account.draft = draft.seq
        if draft.count == self._pace.enough - 1:
            self._full.set()
        return draft.write(kind, tariff, account.row, token, micros, request)

    def gate(self, number: int) -> None:
        """The answer to this record has not begun."""
        self._begun[number] = None

    def begun(self, number: int) -> None:
        """Now it has, or its request has ended."""
        self._begun.pop(number, None)

    def add_origin(self, origin: Origin) -> None:
        """Note in the next commit where its records come from."""
        self._draft.origins.append(origin)

    def add_credit(self, credit: Credit) -> int:
        """Put a credit into the next commit; its place there."""
        self._draft.credits.append(credit)
        self._work.set()
        return len(self._draft.credits) - 1

    def durable(self) -> asyncio.Future[Committed]:
        """Done when what was put into the next commit is durable, however long. May raise LedgerUnavailable."""
        self._work.set()
        whole: asyncio.Future[Committed] = asyncio.get_running_loop().create_future()
        self._waiting.whole.append(whole)
        return whole

    @property
    def next_number(self) -> int:
        """Of the next record."""
        return self._draft.first + self._draft.count

    async def account(self, key: Key, *, beside: bool = False) -> Account:
        """An account, as it stands in the memory; surely with what is `beside` it. Raises LedgerUnavailable."""
        found = self._accounts.get(key) if self._lender is None else None
        if found is None or (beside and found.purses is None):
            return (await self._ask(key, None)).found
        return found

    # --- for holds on several purses ----------------------------------------------------------------------------------

    async def kept(self, key: Key) -> Account:
        """An account, pinned, and with what is beside it. Raises LedgerUnavailable."""
        account = self._accounts.get(key)
        if account is None or account.purses is None:
            return (await self._ask(key, None, keeps=True)).found
        account.pins += 1
        return account

    async def taken(self, account: Account, micros: int) -> tuple[int, bool]:
        """So much of an account that is pinned, or all there is, whoever has it; whether it is sure that this is all.

        It is taken for a decision under way (`Account.take`). Raises LedgerUnavailable.
        """
        if account.available >= micros or self._lender is None:
            return account.take(micros), True
        taker = Taker(Money(micros, account.currency))
        self._draw_for(account.key, taker, self._lender)
        await taker.account()
        return taker.held, taker.sure

    def decided(self) -> None:
        """What could not be parted with while a decision was under way can be now."""
        if self._lender is not None:
            self._lender.look_again()

    @property
    def patience(self) -> float:
        """How long a request may wait, in seconds."""
        return self._pace.give_up_after

    def now_ms(self) -> int:
        return self._clock.now_ms()

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

    def answer_begun(self, number: int) -> None:
        """From the next turn of the loop on: uvloop hands what was written to the kernel at the end of a turn."""
        asyncio.get_running_loop().call_soon(self._begun.pop, number, None)

    def tariff(self, tariff: Tariff) -> int:
        """The number under which records name it."""
        found = self._tariffs.get(tariff)
        if found is None:
            found = self._tariffs[tariff] = len(self._tariffs) + 1
            self._draft.tariffs.append((found, tariff))
        return found

    async def _ask(self, key: Key, ceiling: Money | None, *, keeps: bool = False) -> Asker:
        """An account, with as much of it held if it is alone; who ask for it at once share one question."""
        self._refuse_if_stuck()
        asker = Asker(ceiling, keeps=keeps)
        if self._lender is not None:
            self._draw_for(key, asker, self._lender)
        elif (askers := self._waiting.loads.get(key)) is not None:
            askers.append(asker)
        else:
            self._waiting.loads[key] = [asker]
            self._draft.loads.append(key)
            self._work.set()
        await asker.account()
        return asker

    def _draw_for(self, key: Key, asker: Asker, lender: Lender) -> None:
        askers = self._drawing.get(key)
        if askers is not None:
            askers.append(asker)
            return
        self._drawing[key] = [asker]
        task = asyncio.get_running_loop().create_task(self._draw(key, lender), name="draw a slice")
        self._draws.add(task)
        task.add_done_callback(self._draws.discard)

    async def _draw(self, key: Key, lender: Lender) -> None:
        """One question at a time and account; those who come meanwhile share the next."""
        askers: list[Asker] = []
        try:
            while askers := self._drawing[key]:
                self._drawing[key] = []
                wanted = sum(asker.ceiling.micros for asker in askers if asker.ceiling is not None)
                missing = max(0, wanted - self._remains(key, lender)) if wanted else 0
                try:
                    async with asyncio.timeout(self._pace.give_up_after):
                        drawn = await lender.draw(*key, missing)
                except (StoreFailed, TimeoutError):
                    for asker in askers:
                        asker.refuse()
                    continue
                account = self._receive(key, drawn)
                for asker in askers:
                    if asker.lacks(account) and missing and drawn.micros >= missing:
                        self._drawing[key].append(asker)  # some was recalled meanwhile: ask for that, too
                    else:
                        asker.serve(account, doubtful=drawn.doubtful)
        finally:
            for asker in (*askers, *self._drawing.pop(key)):
                asker.refuse()

    def _remains(self, key: Key, lender: Lender) -> int:
        """Give back the rest that is not enough, so that the answer speaks of all that there is; what cannot go yet."""
        account = self._accounts.get(key)
        if account is None or account.available <= 0:
            return 0
        lender.give_back({account.row: self._part_with(account)}, in_use=True)
        return account.available

    def _receive(self, key: Key, drawn: Drawn) -> Account:
        account = self._accounts.get(key)
        if account is None:
            account = self._accounts[key] = Account(*key, drawn.row, 0)
            asyncio.get_running_loop().call_soon(self._forget_the_idle)
        if drawn.row:
            account.row = drawn.row
            self._rows[drawn.row] = account
        account.available += drawn.micros
        account.slice += drawn.micros
        account.elsewhere = drawn.elsewhere
        account.beside(drawn.purses if purse_named(key[0])[1] == PLAIN else ())
        account.used = self._round
        self._accounts.move_to_end(key)
        return account

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
            if rest > 0 and not self._closing and not self._full.is_set():
                with suppress(TimeoutError):
                    async with asyncio.timeout(rest):
                        await self._full.wait()

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
        waiting, self._waiting = self._waiting, Waiting()
        draft = self._take()
        self._stuck_since = asyncio.get_running_loop().time()
        self._watch(waiting)
        try:
            done = await self._commit_until_done(draft)
            if done is not None:
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
        if self._lender is not None:
            voided = {}
            for row, micros in draft.spent.items():
                if (account := self._rows.get(row)) is not None:
                    account.slice -= micros
                elif micros < 0:
                    voided[row] = -micros  # by recovery: no slice of ours
            if voided:
                self._lender.give_back(voided)

    def _wake(self, draft: Draft, done: Committed, waiting: Waiting) -> None:
        for credit, new in zip(draft.credits, done.credited, strict=True):
            self._apply(credit, new, done)
        for (reversal, _), new in zip(draft.reversals, done.reversed, strict=True):
            self._taken_back(reversal, new, done)
        for row, micros in done.elsewhere.items():
            if (account := self._rows.get(row)) is not None:
                account.elsewhere = micros
        for key, askers in waiting.loads.items():
            account = self._accounts.get(key) or self._admit(key, done)
            account.beside(done.accounts[key].purses if key in done.accounts else ())
            for asker in askers:
                asker.serve(account)
        waiting.wake(done)
        # Once those who were woken have run: an account that was loaded for them is idle until then.
        asyncio.get_running_loop().call_soon(self._forget_the_idle)

    def _apply(self, credit: Credit, new: bool | None, done: Committed) -> None:
        """A credit that was committed reaches the account in memory, if it is there."""
        if not new:
            return
        account = self._accounts.get(credit.key)
        owed = account is not None and worth([account]) < 0
        if account is not None:
            account.row = done.accounts[credit.key].id
            if self._lender is None:
                account.available += credit.amount.micros
            else:
                self._rows[account.row] = account
                account.elsewhere += credit.amount.micros
        if owed or credit.purse != PLAIN:
            self._regroup(credit, done)

    def _taken_back(self, reversal: Reversal, new: bool | None, done: Committed) -> None:
        """The account is in memory: it is not forgotten while a draft holds something of it."""
        account = self._accounts[reversal.key]
        if new:
            account.row = done.accounts[reversal.key].id
            self._regroup(reversal, done)
            if reversal.moved is not None:
                self._apply(reversal.moved, True, done)
        else:
            account.available += reversal.amount.micros

    def _regroup(self, entry: Credit | Reversal, done: Committed) -> None:
        """Which purses its holder can draw on may be another question now."""
        key = (entry.account, entry.amount.currency)
        plain, row = self._accounts.get(key), done.accounts.get(key)
        if self._lender is not None:
            self.changed(*key)
            return
        if plain is not None:
            plain.beside(row.purses if row is not None else ())
        self._tell_changed(*key)

    def _admit(self, key: Key, done: Committed) -> Account:
        row = done.accounts.get(key)
        account = Account(key[0], key[1], row.id if row else 0, row.available if row else 0)
        self._accounts[key] = account
        return account

    def _forget_the_idle(self) -> None:
        looked_at = 0
        while len(self._accounts) > self._accounts_max and looked_at < 64:
            key, account = self._accounts.popitem(last=False)
            if account.held or account.pins or account.draft > self._committed_seq:
                self._accounts[key] = account
            elif self._lender is not None and self._rows.pop(account.row, None) is not None:
                self._lender.give_back({account.row: self._part_with(account)})
            looked_at += 1

    def _started(self) -> int:
        """The number up to which every gated record's answer has begun."""
        if self._begun:
            return next(iter(self._begun)) - 1
        return self._last_number()

    def _last_number(self) -> int:
        return self._draft.first + self._draft.count - 1
