"""Credential -> caller.

Every credential of a request is looked at in turn (see `core/tokens.py`), and the first that one of our keys signed
decides. On a priced route a caller without any gets a fresh token, one whose credential is not ours, was revoked or has
expired gets 401, and a browser that comes with a stale cookie is treated as if it had none: a person cannot mend a
cookie. A free route never refuses for a credential and never waits for the records.

What a token may do by its terms is put together when it is looked up, and stands in the caller: its scope refuses
here, its limits and caps where all of them are. A free route is open to every token; but one that is for a resource
alone says nothing at another, and where something is done in their name it is as narrow as where it costs.

Where outside providers are configured, a route that is not `public` is only for whom one of them vouches; no token of
ours is one. Such a caller has an account that is derived from who they are there, and from the first payment on a row,
as a token has: so all that is true of tokens is true of them.

What was recognised is remembered, the oldest forgotten first: a token costs one short keyed hash from its second
request on (an HMAC through OpenSSL takes 5 µs, a keyed BLAKE2 0.6). `forget` is called where a row was written, by
this process or another. What was seen on free routes alone is remembered apart, for nothing was read of it. What is
remembered is the account that the token was made for: an account that is an alias of another by now
(`flows/follow.py`) is looked up anew for each request, in memory, so there is nothing to forget.

Peppers rotate: a row is looked for under each of them, in one question, and a row that stands under an older one is
moved to the newest when its token is used. At the same time it is noted which of our keys made the token, which only
the token itself can tell: so it is known what each key is still needed for.
"""

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from hashlib import blake2b

from gateway.core import grants, query_tokens, tokens
from gateway.core.callers import ANONYMOUS, Caller
from gateway.core.headers import prefers_html
from gateway.core.jwts import NotAccepted, is_jwt
from gateway.core.oauth import covers
from gateway.core.refusals import (
    AccountFrozen,
    AuthorizationRequired,
    IdentityRequired,
    NotConnected,
    RecordsUnavailable,
    TokenOutOfScope,
    UnknownToken,
)
from gateway.core.routes import Route
from gateway.core.sessions import SessionMint
from gateway.core.tokens import Credential, Genuine, Peppers, Place, TokenMint
from gateway.ports import (
    CallsInTheirName,
    Caps,
    Clock,
    Credentials,
    Ended,
    Exchange,
    Frozen,
    Guesses,
    Looks,
    Randomness,
    ReadsLicences,
    TokenRow,
    Vouches,
)

_REMEMBERED_MAX = 100_000
_GLANCED_AT_MAX = 10_000


