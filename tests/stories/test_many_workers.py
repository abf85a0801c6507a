"""Several processes serve callers, one keeps the books, and any of them may die: the money does not notice."""

import asyncio
import json
import os
import random
import signal
import sqlite3
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import pytest
from click.testing import CliRunner

from gateway.adapters.sqlite.audit import audit
from gateway.cli import main
from gateway.cli.books import head_keys
from gateway.core.ledger import Kind, Record
from gateway.settings import Settings
from tests.callers import Funded
from tests.gateway_process import PROMISED, GatewayProcess, fund, running, write_config
from tests.raw import RawUpstream, Visit, closed
from tests.relay.scenes import until

TORTURE = bool(os.environ.get("GATEWAY_TORTURE"))
KILLS = 1000 if TORTURE else 24
ROUNDS = 50 if TORTURE else 3
CONNECTIONS = 32
PRICE = 2_000


@pytest.fixture
async def upstream() -> AsyncIterator[RawUpstream]:
    upstream = RawUpstream()
    await upstream.start()
    yield upstream
    await upstream.stop()


class Journal:
    """What callers saw: the ids of requests that were answered, and every status."""

    def __init__(self) -> None:
        self.answered: set[str] = set()
        self.statuses: Counter[int] = Counter()
        self.broken = 0
        self.refused = 0
        self.codes: Counter[str] = Counter()


class Callers:
    """Connections that ask without pause, each again when it is cut."""

    def __init__(self, settings: Settings, callers: list[Funded], journal: Journal) -> None:
        assert isinstance(settings.listen, tuple)
        self._address = settings.listen
        self._callers = callers
        self.journal = journal
        self._tasks: list[asyncio.Task[None]] = []

    @contextmanager
    def asking(self, *, connections: int = CONNECTIONS, keep_alive: bool = True) -> Iterator[None]:
        self._stopping = False
        self._tasks = [asyncio.create_task(self._connection(number, keep_alive)) for number in range(connections)]
        try:
            yield
        finally:
            self._stopping = True

    async def ended(self) -> None:
        async with asyncio.timeout(30):
            await asyncio.gather(*self._tasks)

    async def answers(self, more: int) -> None:
        """Until so many more requests were answered."""
        wanted = len(self.journal.answered) + more
        await until(lambda: len(self.journal.answered) >= wanted, seconds=60)

    async def _connection(self, number: int, keep_alive: bool) -> None:
        order = random.Random(number)
        while not self._stopping:
            try:
                reader, writer = await asyncio.open_connection(*self._address)
            except OSError:
                self.journal.refused += 1
                await asyncio.sleep(0.02)
                continue
            try:
                while not self._stopping:
                    fields = await self._ask(reader, writer, order.choice(self._callers), keep_alive)
                    if not keep_alive or fields.get("Connection") == "close":
                        break
            except (OSError, asyncio.IncompleteReadError):
                self.journal.broken += 1
            finally:
                await closed(writer)

    async def _ask(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, caller: Funded, keep_alive: bool
    ) -> dict[str, str]:
        last = "" if keep_alive else "Connection: close\r\n"
        bearer = f"Authorization: Bearer {caller.token}\r\n"
        writer.write(f"GET /paid/oslo HTTP/1.1\r\nHost: x\r\n{bearer}{last}\r\n".encode())
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        fields = dict(line.split(": ", 1) for line in head.split("\r\n")[1:-2])
        status = int(head.split(" ")[1])
        if status == 200:
            self.journal.answered.add(fields["Gateway-Request-Id"])
        self.journal.statuses[status] += 1
        await reader.readexactly(int(fields["Content-Length"]))
        return fields


async def ask(settings: Settings, caller: Funded, path: str = "/paid/oslo") -> tuple[int, dict[str, str], bytes]:
    """One request on a connection of its own."""
    assert isinstance(settings.listen, tuple)
    reader, writer = await asyncio.open_connection(*settings.listen)
    try:
        bearer = f"Authorization: Bearer {caller.token}\r\nConnection: close\r\n"
        writer.write(f"GET {path} HTTP/1.1\r\nHost: x\r\n{bearer}\r\n".encode())
        async with asyncio.timeout(20):
            head, _, body = (await reader.read()).partition(b"\r\n\r\n")
    finally:
        await closed(writer)
    lines = head.decode().split("\r\n")
    return int(lines[0].split(" ")[1]), dict(line.split(": ", 1) for line in lines[1:]), body


