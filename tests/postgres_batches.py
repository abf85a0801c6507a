"""The same books on a PostgreSQL, one chain or several: what a test says of them in SQLite's words is said to it."""

import asyncio
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any

import asyncpg

from gateway.adapters.postgres import migrations
from gateway.adapters.postgres.audit import KeptHead, Since, audit
from gateway.adapters.postgres.fold import Fold
from gateway.adapters.postgres.prune import Prune
from gateway.adapters.postgres.sessions import Address
from gateway.adapters.postgres.statement import PostgresStatementSource
from gateway.core.chain_head import ChainHead
from gateway.core.ledger import Credit, Draft, chain, note_lines, tariff_note
from gateway.core.secrets import Secret
from gateway.ports import StatementSource
from tests.batches import KEY, NOON, Batches

_WORDS = [
    (r"zeroblob\((\d+)\)", r"decode(repeat('00', \1), 'hex')"),
    (r"\bdone = 0\b", "done = false"),
    (r"INSERT INTO credit SELECT 'stripe:x', account, micros, kind, reason, at, batch, repaid",
     "INSERT INTO credit SELECT 'stripe:x', account, micros, kind, reason, at, keeper, batch, repaid"),
]  # fmt: skip


class Rows(list[tuple[Any, ...]]):
    """What a statement gave, and how many rows it was about."""

    rowcount = 0

    def fetchone(self) -> tuple[Any, ...] | None:
        return self[0] if self else None

    def fetchall(self) -> list[tuple[Any, ...]]:
        return list(self)


class Sql:
    """A connection that is used as one of SQLite's."""

    def __init__(self, runner: asyncio.Runner, connection: "asyncpg.Connection[asyncpg.Record]") -> None:
        self.runner = runner
        self.connection = connection

    def execute(self, query: str, values: Sequence[object] = ()) -> Rows:
        for pattern, words in _WORDS:
            query = re.sub(pattern, words, query)
        return self.runner.run(self._execute(_numbered(query), values))

    def executemany(self, query: str, rows: Sequence[Sequence[object]]) -> None:
        self.runner.run(self.connection.executemany(_numbered(query), rows))

    async def _execute(self, query: str, values: Sequence[object]) -> Rows:
        statement = await self.connection.prepare(query)
        found = await statement.fetch(*values)
        rows = Rows(tuple(int(v) if isinstance(v, Decimal) else v for v in row) for row in found)
        count = (statement.get_statusmsg() or "").rpartition(" ")[2]
        rows.rowcount = int(count) if count.isdigit() else 0
        return rows


def _numbered(query: str) -> str:
    numbers: Iterator[int] = iter(range(1, 1000))
    return re.sub(r"\?", lambda found: f"${next(numbers)}", query)


