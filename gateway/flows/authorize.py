"""OAuth 2.1 for agents: a person allows a program to spend so much of their wallet, and takes it back when they like.

What is allowed is a token of the wallet like any other (`flows/hand_out.py`): it has the client's name, the routes, a
cap a month, and one resource at which it counts. Nobody ever sees its secret. An access token is another, short-lived
secret behind it: so a request that shows one is recognised, capped and refused by what does that for all tokens, and
whoever revokes the token in the wallet ends everything that came of it.

A code is good for a minute, and buys once; whoever brings it a second time, with all that proves it is theirs, ends
what the first one bought. A refresh token is exchanged for the next; one that comes twice was copied, and all of its
family is over. Either buys all of it or nothing, in one commit: a client that was told of an outage and comes again is
no thief. What is said and what is sent must agree at both ends of the redirect: the client, the address, the challenge,
the resource.
"""

import base64
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from gateway.core.callers import Caller
from gateway.core.money import Money
from gateway.core.oauth import (
    AUTH_METHODS,
    AUTHORIZE,
    GRANTS,
    INTROSPECT,
    REGISTER,
    REVOKE,
    TOKEN,
    Access,
    Client,
    Consent,
    OAuthRefused,
    Ticket,
    covers,
    granted,
    is_challenge,
    proves,
    with_answer,
)
from gateway.core.refusals import NoSuchToken
from gateway.core.routes import RouteTable
from gateway.core.secrets import Secret
from gateway.core.tokens import Peppers, TokenMint
from gateway.core.trail import Act
from gateway.ports import Clock, Credentials, HandsOut, KnowsClients, OAuthBook, Randomness, Witnesses

CODE_MS = 60_000
_REMEMBERED_MS = 86_400_000
"""So long after its end a ticket that comes again is known to come again."""
_ABANDONED_AT_ONCE = 100


@dataclass(frozen=True, slots=True)
class OAuthTerms:
    """What is so of everything that is allowed."""

    issuer: str
    access_ms: int
    refresh_ms: int


@dataclass(frozen=True, slots=True)
class Asked:
    """What a client asks a person for."""

    client: Client
    redirect: str
    state: str | None
    challenge: str
    resource: str
    scopes: tuple[str, ...]


class SentBack(Exception):
    """What was asked cannot be, and the client is told so at its own address, by whoever trusts it to be one."""

    def __init__(self, address: str, client: Client, why: str) -> None:
        super().__init__(address)
        self.address = address
        self.client = client
        self.why = why


