"""What is done for people who signed in: their tokens are kept fresh and lent, and what is theirs is read, once."""

import asyncio
import json
import sqlite3
import time
from contextlib import AsyncExitStack, closing
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from gateway.core.jobs import GIVEN_UP_MS
from gateway.core.keyring import Keyring
from gateway.core.ledger import Credit
from gateway.core.money import Money
from gateway.core.refusals import NotConnected, SignInUnavailable
from gateway.core.routes import RouteTable
from gateway.core.secrets import Secret
from gateway.core.sign_ins import Provider
from gateway.flows.lend_tokens import LendTokens
from gateway.flows.work import LEASE_MS, Work
from tests.agents import Agent, mcp_server, settings_of
from tests.callers import Funded
from tests.gateway_process import running
from tests.outside import outside
from tests.ports import own_port
from tests.stories.test_signing_in import COOKIE, Browser, Shop, refused, shop

SYNC = {"sync": True}


async def job_of(browser: Browser) -> dict[str, Any]:
    status, told = await browser.api("/-/api/v1/jobs")
    assert status == 200
    [job] = told["jobs"]
    return dict(job)


def still(here: Shop) -> Work:
    """Nobody does jobs by themselves any more: the test does."""
    signing_in = here.stage.gateway.identity.signing_in
    return Work(signing_in.lending.jobs, signing_in.work._kinds, clock=Later(here), report=lambda *_, **__: None)


class Later:
    """The gateway's clock, moved on."""

    def __init__(self, here: Shop) -> None:
        self._clock = here.stage.gateway.clock
        self.by_ms = 0

    def now_ms(self) -> int:
        return self._clock.now_ms() + self.by_ms


def later(work: Work, by_ms: int) -> None:
    clock = work._clock
    assert isinstance(clock, Later)
    clock.by_ms += by_ms


async def stopped(here: Shop) -> None:
    """The gateway's own rounds end; what it serves goes on."""
    await here.stage.gateway.identity.signing_in.leave()


async def test_everything_is_read_page_by_page_once(tmp_path: Path) -> None:
    async with shop(tmp_path, provider=SYNC) as here:
        await stopped(here)
        browser, work = here.browser(), still(here)
        await browser.sign_in()
        assert (await job_of(browser))["state"] == "waiting"
        await asyncio.gather(work.now(), still(here).now(), still(here).now())
        job = await job_of(browser)
        assert (job["state"], job["progress"]) == ("done", {"pages": 5, "items": 5})
        assert here.who.asked_pages == ["0", "1", "2", "3", "4"]
        await browser.sign_in()
        await work.now()
        assert len(here.who.asked_pages) == 5, "the first synchronisation is one"
        status, told = await browser.api(f"/-/api/v1/jobs/{job['id']}")
        assert (status, told) == (200, job)
        here.who.person = {"user_id": "amzn1.account.BOB"}
        other = here.browser()
        await other.sign_in()
        assert (await other.api(f"/-/api/v1/jobs/{job['id']}"))[0] == 404


async def test_a_job_that_was_cut_off_goes_on_where_it_was(tmp_path: Path) -> None:
    async with shop(tmp_path, provider=SYNC) as here:
        await stopped(here)
        here.who.stop_at = "3"
        reached = here.who.at_page.setdefault("3", asyncio.Event())
        browser, work = here.browser(), still(here)
        await browser.sign_in()
        task = asyncio.create_task(work.now())
        await reached.wait()
        task.cancel()  # as by a kill: nothing more of it is written
        await asyncio.gather(task, return_exceptions=True)
        here.who.stop_at = None
        next = still(here)
        await next.now()
        assert (await job_of(browser))["state"] == "running", "its time is not over"
        later(next, LEASE_MS + 1)
        await next.now()
        job = await job_of(browser)
        assert (job["state"], job["progress"]) == ("done", {"pages": 5, "items": 5})
        assert here.who.asked_pages == ["0", "1", "2", "3", "3", "4"]


