"""What the port promises of messages to be told, held against both databases."""

import asyncio

from gateway.core.auto_top_ups import Ceilings, Refill, SavedCard, Wish
from gateway.core.money import Money
from tests.stored import Records

NOW = 1_800_000_000_000
FIVE = Money.parse("5.00 usd")
WISH, MOST = Wish(FIVE, FIVE), Ceilings(FIVE, FIVE)


async def put(records: Records, number: int, *, at: int = NOW) -> bool:
    cause = f"low {number}"
    return await records.outbox.put("balance.low", f"acct_{number}", {"number": number}, cause=cause, now_ms=at)


async def told(records: Records) -> list[tuple[str, str, dict[str, object]]]:
    found = await records.outbox.entries(None, count=100)
    return [(one.type, one.account, dict(one.content)) for one in reversed(found)]


async def test_a_cause_is_told_once(records: Records) -> None:
    assert await put(records, 1)
    assert not await put(records, 1, at=NOW + 5)
    [found] = await records.outbox.entries(None, count=9)
    assert (found.content, found.state, found.tries, found.created_ms) == ({"number": 1}, "waiting", 0, NOW)
    assert await records.outbox.find(found.id) == found
    assert await records.outbox.find("ntc_0") is None


async def test_a_letter_is_a_message_of_its_own(records: Records) -> None:
    await put(records, 1)
    [first] = await records.outbox.entries(None, count=9)
    for later in (5, 6):
        await records.outbox.put_letter(first.id, "aa", now_ms=NOW + later)
    await records.outbox.put_letter("ntc_0", "aa", now_ms=NOW)
    letter, _ = await records.outbox.entries(None, count=9)
    assert (letter.channel, letter.receiver, letter.account) == ("mail", "aa", "acct_1")
    assert letter.content == {"number": 1}
    assert letter.created_ms == NOW + 5
    assert await records.outbox.take(now_ms=NOW + 4, lease_ms=10, channel="mail") is None
    taken = [await records.outbox.take(now_ms=NOW + 5, lease_ms=10, channel=name) for name in ("mail", "webhook")]
    assert [one.id for one in taken if one is not None] == [letter.id, first.id]
    assert await records.outbox.count() == {("mail", "waiting"): 1, ("webhook", "waiting"): 1}
    await records.outbox.delivered(letter.id)
    assert await records.outbox.count() == {("mail", "delivered"): 1, ("webhook", "waiting"): 1}
    await records.outbox.put_letter(first.id, "bb", now_ms=NOW + 7)
    assert [one.receiver for one in await records.outbox.entries(None, count=9)] == ["bb", "aa", None]
    found = await records.outbox.find(first.id)
    assert found is not None
    assert (found.state, found.channel) == ("waiting", "webhook")


async def test_who_was_low_is_known_as_last_seen(records: Records) -> None:
    assert await records.outbox.seen_low("acct_1") is None
    await records.outbox.keep_low("acct_1", remains=-5, credited=7)
    await records.outbox.keep_low("acct_2", remains=1, credited=2)
    await records.outbox.keep_low("acct_1", remains=4, credited=9)
    assert await records.outbox.seen_low("acct_1") == (4, 9)


async def test_many_who_take_get_one_each_and_none_before_it_is_due(records: Records) -> None:
    for number in range(3):
        await put(records, number)
    assert await records.outbox.take(now_ms=NOW - 1, lease_ms=10) is None
    taken = await asyncio.gather(*(records.outbox.take(now_ms=NOW, lease_ms=10) for _ in range(6)))
    ids = [one.id for one in taken if one is not None]
    assert len(ids) == len(set(ids)) == 3
    again = await records.outbox.take(now_ms=NOW + 10, lease_ms=10)
    assert again is not None
    assert again.tries == 2, "whoever took it is gone"


