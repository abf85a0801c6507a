"""The relay when somebody is slow, silent, gone, or too many: what was promised holds, and nobody else notices."""

import asyncio
import resource
import socket
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, suppress
from typing import Any

import pytest
import uvloop

from gateway.cli.stage import Stage
from tests.callers import Funded, audited, funded
from tests.conftest import StageMaker
from tests.raw import OK, RawUpstream
from tests.relay.scenes import (
    BIG_BYTES,
    DRIPS,
    Wire,
    balance,
    callers_connected,
    connected,
    connected_slowly,
    relay_of,
    request,
    reset,
    serving,
    small_socket,
    toy_upstream,
    under_way,
    until,
    upstream_connections,
)

PRICE = 2_000
MONEY = 1_000_000


@pytest.fixture
async def upstream() -> AsyncIterator[RawUpstream]:
    async with toy_upstream() as made:
        yield made


async def stage_before(
    make_stage: StageMaker, url: str, *, limits: dict[str, Any] | None = None, timeouts: dict[str, Any] | None = None,
    route: dict[str, Any] | None = None, **upstream: Any,
) -> Stage:  # fmt: skip
    """A gateway whose only upstream is at this URL, with these settings of it, of the routes and of callers."""
    prices = {"free": "free", "paid": "0.002 usd"}
    return await make_stage(
        upstreams={"raw": {"url": url, **upstream}},
        timeouts=timeouts or {},
        limits=limits or {},
        stripe=None,  # whose events would come on connections of their own
        routes=[
            {"name": name, "match": f"/{name}/", "upstream": "raw", "price": price, **(route or {})}
            for name, price in prices.items()
        ],
    )


async def served(stage: Stage) -> bool:
    """Whether somebody else is served."""
    async with connected(stage.url) as wire:
        wire.send(request("/free/ok", None, "Connection: close"))
        return (await wire.answer()).status == 200


# --- times: the caller's ----------------------------------------------------------------------------------------------


async def test_a_head_that_trickles_is_refused_and_one_in_pieces_is_not(
    make_stage: StageMaker, upstream: RawUpstream
) -> None:
    stage = await stage_before(make_stage, upstream.url, timeouts={"head": "400ms"})
    async with connected(stage.url) as wire, connected(stage.url) as silent:
        whole = request("/free/ok")
        for piece in (whole[:10], whole[10:30], whole[30:]):
            await asyncio.sleep(0.05)
            wire.send(piece)
        assert (await wire.answer()).status == 200
        trickling = asyncio.create_task(_trickle(wire, whole[:-2] + b"X-More: " + b"y" * 1000))
        answer = await wire.answer()
        assert (answer.status, answer.code, answer.closes) == (408, b"head_too_slow", True)
        assert await wire.rest() == b""
        trickling.cancel()
        assert await silent.rest() == b""  # nothing was asked, so nothing is answered
    assert len(upstream.visits) == 1


async def _trickle(wire: Wire, data: bytes, seconds: float = 0.05) -> None:
    for byte in data:
        wire.send(bytes([byte]))
        await asyncio.sleep(seconds)


async def test_an_idle_connection_closes_without_a_word_and_a_head_has_its_own_time(
    make_stage: StageMaker, upstream: RawUpstream
) -> None:
    stage = await stage_before(make_stage, upstream.url, timeouts={"head": "5s", "keep_alive": "400ms"})
    whole = request("/free/ok")
    async with connected(stage.url) as wire:
        wire.send(whole)
        assert (await wire.answer()).status == 200
        await asyncio.sleep(0.2)
        wire.send(whole[:20])  # from here on it is a head, and a head may take longer
        await asyncio.sleep(0.5)
        wire.send(whole[20:])
        assert (await wire.answer()).status == 200
        assert await wire.rest(1.5) == b""


async def test_a_body_that_stops_is_refused_and_one_that_goes_on_is_not(
    make_stage: StageMaker, upstream: RawUpstream
) -> None:
    stage = await stage_before(make_stage, upstream.url, timeouts={"body": "400ms"}, first_byte_timeout="300ms")
    [caller] = await funded(stage, "1.00 usd")
    upload = request("/paid/ok", caller, "Content-Length: 8", method="POST")
    async with connected(stage.url) as wire, connected(stage.url) as stopping:
        wire.send(upload)
        stopping.send(upload + b"some")
        await _trickle(wire, b"whatever", 0.1)
        assert (await wire.answer()).status == 200
        answer = await stopping.answer()
        assert (answer.status, answer.code, answer.closes) == (408, b"body_too_slow", True)
        assert await stopping.rest() == b""
    assert await balance(stage, caller) == (MONEY - PRICE, 0)
    [done, dropped] = upstream.visits if upstream.visits[0].body else upstream.visits[::-1]
    assert (done.body, dropped.body) == (b"whatever", b"")
    await asyncio.wait_for(dropped.gone.wait(), 2)
    await until(lambda: upstream_connections(stage, busy=True) == 0)


