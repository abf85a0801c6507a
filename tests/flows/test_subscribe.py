"""What a paid period grants, once, whatever order and number its events come in; and who hears of one that is not."""

import itertools
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from gateway.adapters.stripe.subscriptions import difference, payment_of
from gateway.core.money import Money
from gateway.core.payments import PARKED, Event
from gateway.core.plans import Plan, Subscription, by_price
from gateway.core.purses import PLAIN, Purse
from gateway.core.refusals import NoSuchSubscription
from gateway.core.reversals import Credited
from gateway.flows.compare_plans import without_a_plan
from gateway.ports import StoreFailed
from tests.tills import (
    ACCOUNT,
    PERIOD_ENDS,
    PLANS,
    MemoryTill,
    dispute,
    invoice,
    line,
    paid,
    part,
    refund,
    refunded,
    sealed,
    subscription,
)

BY_PRICE = {plan.price: plan for plan in PLANS}
DOLLAR = 1_000_000
STRANGERS = {"type": "subscription_details", "subscription_details": {"subscription": "sub_1", "metadata": {}}}
"""Of a subscription that was begun elsewhere."""
CHECKOUT = paid(mode="subscription", payment_intent=None)
SPENT = 3 * DOLLAR


async def till_of(*events: Event, knows: Event | None = None) -> MemoryTill:
    """A till that heard all of this; refunds and disputes find the invoice that `pi_1` paid where the till asks."""
    till = MemoryTill()
    await till.ledger.open()
    if knows is not None:
        found = payment_of(knows.object, BY_PRICE, "pi_1")
        assert found is not None
        till.provider.known[found.id] = found
    await till.hear(*events)
    await till.webhooks.resume()
    await till.webhooks.settled()
    return till


async def granted(*lines: dict[str, Any], **change: Any) -> int:
    till = await till_of(invoice(*lines, **change))
    assert set(till.statuses().values()) == {"done"}
    micros = await till.available()
    await till.ledger.close()
    return micros


async def test_a_paid_period_grants_what_the_plan_says_once() -> None:
    till = await till_of(invoice(line()), invoice(line(), at=3), invoice(line(), number=2, at=4))
    assert await till.available() == 40 * DOLLAR
    assert sorted(till.store.credits) == ["stripe:in_1", "stripe:in_2"]
    await till.ledger.close()


LINES: dict[str, tuple[list[dict[str, Any]], int]] = {
    "two places": ([line(amount=2000, quantity=2)], 40 * DOLLAR),
    "a coupon of half the price": ([line(discount_amounts=[{"amount": 500}])], 10 * DOLLAR),
    "the rest of a period": ([part("price_month", 250)], 5 * DOLLAR),
    "another plan in the middle": ([part("price_month", -500), part("price_ends", 800)], 6 * DOLLAR),
    "an amount that does not divide": ([part("price_month", 1)], 20_000),
    "a gift that is not paid": ([line("price_gift", 0)], 20 * DOLLAR),
    "two gifts": ([line("price_gift", 0, quantity=2)], 40 * DOLLAR),
    "a part of a gift": ([part("price_gift", 100)], 2 * DOLLAR),
    "a trial": ([line(amount=0)], 0),
    "a full coupon": ([line(discount_amounts=[{"amount": 1000}])], 0),
}


@pytest.mark.parametrize("what", LINES)
async def test_a_line_grants_the_part_of_a_period_that_it_pays_for(what: str) -> None:
    lines, micros = LINES[what]
    assert await granted(*lines) == micros


@pytest.mark.parametrize(
    ("price", "noted", "micros"),
    [
        ("price_month", 0, 20_000_000),
        ("price_month", 500, 10_000_000),
        ("price_month", 1000, 0),
        ("price_month", 1, 19_980_000),
        ("price_gift", 1000, 20_000_000),
    ],
)
async def test_what_a_credit_note_took_off_an_open_invoice_is_not_granted(price: str, noted: int, micros: int) -> None:
    """It becomes paid when the rest is, or at once if there is none. A plan that grants unpaid ones grants these."""
    left = {"total": 1000, "amount_paid": 1000 - noted, "pre_payment_credit_notes_amount": noted}
    assert await granted(line(price), **left) == micros


