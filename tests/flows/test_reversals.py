"""Money is taken back while workers have slices of it, over the line and without."""

import asyncio
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gateway.adapters.interprocess.keeper import Counter
from gateway.adapters.interprocess.limits import Counting
from gateway.adapters.interprocess.worker import BorrowedLedgerStore, Line
from gateway.adapters.memory import MemoryLedgerStore
from gateway.core.ids import RequestId
from gateway.core.ledger import Claim, Credit, Reversal, Tariff
from gateway.core.limits import Limiter
from gateway.core.money import AMOUNT_MICROS_MAX, Money
from gateway.core.refusals import LedgerUnavailable, PaymentRequired
from gateway.flows.keep import Keeper, Pace
from gateway.flows.keep.slices import Branch, Greeting, Slices
from gateway.ports import RequestUnderWay

PACE = Pace(gap=0, idly=0, quiet=0, refuse_after=600, give_up_after=600, retry=0)
TARIFF = Tariff("search", "operator", 0, "p")


class Clock:
    def now_ms(self) -> int:
        return 1_790_000_000_000


def usd(micros: int) -> Money:
    return Money(micros, "usd")


def back(micros: int, ref: str = "re_1") -> Reversal:
    return Reversal(ref, "ann", usd(micros), "refund", "")


class Host:
    """A keeper with 1000 of ann's in its books, and a worker called `one` that answers when it is recalled."""

    def __init__(self) -> None:
        self.store = MemoryLedgerStore()
        self.keeper = Keeper(self.store, Clock(), pace=PACE)
        self.slices = Slices(self.keeper, workers=2)
        self.parts_with: Callable[[], int | None] = lambda: None
        self.recalls = 0
        self.one = Branch(Greeting("one", True, Claim(0, {}, ())), self._recall)

    async def open(self) -> None:
        assert self.slices.join(self.one)
        await self.keeper.open(self.slices)
        await self.slices.begin()
        await self.keeper.credit(Credit("cs_1", "ann", usd(1000), "payment", ""))

    def _recall(self, row: int) -> None:
        self.recalls += 1
        if (micros := self.parts_with()) is not None:
            asyncio.get_running_loop().call_soon(self.slices.recalled, self.one, row, micros)

    async def available(self) -> int:
        return (await self.keeper.balance("ann", "usd")).available.micros

    def row(self) -> tuple[int, int]:
        account = self.store.accounts["ann", "usd"]
        return account.credited, account.debt


async def test_slices_are_recalled_before_anything_becomes_debt() -> None:
    host = Host()
    await host.open()
    assert (await host.slices.draw(host.one, "ann", "usd", 800)).micros == 800
    host.parts_with = lambda: 500  # the other 300 are held there
    assert await host.keeper.reverse(back(1000))
    assert host.row() == (300, 300)
    assert await host.available() == 0  # 300 are still lent: what is not spent of them makes up for the debt
    host.slices.leave(host.one)
    assert await host.available() == 0
    await host.keeper.credit(Credit("cs_2", "ann", usd(50), "payment", ""))
    assert await host.available() == 50
    await host.keeper.close()


async def test_of_two_that_wait_for_one_recall_both_take_what_is_there() -> None:
    host = Host()
    await host.open()
    assert (await host.slices.draw(host.one, "ann", "usd", 800)).micros == 800
    host.parts_with = lambda: 800
    reversals = [Reversal(f"re_{micros}", "ann", usd(micros), "refund", "") for micros in (300, 900)]
    assert await asyncio.gather(*(host.keeper.reverse(reversal) for reversal in reversals)) == [True, True]
    assert host.row() == (0, 200)
    await host.keeper.close()


async def test_nothing_is_recalled_of_an_account_of_which_nothing_is_lent() -> None:
    host = Host()
    await host.open()
    assert await host.keeper.reverse(back(1000))
    assert (host.recalls, host.row()) == (0, (0, 0))
    await host.keeper.close()


async def test_nothing_is_lent_of_a_debt() -> None:
    host = Host()
    await host.open()
    await host.keeper.reverse(back(1200))
    drawn = await host.slices.draw(host.one, "ann", "usd", 10)
    assert (drawn.micros, drawn.elsewhere) == (0, -200)
    await host.keeper.close()


