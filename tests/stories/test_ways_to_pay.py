"""A caller pays an exact amount, saves a card, and is topped up by it; a person does the same on the pages."""

import asyncio
import re
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import urlsplit

import pytest
from aiohttp import ClientSession

from gateway.cli.stage import Stage
from tests.callers import BROWSER, audited
from tests.conftest import StageMaker

ALWAYS_AUTHENTICATES = "4000002760003184"
ATTACHES_ONLY = "4000000000000341"
TOP_UPS, AUTO = "/-/api/v1/top-ups", "/-/api/v1/auto-top-up"


@pytest.fixture
async def client() -> AsyncIterator[ClientSession]:
    async with ClientSession() as session:
        yield session


@pytest.fixture
async def shop(make_stage: StageMaker, monkeypatch: pytest.MonkeyPatch) -> Stage:
    monkeypatch.setattr("gateway.flows.replenish._REST_SECONDS", 0.0)
    return await make_stage(stripe={"auto_top_up": {"per_day": "20.00 usd"}})


async def heard(stage: Stage) -> None:
    """Until everything that happened was acted on."""
    assert stage.gateway.paying.webhooks is not None
    assert stage.gateway.paying.replenish is not None
    for _ in range(2):
        await stage.gateway.paying.replenish.settled()
        await stage.stand_in.settled()
        await stage.gateway.paying.webhooks.settled()


async def ordered(stage: Stage, client: ClientSession, **order: Any) -> dict[str, Any]:
    headers = {"Authorization": f"Bearer {order.pop('token')}"} if "token" in order else {}
    headers |= {"Idempotency-Key": order.pop("key")} if "key" in order else {}
    async with client.post(stage.url + TOP_UPS, json=order, headers=headers) as answer:
        return {"status": answer.status, **await answer.json()}


async def with_card(
    stage: Stage, client: ClientSession, card: str = "4242424242424242", threshold: str = "6.00", amount: str = "5.00"
) -> dict[str, str]:
    """Pays 6.00, saves the card for refills; the headers that it is known by."""
    wish = {"threshold": threshold, "amount": amount}
    made = await ordered(stage, client, amount="6.00", auto_top_up=wish)
    assert made["status"] == 201
    headers = {"Authorization": f"Bearer {made['access_token']}"}
    if card == ATTACHES_ONLY:  # it pays nothing, so it is saved afterwards
        stage.stand_in.pay(made["payment_url"])
        await heard(stage)
        want = {"threshold": threshold, "amount": amount, "new_card": True}
        async with client.put(stage.url + AUTO, json=want, headers=headers) as answer:
            stage.stand_in.pay((await answer.json())["card_url"], card=card)
    else:
        stage.stand_in.pay(made["payment_url"], card=card)
    await heard(stage)
    return headers


async def spend(stage: Stage, client: ClientSession, headers: dict[str, str], status: int = 200) -> dict[str, Any]:
    """One call for 0.25, and what followed from it."""
    async with client.get(stage.url + "/forecast/oslo", headers=headers) as answer:
        assert answer.status == status
        told = await answer.json() if status != 200 else dict(answer.headers)
    await heard(stage)
    return told


async def stands(stage: Stage, client: ClientSession, headers: dict[str, str]) -> dict[str, Any]:
    async with client.get(stage.url + AUTO, headers=headers) as answer:
        assert answer.status == 200
        told: dict[str, Any] = await answer.json()
        return told


async def test_an_exact_amount_is_paid_and_the_same_key_is_the_same_checkout(
    shop: Stage, client: ClientSession
) -> None:
    first = await ordered(shop, client, amount="7.35")
    assert (first["status"], first["amount"]) == (201, {"amount": "7.35", "currency": "usd"})
    token = first["access_token"]
    one = await ordered(shop, client, amount="9.00", token=token, key="k")
    again = await ordered(shop, client, amount="9.00", token=token, key="k")
    other = await ordered(shop, client, amount="9.00", token=token)
    assert one["account"] == first["account"]
    assert one["payment_url"] == again["payment_url"] != other["payment_url"]
    assert (await ordered(shop, client, amount="8.00", token=token, key="k"))["code"] == "bad_request"
    for url in (first["payment_url"], one["payment_url"]):
        shop.stand_in.pay(url)
    await heard(shop)
    assert str((await shop.gateway.ledger.balance(first["account"], "usd")).available) == "16.35 usd"
    assert audited(shop).credits == 2


