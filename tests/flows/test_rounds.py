"""Rounds: they go on, whatever goes wrong with one of them, and what went wrong is told."""

import asyncio
from collections.abc import Sequence
from typing import Any

from gateway.core.refusals import RecordsUnavailable
from gateway.flows.rounds import Rounds


async def told_of(failures: Sequence[Exception | None]) -> list[dict[str, Any]]:
    """What the event loop was told of rounds that end so, the last of them well."""
    told: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: told.append(context))
    done, left = asyncio.Event(), list(failures)

    async def work() -> None:
        if not left:
            done.set()
        elif (failure := left.pop(0)) is not None:
            raise failure

    rounds = Rounds(work, every_seconds=0, name="old sessions")
    rounds.open()
    async with asyncio.timeout(5):
        await done.wait()
    await rounds.close()
    return told


async def test_a_round_that_fails_is_told_and_the_next_one_comes() -> None:
    [told] = await told_of([None, KeyError("x"), None])
    assert isinstance(told["exception"], KeyError)
    assert told["message"] == "old sessions: a round failed, the next comes in 0 s"


async def test_what_fails_in_the_same_way_again_and_again_is_told_once_until_it_went_well() -> None:
    failures = [KeyError("x"), KeyError("y"), ValueError(), ValueError(), None, ValueError()]
    assert [type(one["exception"]) for one in await told_of(failures)] == [KeyError, ValueError, ValueError]


async def test_records_that_are_away_are_told_by_who_reads_them() -> None:
    assert await told_of([RecordsUnavailable(), RecordsUnavailable()]) == []


async def test_nothing_comes_after_the_close() -> None:
    made = 0

    async def work() -> None:
        nonlocal made
        made += 1

    rounds = Rounds(work, every_seconds=0, name="rounds")
    rounds.open()
    await asyncio.sleep(0)
    await rounds.close()
    after = made
    for _ in range(10):
        await asyncio.sleep(0)
    assert made == after > 0
