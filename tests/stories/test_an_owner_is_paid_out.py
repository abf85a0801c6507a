"""An owner is paid out: callers pay and spend, and what is due leaves once, whoever is killed when."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientSession

from gateway.adapters.sqlite.bookkeeping import EVERYTHING_MS, open_books
from gateway.adapters.sqlite.fold import Fold
from gateway.app.paying_owners import pay_out
from gateway.cli.stage import Stage
from gateway.flows.pay_out import PayOut
from tests.callers import Funded, audited, pay, unpaid
from tests.fakes import FakeClock
from tests.forms import staged

ANNA = "acct_anna1"


def marketplace(**payouts: Any) -> dict[str, Any]:
    route = {"match": "/search/", "upstream": "weather", "strip_prefix": True, "price": "1.255 usd", "owner": "anna"}
    return {
        "owners": {"anna": {"commission_bps": 2000, "stripe_account": ANNA}},
        "payouts": {"hold_back_days": 0, "every": "daily", **payouts},
        "routes": [{"name": "search", **route}],
    }


def fold(stage: Stage) -> None:
    with closing(open_books(stage.settings.store_path, write=True)) as sql:
        folding = Fold()
        while folding.step(sql, closed_before_ms=EVERYTHING_MS):
            pass


@asynccontextmanager
async def selling(folder: Path, **payouts: Any) -> AsyncIterator[tuple[Stage, Funded, str]]:
    """A caller has paid 5.00 usd, and the stand-in knows where anna is paid."""
    async with staged("relay", folder, **marketplace(**payouts)) as stage, ClientSession() as client:
        stage.stand_in.connect(ANNA)
        refused = await unpaid(stage, client, "/search/oslo")
        session = await pay(stage, refused["payment_url"])
        yield stage, Funded(refused["access_token"], refused["account"]), session["id"]


async def buy(stage: Stage, caller: Funded, count: int) -> None:
    async with ClientSession() as client:
        for _ in range(count):
            async with client.get(stage.url + "/search/oslo", headers=caller.headers) as answer:
                assert answer.status == 200, await answer.text()
    await stage.gateway.ledger.durable()
    fold(stage)


def paying(stage: Stage, clock: FakeClock | None = None) -> PayOut:
    made = stage.gateway.paying.pay_out
    assert made is not None
    return made


async def test_it(tmp_path: Path) -> None:
    async with selling(tmp_path) as (stage, caller, _):
        await buy(stage, caller, 3)
        [paid] = await paying(stage).run()
        assert paid.state == "created"
        print(paid)
        fold(stage)
        print(audited(stage))
        assert stage.stand_in.transfers[0]["amount"] == 301
