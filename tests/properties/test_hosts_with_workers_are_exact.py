"""Hosts that share books, each with a keeper that both borrows and lends, and workers; by a seed.

As in `test_slices_are_exact`, on one loop without sockets and in simulated time. The database is a model of what its
functions do, and what a host does there is the real thing (`adapters/postgres/lending.py`). Workers, keepers and whole
hosts are killed in mid-work, and some are taken over from before they come back.
"""

import asyncio
import json
import random
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar, cast

import pytest

from gateway.adapters.postgres import lending
from gateway.adapters.postgres.desk import Desk
from gateway.adapters.postgres.lending import Lending, Patience
from gateway.core.ids import RequestId
from gateway.core.ledger import (
    AccountRow,
    Committed,
    Credit,
    Draft,
    Drawn,
    Origin,
    Record,
    Reversal,
    Tail,
    Tariff,
    slice_of,
    voids,
)
from gateway.core.money import Money
from gateway.core.purses import PLAIN, purse_named
from gateway.core.refusals import PaymentRequired
from gateway.flows.keep import Keeper, slices
from gateway.flows.keep.slices import Slices
from gateway.ports import Borrower, StoreLocked
from tests.properties.test_slices_are_exact import (
    ACCOUNTS,
    PACE,
    TARIFFS,
    TORTURE,
    Clock,
    Journal,
    Pipe,
    Recorder,
    World,
)
from tests.simulated_time import simulated

T = TypeVar("T")
SEEDS = range(300 if TORTURE else 8)
REQUESTS = 1_200
FOR_EVER = Patience(answer=600, turn=600)
BRIEF = Patience(answer=0.02, turn=0.05)


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lending, "_LOOK_AGAIN_SECONDS", 0)
    monkeypatch.setattr(slices, "TURN_SECONDS_MAX", 600)
    monkeypatch.setattr(slices, "ANSWER_SECONDS_MAX", 600)


@dataclass
class Row:
    """An account in the database."""

    id: int
    key: tuple[str, str]
    credited: int = 0
    spent: int = 0
    debt: int = 0
    leases: dict[int, int] = field(default_factory=dict)
    turn: int = 0
    turn_until: float = 0

    @property
    def left(self) -> int:
        return self.credited - self.spent - self.debt

    @property
    def free(self) -> int:
        return self.left - sum(self.leases.values())

    def lend(self, host: int, micros: int) -> None:
        left = self.leases.pop(host, 0) + micros
        assert left >= 0, f"host {host} spends or returns what is not on loan to it"
        if left:
            self.leases[host] = left
        assert self.credited - self.spent - sum(self.leases.values()) >= 0, "it would be overspent"


@dataclass
class Chain:
    """What the database has of one host."""

    epoch: int = 0
    crew: str = ""
    seq: int = 0
    next: int = 1
    started: int = 0
    tariffs: dict[Tariff, int] = field(default_factory=dict)
    records: list[tuple[int, Record]] = field(default_factory=list)
    origins: list[Origin] = field(default_factory=list)
    credited: list[bool | None] = field(default_factory=list)

    def write(self, draft: Draft) -> None:
        self.tariffs.update({tariff: id for id, tariff in draft.tariffs})
        self.records.extend(enumerate(Record.unpack_all(bytes(draft.payload)), draft.first))
        self.origins.extend(draft.origins)
        self.seq, self.next, self.started = draft.seq, draft.first + draft.count, draft.started

    @property
    def unstarted(self) -> list[Record]:
        return [record for number, record in self.records if number > self.started]


