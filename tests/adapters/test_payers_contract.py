"""What the port promises of payers and homecomings, held against every implementation."""

import asyncio

import pytest

from gateway.adapters.memory import MemoryRecords
from gateway.core.keyring import Keyring
from gateway.core.payers import MAIL_PURPOSE, Homecoming
from gateway.core.secrets import Secret
from tests.adapters.test_records_contract import KEYRING, Records, records

__all__ = ["records"]  # a fixture

A, B = (f"acct_{letter * 32}" for letter in "ab")
ONE, TWO, THREE = (bytes([number]) * 32 for number in (1, 2, 3))
COMING = Homecoming("cs_1", b"browser", A, 100, "waiting", "key1", b"sealed")


async def keep(records: Records, digest: bytes, account: str, sealed: tuple[str, bytes] | None = None) -> str:
    return await records.payers.keep_payer(digest, account=account, pepper_id="0000", now_ms=1, sealed=sealed)


async def test_whose_a_payer_is_stays_as_it_was_written_first(records: Records) -> None:
    assert await records.payers.find_payers([ONE, TWO]) == {}
    assert set(await asyncio.gather(*(keep(records, ONE, account) for account in (A, B) * 5))) in ({A}, {B})
    assert list(await records.payers.find_payers([ONE, TWO])) == [ONE]


async def test_a_payer_moves_to_the_newest_digest(records: Records) -> None:
    await keep(records, ONE, A)
    for _ in range(2):
        await records.payers.redigest_payer(THREE, [TWO, ONE], pepper_id="0001")
    assert await records.payers.find_payers([ONE, TWO, THREE]) == {THREE: A}


async def test_a_payer_of_an_alias_is_one_of_the_account(records: Records) -> None:
    assert not await records.payers.has_payer(A)
    await keep(records, ONE, A)
    assert await records.payers.has_payer(A)
    assert not await records.payers.has_payer(B)
    await records.aliases.add_alias(A, B, why="", now_ms=1)
    assert await records.payers.has_payer(B)


async def test_an_address_is_of_one_account_and_can_be_erased(records: Records) -> None:
    book = records.payers
    await keep(records, ONE, A, ("key1", b"sealed"))
    await keep(records, TWO, A)
    await keep(records, THREE, B, ("key2", b"other"))
    assert await book.addresses_of(A) == [(ONE, "key1", b"sealed")]
    assert await book.addresses_of(B) == [(THREE, "key2", b"other")]
    await book.forget_address(ONE)
    assert await book.addresses_of(A) == []
    assert set(await book.find_payers([ONE])) == {ONE}, "whose the payer is stays known"
    await keep(records, ONE, A, ("key1", b"sealed"))
    assert await book.addresses_of(A) == [], "and it is not kept again"


async def test_of_many_browsers_one_is_first(records: Records) -> None:
    comings = [Homecoming("cs_1", bytes([number]), A, 1, "waiting") for number in range(20)]
    seen = await asyncio.gather(*(records.payers.come_home(coming) for coming in comings))
    assert len({coming.browser for coming in seen}) == 1
    assert await records.payers.find_homecoming("cs_1") == seen[0]
    assert await records.payers.find_homecoming("cs_2") is None


async def test_of_many_that_turn_one_does(records: Records) -> None:
    book = records.payers
    await book.come_home(COMING)
    assert await book.waiting(99) == []
    assert await book.waiting(100) == [COMING]
    done = await asyncio.gather(*(book.turn("cs_1", "waiting", "nobody", now_ms=7) for _ in range(9)))
    assert sum(done) == 1
    assert await book.find_homecoming("cs_1") == Homecoming("cs_1", b"browser", A, 7, "nobody")
    assert not await book.turn("cs_2", "waiting", "nobody", now_ms=7)


async def test_a_code_is_found_while_it_is_young_and_was_not_used(records: Records) -> None:
    book = records.payers
    await book.come_home(Homecoming("cs_1", ONE, A, 100, "coded", "key1", b"sealed"))
    assert await book.coded([TWO], since_ms=0) is None
    assert await book.coded([ONE], since_ms=101) is None
    found = await book.coded([TWO, ONE], since_ms=100)
    assert found is not None
    assert await book.turn("cs_1", "coded", "waiting", now_ms=200)
    assert await book.coded([ONE], since_ms=0) is None
    assert await book.waiting(200) == [Homecoming("cs_1", ONE, A, 200, "waiting", "key1", b"sealed")]


async def test_old_homecomings_are_dropped(records: Records) -> None:
    await records.payers.come_home(COMING)
    await records.payers.drop_homecomings(100)
    assert await records.payers.find_homecoming("cs_1") is not None
    await records.payers.drop_homecomings(101)
    assert await records.payers.find_homecoming("cs_1") is None


async def test_an_address_is_sealed_anew_when_its_key_is_to_go(records: Records) -> None:
    if isinstance(records, MemoryRecords):
        pytest.skip("nothing is sealed there")
    old = KEYRING.newest
    await keep(records, ONE, A, KEYRING.seal(MAIL_PURPOSE, b"ann@example.org", nonce=bytes(12)))
    records._keyring = Keyring([Secret("n" * 40), Secret("k" * 40)])
    assert await records.reseal(old.id, count=10) == 1
    assert await records.reseal(old.id, count=10) == 0