async def replaced(process: GatewayProcess, pid: int, count: int) -> None:
    """Until there are so many processes again, and this is none of them."""

    def whole() -> bool:
        try:
            now = [process.keeper(), *process.workers()]
        except ValueError:
            return False
        return len(now) == count and pid not in now

    await until(whole, seconds=20)


def charged(path: Path) -> tuple[set[str], int]:
    """The ids of the requests that the ledger charged, and how many it voided."""
    net: Counter[str] = Counter()
    voided = 0
    with closing(sqlite3.connect(path)) as connection:
        for (payload,) in connection.execute("SELECT payload FROM batch"):
            for record in Record.unpack_all(payload):
                net[str(record.request)] += record.micros
                voided += record.kind is Kind.VOID
    assert min(net.values(), default=0) >= 0
    return {request for request, micros in net.items() if micros}, voided


def audited(settings: Settings) -> int:
    """A clean audit; what was spent."""
    report = audit(settings.store_path, head_key=head_keys(settings))
    assert report.clean, [str(finding) for finding in report.findings]
    return report.totals["usd"].spent


def edit(file: Path, change: Callable[[dict[str, object]], object]) -> None:
    config = json.loads(file.read_text())
    change(config)
    file.write_text(json.dumps(config))


async def command(*arguments: str) -> tuple[int, str]:
    done = await asyncio.to_thread(CliRunner().invoke, main, list(arguments))
    return done.exit_code, done.output


# --- exactly what is affordable ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("workers", [2, 4])
async def test_five_hundred_at_once_get_exactly_what_the_account_affords(
    tmp_path: Path, upstream: RawUpstream, workers: int
) -> None:
    settings = write_config(tmp_path, upstream.url, workers=workers)
    order = random.Random(workers)
    affordable = [order.randrange(0, 400) for _ in range(ROUNDS)]
    callers = []
    for count in affordable:
        callers += await fund(settings, f"{count * PRICE / 1_000_000 + 0.001:.6f} usd", count=1)
    async with running(tmp_path / "gateway.yaml") as process:
        for caller, count in zip(callers, affordable, strict=True):
            before = len(upstream.visits)
            answers = await asyncio.gather(*(ask(settings, caller) for _ in range(500)))
            statuses = Counter(status for status, _, _ in answers)
            assert statuses == Counter({200: count, 402: 500 - count})
            assert len(upstream.visits) - before == count
        assert await process.stop() == 0
    assert audited(settings) == sum(affordable) * PRICE


async def test_four_workers_drain_an_account_to_exactly_zero(tmp_path: Path, upstream: RawUpstream) -> None:
    settings = write_config(tmp_path, upstream.url, workers=4)
    callers = await fund(settings, "1.00 usd", count=3)
    journal = Journal()
    load = Callers(settings, callers, journal)
    async with running(tmp_path / "gateway.yaml") as process:
        with load.asking():
            await until(lambda: journal.statuses[402] > 300, seconds=20)
        await load.ended()
        assert await process.stop() == 0
    assert journal.statuses[200] == 1500
    assert set(journal.statuses) == {200, 402}
    assert audited(settings) == 3_000_000


async def test_a_limit_holds_for_all_workers_together(tmp_path: Path, upstream: RawUpstream) -> None:
    settings = write_config(tmp_path, upstream.url, workers=4, limit="20/hour")
    [caller] = await fund(settings, "1.00 usd", count=1)
    async with running(tmp_path / "gateway.yaml"):
        answers = await asyncio.gather(*(ask(settings, caller) for _ in range(60)))
    assert Counter(status for status, _, _ in answers) == {200: 20, 429: 40}


