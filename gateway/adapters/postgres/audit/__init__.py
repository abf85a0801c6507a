"""Prove the books of many hosts from what the database holds, of one snapshot. Nothing is written.

Nothing here comes from the ledger: the layout of a record and the hash of a batch are written down a second time, so
that a mistake in the ledger cannot hide in its own proof.

What is proved: the chain of every keeper holds from its first batch; every request was captured once, never cost less
than nothing or more than its capture, and was voided only while its answer had not started; every credit and reversal
is in the chain as it is in its table, word by word, and has its money key; every refund gives back no more than its
request did cost, on whichever host it was served; every account is the sum of its credits, reversals and records; what
is leased is the sum of its leases; nobody has less than nothing to spend, debt aside; transfers and hourly usage are
what their batches sum to (`transfers`); nobody was paid what was not due (`owners`); and pruned chains go on from where
they were anchored (`anchors`).

Whether the end of a chain is still there, the head of its host tells (`head`); `since` is a shorter audit.

**Memory.** Batches are streamed, chain by chain, and once more for the transfers, in the order in which they were
folded. Sums are kept for every account, for the requests of one chain at a time, and for those that were refunded.
"""

import hashlib
import json
import struct
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import asyncpg

from gateway.adapters.postgres.audit.anchors import Anchors
from gateway.adapters.postgres.audit.caps import miscounted
from gateway.adapters.postgres.audit.head import KeptHead, check_head
from gateway.adapters.postgres.audit.owners import check_owners
from gateway.adapters.postgres.audit.report import FINDINGS_MAX, AuditRefused, Finding, Findings, Report, Total
from gateway.adapters.postgres.audit.rows import Account, check_accounts, check_keys, check_leases, check_tariffs
from gateway.adapters.postgres.audit.since import Since, Start, Starts, take_up
from gateway.adapters.postgres.audit.transfers import Transfers
from gateway.adapters.postgres.sessions import PROBLEMS, Address, Connection

_AT_ONCE = 500
_RECORD = struct.Struct(">BxxxIqqqqq")
_HEADER = struct.Struct(">qqqqqq")
_TABLES = {"credit": "credit", "repayment": "credit", "reversal": "reversal", "debt": "reversal"}
_ENTRY = ("account", "holder", "unit", "priority", "expires", "micros", "kind", "reason", "at", "keeper", "batch")
_TARIFF = ("id", "route", "owner", "commission_points", "price")
_CAPTURE, _GATED, _CORRECTION, _VOID, _RENEWAL = 1, 2, 3, 4, 5
_REFUNDS = """SELECT keeper, seq, notes FROM batch
WHERE strpos(notes, '"note":"refund"') > 0 ORDER BY keeper, seq"""
_COUNT = "SELECT count(*) FROM batch WHERE keeper = $1 AND seq > $2"

__all__ = ["FINDINGS_MAX", "AuditRefused", "Finding", "KeptHead", "Report", "Since", "Total", "audit"]
Key = tuple[int, int, int]
"""Account, time and number of a request."""


