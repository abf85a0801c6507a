"""How connections end that nobody waits for any more: within their time, whatever is unsent, and at whose cost."""

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, cast

import pytest

from gateway.cli.stage import Stage
from gateway.core.ledger import Committed, Draft
from gateway.relay.connection import CallerConnection
from tests.callers import funded
from tests.conftest import StageMaker
from tests.raw import RawUpstream, Visit
from tests.relay.scenes import (
    HALF,
    SWITCHED,
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
LITTLE = 49_152
"""More than a small socket takes, and less than makes a connection stop what fills it."""


@pytest.fixture
async def upstream() -> AsyncIterator[RawUpstream]:
    async with toy_upstream() as made:
        yield made


@pytest.fixture
async def failures() -> list[dict[str, Any]]:
    """What nobody caught."""
    found: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: found.append(context))
    return found


async def stage_before(
    make_stage: StageMaker, url: str, *, timeouts: dict[str, Any] | None = None, payments: bool = False, **upstream: Any
) -> Stage:
    prices = {"free": "free", "paid": "0.002 usd"}
    return await make_stage(
        **({} if payments else {"stripe": None}),  # whose events come on connections of their own
        upstreams={"raw": {"url": url, **upstream}},
        timeouts=timeouts or {},
        routes=[
            {"name": name, "match": f"/{name}/", "upstream": "raw", "price": price} for name, price in prices.items()
        ],
    )


# --- callers that leave -----------------------------------------------------------------------------------------------


@asynccontextmanager
async def unread(stage: Stage) -> AsyncIterator[tuple[Wire, CallerConnection]]:
    """A caller that was answered, for which a little still waits in the gateway."""
    async with connected_slowly(stage.url) as wire:
        await until(lambda: callers_connected(stage) == 1)
        [caller] = relay_of(stage)._connections
        _make_small(caller._transport)
        wire.send(request(f"/free/big?size={LITTLE}"))
        await until(lambda: caller._transport.get_write_buffer_size() and caller.current is None)
        assert not caller.is_full
        yield wire, caller


def _make_small(transport: asyncio.Transport) -> None:
    transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 8192)


async def test_a_caller_that_leaves_in_the_middle_of_a_head_stops_nobodys_clock(
    make_stage: StageMaker, upstream: RawUpstream, failures: list[dict[str, Any]]
) -> None:
    stage = await stage_before(make_stage, upstream.url, timeouts={"head": "300ms", "send": "600ms"})
    async with unread(stage) as (wire, caller):
        wire.send(b"GET /fr")
        await until(lambda: caller._unread)
        wire.writer.write_eof()
        await until(lambda: callers_connected(stage) == 0)
        async with connected(stage.url) as other:
            other.send(b"GET /fr")
            assert (await other.answer()).code == b"head_too_slow"
    assert failures == []


async def test_a_caller_that_ends_its_side_and_takes_nothing_is_dropped(
    make_stage: StageMaker, upstream: RawUpstream
) -> None:
    stage = await stage_before(make_stage, upstream.url, timeouts={"send": "300ms"})
    async with unread(stage) as (wire, _):
        wire.send(request("/free/silent"))
        await until(lambda: len(upstream.visits) == 2)
        wire.writer.write_eof()
        await until(lambda: callers_connected(stage) == 0)
    assert under_way(stage) == 0


async def test_a_caller_that_ends_its_side_and_reads_slowly_gets_what_was_answered(
    make_stage: StageMaker, upstream: RawUpstream
) -> None:
    stage = await stage_before(make_stage, upstream.url, timeouts={"send": "300ms"})
    async with unread(stage) as (wire, _):
        wire.send(request("/free/silent"))
        await until(lambda: len(upstream.visits) == 2)
        wire.writer.write_eof()
        head, got = await wire.reader.readuntil(b"\r\n\r\n"), 0
        while data := await wire.reader.read(2048):
            got += len(data)
            await asyncio.sleep(0.03)
        assert (head[:12], got) == (b"HTTP/1.1 200", LITTLE)


@pytest.mark.parametrize("leave", [lambda wire: wire.writer.close(), reset], ids=["end", "reset"])
async def test_our_own_pages_hear_of_a_caller_that_leaves_whatever_it_asked_before(
    make_stage: StageMaker, upstream: RawUpstream, leave: Callable[[Wire], None]
) -> None:
    stage = await stage_before(make_stage, upstream.url, payments=True)
    assert stage.running is not None
    lent = stage.running._runners[0].server
    assert lent is not None
    async with connected(stage.url) as wire:
        wire.send(request("/free/ok"))
        assert (await wire.answer()).status == 200
        wire.send(request("/-/webhooks/stripe", None, "Stripe-Signature: x", "Content-Length: 9", method="POST"))
        await until(lambda: len(lent.connections) == 1)
        leave(wire)
        await until(lambda: len(lent.connections) == 0)


# --- tunnels ----------------------------------------------------------------------------------------------------------


