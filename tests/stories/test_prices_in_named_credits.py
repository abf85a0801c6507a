"""A route costs what a plan grants: so many exports, and no money. Each is spent once, and none is had otherwise."""

from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp import ClientSession, CookieJar

from gateway.cli.stage import Stage
from tests.callers import BROWSER, audited
from tests.conftest import StageMaker
from tests.stories.test_subscriptions import heard, subscribed

PLANS = {
    "team": {"price": "price_team", "costs": "10.00 usd", "grants": "3 unit:export"},
    "monthly": {"price": "price_month", "costs": "10.00 usd"},
}
ROUTES = [
    {"name": "export", "match": "/export/", "upstream": "weather", "strip_prefix": True, "price": "1 unit:export",
     "limit": "100/minute"},
    {"name": "forecast", "match": "/forecast/", "upstream": "weather", "strip_prefix": True, "price": "0.25 usd"},
    {
        "name": "either", "match": "/either/", "upstream": "weather", "strip_prefix": True, "price": "0.25 usd",
        "plans": {"team": {"price": "2 unit:export"}},
    },
]  # fmt: skip
EXPORT, FORECAST = "/export/oslo", "/forecast/oslo"


@pytest.fixture
async def client() -> AsyncIterator[ClientSession]:
    async with ClientSession(cookie_jar=CookieJar(unsafe=True)) as session:  # unsafe: the host is an address
        yield session


@pytest.fixture
async def shop(make_stage: StageMaker) -> Stage:
    stage = await make_stage(plans=PLANS, routes=ROUTES, stripe={"reconcile_seconds": 0})
    for price in ("price_team", "price_month"):
        stage.stand_in.recurring_price(price, 1000)
    return stage


async def asked(stage: Stage, client: ClientSession, path: str, headers: dict[str, str]) -> tuple[int, Any, Any]:
    async with client.get(stage.url + path, headers=headers, allow_redirects=False) as answer:
        return answer.status, answer.headers, await answer.json() if answer.content_type.endswith("json") else None


async def left(stage: Stage, account: str) -> str:
    return str((await stage.gateway.ledger.balance(account, "unit:export")).available)


async def test_exports_that_a_plan_grants_are_spent_one_by_one(shop: Stage, client: ClientSession) -> None:
    headers, account = await subscribed(shop, client, "team")
    assert await left(shop, account) == "3 unit:export"
    for still in ("2", "1", "0"):
        status, fields, _ = await asked(shop, client, EXPORT, headers)
        assert (status, fields["Gateway-Cost"], fields["Gateway-Balance"]) == (
            200,
            "1 unit:export",
            f"{still} unit:export",
        )

    status, fields, refusal = await asked(shop, client, EXPORT, headers)
    assert (status, refusal["code"]) == (402, "payment_required")
    assert refusal["price"] == {"amount": "1", "currency": "unit:export"}
    assert refusal["balance"] == {"amount": "0", "currency": "unit:export"}
    assert refusal["payment_url"].startswith(f"{shop.url}/-/top-up?for=")
    async with client.get(refusal["payment_url"], headers=BROWSER) as page:
        assert "adds 3 export" in await page.text()

    shop.stand_in.advance(31)
    await heard(shop)
    assert await left(shop, account) == "3 unit:export"
    report = audited(shop)
    assert (report.totals["unit:export"].credited, report.totals["unit:export"].spent) == (6_000_000, 3_000_000)


async def test_money_buys_no_exports_and_exports_no_forecasts(shop: Stage, client: ClientSession) -> None:
    headers, _ = await subscribed(shop, client, "monthly")
    assert (await asked(shop, client, EXPORT, headers))[0] == 402
    assert (await asked(shop, client, FORECAST, headers))[0] == 200
    team, _ = await subscribed(shop, client, "team")
    assert (await asked(shop, client, FORECAST, team))[0] == 402
    await shop.gateway.identity.plans.look()
    status, fields, _ = await asked(shop, client, "/either/oslo", team)
    assert (status, fields["Gateway-Cost"]) == (200, "2 unit:export")
    assert (await asked(shop, client, "/either/oslo", headers))[1]["Gateway-Cost"] == "0.25 usd"


