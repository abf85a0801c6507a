"""A long answer goes on: what it has come to is recorded for good, and more is set aside, or it must end."""

import asyncio
import copy

import pytest

from gateway.adapters.memory import MemoryLedgerStore
from gateway.core.ids import RequestId
from gateway.core.ledger import Committed, Credit, Draft, Reversal, Tariff
from gateway.core.money import Money
from gateway.core.refusals import LedgerUnavailable, PaymentRequired
from gateway.flows.keep import Keeper, Pace
from gateway.ports import Hold

NOW = 1_790_000_000_000
TARIFF = Tariff("chat", "operator", 0, "0.002 usd a second")
PATIENT = Pace(gap=0, idly=0, quiet=0, refuse_after=600, give_up_after=600, retry=0)


class Clock:
    def now_ms(self) -> int:
        return NOW


class Stopping(MemoryLedgerStore):
    """Commits only while it may."""

    def __init__(self) -> None:
        super().__init__()
        self.go = asyncio.Event()
        self.go.set()

    async def commit(self, draft: Draft) -> Committed:
        await self.go.wait()
        return await super().commit(draft)


def usd(micros: int) -> Money:
    return Money(micros, "usd")


async def opened(store: MemoryLedgerStore, pace: Pace = PATIENT) -> Keeper:
    keeper = Keeper(store, Clock(), pace=pace)
    await keeper.open()
    return keeper


async def streaming(keeper: Keeper, *, paid: int = 1000, due: int = 100, begun: bool = True) -> Hold:
    """An answer that has begun, with what is due at first on record and no more held."""
    await keeper.credit(Credit("cs_1", "ann", usd(paid), "payment", ""))
    hold = await keeper.hold("ann", usd(due), id=RequestId(NOW, 1), token=7, tariff=TARIFF)
    await keeper.start(hold, usd(due), "strict")
    if begun:
        hold.started()
        await asyncio.sleep(0)
    return hold


async def standing(keeper: Keeper) -> tuple[int, int]:
    balance = await keeper.balance("ann", "usd")
    return balance.available.micros, balance.held.micros


async def after_a_crash(store: MemoryLedgerStore) -> tuple[int, int]:
    """What is available, and how many records were voided, when the power fails now."""
    image = MemoryLedgerStore()
    for name, value in vars(store).items():
        if name != "go":
            setattr(image, name, copy.deepcopy(value))
    keeper = Keeper(image, Clock(), pace=PATIENT)
    voided = (await keeper.open()).count
    available, _ = await standing(keeper)
    await keeper.close()
    return available, voided


async def test_what_it_came_to_is_charged_whatever_happens_then() -> None:
    store = MemoryLedgerStore()
    keeper = await opened(store)
    hold = await streaming(keeper)
    await keeper.renew(hold, usd(100), usd(50))
    await keeper.renew(hold, usd(130), usd(50))
    assert await standing(keeper) == (820, 180)
    assert await after_a_crash(store) == (870, 0)
    assert keeper.settle(hold, usd(165)) == usd(165)
    assert await standing(keeper) == (835, 0)
    await keeper.close()
    assert await after_a_crash(store) == (835, 0)


async def test_an_answer_that_never_began_is_not_charged_for_going_on() -> None:
    store = MemoryLedgerStore()
    keeper = await opened(store)
    hold = await streaming(keeper, begun=False)
    await keeper.renew(hold, usd(100), usd(50))
    await keeper.renew(hold, usd(150), usd(50))
    assert await after_a_crash(store) == (1000, 1)
    keeper.settle(hold, usd(0))
    assert await standing(keeper) == (1000, 0)
    await keeper.close()


async def test_when_the_balance_ends_it_has_cost_what_it_came_to_and_must_end() -> None:
    store = MemoryLedgerStore()
    keeper = await opened(store)
    hold = await streaming(keeper, paid=120)
    await keeper.renew(hold, usd(100), usd(20))
    with pytest.raises(PaymentRequired) as refused:
        await keeper.renew(hold, usd(120), usd(20))
    assert (refused.value.price, refused.value.balance) == (usd(20), usd(0))
    assert keeper.settle(hold, usd(120)) == usd(120)
    assert await standing(keeper) == (0, 0)
    await keeper.close()
    assert await after_a_crash(store) == (0, 0)


@pytest.mark.parametrize(("due", "ahead"), [(99, 0), (101, 0), (100, -1)])
async def test_it_cannot_come_to_less_than_before_or_to_more_than_is_held(due: int, ahead: int) -> None:
    keeper = await opened(MemoryLedgerStore())
    hold = await streaming(keeper)
    with pytest.raises(ValueError, match="less than was recorded"):
        await keeper.renew(hold, usd(due), usd(ahead))
    keeper.settle(hold, usd(100))
    with pytest.raises(ValueError, match="less than was recorded"):
        await keeper.renew(hold, usd(100), usd(0))
    assert await standing(keeper) == (900, 0)
    await keeper.close()


async def test_what_is_set_aside_is_enough_whatever_the_account_owes() -> None:
    keeper = await opened(MemoryLedgerStore())
    hold = await streaming(keeper, paid=100)
    await keeper.reverse(Reversal("re_1", "ann", usd(70), "refund", ""))
    assert await standing(keeper) == (-70, 100)
    await keeper.renew(hold, usd(100), usd(0))
    with pytest.raises(PaymentRequired):
        await keeper.renew(hold, usd(100), usd(1))
    assert keeper.settle(hold, usd(100)) == usd(100)
    assert await standing(keeper) == (-70, 0)
    await keeper.close()


async def test_while_the_store_is_stuck_it_is_told_so_and_settled_at_its_true_cost() -> None:
    store = Stopping()
    keeper = await opened(store, Pace(gap=0, idly=0, quiet=0, refuse_after=600, give_up_after=0.01, retry=0))
    hold = await streaming(keeper)
    await keeper.renew(hold, usd(100), usd(50))
    store.go.clear()
    with pytest.raises(LedgerUnavailable):
        await keeper.renew(hold, usd(150), usd(50))
    keeper.settle(hold, usd(140))
    store.go.set()
    assert await standing(keeper) == (860, 0)
    await keeper.close()


async def test_cancelled_anywhere_nothing_is_missing_and_nothing_stuck() -> None:
    for steps in range(12):
        store = Stopping()
        keeper = await opened(store)
        hold = await streaming(keeper)
        await keeper.renew(hold, usd(100), usd(50))
        store.go.clear()
        renewing = asyncio.create_task(keeper.renew(hold, usd(150), usd(70)))
        for step in range(steps):
            await asyncio.sleep(0)
            if step == 5:
                store.go.set()
        renewing.cancel()
        await asyncio.wait([renewing])
        store.go.set()
        assert keeper.settle(hold, usd(120)) == usd(120)
        assert await standing(keeper) == (880, 0)
        await keeper.close()
