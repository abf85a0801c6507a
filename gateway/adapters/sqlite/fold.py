"""The fold: derives double entry and hourly usage from batches, a little at a time.

Batches are taken strictly in the order of their numbers (clocks jump). A *run* is as many consecutive batches as are of
one hour; it is folded once that hour is over, or when everything is to be folded. First it is read, some thousand
records a step, and added up in memory; each batch's hash is checked on the way, so that nothing is ever derived from a
chain that does not hold. Then it is written, at most a hundred accounts a transaction, so that no commit waits long.

**Restarts.** What is in memory may be lost at any moment. The table `fold` has a row for every run: where it ends is
written with the first of its rows, and how far the accounts have been written with each of them. So a run that was cut
off is read again to the same end, and goes on behind the last account; a step is in the books whole or not at all.
Two programs may fold at once: the row is compared before it is moved on, and who finds it elsewhere begins anew.

**Python's lock** is handed over at every row and every statement, and a busy loop keeps it for 5 ms each time, while
commits queue behind this thread. So a step reads many batches as one row of JSON, and writes with five statements.
"""

import hashlib
import json
import sqlite3
import struct
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from gateway.core.ledger import GENESIS, Draft, chain
from gateway.core.transfers import (
    HOUR_MS,
    CarryKey,
    Tally,
    Terms,
    Transfer,
    Usage,
    hour_of,
    transfers,
)
from gateway.ports import BooksRefused

RECORDS_A_STEP = 2000
BATCHES_A_STEP = 32
ACCOUNTS_A_STEP = 100
ROWS_A_STEP = 1000  # an account with very many tariffs
_NO_END = 2**62
SUMS_MAX = 50_000  # a run is ended early rather than let it fill the memory

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


@dataclass(slots=True)
class Run:
    """A run of batches: what was read of it, and how far it is written."""

    first: int
    chain: bytes
    next: int
    hash: bytes
    end: int | None = None
    """Where it must end, if its first rows are written."""
    hour: int | None = None
    last: int = 0
    started: int = 0
    tariffs: int = 0
    tally: Tally = field(default_factory=Tally)
    read: bool = False
    account: int = 0
    written: int = 0
    begun: bool = False
    waiting: list[int] = field(default_factory=list)


@dataclass(slots=True)
class Folded:
    """What was done."""

    batches: int = 0
    records: int = 0
    transfers: int = 0


