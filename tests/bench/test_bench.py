"""The loads count everything, notice every answer that is not right, and hide no stall; the parts of a run work."""

import asyncio
import json
import signal
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import pytest

from tests.bench import contenders, events, handmade, mass, nginx, paced, peers
from tests.bench.__main__ import main
from tests.bench.bulk import Bulk
from tests.bench.canned import Canned, answer_with, body_of
from tests.bench.cores import Pins
from tests.bench.events import Events
from tests.bench.handmade import Handmade
from tests.bench.load import Load, Plan, Tally, percentile
from tests.bench.options import parsed
from tests.bench.paced import Paced
from tests.bench.processes import BenchFailed, Processes, first_answer
from tests.bench.report import Figures
from tests.bench.rounds import Times, answered
from tests.bench.sse import Lags

BODY = body_of(1024)
RIGHT = answer_with(BODY)


class Counted(Canned):
    """Gives one answer after the other, in turn, and keeps what it was asked."""

    answers: Sequence[bytes] = ()
    requests: list[bytes]

    def answer(self, request: bytes) -> bytes:
        cls = type(self)
        cls.requests.append(request)
        return cls.answers[len(cls.requests) % len(cls.answers)]


@asynccontextmanager
async def serving(*answers: bytes) -> AsyncIterator[tuple[int, Callable[[], int]]]:
    """A server that gives these answers in turn; its port, and how often it was asked."""
    async with listening(*answers) as (port, requests):
        yield port, lambda: len(requests)


@asynccontextmanager
async def listening(*given: bytes) -> AsyncIterator[tuple[int, list[bytes]]]:
    """The same, but what it was asked."""

    class Here(Counted):
        answers = given
        requests: list[bytes] = []  # noqa: RUF012  # of this class alone

    async with await asyncio.get_running_loop().create_server(Here, "127.0.0.1", 0) as server:
        yield server.sockets[0].getsockname()[1], Here.requests


async def load(port: int, *, fields: tuple[str, ...] = (), varied: bool = False) -> Tally:
    plan = Plan(
        port,
        "/x",
        ("one", "two"),
        BODY.decode(),
        fields=fields,
        varied=varied,
        connections=3,
        warm_up_seconds=0.01,
        seconds=0.05,
    )
    return await Load(plan).run()


async def test_every_request_is_counted_once() -> None:
    async with serving(RIGHT) as (port, asked):
        tally = await load(port)
    assert tally.right
    assert tally.sent == tally.served == asked()
    assert tally.counted <= tally.served
    assert tally.p50_ms <= tally.p99_ms


WRONG = [
    answer_with(BODY, b"402 Payment Required"),
    answer_with(BODY[:-2] + b"!}"),
    answer_with(BODY[:-1]),
    RIGHT + b"more",
]


@pytest.mark.parametrize("wrong", WRONG)
async def test_every_wrong_answer_is_noticed(wrong: bytes) -> None:
    async with serving(RIGHT, RIGHT, wrong) as (port, asked):
        tally = await load(port)
    assert not tally.right
    assert tally.wrong == (asked() + 1) // 3  # the second, the fifth, the eighth …
    assert tally.served + tally.wrong == tally.sent == asked()
    assert wrong.decode().startswith(tally.first_wrong[:100])


async def test_an_answer_that_is_never_finished_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.bench.load._OWED_SECONDS_MAX", 0.05)
    async with serving(RIGHT[:-1]) as (port, asked):
        tally = await load(port)
    assert (tally.sent, tally.missing, asked()) == (3, 3, 3)
    assert not tally.right


async def test_a_varied_field_is_there_once_and_never_twice_the_same() -> None:
    async with listening(RIGHT) as (port, requests):
        tally = await load(port, fields=("Traceparent: always", "Priority: u=1"), varied=True)
    heads = [request.split(b"\r\n") for request in requests]
    traces = [[line for line in head if line.startswith(b"Traceparent:")] for head in heads]
    assert tally.right
    assert {len(found) for found in traces} == {1}
    assert len({found[0] for found in traces}) == len(requests) == tally.sent
    assert {len(found[0]) for found in traces} == {len("Traceparent: 00-") + 32 + len("-") + 16 + len("-01")}
    assert all(b"Priority: u=1" in head for head in heads)


