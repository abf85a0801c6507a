"""Prove the books from their bytes alone.

Nothing here comes from the ledger: the layout of a record, the hash of a batch and the shape of a note are written down
a second time, so that a mistake in the ledger cannot hide in its own proof.

What is proved, of one snapshot: the chain holds from its first batch; every request was captured once, was never worth
less than nothing or more than its capture, and was voided only while its answer had not started; no account was
overspent at any commit; every row of `account`, `credit` and `tariff` is what the chain says it is, and there is no row
that the chain does not know. Whoever can write the file can also compute the chain anew, or drop its end; that shows
against the *head*, the newest hash under a key that is not in the file. Without the key the report says that nobody
looked. A head and a file that are both put back to the same earlier day prove themselves; only a copy elsewhere tells.

**Nothing is written.** While a gateway runs, or a `-wal` file lies there, this is one read transaction like any other
(SQLite may put its `-shm` index beside such a file). Otherwise the file is opened as immutable, which leaves nothing
beside it; should a gateway have started meanwhile, the audit begins again.

**Memory.** Batches are streamed. Sums are kept for every account, and for the newest requests only: when too many are
open, the older half (by the time in their ids) is let go. A record that comes for a request from before that edge is
noted, and a second pass over the file follows just these requests from their beginning. So every request is checked
whole, however late its correction; what grows is the memory, and only with the number of such latecomers.
"""

import hashlib
import hmac
import json
import sqlite3
import struct
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

FINDINGS_MAX = 100
"""So many findings are told; the rest are counted."""

_REQUESTS_AT_ONCE = 250_000
_PROGRESS_EVERY = 256

_RECORD = struct.Struct(">B3sIqqqqq")  # kind, nothing, tariff, account, token, micros, time and number of the request
_NUMBERS = struct.Struct(">qqqqqq")  # of a batch: seq, at, first, count, started, bytes of payload
_GENESIS = bytes(32)

_CAPTURE, _GATED_CAPTURE, _CORRECTION, _VOID = 1, 2, 3, 4

_UNREADABLE = (sqlite3.Error, UnicodeError, OverflowError, MemoryError)
"""What reading a broken file can raise: SQLite's own messages may quote it, and so be no text themselves."""

_MIGRATION = """CREATE TABLE migration (
    number INTEGER PRIMARY KEY, name TEXT NOT NULL, checksum TEXT NOT NULL) STRICT"""

_TYPES: Mapping[str, type] = {"int": int, "text": str, "blob": bytes}
_TYPE_NAMES: Mapping[type, str] = {int: "an integer", str: "a text", bytes: "a blob"}


def _shape(text: str) -> Mapping[str, type]:
    return {name: _TYPES[type] for name, _, type in (word.partition(":") for word in text.split())}


_COLUMNS = {
    "migration": _shape("number:int name:text checksum:text"),
    "account": _shape(
        "id:int holder:text unit:text priority:int expires:int credited:int spent:int leased:int debt:int"
    ),
    "credit": _shape("ref:text account:int micros:int kind:text reason:text at:int batch:int"),
    "tariff": _shape("id:int route:text owner:text commission_points:int price:text"),
    "batch": _shape("seq:int at:int first:int count:int started:int payload:blob notes:text hash:blob"),
}
"""The tables, their keys first."""

_NOTES: Mapping[object, Mapping[str, type]] = {
    "credit": _shape("note:text account:int ref:text holder:text unit:text micros:int kind:text reason:text at:int"),
    "tariff": _shape("note:text id:int route:text owner:text commission_points:int price:text"),
}

Row = dict[str, Any]
RequestKey = tuple[int, int, int]
"""The time and the number of a request, and the account that paid for it."""


class AuditRefused(Exception):
    """There is nothing to audit: no file, not a ledger, or one of a newer gateway. The message says which."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is not as it must be, and the row where it shows."""

    table: str
    row: int | str | None
    column: str | None
    what: str

    def __str__(self) -> str:
        row = "" if self.row is None else f" {self.row}" if str(self.row).isprintable() else f" {self.row!r}"
        column = "" if self.column is None else f"{self.column} "
        return f"{self.table}{row}: {column}{self.what}"


@dataclass(frozen=True, slots=True)
class Total:
    """All accounts of one unit, in micros."""

    credited: int
    spent: int
    available: int


