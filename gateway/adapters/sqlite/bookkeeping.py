"""Folding and pruning, in the thread that keeps the books or on a file by themselves."""

import sqlite3
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

from gateway.adapters.sqlite.fold import Fold
from gateway.adapters.sqlite.ledger import SqliteLedgerStore
from gateway.adapters.sqlite.prune import Prune
from gateway.core.ledger import Reversal, expiry
from gateway.core.purses import Purse
from gateway.ports import BooksRefused

T = TypeVar("T")
_EXPIRED = """SELECT id, holder, unit, priority, expires, credited - spent FROM account
WHERE expires > 0 AND expires <= ? AND credited > spent LIMIT 100"""
EVERYTHING_MS = 2**62
"""Later than every hour: fold also what is not over."""


class SqliteBookkeeping:
    """Implements `ports.Bookkeeping` between the commits of a store."""

    def __init__(self, store: SqliteLedgerStore, path: Path, keys: Sequence[bytes]) -> None:
        self._store = store
        self._fold = Fold()
        self._prune = Prune(path, keys)

    async def fold(self, *, closed_before_ms: int) -> bool:
        return await self._do(lambda sql: self._fold.step(sql, closed_before_ms=closed_before_ms))

    async def prune(self, *, before_ms: int) -> bool:
        return await self._do(lambda sql: self._prune.step(sql, before_ms=before_ms))

    async def expired(self, *, now_ms: int) -> Sequence[Reversal]:
        rows = await self._do(lambda sql: sql.execute(_EXPIRED, (now_ms,)).fetchall())
        return [
            expiry(id, (Purse(priority, expires).named(holder), unit), left, now_ms=now_ms)
            for id, holder, unit, priority, expires, left in rows
        ]

    async def sign(self) -> None:
        await self._store.sign()
        await self._do(self._prune.sign)

    async def close(self) -> None:
        """The store closes the books."""

    async def _do(self, work: Callable[[sqlite3.Connection], T]) -> T:
        try:
            return await self._store.between_commits(work)
        except sqlite3.IntegrityError as error:
            raise BooksRefused(f"what is to be written is there already, or cannot be: {error}") from error


def open_books(path: Path, *, write: bool) -> sqlite3.Connection:
    """The books at `path` for a command, beside a gateway that may keep them. Raises BooksRefused, sqlite3.Error."""
    if not path.is_file():
        raise BooksRefused(f"there is no ledger at {path}")
    mode = "rw" if write else "ro"
    connection = sqlite3.connect(f"{path.absolute().as_uri()}?mode={mode}", uri=True, timeout=5, isolation_level=None)
    try:
        tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")}
        if not {"account", "batch"} <= tables:
            raise BooksRefused(f"{path} is not a ledger: it holds no books")
        if not {"fold", "anchor", "reversal"} <= tables:
            raise BooksRefused(f"{path} was made by an older gateway: start this one on it once")
        if write:
            connection.execute("PRAGMA synchronous = FULL")
    except BaseException:
        connection.close()
        raise
    return connection
