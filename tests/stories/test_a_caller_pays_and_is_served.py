"""From the first 402 to a served and debited request, as a program and as a browser see it."""

import pytest
from aiohttp import ClientSession, CookieJar

from gateway.cli.stage import Stage
from gateway.core.money import Money
from tests.callers import BROWSER, audited, funded, pay, reference_in, unpaid
from tests.conftest import StageMaker


async def test_a_program_is_told_how_to_pay(stage: Stage) -> None:
    async with ClientSession() as session, session.get(stage.url + "/weather/oslo") as answer:
        body = await answer.json()
    assert answer.status == 402
    assert answer.content_type == "application/problem+json"
    assert answer.headers["Cache-Control"] == "no-store"
    assert answer.headers["Gateway-Error"] == "payment_required"
    assert "Server" not in answer.headers
    assert body["code"] == "payment_required"
    assert body["charged"] is False
    assert body["price"] == {"amount": "0.002", "currency": "usd"}
    assert body["balance"] == {"amount": "0.00", "currency": "usd"}
    assert body["access_token"].startswith("fb_test_")
    assert len(reference_in(body["payment_url"])) <= 200
    assert body["access_token"] not in body["payment_url"]


async def test_a_program_pays_and_is_served_and_debited(stage: Stage) -> None:
    async with ClientSession() as session:
        refused = await unpaid(stage, session)
        await pay(stage, refused["payment_url"])
        token = {"Authorization": f"Bearer {refused['access_token']}"}
        async with session.get(stage.url + "/weather/oslo", headers=token) as answer:
            assert answer.status == 200
            assert (await answer.json())["city"] == "oslo"
            assert answer.headers["Gateway-Cost"] == "0.002 usd"
            assert answer.headers["Gateway-Balance"] == "4.998 usd"
            assert answer.headers["Gateway-Request-Id"].startswith("req_")
    report = audited(stage)
    assert (report.records, report.credits) == (1, 1)


async def test_an_unpaid_token_gets_the_same_account_each_time(stage: Stage) -> None:
    async with ClientSession() as session:
        refused = await unpaid(stage, session)
        token = {"Authorization": f"Bearer {refused['access_token']}"}
        async with session.get(stage.url + "/weather/oslo", headers=token) as answer:
            again = await answer.json()
        assert answer.status == 402
        assert "access_token" not in again
        await pay(stage, again["payment_url"])
        async with session.get(stage.url + "/weather/oslo", headers=token) as answer:
            assert answer.status == 200


async def test_strangers_leave_no_rows(stage: Stage) -> None:
    async with ClientSession() as session:
        for _ in range(5):
            await unpaid(stage, session)
    assert audited(stage).accounts == 0


async def test_a_browser_is_sent_to_pay_and_comes_back(stage: Stage) -> None:
    async with ClientSession(cookie_jar=CookieJar(unsafe=True), headers=BROWSER) as browser:
        async with browser.get(stage.url + "/weather/oslo?units=c", allow_redirects=False) as answer:
            assert answer.status == 303
            payment_url = answer.headers["Location"]
            cookie = answer.cookies["gateway_token"]
            assert cookie["httponly"]
            assert cookie["samesite"] == "Lax"
        paid = await pay(stage, payment_url)
        async with browser.get(stage.url + f"/-/paid?session_id={paid['id']}") as answer:
            page = await answer.text()
        assert "You have 5.00 USD" in page
        assert "/weather/oslo?units=c" in page
        async with browser.get(stage.url + "/weather/oslo?units=c") as answer:
            assert answer.status == 200
        async with browser.get(stage.url + "/-/wallet") as answer:
            assert "4.998 USD" in await answer.text()


async def test_the_return_page_credits_when_the_webhook_is_late(stage: Stage) -> None:
    stage.stand_in.hold()
    async with ClientSession(cookie_jar=CookieJar(unsafe=True), headers=BROWSER) as browser:
        async with browser.get(stage.url + "/weather/oslo", allow_redirects=False) as answer:
            payment_url = answer.headers["Location"]
        paid = stage.stand_in.pay(payment_url, client_reference_id=reference_in(payment_url))
        for _ in range(2):
            async with browser.get(stage.url + f"/-/paid?session_id={paid['id']}") as answer:
                assert "You have 5.00 USD" in await answer.text()
    stage.stand_in.release()
    await stage.stand_in.settled()
    assert stage.gateway.paying.webhooks is not None
    await stage.gateway.paying.webhooks.settled()
    assert audited(stage).totals["usd"].credited == 5_000_000


