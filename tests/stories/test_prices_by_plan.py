"""Subscribers pay another price, from the moment that they subscribe until they do not any more."""

import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, cast

import pytest
from aiohttp import ClientSession

from gateway.cli.records import opened
from gateway.cli.stage import Stage
from gateway.core.plans import State, Subscription
from gateway.demo.upstreams import ToyUpstream, weather
from gateway.settings import Settings, load
from tests.callers import Funded, audited
from tests.cli.test_payments import Operator
from tests.forms import FORMS, staged
from tests.gateway_process import fund, running, write_config
from tests.postgres_server import Server
from tests.stories import test_many_hosts
from tests.stories.test_rotations import until_true
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


STRIPE = {
    "secret_key": "rk_test_" + "1a" * 20, "webhook_secrets": ["whsec_" + "2b" * 20], "api_url": "http://127.0.0.1:9",
}  # fmt: skip


@pytest.fixture
async def upstream() -> AsyncIterator[ToyUpstream]:
    toy = ToyUpstream("toy", weather)
    await toy.start()
    yield toy
    await toy.stop()


def sold(file: Path) -> Settings:
    """The same configuration, of a gateway that sells a plan, with which the first route costs half."""
    config = {**json.loads(file.read_text()), "stripe": STRIPE, "plans": {"monthly": PLANS["monthly"]}}
    config["routes"][0]["plans"] = {"monthly": {"price": "0.001 usd"}}
    file.write_text(json.dumps(config))
    return load(file, {}, make_secrets=False)


async def every_process_hears_of_it(hosts: list[Settings], caller: Funded) -> None:
    """Whoever wrote it down: nobody asks a database for a request, and everybody knows."""
    stands = Subscription("sub_1", caller.account, "price_month", "cus_1", "active", 0, False, 1, "evt_1")

    async def all_cost(expected: str) -> bool:
        costs = set()
        for number in range(20 * len(hosts)):
            listen = hosts[number % len(hosts)].listen
            assert isinstance(listen, tuple)
            headers = {**caller.headers, "Connection": "close"}
            async with session.get(f"http://{listen[0]}:{listen[1]}/paid/oslo", headers=headers) as answer:
                assert answer.status == 200, await answer.text()
                costs.add(answer.headers["Gateway-Cost"])
        return costs == {expected}

    async with ClientSession() as session, opened(hosts[0]) as records:
        for at, (state, cost) in enumerate((("waiting", "0.002 usd"), ("active", "0.001 usd"), ("over", "0.002 usd"))):
            newer = replace(stands, state=cast(State, state), at=at, event=f"evt_{at}")
            await records.subscriptions.keep_subscription(newer)
            await until_true(partial(all_cost, cost))


async def test_every_worker_hears_of_a_subscription(tmp_path: Path, upstream: ToyUpstream) -> None:
    write_config(tmp_path, upstream.url, workers=2)
    settings = sold(tmp_path / "gateway.yaml")
    [caller] = await fund(settings, "900.00 usd", count=1)
    async with running(tmp_path / "gateway.yaml"):
        await every_process_hears_of_it([settings], caller)


async def test_every_host_hears_of_a_subscription(tmp_path: Path, upstream: ToyUpstream, postgres: Server) -> None:
    dsn = await postgres.schema()
    files = [test_many_hosts.write(tmp_path, name, dsn, upstream.url)[0] for name in ("one", "two")]
    hosts = [sold(file) for file in files]
    [caller] = await test_many_hosts.fund(hosts[0], "900.00 usd", count=1)
    async with AsyncExitStack() as stack:
        for file in files:
            await stack.enter_async_context(running(file))
        await every_process_hears_of_it(hosts, caller)
    await test_many_hosts.audited(hosts[0])
