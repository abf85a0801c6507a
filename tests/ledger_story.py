"""Tells one story to a ledger and to the model of it (`gateway/core/books.py`), and compares after every sentence.

A story is a list of sentences (verb and three numbers): hypothesis makes short ones, which it can shorten further, and
`sentences` long ones from a seed. The clock jumps as the seed says. What stores differ in is their `Ground`.
"""

import asyncio
import random
import sqlite3
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any, Protocol, cast

import asyncpg
import pytest

from gateway.adapters.memory import MemoryLedgerStore
from gateway.adapters.postgres.audit import audit as audit_database
from gateway.adapters.postgres.credits import PostgresCreditLines
from gateway.adapters.postgres.ledger import PostgresLedgerStore
from gateway.adapters.postgres.sessions import Address
from gateway.adapters.sqlite.archive import SqliteArchive
from gateway.adapters.sqlite.audit import audit
from gateway.adapters.sqlite.credits import SqliteCreditLines
from gateway.adapters.sqlite.ledger import SqliteLedgerStore
from gateway.core.books import Books, Key, Request
from gateway.core.caps import Cap, is_cap
from gateway.core.ids import RequestId
from gateway.core.ledger import Credit, Record, Reversal, Tariff
from gateway.core.money import Money
from gateway.core.purses import PLAIN, Purse, purse_named
from gateway.core.refusals import CapReached, PaymentRequired
from gateway.core.secrets import Secret
from gateway.flows.keep import Keeper, Pace, Recovered
from gateway.ports import Clock, Hold, RequestUnderWay, RequestUnknown

Sentence = tuple[str, int, int, int]
PACE = Pace(gap=0, idly=0, quiet=0, refuse_after=600, give_up_after=600, retry=0)
ACCOUNTS = [("ann", "usd"), ("ann", "jpy"), ("bob", "usd")]
PURSES = [Purse(-10), Purse(-10, 7_000_000_000_000), Purse(5)]
TARIFFS = [Tariff("search", "operator", 0, "p"), Tariff("export", "anna", 1500, "q")]
VERBS = {
    "credit": (8, 400, 1 << 20), "grant": (4, 200, 1 << 20), "join": (1, 1, 0), "reverse": (3, 300, 1 << 20),
    "cap": (5, 500, 1), "hold": (30, 120, 1), "start": (25, 100, 7),
    "renew": (10, 90, 4), "settle": (30, 130, 1), "refund": (3, 1, 0), "burst": (4, 40, 9), "restart": (0.3, 50, 0),
    "crash": (0.4, 40, 0),
}  # fmt: skip
"""Of each: how often it is said in a long story, the most micros, and the most that its last number is."""
NODES = ["child", "parent"]
CALLS = 5
KEY = b"k" * 32
_DAY_MS = 86_400_000


OWED: list[Sentence] = [
    ("credit", 2, 100, 1), ("hold", 2, 58, 0), ("reverse", 2, 90, 2), ("settle", 0, 4, 0), ("hold", 2, 22, 0),
    ("hold", 2, 6, 0), ("settle", 0, 6, 0), ("credit", 2, 50, 3), ("hold", 2, 44, 0), ("renew", 0, 6, 0),
    ("reverse", 2, 90, 5), ("hold", 2, 1, 0), ("credit", 2, 91, 6), ("hold", 2, 1, 0),
]  # fmt: skip
"""What a request holds is taken back; what it gives back is not there for the next, until the debt is paid."""
CORRECTED: list[Sentence] = [
    ("credit", 2, 100, 1), ("hold", 2, 58, 0), ("start", 0, 58, 6), ("hold", 2, 30, 0), ("reverse", 2, 40, 2),
    ("hold", 2, 1, 0), ("settle", 0, 4, 0), ("hold", 2, 20, 0),
]  # fmt: skip
"""Another request gives back more than is owed: who was refused before is served."""
LOWERED: list[Sentence] = [
    ("cap", 7, 460, 1), ("credit", 5, 237, 1), ("hold", 5, 58, 0), ("cap", 1, 23, 1), ("settle", 0, 4, 1),
    ("hold", 5, 22, 1), ("cap", 7, 130, 1), ("hold", 5, 22, 1),
]  # fmt: skip
"""The same of a cap that is lowered below what is held under it, and raised again."""


