"""A shorter audit of a file: what it says of what it finds. What both kinds prove is in `test_audit_of_both`."""

import asyncio
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from gateway.adapters.sqlite.audit import AuditRefused, Report, Since, audit
from tests.adapters.test_audit import CAPTURE, CORRECTION, GATED, Forger, forge, keep_books, record
from tests.adapters.test_damage import BATCHES, KEY, keep

FIRST = 31


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return asyncio.run(keep(tmp_path))


@pytest.fixture
def sql(path: Path) -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode = MEMORY").fetchall()
        connection.execute("PRAGMA ignore_check_constraints = ON")
        yield connection


def shorter(path: Path, first: int = FIRST) -> Report:
    return audit(path, head_key=KEY, since=Since(batch=first))


def told(report: Report) -> list[str]:
    return [str(finding) for finding in report.findings]


def test_later_batches_are_proved_upon_the_earlier_ones(path: Path) -> None:
    report = shorter(path)
    assert report.clean, told(report)
    assert report.head == "verified"
    assert (report.first_batch, report.batches, report.records) == (FIRST, 10, 200)
    assert report.totals == audit(path, head_key=KEY).totals
    assert any(f"batches up to {FIRST - 1}" in words for words in report.unproved)


def test_books_of_every_kind_are_clean_from_every_batch_on(tmp_path: Path) -> None:
    """Credits, tariffs, corrections, voids and a second unit in the middle of the chain."""
    path = asyncio.run(keep_books(tmp_path))
    whole = audit(path, head_key=KEY)
    for first in range(1, whole.batches + 2):
        report = shorter(path, first)
        assert report.clean, (first, told(report))
        assert report.totals == whole.totals


@pytest.mark.parametrize("seq", [FIRST, 35, BATCHES])
def test_a_batch_changed_since_is_the_first_bad_one(path: Path, sql: sqlite3.Connection, seq: int) -> None:
    sql.execute("UPDATE batch SET payload = zeroblob(length(payload)) WHERE seq = ?", (seq,))
    report = shorter(path)
    assert report.first_bad_batch == seq
    assert f"batch {seq}: hash is not that of its contents and the hash before it: it was changed" in told(report)


def test_the_hash_that_is_built_upon_is_seen_when_it_changed(path: Path, sql: sqlite3.Connection) -> None:
    sql.execute("UPDATE batch SET hash = zeroblob(32) WHERE seq = ?", (FIRST - 1,))
    assert shorter(path).first_bad_batch == FIRST


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("DELETE FROM batch WHERE seq = 12", "batch 13: seq follows 11: 1 missing between them"),
        ("DELETE FROM batch WHERE seq = 1", "batch 2: seq follows 0: 1 missing between them"),
        ("UPDATE batch SET count = 19 WHERE seq = 12", "batch 12: count is 19 but its payload has 960 bytes"),
        ("UPDATE batch SET first = 5 WHERE seq = 12", "batch 12: first or its `started` does not follow"),
        ("UPDATE account SET credited = credited + 1", "account 1: credited is 90000001 but its credits sum to"),
        ("UPDATE credit SET micros = micros - 1", "account 1: credited is 90000000 but its credits sum to 89999999"),
        ("UPDATE account SET spent = -1", "account 1: spent is -1, so it was"),
        ("UPDATE account SET spent = 90000001", "account 1: has less than nothing available"),
        ("UPDATE account SET spent = 90000000 + 400000", "account 1: has less than nothing available"),
        ("DELETE FROM account", "account 1: is missing: credits name it"),
        ("DELETE FROM tariff", "batch 31: payload holds a record 581 of tariff 1, which nobody noted"),
        ("INSERT INTO account (holder, unit) VALUES ('eve', 'usd')", "account 2: was made by no credit"),
        ("DROP INDEX batch_at", "schema index batch_at: is missing"),
        ("DELETE FROM batch WHERE seq > 38", "head: names batch 40, which is not there"),
    ],
)
def test_what_is_cheap_is_proved_of_the_whole_file(
    path: Path, sql: sqlite3.Connection, change: str, words: str
) -> None:
    sql.execute("PRAGMA foreign_keys = OFF")
    sql.execute(change)
    assert any(words in line for line in told(shorter(path))), told(shorter(path))


