"""Two gateways on one PostgreSQL, each a process of its own: they share callers and money, and one may be killed.

The truth is the callers' journal, as in `test_killed_in_mid_load`.
"""

import asyncio
import json
import os
import random
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from aiohttp import ClientSession
from click.testing import CliRunner

from gateway import settings as configuration
from gateway.adapters.postgres.audit import audit
from gateway.adapters.system import SystemClock, SystemRandomness
from gateway.app.stores import database
from gateway.cli import main
from gateway.cli.hosts import visiting_keeper
from gateway.core.keyring import Keyring
from gateway.core.ledger import Credit, Kind, Record
from gateway.core.money import Money
from gateway.core.tokens import TokenMint
from gateway.demo.upstreams import ToyUpstream, weather
from gateway.settings import Settings
from tests.callers import Funded
from tests.gateway_process import running
from tests.ports import own_port
from tests.postgres_server import Server
from tests.stories.test_killed_in_mid_load import CONNECTIONS, GIVEN_AWAY_MAX, Load

KILLS = 20 if os.environ.get("GATEWAY_TORTURE") else 3
PRICE = 2000
SECRETS = {
    "sealing_keys": ["8yq2Zt0vR5mLw3Xk9BnPc6Df1GhJs4Ua"],
    "peppers": ["Qe7Wr2Ty9Ui4Op1As6Df3Gh8Jk5Lz0Xc"],
    "operator_token": "Mn3Bv8Cx1Zl6Kj9Hg4Fd2Sa7Po5Iu0Yt",
}


@pytest.fixture
async def upstream() -> AsyncIterator[ToyUpstream]:
    toy = ToyUpstream("toy", weather)
    await toy.start()
    yield toy
    await toy.stop()


def write(
    folder: Path, name: str, dsn: str, upstream: str, *, workers: int = 1, host: str = "", **route: object
) -> tuple[Path, Settings]:
    """The configuration of one host. They differ in their addresses and their name."""
    port = own_port()
    file = folder / f"{name}.yaml"
    config = {
        "listen": f"127.0.0.1:{port}",
        "admin": f"127.0.0.1:{own_port()}",
        "public_url": "http://127.0.0.1:8402",
        "store": dsn,
        "host_name": host or name,
        "workers": workers,
        "secrets": SECRETS,
        "upstreams": {"toy": {"url": upstream, "connections": 1000 * workers}},
        "routes": [
            {"name": "paid", "match": "/paid/", "upstream": "toy", "strip_prefix": True, "price": "0.002 usd", **route},
            {"name": "free", "match": "/free/", "upstream": "toy", "strip_prefix": True, "price": "free"},
        ],
    }
    file.write_text(json.dumps(config))
    return file, configuration.load(file, {}, make_secrets=True)


async def fund(settings: Settings, amount: str, *, count: int) -> list[Funded]:
    """Callers with money, by somebody who visits the database."""
    mint, clock, chance = TokenMint(Keyring(settings.secrets.sealing_keys), "test"), SystemClock(), SystemRandomness()
    made = []
    for _ in range(count):
        token = mint.mint(now_ms=clock.now_ms(), random=chance.bytes(12)).reveal()
        genuine = mint.recognise(token)
        assert genuine is not None
        made.append(Funded(token, genuine.account))
    keeper = visiting_keeper(settings)
    await keeper.open()
    money = Money.parse(amount)
    await asyncio.gather(
        *(keeper.credit(Credit(f"manual:{one.account}", one.account, money, "manual", "for a test")) for one in made)
    )
    await keeper.close()
    return made


async def journal(dsn: str, host: str) -> tuple[set[str], int]:
    """The ids of the requests that a host charged, and how many were voided."""
    connection = await asyncpg.connect(dsn)
    net: Counter[str] = Counter()
    voided = 0
    for row in await connection.fetch(
        "SELECT payload FROM batch JOIN keeper ON keeper.id = batch.keeper WHERE name = $1", host
    ):
        for record in Record.unpack_all(row["payload"]):
            net[str(record.request)] += record.micros
            voided += record.kind is Kind.VOID
    await connection.close()
    assert min(net.values(), default=0) >= 0
    return {request for request, micros in net.items() if micros}, voided


async def audited(settings: Settings) -> None:
    report = await audit(database(settings))
    assert report.clean, [str(finding) for finding in report.findings]


async def test_of_many_requests_to_two_gateways_exactly_those_that_are_affordable_are_served(
    tmp_path: Path, server: Server, upstream: ToyUpstream
) -> None:
    dsn = await server.schema()
    hosts = [write(tmp_path, name, dsn, upstream.url) for name in ("north", "south")]
    [caller] = await fund(hosts[0][1], "0.201 usd", count=1)
    async with AsyncExitStack() as stack:
        for file, _ in hosts:
            await stack.enter_async_context(running(file))
        session = await stack.enter_async_context(ClientSession())

        async def ask(number: int) -> int:
            host, port = hosts[number % 2][1].listen  # type: ignore[misc]
            async with session.get(f"http://{host}:{port}/paid/oslo", headers=caller.headers) as answer:
                return answer.status

        statuses = Counter(await asyncio.gather(*(ask(number) for number in range(300))))
        while statuses[503]:  # nobody knows just then: ask again
            again = statuses.pop(503)
            statuses += Counter(await asyncio.gather(*(ask(number) for number in range(again))))
    assert statuses == {200: 100, 402: 200}
    assert upstream.calls == 100
    await audited(hosts[0][1])


