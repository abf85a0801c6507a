"""People sign in through an outside provider: they keep their wallet, find it again, and nobody takes their place."""

import asyncio
import json
import re
import sqlite3
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, closing
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, quote, urlsplit

import jwt
import pytest
from aiohttp import ClientResponse, ClientSession, CookieJar
from yarl import URL

from gateway.cli.stage import Stage
from gateway.core.keyring import Keyring
from gateway.core.refusals import RecordsUnavailable
from gateway.core.trail import NEWEST, Act
from gateway.ports import People, User
from tests.callers import BROWSER, audited, pay
from tests.forms import FORMS, staged
from tests.outside import CLIENT, Outside, outside
from tests.postgres_server import Server
from tests.providers import pem, rsa_key, segment
from tests.stories.test_signed_in_elsewhere import hs256

COOKIE = "gateway_token"
both = pytest.mark.parametrize("form", FORMS)


class Browser:
    """Follows nothing by itself."""

    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        self.session = ClientSession(cookie_jar=CookieJar(unsafe=True))

    async def get(self, path: str | URL, **rest: Any) -> tuple[int, str, ClientResponse]:
        url = path if isinstance(path, URL) or "://" in path else self.stage.url + path
        async with self.session.get(url, headers=BROWSER, allow_redirects=False, **rest) as answer:
            return answer.status, await answer.text(), answer

    async def post(self, path: str, **fields: str) -> tuple[int, str, ClientResponse]:
        headers = {**BROWSER, "Sec-Fetch-Site": "same-origin"}
        async with self.session.post(
            self.stage.url + path, data=fields, headers=headers, allow_redirects=False
        ) as answer:
            return answer.status, await answer.text(), answer

    async def out(self, name: str = "amazon", query: str = "") -> str:
        """Where the provider sends it back to."""
        status, text, answer = await self.get(f"/-/auth/{name}/start{query}")
        assert status == 303, text
        status, _, answer = await self.get(answer.headers["Location"])
        assert status == 302
        return answer.headers["Location"]

    async def sign_in(self, name: str = "amazon", query: str = "") -> str:
        """Where it is sent in the end."""
        status, text, answer = await self.get(await self.out(name, query))
        assert status == 303, text
        return answer.headers["Location"]

    def cookie(self) -> str | None:
        return next((one.value for one in self.session.cookie_jar if one.key == COOKIE), None)

    def plant(self, cookies: dict[str, str]) -> None:
        self.session.cookie_jar.update_cookies(cookies, URL(self.stage.url))

    async def account(self) -> str | None:
        headers = {"Accept": "application/json"}
        async with self.session.get(f"{self.stage.url}/-/me", headers=headers) as answer:
            told: dict[str, str] = await answer.json()
            return told.get("account")

    async def api(self, path: str, method: str = "GET") -> tuple[int, Any]:
        async with self.session.request(method, f"{self.stage.url}{path}") as answer:
            return answer.status, await answer.json() if "json" in answer.content_type else await answer.text()

    async def mark(self) -> str:
        _, page, _ = await self.get("/-/wallet/sessions")
        found = re.search(r'name="mark" value="([^"]+)"', page)
        assert found is not None, page
        return found[1]


class Shop:
    """A gateway with a provider, and browsers."""

    def __init__(self, stage: Stage, who: Outside, opened: AsyncExitStack) -> None:
        self.stage, self.who, self._opened = stage, who, opened

    def browser(self) -> Browser:
        made = Browser(self.stage)
        self._opened.push_async_callback(made.session.close)
        return made

    @property
    def records(self) -> sqlite3.Connection:
        path = self.stage.settings.store_path
        return sqlite3.connect(path.with_name(f"{path.stem}.records{path.suffix}"), timeout=5)


@asynccontextmanager
async def shop(
    folder: Path, preset: str | None = "amazon", form: str = "relay", *, provider: dict[str, Any] | None = None,
    sign_in: dict[str, Any] | None = None, others: tuple[Outside, ...] = (), **overrides: Any,
) -> AsyncIterator[Shop]:  # fmt: skip
    async with AsyncExitStack() as opened:
        who = await opened.enter_async_context(outside(preset))
        own = {name: value.format(url=who.url) if isinstance(value, str) else value for name, value in
               (provider or {}).items()}  # fmt: skip
        if own.get("sync") is True:
            own["sync"] = who.sync()
        providers = [who.settings(**own), *(other.settings() for other in others)]
        said = {"providers": providers, "private_addresses": True, **(sign_in or {})}
        stage = await opened.enter_async_context(staged(form, folder, sign_in=said, **overrides))
        yield Shop(stage, who, opened)