async def test_an_answer_that_was_lost_is_asked_for_again_and_one_checkout_was_made(
    shop: Stage, client: ClientSession
) -> None:
    token = (await ordered(shop, client, amount="7.00"))["access_token"]
    before = len(shop.stand_in.sessions)
    shop.stand_in.cut_answers(3)  # the SDK itself repeats it twice
    lost = await ordered(shop, client, amount="9.00", token=token, key="k")
    assert (lost["status"], lost["code"]) == (503, "payment_service_unavailable")
    found = await ordered(shop, client, amount="9.00", token=token, key="k")
    assert [one["url"] for one in shop.stand_in.sessions[before:]] == [found["payment_url"]]


@pytest.mark.parametrize(
    ("order", "words"),
    [
        ({"amount": "4.99"}, "from 5.00 usd to 500.00 usd"),
        ({"amount": "500.01"}, "from 5.00 usd to 500.00 usd"),
        ({"amount": "5.001"}, "finer than a payment"),
        ({"amount": "5.00 eur"}, "payments here are in usd"),
        ({"amount": 5}, "a text such as"),
        ({"amount": "5.00", "more": 1}, "the only members"),
        ({"amount": "5.00", "auto_top_up": {"threshold": "1"}}, "amount: a text"),
        ({"amount": "5.00", "auto_top_up": {"threshold": "501", "amount": "5"}}, "threshold: at most"),
        ({"amount": "5.00", "auto_top_up": {"threshold": "1", "amount": "20.01"}}, "at most 20.00 usd for auto top-up"),
    ],
)
async def test_what_cannot_be_paid_is_refused_in_words(
    shop: Stage, client: ClientSession, order: dict[str, Any], words: str
) -> None:
    refused = await ordered(shop, client, **order)
    assert (refused["status"], refused["code"]) == (400, "bad_request")
    assert words in refused["detail"]
    assert shop.stand_in.sessions == []


async def test_one_address_may_ask_for_a_few_checkouts_a_minute(shop: Stage, client: ClientSession) -> None:
    codes = [(await ordered(shop, client, amount="7.00"))["status"] for _ in range(15)]
    assert codes[:10] == [201] * 10
    assert 429 in codes[10:], "a minute that ends meanwhile lets a few more in"
    assert len(shop.stand_in.sessions) == codes.count(201)


async def test_a_saved_card_pays_when_the_balance_runs_low_and_never_twice_for_one_fall(
    shop: Stage, client: ClientSession
) -> None:
    headers = await with_card(shop, client)
    assert (await stands(shop, client, headers))["card"] == "visa 4242"
    await spend(shop, client, headers)
    for _ in range(4):
        told = await spend(shop, client, headers)
    assert told["Gateway-Balance"] == "9.75 usd"
    assert [one.amount for one in shop.stand_in.journal] == [600, 500]
    for event in shop.stand_in.events:
        shop.stand_in.deliver_again(event["id"], times=2)
    await heard(shop)
    assert audited(shop).credits == 2
    assert await shop.gateway.records.events("parked") == []


async def test_without_webhooks_it_is_the_same(shop: Stage, client: ClientSession) -> None:
    headers = await with_card(shop, client)
    shop.stand_in.drop_next(100)
    shop.stand_in.cut_answers(3)
    await spend(shop, client, headers)
    assert len(shop.stand_in.journal) == 2, "charged, and nobody has heard of it"
    assert (await spend(shop, client, headers))["Gateway-Balance"] == "5.50 usd"
    assert shop.gateway.paying.reconcile is not None
    await shop.gateway.paying.reconcile.turn()
    await heard(shop)
    assert (await spend(shop, client, headers))["Gateway-Balance"] == "10.25 usd"
    assert [one["status"] for one in shop.stand_in.payment_intents] == ["succeeded", "succeeded"]
    assert await shop.gateway.records.ways_to_pay.open_refills(2**60) == []
    assert audited(shop).credits == 2


