"""Who bears it when money comes back that was spent: whoever got that money, in whichever purse or wallet it was."""

import asyncio
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
from aiohttp import ClientSession

from gateway.cli.stage import Stage
from gateway.core.payouts import DAY_MS
from tests.callers import Funded, pay, unpaid
from tests.fakes import FakeClock
from tests.forms import staged
from tests.stories.test_an_owner_is_paid_out import Market
from tests.stories.test_subscriptions import SUBSCRIPTIONS, heard

OWNERS = {name: {"commission_bps": 2000, "stripe_account": f"acct_{name}1"} for name in ("anna", "bert")}
SHOP: dict[str, Any] = {
    "owners": OWNERS,
    "payouts": {"hold_back_days": 0, "every": "daily"},
    "routes": [
        {"name": name, "match": f"/{name}/", "upstream": "weather", "strip_prefix": True, "price": "1.00 usd",
         "owner": name}
        for name in OWNERS
    ],
}  # fmt: skip


async def bought(stage: Stage, client: ClientSession, token: str, owner: str, count: int) -> None:
    for _ in range(count):
        async with client.get(f"{stage.url}/{owner}/oslo", headers={"Authorization": f"Bearer {token}"}) as answer:
            assert answer.status == 200, await answer.text()


async def bears(here: Market) -> dict[str, int]:
    """What each owner has given back by now, in whole usd."""
    await here.folded()
    await here.payer().claw_back()
    await here.folded()
    return {one.standing.owner: one.standing.clawed_back // 1_000_000 for one in await here.payer().prospects()}


def market_of(stage: Stage, caller: Funded) -> Market:
    now = stage.gateway.clock.now_ms()
    return Market(stage, caller, "", FakeClock(now - now % DAY_MS + DAY_MS + 3_600_000))


@pytest.mark.parametrize("purse", [{}, {"expires": "period_end"}, {"priority": -1}], ids=["plain", "ending", "first"])
async def test_a_period_that_is_disputed_comes_back_from_who_got_it(purse: dict[str, Any], tmp_path: Path) -> None:
    plans = {"pro": {"price": "price_pro", "costs": "50.00 usd", **purse}}
    with patch("gateway.app.paying.SWEEP_SECONDS", 86_400):
        async with (
            staged("relay", tmp_path, plans=plans, stripe={"reconcile_seconds": 0}, **SHOP) as stage,
            ClientSession() as client,
        ):
            stage.stand_in.recurring_price("price_pro", 5000)
            async with client.post(stage.url + SUBSCRIPTIONS, json={"plan": "pro"}) as answer:
                told = await answer.json()
            here = market_of(stage, Funded(told["access_token"], told["account"]))
            stage.stand_in.pay(told["payment_url"])
            await here.heard()
            await bought(stage, client, told["access_token"], "anna", 40)
            stage.stand_in.dispute(stage.stand_in.invoices[0]["id"], 5000)
            await heard(stage)
            assert await bears(here) == {"anna": 32}


@pytest.mark.parametrize("joined_first", [False, True])
async def test_who_joins_a_wallet_with_a_debt_has_no_other_owner_bear_it(joined_first: bool, tmp_path: Path) -> None:
    stripe = {"top_up": "50.00 usd", "reconcile_seconds": 0}
    with patch("gateway.app.paying.SWEEP_SECONDS", 86_400):
        async with staged("relay", tmp_path, stripe=stripe, **SHOP) as stage, ClientSession() as client:
            callers, sessions = [], []
            for owner, count in (("anna", 40), ("bert", 45)):
                refused = await unpaid(stage, client, f"/{owner}/oslo")
                sessions.append(await pay(stage, refused["payment_url"]))
                callers.append(Funded(refused["access_token"], refused["account"]))
                await bought(stage, client, refused["access_token"], owner, count)
            here = market_of(stage, callers[0])
            if not joined_first:
                stage.stand_in.dispute(sessions[0]["id"], 5000)
                await here.heard()
                assert await bears(here) == {"anna": 32, "bert": 0}
            await join(here, callers, 15_000_000 if joined_first else -35_000_000)
            if joined_first:
                stage.stand_in.dispute(sessions[0]["id"], 5000)
                await here.heard()
            assert await bears(here) == {"anna": 28, "bert": 0}, "of fifty, fifteen were still there"


async def join(here: Market, callers: list[Funded], left: int) -> None:
    """The first wallet becomes the second, money and all."""
    first, second = callers
    shown = await here.command("account", "join", first.account, second.account, "--reason", "one person", "--yes")
    assert shown.exit_code == 0, shown.output
    async with asyncio.timeout(20):
        while (await here.stage.gateway.ledger.balance(second.account, "usd")).available.micros != left:
            await asyncio.sleep(0.05)