async def test_who_was_too_slow_leaves_the_job_to_the_next(tmp_path: Path) -> None:
    async with shop(tmp_path, provider=SYNC) as here:
        await stopped(here)
        here.who.stop_at = "1"
        reached = here.who.at_page.setdefault("1", asyncio.Event())
        browser, slow, quick = here.browser(), still(here), still(here)
        await browser.sign_in()
        task = asyncio.create_task(slow.now())
        await reached.wait()
        here.who.stop_at = None
        later(quick, LEASE_MS + 1)
        await quick.now()
        assert (await job_of(browser))["state"] == "done"
        here.who.let_go.set()
        await task
        assert (await job_of(browser))["progress"] == {"pages": 5, "items": 5}
        assert here.who.asked_pages == ["0", "1", "1", "2", "3", "4"], "and it asks for nothing more"


async def test_being_asked_too_often_is_kept_to_and_given_up_after_days(tmp_path: Path) -> None:
    async with shop(tmp_path, provider=SYNC) as here:
        await stopped(here)
        here.who.page_statuses = [429, 503]
        browser, work = here.browser(), still(here)
        await browser.sign_in()
        await work.now()
        job = await job_of(browser)
        assert (job["state"], job["error"]) == ("waiting", "it answered 429")
        later(work, 20_000)
        await work.now()
        assert len(here.who.asked_pages) == 1, "it said 30 seconds, where the first back-off is 10"
        later(work, 11_000)
        await work.now()
        assert (await job_of(browser))["error"] == "it answered 503"
        here.who.page_statuses = [500] * 100
        later(work, GIVEN_UP_MS)
        await work.now()
        job = await job_of(browser)
        assert (job["state"], job["error"]) == ("failed", "it answered 500")
        here.who.page_statuses = []
        await browser.sign_in()
        await work.now()
        assert (await job_of(browser))["state"] == "done", "a new sign-in has it tried anew"


async def test_a_token_that_ends_in_the_middle_is_renewed_once_for_all(tmp_path: Path) -> None:
    async with shop(tmp_path, provider=SYNC) as here:
        await stopped(here)
        browser, work = here.browser(), still(here)
        await browser.sign_in()
        here.who.access.clear()  # as if it had ended before its time
        await work.now()
        assert ((await job_of(browser))["state"], here.who.renewals) == ("done", 1)
        assert here.who.asked_pages == ["0", "0", "1", "2", "3", "4"]


async def test_a_consent_that_was_withdrawn_is_asked_for_again(tmp_path: Path) -> None:
    async with shop(tmp_path, provider=SYNC) as here:
        await stopped(here)
        browser, work = here.browser(), still(here)
        await browser.sign_in()
        here.who.access.clear()
        here.who.refresh.clear()
        await work.now()
        job = await job_of(browser)
        assert (job["state"], job["error"]) == ("failed", "its user has to allow it again")
        _, told = await browser.api("/-/api/v1/integrations")
        assert [one["status"] for one in told["integrations"]] == ["consent_needed"]


INJECTING: dict[str, Any] = {
    "routes": [
        {"name": "mirror", "match": "/mirror/", "upstream": "echo", "price": "0.001 usd", "inject": "oauth:amazon"},
        {"name": "free", "match": "/free/", "upstream": "echo", "price": "free", "inject": "oauth:amazon"},
        {"name": "plain", "match": "/plain/", "upstream": "echo", "price": "free"},
    ]
}


async def told_upstream(browser: Browser, path: str, **headers: str) -> dict[str, str]:
    async with browser.session.get(f"{browser.stage.url}{path}", headers=headers) as answer:
        said = await answer.json()
        assert answer.status == 200, said
        return {name.lower(): value for name, value in said["fields"]}


