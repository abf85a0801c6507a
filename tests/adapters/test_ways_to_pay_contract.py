"""What the ports promise of orders and auto top-up, held against every implementation."""

import asyncio
import itertools
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from gateway.adapters.memory import MemoryRecords, MemoryWaysToPay
from gateway.adapters.postgres.records import PostgresRecords
from gateway.adapters.postgres.sessions import Address
from gateway.adapters.postgres.ways_to_pay import PostgresWaysToPay
from gateway.adapters.sqlite.records import SqliteRecords
from gateway.adapters.sqlite.ways_to_pay import SqliteWaysToPay
from gateway.core.auto_top_ups import DAY_MS, MONTH_MS, Ceilings, Refill, SavedCard, Wish
from gateway.core.keyring import Keyring
from gateway.core.money import Money
from gateway.core.orders import Order
from gateway.core.plans import Subscription
from gateway.core.secrets import Secret
from tests.fakes import SeededRandomness
from tests.postgres_server import Server

Kept = MemoryWaysToPay | SqliteWaysToPay | PostgresWaysToPay
Records = MemoryRecords | SqliteRecords | PostgresRecords
KEYRING = Keyring([Secret("k" * 40)])
NOW = 1_800_000_000_000


def usd(text: str) -> Money:
    return Money.parse(f"{text} usd")


WISH = Wish(usd("1"), usd("5"))
MOST = Ceilings(usd("10"), usd("15"))
CARD = SavedCard("cus_1", "pm_1", "visa 4242")
ORDER = Order("o1", "acct_1", "usd", usd("7"), "ref", NOW, WISH, "cus_1")


def refill(number: int, *, account: str = "acct_1", method: str = "pm_1", at: int = NOW) -> Refill:
    return Refill(account, number, f"key {account} {number} {at}", usd("5"), "cus_1", method, "ref", at)


@pytest.fixture(params=["memory", "sqlite", "postgres"])
async def records(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Records]:
    if request.param == "memory":
        yield MemoryRecords()
        return
    stored: SqliteRecords | PostgresRecords
    if request.param == "sqlite":
        stored = SqliteRecords(tmp_path / "records.db", keyring=KEYRING, randomness=SeededRandomness())
    else:
        server: Server = request.getfixturevalue("postgres")
        address = Address(Secret(await server.schema()))
        stored = PostgresRecords(address, keyring=KEYRING, randomness=SeededRandomness())
    await stored.open()
    yield stored
    await stored.close()


@pytest.fixture
def kept(records: Records) -> Kept:
    return records.ways_to_pay


async def with_card(kept: Kept, account: str = "acct_1", card: SavedCard = CARD) -> None:
    await kept.keep_card(account, card, WISH, MOST, at_ms=NOW, now_ms=NOW)


async def test_an_order_is_what_was_written_first(kept: Kept) -> None:
    assert await kept.keep_order(ORDER) == ORDER
    assert await kept.keep_order(replace(ORDER, amount=usd("9"), reference="other")) == ORDER
    await kept.order_made("o1", "https://pay.example/1")
    assert (await kept.keep_order(ORDER)).url == "https://pay.example/1"
    planned = replace(ORDER, id="o3", plan="monthly")
    assert await kept.keep_order(planned) == planned
    bare = Order("o2", "acct_1", "usd", None, "ref", NOW + 5)
    assert await kept.keep_order(bare) == bare
    await kept.drop_orders(NOW + 5)
    assert (await kept.keep_order(ORDER)).url is None, "it was dropped"
    assert await kept.keep_order(replace(bare, reference="other")) == bare, "this one was not"


async def test_a_rule_without_a_card_waits_for_one_and_keeps_it(kept: Kept) -> None:
    assert await kept.find_rule("acct_1") is None
    await kept.keep_rule("acct_1", WISH, MOST, now_ms=NOW)
    rule = await kept.find_rule("acct_1")
    assert rule is not None
    assert (rule.state, rule.wish, rule.ceilings, rule.changed_ms) == ("no_card", WISH, MOST, NOW)
    await with_card(kept)
    changed = Wish(usd("2"), usd("6"))
    await kept.keep_rule("acct_1", changed, MOST, now_ms=NOW + 1)
    rule = await kept.find_rule("acct_1")
    assert rule is not None
    assert (rule.state, rule.wish, rule.card, rule.customer) == ("on", changed, CARD, "cus_1")


async def test_a_card_that_was_saved_before_it_was_switched_off_stays_off(kept: Kept) -> None:
    await with_card(kept)
    assert await kept.drop_rule("acct_1", now_ms=NOW + 10)
    assert not await kept.drop_rule("acct_1", now_ms=NOW + 11)
    await kept.keep_card("acct_1", CARD, WISH, MOST, at_ms=NOW + 9, now_ms=NOW + 20)
    rule = await kept.find_rule("acct_1")
    assert rule is not None
    assert (rule.wanted, rule.card, rule.customer) == (False, None, "cus_1")
    await kept.keep_card("acct_1", CARD, WISH, MOST, at_ms=NOW + 10, now_ms=NOW + 20)
    rule = await kept.find_rule("acct_1")
    assert rule is not None
    assert (rule.wanted, rule.state) == (True, "on")


