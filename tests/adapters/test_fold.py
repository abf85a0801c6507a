"""Folding, pruning and statements over books that are written batch by batch."""

import asyncio
import itertools
import re
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from gateway.adapters.postgres import prune as postgres_prune
from gateway.adapters.sqlite import prune as prune_module
from gateway.adapters.sqlite.audit import audit
from gateway.adapters.sqlite.bookkeeping import EVERYTHING_MS, SqliteBookkeeping, open_books
from gateway.adapters.sqlite.fold import Fold
from gateway.adapters.sqlite.ledger import SqliteLedgerStore
from gateway.adapters.sqlite.prune import Prune
from gateway.adapters.sqlite.scratch import SqliteScratch
from gateway.core import folding as fold_module
from gateway.core.dues import by_route
from gateway.core.ledger import Kind, Tariff
from gateway.core.statements import Line, Period
from gateway.flows.add_up import takings
from gateway.flows.statement import Statement
from gateway.ports import BooksRefused, StoreFailed
from tests.batches import HOUR, KEY, NOON, Batches
from tests.postgres_batches import PostgresBatches
from tests.postgres_server import Server

ANNA = Tariff("export", "anna", 1500, "p")
BERT = Tariff("search", "bert", 0, "q")


@pytest.fixture(params=["sqlite", "postgres"])
def books(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Batches]:
    made: Batches
    if request.param == "sqlite":
        made = Batches(tmp_path / "ledger.db")
    else:
        server: Server = request.getfixturevalue("postgres")
        made = PostgresBatches(asyncio.run(server.schema()))
    yield made
    made.close()


@pytest.fixture
def file(tmp_path: Path) -> Iterator[Batches]:
    """What only a file has: images of it, a head beside it."""
    made = Batches(tmp_path / "ledger.db")
    yield made
    made.close()


@pytest.fixture(autouse=True)
def few_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prune_module, "BATCHES_KEPT", 1)
    monkeypatch.setattr(postgres_prune, "BATCHES_KEPT", 1)


def fold_all(books: Batches, before: int = EVERYTHING_MS) -> int:
    step, steps = books.folding(), 0
    while step(before):
        steps += 1
    return steps


def prune_all(books: Batches, before: int, keys: list[bytes] | None = None) -> int:
    books.sign()
    (batches,) = books.sql.execute("SELECT count(*) FROM batch").fetchone()
    step = books.pruning(keys or [KEY])
    while step(before):
        pass
    return int(batches - books.sql.execute("SELECT count(*) FROM batch").fetchone()[0])


def proved(books: Batches) -> Any:
    books.sign()
    report = books.audit()
    assert report.findings == ()
    return report


def told(books: Batches) -> list[str]:
    return [str(finding) for finding in books.audit().findings]


def moved(books: Batches) -> list[tuple[object, ...]]:
    rows: list[tuple[object, ...]] = books.sql.execute(
        "SELECT payer, payee, micros FROM transfer ORDER BY fold, number"
    ).fetchall()
    return rows


def three_hours(books: Batches) -> None:
    """A credit and a request each hour; the first hour's is corrected in the third."""
    books.credit("stripe:cs_1", 10_000)
    first = books.record(Kind.CAPTURE, 1000, ANNA)
    books.commit(NOON)
    books.record(Kind.GATED_CAPTURE, 500, BERT)
    books.commit(NOON + HOUR)
    books.credit("manual:7", 300, "bob")
    books.record(Kind.CORRECTION, -400, ANNA, request=first)
    books.record(Kind.CAPTURE, 77, BERT, "bob")
    books.commit(NOON + 2 * HOUR)
    books.commit(NOON + 3 * HOUR)


# --- folding ----------------------------------------------------------------------------------------------------------


def test_an_hour_is_folded_once_it_is_over(books: Batches) -> None:
    books.credit("stripe:cs_1", 10_000)
    books.record(Kind.CAPTURE, 1000, ANNA)
    books.commit(NOON + HOUR - 1)
    fold_all(books, NOON + HOUR - 1)
    assert moved(books) == []
    fold_all(books, NOON + HOUR)
    assert moved(books) == [
        ("clearing:stripe", "account:1", 10_000),
        ("account:1", "owner:anna", 850),
        ("account:1", "platform", 150),
    ]