async def test_an_upstream_acts_in_the_name_of_who_signed_in_and_of_nobody_else(tmp_path: Path) -> None:
    async with shop(tmp_path, **INJECTING) as here:
        browser, stranger = here.browser(), here.browser()
        status, told = await stranger.api("/free/x")
        assert (status, told["code"]) == (403, "not_connected")
        assert "/-/auth/amazon/start" in told["detail"]
        await browser.sign_in()
        said = await told_upstream(browser, "/free/x", **{"X-Amz-Access-Token": "Atza|forged"})
        assert said["x-amz-access-token"] in here.who.access
        assert "cookie" not in said
        assert "x-amz-access-token" not in await told_upstream(browser, "/plain/x")
        here.who.person = {"user_id": "amzn1.account.BOB"}
        bob = here.browser()
        await bob.sign_in()
        assert (await told_upstream(bob, "/free/x"))["x-amz-access-token"] != said["x-amz-access-token"]


NARROW = [
    ({"name": "looks", "role": "viewer"}, "/free/x", 403),
    ({"name": "elsewhere", "role": "spender", "routes": ["mirror"]}, "/free/x", 403),
    ({"name": "elsewhere", "role": "spender", "routes": ["mirror"]}, "/plain/x", 200),
    ({"name": "here", "role": "spender", "routes": ["free"]}, "/free/x", 200),
]


@pytest.mark.parametrize(("wish", "path", "expected"), NARROW, ids=range(len(NARROW)))
async def test_a_narrow_token_does_not_act_in_its_holders_name_where_it_is_free(
    wish: dict[str, Any], path: str, expected: int, tmp_path: Path
) -> None:
    async with shop(tmp_path, **INJECTING) as here:
        browser, other = here.browser(), here.browser()
        await browser.sign_in()
        async with browser.session.post(f"{here.stage.url}/-/api/v1/tokens", json=wish) as answer:
            token = (await answer.json())["access_token"]
        headers = {"Authorization": f"Bearer {token}"}
        async with other.session.get(f"{here.stage.url}{path}", headers=headers) as answer:
            told = await answer.json()
            assert answer.status == expected, told
        if expected == 403:
            assert told["code"] == "token_out_of_scope"


async def test_an_agents_token_says_nothing_at_a_resource_that_is_not_its_own(tmp_path: Path) -> None:
    async with mcp_server() as server:
        over = settings_of(server)
        echo = {"upstream": "echo", "price": "free"}
        over["routes"] += [
            {"name": "acts", "match": "/acts/", "inject": "oauth:amazon", **echo},
            {
                "name": "knows",
                "match": "/knows/",
                "context_key": "5f1d7a84c3e09b26d4a8f0c1e2b3958761f0a4d2c7b8e9f3",
                **echo,
            },
        ]
        async with shop(tmp_path, **over) as here:
            browser = here.browser()
            await browser.sign_in()
            account = str(await browser.account())
            await here.stage.gateway.ledger.credit(Credit("cs_1", account, Money.parse("5.00 usd"), "payment", ""))
            async with Agent(here.stage, Funded(str(browser.cookie()), account)) as agent:
                await agent.register()
                access = (await agent.tokens())["access_token"]
            stranger, headers = here.browser(), {"Authorization": f"Bearer {access}"}
            async with stranger.session.get(f"{here.stage.url}/acts/x", headers=headers) as answer:
                assert (answer.status, (await answer.json())["code"]) == (403, "not_connected")
            said = await told_upstream(stranger, "/knows/x", **headers)
            assert "gateway-account" not in said, said


async def test_a_route_that_came_with_a_reload_waits_for_its_provider(tmp_path: Path) -> None:
    async with shop(tmp_path, **INJECTING) as here:
        browser = here.browser()
        await browser.sign_in()
        gateway = here.stage.gateway
        routes = [replace(route, inject="google") for route in gateway.settings.routes.routes]
        gateway.reload(replace(gateway.settings, routes=RouteTable(routes)))
        status, told = await browser.api("/free/x")
        assert (status, told["code"]) == (403, "not_connected")