def refused(text: str) -> str:
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", text))


@both
async def test_somebody_signs_in_and_finds_their_wallet_again_elsewhere(form: str, tmp_path: Path) -> None:
    async with shop(tmp_path, form=form) as here:
        first = here.browser()
        status, page, answer = await first.get("/forecast/oslo")
        assert (status, "Sign in with Amazon" in page) == (402, True)
        await pay(here.stage, re.findall(r'href="([^"]+client_reference_id[^"]+)"', page)[0].replace("&amp;", "&"))
        account = await first.account()
        before = first.cookie()
        assert await first.sign_in(query="?next=/forecast/oslo%3Fdays%3D2") == "/forecast/oslo?days=2"
        assert first.cookie() not in (None, before)
        assert await first.account() == account
        status, _, answer = await first.get("/forecast/oslo")
        assert (status, answer.headers["Gateway-Balance"]) == (200, "4.75 usd")
        second = here.browser()
        assert await second.account() is None
        assert await second.sign_in() == "/-/wallet"
        assert await second.account() == account
        status, page, _ = await second.get("/-/wallet")
        assert "4.75 USD" in page
        assert "/-/wallet/sessions" in page
        audited(here.stage)


async def test_a_wallet_that_was_paid_into_elsewhere_is_one_with_the_persons(tmp_path: Path) -> None:
    async with shop(tmp_path) as here:
        first, second = here.browser(), here.browser()
        await first.sign_in()
        theirs = await first.account()
        _, page, _ = await second.get("/forecast/oslo")
        await pay(here.stage, re.findall(r'href="([^"]+client_reference_id[^"]+)"', page)[0].replace("&amp;", "&"))
        assert await second.account() != theirs
        await second.sign_in()
        assert await second.account() == theirs
        assert here.stage.gateway.paying.join_books is not None
        await here.stage.gateway.paying.join_books.now()
        status, _, answer = await first.get("/forecast/oslo")
        assert (status, answer.headers["Gateway-Balance"]) == (200, "4.75 usd")
        audited(here.stage)


async def test_a_wallet_of_somebody_who_signed_in_never_goes_to_somebody_else(tmp_path: Path) -> None:
    async with shop(tmp_path) as here:
        browser = here.browser()
        await browser.sign_in()
        anns = await browser.account()
        here.who.person = {"user_id": "amzn1.account.BOB", "email": "ann@example.com", "name": "Ann"}
        await browser.sign_in()
        assert await browser.account() not in (None, anns), "a session is no wallet, and an address proves nothing"
        here.who.person = {"user_id": "amzn1.account.ANN", "email": "ann@example.com", "name": "Ann"}
        other = here.browser()
        await other.sign_in()
        assert await other.account() == anns


async def test_an_older_token_of_somebodys_wallet_takes_nobody_into_it(tmp_path: Path) -> None:
    async with shop(tmp_path) as here:
        ann, bob = here.browser(), here.browser()
        _, page, _ = await ann.get("/forecast/oslo")
        await pay(here.stage, re.findall(r'href="([^"]+client_reference_id[^"]+)"', page)[0].replace("&amp;", "&"))
        older = str(ann.cookie())
        await ann.sign_in()
        bob.plant({COOKIE: older})
        assert await bob.account() == await ann.account(), "the token itself is as good as before"
        here.who.person = {"user_id": "amzn1.account.BOB"}
        await bob.sign_in()
        assert await bob.account() not in (None, await ann.account())
        status, _, answer = await ann.get("/forecast/oslo")
        assert (status, answer.headers["Gateway-Balance"]) == (200, "4.75 usd")


class Meeting:
    """Two who sign in see what there is before either has written anything."""

    def __init__(self, people: People) -> None:
        self._people, self._both = people, asyncio.Barrier(2)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._people, name)

    async def users_of(self, accounts: Sequence[str]) -> list[User]:
        found = await self._people.users_of(accounts)
        await self._both.wait()
        return found


async def paid_wallet(here: Shop) -> Browser:
    """A browser that has paid, of somebody who is not signed in."""
    browser = here.browser()
    _, page, _ = await browser.get("/forecast/oslo")
    await pay(here.stage, re.findall(r'href="([^"]+client_reference_id[^"]+)"', page)[0].replace("&amp;", "&"))
    return browser


