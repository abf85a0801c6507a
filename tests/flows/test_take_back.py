"""Refunds and disputes reach the books whole and once, in whatever order and number their events come."""

import asyncio
import itertools
import os
import random
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.core.payments import Event, Payment
from gateway.core.refusals import LedgerUnavailable, PaymentRequired
from gateway.core.reversals import Move
from gateway.flows.receive import WAIT_MS_MAX
from tests.tills import ACCOUNT, FIVE, MemoryTill, dispute, paid, refund, refunded

BEFORE = paid(number=2, amount=300)
"""Another payment of the same account: what it has before, and spends part of."""
SPENT = 2_500_000
TORTURE = bool(os.environ.get("GATEWAY_TORTURE"))
ORDERS = 300

STORIES: dict[str, tuple[list[Event], int]] = {
    "two partial refunds, each told three times over": (
        [
            paid(),
            refund("re_1", 100),
            refunded(100),
            refund("re_1", 100, what="updated"),
            refund("re_2", 150),
            refunded(250),
            refund("re_2", 150, "succeeded", what="updated"),
        ],
        2_500_000,
    ),
    "a refund that fails, and another one": (
        [
            paid(),
            refund("re_1", 300, "pending"),
            refunded(300),
            refund("re_1", 300, "failed", what="failed"),
            refund("re_1", 300, "failed", what="updated"),
            refund("re_2", 500, at=5),
            refunded(500, at=5),
        ],
        5_000_000,
    ),
    "a dispute that is lost": (
        [
            paid(),
            dispute("created", "needs_response", at=2),
            dispute("funds_withdrawn", "needs_response", at=2),
            dispute("updated", "under_review", at=3),
            dispute("closed", "lost", at=4),
            Event("evt_pi", "payment_intent.succeeded", False, 1, {"id": "pi_1"}),
            Event("evt_ch", "charge.succeeded", False, 1, {"id": "ch_1", "payment_intent": "pi_1"}),
        ],
        5_000_000,
    ),
    "a dispute that is won": (
        [
            paid(),
            dispute("created", "needs_response", at=2),
            dispute("funds_withdrawn", "needs_response", at=2),
            dispute("closed", "won", at=4),
            dispute("funds_reinstated", "won", at=4),
            refund("re_1", 120, at=1),
            refunded(120, at=1),
        ],
        1_200_000,
    ),
    "a dispute that is lost, and reinstated late, on top of a refund": (
        [
            paid(),
            refund("re_1", 400),
            dispute("created", "needs_response", at=3),
            dispute("funds_withdrawn", "needs_response", at=3),
            dispute("closed", "lost", at=4),
            dispute("funds_reinstated", "lost", at=5),
            refunded(400),
        ],
        4_000_000,
    ),
    "an inquiry that ends in a full refund": (
        [
            paid(),
            dispute("created", "warning_needs_response", at=2),
            refund("re_1", 500, at=3),
            refunded(500, at=3),
            dispute("closed", "warning_closed", at=4),
            Event(
                "evt_w",
                "radar.early_fraud_warning.created",
                False,
                1,
                {"id": "issfr_1", "payment_intent": "pi_1", "charge": "ch_1"},
            ),
        ],
        5_000_000,
    ),
    "a bank debit that arrives and is disputed": (
        [
            paid(payment_status="unpaid"),
            Event("evt_later", "checkout.session.async_payment_succeeded", False, 2, paid().object),
            dispute("created", "lost", at=3),
            dispute("funds_withdrawn", "lost", at=3),
            dispute("closed", "lost", at=3),
        ],
        5_000_000,
    ),
    "two disputes of one charge, one of them won": (
        [
            paid(),
            dispute("created", "needs_response", id="dp_1", amount=200),
            dispute("created", "needs_response", id="dp_2", amount=300),
            dispute("closed", "lost", id="dp_2", amount=300, at=4),
            dispute("closed", "won", id="dp_1", amount=200, at=4),
        ],
        3_000_000,
    ),
    "tax is not credited and not taken": (
        [paid(amount=600, tax=100), refund("re_1", 200), refund("re_2", 400), refunded(200), refunded(600)],
        5_000_000,
    ),
}


async def told(order: Sequence[Event], *, spends: bool) -> MemoryTill:
    till = MemoryTill()
    await till.ledger.open()
    await till.hear(BEFORE)
    if spends:
        await till.spend(SPENT)
    await till.hear(*order)
    return till


def orders(events: Sequence[Event]) -> Iterable[Sequence[Event]]:
    """All of them if they are few; of thousands so many that any four events come in each of their orders."""
    every = list(itertools.permutations(events))
    return every if TORTURE else random.Random(0).sample(every, min(len(every), ORDERS))


