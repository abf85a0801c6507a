"""The README's application in a real browser: bought, offline, lost, restored, cancelled, and refused."""

import json
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import jwt
import yaml
from aiohttp import web
from aiohttp.test_utils import TestServer
from playwright.async_api import Page, expect

from gateway.cli.stage import Stage
from tests.browser import needs_chromium, opened
from tests.conftest import StageMaker
from tests.mail_server import MailServer, serving
from tests.stories.test_licences import ANN, code_in, hs256, letters
from tests.stories.test_subscriptions import heard
from tests.stories.test_the_readme import blocks, section

pytestmark = needs_chromium
GUIDE = section("### Licences in a web application", "### Coming from stripeflare")


@asynccontextmanager
async def shop(make_stage: StageMaker) -> AsyncIterator[tuple[Stage, MailServer]]:
    """The guide's settings; and its application, with its gateway's address, served as an upstream would."""
    [config], [page] = (blocks(GUIDE, language) for language in ("yaml", "html"))
    asked, app = yaml.safe_load(config), web.Application()
    [route] = asked["routes"]

    async def show(request: web.Request) -> web.Response:
        return web.Response(text=page.replace("http://127.0.0.1:8402", stage.url), content_type="text/html")

    async def export(request: web.Request) -> web.Response:
        return web.Response(text="exported")

    app.router.add_get("/app/", show)
    app.router.add_get("/export/", export)
    async with serving() as mail, TestServer(app) as server:
        upstream = {"app": {"url": str(server.make_url("")).rstrip("/")}}
        stage = await make_stage(
            plans=asked["plans"],
            licences=asked["licences"],
            mail={"host": "127.0.0.1", "port": mail.port, "sender": asked["mail"]["sender"], "starttls": False},
            routes=[
                {**route, "upstream": "app"},
                {"name": "app", "match": "/app/", "upstream": "app", "price": "free"},
            ],
            upstreams=upstream,
            stripe={"reconcile_seconds": 0},
        )
        assert "http://127.0.0.1:8402" in page
        stage.stand_in.recurring_price("price_1abc", 1000)
        yield stage, mail


async def app_of(stage: Stage, page: Page) -> str:
    await page.goto(stage.url + "/app/")
    return stage.url + "/app/"


async def test_a_licence_is_bought_used_offline_lost_restored_and_ends(make_stage: StageMaker) -> None:
    async with shop(make_stage) as (stage, mail):
        async with opened() as page:
            url = await app_of(stage, page)
            await expect(page.locator("#shown")).to_have_text("free")
            await page.locator("#email").fill(ANN)
            await page.get_by_role("button", name="Subscribe").click()
            await page.wait_for_url(lambda at: not at.startswith(stage.url))
            session = stage.stand_in.pay(page.url)
            back = session["success_url"].replace("{CHECKOUT_SESSION_ID}", session["id"])
            await page.goto(back)
            await expect(page.locator("#shown")).to_have_text("pro")
            assert page.url == url, "the code is out of the address"
            await heard(stage)
            await stage.gateway.identity.plans.look()  # as it does every second
            await page.get_by_role("button", name="Export").click()
            await expect(page.locator("#shown")).to_have_text("export: 200")
            await offline(page, stage)
        async with opened() as page:
            await app_of(stage, page)
            await expect(page.locator("#shown")).to_have_text("free")
            await page.locator("#email").fill(ANN)
            async with page.expect_response(re.compile("/-/api/v1/entitlement$")):
                await page.get_by_role("button", name="I have paid before").click()
            [letter] = await letters(stage, mail)
            await page.locator("#code").fill(await code_in(letter))
            await page.get_by_role("button", name="I have paid before").click()
            await expect(page.locator("#shown")).to_have_text("pro")
            await cancelled(stage)
            await page.get_by_role("button", name="Export").click()
            await expect(page.locator("#shown")).to_have_text("export: 402")
            assert await page.evaluate(ASK, [stage.url, "refresh"]) is False


ASK = """async ([gateway, what]) => {
    const { Licence } = await import(gateway + "/-/licence.js");
    const licence = new Licence({ gateway, audience: "my-app", storageKey: "my-app" });
    await licence[what]();
    return (await licence.current()).proActive;
}"""
VERIFY = """async ([gateway, tokens, now]) => {
    const { verify } = await import(gateway + "/-/licence.js");
    const jwks = await (await fetch(gateway + "/.well-known/jwks.json")).json();
    const expected = { issuer: gateway, audience: "my-app", now };
    const said = await Promise.all(tokens.map((one) => verify(one, jwks, expected)));
    return said.map((one) => one !== null);
}"""
LATER = """async ([gateway, days]) => {
    const { Licence } = await import(gateway + "/-/licence.js");
    const now = () => Date.now() + days * 86400000;
    return (await new Licence({ gateway, audience: "my-app", storageKey: "my-app", now }).current())?.proActive ?? null;
}"""


async def offline(page: Page, stage: Stage) -> None:
    """Good without a network until it ends, and no longer."""
    await page.evaluate(LATER, [stage.url, 0])  # the module is loaded
    await page.context.set_offline(True)
    assert [await page.evaluate(LATER, [stage.url, days]) for days in (0, 29, 31)] == [True, True, None]
    await page.context.set_offline(False)


async def cancelled(stage: Stage) -> None:
    payments = stage.gateway.paying.payments
    assert payments is not None
    await payments.cancel_subscription(stage.stand_in.subscriptions[0]["id"])
    stage.stand_in.advance(31)
    await heard(stage)
    await stage.gateway.identity.plans.look()


async def test_the_module_believes_only_what_the_gateway_signed(make_stage: StageMaker) -> None:
    async with shop(make_stage) as (stage, _):
        signs, now = stage.gateway.identity.signs, stage.gateway.clock.now_ms()
        said = {"iss": stage.url, "aud": "my-app", "exp": now // 1000 + 60, "proActive": True}
        good = signs.sign(said, kind="licence+jwt")
        head = {"kid": jwt.get_unverified_header(good)["kid"], "typ": "licence+jwt"}
        tokens = [
            good,
            jwt.encode(said, "", algorithm="none", headers=head),
            hs256(said, signs.pem().encode(), head),
            signs.sign(said),
            signs.sign({**said, "aud": "another"}, kind="licence+jwt"),
            signs.sign({**said, "iss": "https://evil.example"}, kind="licence+jwt"),
            good[:-3],
            "",
            "a.b.c",
        ]
        async with opened() as page:
            await app_of(stage, page)
            assert await page.evaluate(VERIFY, [stage.url, tokens, now]) == [True] + [False] * 8, json.dumps(said)
            assert await page.evaluate(VERIFY, [stage.url, [good], now + 60_001]) == [False]