@pytest.mark.parametrize("known", [(), ("amazon",), ("amazon", "github")])
async def test_of_two_people_with_one_wallet_at_once_one_has_it(known: tuple[str, ...], tmp_path: Path) -> None:
    async with outside("github") as hub, shop(tmp_path, others=(hub,)) as here:
        for name in known:
            await here.browser().sign_in(name)
        one, two = await paid_wallet(here), here.browser()
        wallet = await one.account()
        two.plant({COOKIE: str(one.cookie())})
        sign_in = here.stage.gateway.identity.signing_in.sign_in
        sign_in._people = Meeting(sign_in._people)
        ways = await one.out("amazon"), await two.out("github")
        answers = await asyncio.gather(one.get(ways[0]), two.get(ways[1]))
        assert [status for status, _, _ in answers] == [303, 303]
        names = here.stage.gateway.identity.aliases.names
        accounts = [str(await one.account()), str(await two.account())]
        assert len(set(accounts)) == 2, "two people are two"
        assert [wallet in names(account) for account in accounts].count(True) == 1
        with closing(here.records) as records:
            assert records.execute("SELECT count(DISTINCT account), count(*) FROM users").fetchone() == (2, 2)


async def test_a_join_by_signing_in_is_on_the_trail_or_is_not_made(tmp_path: Path) -> None:
    async with shop(tmp_path) as here:
        first, second = here.browser(), await paid_wallet(here)
        await first.sign_in()
        theirs, lost = str(await first.account()), str(await second.account())
        sign_in, gateway = here.stage.gateway.identity.signing_in.sign_in, here.stage.gateway
        sign_in._witness = Silent()
        status, _, _ = await second.get(await second.out())
        assert (status, await second.account(), gateway.identity.aliases.root(lost)) == (503, lost, lost)
        sign_in._witness = gateway.witness
        await second.sign_in()
        assert (await second.account(), gateway.identity.aliases.root(lost)) == (theirs, theirs)
        [step] = await gateway.records.trail.steps_before(NEWEST, count=9, object=lost, action="account.join")
        with closing(here.records) as records:
            [(user,)] = records.execute("SELECT id FROM users")
        facts = {"into": theirs, "by": "amazon"}
        assert step.act == Act(user, "consumer", "account.join", lost, "page", f"sign-in {user}", facts)


class Silent:
    """A trail that nothing can be written to."""

    async def write(self, act: Act) -> None:
        raise RecordsUnavailable


async def test_nothing_of_a_person_is_at_rest_in_clear(tmp_path: Path) -> None:
    async with shop(tmp_path) as here:
        browser = here.browser()
        await browser.sign_in()
        with closing(here.records) as records:
            text = "\n".join(records.iterdump())
        clear = ["ann@example.com", "amzn1.account.ANN", *here.who.access, *here.who.refresh, str(browser.cookie())]
        found = [one for one in clear if one in text or one.encode().hex() in text.lower()]
        assert found == []
        _, page, _ = await browser.get("/-/wallet/sessions")
        assert "ann@example.com" in page


async def test_a_sealed_token_opens_in_its_own_row_alone(tmp_path: Path) -> None:
    async with shop(tmp_path) as here:
        await here.browser().sign_in()
        with closing(here.records) as records:
            [(key_id, sealed)] = records.execute("SELECT key_id, sealed FROM oauth_tokens")
            [(user,)] = records.execute("SELECT id FROM users")
        ring = Keyring(here.stage.settings.secrets.sealing_keys)
        opened = ring.open("oauth_tokens.sealed", key_id, sealed, about=f"{user} amazon")
        assert json.loads(opened)["access"] in here.who.access
        for purpose, about in (("oauth_tokens.sealed", f"{user} google"), ("users.profile", f"{user} amazon")):
            with pytest.raises(ValueError, match="does not open"):
                ring.open(purpose, key_id, sealed, about=about)


# --- attacks ----------------------------------------------------------------------------------------------------------


def changed(url: str, **said: str) -> str:
    query = {name: values[0] for name, values in parse_qs(urlsplit(url).query).items()} | said
    return url.partition("?")[0] + "?" + "&".join(f"{name}={quote(value)}" for name, value in query.items())


