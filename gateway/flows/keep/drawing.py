"""Accounts in memory: loaded when first used, or drawn slice by slice from who lends to us, and given back.

Accounts are loaded when first used, read by the same call that commits, so that a load can never miss a credit that
is being committed; whoever asked is granted its hold in the step in which the account arrives. Accounts with nothing in
flight leave the memory in the order of their last use.

**A keeper may borrow.** With several worker processes each has a keeper of its own over a store that is another
keeper's (`ports.Lender`): what it has of an account is a slice. It draws more when a hold needs more than is left,
gives back what lies idle or is recalled, and refuses for want of money only when its lender has no more.
`slices.py` is the lender's side. A keeper may do both: of what is on loan to it, some is `lent` on to its workers. What
it parts with, and what it counts as on loan, leaves that covered at every moment.
"""

import asyncio
from abc import abstractmethod
from collections import OrderedDict
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import replace

from gateway.core.ids import RequestId
from gateway.core.ledger import Claim, Committed, Draft, Drawn
from gateway.core.money import Money
from gateway.core.ordered_set import OrderedSet
from gateway.core.purses import PLAIN, purse_named
from gateway.core.refusals import LedgerUnavailable
from gateway.flows.keep.accounts import Account, Asker, Fetcher, Key, Taker
from gateway.flows.keep.commits import Commits, Pace
from gateway.ports import Clock, LedgerStore, Lender, StoreFailed

_DOUBTED_AT_ONCE = 1000
"""Accounts in one step: some tenths of a millisecond."""