async def test_a_credit_note_over_tax_takes_the_part_that_it_took_of_the_whole() -> None:
    """Two lines that do not divide, and tax on top: rounded down once."""
    left = {"total": 1190 * 2, "amount_paid": 1190, "pre_payment_credit_notes_amount": 1190}
    assert await granted(line(), part("price_month", 1), **left) == 10_010_000
    assert await granted(part("price_month", 1), total=3, amount_paid=2, pre_payment_credit_notes_amount=1) == 13_333


@pytest.mark.parametrize(
    ("before", "after", "paid_in_money", "refunded", "left"),
    [
        (-600, 0, 400, 400, 12_000_000),  # the part that was money
        (-600, 0, 400, 100, 18_000_000),
        (-600, None, 400, 400, 12_000_000),
        (200, 0, 1200, 600, 10_000_000),
        (200, 0, 1200, 1200, 0),  # it paid a debt of the customer's there, too
        (0, 0, 1000, 500, 10_000_000),
        (None, None, 1000, 500, 10_000_000),
    ],
)
async def test_a_refund_takes_back_its_part_of_what_an_invoice_was_paid_with(
    before: int | None, after: int | None, paid_in_money: int, refunded: int, left: int
) -> None:
    balance: dict[str, Any] = {
        "starting_balance": before,
        "ending_balance": after,
        "total": 1000,
        "amount_paid": paid_in_money,
    }
    till = await till_of(whole := invoice(line(), **balance), refund("re_1", refunded, at=5), knows=whole)
    assert await till.available() == left
    await till.ledger.close()


async def test_what_is_left_of_an_invoice_after_a_credit_note_is_refunded_whole() -> None:
    half = invoice(line(), total=1000, amount_paid=500, pre_payment_credit_notes_amount=500)
    till = await till_of(half, refund("re_1", 250, at=5), knows=half)
    assert await till.available() == 5 * DOLLAR
    await till.hear(refund("re_2", 250, at=6))
    assert await till.available() == 0
    await till.ledger.close()


async def test_each_line_goes_into_the_purse_of_its_own_plan_and_period() -> None:
    later: dict[str, Any] = {"period": {"start": PERIOD_ENDS, "end": 2 * PERIOD_ENDS}}
    lines = line(), line("price_ends"), line("price_ends", **later), line("price_month", 500)
    till = await till_of(invoice(*lines), invoice(*lines, at=3))
    ends = [Purse(0, PERIOD_ENDS * 1000), Purse(0, 2 * PERIOD_ENDS * 1000)]
    assert {ref: (one.purse, one.amount.micros) for ref, one in till.store.credits.items()} == {
        "stripe:in_1": (PLAIN, 30 * DOLLAR),
        **{purse.named("stripe:in_1"): (purse, 20 * DOLLAR) for purse in ends},
    }
    await till.ledger.close()


async def test_what_lines_give_back_is_first_taken_off_what_the_invoice_itself_grants() -> None:
    """So there is no moment in which the account owes and is refused."""
    till = await till_of(
        invoice(part("price_month", -500), part("price_month", 100), line("price_ends"), line("price_gift", 0))
    )
    got = {one.purse: one.amount.micros for one in till.store.credits.values()}
    assert sum(got.values()) == (20 + 20 - 10 + 2) * DOLLAR
    assert (await till.ledger.balance(ACCOUNT, "usd")).available.micros == sum(got.values())
    await till.ledger.close()


async def test_a_refund_takes_out_of_each_purse_the_part_that_it_got() -> None:
    later: dict[str, Any] = {"period": {"start": PERIOD_ENDS, "end": 2 * PERIOD_ENDS}}
    both = invoice(line("price_ends"), line("price_ends", **later))
    purses = Purse(0, PERIOD_ENDS * 1000), Purse(0, 2 * PERIOD_ENDS * 1000)
    for amount, left in ((2000, 0), (500, 15)):
        till = await till_of(both, refund("re_1", amount, at=5), knows=both)
        assert await till.available() == 2 * left * DOLLAR
        accounts = [till.store.accounts[purse.named(ACCOUNT), "usd"] for purse in purses]
        assert [one.credited - one.spent for one in accounts] == [left * DOLLAR] * 2
        await till.ledger.close()


async def test_an_invoice_of_one_purse_keeps_the_money_key_that_it_always_had() -> None:
    till = await till_of(invoice(line(), line(amount=500), part("price_month", -100)))
    assert list(till.store.credits) == ["stripe:in_1"]
    await till.ledger.close()


