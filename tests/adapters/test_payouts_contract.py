"""What the port promises of payouts on record, held against both databases."""

import asyncio
from dataclasses import replace

import pytest

from gateway.adapters.payouts import RecordedPayouts
from gateway.core.money import Money
from gateway.core.payouts import PAYOUT_STATES, UNDER_WAY, Payout, SentOn
from gateway.ports import OnHold
from tests.stored import Records

NOW = 1_800_000_000_000
ONE = Payout("anna", "usd", 1, 3_010_000, "acct_1", "key 1", fold=4, before_ms=NOW, created_ms=NOW, due_ms=NOW)


@pytest.fixture
def book(records: Records) -> RecordedPayouts:
    return RecordedPayouts(records.ask)


def numbered(number: int, **changes: object) -> Payout:
    return replace(ONE, number=number, key=f"key {number}", **changes)  # type: ignore[arg-type]


async def test_a_payout_is_kept_as_it_was_planned_and_moved(book: RecordedPayouts) -> None:
    assert await book.plan_payout(ONE)
    assert await book.find_payout("anna", "usd", 1) == await book.payout_of("key 1") == ONE
    after = replace(
        ONE, state="created", changed_ms=NOW + 1, due_ms=NOW + 2, tries=3, transfer="tr_1", back=9, came_back=4,
        error="so so", micros=3_000_000, account="acct_2", source="proceeds",
    )  # fmt: skip
    assert await book.move_payout(ONE, after)
    assert await book.find_payout("anna", "usd", 1) == after
    assert await book.find_payout("anna", "usd", 2) is None
    assert await book.payout_of("key 2") is None


async def test_one_that_was_sent_is_taken_in_also_of_who_is_on_hold_and_beside_one_that_is_under_way(
    book: RecordedPayouts,
) -> None:
    assert await book.plan_payout(numbered(2))
    await book.hold_owner("anna", "papers", now_ms=NOW)
    sent = replace(ONE, state="created", transfer="tr_1", source="proceeds")
    assert not await book.plan_payout(ONE)
    assert await book.take_in(sent)
    assert not await book.take_in(sent)
    assert await book.payout_of("key 1") == sent


async def test_of_many_who_plan_the_same_number_one_does(book: RecordedPayouts) -> None:
    planned = await asyncio.gather(*(book.plan_payout(replace(ONE, key=f"key {n}")) for n in range(5)))
    assert sorted(planned) == [False] * 4 + [True]
    assert await book.last_payouts() == {("anna", "usd"): 1}


@pytest.mark.parametrize("state", PAYOUT_STATES)
async def test_while_one_is_under_way_no_other_of_its_owner_and_unit_is_planned(
    book: RecordedPayouts, state: str
) -> None:
    await book.plan_payout(ONE)
    await book.move_payout(ONE, replace(ONE, state=state))  # type: ignore[arg-type]
    assert await book.plan_payout(numbered(2)) is (state not in UNDER_WAY)
    assert await book.plan_payout(replace(numbered(2), unit="eur", key="e"))
    assert await book.plan_payout(replace(numbered(2), owner="bert", key="b"))


async def test_of_what_was_shared_and_of_what_was_held_one_each_may_be_under_way(book: RecordedPayouts) -> None:
    held = replace(ONE, number=2, key="key 2", source="proceeds")
    assert await book.plan_payout(ONE)
    assert await book.plan_payout(held)
    assert not await book.plan_payout(replace(held, number=3, key="key 3"))
    assert await book.find_payout("anna", "usd", 2) == held
    assert (await book.last_payouts())["anna", "usd"] == 2


@pytest.mark.parametrize("other", [{"state": "written"}, {"tries": 1}, {"back": 1}, {"back": 1, "came_back": 1}])
async def test_who_moves_what_stands_otherwise_by_now_moves_nothing(
    book: RecordedPayouts, other: dict[str, object]
) -> None:
    await book.plan_payout(ONE)
    moved = replace(ONE, **other)  # type: ignore[arg-type]
    assert await book.move_payout(ONE, moved)
    assert not await book.move_payout(ONE, replace(ONE, state="failed"))
    assert await book.find_payout("anna", "usd", 1) == moved


async def test_what_is_to_be_done_is_found_when_it_is_due(book: RecordedPayouts) -> None:
    for number, state in enumerate(PAYOUT_STATES, 1):
        one = replace(numbered(number, created_ms=NOW + number), owner=f"o{number}")
        await book.plan_payout(one)
        await book.move_payout(one, replace(one, state=state))
    back = replace(numbered(20), owner="back")
    await book.plan_payout(back)
    await book.move_payout(back, replace(back, state="created", back=2, came_back=1))
    assert [one.state for one in await book.open_payouts(NOW)] == ["created", *UNDER_WAY]
    assert await book.open_payouts(NOW - 1) == []


async def test_they_are_listed_newest_first(book: RecordedPayouts) -> None:
    for number in (1, 2, 3):
        one = numbered(number, created_ms=NOW + number)
        await book.plan_payout(one)
        await book.move_payout(one, replace(one, state="created"))
    assert [one.number for one in await book.list_payouts()] == [3, 2, 1]
    assert [one.number for one in await book.list_payouts(owner="anna", state="created", count=2)] == [3, 2]
    assert await book.list_payouts(owner="bert") == await book.list_payouts(state="failed") == []


async def test_an_owner_on_hold_has_nothing_planned(book: RecordedPayouts) -> None:
    assert await book.hold_owner("anna", "papers", now_ms=NOW)
    assert not await book.hold_owner("anna", "again", now_ms=NOW + 1)
    assert await book.holds() == [OnHold("anna", "papers", NOW)]
    assert not await book.plan_payout(ONE)
    assert await book.resume_owner("anna")
    assert not await book.resume_owner("anna")
    assert await book.plan_payout(ONE)


async def test_a_run_is_somebodys_until_it_is_done_or_their_time_is_over(book: RecordedPayouts) -> None:
    async def claim(slot: int, now: int) -> bool:
        return await book.claim_run("anna", slot, now_ms=now, lease_ms=100)

    assert sorted(await asyncio.gather(*(claim(1, NOW) for _ in range(4)))) == [False] * 3 + [True]
    assert not await claim(1, NOW + 99)
    assert await claim(1, NOW + 100)
    await book.end_run("anna", 1)
    assert not await claim(1, NOW + 10_000)
    assert not await claim(0, NOW + 10_000)
    assert await claim(2, NOW)
    assert await book.claim_run("bert", 1, now_ms=NOW, lease_ms=100)


async def test_what_went_on_to_a_bank_is_as_it_was_last_said(book: RecordedPayouts) -> None:
    sent = SentOn("po_1", "acct_1", Money.parse("3 usd"), "in_transit", NOW, NOW)
    paid = replace(sent, status="paid", at_ms=NOW + 5)
    for one in (sent, paid, sent, replace(sent, id="po_2", account="acct_2", error="closed", at_ms=NOW + 9)):
        await book.keep_sent_on(one)
    assert await book.sent_on(["acct_1"], 5) == [paid]
    assert [one.id for one in await book.sent_on(["acct_1", "acct_2"], 5)] == ["po_2", "po_1"]
    assert len(await book.sent_on(["acct_1", "acct_2"], 1)) == 1
    assert await book.sent_on([], 5) == []
