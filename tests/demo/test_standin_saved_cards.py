"""Cards that are saved and charged without the buyer, as the official SDK and a test see them."""

from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest
import stripe

from gateway.adapters.stripe.parameters import parameters
from gateway.demo.standin import StandIn
from gateway.demo.standin.till import PaymentDeclined

KEY = "sk_test_standin"
ALWAYS_AUTHENTICATES = "4000002760003184"
ATTACHES_ONLY = "4000000000000341"


@pytest.fixture
async def standin() -> AsyncIterator[StandIn]:
    async with StandIn(api_key=KEY, parameters=parameters) as standin:
        yield standin


@pytest.fixture
async def api(standin: StandIn) -> AsyncIterator[stripe.StripeClient]:
    async with aiohttp.ClientSession() as session:
        client = stripe.AIOHTTPClient(session=session)
        yield stripe.StripeClient(KEY, base_addresses={"api": standin.url}, http_client=client)


async def saved(standin: StandIn, api: stripe.StripeClient, card: str = "4242424242424242") -> dict[str, Any]:
    """A session of mode setup that was completed with this card."""
    made = await api.v1.checkout.sessions.create_async(
        {"mode": "setup", "currency": "usd", "customer_creation": "always", "success_url": "https://shop.example/"}
    )
    assert (made.amount_total, made.payment_status, made.setup_intent) == (None, "no_payment_required", None)
    standin.pay(made.id, card=card)
    found = await api.v1.checkout.sessions.retrieve_async(made.id, {"expand": ["setup_intent.payment_method"]})
    return found.to_dict()


def charge_of(session: dict[str, Any], amount: int = 500) -> Any:
    return {
        "amount": amount,
        "currency": "usd",
        "customer": session["customer"],
        "payment_method": session["setup_intent"]["payment_method"]["id"],
        "off_session": True,
        "confirm": True,
        "metadata": {"k": "v"},
    }


async def test_a_card_is_saved_without_a_payment_and_charged_later(standin: StandIn, api: stripe.StripeClient) -> None:
    session = await saved(standin, api)
    types = [event["type"] for event in standin.events]
    told = ["setup_intent.created", "payment_method.attached", "setup_intent.succeeded", "checkout.session.completed"]
    assert types[-4:] == told
    assert standin.journal == []
    method = session["setup_intent"]["payment_method"]
    assert (method["customer"], method["card"]["last4"]) == (session["customer"], "4242")

    made = await api.v1.payment_intents.create_async(charge_of(session))
    assert (made.status, made.amount_received, made.to_dict()["metadata"]) == ("succeeded", 500, {"k": "v"})
    types = [event["type"] for event in standin.events[len(types) :]]
    assert types == ["payment_intent.created", "charge.succeeded", "payment_intent.succeeded"]
    assert [(one.amount, one.session, one.payment_intent) for one in standin.journal] == [(500, "", made.id)]
    listed = await api.v1.payment_intents.list_async({"customer": session["customer"]})
    assert [one.id for one in listed.data] == [made.id]


@pytest.mark.parametrize(
    ("card", "code"), [(ALWAYS_AUTHENTICATES, "authentication_required"), (ATTACHES_ONLY, "card_declined")]
)
async def test_a_card_may_refuse_to_be_charged_without_its_owner_and_says_so_again_to_the_same_key(
    standin: StandIn, api: stripe.StripeClient, card: str, code: str
) -> None:
    session = await saved(standin, api, card)
    intents = []
    for _ in range(2):
        with pytest.raises(stripe.CardError) as refused:
            await api.v1.payment_intents.create_async(charge_of(session), {"idempotency_key": "one"})
        assert refused.value.code == code
        assert refused.value.error is not None
        assert refused.value.error.payment_intent is not None
        intents.append(refused.value.error.payment_intent.id)
    assert len(set(intents)) == 1
    assert [one["status"] for one in standin.payment_intents] == ["requires_payment_method"]
    assert standin.events[-1]["type"] == "payment_intent.payment_failed"
    assert standin.journal == []


