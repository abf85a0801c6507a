"""What the keeper has in memory: accounts, holds, and who waits for what."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field

from gateway.core.ids import RequestId
from gateway.core.ledger import Committed
from gateway.core.money import Money
from gateway.core.refusals import LedgerUnavailable, PaymentRequired

Key = tuple[str, str]
"""A holder and a unit."""


class Account:
    """One account in memory. `row` is 0 while nobody has paid into it.

    Of a keeper that lends: `lent` is what workers have in their slices, and `pins` counts those slices, and the records
    for whose answers a worker still stands: while there are any, it stays in the memory. Of one that borrows: `slice`
    is what is on loan to us, `elsewhere` what the others might still have, and `parted` counts how often we gave
    something back.
    """

    __slots__ = (
        "available",
        "currency",
        "draft",
        "elsewhere",
        "held",
        "holder",
        "lent",
        "parted",
        "pins",
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
        self.draft = 0  # the last draft that holds a record of it
        self.lent = 0
        self.pins = 0
        self.slice = 0
        self.elsewhere = 0
        self.parted = 0
        self.reversing = 0  # is to be taken back, and not in a draft yet
        self.used = 0  # the last look-round in which it was used

    @property
    def key(self) -> Key:
        return self.holder, self.currency

    def hold(self, micros: int) -> None:
        self.available -= micros
        self.held += micros

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
        account = self.account
        released = 0 if self.settled else self.ceiling - self.recorded
        return Money(account.available + account.elsewhere + released, account.currency)

    def started(self) -> None:
        if self.number:
            self._begin(self.number)
            self.number = 0


class Asker:
    """Somebody who wants an account, and `micros` of it held when it comes."""

    __slots__ = ("ceiling", "granted", "held")

    def __init__(self, ceiling: Money | None) -> None:
        self.ceiling = ceiling
        self.held = 0
        self.granted: asyncio.Future[Account] = asyncio.get_running_loop().create_future()

    async def account(self) -> Account:
        """Wait for it. Cancelled in the very step in which it was granted, nothing stays on hold."""
        try:
            return await self.granted
        except asyncio.CancelledError:
            granted = self.granted
            if granted.done() and not granted.cancelled() and granted.exception() is None:
                granted.result().release(self.held)
            raise

    def serve(self, account: Account, *, doubtful: bool = False) -> None:
        """Hold what is asked for, or refuse: here and now, so that nobody comes between the asking and the holding."""
        if self.granted.done():
            return
        ceiling = self.ceiling
        if ceiling is None:
            self.granted.set_result(account)
        elif ceiling.micros <= account.available:
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
        return not self.granted.done() and self.ceiling is not None and self.ceiling.micros > account.available

    def refuse(self) -> None:
        """There is no knowing just now."""
        if not self.granted.done():
            self.granted.set_exception(LedgerUnavailable())


class Fetcher(Asker):
    """Wants so much to lend it on. If there is less, nothing is held for it: it is told how the account stood."""

    __slots__ = ("doubtful", "parted")

    def __init__(self, ceiling: Money) -> None:
        super().__init__(ceiling)
        self.doubtful = False
        self.parted = 0

    @property
    def found(self) -> Account:
        """The account, once it has come."""
        return self.granted.result()

    @property
    def untouched(self) -> bool:
        """Whether whatever there was stands there still."""
        return self.found.parted == self.parted

    def _fall_short(self, account: Account, ceiling: Money, doubtful: bool) -> None:
        self.doubtful, self.parted = doubtful, account.parted
        self.granted.set_result(account)


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
