"""An owner signs in and has an account at Stripe, without being asked for anything, and without an operator's hand."""

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from gateway.cli.stage import Stage
from gateway.core.limits import Rate
from gateway.core.payments import Event
from gateway.web import owners
from tests.forms import FORMS
from tests.stories.test_signing_in import Browser, Shop, shop

ACCOUNT = "/-/api/v1/stripe/connect-account"
RETURN, REFRESH = "/-/owners/connect/return", "/-/owners/connect/refresh"
ANN = "amazon:amzn1.account.ANN"
APIS = pytest.mark.parametrize("api", ["v1", "v2"])


@asynccontextmanager
async def market(
    folder: Path, *, form: str = "relay", api: str = "v2", named: dict[str, Any] | None = None, **connect: Any
) -> AsyncIterator[Shop]:
    """A platform where Ann acts for the owner anna."""
    there = named if named is not None else {"anna": {"signs_in": [ANN]}, "bert": {}}
    said = {"country": "US", "api": api, **connect}
    async with shop(folder, form=form, owners=there, connect=said, stripe={"reconcile_seconds": 0}) as here:
        yield here


async def done(stage: Stage, kind: str = "onboard") -> None:
    """Until no job of this kind waits."""
    jobs = stage.gateway.identity.signing_in.lending.jobs
    async with asyncio.timeout(20):
        while any(job.state in ("waiting", "running") for job in await jobs.list_jobs(state=None, user=None, count=9)):
            await asyncio.sleep(0.02)


async def heard(stage: Stage) -> None:
    """Until everything that Stripe has sent was acted on."""
    await stage.stand_in.settled()
    assert stage.gateway.paying.webhooks is not None
    await stage.gateway.paying.webhooks.settled()


async def standing(browser: Browser) -> dict[str, Any]:
    status, told = await browser.api(ACCOUNT)
    assert status == 200, told
    return dict(told)


@APIS
@pytest.mark.parametrize("form", FORMS)
async def test_whoever_acts_for_an_owner_signs_in_and_can_be_paid(form: str, api: str, tmp_path: Path) -> None:
    async with market(tmp_path, form=form, api=api) as here:
        ann = here.browser()
        await ann.sign_in()
        await done(here.stage)
        [made] = here.stage.stand_in.accounts
        assert (made.api, made.country, made.email, made.name, made.transfers) == (
            api, "US", "ann@example.com", "anna", True
        )  # fmt: skip
        told = await standing(ann)
        link = told.pop("link")
        assert told["requirements"], "and Stripe has to know some things of them"
        assert (told["owner"], told["status"], told["account"]) == ("anna", "restricted", made.id)
        assert (told["transfers_enabled"], told["payable"]) == (False, False)

        status, page, _ = await ann.get(link)
        assert status == 200
        fields = dict.fromkeys(re.findall(r'name="(due-\d)"', page), "given")
        async with ann.session.post(link, data=fields, allow_redirects=False) as answer:
            assert (answer.status, answer.headers["Location"]) == (303, here.stage.settings.public_url + RETURN)
        await heard(here.stage)
        told = await standing(ann)
        assert (told["status"], told["requirements"], told["link"]) == ("enabled", [], None)
        assert (told["transfers_enabled"], told["payouts_enabled"], told["payable"]) == (True, True, True)
        payable = await here.stage.gateway.paying.owning.accounts.payable("anna")
        assert (payable.account, payable.reason) == (made.id, None)
        status, page, _ = await ann.get(RETURN)
        assert (status, "You can be paid" in page) == (200, True)
        inbox = here.stage.gateway.records
        assert not await inbox.entries("parked")


async def test_nothing_is_there_for_who_acts_for_no_owner_and_a_token_is_not_enough(tmp_path: Path) -> None:
    async with market(tmp_path) as here:
        ann, bea = here.browser(), here.browser()
        await ann.sign_in()
        here.who.person = {"user_id": "amzn1.account.BEA", "email": "ann@example.com", "name": "Ann"}
        await bea.sign_in()
        for path in (ACCOUNT, RETURN, REFRESH):
            status, said, _ = await bea.get(path)
            unknown, otherwise, _ = await bea.get("/-/nowhere")
            assert (status, unknown) == (404, 404), "an address that somebody says is theirs proves nothing"
            assert scrubbed(said) == scrubbed(otherwise)
        status, said = await bea.api(ACCOUNT, "POST")
        assert (status, said["code"]) == (404, "no_route")
        status, _ = await here.browser().api(ACCOUNT)
        assert status == 401
        async with ann.session.post(f"{here.stage.url}/-/api/v1/tokens", json={"name": "laptop"}) as answer:
            token = (await answer.json())["access_token"]
        async with here.browser().session.get(
            here.stage.url + ACCOUNT, headers={"Authorization": f"Bearer {token}"}
        ) as answer:
            assert (answer.status, (await answer.json())["code"]) == (403, "token_out_of_scope")
        await done(here.stage)
        assert [one.name for one in here.stage.stand_in.accounts] == ["anna"]
        async with ann.session.post(here.stage.url + ACCOUNT, headers={"Sec-Fetch-Site": "cross-site"}) as answer:
            assert answer.status == 403, "a page of another site begins nothing"


