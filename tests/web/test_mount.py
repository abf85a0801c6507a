"""The gateway inside somebody else's aiohttp application."""

from pathlib import Path

import pytest
from aiohttp import web
from pytest_aiohttp.plugin import AiohttpClient

import gateway
from gateway.core.ledger import Credit
from gateway.core.money import Money
from gateway.demo.upstreams import ToyUpstream, weather
from gateway.settings import SettingsInvalid
from tests.gateway_process import write_config


async def test_one_call_mounts_it_and_the_hosts_own_routes_stay(tmp_path: Path, aiohttp_client: AiohttpClient) -> None:
    toy = ToyUpstream("toy", weather)
    await toy.start()
    write_config(tmp_path, toy.url)

    async def hello(request: web.Request) -> web.StreamResponse:
        return web.Response(text="hello")

    app = web.Application()
    app.router.add_get("/hello", hello)
    mounted = gateway.mount(app, tmp_path / "gateway.yaml")
    client = await aiohttp_client(app)
    answer = await client.get("/hello")
    assert (answer.status, await answer.text()) == (200, "hello")
    assert "Server" in answer.headers, "the host's answers are not ours to change"
    answer = await client.get("/free/oslo")
    assert (answer.status, (await answer.json())["city"]) == (200, "oslo")
    answer = await client.get("/paid/oslo")
    refused = await answer.json()
    assert answer.status == 402
    caller = await mounted.identity.callers.known(refused["access_token"])
    assert caller is not None
    await mounted.ledger.credit(Credit("manual:1", caller.account, Money.parse("1.00 usd"), "manual", "for a test"))
    answer = await client.get("/paid/oslo", headers={"Authorization": f"Bearer {refused['access_token']}"})
    assert (answer.status, answer.headers["Gateway-Balance"]) == (200, "0.998 usd")
    await client.close()
    await toy.stop()


async def test_a_wrong_configuration_is_told_at_the_call(tmp_path: Path) -> None:
    (tmp_path / "bad.yaml").write_text("version: 2\n")
    with pytest.raises(SettingsInvalid):
        gateway.mount(web.Application(), tmp_path / "bad.yaml")
