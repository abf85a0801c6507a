"""A keeper's place at the database: one connection, one transaction at a time, and what is on loan to it.

**The fence.** `take_over` gives this run of a host the newest epoch of its row; every transaction shows it, with the
row locked in share mode. Whoever comes after under the same name (a restart, a reaper, a second gateway with the same
name by mistake) has a newer one, and from then on this desk writes nothing: it is *fenced*, for good.

**An heir.** When only the process died that kept the books, and its workers live on, what they have is part of what was
on loan to it. So its heir takes over with all of it: nobody else can be lent any meanwhile. That is so only if the last
who had the row was of the same crew. If it was a reaper, all is back where it came from, and the heir begins anew; what
another gateway took over under the same name stays with that one.

**Nothing is guessed.** When a connection is lost, what was under way on it may have been committed, may still be under
way, or may even arrive later from a buffer. `go_on` takes a newer epoch on a new connection: that waits until whatever
holds the row is over, and what comes later is turned away. Then what is in doubt is read back: the batch by its number
and its hash, the leases by what the keeper knows of. What was lent by an answer that never arrived goes back. If
there is less than we know of, these are not the books that we wrote: nothing is written upon them, ever.

**A turn.** Commands of one host have one name, and would fence each other. So each first takes a lock of the server,
which its connection holds for as long as it lives: however a command ends, the next one has its turn.
"""

import asyncio
import secrets
import time
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import AbstractAsyncContextManager, suppress
from dataclasses import dataclass
from typing import Any, TypeVar

import asyncpg

from gateway.adapters.postgres.migrations import MigrationRefused, apply
from gateway.adapters.postgres.sessions import DISORDER, FENCED, PROBLEMS, Address, Connection, Session
from gateway.ports import StoreDamaged, StoreFailed, StoreLocked

T = TypeVar("T")
_INHERIT = """WITH last AS (SELECT id, instance FROM keeper WHERE name = $1 FOR UPDATE)
UPDATE keeper SET epoch = epoch + 1, instance = $2, heartbeat = clock_timestamp()
FROM last WHERE keeper.id = last.id AND (last.instance = '' OR starts_with(last.instance, $3))
RETURNING keeper.id AS my_id, epoch AS my_epoch, last.instance = '' AS anew"""
_TAKE_TURN = "SELECT pg_try_advisory_lock(hashtextextended('gateway keeper ' || current_schema() || ' ' || $1, 0))"
_LOOK_AGAIN_SECONDS = 0.02


@dataclass(frozen=True, slots=True)
class Turn:
    """One after the other has the name of a keeper. Who has to wait does so for so long, within `waiting`."""

    seconds: float
    waiting: Callable[[], AbstractAsyncContextManager[None]]


