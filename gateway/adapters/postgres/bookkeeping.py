"""Folding and pruning of books that many hosts share: one of them at a time does it, beside its commits.

**The turn.** A row says whose it is and how long. A host keeps it from one round of its housekeeping to the next, so
that it is one and the same that has read the hour that is not over; if it dies, another has it a minute later, and
sooner if it said goodbye. A command takes the turn of a gateway, which goes on when the command is done, but not that
of another command. The turn only spares work: every step compares the row under lock in its own transaction, and what
a step writes is compared with what is in the books (`fold.py`).

**The fence.** A host that another took over from has no turn, whatever the row says.

A step is one transaction on a connection of its own, not cancelled with whoever waits for it: the next waits for it.
"""

import asyncio
import secrets
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

import asyncpg

from gateway.adapters.postgres.fold import Fold
from gateway.adapters.postgres.prune import Prunable, Prune
from gateway.adapters.postgres.sessions import PROBLEMS, Address, Connection, Session
from gateway.core.folding import Folded
from gateway.core.ledger import Reversal, expiry
from gateway.ports import BooksRefused, StoreBusy, StoreFailed

T = TypeVar("T")
_EXPIRED = """SELECT id, name, unit, credited - spent AS left FROM account
WHERE expires > 0 AND expires <= $1 AND credited > spent LIMIT 100"""
EVERYTHING_MS = 2**62
"""Later than every hour: fold also what is not over."""
TURN_SECONDS = 60.0
COMMAND_SECONDS = 10.0

_TURN = """SELECT 1 FROM housekeeping WHERE name = $1 AND ($2::integer IS NULL
OR EXISTS (SELECT 1 FROM keeper WHERE id = $2::integer AND epoch = $3::bigint)) FOR UPDATE"""
_LEAVE = "UPDATE housekeeping SET name = '', command = false, until = '-infinity' WHERE name = $1"


class PostgresBookkeeping:
    """Implements `ports.Bookkeeping`. `host` is the keeper's row and epoch; a command has none."""

    def __init__(
        self,
        address: Address,
        keys: Sequence[bytes],
        *,
        name: str,
        host: Callable[[], tuple[int, int]] | None = None,
    ) -> None:
        self._address = address
        self._name = f"{name} {secrets.token_hex(8)}"
        self._host = host
        self._seconds = COMMAND_SECONDS if host is None else TURN_SECONDS
        self._session = Session(address, f"{name} housekeeping")
        self._lock = asyncio.Lock()
        self._renew_at = 0.0
        self._fold = Fold()
        self._prune = Prune(keys)

    @property
    def done(self) -> Folded:
        """What was folded so far."""
        return self._fold.done

    async def fold(self, *, closed_before_ms: int) -> bool:
        return await self._step(lambda found: self._fold.step(found, closed_before_ms=closed_before_ms))

    async def prune(self, *, before_ms: int) -> bool:
        return await self._step(lambda found: self._prune.step(found, before_ms=before_ms))

    async def expired(self, *, now_ms: int) -> Sequence[Reversal]:
        rows = await self._step(lambda found: found.fetch(_EXPIRED, now_ms))
        return [expiry(row["id"], (row["name"], row["unit"]), row["left"], now_ms=now_ms) for row in rows]

    async def sign(self) -> None:
        await self._step(self._prune.sign)

    async def signed_by(self, keys: Sequence[bytes]) -> bool:
        """Whether these keys are enough for all that is signed. Reads only. Raises StoreFailed."""
        return await self._do(lambda found: _read(found, lambda: self._prune.is_signed(found, keys)))

    async def prunable(self, *, before_ms: int) -> Prunable:
        """What would be dropped. Reads only, in one snapshot; needs no turn. Raises StoreFailed."""
        return await self._do(lambda found: _read(found, lambda: self._prune.prunable(found, before_ms=before_ms)))

    async def close(self) -> None:
        """Leave the turn to others, once the step that is under way is over."""
        async with self._lock:
            if self._session.connection is not None:
                try:
                    await self._session.do(lambda found: found.execute(_LEAVE, self._name))
                except PROBLEMS:
                    self._session.drop()  # another has the turn when its time is over
            await self._session.close()

    async def _step(self, work: Callable[[Connection], Awaitable[T]]) -> T:
        try:
            return await self._do(lambda found: self._in_turn(found, work))
        except BaseException:
            self._renew_at = 0.0
            raise

    async def _in_turn(self, connection: Connection, work: Callable[[Connection], Awaitable[T]]) -> T:
        now = time.monotonic()
        if now >= self._renew_at:
            mine = await connection.fetchval(
                "SELECT keep_house($1, $2, $3)", self._name, self._host is None, self._seconds
            )
            if not mine:
                self._fold.forget()
                raise StoreBusy()
            self._renew_at = now + self._seconds / 2
        id, epoch = self._host() if self._host is not None else (None, None)
        async with connection.transaction():
            if await connection.fetchval(_TURN, self._name, id, epoch) is None:
                self._fold.forget()
                raise StoreBusy()
            return await work(connection)

    async def _do(self, work: Callable[[Connection], Awaitable[T]]) -> T:
        """Not cancelled with its caller. Raises StoreBusy, StoreFailed, BooksRefused."""
        task = asyncio.get_running_loop().create_task(self._locked(work), name="a step of housekeeping")
        task.add_done_callback(lambda done: done.cancelled() or done.exception())
        return await asyncio.shield(task)

    async def _locked(self, work: Callable[[Connection], Awaitable[T]]) -> T:
        async def done(connection: Connection) -> T:
            return await work(connection)

        async with self._lock:
            try:
                if self._session.connection is None or self._session.connection.is_closed():
                    await self._session.connect()
                return await self._session.do(done)
            except (asyncpg.UndefinedTableError, asyncpg.UndefinedFunctionError) as error:
                raise BooksRefused(
                    f"{self._address.name} has no books of this version: start this gateway on it once"
                ) from error
            except asyncpg.IntegrityConstraintViolationError as error:
                self._fold.forget()
                raise BooksRefused(f"what is to be written is there already, or cannot be: {error}") from error
            except PROBLEMS as error:
                self._session.drop()
                self._fold.forget()
                raise StoreFailed(self._address.told(error)) from error


async def _read(connection: Connection, work: Callable[[], Awaitable[T]]) -> T:
    async with connection.transaction(isolation="repeatable_read", readonly=True):
        return await work()
