"""The load generator counts every request, and notices every answer that is not right."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager

import pytest

from tests.bench.canned import Canned, answer_with, body_of
from tests.bench.load import Load, Plan, Tally, percentile

BODY = body_of(1024)
RIGHT = answer_with(BODY)


class Counted(Canned):
    """Gives one answer after the other, in turn, and counts what it was asked."""

    answers: Sequence[bytes] = ()
    asked = 0

    def answer(self) -> bytes:
        cls = type(self)
        cls.asked += 1
        return cls.answers[cls.asked % len(cls.answers)]


@asynccontextmanager
async def serving(*answers: bytes) -> AsyncIterator[tuple[int, Callable[[], int]]]:
    """A server that gives these answers in turn; its port, and how often it was asked."""

    class Here(Counted):
        pass

    Here.answers = answers
    server = await asyncio.get_running_loop().create_server(lambda: Here(b""), "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1], lambda: Here.asked


async def load(port: int) -> Tally:
    plan = Plan(port, "/x", ("one", "two"), BODY.decode(), connections=3, warm_up_seconds=0.01, seconds=0.05)
    return await Load(plan).run()


async def test_every_request_is_counted_once() -> None:
    async with serving(RIGHT) as (port, asked):
        tally = await load(port)
    assert tally.right
    assert tally.sent == tally.served == asked()
    assert tally.counted <= tally.served
    assert tally.p50_ms <= tally.p99_ms


@pytest.mark.parametrize(
    "wrong",
    [
        answer_with(BODY, b"402 Payment Required"),
        answer_with(BODY[:-2] + b"!}"),
        answer_with(BODY[:-1]),
        RIGHT + b"more",
    ],
)
async def test_every_wrong_answer_is_noticed(wrong: bytes) -> None:
    async with serving(RIGHT, RIGHT, wrong) as (port, asked):
        tally = await load(port)
    assert not tally.right
    assert tally.wrong == (asked() + 1) // 3  # the second, the fifth, the eighth …
    assert tally.served + tally.wrong == tally.sent == asked()
    assert wrong.decode().startswith(tally.first_wrong[:100])


async def test_an_answer_that_is_never_finished_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.bench.load._OWED_SECONDS_MAX", 0.05)
    async with serving(RIGHT[:-1]) as (port, asked):
        tally = await load(port)
    assert (tally.sent, tally.missing, asked()) == (3, 3, 3)
    assert not tally.right


def test_a_percentile_is_one_of_the_values() -> None:
    values = [1.0, 2.0, 3.0, 4.0]
    assert [percentile(values, percent) for percent in (1, 25, 26, 50, 99, 100)] == [1, 1, 2, 2, 4, 4]
    assert percentile([], 50) == 0
