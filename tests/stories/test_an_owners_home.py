"""An owner looks at what they sell: routes and how they do, what they earned, how they are paid; and tries a route."""

import base64
import os
import re
from pathlib import Path
from typing import Any

from tests.browser import needs_chromium, opened
from tests.callers import BROWSER, funded
from tests.stories.test_an_owner_has_routes_of_their_own import BOUNDS
from tests.stories.test_an_owner_is_onboarded import ANN, done, heard, scrubbed
from tests.stories.test_signing_in import Browser, Shop, shop

HOME, STATEMENT, TRY, LINK = "/-/owners", "/-/owners/statement.csv", "/-/owners/try", "/-/owners/connect/link"


def selling(folder: Path, **more: Any) -> Any:
    """Anna sells the weather and the echo, bert the other; a fifth is the platform's."""
    one = {"upstream": "weather", "strip_prefix": True, "price": "1.255 usd"}
    routes = [
        {**one, "name": "search", "match": "/search/", "owner": "anna"},
        {**one, "name": "echo", "match": "/echo/", "upstream": "echo", "owner": "anna", "price": "0.10 usd"},
        {**one, "name": "berts", "match": "/berts/", "owner": "bert"},
    ]
    said = {
        "owners": {"anna": {"signs_in": [ANN], "routes": BOUNDS}, "bert": {"signs_in": ["amazon:amzn1.account.BEA"]}},
        "routes_folder": str(folder / "routes.d"),
        "connect": {"country": "US"},
        "payouts": {"hold_back_days": 0},
        "stripe": {"reconcile_seconds": 0},
        "routes": routes,
    }
    return shop(folder, **(said | more))


async def sold(here: Shop) -> list[str]:
    """Three callers buy of anna, and one of bert; their accounts."""
    callers = await funded(here.stage, "20.00 usd", count=3)
    stranger = here.browser()
    for caller, path in zip(
        [*callers, *callers], ["/search/x", "/search/y", "/echo/x", *["/berts/x"] * 3], strict=True
    ):
        async with stranger.session.get(here.stage.url + path, headers=caller.headers) as answer:
            assert answer.status == 200, await answer.text()
    async with stranger.session.get(here.stage.url + "/search/x") as answer:
        assert answer.status == 402
    await here.stage.gateway.ledger.durable()
    await here.stage.gateway.route_use.write()
    return [caller.account for caller in callers]


async def two(here: Shop) -> tuple[Browser, Browser]:
    ann, bea = here.browser(), here.browser()
    await ann.sign_in()
    here.who.person = {"user_id": "amzn1.account.BEA", "email": "bea@example.com", "name": "Bea"}
    await bea.sign_in()
    await done(here.stage)
    return ann, bea


def plain(page: str) -> str:
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", page.replace("&nbsp;", " ")))


async def test_an_owner_sees_what_is_theirs_and_of_callers_no_name(tmp_path: Path) -> None:
    async with selling(tmp_path) as here:
        ann, bea = await two(here)
        accounts = await sold(here)
        status, page, _ = await ann.get(HOME)
        assert status == 200
        says = plain(page)
        assert "Sold in 3 requests, ever 2.61 USD" in says
        assert "Due to you 2.088 USD" in says
        assert "search /search/ 1.255 usd up 2 0 within" in says
        assert "berts" not in says
        assert "Stripe still needs something" in says
        spent = re.findall(r"caller-[0-9a-f]{12} (\d+ [0-9.]+ USD)", says)
        assert spent == ["1 1.255 USD", "1 1.255 USD", "1 0.10 USD"], "and nothing of what they spend on others"
        _, berts, _ = await bea.get(HOME)
        assert "Sold in 3 requests, ever 3.765 USD" in plain(berts)
        assert "search" not in plain(berts)
        for shown in (page, berts):
            assert not [one for one in (*accounts, "example.com") if one in shown]
        mine, theirs = (set(re.findall(r"caller-[0-9a-f]{12}", shown)) for shown in (page, berts))
        assert (len(mine), len(theirs), mine & theirs) == (3, 3, set()), "and no two owners can compare"
        assert set(re.findall(r"caller-[0-9a-f]{12}", (await ann.get(HOME))[1])) == mine
        status, table, _ = await ann.get(STATEMENT)
        lines = table.splitlines()
        assert (status, lines[0]) == (200, "day,route,unit,commission_bps,requests,sold,commission,share,entry")
        assert [line.partition(",")[2] for line in lines[1:]] == [
            "echo,usd,2000,1,0.10,0.02,0.08,", "search,usd,2000,2,2.51,0.502,2.008,"
        ]  # fmt: skip
        assert (await ann.get(STATEMENT + "?from=tomorrow"))[0] == 400
        assert len((await ann.get(STATEMENT + "?from=2000-01-01&to=2000-01-02"))[1].splitlines()) == 1


