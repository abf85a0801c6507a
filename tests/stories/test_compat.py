"""Callers and upstreams of another gateway go on as they are used to."""

from collections.abc import AsyncIterator

import pytest
from aiohttp import ClientSession, web

from tests.callers import Funded, funded, unpaid
from tests.conftest import StageMaker

PRICED = {"maximum": "0.05 usd", "reported": True}


@pytest.fixture
async def upstream() -> AsyncIterator[str]:
    """It charges two cents, as its authors wrote it for the other gateway."""

    async def answer(request: web.Request) -> web.Response:
        return web.json_response({"cookie": request.headers.get("Cookie")}, headers={"X-Price": request.query["cents"]})

    app = web.Application()
    app.router.add_get("/{rest:.*}", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    await runner.cleanup()


def settings(upstream: str, *more: dict[str, object], compat: bool = True) -> dict[str, object]:
    route = {"name": "job", "match": "/job/", "upstream": "old", "price": PRICED}
    return {
        "upstreams": {"old": {"url": upstream}},
        "routes": [route, *more],
        "compat": ["stripeflare"] if compat else [],
    }


async def test_who_moves_here_keeps_their_addresses_cookie_and_prices(make_stage: StageMaker, upstream: str) -> None:
    stage = await make_stage(**settings(upstream))
    [ann] = await funded(stage, "5.00 usd")
    cookie = {"Cookie": f"access_token={ann.token}; theirs=1"}
    async with ClientSession() as session:
        async with session.get(f"{stage.url}/job/x?cents=2", headers=cookie) as answer:
            assert answer.status == 200, await answer.text()
            assert (answer.headers["Gateway-Cost"], answer.headers["X-Balance"]) == ("0.02 usd", "498")
            assert await answer.json() == {"cookie": "theirs=1"}
        async with session.get(f"{stage.url}/job/x?cents=none", headers=cookie) as answer:
            assert answer.headers["Gateway-Cost"] == "0.05 usd", "who says nothing that can be read costs the most"
        async with session.get(f"{stage.url}/me", headers=cookie) as answer:
            assert (await answer.json())["balance"] == "4.93 usd"
        async with session.get(f"{stage.url}/rotate-token", headers=cookie) as answer:
            assert answer.status == 405
        async with session.post(
            f"{stage.url}/rotate-token", headers={**cookie, "Origin": "https://evil.example"}
        ) as answer:
            assert answer.status == 403
        async with session.post(f"{stage.url}/rotate-token", headers=cookie) as answer:
            new = Funded((await answer.json())["access_token"], ann.account)
        async with session.get(f"{stage.url}/me", headers=new.headers) as answer:
            assert (await answer.json())["account"] == ann.account
        refused = await unpaid(stage, session, "/job/x?cents=2")
        async with session.get(f"{stage.url}/job/x?cents=2") as answer:
            assert answer.headers["X-Balance"] == "0"
            assert answer.headers["x-payment-link"].startswith(refused["payment_url"].partition("?")[0])


async def test_a_route_of_the_owners_keeps_its_address(make_stage: StageMaker, upstream: str) -> None:
    theirs: dict[str, object] = {"name": "me", "match": "/me", "upstream": "old", "price": "free"}
    stage = await make_stage(**settings(upstream, theirs))
    [ann] = await funded(stage, "5.00 usd")
    async with ClientSession() as session:
        async with session.get(f"{stage.url}/me?cents=1", headers=ann.headers) as answer:
            assert await answer.json() == {"cookie": None}
        async with session.post(f"{stage.url}/rotate-token", headers=ann.headers) as answer:
            assert answer.status == 200


async def test_without_it_nothing_of_that_is_there(make_stage: StageMaker, upstream: str) -> None:
    stage = await make_stage(**settings(upstream, compat=False))
    [ann] = await funded(stage, "5.00 usd")
    async with ClientSession() as session:
        async with session.get(f"{stage.url}/me", headers=ann.headers) as answer:
            assert answer.status == 404
        async with session.get(f"{stage.url}/job/x?cents=2", headers={"Cookie": f"access_token={ann.token}"}) as answer:
            assert answer.status == 402
            assert "X-Balance" not in answer.headers
        async with session.get(f"{stage.url}/job/x?cents=2", headers=ann.headers) as answer:
            assert answer.headers["Gateway-Cost"] == "0.05 usd"
            assert "X-Balance" not in answer.headers
