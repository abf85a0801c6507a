"""A person pays from the paywall, sees what was used and paid, takes a statement along: by mouse or by keyboard."""

from pathlib import Path

import pytest
from playwright.async_api import Page, expect

from gateway.cli.stage import Stage
from tests.browser import needs_chromium, opened
from tests.callers import funded
from tests.conftest import StageMaker

pytestmark = needs_chromium


@pytest.mark.parametrize("scripts", [False, True], ids=["without JavaScript", "with JavaScript"])
async def test_a_person_pays_an_exact_amount_and_sees_it_in_the_wallet(make_stage: StageMaker, scripts: bool) -> None:
    stage = await make_stage(stripe={"auto_top_up": {}})
    async with opened(java_script_enabled=scripts, color_scheme="dark" if scripts else "light") as page:
        complaints: list[str] = []
        page.on("console", lambda message: complaints.append(message.text))
        await page.goto(stage.url + "/forecast/oslo?day=it;s")
        await page.get_by_text("I have paid before").click()
        await expect(page.get_by_text("belongs to the browser that you paid with")).to_be_visible()
        await page.get_by_text("For programs").click()
        await expect(page.locator("pre")).to_have_text(f"curl -i '{stage.url}/forecast/oslo?day=it;s'")
        await page.get_by_role("button", name="10.00 USD").click()
        await page.get_by_role("button", name="Pay $10.00").click()
        await expect(page.get_by_role("heading", name="You have 10.00 USD")).to_be_visible()
        await page.get_by_role("link", name="Continue to /forecast/oslo").click()
        assert '"city": "oslo"' in await page.content()
        await stage.gateway.ledger.durable()
        await page.goto(stage.url + "/-/wallet")
        await expect(page.get_by_role("img", name="The last 30 days")).to_be_visible()
        await page.get_by_text("As a table").click()
        await expect(page.get_by_role("group").get_by_role("cell", name="0.25 USD")).to_be_visible()
        await page.get_by_role("link", name="Receipt of").click()
        await expect(page.get_by_role("heading", name="Receipt: $10.00")).to_be_visible()
        await page.goto(stage.url + "/-/wallet")
        async with page.expect_download() as download:
            await page.get_by_role("link", name="by request").click()
        text = Path(await (await download.value).path()).read_text()
        assert [line.partition(",")[0] for line in text.splitlines()] == ["type", "credit", "request"]
        assert [one for one in complaints if "Failed to load resource" not in one] == []


async def test_the_wallet_works_by_keyboard_on_a_narrow_screen(stage: Stage) -> None:
    [ann] = await funded(stage, "5.00 usd")
    async with opened(java_script_enabled=False, viewport={"width": 360, "height": 740}) as page:
        await page.context.add_cookies(
            [{"name": stage.gateway.identity.cookies.name, "value": ann.token, "url": stage.url}]
        )
        await page.goto(stage.url + "/weather/oslo")
        await stage.gateway.ledger.durable()
        await page.goto(stage.url + "/-/wallet")
        await _tab_to(page, "As a table")
        await page.keyboard.press("Enter")
        await expect(page.get_by_role("group").get_by_role("cell", name="0.002 USD")).to_be_visible()
        await _tab_to(page, "by hour")
        assert not await _scrolls_sideways(page)


async def test_the_paywall_is_within_a_narrow_screen(stage: Stage) -> None:
    async with opened(java_script_enabled=False, viewport={"width": 360, "height": 740}) as page:
        await page.goto(stage.url + "/forecast/" + "a-long-way/" * 12)
        for summary in ("I have paid before", "For programs"):
            await _tab_to(page, summary)
            await page.keyboard.press("Enter")
        await expect(page.locator("pre")).to_be_visible()
        assert not await _scrolls_sideways(page)


async def _tab_to(page: Page, name: str) -> None:
    for _ in range(30):
        await page.keyboard.press("Tab")
        if await page.locator(":focus").text_content() == name:
            return
    raise AssertionError(f"no key leads to {name}")


async def _scrolls_sideways(page: Page) -> bool:
    box = await page.locator("main").bounding_box()
    assert box is not None
    return box["width"] > 360 - 2 * 16 or box["x"] < 0