def sentences(chance: random.Random, count: int) -> Iterator[Sentence]:
    """A long story."""
    weights = [weight for weight, _, _ in VERBS.values()]
    for verb in chance.choices(list(VERBS), weights, k=count):
        _, micros, extra = VERBS[verb]
        yield verb, chance.randrange(8), chance.randrange(1, micros + 1), chance.randrange(extra + 1)


class JumpingClock:
    """It goes on, stands still and jumps, but never by more than a day."""

    def __init__(self, chance: random.Random) -> None:
        self._chance = chance
        self._ms = 0

    def pass_by(self) -> None:
        """It goes on for certain."""
        self._ms += 1

    def now_ms(self) -> int:
        jumps = self._chance.random() < 0.01
        self._ms = (self._chance.randrange(_DAY_MS) if jumps else self._ms + self._chance.randrange(3)) % _DAY_MS
        return 1_790_000_000_000 + self._ms


class Ground(Protocol):
    """Where a ledger stands: one store after another on the same books."""

    async def keeper(self, clock: Clock, accounts_max: int) -> Keeper:
        """A keeper over a new store, not open yet."""

    async def kill(self, keeper: Keeper) -> None:
        """It ends in the middle of everything, as by kill -9."""

    async def records(self) -> list[Record]:
        """What is in the books and was not asked for before."""

    @property
    def lags(self) -> bool:
        """Whether balances are shown as they were a moment ago: a purse that was empty then may be left out."""

    @property
    def alone(self) -> bool:
        """Whether whoever is asked knows of all that is held."""

    async def purses(self) -> dict[int, Purse]:
        """Which purse each row of an account is; those of caps are none."""

    async def prove(self) -> None:
        """The books prove themselves. The keeper is closed."""


async def _silence(keeper: Keeper) -> None:
    tasks = cast(list[asyncio.Task[Any]], [keeper._task, *keeper._draws])
    if keeper._rounds is not None:
        keeper._rounds.cancel()
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


class MemoryGround:
    lags = False
    alone = True

    def __init__(self) -> None:
        self.store = MemoryLedgerStore()
        self._read = 0

    async def keeper(self, clock: Clock, accounts_max: int) -> Keeper:
        lines = self.store
        return Keeper(lines, clock, archive=lines, cap_lines=lines, pace=PACE, accounts_max=accounts_max)

    async def kill(self, keeper: Keeper) -> None:
        await _silence(keeper)

    async def records(self) -> list[Record]:
        new = [record for _, record in self.store.records[self._read :]]
        self._read += len(new)
        return new

    async def purses(self) -> dict[int, Purse]:
        rows = self.store.accounts.items()
        return {account.id: purse_named(name)[1] for (name, unit), account in rows if not is_cap(unit)}

    async def prove(self) -> None:
        """There is nothing but what was compared."""


class SqliteGround:
    lags = False
    alone = True

    def __init__(self, path: Path) -> None:
        self._path = path
        self._read = 0

    async def keeper(self, clock: Clock, accounts_max: int) -> Keeper:
        self._store = SqliteLedgerStore(self._path, head_key=KEY)
        archive, lines = SqliteArchive(self._path), SqliteCreditLines(self._path)
        return Keeper(self._store, clock, archive=archive, cap_lines=lines, pace=PACE, accounts_max=accounts_max)

    async def kill(self, keeper: Keeper) -> None:
        await _silence(keeper)
        await self._store._in_thread(self._store._let_go)
        self._store._thread.shutdown()

    async def records(self) -> list[Record]:
        with closing(sqlite3.connect(self._path)) as connection:
            rows = connection.execute("SELECT seq, payload FROM batch WHERE seq > ? ORDER BY seq", (self._read,))
            new = list(rows)
        self._read = new[-1][0] if new else self._read
        return [record for _, payload in new for record in Record.unpack_all(payload)]

    async def purses(self) -> dict[int, Purse]:
        with closing(sqlite3.connect(self._path)) as connection:
            rows = list(
                connection.execute(
                    "SELECT id, priority, expires FROM account WHERE unit NOT GLOB 'cap:*' AND unit NOT GLOB 'quota:*'"
                )
            )
        return {id: Purse(priority, expires) for id, priority, expires in rows}

    async def prove(self) -> None:
        report = audit(self._path, head_key=KEY)
        assert report.findings == ()
        assert report.head == "verified"


