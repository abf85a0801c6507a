"""One key, many processes and hosts, and kill -9 at every point: one call, one charge, or a word that it is not known.

A dead process's lease lasts half a minute. Here it is over at once: the tests move it into the past.
"""

import asyncio
import os
import signal
import sqlite3
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, closing, suppress
from pathlib import Path

import asyncpg
import pytest
from aiohttp import ClientError, ClientSession, TCPConnector

from gateway.settings import Settings
from tests import postgres_server
from tests.callers import Funded
from tests.gateway_process import fund, running, write_config
from tests.postgres_server import Server
from tests.raw import OK, RawUpstream, Visit
from tests.stories import test_many_hosts as many_hosts
from tests.stories.test_killed_at_each_point import KEEPER, Bomb
from tests.stories.test_many_workers import TORTURE, audited, charged, replaced

PRICE = 2_000
TWINS = 50
CLAIMS = "gateway.adapters.sqlite.idempotency:SqliteKeyClaims"
EXCHANGE = "gateway.relay.exchange:RelayExchange"
STARTED = "gateway.flows.keep.accounts:Holding.started"
POINTS = [
    (f"{CLAIMS}.claim", "after", "POST"),
    (f"{EXCHANGE}.forward", "after", "POST"),
    (f"{EXCHANGE}.forward", "after", "GET"),
    (f"{KEEPER}.start", "after", "POST"),
    (f"{CLAIMS}.end", "after", "POST"),
    (f"{CLAIMS}.end", "after", "GET"),
    (f"{EXCHANGE}.answer", "after", "POST"),
]
if TORTURE:
    POINTS += [
        (where, side, method)
        for where in (f"{CLAIMS}.claim", f"{KEEPER}.hold", f"{EXCHANGE}.forward", f"{EXCHANGE}.whole_answer",
                      f"{KEEPER}.start", f"{CLAIMS}.end", STARTED, f"{EXCHANGE}.answer", f"{KEEPER}.settle")
        for side in ("before", "after")
        for method in ("POST", "GET")
        if (where, side, method) not in POINTS
    ]  # fmt: skip


@pytest.fixture
async def upstream() -> AsyncIterator[RawUpstream]:
    upstream = RawUpstream()
    await upstream.start()
    yield upstream
    await upstream.stop()


async def ask(settings: Settings, caller: Funded, method: str = "POST") -> tuple[int, str, bool]:
    """Status (0: it was cut off), code of the refusal, and whether it was replayed; on a connection of its own."""
    assert isinstance(settings.listen, tuple)
    host, port = settings.listen
    fields = {**caller.headers, "Idempotency-Key": "k1"}
    async with ClientSession(connector=TCPConnector(force_close=True)) as session:
        try:
            async with session.request(method, f"http://{host}:{port}/paid/x", headers=fields) as answer:
                await answer.read()
                return answer.status, answer.headers.get("Gateway-Error", ""), "Idempotency-Replayed" in answer.headers
        except (ClientError, OSError):
            return 0, "", False


def leases_are_over(settings: Settings) -> None:
    with closing(sqlite3.connect(settings.store_path.with_name("gateway.records.db"))) as connection, connection:
        connection.execute("UPDATE idempotency_key SET lease = 0 WHERE state = 'open'")


@pytest.mark.parametrize(
    ("where", "side", "method"), [pytest.param(*point, id=f"{point[2]} {point[1]} {point[0]}") for point in POINTS]
)
async def test_a_gateway_that_dies_there_sells_it_once(
    tmp_path: Path, upstream: RawUpstream, where: str, side: str, method: str
) -> None:
    settings = write_config(tmp_path, upstream.url, durability="relaxed" if method == "GET" else "strict")
    [caller] = await fund(settings, "1.00 usd", count=1)
    bomb = Bomb(tmp_path / "armed", where, side)
    async with running(tmp_path / "gateway.yaml", program=bomb.program, environ=bomb.environ) as process:
        bomb.arm()
        first, _, _ = await ask(settings, caller, method)
        async with asyncio.timeout(10):
            await process.ended()
    leases_are_over(settings)
    asked_before = len(upstream.visits)
    async with running(tmp_path / "gateway.yaml") as process:
        status, code, replayed = await ask(settings, caller, method)
        assert await process.stop() == 0
    spent, voided = audited(settings), charged(settings.store_path)[1]
    assert spent in (0, PRICE)
    assert not (first == 200 and not replayed), "what was answered is on record"
    if method == "POST":
        assert len(upstream.visits) <= 1
        assert status == 200 or (code == "outcome_unknown" and spent == 0)
    else:
        assert status == 200
    if replayed:
        assert len(upstream.visits) == asked_before == 1
        assert spent == PRICE or voided == 1, "given away by the crash"
    elif status == 200:
        assert spent == PRICE


