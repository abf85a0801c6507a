"""Sessions of operators and their links, in either kind of records."""

import asyncio

from gateway.adapters.operators import OperatorRecords
from gateway.core.operators import Session
from tests.stored import Records

NOW = 1_800_000_000_000


def session(digest: bytes, *, begun_ms: int = NOW, seen_ms: int = NOW) -> Session:
    return Session(digest * 32, "ann", "operator", b"s" * 32, begun_ms, seen_ms)


async def test_a_session_is_found_until_it_ends(records: Records) -> None:
    book, one = OperatorRecords(records.ask), session(b"a")
    assert await book.find_session(one.digest) is None
    await book.begin_session(one)
    assert await book.find_session(one.digest) == one
    await book.see_session(one.digest, now_ms=NOW + 5)
    await book.see_session(one.digest, now_ms=NOW + 3)
    found = await book.find_session(one.digest)
    assert found is not None
    assert found.seen_ms == NOW + 5, "it never goes back"
    assert await book.end_session(one.digest)
    assert not await book.end_session(one.digest)
    await book.see_session(one.digest, now_ms=NOW + 9)
    assert await book.find_session(one.digest) is None, "looking at it does not bring it back"


async def test_what_is_idle_or_old_goes_and_nothing_else(records: Records) -> None:
    book = OperatorRecords(records.ask)
    idle, old, good = session(b"i", seen_ms=NOW - 11), session(b"o", begun_ms=NOW - 101), session(b"g")
    for one in (idle, old, good):
        await book.begin_session(one)
    await book.end_sessions(seen_before_ms=NOW - 10, begun_before_ms=NOW - 100)
    assert [await book.find_session(one.digest) for one in (idle, old, good)] == [None, None, good]


async def test_of_many_that_use_a_link_at_once_one_does(records: Records) -> None:
    book = OperatorRecords(records.ask)
    used = await asyncio.gather(*(book.use_link(b"n" * 16, now_ms=NOW + at) for at in range(8)))
    assert sorted(used) == [False] * 7 + [True]
    await book.drop_links(used_before_ms=NOW)
    assert not await book.use_link(b"n" * 16, now_ms=NOW), "it is remembered for as long as it might be good"
    await book.drop_links(used_before_ms=NOW + 100)
    assert await book.use_link(b"n" * 16, now_ms=NOW)
