"""Credential -> caller.

Every credential of a request is looked at in turn (see `core/tokens.py`), and the first that one of our keys signed
decides. On a priced route a caller without any gets a fresh token, one whose credential is not ours, was revoked or has
expired gets 401, and a browser that comes with a stale cookie is treated as if it had none: a person cannot mend a
cookie. A free route never refuses for a credential and never waits for the records.

What was recognised is remembered, the oldest forgotten first: a token costs one short keyed hash from its second
request on (an HMAC through OpenSSL takes 5 µs, a keyed BLAKE2 0.6). `forget` is called where a row was written, by
this process or another. What is remembered is the account that the token was made for: an account that is an alias of
another by now (`flows/follow.py`) is looked up anew for each request, in memory, so there is nothing to forget.

Peppers rotate: a row is looked for under each of them, in one question, and a row that stands under an older one is
moved to the newest when its token is used. At the same time it is noted which of our keys made the token, which only
the token itself can tell: so it is known what each key is still needed for.
"""

from collections import OrderedDict
from contextlib import suppress
from dataclasses import dataclass, replace
from hashlib import blake2b

from gateway.core import tokens
from gateway.core.callers import ANONYMOUS, Caller
from gateway.core.headers import prefers_html
from gateway.core.refusals import AccountFrozen, RecordsUnavailable, UnknownToken
from gateway.core.routes import Route
from gateway.core.tokens import Genuine, Peppers, TokenMint
from gateway.ports import Caps, Clock, Credentials, Exchange, Frozen, Looks, Randomness, TokenRow

_REMEMBERED_MAX = 100_000


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
    ) -> None:
        self._caps = caps
        self._mint = mint
        self._peppers = peppers
        self._credentials = credentials
        self._frozen = frozen
        self._clock = clock
        self._randomness = randomness
        self._header = header
        self._cookie_names = cookie_names
        self._aliases = aliases
        self._memory_key = randomness.bytes(32)
        self._remembered: OrderedDict[bytes, _Known] = OrderedDict()
        self._keys: dict[bytes, bytes] = {}  # by the digest that goes with the newest pepper
        self._forgotten = 0

    async def identify(self, exchange: Exchange, route: Route) -> Caller:
        """The caller of this request. Raises UnknownToken, AccountFrozen on priced routes."""
        refused_place, free = None, route.price.free
        for credential in tokens.candidates(
            exchange.headers, exchange.cookies, header=self._header, cookie_names=self._cookie_names
        ):
            key = self._key(credential.value)
            found = self._remembered.get(key)
            if found is None:
                found = self._genuine(credential.value) if free else await self._look_up(credential.value, key)
            if found is not None and (caller := self._caller(found)) is not None:
                if not free and self._frozen.holds(caller.account):
                    raise AccountFrozen(caller.account)
                return caller
            refused_place = refused_place or credential.place
        if free:
            return ANONYMOUS
        if refused_place == "header" or (refused_place and not prefers_html(exchange.headers)):
            raise UnknownToken()
        return self.fresh()

    async def known(self, token: str) -> Caller | None:
        """Who presents this token; None if it is not ours, was revoked or has expired."""
        key = self._key(token)
        found = self._remembered.get(key) or await self._look_up(token, key)
        return self._caller(found) if found else None

    def _key(self, token: str) -> bytes:
        """Under what a token is remembered: a digest too, but of this process alone, and a tenth as dear as HMAC."""
        return blake2b(token.encode("utf-8", "surrogateescape"), key=self._memory_key, digest_size=16).digest()

    async def _look_up(self, token: str, key: bytes) -> "_Known | None":
        """Recognise a token and read what is on record of it; then remember both."""
        genuine = self._mint.recognise(token)
        if genuine is None:
            return None
        before, pepper_id = self._forgotten, self._peppers.newest_id
        digests = self._peppers.digests(token)
        row = await self._row(genuine, digests, pepper_id)
        known = _Known(_read(genuine, digests[0], pepper_id, row), row)
        if before == self._forgotten:
            self._remember(key, digests[0], known)
        return known

    def _genuine(self, token: str) -> "_Known | None":
        """From the token alone: good enough where nothing is to be paid."""
        genuine = self._mint.recognise(token)
        if genuine is None:
            return None
        return _Known(_read(genuine, self._peppers.digest(token), self._peppers.newest_id, None), None)

    def _caller(self, known: "_Known") -> Caller | None:
        row, caller = known.row, known.caller
        if row is not None and (row.revoked or (row.expires_ms is not None and row.expires_ms <= self._clock.now_ms())):
            return None
        return self._by_now(caller)

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

    def _remember(self, key: bytes, digest: bytes, known: "_Known") -> None:
        self._remembered[key] = known
        self._keys[digest] = key
        if len(self._remembered) > _REMEMBERED_MAX:
            _, oldest = self._remembered.popitem(last=False)
            self._keys.pop(oldest.caller.token_digest, None)

    async def _row(self, genuine: Genuine, digests: list[bytes], pepper_id: str) -> TokenRow | None:
        """What is on record of a token, under whichever pepper it was written down. Revoked once is revoked."""
        found = await self._credentials.find_any(digests)
        rows = [found[digest] for digest in digests if digest in found]
        if not rows:
            return None
        if list(found) != digests[:1] or rows[0].key_id != genuine.key_id:
            with suppress(RecordsUnavailable):  # it is found as it is, too
                older = [digest for digest in digests[1:] if digest in found]
                await self._credentials.redigest(digests[0], older, pepper_id=pepper_id, key_id=genuine.key_id)
        return next((row for row in rows if row.revoked), rows[0])

    def fresh(self) -> Caller:
        """A caller with a token that was just made. Nothing is written down."""
        token = self._mint.mint(now_ms=self._clock.now_ms(), random=self._randomness.bytes(12))
        genuine = self._mint.recognise(token.reveal())
        assert genuine is not None
        digest = self._peppers.digest(token.reveal())
        return Caller(genuine.account, digest, tokens.tag(digest), fresh=token, pepper_id=self._peppers.newest_id)

    def forget(self, digest: bytes) -> None:
        """A token's row was written: what was remembered of it, or is being read just now, is out of date.

        What is remembered goes by the newest pepper; a digest by an older one may be of any of them.
        """
        self._forgotten += 1
        key = self._keys.pop(digest, None)
        if key is not None:
            self._remembered.pop(key, None)
        elif len(self._peppers.ids) > 1:
            self.forget_all()

    def forget_unrecorded(self) -> None:
        """Tokens may have been put on record by somebody who could not tell."""
        self._forgotten += 1
        for key, known in [(key, known) for key, known in self._remembered.items() if known.row is None]:
            del self._remembered[key]
            self._keys.pop(known.caller.token_digest, None)

    def forget_all(self) -> None:
        """Rows may have been written that nobody told of."""
        self._forgotten += 1
        self._remembered.clear()
        self._keys.clear()


def _read(genuine: Genuine, digest: bytes, pepper_id: str, row: TokenRow | None) -> Caller:
    account = row.account if row else genuine.account
    return Caller(account, digest, tokens.tag(digest), on_record=row is not None, pepper_id=pepper_id)


@dataclass(frozen=True, slots=True)
class _Known:
    """A token that was recognised: whose it is, and what is on record of it."""

    caller: Caller
    row: TokenRow | None
