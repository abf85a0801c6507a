"""Several processes on each of several hosts, one PostgreSQL: any of them may die, and the money does not notice.

The helpers are those of `test_many_workers` and `test_many_hosts`; the truth is the callers' journal.
"""

import asyncio
import os
import random
import signal
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import asyncpg
import pytest

from gateway.cli.hosts import visiting_keeper
from gateway.core.ledger import Reversal
from gateway.core.money import Money
from gateway.settings import Settings
from tests.callers import Funded
from tests.gateway_process import running
from tests.postgres_server import Server
from tests.raw import RawUpstream, Visit
from tests.relay.scenes import until
from tests.stories.test_many_hosts import PRICE, audited, fund, journal, write
from tests.stories.test_many_workers import CONNECTIONS, Callers, Journal, ask, replaced

TORTURE = bool(os.environ.get("GATEWAY_TORTURE"))
ROUNDS = 50 if TORTURE else 2
KILLS = 40 if TORTURE else 4
HOST_KILLS = 20 if TORTURE else 2


@pytest.fixture
async def upstream() -> AsyncIterator[RawUpstream]:
    upstream = RawUpstream()
    await upstream.start()
    yield upstream
    await upstream.stop()


async def sure(settings: Settings, caller: Funded) -> int:
    """One request, asked again as long as the gateway says that it does not know just now."""
    async with asyncio.timeout(30):
        while (status := (await ask(settings, caller))[0]) == 503:
            await asyncio.sleep(0.05)
    return status


async def spent(settings: Settings, dsn: str, *hosts: str) -> int:
    """A clean audit; what was charged."""
    await audited(settings)
    journals = [await journal(dsn, host) for host in hosts]
    return sum(len(paid) for paid, _ in journals) * PRICE


async def begun(dsn: str) -> None:
    """Until it is stored that an answer has begun."""
    connection = await asyncpg.connect(dsn)
    try:
        async with asyncio.timeout(30):
            while not await connection.fetch("SELECT 1 FROM batch WHERE started >= 1"):
                await asyncio.sleep(0.02)
    finally:
        await connection.close()


# --- exactly what is affordable ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("workers", [1, 2, 4])
async def test_five_hundred_at_once_get_exactly_what_the_account_affords(
    tmp_path: Path, postgres: Server, upstream: RawUpstream, workers: int
) -> None:
    dsn, order = await postgres.schema(), random.Random(workers)
    file, settings = write(tmp_path, "north", dsn, upstream.url, workers=workers)
    affordable = [order.randrange(0, 400) for _ in range(ROUNDS)]
    callers = []
    for count in affordable:
        callers += await fund(settings, f"{count * PRICE / 1_000_000 + 0.001:.6f} usd", count=1)
    async with running(file) as process:
        for caller, count in zip(callers, affordable, strict=True):
            before = len(upstream.visits)
            statuses = Counter(await asyncio.gather(*(sure(settings, caller) for _ in range(500))))
            assert statuses == Counter({200: count, 402: 500 - count})
            assert len(upstream.visits) - before == count
        assert await process.stop() == 0
    assert await spent(settings, dsn, "north") == sum(affordable) * PRICE


async def test_of_many_requests_to_two_hosts_with_two_workers_each_the_affordable_ones_are_served(
    tmp_path: Path, postgres: Server, upstream: RawUpstream
) -> None:
    dsn, order = await postgres.schema(), random.Random(7)
    hosts = [write(tmp_path, name, dsn, upstream.url, workers=2) for name in ("north", "south")]
    affordable = [order.randrange(0, 400) for _ in range(ROUNDS)]
    callers = []
    for count in affordable:
        callers += await fund(hosts[0][1], f"{count * PRICE / 1_000_000 + 0.001:.6f} usd", count=1)
    async with AsyncExitStack() as stack:
        processes = [await stack.enter_async_context(running(file)) for file, _ in hosts]
        for caller, count in zip(callers, affordable, strict=True):
            answers = await asyncio.gather(*(sure(hosts[number % 2][1], caller) for number in range(500)))
            assert Counter(answers) == Counter({200: count, 402: 500 - count})
        for process in processes:
            assert await process.stop() == 0
    assert len(upstream.visits) == sum(affordable)
    assert await spent(hosts[0][1], dsn, "north", "south") == sum(affordable) * PRICE


async def test_a_limit_holds_for_all_workers_of_a_host_together(
    tmp_path: Path, postgres: Server, upstream: RawUpstream
) -> None:
    file, settings = write(tmp_path, "north", await postgres.schema(), upstream.url, workers=2, limit="20/hour")
    [caller] = await fund(settings, "1.00 usd", count=1)
    async with running(file):
        answers = await asyncio.gather(*(ask(settings, caller) for _ in range(60)))
    assert Counter(status for status, _, _ in answers) == {200: 20, 429: 40}


# --- who dies ---------------------------------------------------------------------------------------------------------


