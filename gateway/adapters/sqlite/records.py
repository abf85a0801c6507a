"""The records in SQLite through aiosqlite: tokens, events, links, receipts.

A file of its own, so that records never wait for money nor money for them. Each statement commits by itself
(autocommit) and is awaited before anything is acknowledged; there is no transaction to leave open. The few that only
count together have a connection of their own for that moment, for on this one others would be between them.
"""

import asyncio
import json
import os
import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import aiosqlite

from gateway.adapters.sqlite.aliases import SqliteAliases
from gateway.adapters.sqlite.caps import SqliteCapBook
from gateway.adapters.sqlite.freezes import SqliteFreezes
from gateway.adapters.sqlite.grants import SqliteGrants, marks
from gateway.adapters.sqlite.idempotency import SqliteKeyClaims
from gateway.adapters.sqlite.keyroll import SqliteKeyRoll
from gateway.adapters.sqlite.licences import SqliteLicensees
from gateway.adapters.sqlite.migrations import MigrationRefused
from gateway.adapters.sqlite.oauth import SqliteOAuth
from gateway.adapters.sqlite.outbox import SqliteOutbox
from gateway.adapters.sqlite.payers import SqlitePayers
from gateway.adapters.sqlite.readings import SqliteMeterBook
from gateway.adapters.sqlite.rights import check_rights
from gateway.adapters.sqlite.subscriptions import SqliteSubscriptions
from gateway.adapters.sqlite.trail import SqliteTrail
from gateway.adapters.sqlite.upgrade import upgrade
from gateway.adapters.sqlite.ways_to_pay import SqliteWaysToPay
from gateway.core import pay_columns
from gateway.core.grants import grant_id
from gateway.core.keyring import Keyring, NotOurs, UnknownKey
from gateway.core.money import Money
from gateway.core.payments import Event
from gateway.core.refusals import RecordsUnavailable
from gateway.core.reversals import Credited, Move, Notice
from gateway.ports import InboxEntry, InboxStanding, InboxStatus, Randomness, StoreDamaged, TokenRow

Statement = tuple[str, tuple[Any, ...]]
_BUSY_SECONDS_MAX = 5.0
_RETRY_SECONDS = 0.02
_PAGES_KIB_MAX = 512
"""What a connection keeps of the file. The system keeps it too, and pages of ours are dropped whenever another process
writes: SQLite's own 2 MiB are filled by whoever looks through old events, and are then each worker's for good."""
_STATEMENTS_KEPT = 64
"""Half of what sqlite3 would: what is asked once an hour is read anew, in microseconds."""
_EVENT_PURPOSE = "event"
_EVENT = "SELECT id, type, live, created, object, key_id, status, received, error, account FROM event"
_ROW = "SELECT access_token_hash, account, revoked, expires, key_id, grant_id FROM token WHERE access_token_hash IN"
_REDIGEST = """INSERT INTO token (access_token_hash, account, pepper_id, created, expires, revoked, key_id, grant_id)
SELECT ?, account, ?, created, expires, revoked, ?, grant_id FROM token WHERE access_token_hash IN {}
ORDER BY revoked IS NULL, created LIMIT 1
ON CONFLICT DO UPDATE SET key_id = excluded.key_id, revoked = coalesce(revoked, excluded.revoked),
grant_id = coalesce(excluded.grant_id, grant_id)"""
_DROP_OLDER = """DELETE FROM token WHERE access_token_hash IN {} AND (revoked IS NULL
OR EXISTS (SELECT 1 FROM token WHERE access_token_hash = ? AND revoked IS NOT NULL))"""
_ADD_GRANT = """INSERT INTO token_grant (id, account, name, last, created) VALUES (?, ?, '', '', ?)
ON CONFLICT DO NOTHING"""
_ADD_ROW = """INSERT INTO token (access_token_hash, account, pepper_id, created, grant_id) VALUES (?, ?, ?, ?, ?)
ON CONFLICT DO NOTHING"""
_NOTE_LAST = """UPDATE token_grant SET last = ? WHERE last = ''
AND id = (SELECT grant_id FROM token WHERE access_token_hash = ?)"""
_DROP_EVENTS = """DELETE FROM event WHERE id IN
(SELECT id FROM event WHERE status IN ('done', 'ignored') AND received < ? LIMIT ?)"""
_KEY_GONE = "the key that sealed it is gone; look at it at the provider"
_CREDITED = f"SELECT {pay_columns.CREDITED} FROM credited WHERE payment = ?"  # noqa: S608 -- columns of our own


