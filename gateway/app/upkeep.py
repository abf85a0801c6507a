"""What a gateway looks after in its records while it runs: keys, freezes, aliases, old events, what others wrote."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack, suppress
from typing import TYPE_CHECKING

from gateway.adapters.sqlite.records import SqliteRecords
from gateway.core.refusals import RecordsUnavailable
from gateway.core.rotation import SEEN_SECONDS
from gateway.flows import checkpoint, follow, follow_plans, follow_tokens, record_meters
from gateway.flows.cap import AccountCaps
from gateway.flows.checkpoint import Checkpoints
from gateway.flows.end_tokens import EndTokens
from gateway.flows.follow import Aliases, JoinBooks
from gateway.flows.follow_plans import FollowPlans
from gateway.flows.follow_tokens import FollowTokens
from gateway.flows.freeze import LOOK_SECONDS, Freezes
from gateway.flows.identify import Callers
from gateway.flows.maintain import DAY_MS
from gateway.flows.record_meters import RecordMeters
from gateway.flows.rotate import CallIn
from gateway.flows.rounds import Rounds
from gateway.ports import Clock, StoreFailed

if TYPE_CHECKING:  # an extra
    from gateway.adapters.postgres.records import PostgresRecords

_EVENTS_SECONDS = 3600.0
_EVENTS_A_STEP = 200
_KEYS_SECONDS = 60.0
_KEYS_A_STEP = 50
_REST_SECONDS = 0.05


class Upkeep:
    """One process's. Only one of several workers, the `first`, drops old events and keys."""

    def __init__(
        self,
        *,
        records: "SqliteRecords | PostgresRecords",
        callers: Callers,
        freezes: Freezes,
        ended: EndTokens,
        caps: AccountCaps,
        aliases: Aliases,
        plans: FollowPlans,
        join_books: JoinBooks | None,
        call_in: CallIn,
        follow_tokens: FollowTokens,
        clock: Clock,
        events_days: int,
        kept_bytes_max: int,
        meters: RecordMeters | None,
        checkpoints: Checkpoints,
        first: bool,
        clean: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        self._clean = clean
        self._records = records
        self._callers = callers
        self._freezes = freezes
        self._ended = ended
        self._caps = caps
        self._aliases = aliases
        self._plans = plans
        self._join_books = join_books
        self._call_in = call_in
        self._follow_tokens = follow_tokens
        self._clock = clock
        self._events_days = events_days
        self._kept_bytes_max = kept_bytes_max
        self._record_meters = meters
        self._checkpoints = checkpoints
        self._first = first
        self._opened = AsyncExitStack()

    async def open(self) -> None:
        """Learn what has to be known before the first request, and go on looking. Raises StoreFailed."""
        self._opened.push_async_callback(self._leave)
        try:
            await self._aliases.look()
            await self._freezes.look()
            await self._ended.look()
            await self._caps.look()
            await self._plans.look()
            await self._follow_tokens.begin()
            if self._join_books is not None:
                await self._join_books.begin()
            await self._call_in.now()
        except RecordsUnavailable as unavailable:
            raise StoreFailed("the records cannot be read, or not written") from unavailable
        rounds = [
            Rounds(self._call_in.now, every_seconds=SEEN_SECONDS, name="keys in use"),
            Rounds(self._freezes.look, every_seconds=LOOK_SECONDS, name="frozen accounts"),
            Rounds(self._ended.look, every_seconds=LOOK_SECONDS, name="ended tokens"),
            Rounds(self._caps.look, every_seconds=LOOK_SECONDS, name="spending caps"),
            Rounds(self._plans.look, every_seconds=follow_plans.LOOK_SECONDS, name="plans of accounts"),
            Rounds(self._follow_tokens.look, every_seconds=follow_tokens.LOOK_SECONDS, name="changes of tokens"),
            Rounds(self._follow_tokens.note_used, every_seconds=follow_tokens.NOTE_SECONDS, name="tokens in use"),
            Rounds(self._aliases.look, every_seconds=follow.LOOK_SECONDS, name="aliases"),
            Rounds(self._checkpoints.write, every_seconds=checkpoint.EVERY_SECONDS, name="long answers on record"),
        ]
        if self._join_books is not None:
            rounds.append(Rounds(self._join_books.now, every_seconds=follow.LOOK_SECONDS, name="joining wallets"))
        if self._first:
            rounds.append(Rounds(self.drop_events, every_seconds=_EVENTS_SECONDS, name="old events"))
            rounds.append(Rounds(self.drop_keys, every_seconds=_KEYS_SECONDS, name="idempotency keys"))
            drop = self._follow_tokens.drop_rotations
            rounds.append(Rounds(drop, every_seconds=_EVENTS_SECONDS, name="rotations of tokens"))
            if self._clean is not None:
                rounds.append(Rounds(self._clean, every_seconds=_EVENTS_SECONDS, name="what agents were allowed"))
        if self._record_meters is not None:
            self._opened.push_async_callback(self._record_meters.leave)
            write = self._record_meters.write
            rounds.append(Rounds(write, every_seconds=record_meters.EVERY_SECONDS, name="what meters read"))
            if self._first:
                rounds.append(Rounds(self.drop_readings, every_seconds=_EVENTS_SECONDS, name="old readings"))
        if isinstance(self._records, SqliteRecords):
            rounds.append(Rounds(self._look_around, every_seconds=LOOK_SECONDS, name="what others wrote"))
        for one in rounds:
            self._opened.push_async_callback(one.close)
            one.open()

    async def close(self) -> None:
        await self._opened.aclose()

    async def drop_events(self) -> None:
        """Those that are old enough, and notices, a few at a time, so that nobody waits. Raises RecordsUnavailable."""
        before_ms = self._clock.now_ms() - self._events_days * DAY_MS
        dropped = _EVENTS_A_STEP
        while dropped == _EVENTS_A_STEP:
            dropped = await self._records.drop_events(before_ms=before_ms, count=_EVENTS_A_STEP)
            await asyncio.sleep(_REST_SECONDS)
        more = True
        while more:
            more = await self._records.outbox.drop(before_ms=before_ms, count=_EVENTS_A_STEP)
            await asyncio.sleep(_REST_SECONDS)

    async def drop_readings(self) -> None:
        """Those that are old enough, or too many, a few at a time. Raises RecordsUnavailable."""
        assert self._record_meters is not None
        dropped = _EVENTS_A_STEP
        while dropped == _EVENTS_A_STEP:
            dropped = await self._record_meters.drop(_EVENTS_A_STEP)
            await asyncio.sleep(_REST_SECONDS)

    async def drop_keys(self) -> None:
        """Those that have expired, and answers beyond their bound: a few at a time. Raises RecordsUnavailable."""
        now_ms, dropped = self._clock.now_ms(), _KEYS_A_STEP
        while dropped == _KEYS_A_STEP:
            dropped = await self._records.key_claims.drop_expired(now_ms=now_ms, count=_KEYS_A_STEP)
            await asyncio.sleep(_REST_SECONDS)
        forgotten = _KEYS_A_STEP
        while forgotten == _KEYS_A_STEP:
            forgotten = await self._records.key_claims.forget_answers(
                bytes_max=self._kept_bytes_max, count=_KEYS_A_STEP
            )
            await asyncio.sleep(_REST_SECONDS)

    async def _look_around(self) -> None:
        """A command writes to the same file, and tells nobody."""
        assert isinstance(self._records, SqliteRecords)
        if await self._records.changed():
            self._callers.forget_unrecorded()

    async def _leave(self) -> None:
        with suppress(RecordsUnavailable):
            await self._follow_tokens.note_used()
            await self._call_in.leave()
