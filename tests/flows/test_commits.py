"""How often the keeper writes: as often as somebody waits for it, and seldom while nobody does."""

import asyncio
from itertools import pairwise

import pytest

from gateway.adapters.memory import MemoryLedgerStore
from gateway.core.ids import RequestId
from gateway.core.ledger import Committed, Credit, Draft, Tariff
from gateway.core.money import Money
from gateway.core.routes import Durability
from gateway.flows.keep import Keeper, Pace
from tests.simulated_time import simulated

NOW = 1_790_000_000_000
PRICE = Money(2_000, "usd")
TARIFF = Tariff("weather", "operator", 0, "0.002 usd")
PACE = Pace(gap=0.002, idly=0.01, quiet=600)


class Clock:
    def now_ms(self) -> int:
        return NOW


class Watched(MemoryLedgerStore):
    """Notes when records were written, and how many at once."""

    def __init__(self) -> None:
        super().__init__()
        self.commits: list[tuple[float, int]] = []
        self.marks: list[tuple[float, int]] = []

    async def commit(self, draft: Draft) -> Committed:
        if not self.marks or draft.started > self.marks[-1][1]:
            self.marks.append((asyncio.get_running_loop().time(), draft.started))
        if draft.count:
            self.commits.append((asyncio.get_running_loop().time(), draft.count))
        return await super().commit(draft)


async def funded(pace: Pace = PACE) -> tuple[Keeper, Watched]:
    store = Watched()
    keeper = Keeper(store, Clock(), pace=pace)
    await keeper.open()
    await keeper.credit(Credit("cs_1", "ann", Money(10**9, "usd"), "payment", ""))
    await keeper.balance("ann", "usd")
    await asyncio.sleep(1)
    store.commits.clear()
    return keeper, store


async def sell(keeper: Keeper, number: int, durability: Durability) -> None:
    hold = await keeper.hold("ann", PRICE, id=RequestId(NOW, number), token=7, tariff=TARIFF)
    await keeper.start(hold, PRICE, durability)
    hold.started()
    keeper.settle(hold, PRICE)


@pytest.mark.parametrize("pace", [PACE, Pace.of_a_worker(1)])
def test_while_nobody_waits_commits_are_far_between(pace: Pace) -> None:
    async def story() -> None:
        keeper, store = await funded(pace)
        for number in range(100):
            await sell(keeper, number, "relaxed")
            await asyncio.sleep(0.001)
        moments = [moment for moment, _ in store.commits]
        assert store.commits[0][1] == 1, "the first after a rest is written at once"
        assert 9 <= len(moments) <= 12
        assert all(later - earlier >= PACE.idly for earlier, later in pairwise(moments))
        await keeper.close()
        assert sum(count for _, count in store.commits) == 100

    simulated(story())


def test_who_waits_is_not_kept_waiting_for_those_who_do_not() -> None:
    async def story() -> None:
        keeper, store = await funded()
        loop = asyncio.get_running_loop()
        for number in range(0, 100, 2):
            await sell(keeper, number, "relaxed")
            began = loop.time()
            await sell(keeper, number + 1, "strict")
            assert loop.time() - began <= PACE.gap + 0.001
        assert len(store.commits) >= 50
        await keeper.close()

    simulated(story())


def test_a_credit_is_written_at_once_in_the_midst_of_relaxed_requests() -> None:
    async def story() -> None:
        keeper, _ = await funded()
        loop = asyncio.get_running_loop()
        for number in range(10):
            await sell(keeper, number, "relaxed")
            began = loop.time()
            assert await keeper.credit(Credit(f"cs_{number + 2}", "ann", PRICE, "payment", ""))
            assert loop.time() - began <= PACE.gap + 0.001
        await keeper.close()

    simulated(story())


@pytest.mark.parametrize(("pace", "most"), [(Pace.of_a_worker(1), 0.004), (Pace.patient(1), 0.064)])
def test_that_an_answer_has_begun_is_told_though_nothing_comes_after_it(pace: Pace, most: float) -> None:
    """A worker, for which the records of all the others wait, tells it at once."""

    async def story() -> None:
        keeper, store = await funded(pace)
        await sell(keeper, 1, "strict")
        began = asyncio.get_running_loop().time()
        await asyncio.sleep(1)
        told, started = store.marks[-1]
        assert started == 1
        assert told - began <= most
        await keeper.close()

    simulated(story())
