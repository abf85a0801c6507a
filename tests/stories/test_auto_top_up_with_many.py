"""Several workers, several hosts: a balance that falls below its line once is topped up once."""

import asyncio
import json
from dataclasses import replace
from pathlib import Path

from aiohttp import ClientSession

from gateway.adapters.sqlite.audit import audit
from gateway.adapters.stripe.parameters import parameters
from gateway.app import Gateway, Running
from gateway.cli.books import head_keys
from gateway.cli.stage import Stage, free_port
from gateway.demo.standin import Endpoint, StandIn
from gateway.demo.upstreams import ToyUpstream, weather
from tests.conftest import StageMaker
from tests.gateway_process import running, write_config
from tests.postgres_server import Server

KEY, SECRET = "sk_test_" + "1a" * 20, "whsec_" + "5a" * 24
ORDER = {"amount": "6.00", "auto_top_up": {"threshold": "2.00", "amount": "5.00"}}


async def with_card(url: str, stand_in: StandIn, client: ClientSession) -> dict[str, str]:
    """Pays 6.00 and saves the card; the headers that it is known by."""
    async with client.post(url + "/-/api/v1/top-ups", json=ORDER) as answer:
        made = await answer.json()
    stand_in.pay(made["payment_url"])
    headers = {"Authorization": f"Bearer {made['access_token']}"}
    async with asyncio.timeout(20):
        while True:
            async with client.get(url + "/-/api/v1/auto-top-up", headers=headers) as answer:
                if (await answer.json())["state"] == "on":
                    return headers
            await asyncio.sleep(0.02)


async def spend(urls: list[str], path: str, client: ClientSession, headers: dict[str, str], calls: int) -> None:
    """So many calls at 0.25, eight at a time, until all of them were served: a refused one is made again."""
    left = list(range(calls))

    async def caller() -> None:
        while left:
            number = left.pop()
            async with client.get(urls[number % len(urls)] + path, headers=headers) as answer:
                status = answer.status
            if status != 200:
                assert status == 402
                left.append(number)
                await asyncio.sleep(0.05)

    async with asyncio.timeout(40):
        await asyncio.gather(*(caller() for _ in range(8)))


async def until_journal(stand_in: StandIn, amounts: list[int]) -> None:
    async with asyncio.timeout(20):
        while [one.amount for one in stand_in.journal] != amounts:
            await asyncio.sleep(0.05)
    await stand_in.settled()


async def test_two_workers_notice_and_one_of_them_pays(tmp_path: Path) -> None:
    toy = ToyUpstream("toy", weather)
    await toy.start()
    settings = write_config(tmp_path, toy.url, price="0.25 usd", workers=2)
    config, url = tmp_path / "gateway.yaml", settings.public_url
    async with StandIn(api_key=KEY, parameters=parameters) as stand_in:
        stand_in.add_endpoint(Endpoint(f"{url}/-/webhooks/stripe", SECRET))
        stripe = {"secret_key": KEY, "webhook_secrets": [SECRET], "api_url": stand_in.url, "auto_top_up": {}}
        config.write_text(json.dumps({**json.loads(config.read_text()), "stripe": stripe}))
        async with running(config) as process, ClientSession() as client:
            headers = await with_card(url, stand_in, client)
            await spend([url], "/paid/oslo", client, headers, 30)  # 7.50: once below the line, and not twice
            await until_journal(stand_in, [600, 500])
            assert await process.stop() == 0
        assert [one.amount for one in stand_in.journal] == [600, 500]
    await toy.stop()
    report = audit(settings.store_path, head_key=head_keys(settings))
    assert report.clean, report.findings
    assert (report.credits, report.totals["usd"].spent) == (2, 30 * 250_000)


async def test_two_hosts_on_one_database_notice_and_one_of_them_pays(make_stage: StageMaker, postgres: Server) -> None:
    stage: Stage = await make_stage(store=await postgres.schema(), host_name="one", stripe={"auto_top_up": {}})
    port = free_port(0)
    theirs = replace(
        stage.settings,
        listen=("127.0.0.1", port),
        admin=("127.0.0.1", free_port(0)),
        public_url=f"http://127.0.0.1:{port}",
        host_name="two",
    )
    other = Running(Gateway(theirs, report=lambda *_, **__: None, served=lambda *_: None))
    await other.start()
    try:
        async with ClientSession() as client:
            headers = await with_card(stage.url, stage.stand_in, client)
            urls = [stage.url, theirs.public_url]
            for host in (stage.gateway, other.gateway):
                assert host.paying.replenish is not None
                await host.paying.replenish.refresh()
            await spend(urls, "/forecast/oslo", client, headers, 30)
            await until_journal(stage.stand_in, [600, 500])
            for host in (stage.gateway, other.gateway):
                assert host.paying.replenish is not None
                await host.paying.replenish.settled()
            assert [one.amount for one in stage.stand_in.journal] == [600, 500]
    finally:
        await other.stop()
        await stage.stop_gateway()