@pytest.mark.parametrize("secure", ["plain"])
async def test_a_caller_that_takes_nothing_is_dropped_and_a_slow_one_is_not(
    make_stage: StageMaker, upstream: RawUpstream, secure: str
) -> None:
    stage = await stage_before(make_stage, upstream.url, timeouts={"send": "400ms"})
    [caller] = await funded(stage, "1.00 usd")
    async with connected_slowly(stage.url) as stuck, connected_slowly(stage.url) as slow:
        stuck.send(request("/paid/big", caller))
        slow.send(request("/free/big"))
        began, got = time.monotonic(), 0
        await slow.reader.readuntil(b"\r\n\r\n")
        while got < BIG_BYTES:
            # For a while so slowly that what waits in the gateway does not run out before its time.
            hurries = time.monotonic() - began > 1.2
            taken = len(await slow.reader.read(65_536 if hurries else 2048))
            assert taken
            got += taken
            if not hurries:
                await asyncio.sleep(0.01)
        await until(lambda: callers_connected(stage) == 1)
        await until(lambda: upstream_connections(stage, busy=True) == 0)
    assert await balance(stage, caller) == (MONEY - PRICE, 0)  # it was answered; what it read is its own business


async def test_nobody_keeps_a_connection_by_not_reading_the_end_of_an_answer(
    make_stage: StageMaker, upstream: RawUpstream
) -> None:
    stage = await stage_before(
        make_stage, upstream.url, timeouts={"send": "300ms", "keep_alive": "300ms"}, connections=100
    )
    async with AsyncExitStack() as stack:
        for number in range(64):
            wire = await stack.enter_async_context(connected_slowly(stage.url))
            end = ("Connection: close",) if number % 2 else ()
            wire.send(request(f"/free/big?size={number * 65_536}", None, *end))
        await until(lambda: len(upstream.visits) == 64)
        await until(lambda: callers_connected(stage) == 0, 5)


# --- times: the upstream's --------------------------------------------------------------------------------------------


async def test_an_upstream_that_cannot_be_reached_is_a_504_or_a_502(make_stage: StageMaker) -> None:
    with socket.socket() as full:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        address = full.getsockname()
        async with AsyncExitStack() as stack:
            for _ in range(4):  # until nobody else gets in
                filling = stack.enter_context(socket.socket())
                filling.setblocking(False)
                with suppress(BlockingIOError):
                    filling.connect(address)
            url = f"http://127.0.0.1:{address[1]}"
            stage = await stage_before(make_stage, url, connect_timeout="300ms", ejection={"failures": 2})
            [caller] = await funded(stage, "1.00 usd")
            async with connected(stage.url) as wire:
                wire.send(request("/paid/ok", caller))
                answer = await wire.answer()
                assert (answer.status, answer.code) == (504, b"upstream_timed_out")
    async with connected(stage.url) as wire:
        wire.send(request("/paid/ok", caller))
        answer = await wire.answer()
        assert (answer.status, answer.code) == (502, b"upstream_failed")
    assert await balance(stage, caller) == (MONEY, 0)
    assert (under_way(stage), upstream_connections(stage)) == (0, 0)


async def test_the_upstreams_times_cut_what_is_late_and_nothing_else(
    make_stage: StageMaker, upstream: RawUpstream
) -> None:
    stage = await stage_before(
        make_stage, upstream.url, first_byte_timeout="300ms", idle_timeout="300ms", ejection={"failures": 1000}
    )
    [caller] = await funded(stage, "1.00 usd")

    async def outcome(path: str) -> tuple[int, bytes]:
        async with connected(stage.url) as wire:
            wire.send(request(path, caller, "Connection: close"))
            answer = await wire.rest()
            return int(answer.split(b" ")[1]), answer.partition(b"\r\n\r\n")[2][-20:]

    paths = ("/paid/silent", "/paid/late", "/paid/half", "/paid/drip", "/paid/late-events")
    silent, late, half, drip, events = await asyncio.gather(*map(outcome, paths))
    assert silent[0] == 504
    assert late == (200, b"ok")
    assert half == (200, b"half")  # of a hundred bytes
    assert drip == (200, b"x" * DRIPS)
    assert events == (200, b"\n9\r\ndata: 2\n\n\r\n0\r\n\r\n"[-20:])
    assert await balance(stage, caller) == (MONEY - 3 * PRICE, 0)
    assert upstream_connections(stage, busy=True) == 0


