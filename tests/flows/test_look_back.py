"""What a holder sees of an account: thirty days, payments, purses; bounded, and the same from every kind of books."""

import asyncio
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from gateway.adapters.postgres.statement import PostgresStatementBooks
from gateway.adapters.sqlite.scratch import SqliteScratch
from gateway.adapters.sqlite.statement import SqliteStatementBooks
from gateway.core.ids import RequestId
from gateway.core.ledger import Kind, Tariff
from gateway.core.statements import DAY_MS, Period, PurseRow
from gateway.flows import statement as flow
from gateway.flows.statement import LookBack, TooManyLines
from gateway.ports import BooksRefused, BooksSlow, StatementBooks, StatementSource
from tests.batches import HOUR, NOON, Batches
from tests.fakes import FakeClock
from tests.postgres_batches import PostgresBatches
from tests.postgres_server import Server

SEARCH = Tariff("search", "anna", 0, "p")


@pytest.fixture(params=["sqlite", "postgres"])
def books(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Batches]:
    made: Batches
    if request.param == "sqlite":
        made = Batches(tmp_path / "gateway.db")
    else:
        server: Server = request.getfixturevalue("postgres")
        made = PostgresBatches(asyncio.run(server.schema()))
    yield made
    made.close()


@pytest.fixture
def look_back(books: Batches) -> Iterator[LookBack]:
    opens = (
        PostgresStatementBooks(books.address)
        if isinstance(books, PostgresBatches)
        else SqliteStatementBooks(books.path)
    )
    made = LookBack(opens, SqliteScratch, FakeClock(NOON + HOUR))
    yield made
    asyncio.run(made.close())


def use(books: Batches, micros: int, at_ms: int, holder: str = "ann") -> None:
    books.record(Kind.CAPTURE, micros, SEARCH, holder)
    books.commit(at_ms)


def fill(books: Batches) -> None:
    """Somebody paid long ago, used it on three days, one of them long ago; another did, too."""
    books.credit("stripe:cs_1", 5_000_000)
    books.credit("stripe:cs_2", 9_000_000, "bob")
    use(books, 7, NOON - 40 * DAY_MS)
    use(books, 100, NOON - 29 * DAY_MS)
    use(books, 3000, NOON - HOUR)
    use(books, 5000, NOON - HOUR, "bob")
    books.credit("stripe:cs_3", 600, "ann", "eur")
    books.record(Kind.CAPTURE, 55, SEARCH, "ann", "eur")
    books.commit(NOON - HOUR)
    step = books.folding()
    while step(NOON):
        pass
    books.reverse("stripe:cs_1:1", 20, 20)
    use(books, 4000, NOON)


def test_days_have_what_was_folded_and_what_is_open_and_nothing_of_others(books: Batches, look_back: LookBack) -> None:
    fill(books)
    found = asyncio.run(look_back.history("ann", "usd"))
    assert len(found.days) == 30
    assert found.days[-1].begin_ms == NOON // DAY_MS * DAY_MS
    used = {day.begin_ms: (day.requests, day.cost.micros) for day in found.days if day.requests}
    first, last = found.days[0].begin_ms, found.days[-1].begin_ms
    assert used == {first: (1, 100), last: (2, 7000)}, "forty days ago is not in it"
    assert [(one.type, one.ref, one.micros, one.paid) for one in found.money] == [
        ("reversal", "stripe:cs_1:1", -20, None),
        ("credit", "stripe:cs_1", 5_000_000, "cs_1"),
    ]
    assert found.purses == (PurseRow("usd", 0, 0, 5_000_000 - 20 - 7107),)
    assert not found.to_the_hour


def test_purses_come_in_the_order_in_which_they_are_spent(books: Batches, look_back: LookBack) -> None:
    fill(books)
    for number, priority, expires, credited in ((50, -10, NOON + DAY_MS, 30), (51, -10, NOON + 9, 40), (52, 5, 0, 0)):
        row = f"{number}, 'ann', 'usd', {priority}, {expires}, {credited}"
        books.sql.execute(f"INSERT INTO account (id, holder, unit, priority, expires, credited) VALUES ({row})")
    found = asyncio.run(look_back.history("ann", "usd"))
    assert [(one.priority, one.expires_ms, one.left) for one in found.purses] == [
        (-10, NOON + 9, 40),
        (-10, NOON + DAY_MS, 30),
        (0, 0, 4_992_873),
    ]


def test_who_never_paid_has_an_empty_history_and_statement(books: Batches, look_back: LookBack) -> None:
    fill(books)
    found = asyncio.run(look_back.history("eve", "usd"))
    assert (found.money, found.purses, sum(day.requests for day in found.days)) == ((), (), 0)
    assert asyncio.run(look_back.lines("eve", Period(), by_request=True)) == []