async def test_a_token_is_renewed_before_it_ends_once_for_all_who_ask(tmp_path: Path) -> None:
    async with shop(tmp_path, **INJECTING) as here:
        here.who.seconds = 59
        browser = here.browser()
        await browser.sign_in()
        here.who.seconds = 3600
        before = set(here.who.access)
        said = await asyncio.gather(*(told_upstream(browser, "/free/x") for _ in range(10)))
        [access] = {one["x-amz-access-token"] for one in said}
        assert (here.who.renewals, access in before) == (1, False)


async def person(here: Shop) -> tuple[LendTokens, str, Provider]:
    """Whoever signed in, and another process that lends their tokens."""
    gateway = here.stage.gateway
    lending = gateway.identity.lending
    other = LendTokens(
        vault=lending.people,
        calls=lending.calls,
        discover=lending.discover,
        keyring=gateway.keyring,
        clock=gateway.clock,
        randomness=gateway.randomness,
        report=lambda *_, **__: None,
        now=time.monotonic,
        witness=gateway.witness,
    )
    with closing(here.records) as records:
        [(user,)] = records.execute("SELECT id FROM users")
    return other, user, lending.settings.providers["amazon"]


async def test_two_processes_renew_a_token_once(tmp_path: Path) -> None:
    async with shop(tmp_path) as here:
        here.who.seconds = 59
        await here.browser().sign_in()
        here.who.seconds = 3600
        other, user, amazon = await person(here)
        lend = here.stage.gateway.identity.lending.lend
        found = await asyncio.gather(*(one.access(user, amazon) for one in (lend, other) * 5))
        assert len({one.reveal() for one in found}) == 1
        assert found[0].reveal() in here.who.access
        assert here.who.renewals == 1


async def test_what_was_renewed_is_kept_when_who_asked_has_left(tmp_path: Path) -> None:
    async with shop(tmp_path) as here:
        await here.browser().sign_in()
        lend, user, amazon = await person(here)
        here.who.trouble = "slow"
        asked = asyncio.create_task(lend.access(user, amazon, fresh=True))
        await here.who.asked_token.wait()
        asked.cancel()
        await asyncio.gather(asked, return_exceptions=True)
        here.who.trouble = None
        here.who.let_go.set()
        await lend.close()
        assert (await lend.access(user, amazon)).reveal() in here.who.access
        assert here.who.renewals == 1


async def test_a_provider_in_trouble_takes_no_consent_away(tmp_path: Path) -> None:
    async with shop(tmp_path) as here:
        await here.browser().sign_in()
        lend, user, amazon = await person(here)
        for trouble in ("error", "huge", "junk", "redirect"):
            here.who.trouble = trouble
            lend._paused.clear()
            with closing(here.records) as records, records:
                records.execute("UPDATE oauth_tokens SET held = 0")
            with pytest.raises(SignInUnavailable):
                await lend.access(user, amazon, fresh=True)
        assert (await lend.access(user, amazon)).reveal() in here.who.access


TROUBLES = [
    (500, "server_error"), (503, "temporarily_unavailable"), (503, "invalid_grant"), (429, "slow_down"),
    (401, "invalid_client"), (400, "unauthorized_client"), (400, "invalid_request"), (403, "access_denied"),
    (200, "incorrect_client_credentials"),
]  # fmt: skip


async def stands(here: Shop) -> list[tuple[str, int]]:
    """How connections stand, and how many tokens are kept."""
    with closing(here.records) as records:
        query = "SELECT state, (SELECT count(*) FROM oauth_tokens) FROM integration_status"
        return [tuple(row) for row in records.execute(query)]


