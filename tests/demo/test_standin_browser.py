"""The checkout in a real browser, without JavaScript and with the keyboard only."""

from collections.abc import AsyncIterator

import aiohttp
import pytest
from aiohttp import web
from playwright.async_api import Page

from gateway.demo.standin import StandIn
from tests.browser import needs_chromium, opened

KEY = "sk_test_standin"
pytestmark = needs_chromium


@pytest.fixture
async def page() -> AsyncIterator[Page]:
    async with opened(java_script_enabled=False) as page:
        yield page


@pytest.fixture
async def shop() -> AsyncIterator[str]:
    """Where the buyer comes back to: another origin than the stand-in's, which sends the browser on once more."""

    async def back(request: web.Request) -> web.Response:
        raise web.HTTPSeeOther(f"/done?{request.query_string}")

    async def done(request: web.Request) -> web.Response:
        return web.Response(text=f"<h1>Back with {request.query['session_id']}</h1>", content_type="text/html")

    app = web.Application()
    app.add_routes([web.get("/back", back), web.get("/done", done)])
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    yield f"http://localhost:{runner.addresses[0][1]}"
    await runner.cleanup()


async def link_to(standin: StandIn, shop: str) -> str:
    form = {
        "line_items[0][quantity]": "1",
        "line_items[0][price_data][currency]": "usd",
        "line_items[0][price_data][unit_amount]": "500",
        "line_items[0][price_data][product_data][name]": "Requests",
        "after_completion[type]": "redirect",
        "after_completion[redirect][url]": shop + "/back?session_id={CHECKOUT_SESSION_ID}",
    }
    headers = {"Authorization": f"Bearer {KEY}"}
    async with (
        aiohttp.ClientSession(headers=headers) as http,
        http.post(f"{standin.url}/v1/payment_links", data=form) as answer,
    ):
        return str((await answer.json())["url"])


async def test_a_buyer_is_declined_corrects_the_card_and_is_led_back_to_the_shop(page: Page, shop: str) -> None:
    async with StandIn(api_key=KEY) as standin:
        await page.goto(await link_to(standin, shop))
        number = page.get_by_label("Card number")
        await number.fill("4000 0000 0000 0002")
        await number.press("Enter")
        assert await page.get_by_role("alert").inner_text() == "Your card was declined."
        assert await number.input_value() == "4000 0000 0000 0002"
        await number.fill("4242 4242 4242 4242")
        await page.get_by_role("button", name="Pay $5.00").press("Enter")
        (session,) = standin.sessions
        assert await page.get_by_role("heading").inner_text() == f"Back with {session['id']}"
        assert session["payment_status"] == "paid"
        assert len(standin.journal) == 1


async def test_a_buyer_who_cancels_pays_nothing(page: Page, shop: str) -> None:
    async with StandIn(api_key=KEY) as standin:
        await page.goto(await link_to(standin, shop))
        await page.get_by_role("link", name="Cancel", exact=True).click()
        assert await page.get_by_role("heading").inner_text() == "Nothing was charged"
        assert standin.journal == []