async def test_a_card_that_was_not_saved_or_was_detached_cannot_be_charged(
    standin: StandIn, api: stripe.StripeClient
) -> None:
    session = await saved(standin, api)
    order = charge_of(session)
    stranger: Any = {**order, "customer": (await api.v1.customers.create_async({})).id}
    with pytest.raises(stripe.InvalidRequestError, match="does not belong"):
        await api.v1.payment_intents.create_async(stranger)
    await api.v1.payment_methods.detach_async(order["payment_method"])
    assert standin.events[-1]["type"] == "payment_method.detached"
    assert standin.events[-1]["data"]["previous_attributes"] == {"customer": session["customer"]}
    with pytest.raises(stripe.InvalidRequestError, match="does not belong"):
        await api.v1.payment_intents.create_async(order)
    assert standin.payment_intents == []


async def test_a_payment_saves_its_card_when_that_was_agreed(standin: StandIn, api: stripe.StripeClient) -> None:
    for usage, saved_there in (({}, False), ({"setup_future_usage": "off_session"}, True)):
        product = {"currency": "usd", "unit_amount": 700, "product_data": {"name": "Credit"}}
        order: Any = {
            "mode": "payment",
            "customer_creation": "always",
            "line_items": [{"price_data": product, "quantity": 1}],
            "payment_intent_data": usage,
            "success_url": "https://shop.example/",
        }
        made = await api.v1.checkout.sessions.create_async(order)
        bought = standin.pay(made.id)
        intent = await api.v1.payment_intents.retrieve_async(bought["payment_intent"], {"expand": ["payment_method"]})
        method: Any = intent.payment_method
        assert method.customer == (bought["customer"] if saved_there else None)


async def test_a_declined_card_is_not_saved(standin: StandIn, api: stripe.StripeClient) -> None:
    with pytest.raises(PaymentDeclined):
        await saved(standin, api, "4000000000000002")
    assert [event["type"] for event in standin.events] == []


async def test_the_modes_of_a_session_take_what_goes_with_them(api: stripe.StripeClient) -> None:
    wrong: list[tuple[Any, str]] = [
        ({"mode": "setup", "success_url": "https://shop.example/"}, "currency"),
        ({"mode": "setup", "currency": "usd", "success_url": "https://shop.example/", "submit_type": "pay"}, "submit"),
        ({"mode": "payment", "success_url": "https://shop.example/"}, "line_items"),
    ]
    for order, named in wrong:
        with pytest.raises(stripe.InvalidRequestError, match=named):
            await api.v1.checkout.sessions.create_async(order)


async def test_a_cut_answer_leaves_what_was_done(standin: StandIn, api: stripe.StripeClient) -> None:
    session = await saved(standin, api)
    standin.cut_answers()
    with pytest.raises(stripe.APIConnectionError):
        await api.v1.payment_intents.create_async(charge_of(session), {"idempotency_key": "one"})
    again = await api.v1.payment_intents.create_async(charge_of(session), {"idempotency_key": "one"})
    assert [one["id"] for one in standin.payment_intents] == [again.id]
    assert len(standin.journal) == 1


async def test_a_person_saves_a_card_on_the_hosted_page(standin: StandIn, api: stripe.StripeClient) -> None:
    made = await api.v1.checkout.sessions.create_async(
        {"mode": "setup", "currency": "usd", "customer_creation": "always", "success_url": "https://shop.example/x"}
    )
    assert made.url is not None
    async with aiohttp.ClientSession() as browser:
        async with browser.get(made.url) as answer:
            assert "Save card" in await answer.text()
        form = {"method": "card", "number": "4242424242424242", "expiry": "12/34", "cvc": "123", "email": "a@b.co"}
        async with browser.post(made.url, data=form, allow_redirects=False) as answer:
            assert (answer.status, answer.headers["Location"]) == (303, "https://shop.example/x")
        async with browser.get(made.url) as answer:
            assert "the card is saved" in await answer.text()
