"""Five sign-ins of an owner, and a process that is killed three times meanwhile, make one account at Stripe."""

import asyncio
import json
import sqlite3
from contextlib import AsyncExitStack, closing
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

from gateway import settings as configuration
from gateway.adapters.stripe.parameters import parameters
from gateway.demo.standin import StandIn
from tests.gateway_process import running, write_config
from tests.outside import outside
from tests.stories.test_signing_in import Browser

KEY = "sk_test_" + "1a" * 20


def end_leases(records: Path) -> None:
    """As if the time were over that whoever was killed had for its job."""
    with closing(sqlite3.connect(records, timeout=20)) as sql:
        sql.execute("UPDATE sync_jobs SET due = 0 WHERE state IN ('waiting', 'running')")
        sql.commit()


def rows(records: Path, query: str) -> list[Any]:
    with closing(sqlite3.connect(records, timeout=20)) as sql:
        return sql.execute(query).fetchall()


async def until(records: Path, query: str, wanted: list[Any]) -> None:
    async with asyncio.timeout(30):
        while rows(records, query) != wanted:
            await asyncio.sleep(0.05)


async def test_five_sign_ins_and_three_kills_make_one_account(tmp_path: Path) -> None:
    async with AsyncExitStack() as opened:
        stand_in = await opened.enter_async_context(StandIn(api_key=KEY, parameters=parameters))
        who = await opened.enter_async_context(outside("amazon"))
        write_config(tmp_path, "http://127.0.0.1:1")
        file, records = tmp_path / "gateway.yaml", tmp_path / "gateway.records.db"
        more = {
            "stripe": {
                "secret_key": KEY, "webhook_secrets": ["whsec_" + "1a" * 20], "api_url": stand_in.url,
                "reconcile_seconds": 0,
            },
            "sign_in": {"providers": [who.settings()], "private_addresses": True},
            "owners": {"anna": {"signs_in": ["amazon:amzn1.account.ANN"]}},
            "connect": {"country": "US"},
        }  # fmt: skip
        config = json.loads(file.read_text()) | more
        config["routes"] = [{**route, "owner": "anna"} for route in config["routes"]]
        file.write_text(json.dumps(config))
        url = configuration.load(file, {}, make_secrets=True).public_url

        async def sign_in() -> None:
            browser = Browser(cast(Any, SimpleNamespace(url=url)))
            opened.push_async_callback(browser.session.close)
            await browser.sign_in()

        # First it is killed while Stripe is being asked, and Stripe has done nothing yet.
        stand_in.hold_requests()
        async with running(file) as process:
            await asyncio.gather(sign_in(), sign_in())
            await asyncio.wait_for(until(records, "SELECT attempt FROM stripe_accounts", [(1,)]), 30)
            async with asyncio.timeout(30):
                while not rows(records, "SELECT 1 FROM sync_jobs WHERE state = 'running'"):
                    await asyncio.sleep(0.02)
            await process.kill()
        assert stand_in.accounts == []
        end_leases(records)

        # Then while Stripe has made the account, and its answer is on its way to nobody.
        stand_in.release_requests()
        stand_in.cut_answers(1000)
        async with running(file) as process:
            await sign_in()
            async with asyncio.timeout(30):
                while not stand_in.accounts:
                    await asyncio.sleep(0.02)
            await process.kill()
        assert rows(records, "SELECT account FROM stripe_accounts") == [(None,)]
        end_leases(records)

        # And once more, at whatever it is doing by then.
        async with running(file) as process:
            await sign_in()
            await process.kill()
        stand_in.cut_answers(0)
        end_leases(records)

        async with running(file):
            await sign_in()
            await until(records, "SELECT count(account) FROM stripe_accounts", [(1,)])
            await until(records, "SELECT DISTINCT state FROM sync_jobs", [("done",)])
        [made] = stand_in.accounts
        assert rows(records, "SELECT account, status, wish FROM stripe_accounts") == [(made.id, "restricted", None)]
        assert b"ann@example.com" not in b"".join(one.read_bytes() for one in tmp_path.glob("gateway.records.db*"))
