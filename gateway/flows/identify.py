"""Credential -> caller.

Every credential of a request is looked at in turn (see `core/tokens.py`), and the first that one of our keys signed
decides. On a priced route a caller without any gets a fresh token, one whose credential is not ours, was revoked or has
expired gets 401, and a browser that comes with a stale cookie is treated as if it had none: a person cannot mend a
cookie. A free route never refuses for a credential and never waits for the records.

What was recognised is remembered by its digest, the least recently used forgotten first, so that a token costs one HMAC
from its second request on. Only this process writes rows, and `forget` is called where it does.
"""

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass

from gateway.core import tokens
from gateway.core.callers import ANONYMOUS, Caller
from gateway.core.headers import prefers_html
from gateway.core.refusals import UnknownToken
from gateway.core.routes import Route
from gateway.core.secrets import Secret
from gateway.core.tokens import TokenMint
from gateway.ports import Clock, Credentials, Exchange, Randomness, TokenRow

_REMEMBERED_MAX = 100_000


class Callers:
    """Finds out who is calling."""

    def __init__(
        self,
        *,
        mint: TokenMint,
        peppers: Sequence[Secret],
        credentials: Credentials,
        clock: Clock,
        randomness: Randomness,
        header: str,
        cookie_names: tuple[str, ...],
    ) -> None:
        self._mint = mint
        self._pepper, *self._older_peppers = peppers
        self._credentials = credentials
        self._clock = clock
        self._randomness = randomness
        self._header = header
        self._cookie_names = cookie_names
        self._remembered: OrderedDict[bytes, _Known] = OrderedDict()
        self._forgotten = 0

    async def identify(self, exchange: Exchange, route: Route) -> Caller:
        """The caller of this request. Raises UnknownToken on priced routes."""
        refused_place = None
        for credential in tokens.candidates(
            exchange.headers, exchange.cookies, header=self._header, cookie_names=self._cookie_names
        ):
            caller = self._at_a_glance(credential.value) if route.price.free else await self.known(credential.value)
            if caller is not None:
                return caller
            refused_place = refused_place or credential.place
        if route.price.free:
            return ANONYMOUS
        if refused_place == "header" or (refused_place and not prefers_html(exchange.headers)):
            raise UnknownToken()
        return self.fresh()

    async def known(self, token: str) -> Caller | None:
        """Who presents this token; None if it is not ours, was revoked or has expired."""
        digest = tokens.digest(self._pepper, token)
        found = self._remembered.get(digest)
        if found is None:
            genuine = self._mint.recognise(token)
            if genuine is None:
                return None
            before = self._forgotten
            found = _Known(genuine.account, await self._row(token))
            if before == self._forgotten:
                self._remember(digest, found)
        else:
            self._remembered.move_to_end(digest)
        return self._caller(digest, found)

    async def _row(self, token: str) -> TokenRow | None:
        """What is on record of a token, under whichever pepper it was written down. Revoked once is revoked."""
        digests = [tokens.digest(pepper, token) for pepper in (self._pepper, *self._older_peppers)]
        rows = [row for digest in digests if (row := await self._credentials.find(digest)) is not None]
        return next((row for row in rows if row.revoked), rows[0] if rows else None)

    def _at_a_glance(self, token: str) -> Caller | None:
        """The same from what is remembered: good enough where nothing is to be paid."""
        digest = tokens.digest(self._pepper, token)
        found = self._remembered.get(digest)
        if found is None:
            genuine = self._mint.recognise(token)
            found = _Known(genuine.account, None) if genuine else None
        return self._caller(digest, found) if found else None

    def _caller(self, digest: bytes, known: "_Known") -> Caller | None:
        row = known.row
        if row is None:
            return Caller(known.account, digest, tokens.tag(digest))
        if row.revoked or (row.expires_ms is not None and row.expires_ms <= self._clock.now_ms()):
            return None
        return Caller(row.account, digest, tokens.tag(digest), on_record=True)

    def _remember(self, digest: bytes, known: "_Known") -> None:
        self._remembered[digest] = known
        if len(self._remembered) > _REMEMBERED_MAX:
            self._remembered.popitem(last=False)

    def fresh(self) -> Caller:
        """A caller with a token that was just made. Nothing is written down."""
        token = self._mint.mint(now_ms=self._clock.now_ms(), random=self._randomness.bytes(12))
        genuine = self._mint.recognise(token.reveal())
        assert genuine is not None
        digest = tokens.digest(self._pepper, token.reveal())
        return Caller(genuine.account, digest, tokens.tag(digest), fresh=token)

    def forget(self, digest: bytes) -> None:
        """A token's row was written: what was remembered of it, or is being read just now, is out of date.

        What is remembered goes by the newest pepper; a digest by an older one may be of any of them.
        """
        self._forgotten += 1
        if self._remembered.pop(digest, None) is None and self._older_peppers:
            self._remembered.clear()


@dataclass(frozen=True, slots=True)
class _Known:
    """A token that was recognised: the account that it opens by itself, and what is on record of it."""

    account: str
    row: TokenRow | None