class PostgresBatches(Batches):
    """One chain, kept under a name; several may be in one schema."""

    def __init__(self, dsn: str, name: str = "one", *, beside: "PostgresBatches | None" = None) -> None:
        self.path = Path(dsn)
        self.dsn = dsn
        self._name = name
        self._head: bytes | None = None
        self._runner: asyncio.Runner = beside._runner if beside else asyncio.Runner()
        self._owns = beside is None
        self.sql: Any = beside.sql if beside else Sql(self._runner, self._runner.run(_open(dsn)))
        self._begin()
        if beside is not None:
            self._accounts = beside._accounts
        self._written: Counter[tuple[str, int]] = Counter()
        [(self.keeper,)] = self.sql.execute("INSERT INTO keeper (name, instance) VALUES (?, '') RETURNING id", [name])

    @property
    def address(self) -> Address:
        return Address(Secret(self.dsn))

    def commit(self, at_ms: int = NOON, *, started: int | None = None) -> int:
        draft = self.draft
        draft.at_ms = at_ms
        draft.started = draft.first + draft.count - 1 if started is None else started
        self._runner.run(self._commit(draft))
        self.draft = Draft(seq=draft.seq + 1, first=draft.first + draft.count)
        return draft.seq

    async def _commit(self, draft: Draft) -> None:
        sql = self.sql.connection
        notes = [tariff_note(id, tariff) for id, tariff in draft.tariffs]
        async with sql.transaction():
            for id, tariff in draft.tariffs:
                row = (self.keeper, id, tariff.route, tariff.owner, tariff.commission_points, tariff.price)
                await sql.execute("INSERT INTO tariff VALUES ($1, $2, $3, $4, $5, $6)", *row)
            for entry, part in self._entries:
                id, micros = self.account(*entry.key), entry.amount.micros
                await sql.execute(
                    "INSERT INTO account (id, holder, unit) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING", id, *entry.key
                )
                await sql.execute(
                    "SELECT setval(pg_get_serial_sequence('account', 'id'), (SELECT max(id) FROM account))"
                )
                await sql.execute("INSERT INTO money_key VALUES ($1)", entry.ref)
                ends = (draft.at_ms, self.keeper, draft.seq)
                if isinstance(entry, Credit):
                    given = (entry.ref, id, micros, entry.kind, entry.reason, *ends, part)
                    await sql.execute("INSERT INTO credit VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)", *given)
                else:
                    taken = (entry.ref, id, micros, part, entry.kind, entry.reason, *ends)
                    await sql.execute("INSERT INTO reversal VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)", *taken)
                notes.append(entry.note(id, draft.at_ms, part))
            self._entries = []
            for id in {*self.credited, *draft.spent}:
                await self._move(id, draft.spent.get(id, 0))
            lines = note_lines(notes)
            self._hash = chain(self._hash, draft, lines)
            await sql.execute(
                "INSERT INTO batch VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
                self.keeper, draft.seq, draft.at_ms, draft.first, draft.count, draft.started, bytes(draft.payload),
                lines, self._hash,
            )  # fmt: skip

    async def _move(self, id: int, spent: int) -> None:
        """By so much more than what this chain has written before: others may move it, too."""
        sums = {"credited": self.credited[id], "debt": self._debts[id]}
        more = {name: value - self._written[name, id] for name, value in sums.items()}
        self._written.update({(name, id): value for name, value in more.items()})
        await self.sql.connection.execute(
            "UPDATE account SET spent = spent + $1, credited = credited + $2, debt = debt + $3 WHERE id = $4",
            spent, more["credited"], more["debt"], id,
        )  # fmt: skip

    # --- what is done with them ---------------------------------------------------------------------------------------

    def folding(self) -> Callable[[int], bool]:
        fold = Fold()

        async def step(before_ms: int) -> bool:
            async with self.sql.connection.transaction():
                return await fold.step(self.sql.connection, closed_before_ms=before_ms)

        return lambda before_ms: self._runner.run(step(before_ms))

    def pruning(self, keys: Sequence[bytes] = (KEY,)) -> Callable[[int], bool]:
        prune = Prune(keys)

        async def step(before_ms: int) -> bool:
            async with self.sql.connection.transaction():
                return await prune.step(self.sql.connection, before_ms=before_ms)

        return lambda before_ms: self._runner.run(step(before_ms))

    def prunable(self, before_ms: int) -> Any:
        return self._runner.run(Prune([KEY]).prunable(self.sql.connection, before_ms=before_ms))

    @contextmanager
    def source(self) -> Iterator[StatementSource]:
        with PostgresStatementSource(self.address) as source:
            yield source

    def audit(self, keys: Sequence[bytes] = (KEY,), *, batch: int | None = None, at_ms: int | None = None) -> Any:
        since = None if batch is None and at_ms is None else Since(batch, at_ms)
        return self._runner.run(audit(self.address, keys=keys, head=KeptHead("one.head", self._head), since=since))

    def sign(self) -> None:
        self._head = ChainHead(self._name, self.draft.seq - 1, self._hash).signed(KEY)

    def close(self) -> None:
        if self._owns:
            self._runner.run(self.sql.connection.close())
            self._runner.close()


async def _open(dsn: str) -> "asyncpg.Connection[asyncpg.Record]":
    connection = await asyncpg.connect(dsn)
    await connection.execute("SET synchronous_commit = off")
    await migrations.apply(connection, "ledger")
    return connection
