"""Two wallets become one while both are used: on all workers and hosts, also when everything is killed in between."""

import asyncio
import json
import sqlite3
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, closing
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientError, ClientSession
from click.testing import CliRunner

from gateway.adapters.postgres.audit import audit as audit_database
from gateway.adapters.postgres.sessions import Address
from gateway.adapters.sqlite.audit import audit
from gateway.cli import main
from gateway.cli.accounts import available
from gateway.cli.books import head_keys
from gateway.core.secrets import Secret
from gateway.demo.upstreams import ToyUpstream, weather
from gateway.settings import Settings, load
from tests.callers import Funded, funded
from tests.conftest import StageMaker
from tests.gateway_process import fund, running, write_config
from tests.postgres_server import Server
from tests.stories import test_many_hosts

PRICE = 2_000


@pytest.fixture
async def upstream() -> AsyncIterator[ToyUpstream]:
    toy = ToyUpstream("toy", weather)
    await toy.start()
    yield toy
    await toy.stop()


async def types(file: Path, *words: str, code: int = 0) -> Any:
    done = await asyncio.to_thread(CliRunner().invoke, main, [*words, "--config", str(file), "--json"])
    assert done.exit_code == code, done.output
    return json.loads(done.stdout) if code == 0 else done.output


async def has(file: Path, account: str) -> int:
    """What is left under this name alone; commands tell of those that are one together."""
    settings = load(file, {}, make_secrets=False)
    return (await asyncio.to_thread(available, settings, account)).micros


@asynccontextmanager
async def spending(hosts: list[Settings], callers: list[Funded], served: Counter[int]) -> AsyncIterator[None]:
    """Every caller asks every host without pause, each time on a new connection, so at whichever worker."""
    over = asyncio.Event()

    async def ask(host: Settings, caller: Funded) -> None:
        url = f"http://{host.listen[0]}:{host.listen[1]}/paid/oslo"  # type: ignore[index]
        async with ClientSession(headers={**caller.headers, "Connection": "close"}) as session:
            while not over.is_set():
                try:
                    async with session.get(url) as answer:
                        await answer.read()
                        served[answer.status] += 1
                except (ClientError, OSError):
                    await asyncio.sleep(0.05)

    tasks = [asyncio.create_task(ask(host, caller)) for host in hosts for caller in callers for _ in range(2)]
    try:
        yield
    finally:
        over.set()
        await asyncio.gather(*tasks)


async def until_joined(file: Path, account: str) -> None:
    async with asyncio.timeout(30):
        while await has(file, account) != 0:
            await asyncio.sleep(0.1)


async def some_are_served(served: Counter[int], count: int = 40) -> None:
    before = served[200]
    async with asyncio.timeout(30):
        while served[200] < before + count:
            await asyncio.sleep(0.02)


async def test_two_workers_and_a_kill_in_the_middle(tmp_path: Path, upstream: ToyUpstream) -> None:
    settings, file = write_config(tmp_path, upstream.url, workers=2), tmp_path / "gateway.yaml"
    first, second, third = callers = await fund(settings, "10.00 usd", count=3)
    served: Counter[int] = Counter()
    async with running(file):
        pass  # it makes the records
    async with spending([settings], callers, served):
        async with running(file) as gateway:
            await some_are_served(served)
            planned = await types(file, "account", "join", first.account, second.account, "--reason", "one person")
            assert planned["joined"] is False
            assert await has(file, first.account) > 0
            await types(file, "account", "join", first.account, second.account, "--reason", "one person", "--yes")
            await gateway.kill()
        async with running(file):
            await some_are_served(served)
            await until_joined(file, first.account)
            await types(file, "account", "join", second.account, third.account, "--reason", "and that", "--yes")
            await until_joined(file, second.account)
            await some_are_served(served)
            refused = await types(file, "account", "join", third.account, first.account, "--reason", "x", code=3)
            assert "one account already" in refused
            assert (await types(file, "account", "show", first.account))["alias_of"] == third.account
    assert not set(served) - {200, 503}, served
    report = audit(settings.store_path, head_key=head_keys(settings))
    assert report.clean, [str(finding) for finding in report.findings]
    left = [await has(file, caller.account) for caller in callers]
    assert left[:2] == [0, 0]
    # What was answered is charged, but for a commit or two before the kill, which also cut some answers off on their
    # way: no other request was charged for nothing or given away.
    spent = 30_000_000 - sum(left)
    assert spent % PRICE == 0
    with closing(sqlite3.connect(settings.store_path)) as books:
        [(account_spent,)] = books.execute("SELECT sum(credited - spent - debt) FROM account").fetchall()
    assert account_spent == sum(left)
    assert abs(served[200] - spent // PRICE) <= 64


async def test_two_hosts_that_both_serve_both(tmp_path: Path, upstream: ToyUpstream, postgres: Server) -> None:
    dsn = await postgres.schema()
    hosts = [test_many_hosts.write(tmp_path, name, dsn, upstream.url) for name in ("one", "two")]
    first, second = callers = await test_many_hosts.fund(hosts[0][1], "10.00 usd", count=2)
    file, served = hosts[0][0], Counter[int]()
    async with AsyncExitStack() as stack:
        for each, _ in hosts:
            await stack.enter_async_context(running(each))
        async with spending([settings for _, settings in hosts], callers, served):
            await some_are_served(served)
            await types(file, "account", "join", first.account, second.account, "--reason", "one person", "--yes")
            await until_joined(file, first.account)
            await some_are_served(served)
    assert not set(served) - {200, 503}, served
    assert (await audit_database(Address(Secret(dsn)))).findings == ()
    left = [await has(file, caller.account) for caller in callers]
    price = (20_000_000 - sum(left)) / served[200]
    assert (left[0], price) == (0, PRICE)


async def test_the_admin_listener_joins_and_says_why_not(make_stage: StageMaker) -> None:
    stage = await make_stage()
    first, second = await funded(stage, "5.00 usd", count=2)
    admin = f"http://{stage.settings.admin[0]}:{stage.settings.admin[1]}/accounts"
    operator = stage.settings.secrets.operator_token
    assert operator is not None
    asked = [
        ({}, 400, "into"),
        ({"into": "acct_1", "reason": "x"}, 400, "acct_1"),
        ({"into": second.account, "reason": " "}, 400, "reason"),
        ({"into": first.account, "reason": "x"}, 409, "one account already"),
        ({"into": second.account, "reason": "x"}, 200, second.account),
        ({"into": second.account, "reason": "x"}, 409, "one account already"),
    ]
    async with ClientSession(headers={"Authorization": f"Bearer {operator.reveal()}"}) as session:
        for body, status, words in asked:
            async with session.post(f"{admin}/{first.account}/join", json=body) as answer:
                assert answer.status == status
                assert words in await answer.text()
        await stage.gateway.paying.recognise()
        credit = {"ref": "late", "amount": "1.00 usd", "reason": "for the old name"}
        async with session.post(f"{admin}/{first.account}/credit", json=credit) as answer:
            assert (await answer.json())["available"] == "11.00 usd"
        async with session.get(f"{admin}/{first.account}/balance?currency=usd") as answer:
            assert (await answer.json())["available"] == "11.00 usd"
        async with session.post(f"{admin}/{first.account}/freeze", json={"reason": "x"}) as answer:
            assert answer.status == 200
    async with ClientSession(headers=second.headers) as session, session.get(stage.url + "/weather/x") as answer:
        assert answer.status == 403, "who freezes the alias freezes the account"