async def test_a_refill_that_is_refunded_is_taken_back(shop: Stage, client: ClientSession) -> None:
    headers = await with_card(shop, client)
    await spend(shop, client, headers)
    intent = shop.stand_in.payment_intents[-1]["id"]
    key = shop.settings.stripe.secret_key.reveal() if shop.settings.stripe else ""
    async with client.post(
        shop.stand_in.url + "/v1/refunds", data={"payment_intent": intent}, headers={"Authorization": f"Bearer {key}"}
    ) as answer:
        assert answer.status == 200
    await heard(shop)
    assert (await spend(shop, client, headers))["Gateway-Balance"] == "5.50 usd"
    assert (await stands(shop, client, headers))["reason"] == "taken_back"
    assert [one["status"] for one in shop.stand_in.payment_intents] == ["succeeded", "succeeded"], (
        "and not fetched again"
    )
    audited(shop)


@pytest.mark.parametrize(
    ("card", "reason"), [(ALWAYS_AUTHENTICATES, "authentication_required"), (ATTACHES_ONLY, "declined")]
)
async def test_a_card_that_is_refused_is_not_tried_again_and_the_caller_is_told_where_to_go(
    shop: Stage, client: ClientSession, card: str, reason: str
) -> None:
    headers = await with_card(shop, client, card)
    for _ in range(24):
        await spend(shop, client, headers)
    tried = [one for one in shop.stand_in.payment_intents if one["status"] == "requires_payment_method"]
    assert len(tried) == 1
    refused = await spend(shop, client, headers, status=402)
    assert refused["auto_top_up"]["state"] == "paused"
    assert refused["auto_top_up"]["reason"] == reason
    assert (await stands(shop, client, headers))["reason"] == reason

    # Whoever opens the link pays into this account, and saves the new card.
    async with ClientSession() as browser:
        async with browser.get(refused["auto_top_up"]["url"], headers=BROWSER) as answer:
            page = await answer.text()
        form = {**hidden(page), "amount": "10.00 usd", "auto": "1", "threshold": "2.00"}
        async with browser.post(shop.url + "/-/top-up", data=form) as answer:
            assert answer.status == 200
            onward = re.search(r'url=(http[^"]+)"', await answer.text())
    assert onward is not None
    shop.stand_in.pay(onward[1])
    await heard(shop)
    assert (await spend(shop, client, headers))["Gateway-Balance"] == "9.75 usd"
    told = await stands(shop, client, headers)
    assert (told["state"], told["card"], told["threshold"]) == ("on", "visa 4242", "2.00 usd")
    assert len({one["customer"] for one in shop.stand_in.payment_intents if one["customer"]}) == 2, (
        "whoever opens the link is not shown whom the provider knows this holder as"
    )
    audited(shop)


async def test_only_the_holder_is_taken_to_a_checkout_that_knows_them(shop: Stage, client: ClientSession) -> None:
    headers = await with_card(shop, client)
    known = shop.stand_in.sessions[0]["customer"]
    async with client.get(shop.url + "/-/top-up", headers=headers) as answer:
        page = hidden(await answer.text())
    for key, who, customer in (("a", headers, known), ("b", {}, None), ("c", {"Authorization": "Bearer fb_x"}, None)):
        form = {**page, "key": key, "amount": "5.00 usd", "auto": "1", "threshold": "1.00"}
        async with client.post(shop.url + "/-/top-up", data=form, headers=who) as answer:
            assert answer.status == 200
        assert shop.stand_in.sessions[-1]["customer"] == customer
    # And a stranger's card does not replace the holder's, which works; the money is the holder's all the same.
    shop.stand_in.pay(shop.stand_in.sessions[-1]["id"], card="5555555555554444")
    await heard(shop)
    told = await stands(shop, client, headers)
    assert (told["card"], told["threshold"]) == ("visa 4242", "6.00 usd")
    assert (await spend(shop, client, headers))["Gateway-Balance"] == "10.75 usd"


