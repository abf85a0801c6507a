"""One suite for whatever counts requests: in this process, and in the keeper's for its workers."""

import asyncio
import json
import random
from collections import Counter
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from gateway.adapters.interprocess import frames
from gateway.adapters.interprocess.frames import FrameReader, Kind
from gateway.adapters.interprocess.limits import Counting, SharedRateLimits
from gateway.adapters.interprocess.worker import Line
from gateway.adapters.ratelimits import MemoryRateLimits
from gateway.core import windows
from gateway.core.limits import Ask, Limiter, Place, Rate
from gateway.ports import LimitsDown, RateLimits
from tests.core.test_windows import NoTimer, Oracle
from tests.fakes import FakeClock

PER_MINUTE = Rate(3, 60, "3/minute")


class KeeperSide:
    """Answers workers as the keeper's process does, as long as it is not told to be silent."""

    def __init__(self, limiter: Limiter, clock: FakeClock, path: str) -> None:
        self.limiter = limiter
        self.clock = clock
        self.path = path
        self.asked = 0
        self.silent = False
        self.writers: list[asyncio.StreamWriter] = []

    async def listen(self) -> asyncio.Server:
        return await asyncio.start_unix_server(self._serve, self.path)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        counting, frame_reader = Counting(self.limiter, self.clock), FrameReader()
        self.writers.append(writer)
        while data := await reader.read(65_536):
            for kind, contents in frame_reader.feed(data):
                self._take(counting, kind, contents, writer)
        counting.end()
        writer.close()

    def _take(self, counting: Counting, kind: int, contents: bytes, writer: asyncio.StreamWriter) -> None:
        if kind == Kind.HELLO:
            counting.holds(json.loads(contents)["held"])
            writer.write(frames.frame(Kind.WELCOME))
        elif kind == Kind.ADMIT:
            self.asked += 1
            answer = counting.admit(contents)
            if not self.silent:
                writer.write(answer)
        elif kind == Kind.LEAVE:
            counting.leave(int.from_bytes(contents))


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def limiter() -> Limiter:
    return Limiter()


@pytest.fixture
async def keeper(limiter: Limiter, clock: FakeClock, tmp_path: Path) -> AsyncIterator[KeeperSide]:
    side = KeeperSide(limiter, clock, str(tmp_path / "line"))
    server = await side.listen()
    yield side
    server.close()


@pytest.fixture
async def make_worker(
    keeper: KeeperSide, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Callable[[], SharedRateLimits]]:
    monkeypatch.setattr("gateway.adapters.interprocess.limits._ANSWER_SECONDS_MAX", 600)  # a busy machine is not down
    lines: list[Line] = []

    def make() -> SharedRateLimits:
        line = Line(keeper.path, worker=f"w{len(lines)}", begone=lambda: None)
        lines.append(line)
        return SharedRateLimits(line, clock)

    yield make
    for line in lines:
        line.close()
    await turns(lambda: not lines or not keeper.limiter._under_way)


@pytest.fixture(params=["memory", "interprocess"])
async def limits(
    request: pytest.FixtureRequest, limiter: Limiter, clock: FakeClock, make_worker: Callable[[], SharedRateLimits]
) -> RateLimits:
    if request.param == "memory":
        return MemoryRateLimits(clock, limiter)
    shared = make_worker()
    await shared._line.open()
    return shared


