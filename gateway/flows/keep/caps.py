"""Holds under caps: as much of every cap that binds a caller as of its money, or nothing of any.

A cap is a balance (`core/caps.py`), so a hold under it is a plain hold on an account of its own, with records, slices,
leases, voids and refunds as any other. What is decided here is that all of them are held together:

- **The caps are taken first, in the order of their names, the money last.** Everybody waits only for those who are
  further on, so nobody waits in a circle. What a decision under way has taken of a cap is not parted with before it is
  made, and decisions about one wallet take turns in a keeper: so nobody is refused for what comes free in a moment.
- **Money that was taken is never given back by a decision**, since it comes last: those who have no caps need not wait
  for those who have.
- **The usual case is one step**: where all that is needed is at hand, nothing is awaited between asking and taking.

**What a cap is set to** stands in the books, for each period anew, as entries on its balance: its first, with which it
begins, and one for every change. Whoever first comes with a later setting than the books have makes the entry. It is
numbered behind those that it has seen, and one number is one entry for ever: of several who come at once one is heard,
and the others look again. A cap that is lowered below what was spent owes the difference, and refuses until it is
raised again or a new period begins.

**A count of calls** (`core/steps.py`) is held the same way, and takes one of each request that is charged. Counts come
before all other caps: a request that finds one used up is tried at another price, so nothing else may refuse it first.
Who borrows keeps in mind for a few seconds that one is used up, or every request would have all the others asked.
What is given back meanwhile is seen when these are over.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING
from weakref import WeakValueDictionary

from gateway.core.caps import Cap, CapUse
from gateway.core.ids import RequestId
from gateway.core.ledger import CAP_TARIFF, FREE_TARIFF, QUOTA_TARIFF, Credit, Reversal, Tariff
from gateway.core.money import Money
from gateway.core.refusals import CapReached, LedgerUnavailable
from gateway.flows.keep.accounts import Account, Holding, Key
from gateway.flows.keep.wallets import SplitHold
from gateway.ports import CapLines, Hold, StoreFailed

if TYPE_CHECKING:
    from gateway.flows.keep.keeper import Keeper

_KNOWN_MAX = 100_000
_TRIES = 100
_USED_UP_SECONDS = 5.0


class CappedHold:
    """Implements `ports.Hold`: what is set aside of an account, and as much of each cap."""

    __slots__ = ("_caps", "money", "parts")

    def __init__(self, money: Holding | SplitHold, parts: Sequence[Holding], caps: Sequence[Cap]) -> None:
        self.money = money
        self.parts = parts
        self._caps = caps

    @property
    def id(self) -> RequestId:
        return self.money.id

    @property
    def ceiling(self) -> int:
        return self.money.ceiling

    @property
    def recorded(self) -> int:
        return self.money.recorded

    @property
    def settled(self) -> bool:
        return self.money.settled

    @property
    def balance(self) -> Money:
        return self.money.balance

    @property
    def balance_text(self) -> str:
        return self.money.balance_text

    @property
    def spent(self) -> Money:
        return self.money.spent

    @property
    def caps(self) -> Sequence[CapUse]:
        return [CapUse(cap, part.account.holder, part.balance.micros) for cap, part in self.of_money()]

    def of_money(self) -> Iterator[tuple[Cap, Holding]]:
        """The caps on what may be spent, without counts of calls."""
        both = zip(self._caps, self.parts, strict=True)
        return ((cap, part) for cap, part in both if not cap.counts_calls)

    def started(self) -> None:
        self.money.started()
        for part in self.parts:
            part.started()

    def spread(self, micros: int, *, counted: bool = False) -> Iterator[tuple[Holding, Money]]:
        """What its purses pay of so much; and each cap counts all of it.

        A count of calls counts one for whatever costs something, and for what is `counted` though it costs nothing.
        """
        yield from self.money.spread(micros)
        for cap, part in zip(self._caps, self.parts, strict=True):
            counts = int(counted or micros > 0) if cap.counts_calls else micros
            yield part, Money(counts, part.account.currency)


class Caps:
    """Decides for a keeper about callers whose spending is capped."""

    def __init__(self, keeper: "Keeper", lines: CapLines | None) -> None:
        self._keeper = keeper
        self._lines = lines
        self._turns: WeakValueDictionary[Key, asyncio.Lock] = WeakValueDictionary()
        self._settings: WeakValueDictionary[Key, asyncio.Lock] = WeakValueDictionary()
        self._known: OrderedDict[Key, int] = OrderedDict()  # since when a cap is set as the books have it, at least
        self._named: dict[Cap, tuple[int | None, Key]] = {}  # until when the balance of a cap is this one
        self._used_up: OrderedDict[Key, float] = OrderedDict()  # until when a count is taken for it, of the loop's time

    async def hold(
        self, account: str, ceiling: Money, *, id: RequestId, token: int, tariff: Tariff, caps: Sequence[Cap]
    ) -> Hold:
        """As `Ledger.hold`. Only caps in the unit of the price bind, and counts of calls.

        A token that has caps spends no named credit but what they name: an allowance of money is not one of exports.
        """
        keeper, now = self._keeper, self._keeper.now_ms()
        if ceiling.named:
            _refuse_beyond(account, ceiling, caps, now)
        binding = [
            (self._key(cap, now), cap) for cap in caps if cap.counts_calls or cap.amount.currency == ceiling.currency
        ]
        binding.sort(key=lambda bound: (not bound[1].counts_calls, bound[0]))
        bound = [cap for _, cap in binding]
        accounts = self._at_hand(binding, ceiling.micros)
        if accounts is not None and keeper.holds_at_once((account, ceiling.currency), ceiling.micros):
            money = await keeper.hold(account, ceiling, id=id, token=token, tariff=tariff)
            for one, cap in zip(accounts, bound, strict=True):
                one.hold(cap.takes(ceiling.micros))
            return self._held(money, accounts, bound)
        self._check_in_mind(binding, ceiling, now)
        taking = _Taking()
        try:
            async with asyncio.timeout(keeper.patience), self._turn((account, ceiling.currency)):
                for key, cap in binding:
                    await self._set(key, cap)
                    await taking.take(keeper, await keeper.kept(key), cap.takes(ceiling.micros))
                self._check(taking, bound, ceiling, now)
                money = await keeper.hold(account, ceiling, id=id, token=token, tariff=tariff)
                return self._held(money, taking.handed_over(), bound)
        except TimeoutError:
            raise LedgerUnavailable() from None
        finally:
            taking.end()
            keeper.decided()

    async def set_aside(self, hold: CappedHold, micros: int) -> None:
        """So much more for a hold. Raises CapReached, PaymentRequired, LedgerUnavailable."""
        keeper, taking = self._keeper, _Taking()
        bound = list(hold.of_money())
        currency = hold.balance.currency
        try:
            async with self._turn((_wallet_of(hold.money), currency)):
                for _, part in bound:
                    part.account.pins += 1
                    await taking.take(keeper, part.account, micros)
                self._check(taking, [cap for cap, _ in bound], Money(micros, currency), keeper.now_ms())
                await keeper.set_aside(hold.money, micros)
                taking.handed_over()
                for _, part in bound:
                    part.ceiling += micros
        finally:
            taking.end()
            keeper.decided()

    def settle(self, hold: CappedHold, cost: Money, *, counted: bool) -> Money:
        """As `Ledger.settle`. A cap counts what the account was charged; all have begun before any is corrected."""
        hold.started()
        charged = self._keeper.settle(hold.money, cost)
        for part, share in hold.spread(charged.micros, counted=counted and not hold.money.ceiling):
            if part in hold.parts:
                self._keeper.settle(part, share)
        return charged

    # --- deciding -----------------------------------------------------------------------------------------------------

    def _turn(self, key: Key) -> asyncio.Lock:
        return self._turns.setdefault(key, asyncio.Lock())

    def _key(self, cap: Cap, now_ms: int) -> Key:
        """Its balance at that moment."""
        found = self._named.get(cap)
        if found is not None and (found[0] is None or now_ms < found[0]):
            return found[1]
        if len(self._named) >= _KNOWN_MAX:
            self._named.clear()
        key = (cap.name(now_ms), cap.unit)
        self._named[cap] = (cap.resets_ms(now_ms), key)
        return key

    def _at_hand(self, binding: Sequence[tuple[Key, Cap]], micros: int) -> Sequence[Account] | None:
        """The balances, if all of them are in the memory and have so much; None if somebody has to be asked."""
        accounts = []
        for key, cap in binding:
            account = self._keeper.known(key)
            if account is None or not account.alone or account.available < cap.takes(micros):
                return None
            if self._known.get(key, -1) < cap.since_ms:
                return None
            accounts.append(account)
        for account in accounts:
            self._keeper.used(account)
        return accounts

    def _held(self, money: Hold, accounts: Sequence[Account], caps: Sequence[Cap]) -> Hold:
        assert isinstance(money, Holding | SplitHold)
        if not caps:
            return money
        keeper = self._keeper
        counts = QUOTA_TARIFF if money.ceiling else FREE_TARIFF
        parts = []
        for account, cap in zip(accounts, caps, strict=True):
            tariff = keeper.tariff(counts if cap.counts_calls else CAP_TARIFF)
            held = cap.takes(money.ceiling)
            parts.append(Holding(account, held, money.id, money.token, tariff, keeper.answer_begun))
        return keeper.opened(CappedHold(money, parts, caps))

    def _check_in_mind(self, binding: Sequence[tuple[Key, Cap]], wanted: Money, now_ms: int) -> None:
        """Refuse for a count that was used up a moment ago, and ask nobody."""
        for key, cap in binding:
            if cap.counts_calls and self._used_up.get(key, 0.0) > asyncio.get_running_loop().time():
                left = Money.zero(wanted.currency)
                raise CapReached(price=wanted, left=left, cap=cap, resets_ms=cap.resets_ms(now_ms))

    def _keep_in_mind(self, account: Account) -> None:
        if self._keeper.borrows:
            self._used_up[account.key] = asyncio.get_running_loop().time() + _USED_UP_SECONDS
            self._used_up.move_to_end(account.key)
            if len(self._used_up) > _KNOWN_MAX:
                self._used_up.popitem(last=False)

    def _check(self, taking: "_Taking", caps: Sequence[Cap], wanted: Money, now_ms: int) -> None:
        """Refuse for the first cap that is short; what is left is what all of them leave."""
        short = taking.short()
        if short is None:
            return
        if not taking.sure:
            raise LedgerUnavailable()
        taking.give_back()
        cap = caps[short]
        if cap.counts_calls:
            self._keep_in_mind(taking.accounts[short])
        alike = zip(taking.accounts, caps, strict=True)
        left = min(account.worth for account, other in alike if other.counts_calls == cap.counts_calls)
        raise CapReached(
            price=wanted, left=Money(max(0, left), wanted.currency), cap=cap, resets_ms=cap.resets_ms(now_ms)
        )

    # --- what a cap is set to -----------------------------------------------------------------------------------------

    async def _set(self, key: Key, cap: Cap) -> None:
        """The balance is that of this setting, or of a later one. Raises LedgerUnavailable."""
        if self._known.get(key, -1) >= cap.since_ms:
            self._known.move_to_end(key)
            return
        async with self._settings.setdefault(key, asyncio.Lock()):
            if self._known.get(key, -1) < cap.since_ms:
                await self._set_in_books(key, cap)
                self._known[key] = cap.since_ms
                self._known.move_to_end(key)
                if len(self._known) > _KNOWN_MAX:
                    self._known.popitem(last=False)

    async def _set_in_books(self, key: Key, cap: Cap) -> None:
        if self._lines is None:
            raise NotImplementedError("caps cannot be read in these books")
        for _ in range(_TRIES):
            try:
                line = await self._lines.cap_line(*key)
            except StoreFailed:
                raise LedgerUnavailable() from None
            more = cap.amount.micros - line.limit
            if line.since_ms >= cap.since_ms or not more:
                return
            name = f"{key[0]}:{key[1]}" if cap.counts_calls else key[0]
            ref, since = f"{name}:{line.changes + 1}", str(cap.since_ms)
            amount = Money(abs(more), key[1])
            if more > 0:
                new = await self._keeper.credit(Credit(ref, key[0], amount, "cap", since))
            else:
                new = await self._keeper.reverse(Reversal(ref, key[0], amount, "cap", since))
            if new:
                return
        raise LedgerUnavailable()


class _Taking:
    """A decision under way: what it has taken of which balances. None of it is parted with before it is made."""

    def __init__(self) -> None:
        self.sure = True
        self.accounts: list[Account] = []
        self._wanted: list[int] = []
        self._taken: list[int] = []

    async def take(self, keeper: "Keeper", account: Account, micros: int) -> None:
        """So much of an account that is pinned, or all there is."""
        self.accounts.append(account)
        self._wanted.append(micros)
        self._taken.append(0)
        keeper.used(account)
        if self.short() not in (None, len(self._taken) - 1):
            return  # it is decided already
        self._taken[-1], sure = await keeper.taken(account, micros)
        self.sure = self.sure and sure

    def short(self) -> int | None:
        """The first that has not enough."""
        both = zip(self._taken, self._wanted, strict=True)
        return next((place for place, (taken, wanted) in enumerate(both) if taken < wanted), None)

    def give_back(self) -> None:
        for account, micros in zip(self.accounts, self._taken, strict=True):
            account.untake(micros)
        self._taken = [0] * len(self.accounts)

    def handed_over(self) -> Sequence[Account]:
        """What was taken is somebody else's now."""
        for account, micros in zip(self.accounts, self._taken, strict=True):
            account.deciding -= micros > 0
        self._taken = [0] * len(self.accounts)
        return self.accounts

    def end(self) -> None:
        self.give_back()
        for account in self.accounts:
            account.pins -= 1


def _wallet_of(money: Holding | SplitHold) -> str:
    return money.key[0] if isinstance(money, SplitHold) else money.account.holder


def _refuse_beyond(account: str, ceiling: Money, caps: Sequence[Cap], now_ms: int) -> None:
    """Raises CapReached if a node below the account is capped in something else alone."""
    ours = [cap for cap in caps if not cap.counts_calls and cap.node != account]
    named = {cap.node for cap in ours if cap.amount.currency == ceiling.currency}
    for cap in ours:
        if cap.node not in named:
            raise CapReached(price=ceiling, left=Money.zero(ceiling.currency), cap=cap, resets_ms=cap.resets_ms(now_ms))