class Database:
    """What the functions in `migrations/ledger` do."""

    def __init__(self, chance: random.Random) -> None:
        self.chance = chance
        self.rows: dict[tuple[str, str], Row] = {}
        self.entries: dict[str, Credit | Reversal] = {}
        self.chains: dict[int, Chain] = {}
        self.ears: dict[int, tuple[Pipe, Callable[[str], None]]] = {}

    def row(self, id: int) -> Row:
        return next(row for row in self.rows.values() if row.id == id)

    def made(self, key: tuple[str, str]) -> Row:
        return self.rows.setdefault(key, Row(len(self.rows) + 1, key))

    def take_back(self, host: int) -> None:
        for row in self.rows.values():
            row.leases.pop(host, None)

    def reap(self, host: int) -> None:
        """What another host does for one that is silent."""
        chain = self.chains[host]
        chain.epoch, chain.crew = chain.epoch + 1, ""
        self.take_back(host)
        draft = Draft(chain.seq + 1, chain.next)
        for record in voids(chain.unstarted):
            draft.add(record)
            self.row(record.account).spent += record.micros
        if draft.count:
            draft.started = draft.first + draft.count - 1
            chain.write(draft)

    def purses(self, holder: str, unit: str) -> list[str]:
        rows = [row for row in self.rows.values() if purse_named(row.key[0])[0] == holder and row.key[1] == unit]
        if any(row.left < 0 for row in rows):
            return []
        return [row.key[0] for row in rows if row.key[0] != holder and row.credited > row.spent]

    def changed(self, entry: Credit | Reversal) -> None:
        self.notify(json.dumps({"changed": [entry.account, entry.amount.currency]}))

    def notify(self, message: str) -> None:
        for pipe, heard in self.ears.values():
            pipe.send(lambda heard=heard: heard(message))  # type: ignore[misc]

    def lend(self, host: int, keepers: int, wishes: Any, returns: Mapping[int, int], say: list[str]) -> Any:
        for id, micros in returns.items():
            self.row(id).lend(host, -micros)
        now = asyncio.get_running_loop().time()
        for place, (holder, unit, missing, final, round, turn_seconds) in enumerate(wishes, 1):
            told = {"place": place, "account": 0, "granted": 0, "elsewhere": 0, "outcome": "done", "others": []}
            told |= {"purses": self.purses(holder, unit), "owes": False}
            row = self.rows.get((holder, unit))
            if row is not None:
                mine, free, give = row.leases.get(host, 0), row.free, 0
                rivals = [other for other, micros in row.leases.items() if other != host and micros]
                if row.turn not in (0, host) and row.turn_until > now:
                    told["outcome"] = "wait"
                elif free < missing and not final and rivals:
                    told["outcome"] = "recall"
                    row.turn, row.turn_until = host, now + turn_seconds
                    self.notify(json.dumps({"recall": row.id, "round": round, "asker": host, "of": rivals}))
                else:
                    give, row.turn = slice_of(missing, free, keepers), 0
                    row.lend(host, give)
                told.update(account=row.id, granted=give, elsewhere=row.left - mine - give, others=rivals)
                told["owes"] = free < 0
            yield told
        for message in say:
            self.notify(message)


class Connection:
    """Understands the questions of `Lending`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def _stands(self, holder: str, unit: str) -> Any:
        row = self._database.rows.get((holder, unit))
        told = {"id": 0, "left": 0, "owes": False}
        if row is not None:
            told = {"id": row.id, "left": row.left, "owes": row.free < 0}
        return told | {"purses": self._database.purses(holder, unit)}

    async def fetch(self, query: str, *told: Any) -> Any:
        if query == lending._READ:
            return [self._stands(*key) for key in zip(*told, strict=True)]
        me, _, keepers, _, holders, units, lacking, finals, rounds, back, micros, say, turn_ms = told
        wishes = [(*wish, turn_ms / 1000) for wish in zip(holders, units, lacking, finals, rounds, strict=True)]
        return list(self._database.lend(me, keepers, wishes, dict(zip(back, micros, strict=True)), say))


class Place:
    """A host's desk, without a connection that could fail."""

    def __init__(self, database: Database, id: int) -> None:
        self.id = id
        self.epoch = 0
        self.channel = ""
        self.lock = asyncio.Lock()
        self.known: dict[int, int] = {}
        self._database = database

    move = Desk.move

    async def ready(self) -> None:
        """Nothing is in doubt."""

    async def do(self, work: Callable[[Connection], Coroutine[Any, Any, T]]) -> T:
        await self._turns()
        if self._database.chains[self.id].epoch != self.epoch:
            raise StoreLocked("another took these books over")
        done = await work(Connection(self._database))
        await self._turns()
        return done

    async def _turns(self) -> None:
        for _ in range(self._database.chance.randrange(self._database.chance.choice((4, 40)))):
            await asyncio.sleep(0)


