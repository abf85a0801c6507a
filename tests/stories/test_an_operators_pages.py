"""An operator opens their pages: signs in, looks, acts with a name on the trail, and is out again."""

import os
import re
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientSession, CookieJar

from gateway.adapters.alerts import AlertBook
from gateway.cli.stage import Stage
from gateway.core.alerts import Sign
from gateway.core.operators import link_code
from gateway.core.payments import Event
from gateway.flows.let_in import IDLE_MS, MOST_MS
from gateway.web.operator_pages import COOKIE, ENTER_PATH, PREFIX
from tests.browser import needs_chromium, opened
from tests.callers import funded
from tests.cli.test_payments import Operator, lost
from tests.conftest import StageMaker
from tests.security.company import AUDITOR

PAGES = ("now", "money", "webhooks", "upstreams", "workers", "payments", "alerts", "trail")
NAVIGATION = {"Accept": "text/html", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Site": "same-origin"}


class Desk:
    """A browser of an operator's."""

    def __init__(self, stage: Stage) -> None:
        assert stage.running is not None
        self.stage = stage
        self.admin = stage.running.admin_address
        self.session = ClientSession(cookie_jar=CookieJar(unsafe=True), headers=NAVIGATION)

    async def __aenter__(self) -> "Desk":
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.session.close()

    async def get(self, path: str) -> tuple[int, str]:
        async with self.session.get(self.admin + path) as answer:
            return answer.status, await answer.text()

    async def post(self, path: str, site: str = "same-origin", /, **fields: str) -> tuple[int, str]:
        headers = {"Sec-Fetch-Site": site}
        async with self.session.post(self.admin + path, data=fields, headers=headers, allow_redirects=False) as answer:
            return answer.status, await answer.text()

    async def enter(self, name: str = "ann", link: str = "", **fields: str) -> tuple[int, str]:
        _, page = await self.get(f"{ENTER_PATH}?link={link}" if link else ENTER_PATH)
        return await self.post(ENTER_PATH, name=name, mark=mark(page), **({"link": link} if link else fields))

    @property
    def token(self) -> str:
        token = self.stage.settings.secrets.operator_token
        assert token is not None
        return token.reveal()

    async def called(self, path: str, **query: str) -> dict[str, Any]:
        bearer = {"Authorization": f"Bearer {self.token}"}
        async with ClientSession() as session, session.get(self.admin + path, headers=bearer, params=query) as answer:
            assert answer.status == 200, await answer.text()
            told: dict[str, Any] = await answer.json()
            return told


def mark(page: str) -> str:
    found = re.search(r'name="mark" value="([^"]+)"', page)
    assert found is not None, page
    return found[1]


async def test_pages_are_for_who_signed_in_and_show_what_the_calls_tell(stage: Stage) -> None:
    [caller] = await funded(stage, "5.00 usd")
    async with Desk(stage) as ann:
        async with ClientSession() as session, session.get(stage.url + "/weather/oslo") as unpaid:
            assert unpaid.status == 402
        for _ in range(3):
            async with ClientSession() as session:
                async with session.get(stage.url + "/weather/oslo", headers=caller.headers) as answer:
                    assert answer.status == 200
        for page in PAGES:
            assert "Operators" in (await ann.get(f"{PREFIX}/{page}"))[1]
            async with ann.session.get(f"{ann.admin}{PREFIX}/{page}", allow_redirects=False) as answer:
                assert (answer.status, answer.headers["Location"]) == (303, ENTER_PATH)
            async with ClientSession() as session:
                bearer = {"Authorization": f"Bearer {ann.token}"}
                async with session.get(f"{ann.admin}{PREFIX}/{page}", headers=bearer) as answer:
                    assert answer.status == 401, "a token is for calls"
        assert (await ann.enter(token="wrong" * 8))[0] == 403
        assert (await ann.enter("an operator!", token=ann.token))[0] == 400
        assert (await ann.enter(token=ann.token))[0] == 303
        for page in PAGES:
            status, text = await ann.get(f"{PREFIX}/{page}")
            assert (status, text.count("aria-current")) == (200, 1), text
            assert ann.token not in text
        now = await ann.called("/now")
        assert now["checks"]["ledger"]["ok"]
        [unit] = (await ann.called("/money"))["units"]
        assert unit["debits"]["count"] == 3
        assert [one["amount"] for one in unit["credits"].values()] == ["5.00 usd"]
        [worker] = (await ann.called("/workers"))["processes"]
        assert re.fullmatch("[0-9a-f]{12}", worker["version"])
        assert (await ann.called("/upstreams"))["upstreams"][0]["servers"] == 1
        acts = [(one["actor"], one["action"]) for one in (await ann.called("/trail"))["entries"]]
        assert ("operator:ann", "operator.sign_in") in acts
        assert ("unknown", "operator.refused") in acts
        looked = {("operator:ann", what) for what in ("payment.parked", "webhook.list", "notice.list")}
        assert looked <= set(acts)


async def test_the_last_minutes_say_what_failed_and_a_reload_is_another_version(stage: Stage) -> None:
    [caller] = await funded(stage, "5.00 usd")
    assert stage.running is not None
    async with Desk(stage) as ann:
        async with ClientSession() as session:
            for headers, status in (({}, 402), (caller.headers, 200), (caller.headers, 200)):
                async with session.get(stage.url + "/weather/oslo", headers=headers) as answer:
                    assert answer.status == status
            await stage.upstreams[0].stop()
            async with session.get(stage.url + "/weather/oslo", headers=caller.headers) as answer:
                assert answer.status in (502, 503)
        for window in (await ann.called("/now"))["windows"]:
            assert (window["requests"], window["payment_required"], window["errors"]) == (4, 1, 1)
            assert window["statuses"]["200"] == 2
            assert 0 < window["p50_ms"] <= window["p95_ms"] <= window["p99_ms"]
        [before] = (await ann.called("/workers"))["processes"]
        first = stage.settings
        more = {**first.upstreams, "more": replace(first.upstreams["weather"], name="more")}
        await stage.running.apply(replace(first, upstreams=more))
        [after] = (await ann.called("/workers"))["processes"]
        assert before["version"] != after["version"]
        assert [one["name"] for one in (await ann.called("/upstreams"))["upstreams"]] == sorted(more)
        await stage.running.apply(first)
        [back] = (await ann.called("/workers"))["processes"]
        assert back["version"] == before["version"]


async def test_an_audit_is_told_with_who_made_it_and_auditors_see_no_form(
    make_stage: StageMaker, tmp_path: Path
) -> None:
    stage = await make_stage(secrets={"auditor_token": AUDITOR})
    async with Desk(stage) as ann, Desk(stage) as rita:
        assert (await ann.called("/money"))["last_audit"] is None
        assert (await Operator(stage, tmp_path / "stage0").asks("audit"))["clean"]
        last = (await ann.called("/money"))["last_audit"]
        assert (last["clean"], last["by"].startswith("operator")) == ("yes", True)
        assert (await rita.enter("rita", token=AUDITOR))[0] == 303
        _, page = await rita.get(f"{PREFIX}/payments")
        assert ("rita, auditor" in page, "Assign a payment" in page) == (True, False)
        [act] = (await ann.called("/trail", action="operator.sign_in"))["entries"]
        assert (act["actor"], act["role"], act["facts"]["by"]) == ("operator:rita", "auditor", "token")


async def test_a_link_opens_once_and_a_session_ends_with_its_time_its_token_and_its_logout(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock, operators = stage.gateway.clock, stage.gateway.identity.operators
    begun, moved = clock.now_ms(), 0
    monkeypatch.setattr(clock, "now_ms", lambda: begun + moved)
    token = stage.settings.secrets.operator_token
    assert token is not None
    code = link_code(token, now_ms=begun, nonce=b"n" * 16)
    async with Desk(stage) as ann, Desk(stage) as eve:
        assert (await ann.enter(link=code[:-4] + "AAAA"))[0] == 403
        assert (await ann.enter(link=code))[0] == 303
        assert (await ann.get(f"{PREFIX}/now"))[0] == 200
        status, page = await eve.enter(link=code)
        assert (status, "not good any more" in page) == (403, True)
        moved = IDLE_MS - 1
        assert "Sign out" in (await ann.get(f"{PREFIX}/now"))[1]
        moved += IDLE_MS - 1
        assert "Sign out" in (await ann.get(f"{PREFIX}/now"))[1], "it was used meanwhile"
        moved += IDLE_MS
        assert "Sign out" not in (await ann.get(f"{PREFIX}/now"))[1]
        late = link_code(token, now_ms=begun, nonce=b"m" * 16)
        assert (await ann.enter(link=late))[0] == 403, "a link is good for minutes"

        assert (await ann.enter(token=ann.token))[0] == 303
        since = moved
        while moved + IDLE_MS - 1 < since + MOST_MS:
            moved += IDLE_MS - 1
            assert "Sign out" in (await ann.get(f"{PREFIX}/now"))[1]
        moved = since + MOST_MS
        assert "Sign out" not in (await ann.get(f"{PREFIX}/now"))[1], "however much it was used"

        moved += 60_000
        assert (await ann.enter(token=ann.token))[0] == 303
        _, page = await ann.get(f"{PREFIX}/now")
        kept = next(one.value for one in ann.session.cookie_jar if one.key == COOKIE)
        assert (await ann.post(f"{PREFIX}/leave", mark=mark(page)))[0] == 303
        ann.session.cookie_jar.update_cookies({COOKIE: kept})
        assert "Sign out" not in (await ann.get(f"{PREFIX}/now"))[1], "a cookie that was kept is good for nothing"

        assert (await ann.enter(token=ann.token))[0] == 303
        operators.renew(None, None)
        assert "Sign out" not in (await ann.get(f"{PREFIX}/now"))[1], "nor what was begun with an older token"
        operators.renew(token, None)
        assert "Sign out" in (await ann.get(f"{PREFIX}/now"))[1]


async def test_nothing_is_done_without_the_mark_of_the_page_or_for_another_site(stage: Stage) -> None:
    async with Desk(stage) as ann, Desk(stage) as eve:
        assert (await ann.enter(token=ann.token))[0] == 303
        assert (await eve.enter("eve", token=eve.token))[0] == 303
        _, hers = await eve.get(f"{PREFIX}/payments")
        _, mine = await ann.get(f"{PREFIX}/payments")
        for path in ("payments", "webhooks", "alerts", "leave"):
            marks: tuple[dict[str, str], ...] = ({}, {"mark": "0" * 64}, {"mark": mark(hers)})
            for wrong in marks:
                assert (await ann.post(f"{PREFIX}/{path}", **wrong))[0] == 400
            assert (await ann.post(f"{PREFIX}/{path}", "cross-site", mark=mark(mine)))[0] == 403
        assert (await ann.get(f"{PREFIX}/now"))[0] == 200
        _, form = await eve.get(ENTER_PATH)
        assert (await ann.post(ENTER_PATH, name="ann", token=ann.token, mark=mark(form)))[0] == 400
        for _ in range(9):
            await eve.enter(token="guess" * 8)
        status, page = await eve.enter("eve", token=eve.token)
        assert (status, "Too many attempts" in page) == (429, True), "right or wrong"


async def test_events_are_replayed_and_payments_assigned_after_a_dry_run_in_the_operators_name(stage: Stage) -> None:
    [caller] = await funded(stage, "1.00 usd")
    inbox = stage.gateway.records
    await inbox.claim(Event("evt_odd", "x.y", False, 1, {}), now_ms=stage.gateway.clock.now_ms())
    await inbox.close_event("evt_odd", "parked", error="odd")
    bought = await lost(stage)
    async with Desk(stage) as ann:
        assert (await ann.enter(token=ann.token))[0] == 303
        _, page = await ann.get(f"{PREFIX}/webhooks")
        assert "evt_odd" in page
        status, page = await ann.post(f"{PREFIX}/webhooks", event="evt_odd", mark=mark(page))
        assert (status, "evt_odd is ignored now" in page) == (200, True), page
        status, page = await ann.post(f"{PREFIX}/webhooks", event="evt_never", mark=mark(page))
        assert (status, "no such event" in page) == (200, True)
        status, page = await ann.post(
            f"{PREFIX}/payments", payment="cs_test_none", account=caller.account, mark=mark(page)
        )
        assert (status, "no payment of this id" in page) == (200, True)
        asked = {"payment": bought["id"], "account": caller.account}
        status, page = await ann.post(f"{PREFIX}/payments", mark=mark(page), **asked)
        assert (status, "would be credited" in page, "Assign it" in page) == (200, True, True)
        assert bought["id"] in (await ann.get(f"{PREFIX}/payments"))[1], "a dry run does nothing"
        status, page = await ann.post(f"{PREFIX}/payments", mark=mark(page), sure="yes", **asked)
        assert (status, "No payment is parked" in page) == (200, True), page
        balance = await ann.called(f"/accounts/{caller.account}/balance", currency="usd")
        assert balance["available"] == "6.00 usd"
        other = {**asked, "account": "acct_" + "0" * 32}
        status, page = await ann.post(f"{PREFIX}/payments", mark=mark(page), **other)
        assert ("another account" in page, "Assign it" in page) == (True, False)
        [act] = (await ann.called("/trail", action="payment.assign"))["entries"]
        assert (act["actor"], act["object"], act["facts"]["account"]) == ("operator:ann", bought["id"], caller.account)
        acts = [
            (one["actor"], one["origin"]) for one in (await ann.called("/trail", action="webhook.replay"))["entries"]
        ]
        assert acts == [("operator:ann", "page")]


async def test_alerts_are_acknowledged_muted_and_tested_on_their_page_and_auditors_only_look(
    make_stage: StageMaker,
) -> None:
    stage = await make_stage(secrets={"auditor_token": AUDITOR})
    book, clock = AlertBook(stage.gateway.records.ask), stage.gateway.clock
    await book.note(Sign("payment_parked", facts={"parked": 1}), now_ms=clock.now_ms(), tells=False)
    [alert] = await book.found(open_only=True, count=9)
    path = f"{PREFIX}/alerts"
    async with Desk(stage) as ann, Desk(stage) as rita:
        assert (await ann.enter(token=ann.token))[0] == 303
        assert (await rita.enter("rita", token=AUDITOR))[0] == 303
        _, seen = await rita.get(path)
        assert (alert.id in seen, f'action="{path}"' in seen) == (True, False)
        assert (await rita.post(path, mark=mark(seen), ack=alert.id))[0] == 403
        assert (await ann.called("/alerts"))["alerts"][0]["acknowledged"] is None
        _, page = await ann.get(path)
        assert "Acknowledge<" in page
        asked: tuple[tuple[dict[str, str], int, str], ...] = (
            ({"ack": "alr_0"}, 200, "no alert of this id is open"),
            ({"ack": alert.id}, 200, "payment_parked is acknowledged"),
            ({"name": "no_such", "hours": "1"}, 200, "there is no such alert"),
            ({"name": "disk_low", "hours": "soon"}, 200, "hours: write a number"),
            ({"name": "disk_low", "hours": "nan"}, 200, "hours: write a number from 0"),
            ({"name": "disk_low", "hours": "721"}, 200, "hours: write a number from 0"),
            ({"name": "disk_low", "hours": "1.5"}, 200, "nobody is told of disk_low until"),
            ({"test": "yes"}, 200, "nobody is told of alerts: set alerts.url"),
            ({}, 400, ""),
        )  # fmt: skip
        for fields, status, words in asked:
            got, page = await ann.post(path, mark=mark((await ann.get(path))[1]), **fields)
            assert (got, words in page) == (status, True), (fields, page)
        told = await ann.called("/alerts")
        assert told["alerts"][0]["acknowledged"] is not None
        assert set(told["muted"]) == {"disk_low"}
        _, page = await ann.get(path)
        assert ("Acknowledge<" in page, "Tell again<" in page) == (False, True)
        await ann.post(path, mark=mark(page), name="disk_low", hours="0")
        assert (await ann.called("/alerts"))["muted"] == {}
        acts = [one for one in (await ann.called("/trail"))["entries"] if one["action"].startswith("alert.")]
        assert {one["actor"] for one in acts} == {"operator:ann"}
        assert [(one["action"], one["object"], one["origin"]) for one in acts][:2] == [
            ("alert.mute", "disk_low", "page"), ("alert.test", "alerts", "page"),
        ]  # fmt: skip


def heard(said: list[str], message: Any) -> None:
    said.append(message.text)


async def test_in_a_browser_light_dark_and_narrow(stage: Stage) -> None:
    await funded(stage, "5.00 usd")
    assert stage.running is not None
    token = stage.settings.secrets.operator_token
    assert token is not None
    for scheme, width in (("light", 1100), ("dark", 420)):
        view = {"width": width, "height": 800}
        async with opened(java_script_enabled=False, color_scheme=scheme, viewport=view) as page:
            said: list[str] = []
            page.on("console", partial(heard, said))
            await page.goto(f"{stage.running.admin_address}{PREFIX}/")
            await page.get_by_label("Your name").fill("ann")
            await page.get_by_label("token").fill(token.reveal())
            await page.keyboard.press("Enter")
            await page.wait_for_url(f"**{PREFIX}/now")
            for name in PAGES:
                await page.goto(f"{stage.running.admin_address}{PREFIX}/{name}")
                wide = await page.evaluate("document.documentElement.scrollWidth")
                assert wide <= width, f"{name} does not fit"
                if shots := os.environ.get("SHOTS"):
                    await page.screenshot(path=f"{shots}/{scheme}_{name}.png", full_page=True)
            await page.keyboard.press("Tab")
            assert await page.evaluate("document.activeElement.textContent") == "To the page"
            await page.get_by_role("button", name="Sign out").click()
            await page.wait_for_url(f"**{ENTER_PATH}")
            assert not [one for one in said if "Content Security" in one]


test_in_a_browser_light_dark_and_narrow.pytestmark = needs_chromium  # type: ignore[attr-defined]