@pytest.mark.parametrize(("status", "error"), TROUBLES)
async def test_only_the_end_of_a_grant_takes_consent_away(tmp_path: Path, status: int, error: str) -> None:
    async with shop(tmp_path) as here:
        await here.browser().sign_in()
        lend, user, amazon = await person(here)
        told: list[tuple[str, object]] = []
        lend._report = lambda event, **fields: told.append((event, fields["why"]))
        here.who.refuses = status, error
        with pytest.raises(SignInUnavailable):
            await lend.access(user, amazon, fresh=True)
        ours = "client" in error and status != 503
        event = "a provider refuses our client" if ours else "a token was not renewed"
        assert told == [(event, f"it answered {status} {error}")], "and nothing that it wrote itself"
        assert await stands(here) == [("connected", 1)]
        here.who.refuses = None
        lend._now = lambda: time.monotonic() + 5
        assert (await lend.access(user, amazon, fresh=True)).reveal() in here.who.access


async def test_while_a_provider_is_in_trouble_nobody_waits_and_what_is_good_is_lent(tmp_path: Path) -> None:
    async with shop(tmp_path) as here:
        here.who.seconds = 59  # to be renewed already
        await here.browser().sign_in()
        [good] = here.who.access
        lend, user, amazon = await person(here)
        elsewhere, _, _ = await person(here)
        here.who.refuses = 503, "temporarily_unavailable"
        for one in (lend, lend, elsewhere):
            assert (await one.access(user, amazon)).reveal() == good
        here.who.refuses = 500, "server_error"
        for one in (lend, lend, elsewhere):
            with pytest.raises(SignInUnavailable):
                await asyncio.wait_for(one.access(user, amazon, fresh=True), 10)
        assert here.who.refused == 2, "each process has asked once, and nobody has waited for the other's lease"
        lend._clock = Later(here)
        lend._clock.by_ms = 60_000
        with pytest.raises(SignInUnavailable):
            await lend.access(user, amazon)


@pytest.mark.parametrize("said", [(400, "invalid_grant"), (401, "invalid_grant"), (200, "bad_refresh_token")])
async def test_a_grant_that_its_provider_ended_is_asked_for_anew(tmp_path: Path, said: tuple[int, str]) -> None:
    async with shop(tmp_path) as here:
        await here.browser().sign_in()
        lend, user, amazon = await person(here)
        here.who.refuses = said
        with pytest.raises(NotConnected):
            await lend.access(user, amazon, fresh=True)
        assert await stands(here) == [("consent_needed", 0)]


async def test_a_wrong_secret_of_ours_is_told_when_somebody_signs_in(tmp_path: Path) -> None:
    async with shop(tmp_path) as here:
        told: list[tuple[str, object]] = []
        sign_in = here.stage.gateway.identity.signing_in.sign_in
        sign_in._report = lambda event, **fields: told.append((event, fields["why"]))
        here.who.refuses = 401, "invalid_client"
        browser = here.browser()
        status, _, _ = await browser.get(await browser.out())
        assert (status, await browser.account()) == (503, None), "it is no fault of theirs"
        assert told == [("a provider refuses our client", "it answered 401 invalid_client")]


async def test_a_key_that_sealed_tokens_goes_when_they_are_sealed_anew(tmp_path: Path) -> None:
    async with shop(tmp_path, **INJECTING) as here:
        browser = here.browser()
        await browser.sign_in()
        stage = here.stage
        secrets = stage.settings.secrets
        both = replace(secrets, sealing_keys=(Secret("n" * 40), *secrets.sealing_keys))
        await stage.stop_gateway()
        await stage.start_gateway(replace(stage.settings, secrets=both))
        await told_upstream(browser, "/free/x")
        old = Keyring(secrets.sealing_keys).newest.id
        lending = stage.gateway.identity.lending
        key_roll = stage.gateway.records.key_roll
        before = (await key_roll.use("sealing_key")).events[old]
        assert await lending.people.reseal(old, Keyring(both.sealing_keys), stage.gateway.randomness, count=9) == 2
        assert (await key_roll.use("sealing_key")).events.get(old, 0) == before - 2
        newest = replace(secrets, sealing_keys=both.sealing_keys[:1])
        await stage.stop_gateway()
        await stage.start_gateway(replace(stage.settings, secrets=newest))
        assert await browser.account() is None, "its session was signed with the key that is gone"
        await browser.sign_in()
        await told_upstream(browser, "/free/x")
        _, page, _ = await browser.get("/-/wallet/sessions")
        assert "ann@example.com" in page