class PostgresGround:
    lags = True  # which purses there are, and what comes back to them, are questions and commits of their own
    alone = True

    def __init__(self, dsn: str) -> None:
        self._dsn = dsn
        self._read: Counter[int] = Counter()

    async def keeper(self, clock: Clock, accounts_max: int) -> Keeper:
        store = self._store = PostgresLedgerStore(Address(Secret(self._dsn)), name="host", clock=clock, report=print)
        lines = PostgresCreditLines(Address(Secret(self._dsn)))
        return Keeper(
            store,
            clock,
            lender=store,
            teller=store,
            refunds=store,
            cap_lines=lines,
            pace=PACE,
            accounts_max=accounts_max,
        )

    async def kill(self, keeper: Keeper) -> None:
        store = self._store
        heart = cast(asyncio.Task[None], store._heart)
        drawing = store._lending._task
        for task in (heart, drawing):
            if task is not None:
                task.cancel()
        await _silence(keeper)
        await asyncio.gather(heart, *([drawing] if drawing else []), return_exceptions=True)
        if store._ear is not None:
            await store._ear.close()
        store._desk._session.drop()
        await store._refunding.close()

    async def records(self) -> list[Record]:
        connection = await asyncpg.connect(self._dsn)
        try:
            rows = await connection.fetch("SELECT keeper, seq, payload FROM batch ORDER BY keeper, seq")
        finally:
            await connection.close()
        new = [row for row in rows if row["seq"] > self._read[row["keeper"]]]
        for row in new:
            self._read[row["keeper"]] = row["seq"]
        return [record for row in new for record in Record.unpack_all(row["payload"])]

    async def purses(self) -> dict[int, Purse]:
        connection = await asyncpg.connect(self._dsn)
        try:
            rows = await connection.fetch(
                "SELECT id, priority, expires FROM account WHERE unit NOT LIKE 'cap:%' AND unit NOT LIKE 'quota:%'"
            )
        finally:
            await connection.close()
        return {row["id"]: Purse(row["priority"], row["expires"]) for row in rows}

    async def prove(self) -> None:
        report = await audit_database(Address(Secret(self._dsn)))
        assert report.findings == ()


