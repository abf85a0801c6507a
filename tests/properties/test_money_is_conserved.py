"""Customers who come, wait, leave and are cut off by crashes: every micro is either with them or on a record."""

import asyncio
import copy
import itertools
import os
import shutil
import sqlite3
import tempfile
from collections.abc import Callable, Coroutine
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.adapters.memory import MemoryLedgerStore
from gateway.adapters.sqlite.audit import audit
from gateway.adapters.sqlite.ledger import SqliteLedgerStore
from gateway.core.ids import RequestId
from gateway.core.ledger import Committed, Credit, Draft, Record, Reversal, Tail, Tariff
from gateway.core.money import Money
from gateway.core.refusals import LedgerUnavailable, PaymentRequired
from gateway.flows.keep import Keeper, Pace
from gateway.ports import LedgerStore, StoreBusy, StoreFailed

TORTURE = 40 if os.environ.get("GATEWAY_TORTURE") == "1" else 1
PACE = Pace(gap=0, idly=0, quiet=0, refuse_after=600, give_up_after=600, retry=0)
KEY = b"k" * 32
TARIFF = Tariff("search", "operator", 0, "p")
ACCOUNTS = ("ann", "bob", "carl")
STEPS = 60


class Clock:
    def now_ms(self) -> int:
        return 1_790_000_000_000


@dataclass(frozen=True)
class Request:
    """How far one request has come, as its caller knows it. `due` is 0 while nothing can be on record."""

    account: str
    strict: bool
    due: int = 0
    begun: bool = False
    cost: int | None = None

    @property
    def possible(self) -> set[int]:
        """What it may cost after a crash: a strict one nothing before its answer began."""
        if self.cost is not None:
            return {0, self.due, self.cost}
        return {0} if self.strict and not self.begun else {0, self.due}


class Ground:
    """Where books lie: what is durable of them, and what a crash leaves."""

    def store(self) -> LedgerStore:
        raise NotImplementedError

    def crash(self) -> "Ground":
        raise NotImplementedError

    def records(self) -> list[Record]:
        raise NotImplementedError

    def credits(self) -> dict[str, tuple[str, int]]:
        """By money key, whose and how much; what was taken back is less than nothing."""
        raise NotImplementedError

    def prove(self) -> None:
        """Whatever else can be checked once the books are closed."""


class InMemory(Ground):
    def __init__(self, books: MemoryLedgerStore) -> None:
        self._books = books

    def store(self) -> LedgerStore:
        return self._books

    def crash(self) -> "InMemory":
        return InMemory(copy.deepcopy(self._books))

    def records(self) -> list[Record]:
        return [record for _, record in self._books.records]

    def credits(self) -> dict[str, tuple[str, int]]:
        found = {ref: (credit.account, credit.amount.micros) for ref, credit in self._books.credits.items()}
        return found | {ref: (back.account, -back.amount.micros) for ref, back in self._books.reversals.items()}


class InFiles(Ground):
    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._path = folder / "ledger.db"

    def store(self) -> LedgerStore:
        return SqliteLedgerStore(self._path, head_key=KEY)

    def crash(self) -> "InFiles":
        folder = Path(tempfile.mkdtemp(dir=self._folder))
        for ending in ("", "-wal", ".head"):
            file = self._path.with_name(self._path.name + ending)
            if file.exists():  # a store that was just reopened has no -wal yet
                shutil.copy(file, folder)
        assert audit(folder / "ledger.db", head_key=KEY).findings == ()
        return InFiles(folder)

    def records(self) -> list[Record]:
        with closing(sqlite3.connect(self._path)) as books:
            payloads = books.execute("SELECT payload FROM batch ORDER BY seq").fetchall()
        return [record for (payload,) in payloads for record in Record.unpack_all(payload)]

    def credits(self) -> dict[str, tuple[str, int]]:
        with closing(sqlite3.connect(self._path)) as books:
            rows = books.execute(
                "SELECT ref, holder, micros FROM credit JOIN account ON account = id UNION ALL"
                " SELECT ref, holder, -micros FROM reversal JOIN account ON account = id"
            ).fetchall()
        return {ref: (holder, micros) for ref, holder, micros in rows}

    def prove(self) -> None:
        report = audit(self._path, head_key=KEY)
        assert report.findings == ()
        assert report.head == "verified"


