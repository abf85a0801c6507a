"""What the ports promise of alerts, and of what they are decided by, held against both databases."""

import asyncio

import pytest

from gateway.adapters.alerts import AlertBook
from gateway.core.alerts import Sign
from gateway.core.money import Money
from gateway.core.reversals import Credited
from tests.stored import Records

FIVE = Money.parse("5.00 usd")
NOW = 1_800_000_000_000
HOUR = 3_600_000
STUCK = Sign("ledger_stuck", "host-1", {"free": 3})


@pytest.fixture
def book(records: Records) -> AlertBook:
    return AlertBook(records.ask)


async def told(records: Records) -> list[str]:
    return [one.type for one in reversed(await records.outbox.entries(None, count=100))]


async def test_many_who_see_the_same_open_one_alert_and_tell_it_once(records: Records, book: AlertBook) -> None:
    await asyncio.gather(*(book.note(STUCK, now_ms=NOW, tells=True) for _ in range(8)))
    await book.note(Sign("ledger_stuck", "host-1", {"free": 2}), now_ms=NOW + 5, tells=True)
    await book.note(Sign("ledger_stuck", "host-2"), now_ms=NOW + 6, tells=False)
    two, one = await book.found(open_only=True, count=9)
    assert (one.name, one.subject, one.severity, one.facts) == ("ledger_stuck", "host-1", "page", {"free": 2})
    assert (one.opened_ms, one.seen_ms, one.ended_ms, one.told, two.told) == (NOW, NOW + 5, None, 1, 0)
    assert await book.open_by_name() == {"ledger_stuck": 2}
    [message] = await records.outbox.entries(None, count=9)
    assert (message.type, message.account, message.content["alert"]) == ("alert.opened", "", one.id)
    assert message.content["facts"] == {"free": 3}


async def test_it_is_told_again_until_somebody_looks_after_it_and_when_it_ends(
    records: Records, book: AlertBook
) -> None:
    await book.note(STUCK, now_ms=NOW, tells=True)
    await book.remind(now_ms=NOW + HOUR, before_ms=NOW - 1)
    assert await told(records) == ["alert.opened"]
    await book.remind(now_ms=NOW + HOUR, before_ms=NOW)
    assert await told(records) == ["alert.opened", "alert.reminded"]
    [alert] = await book.found(open_only=True, count=9)
    acked = await book.ack(alert.id, now_ms=NOW + HOUR)
    assert acked is not None
    assert acked.acked_ms == NOW + HOUR
    assert await book.ack("alr_0", now_ms=NOW) is None
    await book.remind(now_ms=NOW + 9 * HOUR, before_ms=NOW + 8 * HOUR)
    await book.end(now_ms=NOW + 9 * HOUR, before_ms=NOW)
    assert len(await told(records)) == 2
    await book.end(now_ms=NOW + 9 * HOUR, before_ms=NOW + 1)
    assert await told(records) == ["alert.opened", "alert.reminded", "alert.ended"]
    assert await book.found(open_only=True, count=9) == []
    [ended] = await book.found(open_only=False, count=9)
    assert ended.ended_ms == NOW + 9 * HOUR
    assert await book.ack(alert.id, now_ms=NOW) is None, "it is over"
    await book.note(STUCK, now_ms=NOW + 10 * HOUR, tells=True)
    assert (await told(records))[3:] == ["alert.opened"], "it is another one by now"
    await book.drop(before_ms=NOW + 10 * HOUR)
    assert len(await book.found(open_only=False, count=9)) == 1


async def test_what_is_muted_is_told_when_it_may_be_if_it_still_is(records: Records, book: AlertBook) -> None:
    await book.mute("ledger_stuck", until_ms=NOW + HOUR)
    assert await book.mutes(now_ms=NOW) == {"ledger_stuck": NOW + HOUR}
    assert await book.mutes(now_ms=NOW + HOUR) == {}
    await book.note(STUCK, now_ms=NOW, tells=False)
    await book.note(Sign("disk_low", "host-1"), now_ms=NOW, tells=False)
    await book.remind(now_ms=NOW + 1, before_ms=NOW - HOUR)
    [message] = await records.outbox.entries(None, count=9)
    assert (message.type, message.content["name"]) == ("alert.opened", "disk_low")
    await book.end(now_ms=NOW + 2, before_ms=NOW)
    await book.remind(now_ms=NOW + HOUR, before_ms=NOW)
    names = [one.content["name"] for one in await records.outbox.entries(None, count=9)]
    assert names == ["ledger_stuck", "disk_low"]