@pytest.mark.parametrize("story", STORIES)
async def test_every_order_of_events_ends_in_the_same_books(story: str) -> None:
    events, back = STORIES[story]
    left = 3_000_000 - SPENT + 5_000_000 - back
    for order in orders(events):
        till = await told(order, spends=True)
        names = [event.id for event in order]
        assert await till.available() == left, names
        assert till.net() == left + SPENT, names
        account = till.store.accounts[ACCOUNT, "usd"]
        assert (account.credited - account.spent, account.debt) == (max(left, 0), max(-left, 0)), names
        assert set(till.statuses().values()) <= {"done", "ignored"}, names
        await till.ledger.close()


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(sorted(STORIES)), st.data())
def test_how_often_an_event_comes_and_what_else_does_makes_no_difference(story: str, data: st.DataObject) -> None:
    events, back = STORIES[story]
    twins = [
        Event(f"{event.id}_again", event.type, False, event.created, event.object)  # resent under another id
        for event in data.draw(st.lists(st.sampled_from(events), max_size=6))
    ]
    order = data.draw(st.permutations([*events, *events, *twins]))

    async def run() -> None:
        till = await told((), spends=True)
        for cut in range(0, len(order), 5):  # some at once
            await asyncio.gather(*(till.webhooks.take(event) for event in order[cut : cut + 5]))
        await till.webhooks.settled()
        await till.webhooks.resume()
        await till.webhooks.settled()
        assert await till.available() == 3_000_000 - SPENT + 5_000_000 - back
        await till.ledger.close()

    asyncio.run(run())


async def test_money_that_is_spent_becomes_a_debt_that_blocks_until_it_is_paid() -> None:
    till = MemoryTill()
    await till.ledger.open()
    await till.hear(paid())
    await till.spend(SPENT)
    await till.hear(refund("re_1", 500), refunded(500))
    assert await till.available() == -SPENT
    with pytest.raises(PaymentRequired):
        await till.spend(1, number=2)
    await till.hear(paid(number=3, amount=200))
    assert await till.available() == -500_000
    await till.hear(paid(number=4, amount=100))
    assert await till.available() == 500_000
    await till.spend(500_000, number=3)
    await till.ledger.close()


async def test_a_refund_that_comes_first_waits_and_is_parked_and_takes_effect_with_its_payment() -> None:
    till = MemoryTill()
    await till.ledger.open()
    await till.hear(refund("re_1", 200), dispute("created", "lost", amount=100))
    assert set(till.statuses().values()) == {"waiting"}
    till.clock.ms += WAIT_MS_MAX + 1
    await till.webhooks.resume()
    await till.webhooks.settled()
    assert set(till.statuses().values()) == {"parked"}
    assert await till.available() == 0
    await till.hear(paid())
    assert set(till.statuses().values()) == {"done"}
    assert await till.available() == 2_000_000
    await till.ledger.close()


async def test_a_payment_whose_webhook_was_lost_is_found_through_its_refund() -> None:
    till = MemoryTill()
    await till.ledger.open()
    lost = till.provider.payment(paid())
    assert isinstance(lost, Payment)
    till.provider.known[lost.id] = lost
    await till.hear(refund("re_1", 200))
    assert till.statuses() == {"evt_re_1_created_succeeded": "waiting"}
    till.clock.pass_seconds(60)
    await till.webhooks.resume()
    await till.webhooks.settled()
    assert till.statuses() == {"evt_re_1_created_succeeded": "done"}
    assert await till.available() == 3_000_000
    await till.ledger.close()


async def test_a_refund_in_another_currency_takes_nothing_and_is_parked() -> None:
    till = MemoryTill()
    await till.ledger.open()
    odd = [refund("re_1", 200, currency="eur"), dispute("created", "lost", currency="jpy")]
    await till.hear(odd[0], paid(), odd[1])
    await till.webhooks.resume()
    await till.webhooks.settled()
    assert till.statuses() == {odd[0].id: "parked", "evt_paid_1": "done", odd[1].id: "parked"}
    assert await till.available() == FIVE.micros
    await till.ledger.close()


async def test_what_is_live_is_not_applied_in_test_mode() -> None:
    till = MemoryTill()
    await till.ledger.open()
    event = refund("re_1", 200)
    await till.hear(paid(), Event(event.id, event.type, True, event.created, event.object))
    assert till.statuses()[event.id] == "parked"
    assert await till.available() == FIVE.micros
    await till.ledger.close()


async def test_a_payment_that_nobody_can_open_has_its_refund_applied_when_it_is_assigned() -> None:
    till = MemoryTill()
    await till.ledger.open()
    lost = paid(client_reference_id="not-ours")
    await till.hear(lost, refund("re_1", 200))
    assert till.statuses() == {"evt_paid_1": "parked", "evt_re_1_created_succeeded": "waiting"}
    payment = till.provider.payment(lost)
    assert isinstance(payment, Payment)
    assert await till.top_up.assign(payment, ACCOUNT) == ("credited", ACCOUNT)
    assert await till.available() == 3_000_000
    assert till.statuses()["evt_re_1_created_succeeded"] == "done"
    await till.ledger.close()


