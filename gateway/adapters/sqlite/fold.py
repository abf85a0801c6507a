"""The fold: derives double entry and hourly usage from batches, a little at a time (`core/folding.py`).

A run is folded once its hour is over, or when everything is to be folded. First it is read, some thousand records a
step; then it is written, at most a hundred accounts a transaction, so that no commit waits long.

**Restarts.** What is in memory may be lost at any moment. The table `fold` has a row for every run: where it ends is
written with the first of its rows, and how far the accounts have been written with each of them. So a run that was cut
off is read again to the same end, and goes on behind the last account; a step is in the books whole or not at all.
Two programs may fold at once: the row is compared before it is moved on, and who finds it elsewhere begins anew.

**Python's lock** is handed over at every row and every statement, and a busy loop keeps it for 5 ms each time, while
commits queue behind this thread. So a step reads many batches as one row of JSON, and writes with five statements.
"""

import json
import sqlite3
from collections.abc import Sequence
from typing import Any

from gateway.core import folding
from gateway.core.folding import Batch, Broken, Folded, Part, Run
from gateway.core.ledger import GENESIS
from gateway.core.transfers import CarryKey, Terms
from gateway.ports import BooksRefused

_NO_END = 2**62

_READ = """
SELECT json_group_array(json_array(seq, at, first, count, started, hex(payload), notes, hex(hash))) FROM batch
WHERE seq BETWEEN :first AND (
    SELECT max(seq) FROM (
        SELECT seq, sum(count) OVER (ORDER BY seq) - count AS before
        FROM (SELECT seq, count FROM batch WHERE seq BETWEEN :first AND :last ORDER BY seq LIMIT :batches)
    ) WHERE before < :records
)
"""
_BEGIN_RUN = """
INSERT INTO fold SELECT :last, :first, :hour, :next, :started, :tariffs, :chain, :account, :written, :hash, :done
WHERE NOT EXISTS (SELECT 1 FROM fold WHERE last >= :first OR NOT done)
"""
_GO_ON = """
UPDATE fold SET account = :account, written = :written, hash = :hash, done = :done
WHERE last = :last AND account = :account_before AND written = :written_before AND NOT done
"""
_TRANSFERS = """
INSERT INTO transfer SELECT :fold, :written + key, json_extract(value, '$[0]'), json_extract(value, '$[1]'),
    json_extract(value, '$[2]'), json_extract(value, '$[3]'), json_extract(value, '$[4]'), json_extract(value, '$[5]')
FROM json_each(:rows)
"""
_USAGE = """
INSERT INTO usage_hour SELECT :fold, json_extract(value, '$[0]'), json_extract(value, '$[1]'), :hour,
    json_extract(value, '$[2]'), json_extract(value, '$[3]')
FROM json_each(:rows)
"""
_CARRY = """
INSERT INTO carry SELECT json_extract(value, '$[0]'), json_extract(value, '$[1]'), json_extract(value, '$[2]'),
    json_extract(value, '$[3]')
FROM json_each(?) WHERE true
ON CONFLICT DO UPDATE SET carry = excluded.carry
"""


