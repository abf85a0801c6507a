"""Readings wait in the memory until they are written: all at once, and again if they could not be."""

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from gateway.adapters.memory import MemoryMeterBook
from gateway.core.ids import RequestId
from gateway.core.measured import Measured
from gateway.core.refusals import RecordsUnavailable
from gateway.flows import record_meters
from gateway.flows.record_meters import RecordMeters
from tests.ledger_books import Clock

READ = Measured("GET", 200, {"answer_bytes": 5})


class Book(MemoryMeterBook):
    """One that may be down, or take for ever, after it has written."""

    down: Exception | None = None
    stuck = False

    async def keep(self, rows: Any) -> None:
        await super().keep(rows)
        if self.down is not None:
            raise self.down
        if self.stuck:
            await asyncio.Event().wait()


def end(meters: RecordMeters, *numbers: int) -> None:
    for number in numbers:
        exchange: Any = SimpleNamespace(id=RequestId(1_000 + number, number), method="GET")
        meter: Any = SimpleNamespace(measured=lambda method: READ)
        meters.ended(exchange, meter)


def made(book: Book, clock: Clock) -> RecordMeters:
    return RecordMeters(book=book, clock=clock, keep_ms=500, rows_max=3)


async def test_what_could_not_be_written_is_written_later_and_once() -> None:
    book = Book()
    meters = made(book, Clock())
    end(meters, *range(700))
    book.down = RecordsUnavailable()
    with pytest.raises(RecordsUnavailable):
        await meters.write()
    await meters.leave()  # nor does that hinder the end
    book.down, book.stuck = None, True
    writing = asyncio.create_task(meters.write())
    await asyncio.sleep(0)
    writing.cancel()
    await asyncio.gather(writing, return_exceptions=True)
    book.stuck = False
    assert len(book.rows) < 700
    await meters.leave()
    assert list(book.rows) == [str(RequestId(1_000 + number, number)) for number in range(700)]
    assert Measured.unpacked(book.rows[str(RequestId(1_001, 1))][1]) == READ


async def test_there_is_room_for_so_many_and_the_oldest_go(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(record_meters, "WAITING_MAX", 5)
    book = Book()
    meters = made(book, Clock())
    end(meters, *range(8))
    await meters.write()
    assert [at for at, _ in book.rows.values()] == [1_003, 1_004, 1_005, 1_006, 1_007]


async def test_old_readings_go_and_those_beyond_the_bound() -> None:
    book, clock = Book(), Clock(1_504)
    meters = made(book, clock)
    end(meters, *range(10))
    await meters.write()
    assert [await meters.drop(4) for _ in range(3)] == [4, 3, 0]
    clock.now = 1_509
    assert await meters.drop(4) == 2