async def test_killed_in_mid_job_it_goes_on_and_a_session_ends_on_every_worker(tmp_path: Path) -> None:
    async with outside("amazon") as who, AsyncExitStack() as opened:
        port, admin = own_port(), own_port()
        config = {
            "listen": f"127.0.0.1:{port}", "admin": f"127.0.0.1:{admin}", "workers": 2,
            "store": f"sqlite:{tmp_path}/gateway.db",
            "sign_in": {"providers": [who.settings(sync=who.sync())], "private_addresses": True},
        }  # fmt: skip
        (tmp_path / "gateway.yaml").write_text(json.dumps(config))
        reached = who.at_page.setdefault("3", asyncio.Event())
        who.stop_at = "3"
        browser = Browser(SimpleNamespace(url=f"http://127.0.0.1:{port}"))  # type: ignore[arg-type]
        opened.push_async_callback(browser.session.close)
        async with running(tmp_path / "gateway.yaml") as process:
            await browser.sign_in()
            await reached.wait()
            await process.kill()
        who.stop_at = None
        who.let_go.set()
        with closing(sqlite3.connect(tmp_path / "gateway.records.db", timeout=5)) as records, records:
            assert records.execute("SELECT state, progress FROM sync_jobs").fetchall() == [
                ("running", '{"pages": 3, "items": 3, "cursor": "3"}')
            ]
            records.execute("UPDATE sync_jobs SET due = 0")  # its lease is over
        async with running(tmp_path / "gateway.yaml"):
            job = await job_of(browser)
            async with asyncio.timeout(60):
                while job["state"] != "done":
                    await asyncio.sleep(0.05)
                    job = await job_of(browser)
            assert job["progress"] == {"pages": 5, "items": 5}
            assert who.asked_pages == ["0", "1", "2", "3", "3", "4"]
            mark, kept = await browser.mark(), str(browser.cookie())
            many = [Browser(browser.stage) for _ in range(8)]  # each a connection of its own, on either worker
            for one in many:
                opened.push_async_callback(one.session.close)
                one.plant({COOKIE: kept})
                assert await one.account() is not None
            await browser.post("/-/auth/logout", mark=mark)
            async with asyncio.timeout(30):
                while [await one.account() for one in many] != [None] * 8:
                    await asyncio.sleep(0.05)


async def test_what_is_taken_back_is_gone_at_the_provider_too(tmp_path: Path) -> None:
    async with shop(tmp_path, provider={"revoke_url": "{url}/revoke"}, **INJECTING) as here:
        browser, stranger = here.browser(), here.browser()
        await browser.sign_in()
        _, told = await browser.api("/-/api/v1/integrations")
        assert [(one["provider"], one["status"]) for one in told["integrations"]] == [("amazon", "connected")]
        await told_upstream(browser, "/free/x")
        assert (await stranger.api("/-/api/v1/integrations/amazon", "DELETE"))[0] == 401
        kept = set(here.who.refresh)
        assert (await browser.api("/-/api/v1/integrations/amazon", "DELETE"))[0] == 204
        assert set(here.who.revoked) == kept
        assert (await browser.api("/free/x"))[0] == 403
        assert (await browser.api("/-/api/v1/integrations/amazon", "DELETE"))[0] == 404
        _, told = await browser.api("/-/api/v1/integrations")
        assert [one["status"] for one in told["integrations"]] == ["disconnected"]


