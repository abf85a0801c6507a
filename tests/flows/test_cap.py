"""The caps of accounts: set once, known everywhere, carried by whoever spends."""

import pytest

from gateway.adapters.memory import MemoryCapBook, MemoryRecords
from gateway.core.caps import CapSetting
from gateway.core.money import Money
from gateway.flows.cap import AccountCaps
from tests.fakes import FakeClock

ANN, BEN = "acct_" + "1a" * 16, "acct_" + "2b" * 16
FIVE, NINE = Money.parse("5.00 usd"), Money.parse("9.00 usd")


def caps_over(book: MemoryCapBook) -> AccountCaps:
    return AccountCaps(book=book, clock=FakeClock(), zone="Europe/Berlin")


async def test_who_looks_sees_what_another_set_changed_and_removed() -> None:
    book = MemoryCapBook()
    one, other = caps_over(book), caps_over(book)
    assert await one.set(ANN, "day", FIVE)
    assert await one.set(ANN, "total", NINE)
    assert other.of(ANN) == ()
    await other.look()
    assert [(cap.node, cap.period, cap.amount, cap.zone) for cap in other.of(ANN)] == [
        (ANN, "day", FIVE, "Europe/Berlin"),
        (ANN, "total", NINE, "Europe/Berlin"),
    ]
    assert await other.set(ANN, "day", NINE)
    assert await other.remove(ANN, "total")
    before = one.of(ANN)[0].since_ms
    await one.look()
    [cap] = one.of(ANN)
    assert (cap.period, cap.amount) == ("day", NINE)
    assert cap.since_ms > before
    assert one.of(BEN) == ()


async def test_setting_a_cap_to_what_it_is_changes_nothing() -> None:
    book = MemoryCapBook()
    assert await caps_over(book).set(ANN, "day", FIVE)
    assert not await caps_over(book).set(ANN, "day", FIVE)
    assert not await caps_over(book).remove(ANN, "month")
    assert len(book.rows) == 1


async def test_a_row_that_is_committed_after_a_later_one_changes_nothing_but_its_own_period() -> None:
    book = MemoryCapBook()
    caps = caps_over(book)
    book.rows = [CapSetting(2, ANN, "day", "usd", 9_000_000, 20)]
    await caps.look()
    book.rows[:0] = [CapSetting(1, ANN, "day", "usd", 5_000_000, 10)]
    await caps.look()
    assert [cap.amount for cap in caps.of(ANN)] == [NINE]


async def test_who_caps_an_alias_caps_the_account_that_it_is_now() -> None:
    caps = AccountCaps(book=MemoryRecords().caps, clock=FakeClock(), zone="UTC", root=lambda account: BEN)
    await caps.set(ANN, "day", FIVE)
    assert (len(caps.of(BEN)), caps.of(ANN)) == (1, ())


async def test_a_line_may_stand_beside_a_cap_or_alone_and_a_zone_is_its_own() -> None:
    book = MemoryCapBook()
    caps = caps_over(book)
    assert await caps.set(ANN, "day", NINE, tell_at=FIVE, zone="Asia/Tokyo")
    assert await caps.set(ANN, "month", None, tell_at=FIVE)
    other = caps_over(book)
    await other.look()
    day, month = other.of(ANN)
    assert (day.amount, day.tell_at, day.zone, day.binds) == (NINE, 5_000_000, "Asia/Tokyo", True)
    assert (month.tell_at, month.zone, month.binds) == (5_000_000, "Europe/Berlin", False)
    assert not await other.set(ANN, "month", None, tell_at=FIVE)
    assert await other.set(ANN, "day", NINE, tell_at=FIVE)
    assert await other.remove(ANN, "month")
    [day] = other.of(ANN)
    assert day.zone == "Europe/Berlin"


@pytest.mark.parametrize(("amount", "line"), [(None, None), (FIVE, Money.parse("1.00 eur"))])
async def test_a_cap_without_anything_or_of_two_currencies_is_none(amount: Money | None, line: Money | None) -> None:
    with pytest.raises(ValueError, match="one currency"):
        await caps_over(MemoryCapBook()).set(ANN, "day", amount, tell_at=line)