@asynccontextmanager
async def ended_tunnel(stage: Stage) -> AsyncIterator[None]:
    """A tunnel that both sides have ended, with a rest that its server has yet to take."""
    async with connected(stage.url) as wire:
        wire.send(request("/free/x", None, "Upgrade: toy", "Connection: Upgrade"))
        assert (await wire.answer()).status == 101
        [pool] = relay_of(stage).pools._pools.values()
        [connection] = pool._open
        _make_small(connection._transport)
        wire.send(b"x" * LITTLE)
        wire.writer.write_eof()
        await until(lambda: callers_connected(stage) == 0 and under_way(stage) == 0)
        assert connection._transport.get_write_buffer_size()
        yield


@pytest.mark.parametrize("taken", [0, 8192])
async def test_a_server_that_takes_no_more_of_an_ended_tunnel_is_dropped(make_stage: StageMaker, taken: int) -> None:
    go_on = asyncio.Event()

    async def stubborn(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(SWITCHED)
        writer.write_eof()
        await go_on.wait()
        await reader.readexactly(taken)
        await asyncio.Event().wait()

    async with serving(stubborn, sock=small_socket(), limit=1024) as url:
        stage = await stage_before(make_stage, url, idle_timeout="300ms")
        async with ended_tunnel(stage):
            go_on.set()
            await until(lambda: upstream_connections(stage) == 0)


async def test_a_server_that_takes_the_rest_of_an_ended_tunnel_slowly_gets_it_all(make_stage: StageMaker) -> None:
    got, whole = 0, asyncio.Event()

    async def slow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal got
        await reader.readuntil(b"\r\n\r\n")
        writer.write(SWITCHED)
        writer.write_eof()
        while data := await reader.read(2048):
            got += len(data)
            await asyncio.sleep(0.03)
        whole.set()

    async with serving(slow, sock=small_socket(), limit=1024) as url:
        stage = await stage_before(make_stage, url, idle_timeout="300ms")
        async with ended_tunnel(stage):
            await asyncio.wait_for(whole.wait(), 5)
        assert got == LITTLE
        await until(lambda: upstream_connections(stage) == 0)


# --- what it costs ----------------------------------------------------------------------------------------------------


async def test_a_caller_that_reads_until_the_time_for_all_is_over_pays_as_if_it_had_left(
    make_stage: StageMaker, upstream: RawUpstream
) -> None:
    stage = await stage_before(make_stage, upstream.url, timeouts={"send": "300ms"}, total_timeout="500ms")
    [caller] = await funded(stage, "1.00 usd")
    async with connected_slowly(stage.url) as wire:
        wire.send(request("/paid/big", caller))
        await until(lambda: callers_connected(stage) == 0, 3)
    assert await balance(stage, caller) == (MONEY - PRICE, 0)
    assert upstream_connections(stage) == 0


async def test_a_moments_pause_of_the_callers_is_no_excuse_for_a_slow_upstream(
    make_stage: StageMaker, upstream: RawUpstream
) -> None:
    async def begin(visit: Visit) -> None:
        visit.writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % (64 * LITTLE))
        visit.writer.write(b"x" * (63 * LITTLE))
        await visit.reader.read()

    upstream.script = begin
    stage = await stage_before(make_stage, upstream.url, total_timeout="3s")
    [caller] = await funded(stage, "1.00 usd")
    async with connected_slowly(stage.url) as wire:
        await until(lambda: callers_connected(stage) == 1)
        [connection] = relay_of(stage)._connections
        _make_small(connection._transport)
        wire.send(request("/paid/x", caller))
        await until(lambda: connection.is_full)
        assert len((await wire.rest()).partition(b"\r\n\r\n")[2]) == 63 * LITTLE
    assert await balance(stage, caller) == (MONEY, 0)


async def test_a_refusal_says_nothing_of_a_charge_that_was_not_made(
    make_stage: StageMaker, upstream: RawUpstream
) -> None:
    """The upstream breaks off while the price of its answer goes on record."""
    gone = asyncio.Event()

    async def half(visit: Visit) -> None:
        visit.writer.write(HALF)
        await visit.writer.drain()
        visit.writer.transport.abort()
        await until(lambda: upstream_connections(stage) == 0)
        gone.set()

    async def late(draft: Draft) -> Committed:
        if upstream.visits:
            await asyncio.wait_for(gone.wait(), 2)
        return cast(Committed, await commit(draft))

    upstream.script = half
    stage = await stage_before(make_stage, upstream.url)
    [caller] = await funded(stage, "1.00 usd")
    store: Any = stage.gateway.ledger._store
    commit, store.commit = store.commit, late
    async with connected(stage.url) as wire:
        wire.send(request("/paid/x", caller))
        answer = await wire.answer()
    assert (answer.status, answer.code) == (502, b"upstream_failed")
    assert not {name for name, _ in answer.fields} & {b"gateway-cost", b"gateway-balance"}
    await until(lambda: under_way(stage) == 0)
    assert await balance(stage, caller) == (MONEY, 0)
