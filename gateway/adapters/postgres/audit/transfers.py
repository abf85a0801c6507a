"""The transfers: what it proves is that double entry and hourly usage say what the batches of all hosts say.

The runs of the fold are gone through in the order in which they were folded, whichever host each is of, and the
batches of each are added up again: what every account used of every tariff, and what was credited to it or taken back.
From these sums the transfers are derived by another road than the fold's: the commission of an owner is always the rate
of all that was sold so far, on all hosts, rounded down. Payer gives what payee gets and no amount is less than one
micro, so the books sum to zero.

The batches of pruned runs cannot be added up again. Their rows are still held against the hash that stands in their
row, which the anchors vouch for, and what they sum to is where the accounts begin (`before`).
"""

import hashlib
import json
import struct
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import asyncpg

from gateway.adapters.postgres.audit.anchors import Anchors
from gateway.adapters.postgres.audit.report import Findings
from gateway.adapters.postgres.sessions import Connection

_RECORD = struct.Struct(">BxxxIqqqqq")
_HOUR_MS = 3_600_000
_WHOLE = 10_000
_FLOWS = {1: 1, 2: 1, 4: -1}
_AT_ONCE = 200
_OF_OWNERS = {"payout": "debt", "claw_back": "debt", "returned": "repayment", "restored": "repayment"}
"""What leaves an owner and comes back, and what that is to the row of the owner's account."""
_MONEY = ("credit", "repayment", "reversal", "debt", *_OF_OWNERS)
_COLUMNS = ("kind", "payer", "payee", "unit", "micros", "cause")

Row = asyncpg.Record
Note = Mapping[str, Any]
Entry = tuple[str, str, str, str, int, str]
"""Kind, payer, payee, unit, micros, cause."""


@dataclass(slots=True)
class Sums:
    """What pruned runs made of an account."""

    credited: int = 0
    spent: int = 0
    debt: int = 0


@dataclass(slots=True)
class _Run:
    """One run, added up again."""

    used: dict[int, dict[int, list[int]]] = field(default_factory=lambda: defaultdict(dict))
    money: dict[int, list[Note]] = field(default_factory=lambda: defaultdict(list))
    tariffs: int = 0
    end: Row | None = None

    def take(self, batch: Row) -> None:
        for kind, tariff, account, _, micros, _, _ in _RECORD.iter_unpack(batch["payload"]):
            sums = self.used[account].setdefault(tariff, [0, 0])
            sums[0] += _FLOWS.get(kind, 0)
            sums[1] += micros
        for note in map(json.loads, batch["notes"].splitlines()):
            if note["note"] in ("credit", "reversal"):
                self.money[note["account"]].append(note)
            elif note["note"] == "tariff":
                self.tariffs = max(self.tariffs, note["id"])
        self.end = batch


