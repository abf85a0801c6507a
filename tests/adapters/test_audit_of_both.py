"""What the audit of a file and that of a database both prove, whole and from a later batch on, on the same books."""

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gateway.adapters.postgres import prune as postgres_prune
from gateway.adapters.sqlite import prune as sqlite_prune
from gateway.core.ledger import Kind, Tariff
from tests.batches import HOUR, KEY, NOON, Batches
from tests.postgres_batches import PostgresBatches
from tests.postgres_server import Server

ANNA = Tariff("export", "anna", 1500, "p")
BERT = Tariff("search", "bert", 0, "q")
CAROL = Tariff("late", "carol", 0, "r")
BATCHES = 8


@pytest.fixture(params=["sqlite", "postgres"])
def books(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Batches]:
    made: Batches
    if request.param == "sqlite":
        made = Batches(tmp_path / "ledger.db")
        made.sql.execute("PRAGMA ignore_check_constraints = ON")
    else:
        server: Server = request.getfixturevalue("postgres")
        made = PostgresBatches(asyncio.run(server.schema()))
    write(made)
    yield made
    made.close()


@pytest.fixture(autouse=True)
def few_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (sqlite_prune, postgres_prune):
        monkeypatch.setattr(module, "BATCHES_KEPT", 1)


def write(books: Batches) -> None:
    """One batch an hour: credits, debts, corrections of earlier requests, voids, and tariffs that come late."""
    books.credit("cs_1", 10_000)
    first = books.record(Kind.CAPTURE, 1000, ANNA)
    books.commit(NOON)
    voided = books.record(Kind.GATED_CAPTURE, 500, BERT)
    books.commit(NOON + HOUR, started=1)
    books.credit("cs_2", 300, "bob")
    books.record(Kind.VOID, -500, BERT, request=voided)
    books.commit(NOON + 2 * HOUR)
    books.record(Kind.CAPTURE, 77, BERT, "bob")
    books.commit(NOON + 3 * HOUR)
    books.reverse("re_1", 400, 223, "bob")
    books.commit(NOON + 4 * HOUR)
    books.record(Kind.CORRECTION, -400, ANNA, request=first)
    books.record(Kind.CAPTURE, 10, CAROL)
    books.commit(NOON + 5 * HOUR)
    books.credit("cs_3", 200, "bob")
    books.commit(NOON + 6 * HOUR)
    books.record(Kind.CAPTURE, 20, BERT)
    books.commit(NOON + 7 * HOUR)
    books.sign()


def told(report: Any) -> str:
    return "\n".join(map(str, report.findings))


def test_the_books_are_clean_and_their_end_is_there(books: Batches) -> None:
    report = books.audit()
    assert report.clean, told(report)
    assert report.head.startswith("verified")
    assert (report.batches, report.records, report.voided, report.first_batch) == (BATCHES, 7, 1, 1)
    assert report.unproved == ()


@pytest.mark.parametrize("first", range(BATCHES + 3))
def test_every_batch_may_be_the_first(books: Batches, first: int) -> None:
    report, whole = books.audit(batch=first), books.audit()
    assert report.clean, told(report)
    assert report.first_batch == min(max(first, 1), BATCHES + 1)
    assert report.batches == BATCHES + 1 - report.first_batch
    assert (report.totals, report.accounts) == (whole.totals, whole.accounts)
    assert report.credits == sum(first <= came_with for came_with in (1, 3, 7))
    assert report.head == whole.head
    assert bool(report.unproved) == (report.first_batch > 1)


@pytest.mark.parametrize(("hours", "first"), [(-5, 1), (0, 1), (3, 4), (3.5, 5), (7, 8), (8, 9)])
def test_a_time_names_the_first_batch_since(books: Batches, hours: float, first: int) -> None:
    report = books.audit(at_ms=NOON + int(hours * HOUR))
    assert report.clean, told(report)
    assert report.first_batch == first