class Callers:
    """Finds out who is calling."""

    def __init__(
        self,
        *,
        mint: TokenMint,
        peppers: Peppers,
        credentials: Credentials,
        frozen: Frozen,
        clock: Clock,
        randomness: Randomness,
        header: str,
        cookie_names: tuple[str, ...],
        aliases: Looks | None = None,
        caps: Caps | None = None,
        guesses: Guesses | None = None,
        vouches: Vouches | None = None,
        sessions: SessionMint | None = None,
        outside: CallsInTheirName | None = None,
        licences: ReadsLicences | None = None,
    ) -> None:
        self._licences = licences
        self._vouches = vouches
        self._sessions = sessions
        self._outside = outside
        self._caps = caps
        self._zone = caps.zone if caps is not None else "UTC"
        self._guesses = guesses
        self._mint = mint
        self._peppers = peppers
        self._credentials = credentials
        self._frozen = frozen
        self._ended: Ended | None = None
        self._clock = clock
        self._randomness = randomness
        self._header = header
        self._cookie_names = cookie_names
        self._aliases = aliases
        self._memory_key = randomness.bytes(32)
        self._remembered: OrderedDict[bytes, _Known] = OrderedDict()
        self._glanced_at: dict[bytes, _Known] = {}  # on free routes alone: nothing was read of them
        self._keys: dict[bytes, bytes] = {}  # by the digests that go with each pepper
        self._of_grants: dict[str, set[bytes]] = {}  # by each grant of a line, the digests
        self._used: list[_Known] = []
        self._forgotten = 0

    async def identify(self, exchange: Exchange, route: Route) -> Caller:
        """The caller of this request. Raises UnknownToken, AccountFrozen, TokenOutOfScope, RateLimited if it costs.

        Raises IdentityRequired, IdentityUnavailable; NotConnected, SignInUnavailable, TokenOutOfScope where it is done
        in their name.
        """
        caller = await self._identified(exchange, route)
        if route.inject is None or self._outside is None:
            return caller
        if caller.fresh:
            raise NotConnected(route.inject)  # before they pay for what they cannot have
        if not _may_act(caller, exchange, route):
            raise TokenOutOfScope()
        return replace(caller, injected=await self._outside.field(caller, route.inject))

    @property
    def remembered(self) -> int:
        """How many tokens are."""
        return len(self._remembered)

    async def _identified(self, exchange: Exchange, route: Route) -> Caller:
        refused_place, free, agents_only = None, route.price.free, False
        if self._vouches is not None and not (free and route.public):
            outsider = await self.outsider(
                exchange.headers, exchange.cookies, route.issuers, free=free, claims=bool(route.pass_claims)
            )
            if outsider is not None:
                return outsider if free else self._admitted(outsider, exchange, route)
            if not route.public and not route.resource:
                raise IdentityRequired()
            agents_only = not route.public  # somebody who was vouched for has allowed them to
        for credential in self._presented(exchange, route):
            key = self._key(credential.value)
            found = self._remembered.get(key)
            if found is None:
                if free:
                    found = self._glanced_at.get(key) or await self._on_a_free_route(credential, key)
                else:
                    found = await self._look_up(credential.value, key, exchange.peer, credential.place)
            if found is not None and (caller := self._caller(found)) is not None and _may_come(caller, agents_only):
                if not free:
                    return self._admitted(caller, exchange, route)
                if not caller.audience or covers(caller.audience, route.resource):
                    return caller
            refused_place = refused_place or credential.place
        if free and agents_only:
            raise AuthorizationRequired()
        if free:
            return ANONYMOUS
        if refused_place and self._guesses is not None:
            await self._guesses.failed(exchange.peer)
        if refused_place in ("header", "query") or (refused_place and not prefers_html(exchange.headers)):
            raise UnknownToken()
        if route.resource and (agents_only or not prefers_html(exchange.headers)):
            raise AuthorizationRequired()
        return self.fresh()

    def _admitted(self, caller: Caller, exchange: Exchange, route: Route) -> Caller:
        """Where something is to be paid. Raises AccountFrozen, TokenOutOfScope, UnknownToken."""
        if caller.audience and not covers(caller.audience, route.resource):
            raise UnknownToken()
        if self._frozen.holds(caller.account):
            raise AccountFrozen(caller.account)
        if caller.scope is not None and not caller.scope.allows(route.name, exchange.method):
            raise TokenOutOfScope()
        return caller

    async def outsider(
        self,
        headers: Mapping[str, str],
        cookies: Mapping[str, str],
        issuers: Sequence[str] | None = None,
        *,
        free: bool = False,
        claims: bool = False,
    ) -> Caller | None:
        """Whom an outside provider vouches for; None if none does. With their `claims`, where somebody is told of them.

        Raises IdentityUnavailable, and RecordsUnavailable where it is not `free`.
        """
        person = await self._vouches.known(headers, cookies, issuers) if self._vouches is not None else None
        if person is None:
            return None
        identity = person.identity
        key = self._key_of(identity)
        found = self._remembered.get(key)
        if found is None:
            genuine = self._mint.outside(identity)
            try:
                found = await self._read_up(genuine, identity, key)
            except RecordsUnavailable:
                if not free:
                    raise
                found = self._unread(genuine, identity)
        caller = self._caller(found) if found is not None else None
        return replace(caller, claims=person.claims) if caller is not None and claims else caller

    async def require_outsider(self, headers: Mapping[str, str], cookies: Mapping[str, str]) -> None:
        """Raises IdentityRequired where outside providers are configured and none of them vouches."""
        if self._vouches is not None and await self.outsider(headers, cookies) is None:
            raise IdentityRequired()

    def _presented(self, exchange: Exchange, route: Route) -> list[Credential]:
        """What may be a token. Raises TokenInQuery for one that stands in the address and may not."""
        found, target = [], exchange.target
        if route.token_in_query is not None:
            value, target = query_tokens.taken(target, route.token_in_query)
            found = [Credential(value, "query")] if value else []
        query_tokens.refuse(target)
        others = tokens.candidates(
            exchange.headers, exchange.cookies, header=self._header, cookie_names=self._cookie_names
        )
        return found + others if found else others

    async def known(self, token: str, peer: str = "", *, place: Place = "header") -> Caller | None:
        """Who presents this token at an address of ours; None if it is not ours, is over, or is for a route alone.

        A session is one in a cookie only: nobody plants or carries off one elsewhere.

        Raises RateLimited where too many from the address of this `peer` were not good.
        """
        key = self._key(token)
        found = self._remembered.get(key) or await self._look_up(token, key, peer, place)
        caller = self._caller(found) if found else None
        if caller is not None and caller.audience:
            return None  # it is for a route, and nothing of the wallet's is shown to it
        if caller is None and self._guesses is not None:
            await self._guesses.failed(peer)
        return caller

    def _key(self, token: str) -> bytes:
        """Under what a token is remembered: a digest too, but of this process alone, and a tenth as dear as HMAC."""
        return blake2b(token.encode("utf-8", "surrogateescape"), key=self._memory_key, digest_size=16).digest()

    def _key_of(self, identity: str) -> bytes:
        """The same for somebody who was recognised by other means: whatever is shown as a token, it is never this."""
        name = identity.encode("utf-8", "surrogateescape")
        return blake2b(name, key=self._memory_key, digest_size=16, person=b"identity").digest()

    async def _look_up(self, token: str, key: bytes, peer: str, place: Place = "header") -> "_Known | None":
        """Recognise a token and read what is on record of it; then remember both."""
        if self._guesses is not None:
            self._guesses.check(peer)
        genuine = self._mint.recognise(token)
        if genuine is not None:
            return await self._read_up(genuine, token, key)
        return self._licensed(token, key) or (await self._stay(token) if place == "cookie" else None)

    async def _stay(self, cookie: str) -> "_Known | None":
        """Somebody who is signed in; remembered by the session's name, for its cookie is made anew now and then."""
        if self._sessions is None:
            return None
        session = self._sessions.recognise(cookie, now=self._clock.now_ms() / 1000)
        if session is None:
            return None
        key = self._key_of(session.identity)
        genuine = Genuine("", session.key_id, issued=True, outside=True)
        return self._remembered.get(key) or await self._read_up(genuine, session.identity, key)

    def _licensed(self, token: str, key: bytes) -> "_Known | None":
        """A licence spends from its wallet, and may do nothing else with it. Nothing is on record of it."""
        if self._licences is None or not is_jwt(token):
            return None
        try:
            said = self._licences.read(token)
        except NotAccepted:
            return None
        digest = self._peppers.digest(token)
        caller = Caller(
            said["sub"],
            digest,
            tokens.tag(digest),
            pepper_id=self._peppers.newest_id,
            is_narrowed=True,
            is_licence=True,
        )
        known = _Known(caller, None, until_ms=int(said["exp"] * 1000))
        self._remember(key, (digest,), known)
        return known

    async def _read_up(self, genuine: Genuine, token: str, key: bytes) -> "_Known | None":
        if self._is_ended(genuine):
            return None
        before, pepper_id = self._forgotten, self._peppers.newest_id
        digests = self._peppers.digests(token)
        row = await self._row(genuine, token, digests, pepper_id)
        if row is None and genuine.issued:
            return None
        known = _Known(_read(genuine, digests[0], pepper_id, row, self._zone), row)
        if before == self._forgotten:
            self._remember(key, digests, known)
        return known

    async def _on_a_free_route(self, credential: Credential, key: bytes) -> "_Known | None":
        """From the token alone: good enough where nothing is to be paid, if it says whose it is."""
        token = credential.value
        genuine = self._mint.recognise(token)
        if genuine is None:
            if (licensed := self._licensed(token, key)) is not None:
                return licensed
            with suppress(RecordsUnavailable):
                return await self._stay(token) if credential.place == "cookie" else None
            return None
        if genuine.issued:
            with suppress(RecordsUnavailable):
                return await self._look_up(token, key, "")
            return None
        if self._is_ended(genuine):
            return None
        if len(self._glanced_at) >= _GLANCED_AT_MAX:
            del self._glanced_at[next(iter(self._glanced_at))]
        known = self._glanced_at[key] = self._unread(genuine, token)
        return known

    def _is_ended(self, genuine: Genuine) -> bool:
        of_its_own = not genuine.issued and not genuine.outside
        return of_its_own and self._ended is not None and self._ended.ended(genuine.account)

    def _unread(self, genuine: Genuine, token: str) -> "_Known":
        """As if nothing were on record of it."""
        return _Known(_read(genuine, self._peppers.digest(token), self._peppers.newest_id, None, self._zone), None)

    def _caller(self, known: "_Known") -> Caller | None:
        if known.until_ms is not None and known.until_ms <= self._clock.now_ms():
            return None
        if not known.used:
            known.used = True
            self._used.append(known)
        return self._by_now(known.caller)

    def _by_now(self, caller: Caller) -> Caller:
        account = caller.account if self._aliases is None else self._aliases.root(caller.account)
        caps = self._caps.of(account) if self._caps is not None else ()
        if caps:
            return replace(caller, account=account, caps=(*caller.caps, *caps))
        return caller if account == caller.account else replace(caller, account=account)

    async def moved(self, caller: Caller) -> Caller | None:
        """The same caller with the account that theirs has become since; None if it is what it was."""
        if self._aliases is None or caller.fresh or not caller.account:
            return None
        with suppress(RecordsUnavailable):
            await self._aliases.look()
        if self._aliases.root(caller.account) == caller.account:
            return None
        own = tuple(cap for cap in caller.caps if cap.node != caller.account)
        return self._by_now(replace(caller, caps=own))

    def _remember(self, key: bytes, digests: Sequence[bytes], known: "_Known") -> None:
        """`digests` begin with the newest pepper's. When peppers change, all is forgotten."""
        if key in self._remembered:
            self._forget(key)
        self._remembered[key] = known
        known.digests = tuple(digests)
        for digest in known.digests:
            self._keys[digest] = key
        for grant in known.line:
            self._of_grants.setdefault(grant.id, set()).add(known.digests[0])
        if len(self._remembered) > _REMEMBERED_MAX:
            self._forget(next(iter(self._remembered)))

    async def _row(self, genuine: Genuine, token: str, digests: list[bytes], pepper_id: str) -> TokenRow | None:
        """What is on record of a token, under whichever pepper it was written down.

        Revoked once is revoked; and a payment that put it down anew does not make anything of what it was narrowed to.
        """
        found = await self._credentials.find_any(digests)
        rows = [found[digest] for digest in digests if digest in found]
        if not rows:
            return None
        if list(found) != digests[:1] or rows[0].key_id != genuine.key_id:
            with suppress(RecordsUnavailable):  # it is found as it is, too
                older = [digest for digest in digests[1:] if digest in found]
                last = "" if genuine.outside else token[-grants.LAST_CHARS :]
                await self._credentials.redigest(
                    digests[0], older, pepper_id=pepper_id, key_id=genuine.key_id, last=last
                )
        return min(rows, key=lambda row: (not row.revoked, row.line[0].created_ms if row.line else 0))

    def fresh(self) -> Caller:
        """A caller with a token that was just made. Nothing is written down."""
        token = self._mint.mint(now_ms=self._clock.now_ms(), random=self._randomness.bytes(12))
        genuine = self._mint.recognise(token.reveal())
        assert genuine is not None
        digest = self._peppers.digest(token.reveal())
        return Caller(genuine.account, digest, tokens.tag(digest), fresh=token, pepper_id=self._peppers.newest_id)

    def forget(self, digest: bytes) -> None:
        """A token's row was written: what was remembered of it, or is being read just now, is out of date."""
        self._forgotten += 1
        key = self._keys.get(digest)
        if key is not None:
            self._forget(key)

    def forget_unrecorded(self) -> None:
        """Tokens may have been put on record by somebody who could not tell."""
        self._forgotten += 1
        for key in [key for key, known in self._remembered.items() if known.is_unrecorded]:
            self._forget(key)

    def forget_grants(self, ids: Sequence[str]) -> None:
        """Something was changed about these tokens: all that came of them is out of date, too."""
        self._forgotten += 1
        for id in ids:
            for digest in tuple(self._of_grants.get(id, ())):
                self._forget(self._keys[digest])

    def used(self) -> list[str]:
        """The tokens on record that were used since this was last asked."""
        used, self._used = self._used, []
        for known in used:
            known.used = False
        return [known.line[0].id for known in used if known.line]

    def _forget(self, key: bytes) -> None:
        known = self._remembered.pop(key)
        for digest in known.digests:
            del self._keys[digest]
        for grant in known.line:
            of_grant = self._of_grants[grant.id]
            of_grant.discard(known.digests[0])
            if not of_grant:
                del self._of_grants[grant.id]

    def heed(self, ended: Ended) -> None:
        """From now on, whose tokens were ended all at once."""
        self._ended = ended

    def forget_all(self) -> None:
        """Rows may have been written that nobody told of, keys have gone, or tokens were ended."""
        self._forgotten += 1
        self._remembered.clear()
        self._glanced_at.clear()
        self._keys.clear()
        self._of_grants.clear()