def basic(password: str) -> dict[str, str]:
    return {"Authorization": "Basic " + base64.b64encode(f"me:{password}".encode()).decode()}


async def test_the_operator_sees_all_owners_what_is_due_and_what_does_not_work(tmp_path: Path) -> None:
    async with selling(tmp_path) as here:
        await two(here)
        await sold(here)
        assert here.stage.running is not None
        url, secret = here.stage.running.admin_address + "/owners", here.stage.settings.secrets.operator_token
        assert secret is not None
        session, token = here.browser().session, secret.reveal()
        async with session.get(url, headers={"Authorization": f"Bearer {token}"}) as answer:
            told = await answer.json()
        assert [(one["owner"], one["account"], one["last_day"]) for one in told["owners"]] == [
            ("anna", "restricted", {"calls": 3, "errors": 0}), ("bert", "restricted", {"calls": 3, "errors": 0})
        ]  # fmt: skip
        assert [one["dues"][0]["due"] for one in told["owners"]] == ["2.088 usd", "3.012 usd"]
        assert told["platform"] == ["1.275 usd"]
        async with session.get(url, headers=BROWSER) as answer:
            assert (answer.status, "Basic" in answer.headers["WWW-Authenticate"]) == (401, True)
        async with session.get(url, headers={**BROWSER, **basic(token)}) as answer:
            page = await answer.text()
            assert (answer.status, "anna: the account at Stripe is restricted." in plain(page)) == (200, True)
            assert "default-src 'none'" in answer.headers["Content-Security-Policy"]
        async with session.get(url, headers={**BROWSER, **basic("x" + token)}) as answer:
            assert answer.status == 401
        reload = here.stage.running.admin_address + "/reload"
        async with session.post(reload, headers=basic(token)) as answer:
            assert answer.status == 401, "a browser that knows the password changes nothing"


async def test_for_who_acts_for_nobody_nothing_is_there(tmp_path: Path) -> None:
    async with selling(tmp_path) as here:
        eve = here.browser()
        here.who.person = {"user_id": "amzn1.account.EVE", "email": "eve@example.com", "name": "Eve"}
        await eve.sign_in()
        missing, otherwise, _ = await eve.get("/-/nowhere")
        for path in (HOME, STATEMENT):
            status, said, _ = await eve.get(path)
            assert (status, scrubbed(said)) == (missing, scrubbed(otherwise))
        for path in (TRY, LINK):
            assert (await eve.post(path, mark=await eve.mark()))[0] == 404
        assert (await here.browser().get(HOME))[0] == 401


async def test_one_request_is_tried_and_paid_by_whoever_tries_it(tmp_path: Path) -> None:
    async with selling(tmp_path) as here:
        ann, _ = await two(here)
        account = await ann.account()
        _, page, _ = await ann.get(HOME)
        [mark] = set(re.findall(r'name="mark" value="([^"]+)"', page))
        status, page, _ = await tried(ann, mark=mark, method="GET", path="/search/oslo", body="")
        assert (status, "<strong>402</strong>" in page) == (200, True)
        await here.stage.gateway.ledger.credit(_credit(str(account)))
        attack = '{"a": "<script>alert(1)</script>"}'
        status, page, _ = await tried(ann, mark=mark, method="POST", path="/echo/x?<b>", body=attack)
        assert status == 400, "what no caller could ask for is not asked for"
        status, page, _ = await tried(ann, mark=mark, method="POST", path="/echo/x", body=attack)
        assert (status, "<strong>200</strong>" in page) == (200, True), page
        assert "<script" not in page
        assert "&lt;script&gt;alert(1)" in page
        assert str(ann.cookie()) not in page, "nobody is shown a token, not even an upstream that echoes"
        balance = await here.stage.gateway.ledger.balance(str(account), "usd")
        assert balance.available.micros == 4_900_000
        for fields in (
            {"mark": mark, "path": "/berts/x"},
            {"mark": mark, "path": "/-/me"},
            {"mark": mark, "path": "http://127.0.0.1:1/search/x"},
            {"mark": mark, "path": "/search/x\r\nX: y"},
            {"mark": mark, "path": "/nowhere"},
            {"mark": mark, "path": "/search/x", "method": "CONNECT"},
            {"mark": "x", "path": "/search/x"},
            {"path": "/search/x"},
        ):
            assert (await tried(ann, **fields))[0] == 400, fields