class Transfers:
    """Compares the fold's rows with the batches."""

    def __init__(self, connection: Connection, anchors: Anchors, findings: Findings) -> None:
        self.count = 0
        self.before: dict[int, Sums] = defaultdict(Sums)
        """Of the batches that were pruned, what they made of each account."""
        self.entries: dict[tuple[str, str], tuple[int, int, int]] = {}
        """Of the batches that were pruned, the parts of credits and reversals: host, account and micros."""
        self.hashes: dict[int, tuple[bytes, int, int]] = {}
        """By the number of a fold: the hash over everything up to it, its host and its last batch."""
        self._sql = connection
        self._anchors = anchors
        self._findings = findings
        self._last: dict[int, Row] = {}
        self._folded: dict[int, int] = {}
        self._hash = bytes(32)
        self._gross: dict[tuple[str, str, int], int] = {}
        self._terms: dict[tuple[int, int], tuple[str, int]] = {}
        self._holders: dict[int, tuple[str, str]] = {}
        self._owners: dict[tuple[str, str], int] = {}

    @property
    def folded(self) -> int:
        """How many batches."""
        return sum(self._folded.values())

    async def check(self) -> None:
        for row in await self._sql.fetch("SELECT * FROM tariff"):
            self._terms[row["keeper"], row["id"]] = row["owner"], row["commission_points"]
        async for row in self._sql.cursor("SELECT id, holder, unit FROM account", prefetch=1000):
            self._holders[row["id"]] = whose = row["holder"], row["unit"]
            if row["holder"].startswith("owner:"):
                self._owners[whose] = row["id"]
        number, unfinished = 0, False
        async for fold in self._sql.cursor("SELECT * FROM fold ORDER BY number", prefetch=_AT_ONCE):
            if fold["number"] != number + 1 or unfinished:
                self._bad(fold, "number", f"follows {number}, or was begun before the one before it was done")
            number, unfinished = fold["number"], not fold["done"]
            await self._check_fold(fold)
        for table in ("transfer", "usage_hour"):
            query = f"SELECT DISTINCT fold FROM {table} WHERE fold NOT IN (SELECT number FROM fold)"  # noqa: S608
            for row in await self._sql.fetch(query):
                self._findings.add(table, row["fold"], None, "is of a fold that does not exist")
        await self._check_carries()

    async def _check_fold(self, fold: Row) -> None:
        keeper, before = fold["keeper"], self._last.get(fold["keeper"])
        if fold["first"] != (before["last"] + 1 if before else 1) or fold["last"] < fold["first"]:
            self._bad(fold, "first", f"is {fold['first']}, which does not follow the fold before it")
        used = await self._sql.fetch(
            "SELECT * FROM usage_hour WHERE fold = $1 ORDER BY account, tariff", fold["number"]
        )
        moved = await self._sql.fetch("SELECT * FROM transfer WHERE fold = $1 ORDER BY number", fold["number"])
        if [row["number"] for row in moved] != list(range(fold["written"])):
            self._bad(fold, "written", f"is {fold['written']}, and the transfers are not those up to there")
        if fold["last"] <= self._anchors.seq(keeper):
            self._take_over(keeper, used, moved)
        else:
            await self._compare(fold, before, used, moved)
        for row in used:
            _, points = terms = self._terms.get((keeper, row["tariff"]), ("", 0))
            key = (terms[0], self._unit(row["account"]), points)
            self._gross[key] = self._gross.get(key, 0) + row["micros"]
        self._check_hash(fold, used, moved)
        self.count += len(moved)
        self._last[keeper] = fold
        if fold["done"]:
            self._folded[keeper] = fold["last"]

    # --- what was pruned ----------------------------------------------------------------------------------------------

    def _take_over(self, keeper: int, used: Sequence[Row], moved: Sequence[Row]) -> None:
        """The sums of a run that cannot be added up again."""
        for row in used:
            self.before[row["account"]].spent += row["micros"]
        for row in moved:
            if row["kind"] not in _MONEY:
                continue
            account, micros = _caller_of(row, self._owners), row["micros"]
            kind = _OF_OWNERS.get(row["kind"], row["kind"])
            gives = -micros if kind in ("reversal", "repayment") else micros
            if kind in ("credit", "reversal"):
                self.before[account].credited += gives
            else:
                self.before[account].debt += gives
            self.entries[kind, row["cause"]] = keeper, account, micros

    # --- what can be added up -----------------------------------------------------------------------------------------

    async def _compare(self, fold: Row, before: Row | None, used: Sequence[Row], moved: Sequence[Row]) -> None:
        run = _Run(tariffs=before["tariffs"] if before else 0)
        query = "SELECT * FROM batch WHERE keeper = $1 AND seq BETWEEN $2 AND $3 ORDER BY seq"
        async for batch in self._sql.cursor(query, fold["keeper"], fold["first"], fold["last"], prefetch=_AT_ONCE):
            if batch["at"] - batch["at"] % _HOUR_MS != fold["hour"]:
                self._bad(fold, "hour", f"is {fold['hour']}, and batch {batch['seq']} is of another one")
            if len(batch["payload"]) % _RECORD.size == 0:
                run.take(batch)
        self._check_end(fold, run)
        accounts = sorted(run.used.keys() | run.money.keys())
        if not fold["done"]:
            accounts = [account for account in accounts if account <= fold["account"]]
        elif accounts and fold["account"] != accounts[-1]:
            self._bad(fold, "account", f"is {fold['account']} but its batches end with {accounts[-1]}")
        gross = dict(self._gross)
        entries = [entry for account in accounts for entry in self._entries(fold["keeper"], account, run, gross)]
        usage = [
            (account, tariff, fold["hour"], *sums)
            for account in accounts
            for tariff, sums in sorted(run.used.get(account, {}).items())
        ]
        columns = ("account", "tariff", "hour", "requests", "micros")
        self._differ(fold, "usage_hour", [tuple(row[name] for name in columns) for row in used], usage)
        self._differ(fold, "transfer", [tuple(row[name] for name in _COLUMNS) for row in moved], entries)

    def _check_end(self, fold: Row, run: _Run) -> None:
        end = run.end
        if end is None or end["seq"] != fold["last"]:
            self._bad(fold, "last", "is a batch that does not exist")
            return
        expected = {
            "next": end["first"] + end["count"],
            "started": end["started"],
            "tariffs": run.tariffs,
            "chain": end["hash"],
        }
        for column, value in expected.items():
            if fold[column] != value:
                self._bad(fold, column, f"is {_short(fold[column])} but the chain says {_short(value)}")

    def _entries(self, keeper: int, account: int, run: _Run, gross: dict[tuple[str, str, int], int]) -> Iterator[Entry]:
        """The transfers that an account's sums must have made."""
        caller, (holder, unit) = f"account:{account}", self._holders.get(account, ("", ""))
        for note in run.money.get(account, ()):
            if holder.startswith("owner:"):
                yield from _of_owner(note, holder, unit)
            else:
                yield from _entries_of(note, caller, f"debt:{account}", unit)
        nets: dict[tuple[str, int], int] = {}
        for tariff, (_, micros) in run.used.get(account, {}).items():
            terms = self._terms.get((keeper, tariff), ("", 0))
            nets[terms] = nets.get(terms, 0) + micros
        for (owner, points), net in sorted(nets.items()):
            before = gross.get((owner, unit, points), 0)
            gross[owner, unit, points] = before + net
            commission = (before + net) * points // _WHOLE - before * points // _WHOLE
            parts = (("share", f"owner:{owner}", net - commission), ("commission", "platform", commission))
            for kind, other, micros in parts:
                if micros:
                    ends = (caller, other) if micros > 0 else (other, caller)
                    yield (kind, *ends, unit, abs(micros), f"{owner} {points}")

    def _differ(self, fold: Row, table: str, found: Sequence[object], expected: Sequence[object]) -> None:
        """Name the first rows that are not as the batches say, and one that is missing or too many."""
        for is_so, must_be in zip(found, expected, strict=False):
            if is_so != must_be:
                what = f"is {_short(is_so)} but its batches say {_short(must_be)}"
                self._findings.add(table, fold["number"], None, what)
        if len(found) < len(expected):
            self._bad(fold, None, f"has no {table} {_short(expected[len(found)])}: the batches say so")
        for row in found[len(expected) :]:
            self._findings.add(table, fold["number"], None, f"{_short(row)} is in no batch")

    # --- what goes through all of them --------------------------------------------------------------------------------

    def _check_hash(self, fold: Row, used: Sequence[Row], moved: Sequence[Row]) -> None:
        """Over the run's numbers, then account by account: whose it is if it was credited, its usage, its transfers."""
        names = ("number", "keeper", "last", "first", "hour", "next", "started", "tariffs")
        hash = _on(self._hash, [*(fold[name] for name in names), fold["chain"].hex()])
        lines: dict[int, list[list[object]]] = {}
        for row in used:
            lines.setdefault(row["account"], []).append([row[n] for n in ("account", "tariff", "requests", "micros")])
        for row in moved:
            account = _caller_of(row, self._owners)
            held = lines.setdefault(account, [])
            whose = [account, *self._holders.get(account, ())]
            if row["kind"] in _MONEY and (not held or held[0] != whose):
                held.insert(0, whose)
            held.append([row[name] for name in _COLUMNS])
        for account in sorted(lines):
            for line in lines[account]:
                hash = _on(hash, line)
        if hash != fold["hash"]:
            self._bad(fold, "hash", "is not that of its rows: they, or whose its accounts are, were changed")
        self._hash = fold["hash"]
        self.hashes[fold["number"]] = hash, fold["keeper"], fold["last"]

    async def _check_carries(self) -> None:
        expected = {key: sold * key[2] % _WHOLE for key, sold in self._gross.items() if key[2]}
        for row in await self._sql.fetch("SELECT * FROM carry"):
            key = (row["owner"], row["unit"], row["commission_points"])
            value = expected.pop(key, None)
            if value != row["carry"]:
                self._findings.add("carry", row["owner"], "carry", f"is {row['carry']} but what was sold says {value}")
        for owner, unit, points in expected:
            self._findings.add("carry", owner, None, f"of {unit} at {points} is missing")

    def _unit(self, account: int) -> str:
        return self._holders.get(account, ("", ""))[1]

    def _bad(self, fold: Row, column: str | None, what: str) -> None:
        self._findings.add("fold", fold["number"], column, what)