def test_a_statement_of_more_lines_than_there_may_be_is_refused(
    books: Batches, look_back: LookBack, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(books)
    found = asyncio.run(look_back.lines("ann", Period(), by_request=True))
    assert [(line.type, line.cost) for line in found if line.cost] == [("request", n) for n in (7, 100, 3000, 55, 4000)]
    monkeypatch.setattr(flow, "LINES_MAX", len(found))
    assert asyncio.run(look_back.lines("ann", Period(), by_request=True)) == found
    monkeypatch.setattr(flow, "LINES_MAX", len(found) - 1)
    with pytest.raises(TooManyLines):
        asyncio.run(look_back.lines("ann", Period(), by_request=True))


def test_books_that_take_too_long_are_let_go(books: Batches, look_back: LookBack) -> None:
    fill(books)
    with pytest.raises(BooksSlow):
        read_for_long(look_back._books)


def read_for_long(books: StatementBooks) -> None:
    with books.open(seconds=0) as source:
        for _ in range(10_000):
            [chain] = source.chains()
            list(source.batches(chain.keeper, 1, []))


class Slow:
    """Books that take too long the first time."""

    def __init__(self, books: StatementBooks) -> None:
        self._books = books
        self._tries = 0

    def open(self, *, seconds: float) -> AbstractContextManager[StatementSource]:
        self._tries += 1
        if self._tries == 1:
            raise BooksSlow
        return self._books.open(seconds=seconds)


def test_when_the_open_hour_is_too_much_the_rest_is_shown_and_says_so(books: Batches, look_back: LookBack) -> None:
    fill(books)
    look_back._books = Slow(look_back._books)
    found = asyncio.run(look_back.history("ann", "usd"))
    assert found.to_the_hour
    assert sum(day.cost.micros for day in found.days) == 3100


async def test_no_more_readers_than_there_may_be_and_none_waits_for_long(tmp_path: Path) -> None:
    inside, most, gate = 0, 0, threading.Event()

    class Counting:
        def open(self, *, seconds: float) -> AbstractContextManager[StatementSource]:
            nonlocal inside, most
            inside += 1
            most = max(most, inside)
            gate.wait(10)
            inside -= 1
            raise BooksRefused("no books")

    look_back = LookBack(Counting(), SqliteScratch, FakeClock(NOON))
    asked = [asyncio.ensure_future(look_back.history("ann", "usd")) for _ in range(8)]
    await asyncio.sleep(0)
    with pytest.raises(BooksSlow):
        await look_back.history("ann", "usd")
    gate.set()
    assert [type(one) for one in await asyncio.gather(*asked, return_exceptions=True)] == [BooksRefused] * 8
    assert most <= 2
    await look_back.close()


def test_books_that_are_not_there_are_refused(tmp_path: Path) -> None:
    with pytest.raises(BooksRefused), SqliteStatementBooks(tmp_path / "none.db").open(seconds=1):
        raise AssertionError("not reached")


def settled_request(books: Batches) -> RequestId:
    """One that was captured, corrected upwards, and given back later; with others in the same batches."""
    books.credit("stripe:cs_1", 5_000_000)
    books.credit("stripe:cs_2", 5_000_000, "bob")
    number = books.record(Kind.GATED_CAPTURE, 100, SEARCH)
    books.record(Kind.CAPTURE, 7, SEARCH, "bob")
    books.commit(NOON)
    books.record(Kind.CORRECTION, 20, SEARCH, request=number)
    books.commit(NOON + 1)
    books.record(Kind.CORRECTION, -120, SEARCH, request=number)
    books.commit(NOON + 2 * DAY_MS)
    return RequestId(NOON + number, number)


def test_a_request_is_explained_with_all_that_became_of_it(books: Batches, look_back: LookBack) -> None:
    id = settled_request(books)
    found = asyncio.run(look_back.explained(id, ["other", "ann"]))
    assert found is not None
    assert (found.id, found.account, found.owner, found.route, found.rule) == (id, "ann", "anna", "search", "p")
    assert [(step.at_ms, step.kind, step.amount.micros) for step in found.steps] == [
        (NOON, Kind.GATED_CAPTURE, 100),
        (NOON + 1, Kind.CORRECTION, 20),
        (NOON + 2 * DAY_MS, Kind.CORRECTION, -120),
    ]
    assert (found.cost.micros, found.state) == (0, "corrected")


def test_a_request_of_somebody_else_is_not_there(books: Batches, look_back: LookBack) -> None:
    id = settled_request(books)
    assert asyncio.run(look_back.explained(id, ["bob"])) is None
    assert asyncio.run(look_back.explained(id, [])) is None
    assert asyncio.run(look_back.explained(RequestId(id.at_ms, id.number + 100), ["ann"])) is None


def test_what_was_voided_is_told_to_have_cost_nothing(books: Batches, look_back: LookBack) -> None:
    books.credit("stripe:cs_1", 5_000_000)
    number = books.record(Kind.GATED_CAPTURE, 100, SEARCH)
    books.commit(NOON)
    books.record(Kind.VOID, -100, SEARCH, request=number)
    books.commit(NOON + 1)
    found = asyncio.run(look_back.explained(RequestId(NOON + number, number), ["ann"]))
    assert found is not None
    assert (found.cost.micros, found.state) == (0, "voided")


def test_of_a_request_whose_beginning_is_gone_only_the_rest_is_told(books: Batches, look_back: LookBack) -> None:
    books.credit("stripe:cs_1", 5_000_000)
    books.record(Kind.CAPTURE, 120, SEARCH)
    books.record(Kind.CORRECTION, -120, SEARCH, request=5)
    books.commit(NOON + HOUR)
    found = asyncio.run(look_back.explained(RequestId(NOON + 5, 5), ["ann"]))
    assert found is not None
    assert ([step.amount.micros for step in found.steps], found.state) == ([-120], "adjusted")


def test_who_never_paid_does_not_make_the_books_be_searched(books: Batches, look_back: LookBack) -> None:
    id = settled_request(books)
    with look_back._books.open(seconds=5) as source:
        unsearched = Unsearched(source)
        assert flow.explained(unsearched, id, ["eve", "mallory"]) is None  # type: ignore[arg-type]
        with pytest.raises(AssertionError):
            flow.explained(unsearched, id, ["eve", "ann"])  # type: ignore[arg-type]


class Unsearched:
    """Books that may be asked for accounts, and for nothing else."""

    def __init__(self, source: StatementSource) -> None:
        self.accounts = source.accounts

    def chains(self) -> None:
        raise AssertionError("it was searched")
