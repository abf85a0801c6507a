"""Outside OAuth providers for tests, Amazon-, Google- and GitHub-shaped: real servers on loopback that misbehave.

They are strict: a code is good once, for its client, its address and its PKCE verifier; a refresh token is good once,
too. A seller API stands beside them that pages, and is in trouble when it is told to be.
"""

import asyncio
import base64
import hashlib
import secrets
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode

import jwt
from aiohttp import web

from tests.providers import public_jwk, rsa_key

CLIENT, SECRET = "client-1", "the secret of client-1, which nobody guesses"


@dataclass
class Outside:
    """`trouble` is what is wrong with its token endpoint: `slow`, `huge`, `error`, `redirect`, `junk`.

    `refuses` is a status and an error that it answers with, whatever it is asked.
    """

    preset: str | None = "amazon"
    url: str = ""
    person: dict[str, Any] = field(
        default_factory=lambda: {"user_id": "amzn1.account.ANN", "email": "ann@example.com", "name": "Ann"}
    )
    seconds: int = 3600
    trouble: str | None = None
    refuses: tuple[int, str] | None = None
    refused: int = 0
    says_issuer: str | None = None
    id_token: dict[str, Any] = field(default_factory=dict)
    """What an ID token says otherwise."""
    make_id_token: Any = None
    codes: dict[str, dict[str, str]] = field(default_factory=dict)
    access: dict[str, str] = field(default_factory=dict)
    """Good access tokens, and which refresh token goes with them."""
    refresh: set[str] = field(default_factory=set)
    renewals: int = 0
    revoked: list[str] = field(default_factory=list)
    probe_status: int = 200
    pages: list[list[dict[str, Any]]] = field(default_factory=lambda: [[{"id": n}] for n in range(5)])
    asked_pages: list[str] = field(default_factory=list)
    page_statuses: list[int] = field(default_factory=list)
    """What the next pages are answered with, instead."""
    at_page: dict[str, asyncio.Event] = field(default_factory=dict)
    """Reached, by cursor; and `go` lets it go on."""
    let_go: asyncio.Event = field(default_factory=asyncio.Event)
    stop_at: str | None = None
    asked_token: asyncio.Event = field(default_factory=asyncio.Event)
    """While it is `slow`, somebody has asked for tokens."""

    def settings(self, **more: Any) -> dict[str, Any]:
        own: dict[str, Any] = {"name": self.preset or "own", "client_id": CLIENT, "client_secret": SECRET}
        if self.preset in (None, "google"):
            own["issuer"] = self.url
        else:
            own |= {"authorize_url": f"{self.url}/authorize", "token_url": f"{self.url}/token"}
        if self.preset in ("amazon", "github"):
            own["profile_url"] = f"{self.url}/profile"
        if self.preset == "amazon-sp":
            own["application_id"] = "amzn1.sp.solution.1"
        if self.preset is not None:
            own["preset"] = self.preset
        return {**own, **more}

    def sync(self) -> dict[str, str]:
        return {"url": f"{self.url}/orders", "items": "payload.orders", "next": "payload.next", "parameter": "token"}

    # --- what it serves -----------------------------------------------------------------------------------------------

    async def authorize(self, request: web.Request) -> web.StreamResponse:
        """Whoever comes is signed in already, and agrees."""
        said = dict(request.query)
        code = secrets.token_urlsafe(8)
        self.codes[code] = said
        back = {"state": said["state"]}
        if self.preset == "amazon-sp":
            back |= {"spapi_oauth_code": code, "selling_partner_id": "A2SELLER", "mws_auth_token": "x"}
        else:
            back |= {"code": code}
        if self.says_issuer is not None:
            back["iss"] = self.says_issuer
        raise web.HTTPFound(f"{said['redirect_uri']}?{urlencode(back)}")

    async def token(self, request: web.Request) -> web.StreamResponse:
        if self.trouble == "slow":
            self.asked_token.set()
            await self.let_go.wait()
        if self.trouble == "huge":
            return web.Response(text="{" + " " * 100_000 + "}")
        if self.trouble == "error":
            raise web.HTTPBadGateway
        if self.trouble == "redirect":
            raise web.HTTPFound(f"{self.url}/elsewhere")
        if self.trouble == "junk":
            return web.Response(text="<html>")
        if self.refuses is not None:
            self.refused += 1
            status, error = self.refuses
            return web.json_response({"error": error, "error_description": "x"}, status=status)
        form = {name: str(value) for name, value in (await request.post()).items()}
        if (form.get("client_id"), form.get("client_secret")) != (CLIENT, SECRET):
            return web.json_response({"error": "invalid_client"}, status=401)
        nonce = ""
        if form["grant_type"] == "refresh_token":
            if form["refresh_token"] not in self.refresh:
                return web.json_response({"error": "invalid_grant"}, status=400)
            self.refresh.discard(form["refresh_token"])
            self.access = {one: by for one, by in self.access.items() if by != form["refresh_token"]}
            self.renewals += 1
        else:
            asked = self.codes.pop(form["code"], None)
            if asked is None or asked["redirect_uri"] != form["redirect_uri"] or not self._is_proved(asked, form):
                return web.json_response({"error": "invalid_grant"}, status=400)
            nonce = asked.get("nonce", "")
        access, refresh = f"Atza|{secrets.token_urlsafe(12)}", f"Atzr|{secrets.token_urlsafe(12)}"
        self.access[access] = refresh
        self.refresh.add(refresh)
        answer = {"access_token": access, "token_type": "bearer", "expires_in": self.seconds, "refresh_token": refresh}
        if self.preset in (None, "google"):
            answer["id_token"] = self._id_token(nonce)
        return web.json_response(answer)

    def _is_proved(self, asked: dict[str, str], form: dict[str, str]) -> bool:
        if self.preset == "amazon-sp":
            return True
        digest = hashlib.sha256(form.get("code_verifier", "").encode()).digest()
        shown = base64.urlsafe_b64encode(digest).decode().rstrip("=")
        return asked["code_challenge_method"] == "S256" and asked["code_challenge"] == shown

    def _id_token(self, nonce: str) -> str:
        now = int(time.time())
        claims = {"iss": self.url, "aud": CLIENT, "sub": "ann", "iat": now, "exp": now + 60, "nonce": nonce}
        claims |= {"email": "ann@example.com", "email_verified": True, "name": "Ann"}
        claims = {name: value for name, value in (claims | self.id_token).items() if value is not None}
        if self.make_id_token is not None:
            return str(self.make_id_token(claims))
        return jwt.encode(claims, rsa_key(1), algorithm="RS256", headers={"kid": "k1"})

    def _bearer(self, request: web.Request) -> str:
        shown = request.headers.get("x-amz-access-token", request.headers.get("Authorization", ""))
        return shown.removeprefix("Bearer ")

    async def profile(self, request: web.Request) -> web.StreamResponse:
        if self._bearer(request) not in self.access:
            raise web.HTTPUnauthorized
        return web.json_response(self.person)

    async def probe(self, request: web.Request) -> web.StreamResponse:
        return web.Response(status=self.probe_status if self._bearer(request) in self.access else 401)

    async def revoke(self, request: web.Request) -> web.StreamResponse:
        self.revoked.append(str((await request.post())["token"]))
        return web.Response()

    async def orders(self, request: web.Request) -> web.StreamResponse:
        at = request.query.get("token", "0")
        self.asked_pages.append(at)
        if self._bearer(request) not in self.access:
            raise web.HTTPForbidden
        if self.stop_at == at:
            self.at_page.setdefault(at, asyncio.Event()).set()
            await self.let_go.wait()
        if self.page_statuses:
            return web.Response(status=self.page_statuses.pop(0), headers={"Retry-After": "30"})
        number = int(at)
        payload: dict[str, Any] = {"orders": self.pages[number]}
        if number + 1 < len(self.pages):
            payload["next"] = str(number + 1)
        return web.json_response({"payload": payload})

    async def discovery(self, request: web.Request) -> web.StreamResponse:
        told: dict[str, Any] = {
            "issuer": self.url,
            "authorization_endpoint": f"{self.url}/authorize",
            "token_endpoint": f"{self.url}/token",
            "revocation_endpoint": f"{self.url}/revoke",
            "jwks_uri": f"{self.url}/keys",
        }
        if self.says_issuer is not None:
            told["authorization_response_iss_parameter_supported"] = True
        return web.json_response(told)

    async def keys(self, request: web.Request) -> web.StreamResponse:
        return web.json_response({"keys": [public_jwk(rsa_key(1), "k1")]})


@asynccontextmanager
async def outside(preset: str | None = "amazon", **more: Any) -> AsyncIterator[Outside]:
    made, app = Outside(preset, **more), web.Application()
    if preset == "github":
        made.person = {"id": 583231, "login": "ann", "name": None, "email": "ann@example.com"}
    for path, handler in (
        ("/authorize", made.authorize), ("/profile", made.profile), ("/probe", made.probe), ("/orders", made.orders),
        ("/.well-known/openid-configuration", made.discovery), ("/keys", made.keys),
    ):  # fmt: skip
        app.router.add_get(path, handler)
    app.router.add_post("/token", made.token)
    app.router.add_post("/revoke", made.revoke)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    made.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    try:
        yield made
    finally:
        made.let_go.set()
        await runner.cleanup()
