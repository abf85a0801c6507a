"""People who sign in, in one process: through whom, what is kept of theirs, and what is done for them.

In two parts, for callers stand between them: `Lending` is what a request needs, `SigningIn` what pages and jobs do.
"""

import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

from gateway.adapters.jobs import JobBook
from gateway.adapters.outgoing import HttpCalls, HttpDocuments
from gateway.adapters.people import PeopleBook
from gateway.adapters.sqlite.records import SqliteRecords
from gateway.core.jwts import Issuer
from gateway.core.keyring import Keyring
from gateway.core.sessions import SessionMint
from gateway.core.tokens import Peppers
from gateway.flows.discover import Discover
from gateway.flows.follow import Aliases
from gateway.flows.identify import Callers
from gateway.flows.in_their_name import InTheirName
from gateway.flows.learn_keys import LearnKeys
from gateway.flows.lend_tokens import LendTokens
from gateway.flows.rounds import Rounds
from gateway.flows.sign_in import FIRST_SYNC, SignIn
from gateway.flows.stay import Stays
from gateway.flows.synchronise import Synchronise
from gateway.flows.work import AT_ONCE, ROUND_SECONDS, Kind, Work
from gateway.ports import Clock, Randomness, Witnesses
from gateway.settings import Settings
from gateway.web.front import Sparing

if TYPE_CHECKING:
    from gateway.app.stores import Records

_OLD_SECONDS = 3600.0


class Lending:
    """Who somebody is, and their tokens at providers."""

    def __init__(
        self,
        settings: Settings,
        records: "Records",
        keyring: Keyring,
        aliases: Aliases,
        *,
        clock: Clock,
        randomness: Randomness,
        report: Callable[..., None],
        witness: Witnesses,
    ) -> None:
        self.witness = witness
        self.settings = settings.sign_in
        self.people = PeopleBook(records.ask)
        self.jobs = JobBook(records.ask, shared=not isinstance(records, SqliteRecords))
        self.calls = HttpCalls(private=self.settings.private_addresses)
        self.report = Sparing(report)
        self.discover = Discover(calls=self.calls, now=time.monotonic, report=self.report)
        self.lend = LendTokens(
            vault=self.people,
            calls=self.calls,
            discover=self.discover,
            keyring=keyring,
            clock=clock,
            randomness=randomness,
            report=self.report,
            now=time.monotonic,
            witness=witness,
        )
        self.mint = SessionMint(keyring, issuer=settings.public_url, idle_seconds=self.settings.session_idle_seconds)
        self.in_their_name = InTheirName(self.settings.providers, people=self.people, lend=self.lend, roots=aliases)


class SigningIn:
    """The parts by name, and their life. One of several workers, the `first`, does the jobs."""

    def __init__(
        self,
        lending: Lending,
        callers: Callers,
        aliases: Aliases,
        records: "Records",
        keyring: Keyring,
        peppers: Peppers,
        *,
        clock: Clock,
        randomness: Randomness,
        report: Callable[..., None],
        first: bool,
    ) -> None:
        self.lending = lending
        self._first = first
        self._clock = clock
        self._opened = AsyncExitStack()
        settings = lending.settings
        self._documents = HttpDocuments(private=settings.private_addresses)
        self._keys = {
            name: LearnKeys(
                Issuer(name, provider.issuer or "", frozenset()),
                documents=self._documents,
                now=time.monotonic,
                report=lending.report,
            )
            for name, provider in settings.providers.items()
            if provider.discovers
        }
        self.stays = Stays(
            people=lending.people,
            book=records.grants,
            mint=lending.mint,
            peppers=peppers,
            callers=callers,
            whose=lending.in_their_name,
            clock=clock,
            randomness=randomness,
            witness=lending.witness,
            seconds=settings.session_seconds_max,
        )
        self.sign_in = SignIn(
            settings.providers,
            self._keys,
            people=lending.people,
            vault=lending.people,
            jobs=lending.jobs,
            lend=lending.lend,
            calls=lending.calls,
            aliases=aliases,
            keyring=keyring,
            peppers=peppers,
            clock=clock,
            randomness=randomness,
            discover=lending.discover,
            fresh_account=lambda: callers.fresh().account,
            report=lending.report,
            welcomed=self._welcome,
            witness=lending.witness,
        )
        self._welcomes: list[Callable[[str], Awaitable[None]]] = []
        synchronise = Synchronise(
            settings.providers, calls=lending.calls, lend=lending.lend, vault=lending.people, clock=clock
        )
        self._kinds: dict[str, Kind] = {FIRST_SYNC: synchronise.do}
        self.work = Work(lending.jobs, self._kinds, clock=clock, report=report)

    def also(self, kind: str, do: Kind, *, welcomed: Callable[[str], Awaitable[None]] | None = None) -> None:
        """One more kind of job, and who else, if anybody, is told of each who signs in. Before it opens."""
        self._kinds[kind] = do
        if welcomed is not None:
            self._welcomes.append(welcomed)

    async def _welcome(self, user: str) -> None:
        for one in self._welcomes:
            await one(user)

    async def open(self) -> None:
        """Begin; the records are open."""
        if self._first and (self.lending.settings.providers or self._kinds.keys() != {FIRST_SYNC}):
            at_work = [Rounds(self.work.now, every_seconds=ROUND_SECONDS, name="jobs") for _ in range(AT_ONCE)]
            for one in (*at_work, Rounds(self.drop_old, every_seconds=_OLD_SECONDS, name="sessions that are over")):
                self._opened.push_async_callback(one.close)
                one.open()

    async def drop_old(self) -> None:
        """Raises RecordsUnavailable."""
        await self.lending.people.drop_old(now_ms=self._clock.now_ms())

    async def leave(self) -> None:
        """No more jobs; one that is cut off is gone on with when its lease is over. Before the records are closed."""
        await self._opened.aclose()
        await self.lending.lend.close()

    async def close(self) -> None:
        """Nobody outside is asked any more."""
        for keys in self._keys.values():
            await keys.close()
        await self._documents.close()
        await self.lending.calls.close()
