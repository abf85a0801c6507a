"""Sessions of people who signed in: begun, shown, ended.

A session is kept as a token is: a keyed digest of what it is called, and a grant of its account (`core/grants.py`). So
what holds for tokens holds for it: it is looked up once in each process, another process hears within a second that it
was ended (`flows/follow_tokens.py`), and an account that became another one takes it along. It is nobody's to choose:
each sign-in makes a new one, whatever the browser showed before, and ends the one that the same browser had.
"""

from collections.abc import Mapping, Sequence

from gateway.core.callers import Caller
from gateway.core.grants import SESSION_PREFIX, Grant, session_id
from gateway.core.refusals import NoSuchToken
from gateway.core.secrets import Secret
from gateway.core.sessions import Session, SessionMint
from gateway.core.tokens import Peppers
from gateway.core.trail import Act
from gateway.ports import CallsInTheirName, Clock, ForgetsGrants, People, Randomness, Stay, TokenBook, User, Witnesses

_ANY_NUMBER = 2**31 - 1


class Stays:
    """Begins and ends sessions."""

    def __init__(
        self,
        *,
        people: People,
        book: TokenBook,
        mint: SessionMint,
        peppers: Peppers,
        callers: ForgetsGrants,
        whose: CallsInTheirName,
        clock: Clock,
        randomness: Randomness,
        witness: Witnesses,
        seconds: int,
    ) -> None:
        self._witness = witness
        self._people = people
        self._book = book
        self._mint = mint
        self._peppers = peppers
        self._callers = callers
        self._whose = whose
        self._clock = clock
        self._randomness = randomness
        self._seconds = seconds

    async def begin(self, user: str, account: str, provider: str) -> Secret:
        """A new session; what its cookie holds. Raises RecordsUnavailable."""
        now_ms, id = self._clock.now_ms(), self._randomness.bytes(16).hex()
        end_ms = now_ms + self._seconds * 1000
        session = Session(id, user, "", 0, 0, 0)
        digest = self._peppers.digest(session.identity)
        grant = Grant(session_id(digest), account, now_ms, expires_ms=end_ms)
        await self._write("session.begin", user, grant.id, {"account": account, "provider": provider})
        # Whose it is comes first: one that nobody could end must not be.
        await self._people.add_stay(grant.id, user, provider=provider, now_ms=now_ms, expires_ms=end_ms)
        await self._book.add_grant(grant, digest, pepper_id=self._peppers.newest_id, alive_max=_ANY_NUMBER)
        return Secret(self._mint.mint(id, user, now=now_ms // 1000, end=end_ms // 1000))

    async def user_of(self, caller: Caller) -> User | None:
        """Who has signed in behind this caller. Raises RecordsUnavailable."""
        return await self._whose.user_of(caller)

    async def held(self, user: str) -> Sequence[Stay]:
        """Their sessions, oldest first. Raises RecordsUnavailable."""
        return await self._people.stays(user, now_ms=self._clock.now_ms())

    async def end(self, user: str, grant: str) -> None:
        """One of theirs is over. Raises NoSuchToken, RecordsUnavailable."""
        if grant not in [stay.grant for stay in await self.held(user)]:
            raise NoSuchToken()
        await self._end(user, [grant])

    async def end_all(self, user: str) -> None:
        """All of theirs are over. Raises RecordsUnavailable."""
        await self._end(user, [stay.grant for stay in await self.held(user)])

    async def end_own(self, caller: Caller) -> None:
        """Whoever asks is signed out; nothing for one who is not signed in. Raises RecordsUnavailable."""
        if is_session(caller):
            await self._end(caller.account, [caller.token_id])

    async def _end(self, who: str, grants: Sequence[str]) -> None:
        for id in grants:
            await self._write("session.end", who, id, {})
            await self._book.revoke_grant(id, now_ms=self._clock.now_ms())
        self._callers.forget_grants(grants)

    async def _write(self, action: str, who: str, session: str, facts: Mapping[str, str]) -> None:
        """On the trail before it is done. Raises RecordsUnavailable."""
        await self._witness.write(Act(who, "consumer", action, session, "page", facts=facts))


def is_session(caller: Caller | None) -> bool:
    """Whether somebody is signed in, and does not just hold a token."""
    return caller is not None and caller.token_id.startswith(SESSION_PREFIX)