# --- who dies ---------------------------------------------------------------------------------------------------------


async def test_two_hundred_callers_at_their_limits_get_these_from_four_workers_and_never_more(
    tmp_path: Path, upstream: RawUpstream
) -> None:
    """A keeper that takes too long to answer, on a busy machine, has counted what nobody was served: less, not more."""

    async def definite(caller: Funded) -> int:
        status = 503
        while status == 503:
            status, _, _ = await ask(settings, caller)
        return status

    limits = [
        {"rate": "5/hour", "per": "account", "window": "fixed"},
        {"rate": "6/hour", "per": "token", "window": "moving"},
        {"concurrent": 3, "per": "account"},
    ]
    settings = write_config(tmp_path, upstream.url, workers=4, limits=limits, limits_down="closed")
    callers = await fund(settings, "1.00 usd", count=200)
    async with running(tmp_path / "gateway.yaml") as process:
        admitted: Counter[str] = Counter()
        for _ in range(5):
            answers = await asyncio.gather(*(definite(caller) for caller in callers for _ in range(2)))
            asked = [caller.account for caller in callers for _ in range(2)]
            for account, status in zip(asked, answers, strict=True):
                assert status in (200, 429)
                admitted[account] += status == 200
        assert max(admitted.values()) == 5
        assert sum(admitted.values()) >= 0.99 * 200 * 5
        assert await process.stop() == 0
    assert audited(settings) == sum(admitted.values()) * PRICE


async def test_after_any_number_of_kills_nobody_paid_for_nothing(tmp_path: Path, upstream: RawUpstream) -> None:
    """kill -9 of workers and of the keeper, under load, at random."""
    settings = write_config(tmp_path, upstream.url, workers=4)
    callers = await fund(settings, "900.00 usd", count=20)
    journal, order = Journal(), random.Random(5)
    load = Callers(settings, callers, journal)
    async with running(tmp_path / "gateway.yaml") as process:
        with load.asking():
            for _ in range(KILLS):
                await load.answers(order.randrange(20, 300))
                victim = process.keeper() if order.random() < 0.3 else order.choice(process.workers())
                os.kill(victim, signal.SIGKILL)
                await replaced(process, victim, 5)
            await load.answers(100)
        await load.ended()
        assert await process.stop() == 0
    paid, voided = charged(settings.store_path)
    assert paid <= journal.answered, "a request was charged whose answer never came"
    given_away = len(journal.answered - paid)
    assert given_away <= voided
    assert given_away <= 2 * CONNECTIONS * KILLS / 4
    assert set(journal.statuses) <= {200, 503}
    assert audited(settings) == len(paid) * PRICE
    print(
        f"{KILLS} kills, {len(journal.answered)} answered, {voided} voided, {given_away} given away, {journal.statuses}"
    )


async def test_places_outlive_the_keeper_and_end_with_their_worker(tmp_path: Path, upstream: RawUpstream) -> None:
    answering, go_on = upstream.script, asyncio.Event()

    async def slow(visit: Visit) -> None:
        await go_on.wait()
        await answering(visit)

    upstream.script = slow
    narrow = [{"concurrent": 2, "per": "account"}]
    settings = write_config(tmp_path, upstream.url, workers=2, limits=narrow, limits_down="closed")
    [caller] = await fund(settings, "1.00 usd", count=1)
    async with running(tmp_path / "gateway.yaml") as process:
        held = [asyncio.create_task(ask(settings, caller)) for _ in range(2)]
        await until(lambda: len(upstream.visits) == 2)
        assert (await ask(settings, caller))[0] == 429
        keeper = process.keeper()
        os.kill(keeper, signal.SIGKILL)
        await replaced(process, keeper, 3)
        statuses = [503]
        while statuses[-1] == 503:
            statuses.append((await ask(settings, caller))[0])
        assert set(statuses) == {503, 429}
        for worker in process.workers():
            os.kill(worker, signal.SIGKILL)
            await replaced(process, worker, 3)
        await asyncio.gather(*held, return_exceptions=True)
        go_on.set()
        answers = [(await ask(settings, caller))[0] for _ in range(3)]
        assert answers == [200, 200, 200]


