"""Housekeeping: step by step, in the background, and out of the way when something fails."""

import asyncio
from collections.abc import Sequence

from gateway.core.ledger import Credit, Reversal, expiry
from gateway.core.purses import Purse
from gateway.core.refusals import LedgerUnavailable
from gateway.flows.maintain import DAY_MS, Maintain, Rhythm
from gateway.ports import BooksRefused, StoreBusy, StoreFailed

NOW = 500 * DAY_MS
QUICK = Rhythm(every=0, rest=0, close=5)


class Clock:
    def now_ms(self) -> int:
        return NOW


class Books:
    """So much to fold and to prune, and what stands in the way."""

    def __init__(self, folds: int = 3, prunes: int = 2) -> None:
        self.folds, self.prunes = folds, prunes
        self.trouble: Exception | None = None
        self.asked: list[tuple[str, int]] = []
        self.closed = False
        self.signed = 0
        self.ended: list[Reversal] = []

    async def fold(self, *, closed_before_ms: int) -> bool:
        self.asked.append(("fold", closed_before_ms))
        if self.trouble:
            raise self.trouble
        self.folds -= 1
        return self.folds >= 0

    async def prune(self, *, before_ms: int) -> bool:
        self.asked.append(("prune", before_ms))
        self.prunes -= 1
        return self.prunes >= 0

    async def expired(self, *, now_ms: int) -> Sequence[Reversal]:
        self.asked.append(("expired", now_ms))
        ended, self.ended = self.ended, []
        return ended

    async def sign(self) -> None:
        self.signed += 1

    async def close(self) -> None:
        self.closed = True


async def test_a_turn_folds_everything_that_is_over_and_then_prunes() -> None:
    books = Books()
    await Maintain(books, Clock(), batches_days=30, rhythm=QUICK).turn()
    assert books.asked == [("fold", NOW)] * 4 + [("prune", NOW - 30 * DAY_MS)] * 3
    assert books.signed == 1


async def test_without_a_bound_nothing_is_ever_pruned() -> None:
    books = Books()
    await Maintain(books, Clock(), rhythm=QUICK).turn()
    assert {verb for verb, _ in books.asked} == {"fold"}


async def test_what_fails_is_told_once_and_tried_again_and_nothing_is_pruned_meanwhile() -> None:
    books, told = Books(), list[str]()
    keeping = Maintain(books, Clock(), batches_days=1, rhythm=QUICK, report=told.append)
    for trouble in (BooksRefused("batch 3 was changed"), StoreFailed("disk"), StoreBusy()):
        books.trouble = trouble
        await keeping.turn()
        await keeping.turn()
    assert told == ["housekeeping stopped: batch 3 was changed", "housekeeping stopped: disk"]
    assert {verb for verb, _ in books.asked} == {"fold"}
    books.trouble = None
    await keeping.turn()
    assert told[-1] == "housekeeping goes on"
    assert books.asked[-1][0] == "prune"


async def test_it_runs_by_itself_and_folds_the_rest_at_the_close() -> None:
    books = Books(folds=1)
    keeping = Maintain(books, Clock(), rhythm=Rhythm(every=600, rest=0))
    keeping.open()
    for _ in range(20):
        await asyncio.sleep(0)
    assert books.asked == [("fold", NOW)] * 2
    books.folds = 1
    await keeping.close()
    assert [before > NOW for _, before in books.asked[2:]] == [True, True]
    assert books.closed
    await keeping.close()
    assert len(books.asked) == 4


async def test_a_close_does_not_wait_for_ever() -> None:
    books = Books(folds=10**9)
    keeping = Maintain(books, Clock(), rhythm=Rhythm(every=600, rest=600, close=0))
    keeping.open()
    await asyncio.wait_for(keeping.close(), 10)


class Entries:
    """Takes what there is: of the second purse nothing."""

    def __init__(self) -> None:
        self.taken: list[str] = []
        self.trouble = False

    async def credit(self, credit: Credit) -> bool:
        raise AssertionError("nothing is given")

    async def reverse(self, reversal: Reversal) -> bool:
        if self.trouble:
            raise LedgerUnavailable()
        self.taken.append(reversal.ref)
        return not reversal.ref.startswith("expired:2:")


def ended(row: int) -> Reversal:
    return expiry(row, (Purse(0, NOW - 1).named("ann"), "usd"), 500, now_ms=NOW)


async def test_what_is_left_in_a_purse_whose_time_is_over_is_taken_away() -> None:
    books, entries = Books(), Entries()
    books.ended = [ended(1), ended(2)]
    await Maintain(books, Clock(), ledger=lambda: entries, rhythm=QUICK).turn()
    assert entries.taken == [f"expired:1:{NOW}", f"expired:2:{NOW}"]
    assert books.asked[:2] == [("expired", NOW)] * 2, "there could have been more"
    assert all(one.at_most for one in (ended(1), ended(2)))


async def test_books_that_cannot_be_written_stop_no_other_housekeeping() -> None:
    books, entries = Books(), Entries()
    books.ended, entries.trouble = [ended(1)], True
    told: list[str] = []
    await Maintain(books, Clock(), ledger=lambda: entries, rhythm=QUICK, report=told.append).turn()
    assert (entries.taken, told) == ([], [])
    assert ("fold", NOW) in books.asked