async def test_a_refund_of_a_period_takes_its_exports_back(shop: Stage, client: ClientSession) -> None:
    headers, account = await subscribed(shop, client, "team")
    assert (await asked(shop, client, EXPORT, headers))[0] == 200
    [invoice] = shop.stand_in.invoices
    shop.stand_in.refund(invoice["id"], 500)
    await heard(shop)
    assert await left(shop, account) == "1 unit:export", "a half of three is one, in whole ones"
    shop.stand_in.refund(invoice["id"], 500)
    await heard(shop)
    assert await left(shop, account) == "-1 unit:export"
    assert (await asked(shop, client, EXPORT, headers))[0] == 402
    audited(shop)


async def test_what_is_told_beforehand_is_told_in_exports(shop: Stage, client: ClientSession) -> None:
    _, _, quote = await asked(shop, client, f"/-/api/v1/quote?method=GET&url={EXPORT}", {})
    assert "1 unit:export" in str(quote)
    _, _, prices = await asked(shop, client, "/.well-known/pricing.json", {})
    assert [plan["grants"] for plan in prices["plans"]] == ["3 unit:export", "10.00 usd"]
    _, _, document = await asked(shop, client, "/-/openapi.json", {})
    [one] = [path for path in document["paths"] if path.startswith("/export/")]
    told = next(iter(document["paths"][one].values()))["x-payment-info"]["price"]
    assert told == {"currency": "unit:export", "mode": "fixed", "amount": "1"}
    headers, _ = await subscribed(shop, client, "team")
    status, _, refusal = await asked(shop, client, EXPORT, {**headers, "Gateway-Max-Price": "0.50 usd"})
    assert (status, refusal["code"]) == (412, "price_too_high")
    assert (await asked(shop, client, EXPORT, {**headers, "Gateway-Max-Price": "1 unit:export"}))[0] == 200
    _, _, me = await asked(shop, client, "/-/me", headers)
    assert me["credits"] == {"unit:export": "2 unit:export"}


async def test_an_allowance_of_money_is_none_of_exports(shop: Stage, client: ClientSession) -> None:
    headers, _ = await subscribed(shop, client, "team")

    async def narrowed(caps: dict[str, str]) -> dict[str, str]:
        async with client.post(f"{shop.url}/-/api/v1/tokens", headers=headers, json={"caps": caps}) as made:
            assert made.status == 201, await made.text()
            return {"Authorization": f"Bearer {(await made.json())['access_token']}"}

    of_money, of_exports = await narrowed({"month": "5.00 usd"}), await narrowed({"month": "1 unit:export"})
    status, _, refusal = await asked(shop, client, EXPORT, of_money)
    assert (status, refusal["code"], refusal["left"]) == (
        403,
        "spend_cap_reached",
        {"amount": "0", "currency": "unit:export"},
    )
    assert [(await asked(shop, client, EXPORT, of_exports))[0] for _ in range(2)] == [200, 403]
    assert [(await asked(shop, client, EXPORT, headers))[0] for _ in range(3)] == [200, 200, 402]
    audited(shop)


async def test_a_stranger_is_led_to_the_plans(shop: Stage, client: ClientSession) -> None:
    status, fields, _ = await asked(shop, client, EXPORT, BROWSER)
    assert (status, fields["Location"].partition("?")[0]) == (303, f"{shop.url}/-/top-up")
    async with client.get(fields["Location"], headers=BROWSER) as page:
        assert "<strong>team.</strong>" in await page.text()


async def test_a_change_between_plans_of_different_units_is_set_aside(shop: Stage, client: ClientSession) -> None:
    """A part of what exports did cost cannot be taken off money: an operator decides."""
    _, account = await subscribed(shop, client, "team")
    shop.stand_in.change_plan(shop.stand_in.subscriptions[0]["id"], "price_month", part=50)
    await heard(shop)
    assert await left(shop, account) == "3 unit:export"
    [parked] = await shop.gateway.records.entries("parked")
    assert (parked.event.type, "different units" in str(parked.error)) == ("invoice.paid", True)