async def test_while_the_keeper_is_away_paid_routes_say_so_and_free_ones_go_on(
    tmp_path: Path, upstream: RawUpstream
) -> None:
    settings = write_config(tmp_path, upstream.url, workers=2, ledger=PROMISED)
    [caller] = await fund(settings, "1.00 usd", count=1)
    async with running(tmp_path / "gateway.yaml") as process:
        assert (await ask(settings, caller))[0] == 200
        keeper = process.keeper()
        os.kill(keeper, signal.SIGSTOP)
        began = time.monotonic()
        status, fields, _ = await ask(settings, caller)
        assert (status, fields["Retry-After"]) == (503, "1")
        assert time.monotonic() - began < 5
        assert (await ask(settings, caller, "/free/x"))[0] == 200
        await replaced(process, keeper, 3)  # five silent seconds are too many
        async with asyncio.timeout(10):
            while (await ask(settings, caller))[0] == 503:
                pass
        assert await process.stop() == 0
    assert audited(settings) == len(charged(settings.store_path)[0]) * PRICE == 2 * PRICE


async def test_money_in_the_slice_of_a_stopped_worker_is_doubtful_and_comes_back(
    tmp_path: Path, upstream: RawUpstream
) -> None:
    settings = write_config(tmp_path, upstream.url, workers=2)
    [caller] = await fund(settings, "0.04 usd", count=1)  # twenty requests
    async with running(tmp_path / "gateway.yaml") as process:
        status, fields, _ = await ask(settings, caller)
        slot = int(fields["Gateway-Request-Id"][-16:], 16) >> 48
        stopped = process.worker(slot)  # it has drawn a slice, of which it has spent one request
        os.kill(stopped, signal.SIGSTOP)
        statuses = Counter([status])
        async with asyncio.timeout(30):
            while 503 not in statuses:
                with suppress(TimeoutError):
                    status, fields, _ = await asyncio.wait_for(ask(settings, caller), 1)
                    statuses[status] += 1
        assert fields["Retry-After"] == "1"
        assert 402 not in statuses
        assert 10 < statuses[200] < 20
        await replaced(process, stopped, 3)
        async with asyncio.timeout(30):
            while 402 not in statuses:
                statuses[(await ask(settings, caller))[0]] += 1
        assert await process.stop() == 0
    # The first answer is given away if its worker was stopped before it could tell that the answer had begun.
    assert statuses[200] == 20 + charged(settings.store_path)[1]
    assert audited(settings) == 20 * PRICE


async def test_when_the_parent_is_killed_everybody_ends_and_the_books_are_whole(
    tmp_path: Path, upstream: RawUpstream
) -> None:
    settings = write_config(tmp_path, upstream.url, workers=2)
    callers = await fund(settings, "1.00 usd", count=5)
    journal = Journal()
    load = Callers(settings, callers, journal)
    async with running(tmp_path / "gateway.yaml") as process:
        with load.asking():
            await load.answers(200)
            os.kill(process.pid, signal.SIGKILL)
            await process.ended()
            await until(lambda: not process.workers(), seconds=20)
        await load.ended()
        await until(lambda: not process._called("gateway-"), seconds=20)
    paid, _ = charged(settings.store_path)
    assert paid <= journal.answered
    async with running(tmp_path / "gateway.yaml") as process:
        assert (await ask(settings, callers[0]))[0] == 200
        assert await process.stop() == 0
    audited(settings)


async def test_a_worker_that_ends_at_once_each_time_is_tried_ever_later(tmp_path: Path, upstream: RawUpstream) -> None:
    settings = write_config(tmp_path, upstream.url, workers=2)
    [caller] = await fund(settings, "1.00 usd", count=1)
    async with running(tmp_path / "gateway.yaml") as process:
        for _ in range(4):
            victim = process.workers()[0]
            os.kill(victim, signal.SIGKILL)
            await replaced(process, victim, 3)
        assert (await ask(settings, caller))[0] == 200
        assert await process.stop() == 0


