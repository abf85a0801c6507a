"""What the port promises of who acts for owners, and of their accounts: memory, and both databases."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from gateway.adapters.memory_owners import MemoryOwners
from gateway.adapters.owning import OwnerRecords
from gateway.adapters.postgres.records import PostgresRecords
from gateway.adapters.postgres.sessions import Address
from gateway.adapters.sqlite.records import SqliteRecords
from gateway.core.keyring import Keyring
from gateway.core.owning import WISH_PURPOSE, Member, OwnerAccount, Standing
from gateway.core.secrets import Secret
from gateway.ports import OwnerBook
from tests.fakes import SeededRandomness
from tests.postgres_server import Server

KEYRING = Keyring([Secret("k" * 40)])
NOW, HOUR = 1_800_000_000_000, 3_600_000
ONE, OTHER = b"1" * 32, b"2" * 32
SEALED = KEYRING.seal(WISH_PURPOSE, b"{}", nonce=bytes(12), about="anna")
BEGUN = OwnerAccount("anna", False, "v2", "name-1", 1, NOW, NOW, NOW, sealed=SEALED)
STANDS = Standing("acct_1", "restricted", ("a.name", "a.day"), False, True, "US")


@pytest.fixture(params=["memory", "sqlite", "postgres"])
async def book(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[OwnerBook]:
    if request.param == "memory":
        yield MemoryOwners()
        return
    stored: SqliteRecords | PostgresRecords
    if request.param == "sqlite":
        stored = SqliteRecords(tmp_path / "records.db", keyring=KEYRING, randomness=SeededRandomness())
    else:
        server: Server = request.getfixturevalue("postgres")
        stored = PostgresRecords(Address(Secret(await server.schema())), keyring=KEYRING, randomness=SeededRandomness())
    await stored.open()
    yield OwnerRecords(stored.ask)
    await stored.close()


async def made(book: OwnerBook) -> OwnerAccount:
    await book.begin_account(BEGUN)
    await book.keep_made(BEGUN, STANDS, now_ms=NOW + 5)
    found = await book.find_account("anna", live=False)
    assert found is not None
    return found


async def test_a_person_acts_for_one_owner_and_the_first_stays(book: OwnerBook) -> None:
    first = Member("usr_1", "anna", "invited", NOW)
    assert await book.add_member(first) == first
    assert await book.add_member(Member("usr_1", "bert", "linked", NOW + 1)) == first
    await book.add_member(Member("usr_0", "bert", "linked", NOW))
    await book.add_member(Member("usr_2", "anna", "linked", NOW - 1))
    assert [(one.owner, one.user) for one in await book.members()] == [
        ("anna", "usr_2"), ("anna", "usr_1"), ("bert", "usr_0")
    ]  # fmt: skip
    assert await book.drop_member("usr_1")
    assert not await book.drop_member("usr_1")
    assert await book.member("usr_1") is None


async def test_an_invitation_is_used_once_and_by_one(book: OwnerBook) -> None:
    await book.add_invite(ONE, "anna", until_ms=NOW + 10)
    assert await book.find_invite([OTHER, ONE], now_ms=NOW + 9) == "anna"
    assert await book.find_invite([ONE], now_ms=NOW + 10) is None
    assert await book.use_invite([ONE], "usr_1", now_ms=NOW + 10) is None
    found = await asyncio.gather(*(book.use_invite([OTHER, ONE], f"usr_{n}", now_ms=NOW) for n in range(5)))
    assert sorted(map(str, found)) == ["None"] * 4 + ["anna"]
    [winner] = [number for number, owner in enumerate(found) if owner]
    assert await book.use_invite([ONE], f"usr_{winner}", now_ms=NOW) == "anna", "who was cut off comes again"
    assert await book.find_invite([ONE], now_ms=NOW) is None
    await book.drop_invites(before_ms=NOW + 10)
    assert await book.use_invite([ONE], f"usr_{winner}", now_ms=NOW) == "anna"
    await book.drop_invites(before_ms=NOW + 11)
    assert await book.use_invite([ONE], f"usr_{winner}", now_ms=NOW) is None


async def test_of_two_who_begin_an_account_the_first_counts(book: OwnerBook) -> None:
    assert await book.find_account("anna", live=False) is None
    assert await book.begin_account(BEGUN) == BEGUN
    assert await book.begin_account(replace(BEGUN, key="name-2", sealed=None)) == BEGUN
    live = replace(BEGUN, live=True, key="name-3")
    assert await book.begin_account(live) == live, "the other mode has one of its own"
    assert await book.find_account("anna", live=False) == BEGUN
    assert [one.key for one in await book.accounts(live=True)] == ["name-3"]


async def test_an_attempt_is_followed_by_another_once(book: OwnerBook) -> None:
    await book.begin_account(BEGUN)
    assert await book.ask_again(BEGUN, "v1", None, now_ms=NOW + 1)
    assert not await book.ask_again(BEGUN, "v2", SEALED, now_ms=NOW + 2)
    found = await book.find_account("anna", live=False)
    assert found == replace(BEGUN, attempt=2, api="v1", sealed=None, changed_ms=NOW + 1)
    assert await book.ask_again(found, "v2", SEALED, now_ms=NOW + 3)
    again = await book.find_account("anna", live=False)
    assert again is not None
    assert (again.attempt, again.api, again.sealed) == (3, "v2", SEALED)


async def test_what_was_made_is_kept_once_and_the_wish_is_gone(book: OwnerBook) -> None:
    found = await made(book)
    assert (found.standing, found.sealed, found.status) == (STANDS, None, "restricted")
    assert (found.created_ms, found.changed_ms, found.checked_ms) == (NOW, NOW + 5, NOW + 5)
    await book.keep_made(BEGUN, replace(STANDS, account="acct_2"), now_ms=NOW + 6)
    assert await book.find_account("anna", live=False) == found
    assert not await book.ask_again(found, "v2", SEALED, now_ms=NOW + 7)
    assert await book.owner_of_account("acct_1", live=False) == found
    assert await book.owner_of_account("acct_1", live=True) is None
    assert await book.owner_of_account("acct_2", live=False) is None


async def test_an_older_look_does_not_overtake_a_later_one(book: OwnerBook) -> None:
    found = await made(book)
    enabled = Standing("acct_1", "enabled", (), True, True, "US")
    assert await book.keep_standing(found, enabled, asked_ms=NOW + 9, now_ms=NOW + 20)
    assert not await book.keep_standing(found, STANDS, asked_ms=NOW + 8, now_ms=NOW + 30)
    later = await book.find_account("anna", live=False)
    assert later is not None
    assert (later.standing, later.changed_ms, later.checked_ms) == (enabled, NOW + 20, NOW + 9)
    other = replace(enabled, account="acct_9")
    assert not await book.keep_standing(found, other, asked_ms=NOW + 40, now_ms=NOW + 40), "another account is another"


async def test_accounts_that_nobody_looked_at_are_found(book: OwnerBook) -> None:
    await made(book)
    await book.begin_account(replace(BEGUN, owner="bert", key="name-2"))
    await book.begin_account(replace(BEGUN, owner="carl", key="name-3"))
    carl = replace(BEGUN, owner="carl")
    await book.keep_made(carl, replace(STANDS, account="acct_3"), now_ms=NOW + 1)
    found = await book.unchecked(live=False, before_ms=NOW + HOUR, count=9)
    assert [one.owner for one in found] == ["carl", "anna"], "one that is being made is not looked at"
    assert [one.owner for one in await book.unchecked(live=False, before_ms=NOW + 5, count=9)] == ["carl"]
    assert [one.owner for one in await book.unchecked(live=False, before_ms=NOW + HOUR, count=1)] == ["carl"]
    assert await book.unchecked(live=True, before_ms=NOW + HOUR, count=9) == []


async def test_a_wish_is_sealed_anew_with_the_newest_key(book: OwnerBook) -> None:
    if not isinstance(book, OwnerRecords):
        return
    await book.begin_account(BEGUN)
    both = Keyring([Secret("n" * 40), Secret("k" * 40)])
    assert await book.reseal(SEALED[0], both, SeededRandomness(), count=9) == 1
    assert await book.reseal(SEALED[0], both, SeededRandomness(), count=9) == 0
    found = await book.find_account("anna", live=False)
    assert found is not None
    assert found.sealed is not None
    assert Keyring([Secret("n" * 40)]).open(WISH_PURPOSE, *found.sealed, about="anna") == b"{}"


async def test_a_key_that_a_wish_is_sealed_with_is_counted_until_the_account_is_there(tmp_path: Path) -> None:
    stored = SqliteRecords(tmp_path / "records.db", keyring=KEYRING, randomness=SeededRandomness())
    await stored.open()
    book = OwnerRecords(stored.ask)
    await book.begin_account(BEGUN)
    assert (await stored.key_roll.use("sealing_key")).events == {SEALED[0]: 1}
    await book.keep_made(BEGUN, STANDS, now_ms=NOW)
    assert (await stored.key_roll.use("sealing_key")).events == {}
    await stored.close()