async def audit(
    address: Address,
    *,
    keys: Sequence[bytes] | None = None,
    head: KeptHead | None = None,
    since: Since | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Report:
    """Audit the books there. Raises AuditRefused. `keys`: any of them may have signed the anchors and the head.

    `head` is that of one host, read before this is called. With `since`, earlier batches are taken as they stand.
    """
    try:
        connection = await address.connect("audit")
    except PROBLEMS as error:
        raise AuditRefused(address.told(error)) from error
    try:
        await connection.execute("SET statement_timeout = 0")
        await connection.execute("SET idle_in_transaction_session_timeout = 0")
        if await connection.fetchval("SELECT to_regclass('batch') IS NULL"):
            raise AuditRefused(f"{address.name} holds no books")
        if await connection.fetchval("SELECT to_regclass('refund') IS NULL"):
            raise AuditRefused(f"{address.name} was made by an older gateway: start this one on it once")
        async with connection.transaction(isolation="repeatable_read", readonly=True):
            return await _Audit(connection, keys, progress).run(since, head)
    except PROBLEMS as error:
        raise AuditRefused(address.told(error)) from error
    finally:
        connection.terminate()


@dataclass(slots=True)
class _Request:
    captured: int = 0
    net: int = 0
    number: int = 0
    gated: bool = False


@dataclass(slots=True)
class _Refund:
    """What was given back of one request, where that stands, and what the request had come to without it."""

    keeper: int
    seq: int
    micros: int
    found: bool = False
    elsewhere: bool = False
    net: int | None = None


@dataclass(slots=True)
class _Chain:
    """One keeper's batches, followed from the first, or from where they were anchored."""

    keeper: int
    seq: int
    next: int
    started: int
    hash: bytes
    requests: dict[Key, _Request] = field(default_factory=dict)
    begins_late: bool = False
    """What its first records correct may stand before them."""

    @classmethod
    def taken_up(cls, keeper: int, at: Start) -> "_Chain":
        return cls(keeper, at.seq, at.next, at.started, at.hash, begins_late=at.seq > 0)


class _Audit:
    def __init__(
        self,
        connection: Connection,
        keys: Sequence[bytes] | None,
        progress: Callable[[int, int], None] | None,
    ) -> None:
        self._sql = connection
        self._keys = keys
        self._progress = progress
        self._findings = Findings()
        self._accounts: dict[int, Account] = defaultdict(Account)
        self._noted: dict[tuple[str, str], dict[str, Any]] = {}
        self._tariffs: dict[tuple[int, int], dict[str, Any]] = {}
        self._refunds: dict[Key, _Refund] = {}
        self._starts = Starts({})
        self._batches = self._records = self._voided = self._voided_micros = 0

    async def run(self, since: Since | None, head: KeptHead | None) -> Report:
        anchors = await Anchors.read(self._sql)
        starts = self._starts = await take_up(self._sql, since, anchors, self._findings)
        transfers = Transfers(self._sql, anchors, self._findings)
        if starts.short:
            for id, moved in starts.moved.items():
                self._accounts[id] = Account(moved.credited, 0, moved.debt)
        else:
            await transfers.check()
            await anchors.check(self._sql, transfers.hashes, self._keys, self._findings)
            for id, sums in transfers.before.items():
                self._accounts[id] = Account(sums.credited, sums.spent, sums.debt)
            await self._read_anchored_tariffs(anchors)
        await self._read_refunds()
        total = sum([await self._sql.fetchval(_COUNT, id, start.seq) for id, start in starts.by_keeper.items()])
        for keeper, start in starts.by_keeper.items():
            await self._follow(_Chain.taken_up(keeper, start), total)
        await self._check_refunds(anchors)
        credits = await self._check_entries("credit", transfers)
        reversals = await self._check_entries("reversal", transfers)
        for kind, ref in transfers.entries:
            self._find(_TABLES[kind], ref, None, "is missing: it was transferred")
        await check_keys(self._sql, self._findings)
        await check_tariffs(self._sql, self._tariffs, self._findings, short=starts.short)
        totals, accounts = await check_accounts(self._sql, self._accounts, self._findings, short=starts.short)
        await check_leases(self._sql, self._findings)
        left_owners = await check_owners(self._sql, self._findings)
        return Report(
            batches=self._batches,
            records=self._records,
            accounts=accounts,
            credits=credits,
            totals=totals,
            voided=self._voided,
            voided_micros=self._voided_micros,
            head=await check_head(self._sql, head, self._keys, self._findings),
            findings=tuple(self._findings.told),
            more=self._findings.more,
            first_bad_batch=self._findings.first_bad_batch,
            first_batch=starts.first,
            unproved=starts.unproved,
            transfers=transfers.count,
            folded=transfers.folded,
            reversals=reversals,
            left_owners=left_owners,
        )

    def _find(self, table: str, row: int | str | None, column: str | None, what: str) -> None:
        self._findings.add(table, row, column, what)

    async def _read_anchored_tariffs(self, anchors: Anchors) -> None:
        for keeper, anchor in anchors.rows.items():
            query = "SELECT * FROM tariff WHERE keeper = $1 AND id <= $2"
            for row in await self._sql.fetch(query, keeper, anchor["tariffs"]):
                self._tariffs[keeper, row["id"]] = {name: row[name] for name in _TARIFF}

    # --- chains -------------------------------------------------------------------------------------------------------

    async def _follow(self, chain: _Chain, total: int) -> None:
        async for row in self._rows(chain.keeper, chain.seq):
            self._batches += 1
            self._batch(chain, row)
            if self._progress is not None and (self._batches % _AT_ONCE == 0 or self._batches == total):
                self._progress(self._batches, total)
        for key, refund in self._refunds.items():
            if refund.keeper != chain.keeper and (request := chain.requests.get(key)) is not None:
                refund.net = request.net

    async def _rows(self, keeper: int, after: int) -> AsyncIterator[asyncpg.Record]:
        query = "SELECT * FROM batch WHERE keeper = $1 AND seq > $2 ORDER BY seq"
        async for row in self._sql.cursor(query, keeper, after, prefetch=_AT_ONCE):
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
            self._findings.bad_batch(seq, at, what)
        if len(payload) % _RECORD.size == 0:
            for place, record in enumerate(_RECORD.iter_unpack(payload)):
                self._record(chain, at, row["first"] + place, record)
        for line in notes.splitlines():
            self._note(chain, at, json.loads(line))
        tariffs = self._tariffs.items()
        ours = {id: noted for (keeper, id), noted in tariffs if keeper == chain.keeper}
        caps = {id: str(noted.get("price")) for id, noted in ours.items() if noted.get("route") == ""}
        if caps and len(payload) % _RECORD.size == 0:
            for what in miscounted(_RECORD.iter_unpack(payload), caps):
                self._find("batch", at, None, what)
        chain.seq, chain.hash, chain.next, chain.started = seq, row["hash"], row["first"] + row["count"], row["started"]

    def _record(self, chain: _Chain, at: str, number: int, record: tuple[int, ...]) -> None:
        kind, tariff, account, _, micros, at_ms, unique = record
        self._records += 1
        self._accounts[account].spent += micros
        if (chain.keeper, tariff) not in self._tariffs and not self._tariff_follows(chain, tariff):
            self._find("batch", at, None, f"record {number} has tariff {tariff}, which no batch notes")
        key = (account, at_ms, unique)
        if self._is_refund_from_elsewhere(chain, at, key, kind, micros):
            return
        if chain.begins_late and kind not in (_CAPTURE, _GATED) and key not in chain.requests:
            return  # what it corrects is gone
        request = chain.requests.setdefault(key, _Request())
        if kind in (_CAPTURE, _GATED):
            if request.captured:
                self._find("batch", at, None, f"record {number} captures a request again")
            request.captured, request.number, request.gated = micros, number, kind == _GATED
        elif kind == _VOID:
            self._voided += 1
            self._voided_micros -= micros
            if not request.gated or request.number <= chain.started:
                self._find("batch", at, None, f"record {number} voids a request whose answer had started")
        elif kind == _RENEWAL:
            request.captured += micros if request.captured else 0
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

    # --- refunds ------------------------------------------------------------------------------------------------------

    async def _read_refunds(self) -> None:
        """What the chains note of them: one may be noted by another host than the one that served the request."""
        async for row in self._sql.cursor(_REFUNDS, prefetch=_AT_ONCE):
            for note in map(json.loads, row["notes"].splitlines()):
                if note["note"] != "refund" or row["seq"] <= self._starts.seq(row["keeper"]):
                    continue
                key = _key(note)
                if key in self._refunds:
                    self._find("batch", f"{row['keeper']}/{row['seq']}", None, f"refunds {note['request']} again")
                self._refunds[key] = _Refund(row["keeper"], row["seq"], note["micros"])

    def _is_refund_from_elsewhere(self, chain: _Chain, at: str, key: Key, kind: int, micros: int) -> bool:
        """A record that gives back, of a request that is not of this chain. That there was so much is seen later."""
        refund = self._refunds.get(key)
        if refund is None or at != f"{refund.keeper}/{refund.seq}" or (kind, micros) != (_CORRECTION, -refund.micros):
            return False
        refund.found, refund.elsewhere = True, key not in chain.requests
        return refund.elsewhere

    async def _check_refunds(self, anchors: Anchors) -> None:
        rows = {row["request"]: row for row in await self._sql.fetch("SELECT * FROM refund")}
        for (account, at_ms, number), refund in self._refunds.items():
            request = f"req_{at_ms:012x}{number:016x}"
            batch = f"{refund.keeper}/{refund.seq}"
            if not refund.found:
                self._find("batch", batch, None, f"tells of a refund of {request} that is not among its records")
            if refund.elsewhere and refund.net is None and not anchors.rows and not self._starts.short:
                self._find("batch", batch, None, f"gives back what {request} did cost, which no chain knows")
            if refund.net is not None and refund.net < refund.micros:
                what = f"gives back {refund.micros} of {request}, which did cost account {account} {refund.net}"
                self._find("batch", batch, None, what)
            row = rows.pop(request, None)
            if row is None or (row["keeper"], row["batch"]) != (refund.keeper, refund.seq):
                self._find("refund", request, None, "is not what the chain notes")
                continue
            rows[request] = row  # of several accounts
        known = {f"req_{at_ms:012x}{number:016x}" for _, at_ms, number in self._refunds}
        for request, row in rows.items():
            if request not in known and row["batch"] > self._starts.seq(row["keeper"]):
                self._find("refund", request, None, "is not in any chain")

    # --- rows ---------------------------------------------------------------------------------------------------------

    async def _check_entries(self, table: str, transfers: Transfers) -> int:
        more = {"credit": "repaid", "reversal": "taken"}[table]
        query = (
            f"SELECT entry.*, holder, unit, priority, expires FROM {table} AS entry"  # noqa: S608 -- one of two names
            " JOIN account ON account.id = entry.account ORDER BY ref"
        )
        count = 0
        async for row in self._sql.cursor(query, prefetch=_AT_ONCE):
            earlier = row["batch"] <= self._starts.seq(row["keeper"])
            if earlier and self._starts.short:
                continue
            count += 1
            if earlier:
                self._check_pruned(table, row, transfers)
                continue
            noted = self._noted.pop((table, row["ref"]), None)
            if noted is None:
                self._find(table, row["ref"], None, "is not in any chain")
                continue
            for column in (*_ENTRY, more):
                if row[column] != noted.get(column, 0):
                    self._find(table, row["ref"], column, f"is {row[column]} but the chain says {noted.get(column, 0)}")
        for kind, ref in [key for key in self._noted if key[0] == table]:
            self._find(kind, ref, None, "is missing: a chain notes it")
        return count

    def _check_pruned(self, table: str, row: asyncpg.Record, transfers: Transfers) -> None:
        """An entry whose note is gone: its transfers are anchored."""
        part, rest = ("repayment", row["repaid"]) if table == "credit" else ("debt", row["micros"] - row["taken"])
        for kind, micros in ((part, rest), (table, row["micros"] - rest)):
            moved = transfers.entries.pop((kind, row["ref"]), (row["keeper"], row["account"], 0))
            if moved != (row["keeper"], row["account"], micros):
                self._find(table, row["ref"], None, f"is of {micros}, and its {kind} says otherwise: {moved}")


def _key(note: Mapping[str, Any]) -> Key:
    """The request that a refund is of."""
    request = note["request"]
    return note["account"], int(request[4:16], 16), int(request[16:], 16)
