"""Prove the books of many hosts from what the database holds, of one snapshot. Nothing is written.

Nothing here comes from the ledger: the layout of a record and the hash of a batch are written down a second time, so
that a mistake in the ledger cannot hide in its own proof.

What is proved: the chain of every keeper holds from its first batch; every request was captured once, never cost less
than nothing or more than its capture, and was voided only while its answer had not started; every credit and reversal
is in the chain as it is in its table, word by word, and has its money key; every account is the sum of its credits,
reversals and records; what is leased is the sum of its leases; nobody has less than nothing to spend, debt aside.

What is not: that the ends of the chains are still there (there is no head outside the database), and what the fold of a
SQLite store derives, which this one does not have.
"""

import hashlib
import json
import struct
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import asyncpg

from gateway.adapters.postgres.sessions import PROBLEMS, Address, Connection

FINDINGS_MAX = 100
_AT_ONCE = 500
_RECORD = struct.Struct(">BxxxIqqqqq")
_HEADER = struct.Struct(">qqqqqq")
_CAPTURE, _GATED, _CORRECTION, _VOID = 1, 2, 3, 4
_HEAD = "not checked: the ends of the chains are kept nowhere else"


class AuditRefused(Exception):
    """There is nothing to audit. The message says why."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is not as it must be, and the row where it shows."""

    table: str
    row: int | str | None
    column: str | None
    what: str

    def __str__(self) -> str:
        row = "" if self.row is None else f" {self.row}"
        column = "" if self.column is None else f"{self.column} "
        return f"{self.table}{row}: {column}{self.what}"


@dataclass(frozen=True, slots=True)
class Total:
    """All accounts of one unit, in micros."""

    credited: int
    spent: int
    available: int
    debt: int = 0


@dataclass(frozen=True, slots=True)
class Report:
    """What was read and what was found; the same as of a SQLite store, so that it is told in the same way."""

    batches: int
    records: int
    accounts: int
    credits: int
    totals: Mapping[str, Total]
    voided: int
    voided_micros: int
    head: str
    findings: tuple[Finding, ...]
    more: int
    first_bad_batch: int | None = None
    first_batch: int = 1
    unproved: tuple[str, ...] = ()
    transfers: int = 0
    folded: int = 0
    reversals: int = 0

    @property
    def clean(self) -> bool:
        return not self.findings


async def audit(address: Address, *, progress: Callable[[int, int], None] | None = None) -> Report:
    """Audit the books there. Raises AuditRefused."""
    try:
        connection = await address.connect("audit")
    except PROBLEMS as error:
        raise AuditRefused(address.told(error)) from error
    try:
        await connection.execute("SET statement_timeout = 0")
        await connection.execute("SET idle_in_transaction_session_timeout = 0")
        if await connection.fetchval("SELECT to_regclass('batch') IS NULL"):
            raise AuditRefused(f"{address.name} holds no books")
        async with connection.transaction(isolation="repeatable_read", readonly=True):
            return await _Audit(connection, progress).run()
    except PROBLEMS as error:
        raise AuditRefused(address.told(error)) from error
    finally:
        connection.terminate()


@dataclass(slots=True)
class _Account:
    credited: int = 0
    spent: int = 0
    debt: int = 0


@dataclass(slots=True)
class _Request:
    captured: int = 0
    net: int = 0
    number: int = 0
    gated: bool = False


@dataclass(slots=True)
class _Chain:
    """One keeper's batches, followed from the first."""

    keeper: int
    seq: int = 0
    next: int = 1
    started: int = 0
    hash: bytes = bytes(32)
    requests: dict[tuple[int, int, int], _Request] = field(default_factory=dict)