class Fold:
    """Folds on connections of one thread; the connection is in autocommit mode. What it remembers may be forgotten."""

    def __init__(self) -> None:
        self.done = Folded()
        self._run: Run | None = None
        self._terms: dict[int, Terms] = {}

    def step(self, sql: sqlite3.Connection, *, closed_before_ms: int) -> bool:
        """One bounded piece of work. False: nothing is left but hours that are not over by then.

        Raises BooksRefused, sqlite3.Error; the next call begins with what is in the books.
        """
        run, self._run = self._run or _resume(sql), None
        try:
            more = self._write(sql, run) if run.read else self._read(sql, run, closed_before_ms)
        except (ValueError, KeyError, TypeError, IndexError, struct.error) as error:
            raise BooksRefused(f"batch {run.last + 1} or the next few cannot be read: {error}") from error
        return more

    # --- reading ------------------------------------------------------------------------------------------------------

    def _read(self, sql: sqlite3.Connection, run: Run, closed_before_ms: int) -> bool:
        following = max(run.first, run.last + 1)
        bounds = {
            "first": following,
            "last": run.end or _NO_END,
            "batches": BATCHES_A_STEP,
            "records": RECORDS_A_STEP,
        }
        (text,) = sql.execute(_READ, bounds).fetchone()
        batches = sorted(json.loads(text))
        for batch in batches:
            if not self._take(run, *batch):
                break
        if run.end is not None:
            run.read = run.last == run.end
            if not batches and not run.read:
                raise BooksRefused(f"batch {run.last + 1} is missing")
        elif not run.read and len(batches) < BATCHES_A_STEP and sum(batch[3] for batch in batches) < RECORDS_A_STEP:
            # That was the end. Not to be asked again at once: under load there is always one more.
            if run.hour is None or run.hour + HOUR_MS > closed_before_ms:
                self._run = run
                return False
            run.read = True
        if run.read:
            run.waiting = [account for account in run.tally.accounts() if account > run.account]
        self._run = run
        return True

    def _take(
        self, run: Run, seq: int, at: int, first: int, count: int, started: int, payload: str, notes: str, hash: str
    ) -> bool:
        """Add a batch to its run; False if it is the first of another one."""
        if run.hour is not None and run.end is None and (hour_of(at) != run.hour or run.tally.sums >= SUMS_MAX):
            run.read = True
            return False
        if seq != max(run.first, run.last + 1) or first != run.next:
            raise BooksRefused(f"batch {max(run.first, run.last + 1)} is missing, or does not follow the one before it")
        content = bytes.fromhex(payload)
        draft = Draft(seq, first, at_ms=at, started=started, count=count, payload=bytearray(content))
        run.chain = chain(run.chain, draft, notes)
        if run.chain.hex() != hash.lower():
            raise BooksRefused(f"batch {seq} was changed: its hash is not that of its contents")
        run.tally.add(content, notes)
        run.hour = hour_of(at) if run.hour is None else run.hour
        run.last, run.next, run.started = seq, first + count, started
        if not run.begun:
            self.done.batches += 1
            self.done.records += count
        return True

    # --- writing ------------------------------------------------------------------------------------------------------

    def _write(self, sql: sqlite3.Connection, run: Run) -> bool:
        accounts = self._next_accounts(run)
        units = _units(sql, accounts)
        carries = _carries(sql)
        before = dict(carries)
        self._learn_terms(sql, run, accounts)
        moved: list[Transfer] = []
        used: list[Usage] = []
        hash = run.hash if run.begun else _header_hash(run)
        for account in accounts:
            usage = run.tally.used_by(account)
            entries = list(
                transfers(account, units[account], run.tally.money.get(account, ()), usage, self._terms, carries)
            )
            if account in run.tally.holders:
                hash = _hashed(hash, [account, *run.tally.holders[account]])
            hash = _hash_rows(hash, usage, entries)
            moved += entries
            used += usage
        changed = [(*key, carry) for key, carry in carries.items() if before.get(key) != carry]
        if not self._commit(sql, run, accounts, hash, moved, used, changed):
            return True  # somebody else folds, too: begin with what is in the books now
        run.hash, run.begun, run.written = hash, True, run.written + len(moved)
        run.account = accounts[-1] if accounts else run.account
        run.waiting = run.waiting[len(accounts) :]
        self.done.transfers += len(moved)
        if run.waiting:
            self._run = run
        return True

    def _next_accounts(self, run: Run) -> list[int]:
        taken, rows = 0, 0
        for account in run.waiting[:ACCOUNTS_A_STEP]:
            rows += len(run.tally.usage.get(account, ())) + len(run.tally.money.get(account, ()))
            if taken and rows > ROWS_A_STEP:
                break
            taken += 1
        return run.waiting[:taken]

    def _commit(
        self,
        sql: sqlite3.Connection,
        run: Run,
        accounts: Sequence[int],
        hash: bytes,
        moved: Sequence[Transfer],
        used: Sequence[Usage],
        carries: Sequence[tuple[str, str, int, int]],
    ) -> bool:
        """Write one part of a run, if the books are where it expects them."""
        state = {
            "last": run.last, "first": run.first, "hour": run.hour, "next": run.next, "started": run.started,
            "tariffs": max(run.tariffs, run.tally.tariffs), "chain": run.chain,
            "account": accounts[-1] if accounts else run.account,
            "written": run.written + len(moved), "hash": hash, "done": len(accounts) == len(run.waiting),
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
            if moved:
                rows = json.dumps([_transfer_row(entry) for entry in moved])
                sql.execute(_TRANSFERS, {"fold": run.last, "written": run.written, "rows": rows})
            if used:
                rows = json.dumps([_usage_row(usage) for usage in used])
                sql.execute(_USAGE, {"fold": run.last, "hour": run.hour, "rows": rows})
            if carries:
                sql.execute(_CARRY, (json.dumps(carries),))
            sql.execute("COMMIT")
        except BaseException:
            if sql.in_transaction:
                sql.execute("ROLLBACK")
            raise
        return True

    def _learn_terms(self, sql: sqlite3.Connection, run: Run, accounts: Sequence[int]) -> None:
        if any(tariff not in self._terms for account in accounts for tariff in run.tally.usage.get(account, ())):
            self._terms = terms_of(sql)


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


def _transfer_row(entry: Transfer) -> list[str | int]:
    return [entry.kind, entry.payer, entry.payee, entry.unit, entry.micros, entry.cause]


def _usage_row(usage: Usage) -> list[int]:
    return [usage.account, usage.tariff, usage.requests, usage.micros]


def _header_hash(run: Run) -> bytes:
    tariffs = max(run.tariffs, run.tally.tariffs)
    return _hashed(run.hash, [run.last, run.first, run.hour, run.next, run.started, tariffs, run.chain.hex()])


def _hash_rows(hash: bytes, used: Sequence[Usage], moved: Sequence[Transfer]) -> bytes:
    """The hash goes on over an account's rows, so that what an anchor vouches for cannot be changed."""
    for usage in used:
        hash = _hashed(hash, _usage_row(usage))
    for entry in moved:
        hash = _hashed(hash, _transfer_row(entry))
    return hash


def _hashed(before: bytes, row: Sequence[object]) -> bytes:
    return hashlib.sha256(before + json.dumps(row, separators=(",", ":")).encode()).digest()