async def test_while_slices_are_recalled_nobody_is_lent_what_has_to_go_back() -> None:
    host = Host()
    await host.open()
    assert (await host.slices.draw(host.one, "ann", "usd", 800)).micros == 800
    taking = asyncio.create_task(host.keeper.reverse(back(1000)))
    await asyncio.sleep(0.01)
    with pytest.raises(PaymentRequired):
        await host.keeper.hold("ann", usd(1), id=RequestId(1, 1), token=7, tariff=TARIFF)
    host.slices.recalled(host.one, 1, 800)
    assert await taking
    assert host.row() == (0, 0)
    await host.keeper.close()


async def test_a_worker_that_does_not_answer_does_not_keep_a_refund_waiting() -> None:
    host = Host()
    await host.open()
    await host.slices.draw(host.one, "ann", "usd", 800)
    assert await host.keeper.reverse(back(1000))
    assert host.row() == (800, 800)
    host.slices.leave(host.one)
    assert await host.available() == 0
    await host.keeper.close()


async def test_one_who_leaves_while_slices_are_recalled_takes_nothing() -> None:
    host = Host()
    await host.open()
    await host.slices.draw(host.one, "ann", "usd", 800)
    leaving = asyncio.create_task(host.keeper.reverse(back(1000)))
    await asyncio.sleep(0.01)
    leaving.cancel()
    await asyncio.wait([leaving])
    host.slices.recalled(host.one, 1, 800)
    assert await host.available() == 1000
    await host.keeper.close()
    assert host.store.reversals == {}


# --- over the line ----------------------------------------------------------------------------------------------------


def nobody(*what: Any, **more: Any) -> Any:
    """Neither counts nor reports."""


async def test_a_worker_has_money_taken_back_over_the_line(tmp_path: Path) -> None:
    books = MemoryLedgerStore()
    keeper = Keeper(books, Clock(), archive=books, pace=PACE)
    slices = Slices(keeper, workers=1)
    count = lambda: Counting(Limiter(), Clock())  # noqa: E731
    counter = Counter(slices, count=count, counted=nobody, report=nobody)
    listening = socket.socket(socket.AF_UNIX)
    listening.bind(str(tmp_path / "line"))
    await counter.listen(listening)
    await keeper.open(slices)
    await slices.begin()
    line = Line(str(tmp_path / "line"), worker="one", begone=lambda: None)
    store = BorrowedLedgerStore(line)
    worker = Keeper(store, Clock(), lender=store, teller=store, pace=PACE)
    await worker.open()
    await worker.credit(Credit("cs_1", "ann", usd(1000), "payment", ""))
    held = await worker.hold("ann", usd(300), id=RequestId(1, 1), token=7, tariff=TARIFF)

    assert await worker.reverse(back(900)) is True
    assert await worker.reverse(back(900)) is False
    balance = await worker.balance("ann", "usd")
    assert (balance.available, balance.held) == (usd(-200), usd(300))
    with pytest.raises(PaymentRequired) as refused:
        await worker.hold("ann", usd(1), id=RequestId(1, 2), token=7, tariff=TARIFF)
    assert refused.value.balance == usd(-200)
    assert worker.settle(held, usd(100)) == usd(100)
    with pytest.raises(ValueError, match="more than an account can hold"):
        await worker.reverse(back(AMOUNT_MICROS_MAX, "re_2"))
    await worker.credit(Credit("cs_2", "ann", usd(1000), "payment", ""))
    held = await worker.hold("ann", usd(300), id=RequestId(1, 3), token=7, tariff=TARIFF)
    await worker.start(held, usd(300), "strict")
    held.started()
    with pytest.raises(RequestUnderWay):
        await keeper.refund(RequestId(1, 3), "too early")
    worker.settle(held, usd(250))
    [charge] = await keeper.refund(RequestId(1, 3), "now")
    assert charge.micros == 250
    assert (await worker.balance("ann", "usd")).available == usd(1000)
    assert await keeper.refund(RequestId(1, 3), "twice") == []
    await counter.close()
    with pytest.raises(LedgerUnavailable):
        await worker.reverse(back(1, "re_3"))
    await asyncio.gather(worker.close(), keeper.close())


async def test_a_keeper_that_borrows_from_books_that_cannot_says_so() -> None:
    line = Line("nowhere", worker="one", begone=lambda: None)
    store = BorrowedLedgerStore(line)
    with pytest.raises(NotImplementedError):
        await Keeper(store, Clock(), lender=store).reverse(back(1))