async def test_somebody_elses_return_page_tells_nothing_and_logs_nobody_in(stage: Stage) -> None:
    async with ClientSession() as session:
        refused = await unpaid(stage, session)
        paid = await pay(stage, refused["payment_url"])
    async with ClientSession(headers=BROWSER) as stranger:
        async with stranger.get(stage.url + f"/-/paid?session_id={paid['id']}") as answer:
            page = await answer.text()
            assert not answer.cookies
    assert "5.00" not in page
    assert "credited to the wallet that it was for" in page


async def test_a_route_may_show_a_page_instead_of_the_redirect(stage: Stage) -> None:
    async with ClientSession(headers=BROWSER) as browser:
        async with browser.get(stage.url + "/forecast/oslo", allow_redirects=False) as answer:
            page = await answer.text()
    assert answer.status == 402
    assert "0.25 USD" in page
    assert "client_reference_id=" in page


async def test_a_browser_that_posts_is_not_redirected(stage: Stage) -> None:
    async with ClientSession(headers=BROWSER) as browser:
        async with browser.post(stage.url + "/weather/oslo", data=b"x", allow_redirects=False) as answer:
            assert answer.status == 402


async def test_a_stale_cookie_is_replaced_and_a_stale_header_refused(stage: Stage) -> None:
    stale = "fb_test_0000" + "A" * 40
    async with ClientSession(headers=BROWSER, cookies={"gateway_token": stale}) as browser:
        async with browser.get(stage.url + "/weather/oslo", allow_redirects=False) as answer:
            assert answer.status == 303
            assert answer.cookies["gateway_token"].value != stale
    async with ClientSession(headers={"Authorization": f"Bearer {stale}"}) as program:
        async with program.get(stage.url + "/weather/oslo") as answer:
            assert answer.status == 401
            assert (await answer.json())["code"] == "unknown_token"
            assert answer.headers["WWW-Authenticate"].startswith("Bearer")
        async with program.get(stage.url + "/status/oslo") as answer:
            assert answer.status == 200


async def test_without_a_provider_a_402_names_no_address(make_stage: StageMaker) -> None:
    stage = await make_stage(stripe=None)
    async with ClientSession() as session:
        body = await unpaid(stage, session)
        assert "payment_url" not in body
        [caller] = await funded(stage, "0.01 usd")
        async with session.get(stage.url + "/weather/oslo", headers=caller.headers) as answer:
            assert answer.status == 200


async def test_the_money_and_the_token_outlive_a_restart(stage: Stage) -> None:
    async with ClientSession() as session:
        refused = await unpaid(stage, session)
        await pay(stage, refused["payment_url"])
        settings = stage.settings
        await stage.stop_gateway()
        await stage.start_gateway(settings)
        token = {"Authorization": f"Bearer {refused['access_token']}"}
        async with session.get(stage.url + "/weather/oslo", headers=token) as answer:
            assert answer.status == 200
            assert answer.headers["Gateway-Balance"] == "4.998 usd"
    audited(stage)


async def test_paying_in_the_first_of_two_tabs_is_not_lost(stage: Stage) -> None:
    async with ClientSession(cookie_jar=CookieJar(unsafe=True), headers=BROWSER) as browser:
        async with ClientSession(headers=BROWSER) as tab:
            async with tab.get(stage.url + "/weather/oslo", allow_redirects=False) as first:
                browser.cookie_jar.update_cookies(first.cookies, first.url)
            async with tab.get(stage.url + "/weather/bergen", allow_redirects=False) as second:
                browser.cookie_jar.update_cookies(second.cookies, second.url)
        paid = await pay(stage, first.headers["Location"])
        async with browser.get(stage.url + f"/-/paid?session_id={paid['id']}") as answer:
            page = await answer.text()
        assert "You have 5.00 USD" in page
        assert "Continue to /weather/oslo" in page
        async with browser.get(stage.url + "/weather/oslo") as answer:
            assert answer.status == 200