def test_a_step_that_reads_to_the_end_of_an_open_hour_is_the_last(books: Batches) -> None:
    """Under load there is always one more batch: nothing else would ever get its turn."""
    books.credit("stripe:cs_1", 10_000)
    books.commit(NOON)
    fold = books.folding()
    for _ in range(3):
        assert not fold(NOON) or not fold(NOON)  # of several hosts, it is that host's last
        books.record(Kind.CAPTURE, 10, BERT)
        books.commit(NOON)
    assert fold_all(books) > 0
    assert proved(books).folded == 4


def test_folding_again_does_nothing(books: Batches) -> None:
    three_hours(books)
    fold_all(books)
    before = moved(books)
    assert fold_all(books) == 0
    assert moved(books) == before


def test_a_correction_of_what_was_folded_goes_back(books: Batches) -> None:
    three_hours(books)
    fold_all(books)
    assert ("owner:anna", "account:1", 340) in moved(books)
    assert ("platform", "account:1", 60) in moved(books)
    report = proved(books)
    assert (report.folded, report.transfers) == (4, 8)


def test_an_hour_that_comes_again_is_a_run_of_its_own(books: Batches) -> None:
    books.credit("stripe:cs_1", 10_000)
    for at in (NOON, NOON - 24 * HOUR, NOON, NOON + 1):
        books.record(Kind.CAPTURE, 10, BERT)
        books.commit(at)
    fold_all(books)
    runs = books.sql.execute("SELECT first, last, hour FROM fold").fetchall()
    assert runs == [(1, 1, NOON), (2, 2, NOON - 24 * HOUR), (3, 4, NOON)]
    proved(books)


def test_no_step_writes_more_than_a_hundred_accounts(books: Batches) -> None:
    for n in range(250):
        books.credit(f"stripe:{n}", 100, f"holder {n}")
        books.record(Kind.CAPTURE, 10, BERT, f"holder {n}")
    books.commit()
    fold, written = books.folding(), [0]
    while fold(EVERYTHING_MS):
        written.append(books.sql.execute("SELECT count(*) FROM usage_hour").fetchone()[0])
        proved(books)
    assert [after - before for before, after in itertools.pairwise(written) if after != before] == [
        100,
        100,
        50,
    ]


def test_a_run_with_too_many_sums_ends_early(books: Batches, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fold_module, "SUMS_MAX", 2)
    for n in range(5):
        books.credit(f"stripe:{n}", 100, f"holder {n}")
        books.record(Kind.CAPTURE, 10, BERT, f"holder {n}")
        books.commit()
    fold_all(books)
    assert books.sql.execute("SELECT first, last FROM fold").fetchall() == [(1, 2), (3, 4), (5, 5)]
    proved(books)