class Store:
    """One host's way to the database."""

    def __init__(self, database: Database, host: int, *, crew: str, heir: bool, patience: Patience) -> None:
        self._database = database
        self._crew = crew
        self._heir = heir
        self._seq = 0  # of the keeper's drafts; there are others in the chain
        self.desk = Place(database, host)
        self.lending = Lending(cast(Desk, self.desk), patience=patience)
        self.lending.keepers = 2

    async def open(self) -> Tail:
        desk, chain = self.desk, self._database.chains.setdefault(self.desk.id, Chain())
        anew = self._heir and chain.crew != self._crew
        if anew or not self._heir:
            self._database.take_back(desk.id)
        chain.epoch, chain.crew = chain.epoch + 1, self._crew
        desk.epoch = chain.epoch
        self._database.ears[desk.id] = (Pipe(self._database.chance), self.lending.heard)
        mine = [row for row in self._database.rows.values() if desk.id in row.leases]
        desk.known = {row.id: row.leases[desk.id] for row in mine}
        self._seq = chain.seq
        return Tail(
            chain.seq, chain.next, chain.started, dict(chain.tariffs), chain.unstarted, tuple(chain.origins[-1000:]),
            loans=[(row.id, *row.key, row.leases[desk.id]) for row in mine], anew=anew,
        )  # fmt: skip

    async def reopen(self) -> None:
        raise AssertionError("nothing has failed")

    async def commit(self, draft: Draft) -> Committed:
        async with self.desk.lock:
            return await self.desk.do(lambda found: self._write(draft))

    async def _write(self, draft: Draft) -> Committed:
        database, desk = self._database, self.desk
        chain, credited = database.chains[desk.id], []
        assert draft.seq > self._seq or not draft.writes, "no attempt was without its answer"
        if draft.writes:
            self._seq, draft.seq = draft.seq, chain.seq + 1
            credited = [self._credit(credit) for credit in draft.credits]
            for id, micros in draft.spent.items():
                row = database.row(id)
                row.spent += micros
                row.lend(desk.id, -micros)
                desk.move(id, -micros)  # type: ignore[misc]
            chain.write(draft)
            draft.seq = self._seq
        accounts = {
            row.key: AccountRow(row.id, row.free + row.leases.get(desk.id, 0))
            for row in database.rows.values()
            if row.key in draft.reads
        }
        elsewhere = {id: (row := database.row(id)).left - row.leases.get(desk.id, 0) for id in draft.spent}
        return Committed(credited, accounts, elsewhere)

    def _credit(self, credit: Credit) -> bool:
        if credit.ref in self._database.entries:
            return False
        self._database.entries[credit.ref] = credit
        row = self._database.made(credit.key)
        repaid = min(row.debt, credit.amount.micros)
        row.debt -= repaid
        row.credited += credit.amount.micros - repaid
        if repaid or credit.purse != PLAIN:
            self._database.changed(credit)
        return True

    async def reverse(self, reversal: Reversal) -> bool:
        await self.lending.call_back(*reversal.key, reversal.amount.micros)
        async with self.desk.lock:
            return await self.desk.do(lambda found: self._reverse(reversal))

    async def _reverse(self, reversal: Reversal) -> bool:
        if reversal.ref in self._database.entries:
            return False
        self._database.entries[reversal.ref] = reversal
        row = self._database.made(reversal.key)
        taken = max(0, min(reversal.amount.micros, row.free))
        if reversal.at_most and not taken:
            del self._database.entries[reversal.ref]
            return False
        reversal = self._database.entries[reversal.ref] = reversal.taking(taken)
        self._database.changed(reversal)
        row.credited -= taken
        row.debt += reversal.amount.micros - taken
        if reversal.moved is not None:
            assert self._credit(reversal.moved)
        return True

    def lends_to(self, borrower: Borrower) -> None:
        self.lending.lends_to(borrower)

    async def draw(self, holder: str, unit: str, micros: int) -> Drawn:
        return await self.lending.draw(holder, unit, micros)

    def look_again(self) -> None:
        """Nothing was kept back."""

    def give_back(self, returns: Mapping[int, int], *, in_use: bool = False) -> None:
        self.lending.give_back(returns)

    async def close(self) -> None:
        await self.lending.flush()
        self.check()
        self._database.take_back(self.desk.id)
        self.hear_no_more()

    def check(self) -> None:
        """What the host takes for on loan to it is what the database says."""
        rows = self._database.rows.values()
        assert self.desk.known == {row.id: micros for row in rows if (micros := row.leases.get(self.desk.id))}

    def hear_no_more(self) -> None:
        pipe, _ = self._database.ears.pop(self.desk.id)
        pipe.cut = True

    def die(self) -> None:
        """In the middle of everything."""
        self.hear_no_more()
        self.lending._closed = True
        for task in (self.lending._task, self.lending._reading, *self.lending._answering):
            if task is not None:
                task.cancel()


