"""An owner comes by an invitation, and gives Stripe what it needs, in a real Chromium without JavaScript."""

import os
from pathlib import Path

from tests.browser import needs_chromium, opened
from tests.stories.test_an_owner_is_onboarded import RETURN, done, heard, market

pytestmark = needs_chromium


async def test_from_an_invitation_to_being_paid(tmp_path: Path) -> None:
    async with market(tmp_path) as here, opened(java_script_enabled=False) as page:
        shots = os.environ.get("SHOTS")
        here.who.person = {"user_id": "amzn1.account.BEA", "email": "bea@example.com", "name": "Bea"}
        code = await here.stage.gateway.paying.owning.belong.invite("bert")
        await page.goto(f"{here.stage.url}/-/owners/join?invite={code.reveal()}")
        await page.get_by_role("link", name="Sign in with Amazon").click()
        if shots:
            await page.screenshot(path=f"{shots}/join.png")
        await page.get_by_role("button", name="Act for bert").press("Enter")
        assert await page.get_by_role("status").count() == 1
        await done(here.stage)
        await page.get_by_role("link", name="How you are paid").click()
        assert page.url == here.stage.url + RETURN
        assert await page.get_by_role("heading", name="Stripe still needs something").count() == 1
        assert await page.get_by_role("listitem").count() == 5
        if shots:
            await page.screenshot(path=f"{shots}/needs.png")
        await page.get_by_role("link", name="Tell Stripe").click()
        assert page.url.startswith(here.stage.stand_in.url)
        if shots:
            await page.screenshot(path=f"{shots}/stripe.png")
        for field in await page.get_by_role("textbox").all():
            await field.fill("given")
        await page.get_by_role("button", name="Send").click()
        await heard(here.stage)
        await page.goto(here.stage.url + RETURN)
        assert await page.get_by_role("heading", name="You can be paid").count() == 1
        if shots:
            await page.screenshot(path=f"{shots}/paid.png")