async def test_a_tunnel_may_be_silent_for_as_long_as_it_likes(make_stage: StageMaker, upstream: RawUpstream) -> None:
    stage = await stage_before(
        make_stage, upstream.url, first_byte_timeout="300ms", idle_timeout="300ms",
        timeouts={"head": "300ms", "keep_alive": "300ms", "body": "300ms", "send": "300ms"},
    )  # fmt: skip
    async with connected(stage.url) as wire:
        wire.send(request("/free/sink", None, "Upgrade: toy", "Connection: Upgrade"))
        assert (await wire.answer()).status == 101
        wire.send(b"z" * (4 << 20))  # fills every buffer on the way
        await asyncio.sleep(0.8)
        wire.send(b"!")
        assert await asyncio.wait_for(wire.reader.readexactly(4), 5) == b"seen"
        wire.writer.write_eof()
        assert await wire.rest() == b""
    await until(lambda: under_way(stage) == 0)


async def test_a_bound_on_everything_cuts_streams_too_and_ejects_nobody(
    make_stage: StageMaker, upstream: RawUpstream
) -> None:
    stage = await stage_before(
        make_stage, upstream.url, total_timeout="500ms", ejection={"failures": 1, "time": "30s"}
    )  # fmt: skip
    [caller] = await funded(stage, "1.00 usd")

    async def outcome(path: str, *lines: str, method: str = "GET") -> bytes:
        async with connected(stage.url) as wire:
            wire.send(request(path, caller, *lines, "Connection: close", method=method))
            return await wire.reader.readuntil(b"\r\n\r\n") + (b"" if method == "POST" else await wire.rest())

    drip, events, late, upload = await asyncio.gather(
        outcome("/paid/drip"), outcome("/paid/events"), outcome("/paid/late"),
        outcome("/paid/ok", "Content-Length: 10", method="POST"),
    )  # fmt: skip
    assert 1 <= len(drip.partition(b"\r\n\r\n")[2]) < DRIPS
    assert events.endswith(b"data: 1\n\n\r\n")
    assert upload.startswith(b"HTTP/1.1 504")
    assert late.endswith(b"ok")
    assert await served(stage)
    assert await balance(stage, caller) == (MONEY - PRICE, 0)