async def test_a_probe_says_whether_it_works_and_keeps_nobody_out(tmp_path: Path) -> None:
    async with shop(tmp_path, provider={"probe_url": "{url}/probe"}) as here:
        browser = here.browser()
        for status, state in ((500, "failing"), (200, "connected")):
            here.who.probe_status = status
            assert await browser.sign_in() == "/-/wallet"
            _, told = await browser.api("/-/api/v1/integrations")
            assert [one["status"] for one in told["integrations"]] == [state]


async def test_a_seller_connects_only_when_signed_in_and_for_themselves(tmp_path: Path) -> None:
    async with outside("amazon-sp") as seller, shop(tmp_path, others=(seller,)) as here:
        stranger, ann, bob = here.browser(), here.browser(), here.browser()
        status, _, answer = await stranger.get("/-/auth/amazon-sp/start")
        assert (status, answer.headers["Gateway-Error"]) == (400, "sign_in_refused")
        await ann.sign_in()
        here.who.person = {"user_id": "amzn1.account.BOB"}
        await bob.sign_in()
        back = await bob.out("amazon-sp")
        away = next(one.value for one in bob.session.cookie_jar if one.key == f"{COOKIE}_away")
        here.who.person = {"user_id": "amzn1.account.ANN"}
        await bob.sign_in()
        bob.plant({f"{COOKIE}_away": away})
        status, text, _ = await bob.get(back)
        assert (status, "somebody else is signed in by now" in refused(text)) == (400, True)
        before = ann.cookie()
        assert await ann.sign_in("amazon-sp", "?next=/-/wallet/sessions") == "/-/wallet/sessions"
        assert ann.cookie() == before
        _, page, _ = await ann.get("/-/wallet/sessions")
        assert "A2SELLER" in page
        _, told = await ann.api("/-/api/v1/integrations")
        assert [one["status"] for one in told["integrations"]] == ["connected", "connected"]


@pytest.mark.parametrize("preset", ["google", "github", None])
async def test_other_providers_sign_people_in_as_well(preset: str | None, tmp_path: Path) -> None:
    async with shop(tmp_path, preset) as here:
        name = preset or "own"
        first, second = here.browser(), here.browser()
        await first.sign_in(name)
        await second.sign_in(name)
        assert await first.account() == await second.account() is not None
        assert (await first.api(f"/-/api/v1/integrations/{name}", "DELETE"))[0] == 204
        assert bool(here.who.revoked) == (preset != "github")


async def test_the_older_paths_are_ours_where_no_route_is(tmp_path: Path) -> None:
    async with shop(tmp_path, sign_in={"older_paths": True}) as here:
        browser = here.browser()
        status, _, answer = await browser.get("/api/auth/amazon/start")
        assert status == 303
        _, _, answer = await browser.get(answer.headers["Location"])
        assert "/api/auth/amazon/callback?" in answer.headers["Location"]
        status, _, _ = await browser.get(answer.headers["Location"])
        assert (status, await browser.account() is not None) == (303, True)
    taken = {"name": "own", "match": "/api/auth/amazon/start", "upstream": "echo", "price": "free"}
    async with shop(tmp_path / "2", sign_in={"older_paths": True}, routes=[taken]) as here:
        assert (await here.browser().get("/api/auth/amazon/start"))[0] == 200
    async with shop(tmp_path / "3") as here:
        assert (await here.browser().get("/api/auth/amazon/start"))[0] == 404


async def test_a_row_that_was_moved_opens_for_nobody(tmp_path: Path) -> None:
    async with shop(tmp_path, **INJECTING) as here:
        ann, bob = here.browser(), here.browser()
        await ann.sign_in()
        here.who.person = {"user_id": "amzn1.account.BOB"}
        await bob.sign_in()
        with closing(here.records) as records, records:
            rows = records.execute("SELECT user_id, sealed FROM oauth_tokens").fetchall()
            (first, _), (_, sealed) = rows
            records.execute("UPDATE oauth_tokens SET sealed = ? WHERE user_id = ?", (sealed, first))
        answers = [(await one.api("/free/x"))[0] for one in (ann, bob)]
        assert sorted(answers) == [200, 403]