# --- reload and restart -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("keep_alive", [True, False])
async def test_twelve_restarts_under_load_fail_no_request(
    tmp_path: Path, upstream: RawUpstream, keep_alive: bool
) -> None:
    settings = write_config(tmp_path, upstream.url, workers=2)
    callers = await fund(settings, "100.00 usd", count=5)
    journal = Journal()
    load = Callers(settings, callers, journal)
    file = str(tmp_path / "gateway.yaml")
    async with running(tmp_path / "gateway.yaml") as process:
        with load.asking(connections=16, keep_alive=keep_alive):
            for _ in range(12):
                before = process.workers()
                assert await command("restart", "--config", file) == (0, "2 workers replaced\n")
                await load.answers(20)
                assert not set(before) & set(process.workers()[-2:])
        await load.ended()
        assert await process.stop() == 0
    assert (set(journal.statuses), journal.broken, journal.refused) == ({200}, 0, 0)
    assert charged(settings.store_path)[0] == journal.answered
    audited(settings)


async def test_a_reload_reaches_every_worker_and_those_that_come_later(tmp_path: Path, upstream: RawUpstream) -> None:
    settings = write_config(tmp_path, upstream.url, workers=4)
    file = tmp_path / "gateway.yaml"
    [caller] = await fund(settings, "1.00 usd", count=1)
    async with running(file) as process:
        edit(file, lambda config: config["routes"][0].update(price="0.005 usd"))  # type: ignore[index]
        assert await command("reload", "--config", str(file)) == (0, "reloaded; routes: changed paid\n")
        costs = {(await ask(settings, caller))[1]["Gateway-Cost"] for _ in range(20)}
        assert costs == {"0.005 usd"}
        edit(file, lambda config: config["routes"][0].update(price="dear"))  # type: ignore[index]
        code, said = await command("reload", "--config", str(file))
        assert code == 2  # the command itself reads the file first, and says what is wrong with it
        assert "routes.0.price" in said or "price" in said
        os.kill(process.pid, signal.SIGHUP)
        for victim in process.workers():
            os.kill(victim, signal.SIGKILL)
            await replaced(process, victim, 5)
        costs = {(await ask(settings, caller))[1]["Gateway-Cost"] for _ in range(20)}
        assert costs == {"0.005 usd"}
        assert await process.stop() == 0


async def test_one_process_says_that_it_cannot_restart_itself(tmp_path: Path, upstream: RawUpstream) -> None:
    write_config(tmp_path, upstream.url)
    async with running(tmp_path / "gateway.yaml"):
        code, said = await command("restart", "--config", str(tmp_path / "gateway.yaml"))
    assert (code, said) == (1, "gateway: workers: there is only one; restart the service, or set 2 or more\n")


# --- logs -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("workers", [1, 2])
async def test_workers_share_a_log_file_that_is_put_aside_under_them(
    tmp_path: Path, upstream: RawUpstream, workers: int
) -> None:
    settings = write_config(tmp_path, upstream.url, workers=workers)
    log = tmp_path / "logs" / "gateway.log"
    log.parent.mkdir()
    environ = {"GATEWAY_LOG__FILE": str(log), "GATEWAY_LOG__ROTATE_SIZE": "20 KiB"}
    [caller] = await fund(settings, "1.00 usd", count=1)

    def lines() -> list[dict[str, object]]:
        files = [path for path in log.parent.iterdir() if path.suffix != ".lock"]
        return [json.loads(line) for path in files for line in path.read_text().splitlines()]

    async with running(tmp_path / "gateway.yaml", environ=environ) as process:
        answered = []
        for number in range(200):
            status, fields, _ = await ask(settings, caller)
            answered.append((status, fields["Gateway-Request-Id"]))
            if number == 100:
                log.rename(log.with_name("moved"))
                os.kill(process.pid, signal.SIGUSR1)  # as logrotate may
                for worker in process.workers():
                    os.kill(worker, signal.SIGUSR1)
        await until(lambda: sum(line["event"] == "request" for line in lines()) == len(answered), seconds=20)
        if workers > 1:
            os.kill(process.workers()[0], signal.SIGKILL)
            await until(lambda: "process ended" in {line["event"] for line in lines()}, seconds=20)
        assert await process.stop() == 0
    told = lines()
    requests = [(line["status"], line["request_id"]) for line in told if line["event"] == "request"]
    assert sorted(set(answered) - set(requests)) == []
    assert len(set(requests)) == len(requests) == len(answered)
    assert {line["worker"] for line in told if line["event"] == "request"} <= {0, 1}
    assert len(list(log.parent.iterdir())) > 3
    assert caller.token not in str(told)