class Shaky:
    """A store that takes its time and fails when it is told to. Between two commits its ground can be copied."""

    def __init__(self, inner: LedgerStore) -> None:
        self._inner = inner
        self.between = asyncio.Lock()
        self.troubles: list[str] = []

    async def open(self) -> Tail:
        return await self._inner.open()

    async def reopen(self) -> None:
        async with self.between:
            await self._inner.reopen()

    async def commit(self, draft: Draft) -> Committed:
        async with self.between:
            await asyncio.sleep(0)
            # A repeated draft of credits is answered by a store that can fail, so only records meet trouble here.
            only_records = not draft.credits and not draft.reversals
            trouble = self.troubles.pop() if self.troubles and only_records else None
            if trouble == "busy":
                raise StoreBusy()
            if trouble == "lost":
                raise StoreFailed("it was not written")
            done = await self._inner.commit(draft)
            await asyncio.sleep(0)
            if trouble == "landed":
                raise StoreFailed("it was written, but nobody heard")
            return done

    async def close(self) -> None:
        await self._inner.close()


class World:
    """Customers, a keeper, and crashes."""

    def __init__(self, ground: Ground) -> None:
        self._ground = ground
        self._numbers = itertools.count(1)
        self._requests: dict[RequestId, Request] = {}
        self._paid: dict[str, tuple[str, int]] = {}
        self._tasks: list[asyncio.Task[None]] = []

    async def live(self, steps: list[tuple[str, int, int, int]]) -> None:
        await self._open()
        for verb, who, micros, extra in steps:
            await getattr(self, verb)(ACCOUNTS[who % len(ACCOUNTS)], micros, extra)
        await self.crash("", 0, 0)
        await self._end_well()

    async def _open(self) -> None:
        self._store = Shaky(self._ground.store())
        self._keeper = Keeper(self._store, Clock(), pace=PACE, accounts_max=2)
        await self._keeper.open()

    # --- what happens -------------------------------------------------------------------------------------------------

    async def turn(self, account: str, micros: int, extra: int) -> None:
        for _ in range(extra):
            await asyncio.sleep(0)

    async def pay(self, account: str, micros: int, ref: int) -> None:
        self._begin(self._pay(f"cs_{ref}", account, micros))

    async def take(self, account: str, micros: int, ref: int) -> None:
        self._begin(self._take(f"re_{ref}", account, micros))

    async def ask(self, account: str, ceiling: int, extra: int) -> None:
        self._begin(self._ask(account, ceiling, strict=bool(extra & 1), share=extra >> 1 & 3, waits=extra >> 3))

    async def leave(self, account: str, micros: int, which: int) -> None:
        """A caller hangs up."""
        if self._tasks:
            self._tasks[which % len(self._tasks)].cancel()

    async def trouble(self, account: str, micros: int, kind: int) -> None:
        self._store.troubles.append(("busy", "lost", "landed")[kind % 3])

    async def crash(self, account: str, micros: int, extra: int) -> None:
        """The power fails between two commits. Who was being served is gone; the books go on from what is left."""
        async with self._store.between:
            known, paid, after = dict(self._requests), dict(self._paid), self._ground.crash()
        await self._abandon()
        self._requests, self._paid, self._ground = known, paid, after
        await self._open()
        self._judge(exactly=False)
        await self._compare()

    # --- customers ----------------------------------------------------------------------------------------------------

    def _begin(self, story: Coroutine[Any, Any, None]) -> None:
        self._tasks = [task for task in self._tasks if not task.done()]
        self._tasks.append(asyncio.create_task(story))

    async def _pay(self, ref: str, account: str, micros: int) -> None:
        if await self._keeper.credit(Credit(ref, account, Money(micros, "usd"), "payment", "")):
            self._paid[ref] = (account, micros)

    async def _take(self, ref: str, account: str, micros: int) -> None:
        if await self._keeper.reverse(Reversal(ref, account, Money(micros, "usd"), "refund", "")):
            self._paid[ref] = (account, -micros)

    async def _ask(self, account: str, ceiling: int, *, strict: bool, share: int, waits: int) -> None:
        """One request, as the gateway serves it."""
        id = RequestId(1_790_000_000_000, next(self._numbers))
        price = Money(ceiling, "usd")
        try:
            hold = await self._keeper.hold(account, price, id=id, token=1, tariff=TARIFF)
        except PaymentRequired:
            return
        self._requests[id] = Request(account, strict)
        due = Money.zero("usd")
        try:
            await asyncio.sleep(0)  # the upstream
            due = Money(ceiling if share else 0, "usd")
            self._know(id, due=due.micros)
            await self._keeper.start(hold, due, "strict" if strict else "relaxed")
            hold.started()
            self._know(id, begun=True)
            for _ in range(waits):
                await asyncio.sleep(0)  # the answer
        finally:
            cost = self._keeper.settle(hold, Money(due.micros * share // 3, "usd"))
            self._know(id, cost=cost.micros)

    def _know(self, id: RequestId, **news: Any) -> None:
        self._requests[id] = replace(self._requests[id], **news)

    # --- what must be so ----------------------------------------------------------------------------------------------

    async def _abandon(self) -> None:
        """Let go of a keeper whose books are not the real ones any more."""
        for task in self._tasks:
            task.cancel()
        outcomes = await asyncio.gather(*self._tasks, return_exceptions=True)
        assert not [o for o in outcomes if o and not isinstance(o, asyncio.CancelledError | LedgerUnavailable)]
        self._tasks = []
        self._store.troubles.clear()
        await self._keeper.close()

    async def _end_well(self) -> None:
        """Everybody is served to the end, the books are closed, and every request did cost exactly what it was told."""
        for n in range(6):
            await self.pay(ACCOUNTS[n % 3], 90, 1000 + n)
            await self.take(ACCOUNTS[n % 3], 1, 1000 + n)
            await self.ask(ACCOUNTS[n % 3], 30, 7 + 8 * n)
        await asyncio.gather(*self._tasks)
        await self._compare()
        await self._keeper.close()
        self._judge(exactly=True)
        self._ground.prove()

    def _sums(self) -> dict[RequestId, int]:
        sums: dict[RequestId, int] = {}
        for record in self._ground.records():
            sums[record.request] = sums.get(record.request, 0) + record.micros
        return sums

    def _judge(self, *, exactly: bool) -> None:
        """What is on record against what every caller knows. After a crash what is on record is what it did cost."""
        sums, credits = self._sums(), self._ground.credits()
        for id, request in self._requests.items():
            cost = sums.get(id, 0)
            assert cost in ({request.cost} if exactly else request.possible), (id, request, cost)
        assert not sums.keys() - self._requests.keys()
        assert credits.items() >= self._paid.items()
        if not exactly:
            self._requests = {id: replace(r, cost=sums.get(id, 0), due=0) for id, r in self._requests.items()}
            self._paid = credits

    async def _compare(self) -> None:
        """Balances are credits less debits, and nothing is on hold."""
        for account in ACCOUNTS:
            balance = await self._keeper.balance(account, "usd")
            credited = sum(micros for holder, micros in self._paid.values() if holder == account)
            spent = sum(request.cost or 0 for request in self._requests.values() if request.account == account)
            assert balance.held.micros == 0
            assert balance.available.micros == credited - spent
            taken = sum(-micros for holder, micros in self._paid.values() if holder == account and micros < 0)
            assert credited - spent >= -taken, "spending made a debt"


STEP = st.one_of(
    *(
        st.tuples(st.just(verb), st.integers(0, 2), st.integers(1, micros), st.integers(0, extra))
        for verb, micros, extra in (
            ("pay", 300, 40), ("pay", 300, 40), ("ask", 100, 63), ("ask", 100, 63), ("ask", 40, 63), ("ask", 40, 63),
            ("take", 200, 20), ("turn", 1, 9), ("turn", 1, 9), ("leave", 1, 9), ("trouble", 1, 2), ("crash", 1, 0),
        )
    )
)  # fmt: skip
LIFE = st.lists(STEP, min_size=STEPS, max_size=STEPS)
UNHURRIED = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.large_base_example]


def live(make_ground: Callable[[], Ground], life: list[tuple[str, int, int, int]]) -> None:
    asyncio.run(World(make_ground()).live(life))


@settings(max_examples=200 * TORTURE, deadline=None, suppress_health_check=UNHURRIED, derandomize=TORTURE == 1)
@given(life=LIFE)
def test_money_is_conserved_in_memory(life: list[tuple[str, int, int, int]]) -> None:
    live(lambda: InMemory(MemoryLedgerStore()), life)


@settings(max_examples=10 * TORTURE, deadline=None, suppress_health_check=UNHURRIED, derandomize=TORTURE == 1)
@given(life=LIFE)
def test_money_is_conserved_in_every_crash_image_of_sqlite(life: list[tuple[str, int, int, int]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        live(lambda: InFiles(Path(folder)), life)