async def test_twins_at_two_workers_are_one(tmp_path: Path, upstream: RawUpstream) -> None:
    settings = write_config(tmp_path, upstream.url, workers=2)
    [ann] = await fund(settings, "1.00 usd", count=1)
    async with running(tmp_path / "gateway.yaml") as process:
        answers = await asyncio.gather(*(ask(settings, ann) for _ in range(TWINS)))
        assert sorted(answers) == [(200, "", False), *[(200, "", True)] * (TWINS - 1)]
        assert await process.stop() == 0
    assert len(upstream.visits) == 1
    assert audited(settings) == PRICE


async def test_a_worker_that_dies_leaves_no_charge_and_says_that_it_is_not_known(
    tmp_path: Path, upstream: RawUpstream
) -> None:
    async def silent(visit: Visit) -> None:
        await visit.reader.read()

    upstream.script = silent
    settings = write_config(tmp_path, upstream.url, workers=2)
    [bob] = await fund(settings, "1.00 usd", count=1)
    async with running(tmp_path / "gateway.yaml") as process:
        lost = asyncio.create_task(ask(settings, bob))
        await upstream.visited.wait()
        workers = process.workers()
        for pid in workers:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        assert (await lost)[0] == 0
        for pid in workers:
            await replaced(process, pid, 3)
        leases_are_over(settings)
        async with asyncio.timeout(20):
            while (found := await ask(settings, bob))[0] in (0, 503):
                pass
        assert found == (409, "outcome_unknown", False)
        assert await process.stop() == 0
    assert len(upstream.visits) == 1
    assert audited(settings) == 0


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    with postgres_server.running() as made:
        yield made


async def test_twins_at_two_hosts_are_one_and_a_host_that_dies_charges_nothing(
    tmp_path: Path, server: Server, upstream: RawUpstream
) -> None:
    may = asyncio.Event()

    async def answer(visit: Visit) -> None:
        await may.wait()
        visit.writer.write(OK)

    upstream.script = answer
    dsn = await server.schema()
    (north, ours), (south, theirs) = (
        many_hosts.write(tmp_path, name, dsn, upstream.url) for name in ("north", "south")
    )
    ann, bob = await many_hosts.fund(ours, "1.00 usd", count=2)
    async with AsyncExitStack() as stack:
        victim = await stack.enter_async_context(running(north))
        survivor = await stack.enter_async_context(running(south))
        asked = [asyncio.create_task(ask((ours, theirs)[number % 2], ann)) for number in range(TWINS)]
        await upstream.visited.wait()
        may.set()
        answers = await asyncio.gather(*asked)
        assert sorted(answers) == [(200, "", False), *[(200, "", True)] * (TWINS - 1)]
        assert len(upstream.visits) == 1

        may.clear()
        upstream.visited.clear()
        lost = asyncio.create_task(ask(ours, bob))
        await upstream.visited.wait()
        await victim.kill()
        assert (await lost)[0] == 0
        connection = await asyncpg.connect(dsn)
        await connection.execute("UPDATE idempotency_key SET lease = 0 WHERE state = 'open'")
        await connection.close()
        assert await ask(theirs, bob) == (409, "outcome_unknown", False)
        assert await survivor.stop() == 0
    assert len(upstream.visits) == 2
    charged_north, charged_south = [(await many_hosts.journal(dsn, name))[0] for name in ("north", "south")]
    assert len(charged_north | charged_south) <= 1
    await many_hosts.audited(theirs)
