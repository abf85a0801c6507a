"""What the port promises of idempotency keys, held against both databases, and what the tests of the flow run on."""

import asyncio
from collections.abc import AsyncIterator, Iterable
from dataclasses import replace
from pathlib import Path

import pytest

from gateway.adapters.postgres.records import PostgresRecords
from gateway.adapters.postgres.sessions import Address
from gateway.adapters.sqlite.records import SqliteRecords
from gateway.core.idempotency import Claim
from gateway.core.keyring import Keyring
from gateway.core.secrets import Secret
from gateway.ports import KeyClaims
from tests.fakes import MemoryKeyClaims, SeededRandomness
from tests.postgres_server import Server

KEYRING = Keyring([Secret("k" * 40)])
NOW = 1_800_000_000_000
OURS = Claim("acct_1", b"k1", b"asked", "req_1", "p1", NOW + 30, NOW + 1000)
THEIRS = replace(OURS, request="req_2", holder="p2", lease_ms=NOW + 90, fingerprint=b"else")
KEPT = replace(OURS, state="kept", sealed_by="ab12", answer=b"\x00page", expires_ms=NOW + 2000)


@pytest.fixture(params=["fake", "sqlite", "postgres"])
async def claims(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[KeyClaims]:
    stored: SqliteRecords | PostgresRecords
    if request.param == "fake":
        yield MemoryKeyClaims()
        return
    if request.param == "sqlite":
        stored = SqliteRecords(tmp_path / "records.db", keyring=KEYRING, randomness=SeededRandomness())
    else:
        server: Server = request.getfixturevalue("postgres")
        address = Address(Secret(await server.schema()))
        stored = PostgresRecords(address, keyring=KEYRING, randomness=SeededRandomness())
    await stored.open()
    yield stored.key_claims
    await stored.close()


async def found(claims: KeyClaims) -> Claim | None:
    """What is on record of the key, without a trace."""
    probe = replace(OURS, request="probe", fingerprint=b"probe")
    there = await claims.claim(probe, now_ms=NOW)
    if there is None:
        await claims.free(probe)
    return there


async def test_a_key_is_claimed_once(claims: KeyClaims) -> None:
    assert await claims.claim(OURS, now_ms=NOW) is None
    assert await claims.claim(THEIRS, now_ms=NOW) == OURS
    assert await claims.claim(replace(THEIRS, account="acct_2"), now_ms=NOW) is None
    assert await claims.claim(replace(THEIRS, key=b"k2"), now_ms=NOW) is None


async def test_it_is_told_who_of_several_has_used_a_key(claims: KeyClaims) -> None:
    await claims.claim(OURS, now_ms=NOW)
    assert await claims.used_by(["acct_2", "acct_1"], b"k1", now_ms=NOW) == "acct_1"
    assert await claims.used_by(["acct_2", "acct_1"], b"k2", now_ms=NOW) is None
    assert await claims.used_by(["acct_1"], b"k1", now_ms=OURS.expires_ms) is None
    assert await claims.used_by([], b"k1", now_ms=NOW) is None


async def test_of_many_at_once_one_has_it(claims: KeyClaims) -> None:
    many = [replace(OURS, request=f"req_{number}") for number in range(12)]
    answers = await asyncio.gather(*(claims.claim(one, now_ms=NOW) for one in many))
    [first] = [one for one, answer in zip(many, answers, strict=True) if answer is None]
    assert {answer for answer in answers if answer is not None} == {first}


async def test_a_key_is_free_when_it_has_expired(claims: KeyClaims) -> None:
    await claims.claim(OURS, now_ms=NOW)
    assert await claims.claim(THEIRS, now_ms=OURS.expires_ms - 1) == OURS
    assert await claims.claim(THEIRS, now_ms=OURS.expires_ms) is None
    assert await found(claims) == THEIRS
    assert not await claims.end(KEPT), "it is another's by now"


async def test_what_is_under_way_does_not_expire(claims: KeyClaims) -> None:
    await claims.claim(replace(OURS, expires_ms=NOW + 10), now_ms=NOW)
    assert await claims.drop_expired(now_ms=OURS.lease_ms - 1, count=9) == 0
    assert await claims.claim(THEIRS, now_ms=OURS.lease_ms - 1) is not None
    assert await claims.claim(THEIRS, now_ms=OURS.lease_ms) is None


async def test_what_has_ended_stays_so(claims: KeyClaims) -> None:
    await claims.claim(OURS, now_ms=NOW)
    assert not await claims.end(replace(KEPT, request="req_9"))
    assert await claims.end(KEPT)
    assert not await claims.end(replace(KEPT, state="unknown", answer=b""))
    assert not await claims.take_over(THEIRS, of=OURS.request, now_ms=NOW + 999)
    await claims.free(OURS)
    assert await found(claims) == KEPT


async def test_what_came_to_nothing_is_free(claims: KeyClaims) -> None:
    await claims.claim(OURS, now_ms=NOW)
    await claims.free(THEIRS)
    assert await found(claims) == OURS
    await claims.free(OURS)
    assert await found(claims) is None


async def test_only_a_lease_that_is_over_is_taken_over_and_by_one(claims: KeyClaims) -> None:
    await claims.claim(OURS, now_ms=NOW)
    assert not await claims.take_over(THEIRS, of=OURS.request, now_ms=OURS.lease_ms - 1)
    assert not await claims.end(replace(OURS, state="unknown"), lapsed_ms=OURS.lease_ms - 1)
    takers = [replace(THEIRS, request=f"req_{number}") for number in range(2, 6)]
    taken = await asyncio.gather(*(claims.take_over(one, of=OURS.request, now_ms=OURS.lease_ms) for one in takers))
    assert sum(taken) == 1
    assert await found(claims) == takers[taken.index(True)]
    assert not await claims.end(KEPT), "whoever wakes up has lost it"


async def test_a_lease_that_is_over_ends_a_claim(claims: KeyClaims) -> None:
    await claims.claim(OURS, now_ms=NOW)
    assert await claims.end(replace(OURS, state="unknown"), lapsed_ms=OURS.lease_ms)
    assert await found(claims) == replace(OURS, state="unknown")


async def test_a_process_renews_what_is_its_own_and_open(claims: KeyClaims) -> None:
    other, done = replace(THEIRS, key=b"k2"), replace(OURS, key=b"k3")
    for claim in (OURS, other, done):
        await claims.claim(claim, now_ms=NOW)
    await claims.end(replace(done, state="not_kept"))
    await claims.renew("p1", NOW + 500)
    leases = []
    for claim in (OURS, other, done):
        there = await claims.claim(claim, now_ms=NOW)
        assert there is not None
        leases.append(there.lease_ms - NOW)
    assert leases == [500, 90, 30]


async def test_what_has_expired_is_dropped_a_few_at_a_time(claims: KeyClaims) -> None:
    for number in range(5):
        await claims.claim(replace(OURS, key=b"%d" % number, expires_ms=NOW + number, lease_ms=NOW), now_ms=NOW - 1)
    assert [await claims.drop_expired(now_ms=NOW + 3, count=3) for _ in range(3)] == [3, 1, 0]
    assert await claims.claim(replace(OURS, key=b"4"), now_ms=NOW) is not None


async def keeping(claims: KeyClaims, sizes: dict[int, int]) -> None:
    """Answers of these sizes, by when they expire."""
    for age, size in sizes.items():
        one = replace(OURS, key=b"%d" % age)
        await claims.claim(one, now_ms=NOW)
        await claims.end(replace(KEPT, key=one.key, expires_ms=NOW + age, answer=b"x" * size))


async def kept(claims: KeyClaims, ages: Iterable[int]) -> list[int]:
    found = [await claims.claim(replace(OURS, key=b"%d" % age), now_ms=NOW) for age in ages]
    for one in found:
        assert one is not None
        assert one.state == "kept" or (one.state, one.sealed_by, one.answer) == ("not_kept", "", b"")
    return [age for age, one in zip(ages, found, strict=True) if one is not None and one.state == "kept"]


@pytest.mark.parametrize(
    ("bytes_max", "left"),
    [(60, [3, 5, 7, 9]), (59, [5, 7, 9]), (50, [5, 7, 9]), (49, [7, 9]), (10, [9]), (9, []), (0, [])],
)
async def test_of_too_much_that_is_kept_the_oldest_is_forgotten(
    claims: KeyClaims, bytes_max: int, left: list[int]
) -> None:
    await keeping(claims, {9: 10, 3: 10, 7: 20, 5: 20})
    forgotten = await claims.forget_answers(bytes_max=bytes_max, count=9)
    assert (await kept(claims, [3, 5, 7, 9]), forgotten) == (left, 4 - len(left))
    assert await claims.forget_answers(bytes_max=bytes_max, count=9) == 0


async def test_it_is_forgotten_a_few_at_a_time(claims: KeyClaims) -> None:
    await keeping(claims, {1: 10, 2: 10, 3: 10, 4: 10})
    assert [await claims.forget_answers(bytes_max=10, count=2) for _ in range(3)] == [2, 1, 0]
    assert await kept(claims, [1, 2, 3, 4]) == [4]


async def test_what_is_under_way_is_not_forgotten(claims: KeyClaims) -> None:
    await claims.claim(OURS, now_ms=NOW)
    assert await claims.forget_answers(bytes_max=0, count=9) == 0
    assert await found(claims) == OURS
