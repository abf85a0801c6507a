"""What the keeper has in memory: accounts, holds, and who waits for what."""

import asyncio
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from gateway.core.caps import CapUse
from gateway.core.ids import RequestId
from gateway.core.ledger import Committed
from gateway.core.money import Money, money_text
from gateway.core.purses import PLAIN, purse_named
from gateway.core.refusals import LedgerUnavailable, PaymentRequired

Key = tuple[str, str]
"""A purse's name (of the plain one, the holder) and a unit."""


class Account:
    """One account in memory. `row` is 0 while nobody has paid into it.

    It is `alone` if it is all that its holder has of the unit, and owes nothing; else `purses` are the names of the
    others, or None if they have to be asked for again.
    Of a keeper that lends: `lent` is what workers have in their slices, and `pins` counts those slices, and the records
    for whose answers a worker still stands: while there are any, it stays in the memory. Of one that borrows: `slice`
    is what is on loan to us, `elsewhere` what the others might still have, and `parted` counts how often we gave
    something back. It `owes` if more is on loan, to us and to others, than there is, because it was taken back while
    requests held it: what comes free of those goes to whoever lends to us, who alone knows when it is enough. It may,
    and so does, until we have asked again, when we are told that it is not what it was.
    """

    __slots__ = (
        "alone",
        "available",
        "currency",
        "deciding",
        "draft",
        "elsewhere",
        "held",
        "holder",
        "lent",
        "owes",
        "parted",
        "pins",
        "plain",
        "purses",
        "refilled",
        "reversing",
        "row",
        "slice",
        "used",
    )

    def __init__(self, holder: str, currency: str, row: int, available: int) -> None:
        self.holder = holder
        self.currency = currency
        self.row = row
        self.available = available
        self.held = 0
        self.deciding = 0  # decisions under way that have taken of it
        self.draft = 0  # the last draft that holds a record of it
        self.lent = 0
        self.pins = 0
        self.slice = 0
        self.elsewhere = 0
        self.parted = 0
        self.owes = False
        self.refilled = False  # a purse that was empty when it was last asked for; the store says that it is not
        self.reversing = 0  # is to be taken back, and not in a draft yet
        self.used = 0  # the last look-round in which it was used
        self.alone = True
        self.purses: Sequence[str] | None = ()
        self.plain = purse_named(holder)[1] == PLAIN

    @property
    def key(self) -> Key:
        return self.holder, self.currency

    @property
    def worth(self) -> int:
        """What there is of it, here and elsewhere, less what is held here; less than nothing if it owes."""
        return self.available + self.lent + self.elsewhere

    @property
    def spendable(self) -> int:
        """What may be spent of it without asking anybody."""
        return 0 if self.owes else self.available

    def beside(self, purses: Sequence[str] | None) -> None:
        """Its holder has these, too."""
        self.purses = purses
        self.alone = purses is not None and not purses and self.worth >= 0 and not self.owes

    def hold(self, micros: int) -> None:
        self.available -= micros
        self.held += micros

    def take(self, micros: int) -> int:
        """Hold so much, or all there is, for a decision that is under way; how much it is."""
        taken = max(0, min(self.spendable, micros))
        self.hold(taken)
        self.deciding += taken > 0
        return taken

    def untake(self, micros: int) -> None:
        """Release what was taken."""
        self.release(micros)
        self.deciding -= micros > 0

    def release(self, micros: int) -> None:
        self.available += micros
        self.held -= micros


