"""Several workers, one keeper: what goes back to the payer is taken back once, and assigned payments arrive."""

import asyncio
import json
from pathlib import Path

from aiohttp import ClientSession

from gateway.adapters.sqlite.audit import audit
from gateway.adapters.stripe.parameters import parameters
from gateway.cli.books import head_keys
from gateway.demo.standin import Endpoint, StandIn
from gateway.demo.upstreams import ToyUpstream, weather
from tests import programs
from tests.callers import reference_in
from tests.gateway_process import running, write_config

KEY, SECRET = "sk_test_" + "1a" * 20, "whsec_" + "5a" * 24
ACCOUNT = "acct_" + "0" * 31 + "a"


async def typed(*words: str) -> str:
    done = await asyncio.to_thread(programs.run, *words)
    return done.stdout + done.stderr


async def until_balance(account: str, wanted: str, config: Path) -> None:
    async with asyncio.timeout(30):
        while wanted not in await typed("balance", account, "--config", str(config)):
            await asyncio.sleep(0.1)


async def test_a_refund_with_two_workers_and_a_payment_that_is_assigned_beside_them(tmp_path: Path) -> None:
    toy = ToyUpstream("toy", weather)
    await toy.start()
    settings = write_config(tmp_path, toy.url, price="0.25 usd", workers=2)
    config, url = tmp_path / "gateway.yaml", settings.public_url
    async with StandIn(api_key=KEY, parameters=parameters) as stand_in:
        stand_in.add_endpoint(Endpoint(f"{url}/-/webhooks/stripe", SECRET))
        stripe = {"secret_key": KEY, "webhook_secrets": [SECRET], "api_url": stand_in.url, "top_up": "5.00 usd"}
        config.write_text(json.dumps({**json.loads(config.read_text()), "stripe": stripe}))
        async with running(config) as process, ClientSession() as session:
            async with session.get(url + "/paid/oslo") as answer:
                refused = await answer.json()
            link, account = refused["payment_url"], refused["account"]
            bought = stand_in.pay(link, client_reference_id=reference_in(link))
            await until_balance(account, "5.00 usd", config)
            headers = {"Authorization": f"Bearer {refused['access_token']}"}

            async def ask() -> int:
                async with session.get(url + "/paid/oslo", headers=headers) as answer:
                    return answer.status

            assert await asyncio.gather(*(ask() for _ in range(10))) == [200] * 10
            stand_in.refund(bought["id"], 100)
            stand_in.refund(bought["id"])
            for event in stand_in.events:
                stand_in.deliver_again(event["id"], times=3)
            await until_balance(account, "-2.50 usd", config)
            assert await asyncio.gather(*(ask() for _ in range(10))) == [402] * 10

            lost = stand_in.pay(link, client_reference_id="nobody-knows-this-one")
            await stand_in.settled()
            stand_in.refund(lost["id"], 100)
            await stand_in.settled()
            assigned = await typed("payments", "assign", lost["id"], ACCOUNT, "--yes", "--config", str(config))
            assert "credited" in assigned
            await until_balance(ACCOUNT, "4.00 usd", config)
            assert await process.stop() == 0
    await toy.stop()
    report = audit(settings.store_path, head_key=head_keys(settings))
    assert report.clean, report.findings
    assert report.totals["usd"].available == 4_000_000 - 2_500_000, "what is owed is taken off"