class Host(World):
    """One of several."""

    def __init__(self, number: int, world: "Hosts", workers: int) -> None:
        super().__init__(0, workers)
        self.chance, self.journal = world.chance, world.journal
        self._numbers = number << 32
        self._number = number
        self._world = world
        self._crew = f"crew {number}"

    async def begin(self, expected: tuple[str, ...] = ()) -> None:
        database, patience = self._world.database, self._world.patience
        store = self.books = Store(database, self._number, crew=self._crew, heir=bool(expected), patience=patience)
        most = self.chance.choice([2, 99])
        self.keeper = Keeper(store, Clock(), lender=store, teller=store, pace=PACE, accounts_max=most)
        self.slices = Slices(self.keeper, workers=self._count, expected=expected, gather_seconds=600)
        opening = self.spawn(self.keeper.open(self.slices))
        await asyncio.sleep(0)
        for _, line in self.workers:
            line.connect()
        await opening
        for _ in range(self.chance.randrange(60)):
            await asyncio.sleep(0)
        await self.slices.begin()
        for which, (_, line) in reversed(list(enumerate(self.workers))):
            if line.branch is not self.slices._branches.get(line.name):
                await self.kill_worker(which)  # it was told to go

    async def kill_keeper(self, *, reaped: bool = False) -> None:
        self._die()
        if reaped:
            self._world.database.reap(self._number)
        await self.begin(tuple(line.name for _, line in self.workers))

    def _die(self) -> None:
        for _, line in self.workers:
            line.disconnect()
        for task in [*self._tasks, *self.keeper._draws, self.keeper._task]:
            cast(asyncio.Task[Any], task).cancel()
        self.keeper._rounds.cancel()  # type: ignore[union-attr]
        self.books.die()

    async def kill(self, *, reaped: bool) -> None:
        """All of it; it comes back after a while."""
        self._die()
        for worker, line in self.workers:
            for task in self._requests.pop(line.name, ()):
                task.cancel()
            cast(asyncio.Task[Any], worker._task).cancel()
            worker._rounds.cancel()  # type: ignore[union-attr]
        self.workers.clear()
        for _ in range(self.chance.randrange(100)):
            await asyncio.sleep(0)
        if reaped:
            self._world.database.reap(self._number)
        self._crew += "'"
        await self.begin()
        for _ in range(self._count):
            await self.add_worker()

    async def end(self) -> None:
        for worker, _ in self.workers:
            await worker.close()
        for account in self.keeper._accounts.values():
            assert (account.lent, account.pins, account.held) == (0, 0, 0)
        await self.keeper.durable()
        await asyncio.sleep(0)
        for account in self.keeper._accounts.values():
            assert account.slice == account.available == self.books.desk.known.get(account.row, 0)
        await self.keeper.close()


