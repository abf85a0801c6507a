"""Outside identity providers for tests: real servers on loopback that publish keys, rotate them, and misbehave."""

import asyncio
import base64
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import jwt
from aiohttp import web
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

PrivateKey = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey
SITE = "https://app.example.com"


@cache
def rsa_key(number: int) -> rsa.RSAPrivateKey:
    """Making one takes long, so that tests share them."""
    return rsa.generate_private_key(public_exponent=65_537, key_size=2048)


@cache
def ec_key() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


@cache
def ed_key() -> ed25519.Ed25519PrivateKey:
    return ed25519.Ed25519PrivateKey.generate()


def public_jwk(key: PrivateKey, kid: str, **more: Any) -> dict[str, Any]:
    kinds: dict[type, Any] = {
        rsa.RSAPrivateKey: jwt.algorithms.RSAAlgorithm,
        ec.EllipticCurvePrivateKey: jwt.algorithms.ECAlgorithm,
        ed25519.Ed25519PrivateKey: jwt.algorithms.OKPAlgorithm,
    }
    [algorithm] = [algorithm for kind, algorithm in kinds.items() if isinstance(key, kind)]
    made: dict[str, Any] = json.loads(algorithm.to_jwk(key.public_key()))
    return {**made, "kid": kid, "use": "sig", **more}


def pem(key: PrivateKey) -> bytes:
    """What is public of it, as a file: the secret of who confuses HS256 with RS256."""
    return key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def segment(value: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).decode().rstrip("=")


@dataclass
class Provider:
    """One that publishes keys. `keys` are those that it signs with, by their id; the last one signs."""

    shape: str = "clerk"
    url: str = ""
    keys: dict[str, PrivateKey] = field(default_factory=lambda: {"ins_1": rsa_key(1)})
    algorithm: str = "RS256"
    asked: int = 0
    cache_control: str | None = None
    trouble: str | None = None
    """`redirect`, `huge`, `drip`, `silent`, `error`, `junk`."""
    let_go: asyncio.Event = field(default_factory=asyncio.Event)
    """Ends what was `silent`."""

    @property
    def issuer(self) -> str:
        return self.url + {"auth0": "/", "supabase": "/auth/v1"}.get(self.shape, "")

    def settings(self, **more: Any) -> dict[str, Any]:
        """An issuer as the configuration has it."""
        said: dict[str, Any] = {"name": self.shape, "preset": self.shape, "issuer": self.issuer}
        if self.shape == "clerk":
            said["azp"] = [SITE]
        elif self.shape == "auth0":
            said["audience"] = ["https://api.example.com"]
        elif self.shape == "oidc":
            said["audience"] = ["client-1"]
            del said["preset"]
        return {**said, **more}

    def claims(self, sub: str | None, **changes: Any) -> dict[str, Any]:
        now = int(time.time())
        claims: dict[str, Any] = {"iss": self.issuer, "sub": sub, "iat": now, "nbf": now - 5, "exp": now + 60}
        if self.shape == "clerk":
            claims |= {"azp": SITE, "sid": "sess_1"}
        elif self.shape == "auth0":
            claims |= {"aud": ["https://api.example.com", f"{self.issuer}userinfo"], "azp": "client-1"}
        elif self.shape == "oidc":
            claims |= {"aud": "client-1"}
        else:
            claims |= {"aud": "authenticated", "role": "authenticated", "email": "ann@example.com"}
        claims |= changes
        return {name: value for name, value in claims.items() if value is not None}

    def token(self, sub: str | None = "user_ann", *, header: dict[str, Any] | None = None, **changes: Any) -> str:
        kid, key = list(self.keys.items())[-1]
        said = {"kid": kid, **(header or {})}
        said = {name: value for name, value in said.items() if value is not None}
        return jwt.encode(self.claims(sub, **changes), key, algorithm=self.algorithm, headers=said)

    async def answer(self, request: web.Request) -> web.StreamResponse:
        if request.path.endswith("/openid-configuration"):
            return web.json_response({"issuer": self.issuer, "jwks_uri": f"{self.url}/keys"})
        self.asked += 1
        if self.trouble == "redirect":
            raise web.HTTPFound(f"{self.url}/elsewhere")
        if self.trouble == "error":
            raise web.HTTPBadGateway
        if self.trouble == "junk":
            return web.Response(text="<html>")
        if self.trouble == "silent":
            await self.let_go.wait()
        if self.trouble == "huge":
            many = [public_jwk(rsa_key(1), f"k{number}") for number in range(400)]
            return web.json_response({"keys": many})
        headers = {"Cache-Control": self.cache_control} if self.cache_control else {}
        jwks = {"keys": [public_jwk(key, kid) for kid, key in self.keys.items()]}
        return web.json_response(jwks, headers=headers)

    def rotate(self, kid: str, number: int, *, keep: bool = False) -> None:
        """Sign with another key from now on."""
        self.keys = {**(self.keys if keep else {}), kid: rsa_key(number)}


@asynccontextmanager
async def provider(shape: str = "clerk", **more: Any) -> AsyncIterator[Provider]:
    made, app = Provider(shape, **more), web.Application()
    app.router.add_get("/{any:.*}", made.answer)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    made.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    try:
        yield made
    finally:
        made.let_go.set()
        await runner.cleanup()
