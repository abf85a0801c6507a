"""Step the loop n times, cancel, and look: for every n no money is missing and none is stuck."""

import asyncio
import copy
import os
import random
import tempfile
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from gateway.adapters.memory import MemoryLedgerStore
from gateway.adapters.sqlite.audit import audit
from gateway.adapters.sqlite.ledger import SqliteLedgerStore
from gateway.core.ids import RequestId
from gateway.core.ledger import Balance, Committed, Credit, Draft, Tariff
from gateway.core.money import Money
from gateway.core.routes import Durability
from gateway.flows.keep import Keeper, Pace
from gateway.ports import LedgerStore, StoreBusy, StoreFailed

TORTURE = os.environ.get("GATEWAY_TORTURE") == "1"
PACE = Pace(gap=0, idly=0, quiet=0, refuse_after=600, give_up_after=600, retry=0)
TARIFF = Tariff("search", "operator", 0, "p")
PRICE = Money(100, "usd")
PAID = 1000
STEPS_MAX = 400


class Clock:
    def now_ms(self) -> int:
        return 1_790_000_000_000


class Slow(MemoryLedgerStore):
    """Takes some turns of the loop before and after a commit lands, and may fail once around it."""

    def __init__(self, turns: int, troubles: tuple[str, ...] = ()) -> None:
        super().__init__()
        self._turns = turns
        self._troubles = list(troubles)

    async def commit(self, draft: Draft) -> Committed:
        trouble = self._troubles.pop() if self._troubles and draft.count else ""
        for _ in range(self._turns):
            await asyncio.sleep(0)
        if trouble == "busy":
            raise StoreBusy()
        if trouble == "lost":
            raise StoreFailed("it was not written")
        done = await super().commit(draft)
        for _ in range(self._turns):
            await asyncio.sleep(0)
        if trouble == "landed":
            raise StoreFailed("it was written, but nobody heard")
        return done


@dataclass
class Served:
    """One request, served as the gateway does it, and what it came to."""

    keeper: Keeper
    number: int
    durability: Durability
    cut: bool = False
    charged: int = 0
    came_to: list[str] = field(default_factory=list)

    async def serve(self) -> None:
        id = RequestId(1_790_000_000_000, self.number)
        hold = await self.keeper.hold("ann", PRICE, id=id, token=1, tariff=TARIFF)
        self.came_to.append("held")
        cost = Money.zero("usd")
        try:
            await asyncio.sleep(0)  # the upstream answers
            cost = PRICE
            await self.keeper.start(hold, cost, self.durability)
            hold.started()
            self.came_to.append("started")
            await asyncio.sleep(0)  # the answer is passed on
            if self.cut:
                cost = Money.zero("usd")
            await asyncio.sleep(0)
        finally:
            self.charged = self.keeper.settle(hold, cost).micros
            self.came_to.append("settled")


async def paid_books(store: LedgerStore) -> Keeper:
    keeper = Keeper(store, Clock(), pace=PACE)
    await keeper.open()
    await keeper.credit(Credit("cs_1", "ann", Money(PAID, "usd"), "payment", ""))
    return keeper


async def cancelled_after(steps: int, served: Served) -> bool:
    """Serve a request and cancel it after so many steps; whether there was still something to cancel."""
    task = asyncio.create_task(served.serve())
    for _ in range(steps):
        await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait([task])
    if not task.cancelled():
        assert task.exception() is None
    return task.cancelled()


async def whole(keeper: Keeper, charged: int) -> None:
    balance = await keeper.balance("ann", "usd")
    assert balance.held.micros == 0
    assert balance.available.micros == PAID - charged


def on_record(store: MemoryLedgerStore) -> int:
    return sum(record.micros for _, record in store.records)


async def every_step(check: Callable[[int], Awaitable[bool]]) -> int:
    """Run the check for 0, 1, 2 … steps until there was nothing left to cancel; how many that were."""
    for steps in range(STEPS_MAX):
        if not await check(steps):
            return steps
    raise AssertionError("the request never ends")


@pytest.mark.parametrize("durability", ["strict", "relaxed"])
@pytest.mark.parametrize("cut", [False, True])
@pytest.mark.parametrize("loaded", [False, True])
@pytest.mark.parametrize(
    "troubles", [(), ("busy",), ("lost",), ("landed",), ("landed", "lost", "busy")], ids=lambda value: "-".join(value)
)
async def test_a_request_that_is_cancelled_at_any_step_loses_no_money(
    durability: Durability, cut: bool, loaded: bool, troubles: tuple[str, ...]
) -> None:
    ends: set[str] = set()

    async def check(steps: int) -> bool:
        store = Slow(3, troubles)
        keeper = await paid_books(store)
        if loaded:
            await keeper.balance("ann", "usd")
        served = Served(keeper, 1, durability, cut)
        cancelled = await cancelled_after(steps, served)
        await whole(keeper, served.charged)
        await keeper.balance("nobody", "usd")  # shares a commit with all that is queued, however often it fails
        await keeper.close()
        assert on_record(store) == served.charged
        keeper = Keeper(store, Clock(), pace=PACE)
        assert (await keeper.open()).count == 0
        await whole(keeper, served.charged)
        await keeper.close()
        ends.add(" ".join(served.came_to))
        return cancelled

    assert await every_step(check) > 3
    assert {"held settled", "held started settled"} <= ends
    assert loaded or "" in ends