async def test_an_answer_in_chunks_is_put_together() -> None:
    head, half = RIGHT.split(b"\r\n\r\n")[0].partition(b"\r\nContent-Length")[0], len(BODY) // 2
    framed = b"%x\r\n%b\r\n%x\r\n%b\r\n" % (half, BODY[:half], len(BODY) - half, BODY[half:])
    right = head + b"\r\nTransfer-Encoding: chunked\r\n\r\n" + framed + b"0\r\n\r\n"
    async with serving(right) as (port, asked):
        tally = await load(port)
    assert (tally.right, tally.served) == (True, asked())
    async with serving(right, right.replace(b"x\r\n", b"y\r\n", 1)) as (port, _):
        assert (await load(port)).wrong


def test_a_percentile_is_one_of_the_values() -> None:
    values = [1.0, 2.0, 3.0, 4.0]
    assert [percentile(values, percent) for percent in (1, 25, 26, 50, 99, 100)] == [1, 1, 2, 2, 4, 4]
    assert percentile([], 50) == 0


async def keep_pace(port: int, *, seconds: float = 0.1, connections: int = 3) -> paced.Tally:
    plan = paced.Plan(
        port, "/x", ("one",), BODY.decode(), connections=connections, warm_up_seconds=0.01, seconds=seconds
    )
    return await asyncio.to_thread(Paced(plan).run)


async def test_a_schedule_is_kept_to_the_last_request() -> None:
    async with serving(RIGHT) as (port, asked):
        begun = time.perf_counter()
        tally = await keep_pace(port)
        took = time.perf_counter() - begun
    assert tally.right
    assert tally.sent == tally.served == asked() == 110
    assert took >= 0.109
    assert 0 < tally.p50_ms <= tally.p99_ms


async def test_a_stall_is_felt_by_all_who_were_due_meanwhile() -> None:
    """Two connections: callers who waited for their answers would report two slow requests, and a quick median."""
    async with serving(RIGHT) as (port, _):
        pace = asyncio.create_task(keep_pace(port, seconds=0.3, connections=2))
        await asyncio.sleep(0.05)
        time.sleep(0.25)  # noqa: ASYNC251  # the stall
        tally = await pace
    assert tally.right
    assert tally.sent == 310
    assert tally.p50_ms > 50
    assert tally.late_p99_ms > 50


@pytest.mark.parametrize("wrong", WRONG)
async def test_every_wrong_answer_at_a_fixed_rate_is_noticed(wrong: bytes) -> None:
    async with serving(RIGHT, RIGHT, wrong) as (port, _):
        tally = await keep_pace(port, seconds=0.01)
    assert not tally.right
    assert tally.served + tally.wrong == tally.sent == 20
    assert tally.wrong


