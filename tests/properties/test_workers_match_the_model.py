"""The model of the ledger and workers of one keeper are told the same story: each request is served by one of them.

As `test_ledger_matches_its_model`, whose sentences these are, on the one loop and in the simulated time of
`test_slices_are_exact`, with its messages that take their time. Nobody dies here. Several workers do not always know
of each other's promotion credit at once, so only one that is alone is granted any.
"""

import asyncio
import builtins
import random
from collections.abc import Callable, Iterator, Sequence
from typing import Any, cast

import pytest

from gateway.adapters.memory import MemoryLedgerStore
from gateway.core.caps import Cap
from gateway.core.ids import RequestId
from gateway.core.ledger import Balance, Charge, Credit, Record, Reversal, Tariff
from gateway.core.money import Money
from gateway.core.purses import Purse
from gateway.core.routes import Durability
from gateway.flows.keep import Keeper, Recovered, slices
from gateway.flows.keep.accounts import Holding
from gateway.flows.keep.caps import CappedHold
from gateway.flows.keep.wallets import SplitHold
from gateway.ports import Clock, Hold
from tests.ledger_story import CORRECTED, LOWERED, OWED, MemoryGround, Sentence, Story, sentences
from tests.properties.test_ledger_matches_its_model import seeds
from tests.properties.test_slices_are_exact import World
from tests.simulated_time import simulated

COUNT = 1_500


@pytest.fixture(autouse=True)
def _patient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slices, "TURN_SECONDS_MAX", 600)
    monkeypatch.setattr(slices, "ANSWER_SECONDS_MAX", 600)


class Shop(World):
    """A keeper and its workers, on books that were there before."""

    def __init__(self, chance: random.Random, store: MemoryLedgerStore, clock: Clock, workers: int) -> None:
        super().__init__(0, workers)
        self.chance, self.store, self.clock = chance, store, clock

    async def open(self) -> None:
        await self.begin()
        for _ in range(self._count):
            await self.add_worker()


class Crew:
    """What callers see of it: one ledger, whoever of the workers serves them."""

    def __init__(self, shop: Shop) -> None:
        self._shop = shop
        self._serves: dict[int, tuple[Keeper, Hold]] = {}  # by the hold, which is not forgotten

    @property
    def _workers(self) -> Sequence[Keeper]:
        return [keeper for keeper, _ in self._shop.workers]

    @property
    def _any(self) -> Keeper:
        return self._shop.chance.choice(self._workers)

    async def open(self) -> Recovered:
        await self._shop.open()
        return Recovered(0, 0)

    async def close(self) -> None:
        await self._shop.quiet()
        await self._shop.end()
        assert not self._shop.disorder

    async def hold(
        self, account: str, ceiling: Money, *, id: RequestId, token: int, tariff: Tariff, caps: Sequence[Cap] = ()
    ) -> Hold:
        worker = self._any
        held = await worker.hold(account, ceiling, id=id, token=token, tariff=tariff, caps=caps)
        self._serves[builtins.id(held)] = worker, held
        return held

    def _worker_of(self, hold: Hold) -> Keeper:
        return self._serves[id(hold)][0]

    async def start(self, hold: Hold, due: Money, durability: Durability) -> None:
        await self._worker_of(hold).start(hold, due, durability)

    async def renew(self, hold: Hold, due: Money, ahead: Money) -> None:
        await self._worker_of(hold).renew(hold, due, ahead)

    def settle(self, hold: Hold, cost: Money) -> Money:
        return self._worker_of(hold).settle(hold, cost)

    async def credit(self, credit: Credit) -> bool:
        return await self._any.credit(credit)

    async def reverse(self, reversal: Reversal) -> bool:
        return await self._any.reverse(reversal)

    async def join(self, account: str, into: str, currency: str) -> bool:
        return await self._any.join(account, into, currency)

    async def refund(self, request: RequestId, reason: str) -> list[Charge]:
        await self.durable()
        return await self._shop.keeper.refund(request, reason)

    async def durable(self) -> None:
        """And what was on its way has come."""
        for worker in self._workers:
            await worker.durable()
        await asyncio.sleep(0.01)

    def changed(self, holder: str, unit: str) -> None:
        for worker in self._workers:
            worker.changed(holder, unit)

    async def balance(self, account: str, currency: str) -> Balance:
        """As one of them tells it, who takes what the others hold for what there is."""
        teller, *others = self._workers
        held, apart = 0, []
        for purse in await teller._wallets.accounts((account, currency)):
            by_others = [part for other in others for part in parts(other) if part.account.key == purse.key]
            apart.append(purse.worth - sum(part.ceiling - part.recorded for part in by_others))
            held += purse.held + sum(part.ceiling for part in by_others)
        owed = sum(micros for micros in apart if micros < 0)
        return Balance(Money(owed or sum(apart), currency), Money(held, currency))


def parts(keeper: Keeper) -> Iterator[Holding]:
    """What it holds of every account for requests under way."""
    for hold in keeper._open.values():
        money = hold.money if isinstance(hold, CappedHold) else hold
        yield from money.parts if isinstance(money, SplitHold) else [money]
        yield from hold.parts if isinstance(hold, CappedHold) else ()


class CrewGround:
    lags = True

    def __init__(self, chance: random.Random, workers: int) -> None:
        self._chance = chance
        self._workers = workers
        self._memory = MemoryGround()
        self.alone = workers == 1

    async def keeper(self, clock: Clock, accounts_max: int) -> Keeper:
        return cast(Keeper, Crew(Shop(self._chance, self._memory.store, clock, self._workers)))

    async def kill(self, keeper: Keeper) -> None:
        raise NotImplementedError("nobody dies here")

    async def records(self) -> list[Record]:
        return await self._memory.records()

    async def purses(self) -> dict[int, Purse]:
        return await self._memory.purses()

    async def prove(self) -> None:
        await self._memory.prove()


@pytest.mark.parametrize("workers", [1, 2, 4])
@pytest.mark.parametrize("story", [OWED, CORRECTED, LOWERED], ids=["owed", "corrected", "lowered"])
def test_what_is_given_back_to_who_owes_is_not_there_to_spend(story: list[Sentence], workers: int) -> None:
    for seed in range(40):
        chance = random.Random(seed)
        simulated(Story(CrewGround(chance, workers), chance, accounts_max=1000).tell(story))


def told(seed: int, workers: int) -> int:
    """One long story; how many operations it took."""
    chance = random.Random(seed)
    unknown = {"crash"} if workers == 1 else {"crash", "grant"}
    story = (sentence for sentence in sentences(chance, COUNT) if sentence[0] not in unknown)
    teller = Story(CrewGround(chance, workers), chance, accounts_max=1000)
    simulated(teller.tell(story))
    return teller.operations


@pytest.mark.parametrize("workers", [1, 2, 4])
@pytest.mark.parametrize("seed", seeds(4, 200))
def test_a_long_story_with_workers(seed: int, workers: int, record_property: Callable[[str, Any], None]) -> None:
    operations = told(seed, workers)
    record_property("operations", operations)
    assert operations > COUNT // 2
