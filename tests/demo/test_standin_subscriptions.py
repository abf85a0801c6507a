"""Subscriptions of the stand-in: what they leave behind, and that their objects are what the SDK expects."""

from collections.abc import AsyncIterator
from typing import Any, ClassVar, get_args, get_origin

import pytest
import stripe
from aiohttp import ClientSession

from gateway.adapters.stripe.parameters import parameters
from gateway.demo.standin import StandIn
from gateway.demo.standin.till import PaymentDeclined

KEY = "sk_test_" + "1a" * 20
SAVED_AND_DECLINED, ASKS, DECLINED = "4000000000000341", "4000002760003184", "4000000000000002"


@pytest.fixture
async def standin() -> AsyncIterator[StandIn]:
    async with StandIn(api_key=KEY, parameters=parameters) as standin:
        standin.recurring_price("price_month", 1000)
        standin.recurring_price("price_more", 3000)
        yield standin


@pytest.fixture
async def api(standin: StandIn) -> AsyncIterator[stripe.StripeClient]:
    async with ClientSession() as session:
        http = stripe.AIOHTTPClient(session=session)
        yield stripe.StripeClient(KEY, base_addresses={"api": standin.url}, http_client=http)


async def a_session(api: stripe.StripeClient, **more: Any) -> str:
    asked: Any = {
        "mode": "subscription",
        "client_reference_id": "whose",
        "line_items": [{"price": "price_month", "quantity": 1}],
        "success_url": "https://shop.example/paid",
        **more,
    }
    return (await api.v1.checkout.sessions.create_async(asked)).id


def types(standin: StandIn, since: int = 0) -> list[str]:
    return [event["type"] for event in standin.events[since:]]


async def test_a_checkout_begins_a_subscription_and_pays_its_first_invoice(
    standin: StandIn, api: stripe.StripeClient
) -> None:
    since = len(standin.events)
    data = {"subscription_data": {"metadata": {"for": "somebody"}}}
    session = standin.pay(await a_session(api, **data))
    assert types(standin, since) == [
        "customer.created",
        "payment_method.attached",
        "customer.subscription.created",
        "invoice.created",
        "invoice.finalized",
        "payment_intent.created",
        "charge.succeeded",
        "payment_intent.succeeded",
        "invoice.paid",
        "invoice.payment_succeeded",
        "invoice_payment.paid",
        "customer.subscription.updated",
        "checkout.session.completed",
    ]
    [invoice] = standin.invoices
    assert session["subscription"] == standin.subscriptions[0]["id"]
    assert invoice["parent"]["subscription_details"]["metadata"] == {"for": "somebody"}
    assert (invoice["status"], invoice["amount_paid"]) == ("paid", 1000)
    [moved] = standin.journal
    assert (moved.session, moved.client_reference_id, moved.amount) == (invoice["id"], "whose", 1000)
    by: Any = {"payment": {"type": "payment_intent", "payment_intent": moved.payment_intent}}
    assert [paid.invoice for paid in (await api.v1.invoice_payments.list_async(by)).data] == [invoice["id"]]
    standin.refund(invoice["id"], 400)
    assert [(one.session, one.amount) for one in standin.journal] == [(invoice["id"], 1000), (invoice["id"], -400)]


async def test_time_brings_renewals_and_an_end(standin: StandIn, api: stripe.StripeClient) -> None:
    subscription = standin.pay(await a_session(api))["subscription"]
    assert standin.advance(29) == []
    assert [invoice["billing_reason"] for invoice in standin.advance(31)] == ["subscription_cycle"] * 2
    assert [moved.amount for moved in standin.journal] == [1000] * 3
    ending = await api.v1.subscriptions.update_async(subscription, {"cancel_at_period_end": True})
    assert ending.cancel_at_period_end
    assert standin.advance(60) == []
    assert standin.subscriptions[0]["status"] == "canceled"
    assert types(standin)[-1] == "customer.subscription.deleted"


@pytest.mark.parametrize(("card", "action"), [(SAVED_AND_DECLINED, False), (ASKS, True)])
async def test_a_renewal_that_fails_can_be_paid_later(
    standin: StandIn, api: stripe.StripeClient, card: str, action: bool
) -> None:
    standin.pay(await a_session(api), card=card)
    [failed] = standin.advance(31)
    assert (failed["status"], standin.subscriptions[0]["status"]) == ("open", "past_due")
    assert ("invoice.payment_action_required" in types(standin)) is action
    assert types(standin)[-2:] == ["invoice.payment_failed", "customer.subscription.updated"]
    assert standin.pay_invoice(failed["id"])["status"] == "paid"
    assert standin.subscriptions[0]["status"] == "active"


async def test_a_trial_and_a_full_coupon_move_no_money(standin: StandIn, api: stripe.StripeClient) -> None:
    standin.pay(await a_session(api, subscription_data={"trial_period_days": 7}))
    assert standin.subscriptions[0]["status"] == "trialing"
    standin.coupon(100)
    standin.advance(8)
    assert [(one["status"], one["total"]) for one in standin.invoices] == [("paid", 0)] * 2
    assert standin.journal == []
    assert standin.subscriptions[0]["status"] == "active"


async def test_a_change_in_the_middle_is_prorated(standin: StandIn, api: stripe.StripeClient) -> None:
    subscription = standin.pay(await a_session(api))["subscription"]
    invoice = standin.change_plan(subscription, "price_more", part=50)
    assert [line["amount"] for line in invoice["lines"]["data"]] == [-500, 1500]
    assert invoice["amount_paid"] == 1000


async def test_what_stripe_refuses_is_refused(standin: StandIn, api: stripe.StripeClient) -> None:
    one_time = {"currency": "usd", "unit_amount": 500, "product_data": {"name": "x"}}
    for more in (
        {"line_items": [{"price_data": one_time, "quantity": 1}]},
        {"mode": "payment"},
        {"customer_creation": "always"},
        {"payment_intent_data": {"description": "x"}},
    ):
        with pytest.raises(stripe.InvalidRequestError):
            await a_session(api, **more)
    with pytest.raises(PaymentDeclined):
        standin.pay(await a_session(api), card=DECLINED)
    assert standin.subscriptions == []


@pytest.mark.parametrize(("status", "error"), [(429, stripe.RateLimitError), (500, stripe.APIError)])
async def test_requests_fail_as_often_as_they_are_told_to(
    standin: StandIn, api: stripe.StripeClient, status: int, error: type[Exception]
) -> None:
    standin.fail_requests(1, status)
    with pytest.raises(error):
        await a_session(api)
    assert standin.sessions == []
    assert await a_session(api)


async def test_every_field_that_the_sdk_promises_is_there(standin: StandIn, api: stripe.StripeClient) -> None:
    standin.pay(await a_session(api))
    found: list[Any] = [
        (await listed.list_async()).data[0]
        for listed in (api.v1.subscriptions, api.v1.invoices, api.v1.invoice_payments)
    ]
    for one in (*found, found[0]["items"].data[0], found[1].lines.data[0]):
        hints: dict[str, Any] = type(one).__annotations__
        needed = {
            name
            for name, hint in hints.items()
            if type(None) not in get_args(hint) and get_origin(hint) is not ClassVar
        }
        assert needed - {"deleted", "payments", "object"} <= set(one.to_dict()), type(one)
