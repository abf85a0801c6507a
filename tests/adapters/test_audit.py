"""`gateway audit` against books that were kept by the real keeper, and then tampered with."""

import ast
import asyncio
import hashlib
import hmac
import json
import os
import random
import shutil
import sqlite3
import struct
from collections.abc import Awaitable, Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from gateway.adapters.sqlite import audit as module
from gateway.adapters.sqlite.audit import FINDINGS_MAX, AuditRefused, Finding, Report, Total, audit, chain, requests
from gateway.adapters.sqlite.ledger import SqliteLedgerStore
from gateway.core.ids import RequestId
from gateway.core.ledger import Credit, Tariff
from gateway.core.money import Money
from gateway.flows.keep import Keeper, Pace

TORTURE = bool(os.environ.get("GATEWAY_TORTURE"))
KEY = b"k" * 32
OTHER_KEY = b"o" * 32
PACE = Pace(gap=0, idly=0, quiet=0.001, refuse_after=60, give_up_after=60, retry=0)
SEARCH = Tariff("search", "operator", 0, "0.002 usd")
EXPORT = Tariff("export", "anna", 1500, "0.05 usd")


class Clock:
    def __init__(self) -> None:
        self.ms = 1_790_000_000_000

    def now_ms(self) -> int:
        self.ms += 7
        return self.ms


class Books:
    """A keeper over a file, and a customer who makes requests."""

    def __init__(self, path: Path, clock: Clock) -> None:
        self.path = path
        self._clock = clock
        self._store = SqliteLedgerStore(path, head_key=KEY)
        self.keeper = Keeper(self._store, clock, pace=PACE)

    async def credit(self, account: str, ref: str, amount: str) -> bool:
        return await self.keeper.credit(Credit(ref, account, Money.parse(amount), "payment", f"paid by {account} – ✓"))

    async def request(
        self, account: str, price: str, cost: str | None = None, *, relaxed: bool = False, tariff: Tariff = SEARCH
    ) -> None:
        ceiling = Money.parse(price)
        id = RequestId(self._clock.now_ms(), self._clock.ms * 3)
        hold = await self.keeper.hold(account, ceiling, id=id, token=id.number, tariff=tariff)
        await self.keeper.start(hold, ceiling, "relaxed" if relaxed else "strict")
        hold.started()
        self.keeper.settle(hold, ceiling if cost is None else Money.parse(cost))

    async def unanswered(self, account: str, price: str) -> Callable[[], Money]:
        """A strict request whose price is on disk and whose answer never starts; what would end it."""
        id = RequestId(self._clock.now_ms(), self._clock.ms * 3)
        hold = await self.keeper.hold(account, Money.parse(price), id=id, token=4, tariff=SEARCH)
        await self.keeper.start(hold, Money.parse(price), "strict")
        return lambda: self.keeper.settle(hold, Money.parse(price))

    async def commit(self) -> None:
        """Return when everything up to now is on disk."""
        await self.keeper.balance(f"nobody {self._clock.now_ms()}", "usd")

    def photograph(self, path: Path) -> None:
        """What a crash would leave of the files just now."""
        for ending in ("", "-wal", ".head"):
            shutil.copy(self.path.with_name(self.path.name + ending), path.with_name(path.name + ending))


async def keep_books(folder: Path) -> Path:
    """Every kind of row and record: two units, strict and relaxed, corrected, given back, a crash with voids."""
    clock = Clock()
    first = Books(folder / "first.db", clock)
    await first.keeper.open()
    await first.credit("ann", "stripe:cs_1", "5.00 usd")
    await first.credit("bob", "stripe:cs_2", "0.10 usd")
    assert not await first.credit("bob", "stripe:cs_2", "0.10 usd")
    await first.request("ann", "0.002 usd")
    await first.request("bob", "0.05 usd", "0.02 usd", tariff=EXPORT)
    await first.commit()
    end = [await first.unanswered("ann", "0.002 usd"), await first.unanswered("bob", "0.03 usd")]
    first.photograph(folder / "books.db")
    for settle in end:
        settle()
    await first.keeper.close()

    second = Books(folder / "books.db", clock)
    recovered = await second.keeper.open()
    assert (recovered.count, recovered.micros) == (2, 32_000)
    await second.credit("ann", "manual:7", "3.00 eur")
    await asyncio.gather(
        second.request("ann", "0.002 usd"),
        second.request("bob", "0.002 usd", relaxed=True),
        second.request("ann", "0.5 eur", "0.00 eur", relaxed=True),
        second.request("ann", "1.25 eur", tariff=EXPORT),
    )
    await second.commit()
    await second.request("bob", "0.01 usd", "0.00 usd")
    await second.keeper.close()
    assert not second.path.with_name("books.db-wal").exists()
    return second.path