async def test_what_was_credited_as_a_whole_before_is_not_credited_again_by_purse() -> None:
    both = invoice(line(), line("price_ends"))
    found = payment_of(both.object, BY_PRICE)
    assert found is not None
    till = await till_of()
    before = Credited("in_1", "in_1", ACCOUNT, found.paid or found.amount, found.amount, found.purse)
    await till.records.keep_credited(before)
    await till.hear(both)
    assert {ref: one.amount for ref, one in till.store.credits.items()} == {"stripe:in_1": found.amount}
    await till.ledger.close()


async def test_an_invoice_that_an_event_does_not_hold_whole_is_asked_for_and_not_credited_by_halves() -> None:
    whole = invoice(line(), line("price_ends"))
    cut = invoice(line(), lines={"data": [line()], "has_more": True})
    till = await till_of(cut)
    assert till.store.credits == {}, "the provider knows no such invoice"
    await till.ledger.close()
    till = await till_of()
    found = payment_of(whole.object, BY_PRICE)
    assert found is not None
    till.provider.known[found.id] = found
    await till.hear(cut)
    assert await till.available() == 40 * DOLLAR
    await till.ledger.close()


async def test_what_is_of_no_plan_grants_nothing_and_is_kept() -> None:
    till = await till_of(
        invoice(line("price_other"), parent=STRANGERS),
        invoice(line(), number=2, parent=None),
        invoice(line("price_other"), what="payment_failed", status="open", number=3, parent=STRANGERS),
        subscription("created", "active", at=1, price="price_other", metadata={}),
    )
    assert till.net() == 0
    assert till.records.subscriptions.rows == {}
    assert (till.outbox.by_cause, till.records.subscriptions.unpaid) == ({}, {})
    assert sorted(till.statuses().values()) == ["ignored"] * 4
    await till.ledger.close()


@pytest.mark.parametrize("how", ["its reference opens", "it is on record", "no plan is left"])
async def test_a_renewal_whose_plan_has_gone_is_parked_and_credited_when_its_price_is_named_again(how: str) -> None:
    till = await till_of(subscription("created", "active", at=1), invoice(line(), at=2))
    sold = replace(PLANS[0], price="price_new", costs=Money.parse("12.00 usd"))
    till.provider.sell(*(() if how == "no plan is left" else (sold,)))
    unnamed: dict[str, Any] = {"parent": STRANGERS} if how == "it is on record" else {}
    renewal = invoice(line(), number=2, at=5, **unnamed)
    await till.hear(renewal)
    assert (await till.available(), till.statuses()[renewal.id]) == (20 * DOLLAR, "parked")
    [entry] = await till.records.entries("parked")
    assert (entry.event.id, entry.error) == (renewal.id, PARKED["no plan"])
    assert "payment parked" in till.told
    till.provider.sell(replace(sold, older=(("price_month", Money.parse("10.00 usd")),)))
    assert await till.webhooks.act(renewal, entry) == "done"
    assert await till.available() == 40 * DOLLAR, "as much as the plan grants, by what the old price costs"
    await till.ledger.close()


@pytest.mark.parametrize("plans", [[], [replace(PLANS[0], price="price_new")]])
async def test_a_period_is_taken_back_though_its_plan_has_gone(plans: list[Plan]) -> None:
    period = invoice(line("price_ends"), line("price_month", 500))
    till = await till_of(period)
    assert await till.available() == 30 * DOLLAR
    till.provider.sell(*plans)
    found = payment_of(period.object, till.provider.plans, "pi_1")
    assert found is not None
    till.provider.known = {found.id: found}
    await till.hear(refund("re_1", 750, at=5))
    await till.webhooks.resume()
    await till.webhooks.settled()
    assert await till.available() == 15 * DOLLAR
    assert set(till.statuses().values()) == {"done"}
    await till.ledger.close()


