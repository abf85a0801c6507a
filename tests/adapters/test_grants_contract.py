"""What the port promises of tokens as their holders know them, held against both databases."""

import asyncio
from dataclasses import replace

import pytest

from gateway.adapters.postgres import grants as postgres_grants
from gateway.adapters.sqlite import grants as sqlite_grants
from gateway.core.grants import LINE_MAX, Grant, OwnCap, Scope, Terms, grant_id
from gateway.core.limits import Rate
from gateway.core.money import Money
from gateway.ports import Rotation
from tests.stored import Records

NOW = 1_800_000_000_000
TERMS = Terms(
    Scope(frozenset({"weather"}), frozenset({"GET", "HEAD"})),
    (Rate(5, 60, "5/minute"), Rate(2_000_000, 86_400, "2.00 usd/day", currency="usd")),
    (OwnCap("day", Money(5_000_000, "usd"), NOW),),
)


async def made(records: Records, name: str, *, parent: str | None = None, alive_max: int = 99, **rest: object) -> Grant:
    digest = name.encode().ljust(32, b"-")
    grant = Grant(grant_id(digest), "acct_1", NOW, parent, name, name[-4:], **rest)  # type: ignore[arg-type]
    assert await records.grants.add_grant(grant, digest, pepper_id="0000", alive_max=alive_max)
    return grant


def secret_of(grant: Grant) -> bytes:
    return grant.name.encode().ljust(32, b"-")


async def test_a_token_is_found_with_all_that_it_came_of(records: Records) -> None:
    first = await made(records, "first", terms=TERMS, expires_ms=NOW + 7)
    child = await made(records, "child", parent=first.id)
    grandchild = await made(records, "grandchild", parent=child.id)
    row = await records.find(secret_of(grandchild))
    assert row is not None
    assert row.line == (grandchild, child, first)
    assert (row.account, row.revoked, row.expires_ms) == ("acct_1", False, None)
    assert [grant.id for grant in await records.grants.grants_of(["acct_1", "acct_2"])] == sorted(
        (first.id, child.id, grandchild.id)
    )
    assert await records.grants.grants_of(["acct_2"]) == []


async def test_a_line_that_bites_its_tail_has_an_end(records: Records) -> None:
    one = await made(records, "one", parent=grant_id(b"two".ljust(32, b"-")))
    await made(records, "two", parent=one.id)
    row = await records.find(secret_of(one))
    assert row is not None
    assert len(row.line) == LINE_MAX


async def test_a_token_of_a_payment_has_a_grant_and_learns_its_last_characters(records: Records) -> None:
    assert await records.add(b"p" * 32, account="acct_1", pepper_id="0000", now_ms=NOW)
    assert not await records.add(b"p" * 32, account="acct_1", pepper_id="0000", now_ms=NOW + 1)
    await records.redigest(b"p" * 32, [], pepper_id="0000", key_id="ab12", last="wxyz")
    await records.redigest(b"p" * 32, [], pepper_id="0000", key_id="ab12", last="none")
    assert await records.grants.grants_of(["acct_1"]) == [
        Grant(grant_id(b"p" * 32), "acct_1", NOW, last="wxyz"),
    ]


async def test_what_was_narrowed_stays_so_when_a_payment_puts_its_token_down_again(records: Records) -> None:
    narrow = await made(records, "narrow", terms=TERMS)
    newer = b"n" * 32
    await records.add(newer, account="acct_1", pepper_id="0001", now_ms=NOW + 5)
    await records.redigest(newer, [secret_of(narrow)], pepper_id="0001", key_id="ab12")
    row = await records.find(newer)
    assert row is not None
    assert row.line == (narrow,)
    assert [grant.id for grant in await records.grants.grants_of(["acct_1"])] == [narrow.id]


async def test_an_account_has_so_many_tokens_and_no_more(records: Records) -> None:
    first = await made(records, "first", alive_max=2)
    await made(records, "ended", expires_ms=NOW, alive_max=2)
    await made(records, "second", alive_max=2)
    third = Grant(grant_id(b"3" * 32), "acct_1", NOW)
    assert not await records.grants.add_grant(third, b"3" * 32, pepper_id="0000", alive_max=2)
    assert await records.find(b"3" * 32) is None
    other = replace(third, account="acct_2")
    await records.grants.revoke_grant(first.id, now_ms=NOW)
    assert await records.grants.add_grant(third, b"3" * 32, pepper_id="0000", alive_max=2)
    assert not await records.grants.add_grant(other, b"3" * 32, pepper_id="0000", alive_max=2)


async def test_a_change_is_made_to_what_was_seen_or_not_at_all(records: Records) -> None:
    was = await made(records, "plain")
    now = replace(was, name="renamed", terms=TERMS, expires_ms=NOW + 9)
    assert await records.grants.change_grant(was, now)
    assert not await records.grants.change_grant(was, replace(was, name="again"))
    assert await records.grants.grants_of(["acct_1"]) == [now]
    assert await records.grants.change_grant(now, replace(now, name="third"))


async def test_changes_are_told_in_order_and_once(records: Records) -> None:
    one, two = await made(records, "one"), await made(records, "two")
    assert await records.grants.last_change() == 0
    assert await records.grants.changes_after(0) == []
    await records.grants.change_grant(one, replace(one, name="uno"))
    [(first, id)] = await records.grants.changes_after(0)
    assert id == one.id
    assert await records.grants.revoke_grant(two.id, now_ms=NOW)
    assert not await records.grants.revoke_grant(two.id, now_ms=NOW + 1)
    assert not await records.grants.revoke_grant("tok_none", now_ms=NOW)
    [(second, id)] = await records.grants.changes_after(first)
    assert (second > first, id) == (True, two.id)
    assert await records.grants.last_change() == second


