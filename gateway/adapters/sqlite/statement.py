"""Statements: what an account used and paid in, or what an owner's routes took, request by request or hour by hour.

A request's records may stand in several batches, far apart: its capture, what corrects it, what voids it. A line is one
request, at the time at which it was captured, at the cost that it has *now*. To merge them in bounded memory the lines
are gathered in a temporary database of SQLite's, which spills to the disk, and then handed out one by one.

Where batches were pruned, hours stand for requests. A correction of a request whose capture was pruned is a line of its
own (`adjusted`), so that everything still adds up. Everything is read from one snapshot, and nothing is written.
"""

import heapq
import sqlite3
import struct
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass

from gateway.adapters.sqlite.prune import anchored
from gateway.core.ids import RequestId
from gateway.core.ledger import Kind, Record
from gateway.core.transfers import hour_of
from gateway.ports import BooksRefused

FAR_MS = 2**62
_PROGRESS_EVERY = 256
_STATES = {1: "charged", 2: "charged", 3: "corrected", 4: "voided"}

_SCRATCH = """
CREATE TABLE line (
    at_ms INTEGER, number INTEGER, account INTEGER, seq INTEGER, position INTEGER, booked INTEGER, tariff INTEGER,
    token INTEGER, micros INTEGER, kind INTEGER, captured INTEGER, PRIMARY KEY (at_ms, number, account)
) WITHOUT ROWID;
CREATE TABLE hour (
    hour INTEGER, account INTEGER, tariff INTEGER, requests INTEGER, micros INTEGER,
    PRIMARY KEY (hour, account, tariff)
) WITHOUT ROWID;
"""
_CAPTURED = "INSERT INTO line VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 1)"
_CHANGED = """
INSERT INTO line VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 0)
ON CONFLICT DO UPDATE SET micros = micros + excluded.micros, kind = max(kind, excluded.kind)
"""
_MONEY = """
SELECT 'credit', ref, account, micros, kind, at, batch FROM credit WHERE account = ?1 UNION ALL
SELECT 'reversal', ref, account, -micros, kind, at, batch FROM reversal WHERE account = ?1 ORDER BY batch
"""
_HOURLY = """
INSERT INTO hour VALUES (?, ?, ?, ?, ?)
ON CONFLICT DO UPDATE SET requests = requests + excluded.requests, micros = micros + excluded.micros
"""


@dataclass(frozen=True, slots=True)
class Line:
    """One line: a `request`, the sum of an `hour`, a `credit` or a `reversal`. Amounts are micros of the unit."""

    type: str
    id: str
    at_ms: int
    account: str
    owner: str
    route: str
    requests: int
    cost: int
    credited: int
    unit: str
    token: str
    state: str


@dataclass(frozen=True, slots=True)
class Period:
    """From the first millisecond to the one before the last."""

    begin_ms: int = 0
    end_ms: int = FAR_MS

    def holds(self, at_ms: int) -> bool:
        return self.begin_ms <= at_ms < self.end_ms


