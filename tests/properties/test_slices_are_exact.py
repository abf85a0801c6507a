"""Workers that borrow, a keeper that lends, and all that can happen between them, by a seed.

Everything runs on one loop without sockets, in simulated time: messages take a number of turns that the seed decides,
and arrive in order. Workers and the keeper are killed in mid-work. The truth is the store, as it was committed, and the
journal of the callers.
"""

import asyncio
import copy
import os
import random
from collections import deque
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

import pytest

from gateway import ports
from gateway.adapters.memory import MemoryLedgerStore
from gateway.core.caps import Cap, CapLine, is_cap
from gateway.core.ids import RequestId
from gateway.core.ledger import AccountRow, Committed, Credit, Draft, Drawn, Reversal, Tail, Tariff
from gateway.core.money import Money
from gateway.core.ordered_set import OrderedSet
from gateway.core.purses import PLAIN, Purse
from gateway.core.refusals import CapReached, LedgerUnavailable, PaymentRequired
from gateway.flows.keep import Keeper, Pace
from gateway.flows.keep.slices import Branch, Disorder, Greeting, Slices, WorkerDraft
from gateway.flows.keep.wallets import SplitHold
from gateway.ports import Borrower, Hold, StoreFailed
from tests.simulated_time import simulated

T = TypeVar("T")
Recorder = Callable[[str, Any], None]
TORTURE = bool(os.environ.get("GATEWAY_TORTURE"))
SEEDS = range(400 if TORTURE else 12)
REQUESTS = 2_000
PACE = Pace(gap=0, idly=0, quiet=0, refuse_after=600, give_up_after=600, retry=0, idle=0.0005)
TARIFFS = [Tariff("search", "operator", 0, "p"), Tariff("export", "anna", 1500, "q")]
HANGS_SECONDS = 60
"""Simulated; whoever waits so long waits for the end of somebody's patience."""
ACCOUNTS = [f"account {number}" for number in range(5)]
PURSES = [PLAIN, PLAIN, PLAIN, Purse(-10), Purse(0, 2_000_000_000_000), Purse(5)]


class Clock:
    def now_ms(self) -> int:
        return 1_790_000_000_000


class Pipe:
    """Delivers in order, each message some turns after the one before, or at once with it."""

    def __init__(self, chance: random.Random) -> None:
        self._chance = chance
        self._waiting: deque[Callable[[], None]] = deque()
        self._busy = False
        self.cut = False
        self.disorder: list[Disorder] = []

    def send(self, deliver: Callable[[], None]) -> None:
        self._waiting.append(deliver)
        if not self._busy:
            self._busy = True
            self._later(self._chance.randrange(4))

    def _later(self, turns: int) -> None:
        asyncio.get_running_loop().call_soon(self._later, turns - 1) if turns > 0 else self._deliver()

    def _deliver(self) -> None:
        for _ in range(self._chance.choice((1, 1, 4))):
            if self.cut:
                return
            if self._waiting:
                try:
                    self._waiting.popleft()()
                except Disorder as disorder:
                    self.disorder.append(disorder)
        self._busy = bool(self._waiting)
        if self._busy:
            self._later(self._chance.randrange(4))


