"""Exact amounts and saved cards through the official SDK, against the stand-in; and how events are read."""

from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest

from gateway.adapters.stripe import cards, notices, subscriptions
from gateway.adapters.stripe import payments as adapter
from gateway.adapters.stripe.parameters import parameters
from gateway.adapters.stripe.payments import StripePayments
from gateway.core.auto_top_ups import CardNotice, Refill, Refilled, SavedCard, Wish
from gateway.core.money import Money
from gateway.core.orders import Order
from gateway.core.payments import Event
from gateway.core.refusals import PaymentServiceUnavailable
from gateway.core.secrets import Secret
from gateway.demo.standin import StandIn

KEY = "sk_test_" + "1a" * 20
WISH = Wish(Money.parse("1.00 usd"), Money.parse("5.00 usd"))
ORDER = Order("o1", "acct_1", "usd", Money.parse("7.35 usd"), "ref", 0, WISH)


@pytest.fixture
async def stand_in() -> AsyncIterator[StandIn]:
    async with StandIn(api_key=KEY, parameters=parameters) as stand_in:
        yield stand_in


@pytest.fixture
async def stripe(stand_in: StandIn) -> AsyncIterator[StripePayments]:
    made = StripePayments(
        secret_key=Secret(KEY),
        webhook_secrets=[Secret("whsec_x")],
        api_url=stand_in.url,
        tolerance_seconds=300,
        report=lambda *_, **__: None,
        return_url="http://127.0.0.1:1/-/paid?session_id={CHECKOUT_SESSION_ID}",
        wallet_url="http://127.0.0.1:1/-/wallet",
        keeps_cards=True,
    )
    yield made
    await made.close()


async def saved(stand_in: StandIn, stripe: StripePayments, card: str = "4242424242424242") -> SavedCard:
    bought = stand_in.pay(await stripe.checkout(replace(ORDER, amount=None)), card=card)
    found = await stripe.saved_card(bought["id"])
    assert found is not None
    return found


def refill(card: SavedCard, *, key: str = "k1", amount: str = "5.00 usd") -> Refill:
    return Refill("acct_1", 1, key, Money.parse(amount), card.customer, card.method, "ref", 1000)


async def test_an_order_is_one_checkout_however_often_it_is_asked_for(
    stand_in: StandIn, stripe: StripePayments
) -> None:
    assert await stripe.checkout(ORDER) == await stripe.checkout(ORDER)
    (session,) = stand_in.sessions
    assert (session["amount_total"], session["client_reference_id"]) == (735, "ref")
    bought = stand_in.pay(session["id"])
    assert await stripe.saved_card(bought["id"]) == SavedCard(
        bought["customer"], stand_in.payment_intents[0]["payment_method"], "visa 4242", "2034-12"
    )


@pytest.mark.parametrize(("amount", "minor"), [("500 jpy", 500), ("5.00 kwd", 5000)])
async def test_amounts_are_in_the_units_of_their_currency(
    stand_in: StandIn, stripe: StripePayments, amount: str, minor: int
) -> None:
    money = Money.parse(amount)
    await stripe.checkout(Order("o", "acct_1", money.currency, money, "ref", 0))
    assert stand_in.sessions[0]["amount_total"] == minor


async def test_without_a_wish_no_card_is_saved(stand_in: StandIn, stripe: StripePayments) -> None:
    bought = stand_in.pay(await stripe.checkout(replace(ORDER, wish=None)))
    assert await stripe.saved_card(bought["id"]) is None
    assert stand_in.payment_intents[0]["setup_future_usage"] is None


async def test_a_refill_that_is_asked_for_twice_is_charged_once_and_can_be_looked_up(
    stand_in: StandIn, stripe: StripePayments
) -> None:
    card = await saved(stand_in, stripe)
    first, again = await stripe.refill(refill(card)), await stripe.refill(refill(card))
    assert first == again
    assert first.state == "succeeded"
    assert first.payment is not None
    assert (first.payment.amount, first.payment.reference) == (Money.parse("5.00 usd"), "ref")
    assert first.payment.id == first.payment.intent
    assert len(stand_in.journal) == 1
    assert await stripe.find_refill(refill(card)) == first
    assert await stripe.find_refill(refill(card, key="another")) is None
    assert await stripe.find_payment(first.payment.id) == first.payment
    assert await stripe.find_payment_of(first.payment.id) == first.payment
    assert [one async for one in stripe.checkouts(begin=0, end=2**40)] == [first.payment]


