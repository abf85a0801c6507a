"""An operator freezes an account while its token asks without pause: every worker and host hears of it."""

import asyncio
import json
from collections import deque
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientSession
from click.testing import CliRunner

from gateway.cli import main
from gateway.demo.upstreams import ToyUpstream, weather
from gateway.settings import Settings
from tests.callers import BROWSER, Funded, audited, pay, unpaid
from tests.conftest import StageMaker
from tests.gateway_process import fund, running, write_config
from tests.postgres_server import Server
from tests.stories import test_many_hosts
from tests.stories.test_rotations import until_true


@pytest.fixture
async def upstream() -> AsyncIterator[ToyUpstream]:
    toy = ToyUpstream("toy", weather)
    await toy.start()
    yield toy
    await toy.stop()


async def types(file: Path, *words: str, code: int = 0) -> Any:
    done = await asyncio.to_thread(CliRunner().invoke, main, [*words, "--config", str(file), "--json"])
    assert done.exit_code == code, done.output
    return json.loads(done.stdout)


class Asking:
    """A token that asks without pause, at every host and on new connections, so that every worker sees it."""

    def __init__(self, hosts: list[Settings], caller: Funded) -> None:
        self._urls = [f"http://{host.listen[0]}:{host.listen[1]}/paid/oslo" for host in hosts]  # type: ignore[index]
        self._caller = caller
        self.answered: deque[int] = deque(maxlen=40)
        self._tasks: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> "Asking":
        self._tasks = [asyncio.create_task(self._ask(url)) for url in self._urls for _ in range(3)]
        return self

    async def __aexit__(self, *_: object) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _ask(self, url: str) -> None:
        async with ClientSession() as session:
            while True:
                async with session.get(url, headers={**self._caller.headers, "Connection": "close"}) as answer:
                    await answer.read()
                    self.answered.append(answer.status)

    async def only(self, status: int) -> None:
        """Until nothing else has been answered for a while, by whichever worker or host."""
        self.answered.clear()
        async with asyncio.timeout(20):
            while list(self.answered) != [status] * 40:
                await asyncio.sleep(0.02)


async def frozen_and_unfrozen(file: Path, hosts: list[Settings], caller: Funded) -> None:
    async with Asking(hosts, caller) as asking:
        await asking.only(200)
        assert (await types(file, "account", "freeze", caller.account, "--reason", "leaked"))["changed"]
        await asking.only(403)
        shown = await types(file, "account", "show", caller.account)
        assert shown["frozen"] is True
        assert [row["reason"] for row in shown["freezes"]] == ["leaked"]
        assert [row["account"] for row in await types(file, "account", "frozen")] == [caller.account]
        assert (await types(file, "account", "unfreeze", caller.account, "--reason", "found"))["changed"]
        await asking.only(200)
    assert not (await types(file, "account", "unfreeze", caller.account, "--reason", "again"))["changed"]


async def test_every_worker_hears_of_a_frozen_account(tmp_path: Path, upstream: ToyUpstream) -> None:
    settings = write_config(tmp_path, upstream.url, workers=2)
    [caller] = await fund(settings, "900.00 usd", count=1)
    async with running(tmp_path / "gateway.yaml"):
        await frozen_and_unfrozen(tmp_path / "gateway.yaml", [settings], caller)


async def test_every_host_hears_of_a_frozen_account(tmp_path: Path, upstream: ToyUpstream, postgres: Server) -> None:
    dsn = await postgres.schema()
    hosts = [test_many_hosts.write(tmp_path, name, dsn, upstream.url) for name in ("one", "two")]
    [caller] = await test_many_hosts.fund(hosts[0][1], "900.00 usd", count=1)
    async with AsyncExitStack() as stack:
        for file, _ in hosts:
            await stack.enter_async_context(running(file))
        await frozen_and_unfrozen(hosts[0][0], [settings for _, settings in hosts], caller)