async def test_two_processes_at_once_plan_each_move_once() -> None:
    for seed in range(20):
        till = MemoryTill()
        await till.ledger.open()
        other = MemoryTill(till)
        other.webhooks._take_back = other.take_back
        other.take_back._ledger = till.ledger
        await till.hear(paid())
        notices = [till.provider.notice(refund(f"re_{number}", 10 + seed)) for number in range(8)]
        await asyncio.gather(
            *(
                (till if number % 2 else other).take_back.heard(notice)
                for number, notice in enumerate(notices)
                if notice is not None
            )
        )
        assert await till.available() == 5_000_000 - 8 * (10 + seed) * 10_000
        await till.ledger.close()


async def test_a_plan_that_somebody_makes_between_two_looks_is_not_undone(monkeypatch: pytest.MonkeyPatch) -> None:
    till = MemoryTill()
    await till.ledger.open()
    await till.hear(paid())
    mine, theirs = (till.provider.notice(refund(id, 100)) for id in ("re_1", "re_2"))
    assert mine is not None
    assert theirs is not None
    await till.records.keep_notice(mine)
    looks = {"moves": till.records.moves, "notices": till.records.notices}
    interrupted: list[str] = []

    def after(name: str) -> Callable[[str], Awaitable[Any]]:
        async def look(payment: str) -> Any:
            seen = await looks[name](payment)
            if not interrupted:
                interrupted.append(name)
                await till.take_back.heard(theirs)
            return seen

        return look

    for name in looks:
        monkeypatch.setattr(till.records, name, after(name))
    credited = await till.records.find_credited("pi_1")
    assert credited is not None
    await till.take_back.settle(credited)
    assert interrupted
    assert await till.available() == 3_000_000
    assert len(till.records.planned) == 1
    await till.ledger.close()


async def test_a_kill_between_plan_and_entry_loses_nothing_and_doubles_nothing() -> None:
    till = MemoryTill()
    await till.ledger.open()
    await till.hear(paid())
    await till.records.plan_move(Move("pi_1", 1, 5_000_000, "refund"))
    notice = till.provider.notice(refund("re_1", 500))
    assert notice is not None
    await till.records.keep_notice(notice)
    await till.ledger.close()
    again = MemoryTill(till)
    await again.ledger.open()
    for _ in range(2):
        await again.take_back.resume()
        assert await again.available() == 0
    assert await again.records.unmade() == []
    await again.ledger.close()


@pytest.mark.parametrize("order", list(itertools.permutations(range(4))))
async def test_records_that_were_lost_are_made_again_and_the_books_stay_right(order: tuple[int, ...]) -> None:
    till = MemoryTill()
    await till.ledger.open()
    events = [
        refund("re_1", 100),
        refund("re_2", 150, at=3),
        dispute("created", "needs_response", amount=200, at=4),
        dispute("closed", "won", amount=200, at=5),
    ]
    await till.hear(paid(), *events)
    assert await till.available() == 2_500_000
    till.records.__init__()  # type: ignore[misc]  # as if they were lost
    await till.hear(paid(), *(events[number] for number in order))
    assert await till.available() == 2_500_000
    assert till.net() == 2_500_000
    await till.hear(refund("re_3", 100, at=9))
    assert await till.available() == 1_500_000
    assert till.net() == 1_500_000
    assert set(till.statuses().values()) == {"done"}
    await till.ledger.close()


async def test_while_the_books_are_away_a_refund_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.flows.receive._RETRY_SECONDS", 0)
    till = MemoryTill()
    await till.ledger.open()
    await till.hear(paid())
    reverse, failures = till.ledger.reverse, [LedgerUnavailable(), LedgerUnavailable()]

    async def shaky(reversal):  # type: ignore[no-untyped-def]
        if failures:
            raise failures.pop()
        return await reverse(reversal)

    monkeypatch.setattr(till.ledger, "reverse", shaky)
    await till.hear(refund("re_1", 500))
    assert await till.available() == 0
    assert till.statuses()["evt_re_1_created_succeeded"] == "done"
    await till.ledger.close()


async def test_a_dispute_that_gives_back_a_part_takes_the_rest() -> None:
    till = MemoryTill()
    await till.ledger.open()

    def moved(*amounts: int) -> dict[str, Any]:
        return {"balance_transactions": [{"amount": amount, "currency": "usd"} for amount in amounts]}

    await till.hear(paid(), dispute("funds_withdrawn", "needs_response", at=3, **moved(-500)))
    assert await till.available() == 0
    await till.hear(dispute("funds_reinstated", "won", at=5, **moved(-500, 200)))
    assert await till.available() == 2_000_000
    await till.hear(dispute("funds_reinstated", "won", at=6, **moved(-500, 200, 300)))
    assert await till.available() == 5_000_000
    await till.ledger.close()