async def test_what_was_never_told_ends_without_a_word(records: Records, book: AlertBook) -> None:
    await book.note(STUCK, now_ms=NOW, tells=False)
    await book.end(now_ms=NOW + 2, before_ms=NOW + 1)
    assert await told(records) == []


async def test_what_holds_for_longer_does_not_end_before(book: AlertBook) -> None:
    await book.note(Sign("account_spend", "acct_1", {}, holds_ms=HOUR), now_ms=NOW, tells=False)
    await book.note(Sign("account_spend", "acct_1"), now_ms=NOW + 1, tells=False)
    await book.end(now_ms=NOW + 2, before_ms=NOW + HOUR)
    assert len(await book.found(open_only=True, count=9)) == 1


async def test_messages_about_alerts_are_not_taken_with_others(records: Records, book: AlertBook) -> None:
    await book.note(STUCK, now_ms=NOW, tells=True)
    await records.outbox.put("balance.low", "acct_1", {}, cause="low", now_ms=NOW)
    first = await records.outbox.take(now_ms=NOW, lease_ms=10)
    second = await records.outbox.take(now_ms=NOW, lease_ms=10, about="alerts")
    assert first is not None
    assert second is not None
    assert (first.type, second.type) == ("balance.low", "alert.opened")
    await records.outbox.put_letter(second.id, "aa", now_ms=NOW)
    assert await records.outbox.take(now_ms=NOW, lease_ms=10, channel="mail") is None
    assert await records.outbox.take(now_ms=NOW, lease_ms=10, channel="mail", about="alerts") is not None


async def test_one_looks_for_all_until_its_time_is_over(book: AlertBook) -> None:
    got = await asyncio.gather(*(book.claim(f"host-{number}", now_ms=NOW, lease_ms=100) for number in range(6)))
    assert sum(got) == 1
    first = f"host-{got.index(True)}"
    assert await book.claim(first, now_ms=NOW + 50, lease_ms=100)
    assert not await book.claim("another", now_ms=NOW + 149, lease_ms=100)
    assert await book.claim("another", now_ms=NOW + 150, lease_ms=100)


async def test_what_all_hosts_count_is_summed_by_the_minute(book: AlertBook) -> None:
    await asyncio.gather(*(book.add_counts(NOW, {"unpaid": 2, "failed": 1}) for _ in range(4)))
    await book.add_counts(NOW + 60_000, {"unpaid": 5})
    assert await book.counts(since_ms=NOW, until_ms=NOW + 60_000) == {"unpaid": 8, "failed": 4}
    assert await book.counts(since_ms=NOW + 1, until_ms=NOW + 60_001) == {"unpaid": 5}
    await book.forget_counts(before_ms=NOW + 60_000, habits_before_ms=0, habits_max=9)
    assert await book.counts(since_ms=0, until_ms=NOW * 2) == {"unpaid": 5}


async def test_hours_of_spending_are_there_until_they_are_learned(book: AlertBook) -> None:
    many = {f"acct_{number:03}": number for number in range(250)}
    await book.add_spent(NOW, many)
    await book.add_spent(NOW, {"acct_007": 100})
    await book.add_spent(NOW + HOUR, {"acct_007": 1})
    assert await book.spent(NOW, least=107, after="acct_100", count=3) == [
        (f"acct_{number}", number) for number in (107, 108, 109)
    ]
    assert ("acct_007", 107) in await book.spent(NOW, least=0, after="", count=999)
    assert await book.unlearned(before_ms=NOW) is None
    assert await book.unlearned(before_ms=NOW + 2 * HOUR) == NOW
    await book.learned(NOW, sorted(many))
    assert await book.unlearned(before_ms=NOW + 2 * HOUR) == NOW + HOUR