async def test_how_a_subscription_stands_is_heard_though_no_plan_names_its_price_any_more() -> None:
    till = await till_of(subscription("created", "active", at=1))
    till.provider.sell(replace(PLANS[0], price="price_new"))
    failed = invoice(line(), what="payment_failed", number=2, status="open", at=5)
    await till.hear(subscription("updated", "past_due", at=5, ends=PERIOD_ENDS + 9), failed)
    [one] = await till.subscribe.of(ACCOUNT)
    assert (one.state, one.ends_ms) == ("unpaid", (PERIOD_ENDS + 9) * 1000)
    assert [type for type, *_ in till.outbox.by_cause.values()] == ["payment.failed"]
    await till.hear(invoice(line(), number=2, at=6), subscription("deleted", "canceled", at=7))
    assert await till.subscribe.unpaid_of(one) == [], "it is paid, though it waits for an operator"
    assert await till.subscribe.of(ACCOUNT) == []
    await till.ledger.close()


async def test_an_invoice_that_is_assigned_by_hand_is_not_waited_for_any_more() -> None:
    till = await till_of(
        subscription("created", "active", at=1, metadata={}),
        invoice(line(), what="payment_failed", status="open", at=2, parent=STRANGERS),
    )
    assert await till.records.subscriptions.unpaid_of("sub_1") != []
    await till.hear(invoice(line(), at=3, parent=STRANGERS))
    assert till.statuses()["evt_in_1_paid_3"] == "parked"
    assert await till.records.subscriptions.unpaid_of("sub_1") == []
    await till.ledger.close()


def test_a_price_of_before_need_not_be_on_sale_and_costs_what_is_said() -> None:
    plan = replace(PLANS[0], price="price_new", older=(("price_month", Money.parse("8.00 usd")),))
    there = {"unit_amount": 800, "currency": "usd", "active": False, "recurring": {"interval": "month"}}
    older = by_price([plan])["price_month"]
    assert difference(older, there) is None
    assert difference(older, {**there, "unit_amount": 900}) is not None
    assert difference(plan, {**there, "unit_amount": 1000}) == "price_new is not on sale at Stripe any more"


async def test_live_subscriptions_of_a_price_that_no_plan_names_are_counted() -> None:
    till = await till_of(
        *(subscription("created", "active", at=at, id=f"sub_{at}") for at in range(2)),
        subscription("created", "active", at=3, id="sub_3", price="price_ends"),
        subscription("deleted", "canceled", at=4, id="sub_4"),
    )
    sold = replace(PLANS[0], price="price_new")
    book = till.records.subscriptions
    assert await without_a_plan(book, [sold, PLANS[1]]) == {"price_month": 2}
    older = replace(sold, older=(("price_month", sold.costs),))
    assert await without_a_plan(book, [older, PLANS[1]]) == {}
    assert await without_a_plan(book, []) == {"price_month": 2, "price_ends": 1}
    await till.ledger.close()


async def test_a_period_in_another_currency_is_parked() -> None:
    till = await till_of(invoice(line(currency="eur"), currency="eur"))
    assert set(till.statuses().values()) == {"parked"}
    await till.ledger.close()


async def test_the_credit_of_a_period_ends_with_it() -> None:
    till = await till_of(invoice(line("price_ends")))
    assert [credit.purse for credit in till.store.credits.values()] == [Purse(0, PERIOD_ENDS * 1000)]
    await till.spend(SPENT)
    assert await till.available() == 17 * DOLLAR
    await till.ledger.close()


async def test_what_a_change_gives_back_is_taken_from_the_period_and_then_owed() -> None:
    change = invoice(part("price_ends", -500), number=2, at=3)
    till = await till_of(invoice(line("price_ends")))
    await till.spend(15 * DOLLAR)
    await till.hear(change, invoice(part("price_ends", -500), number=2, at=4))
    assert till.net() == 10 * DOLLAR
    assert await till.available() == -5 * DOLLAR
    assert till.store.accounts[ACCOUNT, "usd"].debt == 5 * DOLLAR
    await till.ledger.close()


