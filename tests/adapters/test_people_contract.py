"""What the ports promise of people, their tokens at providers, and jobs, held against both databases."""

import asyncio

import pytest

from gateway.adapters.jobs import JobBook
from gateway.adapters.people import TOKENS, PeopleBook
from gateway.adapters.sqlite.records import SqliteRecords
from gateway.core.grants import Grant
from gateway.core.jobs import Job
from gateway.core.keyring import Keyring
from gateway.core.secrets import Secret
from gateway.core.sign_ins import PROFILE_PURPOSE
from gateway.ports import User
from tests.fakes import SeededRandomness
from tests.stored import KEYRING, Records

NOW = 1_800_000_000_000
DAY = 86_400_000


@pytest.fixture
def people(records: Records) -> PeopleBook:
    return PeopleBook(records.ask)


@pytest.fixture
def jobs(records: Records) -> JobBook:
    return JobBook(records.ask, shared=not isinstance(records, SqliteRecords))


async def put(jobs: JobBook, number: int, *, at: int = NOW) -> bool:
    return await jobs.put_job("first_sync", "usr_1", "amazon", id=f"job_{number}", cause=f"sync {number}", now_ms=at)


async def taken(jobs: JobBook, *, at: int = NOW, lease: int = 100) -> Job:
    job = await jobs.take_job(now_ms=at, lease_ms=lease)
    assert job is not None
    return job


async def test_a_way_back_is_taken_once(people: PeopleBook) -> None:
    both = await asyncio.gather(*(people.use_once(b"1" * 32, until_ms=NOW) for _ in range(5)))
    assert sorted(both) == [False] * 4 + [True]
    assert await people.use_once(b"2" * 32, until_ms=NOW)
    await people.drop_old(now_ms=NOW + 1)
    assert await people.use_once(b"1" * 32, until_ms=NOW)


async def test_who_signs_in_at_the_same_time_twice_is_one(people: PeopleBook) -> None:
    ids = [f"usr_{number}" for number in range(5)]
    whose = await asyncio.gather(
        *(people.add_login(b"d" * 32, id, provider="amazon", pepper_id="p1", now_ms=NOW) for id in ids)
    )
    assert len(set(whose)) == 1
    assert await people.find_user([b"d" * 32]) is None, "cut off before the rest of it"
    ann = User(whose[0], "acct_1", "k1", b"sealed")
    await people.add_user(ann, now_ms=NOW)
    await people.add_user(User(ann.id, "acct_2", "k1", b""), now_ms=NOW)
    assert await people.find_user([b"x" * 32, b"d" * 32]) == ann
    assert await people.user(ann.id) == ann
    assert await people.users_of(["acct_0", "acct_1"]) == [ann]
    assert await people.users_of(["acct_2"]) == []
    await people.redigest_login(b"e" * 32, [b"d" * 32], pepper_id="p2")
    assert await people.find_user([b"d" * 32]) is None
    assert await people.find_user([b"e" * 32]) == ann


async def test_a_wallet_is_claimed_by_one_of_many_people(people: PeopleBook) -> None:
    ids = [f"usr_{number}" for number in range(5)]
    whose = await asyncio.gather(*(people.claim_wallet("acct_1", id, now_ms=NOW) for id in ids))
    assert len(set(whose)) == 1, "and all are told who"
    assert await people.claim_wallet("acct_1", whose[0], now_ms=NOW + 1) == whose[0], "who was cut off goes on"
    assert await people.claim_wallet("acct_2", "usr_9", now_ms=NOW) == "usr_9"


async def test_a_login_and_a_profile_keep_the_keys_that_they_need(records: Records, people: PeopleBook) -> None:
    await people.add_login(b"d" * 32, "usr_1", provider="amazon", pepper_id="p1", now_ms=NOW)
    sealed = KEYRING.seal(PROFILE_PURPOSE, b"{}", nonce=b"n" * 12, about="usr_1")
    await people.add_user(User("usr_1", "acct_1", *sealed), now_ms=NOW)
    given = KEYRING.seal(TOKENS, b"given", nonce=b"m" * 12, about="usr_1 amazon")
    await people.keep_tokens("usr_1", "amazon", *given, NOW)
    old = KEYRING.newest.id
    assert (await records.key_roll.use("pepper")).tokens == {"p1": 1}
    assert (await records.key_roll.use("sealing_key")).events == {old: 2}
    newer = Keyring([Secret("n" * 40), Secret("k" * 40)])
    assert await people.reseal(old, newer, SeededRandomness(), count=10) == 2
    assert (await records.key_roll.use("sealing_key")).events == {newer.newest.id: 2}
    kept = await people.find_tokens("usr_1", "amazon")
    assert kept is not None
    assert newer.open(TOKENS, kept.key_id, kept.sealed, about="usr_1 amazon") == b"given"
    assert await people.reseal(old, newer, SeededRandomness(), count=10) == 0


async def test_sessions_that_are_over_are_not_listed_and_go_after_a_day(records: Records, people: PeopleBook) -> None:
    await people.add_user(User("usr_1", "acct_1", "k1", b""), now_ms=NOW)
    for number, expires in enumerate((NOW + 10, NOW + 2 * DAY)):
        grant = Grant(f"ses_{number:020x}", "acct_1", NOW, expires_ms=expires)
        await people.add_stay(grant.id, "usr_1", provider="amazon", now_ms=NOW, expires_ms=expires)
        await records.grants.add_grant(grant, bytes([number]) * 32, pepper_id="p1", alive_max=9)
    assert [one.expires_ms for one in await people.stays("usr_1", now_ms=NOW)] == [NOW + 10, NOW + 2 * DAY]
    assert [one.expires_ms for one in await people.stays("usr_1", now_ms=NOW + 10)] == [NOW + 2 * DAY]
    found = await people.user_of_stay(f"ses_{0:020x}")
    assert found is not None
    assert found.id == "usr_1"
    await people.drop_old(now_ms=NOW + 11 + DAY)
    assert [one.id for one in await records.grants.grants_of(["acct_1"])] == [f"ses_{1:020x}"]
    assert await people.user_of_stay(f"ses_{0:020x}") is None
    await records.grants.revoke_grant(f"ses_{1:020x}", now_ms=NOW)
    assert await people.stays("usr_1", now_ms=NOW) == []