async def test_a_frozen_account_is_told_and_its_money_stays_and_grows(make_stage: StageMaker) -> None:
    stage = await make_stage()
    async with ClientSession() as session:
        refused = await unpaid(stage, session)
        bought = await pay(stage, refused["payment_url"])
        token = {"Authorization": f"Bearer {refused['access_token']}"}
        stage.stand_in.warn(bought["id"])
        await stage.stand_in.settled()
        assert stage.gateway.paying.webhooks is not None
        await stage.gateway.paying.webhooks.settled()
        async with session.get(stage.url + "/weather/oslo", headers=token) as answer:
            told = await answer.json()
            assert (answer.status, told["code"], told["charged"]) == (403, "account_frozen", False)
            assert refused["account"] in told["detail"]
            assert answer.headers["Gateway-Error"] == "account_frozen"
        async with session.get(stage.url + "/weather/oslo", headers={**token, **BROWSER}) as page:
            assert (page.status, page.content_type) == (403, "text/html")
            assert "The account is frozen" in await page.text()
        async with session.get(stage.url + "/status/oslo", headers=token) as free:
            assert free.status == 200
        await pay(stage, refused["payment_url"])
        balance = await stage.gateway.ledger.balance(refused["account"], "usd")
        assert str(balance.available) == "10.00 usd"
        admin = f"http://{stage.settings.admin[0]}:{stage.settings.admin[1]}/accounts/{refused['account']}"
        operator = stage.settings.secrets.operator_token
        assert operator is not None
        fields = {"Authorization": f"Bearer {operator.reveal()}"}
        for body, status in (({}, 400), ({"reason": " "}, 400), ({"reason": "checked"}, 200)):
            async with session.post(f"{admin}/unfreeze", json=body, headers=fields) as done:
                assert done.status == status
        async with session.post(f"{admin}/freeze", json={"reason": "x"}) as nobody:
            assert nobody.status == 401
        async with session.get(stage.url + "/weather/oslo", headers=token) as answer:
            assert answer.headers["Gateway-Balance"] == "9.998 usd"
    audited(stage)


async def test_a_warning_freezes_nobody_if_it_shall_not(make_stage: StageMaker) -> None:
    stage = await make_stage(stripe={"freeze_on_fraud_warning": False})
    async with ClientSession() as session:
        refused = await unpaid(stage, session)
        bought = await pay(stage, refused["payment_url"])
        stage.stand_in.warn(bought["id"])
        await stage.stand_in.settled()
        assert stage.gateway.paying.webhooks is not None
        await stage.gateway.paying.webhooks.settled()
        token = {"Authorization": f"Bearer {refused['access_token']}"}
        async with session.get(stage.url + "/weather/oslo", headers=token) as answer:
            assert answer.status == 200


async def test_a_token_that_a_command_put_on_record_is_known_to_the_gateway_that_runs(make_stage: StageMaker) -> None:
    stage = await make_stage()
    async with ClientSession() as session:
        refused = await unpaid(stage, session)
        caller = await stage.gateway.identity.callers.known(refused["access_token"])
        assert caller is not None
        assert not caller.on_record
        command = type(stage.gateway)(stage.settings, report=lambda *_, **__: None).records
        await command.open()
        await command.add(caller.token_digest, account=caller.account, pepper_id=caller.pepper_id, now_ms=1)
        await command.close()

        async def noticed() -> bool:
            found = await stage.gateway.identity.callers.known(refused["access_token"])
            return found is not None and found.on_record

        await until_true(noticed)


async def test_a_dropped_event_that_comes_again_credits_nothing(make_stage: StageMaker) -> None:
    stage = await make_stage(webhooks={"keep_events": "1d"})
    async with ClientSession() as session:
        refused = await unpaid(stage, session)
        await pay(stage, refused["payment_url"])
        records = stage.gateway.records
        [event] = await records.events("done")
        await records._write("UPDATE event SET received = received - ?", (2 * 86_400_000,))  # type: ignore[union-attr]
        await stage.gateway.upkeep.drop_events()
        assert await records.find_entry(event.id) is None
        stage.stand_in.deliver_again(event.id, times=3)
        await stage.stand_in.settled()
        assert stage.gateway.paying.webhooks is not None
        await stage.gateway.paying.webhooks.settled()
        assert [known.id for known in await records.events("done")] == [event.id]
        balance = await stage.gateway.ledger.balance(refused["account"], "usd")
        assert str(balance.available) == "5.00 usd"
    audited(stage)