# --- metrics ----------------------------------------------------------------------------------------------------------


async def scraped(settings: Settings) -> dict[str, float]:
    """What Prometheus would read, by name and labels."""
    reader, writer = await asyncio.open_connection(*settings.admin)
    writer.write(b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    text = (await reader.read()).decode().partition("\r\n\r\n")[2]
    await closed(writer)
    lines = [line.rpartition(" ") for line in text.splitlines() if line and not line.startswith("#")]
    return {name: float(value) for name, _, value in lines}


@pytest.mark.parametrize("workers", [1, 4])
async def test_metrics_count_all_workers_together_also_those_that_have_ended(
    tmp_path: Path, upstream: RawUpstream, workers: int
) -> None:
    settings = write_config(tmp_path, upstream.url, workers=workers)
    [caller] = await fund(settings, "0.02 usd", count=1)
    async with running(tmp_path / "gateway.yaml") as process:
        for _ in range(12):
            await ask(settings, caller)
        await ask(settings, caller, "/free/x")
        if workers > 1:
            assert (await command("restart", "--config", str(tmp_path / "gateway.yaml")))[0] == 0
        expected = {
            'gateway_requests_total{route="free",status="200"}': 1,
            'gateway_requests_total{route="paid",status="200"}': 10,
            'gateway_requests_total{route="paid",status="402"}': 2,
            'gateway_charged_total{currency="usd",route="paid"}': 0.02,
            "gateway_limits_forgotten_total": 0,
            "gateway_workers": workers,
            "gateway_ledger_stuck": 0,
            'gateway_refusals_total{code="payment_required",route="paid"}': 2,
            'gateway_request_seconds_count{route="paid"}': 12,
            'gateway_upstream_seconds_bucket{le="+Inf",route="paid"}': 10,
            'gateway_holds_total{outcome="captured",route="paid"}': 10,
            "gateway_workers_wanted": workers,
            "gateway_records_up": 1,
            "gateway_ledger_records_total": 10,
            'gateway_reloads_total{outcome="taken"}': 1,
            'gateway_reloads_total{outcome="refused"}': 1,
            'gateway_jobs{state="failed"}': 0,
        }
        slots = {"0"} if workers == 1 else {*map(str, range(workers)), "keeper"}
        good = (tmp_path / "gateway.yaml").read_text()
        os.kill(process.pid, signal.SIGHUP)
        async with asyncio.timeout(20):
            while (await scraped(settings)).get('gateway_reloads_total{outcome="taken"}') != 1:
                await asyncio.sleep(0.01)
        (tmp_path / "gateway.yaml").write_text("version: 2")
        os.kill(process.pid, signal.SIGHUP)
        found: dict[str, float] = {}
        try:
            async with asyncio.timeout(20):
                while {name: found.get(name) for name in expected} != expected:
                    found = await scraped(settings)
        except TimeoutError:
            assert {name: found.get(name) for name in expected} == expected
        told = {name.partition('"')[2].rstrip('"}') for name in found if name.startswith("gateway_process_open_fds")}
        assert told == slots
        (tmp_path / "gateway.yaml").write_text(good)
        if workers > 1:
            for victim in process.workers():
                os.kill(victim, signal.SIGKILL)
                await replaced(process, victim, workers + 1)
                now = await scraped(settings)
                assert all(
                    now[name] >= number for name, number in found.items() if "_total" in name or "_bucket" in name
                )
        assert await process.stop() == 0
