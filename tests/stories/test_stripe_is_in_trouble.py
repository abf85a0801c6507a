"""Stripe is slow, broken, or not there: who has paid does not notice, and who has not is told soon."""

import asyncio
import importlib
from collections.abc import AsyncIterator

import pytest
from aiohttp import ClientSession, TCPConnector

from tests.callers import funded
from tests.conftest import StageMaker
from tests.raw import RawUpstream, Script, Visit, answering

CALLERS = 500
CALLS_MAX = 5


def error(status: str) -> Script:
    body = b'{"error": {"type": "api_error", "message": "no"}}'
    return answering(
        b"HTTP/1.1 " + status.encode() + b"\r\nContent-Type: application/json\r\n"
        b"Content-Length: %d\r\n\r\n%b" % (len(body), body)
    )


async def hang(visit: Visit) -> None:
    await visit.gone.wait()


async def hang_up(visit: Visit) -> None:
    visit.writer.close()


TROUBLE: dict[str, Script] = {
    "429": error("429 Too Many Requests"),
    "500": error("500 Internal Server Error"),
    "401": error("401 Unauthorized"),
    "hangs": hang,
    "hangs up": hang_up,
    "cut": answering(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n\r\n{"),
    "no JSON": answering(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"),
}


@pytest.fixture
async def stripe() -> AsyncIterator[RawUpstream]:
    importlib.import_module("stripe")  # that takes the loop for a while, once, and is not what is tested
    server = RawUpstream()
    await server.start()
    yield server
    await server.stop()


@pytest.mark.parametrize("trouble", TROUBLE)
async def test_five_hundred_unpaid_callers_cost_five_calls_at_most(
    stripe: RawUpstream, make_stage: StageMaker, trouble: str
) -> None:
    stripe.script = TROUBLE[trouble]
    stage = await make_stage(stripe={"api_url": stripe.url, "reconcile_seconds": 0})
    [paid] = await funded(stage, "1.00 usd")
    async with ClientSession(connector=TCPConnector(limit=0)) as session:

        async def ask(path: str = "/echo/x") -> tuple[int, str]:
            async with session.get(stage.url + path) as answer:
                return answer.status, (await answer.json()).get("code", "")

        answers = [asyncio.create_task(ask()) for _ in range(CALLERS)]
        async with session.get(stage.url + "/echo/x", headers=paid.headers) as answer:
            assert answer.status == 200
        assert set(await asyncio.gather(*answers)) == {(503, "payment_service_unavailable")}
        assert 0 < len(stripe.visits) <= CALLS_MAX


async def test_a_name_that_does_not_resolve_is_said_and_nobody_who_paid_notices(make_stage: StageMaker) -> None:
    stage = await make_stage(stripe={"api_url": "https://nowhere.invalid", "reconcile_seconds": 0})
    [paid] = await funded(stage, "1.00 usd")
    async with ClientSession() as session:
        async with session.get(stage.url + "/echo/x") as answer:
            assert (answer.status, (await answer.json())["code"]) == (503, "payment_service_unavailable")
            assert answer.headers["Retry-After"] == "5"
        async with session.get(stage.url + "/echo/x", headers=paid.headers) as answer:
            assert answer.status == 200


async def test_who_waits_for_a_payment_does_not_wait_for_a_stripe_that_is_down(
    stripe: RawUpstream, make_stage: StageMaker
) -> None:
    stripe.script = hang_up
    stage = await make_stage(stripe={"api_url": stripe.url, "reconcile_seconds": 0})
    async with ClientSession() as session:

        async def look() -> str:
            async with session.get(stage.url + "/-/paid?session_id=cs_test_1") as page:
                return await page.text()

        assert stage.gateway.paying.linking is not None
        await stage.gateway.paying.linking
        asked = -1
        while asked != len(stripe.visits):
            asked = len(stripe.visits)
            assert "looks again by itself" in await look()
        for _ in range(5):
            assert "looks again by itself" in await look()
        assert len(stripe.visits) == asked, "nobody asks for a while"
