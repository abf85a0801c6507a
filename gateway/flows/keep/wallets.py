"""Holds on more than one purse: promotion credit first, then what was paid.

Most wallets are one account, and a hold on it never comes here. Where a holder has other purses too, a hold asks them
in their order and takes of each what there is, until it has enough: all of it, or nothing. What makes that exact is
what makes a hold on one account exact, and three rules:

- **Decisions about one wallet take turns** in a keeper. Else two requests could each hold the part that the other one
  needs, and both would be refused.
- **Everybody takes in the same order** (`core/purses.py`), and what a decision under way has taken is not parted with
  until it is made: it may come free in a moment, so a recall waits for it. As everybody waits only for those who are
  further on, nobody waits in a circle, and of two workers that want the last of two purses one gets it.
- **A purse that is empty is not asked again** before every request; but no request is refused before all have been.

**A purse of which a request has all is still one of the wallet's**, though the store may say that nothing is left: some
of it may come back, and would not be found.

A debt stands in the plain purse, and closes all of them until it is paid. What has expired is not drawn on; the rest of
it is taken away by `flows/maintain.py`.

The parts of a hold are plain holds on accounts of their own. Records name those, so the books know nothing of it.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING
from weakref import WeakValueDictionary

from gateway.core.caps import CapUse
from gateway.core.ids import RequestId
from gateway.core.ledger import Reversal
from gateway.core.money import Money
from gateway.core.ordered_set import OrderedSet
from gateway.core.purses import Purse, purse_named
from gateway.core.refusals import LedgerUnavailable, PaymentRequired
from gateway.flows.keep.accounts import Account, Holding, Key

if TYPE_CHECKING:
    from gateway.flows.keep.keeper import Keeper


class SplitHold:
    """Implements `ports.Hold` over several purses. Of what a request costs, the first pays as much as it can."""

    def __init__(self, id: RequestId, key: Key, token: int, tariff: int) -> None:
        self.id = id
        self.key = key
        self.token = token
        self.tariff = tariff
        self.parts: list[Holding] = []
        self.wallet: Sequence[Account] = ()
        self.settled = False

    @property
    def ceiling(self) -> int:
        return sum(part.ceiling for part in self.parts)

    @property
    def recorded(self) -> int:
        return sum(part.recorded for part in self.parts)

    @property
    def spent(self) -> Money:
        """What is on record of it."""
        return Money(self.recorded, self.key[1])

    @property
    def balance(self) -> Money:
        released = 0 if self.settled else self.ceiling - self.recorded
        return Money(sum(account.worth for account in self.wallet) + released, self.key[1])

    @property
    def balance_text(self) -> str:
        return str(self.balance)

    @property
    def caps(self) -> Sequence[CapUse]:
        return ()

    def started(self) -> None:
        for part in self.parts:
            part.started()

    def spread(self, micros: int, *, counted: bool = False) -> Iterator[tuple[Holding, Money]]:
        """What each part pays of so much."""
        for part in self.parts:
            share = min(micros, part.ceiling)
            micros -= share
            yield part, Money(share, self.key[1])

    def extend(self, account: Account, micros: int, begin: Callable[[int], None]) -> None:
        """So much of this account is held for it, too."""
        part = next((part for part in self.parts if part.account is account), None)
        if part is None:
            part = Holding(account, 0, self.id, self.token, self.tariff, begin)
            self.parts.append(part)
        part.ceiling += micros


class Wallets:
    """Decides for a keeper about holders that have several purses."""

    def __init__(self, keeper: "Keeper") -> None:
        self._keeper = keeper
        self._turns: WeakValueDictionary[Key, asyncio.Lock] = WeakValueDictionary()
        self._open: dict[Key, OrderedSet[SplitHold]] = {}

    async def hold(self, key: Key, ceiling: Money, *, id: RequestId, token: int, tariff: int) -> SplitHold:
        """As `Ledger.hold`."""
        hold = SplitHold(id, key, token, tariff)
        await self.set_aside(hold, ceiling.micros)
        return hold

    async def set_aside(self, hold: SplitHold, micros: int) -> None:
        """So much more for a hold, of the first purses that have it. Raises PaymentRequired, LedgerUnavailable."""
        keeper, taking = self._keeper, _Taking(micros)
        try:
            async with asyncio.timeout(keeper.patience), self._turns.setdefault(hold.key, asyncio.Lock()):
                wallet = await self._wallet(hold.key, taking)
                for every in (False, True) if keeper.borrows else (False,):
                    await self._take(wallet, taking, every=every)
                if taking.missing:
                    raise self._refusal(hold.key, wallet, taking)
                for account, taken in taking.handed_over():
                    hold.extend(account, taken, keeper.answer_begun)
                hold.wallet = wallet
                self._open.setdefault(hold.key, OrderedSet()).add(hold)
        except TimeoutError:
            raise LedgerUnavailable() from None
        finally:
            taking.end()
            keeper.decided()

    def settle(self, hold: SplitHold, cost: Money) -> Money:
        """As `Ledger.settle`. The parts were put into one commit: if their start failed, it did for all of them.

        All have begun before any is corrected: a correction may bring on a commit, and with it a watermark between two.
        """
        if hold.settled:
            return hold.spent
        hold.settled = True
        hold.started()
        self._open[hold.key].discard(hold)
        if not self._open[hold.key]:
            del self._open[hold.key]
        micros = max(0, min(cost.micros, hold.ceiling))
        for part, share in hold.spread(micros):
            self._keeper.settle(part, share)
        return hold.spent

    def beside(self, plain: Account, stored: Sequence[str]) -> Sequence[str]:
        """The purses that the store says are beside it, and those of which only this keeper knows that they are."""
        for name in stored if self._keeper.borrows else ():
            purse = self._keeper.known((name, plain.currency))
            if purse is not None and not (purse.worth or purse.held):
                purse.refilled = True
        known = [self._keeper.known((name, plain.currency)) for name in plain.purses or ()]
        ours = [account.holder for account in known if account is not None and (account.worth or account.held)]
        held = (part.account for hold in self._open.get(plain.key, ()) for part in hold.parts)
        ours += [account.holder for account in held if account.key != plain.key]
        ours += self._keeper.coming_back(*plain.key)
        return tuple(dict.fromkeys((*stored, *ours))) if ours else stored

    async def accounts(self, key: Key) -> Sequence[Account]:
        """Those of a wallet that can be drawn on, the plain one first. Raises LedgerUnavailable."""
        keeper = self._keeper
        plain = await keeper.account(key, beside=True)
        return [plain, *[await keeper.account(other) for other in self._live(plain) if other != key]]

    async def join(self, key: Key, into: str, reverse: Callable[[Reversal], Awaitable[bool]], turn: int | None) -> bool:
        """As `Ledger.join`. An entry of what is there takes no more than that; one of a debt is named by its turn."""
        (holder, unit), now = key, self._keeper.now_ms()
        wallet = await self.accounts(key)
        for account in wallet:
            left, (_, purse) = account.worth, purse_named(account.holder)
            ref = f"join:{holder}:{account.row}:{now}"
            if left > 0:
                what = Reversal(ref, holder, Money(left, unit), "join", f"into {into}", purse, at_most=True, into=into)
                await reverse(what)
            elif left < 0:
                ref = ref if turn is None else f"join:{holder}:{account.row}:{turn}:{-left}"
                await reverse(Reversal(ref, into, Money(-left, unit), "join", f"owed by {holder}", purse, into=holder))
        return all(not (account.worth or account.held) for account in await self.accounts(key))

    # --- deciding -----------------------------------------------------------------------------------------------------

    async def _wallet(self, key: Key, taking: "_Taking") -> Sequence[Account]:
        """The accounts to draw on, in their order. They stay in the memory until the decision is made."""
        plain = taking.kept(await self._keeper.kept(key))
        wallet = [taking.kept(await self._keeper.kept(other)) for other in self._live(plain)]
        for account in wallet:
            self._keeper.used(account)
        return wallet

    def _live(self, plain: Account) -> Sequence[Key]:
        """The purses of a wallet that have not expired, the plain one among them, in the order of spending."""
        now = self._keeper.now_ms()
        purses = [(purse_named(name)[1], name) for name in (plain.holder, *(plain.purses or ()))]
        return [(name, plain.currency) for purse, name in sorted(purses, key=_order) if not purse.over(now)]

    async def _take(self, wallet: Sequence[Account], taking: "_Taking", *, every: bool) -> None:
        """Take of each what is missing, anew. Those known to be empty are passed, unless it is to be `every` one."""
        keeper = self._keeper
        if not taking.missing or balance(wallet) < 0:
            return
        taking.give_all_back()
        keeper.decided()  # whoever waits for some of it must not wait for us to have it again
        for account in wallet:
            if every or account.spendable > 0 or account.elsewhere > 0 or account.refilled:
                taking.add(account, *await keeper.taken(account, taking.missing))
            if not taking.missing:
                return

    def _refusal(self, key: Key, wallet: Sequence[Account], taking: "_Taking") -> Exception:
        if not taking.sure:
            return LedgerUnavailable()
        taking.give_all_back()
        return PaymentRequired(price=Money(taking.wanted, key[1]), balance=Money(balance(wallet), key[1]))


class _Taking:
    """A decision under way: what it has taken of which accounts. None of it is parted with before it is made."""

    def __init__(self, wanted: int) -> None:
        self.wanted = self.missing = wanted
        self.sure = True
        self._kept: list[Account] = []
        self._taken: list[tuple[Account, int]] = []

    def kept(self, account: Account) -> Account:
        """It is pinned until the end."""
        self._kept.append(account)
        return account

    def add(self, account: Account, micros: int, sure: bool) -> None:
        """So much of it was taken; `sure`: there was no more, or no more is missing."""
        self.sure = self.sure and sure
        self.missing -= micros
        if micros:
            self._taken.append((account, micros))

    def give_all_back(self) -> None:
        """To begin anew."""
        for account, micros in self._taken:
            account.untake(micros)
        self._taken.clear()
        self.missing, self.sure = self.wanted, True

    def handed_over(self) -> Sequence[tuple[Account, int]]:
        """What was taken is somebody else's now."""
        taken, self._taken = self._taken, []
        for account, _ in taken:
            account.deciding -= 1
        return taken

    def end(self) -> None:
        self.give_all_back()
        for account in self._kept:
            account.pins -= 1


def balance(wallet: Iterable[Account]) -> int:
    """What can be spent of a wallet; of one that owes, how much, less than nothing."""
    apart = [account.worth for account in wallet]
    return sum(micros for micros in apart if micros < 0) or sum(apart)


def _order(purse: tuple[Purse, str]) -> tuple[int, int]:
    return purse[0].order
