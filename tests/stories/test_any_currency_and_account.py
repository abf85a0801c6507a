"""Payments in currencies without decimals and with three, and events that happened in another Stripe account."""

import json
from typing import Any

import pytest
from aiohttp import ClientSession

from gateway.core.money import Money
from gateway.demo.standin.server import StandIn
from tests.callers import audited, pay, signed, unpaid
from tests.conftest import StageMaker


@pytest.mark.parametrize(
    ("currency", "price", "top_up", "minor", "left"),
    [
        ("jpy", "2 jpy", "500 jpy", 500, "498.00 jpy"),
        ("jpy", "0.002 jpy", "500 jpy", 500, "499.998 jpy"),
        ("kwd", "0.002 kwd", "1.500 kwd", 1500, "1.498 kwd"),
        ("eur", "0.002 eur", "5.00 eur", 500, "4.998 eur"),
    ],
)
async def test_what_is_paid_is_credited_and_given_back_to_the_last_unit(
    currency: str, price: str, top_up: str, minor: int, left: str, make_stage: StageMaker
) -> None:
    routes = [{"name": "weather", "match": "/weather/", "upstream": "weather", "strip_prefix": True, "price": price}]
    stage = await make_stage(currency=currency, stripe={"top_up": top_up}, routes=routes)
    async with ClientSession() as session:
        refused = await unpaid(stage, session)
        bought = await pay(stage, refused["payment_url"])
        assert (bought["amount_total"], bought["currency"]) == (minor, currency)
        token = {"Authorization": f"Bearer {refused['access_token']}"}
        async with session.get(stage.url + "/weather/oslo", headers=token) as answer:
            assert (answer.status, answer.headers["Gateway-Cost"]) == (200, str(Money.parse(price)))
            assert answer.headers["Gateway-Balance"] == left
    stage.stand_in.refund(bought["id"])
    await stage.stand_in.settled()
    assert stage.gateway.paying.webhooks is not None
    await stage.gateway.paying.webhooks.settled()
    balance = await stage.gateway.ledger.balance(refused["account"], currency)
    assert balance.available.micros == -Money.parse(price).micros, "what was spent by then is owed"
    audited(stage)


def elsewhere(stand_in: StandIn, type: str) -> dict[str, Any]:
    """An event as it would have come of a connected account."""
    [event] = [event for event in stand_in.events if event["type"] == type]
    return {**event, "id": "evt_of_another", "account": "acct_1Connected"}


async def test_what_was_paid_in_another_account_credits_nobody_here_and_is_seen(make_stage: StageMaker) -> None:
    stage = await make_stage()
    async with ClientSession() as session:
        refused = await unpaid(stage, session)
        await pay(stage, refused["payment_url"])
        for type in ("checkout.session.completed", "payment_intent.succeeded"):
            body = json.dumps(elsewhere(stage.stand_in, type) | {"id": f"evt_{type}"}).encode()
            fields = {"Stripe-Signature": signed(body, stage.webhook_secret)}
            async with session.post(stage.url + "/-/webhooks/stripe", data=body, headers=fields) as answer:
                assert answer.status == 200, "it is taken, or it would come for three days"
    assert stage.gateway.paying.webhooks is not None
    await stage.gateway.paying.webhooks.settled()
    assert audited(stage).credits == 1
    [parked] = await stage.gateway.records.entries("parked")
    assert (parked.event.id, parked.event.account) == ("evt_checkout.session.completed", "acct_1Connected")
    assert parked.error == "it happened in another Stripe account"