async def test_a_new_card_of_the_bank_is_used_again(shop: Stage, client: ClientSession) -> None:
    headers = await with_card(shop, client, ATTACHES_ONLY)
    await spend(shop, client, headers)
    assert (await stands(shop, client, headers))["reason"] == "declined"
    rule = next(iter(await shop.gateway.records.ways_to_pay.rules_since(0)))
    assert rule.card is not None
    shop.stand_in.update_card(rule.card.method)
    await heard(shop)
    assert (await stands(shop, client, headers))["state"] == "on"
    await spend(shop, client, headers)
    assert [one.amount for one in shop.stand_in.journal] == [600, 500]


async def test_the_ceiling_of_a_day_holds(shop: Stage, client: ClientSession) -> None:
    headers = await with_card(shop, client, threshold="500.00", amount="9.00")
    for _ in range(5):
        await spend(shop, client, headers)
    assert [one.amount for one in shop.stand_in.journal] == [600, 900, 900]
    assert (await stands(shop, client, headers))["reason"] == "day_ceiling"


async def test_the_holders_calls_are_the_holders_alone(shop: Stage, client: ClientSession) -> None:
    headers = await with_card(shop, client)
    stranger = shop.gateway.identity.callers.fresh().fresh
    assert stranger is not None
    wish = {"threshold": "1", "amount": "5"}
    for method, body in (("GET", None), ("PUT", wish), ("DELETE", None)):
        async with client.request(method, shop.url + AUTO, json=body) as answer:
            assert answer.status == 401
    async with client.put(
        shop.url + AUTO, json=wish, headers={"Authorization": f"Bearer {stranger.reveal()}"}
    ) as answer:
        assert answer.status == 400
        assert "nothing was paid into this account" in (await answer.json())["detail"]
    over = {**wish, "per_day": "20.01"}
    async with client.put(shop.url + AUTO, json=over, headers=headers) as answer:
        assert "per_day: at most 20.00 usd" in (await answer.json())["detail"]
    for change, words in (({"per_day": "4.99"}, "which is per_day"), ({"per_month": "900"}, "per_month: at most")):
        async with client.put(shop.url + AUTO, json={**wish, **change}, headers=headers) as answer:
            assert answer.status == 400
            assert words in (await answer.json())["detail"]
    lower = {**wish, "per_day": "5.00"}
    async with client.put(shop.url + AUTO, json=lower, headers=headers) as answer:
        assert (await answer.json())["per_day"] == "5.00 usd"


def hidden(page: str) -> dict[str, str]:
    """The hidden fields of a page's forms."""
    return dict(re.findall(r'<input type="hidden" name="(\w+)" value="([^"]*)">', page))


async def test_the_wallets_form_works_and_only_from_the_wallet(shop: Stage, client: ClientSession) -> None:
    headers = await with_card(shop, client)
    cookie = {"Cookie": f"gateway_token={headers['Authorization'].removeprefix('Bearer ')}"}
    async with client.get(shop.url + "/-/wallet", headers=cookie) as answer:
        page = await answer.text()
    assert "visa 4242 pays" in page
    form = {**hidden(page), "threshold": "3.00", "amount": "8.00", "action": "save"}
    for mark in ("", "x" * 80, form["mark"][:-8] + "AAAAAAA="):
        async with client.post(
            shop.url + "/-/wallet/auto-top-up", data={**form, "mark": mark}, headers=cookie
        ) as answer:
            assert answer.status == 400
    other = await with_card(shop, client)
    async with client.post(shop.url + "/-/wallet/auto-top-up", data=form, headers=other) as answer:
        assert answer.status == 400, "the mark is for the one whom the page was shown to"
    assert (await stands(shop, client, headers))["amount"] == "5.00 usd"
    async with client.post(
        shop.url + "/-/wallet/auto-top-up", data=form, headers=cookie, allow_redirects=False
    ) as answer:
        assert (answer.status, answer.headers["Location"]) == (303, "/-/wallet")
    assert (await stands(shop, client, headers))["amount"] == "8.00 usd"
    async with client.post(
        shop.url + "/-/wallet/auto-top-up", data={**form, "action": "off"}, headers=cookie
    ) as answer:
        assert answer.status == 200
        assert "Off. A saved card can pay" in await answer.text()