class Holding:
    """Implements `ports.Hold`. `number` is that of its gated record, 0 if there is none."""

    __slots__ = (
        "_begin", "account", "ceiling", "failed", "id", "number", "recorded", "settled", "tariff", "token",
    )  # fmt: skip

    def __init__(
        self, account: Account, ceiling: int, id: RequestId, token: int, tariff: int, begin: Callable[[int], None]
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
        return Money(self._left(), self.account.currency)

    @property
    def balance_text(self) -> str:
        return money_text(self._left(), self.account.currency)

    def _left(self) -> int:
        account = self.account
        left = account.available + account.elsewhere
        return left if self.settled else left + self.ceiling - self.recorded

    @property
    def spent(self) -> Money:
        """What is on record of it."""
        return Money(self.recorded, self.account.currency)

    def spread(self, micros: int) -> Iterator[tuple["Holding", Money]]:
        """It pays all of it."""
        yield self, Money(micros, self.account.currency)

    @property
    def caps(self) -> Sequence[CapUse]:
        return ()

    def started(self) -> None:
        if self.number:
            self._begin(self.number)
            self.number = 0


class Asker:
    """Somebody who wants an account, and `ceiling` of it held when it comes.

    Unless others may be `beside` it, nothing is held of an account that is not alone. `keeps`: it is pinned.
    """

    __slots__ = ("_beside", "ceiling", "granted", "held", "keeps")

    def __init__(self, ceiling: Money | None, *, keeps: bool = False, beside: bool = False) -> None:
        self.ceiling = ceiling
        self.keeps = keeps
        self._beside = beside
        self.held = 0
        self.granted: asyncio.Future[Account] = asyncio.get_running_loop().create_future()

    async def account(self) -> Account:
        """Wait for it. Cancelled in the very step in which it was granted, nothing stays on hold."""
        try:
            return await self.granted
        except asyncio.CancelledError:
            granted = self.granted
            if granted.done() and not granted.cancelled() and granted.exception() is None:
                self._undo(granted.result())
            raise

    def _undo(self, account: Account) -> None:
        account.release(self.held)
        account.pins -= self.keeps

    def serve(self, account: Account, *, doubtful: bool = False) -> None:
        """Hold what is asked for, or refuse: here and now, so that nobody comes between the asking and the holding."""
        if self.granted.done():
            return
        ceiling = self.ceiling
        account.pins += self.keeps
        if ceiling is None or not (account.alone or self._beside):
            self.granted.set_result(account)
        elif ceiling.micros <= account.spendable:
            account.hold(ceiling.micros)
            self.held = ceiling.micros
            self.granted.set_result(account)
        else:
            self._fall_short(account, ceiling, doubtful)

    def _fall_short(self, account: Account, ceiling: Money, doubtful: bool) -> None:
        if doubtful:
            self.refuse()
        else:
            balance = Money(account.available + account.elsewhere, account.currency)
            self.granted.set_exception(PaymentRequired(price=ceiling, balance=balance))

    def lacks(self, account: Account) -> bool:
        """Whether the account cannot serve it as it stands."""
        if self.granted.done() or self.ceiling is None or not (account.alone or self._beside):
            return False
        return self.ceiling.micros > account.spendable

    @property
    def found(self) -> Account:
        """The account, once it has come."""
        return self.granted.result()

    def refuse(self) -> None:
        """There is no knowing just now."""
        if not self.granted.done():
            self.granted.set_exception(LedgerUnavailable())


class Fetcher(Asker):
    """Wants so much to lend it on. If there is less, nothing is held for it: it is told how the account stood."""

    __slots__ = ("doubtful", "parted")

    def __init__(self, ceiling: Money) -> None:
        super().__init__(ceiling, beside=True, keeps=True)
        self.doubtful = False
        self.parted = 0

    @property
    def untouched(self) -> bool:
        """Whether whatever there was stands there still."""
        return self.found.parted == self.parted

    def _fall_short(self, account: Account, ceiling: Money, doubtful: bool) -> None:
        self.doubtful, self.parted = doubtful, account.parted
        self.granted.set_result(account)


class Taker(Asker):
    """Takes so much, or all there is, for a decision under way: from this very step on it is not parted with."""

    __slots__ = ("sure",)

    def __init__(self, ceiling: Money) -> None:
        super().__init__(ceiling, beside=True)
        self.sure = True

    def serve(self, account: Account, *, doubtful: bool = False) -> None:
        if self.granted.done():
            return
        assert self.ceiling is not None
        self.held = account.take(self.ceiling.micros)
        self.sure = self.held == self.ceiling.micros or not doubtful
        self.granted.set_result(account)

    def _undo(self, account: Account) -> None:
        account.untake(self.held)


@dataclass(slots=True)
class Waiting:
    """Who waits for one draft. `credits` and `reversals` go by their place in it; `whole` want to hear of all of it."""

    gates: list[tuple[asyncio.Future[None], Holding]] = field(default_factory=list)
    credits: list[tuple[int, asyncio.Future[bool]]] = field(default_factory=list)
    reversals: list[tuple[int, asyncio.Future[bool]]] = field(default_factory=list)
    loads: dict[Key, list[Asker]] = field(default_factory=dict)
    whole: list[asyncio.Future[Committed]] = field(default_factory=list)

    def give_up(self) -> None:
        """Let every request go. What was queued is still written; who was refused is compensated by `settle`."""
        for gate, hold in self.gates:
            if not gate.done():
                hold.failed = True
                gate.set_exception(LedgerUnavailable())
        for _, entry in (*self.credits, *self.reversals):
            if not entry.done():
                entry.set_exception(LedgerUnavailable())
        for askers in self.loads.values():
            for asker in askers:
                asker.refuse()

    def end(self) -> None:
        """Nothing will be written any more."""
        self.give_up()
        for one in self.whole:
            if not one.done():
                one.set_exception(LedgerUnavailable())

    def wake(self, done: Committed) -> None:
        """It is durable."""
        entries = [(entry, done.credited[index]) for index, entry in self.credits]
        entries += [(entry, done.reversed[index]) for index, entry in self.reversals]
        for entry, new in entries:
            if entry.done():
                continue
            if new is None:
                entry.set_exception(ValueError("this is more than an account can hold"))
            else:
                entry.set_result(new)
        for gate, _ in self.gates:
            if not gate.done():
                gate.set_result(None)
        for one in self.whole:
            if not one.done():
                one.set_result(done)
