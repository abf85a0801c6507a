"""The transfers: what it proves is that double entry and hourly usage say what their batches say, and nothing else.

Every run of the fold is added up again, on the way through the chain: what each account used of each tariff, and what
was credited to it. From these sums the transfers are derived by another road than the fold's: the commission of an
owner is always the rate of all that was sold so far, rounded down. Payer gives what payee gets, no amount is less than
one micro, and share and commission add up to the sum of the records; so the books sum to zero.

Runs before the first batch that is looked at (they were pruned, or a shorter audit was asked for) cannot be added up
again. Their rows are still held against the hash that stands in their row, which the anchor vouches for.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping

from gateway.adapters.sqlite.audit.database import Database
from gateway.adapters.sqlite.audit.layout import CAPTURE, GATED_CAPTURE, GENESIS, VOID, Row, read_note, records_of
from gateway.adapters.sqlite.audit.report import Findings, short

_HOUR_MS = 3_600_000
_WHOLE = 10_000
_FLOWS = {CAPTURE: 1, GATED_CAPTURE: 1, VOID: -1}

OF_OWNERS = {"payout": "debt", "claw_back": "debt", "returned": "repayment", "restored": "repayment"}
"""What leaves an owner and comes back, and what that is to the row of the owner's account."""
MONEY_KINDS = ("credit", "repayment", "reversal", "debt", *OF_OWNERS)
"""The transfers of money that comes and goes, not of usage."""

Entry = tuple[str, str, str, str, int, str]
"""Kind, payer, payee, unit, micros, cause."""


