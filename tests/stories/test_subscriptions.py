"""A caller subscribes, each paid period adds balance, and whatever becomes of a period becomes of its credit."""

import json
import re
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientSession, CookieJar

from gateway.cli.stage import Stage
from tests.callers import BROWSER, audited
from tests.cli.test_payments import Operator
from tests.conftest import StageMaker

SUBSCRIPTIONS = "/-/api/v1/subscriptions"
ATTACHES_ONLY = "4000000000000341"
PLANS = {
    "monthly": {"price": "price_month", "costs": "10.00 usd", "grants": "20.00 usd"},
    "ending": {"price": "price_ends", "costs": "30.00 usd", "expires": "period_end", "priority": -5},
}


@pytest.fixture
async def client() -> AsyncIterator[ClientSession]:
    async with ClientSession(cookie_jar=CookieJar(unsafe=True)) as session:  # unsafe: the host is an address
        yield session


@pytest.fixture
async def shop(make_stage: StageMaker) -> Stage:
    stage = await make_stage(plans=PLANS, stripe={"customer_portal": True, "reconcile_seconds": 0})
    stage.stand_in.recurring_price("price_month", 1000)
    stage.stand_in.recurring_price("price_ends", 3000)
    return stage


async def heard(stage: Stage) -> None:
    """Until everything that happened was acted on, and what waits was asked for."""
    assert stage.gateway.paying.webhooks is not None
    for _ in range(2):
        await stage.stand_in.settled()
        await stage.gateway.paying.webhooks.settled()
        await stage.gateway.paying.webhooks.resume()


async def begun(stage: Stage, client: ClientSession, plan: str = "monthly") -> tuple[dict[str, Any], dict[str, str]]:
    """What is told of the new checkout, and the headers of whose it is."""
    async with client.post(stage.url + SUBSCRIPTIONS, json={"plan": plan}) as answer:
        assert answer.status == 201, await answer.text()
        told = await answer.json()
    return told, {"Authorization": f"Bearer {told['access_token']}"}


async def subscribed(
    stage: Stage, client: ClientSession, plan: str = "monthly", **how: Any
) -> tuple[dict[str, str], str]:
    """The headers of a caller, and its account."""
    told, headers = await begun(stage, client, plan)
    stage.stand_in.pay(told["payment_url"], **how)
    await heard(stage)
    return headers, told["account"]


async def held(stage: Stage, client: ClientSession, headers: dict[str, str]) -> list[dict[str, Any]]:
    async with client.get(stage.url + SUBSCRIPTIONS, headers=headers) as answer:
        assert answer.status == 200
        found: list[dict[str, Any]] = (await answer.json())["subscriptions"]
        return found


async def left(stage: Stage, account: str) -> str:
    return str((await stage.gateway.ledger.balance(account, "usd")).available)


async def spend(stage: Stage, client: ClientSession, headers: dict[str, str], *, times: int = 1) -> None:
    for _ in range(times):
        async with client.get(stage.url + "/forecast/oslo", headers=headers) as answer:
            assert answer.status == 200


async def test_each_period_that_is_paid_adds_what_the_plan_grants(shop: Stage, client: ClientSession) -> None:
    headers, account = await subscribed(shop, client)
    assert await left(shop, account) == "20.00 usd"
    await spend(shop, client, headers)
    shop.stand_in.advance(31)
    await heard(shop)
    assert await left(shop, account) == "39.75 usd"
    [one] = await held(shop, client, headers)
    assert (one["plan"], one["state"], one["unpaid"]) == ("monthly", "active", [])
    report = audited(shop)
    assert report.totals["usd"].credited == 40_000_000


async def test_what_a_plan_grants_is_spent_first_and_ends_with_its_period(shop: Stage, client: ClientSession) -> None:
    headers, account = await subscribed(shop, client, "ending")
    await spend(shop, client, headers, times=2)
    async with client.get(shop.url + "/-/wallet", headers={**headers, **BROWSER}) as answer:
        page = await answer.text()
    assert "29.50" in page
    assert "<strong>ending.</strong>" in page
    [line] = [line async for line in _purses(shop, account)]
    assert line[0] == -5
    assert line[1] == (shop.stand_in.subscriptions[0]["items"]["data"][0]["current_period_end"] + 86_400) * 1000
    audited(shop)


async def _purses(stage: Stage, account: str) -> AsyncIterator[tuple[int, int]]:
    history = await stage.gateway.look_back.history(account, "usd")
    for purse in history.purses:
        if purse.left:
            yield purse.priority, purse.expires_ms