STANDS = [
    subscription("created", "incomplete", at=1),
    subscription("updated", "active", at=1),
    subscription("updated", "past_due", at=3),
]
FAILED = invoice(line(), what="payment_failed", number=2, status="open", at=3)
STORIES: dict[str, tuple[list[Event], int, str]] = {
    "a first period and half of it refunded": (
        [CHECKOUT, invoice(line("price_ends")), STANDS[0], STANDS[2], refund("re_1", 500), refunded(500)],
        20 * DOLLAR - 10 * DOLLAR,
        "unpaid",
    ),
    "a renewal that fails and is paid later, and a dispute that is won": (
        [
            invoice(line("price_ends")),
            FAILED,
            invoice(line("price_ends"), number=2, at=4),
            STANDS[2],
            subscription("updated", "active", at=4),
            dispute("created", "needs_response", amount=1000, at=5),
            dispute("closed", "won", amount=1000, at=6),
        ],
        40 * DOLLAR,
        "active",
    ),
    "an end, and the whole refunded": (
        [
            invoice(line("price_ends")),
            STANDS[1],
            subscription("updated", "active", at=2, cancel_at_period_end=True),
            subscription("deleted", "canceled", at=5),
            refund("re_1", 1000, "pending"),
            refund("re_1", 1000, what="updated", at=3),
        ],
        0,
        "over",
    ),
}


async def _told(order: Sequence[Event]) -> tuple[int, int, Subscription, list[str], list[str]]:
    first = next(event for event in order if event.type == "invoice.paid" and event.object["id"] == "in_1")
    till = await till_of(paid(number=9, payment_intent="pi_9"), knows=first)
    await till.spend(SPENT)
    await till.hear(*order)
    await till.webhooks.resume()
    await till.webhooks.settled()
    assert set(till.statuses().values()) <= {"done", "ignored"}, till.statuses()
    stands = await till.records.subscriptions.find_subscription("sub_1")
    assert stands is not None
    waiting = await till.records.subscriptions.unpaid_of("sub_1")
    left = await till.available()
    assert till.store.accounts[ACCOUNT, "usd"].debt == max(0, -left), "a debt, though there is money"
    await till.ledger.close()
    return left, till.net(), stands, waiting, sorted(till.outbox.by_cause)


@pytest.mark.parametrize("story", STORIES)
async def test_every_order_of_up_to_seven_events_ends_the_same(story: str) -> None:
    events, granted, state = STORIES[story]
    ends = [await _told(order) for order in itertools.permutations(events)]
    left, net, stands, waiting, _ = ends[0]
    assert (left, net) == (5 * DOLLAR - SPENT + granted, 5 * DOLLAR + granted)
    assert (stands.state, stands.account, waiting) == (state, ACCOUNT, [])
    assert all(end[:4] == ends[0][:4] for end in ends)


async def test_whoever_pays_by_a_renewal_is_told_once_for_each_attempt_with_a_link() -> None:
    again = invoice(line(), what="payment_failed", number=2, status="open", at=9, attempt_count=2)
    action = invoice(line(), what="payment_action_required", number=2, status="open", at=3)
    till = await till_of(FAILED, FAILED, action, again)
    told = list(till.outbox.by_cause.values())
    assert [(type, account) for type, account, _ in told] == [("payment.failed", ACCOUNT)] * 3
    assert [content["reason"] for *_, content in told] == ["declined", "authentication_required", "declined"]
    assert {content["url"] for *_, content in told} == {"https://invoice.example/in_2"}
    assert await till.records.subscriptions.unpaid_of("sub_1") == ["https://invoice.example/in_2"]
    await till.hear(invoice(line(), number=2, at=10))
    assert await till.records.subscriptions.unpaid_of("sub_1") == []
    await till.hear(invoice(line(), what="payment_failed", number=2, status="open", at=11, attempt_count=3))
    assert len(till.outbox.by_cause) == 3, "it was paid, so an event that is late is no news"
    await till.ledger.close()


async def test_a_bank_debit_that_fails_is_told() -> None:
    failed = Event("evt_1", "checkout.session.async_payment_failed", False, 2, paid(payment_status="unpaid").object)
    till = await till_of(paid(payment_status="unpaid"), failed)
    assert till.net() == 0
    [(type, account, content)] = till.outbox.by_cause.values()
    assert (type, account, content["reason"], content["micros"]) == (
        "payment.failed",
        ACCOUNT,
        "bank_debit_failed",
        5 * DOLLAR,
    )
    await till.ledger.close()


async def test_a_renewal_finds_its_account_when_the_key_of_its_reference_has_gone() -> None:
    lost = {
        "type": "subscription_details",
        "subscription_details": {"subscription": "sub_1", "metadata": {"farebox_reference": "nobody-opens-this"}},
    }
    till = await till_of(subscription("created", "active", at=1), invoice(line(), parent=lost))
    assert await till.available() == 20 * DOLLAR
    assert till.store.credits["stripe:in_1"].purse == PLAIN
    await till.ledger.close()