class Transfers:
    """Compares the fold's rows with the batches; `start` is the last batch that is not looked at.

    `anchored` is the hash over everything that was folded up to the batch `anchor`, `folded` the last batch of all.
    """

    def __init__(self, database: Database, start: int, anchor: int, findings: Findings) -> None:
        self.folded = self.count = 0
        self.anchored: bytes | None = None
        self._anchor = anchor
        self._database = database
        self._findings = findings
        self._folds = database.rows("fold", order="last")
        self._transfers = _Ahead(database.rows("transfer", order="fold, number"))
        self._usage = _Ahead(database.rows("usage_hour", order="fold, account, tariff"))
        self._terms = {
            row["id"]: (row["owner"], row["commission_points"]) for row in database.rows("tariff", order="id")
        }
        self._holders = {row["id"]: (row["holder"], row["unit"]) for row in database.rows("account", order="id")}
        self._owners = owners_in(self._holders)
        self._gross: dict[tuple[str, str, int], int] = {}
        self._hash = GENESIS
        self._last = 0
        self._tariffs = 0
        self._unfinished = False
        self._fold = self._next_fold()
        self._forget()
        while self._fold is not None and self._fold["first"] <= start:
            self._close(None)

    def _forget(self) -> None:
        self._used: dict[tuple[int, int], list[int]] = {}
        self._money: dict[int, list[Row]] = {}

    def take(self, batch: Row) -> None:
        """One batch, in the order of the chain."""
        fold = self._fold
        if fold is None or batch["seq"] < fold["first"]:
            return
        for _, (kind, _, tariff, account, _, micros, _, _) in records_of(batch):
            sums = self._used.setdefault((account, tariff), [0, 0])
            sums[0] += _FLOWS.get(kind, 0)
            sums[1] += micros
        for note in map(read_note, batch["notes"].splitlines()):
            if note is not None and note["note"] in ("credit", "reversal"):
                self._money.setdefault(note["account"], []).append(note)
            elif note is not None and note["note"] == "tariff":
                self._tariffs = max(self._tariffs, note["id"])
        if batch["at"] - batch["at"] % _HOUR_MS != fold["hour"]:
            self._bad(fold, "hour", f"is {fold['hour']}, and batch {batch['seq']} is of another one")
        if batch["seq"] >= fold["last"]:
            self._check_end(fold, batch)
            self._close(batch)

    def finish(self) -> None:
        """What is left belongs to no batch; then what was rounded off."""
        while self._fold is not None:
            self._bad(self._fold, "last", "is a batch that does not exist")
            self._close(None)
        for row in (*self._transfers.rest(), *self._usage.rest()):
            table = "transfer" if "number" in row else "usage_hour"
            self._findings.add(table, _name(row), None, "is of a fold that does not exist")
        self._check_carries()

    # --- one run ------------------------------------------------------------------------------------------------------

    def _next_fold(self) -> Row | None:
        fold = next(self._folds, None)
        if fold is None:
            return None
        if fold["first"] != self._last + 1 or fold["last"] < fold["first"]:
            self._bad(fold, "first", f"is {fold['first']}, and the fold before it ends with batch {self._last}")
        if self._unfinished:
            self._bad(fold, None, "was begun before the one before it was done")
        self._unfinished = not fold["done"]
        return fold

    def _check_end(self, fold: Row, batch: Row) -> None:
        expected = {
            "last": batch["seq"],
            "next": batch["first"] + batch["count"],
            "started": batch["started"],
            "tariffs": self._tariffs,
            "chain": batch["hash"],
        }
        for column, value in expected.items():
            if fold[column] != value:
                self._findings.differs("fold", fold["last"], column, fold[column], value)

    def _close(self, batch: Row | None) -> None:
        """Compare a run's rows with what was added up; without its batches, with the hash alone."""
        fold = self._fold
        assert fold is not None
        used = self._usage.of(fold["last"], self._findings)
        moved = self._transfers.of(fold["last"], self._findings)
        for number, row in enumerate(moved):
            if row["number"] != number:
                self._findings.add("transfer", _name(row), "number", f"follows {number - 1}: a transfer is missing")
                break
        if fold["written"] != len(moved):
            self._bad(fold, "written", f"is {fold['written']}, and there are {len(moved)} transfers")
        if batch is None:
            self._tariffs = max(self._tariffs, fold["tariffs"])
            sums = [(row["account"], row["tariff"], row["micros"]) for row in used]
        else:
            sums = self._compare(fold, used, moved)
        self._add_up(sums)
        self._check_hash(fold, used, moved)
        self.folded = fold["last"] if fold["done"] else self.folded
        self.count += len(moved)
        self._last = fold["last"]
        self._forget()
        self._fold = self._next_fold()

    def _compare(self, fold: Row, used: list[Row], moved: list[Row]) -> list[tuple[int, int, int]]:
        """The rows of a run against its batches; the sums of the accounts that are written."""
        accounts = sorted({account for account, _ in self._used} | self._money.keys())
        if not fold["done"]:
            accounts = [account for account in accounts if account <= fold["account"]]
        elif accounts and fold["account"] != accounts[-1]:
            self._findings.differs("fold", fold["last"], "account", fold["account"], accounts[-1])
        by_account: dict[int, list[tuple[int, int, int]]] = {}
        for (account, tariff), (requests, micros) in sorted(self._used.items()):
            by_account.setdefault(account, []).append((tariff, requests, micros))
        gross = dict(self._gross)
        usage = [(account, *sums) for account in accounts for sums in by_account.get(account, ())]
        entries = [
            entry for account in accounts for entry in self._entries(account, by_account.get(account, []), gross)
        ]
        found_usage = [(row["account"], row["tariff"], row["requests"], row["micros"]) for row in used]
        self._differ("usage_hour", used, found_usage, usage, fold)
        found = [tuple(row[name] for name in ("kind", "payer", "payee", "unit", "micros", "cause")) for row in moved]
        self._differ("transfer", moved, found, entries, fold)
        for row in used:
            if row["hour"] != fold["hour"]:
                self._findings.differs("usage_hour", _name(row), "hour", row["hour"], fold["hour"])
        return [(account, tariff, micros) for account, tariff, _, micros in usage]

    def _entries(
        self, account: int, used: list[tuple[int, int, int]], gross: dict[tuple[str, str, int], int]
    ) -> Iterator[Entry]:
        """The transfers that an account's sums must have made."""
        caller, (holder, unit) = f"account:{account}", self._holders.get(account, ("", ""))
        for note in self._money.get(account, ()):
            if holder.startswith("owner:"):
                yield from _of_owner(note, holder, unit)
            else:
                yield from _entries_of(note, caller, f"debt:{account}", unit)
        nets: dict[tuple[str, int], int] = {}
        for tariff, _, micros in used:
            terms = self._terms.get(tariff, ("", 0))
            nets[terms] = nets.get(terms, 0) + micros
        for (owner, points), net in sorted(nets.items()):
            before = gross.get((owner, unit, points), 0)
            gross[owner, unit, points] = before + net
            commission = (before + net) * points // _WHOLE - before * points // _WHOLE
            for kind, other, micros in (
                ("share", f"owner:{owner}", net - commission),
                ("commission", "platform", commission),
            ):
                if micros:
                    ends = (caller, other) if micros > 0 else (other, caller)
                    yield (kind, *ends, unit, abs(micros), f"{owner} {points}")

    def _differ(self, table: str, rows: list[Row], found: object, expected: object, fold: Row) -> None:
        """Name the first row that is not as the batches say, and one that is missing or too many."""
        assert isinstance(found, list)
        assert isinstance(expected, list)
        for row, is_so, must_be in zip(rows, found, expected, strict=False):
            if is_so != must_be:
                self._findings.add(table, _name(row), None, f"is {short(is_so)} but its batches say {short(must_be)}")
        if len(found) < len(expected):
            what = f"has no {table} {short(expected[len(found)])}: the batches say so"
            self._bad(fold, None, what)
        for row in rows[len(expected) :]:
            self._findings.add(table, _name(row), None, "is in no batch")

    def _add_up(self, sums: list[tuple[int, int, int]]) -> None:
        for account, tariff, micros in sums:
            owner, points = self._terms.get(tariff, ("", 0))
            key = (owner, self._holders.get(account, ("", ""))[1], points)
            self._gross[key] = self._gross.get(key, 0) + micros

    def _check_hash(self, fold: Row, used: list[Row], moved: list[Row]) -> None:
        """Over the run's numbers, then account by account: whose it is if it was credited, its usage, its transfers."""
        numbers = [fold[name] for name in ("last", "first", "hour", "next", "started", "tariffs")]
        hash = _on(self._hash, [*numbers, fold["chain"].hex()])
        lines: dict[int, list[list[object]]] = {}
        for row in used:
            lines.setdefault(row["account"], []).append([row[n] for n in ("account", "tariff", "requests", "micros")])
        for row in moved:
            account = caller_of(row, self._owners)
            if row["kind"] in MONEY_KINDS:
                whose = [account, *self._holders.get(account, ())]
                held = lines.setdefault(account, [])
                if not held or held[0] != whose:
                    held.insert(0, whose)
            entry = [row[n] for n in ("kind", "payer", "payee", "unit", "micros", "cause")]
            lines.setdefault(account, []).append(entry)
        for account in sorted(lines):
            for line in lines[account]:
                hash = _on(hash, line)
        if hash != fold["hash"]:
            self._bad(fold, "hash", "is not that of its rows: they, or whose its accounts are, were changed")
        self._hash = fold["hash"]
        if fold["last"] == self._anchor:
            self.anchored = hash

    def _check_carries(self) -> None:
        expected = {key: sold * key[2] % _WHOLE for key, sold in self._gross.items() if key[2]}
        for row in self._database.rows("carry", order="owner, unit, commission_points"):
            key = (row["owner"], row["unit"], row["commission_points"])
            value = expected.pop(key, None)
            if value is None:
                self._findings.add("carry", row["owner"], None, f"of {row['unit']} at {key[2]} is of no transfer")
            elif row["carry"] != value:
                self._findings.differs("carry", row["owner"], "carry", row["carry"], value)
        for owner, unit, points in expected:
            self._findings.add("carry", owner, None, f"of {unit} at {points} is missing")

    def _bad(self, fold: Row, column: str | None, what: str) -> None:
        self._findings.add("fold", fold["last"], column, what)


