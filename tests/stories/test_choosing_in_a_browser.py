"""A person chooses an amount, lets the card be saved, and sees and changes it in the wallet."""

import pytest
from playwright.async_api import expect

from tests.browser import needs_chromium, opened
from tests.conftest import StageMaker

pytestmark = needs_chromium


@pytest.mark.parametrize("scripts", [False, True], ids=["without JavaScript", "with JavaScript"])
async def test_a_person_chooses_an_amount_and_auto_top_up(make_stage: StageMaker, scripts: bool) -> None:
    stage = await make_stage(stripe={"auto_top_up": {}})
    async with opened(java_script_enabled=scripts, color_scheme="dark" if scripts else "light") as page:
        complaints: list[str] = []
        page.on("console", lambda message: complaints.append(message.text))
        await page.goto(stage.url + "/forecast/oslo")
        await page.get_by_role("link", name="Choose another amount").click()
        await page.get_by_label("Another amount").fill("2")
        await page.get_by_role("button", name="Continue to payment").click()
        await expect(page.get_by_role("alert")).to_have_text("amount: from 5.00 usd to 500.00 usd")
        await page.get_by_label("Another amount").fill("7.50")
        await page.get_by_label("Save my card").check()
        await page.get_by_role("button", name="Continue to payment").click()
        await page.get_by_role("button", name="Pay $7.50").click()
        await expect(page.get_by_role("heading", name="You have 7.50 USD")).to_be_visible()
        await page.get_by_role("link", name="Continue to /forecast/oslo").click()
        await stage.stand_in.settled()
        assert stage.gateway.paying.webhooks is not None
        await stage.gateway.paying.webhooks.settled()

        await page.goto(stage.url + "/-/wallet")
        await expect(page.get_by_text("visa 4242 pays")).to_be_visible()
        await page.get_by_label("When the balance falls below").fill("3")
        await page.get_by_role("button", name="Save", exact=True).click()
        await expect(page.get_by_text("falls below 3.00 USD")).to_be_visible()
        await page.get_by_role("button", name="Use another card").click()
        await page.get_by_label("Card number").fill("5555 5555 5555 4444")
        await page.get_by_role("button", name="Save card").click()
        await stage.stand_in.settled()
        await stage.gateway.paying.webhooks.settled()
        await page.goto(stage.url + "/-/wallet")
        await expect(page.get_by_text("mastercard 4444 pays")).to_be_visible()
        await page.get_by_role("button", name="Switch off").click()
        await expect(page.get_by_text("Off. A saved card can pay")).to_be_visible()
        assert [one for one in complaints if "Failed to load resource" not in one] == []
