"""Callers whom an outside provider vouches for: they pay, they are served, and nobody else is let in."""

import asyncio
import hmac
import json
from base64 import urlsafe_b64encode
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

import jwt
import pytest
from aiohttp import ClientSession, web
from yarl import URL

from gateway.app.addresses import OPEN
from gateway.cli.stage import Stage
from gateway.core.letters import STOP_PATH
from tests.callers import audited, funded, pay
from tests.forms import FORMS, staged
from tests.providers import SITE, Provider, ec_key, pem, provider, public_jwk, rsa_key, segment

both = pytest.mark.parametrize("form", FORMS)


@asynccontextmanager
async def signed_in(
    form: str, folder: Path, shape: str = "clerk", *, issuer: dict[str, Any] | None = None, **overrides: Any
) -> AsyncIterator[tuple[Stage, Provider, ClientSession]]:
    """A gateway behind a provider, and somebody with a client."""
    async with AsyncExitStack() as opened:
        who = await opened.enter_async_context(provider(shape))
        identity = {"private_addresses": True, "issuers": [who.settings(**(issuer or {}))]}
        stage = await opened.enter_async_context(staged(form, folder, identity=identity, **overrides))
        yield stage, who, await opened.enter_async_context(ClientSession())


@pytest.fixture
async def mirror() -> AsyncIterator[str]:
    """An upstream that answers with the header fields that it got."""

    async def answer(request: web.Request) -> web.Response:
        return web.json_response([[name.lower(), value] for name, value in request.headers.items()])

    app = web.Application()
    app.router.add_route("*", "/{rest:.*}", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    await runner.cleanup()


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


async def status(session: ClientSession, url: str | URL, headers: dict[str, str]) -> int:
    async with session.get(url, headers=headers) as answer:
        return answer.status


@both
@pytest.mark.parametrize("shape", ["clerk", "auth0", "supabase", "oidc"])
async def test_who_is_signed_in_pays_once_and_is_served(form: str, shape: str, tmp_path: Path) -> None:
    async with signed_in(form, tmp_path, shape) as (stage, who, session):
        headers = bearer(who.token("user_ann"))
        async with session.get(f"{stage.url}/weather/oslo", headers=headers) as answer:
            asked = await answer.json()
            assert answer.status == 402
            assert "access_token" not in asked
        await pay(stage, asked["payment_url"])
        async with session.get(f"{stage.url}/weather/oslo", headers=headers) as answer:
            assert (answer.status, answer.headers["Gateway-Balance"]) == (200, "4.998 usd")
        async with session.get(f"{stage.url}/weather/oslo", headers=bearer(who.token("user_ann", jti="2"))) as answer:
            assert answer.headers["Gateway-Balance"] == "4.996 usd"
        async with session.get(f"{stage.url}/-/me", headers=headers) as answer:
            me = await answer.json()
            assert (me["account"], me["balance"]) == (asked["account"], "4.996 usd")
        async with session.get(f"{stage.url}/weather/oslo", headers=bearer(who.token("user_bob"))) as answer:
            assert answer.status == 402
            assert (await answer.json())["account"] != asked["account"]
        audited(stage)


async def test_the_cookie_of_clerk_counts_and_an_ordinary_one_does_not(tmp_path: Path) -> None:
    async with signed_in("relay", tmp_path) as (stage, who, session):
        for name, expected in (("__session", 402), ("session", 401), ("__session_1", 401)):
            found = await status(session, f"{stage.url}/weather/oslo", {"Cookie": f"{name}={who.token()}"})
            assert found == expected, name


def forgeries(who: Provider, other: Provider) -> dict[str, str]:
    """Tokens that are not good, by why."""
    claims = who.claims("user_ann")
    now = claims["iat"]
    head, body, signature = who.token().split(".")
    good = {"alg": "RS256", "kid": "ins_1", "typ": "JWT"}
    unsigned = f"{segment({**good, 'alg': 'none'})}.{segment(claims)}."
    return {
        "no JWT": "abc.def",
        "none": unsigned,
        "None": f"{segment({**good, 'alg': 'None'})}.{segment(claims)}.{signature}",
        "no signature": f"{head}.{body}.",
        "another body": f"{head}.{segment(who.claims('user_bob'))}.{signature}",
        "HS256 with the public key": hs256(claims, pem(rsa_key(1))),
        "HS256 with its JWK": hs256(claims, json.dumps(jwk_of(1)).encode()),
        "another's key": jwt.encode(claims, rsa_key(9), algorithm="RS256", headers={"kid": "ins_1"}),
        "a kid of another issuer": jwt.encode(claims, rsa_key(2), algorithm="RS256", headers={"kid": "theirs"}),
        "an algorithm that is not its": jwt.encode(claims, rsa_key(1), algorithm="RS512", headers={"kid": "ins_1"}),
        "PS256": jwt.encode(claims, rsa_key(1), algorithm="PS256", headers={"kid": "ins_1"}),
        "ES256": jwt.encode(claims, ec_key(), algorithm="ES256", headers={"kid": "ins_1"}),
        "a key in the token": jwt.encode(claims, rsa_key(9), algorithm="RS256", headers={"kid": "x", "jwk": jwk_of(9)}),
        "an address of keys": jwt.encode(
            claims, rsa_key(2), algorithm="RS256", headers={"kid": "theirs", "jku": f"{other.url}/keys"}
        ),
        "another issuer": jwt.encode(
            {**claims, "iss": other.issuer}, rsa_key(2), algorithm="RS256", headers={"kid": "theirs"}
        ),
        "our issuer and a slash": who.token(iss=f"{who.issuer}/"),
        "no issuer": jwt.encode(
            {name: value for name, value in claims.items() if name != "iss"}, rsa_key(1), headers=good,
            algorithm="RS256",
        ),
        "expired": who.token(exp=now - 11),
        "no exp": who.token(exp=None),
        "exp is a text": who.token(exp="9999999999"),
        "exp is endless": f"{head}.{segment({**claims, 'exp': float('inf')})}.{signature}",
        "not yet": who.token(nbf=now + 60),
        "made later": who.token(iat=now + 60),
        "another azp": who.token(azp="https://evil.example"),
        "no azp": who.token(azp=None),
        "azp is a list": who.token(azp=[SITE]),
        "no sub": who.token(sub=None),
        "an empty sub": who.token(""),
        "a sub with a NUL": who.token("user_ann\0x"),
        "critical": who.token(header={"crit": ["b64"], "b64": True}),
        "another type": who.token(header={"typ": "logout+jwt"}),
        "huge": who.token(much="x" * 9000),
    }  # fmt: skip


def hs256(claims: dict[str, Any], secret: bytes) -> str:
    """PyJWT would not make one with a public key."""
    signed = f"{segment({'alg': 'HS256', 'kid': 'ins_1', 'typ': 'JWT'})}.{segment(claims)}"
    return signed + "." + urlsafe_b64encode(hmac.digest(secret, signed.encode(), "sha256")).decode().rstrip("=")


def jwk_of(number: int) -> dict[str, Any]:
    return public_jwk(rsa_key(number), "ins_1")


@both
async def test_whatever_is_forged_is_refused_before_anything_is_asked(form: str, tmp_path: Path) -> None:
    async with (
        provider("auth0", keys={"theirs": rsa_key(2)}) as other,
        signed_in(form, tmp_path) as (stage, who, session),
    ):
        asked: list[str] = []
        credentials = stage.gateway.records
        before = credentials.find_any

        async def counted(digests: Any) -> Any:
            asked.append("records")
            return await before(digests)

        credentials.find_any = counted  # type: ignore[method-assign]
        for why, token in {"nothing": "", **forgeries(who, other)}.items():
            for path in ("/weather/oslo", "/status/x", "/-/me", "/-/api/v1/tokens"):
                headers = bearer(token) if token else {}
                async with session.get(stage.url + path, headers=headers) as answer:
                    body = await answer.json()
                    assert answer.status == 401, (why, path, body)
                    assert answer.content_type == "application/problem+json"
                    assert (body["code"], body["charged"]) == ("identity_required", False)
                    assert answer.headers["Gateway-Error"] == "identity_required"
        assert asked == []
        assert other.asked == 0, "no token chooses where keys come from"
        assert await status(session, f"{stage.url}/weather/oslo", bearer(who.token())) == 402
        assert asked == ["records"]


@both
async def test_who_knows_the_name_of_a_person_is_not_that_person(form: str, tmp_path: Path) -> None:
    """What `iss` and `sub` say is no secret: apps write it into addresses."""
    routes = [
        {"name": "open", "match": "/open/", "upstream": "echo", "price": "0.5 usd", "public": True,
         "token_in_query": "key"},
        {"name": "status", "match": "/status/", "upstream": "echo", "price": "free", "public": True},
    ]  # fmt: skip
    async with signed_in(form, tmp_path, routes=routes) as (stage, who, session):
        url, ann = f"{stage.url}/open/x", bearer(who.token("user_ann"))
        async with session.get(url, headers=ann) as answer:
            await pay(stage, (await answer.json())["payment_url"])
        assert await status(session, url, ann) == 200
        name = f"outside\0{who.issuer}\0user_ann"
        quoted = name.replace("\0", "\\000")
        cookie = {"Cookie": f'{stage.gateway.identity.cookies.name}="{quoted}"'}
        assert await status(session, url, cookie) in (401, 402)
        assert await status(session, URL(f"{url}?key={quote(name, safe='')}", encoded=True), {}) == 401
        async with session.get(f"{stage.url}/-/me", headers=cookie) as answer:
            assert (await answer.json()).get("account") is None
        assert await status(session, f"{stage.url}/status/x", cookie) == 200


async def test_within_the_leeway_it_is_good(tmp_path: Path) -> None:
    async with signed_in("relay", tmp_path, issuer={"leeway": "30s"}) as (stage, who, session):
        now = who.claims("x")["iat"]
        assert await status(session, f"{stage.url}/weather/x", bearer(who.token(exp=now - 10))) == 402
        assert await status(session, f"{stage.url}/weather/x", bearer(who.token(nbf=now + 10))) == 402
        assert await status(session, f"{stage.url}/weather/x", bearer(who.token(exp=now - 40))) == 401


async def test_supabase_never_lets_its_service_role_in(tmp_path: Path) -> None:
    async with signed_in("relay", tmp_path, "supabase") as (stage, who, session):
        for changes in ({"role": "service_role"}, {"role": ["service_role"]}, {"aud": "anon"}, {"aud": None}):
            assert await status(session, f"{stage.url}/weather/x", bearer(who.token(**changes))) == 401, changes
        assert await status(session, f"{stage.url}/weather/x", bearer(who.token())) == 402


async def test_the_older_secret_of_supabase_is_a_verifier_of_its_own(tmp_path: Path) -> None:
    secret = "Kq3TzL8wN5vR2xK7mB4yH9cJ6dF1gS0pW8eT"
    async with signed_in("relay", tmp_path, "supabase", issuer={"hs256_secret": secret}) as (stage, who, session):
        good = hs256(who.claims("user_ann"), secret.encode())
        assert await status(session, f"{stage.url}/weather/x", bearer(good)) == 402
        service = hs256(who.claims("user_ann", role="service_role"), secret.encode())
        assert await status(session, f"{stage.url}/weather/x", bearer(service)) == 401
        assert await status(session, f"{stage.url}/weather/x", bearer(hs256(who.claims("x"), b"k" * 36))) == 401
        assert await status(session, f"{stage.url}/weather/x", bearer(who.token())) == 401, "it has no keys"
        assert who.asked == 0


async def test_a_project_that_moves_to_keys_may_have_both_and_neither_is_the_other(tmp_path: Path) -> None:
    secret = "Kq3TzL8wN5vR2xK7mB4yH9cJ6dF1gS0pW8eT"
    accounts = set()
    async with provider("supabase") as who:
        issuers = [who.settings(name="older", hs256_secret=secret), who.settings()]
        identity = {"private_addresses": True, "issuers": issuers}
        async with staged("relay", tmp_path, identity=identity) as stage, ClientSession() as session:
            for token, expected in (
                (hs256(who.claims("user_ann"), secret.encode()), 402), (who.token(), 402),
                (hs256(who.claims("user_ann"), pem(rsa_key(1))), 401),
            ):  # fmt: skip
                async with session.get(f"{stage.url}/weather/x", headers=bearer(token)) as answer:
                    assert answer.status == expected
                    accounts.add((await answer.json()).get("account"))
    assert len(accounts - {None}) == 1, "and both speak of the same people"


# --- deny by default --------------------------------------------------------------------------------------------------


@both
async def test_every_route_and_every_address_of_ours_is_closed(form: str, tmp_path: Path) -> None:
    routes = [
        {"name": "open", "match": "/open/", "upstream": "echo", "price": "0.001 usd", "public": True},
        {"name": "open-free", "match": "/open-free/", "upstream": "echo", "price": "free", "public": True},
        {"name": "closed", "match": "/closed/", "upstream": "echo", "price": "0.001 usd", "methods": {"POST": "free"}},
        {"name": "closed-free", "match": "/closed-free/", "upstream": "echo", "price": "free"},
    ]
    more: dict[str, Any] = {
        "routes": routes, "compat": ["stripeflare"], "price_list": {"aliases": ["/pricing.json"]},
        "stripe": {"auto_top_up": {}, "login_by_payment": "on", "webhook_aliases": ["/stripe-webhook"]},
        "cors": {"origins": {"development": [SITE]}},
        "plans": {"pro": {"price": "price_1abc", "costs": "10.00 usd"}},
    }  # fmt: skip
    async with signed_in(form, tmp_path, **more) as (stage, who, session):
        [ann] = await funded(stage, "5.00 usd")
        app = web.Application()
        stage.gateway.add_own_to(app)
        walked = {
            (route.method, route.resource.canonical)
            for route in app.router.routes()
            if route.resource is not None and route.method not in ("HEAD", "OPTIONS")
        }
        assert len(walked) > 30
        own = set()
        for method, path in sorted(walked):
            path = path.replace("{rest}", "anything").replace("{id}", "x")
            async with session.request(
                method.replace("*", "POST" if path == "/rotate-token" else "GET"),
                stage.url + path,
                headers=ann.headers,
                allow_redirects=False,
            ) as answer:
                if answer.status != 401 or answer.headers["Gateway-Error"] != "identity_required":
                    own.add(path)
        assert own == {*OPEN - {STOP_PATH}, "/-/webhooks/stripe", "/stripe-webhook", "/pricing.json"}
        for name in ("open", "open-free", "closed", "closed-free"):
            for method in ("GET", "POST", "OPTIONS"):
                async with session.request(method, f"{stage.url}/{name}/x", headers=ann.headers) as answer:
                    assert answer.status == (200 if name.startswith("open") else 401), (method, name)
        assert await status(session, f"{stage.url}/closed/x", bearer(who.token())) == 402
        assert await status(session, f"{stage.url}/closed-free/x", bearer(who.token())) == 200


async def test_a_route_may_count_some_issuers_only(tmp_path: Path) -> None:
    async with provider("auth0") as other, provider("clerk") as who:
        routes = [
            {"name": "theirs", "match": "/theirs/", "upstream": "echo", "price": "free", "issuers": ["auth0"]},
            {"name": "all", "match": "/all/", "upstream": "echo", "price": "free"},
        ]
        identity = {"private_addresses": True, "issuers": [who.settings(), other.settings()]}
        async with staged("relay", tmp_path, identity=identity, routes=routes) as stage, ClientSession() as session:
            for name, token, expected in (
                ("theirs", who.token(), 401), ("theirs", other.token(), 200), ("all", who.token(), 200),
            ):  # fmt: skip
                assert await status(session, f"{stage.url}/{name}/x", bearer(token)) == expected
            cookie = {"Cookie": f"__session={other.token()}"}
            assert await status(session, f"{stage.url}/all/x", cookie) == 401, "its tokens are in no cookie"


# --- what the upstream gets -------------------------------------------------------------------------------------------


@both
async def test_no_token_reaches_the_upstream_and_claims_do_as_they_are_wanted(
    form: str, tmp_path: Path, mirror: str
) -> None:
    route = {
        "name": "mirror", "match": "/mirror/", "upstream": "mirror", "price": "free",
        "pass_claims": {"X-User": "sub", "X-Org": "org", "X-Verified": "ok", "X-Name": "name"},
    }  # fmt: skip
    more: dict[str, Any] = {"routes": [route], "upstreams": {"mirror": {"url": mirror}}}
    async with signed_in(form, tmp_path, **more) as (stage, who, session):
        token = who.token(org=7, ok=True, name="J\u00fcrgen\r\nX-Admin: 1")
        for headers in (
            bearer(token),
            {"Cookie": f"a=1; __session={token}; __session_x1={token}; b=2"},
            {"Authorization": f"Bearer\t{token}", "Cookie": f"__session={token}"},
            {"Authorization": f'Bearer "{token}"', "Cookie": f"__session={token}"},
        ):
            forged = {"X-User": "admin", "X-Org": "1", "X-Name": "x"}
            async with session.get(f"{stage.url}/mirror/x", headers={**headers, **forged}) as answer:
                assert answer.status == 200
                got = await answer.json()
            assert not any(token.rpartition(".")[2] in value for _, value in got)
            told = [(name, value) for name, value in got if name.startswith("x-")]
            assert sorted(told)[-3:] == [("x-org", "7"), ("x-user", "user_ann"), ("x-verified", "true")]
            assert "x-name" not in dict(got), "no field can hold it"
            assert dict(got).get("cookie") in (None, "a=1; b=2")
            assert "authorization" not in dict(got)


async def test_what_is_the_callers_own_affair_passes(tmp_path: Path, mirror: str) -> None:
    route = {"name": "mirror", "match": "/mirror/", "upstream": "mirror", "price": "free"}
    more: dict[str, Any] = {"routes": [route], "upstreams": {"mirror": {"url": mirror}}}
    async with signed_in("relay", tmp_path, **more) as (stage, who, session):
        headers = {"Cookie": f"__session={who.token()}", "Authorization": "Basic YTpi", "X-User": "mine"}
        async with session.get(f"{stage.url}/mirror/x", headers=headers) as answer:
            got = dict(await answer.json())
            assert (got["authorization"], got["x-user"]) == ("Basic YTpi", "mine")


# --- keys -------------------------------------------------------------------------------------------------------------


async def test_keys_rotate_in_mid_flight(tmp_path: Path) -> None:
    route = {"name": "echo", "match": "/echo/", "upstream": "echo", "price": "free"}
    async with signed_in("relay", tmp_path, routes=[route]) as (stage, who, session):

        async def ask(number: int) -> int:
            return await status(session, f"{stage.url}/echo/x", bearer(who.token(f"user_{number}")))

        assert set(await asyncio.gather(*(ask(number) for number in range(20)))) == {200}
        assert who.asked == 1, "asked once for all"
        old = who.token("user_old")
        who.rotate("ins_2", 3)
        assert set(await asyncio.gather(*(ask(number) for number in range(20)))) == {200}
        assert who.asked == 2
        assert await status(session, f"{stage.url}/echo/x", bearer(old)) == 401, "its key is gone"
        for number in range(10):
            made_up = who.token(header={"kid": f"made-up-{number}"})
            assert await status(session, f"{stage.url}/echo/x", bearer(made_up)) == 401
        assert who.asked == 2, "who makes up names has nobody asked"


@pytest.mark.parametrize("trouble", ["redirect", "huge", "error", "junk"])
async def test_without_keys_nobody_is_let_in_and_free_public_routes_go_on(trouble: str, tmp_path: Path) -> None:
    routes = [
        {"name": "echo", "match": "/echo/", "upstream": "echo", "price": "free"},
        {"name": "open", "match": "/open/", "upstream": "echo", "price": "free", "public": True},
    ]
    async with signed_in("relay", tmp_path, routes=routes) as (stage, who, session):
        who.trouble = trouble
        async with session.get(f"{stage.url}/echo/x", headers=bearer(who.token())) as answer:
            assert (answer.status, (await answer.json())["code"]) == (503, "identity_unavailable")
            assert answer.headers["Retry-After"] == "2"
        assert await status(session, f"{stage.url}/-/me", bearer(who.token())) == 503
        assert await status(session, f"{stage.url}/echo/x", {}) == 401
        assert await status(session, f"{stage.url}/open/x", bearer(who.token())) == 200
        assert who.asked == 1


async def test_a_session_that_ends_elsewhere_is_no_token_of_ours(tmp_path: Path) -> None:
    async with signed_in("relay", tmp_path) as (stage, who, session):
        headers = bearer(who.token())
        async with session.get(f"{stage.url}/weather/oslo", headers=headers) as answer:
            await pay(stage, (await answer.json())["payment_url"])
        async with session.post(f"{stage.url}/-/rotate-token", headers=headers) as answer:
            assert (answer.status, (await answer.json())["code"]) == (409, "token_conflict")
        async with session.get(f"{stage.url}/-/me", headers=headers) as answer:
            [own] = (await answer.json())["tokens"]
        for method, path in (("DELETE", ""), ("POST", "/rotate")):
            async with session.request(
                method, f"{stage.url}/-/api/v1/tokens/{own['id']}{path}", headers=headers
            ) as answer:
                assert answer.status == 409
        assert await status(session, f"{stage.url}/weather/oslo", headers) == 200


async def test_who_is_revoked_here_is_out_although_their_provider_vouches(tmp_path: Path) -> None:
    async with signed_in("relay", tmp_path) as (stage, who, session):
        headers = bearer(who.token())
        async with session.get(f"{stage.url}/weather/oslo", headers=headers) as answer:
            asked = await answer.json()
            await pay(stage, asked["payment_url"])
        assert await status(session, f"{stage.url}/weather/oslo", headers) == 200
        [own] = await stage.gateway.hand_out.held(asked["account"], "")
        await stage.gateway.hand_out.revoke(asked["account"], "", own.grant.id)
        assert await status(session, f"{stage.url}/weather/oslo", headers) == 401
        assert await status(session, f"{stage.url}/weather/oslo", bearer(who.token(jti="2"))) == 401