class Hosts:
    """All of them."""

    def __init__(self, seed: int, *, hosts: int, workers: int, patience: Patience) -> None:
        self.chance = random.Random(seed)
        self.journal = Journal()
        self.patience = patience
        self.database = Database(self.chance)
        self.hosts = [Host(number, self, workers) for number in range(1, hosts + 1)]
        self._workers = workers

    async def begin(self) -> None:
        for host in self.hosts:
            await host.begin()
            for _ in range(self._workers):
                await host.add_worker()

    async def end(self) -> None:
        for host in self.hosts:
            await host.quiet()
        for host in self.hosts:
            for keeper in (*(worker for worker, _ in host.workers), host.keeper):
                await keeper.durable()
        for host in self.hosts:
            for keeper in (host.keeper, *(worker for worker, _ in host.workers)):
                await self._all_can_be_seen(keeper)
        for host in self.hosts:
            await host.end()
            assert not host.disorder
        self.add_up()

    async def _all_can_be_seen(self, keeper: Keeper) -> None:
        """From everywhere, wherever it is: though not in the moment in which some of it is on its way."""
        left = {name: self._balance(name) for name in ACCOUNTS}
        for _ in range(100):
            seen = {name: (await keeper.balance(name, "usd")).available.micros for name in ACCOUNTS}
            if seen == left:
                return
        raise AssertionError(f"{seen} is not {left}")

    def _balance(self, holder: str) -> int:
        left = [row.left for row in self.database.rows.values() if purse_named(row.key[0])[0] == holder]
        return sum(micros for micros in left if micros < 0) or sum(left)

    def add_up(self) -> None:
        """Credits less reversals less charges are what is left, of every account and to the micro."""
        for row in self.database.rows.values():
            due = sum(
                one.amount.micros if isinstance(one, Credit) else -one.amount.micros
                for one in self.database.entries.values()
                if one.key == row.key
            )
            for chain in self.database.chains.values():
                due -= sum(one.micros for _, one in chain.records if one.account == row.id)
            assert row.left == due
            assert not row.leases

    def charged(self) -> dict[tuple[int, int], int]:
        net: dict[tuple[int, int], int] = {}
        for chain in self.database.chains.values():
            for _, record in chain.records:
                key = (record.request.at_ms, record.request.number)
                net[key] = net.get(key, 0) + record.micros
        assert min(net.values(), default=0) >= 0
        return {key: micros for key, micros in net.items() if micros}


async def story(seed: int, *, kills: float) -> Hosts:
    world = Hosts(seed, hosts=2, workers=1 + seed % 3, patience=BRIEF if kills else FOR_EVER)
    await world.begin()
    chance = world.chance
    for _ in range(REQUESTS):
        host = chance.choice(world.hosts)
        host.request()
        if chance.random() < 0.02:
            await host.credit()
        if chance.random() < 0.005:
            await host.reverse()
        if chance.random() < 0.001:
            host.join()
        if chance.random() < 0.005:
            host.books.lending.missed()
        for _ in range(chance.choice((0, 0, 1, 3))):
            await asyncio.sleep(0)
        if chance.random() < kills:
            fate = chance.random()
            if fate < 0.15:
                await host.kill(reaped=chance.random() < 0.5)
            elif fate < 0.5:
                await host.kill_keeper(reaped=chance.random() < 0.2)
            else:
                await host.kill_worker(chance.randrange(len(host.workers)))
    await world.end()
    refs = [reversal.ref for reversal in world.journal.taken]
    assert len(refs) == len(set(refs)), "money was taken back twice"
    assert set(refs) <= world.database.entries.keys()
    return world


