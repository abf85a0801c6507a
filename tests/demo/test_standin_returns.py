"""Refunds, disputes and warnings at the stand-in, as the official SDK and a test see them."""

from collections.abc import AsyncIterator
from typing import Any, ClassVar, get_args, get_origin

import aiohttp
import pytest
import stripe

from gateway.adapters.stripe.parameters import parameters
from gateway.demo.standin import StandIn
from gateway.demo.standin.errors import ApiError

KEY = "sk_test_standin"


@pytest.fixture
async def standin() -> AsyncIterator[StandIn]:
    async with StandIn(api_key=KEY, parameters=parameters) as standin:
        yield standin


@pytest.fixture
async def api(standin: StandIn) -> AsyncIterator[stripe.StripeClient]:
    async with aiohttp.ClientSession() as session:
        client = stripe.AIOHTTPClient(session=session)
        yield stripe.StripeClient(KEY, base_addresses={"api": standin.url}, http_client=client)


@pytest.fixture
async def paid(standin: StandIn, api: stripe.StripeClient) -> dict[str, Any]:
    price = await api.v1.prices.create_async(
        {"currency": "usd", "unit_amount": 500, "product_data": {"name": "Requests"}}
    )
    link = await api.v1.payment_links.create_async({"line_items": [{"price": price.id, "quantity": 1}]})
    return standin.pay(link.url, client_reference_id="ref")


def types(standin: StandIn, since: int) -> list[str]:
    return [event["type"] for event in standin.events[since:]]


async def test_a_refund_tells_of_itself_and_of_its_charge(
    standin: StandIn, api: stripe.StripeClient, paid: dict[str, Any]
) -> None:
    before = len(standin.events)
    made = await api.v1.refunds.create_async({"payment_intent": paid["payment_intent"], "amount": 200})
    assert (made.amount, made.status, made.payment_intent) == (200, "succeeded", paid["payment_intent"])
    assert types(standin, before) == ["refund.created", "charge.refunded"]
    charge = standin.events[-1]["data"]["object"]
    assert (charge["amount_refunded"], charge["refunded"], charge["id"]) == (200, False, made.charge)
    rest = await api.v1.refunds.create_async({"charge": str(made.charge), "reason": "requested_by_customer"})
    assert rest.amount == 300
    assert standin.events[-1]["data"]["object"]["refunded"] is True
    assert charge["amount_refunded"] == 200, "an event keeps its object as it was"
    listed = await api.v1.refunds.list_async({"payment_intent": paid["payment_intent"]})
    assert [one.id for one in listed.data] == [rest.id, made.id]
    assert [(one.kind, one.amount) for one in standin.journal] == [("payment", 500), ("refund", -200), ("refund", -300)]
    assert {one.session for one in standin.journal} == {paid["id"]}


@pytest.mark.parametrize(
    ("params", "said"),
    [
        ({}, "Missing required param: charge"),
        ({"charge": "ch_unknown"}, "No such charge"),
        ({"payment_intent": "pi_unknown"}, "No such payment_intent"),
        ({"amount": 501}, "greater than unrefunded amount"),
        ({"amount": 0}, "Invalid positive integer"),
        ({"reason": "because"}, "Invalid reason"),
        ({"refund_application_fee": True}, "does not play it"),
    ],
)
async def test_a_refund_that_stripe_would_not_make(
    api: stripe.StripeClient, paid: dict[str, Any], params: Any, said: str
) -> None:
    which = (
        {} if not params or {"charge", "payment_intent"} & set(params) else {"payment_intent": paid["payment_intent"]}
    )
    with pytest.raises(stripe.InvalidRequestError, match=said):
        await api.v1.refunds.create_async(which | params)


async def test_what_was_refunded_or_is_disputed_cannot_be_refunded(standin: StandIn, paid: dict[str, Any]) -> None:
    standin.refund(paid["id"])
    with pytest.raises(ApiError) as refused:
        standin.refund(paid["id"])
    assert refused.value.code == "charge_already_refunded"


async def test_a_disputed_charge_cannot_be_refunded_but_one_under_an_inquiry_can(
    standin: StandIn, paid: dict[str, Any]
) -> None:
    standin.dispute(paid["id"], inquiry=True)
    standin.refund(paid["id"], 100)
    standin.dispute(paid["id"])
    with pytest.raises(ApiError) as refused:
        standin.refund(paid["id"], 100)
    assert refused.value.code == "charge_disputed"