async def test_a_browser_is_taken_back_only_once(stage: Stage) -> None:
    async with ClientSession(cookie_jar=CookieJar(unsafe=True), headers=BROWSER) as browser:
        async with browser.get(stage.url + "/weather/oslo", allow_redirects=False) as answer:
            paid = await pay(stage, answer.headers["Location"])
        for expected in (True, False):
            async with browser.get(stage.url + f"/-/paid?session_id={paid['id']}") as answer:
                assert ("/weather/oslo" in await answer.text()) is expected


@pytest.mark.parametrize("planted", ["//evil.example/", "https://evil.example/", "x" * 100])
async def test_nobody_can_plant_where_the_browser_goes_next(stage: Stage, planted: str) -> None:
    async with ClientSession(headers=BROWSER) as browser:
        async with browser.get(stage.url + "/weather/oslo", allow_redirects=False) as answer:
            cookies = {name: morsel.value for name, morsel in answer.cookies.items()}
            paid = await pay(stage, answer.headers["Location"])
        [checkout] = [name for name in cookies if name.startswith("gateway_token_")]
        cookies[checkout] = planted
        async with browser.get(stage.url + f"/-/paid?session_id={paid['id']}", cookies=cookies) as answer:
            page = await answer.text()
    assert "You have 5.00 USD" in page
    assert "Continue" not in page


async def test_the_page_after_a_payment_that_names_nobody_says_so(stage: Stage) -> None:
    async with ClientSession() as session:
        refused = await unpaid(stage, session)
    paid = stage.stand_in.pay(refused["payment_url"], client_reference_id="nobody-knows-this-one")
    async with ClientSession(headers=BROWSER) as browser:
        async with browser.get(stage.url + f"/-/paid?session_id={paid['id']}") as answer:
            page = await answer.text()
    assert "could not be credited" in page
    assert "Ask the operator" in page


async def test_nobody_can_make_the_gateway_ask_the_provider_without_end(stage: Stage) -> None:
    async with ClientSession() as session:
        shown = []
        for number in range(50):
            async with session.get(stage.url + f"/-/paid?session_id=cs_test_{number}") as answer:
                shown.append("no such payment" in await answer.text())
    assert 20 <= shown.count(True) <= 40, "20 a minute, and a minute may end meanwhile"


async def test_a_payment_in_another_currency_is_parked(stage: Stage) -> None:
    link = await stage.gateway.paying.payments.payment_link(  # type: ignore[union-attr]
        Money.parse("5.00 eur"), stage.url + "/-/paid?session_id={CHECKOUT_SESSION_ID}"
    )
    async with ClientSession() as session:
        refused = await unpaid(stage, session)
    stage.stand_in.pay(link, client_reference_id=reference_in(refused["payment_url"]))
    await stage.stand_in.settled()
    assert stage.gateway.paying.webhooks is not None
    await stage.gateway.paying.webhooks.settled()
    assert audited(stage).credits == 0
    assert len(await stage.gateway.records.events("parked")) == 1


async def test_the_payer_of_the_link_may_choose_how_much(make_stage: StageMaker) -> None:
    stage = await make_stage(stripe={"payment_link": "choose", "amount_min": "2.00 usd", "amount_max": "30.00 usd"})
    async with ClientSession() as session:
        refused = await unpaid(stage, session)
        stage.stand_in.pay(refused["payment_url"], client_reference_id=reference_in(refused["payment_url"]), amount=750)
        await stage.stand_in.settled()
        assert stage.gateway.paying.webhooks is not None
        await stage.gateway.paying.webhooks.settled()
        headers = {"Authorization": f"Bearer {refused['access_token']}"}
        async with session.get(stage.url + "/weather/oslo", headers=headers) as answer:
            assert answer.headers["Gateway-Balance"] == "7.498 usd"
        async with session.get(stage.url + "/-/wallet", headers={**headers, **BROWSER}) as answer:
            assert "Add credit</a>" in await answer.text()
    audited(stage)