def scrubbed(page: str) -> str:
    return re.sub(r"req_[\w-]+", "ID", page)


@APIS
async def test_what_stripe_says_of_an_account_is_looked_up_and_stops_payouts(api: str, tmp_path: Path) -> None:
    async with market(tmp_path, api=api) as here:
        stand_in, owning = here.stage.stand_in, here.stage.gateway.paying.owning
        ann = here.browser()
        await ann.sign_in()
        await done(here.stage)
        [made] = stand_in.accounts
        stand_in.give_what_is_due(made.id)
        await heard(here.stage)
        assert (await owning.accounts.payable("anna")).account == made.id
        statuses = []
        for how in ({"verifying": True}, {"verifying": False, "due": [3]}, {"due": [], "rejected": True}):
            stand_in.set_account(made.id, **how)
            await heard(here.stage)
            statuses.append((await owning.accounts.payable("anna")).reason)
        assert statuses == ["pending", "restricted", "rejected"]
        stand_in.set_account(made.id, rejected=False)
        await heard(here.stage)
        if api == "v1":
            stand_in.deauthorise(made.id)
        else:
            stand_in.close_account(made.id)
        await heard(here.stage)
        payable = await owning.accounts.payable("anna")
        assert (payable.account, payable.reason) == (None, "deauthorised")
        told = await standing(ann)
        assert (told["status"], told["payable"], told["link"]) == ("deauthorised", False, None)
        _, page, _ = await ann.get(RETURN)
        assert "disconnected" in page
        trail = await here.stage.gateway.records.trail.steps_before(2**62, action=None, object="anna", count=50)
        acts = [step.act for step in trail]
        changed = [act.facts["status"] for act in acts if act.action == "owner.account.status"]
        assert changed[::-1][:5] == ["enabled", "pending", "restricted", "rejected", "enabled"]
        assert changed[0] == "deauthorised"
        assert [act.action for act in acts][-1] == "owner.account.open"
        inbox = here.stage.gateway.records
        assert not await inbox.entries("parked")
        assert not await inbox.entries("waiting")
        assert here.stage.stand_in.journal == [], "nothing was paid, and nothing was credited"


async def test_an_old_link_is_followed_by_a_fresh_one_and_what_was_missed_is_found(tmp_path: Path) -> None:
    async with market(tmp_path) as here:
        ann = here.browser()
        await ann.sign_in()
        await done(here.stage)
        first = (await standing(ann))["link"]
        assert (await ann.get(first))[0] == 200
        status, _, answer = await ann.get(first)
        assert (status, answer.headers["Location"]) == (303, here.stage.url + REFRESH)
        status, _, answer = await ann.get(REFRESH)
        assert status == 303
        assert answer.headers["Location"] not in (first, here.stage.url + RETURN)
        assert (await ann.get(answer.headers["Location"]))[0] == 200
        [made] = here.stage.stand_in.accounts
        here.stage.stand_in.drop_next(9)
        here.stage.stand_in.give_what_is_due(made.id)
        assert (await standing(ann))["status"] == "restricted"
        accounts = here.stage.gateway.paying.owning.accounts
        await accounts.look_round()
        assert (await standing(ann))["status"] == "restricted", "it was looked at today"
        await here.stage.gateway.records.ask("UPDATE stripe_accounts SET checked = checked - 90000000")
        await accounts.look_round()
        assert (await standing(ann))["status"] == "enabled"
        status, _, answer = await ann.get(REFRESH)
        assert (status, answer.headers["Location"]) == (303, RETURN), "nothing is due"


async def test_whoever_is_invited_signs_in_and_acts_for_the_owner(tmp_path: Path) -> None:
    async with market(tmp_path) as here:
        belong = here.stage.gateway.paying.owning.belong
        code = (await belong.invite("bert")).reveal()
        path = f"/-/owners/join?invite={code}"
        here.who.person = {"user_id": "amzn1.account.BEA", "email": "bea@example.com", "name": "Bea"}
        bea, eve = here.browser(), here.browser()
        status, page, _ = await bea.get(path)
        assert (status, "Act for bert?" in page) == (200, True)
        [start] = re.findall(r'href="(/-/auth/amazon/start[^"]+)"', page)
        assert await bea.sign_in(query=start.partition("start")[2].replace("&amp;", "&")) == path
        assert here.stage.stand_in.accounts == [], "an address that is opened changes nothing"
        _, page, _ = await bea.get(path)
        [mark] = re.findall(r'name="mark" value="([^"]+)"', page)
        status, _, _ = await bea.post("/-/owners/join", invite=code, mark="x")
        assert status == 400
        status, page, _ = await bea.post("/-/owners/join", invite=code, mark=mark)
        assert (status, "You act for bert" in page) == (200, True)
        await done(here.stage)
        [made] = here.stage.stand_in.accounts
        assert (made.name, made.email) == ("bert", "bea@example.com")
        assert (await standing(bea))["owner"] == "bert"
        here.who.person = {"user_id": "amzn1.account.EVE", "email": "eve@example.com", "name": "Eve"}
        await eve.sign_in()
        assert (await eve.get(path))[0] == 400, "it is used up"
        status, _, _ = await eve.post("/-/owners/join", invite=code, mark=await eve.mark())
        assert status == 400
        assert (await eve.get(ACCOUNT))[0] == 404
        other = (await belong.invite("anna")).reveal()
        status, page, _ = await bea.post("/-/owners/join", invite=other, mark=await bea.mark())
        assert (status, "act for another owner already" in page) == (400, True)
        assert await belong.invitation(other) == "anna", "and whom it is for may use it still"
        trail = await here.stage.gateway.records.trail.steps_before(2**62, action=None, object="bert", count=9)
        actions = [step.act.action for step in trail][::-1]
        assert actions == ["owner.invite", "owner.join", "owner.account.open"]
        assert code not in str([step.content for step in trail])