async def test_after_every_kill_of_one_of_two_gateways_the_books_are_right(
    tmp_path: Path, server: Server, upstream: ToyUpstream
) -> None:
    dsn = await server.schema()
    (north, ours), (south, theirs) = (write(tmp_path, name, dsn, upstream.url) for name in ("north", "south"))
    callers = await fund(ours, "100.00 usd", count=50)
    loads, order = [Load(ours, callers), Load(theirs, callers)], random.Random(3)
    async with running(south) as survivor:
        for _ in range(KILLS):
            async with running(north) as victim:
                floods = [asyncio.create_task(load.run(order.randrange(100, 900))) for load in loads]
                await asyncio.gather(*(load.enough.wait() for load in loads))
                await victim.kill()
                await floods[0]
            floods[1].cancel()
            await asyncio.gather(floods[1], return_exceptions=True)
        async with running(north) as victim:
            assert await victim.stop() == 0
        assert await survivor.stop() == 0
    charged, voided = await journal(dsn, "north")
    assert charged <= loads[0].answered, "a request was charged whose answer never came"
    lost = len(loads[0].answered - charged)
    assert lost <= min(voided, KILLS * GIVEN_AWAY_MAX)
    charged, voided = await journal(dsn, "south")
    assert loads[1].answered <= charged, "one that was never killed gave something away"
    assert len(charged - loads[1].answered) <= KILLS * CONNECTIONS  # cut off by the test itself, in mid-answer
    await audited(ours)


async def test_a_token_that_is_paid_for_at_one_gateway_is_good_at_the_other(
    tmp_path: Path, server: Server, upstream: ToyUpstream
) -> None:
    dsn = await server.schema()
    hosts = [write(tmp_path, name, dsn, upstream.url) for name in ("north", "south")]
    async with AsyncExitStack() as stack:
        for file, _ in hosts:
            await stack.enter_async_context(running(file))
        session = await stack.enter_async_context(ClientSession())
        [caller] = await fund(hosts[0][1], "0.004 usd", count=1)
        for _, settings in hosts:
            host, port = settings.listen  # type: ignore[misc]
            async with session.get(f"http://{host}:{port}/paid/oslo", headers=caller.headers) as answer:
                assert answer.status == 200
        async with session.get(f"http://{host}:{port}/paid/oslo", headers=caller.headers) as answer:
            assert answer.status == 402


async def test_what_is_revoked_in_an_incident_is_refused_at_every_host_within_seconds(
    tmp_path: Path, server: Server, upstream: ToyUpstream
) -> None:
    dsn = await server.schema()
    hosts = [write(tmp_path, name, dsn, upstream.url, workers=2) for name in ("north", "south")]

    async def types(*words: str) -> Any:
        typed = [*words, "--json", "--config", str(hosts[0][0])]
        done = await asyncio.to_thread(CliRunner().invoke, main, typed)
        assert done.exit_code == 0, done.output
        return json.loads(done.stdout)

    async with AsyncExitStack() as stack:
        for file, _ in hosts:
            await stack.enter_async_context(running(file))
        [caller, other] = await fund(hosts[0][1], "1.00 usd", count=2)
        made = await types("token", "create", caller.account)
        headers = {"Authorization": f"Bearer {made['access_token']}", "Connection": "close"}

        async def statuses(fields: dict[str, str]) -> set[int]:
            """Of many connections to each host: each of their workers is asked."""
            found = set()
            async with ClientSession() as session:
                for _, settings in hosts * 8:
                    host, port = settings.listen  # type: ignore[misc]
                    async with session.get(f"http://{host}:{port}/paid/oslo", headers=fields) as answer:
                        found.add(answer.status)
            return found

        assert await statuses(headers) == {200}
        await types("incident", "open", "--kind", "token", "--note", "seen in a forum")
        await types("incident", "revoke", "--account", caller.account, "--reason", "seen")
        async with asyncio.timeout(10):  # five times what is promised
            while 200 in (found := await statuses(headers)):
                await asyncio.sleep(0.2)
        # An address that shows tokens that are no good is soon held off, whatever else it shows.
        assert found <= {401, 429}
        assert 401 not in await statuses({**other.headers, "Connection": "close"})
    await audited(hosts[0][1])


async def test_free_routes_go_on_while_the_database_is_away(
    tmp_path: Path, server: Server, upstream: ToyUpstream
) -> None:
    file, settings = write(tmp_path, "north", await server.schema(), upstream.url)
    [caller] = await fund(settings, "1.00 usd", count=1)
    host, port = settings.listen  # type: ignore[misc]

    async with running(file), ClientSession() as session:

        async def ask(route: str) -> int:
            async with session.get(f"http://{host}:{port}/{route}/oslo", headers=caller.headers) as answer:
                return answer.status

        assert (await ask("paid"), await ask("free")) == (200, 200)
        server.stop()
        assert (await ask("paid"), await ask("free")) == (503, 200)
        server.start()
        async with asyncio.timeout(10):
            while await ask("paid") != 200:
                await asyncio.sleep(0.1)