@pytest.mark.parametrize("seed", SEEDS)
def test_without_deaths_every_answer_is_charged_and_nothing_else(seed: int, record_property: Recorder) -> None:
    world = simulated(story(seed, kills=0))
    record_property("operations", world.journal.operations)
    assert world.charged() == {key: cost for key, cost in world.journal.came_to.items() if cost}
    assert len(world.journal.answered) > 100
    assert world.journal.unavailable == 0


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_a_seed_tells_the_same_story_each_time(seed: int) -> None:
    first, again = (simulated(story(seed, kills=0.02)) for _ in range(2))
    assert first.journal == again.journal
    assert first.charged() == again.charged()


@pytest.mark.parametrize("seed", SEEDS)
def test_whoever_dies_no_unanswered_request_is_charged(seed: int, record_property: Recorder) -> None:
    world = simulated(story(seed, kills=0.02))
    record_property("operations", world.journal.operations)
    charged, answered = world.charged(), world.journal.answered
    assert charged.keys() <= answered.keys()
    assert all(cost in answered[key] for key, cost in charged.items())
    assert len(charged) > 10


@pytest.mark.parametrize("hosts", [1, 2, 3])
@pytest.mark.parametrize("seed", range(300 if TORTURE else 20))
def test_of_many_at_once_exactly_those_that_are_affordable_are_served(
    seed: int, hosts: int, record_property: Recorder
) -> None:
    """One account, whichever host and worker a request comes to. Nothing is given back, and nobody is in doubt."""
    record_property("operations", simulated(runs_on_one_account(seed, hosts)))


async def runs_on_one_account(seed: int, hosts: int) -> int:
    """Eight, one after the other; how many operations they took."""
    operations = 0
    world = Hosts(seed, hosts=hosts, workers=2, patience=FOR_EVER)
    await world.begin()
    chance = world.chance
    prices = chance.choice(((20,), (7, 20, 45)))
    left, numbers = 0, iter(range(1_000_000))

    async def buy(keeper: Keeper, price: Money) -> bool:
        try:
            id = RequestId(1_790_000_000_000, next(numbers))
            hold = await keeper.hold("ann", price, id=id, token=3, tariff=TARIFFS[0])
        except PaymentRequired:
            return False
        await keeper.start(hold, price, "strict")
        hold.started()
        keeper.settle(hold, price)
        return True

    for round in range(8):
        more = chance.randrange(1, chance.choice((60, 300, 2000)))
        await chance.choice(world.hosts).keeper.credit(Credit(f"cs_{round}", "ann", Money(more, "usd"), "payment", ""))
        left += more
        missed = False
        wanted: list[int] = []
        buying: list[asyncio.Task[bool]] = []
        while len(buying) < 40:
            keeper, _ = chance.choice(chance.choice(world.hosts).workers)
            for _ in range(chance.choice((1, 1, 1, 2, 5, 20))):
                wanted.append(chance.choice(prices))
                buying.append(asyncio.create_task(buy(keeper, Money(wanted[-1], "usd"))))
            if seed % 2 and chance.random() < 0.1:
                chance.choice(world.hosts).books.lending.missed()
                missed = True
            for _ in range(chance.choice((0, 0, 2, 9, 40))):
                await asyncio.sleep(0)
        served = await asyncio.gather(*buying)
        operations += 1 + sum(3 if got else 1 for got in served)
        left -= sum(price for price, got in zip(wanted, served, strict=True) if got)
        refused = min((price for price, got in zip(wanted, served, strict=True) if not got), default=1 << 40)
        # Who has to ask anew in the middle of it may leave something to nobody that others were refused for.
        assert 0 <= left < (1 << 40 if missed else refused)
    await world.end()
    return operations