class Statement:
    """The lines of an account or of an owner. Raises BooksRefused if there is none of that name."""

    def __init__(
        self,
        sql: sqlite3.Connection,
        period: Period,
        *,
        account: str | None = None,
        owner: str | None = None,
        progress: Callable[[int, int], None] = lambda done, total: None,
    ) -> None:
        self._sql = sql
        self._period = period
        self._progress = progress
        sql.execute("BEGIN")
        tariffs = sql.execute("SELECT id, owner, route FROM tariff").fetchall()
        self._tariffs = {id: (of, route) for id, of, route in tariffs if owner is None or of == owner}
        self._accounts: dict[int, tuple[str, str]] | None = None
        if account is not None:
            found = sql.execute("SELECT id, holder, unit FROM account WHERE holder = ?", (account,)).fetchall()
            self._accounts = {id: (holder, unit) for id, holder, unit in found}
            if not found:
                raise BooksRefused(f"there is no account {account}: nobody ever paid into it")
        elif not self._tariffs:
            raise BooksRefused(f"there is no owner {owner}: no route of theirs ever took money")
        self._anchor = anchored(sql)

    def requests(self) -> Iterator[Line]:
        """Request by request; hours where batches were pruned; credits between them."""
        with closing(sqlite3.connect("", isolation_level=None)) as scratch:
            scratch.executescript(_SCRATCH)
            scratch.execute("BEGIN")
            self._gather(scratch)
            self._drop_what_is_known(scratch)
            sources = (self._hours(self._anchor, "pruned"), self._credits(), self._lines(scratch))
            yield from (line for _, line in heapq.merge(*sources, key=lambda found: found[0]))

    def summary(self) -> Iterator[Line]:
        """Hour by hour; what is not folded yet is added up on the way."""
        (folded,) = self._sql.execute("SELECT coalesce(max(last), 0) FROM fold WHERE done").fetchone()
        with closing(sqlite3.connect("", isolation_level=None)) as scratch:
            scratch.executescript(_SCRATCH)
            scratch.execute("BEGIN")
            for _, booked, _, records in self._batches(folded + 1):
                rows = [
                    (hour_of(booked), account, tariff, (kind <= 2) - (kind == Kind.VOID), micros)
                    for _, kind, tariff, account, _, micros, _, _ in records
                ]
                scratch.executemany(_HOURLY, rows)
            sources = (self._hours(folded, "folded"), self._credits(), self._open_hours(scratch))
            yield from (line for _, line in heapq.merge(*sources, key=lambda found: found[0]))

    # --- batches ------------------------------------------------------------------------------------------------------

    def _batches(self, first: int) -> Iterator[tuple[int, int, int, Iterator[tuple[int, ...]]]]:
        """Number, time and first record of each batch from one on, and its records that matter."""
        query, values = "SELECT seq, at, first, payload FROM batch WHERE seq >= ?", [first]
        if self._accounts is not None:  # SQLite looks for the account's bytes faster than we could unpack them
            query += f" AND ({' OR '.join(['instr(payload, ?)'] * len(self._accounts))})"
        wanted = [struct.pack(">q", id) for id in self._accounts or ()]
        (last,) = self._sql.execute("SELECT coalesce(max(seq), 0) FROM batch").fetchone()
        for count, (seq, at, number, payload) in enumerate(
            self._sql.execute(query + " ORDER BY seq", [*values, *wanted])
        ):
            if not count % _PROGRESS_EVERY:
                self._progress(seq - first, last - first + 1)
            yield seq, at, number, self._records(payload, number)
        self._progress(last - first + 1, last - first + 1)

    def _records(self, payload: bytes, first: int) -> Iterator[tuple[int, ...]]:
        accounts, tariffs = self._accounts, self._tariffs
        for position, record in enumerate(Record.unpacked(payload), first):
            if (accounts is None or record[2] in accounts) and record[1] in tariffs:
                yield position, *record

    def _gather(self, scratch: sqlite3.Connection) -> None:
        """Every request that was captured in the period, with whatever became of it up to now."""
        (first,) = self._sql.execute(
            "SELECT min(seq) FROM batch WHERE seq > ? AND at >= ?", (self._anchor, self._period.begin_ms)
        ).fetchone()
        if first is None:
            return
        for seq, booked, _, records in self._batches(first):
            within = self._period.holds(booked)
            for position, kind, tariff, account, token, micros, at_ms, number in records:
                row = (at_ms, number, account, seq, position, booked, tariff, token, micros, kind)
                if kind > Kind.GATED_CAPTURE:
                    scratch.execute(_CHANGED, row)
                elif within:
                    scratch.execute(_CAPTURED, row)

    def _drop_what_is_known(self, scratch: sqlite3.Connection) -> None:
        """Corrections of requests whose captures are there, but outside of the period, are no lines of it."""
        if not self._anchor:
            scratch.execute("DELETE FROM line WHERE NOT captured")
        if not scratch.execute("SELECT 1 FROM line WHERE NOT captured LIMIT 1").fetchone():
            return
        for _, _, _, records in self._batches(self._anchor + 1):
            captures = [(at, number, id) for _, kind, _, id, _, _, at, number in records if kind <= Kind.GATED_CAPTURE]
            scratch.executemany(
                "DELETE FROM line WHERE at_ms = ? AND number = ? AND account = ? AND NOT captured", captures
            )

    # --- lines, each with the batch that it follows -------------------------------------------------------------------

    def _lines(self, scratch: sqlite3.Connection) -> Iterator[tuple[tuple[int, int], Line]]:
        for row in scratch.execute("SELECT * FROM line ORDER BY position"):
            at_ms, number, account, seq, position, booked, tariff, token, micros, kind, captured = row
            if not self._period.holds(booked):
                continue
            state = _STATES[kind] if captured else "adjusted"
            id = str(RequestId(at_ms, number))
            line = self._line("request", id, booked, account, tariff, int(captured), micros, f"{token:016x}", state)
            yield (seq, position), line

    def _hours(self, last: int, state: str) -> Iterator[tuple[tuple[int, int], Line]]:
        query = "SELECT fold, account, tariff, hour, requests, micros FROM usage_hour WHERE fold <= ?"
        values = [last]
        if self._accounts is not None:
            query += f" AND account IN ({', '.join('?' * len(self._accounts))})"
            values += self._accounts
        for fold, account, tariff, hour, requests, micros in self._sql.execute(
            query + " ORDER BY fold, account, tariff", values
        ):
            if tariff in self._tariffs and self._period.holds(hour):
                yield (fold, 0), self._line("hour", "", hour, account, tariff, requests, micros, "", state)

    def _open_hours(self, scratch: sqlite3.Connection) -> Iterator[tuple[tuple[int, int], Line]]:
        for hour, account, tariff, requests, micros in scratch.execute("SELECT * FROM hour ORDER BY 1, 2, 3"):
            if self._period.holds(hour):
                yield (FAR_MS, 0), self._line("hour", "", hour, account, tariff, requests, micros, "", "open")

    def _credits(self) -> Iterator[tuple[tuple[int, int], Line]]:
        """What was paid in and taken back; an owner is not told."""
        found = [self._sql.execute(_MONEY, (account,)).fetchall() for account in self._accounts or ()]
        for type, ref, account, micros, kind, at, batch in sorted(
            (row for rows in found for row in rows), key=lambda r: r[6]
        ):
            if self._period.holds(at):
                holder, unit = self._account(account)
                yield (batch, 0), Line(type, ref, at, holder, "", "", 0, 0, micros, unit, "", kind)

    def _line(
        self,
        type: str,
        id: str,
        at_ms: int,
        account: int,
        tariff: int,
        requests: int,
        cost: int,
        token: str,
        state: str,
    ) -> Line:
        (owner, route), (holder, unit) = self._tariffs[tariff], self._account(account)
        return Line(type, id, at_ms, holder, owner, route, requests, cost, 0, unit, token, state)

    def _account(self, id: int) -> tuple[str, str]:
        if self._accounts is not None:
            return self._accounts[id]
        holder, unit = self._sql.execute("SELECT holder, unit FROM account WHERE id = ?", (id,)).fetchone()
        return str(holder), str(unit)