class Authorize:
    """What clients ask, and what people answer."""

    def __init__(
        self,
        *,
        terms: OAuthTerms,
        book: OAuthBook,
        clients: KnowsClients,
        hand_out: HandsOut,
        credentials: Credentials,
        mint: TokenMint,
        peppers: Peppers,
        routes: Callable[[], RouteTable],
        witness: Witnesses,
        clock: Clock,
        randomness: Randomness,
    ) -> None:
        self.terms = terms
        self._clients = clients
        self._book = book
        self._hand_out = hand_out
        self._credentials = credentials
        self._mint = mint
        self._peppers = peppers
        self._routes = routes
        self._witness = witness
        self._clock = clock
        self._randomness = randomness

    # --- what is published --------------------------------------------------------------------------------------------

    def server_metadata(self) -> dict[str, Any]:
        """RFC 8414."""
        issuer = self.terms.issuer
        return {
            "issuer": issuer,
            "authorization_endpoint": issuer + AUTHORIZE,
            "token_endpoint": issuer + TOKEN,
            "registration_endpoint": issuer + REGISTER,
            "revocation_endpoint": issuer + REVOKE,
            "introspection_endpoint": issuer + INTROSPECT,
            "scopes_supported": list(self._offered(issuer)),
            "response_types_supported": ["code"],
            "response_modes_supported": ["query"],
            "grant_types_supported": list(GRANTS),
            "code_challenge_methods_supported": ["S256"],
            "token_endpoint_auth_methods_supported": list(AUTH_METHODS),
            "revocation_endpoint_auth_methods_supported": list(AUTH_METHODS),
            "introspection_endpoint_auth_methods_supported": list(AUTH_METHODS),
            "authorization_response_iss_parameter_supported": True,
            "client_id_metadata_document_supported": True,
            "service_documentation": f"{issuer}/-/pricing",
        }

    def resource_metadata(self, path: str) -> dict[str, Any] | None:
        """RFC 9728, of the resource at this path; None where there is none."""
        issuer = self.terms.issuer
        resource = self._resource((issuer + path).rstrip("/"))
        if resource is None:
            return None
        return {
            "resource": resource,
            "authorization_servers": [issuer],
            "scopes_supported": list(self._offered(resource)),
            "bearer_methods_supported": ["header"],
            "resource_documentation": f"{issuer}/-/pricing",
        }

    def _resource(self, named: str) -> str | None:
        """The resource that an address is of: the longest; that of all is asked for as such."""
        known = {route.resource for route in self._routes().routes if route.resource}
        found = max((one for one in known if covers(one, named)), key=len, default=None)
        return found or (named if known and named == self.terms.issuer else None)

    def _offered(self, resource: str) -> tuple[str, ...]:
        return tuple(route.name for route in self._routes().routes if covers(resource, route.resource))

    # --- what is asked ------------------------------------------------------------------------------------------------

    async def ask(self, fields: Mapping[str, str], peer: str) -> Asked:
        """Raises OAuthRefused while it is not sure who asks, then SentBack; RateLimited, RecordsUnavailable."""
        client = await self._clients.find(fields.get("client_id", ""), peer)
        redirect = client.redirect(fields.get("redirect_uri"))
        try:
            return self._asked(client, redirect, fields)
        except OAuthRefused as refused:
            told = {"error": refused.error, "error_description": refused.description}
            raise SentBack(self._back(redirect, fields.get("state"), told), client, refused.description) from None

    async def is_trusted(self, caller: Caller, client: Client) -> bool:
        """Whether this person has allowed this client something before. Raises RecordsUnavailable."""
        return await self._book.has_consent(caller.account, client.id)

    def _asked(self, client: Client, redirect: str, fields: Mapping[str, str]) -> Asked:
        if fields.get("response_type") != "code":
            raise OAuthRefused("unsupported_response_type", "response_type: code was expected")
        if "request" in fields or "request_uri" in fields:
            raise OAuthRefused("request_not_supported", "parameters are sent one by one")
        challenge = fields.get("code_challenge", "")
        if fields.get("code_challenge_method") != "S256" or not is_challenge(challenge):
            raise OAuthRefused("invalid_request", "a code_challenge by S256 is required")
        resource = self._resource(fields.get("resource", self.terms.issuer).rstrip("/"))
        if resource is None:
            raise OAuthRefused("invalid_target", "resource: there is none of this address here")
        scopes = granted(fields.get("scope"), self._offered(resource))
        return Asked(client, redirect, fields.get("state"), challenge, resource, scopes)

    def _back(self, redirect: str, state: str | None, answer: Mapping[str, str]) -> str:
        return with_answer(redirect, {**answer, "state": state, "iss": self.terms.issuer})

    def denied(self, asked: Asked) -> str:
        """Where a person's no goes."""
        return self._back(asked.redirect, asked.state, {"error": "access_denied"})

    async def allow(self, caller: Caller, asked: Asked, month: Money) -> str:
        """A person's yes, up to so much a month: where the code goes.

        Raises BadRequest, TokenConflict, UnknownToken, RecordsUnavailable.
        """
        facts = {"account": caller.account, "resource": asked.resource, "month": str(month)}
        who = f"token:{caller.token_id}" if caller.token_id else caller.account
        await self._witness.write(Act(who, "consumer", "oauth.consent", asked.client.id, "page", facts=facts))
        wish = {
            "name": asked.client.name or asked.client.id[-60:],
            "role": "spender",
            "routes": list(asked.scopes),
            "caps": {"month": str(month)},
        }
        made = await self._hand_out.create(caller.account, caller.token_id, wish, audience=asked.resource)
        now_ms, id = self._clock.now_ms(), made.grant.id
        consent = Consent(id, made.grant.account, asked.client.id, asked.resource, asked.scopes, now_ms)
        await self._book.add_consent(consent)
        code = self._word("fbc_")
        digest = self._peppers.digest(code.reveal())
        await self._book.add_ticket(Ticket(digest, "code", id, now_ms + CODE_MS, asked.redirect, asked.challenge))
        return self._back(asked.redirect, asked.state, {"code": code.reveal()})

    # --- what is bought -----------------------------------------------------------------------------------------------

    async def redeem(self, client: Client, fields: Mapping[str, str]) -> dict[str, Any]:
        """A code for tokens. Raises OAuthRefused, RecordsUnavailable."""
        ticket, consent = await self._ticket(client, fields.get("code", ""), "code")
        if fields.get("redirect_uri", ticket.redirect) != ticket.redirect:
            raise _not_good("redirect_uri is not where the code was sent")
        if not proves(fields.get("code_verifier", ""), ticket.challenge):
            raise _not_good("code_verifier does not fit the challenge")
        return await self._bought(ticket, consent, fields)

    async def refresh(self, client: Client, fields: Mapping[str, str]) -> dict[str, Any]:
        """A refresh token for the next ones. Raises OAuthRefused, RecordsUnavailable."""
        ticket, consent = await self._ticket(client, fields.get("refresh_token", ""), "refresh")
        granted(fields.get("scope"), consent.scopes)
        return await self._bought(ticket, consent, fields)

    async def _ticket(self, client: Client, word: str, kind: Literal["code", "refresh"]) -> tuple[Ticket, Consent]:
        """What this client was given. Raises OAuthRefused."""
        for digest in self._peppers.digests(word):
            ticket = await self._book.find_ticket(digest)
            consent = await self._book.find_consent(ticket.grant) if ticket and ticket.kind == kind else None
            if ticket is not None and consent is not None and consent.client == client.id:
                return ticket, consent
        raise _not_good("it is not known, is over, or is another client's")

    async def _bought(self, ticket: Ticket, consent: Consent, fields: Mapping[str, str]) -> dict[str, Any]:
        if fields.get("resource", consent.resource).rstrip("/") != consent.resource:
            raise OAuthRefused("invalid_target", "resource is not the one that was allowed")
        now_ms = self._clock.now_ms()
        # Whoever comes too late has not used it: a code that nobody came for in time is taken back.
        if ticket.used_ms is None and (ticket.expires_ms <= now_ms or await self._is_over(consent)):
            raise _not_good("it is over")
        access = self._mint.mint(now_ms=now_ms, random=self._randomness.bytes(12), issued=True)
        refresh = self._word("fbr_")
        digest = self._peppers.digest(access.reveal())
        bought = Access(digest, self._peppers.newest_id, now_ms + self.terms.access_ms)
        digest = self._peppers.digest(refresh.reveal())
        next = Ticket(digest, "refresh", consent.grant, now_ms + self.terms.refresh_ms)
        if not await self._book.use_ticket(ticket.digest, bought, next, now_ms=now_ms):
            await self._end(consent, "used twice")
            raise _not_good("it was used before; all that came of it is over")
        return {
            "access_token": access.reveal(),
            "token_type": "Bearer",
            "expires_in": self.terms.access_ms // 1000,
            "refresh_token": refresh.reveal(),
            "scope": " ".join(consent.scopes),
        }

    async def _is_over(self, consent: Consent) -> bool:
        try:
            return (await self._hand_out.find(consent.account, "", consent.grant)).is_over
        except NoSuchToken:
            return True

    # --- what ends ----------------------------------------------------------------------------------------------------

    async def revoke(self, client: Client, word: str) -> None:
        """RFC 7009: whichever of its tokens it names, what the person allowed is over. Harmless to repeat."""
        consent = await self._consent_of(client, word)
        if consent is not None:
            await self._end(consent, "by the client")

    async def introspect(self, client: Client, word: str) -> dict[str, Any]:
        """RFC 7662, of a client's own tokens; of all others nothing is told."""
        consent = await self._consent_of(client, word)
        if consent is None or await self._is_over(consent):
            return {"active": False}
        ends_ms = await self._ends(word)
        if ends_ms <= self._clock.now_ms():
            return {"active": False}
        return {
            "active": True,
            "client_id": consent.client,
            "scope": " ".join(consent.scopes),
            "aud": consent.resource,
            "iss": self.terms.issuer,
            "sub": consent.account,
            "token_type": "Bearer",
            "exp": ends_ms // 1000,
            "iat": consent.at_ms // 1000,
        }

    async def _consent_of(self, client: Client, word: str) -> Consent | None:
        grant = ""
        for digest in self._peppers.digests(word):
            ticket, row = await self._book.find_ticket(digest), await self._credentials.find(digest)
            if ticket is not None and ticket.kind == "refresh":
                grant = ticket.grant
            elif row is not None and row.line:
                grant = row.line[0].id
        consent = await self._book.find_consent(grant) if grant else None
        return consent if consent is not None and consent.client == client.id else None

    async def _ends(self, word: str) -> int:
        """When a token is over that has not been used up; 0 if it has."""
        for digest in self._peppers.digests(word):
            row, ticket = await self._credentials.find(digest), await self._book.find_ticket(digest)
            if row is not None and not row.revoked and row.expires_ms is not None:
                return row.expires_ms
            if ticket is not None and ticket.used_ms is None:
                return ticket.expires_ms
        return 0

    async def _end(self, consent: Consent, why: str) -> None:
        facts = {"account": consent.account, "token": consent.grant}
        act = Act(consent.client, "consumer", "oauth.revoke", consent.grant, "api", reason=why, facts=facts)
        await self._witness.write(act)
        await self._hand_out.revoke(consent.account, "", consent.grant)

    async def clean(self) -> None:
        """Take back what nobody came for, and forget what is long over. Raises RecordsUnavailable."""
        now_ms = self._clock.now_ms()
        for consent in await self._book.abandoned(now_ms=now_ms, count=_ABANDONED_AT_ONCE):
            if not await self._is_over(consent):
                await self._end(consent, "nobody came for it")
        await self._book.drop_tickets(before_ms=now_ms - _REMEMBERED_MS)

    def _word(self, prefix: str) -> Secret:
        return Secret(prefix + base64.urlsafe_b64encode(self._randomness.bytes(32)).decode().rstrip("="))


def _not_good(why: str) -> OAuthRefused:
    return OAuthRefused("invalid_grant", why)
