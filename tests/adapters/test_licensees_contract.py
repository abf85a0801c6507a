"""What the port promises of licensees and their codes, held against every implementation."""

import asyncio
from dataclasses import replace

from gateway.ports import LicenseeRow
from tests.adapters.test_records_contract import Records, records

__all__ = ["records"]  # a fixture

ONE, TWO = (bytes([number]) * 32 for number in (1, 2))
ROW = LicenseeRow("cus_1", "acct_1", ONE, "0000", "key1", b"sealed", 100)
HOUR = 3_600_000


async def test_of_a_customer_the_latest_is_kept_and_the_first_account(records: Records) -> None:
    book = records.licensees
    await book.keep_licensee(ROW)
    later = replace(ROW, digest=TWO, account="acct_2", sealed=b"other", at=200)
    for row in (later, replace(ROW, at=199)):
        await book.keep_licensee(row)
    kept = replace(later, account="acct_1")
    assert await book.find_licensee("cus_1") == kept
    assert await book.find_licensees([ONE]) == []
    assert await book.find_licensees([ONE, TWO]) == [kept]
    assert await book.find_licensee("cus_2") is None


async def test_customers_with_one_address_are_all_found(records: Records) -> None:
    rows = [replace(ROW, customer=f"cus_{number}") for number in range(3)]
    for row in reversed(rows):
        await records.licensees.keep_licensee(row)
    assert await records.licensees.find_licensees([ONE]) == rows


async def test_a_code_is_good_once_and_for_a_while(records: Records) -> None:
    book = records.licensees
    await book.add_code(ONE, "cus_1", until_ms=100, now_ms=1)
    assert await book.take_code([TWO, ONE], now_ms=100) is None
    taken = await asyncio.gather(*(book.take_code([TWO, ONE], now_ms=99) for _ in range(10)))
    assert sorted(taken, key=str) == [None] * 9 + ["cus_1"]
    await book.add_code(TWO, "cus_1", until_ms=200, now_ms=100)
    await book.drop_codes("cus_2")
    await book.drop_codes("cus_1")
    assert await book.take_code([TWO], now_ms=101) is None


async def test_restores_are_counted_by_customer_and_month(records: Records) -> None:
    book = records.licensees
    counts = [await book.count_restore("cus_1", now_ms=at, since_ms=at - HOUR) for at in (1, 2, HOUR + 1, HOUR + 2)]
    assert counts == [1, 2, 3, 3]
    assert await book.count_restore("cus_2", now_ms=1, since_ms=0) == 1
