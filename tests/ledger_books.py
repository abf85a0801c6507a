"""Books on durable ground, in every store, and what tests do with a keeper of them."""

import asyncio
import copy
import shutil
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Literal

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
from gateway.core.ids import RequestId
from gateway.core.ledger import Committed, Credit, Draft, Drawn, Tail, Tariff
from gateway.core.money import Money
from gateway.core.routes import Durability
from gateway.core.secrets import Secret
from gateway.flows.keep import Keeper, Pace, Recovered
from gateway.ports import Borrower, CapLines, Hold, LedgerStore, Lender
from tests.postgres_server import Server, copy_schema

KEY = b"k" * 32
TARIFF = Tariff("search", "operator", 0, "0.002 usd")
PATIENT = Pace(gap=0, idly=0, quiet=0, refuse_after=600, give_up_after=600, retry=0)
BUSY_BUT_NEVER_QUIET = replace(PATIENT, quiet=600)


class Clock:
    def __init__(self, now: int = 1_790_000_000_000) -> None:
        self.now = now

    def now_ms(self) -> int:
        return self.now


class Watched:
    """A store that can be stopped before a commit, and made to fail around one."""

    def __init__(self, inner: LedgerStore) -> None:
        self.inner = inner
        self.go = asyncio.Event()
        self.go.set()
        self.attempts: list[Draft] = []
        self.landed: list[Draft] = []
        self.reopened = 0
        self.draws: list[tuple[str, str]] = []
        self.fail: list[tuple[Literal["before", "after"], Exception]] = []

    async def open(self) -> Tail:
        return await self.inner.open()

    async def reopen(self) -> None:
        self.reopened += 1
        await self.inner.reopen()

    async def commit(self, draft: Draft) -> Committed:
        self.attempts.append(draft)
        if len(self.attempts) > 1000 and self.attempts[-1000] is draft:
            raise RuntimeError("a draft is tried for ever")
        await self.go.wait()
        when, failure = self.fail.pop(0) if self.fail else ("never", None)
        if when == "before" and failure:
            raise failure
        done = await self.inner.commit(draft)
        self.landed.append(draft)
        if failure:
            raise failure
        return done

    async def close(self) -> None:
        await self.inner.close()

    @property
    def lender(self) -> Lender | None:
        """This store, if what it has is borrowed from."""
        return self if isinstance(self.inner, PostgresLedgerStore) else None

    @property
    def _lending(self) -> PostgresLedgerStore:
        assert isinstance(self.inner, PostgresLedgerStore)
        return self.inner

    def lends_to(self, borrower: Borrower) -> None:
        self._lending.lends_to(borrower)

    async def draw(self, holder: str, unit: str, micros: int) -> Drawn:
        self.draws.append((holder, unit))
        return await self._lending.draw(holder, unit, micros)

    def look_again(self) -> None:
        """Nothing was kept back."""

    def give_back(self, returns: Mapping[int, int], *, in_use: bool = False) -> None:
        self._lending.give_back(returns, in_use=in_use)

    async def entered(self, attempts: int = 1) -> None:
        """Until a commit waits at the gate."""
        await until(lambda: len(self.attempts) >= attempts)