@pytest.mark.parametrize(
    ("card", "state"), [("4000002760003184", "authentication_required"), ("4000000000000341", "declined")]
)
async def test_what_the_bank_says_is_told_apart(
    stand_in: StandIn, stripe: StripePayments, card: str, state: str
) -> None:
    found = await saved(stand_in, stripe, card)
    refused = await stripe.refill(refill(found))
    assert (refused.state, refused.payment) == (state, None)
    looked_up = await stripe.find_refill(refill(found))
    assert looked_up is not None
    assert looked_up.state == state
    gone = await stripe.refill(refill(SavedCard("cus_nobody", "pm_nobody", "x"), key="k2"))
    assert gone.state == "refused"


async def test_an_outcome_that_is_not_known_is_not_guessed(stand_in: StandIn, stripe: StripePayments) -> None:
    card = await saved(stand_in, stripe)
    stand_in.cut_answers(3)
    with pytest.raises(PaymentServiceUnavailable):
        await stripe.refill(refill(card))
    with pytest.raises(PaymentServiceUnavailable):  # the key was used for something else
        await stripe.refill(refill(card, amount="6.00 usd"))
    assert (await stripe.refill(refill(card))).state == "succeeded"
    assert len(stand_in.journal) == 1


async def test_no_more_event_types_are_asked_for_than_may_be(stand_in: StandIn, stripe: StripePayments) -> None:
    assert len({*adapter._ACTED_ON, *subscriptions.TYPES}) > 20, "the stand-in refuses more in one call"
    assert cards.TYPES.isdisjoint(notices.TYPES)
    await saved(stand_in, stripe)
    listed = [event.type async for event in stripe.events(begin=0, end=2**40)]
    assert listed == ["checkout.session.completed"]


@pytest.mark.parametrize(
    ("metadata", "says"),
    [
        ({}, None),
        ({"farebox_threshold": "1.00 usd", "farebox_amount": "5.00 usd"}, WISH),
        ({"farebox_amount": "5.00 usd"}, ValueError),
        ({"farebox_threshold": "1.00 usd", "farebox_amount": "much"}, ValueError),
    ],
)
def test_a_checkout_says_what_its_card_is_saved_for(metadata: dict[str, str], says: Any) -> None:
    event = Event("evt_1", "checkout.session.completed", False, 7, {"id": "cs_1", "metadata": metadata})
    if says is ValueError:
        with pytest.raises(ValueError, match="cannot be read"):
            cards.notice(event)
        return
    notice = cards.notice(event)
    assert (notice.wish if notice else None) == says


def test_a_payment_intent_without_our_mark_is_nobodys_payment() -> None:
    intent: dict[str, Any] = {
        "id": "pi_1", "status": "succeeded", "amount_received": 500, "currency": "usd", "livemode": False
    }  # fmt: skip
    assert cards.payment_of(intent) is None
    marked = {**intent, "metadata": {cards.KEY: "k", cards.REFERENCE: "ref"}}
    assert cards.payment_of(marked) is not None
    assert cards.payment_of({**marked, "status": "processing"}) is None
    for wrong in ({"amount_received": None}, {"id": None}, {"currency": 1}):
        with pytest.raises(ValueError, match="has no"):
            cards.payment_of({**marked, **wrong})


@pytest.mark.parametrize("ours", [True, False])
def test_a_refill_that_the_bank_wants_confirmed_is_one_that_needs_its_owner(ours: bool) -> None:
    metadata = {cards.KEY: "k1"} if ours else {}
    said = cards.notice(
        Event("evt_1", "payment_intent.requires_action", False, 7, {"id": "pi_1", "metadata": metadata})
    )
    expected = CardNotice("failed", "k1", 7, False, outcome=Refilled("authentication_required", "requires_action"))
    assert said == (expected if ours else None)