@pytest.mark.parametrize(("idle", "status"), [("300ms", 504), ("5s", 200)])
async def test_an_upstream_that_does_not_take_the_body_is_late_and_not_its_caller(
    make_stage: StageMaker, idle: str, status: int
) -> None:
    go_on = asyncio.Event()

    async def stubborn(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        await go_on.wait()
        await reader.readexactly(BIG_BYTES)
        writer.write(OK)
        await writer.drain()
        await reader.read()

    async with serving(stubborn, sock=small_socket(), limit=1024) as url:
        stage = await stage_before(make_stage, url, idle_timeout=idle, timeouts={"body": "300ms"})
        asyncio.get_running_loop().call_later(1.2, go_on.set)
        async with connected(stage.url) as wire:
            wire.send(request("/free/x", None, f"Content-Length: {BIG_BYTES}", method="POST") + b"b" * BIG_BYTES)
            assert (await wire.answer()).status == status
        await until(lambda: upstream_connections(stage, busy=True) == 0)


async def test_the_first_byte_has_its_time_after_the_last_of_a_slow_upload(make_stage: StageMaker) -> None:
    async def slow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        left = BIG_BYTES
        while left:
            left -= len(await reader.read(min(left, 65_536)))
            if left < 1 << 19:
                await asyncio.sleep(0.05)  # it takes what is in its buffers slowly, but steadily
        await asyncio.sleep(0.7)
        writer.write(OK)
        await writer.drain()

    async with serving(slow, sock=small_socket()) as url:
        stage = await stage_before(make_stage, url, idle_timeout="300ms", first_byte_timeout="1500ms")
        async with connected(stage.url) as wire:
            wire.send(request("/free/x", None, f"Content-Length: {BIG_BYTES}", method="POST") + b"b" * BIG_BYTES)
            assert (await wire.answer()).status == 200


# --- callers that leave -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "begun", "costs"),
    [("/paid/silent", b"", 0), ("/paid/upload", b"", 0), ("/paid/half", b"half", PRICE), ("/paid/events", b"1", PRICE)],
    ids=["waiting", "uploading", "in-mid-answer", "in-mid-stream"],
)
async def test_callers_that_leave_are_left_at_once_and_nobody_is_blamed(
    make_stage: StageMaker, upstream: RawUpstream, path: str, begun: bytes, costs: int
) -> None:
    stage = await stage_before(make_stage, upstream.url, ejection={"failures": 1, "time": "30s"})
    callers = await funded(stage, "1.00 usd", count=20)

    async def leave(number: int, caller: Funded) -> None:
        async with connected(stage.url) as wire:
            if path == "/paid/upload":
                wire.send(request(path, caller, "Content-Length: 9", method="POST") + b"some")
            else:
                wire.send(request(path, caller))
            seen = b""
            while begun and begun not in seen.partition(b"\r\n\r\n")[2]:
                seen += await wire.reader.read(1000)
            await until(lambda: len(upstream.visits) == len(callers))
            if number % 2:
                reset(wire)

    await asyncio.gather(*(leave(number, caller) for number, caller in enumerate(callers)))
    assert await served(stage)
    async with asyncio.timeout(2):
        for visit in upstream.visits[:20]:
            await visit.gone.wait()
    await until(lambda: under_way(stage) == 0)
    for caller in callers:
        assert await balance(stage, caller) == (MONEY - costs, 0)
    assert upstream_connections(stage, busy=True) == 0
    await stage.stop_gateway()
    assert audited(stage).totals["usd"].spent == 20 * costs


