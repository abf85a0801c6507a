"""What a statement reads, from books that are a file: one snapshot of one chain."""

import sqlite3
import struct
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

from gateway.adapters.sqlite.bookkeeping import open_books
from gateway.adapters.sqlite.prune import anchored
from gateway.adapters.sqlite.rights import why
from gateway.core.dues import KindSum, Sold, UnitSums
from gateway.core.ids import RequestId
from gateway.core.statements import Batches, Chain, Moved, PurseRow, Sum
from gateway.ports import BooksRefused, BooksSlow

_HERE = 0  # the one chain that there is
_MONEY = """
SELECT 'credit', ref, account, micros, kind, at, 0, batch FROM credit WHERE account = ?1 UNION ALL
SELECT 'reversal', ref, account, -micros, kind, at, 0, batch FROM reversal WHERE account = ?1 ORDER BY batch
"""
_SUMS = """
SELECT unit, coalesce(sum(CASE WHEN holder NOT GLOB 'owner:*' AND paid AND micros > 0 THEN micros END), 0),
    coalesce(sum(CASE WHEN holder NOT GLOB 'owner:*' AND paid AND micros < 0 THEN -micros END), 0),
    coalesce(sum(CASE WHEN holder NOT GLOB 'owner:*' AND NOT paid THEN micros END), 0),
    coalesce(sum(CASE WHEN holder GLOB 'owner:*' AND payout THEN -micros END), 0),
    coalesce(sum(CASE WHEN holder GLOB 'owner:*' AND NOT payout THEN -micros END), 0)
FROM (
    SELECT account, micros, ref GLOB 'stripe:*' AS paid, ref GLOB 'payout:*' AS payout FROM credit
    UNION ALL SELECT account, -micros, ref GLOB 'stripe:*', ref GLOB 'payout:*' FROM reversal
) AS entry JOIN account ON account.id = entry.account
WHERE unit NOT GLOB 'cap:*' AND unit NOT GLOB 'quota:*' GROUP BY unit ORDER BY unit
"""
_KINDS = """
WITH caller AS (SELECT id, unit, debt FROM account
    WHERE holder NOT GLOB 'owner:*' AND unit NOT GLOB 'cap:*' AND unit NOT GLOB 'quota:*')
SELECT unit, 'credit', kind, count(*), sum(micros) FROM credit JOIN caller ON caller.id = account GROUP BY unit, kind
UNION ALL SELECT unit, 'reversal', kind, count(*), sum(micros) FROM reversal JOIN caller ON caller.id = account
    GROUP BY unit, kind
UNION ALL SELECT unit, 'debt', '', count(*), sum(debt) FROM caller WHERE debt > 0 GROUP BY unit
ORDER BY 1, 2, 3
"""
_CALLERS = """SELECT unit, sum(credited - spent - debt) FROM account
WHERE holder NOT GLOB 'owner:*' AND holder NOT GLOB 'held:*' AND holder <> 'platform' GROUP BY unit"""
# At each start: of a million accounts nearly all are of the one unit, and cost nothing more than that.
_LEFT = """SELECT unit, sum(credited - spent - debt) FROM account WHERE unit <> ? AND credited - spent > debt
AND holder NOT GLOB 'owner:*' AND holder NOT GLOB 'held:*' AND holder <> 'platform' GROUP BY unit"""
_CHARGED = """SELECT unit, coalesce(sum(CASE WHEN holder = 'platform' THEN credited - spent - debt END), 0),
    coalesce(sum(CASE WHEN holder GLOB 'held:*' THEN credited - spent - debt END), 0),
    (SELECT coalesce(sum(moved.micros), 0) FROM (
        SELECT ref, account, micros FROM reversal UNION ALL SELECT ref, account, -micros FROM credit
    ) AS moved JOIN account AS held ON held.id = moved.account WHERE held.unit = account.unit
        AND held.holder GLOB 'held:*' AND (ref GLOB 'payout:*' OR ref GLOB 'proceeds:*:paid'))
FROM account GROUP BY unit"""
_PURSES = "SELECT unit, priority, expires, credited - spent - debt FROM account WHERE holder = ?"
_SOLD = """
SELECT hour, tariff, unit, sum(requests), sum(usage_hour.micros) FROM usage_hour JOIN account ON account.id = account
WHERE fold <= ? GROUP BY hour, tariff, unit
"""
_LOOKS_EVERY = 5000
"""Steps of SQLite's own between two looks at the clock: a fraction of a millisecond."""