async def test_without_the_setting_no_card_is_saved_but_amounts_can_be_chosen(
    stage: Stage, client: ClientSession
) -> None:
    refused = await ordered(stage, client, amount="7.00", auto_top_up={"threshold": "1", "amount": "5"})
    assert "not offered here" in refused["detail"]
    async with client.get(stage.url + AUTO) as answer:
        assert answer.status == 404
    async with client.get(stage.url + "/-/top-up", headers=BROWSER) as answer:
        page = await answer.text()
    assert "Save my card" not in page
    async with client.post(stage.url + "/-/top-up", data={**hidden(page), "other": "3"}) as answer:
        assert answer.status == 400
        page = await answer.text()
        assert "from 5.00 usd to 500.00 usd" in page
    async with client.post(stage.url + "/-/top-up", data={**hidden(page), "other": "12.34"}) as answer:
        assert "12.34 USD" in await answer.text()
    assert [one["amount_total"] for one in stage.stand_in.sessions] == [1234]
    assert urlsplit(stage.stand_in.sessions[0]["success_url"]).path == "/-/paid"


async def test_many_calls_at_once_cross_the_line_once(shop: Stage, client: ClientSession) -> None:
    headers = await with_card(shop, client)

    async def call() -> int:
        async with client.get(shop.url + "/echo/x", headers=headers) as answer:
            return answer.status

    assert set(await asyncio.gather(*(call() for _ in range(50)))) == {200}
    await heard(shop)
    assert [one.amount for one in shop.stand_in.journal] == [600, 500]
    audited(shop)


async def test_one_account_is_sold_so_much_in_a_day_and_what_arrives_is_credited_all_the_same(
    make_stage: StageMaker, client: ClientSession
) -> None:
    stage = await make_stage(stripe={"amount_max": "20.00 usd", "amount_day_max": "25.00 usd"})
    first = await ordered(stage, client, amount="20.00")
    token = first["access_token"]
    second = await ordered(stage, client, amount="20.00", token=token)
    for order in (first, second):  # both were begun before anything was paid
        stage.stand_in.pay(order["payment_url"])
    await stage.stand_in.settled()
    assert stage.gateway.paying.webhooks is not None
    await stage.gateway.paying.webhooks.settled()
    refused = await ordered(stage, client, amount="5.00", token=token)
    assert refused["status"] == 400
    assert "at most 25.00 usd in 24 hours" in refused["detail"]
    assert (await ordered(stage, client, amount="20.00"))["status"] == 201, "another's is none of its business"
    assert audited(stage).totals["usd"].credited == 40_000_000


@pytest.mark.parametrize("bound", ["checkouts", "checkouts_per_account"])
async def test_an_address_and_an_account_ask_for_so_many_checkouts(
    make_stage: StageMaker, client: ClientSession, bound: str
) -> None:
    stage = await make_stage(**{"limits" if bound == "checkouts" else "stripe": {bound: "2/day"}})
    made = await ordered(stage, client, amount="5.00")
    token = made["access_token"]
    assert (await ordered(stage, client, amount="5.00", token=token))["status"] == 201
    refused = await ordered(stage, client, amount="5.00", token=token)
    assert (refused["status"], refused["code"]) == (429, "rate_limited")
    other = await ordered(stage, client, amount="5.00")
    assert other["status"] == (429 if bound == "checkouts" else 201)