@pytest.mark.parametrize("since", [None, FIRST])
def test_the_first_batch_that_is_gone_from_the_end_is_named(
    path: Path, sql: sqlite3.Connection, since: int | None
) -> None:
    sql.execute("DELETE FROM batch WHERE seq > 37")
    report = audit(path, head_key=KEY, since=None if since is None else Since(batch=since))
    assert report.first_bad_batch == 38


def test_the_lowest_of_many_bad_batches_is_named(path: Path, sql: sqlite3.Connection) -> None:
    sql.execute("UPDATE batch SET at = at + 1 WHERE seq IN (9, 20, 33)")
    assert audit(path, head_key=KEY).first_bad_batch == 9
    assert shorter(path).first_bad_batch == 33


def test_rows_that_disagree_make_no_batch_bad(path: Path, sql: sqlite3.Connection) -> None:
    sql.execute("UPDATE account SET spent = spent + 1")
    report = audit(path, head_key=KEY)
    assert not report.clean
    assert report.first_bad_batch is None


def test_batches_that_cannot_be_read_name_the_first_of_them(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection:
        query = "SELECT pageno FROM dbstat WHERE name = 'batch' AND pagetype = 'leaf' ORDER BY pageno"
        try:
            pages = [page for (page,) in connection.execute(query)]
        except sqlite3.OperationalError:
            pages = []
    if not pages:
        pytest.skip("this SQLite cannot tell where its pages are")
    contents = bytearray(path.read_bytes())
    contents[(pages[-1] - 1) * 4096 : (pages[-1] - 1) * 4096 + 100] = b"\xff" * 100
    path.write_bytes(contents)
    report = audit(path, head_key=KEY)
    assert report.first_bad_batch is not None
    assert 1 < report.first_bad_batch <= BATCHES


def test_a_change_to_an_earlier_request_is_not_judged_and_a_later_one_is(path: Path, sql: sqlite3.Connection) -> None:
    forger = Forger(path, sql)
    forger.batch(record(CAPTURE, 100), record(GATED, 50, request=2))
    forger.batch(record(CORRECTION, -40), record(CAPTURE, 30, request=3))
    forger.batch(record(CORRECTION, -31, request=3))
    forge(sql)
    report = audit(path, since=Since(batch=3))
    assert told(report) == [
        "batch 4: payload holds a record 5 of request req_0000000003e80000000000000003 of account 1 that takes it below"
        " zero, to -1"
    ]


def test_overspending_since_is_seen_between_any_two_commits(path: Path, sql: sqlite3.Connection) -> None:
    forger = Forger(path, sql)  # 1000 were credited
    forger.batch(record(CAPTURE, 900))
    forger.batch(record(CAPTURE, 101, request=2))
    forger.batch(record(CORRECTION, -50, request=2))
    forge(sql)
    assert told(audit(path, since=Since(batch=3))) == ["account 1: has spent 1001 of 1000 after batch 3"]


def test_the_tariffs_and_credits_of_later_batches_are_compared(path: Path, sql: sqlite3.Connection) -> None:
    report = audit(path, since=Since(batch=2))
    assert report.clean
    sql.execute("UPDATE credit SET batch = 35")
    assert "credit stripe:cs_1: is not in the notes of batch 35" in told(shorter(path))


def test_a_base_that_cannot_be_read_is_refused(path: Path, sql: sqlite3.Connection) -> None:
    sql.execute("PRAGMA writable_schema = ON")
    sql.execute("UPDATE sqlite_schema SET sql = replace(replace(sql, ') STRICT', ')'), ' NOT NULL', '')")
    sql.execute("PRAGMA schema_version = 99")
    with closing(sqlite3.connect(path, isolation_level=None)) as loose:
        loose.execute("PRAGMA ignore_check_constraints = ON")
        loose.execute("UPDATE batch SET hash = 'text' WHERE seq = ?", (FIRST - 1,))
    with pytest.raises(AuditRefused, match="audit without --since"):
        shorter(path)