class SqliteStatementSource:
    """Implements `ports.StatementSource` on a connection that is used for nothing else meanwhile."""

    def __init__(self, sql: sqlite3.Connection) -> None:
        self._sql = sql
        sql.execute("BEGIN")

    def tariffs(self) -> Iterator[tuple[tuple[int, int], str, str]]:
        for id, owner, route in self._sql.execute("SELECT id, owner, route FROM tariff"):
            yield (_HERE, id), owner, route

    def commissions(self) -> Iterator[tuple[tuple[int, int], int]]:
        for id, points in self._sql.execute("SELECT id, commission_points FROM tariff"):
            yield (_HERE, id), points

    def sold(self, last: Mapping[int, int]) -> Iterator[Sold]:
        for hour, *row in self._sql.execute(_SOLD, (last[_HERE],)):
            yield Sold(hour, _HERE, *row)

    def sums(self) -> Iterator[UnitSums]:
        callers = dict(self._sql.execute(_CALLERS).fetchall())
        charged = {unit: sums for unit, *sums in self._sql.execute(_CHARGED)}
        for unit, paid_in, refunded, otherwise, *left in self._sql.execute(_SUMS):
            yield UnitSums(unit, paid_in, refunded, otherwise, callers.get(unit, 0), *left, *charged.get(unit, ()))

    def kinds(self) -> Iterator[KindSum]:
        yield from (KindSum(*row) for row in self._sql.execute(_KINDS))

    def left(self, *, besides: str) -> dict[str, int]:
        return dict(self._sql.execute(_LEFT, (besides,)).fetchall())

    def accounts(self, holder: str) -> list[tuple[int, str]]:
        return self._sql.execute("SELECT id, unit FROM account WHERE holder = ?", (holder,)).fetchall()

    def account(self, id: int) -> tuple[str, str]:
        holder, unit = self._sql.execute("SELECT holder, unit FROM account WHERE id = ?", (id,)).fetchone()
        return str(holder), str(unit)

    def purses(self, holder: str) -> list[PurseRow]:
        return [PurseRow(*row) for row in self._sql.execute(_PURSES, (holder,))]

    def chains(self) -> list[Chain]:
        (folded,) = self._sql.execute("SELECT coalesce(max(last), 0) FROM fold WHERE done").fetchone()
        return [Chain(_HERE, anchored(self._sql), folded)]

    def first_batch(self, keeper: int, after: int, at_ms: int) -> int | None:
        (first,) = self._sql.execute("SELECT min(seq) FROM batch WHERE seq > ? AND at >= ?", (after, at_ms)).fetchone()
        return None if first is None else int(first)

    def last_batch(self, keeper: int) -> int:
        (last,) = self._sql.execute("SELECT coalesce(max(seq), 0) FROM batch").fetchone()
        return int(last)

    def batches(self, keeper: int, first: int, accounts: Sequence[int]) -> Batches:
        query, values = "SELECT seq, at, first, payload FROM batch WHERE seq >= ?", [first]
        if accounts:  # SQLite looks for the account's bytes faster than we could unpack them
            query += f" AND ({' OR '.join(['instr(payload, ?)'] * len(accounts))})"
        wanted = [struct.pack(">q", id) for id in accounts]
        yield from self._sql.execute(query + " ORDER BY seq", [*values, *wanted])

    def batches_of(self, keeper: int, first: int, request: RequestId) -> Batches:
        query = "SELECT seq, at, first, payload FROM batch WHERE seq >= ? AND instr(payload, ?) ORDER BY seq"
        yield from self._sql.execute(query, (first, struct.pack(">qq", request.at_ms, request.number)))

    def rule(self, keeper: int, tariff: int) -> str:
        (price,) = self._sql.execute("SELECT price FROM tariff WHERE id = ?", (tariff,)).fetchone()
        return str(price)

    def hours(self, last: Mapping[int, int], accounts: Sequence[int]) -> Iterator[Sum]:
        query = "SELECT hour, fold, account, tariff, requests, micros FROM usage_hour WHERE fold <= ?"
        if accounts:
            query += f" AND account IN ({', '.join('?' * len(accounts))})"
        rows = self._sql.execute(query + " ORDER BY fold, account, tariff", [last[_HERE], *accounts])
        for hour, fold, account, tariff, requests, micros in rows:
            yield Sum(hour, _HERE, fold, account, tariff, requests, micros)

    def money(self, account: int) -> list[Moved]:
        return [Moved(*row) for row in self._sql.execute(_MONEY, (account,))]


class SqliteStatementBooks:
    """Implements `ports.StatementBooks`. In a log-structured file readers keep no writer waiting."""

    def __init__(self, path: Path) -> None:
        self._path = path

    @contextmanager
    def open(self, *, seconds: float) -> Iterator[SqliteStatementSource]:
        end = time.monotonic() + seconds
        try:
            with closing(open_books(self._path, write=False)) as sql:
                sql.set_progress_handler(lambda: time.monotonic() > end, _LOOKS_EVERY)
                yield SqliteStatementSource(sql)
        except sqlite3.Error as error:
            if getattr(error, "sqlite_errorcode", 0) == sqlite3.SQLITE_INTERRUPT:
                raise BooksSlow from error
            raise BooksRefused(why(self._path, error)) from error
