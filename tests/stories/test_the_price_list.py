"""Anybody can read what things cost: people on a page, programs in three forms; owners may keep a route out of it."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientSession

from gateway.cli.stage import Stage
from gateway.core.pricing import MeteredPrice
from gateway.settings import from_mapping
from gateway.web.openapi import OPERATIONS, payment_info
from tests.browser import needs_chromium, opened
from tests.callers import BROWSER, funded
from tests.conftest import StageMaker
from tests.core.test_metered_prices import per, usd
from tests.forms import FORMS, staged

LIST = {
    "/-/pricing": "/pricing", "/.well-known/pricing.json": "/pricing.json", "/-/llms.txt": "/llms.txt",
    "/-/openapi.json": "/openapi.json",
}  # fmt: skip
TOKENS = {"base": "0.001 usd", "per": {"output_tokens": "15.00 usd per 1M"}, "maximum": "0.50 usd"}
ROUTES: list[dict[str, Any]] = [
    {"name": "weather", "match": "/weather/", "upstream": "weather", "price": "0.002 usd", "limit": "100/minute"},
    {"name": "chat", "match": "/chat", "upstream": "llm", "price": TOKENS},
    {"name": "contract", "match": "/contract/", "upstream": "echo", "price": "0.03 usd",
     "charge_when": {"statuses": ["2xx"], "cut": "50%"}},
    {"name": "status", "match": "/status/", "upstream": "weather", "price": "free"},
    {"name": "secret-deal", "match": "/partner/", "upstream": "echo", "price": "0.0007 usd", "listed": False},
]  # fmt: skip


async def text_of(session: ClientSession, stage: Stage, path: str, **headers: str) -> str:
    async with session.get(stage.url + path, headers=headers) as answer:
        assert answer.status == 200, await answer.text()
        return await answer.text()


async def test_every_form_names_every_listed_route_and_no_other_and_no_upstream(make_stage: StageMaker) -> None:
    stage = await make_stage(routes=ROUTES)
    [ann] = await funded(stage, "1.00 usd")
    async with ClientSession() as session:
        pages = [await text_of(session, stage, path) for path in LIST]
        pages.append(await text_of(session, stage, "/-/wallet", **ann.headers, **BROWSER))
        for page in pages:
            for name in ("weather", "chat", "contract", "status", "0.002", "15.00 usd per 1M"):
                assert name in page
            assert "partner" not in page
            assert "secret-deal" not in page
            assert "0.0007" not in page
            assert not any(f":{upstream.port}" in page for upstream in stage.upstreams)
        async with session.get(f"{stage.url}/partner/x", headers=ann.headers) as answer:
            assert (answer.status, answer.headers["Gateway-Cost"]) == (200, "0.0007 usd"), "it is served all the same"


async def test_programs_read_prices_as_json(make_stage: StageMaker) -> None:
    stage = await make_stage(routes=ROUTES)
    async with ClientSession() as session:
        told = json.loads(await text_of(session, stage, "/.well-known/pricing.json"))
        async with session.get(stage.url + "/.well-known/pricing.json") as answer:
            assert answer.headers["Access-Control-Allow-Origin"] == "*"
            assert answer.headers["Cache-Control"] == "public, max-age=60"
    assert (told["currency"], told["top_up"]) == ("usd", "5.00 usd")
    prices = {route["name"]: (route["path"], route["and_below"], route["price"]) for route in told["routes"]}
    assert prices["weather"] == (
        "/weather/", True, {"mode": "fixed", "amount": "0.002 usd", "rule": "0.002 usd", "at_most": "0.002 usd",
                            "charged_when": "2xx, 3xx; cut off: free"},
    )  # fmt: skip
    assert prices["chat"] == (
        "/chat", False,
        {"mode": "metered", "base": "0.001 usd", "reported_by_upstream": False, "at_most": "0.50 usd",
         "rule": "0.001 usd + 15.00 usd per 1M (output_tokens), at most 0.50 usd", "charged_when": "2xx, 3xx",
         "per": [{"unit": "output_tokens", "amount": "15.00 usd", "count": 1_000_000}]},
    )  # fmt: skip
    assert prices["contract"][2]["charged_when"] == "2xx; cut off: 50%"
    assert prices["status"][2] == {"mode": "free"}


async def test_the_openapi_document_says_what_each_route_costs_and_describes_our_own_api(
    make_stage: StageMaker,
) -> None:
    stage = await make_stage(routes=ROUTES, stripe={"auto_top_up": {}, "login_by_payment": "on"})
    async with ClientSession() as session:
        told = json.loads(await text_of(session, stage, "/-/openapi.json"))
    paths = told["paths"]
    assert paths["/weather/{rest}"]["get"]["x-payment-info"]["price"] == {
        "mode": "fixed", "currency": "USD", "amount": "0.002"
    }  # fmt: skip
    assert paths["/chat"]["post"]["x-payment-info"]["price"] == {
        "mode": "dynamic", "currency": "USD", "min": "0.001", "max": "0.50"
    }  # fmt: skip
    assert "x-payment-info" not in paths["/status/{rest}"]["get"]
    assert "/-/api/v1/quote" in paths
    assert "/-/api/v1/subscriptions" not in paths, "nothing is sold for a period here"
    ids = []
    for path, operations in paths.items():
        for operation in operations.values():
            ids.append(operation["operationId"])
            named = {one["name"] for one in operation["parameters"] if one["in"] == "path"}
            assert named == set(re.findall(r"{(\w+)}", path))
            assert operation["responses"]
    assert len(ids) == len(set(ids))
    assert {route["name"] for route in ROUTES if route.get("listed", True)} == {id.partition(".")[0] for id in ids} - {
        "gateway"
    }


async def test_every_address_of_our_api_is_described(make_stage: StageMaker) -> None:
    plan = {"price": "price_1abc", "costs": "10.00 usd", "every": "month"}
    who = {"name": "amazon", "preset": "amazon", "client_id": "c", "client_secret": "s" * 32}
    stripe = {"auto_top_up": {}, "login_by_payment": "on"}
    routes = {"hosts": ["api.anna.example"], "price_max": "1.00 usd"}
    people: dict[str, Any] = {
        "sign_in": {"providers": [who]},
        "connect": {"country": "US"},
        "charging": {},
        "owners": {"anna": {"routes": routes}},
    }
    stage = await make_stage(stripe=stripe, plans={"pro": plan}, **people)
    async with ClientSession() as session:
        told = json.loads(await text_of(session, stage, "/-/openapi.json"))
    found = {
        (method.upper(), path)
        for path, operations in told["paths"].items()
        for method in operations
        if path.startswith("/-/")
    }
    assert found == set(OPERATIONS)
    from aiohttp import web

    app = web.Application()
    stage.gateway.add_own_to(app)
    ours = {(one.method, one.resource.canonical) for one in app.router.routes() if one.resource is not None}
    assert {one for one in ours if one[1].startswith("/-/api/") and one[0] not in ("HEAD", "*")} == set(OPERATIONS)


def test_what_a_metered_price_is_at_least_is_its_base_or_its_minimum() -> None:
    unit = per("output_tokens", 15)
    for base, minimum, least in ((100, None, "0.0001"), (100, 200, "0.0002"), (300, 200, "0.0003")):
        price = MeteredPrice(
            maximum=usd(900), base=usd(base), per=(unit,), minimum=None if minimum is None else usd(minimum)
        )
        assert payment_info(price)["price"]["min"] == least


@pytest.mark.parametrize("form", FORMS)
async def test_aliases_at_the_root_serve_the_same_until_a_route_takes_them(form: str, tmp_path: Path) -> None:
    routes = [{"name": "weather", "match": "/weather/", "upstream": "weather", "price": "0.002 usd"}]
    aliases = [alias for alias in LIST.values() if alias != "/llms.txt"]
    async with (
        staged(form, tmp_path, routes=routes, price_list={"aliases": aliases}) as stage,
        ClientSession() as session,
    ):
        for path, alias in LIST.items():
            async with session.get(stage.url + alias) as answer:
                assert answer.status == (200 if alias in aliases else 404)
                assert alias not in aliases or await answer.text() == await text_of(session, stage, path)
        async with session.post(stage.url + "/pricing") as answer:
            assert (answer.status, answer.headers["Gateway-Error"]) == (405, "method_not_allowed")
        config = stage._config(int(stage.settings.public_url.rpartition(":")[2]), stage.settings.admin[1])
        taken = {"name": "theirs", "match": "/openapi.json", "upstream": "weather", "price": "free"}
        config |= {"routes": [*routes, taken], "price_list": {"aliases": ["/pricing"]}}
        renewed = from_mapping(config, base=tmp_path, environ={}, make_secrets=True)
        assert "price_list_aliases" in stage.gateway.reload(renewed)["needs_restart"]
        before = sum(upstream.calls for upstream in stage.upstreams)
        async with session.get(stage.url + "/openapi.json") as answer:
            assert (answer.status, "openapi" in await answer.json()) == (200, False), "an upstream's is never hidden"
        assert sum(upstream.calls for upstream in stage.upstreams) == before + 1
        await text_of(session, stage, "/pricing")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@needs_chromium[0]
@needs_chromium[1]
async def test_a_person_reads_the_prices_without_javascript_on_a_narrow_screen(
    make_stage: StageMaker, scheme: Any
) -> None:
    stage = await make_stage(routes=ROUTES)
    async with opened(java_script_enabled=False, color_scheme=scheme, viewport={"width": 360, "height": 740}) as page:
        await page.goto(stage.url + "/-/pricing")
        assert await page.get_by_role("heading", name="Prices").is_visible()
        assert await page.get_by_text("0.002 USD").is_visible()
        await page.get_by_text("When an answer is charged").click()
        assert await page.get_by_text("2xx; cut off: 50%").is_visible()
        await page.get_by_text("For programs").click()
        assert await page.get_by_role("link", name="llms.txt").is_visible()
        assert await page.evaluate("document.documentElement.scrollWidth") <= 360
        await page.get_by_role("link", name="Your wallet").click()
        assert await page.get_by_role("heading", name="No wallet yet").is_visible()