class Books:
    """One set of books on durable ground, and the keepers that open it, one after the other."""

    def __init__(self, folder: Path | None, server: Server | None = None) -> None:
        self._folder = folder
        self._server = server
        self._dsn = ""
        self._memory = MemoryLedgerStore()
        self._keepers: list[Keeper] = []
        self.clock = Clock()
        self._watched: list[Watched] = []
        self.images: list[Books] = []
        self.tampered = False

    @property
    def path(self) -> Path:
        assert self._folder is not None
        return self._folder / "ledger.db"

    @property
    def in_sqlite(self) -> bool:
        return self._folder is not None

    @property
    def lends(self) -> bool:
        """Whether a keeper borrows from its store."""
        return self._server is not None

    async def store(self) -> LedgerStore:
        if self._server is not None:
            self._dsn = self._dsn or await self._server.schema()
            return PostgresLedgerStore(Address(Secret(self._dsn)), name="host", clock=Clock(), report=print)
        return SqliteLedgerStore(self.path, head_key=KEY) if self.in_sqlite else self._memory

    @property
    def cap_lines(self) -> CapLines:
        """Reads the caps out of them."""
        if self._server is not None:
            return PostgresCreditLines(Address(Secret(self._dsn)))
        return SqliteCreditLines(self.path) if self.in_sqlite else self._memory

    async def findings(self) -> list[str]:
        """What an audit finds just now; nothing of books in memory."""
        if self._server is not None:
            return [str(found) for found in (await audit_database(Address(Secret(self._dsn)))).findings]
        return [str(found) for found in audit(self.path, head_key=KEY).findings] if self.in_sqlite else []

    async def open(self, pace: Pace = PATIENT, accounts_max: int = 1000) -> tuple[Keeper, Watched]:
        keeper, watched, _ = await self.recover(pace, accounts_max)
        return keeper, watched

    async def recover(self, pace: Pace = PATIENT, accounts_max: int = 1000) -> tuple[Keeper, Watched, Recovered]:
        watched = Watched(await self.store())
        shared = watched.inner if isinstance(watched.inner, PostgresLedgerStore) else None
        keeper = Keeper(
            watched,
            self.clock,
            lender=watched.lender,
            teller=shared,
            refunds=shared,
            cap_lines=self.cap_lines,
            archive=SqliteArchive(self.path) if self.in_sqlite else self._memory,
            pace=pace,
            accounts_max=accounts_max,
        )
        recovered = await keeper.open()
        self._keepers.append(keeper)
        self._watched.append(watched)
        return keeper, watched, recovered

    async def crash(self) -> "Books":
        """What would be left if the power failed now. The keeper that does not know it goes on with its own books."""
        image = Books(self._folder and self._folder / f"image{len(self.images)}", self._server)
        if self._server is not None:
            store = await image.store()  # so that its tables are there
            await store.open()
            await store.close()
            await copy_schema(self._dsn, image._dsn)
        image._memory = copy.deepcopy(self._memory)
        if image._folder is not None:
            image._folder.mkdir()
            for ending in ("", "-wal", ".head"):
                file = self.path.with_name(self.path.name + ending)
                if file.exists():  # books that were just opened have no -wal yet
                    shutil.copy(file, image._folder)
        self.images.append(image)
        return image

    async def close(self) -> None:
        for image in self.images:
            await image.close()
        for watched in self._watched:
            watched.go.set()
        for keeper in self._keepers:
            await keeper.close()
        if self.in_sqlite and self.path.exists() and not self.tampered:
            assert audit(self.path, head_key=KEY).findings == ()
        self._keepers = []

    async def reopen(self, pace: Pace = PATIENT) -> tuple[Keeper, Recovered]:
        """Close them in good order and open them again."""
        await self.close()
        keeper, _, recovered = await self.recover(pace)
        return keeper, recovered


@pytest.fixture(params=["memory", "sqlite", "postgres"])
async def books(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Books]:
    server = request.getfixturevalue("postgres") if request.param == "postgres" else None
    made = Books(tmp_path / "books" if request.param == "sqlite" else None, server)
    yield made
    await made.close()


@pytest.fixture
async def file_books(tmp_path: Path) -> AsyncIterator[Books]:
    made = Books(tmp_path / "books")
    yield made
    await made.close()


async def until(condition: Callable[[], bool]) -> None:
    """Let everybody else run until it is so."""
    for _ in range(1_000_000):
        if condition():
            return
        await asyncio.sleep(0)
    raise AssertionError("it never came to be")


def lose_patience(pace: Pace) -> None:
    """From now on every commit under way is one that takes too long."""
    object.__setattr__(pace, "refuse_after", -1)
    object.__setattr__(pace, "give_up_after", 0)


def regain_patience(pace: Pace) -> None:
    for name in ("refuse_after", "give_up_after"):
        object.__setattr__(pace, name, 600)


async def turn(times: int = 20) -> None:
    """Let everybody else run for a while."""
    for _ in range(times):
        await asyncio.sleep(0)


def usd(micros: int) -> Money:
    return Money(micros, "usd")


def paid(ref: str, micros: int, account: str = "ann", currency: str = "usd") -> Credit:
    return Credit(ref, account, Money(micros, currency), "payment", "")


_numbers = iter(range(1, 1 << 40))


async def hold(keeper: Keeper, micros: int, account: str = "ann", tariff: Tariff = TARIFF) -> Hold:
    id = RequestId(1_790_000_000_000, next(_numbers))
    return await keeper.hold(account, usd(micros), id=id, token=7, tariff=tariff)


async def request(
    keeper: Keeper, ceiling: int, cost: int, durability: Durability = "strict", account: str = "ann"
) -> None:
    """One request as `flows/serve.py` makes it: the most that it can cost first, the true cost at its end."""
    held = await hold(keeper, ceiling, account)
    try:
        await keeper.start(held, usd(ceiling), durability)
        held.started()
    finally:
        keeper.settle(held, usd(cost))


async def available(keeper: Keeper, account: str = "ann") -> int:
    return (await keeper.balance(account, "usd")).available.micros


async def commit(keeper: Keeper) -> None:
    """Return when everything up to now is durable."""
    await keeper.durable()