class Story:
    """Tells both, and compares."""

    def __init__(self, ground: Ground, chance: random.Random, accounts_max: int, *, every: int = 1) -> None:
        self._every = every  # so many sentences between two looks at all balances
        self._ground = ground
        self._chance = chance
        self._clock = JumpingClock(chance)
        self._accounts_max = accounts_max
        self._books = Books()
        self._caps: dict[str, Cap] = {}
        self._counts: dict[str, Cap] = {}
        self._open: dict[RequestId, Hold] = {}
        self._ended: list[RequestId] = []
        self._numbers = 0
        self._charged: dict[RequestId, Counter[Purse]] = {}
        self.operations = 0
        """Calls that could move money, beside those that only ask."""

    async def tell(self, story: Iterable[Sentence]) -> None:
        await self._begin()
        for place, (verb, which, micros, extra) in enumerate(story):
            try:
                await getattr(self, verb)(which, micros, extra)
                if place % self._every == 0:
                    await self._compare()
            except BaseException as error:
                error.add_note(f"in sentence {place}: {verb} {which} {micros} {extra}")
                raise
        await self.restart(0, 0, 0)
        await self._compare()
        await self.keeper.close()
        await self._ground.prove()

    async def _begin(self) -> Recovered:
        self.keeper = await self._ground.keeper(self._clock, self._accounts_max)
        return await self.keeper.open()

    async def _compare(self) -> None:
        for account in ACCOUNTS:
            balance = await self.keeper.balance(*account)
            await self._agree(balance.available.micros, account)
            assert balance.held.micros == self._books.held(account)
        for cap in self._caps.values():
            await self._agree_on(cap, self._books.left([cap.node]))
        for cap in list(self._counts.values())[-2:]:
            await self._agree_on(cap, self._books.calls_left(cap.node))

    async def _agree_on(self, cap: Cap, left: int | None) -> None:
        """As `_agree`, of what a cap leaves."""
        name = cap.name(0)
        told = (await self.keeper.balance(name, cap.unit)).available.micros
        if told != left and self._ground.lags:
            await self.keeper.durable()
            self.keeper.changed(name, cap.unit)
            told = (await self.keeper.balance(name, cap.unit)).available.micros
        assert told == left

    async def _agree(self, told: int, account: Key) -> None:
        """What is told is what there is; where it may be out of date, it is once the keeper has looked anew."""
        if told != self._books.available(account) and self._ground.lags:
            await self.keeper.durable()
            self.keeper.changed(*account)
            told = (await self.keeper.balance(*account)).available.micros
        assert told == self._books.available(account)

    # --- sentences ----------------------------------------------------------------------------------------------------

    async def credit(self, which: int, micros: int, ref: int) -> None:
        account = _account(which)
        self.operations += 1
        credit = Credit(f"cs_{ref}", account[0], Money(micros, account[1]), "payment", "")
        assert await self.keeper.credit(credit) is self._books.credit(credit.ref, account, micros)
        self._books.durable()

    async def grant(self, which: int, micros: int, ref: int) -> None:
        account, purse = _account(which), PURSES[ref % len(PURSES)]
        self.operations += 1
        credit = Credit(f"grant_{ref}", account[0], Money(micros, account[1]), "grant", "", purse)
        assert await self.keeper.credit(credit) is self._books.credit(credit.ref, account, micros, purse)
        self._books.durable()

    async def join(self, which: int, micros: int, extra: int) -> None:
        holder, into = ("ann", "bob") if which % 2 else ("bob", "ann")
        if not self._ground.alone and self._books.available((holder, "usd")) < 0 < self._books.held((holder, "usd")):
            return  # what is owed for what others hold follows when that has ended
        self.operations += 1
        expected = self._books.join((holder, "usd"), (into, "usd"))
        for _ in range(10 if expected else 3 if self._ground.lags else 1):
            self._clock.pass_by()  # an attempt is named by its time
            done = await self.keeper.join(holder, into, "usd")
            if done:  # else somebody who has some of it was too slow to say so: it is to be repeated
                break
        assert done is expected or (done and not self._ground.alone)

    async def reverse(self, which: int, micros: int, ref: int) -> None:
        account = _account(which)
        self.operations += 1
        reversal = Reversal(f"{'cs' if ref % 4 == 0 else 're'}_{ref}", account[0], Money(micros, account[1]), "r", "")
        assert await self.keeper.reverse(reversal) is self._books.reverse(reversal.ref, account, micros)

    async def cap(self, which: int, micros: int, extra: int) -> None:
        """It is set to somewhat less than what was spent under it, or to more. The books hear of it with a request."""
        node = NODES[which % len(NODES)]
        limit = max(0, self._books.used(node) + micros - 100)
        self._caps[node] = Cap(node, "total", Money(limit, "usd"), since_ms=len(self._caps) + self._numbers)
        self._books.cap(node, limit)
        id, account = self._id(), ACCOUNTS[0]
        self.operations += 1
        with suppress(PaymentRequired):
            hold = await self.keeper.hold(
                account[0], Money(0, "usd"), id=id, token=3, tariff=TARIFFS[0], caps=[self._caps[node]]
            )
            self.keeper.settle(hold, Money(0, "usd"))

    async def hold(self, which: int, micros: int, tariff: int) -> None:
        account, id = _account(which), self._id()
        caps = [cap for cap in self._caps.values() if which >= 4 and (which >= 6 or cap.node == "parent")]
        binding = [cap.node for cap in caps if account[1] == "usd"]
        left = self._books.left(binding)
        self.operations += 1
        count = self._count() if which % 2 else None
        calls = CALLS if count is None else self._books.calls_left(count.node)
        try:
            hold = await self.keeper.hold(
                account[0],
                Money(micros, account[1]),
                id=id,
                token=3,
                tariff=TARIFFS[tariff % 2],
                caps=caps if count is None else [*caps, count],
            )
        except CapReached as reached:
            if reached.cap.counts_calls:
                assert self._ground.lags or calls < 1  # who borrows keeps it in mind for a while
                return
            told = reached.left.micros
            assert calls >= 1
            assert left is not None
            assert left < micros
            assert self._ground.lags or told == max(0, left)
            return
        except PaymentRequired as refusal:
            assert calls >= 1
            assert left is None or left >= micros
            assert not self._books.hold(id, account, micros, binding)
            told = refusal.balance.micros
        else:
            assert self._books.hold(id, account, micros, binding, count=count.node if count is not None else "")
            told = hold.balance.micros - micros
            self._open[id] = hold
        await self._agree(told, account)

    def _count(self) -> Cap:
        """Some requests after one another are counted together, and not all of them fit."""
        count = Cap(f"count{self._numbers // 32}", "total", Money(CALLS, "quota:search:1"))
        self._counts[count.node] = count
        self._books.cap(count.node, CALLS)
        return count

    async def start(self, which: int, micros: int, how: int) -> None:
        waiting = [id for id in self._open if not self._books.request(id).due]
        if not waiting:
            return
        id = waiting[which % len(waiting)]
        request = self._books.request(id)
        due, strict = min(micros, request.held) if how & 1 else request.held, bool(how & 2)
        self.operations += 1
        await self.keeper.start(self._open[id], Money(due, request.account[1]), "strict" if strict else "relaxed")
        self._books.start(id, due, gated=strict)
        if strict:
            self._books.durable()
        if how & 4:
            self._open[id].started()
            self._books.begin(id)
            await asyncio.sleep(0)  # it counts from the next turn on

    async def renew(self, which: int, micros: int, part: int) -> None:
        """A long answer has come to a part of what is held, and goes on."""
        if not self._open:
            return
        id = list(self._open)[which % len(self._open)]
        request = self._books.request(id)
        before, unit = request.due, request.account[1]
        due = before + (request.held - before) * part // 4
        if self._draws_elsewhere(request, due + micros - request.held):
            return
        self.operations += 1
        missing = self._books.renew(id, due, micros)
        refused, left = None, self._books.left(request.caps)
        try:
            await self.keeper.renew(self._open[id], Money(due, unit), Money(micros, unit))
        except CapReached:
            assert left is not None
            assert left < missing
            return
        except PaymentRequired as refusal:
            assert left is None or left >= missing
            refused = (refusal.price.micros, refusal.balance.micros)
        else:
            if due > before:
                self._books.durable()
        assert refused is None if not missing else refused is not None and refused[0] == missing
        if refused is not None:
            await self._agree(refused[1], request.account)

    def _draws_elsewhere(self, request: Request, micros: int) -> bool:
        """What not every ledger says alike: whether one that began with the plain purse alone draws on others that came
        since; and, after a crash, which purse paid what, if more is drawn on one that is not the last.
        """
        purses = self._books.purses(request.account)
        used = [purse for purse, _ in request.parts]
        others = any(micros for purse, micros in purses.items() if purse != PLAIN)
        drawn = {purse for purse, _ in self._books.draws(request.account, max(0, micros))}
        again, new = drawn & set(used), drawn - set(used)
        return bool(again - {used[-1]} or (again and new)) or (used == [PLAIN] and others)

    async def settle(self, which: int, micros: int, twice: int) -> None:
        if self._open:
            self._settle(list(self._open)[which % len(self._open)], micros, times=1 + twice % 2)
            await asyncio.sleep(0)  # it counts from the next turn on

    def _settle(self, id: RequestId, micros: int, times: int = 1) -> None:
        cost = Money(micros, self._books.request(id).account[1])
        charged = self._books.settle(id, micros)
        hold = self._open.pop(id)
        for _ in range(times):
            self.operations += 1
            assert self.keeper.settle(hold, cost).micros == charged
        self._ended.append(id)

    async def refund(self, which: int, micros: int, extra: int) -> None:
        """Of one that is under way, too; the last few are asked for more than once."""
        asked = [*list(self._open)[:2], *self._ended[-6:]]
        if not asked:
            return
        id = asked[which % len(asked)]
        self.operations += 1
        if id in self._open:
            with pytest.raises(RequestUnderWay):
                await self.keeper.refund(id, "asked for")
            return
        if any(self._books.request(open).gated for open in self._open):
            return  # what stands behind a record that may be voided is not refunded by every store
        given: Counter[Key] = Counter()
        with suppress(RequestUnknown):
            for charge in await self.keeper.refund(id, "asked for"):
                given[charge.holder, charge.unit] += charge.micros
        account, back = self._books.request(id).account, self._books.refund(id)
        assert given == ({account: back} if back else {})

    async def burst(self, which: int, micros: int, count: int) -> None:
        """Many at once: as many are granted as can be paid."""
        account = _account(which)
        price = Money(micros, account[1])
        bought: list[RequestId] = []

        async def buy(id: RequestId) -> None:
            hold = await self.keeper.hold(account[0], price, id=id, token=3, tariff=TARIFFS[0])
            bought.append(id)
            await self.keeper.start(hold, price, "strict")
            self.keeper.settle(hold, price)

        # All hold before any settles, so what is given back by none cannot be taken by another.
        outcomes = await asyncio.gather(*(buy(self._id()) for _ in range(count)), return_exceptions=True)
        self.operations += count + 2 * len(bought)
        assert len(bought) == max(0, min(count, self._books.available(account) // micros))
        assert sum(isinstance(outcome, PaymentRequired) for outcome in outcomes) == count - len(bought)
        for id in bought:
            self._books.hold(id, account, micros)
            self._books.start(id, micros, gated=True)
        if bought:
            self._books.durable()
        for id in bought:
            self._books.settle(id, micros)
            self._ended.append(id)

    async def restart(self, which: int, micros: int, extra: int) -> None:
        """Every request ends, the books are closed and opened again."""
        for id in list(self._open):
            self._settle(id, micros)
        await asyncio.sleep(0)
        await self.keeper.close()
        self.operations += 1
        assert await self._begin() == Recovered(0, 0)
        self._books.durable()

    async def crash(self, which: int, turns: int, extra: int) -> None:
        """All who were under way are cut off in whatever turn it is."""
        for _ in range(turns):
            await asyncio.sleep(0)
        await self._ground.kill(self.keeper)
        self.operations += 1
        recovered = await self._begin()
        records, purses = await self._ground.records(), await self._ground.purses()
        for record in records:
            if record.account in purses:
                self._charged.setdefault(record.request, Counter())[purses[record.account]] += record.micros
        given_away = self._books.crash({id: self._charged.get(id, {}) for id in self._books.doubtful})
        assert given_away <= recovered.count
        self._ended += self._open
        self._open.clear()

    def _id(self) -> RequestId:
        self._numbers += 1
        return RequestId(self._clock.now_ms(), self._numbers)


def _account(which: int) -> Key:
    return ACCOUNTS[which % len(ACCOUNTS)]
