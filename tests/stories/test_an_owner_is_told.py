"""An owner hears of a balance that runs low and of an account that is frozen, by messages that prove their sender."""

import asyncio
import json
from collections.abc import AsyncIterator

import pytest
from aiohttp import ClientSession, web

from gateway.core import outgoing
from gateway.core.secrets import Secret
from tests.callers import funded
from tests.conftest import StageMaker
from tests.ports import own_port

SECRET = "a-secret-of-the-shops-0123456789abcdef"


class Receiver:
    """An owner's own server."""

    def __init__(self) -> None:
        self.port = own_port()
        self.got: asyncio.Queue[tuple[dict[str, str], bytes]] = asyncio.Queue()
        self.says = [500]

    async def take(self, request: web.Request) -> web.Response:
        await self.got.put((dict(request.headers), await request.read()))
        return web.Response(status=self.says.pop() if self.says else 200)


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    made, app = Receiver(), web.Application()
    app.router.add_post("/told", made.take)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", made.port).start()
    yield made
    await runner.cleanup()


async def test_an_owner_is_told_and_told_again_after_a_failure(
    make_stage: StageMaker, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outgoing, "_FIRST_MS", 1)
    monkeypatch.setattr("gateway.flows.notify.ROUND_SECONDS", 0.02)
    notices = {"url": f"http://127.0.0.1:{receiver.port}/told", "secrets": [SECRET], "low_balance": "4.999 usd"}
    stage = await make_stage(notices={**notices, "private_addresses": True})
    [ann] = await funded(stage, "5.00 usd")
    async with ClientSession() as session:
        for _ in range(3):
            async with session.get(f"{stage.url}/weather/oslo", headers=ann.headers) as answer:
                assert answer.status == 200
    async with asyncio.timeout(60):
        tries = [await receiver.got.get() for _ in range(2)]
        await stage.gateway.identity.freezes.freeze(ann.account, "a test")
        frozen = json.loads((await receiver.got.get())[1])
    told = [json.loads(body) for _, body in tries]
    assert told[0] == told[1], "the first was answered 500"
    assert (told[0]["type"], told[0]["account"], told[0]["data"]["line"]) == ("balance.low", ann.account, "4.999 usd")
    assert (frozen["type"], frozen["data"]) == ("account.frozen", {"reason": "a test"})
    for head, body in tries:
        signed = outgoing.head([Secret(SECRET)], told[0]["id"], int(head["webhook-timestamp"]), body)
        assert signed["webhook-signature"] == head["webhook-signature"]
    assert receiver.got.empty(), "three requests below the line are told once"
