"""Tokens that are planted, guessed, sent from another site or put in an address: none of it does anything."""

import json
from typing import Any

import pytest
from aiohttp import ClientSession, web

from gateway.cli.stage import Stage
from gateway.core.secrets import Secret
from tests.callers import BROWSER, funded
from tests.conftest import StageMaker

NEVER_BOUND = {"failed_credentials": "10000/second"}


def cookie(stage: Stage, value: str) -> dict[str, str]:
    return {"Cookie": f"{stage.gateway.identity.cookies.name}={value}"}


async def asked(session: ClientSession, stage: Stage, path: str, headers: dict[str, str]) -> tuple[int, Any]:
    async with session.get(stage.url + path, headers=headers, allow_redirects=False) as answer:
        return answer.status, answer


async def test_nobody_can_choose_a_token_for_somebody_else(stage: Stage) -> None:
    """Session fixation: a cookie that an attacker plants never becomes the victim's token."""
    [ann] = await funded(stage, "5.00 usd")
    forged = ann.token[:-1] + ("A" if ann.token[-1] != "A" else "B")
    async with ClientSession() as session:
        for planted in ("attackers-own", forged, "fb_test_" + "0" * 44):
            status, _ = await asked(session, stage, "/weather/oslo", cookie(stage, planted))
            assert status == 401
            status, answer = await asked(session, stage, "/weather/oslo", {**cookie(stage, planted), **BROWSER})
            assert status == 303
            given = answer.cookies[stage.gateway.identity.cookies.name].value
            assert given != planted
            status, _ = await asked(session, stage, "/weather/oslo", cookie(stage, planted))
            assert status == 401, "showing it once made it no better"
        status, _ = await asked(session, stage, "/weather/oslo", cookie(stage, ann.token))
        assert status == 200


async def test_cookies_are_of_this_host_alone_where_it_is_reached_by_https(make_stage: StageMaker) -> None:
    stage = await make_stage()
    cookies = stage.gateway.identity.cookies
    safe = type(cookies)(name="t", secure=True, keyring=stage.gateway.keyring, randomness=stage.gateway.randomness)
    answer = web.Response()
    safe.set_token(answer, Secret("x"))
    said = answer.cookies["__Host-t"].OutputString()
    assert all(part in said for part in ("Secure", "HttpOnly", "Path=/", "SameSite=Lax"))
    assert "Domain" not in said


async def test_every_bad_token_gets_the_same_bytes(make_stage: StageMaker) -> None:
    stage = await make_stage(limits=NEVER_BOUND)
    [ann] = await funded(stage, "5.00 usd")
    own = {"Authorization": f"Bearer {ann.token}"}
    async with ClientSession() as session:

        async def made(**wish: Any) -> dict[str, Any]:
            url = f"{stage.url}/-/api/v1/tokens"
            async with session.post(url, headers=own, json=wish) as answer:
                content: dict[str, Any] = await answer.json()
                return content

        revoked, expired = await made(), await made(expires="1m")
        parent = await made()
        orphan = await made(parent=parent["token"]["id"])
        for gone in (revoked, parent):
            async with session.delete(f"{stage.url}/-/api/v1/tokens/{gone['token']['id']}", headers=own) as answer:
                assert answer.status == 200
        now = stage.gateway.clock.now_ms
        stage.gateway.clock.now_ms = lambda: now() + 120_000  # type: ignore[method-assign]
        said = set()
        for token in ("unknown", revoked["access_token"], expired["access_token"], orphan["access_token"]):
            headers = {"Authorization": f"Bearer {token}"}
            async with session.get(f"{stage.url}/weather/oslo", headers=headers) as answer:
                content = await answer.json()
                content.pop("request_id")
                names = sorted(name for name in answer.headers if name != "Content-Length")
                said.add((answer.status, json.dumps(content), tuple(names)))
        assert len(said) == 1
        assert next(iter(said))[0] == 401


async def test_who_guesses_is_held_off_and_who_is_known_goes_on(make_stage: StageMaker) -> None:
    stage = await make_stage(limits={"failed_credentials": "3/hour"})
    ann, bob = await funded(stage, "5.00 usd", count=2)
    async with ClientSession() as session:

        async def with_token(token: str, path: str = "/weather/oslo") -> int:
            status, _ = await asked(session, stage, path, {"Authorization": f"Bearer {token}"})
            return status

        assert await with_token(ann.token) == 200
        assert [await with_token(f"guess{number}") for number in range(3)] == [401] * 3
        assert [await with_token(token) for token in ("guess4", "guess5", bob.token)] == [429] * 3
        assert await with_token(bob.token, "/-/me") == 429
        assert await with_token(ann.token) == 200, "who is known here by now goes on"
        now = stage.gateway.clock.now_ms
        stage.gateway.clock.now_ms = lambda: now() + 2 * 3_600_000  # type: ignore[method-assign]
        assert await with_token(bob.token) == 200