async def test_an_account_that_the_operator_has_set_goes_first_and_none_is_made(tmp_path: Path) -> None:
    named = {"anna": {"signs_in": [ANN], "stripe_account": "acct_1abc"}}
    async with market(tmp_path, named=named, older_paths=True) as here:
        ann = here.browser()
        await ann.sign_in()
        status, told = await ann.api("/api/v1/stripe/connect-account", "POST")
        assert (status, told["status"], told["account"], told["payable"]) == (200, "configured", "acct_1abc", True)
        assert await standing(ann) == told
        status, _ = await ann.api("/api/v1/stripe/connect-account", "DELETE")
        assert status == 405
        payable = await here.stage.gateway.paying.owning.accounts.payable("anna")
        assert (payable.account, payable.reason) == ("acct_1abc", None)
        await done(here.stage)
        assert here.stage.stand_in.accounts == []


async def test_links_are_made_so_often_and_how_it_stands_is_told_always(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(owners, "_CALLS", Rate(2, 3600, "2/hour"))
    async with market(tmp_path) as here:
        ann = here.browser()
        await ann.sign_in()
        await done(here.stage)
        links = [(await standing(ann))["link"] for _ in range(3)]
        assert [link is None for link in links] == [False, False, True]
        assert (await standing(ann))["status"] == "restricted"
        assert (await ann.get(REFRESH))[0] == 429
        assert (await ann.get(RETURN))[0] == 200


async def test_while_stripe_is_away_how_it_stands_is_told_and_nothing_is_broken(tmp_path: Path) -> None:
    async with market(tmp_path) as here:
        ann = here.browser()
        await ann.sign_in()
        await done(here.stage)
        here.stage.stand_in.fail_requests(1000, 500)
        told = await standing(ann)
        assert (told["status"], told["link"]) == ("restricted", None)
        assert (await ann.get(RETURN))[0] == 200
        assert (await ann.get(REFRESH))[0] == 503


async def test_who_has_to_give_something_while_being_paid_is_led_there(tmp_path: Path) -> None:
    async with market(tmp_path) as here:
        ann = here.browser()
        await ann.sign_in()
        await done(here.stage)
        await heard(here.stage)
        await here.stage.gateway.records.ask("UPDATE stripe_accounts SET status = 'enabled', transfers = 1")
        told = await standing(ann)
        assert (told["status"], told["payable"], told["link"] is None) == ("enabled", True, False)


async def test_what_comes_of_another_account_is_heard_and_credits_nothing(tmp_path: Path) -> None:
    async with market(tmp_path) as here:
        ann, stage = here.browser(), here.stage
        await ann.sign_in()
        await done(stage)
        [made] = stage.stand_in.accounts
        stage.stand_in.drop_next(9)
        stage.stand_in.give_what_is_due(made.id)
        webhooks, now = stage.gateway.paying.webhooks, stage.gateway.clock.now_ms() // 1000
        assert webhooks is not None
        thin = {"id": made.id, "type": "v2.core.account"}
        assert await webhooks.take(Event("evt_1", "v2.core.account.updated", False, now, thin, account=made.id))
        await webhooks.settled()
        assert (await standing(ann))["status"] == "enabled"
        session = {"id": "cs_test_1", "mode": "payment", "status": "complete", "payment_status": "paid",
                   "amount_total": 500, "currency": "usd", "livemode": False}  # fmt: skip
        await webhooks.take(Event("evt_2", "checkout.session.completed", False, now, session, account=made.id))
        await webhooks.take(Event("evt_3", "account.updated", False, now, {"id": "acct_9"}, account="acct_9"))
        await webhooks.settled()
        query = "SELECT id, status FROM event WHERE id IN ('evt_1', 'evt_2', 'evt_3') ORDER BY id"
        assert [tuple(row) for row in await stage.gateway.records.ask(query)] == [
            ("evt_1", "done"), ("evt_2", "parked"), ("evt_3", "ignored")
        ]  # fmt: skip