async def test_a_way_back_counts_once_in_its_browser_with_its_state(tmp_path: Path) -> None:
    async with shop(tmp_path) as here:
        browser = here.browser()
        back = await browser.out()
        taken = {one.key: one.value for one in browser.session.cookie_jar}
        status, text, _ = await browser.get(changed(back, state="x" * 43))
        assert (status, "it was not begun here" in refused(text)) == (400, True)
        stranger = here.browser()
        status, text, _ = await stranger.get(back)
        assert (status, "not begun in this browser" in refused(text)) == (400, True), "the victim of a forged sign-in"
        assert stranger.cookie() is None
        status, _, _ = await browser.get(back)
        assert status == 303
        thief = here.browser()
        thief.plant(taken)
        status, text, _ = await thief.get(back)
        assert (status, "it was finished before" in refused(text)) == (400, True)
        back = await browser.out()
        other_code = parse_qs(urlsplit(await here.browser().out()).query)["code"][0]
        status, text, _ = await browser.get(changed(back, code=other_code))
        assert (status, "did not take the code" in refused(text)) == (400, True), "PKCE: a code of another's way out"


@pytest.mark.parametrize("code", ["%ff%fe", "%00", "%ed%a0%80", "a%0d%0ab", ""])
async def test_junk_for_a_code_is_refused(code: str, tmp_path: Path) -> None:
    async with shop(tmp_path) as here:
        browser = here.browser()
        back = re.sub(r"code=[^&]*", f"code={code}", await browser.out())
        status, _, answer = await browser.get(URL(back, encoded=True))
        assert (status, answer.headers["Gateway-Error"]) == (400, "sign_in_refused")
        status, _, _ = await browser.get(URL(re.sub(r"state=[^&]*", "state=%ff", await browser.out()), encoded=True))
        assert status == 400


async def test_a_code_that_was_used_is_none(tmp_path: Path) -> None:
    async with shop(tmp_path) as here:
        browser = here.browser()
        first = await browser.out()
        assert (await browser.get(first))[0] == 303
        again = changed(await browser.out(), code=parse_qs(urlsplit(first).query)["code"][0])
        status, text, _ = await browser.get(again)
        assert (status, "did not take the code" in refused(text)) == (400, True)


async def test_an_answer_of_another_provider_is_none(tmp_path: Path) -> None:
    async with outside("github") as other, shop(tmp_path, others=(other,)) as here:
        browser = here.browser()
        back = await browser.out("amazon")
        status, text, _ = await browser.get(back.replace("/amazon/", "/github/"))
        assert (status, "not begun in this browser" in refused(text)) == (400, True)
        other.says_issuer = "https://evil.example"
        status, text, _ = await browser.get(await browser.out("github"))
        assert (status, "another provider answered" in refused(text)) == (400, True)
        other.says_issuer = "https://github.com/login/oauth"
        assert await browser.sign_in("github") == "/-/wallet"


async def test_an_issuer_that_promises_to_say_who_it_is_has_to(tmp_path: Path) -> None:
    async with shop(tmp_path, None) as here:
        here.who.says_issuer = here.who.url
        browser = here.browser()
        back = await browser.out("own")
        status, text, _ = await browser.get(back.partition("&iss=")[0])
        assert (status, "did not say who it is" in refused(text)) == (400, True)
        assert await browser.sign_in("own") == "/-/wallet"


@pytest.mark.parametrize(
    "next",
    [
        "//evil.example", "/\\evil.example", "https://evil.example/", "\\/evil.example", "/\t/evil.example",
        "javascript:alert(1)", "evil.example", "/%0d%0aLocation:x\r\n", "", "/" + "a" * 2000,
    ],
)  # fmt: skip
async def test_nobody_is_sent_to_another_site(next: str, tmp_path: Path) -> None:
    async with shop(tmp_path) as here:
        assert await here.browser().sign_in(query=f"?next={quote(next)}") == "/-/wallet"


@pytest.mark.parametrize("trouble", ["huge", "error", "redirect", "junk"])
async def test_a_provider_in_trouble_signs_nobody_in(trouble: str, tmp_path: Path) -> None:
    async with shop(tmp_path) as here:
        here.who.trouble = trouble
        browser = here.browser()
        status, _, _ = await browser.get(await browser.out())
        assert status in (400, 503)
        assert browser.cookie() is None
        with closing(here.records) as records:
            assert records.execute("SELECT count(*) FROM users").fetchone() == (0,)


async def test_a_provider_that_never_answers_holds_nobody_for_long(tmp_path: Path) -> None:
    async with shop(tmp_path) as here:
        here.who.trouble = "slow"
        here.stage.gateway.identity.lending.calls._way._seconds = 0.2
        browser = here.browser()
        status, _, answer = await browser.get(await browser.out())
        assert (status, answer.headers["Gateway-Error"]) == (503, "sign_in_unavailable")