async def test_of_many_changes_at_once_none_is_missed(records: Records) -> None:
    grants = [await made(records, f"t{number}") for number in range(8)]
    await asyncio.gather(*(records.grants.revoke_grant(grant.id, now_ms=NOW) for grant in grants))
    changes = await records.grants.changes_after(0)
    assert {id for _, id in changes} == {grant.id for grant in grants}
    assert len({number for number, _ in changes}) == 8


async def test_many_are_over_at_once_each_with_a_number_of_its_own(
    records: Records, monkeypatch: pytest.MonkeyPatch
) -> None:
    for kind in (sqlite_grants, postgres_grants):
        monkeypatch.setattr(kind, "_AT_ONCE", 2)
    ids = [(await made(records, f"one{number}")).id for number in range(5)]
    await records.grants.revoke_grant(ids[0], now_ms=NOW)
    before = await records.grants.last_change()
    await records.grants.revoke_grants(ids, now_ms=NOW + 5)
    changes = await records.grants.changes_after(before)
    assert sorted(id for _, id in changes) == sorted(ids[1:])
    assert [number for number, _ in changes] == list(range(before + 1, before + 5))
    await records.grants.revoke_grants(ids, now_ms=NOW + 9)
    assert await records.grants.last_change() == before + 4, "harmless to repeat"
    ended = {grant.id: grant.revoked_ms for grant in await records.grants.grants_of(["acct_1"])}
    assert ended == {**dict.fromkeys(ids[1:], NOW + 5), ids[0]: NOW}


async def test_many_that_end_many_at_once_end_all(records: Records) -> None:
    ids = [(await made(records, f"one{number}")).id for number in range(12)]
    some = [ids[at : at + 6][::turn] for at in (0, 1, 2, 3, 4, 5, 6) for turn in (1, -1)]
    await asyncio.gather(*(records.grants.revoke_grants(one, now_ms=NOW) for one in some))
    changes = await records.grants.changes_after(0)
    assert sorted(id for _, id in changes) == sorted(ids)
    assert len({number for number, _ in changes}) == 12


async def test_a_revoked_token_is_over_and_so_is_its_secret(records: Records) -> None:
    parent = await made(records, "parent")
    child = await made(records, "child", parent=parent.id)
    await records.grants.revoke_grant(parent.id, now_ms=NOW + 3)
    row, below = await records.find(secret_of(parent)), await records.find(secret_of(child))
    assert row is not None
    assert below is not None
    assert (row.revoked, row.line[0].revoked_ms) == (True, NOW + 3)
    assert (below.revoked, [grant.revoked_ms for grant in below.line]) == (False, [None, NOW + 3])


def rotation(name: bytes) -> Rotation:
    return Rotation(name * 32, "0000", "last", "ab12", b"sealed " + name, NOW + 10, NOW + 500)


async def test_of_many_rotations_at_once_one_decides(records: Records) -> None:
    grant = await made(records, "turned", terms=TERMS)
    wanted = [rotation(bytes([65 + number])) for number in range(5)]
    found = await asyncio.gather(*(records.grants.rotate(secret_of(grant), one) for one in wanted))
    assert len({one.digest for one in found}) == 1
    assert await records.grants.find_rotation(secret_of(grant)) == found[0]
    older, newer = await records.find(secret_of(grant)), await records.find(found[0].digest)
    assert older is not None
    assert newer is not None
    assert (older.expires_ms, newer.expires_ms) == (NOW + 500, None)
    assert older.line == newer.line == (replace(grant, last="last"),)
    assert await records.grants.newest_secret(grant.id) == found[0].digest
    assert [id for _, id in await records.grants.changes_after(0)] == [grant.id]
    others = [one for one in wanted if one.digest != found[0].digest]
    assert [await records.find(one.digest) for one in others] == [None] * 4


async def test_a_rotation_makes_no_secret_live_longer_and_is_forgotten(records: Records) -> None:
    grant = await made(records, "turned")
    first = await records.grants.rotate(secret_of(grant), replace(rotation(b"A"), until_ms=NOW + 50))
    await records.grants.rotate(secret_of(grant), replace(rotation(b"B"), until_ms=NOW + 900))
    row = await records.find(secret_of(grant))
    assert row is not None
    assert row.expires_ms == NOW + 50
    await records.grants.drop_rotations(before_ms=first.at_ms)
    assert await records.grants.find_rotation(secret_of(grant)) == first
    await records.grants.drop_rotations(before_ms=first.at_ms + 1)
    assert await records.grants.find_rotation(secret_of(grant)) is None
    assert await records.find(first.digest) is not None


async def test_last_used_goes_forward_only_and_is_no_change(records: Records) -> None:
    one, two = await made(records, "one"), await made(records, "two")
    await records.grants.was_used([one.id, two.id], now_ms=NOW + 9)
    await records.grants.was_used([one.id, "tok_none"], now_ms=NOW + 4)
    assert [grant.used_ms for grant in await records.grants.grants_of(["acct_1"])] == [NOW + 9] * 2
    await records.grants.was_used([], now_ms=NOW + 10)
    assert await records.grants.changes_after(0) == []