class Desk:
    """One keeper's. Whoever does something at it holds the `lock`."""

    def __init__(
        self, address: Address, *, name: str, crew: str = "", heir: bool = False, turn: Turn | None = None
    ) -> None:
        self.address = address
        self.name = name
        self.lock = asyncio.Lock()
        self.id = 0
        self.epoch = 0
        self.schema = ""
        self.known: dict[int, int] = {}
        """Micros on loan to us, by account row: as of the last answer, less what was parted with."""
        self.fenced = False
        self._damaged: StoreDamaged | None = None
        self.resolve: Callable[[Connection], Awaitable[None]] = _nothing_in_doubt
        """Reads back what was under way when the connection was lost."""
        self.settling: Callable[[], None] = lambda: None
        """Told that the leases are about to be set to what is known."""
        self.went_on: Callable[[], None] = lambda: None
        """Told that there is a new connection in place of one that was lost, and nothing in doubt on it any more."""
        self.anew = False
        """Whether an heir has found that what was on loan to its crew has been taken back."""
        self._crew = crew
        self._heir = heir
        self._turn = turn
        self._instance = f"{crew}.{secrets.token_hex(8)}"
        self._session = Session(address, name)
        self._lost = False

    async def open(self) -> None:
        """Bring the tables up to date and take the books over. Raises StoreFailed, StoreDamaged, StoreLocked."""
        try:
            connection = await self._session.connect()
            if await connection.fetchval("SELECT pg_is_in_recovery()"):
                raise StoreFailed(f"{self.address.name} is a replica that cannot be written")
            await apply(connection, "ledger")
            self.schema = await connection.fetchval("SELECT current_schema()")
            await self._take_turn()
            row = await self._session.do(self._inherit if self._heir else self._take_over)
            if row is None:
                self._session.drop()
                raise self._locked()
            self.id, self.epoch = row["my_id"], row["my_epoch"]
        except MigrationRefused as error:
            self._session.drop()
            raise StoreDamaged(f"{self.address.name}: {error}") from error
        except PROBLEMS as error:
            self._session.drop()
            raise StoreFailed(self.address.told(error)) from error
        self._lost = False

    async def _take_turn(self) -> None:
        """Until nobody else has the name. Raises StoreFailed, or one of PROBLEMS."""
        turn = self._turn
        if turn is None or await self._session.do(self._has_turn):
            return
        until = time.monotonic() + turn.seconds
        async with turn.waiting():
            while time.monotonic() < until:
                await asyncio.sleep(_LOOK_AGAIN_SECONDS)
                if await self._session.do(self._has_turn):
                    return
        self._session.drop()
        raise StoreFailed(
            f"{self.address.name}: another command of this host has been at work as {self.name!r} for"
            f" {turn.seconds:.0f} seconds; nothing was done, try again when it is done"
        )

    async def _has_turn(self, connection: Connection) -> bool:
        return bool(await connection.fetchval(_TAKE_TURN, self.name))

    async def _take_over(self, connection: Connection) -> asyncpg.Record | None:
        return await connection.fetchrow("SELECT * FROM take_over($1, $2)", self.name, self._instance)

    async def _inherit(self, connection: Connection) -> asyncpg.Record | None:
        row = await connection.fetchrow(_INHERIT, self.name, self._instance, f"{self._crew}.")
        if row is not None:
            self.anew = row["anew"]
        return row

    @property
    def channel(self) -> str:
        """Where keepers of these books talk to one another."""
        return f"gateway_{self.schema}_keepers"[:63]

    async def ready(self) -> None:
        """Until nothing is in doubt. Raises StoreFailed, StoreLocked."""
        if self._lost:
            await self.do(_is_there)

    async def do(self, work: Callable[[Connection], Coroutine[Any, Any, T]]) -> T:
        """One transaction, over a connection on which nothing is in doubt.

        Raises StoreFailed, StoreLocked; StoreDamaged, from then on for good, if what we had written is not there.
        """
        if self.fenced:
            raise self._locked()
        if self._damaged is not None:
            raise StoreDamaged(str(self._damaged))
        try:
            if self._lost:
                await self._go_on()
            return await self._session.do(work)
        except StoreDamaged as damaged:
            self._damaged = damaged  # not to be tried again: that would look as if we lived
            self.lose()
            raise
        except PROBLEMS as error:
            self.lose()
            if isinstance(error, asyncpg.PostgresError) and error.sqlstate == FENCED:
                self.fenced = True
                raise self._locked() from error
            raise StoreFailed(self.address.told(error)) from error

    def lose(self) -> None:
        """Whatever was under way is in doubt; the next to come takes a new connection."""
        self._lost = True
        self._session.drop()

    async def _go_on(self) -> None:
        await self._session.connect()
        await self._take_turn()
        self.epoch = await self._session.do(
            lambda found: found.fetchval("SELECT go_on($1, $2)", self.id, self._instance)
        )
        await self._session.do(self._resolve)
        self.settling()
        rows, micros = list(self.known), list(self.known.values())
        try:
            await self._session.do(
                lambda found: found.execute("SELECT settle_leases($1, $2, $3, $4)", self.id, self.epoch, rows, micros)
            )
        except asyncpg.PostgresError as error:
            if error.sqlstate == DISORDER:
                raise StoreDamaged(
                    f"{self.address.name}: what was lent to {self.name!r} is not on loan any more: this is an older"
                    " copy, or a standby that lagged when it took over. Put the newest books back, or start this"
                    " gateway anew"
                ) from error
            raise
        self._lost = False
        self.went_on()

    async def _resolve(self, connection: Connection) -> None:
        await self.resolve(connection)

    def move(self, row: int, micros: int) -> None:
        """So much more of an account is on loan to us."""
        left = self.known.get(row, 0) + micros
        if left:
            self.known[row] = left
        else:
            self.known.pop(row, None)

    async def leave(self, *, quiet: bool) -> None:
        """Give all leases back, if the database can be reached. `quiet`: every answer on record has begun."""

        async def work(connection: Connection) -> None:
            async with connection.transaction():
                await connection.execute("SELECT fence($1, $2)", self.id, self.epoch)
                await connection.execute("SELECT take_back($1)", self.id)
                if quiet:  # else whoever looks after the dead voids what never began
                    await connection.execute("UPDATE keeper SET instance = '' WHERE id = $1", self.id)

        if self.id and not self.fenced and not self._lost:
            with suppress(StoreFailed, StoreLocked):
                await self.do(work)
        await self._session.close()

    def _locked(self) -> StoreLocked:
        return StoreLocked(
            f"another gateway took over what {self.name!r} kept in {self.address.name}: it was started under the same"
            " name, or this one was silent for too long"
        )


async def _is_there(connection: Connection) -> None:
    await connection.execute("SELECT 1")


async def _nothing_in_doubt(connection: Connection) -> None:
    """No draft was under way."""
