"""A person signs in, connects a shop and ends their sessions in a real Chromium without JavaScript."""

import re
from pathlib import Path

from tests.browser import needs_chromium, opened
from tests.outside import outside
from tests.stories.test_signing_in import shop

pytestmark = needs_chromium


async def test_from_the_paywall_to_the_last_session(tmp_path: Path) -> None:
    async with outside("amazon-sp") as seller, shop(tmp_path, others=(seller,)) as here:
        async with opened(java_script_enabled=False) as page:
            await page.goto(f"{here.stage.url}/forecast/oslo?days=2")
            await page.get_by_role("link", name="Sign in with Amazon").click()
            assert page.url == f"{here.stage.url}/forecast/oslo?days=2"
            await page.goto(f"{here.stage.url}/-/wallet")
            assert await page.get_by_role("link", name=re.compile("Sign in")).count() == 0
            await page.get_by_role("link", name="Sessions").click()
            await page.get_by_role("link", name="Connect it").click()
            assert "A2SELLER" in await page.content()
            assert await page.get_by_role("button", name="End it").count() == 1
            await page.get_by_role("button", name="Everywhere").click()
            assert await page.get_by_role("heading", name="No wallet yet").count() == 1
            await page.get_by_role("link", name="Sign in with Amazon").click()
            assert page.url == f"{here.stage.url}/-/wallet"