@dataclass(frozen=True)
class Original:
    """The bytes of books that are as they should be."""

    books: bytes
    head: bytes

    def copy(self, folder: Path) -> Path:
        path = folder / "copy.db"
        path.write_bytes(self.books)
        path.with_name("copy.db.head").write_bytes(self.head)
        return path


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Original:
    path = asyncio.run(keep_books(tmp_path_factory.mktemp("books")))
    return Original(path.read_bytes(), path.with_name("books.db.head").read_bytes())


@pytest.fixture
def copy(original: Original, tmp_path: Path) -> Path:
    return original.copy(tmp_path)


@pytest.fixture
def sql(copy: Path) -> Iterator[sqlite3.Connection]:
    """Somebody who can write the file, whatever its rules say."""
    with closing(sqlite3.connect(copy, isolation_level=None)) as connection:
        for pragma in ("journal_mode = MEMORY", "synchronous = OFF", "ignore_check_constraints = ON"):
            connection.execute(f"PRAGMA {pragma}").fetchall()
        yield connection


def forge(connection: sqlite3.Connection) -> None:
    """Compute the whole chain anew, as somebody can who has no key."""
    before = bytes(32)
    for seq, at, first, count, started, payload, notes in connection.execute(
        "SELECT seq, at, first, count, started, payload, notes FROM batch ORDER BY seq"
    ).fetchall():
        numbers = struct.pack(">qqqqqq", seq, at, first, count, started, len(payload))
        before = hashlib.sha256(before + numbers + payload + notes.encode()).digest()
        connection.execute("UPDATE batch SET hash = ? WHERE seq = ?", (before, seq))


def told(report: Report) -> list[str]:
    return [str(finding) for finding in report.findings]


def names(report: Report, table: str, *rows: object) -> bool:
    return any(finding.table == table and finding.row in rows for finding in report.findings)


# --- books that are as they should be ---------------------------------------------------------------------------------


def test_books_that_were_kept_well_are_clean_and_add_up(copy: Path) -> None:
    report = audit(copy, head_key=KEY)
    assert report.findings == ()
    assert report.clean
    assert report.head == "verified"
    assert (report.accounts, report.credits, report.voided, report.voided_micros) == (3, 3, 2, 32_000)
    assert report.totals == {
        "usd": Total(5_100_000, 26_000, 5_074_000),
        "eur": Total(3_000_000, 1_250_000, 1_750_000),
    }
    assert report.records == 14
    assert report.batches >= 7


def test_a_finding_reads_like_a_sentence() -> None:
    finding = Finding("account", 17, "spent", "is 4000 but its records sum to 2000")
    assert str(finding) == "account 17: spent is 4000 but its records sum to 2000"
    assert str(Finding("head", None, None, "is gone")) == "head: is gone"
    assert str(Finding("credit", "a\nb", None, "is gone")) == r"credit 'a\nb': is gone"


def test_the_audit_shares_no_code_with_the_ledger() -> None:
    modules = sorted(Path(module.__file__).parent.glob("**/*.py"))
    assert len(modules) > 5
    nodes = [node for path in modules for node in ast.walk(ast.parse(path.read_text()))]
    imported = {node.module or "" for node in nodes if isinstance(node, ast.ImportFrom)}
    imported |= {name.name for node in nodes if isinstance(node, ast.Import) for name in node.names}
    ours = {name for name in imported if name.startswith("gateway")}
    assert not {name for name in ours if not name.startswith(f"{module.__name__}.")}


def test_the_audit_leaves_nothing_behind_and_changes_nothing(copy: Path, original: Original) -> None:
    copy.chmod(0o400)
    audit(copy, head_key=KEY)
    assert sorted(file.name for file in copy.parent.iterdir()) == ["copy.db", "copy.db.head"]
    assert copy.read_bytes() == original.books


def test_a_missing_file_is_told_and_not_made(tmp_path: Path) -> None:
    with pytest.raises(AuditRefused, match="does not exist"):
        audit(tmp_path / "gone.db", head_key=KEY)
    with pytest.raises(AuditRefused, match="is not a file"):
        audit(tmp_path, head_key=KEY)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("contents", [b"", b"not a database, but long enough to be mistaken for one" * 40])
def test_a_file_that_is_no_ledger_is_refused(tmp_path: Path, contents: bytes) -> None:
    path = tmp_path / "notes.txt"
    path.write_bytes(contents)
    with pytest.raises(AuditRefused, match="is not a ledger"):
        audit(path)


def test_a_database_of_somebody_else_is_refused(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "x.db")) as connection:
        connection.execute("CREATE TABLE account (id)")
    with pytest.raises(AuditRefused, match="it holds no books"):
        audit(tmp_path / "x.db")


def test_books_of_a_newer_gateway_are_refused(copy: Path, sql: sqlite3.Connection) -> None:
    sql.execute("INSERT INTO migration VALUES (99, '0099_purses.sql', 'abc')")
    with pytest.raises(AuditRefused, match="newer gateway: it has migration 99"):
        audit(copy, head_key=KEY)


