"""Keep the books: balances in memory over a durable store, many records in one commit.

Holding, recording and settling touch only memory; `commits.py` writes what has gathered, `drawing.py` has the accounts,
`wallets.py` holds on several purses, `slices.py` lends to workers. Why the money is exact:

- **One decider.** Every hold passes through this object on one event loop, between two awaits, so N concurrent requests
  of which K are affordable are K holds and N-K refusals.
- **A reversal** takes its whole amount out of the balance in memory at once, which may make it negative: so the
  question before a hold stays the one that it is, and nobody is granted what has to go back. What is lent is then
  recalled. Of the amount, the part that was there is `taken` from what was credited; the rest becomes debt. What is
  held, or could not be recalled, stays covered: it is the debt that waits for the next credit, never a request under
  way.
"""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from gateway.core.caps import Cap, is_cap
from gateway.core.ids import RequestId
from gateway.core.ledger import (
    Balance,
    Charge,
    Committed,
    Credit,
    Draft,
    Kind,
    Refund,
    Reversal,
    Tail,
    Tariff,
    voids,
)
from gateway.core.money import AMOUNT_MICROS_MAX, Money
from gateway.core.purses import PLAIN
from gateway.core.refusals import LedgerUnavailable, PaymentRequired
from gateway.core.routes import Durability
from gateway.flows.keep.accounts import Account, Asker, Holding, Key, Waiting
from gateway.flows.keep.caps import CappedHold, Caps
from gateway.flows.keep.commits import Pace
from gateway.flows.keep.drawing import Drawing
from gateway.flows.keep.wallets import SplitHold, Wallets, balance
from gateway.ports import (
    Archive,
    CapLines,
    Clock,
    Hold,
    LedgerStore,
    Lender,
    Refunds,
    RequestUnderWay,
    RequestUnknown,
    StoreFailed,
    Survivors,
    Teller,
)


@dataclass(frozen=True, slots=True)
class Recovered:
    """What was given away when the books were opened after a crash."""

    count: int
    micros: int