async def test_after_any_number_of_kills_nobody_paid_for_nothing(
    tmp_path: Path, postgres: Server, upstream: RawUpstream
) -> None:
    """kill -9 under load: workers and keepers of both hosts at random, and now and then the whole of one."""
    dsn, order = await postgres.schema(), random.Random(5)
    (north, ours), (south, theirs) = (
        write(tmp_path, name, dsn, upstream.url, workers=2) for name in ("north", "south")
    )
    callers = await fund(ours, "900.00 usd", count=20)
    journals = [Journal(), Journal()]
    loads = [Callers(settings, callers, kept) for settings, kept in zip((ours, theirs), journals, strict=True)]
    async with running(south) as survivor:
        with loads[0].asking(connections=CONNECTIONS // 2), loads[1].asking(connections=CONNECTIONS // 2):
            for _ in range(HOST_KILLS):
                async with running(north) as victim:
                    for _ in range(KILLS // HOST_KILLS):
                        for load in loads:
                            await load.answers(order.randrange(20, 200))
                        process = order.choice((victim, survivor))
                        pid = process.keeper() if order.random() < 0.5 else order.choice(process.workers())
                        os.kill(pid, signal.SIGKILL)
                        await replaced(process, pid, 3)
                    for load in loads:
                        await load.answers(100)
                    await victim.kill()
            async with running(north) as victim:
                for load in loads:
                    await load.answers(100)
        for load in loads:
            await load.ended()
        assert await survivor.stop() == 0
    async with running(north) as victim:  # the last of them was killed, too
        assert await victim.stop() == 0
    for name, kept in zip(("north", "south"), journals, strict=True):
        paid, voided = await journal(dsn, name)
        assert paid <= kept.answered, "a request was charged whose answer never came"
        given_away = len(kept.answered - paid)
        assert given_away <= voided
        assert given_away <= CONNECTIONS * (KILLS + HOST_KILLS + 1)
        assert set(kept.statuses) <= {200, 503}
        print(name, f"{len(kept.answered)} answered, {voided} voided, {given_away} given away, {kept.statuses}")
    await audited(ours)


async def test_when_the_keeper_dies_its_workers_keep_what_they_have_on_loan(
    tmp_path: Path, postgres: Server, upstream: RawUpstream
) -> None:
    """Both hosts drain the same accounts while keepers die; in the end everything was spent once."""
    dsn = await postgres.schema()
    hosts = [write(tmp_path, name, dsn, upstream.url, workers=2) for name in ("north", "south")]
    callers = await fund(hosts[0][1], "1.00 usd", count=3)
    journals = [Journal(), Journal()]
    loads = [Callers(settings, callers, kept) for (_, settings), kept in zip(hosts, journals, strict=True)]
    async with AsyncExitStack() as stack:
        processes = [await stack.enter_async_context(running(file)) for file, _ in hosts]
        with loads[0].asking(connections=8), loads[1].asking(connections=8):
            for load in loads:
                await load.answers(50)
            workers = [process.workers() for process in processes]
            for process in processes:
                keeper = process.keeper()
                os.kill(keeper, signal.SIGKILL)
                await replaced(process, keeper, 3)
            await until(lambda: all(kept.statuses[402] > 100 for kept in journals), seconds=60)
        for load in loads:
            await load.ended()
        assert [process.workers() for process in processes] == workers
        for process in processes:
            assert await process.stop() == 0
    paid = [await journal(dsn, name) for name in ("north", "south")]
    for (charged, voided), kept in zip(paid, journals, strict=True):
        assert charged <= kept.answered
        assert len(kept.answered - charged) <= voided
        assert set(kept.statuses) <= {200, 402, 503}
    assert await spent(hosts[0][1], dsn, "north", "south") == 3_000_000


async def test_workers_spend_nothing_that_was_refunded_while_their_host_could_not_listen(
    tmp_path: Path, postgres: Server, upstream: RawUpstream
) -> None:
    dsn = await postgres.schema()
    hosts = [write(tmp_path, name, dsn, upstream.url, workers=2) for name in ("north", "south")]
    (north, ours), (south, _) = hosts
    [caller] = await fund(ours, "10.00 usd", count=1)
    async with running(north) as process, running(south) as other:
        for _ in range(20):
            assert await sure(ours, caller) == 200
        connection = await asyncpg.connect(dsn)
        [row] = await connection.fetch("SELECT leased FROM account WHERE holder = $1", caller.account)
        assert row["leased"] > 50 * PRICE
        again = asyncio.create_task(deaf(connection, "north"))
        keeper = visiting_keeper(ours)
        await keeper.open()
        assert await keeper.reverse(
            Reversal("refund", caller.account, Money.parse("10.00 usd"), "refund", "in the dark")
        )
        await keeper.close()
        again.cancel()
        await asyncio.wait([again])
        statuses = Counter([await sure(ours, caller) for _ in range(20)])
        assert statuses[200] < 5
        assert await sure(ours, caller) == 402
        for one in (process, other):
            assert await one.stop() == 0
    await connection.close()
    await audited(ours)


async def deaf(connection: "asyncpg.Connection[asyncpg.Record]", host: str) -> None:
    """Whenever the host begins to listen to the others, it is cut off."""
    ear = f"gateway {host} ear"
    while True:
        await connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = $1", ear
        )
        await asyncio.sleep(0.001)


async def test_the_money_of_a_request_under_way_is_lent_to_nobody_while_its_keeper_is_dead(
    tmp_path: Path, postgres: Server, upstream: RawUpstream
) -> None:
    dsn, go, answer = await postgres.schema(), asyncio.Event(), upstream.script

    async def slow(visit: Visit) -> None:
        if b"/slow" in visit.head:
            await go.wait()
        await answer(visit)

    upstream.script = slow
    (north, ours), (south, theirs) = (
        write(tmp_path, name, dsn, upstream.url, workers=2) for name in ("north", "south")
    )
    [caller] = await fund(ours, "0.04 usd", count=1)  # twenty requests
    async with running(north) as process, running(south) as other:
        workers = process.workers()
        under_way = asyncio.create_task(ask(ours, caller, "/paid/slow"))
        await upstream.visited.wait()
        keeper = process.keeper()
        os.kill(keeper, signal.SIGKILL)
        statuses = Counter([await sure(theirs, caller) for _ in range(25)])
        assert statuses == {200: 19, 402: 6}
        go.set()
        assert (await under_way)[0] == 200
        assert process.workers() == workers
        for one in (process, other):
            assert await one.stop() == 0
    assert await spent(ours, dsn, "north", "south") == 20 * PRICE


async def test_a_keeper_that_dies_while_the_database_is_away_is_back_when_that_is(
    tmp_path: Path, server: Server, upstream: RawUpstream
) -> None:
    file, settings = write(tmp_path, "north", await server.schema(), upstream.url, workers=2)
    [caller] = await fund(settings, "1.00 usd", count=1)
    async with running(file) as process:
        assert (await ask(settings, caller))[0] == 200
        workers = process.workers()
        server.stop()
        os.kill(process.keeper(), signal.SIGKILL)
        assert (await ask(settings, caller))[0] == 503
        assert (await ask(settings, caller, "/free/x"))[0] == 200
        server.start()
        assert await sure(settings, caller) == 200
        assert process.workers() == workers
        assert await process.stop() == 0
    await audited(settings)


async def test_money_with_a_stopped_worker_is_doubtful_on_the_other_host_and_comes_back(
    tmp_path: Path, postgres: Server, upstream: RawUpstream
) -> None:
    dsn = await postgres.schema()
    (north, ours), (south, theirs) = (
        write(tmp_path, name, dsn, upstream.url, workers=2) for name in ("north", "south")
    )
    [caller] = await fund(ours, "0.04 usd", count=1)  # twenty requests
    async with running(north) as process, running(south) as other:
        status, fields, _ = await ask(ours, caller)
        statuses = Counter([status])
        stopped = process.worker(int(fields["Gateway-Request-Id"][-16:], 16) >> 48)
        os.kill(stopped, signal.SIGSTOP)
        async with asyncio.timeout(30):
            while 503 not in statuses:
                status, fields, _ = await ask(theirs, caller)
                statuses[status] += 1
        assert fields["Retry-After"] == "1"
        assert 402 not in statuses
        assert 10 < statuses[200] < 20
        await replaced(process, stopped, 3)
        async with asyncio.timeout(30):
            while 402 not in statuses:
                statuses[(await ask(theirs, caller))[0]] += 1
        for one in (process, other):
            assert await one.stop() == 0
    # The first answer is given away if its worker was stopped before it could tell that the answer had begun.
    assert statuses[200] == 20 + (await journal(dsn, "north"))[1]
    assert await spent(ours, dsn, "north", "south") == 20 * PRICE


async def test_a_host_whose_name_was_taken_serves_nothing_more_and_its_successor_all(
    tmp_path: Path, postgres: Server, upstream: RawUpstream
) -> None:
    dsn = await postgres.schema()
    (first, ours), (second, theirs) = (
        write(tmp_path, name, dsn, upstream.url, workers=2, host="north") for name in ("one", "two")
    )
    [caller] = await fund(ours, "0.04 usd", count=1)
    async with running(first) as old:
        assert (await ask(ours, caller))[0] == 200
        await begun(dsn)
        async with running(second) as new:
            statuses = Counter([(await ask(ours, caller))[0] for _ in range(3)])
            assert statuses == {503: 3}
            assert [(await ask(theirs, caller))[0] for _ in range(20)] == [200] * 19 + [402]
            os.kill(old.keeper(), signal.SIGKILL)  # its heir finds another gateway in the books
            assert (await ask(ours, caller))[0] == 503
            assert (await ask(theirs, caller))[0] == 402
            assert await new.stop() == 0
        assert await old.stop() == 0
    assert await spent(ours, dsn, "north") == 20 * PRICE