@dataclass(frozen=True, slots=True)
class Report:
    """What was read and what was found. `more` counts the findings beyond those that are told."""

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

    @property
    def clean(self) -> bool:
        return not self.findings


def audit(
    path: Path,
    *,
    head_key: bytes | Sequence[bytes] | None = None,
    head_path: Path | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Report:
    """Audit the ledger in `path`. Raises AuditRefused when that is no ledger; whatever else is wrong is a finding.

    `head_key` is the subkey `ledger head` of the sealing key, or of each of them: any may have signed. `progress` is
    told how many batches were read, and of how many.
    """
    keys = None if head_key is None else [head_key] if isinstance(head_key, bytes) else list(head_key)
    head = _Head(head_path or path.with_name(path.name + ".head"), keys)
    if not path.is_file():
        raise AuditRefused(f"{path} is not a file" if path.exists() else f"{path} does not exist")
    at_rest = _at_rest(path)
    before = path.stat()
    report = _audit_once(path, head, progress, immutable=at_rest)
    after = path.stat()
    if at_rest and (not _at_rest(path) or (after.st_mtime_ns, after.st_size) != (before.st_mtime_ns, before.st_size)):
        report = _audit_once(path, head, progress, immutable=False)
    return report


def _at_rest(path: Path) -> bool:
    """Whether nobody has the file open and all of it is in the one file."""
    wal, index = (path.with_name(path.name + ending) for ending in ("-wal", "-shm"))
    return not index.exists() and (not wal.exists() or not wal.stat().st_size)


def _audit_once(path: Path, head: "_Head", progress: Callable[[int, int], None] | None, *, immutable: bool) -> Report:
    head.read()  # before the snapshot: a head may lag behind the books, never lead them
    address = f"{path.resolve().as_uri()}?mode=ro{'&immutable=1' if immutable else ''}"
    try:
        connection = sqlite3.connect(address, uri=True, isolation_level=None)
    except sqlite3.Error as error:
        raise AuditRefused(f"{path} cannot be opened: {error}") from error
    with closing(connection):
        connection.text_factory = lambda raw: raw.decode("utf-8", "surrogateescape")
        return _Audit(path, connection, progress).run(head)


class _Findings:
    """The first findings, and a count of the rest."""

    def __init__(self) -> None:
        self.told: list[Finding] = []
        self.more = 0

    def add(self, table: str, row: int | str | None, column: str | None, what: str) -> None:
        finding = Finding(table, row, column, what)
        if finding in self.told:
            return
        if len(self.told) < FINDINGS_MAX:
            self.told.append(finding)
        else:
            self.more += 1


@dataclass(slots=True)
class _Account:
    """What the chain says of an account."""

    holder: str
    unit: str
    credited: int = 0
    spent: int = 0
    overspent: bool = False


class _Audit:
    """One pass over the batches, and then over the rows that they must agree with."""

    def __init__(self, path: Path, connection: sqlite3.Connection, progress: Callable[[int, int], None] | None) -> None:
        self._path = path
        self._sql = connection
        self._progress = progress
        self._findings = _Findings()
        self._requests = _Requests(self._findings)
        self._accounts: dict[int, _Account] = {}
        self._tariffs: dict[int, Row] = {}
        self._unread: set[str] = set()
        self._seq = 0
        self._next = 1
        self._started = 0
        self._hashes: tuple[bytes, ...] = (_GENESIS,)  # what may stand before the next batch; empty: unknown
        self._batches = self._records = self._voided = self._voided_micros = 0

    def run(self, head: "_Head") -> Report:
        try:
            self._sql.execute("BEGIN")
            self._check_what_it_is()
        except _UNREADABLE as error:
            if getattr(error, "sqlite_errorcode", None) in (sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CANTOPEN):
                raise AuditRefused(f"{self._path} is not a ledger: {error}") from error
            self._findings.add("database", None, None, f"cannot be read: {error}")
            return self._report({}, 0, 0, "not checked: the database cannot be read")
        self._check_database()
        credits = self._walk_the_chain()
        self._requests.follow_latecomers(self._rows("batch", "seq", "first", "started", "payload", order="seq"))
        self._check_tariffs()
        totals, accounts = self._check_accounts()
        return self._report(totals, accounts, credits, head.check(self._sql, self._findings))

    def _report(self, totals: Mapping[str, Total], accounts: int, credits: int, head: str) -> Report:
        return Report(
            self._batches,
            self._records,
            accounts,
            credits,
            totals,
            self._voided,
            self._voided_micros,
            head,
            tuple(self._findings.told),
            self._findings.more,
        )

    # --- the database -------------------------------------------------------------------------------------------------

    def _rows(self, table: str, *columns: str, order: str) -> Iterator[Row]:
        """A table's rows, without those whose values have the wrong type: they are findings, as is a table's end."""
        types = _COLUMNS[table]
        names = columns or tuple(types)
        key = next(iter(types))
        try:
            for values in self._sql.execute(f"SELECT {', '.join(names)} FROM {table} ORDER BY {order}"):  # noqa: S608
                row = dict(zip(names, values, strict=True))
                wrong = [name for name in names if type(row[name]) is not types[name]]
                for name in wrong:
                    what = f"is {_short(row[name])}, which is not {_TYPE_NAMES[types[name]]}"
                    self._findings.add(table, row[key] if isinstance(row[key], int | str) else None, name, what)
                if not wrong:
                    yield row
        except _UNREADABLE as error:
            self._unread.add(table)
            self._findings.add(table, None, None, f"cannot be read to its end: {error}")

    def _check_what_it_is(self) -> None:
        tables = {name for (name,) in self._sql.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")}
        if not {"migration", "account", "batch"} <= tables:
            raise AuditRefused(f"{self._path} is not a ledger: it holds no books")
        shipped = {int(name[:4]): (name, text) for name, text in _shipped()}
        found = {row["number"]: row for row in self._rows("migration", order="number")}
        newer = found.keys() - shipped.keys()
        if newer and not shipped.keys() - found.keys():
            raise AuditRefused(f"{self._path} is from a newer gateway: it has migration {max(newer)}")
        for number in newer:
            self._findings.add("migration", number, None, "is unknown")
        for number, (name, text) in shipped.items():
            row = found.get(number)
            if row is None:
                self._findings.add("migration", number, None, f"is missing: {name} was never applied")
                continue
            for column, value in (("name", name), ("checksum", hashlib.sha256(text.encode()).hexdigest())):
                if row[column] != value:
                    self._findings.add("migration", number, column, f"is {_short(row[column])}, not {value}")

    def _check_database(self) -> None:
        """SQLite's own view of its pages and indexes, and the tables' definitions against the ones that we ship."""
        schema = "SELECT type || ' ' || name, tbl_name, sql FROM sqlite_schema"
        try:
            for (message,) in self._sql.execute("PRAGMA integrity_check(10)"):
                if message != "ok":
                    self._findings.add("database", None, None, f"is damaged: {_line(message)}")
            found = {str(name): definition for name, *definition in self._sql.execute(schema)}
        except _UNREADABLE as error:
            self._findings.add("database", None, None, f"is damaged: {error}")
            return
        with closing(sqlite3.connect(":memory:")) as model:
            for text in (_MIGRATION, *(text for _, text in _shipped())):
                model.executescript(text)
            expected = {str(name): definition for name, *definition in model.execute(schema)}
        for name in sorted({*found, *expected}):
            if found.get(name) != expected.get(name):
                change = "is missing" if name not in found else "is unknown" if name not in expected else "was changed"
                self._findings.add("schema", name, None, change)

    # --- the chain ----------------------------------------------------------------------------------------------------

    def _walk_the_chain(self) -> int:
        """Batch by batch, with the credits that each must have brought; how many credits there are."""
        credits = _Credits(self._sql, self._findings, self._rows("credit", order="batch"))
        total = self._count("batch")
        for batch in self._rows("batch", order="seq"):
            seq = batch["seq"]
            self._check_numbers(batch)
            self._check_hash(batch)
            touched = self._read_notes(batch, credits)
            touched |= self._read_records(batch)
            self._check_boundary(seq, touched)
            self._seq, self._next, self._started = seq, batch["first"] + batch["count"], batch["started"]
            self._batches += 1
            if self._progress and not self._batches % _PROGRESS_EVERY:
                self._progress(self._batches, max(total, self._batches))
        credits.finish()
        if self._progress:
            self._progress(self._batches, max(total, self._batches))
        return credits.count

    def _count(self, table: str) -> int:
        try:
            return int(self._sql.execute(f"SELECT count(*) FROM {table}").fetchone()[0])  # noqa: S608
        except _UNREADABLE:
            return 0

    def _check_numbers(self, batch: Row) -> None:
        seq, first, count, started = (batch[name] for name in ("seq", "first", "count", "started"))
        if seq != self._seq + 1:
            self._bad(seq, "seq", f"follows {self._seq}: {seq - self._seq - 1} missing between them")
            self._hashes = ()
        elif first != self._next:
            self._bad(seq, "first", f"is {first} where {self._next} is the next record")
        if len(batch["payload"]) % _RECORD.size:
            self._bad(seq, "payload", f"has {len(batch['payload'])} bytes, which are no whole records")
        if count != len(batch["payload"]) // _RECORD.size:
            self._bad(seq, "count", f"is {count} but its payload has {len(batch['payload']) // _RECORD.size} records")
        if started < self._started:
            self._bad(seq, "started", f"is {started} after it was {self._started}")
        if started >= first + count:
            self._bad(seq, "started", f"is {started} but the last record is {first + count - 1}")
        if batch["at"] <= 0:
            self._bad(seq, "at", f"is {batch['at']}, which is no time")

    def _check_hash(self, batch: Row) -> None:
        """A batch whose hash alone was changed must not make the next one look wrong, so both readings may follow."""
        payload = batch["payload"]
        numbers = _NUMBERS.pack(*(batch[name] for name in ("seq", "at", "first", "count", "started")), len(payload))
        contents = numbers + payload + batch["notes"].encode("utf-8", "surrogateescape")
        computed = [hashlib.sha256(before + contents).digest() for before in self._hashes]
        if computed and batch["hash"] not in computed:
            self._bad(batch["seq"], "hash", "is not that of its contents and the hash before it: it was changed")
        self._hashes = tuple(dict.fromkeys((batch["hash"], *computed[:1])))

    def _read_notes(self, batch: Row, credits: "_Credits") -> set[int]:
        """Take in what a batch says of tariffs and credits; the accounts that it credits."""
        noted = []
        lines = batch["notes"].split("\n")
        if lines.pop():
            self._bad(batch["seq"], "notes", "do not end with a line's end")
        for number, line in enumerate(lines, 1):
            note = _read_note(line)
            if note is None:
                self._bad(batch["seq"], "notes", f"hold a line {number} that is no note")
            elif note.pop("note") == "tariff":
                self._take_tariff(batch["seq"], note)
            else:
                noted.append(note)
                self._take_credit(batch, note)
        credits.compare(batch["seq"], noted)
        return {note["account"] for note in noted}

    def _take_tariff(self, seq: int, note: Row) -> None:
        if note["id"] in self._tariffs:
            self._findings.add("tariff", note["id"], None, f"is noted again by batch {seq}")
        self._tariffs.setdefault(note["id"], note)

    def _take_credit(self, batch: Row, note: Row) -> None:
        id, ref = note["account"], note["ref"]
        if note["micros"] <= 0:
            self._findings.add("credit", ref, "micros", f"is {note['micros']} in the note of batch {batch['seq']}")
        if note["at"] != batch["at"]:
            self._bad(batch["seq"], "notes", f"say that credit {ref} came at {note['at']}, not at {batch['at']}")
        account = self._accounts.setdefault(id, _Account(note["holder"], note["unit"]))
        if (account.holder, account.unit) != (note["holder"], note["unit"]):
            self._findings.add("account", id, None, f"belongs to somebody else in the note of batch {batch['seq']}")
        account.credited += note["micros"]

    def _read_records(self, batch: Row) -> set[int]:
        """Add up a batch's records; the accounts that they move."""
        touched = set()
        whole = len(batch["payload"]) // _RECORD.size * _RECORD.size
        records = _RECORD.iter_unpack(memoryview(batch["payload"])[:whole])
        for number, (kind, padding, tariff, id, token, micros, at_ms, request) in enumerate(records, batch["first"]):
            self._records += 1
            wrong = _wrong_record(kind, padding, token, micros)
            if wrong:
                self._bad(batch["seq"], "payload", f"holds a record {number} that {wrong}")
            if tariff not in self._tariffs:
                self._bad(batch["seq"], "payload", f"holds a record {number} of tariff {tariff}, which nobody noted")
            account = self._accounts.get(id)
            if account is None:
                self._bad(batch["seq"], "payload", f"holds a record {number} of account {id}, which nobody credited")
            else:
                account.spent += micros
                touched.add(id)
            if kind == _VOID:
                self._voided += 1
                self._voided_micros -= micros
            self._requests.take(batch["seq"], number, kind, micros, (at_ms, request, id), self._started)
        return touched

    def _check_boundary(self, seq: int, touched: set[int]) -> None:
        """No account may ever have been overspent: not now, and not between any two commits."""
        for id in touched:
            account = self._accounts[id]
            if not 0 <= account.spent <= account.credited and not account.overspent:
                account.overspent = True
                what = f"has spent {account.spent} of {account.credited} after batch {seq}"
                self._findings.add("account", id, None, what)

    def _bad(self, seq: int, column: str, what: str) -> None:
        self._findings.add("batch", seq, column, what)

    # --- the rows -----------------------------------------------------------------------------------------------------

    def _check_tariffs(self) -> None:
        found = {row["id"]: row for row in self._rows("tariff", order="id")}
        for id, row in found.items():
            noted = self._tariffs.get(id)
            if noted is None:
                self._findings.add("tariff", id, None, "is not in the chain")
                continue
            for column, value in noted.items():
                if row[column] != value:
                    self._differs("tariff", id, column, row[column], value)
        for id in self._tariffs.keys() - found.keys():
            self._findings.add("tariff", id, None, "is missing: the chain notes it")

    def _check_accounts(self) -> tuple[Mapping[str, Total], int]:
        """Balances against the sums of the chain; totals by unit, and how many accounts there are."""
        totals: dict[str, Total] = {}
        seen = set()
        for row in self._rows("account", order="id"):
            seen.add(row["id"])
            if "batch" not in self._unread:
                self._check_account(row)
            before = totals.get(row["unit"], Total(0, 0, 0))
            credited, spent = before.credited + row["credited"], before.spent + row["spent"]
            available = before.available + row["credited"] - row["spent"] - row["leased"]
            totals[row["unit"]] = Total(credited, spent, available)
        for id in sorted(self._accounts.keys() - seen):
            self._findings.add("account", id, None, "is missing: the chain credits it")
        if "batch" in self._unread:
            self._findings.add("account", None, None, "was not compared with a chain that cannot be read to its end")
        return totals, len(seen)

    def _check_account(self, row: Row) -> None:
        id = row["id"]
        for column in ("priority", "expires", "leased", "debt"):
            if row[column]:
                self._findings.add("account", id, column, f"is {row[column]}, and nothing writes it")
        if row["credited"] - row["spent"] - row["leased"] < 0:
            self._findings.add("account", id, None, "has less than nothing available")
        account = self._accounts.get(id)
        if account is None:
            self._findings.add("account", id, None, "was made by no credit")
            return
        for column, value in (("holder", account.holder), ("unit", account.unit)):
            if row[column] != value:
                self._differs("account", id, column, row[column], value)
        if row["credited"] != account.credited:
            what = f"is {row['credited']} but its credits sum to {account.credited}"
            self._findings.add("account", id, "credited", what)
        if row["spent"] != account.spent:
            self._findings.add("account", id, "spent", f"is {row['spent']} but its records sum to {account.spent}")

    def _differs(self, table: str, row: int | str, column: str, value: object, noted: object) -> None:
        self._findings.add(table, row, column, f"is {_short(value)} but the chain says {_short(noted)}")


class _Credits:
    """The credit rows in the order of their batches, compared with the notes of each."""

    def __init__(self, connection: sqlite3.Connection, findings: _Findings, rows: Iterator[Row]) -> None:
        self._sql = connection
        self._findings = findings
        self._rows = rows
        self._coming = next(rows, None)
        self.count = 0

    def compare(self, seq: int, notes: list[Row]) -> None:
        """The notes of one batch, column by column, with the rows that name it; none of either may be left over."""
        rows = self._rows_of(seq)
        for note in notes:
            ref = note["ref"]
            row = rows.pop(ref, None)
            if row is None:
                self._findings.add("credit", ref, *self._whereabouts(seq, ref))
                continue
            for column in ("account", "micros", "kind", "reason", "at"):
                if row[column] != note[column]:
                    what = f"is {_short(row[column])} but the chain says {_short(note[column])}"
                    self._findings.add("credit", ref, column, what)
        for ref in rows:
            self._findings.add("credit", ref, None, f"is not in the notes of batch {seq}")

    def finish(self) -> None:
        self._rows_of(None)

    def _rows_of(self, seq: int | None) -> dict[str, Row]:
        """The rows that name this batch. Those before it name batches that do not exist."""
        found = {}
        while self._coming is not None and (seq is None or self._coming["batch"] <= seq):
            row, self._coming = self._coming, next(self._rows, None)
            self.count += 1
            if row["batch"] == seq:
                found[row["ref"]] = row
            else:
                self._findings.add("credit", row["ref"], "batch", f"is {row['batch']}, and there is no such batch")
        return found

    def _whereabouts(self, seq: int, ref: str) -> tuple[str | None, str]:
        """Why a note has no row: it names another batch, was noted twice, or is gone."""
        try:
            found = self._sql.execute("SELECT batch FROM credit WHERE ref = ?", (ref,)).fetchone()
        except _UNREADABLE:
            found = None
        if found is None:
            return None, f"is missing: batch {seq} notes it"
        if found[0] == seq:
            return None, f"is noted twice by batch {seq}, or cannot be read"
        return "batch", f"is {_short(found[0])} but batch {seq} notes it"


@dataclass(slots=True)
class _Request:
    """How one request stands: the number, size and kind of its capture (0 if there was none), and its sum."""

    number: int = 0
    captured: int = 0
    gated: bool = False
    sum: int = 0
    voided: bool = False


class _Requests:
    """Follows what each request did cost. Exact, with few of them in memory: see the module's docstring."""

    def __init__(self, findings: _Findings) -> None:
        self._findings = findings
        self._open: dict[RequestKey, _Request] = {}
        self._late: set[RequestKey] = set()
        self._edge: int | None = None

    def take(self, seq: int, number: int, kind: int, micros: int, key: RequestKey, started: int) -> None:
        """One record. `started` is the watermark of the batch before."""
        if self._edge is not None and key[0] < self._edge:
            self._late.add(key)
            return
        self._judge(self._open.setdefault(key, _Request()), seq, number, kind, micros, key, started)
        if len(self._open) > _REQUESTS_AT_ONCE:
            times = sorted(at_ms for at_ms, _, _ in self._open)
            self._edge = times[len(times) // 2] + 1
            self._open = {key: request for key, request in self._open.items() if key[0] >= self._edge}

    def follow_latecomers(self, batches: Iterator[Row]) -> None:
        """Go through the records again, for those requests that had been let go when a record of them came."""
        if not self._late:
            return
        latecomers = {key: _Request() for key in self._late}
        started = 0
        for batch in batches:
            whole = len(batch["payload"]) // _RECORD.size * _RECORD.size
            records = _RECORD.iter_unpack(memoryview(batch["payload"])[:whole])
            for number, (kind, _, _, id, _, micros, at_ms, request) in enumerate(records, batch["first"]):
                late = latecomers.get((at_ms, request, id))
                if late is not None:
                    self._judge(late, batch["seq"], number, kind, micros, (at_ms, request, id), started)
            started = batch["started"]

    def _judge(
        self, request: _Request, seq: int, number: int, kind: int, micros: int, key: RequestKey, started: int
    ) -> None:
        """Add a record to its request, and say what it may not do."""
        after = request.sum + micros
        wrong = None
        if kind in (_CAPTURE, _GATED_CAPTURE):
            if request.number:
                wrong = "captures it again"
            request.number, request.captured, request.gated = number, micros, kind == _GATED_CAPTURE
        elif not request.number:
            wrong = "changes it before it was captured"
        elif request.voided:
            wrong = "changes it after it was voided"
        elif kind == _CORRECTION and after > request.captured:
            wrong = f"raises it to {after}, above its capture of {request.captured}"
        elif kind == _VOID:
            wrong = _wrong_void(request, after, started)
            request.voided = True
        if wrong is None and after < 0:
            wrong = f"takes it below zero, to {after}"
        request.sum = after
        if wrong is not None:
            name = f"req_{key[0] & (1 << 64) - 1:012x}{key[1] & (1 << 64) - 1:016x}"
            what = f"holds a record {number} of request {name} of account {key[2]} that {wrong}"
            self._findings.add("batch", seq, "payload", what)


class _Head:
    """The head file: the newest hash that the gateway vouched for, under a key that is not in the database."""

    def __init__(self, path: Path, keys: Sequence[bytes] | None) -> None:
        self._path = path
        self._keys = keys
        self._text: bytes | OSError = b""

    def read(self) -> None:
        try:
            self._text = self._path.read_bytes() if self._keys is not None else b""
        except OSError as error:
            self._text = error

    def check(self, connection: sqlite3.Connection, findings: _Findings) -> str:
        """How the head stands: `verified`, `not checked: …`, or `failed: …`, which is also a finding."""
        if self._keys is None:
            return "not checked: no key was given, so nobody knows whether the last rows are still there"
        wrong = self._wrong(connection)
        if wrong is None:
            return "verified"
        findings.add("head", None, None, wrong)
        return f"failed: {wrong}"

    def _wrong(self, connection: sqlite3.Connection) -> str | None:
        if isinstance(self._text, FileNotFoundError):
            return f"{self._path.name} is missing: nothing proves that the last rows are still there"
        if isinstance(self._text, OSError):
            return f"{self._path.name} cannot be read: {self._text.strerror}"
        try:
            head = json.loads(self._text)
            seq, hash, mac = head["seq"], head["hash"], head["mac"]
        except (ValueError, KeyError, TypeError, RecursionError):
            return f"{self._path.name} is not a head that the gateway wrote"
        signed = f"{seq} {hash}".encode("utf-8", "surrogatepass")
        given = str(mac).encode("utf-8", "surrogatepass")
        macs = [hmac.digest(key, signed, "sha256").hex().encode() for key in self._keys or ()]
        if type(seq) is not int or not any(hmac.compare_digest(given, expected) for expected in macs):
            return f"{self._path.name} is not signed by a key of this gateway"
        if seq == 0:
            return None if hash == _GENESIS.hex() else f"{self._path.name} names a hash before the first batch"
        try:
            found = connection.execute("SELECT hash FROM batch WHERE seq = ?", (seq,)).fetchone()
        except _UNREADABLE as error:
            return f"names batch {seq}, which cannot be read: {error}"
        if found is None:
            return f"names batch {seq}, which is not there: the last rows were dropped, or an old copy was put back"
        if not isinstance(found[0], bytes) or found[0].hex() != hash:
            return f"names batch {seq} by another hash: the chain was written anew"
        return None


def _wrong_record(kind: int, padding: bytes, token: int, micros: int) -> str | None:
    """What is wrong with a record by itself."""
    if kind not in (_CAPTURE, _GATED_CAPTURE, _CORRECTION, _VOID):
        return f"is of the unknown kind {kind}"
    if padding != b"\0\0\0":
        return "has something in its padding"
    if token < 0:
        return f"names the token {token}"
    if kind in (_CAPTURE, _GATED_CAPTURE) and micros <= 0:
        return f"captures {micros}"
    if kind == _VOID and micros >= 0:
        return f"voids {-micros}"
    return "corrects nothing" if micros == 0 else None


def _wrong_void(request: _Request, after: int, started: int) -> str | None:
    if not request.gated:
        return "voids a capture that was not gated"
    if request.number <= started:
        return "voids a capture whose answer had started"
    return f"leaves {after} of it" if after else None


def _read_note(line: str) -> Row | None:
    """A note as the gateway writes it, to the byte; None for anything else."""
    try:
        note = json.loads(line)
        if not isinstance(note, dict):
            return None
        canonical = json.dumps(note, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
        shape = _NOTES.get(note.get("note"))
    except (ValueError, TypeError, RecursionError):
        return None
    if shape is None or canonical != line or {name: type(value) for name, value in note.items()} != shape:
        return None
    return note


def _shipped() -> Iterator[tuple[str, str]]:
    """The migrations of this gateway's ledger, by name, in order."""
    folder = files("gateway.adapters.sqlite").joinpath("migrations/ledger")
    for file in sorted(folder.iterdir(), key=lambda file: file.name):
        if file.name.endswith(".sql"):
            yield file.name, file.read_text()


def _short(value: object) -> str:
    text = repr(value) if isinstance(value, str | bytes) else str(value)
    return text if len(text) <= 80 else text[:77] + "…"


def _line(message: object) -> str:
    return " ".join(str(message).split())
