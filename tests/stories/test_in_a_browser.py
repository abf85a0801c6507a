"""A person opens a priced address, lands on the checkout page, pays, comes back, is served, sees the balance fall."""

import pytest
from playwright.async_api import ConsoleMessage, Page, expect

from gateway.cli.stage import Stage
from tests.browser import needs_chromium, opened
from tests.callers import audited

pytestmark = needs_chromium


@pytest.mark.parametrize("scripts", [False, True], ids=["without JavaScript", "with JavaScript"])
async def test_a_person_pays_and_is_served(stage: Stage, scripts: bool) -> None:
    async with opened(java_script_enabled=scripts) as page:
        complaints = _complaints(page)
        await page.goto(stage.url + "/weather/oslo?units=c")
        assert page.url.startswith(stage.stand_in.url + "/checkout/")
        await expect(page.get_by_text("no real money moves")).to_be_visible()
        await page.get_by_role("button", name="Pay $5.00").click()
        await expect(page.get_by_role("heading", name="You have 5.00 USD")).to_be_visible()
        await page.get_by_role("link", name="Continue to /weather/oslo?units=c").click()
        assert page.url == stage.url + "/weather/oslo?units=c"
        assert '"city": "oslo"' in await page.content()
        await page.goto(stage.url + "/-/wallet")
        await expect(page.get_by_role("heading", name="4.998 USD")).to_be_visible()
        await page.goto(stage.url + "/weather/oslo")
        await page.goto(stage.url + "/-/wallet")
        await expect(page.get_by_role("heading", name="4.996 USD")).to_be_visible()
        assert complaints == []
    assert audited(stage).totals["usd"].spent == 4_000


async def test_the_page_after_the_payment_goes_back_by_itself(stage: Stage) -> None:
    async with opened(java_script_enabled=False) as page:
        await page.goto(stage.url + "/weather/bergen")
        await page.get_by_role("button", name="Pay $5.00").click()
        await page.wait_for_url(stage.url + "/weather/bergen", timeout=15_000)
        assert '"city": "bergen"' in await page.content()


async def test_the_paywall_page_works_by_keyboard(stage: Stage) -> None:
    async with opened(java_script_enabled=False, color_scheme="dark") as page:
        await page.goto(stage.url + "/forecast/oslo")
        await expect(page.get_by_role("heading", name="Payment required")).to_be_visible()
        await page.keyboard.press("Tab")
        await page.keyboard.press("Enter")
        await page.wait_for_url(stage.stand_in.url + "/checkout/*")


async def test_a_person_who_cancels_is_where_they_were(stage: Stage) -> None:
    async with opened(java_script_enabled=False) as page:
        await page.goto(stage.url + "/weather/oslo")
        await page.get_by_text("Cancel").click()
        await page.goto(stage.url + "/-/wallet")
        await expect(page.get_by_role("heading", name="0.00 USD")).to_be_visible()
        await page.goto(stage.url + "/nowhere")
        await expect(page.get_by_role("heading", name="Not found")).to_be_visible()


def _complaints(page: Page) -> list[str]:
    """What the browser's console says of blocked styles and broken pages."""
    complaints: list[str] = []

    def listen(message: ConsoleMessage) -> None:
        if not message.location["url"].endswith("/favicon.ico"):
            complaints.append(message.text)

    page.on("console", listen)
    return complaints
