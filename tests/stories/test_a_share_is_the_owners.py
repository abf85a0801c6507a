"""Owners sell through somebody else's gateway: what callers pay is split, and what is given back is taken from both."""

from collections import Counter
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from aiohttp import ClientSession

from gateway.adapters.sqlite.bookkeeping import EVERYTHING_MS, open_books
from gateway.adapters.sqlite.fold import Fold
from gateway.app.stores import statement_books
from gateway.cli.stage import Stage
from gateway.core.dues import by_rate, by_unit
from gateway.core.ids import RequestId
from gateway.core.ledger import Credit
from gateway.core.money import Money
from gateway.core.purses import Purse
from gateway.core.routes import RouteTable
from gateway.flows.add_up import takings
from gateway.settings import Settings
from tests.callers import Funded, audited, funded
from tests.forms import FORMS, staged
from tests.stories.test_the_readme import blocks, section


def written() -> dict[str, Any]:
    """The README's own example, in front of an upstream that is there."""
    text = section("### Owners, and what the platform keeps", "### Paying owners")
    (block,) = blocks(text, "yaml")
    config: dict[str, Any] = yaml.safe_load(block)
    config["routes"] = [{**route, "upstream": "weather", "strip_prefix": True} for route in config["routes"]]
    return config


async def asked(stage: Stage, client: ClientSession, caller: Funded, path: str) -> str:
    """Its request's id."""
    async with client.get(stage.url + path, headers=caller.headers) as answer:
        assert answer.status == 200, await answer.text()
        await answer.read()
        return str(answer.headers["Gateway-Request-Id"])


def dues(stage: Stage) -> dict[str, tuple[int, int]]:
    """Of each owner: the platform's commission, and what is due."""
    with statement_books(stage.settings).open(seconds=60) as source:
        return {due.owner: (due.commission, due.share) for due in by_unit(by_rate(takings(source)))}


def folded(stage: Stage) -> Counter[str]:
    """Every account's balance, once all is folded."""
    with closing(open_books(stage.settings.store_path, write=True)) as sql:
        fold = Fold()
        while fold.step(sql, closed_before_ms=EVERYTHING_MS):
            pass
        balances: Counter[str] = Counter()
        for payer, payee, micros in sql.execute("SELECT payer, payee, micros FROM transfer"):
            balances[payer] -= micros
            balances[payee] += micros
    return balances


@pytest.mark.parametrize("form", FORMS)
async def test_what_callers_pay_is_split_and_what_is_given_back_is_taken_from_both(form: str, tmp_path: Path) -> None:
    config = written()
    async with staged(form, tmp_path, **config) as stage, ClientSession() as client:
        [caller] = await funded(stage, "5.00 usd")
        spent = [
            await asked(stage, client, caller, f"/{path}/oslo") for path in ("search", "search", "export", "sample")
        ]
        await stage.gateway.ledger.durable()
        assert dues(stage) == {"anna": (1200, 4800), "bert": (15_000, 85_000 + 1000)}
        before = folded(stage)
        assert (before["owner:anna"], before["owner:bert"], before["platform"]) == (4800, 86_000, 16_200)

        for request in spent[1:3]:
            assert await stage.gateway.ledger.refund(RequestId.parse(request), "it was wrong")
        await stage.gateway.ledger.durable()
        assert dues(stage) == {"anna": (600, 2400), "bert": (0, 1000)}
        after = folded(stage)
        assert (after["owner:anna"], after["owner:bert"], after["platform"]) == (2400, 1000, 600)
        assert after["clearing:manual"] == -5_000_000
        assert sum(after.values()) == 0
        assert audited(stage).transfers > 0


async def test_promotion_credit_is_shared_like_money(tmp_path: Path) -> None:
    config = written()
    async with staged("relay", tmp_path, **config) as stage, ClientSession() as client:
        [caller] = await funded(stage, "0.001 usd")
        purse = Purse(priority=1)
        gift = Credit("manual:gift", caller.account, Money.parse("0.002 usd"), "promotion", "welcome", purse)
        await stage.gateway.ledger.credit(gift)
        await asked(stage, client, caller, "/search/oslo")
        await stage.gateway.ledger.durable()
        assert dues(stage) == {"anna": (600, 2400)}
        after = folded(stage)
        assert (after["owner:anna"], after["platform"], after["clearing:manual"]) == (2400, 600, -3000)
        audited(stage)


async def test_a_request_is_shared_by_the_commission_that_stood_when_it_was_made(tmp_path: Path) -> None:
    config = written()
    async with staged("relay", tmp_path, **config) as stage, ClientSession() as client:
        [caller] = await funded(stage, "5.00 usd")
        first = await asked(stage, client, caller, "/search/oslo")
        await stage.stop_gateway()
        await stage.start_gateway(reset(stage, "anna", 5000))
        await asked(stage, client, caller, "/search/oslo")
        await stage.gateway.ledger.durable()
        assert dues(stage)["anna"] == (600 + 1500, 2400 + 1500)
        assert await stage.gateway.ledger.refund(RequestId.parse(first), "it was wrong")
        await stage.gateway.ledger.durable()
        assert dues(stage)["anna"] == (1500, 1500)
        folded(stage)
        audited(stage)


def reset(stage: Stage, owner: str, points: int) -> Settings:
    """The same settings, with another commission for the routes of one owner."""
    routes = [
        replace(route, commission_points=points) if route.owner == owner else route
        for route in stage.settings.routes.routes
    ]
    return replace(stage.settings, routes=RouteTable(routes))