class Keeper(Drawing):
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
        cap_lines: CapLines | None = None,
        pace: Pace | None = None,
        accounts_max: int = 100_000,
        report: Callable[[str], None] = lambda problem: None,
    ) -> None:
        super().__init__(store, clock, lender=lender, pace=pace or Pace(), accounts_max=accounts_max, report=report)
        self._teller = teller
        self._archive = archive
        self._refunds = refunds
        self._wallets = Wallets(self)
        self._caps = Caps(self, cap_lines)
        self._open: dict[int, Holding | SplitHold | CappedHold] = {}  # by the number of the request
        self._refunding = asyncio.Lock()

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
        self._begin()
        if self._lender is not None:
            self._rounds = loop.call_later(self._pace.idle, self._look_round)
        return recovered

    async def close(self) -> None:
        self._closing = True
        self._hurry()
        if self._rounds is not None:
            self._rounds.cancel()
        for draw in self._draws:
            draw.cancel()
        if self._task is not None:
            await asyncio.wait([self._task])
        await self._store.close()

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
        capped = {number for tariff, number in self._tariffs.items() if not tariff.route}  # it is no money
        given_away = [-record.micros for record in undo if record.tariff not in capped]
        return Recovered(len(given_away), sum(given_away))

    @property
    def holds_open(self) -> int:
        """Of requests under way."""
        return len(self._open)

    @property
    def accounts_in_memory(self) -> int:
        return len(self._accounts)

    # --- requests -----------------------------------------------------------------------------------------------------

    async def hold(
        self, account: str, ceiling: Money, *, id: RequestId, token: int, tariff: Tariff, caps: Sequence[Cap] = ()
    ) -> Hold:
        if self._closing or self._stuck_since is not None:
            self._refuse_if_stuck()
        if caps:
            return await self._caps.hold(account, ceiling, id=id, token=token, tariff=tariff, caps=caps)
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

    async def start(self, hold: Hold, due: Money, durability: Durability, *, counted: bool = False) -> None:
        if not due.micros and not counted:
            return
        if isinstance(hold, Holding):
            gate = self.record(hold, due, durability)
            if gate is not None:
                await gate
            return
        assert isinstance(hold, SplitHold | CappedHold)
        shares = hold.spread(due.micros, counted=counted)
        gates = [self.record(part, share, durability) for part, share in shares if share]
        await asyncio.gather(*(gate for gate in gates if gate is not None))

    def record(self, hold: Holding, due: Money, durability: Durability) -> asyncio.Future[None] | None:
        """Put what is due into the next commit; what its answer has to wait for, if it has to. As `start` raises."""
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
        gate: asyncio.Future[None] = self._loop.create_future()
        self._waiting.gates.append((gate, hold))
        if not self._awaited.is_set():
            self._awaited.set()
        return gate

    async def renew(self, hold: Hold, due: Money, ahead: Money) -> None:
        assert isinstance(hold, Holding | SplitHold | CappedHold)
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
                await self.set_aside(hold, due.micros + ahead.micros - hold.ceiling)
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

    async def set_aside(self, hold: Holding | SplitHold | CappedHold, micros: int) -> None:
        """So much more for a hold. Cancelled, it has it or it has not."""
        if micros <= 0:
            return  # all of it is set aside: whatever the account owes by now
        if isinstance(hold, CappedHold):
            await self._caps.set_aside(hold, micros)
            return
        if isinstance(hold, SplitHold):
            await self._wallets.set_aside(hold, micros)
            return
        account = hold.account
        if micros > account.spendable:
            missing = Money(micros, account.currency)
            if self._lender is None:
                raise PaymentRequired(price=missing, balance=Money(account.available, account.currency))
            asker = Asker(missing, beside=True)
            self._draw_for(account.key, asker, self._lender)
            await asker.account()
        else:
            account.hold(micros)
        hold.ceiling += micros

    def settle(self, hold: Hold, cost: Money, *, counted: bool = False) -> Money:
        if not isinstance(hold, Holding):
            return self._settle_parts(hold, cost, counted=counted)
        if hold.settled:
            return hold.spent
        hold.settled = True
        self._open.pop(hold.id.number, None)
        micros = cost.micros
        if hold.failed or micros < 0:
            micros = 0
        elif micros > hold.ceiling:
            micros = hold.ceiling
        if micros != hold.recorded:
            self._change(hold, micros)
        account = hold.account
        account.held -= hold.ceiling
        account.available += hold.ceiling - micros
        if hold.number:
            self.answer_begun(hold.number)
            hold.number = 0
        return cost if cost.micros == micros else Money(micros, account.currency)

    def _settle_parts(self, hold: Hold, cost: Money, *, counted: bool) -> Money:
        if isinstance(hold, CappedHold):
            return self._caps.settle(hold, cost, counted=counted)
        assert isinstance(hold, SplitHold)
        self._open.pop(hold.id.number, None)
        return self._wallets.settle(hold, cost)

    # --- money that comes and goes ------------------------------------------------------------------------------------

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
        self._hurry()
        done: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._waiting.reversals.append((len(self._draft.reversals) - 1, done))
        return await done

    async def _reverse_there(self, reversal: Reversal) -> bool:
        """Money is taken back where all of the account can be seen."""
        if self._teller is None:
            raise NotImplementedError("nothing can be taken back from these books")
        try:
            async with asyncio.timeout(2 * self._pace.give_up_after):
                made = await self._teller.reverse(reversal)
        except (StoreFailed, TimeoutError):
            raise LedgerUnavailable() from None
        if made:
            self.changed(reversal.account, reversal.amount.currency)  # whoever tells the others may be a moment later
        return made

    async def join(self, account: str, into: str, currency: str, *, turn: int | None = None) -> bool:
        self._refuse_if_stuck()
        return await self._wallets.join((account, currency), into, self.reverse, turn)

    async def refund(self, request: RequestId, reason: str) -> list[Charge]:
        self._refuse_if_stuck()
        if self._refunds is not None:
            given = await self._refund_there(request, reason, self._refunds)
        elif self._archive is not None:
            given = await self._refund_here(request, reason, self._archive)
        else:
            raise NotImplementedError("requests cannot be found in these books")
        return [charge for charge in given if not is_cap(charge.unit)]

    async def _refund_here(self, request: RequestId, reason: str, archive: Archive) -> list[Charge]:
        try:
            async with self._refunding, asyncio.timeout(2 * self._pace.give_up_after):
                return await self._refund(request, reason, archive)
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
        accounts: list[Account] = []
        try:
            for refund in refunds:
                accounts.append(await self.kept((refund.charge.name, refund.charge.unit)))
            # One batch has all of it: what a cap gets back is proved by what is paid back there.
            for refund, account in zip(refunds, accounts, strict=True):
                charge = refund.charge
                self.write(Kind.CORRECTION, charge.tariff, account, charge.token, -charge.micros, request)
                account.available += charge.micros
                self._draft.refunds.append(refund)
        finally:
            for account in accounts:
                account.pins -= 1
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

    # --- what there is ------------------------------------------------------------------------------------------------

    async def balance(self, account: str, currency: str) -> Balance:
        found = await self._wallets.accounts((account, currency))
        return Balance(Money(balance(found), currency), Money(sum(one.held for one in found), currency))

    async def funded(self, account: str, currency: str) -> bool:
        found = self._accounts.get((account, currency))
        if found is None or not (found.row or found.purses):
            found = (await self._ask((account, currency), None)).found
        return found.row > 0 or bool(found.purses)

    # --- after a commit -----------------------------------------------------------------------------------------------

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
            self.beside(account, done.accounts[key].purses if key in done.accounts else ())
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
        owed = account is not None and (account.owes or min(account.available, account.worth) < 0)
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

    def known(self, key: Key) -> Account | None:
        """The account, if it is in memory."""
        return self._accounts.get(key)

    def holds_at_once(self, key: Key, micros: int) -> bool:
        """Whether so much can be held of an account without asking anybody."""
        found = self._accounts.get(key)
        return found is not None and found.alone and found.available >= micros

    def opened(self, hold: CappedHold) -> CappedHold:
        """This is what its request is under way with."""
        self._open[hold.id.number] = hold
        return hold

    def beside(self, account: Account, purses: Sequence[str] | None) -> None:
        account.beside(None if purses is None else self._wallets.beside(account, purses))

    def _regroup(self, entry: Credit | Reversal, done: Committed) -> None:
        """Which purses its holder can draw on may be another question now."""
        key = (entry.account, entry.amount.currency)
        plain, row = self._accounts.get(key), done.accounts.get(key)
        if self._lender is not None:
            self.changed(*key)
            return
        if plain is not None:
            self.beside(plain, row.purses if row is not None else ())
        self._tell_changed(*key)