def unsigned(claims: dict[str, Any]) -> str:
    return f"{segment({'alg': 'none', 'kid': 'k1', 'typ': 'JWT'})}.{segment(claims)}."


def with_a_key_of_its_own(claims: dict[str, Any]) -> str:
    return jwt.encode(claims, rsa_key(9), algorithm="RS256", headers={"kid": "k1"})


@pytest.mark.parametrize(
    ("said", "make"),
    [
        ({}, unsigned),
        ({}, lambda claims: hs256(claims, pem(rsa_key(1)))),
        ({}, with_a_key_of_its_own),
        ({"nonce": "another"}, None),
        ({"nonce": None}, None),
        ({"aud": "client-2"}, None),
        ({"aud": [CLIENT, "client-2"]}, None),
        ({"aud": [CLIENT, "client-2"], "azp": "client-2"}, None),
        ({"azp": "client-2"}, None),
        ({"iss": "https://evil.example"}, None),
        ({"exp": 1}, None),
        ({"sub": None}, None),
    ],
)
async def test_an_id_token_that_is_not_good_signs_nobody_in(said: dict[str, Any], make: Any, tmp_path: Path) -> None:
    async with shop(tmp_path, None) as here:
        here.who.id_token, here.who.make_id_token = said, make
        browser = here.browser()
        status, text, _ = await browser.get(await browser.out("own"))
        assert (status, "word of who you are" in refused(text)) == (400, True)
        assert browser.cookie() is None


# --- sessions ---------------------------------------------------------------------------------------------------------


async def test_nobody_plants_a_session(tmp_path: Path) -> None:
    async with shop(tmp_path) as here:
        mallory, victim = here.browser(), here.browser()
        await mallory.sign_in()
        planted = str(mallory.cookie())
        status, _, _ = await victim.post("/-/wallet/enter", token=planted)
        assert (status, victim.cookie()) == (401, None)
        async with victim.session.get(
            f"{here.stage.url}/-/me", headers={"Authorization": f"Bearer {planted}"}
        ) as answer:
            assert answer.status == 401
        here.who.person = {"user_id": "amzn1.account.BOB"}
        victim.plant({COOKIE: planted})
        await victim.sign_in()
        assert victim.cookie() != planted
        assert await mallory.account() is None, "the session that the browser showed before is over"
        assert await victim.account() is not None


async def test_who_knows_the_name_of_a_session_is_not_signed_in(tmp_path: Path) -> None:
    async with shop(tmp_path) as here:
        ann, thief = here.browser(), here.browser()
        await ann.sign_in()
        assert await ann.account() is not None
        id = jwt.decode(str(ann.cookie()), options={"verify_signature": False})["sid"]
        url = f"{here.stage.url}/-/me"
        async with thief.session.get(url, headers={"Cookie": f'{COOKIE}="session\\000{id}"'}) as answer:
            assert answer.status == 401, "a quoted cookie may hold any character"
        status, _, _ = await thief.post("/-/wallet/enter", token=f"session\0{id}")
        assert (status, thief.cookie()) == (401, None)


async def test_a_forged_or_changed_session_is_none(tmp_path: Path) -> None:
    async with shop(tmp_path) as here:
        browser = here.browser()
        await browser.sign_in()
        good = str(browser.cookie())
        head, body, signature = good.split(".")
        claims = jwt.decode(good, options={"verify_signature": False})
        forged = [
            unsigned(claims),
            f"{head}.{segment({**claims, 'sid': 'f' * 32})}.{signature}",
            jwt.encode(claims, "x" * 40, algorithm="HS256", headers=jwt.get_unverified_header(good)),
            f"{head}.{body}.",
        ]
        for one in forged:
            stranger = here.browser()
            stranger.plant({COOKIE: one})
            assert await stranger.account() is None
        other = here.browser()
        other.plant({COOKIE: good})
        assert await other.account() is not None, "the cookie itself is what counts"


