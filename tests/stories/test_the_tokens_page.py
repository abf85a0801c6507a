"""A holder makes, renames, rotates and revokes tokens on a page that needs no JavaScript."""

import re

from aiohttp import ClientSession

from gateway.cli.stage import Stage
from tests.callers import BROWSER, Funded, funded

PAGE = "/-/wallet/tokens"


class Browser:
    """What a browser does with the page's forms."""

    def __init__(self, stage: Stage, session: ClientSession, token: str) -> None:
        self._stage = stage
        self._session = session
        self.token = token

    async def sees(self) -> str:
        name = self._stage.gateway.identity.cookies.name
        headers = {**BROWSER, "Cookie": f"{name}={self.token}"}
        async with self._session.get(self._stage.url + PAGE, headers=headers) as answer:
            assert answer.status == 200
            return await answer.text()

    async def sends(self, mark: str | None = None, status: int = 200, **fields: str) -> str:
        [sealed, *_] = re.findall(r'name="mark" value="([^"]+)"', await self.sees()) if mark is None else [mark]
        name = self._stage.gateway.identity.cookies.name
        headers = {**BROWSER, "Cookie": f"{name}={self.token}", "Sec-Fetch-Site": "same-origin", "Origin": "null"}
        data = {"mark": sealed, **fields}
        url = self._stage.url + PAGE
        async with self._session.post(url, headers=headers, data=data, allow_redirects=False) as answer:
            assert answer.status == status, await answer.text()
            if name in answer.cookies:
                self.token = answer.cookies[name].value
            return await answer.text()


def secrets_on(page: str) -> list[str]:
    return re.findall(r"fb_test_[A-Za-z0-9_-]{44}", page)


async def test_a_person_has_tokens_made_on_a_page(stage: Stage) -> None:
    [ann] = await funded(stage, "5.00 usd")
    async with ClientSession() as session:
        browser = Browser(stage, session, ann.token)
        assert "None is on record yet." in await browser.sees()
        page = await browser.sends(action="create", name="<b>agent</b>", routes="weather, echo", day="1.00 usd")
        [secret] = secrets_on(page)
        assert "&lt;b&gt;agent&lt;/b&gt;" in page
        agent = Funded(secret, ann.account)
        async with session.get(f"{stage.url}/llm/x", headers=agent.headers) as answer:
            assert answer.status == 403
        page = await browser.sees()
        assert secrets_on(page) == []
        assert "Only for echo, weather." in page
        assert "At most 1.00 usd a day, 0.00 usd of it spent." in page
        [id] = set(re.findall(r"tok_[0-9a-f]{20}", page))
        assert 'value="bot"' in await browser.sends(action="rename", id=id, name="bot")
        [renewed] = secrets_on(await browser.sends(action="rotate", id=id))
        assert renewed != secret
        asked = await browser.sends(action="revoke", id=id)
        assert ("Revoke <strong>bot</strong>?" in asked, "Revoked." in asked) == (True, False)
        assert "Revoked." in await browser.sends(action="revoke", id=id, sure="1")
        for token in (secret, renewed):
            async with session.get(f"{stage.url}/weather/x", headers=Funded(token, "").headers) as answer:
                assert answer.status == 401


async def test_what_cannot_be_done_is_said_on_the_page(stage: Stage) -> None:
    ann, bob = await funded(stage, "5.00 usd", count=2)
    async with ClientSession() as session:
        browser, other = Browser(stage, session, ann.token), Browser(stage, session, bob.token)
        assert "there is no route" in await browser.sends(action="create", routes="none", status=400)
        assert "was expected" in await browser.sends(action="else", status=400)
        page = await browser.sends(action="create")
        [id] = set(re.findall(r"tok_[0-9a-f]{20}", page))
        for action in ("rename", "rotate", "revoke"):
            for sure in ("", "1"):
                told = await other.sends(action=action, id=id, sure=sure, status=404)
                assert "No token that you may know of" in told
        [sealed, *_] = re.findall(r'name="mark" value="([^"]+)"', await other.sees())
        await browser.sends(mark=sealed, action="revoke", id=id, sure="1", status=400)
        assert "Revoked." not in await browser.sees()


async def test_a_browser_that_rotates_its_own_token_goes_on_with_the_new_one(stage: Stage) -> None:
    [ann] = await funded(stage, "5.00 usd")
    async with ClientSession() as session:
        browser = Browser(stage, session, ann.token)
        async with session.post(f"{stage.url}/-/rotate-token", headers=ann.headers) as answer:
            browser.token = (await answer.json())["access_token"]
        [id] = set(re.findall(r"tok_[0-9a-f]{20}", await browser.sees()))
        before = browser.token
        [shown] = secrets_on(await browser.sends(action="rotate", id=id))
        assert browser.token == shown != before
        assert "This browser uses it." in await browser.sends(action="revoke", id=id)
        await browser.sends(action="revoke", id=id, sure="1", status=303)


async def test_before_a_token_is_revoked_the_page_counts_what_came_of_it(stage: Stage) -> None:
    [ann] = await funded(stage, "5.00 usd")
    async with ClientSession() as session:
        browser = Browser(stage, session, ann.token)
        first = newest(await browser.sends(action="create", name="first"))
        second = newest(await browser.sends(action="create", name="second", parent=first), first)
        newest(await browser.sends(action="create", name="third", parent=second, routes="weather"), first, second)
        assert "Only for weather." in await browser.sees()
        assert "and the 2 tokens that came of it?" in words(await browser.sends(action="revoke", id=first))
        assert "and the token that came of it?" in words(await browser.sends(action="revoke", id=second))


def newest(page: str, *known: str) -> str:
    ids: set[str] = set(re.findall(r"tok_[0-9a-f]{20}", page)) - set(known)
    return ids.pop()


def words(page: str) -> str:
    return " ".join(page.split())