async def test_webhooks_that_never_come_are_made_up_for(make_stage: StageMaker, client: ClientSession) -> None:
    stage = await make_stage(plans=PLANS, stripe={"reconcile_seconds": 3600})
    stage.stand_in.recurring_price("price_month", 1000)
    told, _ = await begun(stage, client)
    stage.stand_in.drop_next(1000)
    stage.stand_in.pay(told["payment_url"])
    [renewal] = stage.stand_in.advance(31)
    stage.stand_in.refund(renewal["id"], 500)
    assert stage.gateway.paying.reconcile is not None
    await stage.gateway.paying.reconcile.turn()
    await heard(stage)
    assert await left(stage, told["account"]) == "30.00 usd"
    audited(stage)


async def test_the_page_after_it_credits_what_no_webhook_told(shop: Stage, client: ClientSession) -> None:
    told, headers = await begun(shop, client)
    shop.stand_in.drop_next(1000)
    session = shop.stand_in.pay(told["payment_url"])
    async with client.get(f"{shop.url}/-/paid?session_id={session['id']}", headers={**headers, **BROWSER}) as answer:
        assert answer.status == 200
        assert "20.00" in await answer.text()
    assert await left(shop, told["account"]) == "20.00 usd"
    audited(shop)


async def test_a_period_that_names_no_account_is_parked_and_assigned(shop: Stage, client: ClientSession) -> None:
    _, account = await subscribed(shop, client)
    lost = shop.stand_in.pay(shop.stand_in.checkout_of("price_month", "x", {"farebox_reference": "nobody"}))
    await heard(shop)
    [event] = await shop.gateway.records.events("parked")
    assert shop.gateway.paying.payments is not None
    found = await shop.gateway.paying.payments.find_payment(event.object["id"])
    assert found is not None
    assert await shop.gateway.paying.top_up.assign(found, account) == ("credited", account)
    assert await shop.gateway.paying.top_up.assign(found, "acct_" + "2b" * 16) == ("repeated", account)
    shop.stand_in.refund(lost["invoice"], 250)
    await heard(shop)
    assert await left(shop, account) == "35.00 usd", "20 and 20, less a quarter of the second"
    audited(shop)


async def test_a_refund_and_a_dispute_of_a_period_are_taken_back(shop: Stage, client: ClientSession) -> None:
    headers, account = await subscribed(shop, client, "ending")
    await spend(shop, client, headers, times=8)
    [invoice] = shop.stand_in.invoices
    shop.stand_in.refund(invoice["id"], 1000)
    await heard(shop)
    assert await left(shop, account) == "18.00 usd"
    dispute = shop.stand_in.dispute(invoice["id"], 2000)
    await heard(shop)
    assert await left(shop, account) == "-2.00 usd"
    async with client.get(shop.url + "/forecast/oslo", headers=headers) as answer:
        assert answer.status == 402
    shop.stand_in.close_dispute(dispute["id"], won=True)
    await heard(shop)
    assert await left(shop, account) == "18.00 usd"
    await spend(shop, client, headers)
    audited(shop)


async def test_a_period_is_taken_back_and_compared_as_it_was_credited_though_its_plan_has_gone(
    shop: Stage, tmp_path: Path, client: ClientSession
) -> None:
    _, account = await subscribed(shop, client)
    [invoice] = shop.stand_in.invoices
    await shop.stop_gateway()
    reported: list[tuple[str, Any, Any]] = []
    shop._report = lambda what, **more: reported.append((what, more.get("price"), more.get("count")))
    await shop.start_gateway(replace(shop.settings, plans=()))
    await compared(shop)
    assert ("subscriptions of no plan", "price_month", 1) in reported
    shop.stand_in.refund(invoice["id"], 250)
    await heard(shop)
    assert await left(shop, account) == "15.00 usd"
    assert shop.gateway.paying.payments is not None
    found = await shop.gateway.paying.payments.find_payment(invoice["id"])
    assert found is not None
    assert found.unplanned
    operator = Operator(shop, tmp_path / "stage0")
    config = json.loads(operator._config.read_text())
    operator._config.write_text(json.dumps({**config, "plans": {}}))
    assert (await operator.asks("reconcile", "--from", "2020-01-01", "--dry-run"))["differences"] == []
    shop.stand_in.advance(31)
    await heard(shop)
    [parked] = await shop.gateway.records.events("parked")
    assert parked.type == "invoice.paid"
    assert "10.00 usd" in await operator.types("payments", "parked")
    audited(shop)


async def test_a_change_of_plan_grants_the_difference_of_what_is_left(shop: Stage, client: ClientSession) -> None:
    _, account = await subscribed(shop, client)
    subscription = shop.stand_in.subscriptions[0]["id"]
    shop.stand_in.change_plan(subscription, "price_ends", part=50)
    await heard(shop)
    assert await left(shop, account) == "25.00 usd", "20, less half of 20, with half of 30"
    shop.stand_in.change_plan(subscription, "price_month", part=50)
    await heard(shop)
    assert await left(shop, account) == "20.00 usd"
    audited(shop)