async def test_only_the_holder_of_a_subscription_ends_it() -> None:
    till = await till_of(subscription("created", "active", at=1))
    with pytest.raises(NoSuchSubscription):
        await till.subscribe.cancel("acct_" + "2b" * 16, "sub_1")
    await till.subscribe.cancel(ACCOUNT, "sub_1")
    assert till.provider.cancelled == ["sub_1"]
    await till.hear(subscription("deleted", "canceled", at=2))
    with pytest.raises(NoSuchSubscription):
        await till.subscribe.cancel(ACCOUNT, "sub_1")
    await till.ledger.close()


QUIET = (
    "checkout.session.expired",
    "payment_intent.requires_action",
    "payment_intent.payment_failed",
    "charge.succeeded",
    "charge.failed",
    "setup_intent.created",
    "setup_intent.succeeded",
    "setup_intent.setup_failed",
    "setup_intent.requires_action",
    "customer.updated",
    "customer.subscription.trial_will_end",
    "invoice.created",
    "invoice.finalized",
)


@pytest.mark.parametrize("type", QUIET)
async def test_what_needs_no_deed_is_kept_and_ignored(type: str) -> None:
    about = {"id": "x_1", "client_reference_id": sealed(), "metadata": {}, "status": "open"}
    till = await till_of(Event("evt_1", type, False, 1, about))
    assert till.statuses() == {"evt_1": "ignored"}
    assert (till.net(), till.outbox.by_cause) == (0, {})
    await till.ledger.close()


@pytest.mark.parametrize("type", ["invoice.paid", "customer.subscription.updated", "customer.updated", "payout.paid"])
async def test_an_event_of_the_other_mode_is_parked_whatever_it_says(type: str) -> None:
    about = {**invoice(line()).object, **subscription("updated", "active", at=1).object, "status": "paid"}
    till = await till_of(Event("evt_1", type, True, 1, about))
    assert till.statuses() == {"evt_1": "parked"}
    assert (till.net(), till.records.subscriptions.rows) == (0, {})
    assert "event parked" in till.told
    await till.ledger.close()


async def test_what_is_taken_out_of_a_period_is_taken_once_though_it_is_begun_again_and_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("gateway.flows.receive._RETRY_SECONDS", 0.0)
    first = invoice(line("price_ends"))
    found = payment_of(first.object, BY_PRICE, "pi_1")
    assert found is not None
    till = await till_of(first, knows=first)
    await till.spend(SPENT)
    failures = iter([True, True, False] * 20)
    reads = till.store.taken_by

    async def reads_badly(ref: str) -> int | None:
        if next(failures, False):
            raise StoreFailed()
        return await reads(ref)

    monkeypatch.setattr(till.store, "taken_by", reads_badly)
    for event in (refund("re_1", 500), dispute("created", "lost", amount=500)):
        await till.hear(event)
        await till.webhooks.resume()
        await till.webhooks.settled()
    assert (till.net(), await till.available()) == (0, -SPENT)
    refs = sorted(ref for ref in (*till.store.reversals, *till.store.credits) if ":pi_1:" in ref)
    assert refs == [f"stripe:pi_1:{number}{what}" for number in (1, 2) for what in ("", ":plain", ":purse")]
    await till.ledger.close()


async def test_a_subscription_follows_its_account_into_another() -> None:
    other = "acct_" + "2b" * 16
    till = await till_of(subscription("created", "active", at=1))
    assert await till.aliases.add(ACCOUNT, other, "by hand") == "joined"
    assert [one.id for one in await till.subscribe.of(other)] == ["sub_1"]
    await till.subscribe.cancel(other, "sub_1")
    assert till.provider.cancelled == ["sub_1"]
    await till.ledger.close()


@pytest.mark.parametrize("first", [0, 1])
async def test_of_one_second_the_one_that_says_it_ends_is_believed(first: int) -> None:
    """Stripe tells seconds: whoever cancels at once does so in the second in which it began."""
    both = [
        subscription("updated", "active", at=1, cancel_at_period_end=True),
        replace(subscription("created", "active", at=1), id="evt_z"),
    ]
    till = await till_of(both[first], both[1 - first])
    [one] = await till.subscribe.of(ACCOUNT)
    assert one.leaves
    await till.ledger.close()