async def test_habits_are_kept_and_the_oldest_are_forgotten(book: AlertBook) -> None:
    many = {f"acct_{number:03}": f"state {number}" for number in range(250)}
    await book.keep_habits(many, now_ms=NOW)
    await book.keep_habits({"acct_001": "new", "=unpaid": "rhythm"}, now_ms=NOW + 1)
    assert await book.habits(["acct_001", "acct_249", "nobody", "=unpaid"]) == {
        "acct_001": "new", "acct_249": "state 249", "=unpaid": "rhythm"
    }  # fmt: skip
    await book.forget_counts(before_ms=0, habits_before_ms=0, habits_max=250)
    assert len(await book.habits(sorted(many))) == 250
    await book.forget_counts(before_ms=0, habits_before_ms=0, habits_max=249)
    assert await book.habits(sorted(many)) == {"acct_001": "new"}, "all of an age go together"
    await book.forget_counts(before_ms=0, habits_before_ms=NOW + 9, habits_max=9)
    assert await book.habits(["acct_001", "=unpaid"]) == {"=unpaid": "rhythm"}


async def test_what_stands_in_the_records_is_seen(records: Records, book: AlertBook) -> None:
    assert await book.late(now_ms=NOW, alerts=True, accounts=True) == (0, 0)
    await records.outbox.put("balance.low", "acct_1", {}, cause="low", now_ms=NOW - 50)
    await book.note(STUCK, now_ms=NOW - 90, tells=True)
    assert await book.late(now_ms=NOW, alerts=True, accounts=True) == (0, 90)
    assert await book.late(now_ms=NOW, alerts=False, accounts=True) == (0, 50)
    first = await records.outbox.take(now_ms=NOW, lease_ms=10)
    assert first is not None
    await records.outbox.put_off(first.id, due_ms=None, error="away")
    assert await book.late(now_ms=NOW, alerts=False, accounts=True) == (1, 0)
    put = "INSERT INTO {} VALUES {}"
    for number in range(3):
        await records.ask(put.format("licence_restore", "($1, $2)"), "cus_1", NOW + number)
    for number, account in enumerate(("acct_1", "acct_2", "acct_1", "acct_1", "acct_2")):
        await records.keep_credited(Credited(f"pi_{number}", f"cs_{number}", account, FIVE, FIVE, at_ms=NOW + number))
    assert await book.payments(since_ms=NOW, least=2) == [("acct_1", 3), ("acct_2", 2)]
    assert await book.payments(since_ms=NOW + 1, least=2) == [("acct_1", 2), ("acct_2", 2)]
    assert await book.payments(since_ms=NOW, least=3) == [("acct_1", 3)]
    assert await book.devices(since_ms=NOW, least=3) == [("cus_1", 3)]
    assert await book.devices(since_ms=NOW + 1, least=3) == []
    columns = "id, account, price, customer, state, ends, leaves, is_over, at, standing, event"
    no = "0" if book_is_sqlite(records) else "false"
    for number, (price, state) in enumerate((("a", "active"), ("a", "trial"), ("b", "active"), ("a", "over"))):
        row = f"('sub_{number}', 'acct_1', '{price}', 'cus_1', '{state}', 1, {no}, {no}, 1, 1, 'evt')"
        await records.ask(put.format(f"subscription ({columns})", row))
    assert await book.duplicates() == [("acct_1", 2)]
    row = "('anna', 'usd', 7, 10, 'acct_9', 'k', 1, 1, $1, 'paid', $1, 1, 0, 'tr', {}, {}, NULL, 'shares', 0)"
    await records.ask(put.format("payouts", row.format(4, 4)), NOW)
    assert await book.unreturned(before_ms=NOW + 1) == []
    await records.ask("UPDATE payouts SET back = 9")
    assert await book.unreturned(before_ms=NOW + 1) == ["anna:usd:7"]
    assert await book.unreturned(before_ms=NOW) == []
    assert await book.failed_jobs() == 0
    assert await book.events(since_ms=0, until_ms=NOW) == {}


def book_is_sqlite(records: Records) -> bool:
    return type(records).__name__ == "SqliteRecords"