async def test_a_refund_that_settles_later_arrives_or_fails(standin: StandIn, paid: dict[str, Any]) -> None:
    pending = standin.refund(paid["id"], 200, later=True)
    assert pending["status"] == "pending"
    before = len(standin.events)
    assert standin.settle_refund(pending["id"])["status"] == "succeeded"
    assert types(standin, before) == ["refund.updated", "charge.refund.updated"]
    with pytest.raises(ApiError):
        standin.settle_refund(pending["id"])
    assert standin.settle_refund(pending["id"], succeed=False)["status"] == "failed"
    assert types(standin, before + 2) == ["refund.updated", "charge.refund.updated", "refund.failed"]
    assert standin.refund(paid["id"])["amount"] == 500, "what failed can be refunded again"


@pytest.mark.parametrize("won", [True, False])
async def test_a_dispute_withdraws_the_money_and_brings_it_back_if_it_is_won(
    standin: StandIn, api: stripe.StripeClient, paid: dict[str, Any], won: bool
) -> None:
    before = len(standin.events)
    made = standin.dispute(paid["id"])
    assert types(standin, before) == ["charge.dispute.created", "charge.dispute.funds_withdrawn"]
    assert standin.events[before]["data"]["object"]["balance_transactions"] == []
    assert standin.events[before + 1]["data"]["object"]["balance_transactions"][0]["amount"] == -500
    closed = standin.close_dispute(made["id"], won=won)
    assert closed["status"] == ("won" if won else "lost")
    after = ["charge.dispute.closed", "charge.dispute.funds_reinstated"] if won else ["charge.dispute.closed"]
    assert types(standin, before + 2) == after
    assert sum(one.amount for one in standin.journal) == (500 if won else 0)
    found = await api.v1.disputes.retrieve_async(made["id"])
    assert found.status == closed["status"]
    with pytest.raises(ApiError):
        standin.close_dispute(made["id"], won=won)


async def test_a_dispute_can_be_accepted(standin: StandIn, api: stripe.StripeClient, paid: dict[str, Any]) -> None:
    made = standin.dispute(paid["id"], 300)
    assert (await api.v1.disputes.close_async(made["id"])).status == "lost"


async def test_an_inquiry_moves_no_money(standin: StandIn, paid: dict[str, Any]) -> None:
    before = len(standin.events)
    made = standin.dispute(paid["id"], inquiry=True)
    assert standin.close_dispute(made["id"], won=False)["status"] == "warning_closed"
    assert types(standin, before) == ["charge.dispute.created", "charge.dispute.closed"]
    assert len(standin.journal) == 1


async def test_every_field_that_the_sdk_promises_is_there(
    standin: StandIn, api: stripe.StripeClient, paid: dict[str, Any]
) -> None:
    standin.warn(paid["id"])
    standin.refund(paid["id"], 100)
    standin.dispute(paid["id"])
    lists: dict[Any, Any] = {
        stripe.Refund: api.v1.refunds,
        stripe.Dispute: api.v1.disputes,
        stripe.radar.EarlyFraudWarning: api.v1.radar.early_fraud_warnings,
    }
    for kind, listed in lists.items():
        found = (await listed.list_async({"payment_intent": paid["payment_intent"]})).data[0]
        needed = {
            name
            for name, hint in kind.__annotations__.items()
            if type(None) not in get_args(hint) and get_origin(hint) is not ClassVar
        }
        assert needed <= set(found.to_dict()), kind


async def test_the_controls_refund_dispute_and_warn(standin: StandIn, paid: dict[str, Any]) -> None:
    async with aiohttp.ClientSession() as http:

        async def ask(command: str, **given: Any) -> dict[str, Any]:
            async with http.post(f"{standin.url}/_standin/{command}", json=given) as answer:
                assert answer.status == 200, await answer.text()
                body: dict[str, Any] = await answer.json()
                return body

        made = await ask("refund", session=paid["id"], amount=100, later=True)
        assert (await ask("settle_refund", refund=made["id"], succeed=False))["status"] == "failed"
        made = await ask("dispute", session=paid["id"], amount=100)
        assert (await ask("close_dispute", dispute=made["id"], won=True))["status"] == "won"
        assert (await ask("warn", session=paid["id"]))["object"] == "radar.early_fraud_warning"