async def test_sessions_are_listed_and_ended_one_by_one_or_all_at_once(tmp_path: Path) -> None:
    async with shop(tmp_path) as here:
        first, second, third = here.browser(), here.browser(), here.browser()
        for one in (first, second, third):
            await one.sign_in()
        _, page, _ = await first.get("/-/wallet/sessions")
        ids = re.findall(r'name="id" value="(ses_[0-9a-f]{20})"', page)
        assert (len(ids), page.count("(this browser)")) == (3, 1)
        status, _, _ = await first.post("/-/wallet/sessions", id=ids[1])
        assert status == 400, "a form without its mark"
        status, _, _ = await first.post("/-/wallet/sessions", id=ids[1], mark=await first.mark())
        assert status == 303
        assert [await one.account() is None for one in (first, second, third)] == [False, True, False]
        _, told = await first.api("/-/api/v1/tokens")
        assert told["tokens"] == [], "a session is no token of anybody's"
        await first.post("/-/auth/logout-everywhere", mark=await first.mark())
        assert first.cookie() is None
        assert await third.account() is None
        await first.sign_in()
        kept = str(first.cookie())
        await first.post("/-/auth/logout", mark=await first.mark())
        first.plant({COOKIE: kept})
        assert await first.account() is None, "a cookie that was kept is worth nothing"
        await second.sign_in()
        kept = str(second.cookie())
        await second.post("/-/wallet/leave", mark=await second.mark())
        second.plant({COOKIE: kept})
        assert await second.account() is None
        steps = await here.stage.gateway.records.trail.steps_after(0, count=99)
        acts = Counter(step.act.action for step in steps)
        assert (acts["session.begin"], acts["session.end"], acts["integration.connect"]) == (5, 5, 5)
        assert "ann@example.com" not in str(steps)


async def test_another_ones_session_cannot_be_ended(tmp_path: Path) -> None:
    async with shop(tmp_path) as here:
        ann, bob = here.browser(), here.browser()
        await ann.sign_in()
        here.who.person = {"user_id": "amzn1.account.BOB"}
        await bob.sign_in()
        _, page, _ = await ann.get("/-/wallet/sessions")
        [id] = re.findall(r'name="id" value="(ses_[0-9a-f]{20})"', page)
        status, _, _ = await bob.post("/-/wallet/sessions", id=id, mark=await bob.mark())
        assert status == 404
        assert await ann.account() is not None


async def test_a_session_ends_when_nobody_is_there_and_in_any_case(tmp_path: Path) -> None:
    async with shop(tmp_path, sign_in={"session_idle": "1h", "session_max": "1d"}) as here:
        clock = here.stage.gateway.clock
        mint = here.stage.gateway.identity.lending.mint
        browser = here.browser()
        await browser.sign_in()
        cookie, now = str(browser.cookie()), clock.now_ms() / 1000
        session = mint.recognise(cookie, now=now)
        assert session is not None
        assert mint.recognise(cookie, now=session.issued + 3599) is not None
        assert mint.recognise(cookie, now=session.issued + 3600) is None
        assert mint.renewed(session, now=session.issued + 100) is None
        later = mint.renewed(session, now=session.issued + 3000)
        assert later is not None
        assert mint.recognise(later, now=session.issued + 6000) is not None
        last = mint.renewed(session, now=session.end - 60)
        assert last is not None
        assert mint.recognise(last, now=session.end - 1) is not None
        assert mint.recognise(last, now=session.end) is None
        stale = mint.mint(session.id, session.user, now=session.issued - 1800, end=session.end)
        browser.plant({COOKIE: stale})
        await browser.get("/-/wallet")
        assert browser.cookie() not in (None, stale), "who is here is not idle"
        status, _, answer = await browser.post("/-/auth/refresh")
        assert (status, COOKIE in answer.cookies) == (204, True)


async def test_one_address_comes_back_so_often_at_most(tmp_path: Path) -> None:
    async with shop(tmp_path) as here:
        browser = here.browser()
        codes: list[int] = []
        while 429 not in codes and len(codes) < 41:  # twice as many, should a minute end in between
            codes.append((await browser.get("/-/auth/amazon/callback?state=x&code=y"))[0])
        assert codes == [400] * (len(codes) - 1) + [429]
        assert len(codes) > 20
        assert (await browser.get("/-/auth/nobody/start"))[0] == 404


async def test_somebody_signs_in_where_hosts_share_a_database(tmp_path: Path, postgres: Server) -> None:
    async with shop(tmp_path, provider={"sync": True}, store=await postgres.schema()) as here:
        first, second = here.browser(), here.browser()
        await first.sign_in()
        await second.sign_in()
        assert await first.account() == await second.account() is not None
        async with asyncio.timeout(60):
            while (await first.api("/-/api/v1/jobs"))[1]["jobs"][0]["state"] != "done":
                await asyncio.sleep(0.05)
        assert here.who.asked_pages == ["0", "1", "2", "3", "4"]
        await first.post("/-/auth/logout-everywhere", mark=await first.mark())
        assert await second.account() is None
