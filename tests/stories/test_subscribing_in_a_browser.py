"""A person subscribes on a phone, without JavaScript, and finds in the wallet what belongs to it."""

from playwright.async_api import Page, expect

from gateway.cli.stage import Stage
from tests.browser import needs_chromium, opened
from tests.conftest import StageMaker
from tests.stories.test_subscriptions import PLANS, heard

pytestmark = needs_chromium
STICKS_OUT = """() => [...document.querySelectorAll('.card *:not(.unseen, pre *)')]
    .filter(one => one.getBoundingClientRect().right > document.querySelector('.card').getBoundingClientRect().right)
    .map(one => one.outerHTML.slice(0, 80))"""


async def test_a_person_subscribes_on_a_narrow_screen_and_is_led_to_stripe(make_stage: StageMaker) -> None:
    stage = await make_stage(plans=PLANS, stripe={"customer_portal": True, "auto_top_up": {}, "reconcile_seconds": 0})
    stage.stand_in.recurring_price("price_month", 1000)
    async with opened(java_script_enabled=False, viewport={"width": 360, "height": 740}) as page:
        await page.goto(stage.url + "/-/top-up")
        await fits(page)
        await page.get_by_role("button", name="Subscribe to monthly").click()
        await paid(stage, page)
        await page.goto(stage.url + "/-/top-up")
        await page.get_by_role("button", name="Continue to payment").click()
        await paid(stage, page)
        await page.goto(stage.url + "/-/wallet")
        await expect(page.get_by_role("link", name="Receipt of")).to_be_visible()
        await expect(page.get_by_text("monthly. Paid.")).to_be_visible()
        await fits(page)
        await page.get_by_role("button", name="Invoices and card at Stripe").click()
        await page.wait_for_url(lambda url: not url.startswith(stage.url))
        await expect(page.get_by_text("4242")).to_be_visible()
        await page.goto(stage.url + "/-/pricing")
        await fits(page)


async def fits(page: Page) -> None:
    assert await page.evaluate(STICKS_OUT) == []
    assert await page.evaluate("document.documentElement.scrollWidth") <= 360


async def paid(stage: Stage, page: Page) -> None:
    """At the provider's page, on to which a page without JavaScript leads at once."""
    await page.wait_for_url(lambda url: not url.startswith(stage.url))
    stage.stand_in.pay(page.url)
    await heard(stage)
