"""A person makes, uses and revokes a token in a real browser, with and without JavaScript; another site cannot."""

from collections.abc import AsyncIterator

import pytest
from aiohttp import ClientSession, web
from playwright.async_api import expect

from gateway.cli.stage import Stage
from tests.browser import needs_chromium, opened
from tests.callers import Funded, funded

pytestmark = needs_chromium


@pytest.mark.parametrize("scripts", [False, True], ids=["without JavaScript", "with JavaScript"])
async def test_a_person_makes_a_token_and_revokes_it(stage: Stage, scripts: bool) -> None:
    [ann] = await funded(stage, "5.00 usd")
    cookie = {"name": stage.gateway.identity.cookies.name, "value": ann.token, "url": stage.url}
    async with opened(java_script_enabled=scripts) as page, ClientSession() as session:
        await page.context.add_cookies([cookie])  # type: ignore[list-item]
        await page.goto(stage.url + "/-/wallet")
        await page.get_by_role("link", name="Access tokens").click()
        making = page.locator("form", has=page.get_by_role("button", name="Make a token"))
        await making.get_by_label("Name").fill("agent")
        await making.get_by_text("Narrow what it may").click()
        await making.get_by_label("weather").check()
        await making.get_by_role("button").click()
        await expect(page.get_by_text("It is shown this once")).to_be_visible()
        agent = Funded(await page.locator("dd.id").inner_text(), ann.account)
        async with session.get(f"{stage.url}/weather/oslo", headers=agent.headers) as answer:
            assert answer.status == 200
        await page.goto(stage.url + "/-/wallet/tokens")
        await expect(page.get_by_text(agent.token)).to_have_count(0)
        await page.get_by_text("Change agent").click()
        await page.get_by_role("button", name="Revoke …").click()
        await expect(page.get_by_text("Revoke agent?")).to_be_visible()
        async with session.get(f"{stage.url}/weather/oslo", headers=agent.headers) as answer:
            assert answer.status == 200, "nothing ends before it was said twice"
        await page.get_by_role("button", name="Yes, revoke it").click()
        await expect(page.get_by_text("Revoked.")).to_be_visible()
        async with session.get(f"{stage.url}/weather/oslo", headers=agent.headers) as answer:
            assert answer.status == 401


async def test_a_member_of_a_shared_wallet_enters_and_leaves(stage: Stage) -> None:
    [ann] = await funded(stage, "5.00 usd")
    async with ClientSession() as session:
        url = stage.url + "/-/api/v1/tokens"
        async with session.post(url, json={"role": "viewer"}, headers=ann.headers) as answer:
            viewer = (await answer.json())["access_token"]
    async with opened(java_script_enabled=False) as page:
        await page.goto(stage.url + "/-/wallet")
        await page.get_by_role("link", name="enter it with a token").click()
        await page.get_by_label("Access token").fill("fb_test_wrong")
        await page.get_by_role("button", name="Enter").click()
        await expect(page.get_by_role("alert")).to_contain_text("not valid")
        await page.get_by_label("Access token").fill(viewer)
        await page.get_by_role("button", name="Enter").click()
        await expect(page.get_by_role("heading", level=1)).to_have_text("5.00 USD")
        await page.get_by_role("button", name="Leave this wallet").click()
        await expect(page.get_by_role("heading", level=1)).to_have_text("Enter with a token")
        await page.goto(stage.url + "/-/wallet")
        await expect(page.get_by_role("heading", level=1)).to_have_text("No wallet yet")


@pytest.fixture
async def other_site(stage: Stage) -> AsyncIterator[str]:
    """It has a form that a visitor is made to send here."""

    async def page(request: web.Request) -> web.Response:
        form = f'<form method="post" action="{stage.url}/-/rotate-token"><button>Win</button></form>'
        return web.Response(text=form, content_type="text/html")

    app = web.Application()
    app.router.add_get("/", page)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    yield f"http://localhost:{runner.addresses[0][1]}/"
    await runner.cleanup()


async def test_another_site_rotates_nobodys_token(stage: Stage, other_site: str) -> None:
    [ann] = await funded(stage, "5.00 usd")
    cookie = {"name": stage.gateway.identity.cookies.name, "value": ann.token, "url": stage.url, "sameSite": "Lax"}
    async with opened() as page:
        await page.context.add_cookies([cookie])  # type: ignore[list-item]
        await page.goto(other_site)
        async with page.expect_response(lambda response: "rotate-token" in response.url) as response:
            await page.get_by_role("button", name="Win").click()
        assert (await response.value).status == 403
    assert await stage.gateway.records.grants.grants_of([ann.account]) == []
