"""A service shows its secret and gets a token; shows the token and is known.

A secret is checked by its keyed digest, in the same time whether there is a service of that name or not; who guesses is
held off by the address that the guesses come from. A token is verified without a look at any database, so one that was
removed, or whose role changed, is heard of when its token ends: within five minutes. What a service asked for and got
is on the trail, by its name.
"""

from collections.abc import Mapping
from typing import Any

from gateway.core.jwts import NotAccepted
from gateway.core.limits import Rate
from gateway.core.oauth import OAuthRefused, client_shown
from gateway.core.refusals import RateLimited, TokenOutOfScope
from gateway.core.services import (
    APIS,
    KIND,
    MAY,
    SECONDS,
    Api,
    Service,
    ServiceCaller,
    caller_of,
    claims,
    resource_of,
)
from gateway.core.tokens import Peppers
from gateway.core.trail import Act
from gateway.ports import Clock, FindsServices, Guesses, Randomness, RateLimits, Signs, Witnesses

GRANT = "client_credentials"
_TOKENS = Rate(120, 60, "120/minute")
"""So many tokens for one service."""


class KnowServices:
    """Issues and verifies the tokens of services."""

    def __init__(
        self,
        *,
        book: FindsServices,
        signs: Signs,
        peppers: Peppers,
        guesses: Guesses,
        limits: RateLimits,
        witness: Witnesses,
        public_url: str,
        clock: Clock,
        randomness: Randomness,
    ) -> None:
        self._book = book
        self._signs = signs
        self._peppers = peppers
        self._guesses = guesses
        self._limits = limits
        self._witness = witness
        self._public_url = public_url
        self._clock = clock
        self._randomness = randomness

    def exchange(self, book: FindsServices) -> None:
        """From now on these are known. Tokens that were issued are good to their end."""
        self._book = book

    # --- the token endpoint -------------------------------------------------------------------------------------------

    async def token(self, fields: Mapping[str, str], authorization: str, peer: str) -> dict[str, Any]:
        """What the token endpoint answers. Raises OAuthRefused, RateLimited, RecordsUnavailable."""
        name, secret = client_shown(fields, authorization)
        service = await self._proved(name, secret, peer)
        audience = self._audience(fields)
        await self._admit(_TOKENS, f"-/services token {service.name}")
        now_seconds, id = self._clock.now_ms() // 1000, self._randomness.bytes(12).hex()
        facts = {"role": service.role, "token": id}
        await self._witness.write(Act(f"service:{name}", "service", "service.token", service.name, "api", facts=facts))
        signed = self._signs.sign(claims(service, audience, now_seconds=now_seconds, id=id), kind=KIND)
        return {"access_token": signed, "token_type": "Bearer", "expires_in": SECONDS}

    async def _proved(self, name: str, secret: str | None, peer: str) -> Service:
        self._guesses.check(peer)
        digests = self._peppers.digests(secret or "")
        service = await self._book.find_service(name)
        stand_in = Service(name, "monitor", bytes(32), "", 0, 0, bytes(32))
        good = (service or stand_in).knows(digests, self._clock.now_ms())
        if service is None or not good:
            await self._guesses.failed(peer)
            raise OAuthRefused("invalid_client", "no service of this name has this secret", status=401)
        return service

    def _audience(self, fields: Mapping[str, str]) -> list[str]:
        """For which APIs: the one that is named (RFC 8707), or all. Raises OAuthRefused."""
        known = [resource_of(self._public_url, api) for api in APIS]
        wanted = fields.get("resource", fields.get("audience"))
        if wanted is None:
            return known
        if wanted not in known:
            raise OAuthRefused("invalid_target", "resource: there is no API for services of this address")
        return [wanted]

    async def _admit(self, rate: Rate, subject: str) -> None:
        window = await self._limits.hit(rate, subject)
        if not window.allowed:
            raise RateLimited(policy=rate.text, retry_after_seconds=max(1, window.reset_seconds))

    # --- what is called with it ---------------------------------------------------------------------------------------

    @staticmethod
    def looks_like_one(authorization: str) -> bool:
        """Whether a signed token is shown, and not a person's session or a caller's token."""
        scheme, _, token = authorization.partition(" ")
        return scheme.lower() == "bearer" and token.startswith("eyJ") and token.count(".") == 2

    def known(self, authorization: str, api: Api) -> ServiceCaller | None:
        """Whose token this is; None if it is no good one of a service. Raises TokenOutOfScope for a lower role."""
        scheme, _, token = authorization.partition(" ")
        if scheme.lower() != "bearer" or not token.startswith("eyJ"):
            return None
        try:
            said = self._signs.verify(token, kind=KIND, audience=resource_of(self._public_url, api))
        except NotAccepted:
            return None
        caller = caller_of(said)
        if caller is not None and api not in MAY[caller.role]:
            raise TokenOutOfScope()
        return caller