async def test_a_rule_that_is_made_anew_in_another_currency_is_in_that_one(kept: Kept) -> None:
    await with_card(kept)
    euro = Money.parse("7.00 eur")
    wish, most = Wish(euro, euro), Ceilings(euro, euro)
    await kept.keep_rule("acct_1", wish, most, now_ms=NOW + 1)
    rule = await kept.find_rule("acct_1")
    assert rule is not None
    assert (rule.wish, rule.ceilings, rule.state) == (wish, most, "on")
    await kept.keep_card("acct_1", CARD, WISH, MOST, at_ms=NOW + 2, now_ms=NOW + 2)
    rule = await kept.find_rule("acct_1")
    assert rule is not None
    assert (rule.wish, rule.ceilings) == (WISH, MOST)


async def test_changes_are_heard_of_from_their_time_on(kept: Kept) -> None:
    await with_card(kept)
    await with_card(kept, "acct_2", SavedCard("cus_2", "pm_2", "visa"))
    await kept.pause("pm_2", "declined", now_ms=NOW + 100)
    assert [rule.account for rule in await kept.rules_since(NOW + 100)] == ["acct_2"]
    assert {rule.account for rule in await kept.rules_since(NOW)} == {"acct_1", "acct_2"}
    assert await kept.rules_since(NOW + 101) == []


async def test_a_new_card_of_the_bank_ends_a_pause_for_a_decline_before_it_and_no_other(kept: Kept) -> None:
    await with_card(kept)
    for why, at, then in (
        ("declined", NOW + 50, "paused"),
        ("declined", NOW + 100, "on"),
        ("authentication_required", NOW + 100, "paused"),
        ("taken_back", NOW + 100, "paused"),
    ):
        await kept.pause("pm_1", why, now_ms=NOW + 100)  # type: ignore[arg-type]
        await kept.renew("pm_1", at_ms=at, now_ms=NOW + 101)
        rule = await kept.find_rule("acct_1")
        assert rule is not None
        assert rule.state == then


async def test_a_card_or_a_customer_that_is_gone_is_not_used(kept: Kept) -> None:
    await with_card(kept)
    await kept.drop_card("pm_other", now_ms=NOW)
    await kept.drop_card("pm_1", now_ms=NOW + 1)
    rule = await kept.find_rule("acct_1")
    assert rule is not None
    assert (rule.state, rule.paused, rule.customer) == ("no_card", "card_removed", "cus_1")
    await kept.drop_customer("cus_1", now_ms=NOW + 2)
    rule = await kept.find_rule("acct_1")
    assert rule is not None
    assert rule.customer is None


async def test_of_many_who_begin_at_once_one_does(kept: Kept) -> None:
    await with_card(kept)
    refills = [replace(refill(1), key=f"key {number}") for number in range(20)]
    begun = await asyncio.gather(*(kept.begin_refill(one, MOST) for one in refills))
    assert sum(begun) == 1
    assert [one.number for one in await kept.open_refills(NOW + 1)] == [1]
    assert await kept.open_refills(NOW) == []


async def test_a_number_is_used_once_and_one_refill_is_under_way(kept: Kept) -> None:
    await with_card(kept)
    assert await kept.last_refill("acct_1") == 0
    assert await kept.begin_refill(refill(1), MOST)
    assert await kept.find_refill(refill(1).key) == refill(1)
    assert not await kept.begin_refill(refill(2), MOST), "one is under way"
    assert await kept.end_refill(refill(1).key, "succeeded")
    assert not await kept.end_refill(refill(1).key, "failed"), "it was over"
    assert await kept.find_refill(refill(1).key) is None
    assert not await kept.begin_refill(refill(1, at=NOW + 1), MOST), "the number is taken"
    assert await kept.last_refill("acct_1") == 1
    assert await kept.begin_refill(refill(2), MOST)


async def test_a_refill_needs_a_rule_that_is_on_and_its_card(kept: Kept) -> None:
    assert not await kept.begin_refill(refill(1), MOST)
    await with_card(kept)
    assert not await kept.begin_refill(refill(1, method="pm_2"), MOST)
    await kept.pause("pm_1", "declined", now_ms=NOW)
    assert not await kept.begin_refill(refill(1), MOST)
    await kept.keep_rule("acct_1", WISH, MOST, now_ms=NOW)
    await kept.drop_rule("acct_1", now_ms=NOW)
    assert not await kept.begin_refill(refill(1), MOST)
    await with_card(kept)
    assert await kept.begin_refill(refill(1), MOST)


