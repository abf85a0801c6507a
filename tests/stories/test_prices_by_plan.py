"""Subscribers pay another price, from the moment that they subscribe until they do not any more."""

from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientSession

from gateway.cli.stage import Stage
from tests.callers import audited
from tests.cli.test_payments import Operator
from tests.forms import FORMS, staged
from tests.stories.test_subscriptions import PLANS, begun, heard, subscribed

ROUTES: list[dict[str, Any]] = [
    {"name": "echo", "match": "/echo/", "upstream": "echo", "price": "0.01 usd", "methods": {"PUT": "0.05 usd"},
     "plans": {"ending": {"price": "free"}, "monthly": {"price": "0.004 usd", "methods": {"POST": "0.02 usd"}}}},
]  # fmt: skip
COSTS = {"GET": "0.004 usd", "POST": "0.02 usd", "PUT": "0.05 usd"}
"""With the plan `monthly`."""


async def cost(stage: Stage, client: ClientSession, headers: dict[str, str], method: str = "GET") -> str | None:
    async with client.request(method, f"{stage.url}/echo/x", headers=headers) as answer:
        assert answer.status == 200, await answer.text()
        return answer.headers.get("Gateway-Cost")


async def quoted(stage: Stage, client: ClientSession, headers: dict[str, str], method: str = "GET") -> dict[str, Any]:
    asked = {"method": method, "url": "/echo/x"}
    async with client.get(f"{stage.url}/-/api/v1/quote", params=asked, headers=headers) as answer:
        told: dict[str, Any] = await answer.json()
        return told


def shop(stage: Stage) -> None:
    stage.stand_in.recurring_price("price_month", 1000)
    stage.stand_in.recurring_price("price_ends", 3000)


@pytest.mark.parametrize("form", FORMS)
async def test_subscribers_pay_what_their_plan_says_and_are_quoted_it(form: str, tmp_path: Path) -> None:
    async with (
        staged(form, tmp_path, routes=ROUTES, plans=PLANS, stripe={"reconcile_seconds": 0}) as stage,
        ClientSession() as client,
    ):
        shop(stage)
        headers, account = await subscribed(stage, client)
        for method, others in (("GET", "0.01 usd"), ("POST", "0.01 usd"), ("PUT", "0.05 usd")):
            assert (await quoted(stage, client, {}, method))["at_most"] == others
        await stage.gateway.identity.plans.look()
        for method, own in COSTS.items():
            told = await quoted(stage, client, headers, method)
            assert (told["at_most"], told["exact"]) == (own, True)
            assert await cost(stage, client, headers, method) == own
        assert "0.004 usd (plan monthly)" in (await quoted(stage, client, headers))["says"]
        async with client.get(f"{stage.url}/echo/x", headers=headers) as answer:
            id = answer.headers["Gateway-Request-Id"]
        await stage.gateway.ledger.durable()
        async with client.get(f"{stage.url}/-/api/v1/requests/{id}", headers=headers) as answer:
            assert (await answer.json())["rule"] == "0.004 usd (plan monthly)"
        operator = Operator(stage, tmp_path)
        told = await operator.asks("explain", "GET", "/echo/x", "--token", headers["Authorization"].split()[1])
        assert told["rule"] == "0.004 usd (plan monthly)"
        assert (await operator.asks("explain", "GET", "/echo/x"))["rule"] == "0.01 usd"
        left = (await stage.gateway.ledger.balance(account, "usd")).available
        assert left.micros == 20_000_000 - 4_000 - 20_000 - 50_000 - 4_000
        audited(stage)


async def test_it_is_the_price_of_others_before_and_after_and_free_where_the_plan_says_so(tmp_path: Path) -> None:
    async with (
        staged("relay", tmp_path, routes=ROUTES, plans=PLANS, stripe={"reconcile_seconds": 0}) as stage,
        ClientSession() as client,
    ):
        shop(stage)
        plans = stage.gateway.identity.plans
        _, headers = await begun(stage, client, "ending")
        async with client.get(f"{stage.url}/echo/x", headers=headers) as answer:
            assert answer.status == 402, "who has begun to subscribe has not paid"
            assert (await answer.json())["price"]["amount"] == "0.01"
        headers, account = await subscribed(stage, client, "ending")
        await plans.look()
        assert await cost(stage, client, headers) is None
        assert (await quoted(stage, client, headers))["says"] == "GET /echo/x is free (plan ending)."
        assert await cost(stage, client, headers, "PUT") == "0.05 usd", (
            "a price of a method stays where a plan is silent"
        )
        [subscription] = await stage.gateway.records.subscriptions.subscriptions_of(account)
        async with client.delete(f"{stage.url}/-/api/v1/subscriptions/{subscription.id}", headers=headers) as answer:
            assert answer.status == 200
        await heard(stage)
        await plans.look()
        assert await cost(stage, client, headers) is None, "it lasts as long as was paid for"
        stage.stand_in.advance(31)
        await heard(stage)
        await plans.look()
        assert await cost(stage, client, headers) == "0.01 usd"


async def test_everybody_can_read_what_subscribers_pay(tmp_path: Path) -> None:
    async with staged("relay", tmp_path, routes=ROUTES, plans=PLANS) as stage, ClientSession() as client:
        async with client.get(f"{stage.url}/.well-known/pricing.json") as answer:
            [told] = (await answer.json())["routes"]
        found = {(one["plan"], one["method"]): one["price"].get("amount", "0") for one in told["prices_by_plan"]}
        assert found == {
            ("ending", None): "0", ("monthly", None): "0.004 usd", ("ending", "POST"): "0",
            ("monthly", "POST"): "0.02 usd",
        }  # fmt: skip
        async with client.get(f"{stage.url}/-/openapi.json") as answer:
            operations = (await answer.json())["paths"]["/echo/{rest}"]
        assert operations["post"]["x-payment-info"]["plans"]["monthly"] == "0.02 usd (plan monthly)"
        assert "plans" not in operations["put"]["x-payment-info"]
        for page in ("/-/pricing", "/-/llms.txt"):
            async with client.get(stage.url + page) as answer:
                assert "POST with monthly: 0.02" in await answer.text()