@pytest.mark.parametrize("durability", ["strict", "relaxed"])
async def test_a_request_that_is_cancelled_at_any_step_disturbs_nobody_else(durability: Durability) -> None:
    """Six requests share an account, its first read and their commits; one is cancelled."""

    async def check(steps: int) -> bool:
        store = Slow(2)
        keeper = await paid_books(store)
        others = [Served(keeper, number, durability, cut=number % 3 == 0) for number in range(2, 8)]
        tasks = [asyncio.create_task(other.serve()) for other in others[:3]]
        served = Served(keeper, 1, durability)
        cancelled = await cancelled_after(steps, served)
        tasks += [asyncio.create_task(other.serve()) for other in others[3:]]
        await asyncio.gather(*tasks)
        assert [other.charged for other in others] == [0 if other.cut else 100 for other in others]
        await whole(keeper, served.charged + sum(other.charged for other in others))
        await keeper.close()
        return cancelled

    await every_step(check)


@pytest.mark.parametrize("durability", ["strict", "relaxed"])
async def test_a_crash_at_any_step_charges_a_strict_request_only_if_its_answer_began(durability: Durability) -> None:
    seen: set[tuple[str, int]] = set()

    async def check(steps: int) -> bool:
        store = Slow(3)
        keeper = await paid_books(store)
        served = Served(keeper, 1, durability)
        task = asyncio.create_task(served.serve())
        for _ in range(steps):
            await asyncio.sleep(0)
        running, came_to, image = not task.done(), list(served.came_to), copy.deepcopy(store)
        recovered = Keeper(image, Clock(), pace=PACE)
        await recovered.open()
        charged = on_record(image)
        await whole(recovered, charged)
        await recovered.close()
        assert charged in (0, 100)
        if durability == "strict" and "started" not in came_to:
            assert charged == 0
        seen.add((came_to[-1] if came_to else "", charged))
        await task
        await keeper.close()
        return running or not charged

    await every_step(check)
    assert ("held", 0) in seen
    assert ("settled", 100) in seen  # when it goes quiet the final watermark is stored


async def test_a_strict_request_is_charged_in_a_crash_exactly_if_its_watermark_is_stored() -> None:
    store = Slow(3)
    keeper = await paid_books(store)
    served = Served(keeper, 1, "strict")
    await served.serve()
    charged = set()
    for _ in range(100):
        image = copy.deepcopy(store)
        started = image.started
        recovered = Keeper(image, Clock(), pace=PACE)
        await recovered.open()
        await whole(recovered, on_record(image))
        await recovered.close()
        charged.add((started, on_record(image)))
        await asyncio.sleep(0)
    assert charged == {(0, 0), (1, 100)}
    await keeper.close()


@pytest.mark.parametrize("troubles", [(), ("busy",)], ids=["well", "busy"])
async def test_a_credit_that_is_cancelled_at_any_step_and_repeated_arrives_once(troubles: tuple[str, ...]) -> None:
    async def check(steps: int) -> bool:
        store = Slow(3, troubles)
        keeper = Keeper(store, Clock(), pace=PACE)
        await keeper.open()
        credit = Credit("cs_1", "ann", Money(PAID, "usd"), "payment", "")
        task = asyncio.create_task(keeper.credit(credit))
        for _ in range(steps):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])
        assert await keeper.credit(credit) is (steps == 0)  # cancelled before its first step, it was never asked for
        await whole(keeper, 0)
        await keeper.close()
        return task.cancelled()

    await every_step(check)


@pytest.mark.parametrize("durability", ["strict", "relaxed"])
async def test_a_request_over_sqlite_that_is_cancelled_at_any_step_loses_no_money(durability: Durability) -> None:
    """The store's own thread makes the steps uneven, so they are drawn; the books must be clean all the same."""
    chance = random.Random(7)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "ledger.db")
        keeper = await paid_books(SqliteLedgerStore(path, head_key=b"k" * 32))
        charged = 0
        for number in range(1, 400 if TORTURE else 40):
            served = Served(keeper, number, durability, cut=chance.random() < 0.3)
            await cancelled_after(chance.choice((*range(12), 50, 300)), served)
            charged += served.charged
            refill = Credit(f"refill_{number}", "ann", Money(served.charged + 1, "usd"), "payment", "")
            await keeper.credit(refill)
            assert await keeper.balance("ann", "usd") == Balance(Money(PAID + number, "usd"), Money(0, "usd"))
        await keeper.close()
        report = audit(path, head_key=b"k" * 32)
        assert report.findings == ()
        assert report.totals["usd"].spent == charged