async def test_a_frozen_account_is_not_charged_until_it_is_let_go(records: Records, kept: Kept) -> None:
    for account in ("acct_1", "acct_2"):
        await with_card(kept, account)
    for number, frozen in enumerate((False, True), 1):
        await records.freezes.add_freeze("acct_1", frozen=frozen, reason=f"{number}", now_ms=NOW)
    assert not await kept.begin_refill(refill(1), MOST)
    assert await kept.begin_refill(refill(1, account="acct_2"), MOST), "another's is none of its business"
    await records.freezes.add_freeze("acct_1", frozen=False, reason="3", now_ms=NOW)
    assert await kept.begin_refill(refill(1), MOST)


async def test_ceilings_hold_in_any_day_and_any_thirty_days_and_failures_do_not_count(kept: Kept) -> None:
    await with_card(kept)
    for number, at, state, begins in (
        (1, NOW, "succeeded", True),
        (2, NOW + 1, "failed", True),
        (3, NOW + 2, "succeeded", True),
        (4, NOW + 3, "succeeded", False),  # a day: 10
        (4, NOW + DAY_MS - 1, "succeeded", False),
        (4, NOW + DAY_MS, "succeeded", True),
        (5, NOW + 3 * DAY_MS, "succeeded", False),  # 30 days: 15
        (5, NOW + MONTH_MS - 1, "succeeded", False),
        (5, NOW + MONTH_MS, "succeeded", True),
    ):
        made = refill(number, at=at)
        assert await kept.begin_refill(made, MOST) is begins, (number, at)
        if begins:
            await kept.end_refill(made.key, state)  # type: ignore[arg-type]
    assert await kept.refilled_since("acct_1", NOW + 2) == 10_000_000
    assert await kept.refilled_since("acct_2", 0) == 0


STANDS = Subscription("sub_1", "acct_1", "price_1", "cus_1", "active", NOW, False, 5, "evt_5")


async def test_of_what_was_heard_of_a_subscription_the_newest_stays_and_what_is_over_is_over(records: Records) -> None:
    kept = records.subscriptions
    heard = [
        replace(STANDS, state="waiting", account=""),
        STANDS,
        replace(STANDS, state="unpaid", at=4, event="evt_9"),
        replace(STANDS, event="evt_6", leaves=True, ends_ms=NOW + 1),
        replace(STANDS, state="over", at=3, event="evt_3"),
    ]
    for number, order in enumerate(itertools.islice(itertools.permutations(heard), 0, None, 7)):
        for one in order:
            await kept.keep_subscription(replace(one, id=f"sub_x{number}"))
        assert await kept.find_subscription(f"sub_x{number}") == replace(
            heard[4], id=f"sub_x{number}", account="acct_1"
        )
    for one in heard[:4]:
        await kept.keep_subscription(one)
    assert await kept.find_subscription("sub_1") == heard[3]
    assert await kept.find_subscription("sub_2") is None
    assert heard[3] in await kept.subscriptions_of("acct_1")
    assert await kept.subscriptions_of("acct_2") == []


async def test_an_invoice_waits_until_it_is_over_whichever_is_heard_first(records: Records) -> None:
    kept = records.subscriptions
    assert await kept.keep_unpaid("in_1", "sub_1", "https://pay.example/1")
    assert await kept.keep_unpaid("in_1", "sub_1", "https://pay.example/1")
    await kept.unpaid_over("in_2", "sub_1")
    assert not await kept.keep_unpaid("in_2", "sub_1", "https://pay.example/2")
    assert await kept.keep_unpaid("in_3", "sub_1", None)
    assert await kept.keep_unpaid("in_4", "sub_2", "https://pay.example/4")
    assert await kept.unpaid_of("sub_1") == ["https://pay.example/1"]
    await kept.unpaid_over("in_1", "sub_1")
    assert await kept.unpaid_of("sub_1") == []


async def test_what_was_written_to_a_subscription_last_has_the_highest_number(records: Records) -> None:
    kept = records.subscriptions
    seen = max([0, *(number for number, _ in await kept.subscriptions_after(0, 1_000_000))])
    for id in ("sub_n1", "sub_n2", "sub_n3"):
        await kept.keep_subscription(replace(STANDS, id=id, account=""))
    first = await kept.subscriptions_after(seen, 2)
    assert [found.id for _, found in first] == ["sub_n1", "sub_n2"]
    [(third, found)] = await kept.subscriptions_after(first[-1][0], 2)
    assert found.id == "sub_n3"
    await kept.keep_subscription(replace(STANDS, id="sub_n1", state="paused", at=6))
    await kept.keep_subscription(replace(STANDS, id="sub_n2", state="paused", at=4, account=""))
    [(_, found)] = await kept.subscriptions_after(third, 9)
    assert (found.id, found.state, found.account) == ("sub_n1", "paused", "acct_1"), "its account counts as news, too"
    [number] = [number for number, _ in await kept.subscriptions_after(third, 9)]
    await kept.keep_subscription(replace(STANDS, id="sub_n3", at=4))
    [(_, found)] = await kept.subscriptions_after(number, 9)
    assert (found.id, found.at, found.account) == ("sub_n3", 5, "acct_1"), "older, but it says whose it is"
