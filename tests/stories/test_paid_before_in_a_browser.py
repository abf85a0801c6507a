"""A person comes with another browser, pays with the same card, and is shown the wallet of before."""

import asyncio

from playwright.async_api import Page, expect

from tests.browser import needs_chromium, opened
from tests.conftest import StageMaker
from tests.stories.test_i_have_paid_before import bought, browser, counts, shop
from tests.stories.test_in_a_browser import _complaints

pytestmark = needs_chromium


async def pays(page: Page, url: str) -> None:
    await page.goto(url)
    await page.get_by_role("button", name="Pay $5.00").click()


async def test_with_and_without_javascript_the_other_browser_has_the_wallet_too(make_stage: StageMaker) -> None:
    stage = await shop(make_stage)
    for scripts, welcome in ((True, "You have 5.00 USD"), (False, "You have 10.00 USD")):
        async with opened(java_script_enabled=scripts) as page:
            complaints = _complaints(page)
            await pays(page, stage.url + "/weather/oslo")
            await expect(page.get_by_role("heading", name="You have 5.00 USD")).to_be_visible()
            address = page.url
            await counts(stage)
            await page.goto(address)
            await expect(page.get_by_role("heading", name=welcome)).to_be_visible()
            await page.goto(stage.url + "/-/wallet")
            await expect(page.get_by_role("heading", name=welcome.removeprefix("You have "))).to_be_visible()
            assert complaints == []


async def test_the_code_is_read_and_entered_by_hand(make_stage: StageMaker) -> None:
    """Begun in one browser, paid in another, which had no part in it; both of one person."""
    stage = await shop(make_stage, "on")
    async with browser() as old:
        await bought(stage, old)
    async with opened(java_script_enabled=False) as begun, opened(java_script_enabled=False) as paying:
        await begun.goto(stage.url + "/-/wallet")
        link = await begun.get_by_role("link", name="Add 5.00 USD").get_attribute("href")
        assert link is not None
        await pays(paying, link)
        code = await paying.locator("dd.id").inner_text()
        await begun.reload()
        await begun.get_by_text("I have a code").click()
        await begun.get_by_label("Code").fill(code.lower())
        await begun.get_by_role("button", name="Use the code").click()
        assert begun.url == stage.url + "/-/wallet"
        await counts(stage)
        async with asyncio.timeout(20):  # the page may be made while the money is on its way
            while not await begun.get_by_role("heading", name="10.00 USD").is_visible():
                await begun.reload()