def test_every_image_between_two_steps_is_proved_and_goes_on(
    file: Batches, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    books = file
    monkeypatch.setattr(fold_module, "ACCOUNTS_A_STEP", 1)
    monkeypatch.setattr(fold_module, "RECORDS_A_STEP", 1)
    three_hours(books)
    books.sign()
    fold, images = books.folding(), 0
    more = True
    while more:
        more = fold(EVERYTHING_MS)
        images += 1
        image = tmp_path / f"image{images}"
        image.mkdir()
        for ending in ("", "-wal", ".head"):
            shutil.copy(books.path.with_name(books.path.name + ending), image)
        copy = image / books.path.name
        assert audit(copy, head_key=KEY).findings == ()
        with closing(sqlite3.connect(copy, isolation_level=None)) as sql:
            other = Fold()
            while other.step(sql, closed_before_ms=EVERYTHING_MS):
                pass
        assert audit(copy, head_key=KEY).folded == 4
        with closing(sqlite3.connect(copy)) as sql:
            assert sql.execute("SELECT count(*) FROM transfer").fetchone() == (8,)
    assert images > 8


def test_a_fold_ends_where_it_was_told_to_however_much_is_added_meanwhile(file: Batches) -> None:
    books = file
    three_hours(books)
    (last,) = books.sql.execute("SELECT max(seq) FROM batch").fetchone()
    with closing(sqlite3.connect(books.path, isolation_level=None)) as sql:
        fold, steps = Fold(until=last), 0
        while fold.step(sql, closed_before_ms=EVERYTHING_MS):
            books.record(Kind.CAPTURE, 1, ANNA)
            books.commit(NOON + 9 * HOUR)
            steps += 1
            assert steps < 100
        assert sql.execute("SELECT max(last) FROM fold").fetchone() == (last,)
    assert steps > 0


def test_whoever_is_cut_off_after_any_step_is_gone_on_behind(books: Batches, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fold_module, "ACCOUNTS_A_STEP", 1)
    monkeypatch.setattr(fold_module, "RECORDS_A_STEP", 1)
    three_hours(books)
    steps, more = 0, True
    while more:
        steps += 1
        step = books.folding()
        for _ in range(steps):
            more = more and step(EVERYTHING_MS)
        proved(books)
    assert len(moved(books)) == 8
    assert proved(books).folded == 4


def test_a_run_that_somebody_else_wrote_is_not_written_again(books: Batches) -> None:
    three_hours(books)
    one = books.folding()
    assert one(EVERYTHING_MS)  # has read the first run, and not written it
    fold_all(books)
    before = moved(books)
    while one(EVERYTHING_MS):
        pass
    assert moved(books) == before
    proved(books)


def test_two_that_take_turns_at_one_run_write_it_once(books: Batches, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fold_module, "ACCOUNTS_A_STEP", 1)
    for n in range(6):
        books.credit(f"stripe:{n}", 100, f"holder {n}")
    books.commit()
    one, other = books.folding(), books.folding()
    more = True
    for _ in range(100):
        more = one(EVERYTHING_MS) or other(EVERYTHING_MS)
        proved(books)
        if not more:
            break
        other(EVERYTHING_MS)
    assert not more
    assert len(moved(books)) == 6


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("UPDATE batch SET payload = zeroblob(48) WHERE seq = 2", "batch 2 was changed"),
        ("DELETE FROM batch WHERE seq = 2", "batch 2 is missing"),
        ("UPDATE batch SET notes = 'x' WHERE seq = 2", "batch 2 was changed"),
    ],
)
def test_nothing_is_derived_from_a_chain_that_does_not_hold(books: Batches, change: str, words: str) -> None:
    three_hours(books)
    books.sql.execute(change)
    with pytest.raises(BooksRefused, match=words):
        fold_all(books)


