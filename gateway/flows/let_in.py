"""An operator signs in on their pages: with the token, or once with a link; and is let out.

A session is a random secret of the browser's; on record is its digest, whose it is, and a stamp of the token that was
good when it began. So it ends with its time (idle or absolute), with its logout, and with that token. The name is what
the operator says; it is believed, as that of whoever sends calls is, because all operators share one token.

Attempts are counted by address before anything is compared, so that nobody guesses faster than the limit, right or
wrong. Who signs in, out, or fails to is on the trail.
"""

from base64 import urlsafe_b64encode
from dataclasses import replace
from typing import NoReturn

from gateway.core.limits import Rate
from gateway.core.operators import LINK_MS, Operators, Rank, Session, is_name, session_digest
from gateway.core.refusals import BadRequest, RateLimited
from gateway.core.trail import Act
from gateway.ports import Clock, OperatorBook, Randomness, RateLimits, Witnesses

IDLE_MS = 30 * 60_000
"""A session that is not used for so long is over."""
MOST_MS = 12 * 3_600_000
"""And so is one that is so old."""
ATTEMPTS = Rate(10, 60, "10/minute")
"""How often one address may try."""
_SECRET_BYTES = 32
_SEEN_EVERY_MS = 60_000


class NotLetIn(Exception):
    """The token or the link is not good. Which of the two reasons it has, nobody is told."""


class LetIn:
    """Signs operators and auditors in and out."""

    def __init__(
        self,
        *,
        book: OperatorBook,
        operators: Operators,
        limits: RateLimits,
        witness: Witnesses,
        clock: Clock,
        randomness: Randomness,
    ) -> None:
        self._book = book
        self._operators = operators
        self._limits = limits
        self._witness = witness
        self._clock = clock
        self._randomness = randomness

    async def by_token(self, name: str, token: str, *, address: str) -> str:
        """What the browser keeps. Raises NotLetIn, RateLimited, BadRequest, RecordsUnavailable."""
        await self._count(address)
        _check(name)
        rank = self._operators.rank(token)
        if rank is None:
            await self._refused("token")
        return await self._begin(name, rank, "token")

    async def by_link(self, name: str, code: str, *, address: str) -> str:
        """The same, by a link that was not used yet. Raises NotLetIn, RateLimited, BadRequest, RecordsUnavailable."""
        await self._count(address)
        _check(name)
        now_ms = self._clock.now_ms()
        nonce = self._operators.link_nonce(code, now_ms=now_ms)
        if nonce is None or not await self._book.use_link(nonce, now_ms=now_ms):
            await self._refused("link")
        return await self._begin(name, "operator", "link")

    async def known(self, secret: str) -> Session | None:
        """Whose session it is, which is used now; None if it is over. Raises RecordsUnavailable."""
        if not secret:
            return None
        session = await self._book.find_session(session_digest(secret))
        now_ms = self._clock.now_ms()
        if session is None or session.ended(now_ms=now_ms, idle_ms=IDLE_MS, most_ms=MOST_MS):
            return None
        if session.stamp != self._operators.stamp(session.rank):
            return None
        if now_ms - session.seen_ms >= _SEEN_EVERY_MS:  # a page is no reason to write each time
            await self._book.see_session(session.digest, now_ms=now_ms)
        return session

    async def leave(self, session: Session) -> None:
        """It is over, wherever its secret is. Raises RecordsUnavailable."""
        await self._witness.write(signed(session, Act("", "operator", "operator.sign_out", "operators", "page")))
        await self._book.end_session(session.digest)

    async def clean(self) -> None:
        """Forget what is over. Raises RecordsUnavailable."""
        now_ms = self._clock.now_ms()
        await self._book.end_sessions(seen_before_ms=now_ms - IDLE_MS, begun_before_ms=now_ms - MOST_MS)
        await self._book.drop_links(used_before_ms=now_ms - 2 * LINK_MS)

    async def _begin(self, name: str, rank: Rank, by: str) -> str:
        secret = urlsafe_b64encode(self._randomness.bytes(_SECRET_BYTES)).rstrip(b"=").decode()
        now_ms, stamp = self._clock.now_ms(), self._operators.stamp(rank)
        assert stamp is not None
        session = Session(session_digest(secret), name, rank, stamp, now_ms, now_ms)
        act = Act("", "operator", "operator.sign_in", "operators", "page", "", {"by": by, "rank": rank})
        await self._witness.write(signed(session, act))
        await self._book.begin_session(session)
        return secret

    async def _count(self, address: str) -> None:
        stand = await self._limits.hit(ATTEMPTS, f"operator {address}")
        if not stand.allowed:
            raise RateLimited(policy=ATTEMPTS.text, retry_after_seconds=max(1, round(stand.reset_seconds)))

    async def _refused(self, by: str) -> NoReturn:
        act = Act("unknown", "operator", "operator.refused", "operators", "page", "", {"by": by})
        await self._witness.write(act)
        raise NotLetIn()


def signed(session: Session, act: Act) -> Act:
    """The act as the trail has it: by this operator, on a page."""
    return replace(act, actor=f"operator:{session.name}", role=session.rank, origin="page")


class Signed:
    """What somebody who has signed in is about to do goes on the trail in their name. Implements `ports.Witnesses`."""

    def __init__(self, witness: Witnesses, session: Session) -> None:
        self._witness = witness
        self._session = session

    async def write(self, act: Act) -> None:
        await self._witness.write(signed(self._session, act))


def _check(name: str) -> None:
    if not is_name(name):
        raise BadRequest("name: 1 to 64 of letters, digits and . _ @ -")