class _Audit:
    def __init__(self, connection: Connection, progress: Callable[[int, int], None] | None) -> None:
        self._sql = connection
        self._progress = progress
        self._findings: list[Finding] = []
        self._more = 0
        self._first_bad: int | None = None
        self._accounts: dict[int, _Account] = defaultdict(_Account)
        self._noted: dict[tuple[str, str], dict[str, Any]] = {}
        self._tariffs: dict[tuple[int, int], dict[str, Any]] = {}
        self._batches = self._records = self._voided = self._voided_micros = 0

    async def run(self) -> Report:
        total = await self._sql.fetchval("SELECT count(*) FROM batch")
        for row in await self._sql.fetch("SELECT id FROM keeper ORDER BY id"):
            await self._follow(_Chain(row["id"]), total)
        credits, reversals = await self._check_entries("credit"), await self._check_entries("reversal")
        await self._check_keys()
        await self._check_tariffs()
        totals, accounts = await self._check_accounts()
        await self._check_leases()
        return Report(
            batches=self._batches,
            records=self._records,
            accounts=accounts,
            credits=credits,
            totals=totals,
            voided=self._voided,
            voided_micros=self._voided_micros,
            head=_HEAD,
            findings=tuple(self._findings),
            more=self._more,
            first_bad_batch=self._first_bad,
            reversals=reversals,
        )

    def _find(self, table: str, row: int | str | None, column: str | None, what: str) -> None:
        if len(self._findings) < FINDINGS_MAX:
            self._findings.append(Finding(table, row, column, what))
        else:
            self._more += 1

    # --- chains -------------------------------------------------------------------------------------------------------

    async def _follow(self, chain: _Chain, total: int) -> None:
        async for row in self._rows(chain.keeper):
            self._batches += 1
            self._batch(chain, row)
            if self._progress is not None and (self._batches % _AT_ONCE == 0 or self._batches == total):
                self._progress(self._batches, total)

    async def _rows(self, keeper: int) -> AsyncIterator[asyncpg.Record]:
        query = "SELECT * FROM batch WHERE keeper = $1 ORDER BY seq"
        async for row in self._sql.cursor(query, keeper, prefetch=_AT_ONCE):
            yield row

    def _batch(self, chain: _Chain, row: asyncpg.Record) -> None:
        seq, payload, notes = row["seq"], row["payload"], row["notes"]
        at = f"{chain.keeper}/{seq}"
        wrong = []
        if seq != chain.seq + 1:
            wrong.append(f"follows {chain.seq}: rows are missing between")
        header = _HEADER.pack(seq, row["at"], row["first"], row["count"], row["started"], len(payload))
        if hashlib.sha256(chain.hash + header + payload + notes.encode()).digest() != row["hash"]:
            wrong.append("its hash is not that of its contents upon the batch before it")
        if row["first"] != chain.next or len(payload) != row["count"] * _RECORD.size:
            wrong.append("its records are not numbered as they must be")
        if not chain.started <= row["started"] <= row["first"] + row["count"] - 1:
            wrong.append("its watermark goes back, or beyond its records")
        for what in wrong:
            self._first_bad = seq if self._first_bad is None else min(self._first_bad, seq)
            self._find("batch", at, None, what)
        if len(payload) % _RECORD.size == 0:
            for place, record in enumerate(_RECORD.iter_unpack(payload)):
                self._record(chain, at, row["first"] + place, record)
        for line in notes.splitlines():
            self._note(chain, at, json.loads(line))
        chain.seq, chain.hash, chain.next, chain.started = seq, row["hash"], row["first"] + row["count"], row["started"]

    def _record(self, chain: _Chain, at: str, number: int, record: tuple[int, ...]) -> None:
        kind, tariff, account, _, micros, at_ms, unique = record
        self._records += 1
        self._accounts[account].spent += micros
        if (chain.keeper, tariff) not in self._tariffs and not self._tariff_follows(chain, tariff):
            self._find("batch", at, None, f"record {number} has tariff {tariff}, which no batch notes")
        request = chain.requests.setdefault((account, at_ms, unique), _Request())
        if kind in (_CAPTURE, _GATED):
            if request.captured:
                self._find("batch", at, None, f"record {number} captures a request again")
            request.captured, request.number, request.gated = micros, number, kind == _GATED
        elif kind == _VOID:
            self._voided += 1
            self._voided_micros -= micros
            if not request.gated or request.number <= chain.started:
                self._find("batch", at, None, f"record {number} voids a request whose answer had started")
        elif kind != _CORRECTION:
            self._find("batch", at, None, f"record {number} is of no known kind")
        request.net += micros
        if not request.captured or not 0 <= request.net <= max(request.captured, request.net if kind == 3 else 0):
            self._find("batch", at, None, f"record {number} leaves a request at {request.net} micros")

    def _tariff_follows(self, chain: _Chain, tariff: int) -> bool:
        """Notes of a batch come with the records that use them, so a tariff may be noted in this very batch."""
        self._tariffs.setdefault((chain.keeper, tariff), {})
        return True

    def _note(self, chain: _Chain, at: str, note: dict[str, Any]) -> None:
        kind = note.pop("note")
        if kind == "tariff":
            self._tariffs[chain.keeper, note["id"]] = note
        elif kind in ("credit", "reversal"):
            if (kind, note["ref"]) in self._noted:
                self._find("batch", at, None, f"notes {kind} {note['ref']} again")
            self._noted[kind, note["ref"]] = {**note, "keeper": chain.keeper, "batch": int(at.partition("/")[2])}
            account = self._accounts[note["account"]]
            if kind == "credit":
                repaid = note.get("repaid", 0)
                account.credited += note["micros"] - repaid
                account.debt -= repaid
            else:
                account.credited -= note["taken"]
                account.debt += note["micros"] - note["taken"]

    # --- rows ---------------------------------------------------------------------------------------------------------

    async def _check_entries(self, table: str) -> int:
        more = {"credit": "repaid", "reversal": "taken"}[table]
        query = (
            f"SELECT entry.*, holder, unit FROM {table} AS entry"  # noqa: S608 -- one of two names
            " JOIN account ON account.id = entry.account ORDER BY ref"
        )
        count = 0
        async for row in self._sql.cursor(query, prefetch=_AT_ONCE):
            count += 1
            noted = self._noted.pop((table, row["ref"]), None)
            if noted is None:
                self._find(table, row["ref"], None, "is not in any chain")
                continue
            for column in ("account", "holder", "unit", "micros", "kind", "reason", "at", "keeper", "batch", more):
                if row[column] != noted.get(column, 0):
                    self._find(table, row["ref"], column, f"is {row[column]} but the chain says {noted.get(column, 0)}")
        for kind, ref in [key for key in self._noted if key[0] == table]:
            self._find(kind, ref, None, "is missing: a chain notes it")
        return count

    async def _check_keys(self) -> None:
        query = """SELECT ref, count(*) FILTER (WHERE entry) AS entries, count(*) FILTER (WHERE NOT entry) AS keys
        FROM (SELECT ref, true AS entry FROM credit UNION ALL SELECT ref, true FROM reversal
              UNION ALL SELECT ref, false FROM money_key) AS every
        GROUP BY ref HAVING count(*) FILTER (WHERE entry) <> 1 OR count(*) FILTER (WHERE NOT entry) <> 1"""
        for row in await self._sql.fetch(query):
            self._find("money_key", row["ref"], None, f"has {row['entries']} entries and {row['keys']} keys")

    async def _check_tariffs(self) -> None:
        found = {(row["keeper"], row["id"]): row for row in await self._sql.fetch("SELECT * FROM tariff")}
        for (keeper, id), noted in self._tariffs.items():
            row = found.pop((keeper, id), None)
            if row is None or any(row[column] != value for column, value in noted.items()) or not noted:
                self._find("tariff", f"{keeper}/{id}", None, "is not what the chain notes")
        for keeper, id in found:
            self._find("tariff", f"{keeper}/{id}", None, "is not in the chain")

    async def _check_accounts(self) -> tuple[Mapping[str, Total], int]:
        totals: dict[str, Total] = {}
        count = 0
        async for row in self._sql.cursor("SELECT * FROM account ORDER BY id", prefetch=_AT_ONCE):
            count += 1
            noted = self._accounts.pop(row["id"], _Account())
            for column, value in (("credited", noted.credited), ("spent", noted.spent), ("debt", noted.debt)):
                if row[column] != value:
                    self._find("account", row["id"], column, f"is {row[column]} but the chains say {value}")
            left = row["credited"] - row["spent"] - row["leased"]
            if left < 0 or min(row["credited"], row["spent"], row["leased"], row["debt"]) < 0:
                self._find("account", row["id"], None, "has less than nothing available")
            before = totals.get(row["unit"], Total(0, 0, 0))
            totals[row["unit"]] = Total(
                before.credited + row["credited"],
                before.spent + row["spent"],
                before.available + row["credited"] - row["spent"] - row["debt"],
                before.debt + row["debt"],
            )
        for id in self._accounts:
            self._find("account", id, None, "is missing: a chain moves it")
        return totals, count

    async def _check_leases(self) -> None:
        query = """SELECT account.id, leased, coalesce(sum(lease.micros), 0)::bigint AS leases
        FROM account LEFT JOIN lease ON lease.account = account.id GROUP BY account.id
        HAVING leased <> coalesce(sum(lease.micros), 0)"""
        for row in await self._sql.fetch(query):
            self._find("account", row["id"], "leased", f"is {row['leased']} but its leases sum to {row['leases']}")
        for row in await self._sql.fetch("SELECT keeper, account, micros FROM lease WHERE micros < 0"):
            self._find("lease", f"{row['keeper']}/{row['account']}", "micros", f"is {row['micros']}")
