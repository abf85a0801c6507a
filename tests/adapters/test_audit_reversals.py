"""`gateway audit` against books in which money was taken back, tampered with row by row."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from gateway.adapters.sqlite.audit import Since, Total, audit
from gateway.adapters.sqlite.bookkeeping import EVERYTHING_MS
from gateway.adapters.sqlite.fold import Fold
from gateway.adapters.sqlite.ledger import Head
from gateway.core.ledger import GENESIS, Draft, Kind, Tariff, chain
from tests.batches import HOUR, KEY, NOON, Batches

SEARCH = Tariff("search", "operator", 0, "p")


@pytest.fixture
def batches(tmp_path: Path) -> Iterator[Batches]:
    """1000 paid, 900 spent, 500 refunded (100 were there), 250 paid, of which 150 come too late for the debt of 400."""
    made = Batches(tmp_path / "books.db")
    made.credit("stripe:cs_1", 1000)
    made.record(Kind.CAPTURE, 900, SEARCH)
    made.commit()
    made.reverse("stripe:re_1", 500, 100)
    made.commit(NOON + 1)
    made.credit("stripe:cs_2", 250)
    made.commit(NOON + HOUR)
    made.credit("stripe:cs_3", 250)
    made.reverse("stripe:re_2", 30, 30)
    made.commit(NOON + HOUR)
    yield made
    made.sql.close()


def fold(batches: Batches) -> None:
    folding = Fold()
    while folding.step(batches.sql, closed_before_ms=EVERYTHING_MS):
        pass


def forge(batches: Batches) -> None:
    """Compute the chain anew, and sign it: what is left are books that lie consistently."""
    before = GENESIS
    rows = batches.sql.execute("SELECT seq, at, first, count, started, payload, notes FROM batch ORDER BY seq")
    for seq, at, first, count, started, payload, notes in rows.fetchall():
        before = chain(before, Draft(seq, first, at, started, count, bytearray(payload)), notes)
        batches.sql.execute("UPDATE batch SET hash = ? WHERE seq = ?", (before, seq))
    Head(batches.path, KEY).write(seq, before)


@pytest.mark.parametrize("folded", [False, True])
def test_books_with_reversals_and_debts_are_clean_and_add_up(batches: Batches, folded: bool) -> None:
    if folded:
        fold(batches)
    batches.sign()
    report = audit(batches.path, head_key=KEY)
    assert report.findings == ()
    assert (report.credits, report.reversals) == (3, 2)
    assert report.totals == {"usd": Total(970, 900, 70)}
    for batch in range(1, 6):
        assert audit(batches.path, head_key=KEY, since=Since(batch=batch)).findings == ()


def test_a_debt_is_told(tmp_path: Path) -> None:
    batches = Batches(tmp_path / "books.db")
    batches.credit("stripe:cs_1", 1000)
    batches.reverse("stripe:re_1", 1500, 1000)
    batches.commit()
    batches.close()
    assert audit(batches.path, head_key=KEY).totals == {"usd": Total(0, 0, -500, 500)}


@pytest.mark.parametrize(
    ("change", "table", "row"),
    [
        ("UPDATE account SET debt = 1", "account", 1),
        ("UPDATE account SET credited = credited + 1", "account", 1),
        ("UPDATE reversal SET micros = micros + 1 WHERE ref = 'stripe:re_1'", "reversal", "stripe:re_1"),
        ("UPDATE reversal SET taken = taken - 1 WHERE ref = 'stripe:re_1'", "reversal", "stripe:re_1"),
        ("UPDATE reversal SET kind = 'x' WHERE ref = 'stripe:re_2'", "reversal", "stripe:re_2"),
        ("UPDATE reversal SET reason = 'x' WHERE ref = 'stripe:re_2'", "reversal", "stripe:re_2"),
        ("UPDATE reversal SET at = 5 WHERE ref = 'stripe:re_2'", "reversal", "stripe:re_2"),
        ("UPDATE reversal SET batch = 1 WHERE ref = 'stripe:re_2'", "reversal", "stripe:re_2"),
        ("UPDATE reversal SET batch = 9 WHERE ref = 'stripe:re_2'", "reversal", "stripe:re_2"),
        ("DELETE FROM reversal WHERE ref = 'stripe:re_2'", "reversal", "stripe:re_2"),
        ("INSERT INTO reversal VALUES ('x', 1, 5, 5, 'k', '', 1, 2)", "reversal", "x"),
        ("INSERT INTO credit VALUES ('stripe:re_1', 1, 5, 'k', '', 1, 2, 0)", "reversal", "stripe:re_1"),
        ("UPDATE credit SET repaid = 1 WHERE ref = 'stripe:cs_1'", "credit", "stripe:cs_1"),
        ("UPDATE credit SET repaid = 249 WHERE ref = 'stripe:cs_2'", "credit", "stripe:cs_2"),
        ("UPDATE transfer SET micros = micros + 1 WHERE kind = 'debt'", "transfer", "2/1"),
        ("UPDATE transfer SET payer = 'account:1' WHERE kind = 'debt'", "transfer", "2/1"),
        ("UPDATE transfer SET kind = 'credit' WHERE kind = 'repayment'", "transfer", "4/0"),
        ("UPDATE transfer SET payee = 'clearing:x' WHERE kind = 'reversal'", "transfer", "2/2"),
    ],
)
def test_whatever_is_changed_is_named(batches: Batches, change: str, table: str, row: int | str) -> None:
    fold(batches)
    batches.sign()
    batches.sql.execute("PRAGMA ignore_check_constraints = ON")
    batches.sql.execute(change)
    found = audit(batches.path, head_key=KEY).findings
    assert (table, row) in {(finding.table, finding.row) for finding in found}, found


@pytest.mark.parametrize(
    ("before", "after", "told"),
    [
        ('"taken":100', '"taken":501', "reversal stripe:re_1: taken is 501 of 500"),
        ('"taken":100', '"taken":-1', "taken is -1 of 500"),
        ('"taken":100', '"taken":101', "has spent 900 of 899"),
        ('"repaid":250', '"repaid":249', "repaid is 249 in the note of batch 3, and 250 was owed"),
        ('"repaid":150', '"repaid":151', "repaid is 151 in the note of batch 4, and 150 was owed"),
        ('"repaid":250', '"repaid":"250"', "hold a line 1 that is no note"),
        ('"repaid":250', '"repaid":0', "hold a line 1 that is no note"),
        ('"taken":100,', "", "hold a line 1 that is no note"),
        ('"at":', '"als":', "hold a line 1 that is no note"),
        ('"holder":"ann","kind":"refund"', '"holder":"bob","kind":"refund"', "belongs to somebody else"),
        ('"micros":500', '"micros":-500', "micros is -500 in the note"),
    ],
)
def test_a_chain_that_was_written_anew_still_cannot_lie(batches: Batches, before: str, after: str, told: str) -> None:
    batches.sql.execute("UPDATE batch SET notes = replace(notes, ?, ?)", (before, after))
    forge(batches)
    found = [str(finding) for finding in audit(batches.path, head_key=KEY).findings]
    assert any(told in text for text in found), found


def test_pruned_books_are_proved_from_their_transfers(batches: Batches, monkeypatch: pytest.MonkeyPatch) -> None:
    from gateway.adapters.sqlite import prune

    monkeypatch.setattr(prune, "BATCHES_KEPT", 1)
    fold(batches)
    batches.sign()
    pruning = prune.Prune(batches.path, [KEY])
    while pruning.step(batches.sql, before_ms=NOON + 10 * HOUR):
        pass
    assert pruning.batches == 2
    report = audit(batches.path, head_key=KEY)
    assert report.findings == ()
    assert report.totals == {"usd": Total(970, 900, 70)}
    batches.sql.execute("PRAGMA ignore_check_constraints = ON")
    for change, undo in (
        (
            "UPDATE reversal SET taken = 99 WHERE ref = 'stripe:re_1'",
            "UPDATE reversal SET taken = 100 WHERE taken = 99",
        ),
        ("UPDATE reversal SET micros = 501 WHERE micros = 500", "UPDATE reversal SET micros = 500 WHERE micros = 501"),
        ("UPDATE credit SET repaid = 1 WHERE ref = 'stripe:cs_1'", "UPDATE credit SET repaid = 0 WHERE repaid = 1"),
        ("INSERT INTO reversal VALUES ('x', 1, 5, 5, 'k', '', 1, 2)", "DELETE FROM reversal WHERE ref = 'x'"),
        (
            "UPDATE reversal SET ref = 'y' WHERE ref = 'stripe:re_1'",
            "UPDATE reversal SET ref = 'stripe:re_1' WHERE ref = 'y'",
        ),
    ):
        batches.sql.execute(change)
        assert {finding.table for finding in audit(batches.path, head_key=KEY).findings} & {"reversal", "credit"}, (
            change
        )
        batches.sql.execute(undo)
        assert audit(batches.path, head_key=KEY).findings == ()


def test_books_from_before_reversals_are_brought_up_to_date_and_stay_clean(tmp_path: Path) -> None:
    from gateway.adapters.sqlite import migrations

    path = tmp_path / "old.db"
    with closing(sqlite3.connect(path, isolation_level=None)) as sql:
        files = [file for file in migrations._files("ledger") if file[0] <= 2]
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(migrations, "_files", lambda folder: iter(files))
            migrations.apply(sql, "ledger")
        sql.execute("INSERT INTO account (id, holder, unit, credited) VALUES (1, 'ann', 'usd', 5)")
        sql.execute("INSERT INTO credit VALUES ('stripe:cs', 1, 5, 'payment', '', 7, 1)")
        sql.execute(
            "INSERT INTO transfer VALUES (1, 0, 'credit', 'clearing:stripe', 'account:1', 'usd', 5, 'stripe:cs')"
        )
        assert migrations.apply(sql, "ledger") >= 1
        assert sql.execute("SELECT repaid FROM credit").fetchall() == [(0,)]
        assert sql.execute("SELECT kind, micros FROM transfer").fetchall() == [("credit", 5)]
        findings = audit(path).findings
    assert {finding.table for finding in findings} <= {"credit", "account", "fold", "transfer"}