async def test_sessions_take_no_place_of_a_token(records: Records) -> None:
    session, token = Grant("ses_" + "0" * 20, "acct_1", NOW), Grant("tok_" + "0" * 20, "acct_1", NOW)
    assert await records.grants.add_grant(session, b"1" * 32, pepper_id="p1", alive_max=1)
    assert await records.grants.add_grant(token, b"2" * 32, pepper_id="p1", alive_max=1)


async def test_tokens_are_renewed_by_one_at_a_time(people: PeopleBook) -> None:
    await people.keep_tokens("usr_1", "amazon", "k1", b"first", NOW)
    asked = [people.hold_tokens("usr_1", "amazon", 1, now_ms=NOW, lease_ms=100) for _ in range(5)]
    assert sorted(await asyncio.gather(*asked)) == [False] * 4 + [True]
    assert not await people.hold_tokens("usr_1", "amazon", 1, now_ms=NOW + 99, lease_ms=100)
    assert await people.hold_tokens("usr_1", "amazon", 1, now_ms=NOW + 100, lease_ms=100)
    await people.let_go_tokens("usr_1", "amazon", 0)
    assert not await people.hold_tokens("usr_1", "amazon", 1, now_ms=NOW + 101, lease_ms=100), "it was another version"
    await people.let_go_tokens("usr_1", "amazon", 1)
    assert await people.hold_tokens("usr_1", "amazon", 1, now_ms=NOW + 101, lease_ms=100)
    assert await people.renew_tokens("usr_1", "amazon", 1, "k1", b"second", None)
    assert not await people.renew_tokens("usr_1", "amazon", 1, "k1", b"late", None)
    assert not await people.hold_tokens("usr_1", "amazon", 1, now_ms=NOW + 999, lease_ms=100)
    kept = await people.find_tokens("usr_1", "amazon")
    assert kept is not None
    assert (kept.sealed, kept.expires_ms, kept.version) == (b"second", None, 2)
    assert not await people.drop_tokens("usr_1", "amazon", 1)
    assert await people.drop_tokens("usr_1", "amazon", 2)
    assert not await people.drop_tokens("usr_1", "amazon")
    await people.set_state("usr_1", "amazon", "failing", now_ms=NOW)
    await people.set_state("usr_1", "amazon", "connected", now_ms=NOW + 1)
    [one] = await people.integrations("usr_1")
    assert (one.state, one.checked_ms) == ("connected", NOW + 1)


async def test_a_job_is_given_to_one_and_to_the_next_when_its_time_is_over(jobs: JobBook) -> None:
    assert await put(jobs, 1)
    assert not await put(jobs, 1)
    many = await asyncio.gather(*(jobs.take_job(now_ms=NOW, lease_ms=100) for _ in range(8)))
    [first] = [one for one in many if one is not None]
    assert (first.state, first.tries, first.turn) == ("running", 1, 1)
    assert await jobs.take_job(now_ms=NOW + 99, lease_ms=100) is None
    assert await jobs.note_progress(first, {"pages": 1}, now_ms=NOW + 50, lease_ms=100)
    assert await jobs.take_job(now_ms=NOW + 149, lease_ms=100) is None
    second = await taken(jobs, at=NOW + 150)
    assert (second.progress, second.turn) == ({"pages": 1}, 2)
    assert not await jobs.note_progress(first, {"pages": 9}, now_ms=NOW + 151, lease_ms=100)
    assert not await jobs.close_job(first, "done", due_ms=0, error=None, now_ms=NOW + 151)
    assert await jobs.close_job(second, "done", due_ms=0, error=None, now_ms=NOW + 152)
    assert await jobs.take_job(now_ms=NOW + DAY, lease_ms=100) is None


async def test_a_dead_letter_is_tried_again_when_somebody_says_so(jobs: JobBook) -> None:
    await put(jobs, 1)
    await put(jobs, 2, at=NOW + 1)
    job = await taken(jobs)
    assert job.id == "job_1"
    await jobs.close_job(job, "waiting", due_ms=NOW + 50, error="later", now_ms=NOW)
    assert (await taken(jobs, at=NOW + 5)).id == "job_2"
    job = await taken(jobs, at=NOW + 50)
    assert (job.tries, job.since_ms) == (2, NOW)
    await jobs.close_job(job, "failed", due_ms=NOW, error="never", now_ms=NOW + 60)
    assert await jobs.count_jobs() == {"waiting": 0, "running": 1, "done": 0, "failed": 1}
    assert [one.id for one in await jobs.list_jobs(state="failed", user=None, count=9)] == ["job_1"]
    assert [one.id for one in await jobs.list_jobs(state=None, user="usr_1", count=9)] == ["job_2", "job_1"]
    assert await jobs.list_jobs(state=None, user="usr_2", count=9) == []
    assert not await jobs.again_job("job_2", now_ms=NOW + 70)
    assert await jobs.again_job("job_1", now_ms=NOW + 70)
    found = await jobs.find_job("job_1")
    assert found is not None
    assert (found.state, found.tries, found.since_ms, found.error) == ("waiting", 0, NOW + 70, "never")
    assert await jobs.find_job("job_3") is None
