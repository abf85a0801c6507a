"""A WebSocket that is paid for by the minute: by a clock that a test moves, until its balance ends."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosedError

from gateway.cli.stage import Stage
from gateway.core.money import Money
from tests.callers import Funded, audited, funded
from tests.conftest import StageMaker
from tests.raw import RawUpstream, Visit
from tests.relay.scenes import relay_of
from tests.relay.wire import Wire, request

PAID = 6_000_000
MINUTE = 60_000
PRICE = {"per": {"seconds": "0.06 usd per minute"}, "slice": "0.06 usd", "maximum": "100.00 usd"}
SWITCH = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: WebSocket\r\nConnection: Upgrade\r\n\r\n"


@dataclass(slots=True)
class Scene:
    """A gateway before a WebSocket server that echoes, and before one of raw bytes; its clock stands."""

    stage: Stage
    caller: Funded
    seconds: float = 0.0
    closed: "asyncio.Future[tuple[int | None, str | None]]" = field(
        default_factory=lambda: asyncio.get_running_loop().create_future()
    )

    async def out(self) -> Money:
        """What the account has spent or set aside."""
        found = await self.stage.gateway.ledger.balance(self.caller.account, "usd")
        return Money(PAID - found.available.micros, "usd")

    async def held(self) -> int:
        return (await self.stage.gateway.ledger.balance(self.caller.account, "usd")).held.micros

    async def paid_up_to(self, micros: int) -> None:
        async with asyncio.timeout(5):
            while (await self.out()).micros < micros:
                await asyncio.sleep(0.002)

    async def settled(self) -> int:
        async with asyncio.timeout(5):
            while await self.held():
                await asyncio.sleep(0.002)
        return (await self.out()).micros

    def open(self) -> connect:
        return connect(
            self.stage.url.replace("http:", "ws:") + "/chat/x", additional_headers=self.caller.headers, proxy=None
        )


@pytest.fixture
async def scene(make_stage: StageMaker, upstream: RawUpstream) -> AsyncIterator[Scene]:
    async def echo(connection: ServerConnection) -> None:
        async for message in connection:
            await connection.send(message)
        made.closed.set_result((connection.close_code, connection.close_reason))

    async with serve(echo, "127.0.0.1", 0) as server:
        [opened] = server.sockets
        upstreams: dict[str, Any] = {
            "chat": {"url": f"http://127.0.0.1:{opened.getsockname()[1]}"}, "raw": {"url": upstream.url}
        }  # fmt: skip
        stage = await make_stage(
            upstreams=upstreams,
            routes=[
                {"name": "chat", "match": "/chat/", "upstream": "chat", "price": PRICE},
                {"name": "raw", "match": "/raw/", "upstream": "raw", "price": PRICE},
            ],
        )
        [caller] = await funded(stage, "6.00 usd")
        made = Scene(stage, caller)
        stage.gateway.serve._now = lambda: made.seconds
        yield made
        audited(stage)


async def messages(connection: ClientConnection) -> None:
    """All that come until it ends."""
    async for _ in connection:
        pass


async def test_an_hour_is_paid_minute_by_minute(scene: Scene) -> None:
    async with scene.open() as connection:
        for half in range(1, 121):
            scene.seconds += 30
            await connection.send("still there")
            assert await connection.recv() == "still there"
            await scene.paid_up_to(half * MINUTE // 2 + MINUTE // 2)
            assert (await scene.out()).micros <= half * MINUTE // 2 + 2 * MINUTE
    assert await scene.settled() == 60 * MINUTE


async def test_both_sides_are_told_goodbye_when_the_balance_ends(scene: Scene) -> None:
    async with scene.open() as connection:
        scene.seconds += 99 * 60 + 1
        await connection.send("one more")
        assert await connection.recv() == "one more"
        await scene.paid_up_to(PAID)
        scene.seconds += 60
        await connection.send("and one more")
        with pytest.raises(ConnectionClosedError):
            await messages(connection)
    assert connection.close_code == 1008
    assert (connection.close_reason or "").startswith("payment_required req_")
    assert await asyncio.wait_for(scene.closed, 5) == (1001, "payment_required")
    assert await scene.settled() == PAID


async def test_a_caller_has_time_to_say_goodbye_in_its_turn(scene: Scene, upstream: RawUpstream) -> None:
    async def talk(visit: Visit) -> None:
        visit.writer.write(SWITCH)
        await visit.reader.readexactly(6)
        scene.seconds += 3 * 3600
        visit.writer.write(b"\x82\x02ok")
        await visit.reader.read()

    upstream.script = talk
    upgrade = ("Connection: Upgrade", "Upgrade: websocket", f"Authorization: Bearer {scene.caller.token}")
    async with await Wire.to(scene.stage.url) as wire:
        await wire.send(request("/raw/x", *upgrade))
        assert (await wire.head()).status == 101
        await wire.send(b"\x81\x80\0\0\0\0")
        assert (await wire.rest()).startswith(b"\x82\x02ok\x88")
        assert [one._lingering for one in relay_of(scene.stage)._connections].count(True) == 1
    assert await scene.settled() == PAID


async def test_in_the_middle_of_a_frame_it_looks_cut(scene: Scene, upstream: RawUpstream) -> None:
    said, heard = b"\x82\x7e\x03\xe8" + b"x" * 500, bytearray()

    async def talk(visit: Visit) -> None:
        visit.writer.write(SWITCH)
        visit.writer.write(said)
        await visit.reader.readexactly(6)
        scene.seconds += 3 * 3600
        visit.writer.write(b"more")
        heard.extend(await visit.reader.read())

    upstream.script = talk
    upgrade = ("Connection: Upgrade", "Upgrade: websocket", f"Authorization: Bearer {scene.caller.token}")
    async with await Wire.to(scene.stage.url) as wire:
        await wire.send(request("/raw/x", *upgrade))
        assert (await wire.head()).status == 101
        assert await wire.exactly(len(said)) == said
        await wire.send(b"\x81\x80\0\0\0\0")
        with pytest.raises(ConnectionResetError):
            await wire.rest()
    assert await scene.settled() == PAID
    assert b"payment_required" in heard