async def test_a_store_folds_between_its_commits_and_drops_a_handle_that_fails(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    made = Batches(path)
    three_hours(made)
    made.close()
    store = SqliteLedgerStore(path, head_key=KEY)
    await store.open()
    keeping = SqliteBookkeeping(store, path, [KEY])
    while await keeping.fold(closed_before_ms=EVERYTHING_MS):
        pass
    assert not await keeping.prune(before_ms=0)

    def fail(sql: sqlite3.Connection) -> None:
        raise sqlite3.OperationalError("disk I/O error")

    with pytest.raises(StoreFailed, match="disk I/O error"):
        await store.between_commits(fail)
    with pytest.raises(StoreFailed, match="is not open"):
        await store.between_commits(lambda sql: None)
    await store.reopen()
    assert not await keeping.fold(closed_before_ms=EVERYTHING_MS)
    await store.close()
    assert audit(path, head_key=KEY).folded == 4


# --- tampering --------------------------------------------------------------------------------------------------------

CHANGES = [
    "UPDATE transfer SET micros = micros + 1 WHERE fold = 1 AND number = 1",
    "UPDATE transfer SET payee = 'owner:eve' WHERE fold = 1 AND number = 1",
    "UPDATE transfer SET payer = 'account:2' WHERE fold = 1 AND number = 1",
    "UPDATE transfer SET unit = 'eur' WHERE fold = 1 AND number = 0",
    "UPDATE transfer SET cause = 'stripe:cs_2' WHERE fold = 1 AND number = 0",
    "UPDATE transfer SET kind = 'commission' WHERE fold = 1 AND number = 1",
    "UPDATE transfer SET number = 9 WHERE fold = 1 AND number = 2",
    "UPDATE transfer SET fold = 9 WHERE fold = 3 AND number = 0",
    "DELETE FROM transfer WHERE fold = 1 AND number = 0",
    "DELETE FROM transfer WHERE fold = 1 AND number = 2",
    "INSERT INTO transfer VALUES (1, 3, 'share', 'platform', 'owner:eve', 'usd', 5, '')",
    "INSERT INTO transfer VALUES (99, 0, 'share', 'platform', 'owner:eve', 'usd', 5, '')",
    "UPDATE usage_hour SET micros = micros - 1 WHERE fold = 1",
    "UPDATE usage_hour SET requests = 7 WHERE fold = 1",
    "UPDATE usage_hour SET tariff = 2 WHERE fold = 1",
    "UPDATE usage_hour SET account = 2 WHERE fold = 1",
    "UPDATE usage_hour SET hour = 0 WHERE fold = 2",
    "DELETE FROM usage_hour WHERE fold = 1",
    "UPDATE carry SET carry = 1",
    "DELETE FROM carry",
    "INSERT INTO carry VALUES ('eve', 'usd', 5, 5)",
    "UPDATE fold SET first = first - 1 WHERE last = 3",
    *(f"UPDATE fold SET {name} = {name} + 1 WHERE last = 3" for name in "next started tariffs written".split()),
    "UPDATE fold SET hour = 0 WHERE last = 3",
    "UPDATE fold SET account = 99 WHERE last = 3",
    "UPDATE fold SET chain = zeroblob(32) WHERE last = 3",
    "UPDATE fold SET hash = zeroblob(32) WHERE last = 3",
    "UPDATE fold SET done = 0 WHERE last = 3",
    "UPDATE fold SET last = 99 WHERE last = 4",
    "DELETE FROM fold WHERE last = 2",
]


@pytest.mark.parametrize("change", CHANGES)
def test_whatever_is_changed_of_what_was_folded_is_found(books: Batches, change: str) -> None:
    three_hours(books)
    fold_all(books)
    proved(books)
    changed = books.sql.execute(change)
    assert changed.rowcount >= 1
    assert told(books), change


PRUNED_CHANGES = [
    *(change for change in CHANGES if "fold = 1" in change or "carry" in change),
    "UPDATE account SET spent = spent - 1 WHERE id = 1",
    "UPDATE account SET credited = credited + 1 WHERE id = 1",
    "UPDATE account SET holder = 'eve' WHERE id = 1",
    "UPDATE credit SET micros = micros + 1 WHERE ref = 'stripe:cs_1'",
    "UPDATE credit SET account = 2 WHERE ref = 'stripe:cs_1'",
    "DELETE FROM credit WHERE ref = 'stripe:cs_1'",
    "INSERT INTO credit SELECT 'stripe:x', account, micros, kind, reason, at, batch, repaid FROM credit"
    " WHERE batch = 1",
    "UPDATE tariff SET owner = 'eve' WHERE id = 1",
    "UPDATE tariff SET price = '0' WHERE id = 1",
    *(f"UPDATE anchor SET {name} = {name} + 1" for name in "seq next started tariffs".split()),
    *(f"UPDATE anchor SET {name} = zeroblob(32)" for name in "hash folded mac".split()),
    "DELETE FROM anchor",
]


@pytest.mark.parametrize("change", PRUNED_CHANGES)
def test_whatever_is_changed_of_what_is_left_of_pruned_books_is_found(books: Batches, change: str) -> None:
    three_hours(books)
    fold_all(books)
    assert prune_all(books, NOON + 2 * HOUR) == 2
    proved(books)
    books.sql.execute(change)
    assert told(books), change


# --- pruning ----------------------------------------------------------------------------------------------------------


def test_pruned_books_are_proved_from_their_anchor(books: Batches) -> None:
    three_hours(books)
    fold_all(books)
    whole = proved(books)
    assert prune_all(books, NOON + HOUR) == 1
    assert prune_all(books, NOON + HOUR) == 0
    assert prune_all(books, NOON + 2 * HOUR) == 1
    report = proved(books)
    assert (report.first_batch, report.batches, report.totals) == (3, 2, whole.totals)
    assert report.head.startswith("verified")
    assert re.match("the batches (of one )?up to 2 were pruned", report.unproved[0])


def test_pruned_books_are_opened_and_go_on(books: Batches) -> None:
    three_hours(books)
    fold_all(books)
    prune_all(books, NOON + 9 * HOUR)
    assert books.sql.execute("SELECT min(seq) FROM batch").fetchone() == (4,)
    books.record(Kind.CAPTURE, 5, ANNA)
    books.commit(NOON + 4 * HOUR)
    fold_all(books)
    assert proved(books).folded == 5


@pytest.mark.parametrize(("before", "last"), [(NOON + HOUR - 1, None), (NOON + HOUR, 1), (NOON + 3 * HOUR, 3)])
def test_only_whole_hours_before_the_date_go(books: Batches, before: int, last: int | None) -> None:
    three_hours(books)
    fold_all(books)
    prune_all(books, before)
    assert books.sql.execute("SELECT max(seq) FROM anchor").fetchone() == (last,)


def test_what_is_not_folded_stays(books: Batches) -> None:
    three_hours(books)
    fold = books.folding()
    while not books.sql.execute("SELECT 1 FROM fold WHERE done").fetchone():
        assert fold(EVERYTHING_MS)
    prune_all(books, NOON + 9 * HOUR)
    assert books.sql.execute("SELECT min(seq) FROM batch").fetchone() == (2,)


def test_a_run_that_is_half_written_stays(books: Batches, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fold_module, "ACCOUNTS_A_STEP", 1)
    books.credit("stripe:cs_1", 10_000)
    books.credit("stripe:cs_2", 10_000, "bob")
    books.commit(NOON)
    books.commit(NOON + HOUR)
    fold = books.folding()
    while not books.sql.execute("SELECT 1 FROM fold").fetchone():
        assert fold(EVERYTHING_MS)
    assert prune_all(books, NOON + 9 * HOUR) == 0
    assert books.sql.execute("SELECT max(seq) FROM anchor").fetchone() == (None,)


def test_what_could_still_be_voided_stays(books: Batches) -> None:
    books.credit("stripe:cs_1", 10_000)
    books.record(Kind.CAPTURE, 10, BERT)
    books.commit(NOON, started=1)
    waits = books.record(Kind.GATED_CAPTURE, 10, BERT)
    books.commit(NOON + HOUR, started=1)
    books.record(Kind.CAPTURE, 10, BERT)
    books.commit(NOON + 2 * HOUR, started=1)
    books.commit(NOON + 3 * HOUR, started=1)
    fold_all(books)
    prune_all(books, NOON + 9 * HOUR)
    assert books.sql.execute("SELECT min(seq) FROM batch").fetchone() == (2,)
    books.record(Kind.VOID, -10, BERT, request=waits)
    books.commit(NOON + 4 * HOUR)
    fold_all(books)
    proved(books)


def test_what_the_head_names_stays(file: Batches) -> None:
    file.credit("stripe:cs_1", 10_000)
    file.commit(NOON)
    file.record(Kind.CAPTURE, 10, BERT)
    file.commit(NOON + HOUR)
    file.sign()
    for hour in range(2, 6):
        file.commit(NOON + hour * HOUR)
    fold_all(file)
    prune = Prune(file.path, [KEY])
    while prune.step(file.sql, before_ms=NOON + 9 * HOUR):
        pass
    assert file.sql.execute("SELECT min(seq) FROM batch").fetchone() == (2,)
    assert audit(file.path, head_key=KEY).head == "verified"


def test_without_a_head_nothing_is_pruned(file: Batches) -> None:
    three_hours(file)
    fold_all(file)
    with pytest.raises(BooksRefused, match="vouches"):
        Prune(file.path, [KEY]).step(file.sql, before_ms=NOON + 9 * HOUR)


def test_an_anchor_of_somebody_else_is_not_signed_anew(books: Batches) -> None:
    three_hours(books)
    fold_all(books)
    prune_all(books, NOON + HOUR)
    with pytest.raises(BooksRefused, match="not signed by this gateway"):
        prune_all(books, NOON + 2 * HOUR, [b"o" * 32])
    assert prune_all(books, NOON + 2 * HOUR, [b"n" * 32, KEY]) == 1
    assert books.audit([b"n" * 32, KEY]).findings == ()


def test_a_batch_that_was_changed_after_it_was_folded_is_not_anchored(books: Batches) -> None:
    three_hours(books)
    fold_all(books)
    books.sql.execute("UPDATE batch SET hash = zeroblob(32) WHERE seq = 2")
    with pytest.raises(BooksRefused, match="is not the one that was folded"):
        prune_all(books, NOON + 2 * HOUR)


def test_a_kill_between_anchor_and_deletion_is_made_good(books: Batches, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prune_module, "BATCHES_A_STEP", 1)
    monkeypatch.setattr(postgres_prune, "BATCHES_A_STEP", 1)
    three_hours(books)
    fold_all(books)
    books.sign()
    while books.pruning()(NOON + 3 * HOUR):
        proved(books)
    assert books.sql.execute("SELECT min(seq) FROM batch").fetchone() == (4,)


def test_a_dry_run_says_what_would_go_and_changes_nothing(books: Batches) -> None:
    three_hours(books)
    fold_all(books)
    books.sign()
    plan = books.prunable(NOON + 2 * HOUR)
    assert plan.last in (2, {"one": 2})
    assert (plan.batches, plan.records, plan.oldest_ms, plan.newest_ms) == (2, 2, NOON, NOON + HOUR)
    assert books.sql.execute("SELECT count(*) FROM anchor").fetchone() == (0,)


# --- statements -------------------------------------------------------------------------------------------------------


def statement(books: Batches, period: Period = Period(), *, summary: bool = False, **whose: str) -> list[Line]:  # noqa: B008
    with books.source() as source:
        made = Statement(source, period, account=whose.get("account"), owner=whose.get("owner"), scratch=SqliteScratch)
        return list(made.summary() if summary else made.requests())


def short(lines: list[Line]) -> list[tuple[object, ...]]:
    return [(line.type, (line.at_ms - NOON) // HOUR, line.cost or line.credited, line.state) for line in lines]


def test_what_two_purses_paid_together_is_one_request(books: Batches) -> None:
    books.credit("cs_1", 1000)
    books.credit("g_1", 300, "a purse of ann's")
    one = books.record(Kind.CAPTURE, 200, ANNA)
    books.record(Kind.CAPTURE, 300, ANNA, "a purse of ann's", request=one)
    books.record(Kind.CAPTURE, 7, ANNA)
    books.commit(NOON)
    books.record(Kind.CORRECTION, -100, ANNA, "a purse of ann's", request=one)
    books.commit(NOON + HOUR)
    books.sql.execute("UPDATE account SET holder = 'ann', priority = -10 WHERE holder = 'a purse of ann''s'")
    requests = [("request", 0, 400, "corrected"), ("request", 0, 7, "charged")]
    assert short(statement(books, account="ann"))[2:] == requests
    owned = statement(books, owner=ANNA.owner)
    assert (short(owned), [line.account for line in owned]) == (requests, ["ann", "ann"])


def test_a_statement_has_a_line_for_each_request_at_what_it_cost_in_the_end(books: Batches) -> None:
    three_hours(books)
    ann = statement(books, account="ann")
    assert short(ann) == [
        ("credit", 0, 10_000, "payment"),
        ("request", 0, 600, "corrected"),
        ("request", 1, 500, "charged"),
    ]
    assert ann[1].id == f"req_{NOON + 1:012x}{1:016x}"
    assert (ann[1].owner, ann[1].route, ann[1].unit, ann[1].token) == ("anna", "export", "usd", f"{7:016x}")
    assert short(statement(books, owner="bert")) == [("request", 1, 500, "charged"), ("request", 2, 77, "charged")]


def test_a_void_is_merged_into_its_request(books: Batches) -> None:
    books.credit("stripe:cs_1", 10_000)
    number = books.record(Kind.GATED_CAPTURE, 10, BERT)
    books.commit(NOON, started=0)
    books.record(Kind.VOID, -10, BERT, request=number)
    books.commit(NOON)
    assert short(statement(books, owner="bert")) == [("request", 0, 0, "voided")]


def test_a_period_has_the_requests_that_were_captured_in_it(books: Batches) -> None:
    three_hours(books)
    first = Period(NOON, NOON + HOUR)
    assert short(statement(books, first, owner="anna")) == [("request", 0, 600, "corrected")]
    assert statement(books, Period(NOON + HOUR), owner="anna") == []
    assert statement(books, Period(NOON + 1, NOON + HOUR), owner="anna") == []


def test_pruned_hours_stand_for_their_requests_and_everything_adds_up(books: Batches) -> None:
    three_hours(books)
    fold_all(books)
    whole = sum(line.cost for line in statement(books, account="ann"))
    prune_all(books, NOON + HOUR)
    left = statement(books, account="ann")
    assert short(left) == [
        ("hour", 0, 1000, "pruned"),
        ("credit", 0, 10_000, "payment"),
        ("request", 1, 500, "charged"),
        ("request", 2, -400, "adjusted"),
    ]
    assert sum(line.cost for line in left) == whole
    assert short(statement(books, Period(NOON + 2 * HOUR), account="ann")) == [("request", 2, -400, "adjusted")]


def test_a_correction_whose_capture_is_there_but_earlier_is_no_line_of_its_own(books: Batches) -> None:
    books.credit("stripe:cs_1", 10_000)
    books.commit(NOON - HOUR)
    three = books.record(Kind.CAPTURE, 1000, ANNA)
    books.commit(NOON)
    books.record(Kind.CORRECTION, -1, ANNA, request=three)
    books.commit(NOON + HOUR)
    books.commit(NOON + 2 * HOUR)
    fold_all(books)
    prune_all(books, NOON)
    assert statement(books, Period(NOON + HOUR), owner="anna") == []


def test_a_summary_has_folded_and_open_hours(books: Batches) -> None:
    three_hours(books)
    assert short(statement(books, summary=True, owner="bert")) == [("hour", 1, 500, "open"), ("hour", 2, 77, "open")]
    fold_all(books)
    books.record(Kind.CAPTURE, 5, BERT)
    books.commit(NOON + 5 * HOUR)
    assert short(statement(books, summary=True, owner="bert")) == [
        ("hour", 1, 500, "folded"),
        ("hour", 2, 77, "folded"),
        ("hour", 5, 5, "open"),
    ]
    assert short(statement(books, Period(NOON + 2 * HOUR), summary=True, account="ann")) == [
        ("hour", 2, -400, "folded"),
        ("hour", 5, 5, "open"),
    ]


def test_whoever_is_unknown_is_told_so(books: Batches) -> None:
    three_hours(books)
    with pytest.raises(BooksRefused, match="no account eve"):
        statement(books, account="eve")
    with pytest.raises(BooksRefused, match="no owner eve"):
        statement(books, owner="eve")


def test_files_that_are_no_books_are_refused(tmp_path: Path) -> None:
    with pytest.raises(BooksRefused, match="there is no ledger"):
        open_books(tmp_path / "gone.db", write=False)
    with closing(sqlite3.connect(tmp_path / "x.db")) as sql:
        sql.execute("CREATE TABLE x (x)")
    with pytest.raises(BooksRefused, match="holds no books"):
        open_books(tmp_path / "x.db", write=False)
    with closing(sqlite3.connect(tmp_path / "x.db")) as sql:
        sql.executescript("CREATE TABLE account (x); CREATE TABLE batch (x)")
    with pytest.raises(BooksRefused, match="older gateway"):
        open_books(tmp_path / "x.db", write=False)


# --- dues -------------------------------------------------------------------------------------------------------------


def test_what_was_sold_is_the_same_before_amid_and_after_a_fold(books: Batches) -> None:
    books.credit("stripe:cs_1", 10_000)
    first = books.record(Kind.CAPTURE, 1000, ANNA)
    books.record(Kind.GATED_CAPTURE, 500, BERT)
    books.commit(NOON)
    books.record(Kind.CORRECTION, -400, ANNA, request=first)
    books.record(Kind.CAPTURE, 77, BERT)
    books.commit(NOON + HOUR)
    found = []
    for before_ms in (0, NOON + HOUR, EVERYTHING_MS):
        if before_ms:
            fold_all(books, before_ms)
        with books.source() as source:
            found.append(
                [(one.owner, one.route, one.requests, one.micros, one.open) for one in by_route(takings(source))]
            )
    assert [[each[:4] for each in one] for one in found] == [
        [("anna", "export", 1, 600), ("bert", "search", 2, 577)]
    ] * 3
    assert [[each[4] for each in one] for one in found] == [[600, 577], [-400, 77], [0, 0]]