async def tried(browser: Browser, **fields: str) -> tuple[int, str, None]:
    headers = {**BROWSER, "Sec-Fetch-Site": "same-origin"}
    async with browser.session.post(browser.stage.url + TRY, data=fields, headers=headers) as answer:
        return answer.status, await answer.text(), None


def _credit(account: str) -> Any:
    from gateway.core.ledger import Credit
    from gateway.core.money import Money

    return Credit(f"manual:{account}", account, Money.parse("5.00 usd"), "manual", "for a test")


async def test_the_way_to_stripe_is_made_when_it_is_asked_for(tmp_path: Path) -> None:
    async with selling(tmp_path) as here:
        ann, _ = await two(here)
        _, page, _ = await ann.get(HOME)
        [mark] = set(re.findall(r'name="mark" value="([^"]+)"', page))
        assert here.stage.stand_in.url not in page
        status, page, _ = await ann.post(LINK, mark=mark)
        assert (status, here.stage.stand_in.url in page) == (200, True)
        assert (await ann.post(LINK, mark="x"))[0] == 400
        for account in here.stage.stand_in.accounts:
            here.stage.stand_in.give_what_is_due(account.id)
        await heard(here.stage)
        _, page, _ = await ann.get(HOME)
        assert "Tell Stripe" not in page
        assert f'Into <span class="id">{here.stage.stand_in.accounts[0].id}</span>' in page


async def test_in_a_browser_without_scripts_light_and_dark(tmp_path: Path) -> None:
    async with selling(tmp_path) as here, opened(java_script_enabled=False) as page:
        await sold(here)
        shots = os.environ.get("SHOTS")
        said: list[str] = []
        page.on("console", lambda message: said.append(message.text))
        await page.goto(f"{here.stage.url}/-/auth/amazon/start?next=/-/owners")
        await done(here.stage)
        await page.goto(f"{here.stage.url}/-/owners")
        assert await page.get_by_role("heading", name="anna", exact=True).count() == 1
        assert await page.get_by_role("img", name="What was sold in 30 days").count() == 1
        await page.get_by_text("As a table").focus()
        await page.keyboard.press("Enter")
        assert await page.get_by_role("cell", name="2.51 USD").count() >= 1
        await page.get_by_text("To whom").click()
        for scheme in ("light", "dark"):
            await page.emulate_media(color_scheme=scheme)
            if shots:
                await page.screenshot(path=f"{shots}/owner-{scheme}.png", full_page=True)
        await page.get_by_label("Method").select_option("GET")
        await page.get_by_label("Path").fill("/search/oslo")
        await page.get_by_role("button", name="Send").press("Enter")
        assert await page.get_by_role("region", name="The answer").get_by_text("402", exact=True).count() == 1
        await page.set_viewport_size({"width": 390, "height": 800})
        box = await page.get_by_role("main").bounding_box()
        assert box is not None
        assert box["width"] <= 390, "what is wide scrolls by itself"
        if shots:
            await page.screenshot(path=f"{shots}/owner-narrow.png", full_page=True)
        await page.get_by_role("button", name="Tell Stripe").click()
        await page.wait_for_url(f"{here.stage.stand_in.url}/**")
        assert not [one for one in said if "Content Security" in one]


test_in_a_browser_without_scripts_light_and_dark.pytestmark = needs_chromium  # type: ignore[attr-defined]


async def test_the_operators_page_asks_for_their_token_in_a_browser(tmp_path: Path) -> None:
    async with selling(tmp_path) as here:
        await two(here)
        await sold(here)
        token, running = here.stage.settings.secrets.operator_token, here.stage.running
        assert token is not None
        assert running is not None
        who = {"username": "me", "password": token.reveal()}
        async with opened(java_script_enabled=False, http_credentials=who, color_scheme="dark") as page:
            await page.goto(f"{running.admin_address}/owners")
            assert await page.get_by_role("heading", name="Owners").count() == 1
            assert await page.get_by_role("rowheader", name="anna").count() == 1
            colour = await page.get_by_role("main").evaluate("one => getComputedStyle(one).backgroundColor")
            assert colour == "rgb(28, 30, 34)", "the style sheet is there, too"
            if shots := os.environ.get("SHOTS"):
                await page.screenshot(path=f"{shots}/platform.png", full_page=True)


test_the_operators_page_asks_for_their_token_in_a_browser.pytestmark = needs_chromium  # type: ignore[attr-defined]