async def test_an_invoice_of_many_lines_is_read_whole_and_each_line_goes_into_its_own_purse(
    shop: Stage, client: ClientSession
) -> None:
    headers, account = await subscribed(shop, client)
    subscription = shop.stand_in.subscriptions[0]["id"]
    shop.stand_in.add_to_next_invoice(subscription, "price_ends", times=120)
    shop.stand_in.advance(31)
    await heard(shop)
    assert await left(shop, account) == "3640.00 usd", "20 of each month, and 120 times 30"
    [ending] = [line async for line in _purses(shop, account) if line[1]]
    assert ending[0] == -5
    invoice = shop.stand_in.invoices[-1]
    assert len(invoice["lines"]["data"]) == 10
    shop.stand_in.refund(invoice["id"], invoice["amount_paid"])
    await heard(shop)
    assert await left(shop, account) == "20.00 usd"
    assert [line async for line in _purses(shop, account) if line[1]] == []
    await spend(shop, client, headers)
    audited(shop)


async def test_a_trial_is_recorded_and_grants_nothing(shop: Stage, client: ClientSession) -> None:
    shop.stand_in.coupon(100)
    headers, account = await subscribed(shop, client)
    [one] = await held(shop, client, headers)
    assert one["state"] == "active"
    assert await left(shop, account) == "0.00 usd"
    assert audited(shop).credits == 0


async def test_a_renewal_that_fails_is_told_with_a_link_and_paid_later(shop: Stage, client: ClientSession) -> None:
    headers, account = await subscribed(shop, client, card=ATTACHES_ONLY)
    assert await left(shop, account) == "20.00 usd"
    [failed] = shop.stand_in.advance(31)
    await heard(shop)
    [one] = await held(shop, client, headers)
    assert (one["state"], one["unpaid"]) == ("unpaid", [failed["hosted_invoice_url"]])
    [told] = await shop.gateway.records.outbox.entries(None, count=9)
    assert (told.type, told.account, told.content["url"]) == ("payment.failed", account, failed["hosted_invoice_url"])
    async with client.get(shop.url + "/-/wallet", headers={**headers, **BROWSER}) as answer:
        assert failed["hosted_invoice_url"] in await answer.text()
    shop.stand_in.pay_invoice(failed["id"])
    await heard(shop)
    assert await left(shop, account) == "40.00 usd"
    [one] = await held(shop, client, headers)
    assert (one["state"], one["unpaid"]) == ("active", [])
    audited(shop)


async def test_only_its_holder_ends_a_subscription(shop: Stage, client: ClientSession) -> None:
    headers, account = await subscribed(shop, client)
    other, _ = await subscribed(shop, client)
    [one] = await held(shop, client, headers)
    address = f"{shop.url}{SUBSCRIPTIONS}/{one['id']}"
    async with client.delete(address) as answer:
        assert answer.status == 401
    async with client.delete(address, headers=other) as answer:
        assert answer.status == 404
    async with client.delete(address, headers=headers) as answer:
        assert answer.status == 200
    await heard(shop)
    [one] = await held(shop, client, headers)
    assert one["ends_with_its_period"]
    shop.stand_in.advance(31)
    await heard(shop)
    assert await held(shop, client, headers) == []
    assert await left(shop, account) == "20.00 usd"


async def test_a_person_subscribes_and_ends_it_on_the_pages(shop: Stage, client: ClientSession) -> None:
    async with client.get(shop.url + "/-/top-up", headers=BROWSER) as answer:
        page = await answer.text()
    fields = {name: _hidden(page, name) for name in ("for", "key")} | {"plan": "monthly"}
    async with client.post(shop.url + "/-/subscribe", data=fields, headers=BROWSER) as answer:
        assert answer.status == 200
        onward = await answer.text()
    url = re.findall(r'href="(http[^"]*/checkout/[^"]*)"', onward)[0]
    async with client.post(shop.url + "/-/subscribe", data=fields, headers=BROWSER) as answer:
        assert url in await answer.text(), "a form that is sent twice is one checkout"
    shop.stand_in.pay(url)
    await heard(shop)
    async with client.get(shop.url + "/-/wallet", headers=BROWSER) as answer:
        page = await answer.text()
    assert "<strong>monthly.</strong>" in page
    [one] = shop.stand_in.subscriptions
    form = {"mark": _hidden(page, "mark"), "id": one["id"]}
    async with client.post(shop.url + "/-/wallet/subscription", data=form, headers=BROWSER) as answer:
        assert answer.status == 200
    assert shop.stand_in.subscriptions[0]["cancel_at_period_end"]


