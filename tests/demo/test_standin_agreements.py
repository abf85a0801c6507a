"""Methods that are saved on a page of the platform's and charged by agreement, as the official SDK sees them."""

from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest
import stripe

from gateway.adapters.stripe.parameters import parameters
from gateway.demo.standin import StandIn
from gateway.demo.standin.errors import ApiError

KEY = "sk_test_standin"
CONFIRMS, DECLINED = "4000002760003184", "4000000000000341"
BACK = "https://shop.example/back"


@pytest.fixture
async def standin() -> AsyncIterator[StandIn]:
    async with StandIn(api_key=KEY, parameters=parameters) as standin:
        yield standin


@pytest.fixture
async def api(standin: StandIn) -> AsyncIterator[stripe.StripeClient]:
    async with aiohttp.ClientSession() as session:
        client = stripe.AIOHTTPClient(session=session)
        yield stripe.StripeClient(KEY, base_addresses={"api": standin.url}, http_client=client)


async def ready(standin: StandIn, api: stripe.StripeClient, card: str = "4242424242424242") -> tuple[str, str]:
    """A payment intent that nobody has confirmed, and the method that was saved."""
    customer = await api.v1.customers.create_async({"description": "x"})
    setup = await api.v1.setup_intents.create_async({"customer": customer.id, "usage": "off_session"})
    assert (setup.status, setup.usage) == ("requires_payment_method", "off_session")
    method = standin.save_method(setup.id, card)["payment_method"]
    asked: Any = {"amount": 2000, "currency": "usd", "customer": customer.id, "allowed_payment_method_types": ["card"]}
    made = await api.v1.payment_intents.create_async(asked)
    assert (made.status, made.payment_method, standin.journal) == ("requires_payment_method", None, [])
    return made.id, method


def said(standin: StandIn) -> list[str]:
    return [event["type"] for event in standin.events]


async def test_an_intent_is_confirmed_without_the_buyer_and_only_once(standin: StandIn, api: Any) -> None:
    intent, method = await ready(standin, api)
    how = {"payment_method": method, "off_session": True, "return_url": BACK}
    made = await api.v1.payment_intents.confirm_async(intent, how)
    assert (made.status, made.amount_received) == ("succeeded", 2000)
    with pytest.raises(stripe.InvalidRequestError) as refused:
        await api.v1.payment_intents.confirm_async(intent, how)
    assert refused.value.code == "payment_intent_unexpected_state"
    assert [one.amount for one in standin.journal] == [2000]
    assert said(standin)[-2:] == ["charge.succeeded", "payment_intent.succeeded"]


@pytest.mark.parametrize(("card", "code"), [(DECLINED, "card_declined"), (CONFIRMS, "authentication_required")])
async def test_a_card_that_is_declined_leaves_the_intent_for_another_try(
    standin: StandIn, api: Any, card: str, code: str
) -> None:
    intent, method = await ready(standin, api, card)
    how = {"payment_method": method, "off_session": True, "return_url": BACK}
    for _ in range(2):
        with pytest.raises(stripe.CardError) as refused:
            await api.v1.payment_intents.confirm_async(intent, how)
        assert refused.value.code == code
    found = await api.v1.payment_intents.retrieve_async(intent)
    assert (found.status, found.last_payment_error.code) == ("requires_payment_method", code)
    standin.set_number(method, "4242424242424242")
    assert (await api.v1.payment_intents.confirm_async(intent, how)).status == "succeeded"
    assert len(standin.payment_intents) == 1


@pytest.mark.parametrize(("answer", "status"), [("yes", "succeeded"), ("no", "requires_payment_method")])
async def test_a_buyer_who_is_there_confirms_on_the_banks_page(
    standin: StandIn, api: Any, answer: str, status: str
) -> None:
    intent, method = await ready(standin, api, CONFIRMS)
    made = await api.v1.payment_intents.confirm_async(intent, {"payment_method": method, "return_url": BACK})
    assert (made.status, made.next_action.type) == ("requires_action", "redirect_to_url")
    url = made.next_action.redirect_to_url.url
    async with aiohttp.ClientSession() as browser:
        async with browser.get(url) as page:
            assert (page.status, "Your bank" in await page.text()) == (200, True)
        async with browser.post(url, data={"answer": answer}, allow_redirects=False) as done:
            assert (done.status, done.headers["Location"]) == (303, BACK)
        async with browser.get(url) as page:
            assert page.status == 404
    found = await api.v1.payment_intents.retrieve_async(intent)
    assert (found.status, found.next_action) == (status, None)


async def test_a_setup_waits_for_the_bank_and_keeps_no_card_that_is_declined(standin: StandIn, api: Any) -> None:
    customer = await api.v1.customers.create_async({"description": "x"})
    setup = await api.v1.setup_intents.create_async({"customer": customer.id})
    assert standin.save_method(setup.id, CONFIRMS, authenticate=False)["status"] == "requires_action"
    assert standin.shelf("payment_method") == []
    with pytest.raises(ApiError):
        standin.save_method(setup.id, "4000000000000002")
    made = standin.save_method(setup.id, CONFIRMS)
    assert (made["status"], made["customer"]) == ("succeeded", customer.id)
    assert said(standin)[-2:] == ["payment_method.attached", "setup_intent.succeeded"]
    with pytest.raises(ApiError):
        standin.save_method(setup.id)


async def test_an_intent_that_is_cancelled_is_paid_by_nobody_and_one_that_is_paid_is_not_cancelled(
    standin: StandIn, api: Any
) -> None:
    intent, method = await ready(standin, api)
    made = await api.v1.payment_intents.cancel_async(intent, {"cancellation_reason": "abandoned"})
    assert (made.status, made.cancellation_reason, made.canceled_at is not None) == ("canceled", "abandoned", True)
    assert said(standin)[-1] == "payment_intent.canceled"
    how: Any = {"payment_method": method, "off_session": True, "return_url": BACK}
    with pytest.raises(stripe.InvalidRequestError, match="status of canceled"):
        await api.v1.payment_intents.confirm_async(intent, how)
    with pytest.raises(stripe.InvalidRequestError, match="status of canceled"):
        await api.v1.payment_intents.cancel_async(intent)
    assert standin.journal == []
    paid, method = await ready(standin, api)
    await api.v1.payment_intents.confirm_async(paid, {**how, "payment_method": method})
    with pytest.raises(stripe.InvalidRequestError, match="status of succeeded"):
        await api.v1.payment_intents.cancel_async(paid)


async def test_what_stripe_would_refuse_is_refused(standin: StandIn, api: Any) -> None:
    intent, method = await ready(standin, api)
    other = await api.v1.customers.create_async({"description": "y"})
    for how in (
        {"payment_method": method, "off_session": True},
        {"return_url": BACK},
        {"payment_method": method, "return_url": BACK, "amount": 1},
    ):
        with pytest.raises(stripe.InvalidRequestError):
            await api.v1.payment_intents.confirm_async(intent, how)
    theirs: Any = {"amount": 2000, "currency": "usd", "customer": other.id}
    made = await api.v1.payment_intents.create_async(theirs)
    with pytest.raises(stripe.InvalidRequestError, match="does not belong"):
        await api.v1.payment_intents.confirm_async(made.id, {"payment_method": method, "return_url": BACK})
    for asked in ({"usage": "on_session", "customer": other.id}, {"usage": "off_session"}):
        with pytest.raises(stripe.InvalidRequestError):
            await api.v1.setup_intents.create_async(asked)