# --- addresses --------------------------------------------------------------------------------------------------------


async def test_a_token_in_an_address_is_refused_unless_its_route_allows_it(make_stage: StageMaker) -> None:
    told: list[str] = []
    stage = await make_stage(
        routes=[
            {"name": "open", "match": "/open/", "upstream": "echo", "strip_prefix": True, "price": "0.001 usd",
             "token_in_query": "key"},
            {"name": "echo", "match": "/echo/", "upstream": "echo", "strip_prefix": True, "price": "0.001 usd"},
            {"name": "free", "match": "/free/", "upstream": "echo", "strip_prefix": True, "price": "free"},
        ]
    )  # fmt: skip
    [ann] = await funded(stage, "5.00 usd")
    own = {"Authorization": f"Bearer {ann.token}"}
    spelt = ann.token.replace("_", "%5F")
    async with ClientSession() as session:
        for path in (f"/echo/x?key={ann.token}", f"/free/x?key={ann.token}", f"/echo/{ann.token}",
                     f"/open/x?other={ann.token}", f"/open/x?key={ann.token}&k%65y=2"):  # fmt: skip
            async with session.get(f"{stage.url}{path}", headers=own) as answer:
                assert (answer.status, (await answer.json())["code"]) == (400, "token_in_query"), path
        for query, left in (
            (f"?key={ann.token}", ""),
            (f"?a=1&key={ann.token}&b=%2F", "?a=1&b=%2F"),
            (f"?k%65y={spelt}&a", "?a"),
        ):
            from yarl import URL

            url = URL(f"{stage.url}/open/x{query}", encoded=True)
            async with session.get(url) as answer:
                assert answer.status == 200, await answer.text()
                told.append(await answer.text())
            assert f'"/x{left}"' in told[-1]
            assert ann.token not in told[-1]
        async with session.get(f"{stage.url}/open/x?key=guess") as answer:
            assert answer.status == 401


# --- other sites ------------------------------------------------------------------------------------------------------


def changing(stage: Stage) -> list[tuple[str, str]]:
    """Every address of ours that is asked to change something."""
    app = web.Application()
    stage.gateway.add_own_to(app)
    found = {
        (route.method, route.resource.canonical)
        for route in app.router.routes()
        if route.resource is not None and route.method not in ("GET", "HEAD", "*")
    }
    return sorted((method, path.replace("{id}", "x")) for method, path in found)


async def test_nothing_is_changed_for_a_page_of_another_site(make_stage: StageMaker) -> None:
    stage = await make_stage(
        stripe={"auto_top_up": {}, "login_by_payment": "on"},
        plans={"pro": {"price": "price_1abcdefghijklmn", "costs": "5.00 usd"}},
        limits=NEVER_BOUND,
    )
    [ann] = await funded(stage, "5.00 usd")
    walked = changing(stage)
    assert {"/-/top-up", "/-/wallet/tokens", "/-/wallet/auto-top-up", "/-/rotate-token"} <= {path for _, path in walked}
    async with ClientSession() as session:
        for method, path in walked:
            for foreign in (
                {"Sec-Fetch-Site": "cross-site", "Origin": "null"},
                {"Sec-Fetch-Site": "same-site"},
                {"Origin": "https://evil.example"},
            ):
                headers = {**cookie(stage, ann.token), **foreign}
                async with session.request(method, stage.url + path, headers=headers, data={"a": "b"}) as answer:
                    assert answer.status == 403, (method, path, foreign)
                    assert answer.headers["Gateway-Error"] == "cross_site"
        async with session.get(f"{stage.url}/-/me", headers=cookie(stage, ann.token)) as answer:
            assert answer.status == 200
            assert len((await answer.json())["tokens"]) == 0, "nothing was rotated or made"


FORMS_OF_HOLDERS = ("/-/wallet/auto-top-up", "/-/wallet/portal", "/-/wallet/code", "/-/wallet/subscription",
                    "/-/wallet/subscription/portal", "/-/wallet/tokens")  # fmt: skip


@pytest.mark.parametrize("path", FORMS_OF_HOLDERS)
async def test_a_form_without_our_mark_is_refused(make_stage: StageMaker, path: str) -> None:
    """Also from what calls itself our own site."""
    stage = await make_stage(
        stripe={"auto_top_up": {}, "login_by_payment": "on", "customer_portal": True},
        plans={"pro": {"price": "price_1abcdefghijklmn", "costs": "5.00 usd"}},
    )
    [ann, bob] = await funded(stage, "5.00 usd", count=2)
    other = await stage.gateway.identity.callers.known(bob.token)
    assert other is not None
    marks = ("", "nonsense")
    async with ClientSession() as session:
        for mark in marks:
            headers = {**cookie(stage, ann.token), "Sec-Fetch-Site": "same-origin"}
            async with session.post(stage.url + path, headers=headers, data={"mark": mark, "code": "x"}) as answer:
                assert answer.status == 400, path
                assert "our own page" in await answer.text()