async def test_a_subscriber_is_led_to_stripes_own_page_about_it_and_nobody_else_is(
    shop: Stage, client: ClientSession
) -> None:
    headers, _ = await subscribed(shop, client)
    other, _ = await subscribed(shop, client)
    address = shop.url + "/-/wallet/subscription/portal"
    [one] = await held(shop, client, headers)
    marks = []
    for who in (headers, other):
        async with client.get(shop.url + "/-/wallet", headers={**who, **BROWSER}) as answer:
            page = await answer.text()
        assert 'action="/-/wallet/subscription/portal"' in page
        marks.append(_hidden(page, "mark"))
    for who, mark, status in ((other, marks[1], 404), (headers, marks[1], 400), (headers, marks[0], 200)):
        form = {"mark": mark, "id": one["id"]}
        async with client.post(address, data=form, headers={**who, **BROWSER}) as answer:
            assert answer.status == status
            page = await answer.text()
    [url] = re.findall(r'href="([^"]*/portal/bps_[^"]*)"', page)
    async with client.get(url) as answer:
        assert "4242" in await answer.text()


async def test_without_the_setting_no_subscriber_is_led_to_the_portal(
    make_stage: StageMaker, client: ClientSession
) -> None:
    stage = await make_stage(plans=PLANS, stripe={"reconcile_seconds": 0})
    stage.stand_in.recurring_price("price_month", 1000)
    headers, _ = await subscribed(stage, client)
    async with client.get(stage.url + "/-/wallet", headers={**headers, **BROWSER}) as answer:
        page = await answer.text()
    assert "/-/wallet/subscription" in page
    assert "portal" not in page
    [one] = await held(stage, client, headers)
    form = {"mark": _hidden(page, "mark"), "id": one["id"]}
    async with client.post(
        stage.url + "/-/wallet/subscription/portal", data=form, headers={**headers, **BROWSER}
    ) as got:
        assert got.status == 400


async def test_a_plan_that_costs_something_else_at_stripe_is_said_and_blocks_nothing(
    make_stage: StageMaker, tmp_path: Path, client: ClientSession
) -> None:
    stage = await make_stage(plans=PLANS, stripe={"reconcile_seconds": 0})
    operator = Operator(stage, tmp_path / "stage0")
    told = await operator.asks("check", "--online", code=1)
    assert told["online"] == [
        "plans.monthly: Stripe has no price price_month in this mode",
        "plans.ending: Stripe has no price price_ends in this mode",
    ]
    stage.stand_in.recurring_price("price_month", 1200)
    stage.stand_in.recurring_price("price_ends", 3000, interval="year")
    told = await operator.asks("check", "--online", code=1)
    assert told["online"] == [
        "plans.monthly: costs says 10.00 usd, and price_month costs 12.00 usd at Stripe",
        "plans.ending: every says month, and price_ends is paid every year at Stripe",
    ]
    reported: list[str] = []
    stage._report = lambda what, **more: reported.append(f"{what}: {more.get('why')}")
    await stage.stop_gateway()
    await stage.start_gateway(stage.settings)
    await compared(stage)
    assert [line for line in reported if "plan" in line] == [
        f"a plan is not what is sold: {one}" for one in told["online"]
    ]
    assert "wrong: plans.monthly: costs" in await operator.types("check", "--online", code=1)
    assert (await operator.asks("check"))["ok"], "only where it is asked for"
    await begun(stage, client)
    for price, amount, interval in (("price_month", 1000, "month"), ("price_ends", 3000, "month")):
        stage.stand_in._world.forget(stage.stand_in._world.get("price", price))
        stage.stand_in.recurring_price(price, amount, interval=interval)
    assert await operator.asks("check", "--online") == {**told, "ok": True, "online": []}
    reported.clear()
    await stage.stop_gateway()
    stage.stand_in.fail_requests(50, 500)
    await stage.start_gateway(stage.settings)
    await compared(stage)
    assert [line.partition(":")[0] for line in reported if "plan" in line] == ["plans are not compared"]


async def compared(stage: Stage) -> None:
    assert stage.gateway.paying._comparing is not None
    await stage.gateway.paying._comparing


def _hidden(page: str, name: str) -> str:
    found = re.search(rf'name="{name}" value="([^"]*)"', page)
    assert found is not None
    return found[1]


async def test_a_plan_that_is_not_sold_is_refused(shop: Stage, client: ClientSession) -> None:
    async with client.post(shop.url + SUBSCRIPTIONS, json={"plan": "other"}) as answer:
        assert answer.status == 400
        assert "monthly, ending" in (await answer.json())["detail"]