async def test_books_are_audited_while_the_gateway_keeps_them(tmp_path: Path) -> None:
    books = Books(tmp_path / "live.db", Clock())
    await books.keeper.open()
    await books.credit("ann", "stripe:cs_1", "5.00 usd")
    for _ in range(3):
        await books.request("ann", "0.5 usd")
        await books.commit()
        assert audit(books.path, head_key=KEY).findings == ()
    assert audit(books.path).totals["usd"].spent == 1_500_000
    await books.keeper.close()
    assert audit(books.path, head_key=KEY).clean


async def test_an_image_with_its_wal_and_without_its_index_is_audited(tmp_path: Path) -> None:
    books = Books(tmp_path / "live.db", Clock())
    await books.keeper.open()
    await books.credit("ann", "stripe:cs_1", "5.00 usd")
    books.photograph(tmp_path / "image.db")
    await books.keeper.close()
    report = audit(tmp_path / "image.db", head_key=KEY)
    assert report.clean
    assert report.credits == 1


def test_books_that_change_while_they_are_read_at_rest_are_read_again(
    original: Original, copy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reads = []
    once = module._audit_once

    def read_and_meddle(path: Path, *arguments: Any, immutable: bool) -> Report:
        reads.append(immutable)
        if len(reads) == 1:
            path.write_bytes(original.books + bytes(4096))
        return once(path, *arguments, immutable=immutable)

    monkeypatch.setattr(module, "_audit_once", read_and_meddle)
    audit(copy, head_key=KEY)
    assert reads == [True, False]


def test_progress_is_told_up_to_the_end(copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chain, "_PROGRESS_EVERY", 2)
    steps: list[tuple[int, int]] = []
    report = audit(copy, progress=lambda done, total: steps.append((done, total)))
    assert steps[0] == (2, report.batches)
    assert steps[-1] == (report.batches, report.batches)


# --- the head ---------------------------------------------------------------------------------------------------------


def test_without_a_key_the_report_says_that_the_head_was_not_checked(copy: Path) -> None:
    report = audit(copy)
    assert report.clean
    assert report.head.startswith("not checked: no key was given")


def test_a_head_signed_by_any_key_of_the_ring_is_verified(copy: Path) -> None:
    assert audit(copy, head_key=[OTHER_KEY, KEY]).head == "verified"
    report = audit(copy, head_key=[OTHER_KEY])
    assert told(report) == ["head: copy.db.head is not signed by a key of this gateway"]
    assert report.head.startswith("failed: ")


def test_a_missing_head_is_a_finding(copy: Path) -> None:
    head = copy.with_name("copy.db.head")
    kept = copy.with_name("elsewhere")
    head.rename(kept)
    report = audit(copy, head_key=KEY)
    assert told(report) == ["head: copy.db.head is missing: nothing proves that the last rows are still there"]
    assert audit(copy, head_key=KEY, head_path=kept).head == "verified"


def test_every_byte_of_the_head_counts(copy: Path, original: Original) -> None:
    head = copy.with_name("copy.db.head")
    for position in range(len(original.head.rstrip())):
        head.write_bytes(flip(original.head, position))
        assert names(audit(copy, head_key=KEY), "head", None), position


def test_a_head_that_is_not_a_file_is_a_finding(copy: Path) -> None:
    copy.with_name("copy.db.head").unlink()
    copy.with_name("copy.db.head").mkdir()
    assert names(audit(copy, head_key=KEY), "head", None)


@pytest.mark.parametrize("seq", [0, 2**70, -1])
def test_a_head_of_any_number_is_judged_without_failing(copy: Path, seq: int) -> None:
    hash = "ab" * 32
    mac = hmac.digest(KEY, f"{seq} {hash}".encode(), "sha256").hex()
    copy.with_name("copy.db.head").write_text(json.dumps({"seq": seq, "hash": hash, "mac": mac}))
    assert names(audit(copy, head_key=KEY), "head", None)


@pytest.mark.parametrize("dropped", [1, 2, 5])
def test_dropped_last_batches_are_noticed_by_the_head_alone(copy: Path, sql: sqlite3.Connection, dropped: int) -> None:
    """The accounts, credits and tariffs are put in order by somebody who knows the books."""
    (last,) = sql.execute("SELECT max(seq) FROM batch").fetchone()
    sql.execute("DELETE FROM batch WHERE seq > ?", (last - dropped,))
    tidy(sql)
    without = audit(copy)
    assert without.clean
    assert without.head.startswith("not checked")
    report = audit(copy, head_key=KEY)
    assert told(report) == [
        f"head: names batch {last}, which is not there: the last rows were dropped, or an old copy was put back"
    ]


def test_a_chain_that_was_written_anew_is_noticed_by_the_head_alone(copy: Path, sql: sqlite3.Connection) -> None:
    (seq, payload) = sql.execute("SELECT seq, payload FROM batch WHERE count = 1 ORDER BY seq LIMIT 1").fetchone()
    (micros,) = struct.unpack_from(">q", payload, 24)
    cheaper = payload[:24] + struct.pack(">q", micros - 1) + payload[32:]
    sql.execute("UPDATE batch SET payload = ? WHERE seq = ?", (cheaper, seq))
    (account,) = struct.unpack_from(">q", payload, 8)
    sql.execute("UPDATE account SET spent = spent - 1 WHERE id = ?", (account,))
    assert names(audit(copy), "batch", seq)
    forge(sql)
    assert audit(copy).clean
    (finding,) = told(audit(copy, head_key=KEY))
    assert finding.startswith("head: names batch")
    assert finding.endswith("by another hash: the chain was written anew")


def tidy(sql: sqlite3.Connection) -> None:
    """Make every other table agree with what is left of the chain."""
    credited: dict[int, int] = {}
    spent: dict[int, int] = {}
    refs, tariffs = [], []
    for payload, notes in sql.execute("SELECT payload, notes FROM batch").fetchall():
        for _, _, account, _, micros, _, _ in struct.iter_unpack(">BxxxIqqqqq", payload):
            spent[account] = spent.get(account, 0) + micros
        for note in map(json.loads, notes.splitlines()):
            if note["note"] == "credit":
                credited[note["account"]] = credited.get(note["account"], 0) + note["micros"]
                refs.append(note["ref"])
            else:
                tariffs.append(note["id"])
    for table, column, values in (("credit", "ref", refs), ("tariff", "id", tariffs), ("account", "id", [*credited])):
        marks = ",".join("?" * len(values))
        sql.execute(f"DELETE FROM {table} WHERE {column} NOT IN ({marks})", values)
    for id, micros in credited.items():
        sql.execute("UPDATE account SET credited = ?, spent = ? WHERE id = ?", (micros, spent.get(id, 0), id))


# --- every byte of every column ---------------------------------------------------------------------------------------


def flip(value: bytes, position: int) -> bytes:
    changed = bytearray(value)
    changed[position] ^= 1 << position % 8
    return bytes(changed)


def spoilt(value: object, row: int = 0) -> Iterator[object]:
    """The value with one bit flipped in each of its bytes; of a long one in every fourth, in each row other ones."""
    if isinstance(value, int):
        number = struct.pack(">q", value)
        yield from (struct.unpack(">q", flip(number, position))[0] for position in range(8))
    else:
        raw = value.encode() if isinstance(value, str) else value
        assert isinstance(raw, bytes)
        step = 4 if len(raw) > 64 and not TORTURE else 1
        yield from (flip(raw, position) for position in range(row % step, len(raw), step))


@pytest.mark.parametrize("table", ["account", "credit", "tariff", "batch"])
def test_changing_any_byte_of_any_money_column_names_its_row(copy: Path, sql: sqlite3.Connection, table: str) -> None:
    columns = [(name, type, bool(key)) for _, name, type, _, _, key in sql.execute(f"PRAGMA table_info({table})")]
    (key,) = (name for name, _, is_key in columns if is_key)
    rows = sql.execute(f"SELECT {key}, {', '.join(name for name, _, _ in columns)} FROM {table}").fetchall()
    changes = 0
    key_type = next(type for name, type, is_key in columns if is_key)
    for number, (row, *values) in enumerate(rows):
        for (name, type, is_key), value in zip(columns, values, strict=True):
            for other in spoilt(value, number):
                text = f"UPDATE {table} SET {name} = CAST(? AS {type}) WHERE {key} = CAST(? AS {key_type})"
                try:
                    sql.execute(text, (other, row))
                except sqlite3.IntegrityError:
                    continue  # two rows of one key cannot be written
                report = audit(copy)
                now = spelt(other) if is_key else row
                assert names(report, table, row, now), (table, row, name, other, told(report))
                sql.execute(text, (value, other if is_key else row))
                changes += 1
    assert audit(copy).clean
    assert changes > 70


def spelt(value: object) -> object:
    return value.decode("utf-8", "surrogateescape") if isinstance(value, bytes) else value


@pytest.mark.parametrize("table", ["account", "credit", "tariff", "batch", "migration"])
def test_a_row_that_is_gone_is_named(original: Original, tmp_path: Path, table: str) -> None:
    with closing(sqlite3.connect(original.copy(tmp_path))) as sql:
        (key,) = (name for _, name, _, _, _, is_key in sql.execute(f"PRAGMA table_info({table})") if is_key)
        rows = [row for (row,) in sql.execute(f"SELECT {key} FROM {table} ORDER BY {key}")]
    for row in rows:
        path = original.copy(tmp_path)
        with closing(sqlite3.connect(path, isolation_level=None)) as sql:
            sql.execute(f"DELETE FROM {table} WHERE {key} = ?", (row,))
        report = audit(path, head_key=KEY)
        if table != "batch":
            assert names(report, table, row), row
        elif row == rows[-1]:
            assert names(report, "head", None)
        else:
            assert names(report, "batch", row + 1), row  # the one that follows misses it


def test_a_lowered_balance_is_told_in_plain_words(copy: Path, sql: sqlite3.Connection) -> None:
    sql.execute("UPDATE account SET spent = spent + 2000 WHERE id = 2")
    assert told(audit(copy, head_key=KEY)) == ["account 2: spent is 24000 but its records sum to 22000"]


# --- the chain --------------------------------------------------------------------------------------------------------


def test_the_first_bad_batch_is_named_and_the_rest_is_still_checked(copy: Path, sql: sqlite3.Connection) -> None:
    sql.execute("UPDATE batch SET at = at + 1 WHERE seq = 3")
    sql.execute("UPDATE account SET spent = 1 WHERE id = 3")
    report = audit(copy, head_key=KEY)
    assert told(report) == [
        "batch 3: hash is not that of its contents and the hash before it: it was changed",
        "account 3: spent is 1 but its records sum to 1250000",
    ]


def test_two_batches_that_changed_places_are_both_named(copy: Path, sql: sqlite3.Connection) -> None:
    for was, now in ((4, -1), (5, 4), (-1, 5)):
        sql.execute("UPDATE batch SET seq = ? WHERE seq = ?", (now, was))
    report = audit(copy)
    assert names(report, "batch", 4)
    assert names(report, "batch", 5)


def test_a_duplicated_credit_is_named(copy: Path, sql: sqlite3.Connection) -> None:
    sql.execute(
        "INSERT INTO credit SELECT 'stripe:cs_1b', account, micros, kind, reason, at, batch, repaid FROM credit LIMIT 1"
    )
    sql.execute("UPDATE account SET credited = (SELECT sum(micros) FROM credit WHERE account = account.id)")
    assert names(audit(copy), "credit", "stripe:cs_1b")


def test_a_credit_of_a_batch_that_does_not_exist_is_named(copy: Path, sql: sqlite3.Connection) -> None:
    sql.execute("INSERT INTO credit VALUES ('stripe:late', 1, 5, 'payment', '', 1, 99, 0)")
    assert "credit stripe:late: batch is 99, and there is no such batch" in told(audit(copy))


def test_an_account_that_no_credit_made_is_named(copy: Path, sql: sqlite3.Connection) -> None:
    sql.execute("INSERT INTO account (holder, unit) VALUES ('eve', 'usd')")
    assert told(audit(copy)) == ["account 4: was made by no credit"]


def test_a_changed_table_definition_is_named(copy: Path, sql: sqlite3.Connection) -> None:
    sql.execute("DROP INDEX batch_at")
    sql.execute("CREATE TABLE extra (x)")
    sql.execute("PRAGMA writable_schema = ON")
    sql.execute("UPDATE sqlite_schema SET sql = replace(sql, 'CHECK (micros > 0)', '') WHERE name = 'credit'")
    report = audit(copy)
    assert {str(finding) for finding in report.findings} == {
        "schema index batch_at: is missing",
        "schema table credit: was changed",
        "schema table extra: is unknown",
    }


@pytest.mark.parametrize(
    ("column", "value"), [("name", "0001_other.sql"), ("checksum", "0" * 64), ("number", 98), ("number", -1)]
)
def test_a_changed_migration_is_named(copy: Path, sql: sqlite3.Connection, column: str, value: object) -> None:
    sql.execute(f"UPDATE migration SET {column} = ? WHERE number = 1", (value,))
    assert names(audit(copy), "migration", 1)


def test_many_findings_are_counted_and_the_first_are_told(copy: Path, sql: sqlite3.Connection) -> None:
    sql.executemany("INSERT INTO account (holder, unit) VALUES (?, 'usd')", [(f"eve {n}",) for n in range(150)])
    report = audit(copy)
    assert len(report.findings) == FINDINGS_MAX
    assert report.more == 50
    assert not report.clean


# --- forged chains: what is wrong although every hash is right --------------------------------------------------------

CAPTURE, GATED, CORRECTION, VOID, RENEWAL = 1, 2, 3, 4, 5


def record(kind: int, micros: int, *, request: int = 1, account: int = 1, tariff: int = 1, at: int = 1000) -> bytes:
    return struct.pack(">BxxxIqqqqq", kind, tariff, account, 5, micros, at, request)


class Forger:
    """Writes batches that have the right hashes and whatever contents it likes, and lets the balances agree."""

    def __init__(self, path: Path, sql: sqlite3.Connection) -> None:
        self._sql = sql
        self._path = path
        self._next, self._seq = 1, 0
        for table in ("batch", "credit", "tariff", "account"):
            sql.execute(f"DELETE FROM {table}")
        tariff = {"note": "tariff", "id": 1, "route": "r", "owner": "o", "commission_points": 0, "price": "p"}
        credit = {
            "note": "credit", "account": 1, "ref": "c", "holder": "h", "unit": "usd", "micros": 1000,
            "kind": "k", "reason": "", "at": 1000,
        }  # fmt: skip
        sql.execute("INSERT INTO tariff VALUES (1, 'r', 'o', 0, 'p')")
        sql.execute("INSERT INTO account (id, holder, unit, credited) VALUES (1, 'h', 'usd', 1000)")
        sql.execute("INSERT INTO credit VALUES ('c', 1, 1000, 'k', '', 1000, 1, 0)")
        self.batch(notes=[tariff, credit])

    def batch(
        self, *records: bytes, notes: list[dict[str, object]] | str = "", started: int | None = None, at: int = 1000
    ) -> None:
        """`started` is every record so far, if it is not given."""
        self._seq += 1
        if not isinstance(notes, str):
            notes = "".join(json.dumps(n, sort_keys=True, separators=(",", ":")) + "\n" for n in notes)
        started = self._next + len(records) - 1 if started is None else started
        row = (self._seq, at, self._next, len(records), started, b"".join(records), notes, bytes(32))
        self._sql.execute("INSERT INTO batch VALUES (?, ?, ?, ?, ?, ?, ?, ?)", row)
        self._next += len(records)
        for piece in records:
            (id,), (micros,) = struct.unpack_from(">q", piece, 8), struct.unpack_from(">q", piece, 24)
            self._sql.execute("UPDATE account SET spent = spent + ? WHERE id = ?", (micros, id))

    def findings(self) -> list[str]:
        forge(self._sql)
        return told(audit(self._path))


@pytest.fixture
def forger(copy: Path, sql: sqlite3.Connection) -> Forger:
    return Forger(copy, sql)


def test_a_forger_who_keeps_to_the_rules_is_not_suspected(forger: Forger) -> None:
    forger.batch(record(CAPTURE, 100), record(GATED, 50, request=2), record(GATED, 70, request=3), started=2)
    forger.batch(record(CORRECTION, -100), record(CORRECTION, -20, request=3), started=2)
    forger.batch(record(CORRECTION, 10, request=3), started=2)
    forger.batch(record(VOID, -60, request=3))
    forger.batch(record(RENEWAL, 30, request=2), record(CORRECTION, -35, request=2), record(CORRECTION, 35, request=2))
    assert forger.findings() == []


@pytest.mark.parametrize(
    ("batches", "finding"),
    [
        ([[record(CAPTURE, 10), record(CAPTURE, 10)]], "captures it again"),
        ([[record(CAPTURE, 10)], [record(GATED, 10)]], "captures it again"),
        ([[record(CORRECTION, -10)]], "changes it before it was captured"),
        ([[record(CAPTURE, 10)], [record(CORRECTION, -11)]], "takes it below zero, to -1"),
        ([[record(CAPTURE, 10)], [record(CORRECTION, 1)]], "raises it to 11, above its capture of 10"),
        ([[record(RENEWAL, 10)]], "changes it before it was captured"),
        ([[record(CAPTURE, 10)], [record(RENEWAL, 0)]], "renews by 0"),
        (
            [[record(CAPTURE, 10), record(RENEWAL, 5)], [record(CORRECTION, 1)]],
            "raises it to 16, above",
        ),
        ([[record(CAPTURE, 10)], [record(VOID, -10)]], "voids a capture that was not gated"),
        ([[record(GATED, 10)], [record(VOID, -10)]], "voids a capture whose answer had started"),
        ([[record(CAPTURE, 10, account=2)]], "of account 2, which nobody credited"),
        ([[record(CAPTURE, 10, tariff=2)]], "of tariff 2, which nobody noted"),
        ([[record(7, 10)]], "is of the unknown kind 7"),
        ([[record(CAPTURE, 0)]], "captures 0"),
        ([[record(GATED, -5)]], "captures -5"),
        ([[record(CAPTURE, 10)], [record(CORRECTION, 0)]], "corrects nothing"),
        ([[b"\1\0\1\0" + record(CAPTURE, 10)[4:]]], "has something in its padding"),
        ([[record(CAPTURE, 10)[:16] + b"\xff" * 8 + record(CAPTURE, 10)[24:]]], "names the token -1"),
        ([[record(CAPTURE, 1001)]], "account 1: has spent 1001 of 1000 after batch 2"),
        ([[record(CAPTURE, 1001)], [record(CORRECTION, -900)]], "account 1: has spent 1001 of 1000 after batch 2"),
    ],
)
def test_records_that_cannot_be_are_named(forger: Forger, batches: list[list[bytes]], finding: str) -> None:
    for records in batches:
        forger.batch(*records)
    assert any(finding in line for line in forger.findings()), forger.findings()


@pytest.mark.parametrize(
    ("undo", "finding"),
    [
        ([record(VOID, -9)], "leaves 1 of it"),
        ([record(VOID, -11)], "leaves -1 of it"),
        ([record(VOID, 5)], "voids -5"),
        ([record(VOID, -10), record(CORRECTION, -1)], "changes it after it was voided"),
        ([record(VOID, -10), record(VOID, -10)], "changes it after it was voided"),
    ],
)
def test_a_void_undoes_exactly_what_was_there(forger: Forger, undo: list[bytes], finding: str) -> None:
    forger.batch(record(GATED, 10), started=0)
    forger.batch(*undo)
    assert any(finding in line for line in forger.findings()), forger.findings()


def test_a_request_is_followed_however_few_are_kept_in_memory(forger: Forger, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(requests, "_REQUESTS_AT_ONCE", 8)
    for second in range(60):
        forger.batch(record(CAPTURE, 3, request=second, at=second), record(GATED, 1, request=second, at=second))
    findings = forger.findings()
    assert len(findings) == 60
    assert all("captures it again" in line for line in findings)


def test_a_late_second_capture_is_found_and_a_late_correction_is_none(
    forger: Forger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(requests, "_REQUESTS_AT_ONCE", 8)
    for second in range(40):
        forger.batch(record(CAPTURE, 3, request=second, at=second))
    forger.batch(record(CORRECTION, -3, request=0, at=0), record(CORRECTION, -1, request=20, at=20))
    assert forger.findings() == []
    forger.batch(record(CAPTURE, 3, request=1, at=1))
    forger.batch(record(CORRECTION, -3, request=20, at=20))
    first, second_ = forger.findings()
    assert "captures it again" in first
    assert "takes it below zero, to -1" in second_


@pytest.mark.parametrize(
    ("notes", "finding"),
    [
        ("{}\n", "hold a line 1 that is no note"),
        ("[1]\n", "hold a line 1 that is no note"),
        ('{"note":"gift"}\n', "hold a line 1 that is no note"),
        ('{"note":["credit"]}\n', "hold a line 1 that is no note"),
        ("[" * 5000 + "\n", "hold a line 1 that is no note"),
        ('{"commission_points":true,"id":2,"note":"tariff","owner":"","price":"","route":""}\n', "is no note"),
        ('{"commission_points":0,"id": 2,"note":"tariff","owner":"","price":"","route":""}\n', "is no note"),
        ('{"commission_points":0,"id":2,"note":"tariff","owner":"","price":"","route":""}\n', "tariff 2: is missing"),
        ('{"commission_points":0,"id":1,"note":"tariff","owner":"","price":"","route":""}\n', "is noted again"),
        ("x", "do not end with a line's end"),
    ],
)
def test_notes_that_cannot_be_are_named(forger: Forger, notes: str, finding: str) -> None:
    forger.batch(notes=notes)
    assert any(finding in line for line in forger.findings()), forger.findings()


@pytest.mark.parametrize(
    ("change", "finding"),
    [
        ({"ref": "d"}, "credit d: is missing: batch 2 notes it"),
        ({"ref": "c"}, "credit c: batch is 1 but batch 2 notes it"),
        ({"micros": 0}, "credit d: micros is 0 in the note of batch 2"),
        ({"holder": "g"}, "account 1: belongs to somebody else in the note of batch 2"),
        ({"at": 999}, "batch 2: notes say that credit 'd' came at 999, not at 1000"),
    ],
)
def test_credits_that_cannot_be_are_named(forger: Forger, change: dict[str, object], finding: str) -> None:
    note: dict[str, object] = {
        "note": "credit", "account": 1, "ref": "d", "holder": "h", "unit": "usd", "micros": 5,
        "kind": "k", "reason": "", "at": 1000,
    }  # fmt: skip
    forger.batch(notes=[note | change])
    assert finding in forger.findings()


def test_a_credit_that_one_batch_notes_twice_is_named(forger: Forger, sql: sqlite3.Connection) -> None:
    note: dict[str, object] = {
        "note": "credit", "account": 1, "ref": "d", "holder": "h", "unit": "usd", "micros": 5,
        "kind": "k", "reason": "", "at": 1000,
    }  # fmt: skip
    sql.execute("INSERT INTO credit VALUES ('d', 1, 5, 'k', '', 1000, 2, 0)")
    forger.batch(notes=[note, note])
    assert "credit d: is noted twice by batch 2, or cannot be read" in forger.findings()


@pytest.mark.parametrize(
    ("change", "finding"),
    [
        ("started = 0 WHERE seq = 3", "batch 3: started is 0 after it was 1"),
        ("started = 9 WHERE seq = 3", "batch 3: started is 9 but the last record is 2"),
        ("first = 7 WHERE seq = 2", "batch 2: first is 7 where 1 is the next record"),
        ("count = 2 WHERE seq = 2", "batch 2: count is 2 but its payload has 1 records"),
        (
            "payload = CAST(payload || x'00' AS BLOB) WHERE seq = 2",
            "batch 2: payload has 49 bytes, which are no whole records",
        ),
        ("at = 0 WHERE seq = 2", "batch 2: at is 0, which is no time"),
        ("seq = 9 WHERE seq = 3", "batch 9: seq follows 2: 6 missing between them"),
        ("hash = x'00' WHERE seq = 3", "batch 3: hash is not that of its contents and the hash before it"),
    ],
)
def test_numbers_that_cannot_be_are_named(
    copy: Path, forger: Forger, sql: sqlite3.Connection, change: str, finding: str
) -> None:
    forger.batch(record(CAPTURE, 1))
    forger.batch(record(CAPTURE, 1, request=2))
    assert forger.findings() == []
    sql.execute(f"UPDATE batch SET {change}")
    assert any(finding in line for line in told(audit(copy))), told(audit(copy))


# --- a broken file ----------------------------------------------------------------------------------------------------


def contents(path: Path) -> object:
    """Everything that a reader of the file can see; an error if it cannot."""
    with closing(sqlite3.connect(f"{path.as_uri()}?mode=ro&immutable=1", uri=True)) as connection:
        connection.text_factory = bytes
        try:
            schema = connection.execute("SELECT type, name, tbl_name, sql FROM sqlite_schema").fetchall()
            tables = [name.decode() for type, name, _, _ in schema if type == b"table"]
            return schema, [connection.execute(f"SELECT * FROM {table}").fetchall() for table in tables]
        except sqlite3.Error as error:
            return str(error)


def test_a_byte_flipped_anywhere_in_the_file_is_noticed_or_means_nothing(original: Original, tmp_path: Path) -> None:
    path = original.copy(tmp_path)
    healthy = contents(path)
    chance = random.Random(20)
    noticed = 0
    used = [position for position, byte in enumerate(original.books) if byte]
    for position in [*range(100), *chance.sample(range(len(original.books)), 120), *chance.sample(used, 280)]:
        path.write_bytes(flip(original.books, position))
        try:
            report = audit(path, head_key=KEY)
        except AuditRefused:
            noticed += 1
            continue
        noticed += not report.clean
        assert not report.clean or contents(path) == healthy, position
    assert noticed > 150


@pytest.mark.parametrize("pages", [1, 2, 3, 5, 7])
def test_a_truncated_file_is_a_finding(original: Original, tmp_path: Path, pages: int) -> None:
    path = original.copy(tmp_path)
    path.write_bytes(original.books[: pages * 4096 - 1000])
    assert not audit(path, head_key=KEY).clean


def test_pages_of_noise_are_findings(original: Original, tmp_path: Path) -> None:
    path = original.copy(tmp_path)
    chance = random.Random(3)
    for page in range(1, len(original.books) // 4096):
        start = page * 4096
        path.write_bytes(original.books[:start] + chance.randbytes(4096) + original.books[start + 4096 :])
        assert not audit(path, head_key=KEY).clean, page


def test_values_of_another_type_are_findings(copy: Path, sql: sqlite3.Connection) -> None:
    """No SQL can put them there; a table that forgot that it is strict can."""
    sql.execute("PRAGMA writable_schema = ON")
    sql.execute("UPDATE sqlite_schema SET sql = replace(replace(sql, ') STRICT', ')'), ' NOT NULL', '')")
    sql.execute("PRAGMA schema_version = 99")
    with closing(sqlite3.connect(copy, isolation_level=None)) as loose:
        loose.execute("PRAGMA ignore_check_constraints = ON")
        loose.execute("UPDATE account SET credited = NULL WHERE id = 1")
        loose.execute("UPDATE account SET holder = x'00ff' WHERE id = 2")
        loose.execute("UPDATE batch SET payload = 'text' WHERE seq = 4")
        loose.execute("UPDATE credit SET micros = 1.5 WHERE ref = 'manual:7'")
    report = audit(copy, head_key=KEY)
    for table, row in (("account", 1), ("account", 2), ("batch", 4), ("credit", "manual:7")):
        assert names(report, table, row)
    assert "account 1: credited is None, which is not an integer" in told(report)


async def test_a_busy_gateway_and_its_auditor_do_not_disturb_each_other(tmp_path: Path) -> None:
    books = Books(tmp_path / "live.db", Clock())
    await books.keeper.open()
    await books.credit("ann", "stripe:cs_1", "500.00 usd")

    async def sell() -> None:
        for _ in range(60):
            await books.request("ann", "0.5 usd", "0.25 usd")

    selling: list[Awaitable[None]] = [asyncio.create_task(sell()) for _ in range(4)]
    loop = asyncio.get_running_loop()
    reports = [await loop.run_in_executor(None, lambda: audit(books.path, head_key=KEY)) for _ in range(5)]
    await asyncio.gather(*selling)
    assert [report.findings for report in reports] == [()] * 5
    await books.keeper.close()
    assert audit(books.path, head_key=KEY).totals["usd"].spent == 240 * 250_000
