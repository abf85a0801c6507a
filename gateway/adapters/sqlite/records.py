"""The records in SQLite through aiosqlite: tokens, events, payment links.

A file of its own, so that records never wait for money nor money for them. Each statement commits by itself
(autocommit) and is awaited before anything is acknowledged; there is no transaction to leave open.
"""

import json
import os
import sqlite3
from collections.abc import Iterable
from contextlib import closing
from pathlib import Path
from typing import Any

import aiosqlite

from gateway.adapters.sqlite.migrations import MigrationRefused
from gateway.adapters.sqlite.upgrade import upgrade
from gateway.core.keyring import Keyring, NotOurs, UnknownKey
from gateway.core.payments import Event
from gateway.core.refusals import RecordsUnavailable
from gateway.ports import InboxStatus, Randomness, StoreDamaged, TokenRow

_EVENT_PURPOSE = "event"


class SqliteRecords:
    """Implements `ports.Credentials`, `ports.Inbox` and `ports.Links`. Every call may raise RecordsUnavailable."""

    def __init__(self, path: Path, *, keyring: Keyring, randomness: Randomness) -> None:
        self._path = path
        self._keyring = keyring
        self._randomness = randomness
        self._connection: aiosqlite.Connection | None = None

    async def open(self) -> None:
        """Make or open the file and bring its tables up to date. Raises StoreDamaged."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        if not self._path.exists():
            os.close(os.open(self._path, os.O_CREAT | os.O_WRONLY, 0o600))
        try:
            with closing(sqlite3.connect(self._path, isolation_level=None)) as connection:
                connection.execute("PRAGMA journal_mode = WAL")
                upgrade(connection, self._path, "records")
        except (sqlite3.Error, MigrationRefused) as error:
            raise StoreDamaged(f"{self._path}: {error}; restore a backup of the records") from error
        self._connection = await aiosqlite.connect(self._path, isolation_level=None, timeout=5)
        await self._sql.execute("PRAGMA synchronous = FULL")

    async def close(self) -> None:
        """Let go of the file; also when it was never opened."""
        if self._connection is not None:
            await self._connection.close()
            self._connection = None

    @property
    def _sql(self) -> aiosqlite.Connection:
        if self._connection is None:
            raise RecordsUnavailable()
        return self._connection

    # --- tokens -------------------------------------------------------------------------------------------------------

    async def find(self, digest: bytes) -> TokenRow | None:
        rows = await self._read("SELECT account, revoked, expires FROM token WHERE access_token_hash = ?", (digest,))
        for account, revoked, expires in rows:
            return TokenRow(account, revoked=revoked is not None, expires_ms=expires)
        return None

    async def add(self, digest: bytes, *, account: str, pepper_id: str, now_ms: int) -> bool:
        return await self._write(
            "INSERT INTO token (access_token_hash, account, pepper_id, created) VALUES (?, ?, ?, ?)"
            " ON CONFLICT DO NOTHING",
            (digest, account, pepper_id, now_ms),
        )

    # --- events -------------------------------------------------------------------------------------------------------

    async def claim(self, event: Event, *, now_ms: int) -> bool:
        key_id, sealed = self._keyring.seal(
            _EVENT_PURPOSE, json.dumps(event.object).encode(), nonce=self._randomness.bytes(12)
        )
        return await self._write(
            "INSERT INTO event (id, type, live, created, received, object, key_id, status)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, 'waiting') ON CONFLICT DO NOTHING",
            (event.id, event.type, event.live, event.created, now_ms, sealed, key_id),
        )

    async def close_event(self, id: str, status: InboxStatus, *, error: str | None = None) -> None:
        await self._write("UPDATE event SET status = ?, error = ? WHERE id = ?", (status, error, id))

    async def events(self, status: InboxStatus) -> list[Event]:
        rows = await self._read(
            "SELECT id, type, live, created, object, key_id FROM event WHERE status = ? ORDER BY received",
            (status,),
        )
        events = []
        for id, type, live, created, sealed, key_id in rows:
            content = self._unsealed(key_id, sealed)
            if content is None and status == "waiting":
                await self.close_event(id, "parked", error="the key that sealed it is gone; look at it at the provider")
            else:
                events.append(Event(id, type, bool(live), created, content or {}))
        return events

    def _unsealed(self, key_id: str, sealed: bytes) -> dict[str, Any] | None:
        """What an event is about; None when its key has left the ring."""
        try:
            content: dict[str, Any] = json.loads(self._keyring.open(_EVENT_PURPOSE, key_id, sealed))
        except (NotOurs, UnknownKey):
            return None
        return content

    # --- links --------------------------------------------------------------------------------------------------------

    async def find_link(self, key: str) -> str | None:
        for (url,) in await self._read("SELECT url FROM payment_link WHERE key = ?", (key,)):
            return str(url)
        return None

    async def keep_link(self, key: str, url: str) -> None:
        await self._write("INSERT OR REPLACE INTO payment_link VALUES (?, ?)", (key, url))

    async def _read(self, statement: str, values: tuple[object, ...]) -> Iterable[sqlite3.Row]:
        try:
            return await self._sql.execute_fetchall(statement, values)
        except sqlite3.Error as error:
            raise RecordsUnavailable() from error

    async def _write(self, statement: str, values: tuple[object, ...]) -> bool:
        """One committed statement; whether it changed a row."""
        try:
            async with self._sql.execute(statement, values) as cursor:
                return cursor.rowcount > 0
        except sqlite3.Error as error:
            raise RecordsUnavailable() from error