class _Ahead:
    """Rows in the order of their folds, handed out a fold at a time."""

    def __init__(self, rows: Iterator[Row]) -> None:
        self._rows = rows
        self._coming = next(rows, None)

    def of(self, fold: int, findings: Findings) -> list[Row]:
        found = []
        while self._coming is not None and self._coming["fold"] <= fold:
            row, self._coming = self._coming, next(self._rows, None)
            if row["fold"] == fold:
                found.append(row)
            else:
                table = "transfer" if "number" in row else "usage_hour"
                findings.add(table, _name(row), None, "is of a fold that does not exist")
        return found

    def rest(self) -> Iterator[Row]:
        if self._coming is not None:
            yield self._coming
            yield from self._rows


def _entries_of(note: Row, caller: str, debt: str, unit: str) -> Iterator[Entry]:
    """A credit repays first and fills the account with the rest; a reversal owes what it cannot take."""
    ref, micros = note["ref"], note["micros"]
    source = f"clearing:{ref.split(':', 1)[0] if ':' in ref else 'other'}"
    if note["note"] == "credit":
        sides = (("repayment", source, debt, note["repaid"]), ("credit", source, caller, micros - note["repaid"]))
    else:
        sides = (("debt", debt, source, micros - note["taken"]), ("reversal", caller, source, note["taken"]))
    for kind, payer, payee, amount in sides:
        if amount:
            yield (kind, payer, payee, unit, amount, ref)


def _of_owner(note: Row, owner: str, unit: str) -> Iterator[Entry]:
    """A reversal leaves the owner, a credit comes back; what its ref begins with says where to, or where from."""
    ref, back = note["ref"], note["note"] == "credit"
    clawed = ref.split(":", 1)[0] == "claw_back"
    other = "clawed_back" if clawed else "paid_out:stripe"
    kind = ("restored" if clawed else "returned") if back else ("claw_back" if clawed else "payout")
    rest = note["repaid"] if back else note["micros"] - note["taken"]
    for amount in (rest, note["micros"] - rest):
        if amount:
            yield (kind, *((other, owner) if back else (owner, other)), unit, amount, ref)


def owners_in(holders: Mapping[int, tuple[str, str]]) -> dict[tuple[str, str], int]:
    """Of owners, the row of each and unit."""
    return {whose: id for id, whose in holders.items() if whose[0].startswith("owner:")}


def _name(row: Row) -> str:
    """`12/3`: the fold, and the number or account in it."""
    return f"{row['fold']}/{row['number'] if 'number' in row else row['account']}"


def caller_of(row: Row, owners: Mapping[tuple[str, str], int]) -> int:
    """The row of the account, or debt, that a transfer is of: a caller's, or else an owner's; 0 if it is of none."""
    if row["kind"] in OF_OWNERS:
        return max(owners.get((name, row["unit"]), 0) for name in (row["payer"], row["payee"]))
    for name in (row["payer"], row["payee"]):
        kind, _, id = name.partition(":")
        if kind in ("account", "debt") and id.isascii() and id.isdigit() and len(id) < 20:
            return int(id)
    return 0


def _on(hash: bytes, line: list[object]) -> bytes:
    text = json.dumps(line, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(hash + text.encode()).digest()