async def test_what_was_delivered_stays_so_and_what_failed_waits_or_is_given_up(records: Records) -> None:
    for number in range(3):
        await put(records, number)
    one, two, three = [await records.outbox.take(now_ms=NOW, lease_ms=10) for _ in range(3)]
    assert one is not None
    assert two is not None
    assert three is not None
    await records.outbox.delivered(one.id)
    await records.outbox.put_off(one.id, due_ms=NOW, error="late")
    await records.outbox.put_off(two.id, due_ms=NOW + 50, error="it answered 500")
    await records.outbox.put_off(three.id, due_ms=None, error="too old")
    assert await records.outbox.take(now_ms=NOW + 49, lease_ms=10) is None
    due = await records.outbox.take(now_ms=NOW + 50, lease_ms=1000)
    assert due is not None
    assert (due.id, due.error) == (two.id, "it answered 500")
    assert [entry.id for entry in await records.outbox.entries("delivered", count=9)] == [one.id]
    assert [entry.id for entry in await records.outbox.entries("failed", count=9)] == [three.id]
    assert len(await records.outbox.entries(None, count=2)) == 2
    assert not await records.outbox.again(two.id, now_ms=NOW + 99), "it waits"
    assert await records.outbox.again(three.id, now_ms=NOW + 99)
    replayed = await records.outbox.take(now_ms=NOW + 99, lease_ms=10)
    assert replayed is not None
    assert (replayed.id, replayed.created_ms, replayed.since_ms, replayed.tries) == (three.id, NOW, NOW + 99, 1)


async def test_old_ones_are_dropped_a_few_at_a_time(records: Records) -> None:
    for number in range(5):
        await put(records, number, at=NOW + number)
    drops = [await records.outbox.drop(before_ms=NOW + 4, count=3) for _ in range(3)]
    assert drops == [True, True, False]
    assert await told(records) == [("balance.low", "acct_4", {"number": 4})]


async def test_a_freeze_is_told_and_its_end_is_not(records: Records) -> None:
    await records.freezes.add_freeze("acct_1", frozen=True, reason="it's odd", now_ms=NOW)
    await records.freezes.add_freeze("acct_1", frozen=False, reason="fine", now_ms=NOW)
    assert await told(records) == [("account.frozen", "acct_1", {"reason": "it's odd"})]


async def test_a_failed_refill_and_the_pause_that_it_brings_are_told_once(records: Records) -> None:
    kept = records.ways_to_pay
    await kept.keep_card("acct_1", SavedCard("cus_1", "pm_1", "visa 4242"), WISH, MOST, at_ms=NOW, now_ms=NOW)
    refill = Refill("acct_1", 1, "key", FIVE, "cus_1", "pm_1", "ref", NOW)
    assert await kept.begin_refill(refill, MOST)
    assert await told(records) == []
    for _ in range(2):
        await kept.pause("pm_1", "declined", now_ms=NOW + 7)
        await kept.end_refill("key", "failed")
    assert await told(records) == [
        ("auto_top_up.paused", "acct_1", {"reason": "declined"}),
        ("payment.failed", "acct_1", {"currency": "usd", "micros": 5_000_000, "reason": "declined"}),
    ]
    assert {one.created_ms for one in await records.outbox.entries(None, count=9)} == {NOW + 7}


async def test_a_refill_that_succeeds_and_a_rule_that_is_resumed_are_not_told(records: Records) -> None:
    kept = records.ways_to_pay
    await kept.keep_card("acct_1", SavedCard("cus_1", "pm_1", "visa 4242"), WISH, MOST, at_ms=NOW, now_ms=NOW)
    assert await kept.begin_refill(Refill("acct_1", 1, "key", FIVE, "cus_1", "pm_1", "ref", NOW), MOST)
    await kept.end_refill("key", "succeeded")
    await kept.keep_rule("acct_1", WISH, MOST, now_ms=NOW)
    await kept.drop_rule("acct_1", now_ms=NOW)
    await kept.drop_customer("cus_1", now_ms=NOW)
    assert await told(records) == []


async def test_a_card_that_ends_is_told_once_and_a_new_one_again(records: Records) -> None:
    kept = records.ways_to_pay
    for number, expires in enumerate(("2034-12", "2035-01", None), 1):
        card = SavedCard("cus_1", f"pm_{number}", "visa 4242", expires)
        await kept.keep_card(f"acct_{number}", card, WISH, MOST, at_ms=NOW, now_ms=NOW)
    for _ in range(2):
        await records.outbox.put_expiring("2034-12", now_ms=NOW)
    ends = ("card.expiring", "acct_1", {"card": "visa 4242", "expires": "2034-12"})
    assert await told(records) == [ends]
    await kept.card_expires("pm_1", "2039-05")
    rule = await kept.find_rule("acct_1")
    assert rule is not None
    assert rule.card == SavedCard("cus_1", "pm_1", "visa 4242", "2039-05")
    await records.outbox.put_expiring("2039-04", now_ms=NOW)
    assert [account for _, account, _ in await told(records)] == ["acct_1", "acct_2"]
    await kept.drop_rule("acct_1", now_ms=NOW)
    await records.outbox.put_expiring("2039-05", now_ms=NOW)
    assert len(await told(records)) == 2, "nobody uses it any more"