class Fold:
    """Folds on connections of one thread; the connection is in autocommit mode. What it remembers may be forgotten.

    `until` is the last batch that is looked at: a gateway may write faster than one who folds everything reads.
    """

    def __init__(self, *, until: int = _NO_END) -> None:
        self._until = until
        self.done = Folded()
        self._run: Run | None = None
        self._terms: dict[int, Terms] = {}

    def step(self, sql: sqlite3.Connection, *, closed_before_ms: int) -> bool:
        """One bounded piece of work. False: nothing is left but hours that are not over by then.

        Raises BooksRefused, sqlite3.Error; the next call begins with what is in the books.
        """
        run, self._run = self._run or _resume(sql), None
        try:
            return self._write(sql, run) if run.read else self._read(sql, run, closed_before_ms)
        except Broken as broken:
            raise BooksRefused(str(broken)) from broken
        except folding.UNREADABLE as error:
            raise BooksRefused(f"batch {run.last + 1} or the next few cannot be read: {error}") from error

    def _read(self, sql: sqlite3.Connection, run: Run, closed_before_ms: int) -> bool:
        bounds = {
            "first": run.following,
            "last": run.end or self._until,
            "batches": folding.BATCHES_A_STEP,
            "records": folding.RECORDS_A_STEP,
        }
        (text,) = sql.execute(_READ, bounds).fetchone()
        batches = [
            Batch(seq, at, first, count, started, bytes.fromhex(payload), notes, bytes.fromhex(hash))
            for seq, at, first, count, started, payload, notes, hash in sorted(json.loads(text))
        ]
        more = run.take(batches, self.done, closed_before_ms=closed_before_ms)
        self._run = run
        return more

    def _write(self, sql: sqlite3.Connection, run: Run) -> bool:
        accounts = run.next_accounts()
        if not run.tariffs_of(accounts) <= self._terms.keys():
            self._terms = terms_of(sql)
        part = run.part(accounts, _units(sql, accounts), self._terms, _carries(sql))
        if not self._commit(sql, run, part):
            return True  # somebody else folds, too: begin with what is in the books now
        run.wrote(part)
        self.done.transfers += len(part.moved)
        if not part.done:
            self._run = run
        return True

    def _commit(self, sql: sqlite3.Connection, run: Run, part: Part) -> bool:
        """Write one part of a run, if the books are where it expects them."""
        state = {
            "last": run.last, "first": run.first, "hour": run.hour, "next": run.next, "started": run.started,
            "tariffs": run.tariffs_noted, "chain": run.chain, "account": part.account, "written": part.written,
            "hash": part.hash, "done": part.done,
        }  # fmt: skip
        sql.execute("BEGIN IMMEDIATE")
        try:
            if run.begun:
                found = sql.execute(_GO_ON, state | {"account_before": run.account, "written_before": run.written})
            else:
                found = sql.execute(_BEGIN_RUN, state)
            if found.rowcount != 1:
                sql.execute("ROLLBACK")
                return False
            if part.moved:
                rows = json.dumps([folding.transfer_row(entry) for entry in part.moved])
                sql.execute(_TRANSFERS, {"fold": run.last, "written": run.written, "rows": rows})
            if part.used:
                rows = json.dumps([folding.usage_row(usage) for usage in part.used])
                sql.execute(_USAGE, {"fold": run.last, "hour": run.hour, "rows": rows})
            if part.carries:
                sql.execute(_CARRY, (json.dumps(part.carries),))
            sql.execute("COMMIT")
        except BaseException:
            if sql.in_transaction:
                sql.execute("ROLLBACK")
            raise
        return True


def terms_of(sql: sqlite3.Connection) -> dict[int, Terms]:
    """Every tariff's owner and commission, by its number."""
    return {id: Terms(owner, points) for id, owner, points in _all(sql, "tariff", "id, owner, commission_points")}


def _resume(sql: sqlite3.Connection) -> Run:
    """Where the books stand: behind the last run, or in the midst of it."""
    runs = sql.execute(
        "SELECT last, first, next, chain, tariffs, account, written, hash, done FROM fold ORDER BY last DESC LIMIT 2"
    ).fetchall()
    if not runs:
        return Run(first=1, chain=GENESIS, next=1, hash=GENESIS)
    last, first, next, chain, tariffs, account, written, hash, done = runs[0]
    if done:
        return Run(first=last + 1, chain=chain, next=next, hash=hash, tariffs=tariffs)
    before_next, before_chain = runs[1][2:4] if len(runs) > 1 else (1, GENESIS)
    return Run(first, before_chain, before_next, hash, end=last, account=account, written=written, begun=True)


def _units(sql: sqlite3.Connection, accounts: Sequence[int]) -> dict[int, str]:
    (text,) = sql.execute(
        "SELECT json_group_array(json_array(id, unit)) FROM account WHERE id IN (SELECT value FROM json_each(?))",
        (json.dumps(accounts),),
    ).fetchone()
    return dict(json.loads(text))


def _carries(sql: sqlite3.Connection) -> dict[CarryKey, int]:
    return {
        (owner, unit, points): carry
        for owner, unit, points, carry in _all(sql, "carry", "owner, unit, commission_points, carry")
    }


def _all(sql: sqlite3.Connection, table: str, columns: str) -> list[list[Any]]:
    """A small table, as one row."""
    (text,) = sql.execute(f"SELECT json_group_array(json_array({columns})) FROM {table}").fetchone()  # noqa: S608
    rows: list[list[Any]] = json.loads(text)
    return rows
