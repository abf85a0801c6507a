"""A person allows a program to spend, in a real browser, without JavaScript, on a narrow screen, in the dark."""

import asyncio
from pathlib import Path
from urllib.parse import parse_qs, urlencode, urlsplit

import pytest
from aiohttp import web
from playwright.async_api import expect

from gateway.core.ledger import Credit
from gateway.core.money import Money
from tests.agents import Agent, called, mcp_server, settings_of
from tests.browser import needs_chromium, opened
from tests.callers import funded
from tests.forms import staged
from tests.stories.test_signing_in import shop

pytestmark = needs_chromium


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_a_person_allows_a_program_less_than_it_asks_for(scheme: str, tmp_path: Path) -> None:
    came: asyncio.Queue[str] = asyncio.Queue()

    async def back(request: web.Request) -> web.Response:
        came.put_nowait(str(request.url))
        return web.Response(text="You can close this window.")

    app = web.Application()
    app.router.add_get("/callback", back)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    callback = f"http://127.0.0.1:{runner.addresses[0][1]}/callback"
    async with mcp_server() as server, staged("relay", tmp_path, **settings_of(server)) as stage:
        [person] = await funded(stage, "10.00 usd")
        async with Agent(stage, person) as agent:
            await agent.register(redirect_uris=[callback])
            asks = f"{stage.url}/-/oauth/authorize?{urlencode(agent.asks(redirect_uri=callback))}"
            narrow = {"width": 360, "height": 740}
            async with opened(java_script_enabled=False, color_scheme=scheme, viewport=narrow) as page:
                await page.context.add_cookies([{"name": agent.cookie, "value": person.token, "url": stage.url}])
                await page.goto(asks)
                await expect(page.get_by_role("heading", level=1)).to_have_text("Allow Research agent to spend?")
                await expect(page.get_by_text("which nobody has checked")).to_be_visible()
                await page.get_by_label("Up to so much a month").fill("0.01")
                await page.get_by_role("button", name="Allow").click()
                await expect(page.get_by_text("You can close this window.")).to_be_visible()
                said = {name: value for name, [value] in parse_qs(urlsplit(await came.get()).query).items()}
                assert said["iss"] == stage.url
                _, tokens = await agent.redeem(said["code"], redirect_uri=callback)
                _, answer = await agent.call(tokens["access_token"], called("search"))
                assert "result" in answer
                _, answer = await agent.call(tokens["access_token"], called("search"))
                assert answer["error"]["data"]["code"] == "spend_cap_reached"
                await page.goto(stage.url + "/-/wallet/tokens")
                await expect(page.get_by_text("Research agent").first).to_be_visible()
    await runner.cleanup()


async def test_somebody_who_has_a_wallet_elsewhere_signs_in_and_is_asked(tmp_path: Path) -> None:
    async with mcp_server() as server, shop(tmp_path, **settings_of(server)) as here:
        async with opened(java_script_enabled=False) as page:
            await page.goto(f"{here.stage.url}/-/wallet")
            await page.get_by_role("link", name="Sign in with Amazon").click()
            account = (await page.locator("dd.id").text_content() or "").strip()
        credit = Credit("manual:1", account, Money.parse("5.00 usd"), "manual", "for a test")
        await here.stage.gateway.ledger.credit(credit)
        async with Agent(here.stage, None) as agent:
            await agent.register()
            asks = f"{here.stage.url}/-/oauth/authorize?{urlencode(agent.asks())}"
            async with opened(java_script_enabled=False) as page:
                await page.goto(asks)
                await expect(page.get_by_role("link", name="Pay and continue")).to_be_visible()
                await page.get_by_role("link", name="Sign in with Amazon").click()
                assert page.url.startswith(f"{here.stage.url}/-/oauth/authorize?")
                await expect(page.get_by_role("heading", level=1)).to_have_text("Allow Research agent to spend?")