def _entries_of(note: Note, caller: str, debt: str, unit: str) -> Iterator[Entry]:
    """A credit repays first and fills the account with the rest; a reversal owes what it cannot take."""
    ref, micros = note["ref"], note["micros"]
    source = f"clearing:{ref.split(':', 1)[0] if ':' in ref else 'other'}"
    if note["note"] == "credit":
        repaid = note.get("repaid", 0)
        sides = (("repayment", source, debt, repaid), ("credit", source, caller, micros - repaid))
    else:
        sides = (("debt", debt, source, micros - note["taken"]), ("reversal", caller, source, note["taken"]))
    for kind, payer, payee, amount in sides:
        if amount:
            yield (kind, payer, payee, unit, amount, ref)


def _of_owner(note: Note, owner: str, unit: str) -> Iterator[Entry]:
    """A reversal leaves the owner, a credit comes back; what its ref begins with says where to, or where from."""
    ref, back = note["ref"], note["note"] == "credit"
    clawed = ref.split(":", 1)[0] == "claw_back"
    other = "clawed_back" if clawed else "paid_out:stripe"
    kind = ("restored" if clawed else "returned") if back else ("claw_back" if clawed else "payout")
    rest = note.get("repaid", 0) if back else note["micros"] - note["taken"]
    for amount in (rest, note["micros"] - rest):
        if amount:
            yield (kind, *((other, owner) if back else (owner, other)), unit, amount, ref)


def _caller_of(row: Row, owners: Mapping[tuple[str, str], int]) -> int:
    """The row of the account, or debt, that a transfer is of: a caller's, or else an owner's; 0 if it is of none."""
    if row["kind"] in _OF_OWNERS:
        return max(owners.get((name, row["unit"]), 0) for name in (row["payer"], row["payee"]))
    for name in (row["payer"], row["payee"]):
        kind, _, id = name.partition(":")
        if kind in ("account", "debt") and id.isascii() and id.isdigit() and len(id) < 20:
            return int(id)
    return 0


def _on(before: bytes, line: Sequence[object]) -> bytes:
    return hashlib.sha256(before + json.dumps(line, separators=(",", ":")).encode()).digest()


def _short(value: object) -> str:
    text = value.hex() if isinstance(value, bytes) else str(value)
    return text if len(text) <= 80 else text[:77] + "…"
