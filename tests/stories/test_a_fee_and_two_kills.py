"""A confirmed refund is delivered five times to two workers, which are killed meanwhile: one payment intent is paid."""

import asyncio
import json
import sqlite3
from contextlib import AsyncExitStack, closing
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

from aiohttp import ClientConnectionError, ClientSession
from click.testing import CliRunner

from gateway import settings as configuration
from gateway.adapters.stripe.parameters import parameters
from gateway.cli import main
from gateway.demo.standin import StandIn
from gateway.demo.standin.webhooks import Endpoint
from tests.gateway_process import running, write_config
from tests.outside import outside
from tests.stories.test_an_owner_and_three_kills import KEY, rows, until
from tests.stories.test_signing_in import Browser

HOOK = "whsec_" + "1a" * 20
BELOW = "/-/api/v1/stripe/"


def end_leases(records: Path) -> None:
    """As if the time were over that whoever was killed had."""
    with closing(sqlite3.connect(records, timeout=20)) as sql:
        sql.execute("UPDATE sync_jobs SET due = 0 WHERE state IN ('waiting', 'running')")
        sql.execute("UPDATE stripe_transactions SET due = 0")
        sql.commit()


async def gateway(*args: str) -> Any:
    """In a thread of its own: a command has a loop of its own."""
    ran = await asyncio.to_thread(CliRunner().invoke, main, [*args, "--json"])
    assert ran.exit_code == 0, ran.output
    return json.loads(ran.stdout)


async def test_five_deliveries_two_workers_and_two_kills_pay_one_payment_intent(tmp_path: Path) -> None:
    async with AsyncExitStack() as opened:
        stand_in = await opened.enter_async_context(StandIn(api_key=KEY, parameters=parameters))
        who = await opened.enter_async_context(outside("amazon"))
        write_config(tmp_path, "http://127.0.0.1:1", workers=2)
        file, records = tmp_path / "gateway.yaml", tmp_path / "gateway.records.db"
        stripe = {"secret_key": KEY, "webhook_secrets": [HOOK], "api_url": stand_in.url, "reconcile_seconds": 0}
        more = {
            "stripe": stripe,
            "sign_in": {"providers": [who.settings()], "private_addresses": True},
            "charging": {},
        }
        file.write_text(json.dumps(json.loads(file.read_text()) | more))
        url = configuration.load(file, {}, make_secrets=True).public_url
        stand_in.add_endpoint(Endpoint(f"{url}/-/webhooks/stripe", HOOK))
        session = await opened.enter_async_context(ClientSession())
        browser = Browser(cast(Any, SimpleNamespace(url=url)))
        opened.push_async_callback(browser.session.close)
        user, secret = "", ""

        async def deliver() -> dict[str, Any] | None:
            form = {"grant_type": "client_credentials", "client_id": "refund-engine", "client_secret": secret}
            wish = {"refund_id": "rf_1", "user_id": user, "amount": 12_345, "currency": "usd"}
            try:
                async with session.post(f"{url}/-/oauth/token", data=form) as answer:
                    shown = {"Authorization": f"Bearer {(await answer.json())['access_token']}"}
                async with session.post(f"{url}{BELOW}charge-commission", json=wish, headers=shown) as answer:
                    assert answer.status == 200, await answer.text()
                    return cast("dict[str, Any]", await answer.json())
            except ClientConnectionError:
                return None  # it was killed

        # First it is killed while Stripe is being asked, and Stripe has done nothing yet.
        async with running(file) as process:
            await browser.sign_in()
            made = await gateway("service", "add", "refund-engine", "--role", "commission", "--config", str(file))
            secret = made["client_secret"]
            async with browser.session.post(f"{url}{BELOW}create-customer-setup", json={}) as answer:
                told = await answer.json()
            stand_in.save_method(told["setup_intent_id"])
            await until(records, "SELECT count(method) FROM stripe_customers", [(1,)])
            [(user,)] = rows(records, "SELECT user_id FROM stripe_customers")
            stand_in.hold_requests()
            deliveries = [asyncio.create_task(deliver()) for _ in range(5)]
            await until(records, "SELECT state, intent FROM stripe_transactions", [("sending", None)])
            await process.kill()
            heard = [one for one in await asyncio.gather(*deliveries) if one is not None]
            assert all(one["status"] == "processing" for one in heard)
        assert stand_in.payment_intents == []
        end_leases(records)

        # Then while Stripe has made it, and its answer is on its way to nobody.
        stand_in.release_requests()
        stand_in.cut_answers(1000)
        async with running(file) as process:
            async with asyncio.timeout(30):
                while not stand_in.payment_intents:
                    await asyncio.sleep(0.02)
            await process.kill()
        stand_in.cut_answers(0)
        end_leases(records)

        async with running(file):
            heard = [one for one in await asyncio.gather(*(deliver() for _ in range(5))) if one is not None]
            assert len({one["transaction_id"] for one in heard}) == 1
            await until(records, "SELECT state, fee FROM stripe_transactions", [("succeeded", 24_690_000)])
            end_leases(records)  # of jobs that saw somebody else at it
            await until(records, "SELECT DISTINCT state FROM sync_jobs WHERE kind = 'charge'", [("done",)])
            last = await deliver()
        [intent] = stand_in.payment_intents
        assert last is not None
        assert (last["payment_intent_id"], last["status"], last["fee"]) == (intent["id"], "succeeded", 2469)
        assert intent["amount_received"] == 2469
        view = f"SELECT action FROM transaction_audit WHERE object = '{last['transaction_id']}' ORDER BY number"
        acts = [action for (action,) in rows(records, view)]
        assert acts == ["charge.planned", "charge.sending", "charge.succeeded"], "each once, whoever was killed"
        [books] = await gateway("books", "--stripe", "--config", str(file))
        assert (books["platform"], books["difference"]) == ("24.69 usd", "0.00 usd")
        assert books["stripe"]["uneven"] is False
