"""A route whose methods cost differently: each request pays the price of its method, and none poses as another."""

from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientSession

from gateway.core.money import Money
from tests.callers import audited, funded
from tests.forms import FORMS, staged

ROUTE: dict[str, Any] = {
    "name": "echo", "match": "/echo/", "upstream": "echo", "strip_prefix": True, "price": "free",
    "methods": {"POST": "0.01 usd", "PUT": {"per": {"request_bytes": "0.001 usd"}, "maximum": "1.00 usd"}},
}  # fmt: skip


@pytest.mark.parametrize("form", FORMS)
async def test_each_method_costs_what_it_says_and_is_quoted_so(form: str, tmp_path: Path) -> None:
    async with staged(form, tmp_path, routes=[ROUTE]) as stage, ClientSession() as session:
        [ann] = await funded(stage, "1.00 usd")
        left = 1_000_000
        for method, body, cost in (
            ("GET", b"", 0),
            ("POST", b"abc", 10_000),
            ("PUT", b"abc", 3_000),
            ("PATCH", b"", 0),
        ):
            asked = {"method": method, "url": "/echo/x", "content_length": str(len(body))}
            async with session.get(f"{stage.url}/-/api/v1/quote", params=asked, headers=ann.headers) as answer:
                quote = await answer.json()
            assert (quote["free"], quote["at_most"]) == (not cost, str(Money(cost, "usd")))
            async with session.request(method, f"{stage.url}/echo/x", data=body, headers=ann.headers) as answer:
                assert answer.status == 200
                await answer.read()
            left -= cost
            await stage.gateway.ledger.durable()
            assert (await stage.gateway.ledger.balance(ann.account, "usd")).available.micros == left
        async with session.post(f"{stage.url}/echo/x") as answer:
            assert answer.status == 402
        async with session.get(f"{stage.url}/.well-known/pricing.json") as answer:
            [told] = (await answer.json())["routes"]
        assert told["price"] == {"mode": "free"}
        assert {name: price["mode"] for name, price in told["prices_by_method"].items()} == {
            "POST": "fixed", "PUT": "metered"
        }  # fmt: skip
        async with session.get(f"{stage.url}/-/openapi.json") as answer:
            operations = (await answer.json())["paths"]["/echo/{rest}"]
        assert {name for name, told in operations.items() if "x-payment-info" in told} == {"post", "put"}
        assert set(operations) == {"get", "post", "put"}
        for page in ("/-/pricing", "/-/llms.txt"):
            async with session.get(stage.url + page) as answer:
                assert "POST: 0.01" in await answer.text()
        audited(stage)


@pytest.mark.parametrize("form", FORMS)
async def test_no_request_poses_as_one_of_another_method(form: str, tmp_path: Path) -> None:
    async with (
        staged(form, tmp_path, routes=[ROUTE, {**ROUTE, "name": "plain", "match": "/plain/", "methods": {}}]) as (
            stage
        ),
        ClientSession() as session,
    ):
        posing = {"X-HTTP-Method-Override": "POST", "X-Method-Override": "POST", "X-HTTP-Method": "POST"}
        for path, passes in (("/echo/x", False), ("/plain/x", True)):
            async with session.get(stage.url + path, headers=posing) as answer:
                assert answer.status == 200
                assert ("override" in (await answer.text()).lower()) is passes
