"""Windows that hosts share, with a real server: exact together, and what happens without it."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from redis.asyncio import Redis

from gateway.adapters.ratelimits import MemoryRateLimits
from gateway.adapters.redis import RedisRateLimits
from gateway.adapters.system import SystemClock
from gateway.core import windows
from gateway.core.limits import Ask, Limiter, Place, Rate
from gateway.ports import Clock, LimitsDown
from tests.fakes import FakeClock
from tests.redis_server import RedisServer

HOUR = Rate(3, 3600, "3/hour", "moving")
PATIENT = 60.0
HostMaker = Callable[..., RedisRateLimits]


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[RedisServer]:
    server = RedisServer(tmp_path)
    await server.start()
    yield server
    await server.kill()


@pytest.fixture
async def make_host(server: RedisServer) -> AsyncIterator[HostMaker]:
    hosts: list[RedisRateLimits] = []

    def make(
        limiter: Limiter | None = None, clock: Clock | None = None, *, again_seconds: float = PATIENT
    ) -> RedisRateLimits:
        clock = clock or SystemClock()
        near = MemoryRateLimits(clock, limiter)
        hosts.append(
            RedisRateLimits(server.url, near=near, seconds_max=PATIENT, clock=clock, again_seconds=again_seconds)
        )
        return hosts[-1]

    yield make
    for host in hosts:
        await host.close()


@pytest.mark.parametrize("kind", ["fixed", "moving", "sliding"])
async def test_hosts_admit_together_exactly_what_a_window_holds(make_host: HostMaker, kind: windows.Kind) -> None:
    hosts, rate = [make_host() for _ in range(3)], Rate(5, 86_400, "5/day", kind)
    callers = [f"caller {number % 20}" for number in range(20 * 3 * 3)]
    stands = await asyncio.gather(*(host.hit(rate, caller) for host in hosts for caller in callers))
    admitted = Counter(caller for caller, stand in zip(callers * 3, stands, strict=True) if stand.allowed)
    assert set(admitted.values()) == {5}
    refused = await hosts[0].hit(rate, "caller 0")
    assert (refused.allowed, refused.remaining) == (False, 0)
    assert 0 < refused.reset_ms <= 86_400_000


@pytest.mark.parametrize("kind", ["fixed", "moving", "sliding"])
async def test_what_one_window_or_cap_refuses_the_others_do_not_count(make_host: HostMaker, kind: windows.Kind) -> None:
    limiter = Limiter()
    host, asks = make_host(limiter), [Ask(Rate(2, 3600, "2/hour", kind), "h"), Ask(Rate(9, 86_400, "9/day", kind), "d")]
    for _ in range(2):
        assert all(stand.allowed for stand in (await host.admit(asks, [Place("p", 3)])).stands)
    for _ in range(3):
        again = await host.admit(asks, [Place("p", 3)])
        assert [(stand.allowed, stand.remaining) for stand in again.stands] == [(False, 0), (True, 7), (True, 1)]
    assert limiter._under_way == {"p": 2}
    full = await host.admit(asks[1:], [Place("p", 2)])
    assert [(stand.allowed, stand.remaining) for stand in full.stands] == [(True, 7), (False, 0)]


async def test_hosts_that_meet_at_an_edge_never_admit_more(make_host: HostMaker) -> None:
    hosts = [make_host() for _ in range(3)]
    asks = [Ask(HOUR, "h"), Ask(Rate(4, 86_400, "4/day", "moving"), "d")]
    admitted = await asyncio.gather(*(host.admit(asks, []) for host in hosts for _ in range(20)))
    assert sum(all(stand.allowed for stand in found.stands) for found in admitted) <= 3


async def test_a_window_counts_what_a_request_costs(make_host: HostMaker) -> None:
    host, money = make_host(), Rate(5_000, 86_400, "0.005 usd/day", currency="usd")
    found = [(await host.admit([Ask(money, "ann", cost)], [])).stands[0] for cost in (2_000, 2_000, 2_000, 1_000, 0)]
    assert [stand.allowed for stand in found] == [True, True, False, True, True]


async def test_cancelled_at_every_turn_no_place_is_taken(make_host: HostMaker) -> None:
    limiter = Limiter()
    host, many = make_host(limiter), Rate(10_000, 86_400, "", "fixed")
    await host.hit(many, "connected")
    for count in range(40):
        task = asyncio.ensure_future(host.admit([Ask(many, "a"), Ask(many, "b")], [Place("p", 1)]))
        for _ in range(count):
            await asyncio.sleep(0)
        if task.done():
            (await task).leave()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        if not task.cancelled():
            (await task).leave()
        assert not limiter._under_way, f"a place is taken after {count} turns"


async def test_without_its_server_the_limits_are_down_and_then_they_are_back(
    make_host: HostMaker, server: RedisServer
) -> None:
    limiter, clock = Limiter(), FakeClock()
    host = make_host(limiter, clock)
    assert (await host.hit(HOUR, "a")).allowed
    await server.kill()
    with pytest.raises(LimitsDown):
        await host.admit([Ask(HOUR, "a")], [])
    assert [host.down] == [True]
    assert [host.failures] == [1]
    assert (await host.hit(HOUR, "a")).allowed
    await server.start()
    clock.pass_seconds(0.999)
    with pytest.raises(LimitsDown):  # nobody asks so soon
        await host.admit([Ask(HOUR, "a")], [])
    clock.pass_seconds(0.001)
    assert (await host.admit([Ask(HOUR, "a")], [])).stands[0].allowed
    assert [host.down] == [False]
    assert [host.failures] == [1], "not those that were not asked for"
    assert not [key for key in "a" if (await host.admit([], [Place("p", 0)])).stands[0].allowed]


async def test_without_its_server_a_host_counts_alone_what_may_not_go_uncounted(
    make_host: HostMaker, server: RedisServer
) -> None:
    host = make_host(clock=FakeClock())
    await server.kill()
    assert [(await host.hit(HOUR, "a guess")).allowed for _ in range(20)] == [True] * 3 + [False] * 17
    refused = await host.hit(HOUR, "a guess")
    assert refused.remaining == 0
    assert 0 < refused.reset_ms <= 3_600_001
    asks = [Ask(Rate(9, 3600, "9/hour"), "a checkout"), Ask(HOUR, "checkouts")]
    stands = [await host.hit_all(asks) for _ in range(5)]
    assert [[stand.allowed for stand in one] for one in stands] == [[True, True]] * 3 + [[True, False]] * 2
    assert host.down


async def test_without_its_server_a_cap_still_holds_until_requests_have_ended(
    make_host: HostMaker, server: RedisServer
) -> None:
    limiter = Limiter()
    host, asks, place = make_host(limiter, FakeClock()), [Ask(HOUR, "a")], [Place("p", 2)]
    before = await host.admit(asks, place)
    await server.kill()
    during = await host.admit(asks, place)
    assert (during.partly, [stand.allowed for stand in during.stands]) == (True, [True])
    assert limiter._under_way == {"p": 2}
    for _ in range(3):
        more = await host.admit(asks, place)
        assert (more.partly, [stand.allowed for stand in more.stands]) == (True, [False])
        more.leave()
    assert limiter._under_way == {"p": 2}, "who was refused has nothing to give back"
    during.leave()
    assert (await host.admit(asks, place)).stands[0].allowed
    before.leave()
    assert limiter._under_way == {"p": 1}


async def test_cancelled_at_every_turn_while_the_server_is_silent_no_place_is_taken(
    make_host: HostMaker, server: RedisServer
) -> None:
    limiter = Limiter()
    host = make_host(limiter)
    assert (await host.hit(HOUR, "connected")).allowed
    server.freeze()
    host._seconds_max = 0.01
    for count in range(40):
        host._down_ms = None
        task = asyncio.ensure_future(host.admit([Ask(HOUR, "a")], [Place("p", 1)]))
        for _ in range(count):
            await asyncio.sleep(0.0005)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        if not task.cancelled():
            assert (await task).stands[0].allowed
            (await task).leave()
        assert not limiter._under_way, f"a place is taken after {count} turns"


async def test_that_the_server_is_back_is_found_out_without_a_request(
    make_host: HostMaker, server: RedisServer
) -> None:
    host = make_host(again_seconds=0.01)
    await server.kill()
    await host.open()
    assert (host.down, host.failures) == (True, 1)
    with pytest.raises(LimitsDown):
        await host.admit([Ask(HOUR, "a")], [])
    await server.start()
    async with asyncio.timeout(10):
        while host.down:
            await asyncio.sleep(0.01)
    assert host.failures == 1, "only what was asked is counted"
    assert (await host.admit([Ask(HOUR, "a")], [])).stands[0].remaining == 2, "trying has counted nothing"


@pytest.mark.parametrize("why", ["it is full", "it is a replica that is only read"])
async def test_a_server_that_answers_and_writes_nothing_is_no_server(
    make_host: HostMaker, server: RedisServer, why: str
) -> None:
    host = make_host(again_seconds=0.01)
    await host.open()
    assert [host.down] == [False]
    async with Redis.from_url(server.url) as operator:
        kept = [await operator.pttl(key) for key in await operator.keys("gateway*")]
        assert [1 <= left <= 60_000 for left in kept] == [True], "it is tried by a key that goes"
        if why == "it is full":
            await operator.config_set("maxmemory-policy", "noeviction")
            await operator.config_set("maxmemory", "1")
        else:
            await operator.config_set("replica-read-only", "yes")
            await operator.replicaof("127.0.0.1", "1")
        with pytest.raises(LimitsDown):
            await host.admit([Ask(HOUR, "a")], [])
        stands = []
        for _ in range(30):
            await asyncio.sleep(0.01)
            stands.append(host.down)
        assert stands == [True] * 30, "nobody asks, and it is tried all the while"
        if why == "it is full":
            await operator.config_set("maxmemory", "0")
        else:
            await operator.replicaof("NO", "ONE")
        async with asyncio.timeout(10):
            while host.down:
                await asyncio.sleep(0.01)


async def test_a_host_that_starts_beside_a_full_server_knows(make_host: HostMaker, server: RedisServer) -> None:
    async with Redis.from_url(server.url) as operator:
        await operator.config_set("maxmemory-policy", "noeviction")
        await operator.config_set("maxmemory", "1")
    host = make_host()
    await host.open()
    assert (host.down, host.failures) == (True, 1)


async def test_it_is_connected_before_the_first_request(make_host: HostMaker, server: RedisServer) -> None:
    host = make_host()
    await host.open()
    assert not host.down
    assert await server.clients() == 1 + 3, "one for each kind of window, and the one that asks"
    assert (await host.admit([Ask(HOUR, "a")], [])).stands[0].remaining == 2


async def test_closed_while_it_tries_it_tries_no_more(make_host: HostMaker, server: RedisServer) -> None:
    host = make_host(again_seconds=0.0)
    server.freeze()
    host._seconds_max = 0.01
    with pytest.raises(LimitsDown):
        await host.admit([Ask(HOUR, "a")], [])
    assert host._trying is not None
    async with asyncio.timeout(10):
        await host.close()
    assert host._trying.done()


async def test_a_server_that_does_not_answer_is_waited_for_no_longer_than_the_bound(
    make_host: HostMaker, server: RedisServer
) -> None:
    host = make_host()
    assert (await host.hit(HOUR, "a")).allowed
    server.freeze()
    host._seconds_max = 0.05
    async with asyncio.timeout(20):
        with pytest.raises(LimitsDown):
            await host.admit([Ask(HOUR, "a")], [])