BAD_PAYLOAD = "UPDATE batch SET payload = zeroblob(48) WHERE seq = {}"


def test_a_batch_that_changed_since_is_the_first_bad_one_and_an_earlier_one_is_not_looked_at(books: Batches) -> None:
    books.sql.execute(BAD_PAYLOAD.format(7))
    assert books.audit(batch=5).first_bad_batch == 7
    assert books.audit().first_bad_batch == 7
    books.sql.execute(BAD_PAYLOAD.format(4))
    assert books.audit(batch=5).first_bad_batch == 7
    assert books.audit().first_bad_batch == 4


def test_an_earlier_batch_whose_bytes_changed_is_seen_by_a_whole_audit_only(books: Batches) -> None:
    books.sql.execute(BAD_PAYLOAD.format(4))
    report = books.audit(batch=6)
    assert report.clean, told(report)
    assert any("the hashes, records and notes of the" in words for words in report.unproved)
    assert books.audit().first_bad_batch == 4


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE batch SET hash = zeroblob(32) WHERE seq = 4",
        "DELETE FROM batch WHERE seq = 2",
        "DELETE FROM batch WHERE seq = 1",
        "UPDATE batch SET count = 2 WHERE seq = 3",
        "UPDATE batch SET first = 9 WHERE seq = 3",
        "UPDATE batch SET started = 0 WHERE seq = 3",
        "UPDATE account SET credited = credited + 1 WHERE id = 1",
        "UPDATE account SET debt = debt + 1 WHERE id = 2",
        "UPDATE credit SET micros = micros - 1 WHERE ref = 'cs_1'",
        "UPDATE credit SET repaid = 1 WHERE ref = 'cs_3'",
        "UPDATE reversal SET taken = 0 WHERE ref = 're_1'",
        "DELETE FROM credit WHERE ref = 'cs_2'",
        "DELETE FROM tariff WHERE owner = 'carol'",
        "UPDATE tariff SET commission_points = 3 WHERE owner = 'carol'",
        "DELETE FROM batch WHERE seq > 6",
    ],
)
@pytest.mark.parametrize("first", [None, 5])
def test_what_is_cheap_is_proved_of_all_of_the_books(books: Batches, change: str, first: int | None) -> None:
    if not isinstance(books, PostgresBatches):
        books.sql.execute("PRAGMA foreign_keys = OFF")
    books.sql.execute(change)
    assert not books.audit(batch=first).clean


@pytest.mark.parametrize("first", [None, 5])
def test_an_end_that_was_dropped_with_all_that_came_of_it_shows_against_the_head(
    books: Batches, first: int | None
) -> None:
    books.sql.execute("DELETE FROM batch WHERE seq = 8")
    books.sql.execute("UPDATE account SET spent = spent - 20 WHERE id = 1")
    report = books.audit(batch=first)
    assert [finding.table for finding in report.findings] == ["head"], told(report)
    assert report.head.startswith("failed: names batch 8, which is not there")
    assert report.first_bad_batch == 8


def test_a_head_by_another_key_and_one_of_another_chain_are_found(books: Batches) -> None:
    report = books.audit([b"x" * 32])
    assert "is not signed by a key of this gateway" in told(report)
    assert books.audit([b"x" * 32, KEY]).clean
    books._hash = bytes(32)
    books.sign()
    assert "by another hash: the chain was written anew" in told(books.audit())


def test_books_whose_beginning_was_pruned_are_proved_from_any_batch_on(books: Batches) -> None:
    fold, prune = books.folding(), books.pruning()
    while fold(NOON + 8 * HOUR):
        pass
    while prune(NOON + 3 * HOUR):
        pass
    assert books.audit().first_batch == 4
    for first in range(1, BATCHES + 2):
        report = books.audit(batch=first)
        assert report.clean, (first, told(report))
        assert report.first_batch == max(first, 4)