def _read(genuine: Genuine, digest: bytes, pepper_id: str, row: TokenRow | None, zone: str) -> Caller:
    if row is None:
        return Caller(genuine.account, digest, tokens.tag(digest), pepper_id=pepper_id, is_outside=genuine.outside)
    line = row.line
    return Caller(
        row.account,
        digest,
        grants.tag_of(line[0].id) if line else tokens.tag(digest),
        on_record=True,
        pepper_id=pepper_id,
        caps=grants.caps_of(line, zone),
        scope=grants.scope_of(line),
        limits=grants.limits_of(line),
        is_narrowed=bool(line) and not line[0].is_plain,
        is_viewer=grants.sees_all(line),
        token_id=line[0].id if line else "",
        is_outside=genuine.outside,
        audience=grants.audience_of(line),
    )


def _may_act(caller: Caller, exchange: Exchange, route: Route) -> bool:
    """Whether its token speaks for its holder on this route: whoever may only look or spend does not, free or not."""
    scope = caller.scope
    in_scope = scope is None or scope.allows(route.name, exchange.method)
    return in_scope and not (caller.is_viewer or caller.is_licence)


def _may_come(caller: Caller, agents_only: bool) -> bool:
    return bool(caller.audience) or not agents_only


class _Known:
    """A token that was recognised: whose it is, what stands behind it, and until when it is good."""

    __slots__ = ("caller", "digests", "is_unrecorded", "line", "until_ms", "used")

    def __init__(self, caller: Caller, row: TokenRow | None, *, until_ms: int | None = None) -> None:
        self.caller = caller
        self.digests: tuple[bytes, ...] = ()
        self.is_unrecorded = row is None
        self.line = row.line if row else ()
        self.until_ms = _until(row) if row else until_ms
        self.used = False


def _until(row: TokenRow) -> int | None:
    if row.revoked:
        return 0
    ends = [end for end in (row.expires_ms, grants.until(row.line)) if end is not None]
    return min(ends, default=None)