async def turns(until: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not until():
            await asyncio.sleep(0)


async def test_a_window_takes_its_amount_and_no_more(limits: RateLimits) -> None:
    stands = [await limits.hit(PER_MINUTE, "a") for _ in range(4)]
    assert [(stand.allowed, stand.remaining) for stand in stands] == [(True, 2), (True, 1), (True, 0), (False, 0)]
    assert (await limits.hit(PER_MINUTE, "b")).allowed


async def test_who_waits_as_long_as_was_said_is_admitted(limits: RateLimits, clock: FakeClock) -> None:
    for _ in range(3):
        await limits.hit(PER_MINUTE, "a")
    wait_ms = (await limits.hit(PER_MINUTE, "a")).reset_ms
    clock.ms += wait_ms - 1
    assert (await limits.hit(PER_MINUTE, "a")).reset_ms == 1
    clock.ms += 1
    assert (await limits.hit(PER_MINUTE, "a")).allowed


async def test_several_windows_and_caps_are_all_or_nothing(limits: RateLimits) -> None:
    asks = [Ask(PER_MINUTE, "minute"), Ask(Rate(1, 3600, "1/hour", "moving"), "hour", 1)]
    first = await limits.admit(asks, [Place("p", 2)])
    assert [(stand.allowed, stand.remaining) for stand in first.stands] == [(True, 2), (True, 0), (True, 1)]
    for _ in range(3):
        again = await limits.admit(asks, [Place("p", 2)])
        assert [(stand.allowed, stand.remaining) for stand in again.stands] == [(True, 2), (False, 0), (True, 1)]


async def test_a_place_is_given_back_once(limits: RateLimits) -> None:
    admitted = [await limits.admit([], [Place("p", 2)]) for _ in range(3)]
    assert [found.stands[0].allowed for found in admitted] == [True, True, False]
    for _ in range(2):
        admitted[0].leave()
        admitted[2].leave()
    assert (await limits.admit([], [Place("p", 2)])).stands[0].allowed
    assert not (await limits.admit([], [Place("p", 2)])).stands[0].allowed


async def test_cancelled_at_every_turn_no_place_is_taken(limits: RateLimits, limiter: Limiter) -> None:
    for count in range(60):
        task = asyncio.ensure_future(limits.admit([], [Place("p", 1)]))
        for _ in range(count):
            await asyncio.sleep(0)
        if task.done():
            (await task).leave()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        (done,) = [await limits.admit([], [Place("p", 1)])]
        assert done.stands[0].allowed, f"a place is taken after {count} turns"
        done.leave()
    await turns(lambda: not limiter._under_way)


async def test_workers_share_windows_and_caps(make_worker: Callable[[], SharedRateLimits]) -> None:
    workers = [make_worker() for _ in range(3)]
    for worker in workers:
        await worker._line.open()
    found = [(await worker.admit([Ask(PER_MINUTE, "a")], [Place("p", 2)])).stands for worker in workers]
    assert [[stand.allowed for stand in stands] for stands in found] == [[True, True], [True, True], [True, False]]


async def test_a_caller_that_does_not_stop_costs_the_keeper_nothing(
    make_worker: Callable[[], SharedRateLimits], keeper: KeeperSide, clock: FakeClock
) -> None:
    worker = make_worker()
    await worker._line.open()
    for _ in range(100):
        last = await worker.hit(PER_MINUTE, "a")
    assert keeper.asked == 4
    clock.ms += last.reset_ms - 1
    assert not (await worker.hit(PER_MINUTE, "a")).allowed
    assert keeper.asked == 4
    assert not (await worker.admit([Ask(PER_MINUTE, "a", 3)], [])).stands[0].allowed
    assert (await worker.hit(Rate(4, 60, "4/minute"), "a")).allowed
    clock.ms += 1
    assert (await worker.hit(PER_MINUTE, "a")).allowed


async def test_a_worker_that_ends_has_left_its_places(
    make_worker: Callable[[], SharedRateLimits], limiter: Limiter
) -> None:
    worker = make_worker()
    await worker._line.open()
    await worker.admit([], [Place("p", 2)])
    assert limiter._under_way == {"p": 1}
    worker._line.close()
    await turns(lambda: not limiter._under_way)


async def test_a_keeper_that_is_new_is_told_which_places_are_held(
    make_worker: Callable[[], SharedRateLimits], keeper: KeeperSide
) -> None:
    worker = make_worker()
    await worker._line.open()
    first, second = [await worker.admit([], [Place("p", 2)]) for _ in range(2)]
    keeper.limiter = Limiter()
    keeper.writers[0].transport.abort()
    await turns(lambda: keeper.limiter._under_way == {"p": 2} and worker._line._up.is_set())
    assert not (await worker.admit([], [Place("p", 2)])).stands[0].allowed
    first.leave()
    second.leave()
    await turns(lambda: not keeper.limiter._under_way)


async def test_without_a_keeper_that_answers_the_limits_are_down(
    make_worker: Callable[[], SharedRateLimits], keeper: KeeperSide, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.adapters.interprocess.limits._ANSWER_SECONDS_MAX", 0)
    worker = make_worker()
    with pytest.raises(LimitsDown):
        await worker.admit([Ask(PER_MINUTE, "a")], [])
    assert (await worker.hit(PER_MINUTE, "a")).allowed
    await worker._line.open()
    keeper.silent = True
    with pytest.raises(LimitsDown):
        await worker.admit([], [Place("p", 1)])
    await turns(lambda: keeper.asked == 1 and not keeper.limiter._under_way)


@pytest.mark.parametrize("kind", ["fixed", "moving", "sliding"])
async def test_four_workers_admit_two_hundred_callers_exactly_as_the_library_does(
    make_worker: Callable[[], SharedRateLimits],
    keeper: KeeperSide,
    clock: FakeClock,
    kind: windows.Kind,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """At one moment the order does not matter, so the counts of each moment must be the same."""
    workers = [make_worker() for _ in range(4)]
    for worker in workers:
        await worker._line.open()
    monkeypatch.setattr("limits.storage.memory.threading.Timer", NoTimer)
    monkeypatch.setattr("limits.storage.memory.time.time", lambda: clock.ms / 1000)
    order, rate, oracles = random.Random(kind), Rate(6, 2, "6/2 second", kind), dict[str, Oracle]()
    for _ in range(120):
        clock.ms += order.randrange(4) * 125
        callers = [f"caller {order.randrange(200)}" for _ in range(40)] * 3
        stands = await asyncio.gather(*(order.choice(workers).hit(rate, caller) for caller in callers))
        admitted = Counter(caller for caller, stand in zip(callers, stands, strict=True) if stand.allowed)
        expected = Counter(caller for caller in callers if oracles.setdefault(caller, Oracle(kind, 6, 2)).hit(1))
        assert admitted == expected
    assert 0 < keeper.asked < 120 * 120