async def test_callers_that_leave_while_we_connect_leave_nothing_behind(make_stage: StageMaker) -> None:
    accepted = 0

    async def count(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal accepted
        accepted += 1
        await reader.read()

    async with serving(count) as url:
        stage = await stage_before(make_stage, url, ejection={"failures": 1, "time": "30s"})
        for turns in range(30):  # at every step of the way
            async with connected(stage.url) as wire:
                wire.send(request("/free/x"))
                for _ in range(turns):
                    await asyncio.sleep(0)
                reset(wire)
        await until(lambda: under_way(stage) == 0)
        await until(lambda: upstream_connections(stage) == 0)
    assert accepted > 5


# --- bounds -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("bound", ["connections", "concurrency"])
async def test_one_too_many_is_told_so_at_once_and_places_come_back(
    make_stage: StageMaker, upstream: RawUpstream, bound: str
) -> None:
    settings: dict[str, Any] = {"connections": 2} if bound == "connections" else {"route": {"concurrency": 2}}
    stage = await stage_before(
        make_stage, upstream.url, first_byte_timeout="300ms", idle_timeout="300ms", ejection={"failures": 1000},
        **settings,
    )  # fmt: skip
    [caller] = await funded(stage, "1.00 usd")
    async with connected(stage.url) as first, connected(stage.url) as second, connected(stage.url) as third:
        first.send(request("/paid/silent", caller))
        second.send(request("/paid/events", caller))
        await until(lambda: len(upstream.visits) == 2)
        third.send(request("/paid/ok", caller))
        answer = await third.answer(seconds=0.25)
        assert (answer.status, answer.code) == (503, b"upstream_busy")
        assert int(answer.values(b"retry-after")[0]) >= 1
        assert len(upstream.visits) == 2
        assert (await first.answer()).status == 504
        for path in ("hang-up", "error", "half", "ok"):  # however it ends, its place is free
            async with connected(stage.url) as wire:
                wire.send(request(f"/paid/{path}", caller, "Connection: close"))
                assert not (await wire.rest()).startswith(b"HTTP/1.1 503"), path
        async with connected(stage.url) as wire:
            wire.send(request("/paid/silent", caller))
            await until(lambda: under_way(stage) == 4)
        await until(lambda: under_way(stage) == 2)
        third.send(request("/paid/ok", caller))
        assert (await third.answer()).status == 200
    await until(lambda: under_way(stage) == 0)
    assert await balance(stage, caller) == (MONEY - 3 * PRICE, 0)  # it left a stream, and was answered twice


async def test_idle_connections_to_one_server_make_room_for_another(make_stage: StageMaker) -> None:
    async with toy_upstream() as first, toy_upstream() as second:
        stage = await make_stage(
            upstreams={
                "two": {
                    "servers": [first.url, second.url],
                    "connections": 4,
                    "ejection": {"failures": 1, "time": "30s"},
                }
            },
            routes=[{"name": "all", "match": "/", "upstream": "two", "price": "free"}],
        )
        pool = relay_of(stage).pools.of(stage.settings.upstreams["two"])
        one, other = pool.upstream.servers
        for left_out, back, count in ((one, other, 2), (other, one, 4)):
            pool.unreachable(left_out)
            pool.succeeded(back)
            assert await asyncio.gather(*(late(stage) for _ in range(count))) == [200] * count
        assert (first.connections, second.connections) == (4, 2)
        assert upstream_connections(stage) == 4


async def late(stage: Stage) -> int:
    async with connected(stage.url) as wire:
        wire.send(request("/late"))
        return (await wire.answer()).status


async def test_one_connection_too_many_is_told_so_and_the_next_is_served(
    make_stage: StageMaker, upstream: RawUpstream
) -> None:
    stage = await stage_before(make_stage, upstream.url, limits={"connections_max": 3})
    async with connected(stage.url), connected(stage.url) as second:
        async with connected(stage.url) as third:
            third.send(request("/free/ok"))
            assert (await third.answer()).status == 200
            async with connected(stage.url) as fourth:
                answer = await fourth.answer()
                assert (answer.status, answer.code, answer.closes) == (503, b"gateway_busy", True)
                assert answer.values(b"retry-after") == [b"1"]
                assert await fourth.rest() == b""
        await until(lambda: callers_connected(stage) == 2)
        assert await served(stage)
        second.send(request("/free/ok"))
        assert (await second.answer()).status == 200


# --- attacks ----------------------------------------------------------------------------------------------------------


def room_for_files(wanted: int) -> None:
    """Let this process have so many sockets, or skip the test."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        if hard != resource.RLIM_INFINITY and hard < wanted:
            pytest.skip(f"this needs {wanted} open files, and the system allows {hard}")
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def memory_bytes() -> int:
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * resource.getpagesize()


async def test_the_loop_is_that_of_gateway_run() -> None:
    assert isinstance(asyncio.get_running_loop(), uvloop.Loop)


async def test_attackers_of_every_kind_are_nobody_elses_trouble(make_stage: StageMaker, upstream: RawUpstream) -> None:
    room_for_files(6000)
    stage = await stage_before(make_stage, upstream.url, connections=2000)
    [caller] = await funded(stage, "1.00 usd")
    kinds = (
        (200, request("/free/silent")),
        (300, b"GET /free/x HTTP/1.1\r\nHost: a.example\r\nX-Slow: "),
        (300, request("/free/x", None, "Content-Length: 1000000", method="POST") + b"x"),
        (300, request("/free/big")),
    )

    async def asked() -> float:
        began = time.monotonic()
        async with connected(stage.url) as wire:
            for _ in range(100):
                wire.send(request("/paid/ok", caller))
                assert (await wire.answer()).status == 200
        return time.monotonic() - began

    before, memory = await asked(), memory_bytes()
    async with AsyncExitStack() as stack:
        for count, bytes_ in kinds:
            for _ in range(count):
                (await stack.enter_async_context(connected_slowly(stage.url))).send(bytes_)
        await until(lambda: callers_connected(stage) == 1100, 5)
        await until(lambda: len(upstream.visits) >= 100 + 200 + 300, 5)
        assert await asked() < 5 * before + 1
        assert memory_bytes() - memory < 200 << 20  # the answers alone are 2.4 GB
    await until(lambda: callers_connected(stage) == 0, 5)
    await until(lambda: upstream_connections(stage, busy=True) == 0, 5)
    assert under_way(stage) == 0
    assert await balance(stage, caller) == (MONEY - 200 * PRICE, 0)


async def test_idle_connections_are_held_and_let_go(make_stage: StageMaker, upstream: RawUpstream) -> None:
    count = 1500
    room_for_files(2 * count + 500)
    stage = await stage_before(make_stage, upstream.url, timeouts={"head": "60s"})
    async with AsyncExitStack() as stack:
        for _ in range(count):
            await stack.enter_async_context(connected(stage.url))
        with suppress(TimeoutError):
            await until(lambda: callers_connected(stage) == count)
        assert callers_connected(stage) == count
        assert await served(stage)
    await until(lambda: callers_connected(stage) == 0, 5)