class SqliteRecords:
    """Implements `ports.Credentials`, `ports.Inbox`, `ports.Links`, `ports.Receipts` and `ports.Watermarks`.

    Every call may raise RecordsUnavailable.
    """

    def __init__(self, path: Path, *, keyring: Keyring, randomness: Randomness, vouched_by: Path | None = None) -> None:
        """`vouched_by` is written once there are records: while it is there, a file that is not is no new one."""
        self._path = path
        self._vouched_by = vouched_by
        self._keyring = keyring
        self._randomness = randomness
        self._connection: aiosqlite.Connection | None = None
        self._version: int | None = None
        self.key_roll = SqliteKeyRoll(self._read, self._write)
        self.freezes = SqliteFreezes(self._read, self._write)
        self.caps = SqliteCapBook(self._read, self._write)
        self.aliases = SqliteAliases(self._read, self._write)
        self.payers = SqlitePayers(self._read, self._write)
        self.outbox = SqliteOutbox(self._read, self._write)
        self.ways_to_pay = SqliteWaysToPay(self._read, self._write)
        self.subscriptions = SqliteSubscriptions(self._read, self._write)
        self.licensees = SqliteLicensees(self._read, self._write)
        self.grants = SqliteGrants(self._read, self._write)
        self.readings = SqliteMeterBook(self._read, self._write, self._change)
        self.oauth = SqliteOAuth(self._read, self._write, self._together)
        self.trail = SqliteTrail(self._read, self._write)
        self.key_claims = SqliteKeyClaims(self._read, self._write, self._change)

    async def open(self) -> None:
        """Make or open the file and bring its tables up to date. Raises StoreDamaged, StoreForbidden."""
        check_rights(self._path)
        self._path.parent.mkdir(parents=True, exist_ok=True)
        if not self._path.exists():
            self._refuse_if_gone()
            os.close(os.open(self._path, os.O_CREAT | os.O_WRONLY, 0o600))
        patience = asyncio.get_running_loop().time() + _BUSY_SECONDS_MAX
        while not self._ready(last=asyncio.get_running_loop().time() > patience):  # noqa: ASYNC110 -- of other processes
            await asyncio.sleep(_RETRY_SECONDS)
        self._connection = await aiosqlite.connect(
            self._path, isolation_level=None, timeout=5, cached_statements=_STATEMENTS_KEPT
        )
        await self._sql.execute("PRAGMA synchronous = FULL")
        await self._sql.execute(f"PRAGMA cache_size = -{_PAGES_KIB_MAX}")

    def _refuse_if_gone(self) -> None:
        if self._vouched_by is not None and self._vouched_by.exists():
            raise StoreDamaged(
                f"{self._path} is gone, and {self._vouched_by.name} says that there was one. In it stood which "
                "accounts are frozen, which tokens were revoked, and payments under way: put a backup of it back. To "
                f"begin without all of that, move {self._vouched_by} away first"
            )

    def _ready(self, *, last: bool) -> bool:
        """Whether the tables are up to date. False while another process makes them, unless this is the `last` try.

        SQLite does not wait for a lock when a file is turned to a log for the first time, as workers do that start
        together.
        """
        try:
            with closing(sqlite3.connect(self._path, isolation_level=None, timeout=0.1)) as connection:
                connection.execute("PRAGMA journal_mode = WAL")
                upgrade(connection, self._path, "records")
        except MigrationRefused as refused:
            raise StoreDamaged(f"{self._path}: {refused}") from refused
        except sqlite3.Error as error:
            if getattr(error, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_BUSY and not last:
                return False
            raise StoreDamaged(f"{self._path}: {error}; restore a backup of the records") from error
        return True

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

    async def changed(self) -> bool:
        """Whether another process, or another connection, has written since this was last asked."""
        [(version,)] = await self._read("PRAGMA data_version", ())
        before, self._version = self._version, version
        return before not in (None, version)

    # --- tokens -------------------------------------------------------------------------------------------------------

    async def find(self, digest: bytes) -> TokenRow | None:
        return (await self.find_any([digest])).get(digest)

    async def find_any(self, digests: Sequence[bytes]) -> dict[bytes, TokenRow]:
        rows = list(await self._read(f"{_ROW} {marks(digests)}", tuple(digests)))
        lines = await self.grants.lines([id for *_, id in rows if id]) if rows else {}
        return {
            digest: TokenRow(account, revoked is not None, expires, key_id, tuple(lines.get(id, ())))
            for digest, account, revoked, expires, key_id, id in rows
        }

    async def redigest(
        self, digest: bytes, older: Sequence[bytes], *, pepper_id: str, key_id: str, last: str = ""
    ) -> None:
        among = (digest, *older)
        await self._write(_REDIGEST.format(marks(among)), (digest, pepper_id, key_id, *among))
        if older:
            # One that was revoked in between stays: the next use finds both.
            await self._write(_DROP_OLDER.format(marks(older)), (*older, digest))
        await self._write(_NOTE_LAST, (last, digest))

    async def add(self, digest: bytes, *, account: str, pepper_id: str, now_ms: int) -> bool:
        id = grant_id(digest)
        await self._write(_ADD_GRANT, (id, account, now_ms))
        return await self._write(_ADD_ROW, (digest, account, pepper_id, now_ms, id))

    async def count_tokens(self, account: str) -> int:
        [(count,)] = await self._read("SELECT count(*) FROM token WHERE account = ?", (account,))
        return int(count)

    # --- events -------------------------------------------------------------------------------------------------------

    async def claim(self, event: Event, *, now_ms: int) -> bool:
        key_id, sealed = self._sealed(event.object)
        return await self._write(
            "INSERT INTO event (id, type, live, created, received, object, key_id, status, account)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, 'waiting', ?) ON CONFLICT DO NOTHING",
            (event.id, event.type, event.live, event.created, now_ms, sealed, key_id, event.account),
        )

    async def close_event(self, id: str, status: InboxStatus, *, error: str | None = None) -> None:
        await self._write("UPDATE event SET status = ?, error = ? WHERE id = ?", (status, error, id))

    async def events(self, status: InboxStatus) -> list[Event]:
        return [entry.event for entry in await self.entries(status)]

    async def entries(self, status: InboxStatus) -> list[InboxEntry]:
        entries = []
        for row in await self._read(f"{_EVENT} WHERE status = ? ORDER BY received", (status,)):
            entry = self._entry(row)
            if not entry.readable and status == "waiting":
                await self.close_event(entry.event.id, "parked", error=_KEY_GONE)
            else:
                entries.append(entry)
        return entries

    async def find_entry(self, id: str) -> InboxEntry | None:
        for row in await self._read(f"{_EVENT} WHERE id = ?", (id,)):
            return self._entry(row)
        return None

    def _entry(self, row: sqlite3.Row) -> InboxEntry:
        id, type, live, created, sealed, key_id, status, received, error, account = row
        content = self._unsealed(key_id, sealed)
        event = Event(id, type, bool(live), created, content or {}, account)
        return InboxEntry(event, status, received, error, readable=content is not None)

    def _sealed(self, content: Mapping[str, Any]) -> tuple[str, bytes]:
        return self._keyring.seal(_EVENT_PURPOSE, json.dumps(content).encode(), nonce=self._randomness.bytes(12))

    def _unsealed(self, key_id: str, sealed: bytes) -> dict[str, Any] | None:
        """What an event is about; None when its key has left the ring."""
        try:
            content: dict[str, Any] = json.loads(self._keyring.open(_EVENT_PURPOSE, key_id, sealed))
        except (NotOurs, UnknownKey):
            return None
        return content

    async def inbox_standing(self) -> InboxStanding:
        [row] = await self.ask(pay_columns.INBOX_STANDING)
        return InboxStanding(*row)

    async def reseal(self, key_id: str, *, count: int) -> int:
        sealed = 0
        for row in await self._read(f"{_EVENT} WHERE key_id = ? LIMIT ?", (key_id, count)):
            content = self._unsealed(key_id, row[4])
            if content is not None:
                values = (*self._sealed(content), row[0])
                await self._write("UPDATE event SET key_id = ?, object = ? WHERE id = ?", values)
                sealed += 1
        sealed = sealed or await self.payers.reseal(key_id, self._keyring, self._randomness, count=count)
        return sealed or await self.licensees.reseal(key_id, self._keyring, self._randomness, count=count)

    async def drop_events(self, *, before_ms: int, count: int) -> int:
        return await self._change(_DROP_EVENTS, (before_ms, count))

    # --- links --------------------------------------------------------------------------------------------------------

    async def find_link(self, key: str) -> str | None:
        for (url,) in await self._read("SELECT url FROM payment_link WHERE key = ?", (key,)):
            return str(url)
        return None

    async def keep_link(self, key: str, url: str) -> None:
        await self._write("INSERT OR REPLACE INTO payment_link VALUES (?, ?)", (key, url))

    # --- receipts -----------------------------------------------------------------------------------------------------

    async def keep_credited(self, credited: Credited) -> Credited:
        await self._write(
            f"INSERT INTO credited ({pay_columns.CREDITED})"  # noqa: S608 -- columns of our own
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
            pay_columns.of_credited(credited),
        )
        return await self.find_credited(credited.payment) or credited

    async def find_credited(self, payment: str) -> Credited | None:
        for row in await self._read(_CREDITED, (payment,)):
            return pay_columns.credited(row)
        return None

    async def payments_of(self, account: str) -> list[str]:
        rows = await self._read("SELECT payment FROM credited WHERE account = ? ORDER BY payment", (account,))
        return [payment for (payment,) in rows]

    async def keep_notice(self, notice: Notice) -> None:
        await self._write(
            "INSERT INTO notice (event, payment, kind, about, micros, currency, stands, at, live)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
            (
                notice.event,
                notice.payment,
                notice.kind,
                notice.about,
                notice.amount.micros,
                notice.amount.currency,
                notice.stands,
                notice.at,
                notice.live,
            ),
        )

    async def notices(self, payment: str) -> list[Notice]:
        rows = await self._read(
            "SELECT event, payment, kind, about, micros, currency, stands, at, live FROM notice WHERE payment = ?"
            " ORDER BY at, event",
            (payment,),
        )
        return [
            Notice(event, paid, kind, about, Money(micros, currency), bool(stands), at, bool(live))
            for event, paid, kind, about, micros, currency, stands, at, live in rows
        ]

    async def moves(self, payment: str) -> list[Move]:
        query = "SELECT payment, number, micros, kind, made FROM move WHERE payment = ? ORDER BY number"
        rows = await self._read(query, (payment,))
        return [Move(id, number, micros, kind, bool(made)) for id, number, micros, kind, made in rows]

    async def plan_move(self, move: Move) -> bool:
        return await self._write(
            "INSERT INTO move (payment, number, micros, kind) VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING",
            (move.payment, move.number, move.micros, move.kind),
        )

    async def move_made(self, payment: str, number: int) -> None:
        await self._write("UPDATE move SET made = 1 WHERE payment = ? AND number = ?", (payment, number))

    async def correct_move(self, payment: str, number: int, micros: int) -> None:
        values = (micros, payment, number)
        await self._write("UPDATE move SET micros = ? WHERE payment = ? AND number = ?", values)

    async def unmade(self) -> list[str]:
        rows = await self._read("SELECT DISTINCT payment FROM move WHERE made = 0 ORDER BY payment", ())
        return [payment for (payment,) in rows]

    # --- watermarks ---------------------------------------------------------------------------------------------------

    async def watermark(self, name: str) -> int | None:
        for (value,) in await self._read("SELECT value FROM watermark WHERE name = ?", (name,)):
            return int(value)
        return None

    async def keep_watermark(self, name: str, value: int) -> None:
        await self._write(
            "INSERT INTO watermark VALUES (?, ?) ON CONFLICT DO UPDATE SET value = max(value, excluded.value)",
            (name, value),
        )

    async def newest_watermark(self, prefix: str) -> int | None:
        query = "SELECT max(value) FROM watermark WHERE substr(name, 1, ?) = ?"
        [(value,)] = await self._read(query, (len(prefix), prefix))
        return None if value is None else int(value)

    async def tend(self, statement: str) -> bool:
        """Something like VACUUM."""
        await self.ask(statement)
        return True

    async def ask(self, statement: str, *values: object) -> Sequence[Any]:
        """One committed statement, its parameters written `$1`; what it returns."""
        return list(await self._read(statement.replace("$", "?"), values))

    async def _read(self, statement: str, values: tuple[object, ...]) -> Iterable[sqlite3.Row]:
        try:
            return await self._sql.execute_fetchall(statement, values)
        except sqlite3.Error as error:
            raise RecordsUnavailable() from error

    async def _write(self, statement: str, values: tuple[object, ...]) -> bool:
        """One committed statement; whether it changed a row."""
        return await self._change(statement, values) > 0

    async def _change(self, statement: str, values: tuple[object, ...]) -> int:
        """One committed statement; how many rows it changed."""
        try:
            async with self._sql.execute(statement, values) as cursor:
                return cursor.rowcount
        except sqlite3.Error as error:
            raise RecordsUnavailable() from error

    async def _together(self, first: Statement, *others: Statement) -> bool:
        """All of them in one commit; none, and False, if the first changes no row."""
        if self._connection is None:
            raise RecordsUnavailable()
        try:
            return await asyncio.to_thread(self._committed, first, others)
        except sqlite3.Error as error:
            raise RecordsUnavailable() from error

    def _committed(self, first: Statement, others: Sequence[Statement]) -> bool:
        with closing(sqlite3.connect(self._path, isolation_level=None, timeout=_BUSY_SECONDS_MAX)) as connection:
            connection.execute("PRAGMA synchronous = FULL")
            connection.execute("BEGIN IMMEDIATE")  # closed before its COMMIT, it is undone
            if connection.execute(*first).rowcount < 1:
                return False
            for statement in others:
                connection.execute(*statement)
            connection.execute("COMMIT")
        return True