class Drawing(Commits):
    """The part of a keeper that has accounts in its memory, and `lender` to draw them from if it borrows."""

    def __init__(
        self,
        store: LedgerStore,
        clock: Clock,
        *,
        lender: Lender | None,
        pace: Pace,
        accounts_max: int,
        report: Callable[[str], None],
    ) -> None:
        super().__init__(store, clock, pace=pace, report=report)
        self._lender = lender
        self._accounts_max = accounts_max
        self._accounts: OrderedDict[Key, Account] = OrderedDict()
        self._rows: dict[int, Account] = {}  # of a keeper that borrows
        self._kept: list[Account] = []  # on loan from before, until the workers have said what of it is theirs
        self._drawing: dict[Key, list[Asker]] = {}
        self._outdated: set[Key] = set()  # of those: what is on its way may not say which purses there are by now
        self._coming_back: dict[Account, int] = {}  # purses, and the last draft that gives something back to them
        self._draws: OrderedSet[asyncio.Task[None]] = OrderedSet()
        self._round = 0
        self._rounds: asyncio.TimerHandle | None = None
        self._recall_lent: Callable[[Account], Awaitable[None]] | None = None
        self._ended_there: Callable[[RequestId], Awaitable[bool]] | None = None
        self._call_in: Callable[[int], AbstractAsyncContextManager[bool]] | None = None
        self._tell_changed: Callable[[str, str], None] = lambda holder, unit: None
        self._tell_anything_changed: Callable[[], None] = lambda: None
        self._doubted: list[Key] = []  # accounts that are still to be taken for changed

    # --- accounts -----------------------------------------------------------------------------------------------------

    async def account(self, key: Key, *, beside: bool = False) -> Account:
        """An account, as it stands in the memory; surely with what is `beside` it. Raises LedgerUnavailable."""
        found = self._accounts.get(key) if self._lender is None else None
        while found is None or (beside and found.purses is None):
            found = (await self._ask(key, None)).found
        return found

    def in_hand(self, key: Key) -> Account | None:
        """An account, if it is in the memory just now."""
        return self._accounts.get(key)

    def in_memory(self, account: Account) -> bool:
        """Whether this is still the one that counts: nothing is ever taken from a copy that has left the memory."""
        return self._accounts.get(account.key) is account

    def used(self, account: Account) -> None:
        """It is lent from: so it does not lie idle."""
        account.used = self._round
        self._accounts.move_to_end(account.key)

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
            self._hurry()
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
                owed = self._owes(key)
                try:
                    async with asyncio.timeout(self._pace.give_up_after):
                        missing = max(0, wanted - await self._remains(key, lender)) if wanted else 0
                        self._outdated.discard(key)
                        drawn = await lender.draw(*key, missing)
                except (StoreFailed, LedgerUnavailable, TimeoutError):
                    for asker in askers:
                        asker.refuse()
                    continue
                outdated = key in self._outdated
                account = self._receive(key, replace(drawn, purses=None, owes=True) if outdated else drawn)
                more = outdated or drawn.micros >= missing  # was there, but some was recalled meanwhile
                more = more or (account.owes and not owed and account.available > 0)  # which had to be given back
                for asker in askers:
                    if missing and more and asker.lacks(account):
                        self._drawing[key].append(asker)
                    else:
                        asker.serve(account, doubtful=drawn.doubtful)
        finally:
            self._outdated.discard(key)
            for asker in (*askers, *self._drawing.pop(key)):
                asker.refuse()

    async def _remains(self, key: Key, lender: Lender) -> int:
        """Give back the rest that is not enough, so that the answer speaks of all that there is; what cannot go yet.

        Of an account that owes the rest is nobody's to spend. What cannot go is waited for, since the answer is not the
        same without it: not for long, as nothing new is held of it. Raises LedgerUnavailable.
        """
        while True:
            account = self._accounts.get(key)
            if account is None or account.available <= 0:
                return 0
            lender.give_back({account.row: self._part_with(account)}, in_use=True)
            if account.spendable or not account.available:
                return account.spendable
            await self.durable()

    def _owes(self, key: Key) -> bool:
        account = self._accounts.get(key)
        return account is not None and account.owes

    @abstractmethod
    def beside(self, account: Account, purses: Sequence[str] | None) -> None:
        """The store says that its holder has these, too."""

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
        account.owes = drawn.owes
        account.refilled = False
        self.beside(account, drawn.purses if purse_named(key[0])[1] == PLAIN else ())
        account.used = self._round
        self._accounts.move_to_end(key)
        return account

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

    # --- for holds on several purses ----------------------------------------------------------------------------------

    async def kept(self, key: Key) -> Account:
        """An account, pinned, and with what is beside it. Raises LedgerUnavailable."""
        account = self._accounts.get(key)
        if account is not None and account.purses is not None and not account.owes:
            account.pins += 1
            return account
        while True:
            account = (await self._ask(key, None, keeps=True)).found
            if account.purses is not None:
                return account
            account.pins -= 1  # it is not what it was when it was asked for

    async def taken(self, account: Account, micros: int) -> tuple[int, bool]:
        """So much of an account that is pinned, or all there is, whoever has it; whether it is sure that this is all.

        It is taken for a decision under way (`Account.take`). Raises LedgerUnavailable.
        """
        if account.spendable >= micros or self._lender is None:
            return account.take(micros), True
        taker = Taker(Money(micros, account.currency))
        self._draw_for(account.key, taker, self._lender)
        await taker.account()
        return taker.held, taker.sure

    def decided(self) -> None:
        """What could not be parted with while a decision was under way can be now."""
        if self._lender is not None:
            self._lender.look_again()

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
        key = (holder, unit)
        if key in self._drawing:
            self._outdated.add(key)
        account = self._accounts.get(key)
        if account is not None:
            account.owes = self._lender is not None
            account.beside(None)
        self._tell_changed(holder, unit)

    def anything_changed(self) -> None:
        """In steps, those first that were used last: there may be very many accounts, and nothing waits for this.

        Nobody is asked about an account before somebody wants to spend of it.
        """
        under_way = bool(self._doubted)
        self._doubted = list(self._accounts)
        self._outdated.update(self._drawing)
        self._tell_anything_changed()
        if not under_way:
            self._doubt_some()

    def _doubt_some(self) -> None:
        for key in self._doubted[-_DOUBTED_AT_ONCE:]:
            account = self._accounts.get(key)
            if account is not None and not (account.owes and account.purses is None):
                account.owes = self._lender is not None
                account.beside(None)
        del self._doubted[-_DOUBTED_AT_ONCE:]
        if self._doubted:
            asyncio.get_running_loop().call_soon(self._doubt_some)

    def lost(self) -> None:
        self._draft.quiet = True
        self._hurry()

    def _comes_back(self, account: Account) -> None:
        self._coming_back[account] = self._draft.seq
        self._look_for(account)

    def _look_for(self, purse: Account) -> None:
        """If the holder's other purses were last asked for while this one was empty, they are to be asked for again."""
        holder, unit = purse_named(purse.holder)[0], purse.currency
        plain = self._accounts.get((holder, unit))
        if plain is None or (plain.purses is not None and purse.holder not in plain.purses):
            self.changed(holder, unit)

    def coming_back(self, holder: str, unit: str) -> Sequence[str]:
        """The purses of a holder to which something comes back that the store does not know of."""
        return [one.holder for one in self._coming_back if (purse_named(one.holder)[0], one.currency) == (holder, unit)]

    @asynccontextmanager
    async def called_in(self, row: int) -> AsyncIterator[bool]:
        if self._call_in is None:
            yield True
            return
        async with self._call_in(row) as sure:
            yield sure

    def _free(self, account: Account) -> int:
        """What can be given back. What a correction has just released comes free when the correction is committed."""
        return account.slice - account.lent - max(0, self._under_way.get(account.row, 0))

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

    def _take_up(self, loans: Sequence[tuple[int, str, str, int]]) -> None:
        """What was on loan to the keeper before this one is ours, until its workers have claimed their part of it.

        Nobody has heard what was said of it meanwhile: so nothing new is spent of it before we have asked.
        """
        for row, holder, unit, micros in loans:
            account = self._receive((holder, unit), Drawn(row, micros, 0, doubtful=False, purses=None, owes=True))
            account.pins += 1
            self._kept.append(account)

    def _landed(self, draft: Draft) -> None:
        for purse in [purse for purse, seq in self._coming_back.items() if seq <= draft.seq]:
            del self._coming_back[purse]
            self._look_for(purse)
        if self._lender is None:
            return
        voided = {}
        for row, micros in draft.spent.items():
            if (account := self._rows.get(row)) is not None:
                account.slice -= micros
            elif micros < 0:
                voided[row] = -micros  # by recovery: no slice of ours
        if voided:
            self._lender.give_back(voided)

    # --- lending: what the lender's side needs ------------------------------------------------------------------------

    def lends_through(
        self,
        recall: Callable[[Account], Awaitable[None]],
        ended: Callable[[RequestId], Awaitable[bool]],
        call_in: Callable[[int], AbstractAsyncContextManager[bool]],
        tell_changed: Callable[[str, str], None],
        tell_anything_changed: Callable[[], None],
    ) -> None:
        """How to get back what can be had of what is lent of an account, and whether a request is over there.

        `call_in`, `tell_changed` and `tell_anything_changed` are `ports.Borrower.called_in`, `changed` and
        `anything_changed`, of those who borrow from us.
        """
        self._tell_changed = tell_changed
        self._tell_anything_changed = tell_anything_changed
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

    @property
    def borrows(self) -> bool:
        """Whether what we lend is itself on loan to us."""
        return self._lender is not None

    def on_loan(self, row: int) -> Account | None:
        """The account of this row, if something of it is on loan to us."""
        return self._rows.get(row)

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