async def test_an_answer_that_is_never_finished_stops_the_schedule(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.bench.paced._STUCK_SECONDS", 0.05)
    async with serving(RIGHT[:-1]) as (port, _):
        tally = await keep_pace(port)
    assert (tally.sent, tally.missing, tally.right) == (3, 3, False)


async def hear(protocol: type[Events]) -> events.Tally:
    server = await asyncio.get_running_loop().create_server(protocol, "127.0.0.1", 0)
    async with server:
        plan = events.Plan(server.sockets[0].getsockname()[1], "/", seconds=0.06, warm_up_seconds=0.02, streams=3)
        assert (plan.uncounted, plan.events) == (1, 4)
        return await events.listen(plan)


async def test_every_stream_brings_every_event() -> None:
    tally = await hear(Events)
    assert (tally.whole, tally.first_wrong) == (3, "")
    assert 0 < tally.p50_ms <= tally.p99_ms


class Dropping(Events):
    def _send(self, number: int, event: bytes) -> None:
        if number != 2:
            super()._send(number, event)


class Doubling(Events):
    def _send(self, number: int, event: bytes) -> None:
        super()._send(number, event * 2)


class Swapping(Events):
    _kept = b""

    def _send(self, number: int, event: bytes) -> None:
        if number == 1:
            self._kept = event
            return
        super()._send(number, event)
        if number == 2:
            super()._send(1, self._kept)


class Breaking(Events):
    def _send(self, number: int, event: bytes) -> None:
        super()._send(number, event)
        if number == 2:
            self._transport.close()


async def test_an_event_that_is_kept_back_is_late() -> None:
    class Late(Events):
        def _send(self, number: int, event: bytes) -> None:
            time.sleep(0.01)  # after its time was taken
            super()._send(number, event)

    tally = await hear(Late)
    assert tally.whole == 3
    assert tally.p50_ms >= 10


@pytest.mark.parametrize("protocol", [Dropping, Doubling, Swapping, Breaking])
async def test_a_stream_that_is_not_whole_is_noticed(protocol: type[Events]) -> None:
    tally = await hear(protocol)
    assert tally.whole == 0
    assert tally.first_wrong


@contextmanager
def upstream() -> Iterator[int]:
    with mass.serving(0) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield int(server.server_address[1])
        server.shutdown()
        thread.join()


@pytest.mark.parametrize("way", ["down", "up"])
def test_a_large_body_passes_whole_and_no_faster_than_it_is_read(way: mass.Way) -> None:
    size, slow = 3_000_000, 20_000_000
    with upstream() as port:
        fast = mass.passed(mass.Plan(port, "/", way, 0, contender_pid=0, size=size))
        slowly = mass.passed(mass.Plan(port, "/", way, slow, contender_pid=0, size=size))
    assert (fast.right, slowly.right) == (True, True)
    assert slowly.seconds >= size / slow * 0.99
    assert fast.peak_bytes is None  # there is no process 0


@pytest.mark.parametrize("wrong", [b"x", b"", None])
def test_one_wrong_byte_among_millions_is_noticed(wrong: bytes | None) -> None:
    reading, part = mass.Reading(0), bytes(mass.content(0, 1000))
    reading.take(part)
    reading.take(part if wrong is None else bytes(mass.content(1000, 500)) + wrong + bytes(mass.content(1501, 499)))
    assert not reading.right


@pytest.mark.skipif(sys.platform != "linux", reason="looks at the memory through /proc")
def test_the_most_memory_meanwhile_is_what_counts() -> None:
    with mass.Watch(threading.get_native_id()) as watch:
        filled = b"x" * 50_000_000
        time.sleep(0.02)
        del filled
        time.sleep(0.02)
    assert watch.peak_bytes is not None
    found = Bulk(1, {"free": "free"}, {"free": watch.peak_bytes - 50_000_000})
    found.rounds.append({"free": [mass.Tally("up", 0, True, "", 1.0, peak) for peak in (1, watch.peak_bytes, None)]})
    assert (found.more_bytes("free", "up"), found.more_bytes("free", "down")) == (50_000_000, None)
    assert found.ratio("free", "up") is None  # no nginx


def test_a_ratio_is_taken_within_a_round() -> None:
    def at(speed: int) -> Tally:
        return Tally(counted=speed, seconds=1.0)

    titles = {"nginx": "nginx", "free": "free"}
    found = Figures(titles, [{"nginx": at(10), "free": at(5)}, {"nginx": at(100), "free": at(20)}])
    assert found.ratio("free", "nginx") == pytest.approx(0.35)
    assert (found.speed("nginx"), found.speed("free")) == (55, 12.5)
    assert (found.ratio("free", "handmade"), found.speed("handmade")) == (None, None)


def test_who_skips_a_round_was_asked_nothing_in_it() -> None:
    assert answered([{"free": Tally(served=2), "strict": Tally(served=3)}, {"free": Tally(served=4)}], "strict") == 3


def test_a_difference_is_taken_within_a_round() -> None:
    def lag(milliseconds: float) -> events.Tally:
        return events.Tally(1, p50_ms=milliseconds, p99_ms=2 * milliseconds)

    found = Lags({"nginx": "", "free": ""}, [{"nginx": lag(1), "free": lag(2)}, {"nginx": lag(5), "free": lag(9)}])
    assert (found.more_ms("free", "p50_ms"), found.more_ms("free", "p99_ms")) == (2.5, 5)
    assert Lags({"free": ""}, [{"free": lag(2)}]).more_ms("free", "p50_ms") is None


def chosen(*arguments: str) -> set[str]:
    options = parsed(arguments)
    return {part for part in ("main", "shapes", "latency", "sse", "use", "bulk") if getattr(options, part)}


def test_a_run_measures_what_it_was_asked_for() -> None:
    assert chosen() == {"main"}
    assert chosen("--fields", "15", "--varied") == {"main"}
    assert chosen("--shapes") == {"main", "shapes"}
    assert chosen("--sse", "--quick") == {"sse"}
    assert chosen("--latency", "--bulk") == {"latency", "bulk"}
    assert chosen("--use") == {"use"}
    assert chosen("--all") == {"main", "shapes", "latency", "sse", "use", "bulk"}


@pytest.mark.parametrize("arguments", [["--all", "--varied"], ["--shapes", "--fields", "15"], ["--rounds", "0"]])
def test_a_run_that_makes_no_sense_is_refused(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parsed(arguments)
    assert "error: " in capsys.readouterr().err


@pytest.mark.skipif(handmade.version() is None, reason=handmade.MISSING)
@pytest.mark.parametrize("way", handmade.WAYS, ids=lambda way: way.name)
def test_pay_per_use_by_hand_refuses_and_keeps_its_books(
    way: handmade.Way, monkeypatch: pytest.MonkeyPatch, short: Path
) -> None:
    monkeypatch.setattr(handmade, "_LIMIT", 3)
    monkeypatch.setattr(handmade, "_BALANCE_MICROS", 2_500)
    with Processes(short, Pins()) as processes:
        answering = contenders.start_upstream(processes, bodies=(BODY,))
        built = Handmade(processes, way, upstream_port=answering.port, tokens=("rich",))

        def status(token: str | None) -> int:
            fields = "" if token is None else f"Authorization: Bearer {token}\r\n"
            return int(first_answer(built.port, "/1024", fields).split()[1])

        assert [status(token) for token in (None, "unknown")] == [401, 402]
        assert [status("rich") for _ in range(4)] == [200, 200, 402, 429]
        built.prove(2)
        for served in (1, 3):
            with pytest.raises(BenchFailed, match="are gone from the accounts"):
                built.prove(served)


@pytest.mark.skipif(nginx.program() is None, reason="nginx is their upstream, and is not installed")
def test_peers_that_are_not_installed_are_left_out(tmp_path: Path) -> None:
    progress: list[str] = []
    with Processes(tmp_path, Pins()) as processes:
        found = peers.measured(
            processes.within("peers"), tmp_path, Times(0.2, 0.1), accounts=8, count=1, progress=progress.append
        )
    assert {"strict"} <= found.titles.keys() <= {"strict", "caddy"}
    assert [remark.split()[0] for remark in found.remarks if "Caddy" not in remark] == ["x402-express", "LiteLLM"]
    assert found.proof is not None
    assert found.proof.requests == found.rounds[0]["strict"].served > 0
    assert (found.ratio("strict"), len(progress)) == (1, len(found.titles))


@pytest.fixture
def short(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder whose name leaves room for a Unix socket's."""
    return tmp_path_factory.mktemp("b")


@pytest.fixture
def signals() -> Iterator[None]:
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.usefixtures("signals")
def test_each_part_runs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """With the gateway itself, as short as can be."""
    parts = ["latency", "sse", "use", "bulk"]
    options = [f"--{part}" for part in parts]
    code = main([*options, "--quick", "--accounts", "8", "--json", "--home", str(tmp_path)])
    said = capsys.readouterr()
    assert code == 0, said.err
    found = json.loads(said.out)
    assert found.keys() == {"machine", *parts}
    [asked] = found["use"]["rounds"]
    sold = min(8, asked["kept"]["sent"])
    served = {name: asked[name]["served"] for name in ("streamed", "asked", "used")}
    assert found["use"]["proof"]["requests"] == sum(served.values()) + sold
    assert asked["kept"]["served"] > sold
    assert found["latency"]["proof"]["requests"] == found["latency"]["rounds"][0]["strict"]["served"] == 300
    assert found["sse"]["rounds"][0]["free"]["whole"] == events.STREAMS
    assert [tally["way"] for tally in found["bulk"]["rounds"][0]["free"]] == ["down", "up", "down", "up"]
    assert not any(tmp_path.iterdir())