class Line:
    """A worker's store: what the sockets do otherwise."""

    def __init__(self, world: "World", name: str) -> None:
        self._world = world
        self.name = name
        self._borrower: Borrower | None = None
        self._fresh = True
        self._owed: set[int] = set()
        self._pending: Draft | None = None
        self._waiting: OrderedSet[asyncio.Future[Any]] = OrderedSet()
        self.branch: Branch | None = None
        self.up = asyncio.Event()

    def lends_to(self, borrower: Borrower) -> None:
        self._borrower = borrower

    async def open(self) -> Tail:
        self.connect()
        return Tail(0, 1, 0, {}, ())

    def connect(self) -> None:
        assert self._borrower is not None
        self._out, self._in = Pipe(self._world.chance), Pipe(self._world.chance)
        self._out.disorder = self._world.disorder
        pending = self._pending
        greeting = Greeting(
            self.name,
            self._fresh,
            self._borrower.claim(),
            pending.seq if pending is not None else 0,
            dict(pending.spent) if pending is not None else {},
        )
        self._fresh = False
        self._owed.clear()
        self.branch = Branch(
            greeting,
            lambda row: self._in.send(lambda: self._recall_soon(row)),
            self._borrower.ended,
            changed=lambda *wallet: self._in.send(lambda: self._changed(*wallet)),
            anything_changed=lambda: self._in.send(self._anything_changed),
        )
        assert self._world.slices.join(self.branch), "it was turned away"
        self.up.set()

    def disconnect(self) -> None:
        """The other side is gone."""
        self.up.clear()
        self._out.cut = self._in.cut = True
        for waiting in list(self._waiting):
            if not waiting.done():
                waiting.set_exception(StoreFailed("the keeper is gone"))

    def _changed(self, holder: str, unit: str) -> None:
        assert self._borrower is not None
        self._borrower.changed(holder, unit)

    def _anything_changed(self) -> None:
        assert self._borrower is not None
        self._borrower.anything_changed()

    def _recall_soon(self, row: int) -> None:
        asyncio.get_running_loop().call_soon(self._recall, row)

    def _recall(self, row: int) -> None:
        assert self._borrower is not None
        micros, branch, slices = self._borrower.recall(row), self.branch, self._world.slices
        assert branch is not None
        if micros is None:
            self._owed.add(row)
        else:
            self._out.send(lambda: slices.recalled(branch, row, micros))

    def _pay_what_is_owed(self) -> None:
        owed, self._owed = self._owed, set()
        for row in owed:
            self._recall(row)

    async def reopen(self) -> None:
        await self.up.wait()

    async def commit(self, draft: Draft) -> Committed:
        self._pending = draft
        worker_draft = WorkerDraft(
            draft.seq, draft.started, draft.first, bytes(draft.payload), dict(draft.tariffs), tuple(draft.credits)
        )
        branch, slices = self.branch, self._world.slices
        assert branch is not None
        landed = await self._ask(lambda: slices.take(branch, worker_draft))
        self._pending = None
        asyncio.get_running_loop().call_soon(self._pay_what_is_owed)
        accounts = {
            credit.key: AccountRow(row, 0) for credit, row in zip(draft.credits, landed.rows, strict=False) if row
        }
        return Committed(landed.credited, accounts, landed.elsewhere)

    async def draw(self, holder: str, unit: str, micros: int) -> Drawn:
        branch, slices = self.branch, self._world.slices
        assert branch is not None
        return await self._ask(lambda: slices.draw(branch, holder, unit, micros))

    def look_again(self) -> None:
        asyncio.get_running_loop().call_soon(self._pay_what_is_owed)

    def give_back(self, returns: Mapping[int, int], *, in_use: bool = False) -> None:
        branch, slices = self.branch, self._world.slices
        if self.up.is_set() and branch is not None:
            self._out.send(lambda: slices.give_back(branch, returns, in_use=in_use))

    async def reverse(self, reversal: Reversal) -> bool:
        slices = self._world.slices
        return await self._ask(lambda: slices.reverse(reversal))

    async def _ask(self, question: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Send it there, and its answer back; fails when the line does."""
        if not self.up.is_set():
            raise StoreFailed("the keeper is gone")
        answer: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._waiting.add(answer)
        world, into, out = self._world, self._in, self._out

        async def work() -> None:
            try:
                done = await question()
            except Disorder:
                if not out.cut:
                    raise
            except LedgerUnavailable:
                into.send(lambda: settle(answer, StoreFailed("not available")))
            else:
                into.send(lambda: settle(answer, done))

        def begin() -> None:
            world.spawn(work())

        out.send(begin)
        try:
            return await answer
        finally:
            self._waiting.discard(answer)

    async def close(self) -> None:
        assert self.branch is not None
        branch, slices = self.branch, self._world.slices
        closed: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        def leave() -> None:
            slices.leave(branch)
            closed.set_result(None)

        self._out.send(leave)
        await closed


def settle(answer: asyncio.Future[T], outcome: T | Exception) -> None:
    """Tell who asked, if anybody still does."""
    if answer.done():
        return
    if isinstance(outcome, Exception):
        answer.set_exception(outcome)
    else:
        answer.set_result(outcome)


@dataclass
class Journal:
    """What callers know: which requests were answered, and what for."""

    answered: dict[tuple[int, int], set[int]] = field(default_factory=dict)
    """With what each may have cost: first what was due, in the end what it came to."""
    came_to: dict[tuple[int, int], int] = field(default_factory=dict)
    taken: list[Reversal] = field(default_factory=list)
    refused: int = 0
    capped: int = 0
    unavailable: int = 0
    cut: int = 0
    operations: int = 0
    """Calls to a keeper that could move money."""


class World:
    """One host."""

    def __init__(self, seed: int, workers: int) -> None:
        self.chance = random.Random(seed)
        self.journal = Journal()
        self.store = MemoryLedgerStore()
        self.clock: ports.Clock = Clock()
        self.workers: list[tuple[Keeper, Line]] = []
        self.disorder: list[Disorder] = []
        self._count = workers
        self._names = 0
        self._numbers = 0
        self._tasks: OrderedSet[asyncio.Task[Any]] = OrderedSet()
        self._requests: dict[str, OrderedSet[asyncio.Task[None]]] = {}
        self._caps: dict[str, Cap] = {}

    async def cap_line(self, name: str, unit: str) -> CapLine:
        """As `ports.CapLines`, of the store that there is by now."""
        return await self.store.cap_line(name, unit)

    def cap(self) -> None:
        """An account's cap, or that of a token of it, is set; not everybody has heard of it who comes next."""
        node = self.chance.choice(ACCOUNTS) + self.chance.choice(("", " child"))
        self._numbers += 1
        self._caps[node] = Cap(node, "total", Money(self.chance.randrange(4000), "usd"), since_ms=self._numbers)

    def _caps_of(self, account: str) -> list[Cap]:
        nodes = self.chance.choice(((), (account,), (account + " child", account)))
        return [self._caps[node] for node in nodes if node in self._caps]

    def spawn(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def begin(self, expected: tuple[str, ...] = ()) -> None:
        self.keeper = Keeper(self.store, self.clock, archive=self.store, pace=PACE)
        self.slices = Slices(self.keeper, workers=self._count, expected=expected, gather_seconds=600)
        opening = self.spawn(self.keeper.open(self.slices))
        await asyncio.sleep(0)
        for _, line in self.workers:
            line.connect()
        await opening
        for _ in range(self.chance.randrange(60)):
            await asyncio.sleep(0)  # what comes before it lends must not be lost
        await self.slices.begin()

    async def add_worker(self) -> None:
        self._names += 1
        line = Line(self, f"worker {self._names}")
        most = self.chance.choice([2, 1000])
        keeper = Keeper(line, self.clock, lender=line, teller=line, cap_lines=self, pace=PACE, accounts_max=most)
        await keeper.open()
        self.workers.append((keeper, line))

    async def kill_worker(self, which: int) -> None:
        """It stops in the middle of everything, and the other side hears of it."""
        keeper, line = self.workers.pop(which)
        for task in self._requests.pop(line.name, ()):
            task.cancel()
        line.disconnect()
        assert line.branch is not None
        self.slices.leave(line.branch)
        dead = keeper._task
        assert dead is not None
        dead.cancel()
        keeper._rounds.cancel()  # type: ignore[union-attr]
        await self.add_worker()

    async def kill_keeper(self) -> None:
        """What it had committed is what there is."""
        old, self.store = self.keeper, copy.deepcopy(self.store)
        for _, line in self.workers:
            line.disconnect()
        for task in list(self._tasks):
            task.cancel()
        dead = old._task
        assert dead is not None
        dead.cancel()
        await self.begin(tuple(line.name for _, line in self.workers))

    def request(self) -> None:
        keeper, line = self.chance.choice(self.workers)
        self._numbers += 1
        task = asyncio.get_running_loop().create_task(self._serve(keeper, RequestId(1_790_000_000_000, self._numbers)))
        mine = self._requests.setdefault(line.name, OrderedSet())
        mine.add(task)
        task.add_done_callback(mine.discard)

    async def _serve(self, keeper: Keeper, id: RequestId) -> None:
        """As `flows/serve.py` has it."""
        chance = self.chance
        account, ceiling = chance.choice(ACCOUNTS), chance.choice([7, 20, 20, 100])
        caps, tariff = self._caps_of(account), chance.choice(TARIFFS)
        self.journal.operations += 1
        try:
            hold = await keeper.hold(account, Money(ceiling, "usd"), id=id, token=3, tariff=tariff, caps=caps)
        except PaymentRequired:
            self.journal.refused += 1
            return
        except CapReached:
            self.journal.capped += 1
            return
        except LedgerUnavailable:
            self.journal.unavailable += 1
            return
        cost, begun = 0, False
        try:
            for _ in range(chance.randrange(4)):
                await asyncio.sleep(0)
            cost = ceiling if chance.random() < 0.8 else chance.randrange(ceiling + 1)
            self.journal.operations += 1
            await keeper.start(hold, Money(cost, "usd"), "strict")
            begun = True
            hold.started()
            self.journal.answered[id.at_ms, id.number] = {cost}
            for _ in range(chance.randrange(4)):
                await asyncio.sleep(0)
            if chance.random() < 0.2:
                cost = chance.randrange(cost + 1)  # it was cut
                self.journal.answered[id.at_ms, id.number].add(cost)
            self.journal.came_to[id.at_ms, id.number] = cost
        except LedgerUnavailable:
            self.journal.unavailable += 1
        except asyncio.CancelledError:
            self.journal.cut += 1
            raise
        finally:
            self.journal.operations += 1
            keeper.settle(hold, Money(cost if begun else 0, "usd"))

    async def credit(self) -> None:
        self._numbers += 1
        credit = Credit(
            f"cs_{self._numbers}",
            self.chance.choice(ACCOUNTS),
            Money(self.chance.randrange(1, 3000), "usd"),
            "payment",
            "",
            self.chance.choice(PURSES),
        )
        keeper = self.chance.choice([self.keeper, *(keeper for keeper, _ in self.workers)])
        self.spawn(self._credit(keeper, credit))

    async def _credit(self, keeper: Keeper, credit: Credit) -> None:
        self.journal.operations += 1
        try:
            await keeper.credit(credit)
        except LedgerUnavailable:
            self.journal.unavailable += 1

    async def reverse(self) -> None:
        """A refund; now and then it is heard of twice."""
        self._numbers += 1
        micros = self.chance.randrange(1, 1500)
        purse = self.chance.choice(PURSES)
        reversal = Reversal(
            f"re_{self._numbers}",
            self.chance.choice(ACCOUNTS),
            Money(micros, "usd"),
            "refund",
            "",
            purse,
            at_most=purse != PLAIN,
        )
        for _ in range(self.chance.choice((1, 1, 2))):
            self.spawn(self._reverse(self.chance.choice([self.keeper, *(k for k, _ in self.workers)]), reversal))

    async def _reverse(self, keeper: Keeper, reversal: Reversal) -> None:
        self.journal.operations += 1
        try:
            if await keeper.reverse(reversal):
                self.journal.taken.append(reversal)
        except LedgerUnavailable:
            self.journal.unavailable += 1

    def join(self) -> None:
        """Two wallets become one, perhaps not in one go."""
        account, into = self.chance.sample(ACCOUNTS, 2)
        self.spawn(self._join(self.chance.choice([self.keeper, *(k for k, _ in self.workers)]), account, into))

    async def _join(self, keeper: Keeper, account: str, into: str) -> None:
        try:
            await keeper.join(account, into, "usd")
        except LedgerUnavailable:
            self.journal.unavailable += 1

    async def quiet(self) -> None:
        """Until nothing is under way."""
        async with asyncio.timeout(HANGS_SECONDS):
            while waits := [*self._tasks, *(request for mine in self._requests.values() for request in mine)]:
                await asyncio.wait(waits)

    async def end(self) -> None:
        for keeper, _ in self.workers:
            await keeper.close()
        for account in self.keeper._accounts.values():
            assert (account.lent, account.pins, account.held, account.deciding) == (0, 0, 0, 0)
        await self.keeper.close()

    async def add_up(self) -> None:
        """A keeper that opens the books finds credits less reversals less charges, to the micro."""
        keeper, store = Keeper(self.store, Clock(), pace=PACE), self.store
        await keeper.open()
        for name in ACCOUNTS:
            left = []
            for key in {(purse.named(name), "usd") for purse in PURSES} & store.accounts.keys():
                due = sum(one.amount.micros for one in store.credits.values() if one.key == key)
                due -= sum(one.amount.micros for one in store.reversals.values() if one.key == key)
                row = store.accounts[key]
                left.append(due - sum(record.micros for _, record in store.records if record.account == row.id))
                assert row.available == left[-1]
            owed = sum(micros for micros in left if micros < 0)
            assert (await keeper.balance(name, "usd")).available.micros == (owed or sum(left))
        await keeper.close()
        charged = self.charged()
        for (_, unit), row in store.accounts.items():
            if is_cap(unit):
                counted = self.charged(of=row.id)
                assert counted.items() <= charged.items(), "a cap counts what was paid under it"
                assert sum(counted.values()) == row.spent <= row.credited

    def charged(self, *, of: int | None = None) -> dict[tuple[int, int], int]:
        """What each request did cost; or what the cap of this row counts of it."""
        net: dict[tuple[int, int], int] = {}
        caps = {row.id for (_, unit), row in self.store.accounts.items() if is_cap(unit)}
        for _, record in self.store.records:
            if record.account != of if of is not None else record.account in caps:
                continue
            key = (record.request.at_ms, record.request.number)
            net[key] = net.get(key, 0) + record.micros
        assert min(net.values(), default=0) >= 0
        return {key: micros for key, micros in net.items() if micros}


async def story(seed: int, workers: int, *, kills: float) -> World:
    world = World(seed, workers)
    await world.begin()
    for _ in range(workers):
        await world.add_worker()
    chance = world.chance
    for _ in range(REQUESTS):
        world.request()
        if chance.random() < 0.02:
            await world.credit()
        if chance.random() < 0.005:
            await world.reverse()
        if chance.random() < 0.003:
            world.join()
        if chance.random() < 0.01:
            world.cap()
        for _ in range(chance.choice((0, 0, 1, 3))):
            await asyncio.sleep(0)
        if chance.random() < kills:
            if chance.random() < 0.3:
                await world.kill_keeper()
            else:
                await world.kill_worker(chance.randrange(len(world.workers)))
    await world.quiet()
    await world.end()
    assert not world.disorder
    refs = [reversal.ref for reversal in world.journal.taken]
    assert len(refs) == len(set(refs)), "money was taken back twice"
    assert set(refs) <= world.store.reversals.keys()
    await world.add_up()
    return world


@pytest.mark.parametrize("seed", SEEDS)
def test_without_deaths_every_answer_is_charged_and_nothing_else(seed: int, record_property: Recorder) -> None:
    world = simulated(story(seed, workers=1 + seed % 4, kills=0))
    record_property("operations", world.journal.operations)
    assert world.charged() == {key: cost for key, cost in world.journal.came_to.items() if cost}
    assert len(world.journal.answered) > 100
    assert world.journal.capped > 0
    assert world.journal.unavailable == 0


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_a_seed_tells_the_same_story_each_time(seed: int) -> None:
    first, again = (simulated(story(seed, workers=1 + seed % 4, kills=0.02)) for _ in range(2))
    assert first.journal == again.journal
    assert first.charged() == again.charged()


@pytest.mark.parametrize("seed", SEEDS)
def test_whoever_dies_no_unanswered_request_is_charged(seed: int, record_property: Recorder) -> None:
    world = simulated(story(seed, workers=1 + seed % 4, kills=0.02))
    record_property("operations", world.journal.operations)
    charged, answered = world.charged(), world.journal.answered
    assert charged.keys() <= answered.keys()
    assert all(cost in answered[key] for key, cost in charged.items())
    assert len(charged) > 50


@pytest.mark.parametrize("seed", range(400 if TORTURE else 60))
def test_of_many_at_once_exactly_those_that_are_affordable_are_served(seed: int, record_property: Recorder) -> None:
    """One account, and whichever worker a request comes to. Nothing is given back, so whoever was refused must have
    wanted more than is left in the end."""
    served, refused, left = simulated(a_run_on_one_account(seed))
    record_property("operations", 1 + 3 * len(served) + len(refused))
    assert 0 <= left < min(refused, default=6000)


@pytest.mark.parametrize("seed", range(400 if TORTURE else 40))
def test_under_caps_exactly_those_are_served_for_whom_each_of_them_has_room(
    seed: int, record_property: Recorder
) -> None:
    """Three children under one parent, whichever worker a request comes to; as above."""
    served, refused, left = simulated(a_run_under_caps(seed))
    record_property("operations", 1 + 3 * served + len(refused))
    assert min(left.values()) >= 0
    assert len(refused) > 5
    for child, micros in refused:
        assert min(left[child], left["parent"]) < micros


async def a_run_under_caps(seed: int) -> tuple[int, list[tuple[str, int]], dict[str, int]]:
    """How many were served, whose requests for how much were refused, and what the caps leave."""
    world = World(seed, 4)
    await world.begin()
    for _ in range(4):
        await world.add_worker()
    chance = world.chance
    await world.keeper.credit(Credit("cs", "ann", Money(100_000, "usd"), "payment", ""))
    caps = {name: Cap(name, "total", Money(chance.randrange(3000), "usd"), since_ms=1) for name in "abc"}
    caps["parent"] = Cap("parent", "total", Money(chance.randrange(500, 5000), "usd"), since_ms=1)
    served: list[int] = []
    refused: list[tuple[str, int]] = []

    async def buy(keeper: Keeper, number: int, child: str, price: Money) -> None:
        id = RequestId(1_790_000_000_000, number)
        try:
            hold = await keeper.hold(
                "ann", price, id=id, token=3, tariff=TARIFFS[0], caps=(caps[child], caps["parent"])
            )
        except CapReached:
            refused.append((child, price.micros))
            return
        await keeper.start(hold, price, "strict")
        hold.started()
        keeper.settle(hold, price)
        served.append(price.micros)

    buying = []
    for number in range(120):
        keeper, _ = chance.choice(world.workers)
        price = Money(chance.choice((7, 20, 100, 300)), "usd")
        buying.append(asyncio.create_task(buy(keeper, number + 1, chance.choice("abc"), price)))
        for _ in range(chance.randrange(3)):
            await asyncio.sleep(0)
    await asyncio.gather(*buying)
    await world.quiet()
    await world.end()
    left = {}
    for name, cap in caps.items():
        line = await world.store.cap_line(cap.name(0), cap.unit)
        left[name] = cap.amount.micros - line.spent
    assert sum(served) == caps["parent"].amount.micros - left["parent"]
    return len(served), refused, left


async def a_run_on_one_account(seed: int) -> tuple[list[int], list[int], int]:
    """What was served, what was refused, and what is left."""
    world = World(seed, 4)
    await world.begin()
    for _ in range(4):
        await world.add_worker()
    left = world.chance.randrange(6000)
    parts = world.chance.choice(((PLAIN,), (PLAIN,), PURSES[2:]))
    for number, purse in enumerate(parts):
        part = left // len(parts) + (left % len(parts) if purse == parts[0] else 0)
        if part:
            await world.keeper.credit(Credit(f"cs {number}", "ann", Money(part, "usd"), "payment", "", purse))
    served: list[int] = []
    refused: list[int] = []

    async def buy(keeper: Keeper, number: int, price: Money) -> None:
        try:
            id = RequestId(1_790_000_000_000, number)
            hold = await keeper.hold("ann", price, id=id, token=3, tariff=TARIFFS[0])
        except PaymentRequired:
            refused.append(price.micros)
            return
        await keeper.start(hold, price, "strict")
        hold.started()
        keeper.settle(hold, price)
        served.append(price.micros)

    buying: list[asyncio.Task[None]] = []
    prices = world.chance.choice(((20,), (20,), (7, 20, 45)))
    while len(buying) < 300:
        keeper, _ = world.chance.choice(world.workers)
        for _ in range(world.chance.choice((1, 1, 1, 2, 60, 200))):
            price = Money(world.chance.choice(prices), "usd")
            buying.append(asyncio.create_task(buy(keeper, len(buying), price)))
        for _ in range(world.chance.choice((0, 0, 2, 9))):
            await asyncio.sleep(0)
    await asyncio.gather(*buying)
    await world.end()
    assert len(served) + len(refused) == len(buying)
    assert not world.disorder
    return served, refused, left - sum(served)


@pytest.mark.parametrize("seed", range(60 if TORTURE else 6))
def test_of_two_who_want_what_is_left_in_two_purses_one_gets_it(seed: int) -> None:
    simulated(last_of_two_purses(seed))


async def last_of_two_purses(seed: int) -> None:
    world = await of_workers(seed, 2 + seed % 3)
    for round in range(60):
        holder, number = f"holder {round}", 1 + round * 10
        for purse in PURSES[2:4]:
            await world.keeper.credit(Credit(f"{purse} {round}", holder, Money(5, "usd"), "payment", "", purse))
        keepers = [keeper for keeper, _ in world.workers]
        asked = [
            keeper.hold(holder, Money(10, "usd"), id=RequestId(1, number + place), token=3, tariff=TARIFFS[0])
            for place, keeper in enumerate(keepers)
        ]
        done = await asyncio.gather(*asked, return_exceptions=True)
        assert [type(outcome) for outcome in done].count(PaymentRequired) == len(keepers) - 1, done
        for keeper, held in zip(keepers, done, strict=True):
            if not isinstance(held, BaseException):
                keeper.settle(held, Money(0, "usd"))
    await world.end()
    assert not world.disorder


def test_what_another_worker_gives_back_to_an_empty_purse_is_found() -> None:
    simulated(given_back_to_an_empty_purse())


async def given_back_to_an_empty_purse() -> None:
    world = await of_workers(1, 2)
    one, two = (keeper for keeper, _ in world.workers)
    await world.keeper.credit(Credit("promo", "ann", Money(100, "usd"), "grant", "", PURSES[3]))
    await world.keeper.credit(Credit("cs", "ann", Money(60, "usd"), "payment", ""))
    first = await hold_of(one, 1, 100)
    await one.start(first, Money(100, "usd"), "strict")
    second = await hold_of(two, 2, 10)  # it learns that there is nothing left in the other purse
    one.settle(first, Money(10, "usd"))
    await one.durable()
    third = await hold_of(two, 3, 140)
    for keeper, held in ((two, second), (two, third)):
        keeper.settle(held, Money(0, "usd"))
    await world.end()


def test_a_grant_is_known_to_every_worker_at_once() -> None:
    simulated(granted_while_they_work())


async def granted_while_they_work() -> None:
    world = await of_workers(2, 2)
    await world.keeper.credit(Credit("cs", "ann", Money(10_000, "usd"), "payment", ""))
    keepers = [keeper for keeper, _ in world.workers]
    for number, keeper in enumerate(keepers):
        keeper.settle(await hold_of(keeper, number, 10), Money(0, "usd"))
    await world.keeper.credit(Credit("promo", "ann", Money(1000, "usd"), "grant", "", PURSES[3]))
    for _ in range(20):
        await asyncio.sleep(0)
    for number, keeper in enumerate(keepers, 10):
        held = await hold_of(keeper, number, 10)
        assert isinstance(held, SplitHold)
        assert [part.account.holder for part in held.parts] == [PURSES[3].named("ann")]
        keeper.settle(held, Money(0, "usd"))
    await world.end()


async def hold_of(keeper: Keeper, number: int, micros: int) -> Hold:
    return await keeper.hold("ann", Money(micros, "usd"), id=RequestId(2, number), token=3, tariff=TARIFFS[0])


async def of_workers(seed: int, workers: int) -> World:
    world = World(seed, workers)
    await world.begin()
    for _ in range(workers):
        await world.add_worker()
    return world
