"""The records in PostgreSQL, shared by all hosts: tokens, events, links, receipts.

Connections of their own, a few, so that records never wait for money nor money for them. Each statement commits by
itself and is awaited before anything is acknowledged. A token that was recorded on one host is told the others in the
same transaction; a host that could not listen for a while takes everything that it remembers for out of date.
"""

import asyncio
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import asyncpg

from gateway.adapters.postgres.aliases import PostgresAliases
from gateway.adapters.postgres.caps import PostgresCapBook
from gateway.adapters.postgres.freezes import PostgresFreezes
from gateway.adapters.postgres.grants import PostgresGrants
from gateway.adapters.postgres.idempotency import PostgresKeyClaims
from gateway.adapters.postgres.keyroll import PostgresKeyRoll
from gateway.adapters.postgres.licences import PostgresLicensees
from gateway.adapters.postgres.migrations import MigrationRefused, apply
from gateway.adapters.postgres.oauth import PostgresOAuth
from gateway.adapters.postgres.outbox import PostgresOutbox
from gateway.adapters.postgres.payers import PostgresPayers
from gateway.adapters.postgres.readings import PostgresMeterBook
from gateway.adapters.postgres.sessions import PROBLEMS, Address, Connection, Ear
from gateway.adapters.postgres.subscriptions import PostgresSubscriptions
from gateway.adapters.postgres.trail import PostgresTrail
from gateway.adapters.postgres.ways_to_pay import PostgresWaysToPay
from gateway.core import pay_columns
from gateway.core.grants import grant_id
from gateway.core.keyring import Keyring, NotOurs, UnknownKey
from gateway.core.money import Money
from gateway.core.payments import Event
from gateway.core.refusals import RecordsUnavailable
from gateway.core.reversals import Credited, Move, Notice
from gateway.core.rotation import KeyKind
from gateway.ports import (
    InboxEntry,
    InboxStanding,
    InboxStatus,
    KeysDiffer,
    Randomness,
    StoreDamaged,
    StoreFailed,
    TokenRow,
)

_EVENT_PURPOSE = "event"
_NAMES: Final[Mapping[KeyKind, str]] = {"sealing_key": "sealing keys", "pepper": "peppers", "jwt": "key pairs"}
_KEYS_OF_ALL = "SELECT 'sealing_key' AS kind, id FROM sealing_key UNION ALL SELECT kind, id FROM shared_key"
_ADD_SEALING_KEYS = "INSERT INTO sealing_key SELECT unnest($1::text[]) ON CONFLICT DO NOTHING"
_ADD_SHARED_KEYS = "INSERT INTO shared_key SELECT $1, unnest($2::text[]) ON CONFLICT DO NOTHING"
_KEY_GONE = "the key that sealed it is gone; look at it at the provider"
CONNECTIONS_MAX = 4
_NEW_ROW = """WITH added AS (
    INSERT INTO token (access_token_hash, account, pepper_id, created, grant_id) VALUES ($1, $2, $3, $4, $6)
    ON CONFLICT DO NOTHING RETURNING access_token_hash
), granted AS (
    INSERT INTO token_grant (id, account, name, last, created) VALUES ($6, $2, '', '', $4) ON CONFLICT DO NOTHING
) SELECT pg_notify($5, encode(access_token_hash, 'hex')) FROM added"""
_ROWS = """SELECT access_token_hash, account, revoked, expires, key_id, grant_id FROM token
WHERE access_token_hash = ANY($1::bytea[])"""
_REDIGEST = """INSERT INTO token (access_token_hash, account, pepper_id, created, expires, revoked, key_id, grant_id)
SELECT $1, account, $2, created, expires, revoked, $3, grant_id FROM token WHERE access_token_hash = ANY($4::bytea[])
ORDER BY revoked IS NULL, created LIMIT 1
ON CONFLICT (access_token_hash) DO UPDATE
SET key_id = excluded.key_id, revoked = coalesce(token.revoked, excluded.revoked),
grant_id = coalesce(excluded.grant_id, token.grant_id)"""
_NOTE_LAST = """UPDATE token_grant SET last = $2 WHERE last = ''
AND id = (SELECT grant_id FROM token WHERE access_token_hash = $1)"""
_DROP_OLDER = """DELETE FROM token WHERE access_token_hash = ANY($1::bytea[]) AND (revoked IS NULL
OR EXISTS (SELECT 1 FROM token WHERE access_token_hash = $2 AND revoked IS NOT NULL))"""
_DROP_EVENTS = """DELETE FROM event WHERE id IN
(SELECT id FROM event WHERE status IN ('done', 'ignored') AND received < $1 LIMIT $2) RETURNING id"""
_ADD_EVENT = """INSERT INTO event (id, type, live, created, received, object, key_id, status, account)
VALUES ($1, $2, $3, $4, $5, $6, $7, 'waiting', $8) ON CONFLICT DO NOTHING RETURNING id"""
_KEEP_LINK = "INSERT INTO payment_link VALUES ($1, $2) ON CONFLICT (key) DO UPDATE SET url = excluded.url"
_EVENT = "SELECT id, type, live, created, object, key_id, status, received, error, account FROM event"
_ADD_CREDITED = f"""INSERT INTO credited ({pay_columns.CREDITED})
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11) ON CONFLICT DO NOTHING"""  # noqa: S608 -- columns of our own
_CREDITED = f"SELECT {pay_columns.CREDITED} FROM credited WHERE payment = $1"  # noqa: S608 -- columns of our own
_ADD_NOTICE = """INSERT INTO notice (event, payment, kind, about, micros, currency, stands, at, live)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) ON CONFLICT DO NOTHING"""
_ADD_MOVE = """INSERT INTO move (payment, number, micros, kind) VALUES ($1, $2, $3, $4)
ON CONFLICT DO NOTHING RETURNING number"""
_KEEP_WATERMARK = """INSERT INTO watermark VALUES ($1, $2)
ON CONFLICT (name) DO UPDATE SET value = greatest(watermark.value, excluded.value)"""

TEND_SECONDS_MAX: Final = 3600.0


class PostgresRecords:
    """Implements `ports.Credentials`, `ports.Inbox`, `ports.Links`, `ports.Receipts` and `ports.Watermarks`.

    Every call may raise RecordsUnavailable.

    Hosts have the sealing keys in common, and of each kind in `shares` one of these ids at least. `recorded` is told
    the digest of a token that any host put on record; `forgotten`, that some may have been missed.
    """

    def __init__(
        self,
        address: Address,
        *,
        keyring: Keyring,
        randomness: Randomness,
        shares: Mapping[KeyKind, Sequence[str]] | None = None,
        connections_max: int = CONNECTIONS_MAX,
        recorded: Callable[[bytes], None] = lambda digest: None,
        forgotten: Callable[[], None] = lambda: None,
    ) -> None:
        self._address = address
        self._keyring = keyring
        self._randomness = randomness
        self._shares = shares or {}
        self._connections_max = connections_max
        self.recorded = recorded
        self.forgotten = forgotten
        self._channel = ""
        self._pool: asyncpg.Pool[asyncpg.Record] | None = None
        self._ear: Ear | None = None
        self.key_roll = PostgresKeyRoll(self._do)
        self.freezes = PostgresFreezes(self._do)
        self.caps = PostgresCapBook(self._do)
        self.aliases = PostgresAliases(self._do)
        self.payers = PostgresPayers(self._do)
        self.outbox = PostgresOutbox(self._do)
        self.ways_to_pay = PostgresWaysToPay(self._do)
        self.subscriptions = PostgresSubscriptions(self._do)
        self.licensees = PostgresLicensees(self._do)
        self.grants = PostgresGrants(self._do)
        self.readings = PostgresMeterBook(self._do)
        self.oauth = PostgresOAuth(self._do)
        self.trail = PostgresTrail(self._do)
        self.key_claims = PostgresKeyClaims(self._do)

    async def open(self) -> None:
        """Connect, and bring the tables up to date. Raises StoreFailed, StoreDamaged."""
        try:
            connection = await self._address.connect("records")
            try:
                await apply(connection, "records")
                await self._check_keys(connection)
                schema = await connection.fetchval("SELECT current_schema()")
            finally:
                await connection.close(timeout=1)
            self._channel = f"gateway_{schema}_tokens"[:63]
            self._pool = await self._address.pool("records", connections_max=self._connections_max)
            self._ear = Ear(self._address, "tokens", channel=self._channel, heard=self._heard)
            self._ear.missed = lambda: self.forgotten()
            await self._ear.open()
        except MigrationRefused as error:
            raise StoreDamaged(f"{self._address.name}: {error}") from error
        except PROBLEMS as error:
            raise StoreFailed(self._address.told(error)) from error

    async def close(self) -> None:
        """Let go of the connections; also when there never were any."""
        ear, self._ear = self._ear, None
        pool, self._pool = self._pool, None
        if ear is not None:
            await ear.close()
        if pool is not None:
            try:
                async with asyncio.timeout(1):
                    await pool.close()
            except PROBLEMS:
                pool.terminate()

    async def _check_keys(self, connection: Connection) -> None:
        """Tokens, sealed references and signatures of one host must mean something to the others."""
        ours: dict[KeyKind, Sequence[str]] = {"sealing_key": [key.id for key in self._keyring.keys], **self._shares}
        async with connection.transaction():
            await connection.execute("LOCK TABLE sealing_key IN SHARE ROW EXCLUSIVE MODE")
            known: dict[str, set[str]] = {}
            for kind, id in await connection.fetch(_KEYS_OF_ALL):
                known.setdefault(kind, set()).add(id)
            for kind, ids in ours.items():
                if ids and kind in known and known[kind].isdisjoint(ids):
                    raise KeysDiffer(
                        f"{self._address.name} belongs to gateways with other keys ({_NAMES[kind]}): give this host the"
                        " same sealing keys, peppers and key pairs as the others (their folder `secrets`, or the"
                        " settings under `secrets`)"
                    )
                add = _ADD_SEALING_KEYS if kind == "sealing_key" else _ADD_SHARED_KEYS
                await connection.execute(add, *(() if kind == "sealing_key" else (kind,)), list(ids))

    def _heard(self, message: str) -> None:
        self.recorded(bytes.fromhex(message))

    # --- tokens -------------------------------------------------------------------------------------------------------

    async def find(self, digest: bytes) -> TokenRow | None:
        return (await self.find_any([digest])).get(digest)

    async def find_any(self, digests: Sequence[bytes]) -> dict[bytes, TokenRow]:
        rows = await self._do(_ROWS, list(digests))
        lines = await self.grants.lines([row["grant_id"] for row in rows]) if rows else {}
        return {
            digest: TokenRow(account, revoked is not None, expires, key_id, tuple(lines.get(id, ())))
            for digest, account, revoked, expires, key_id, id in rows
        }

    async def redigest(
        self, digest: bytes, older: Sequence[bytes], *, pepper_id: str, key_id: str, last: str = ""
    ) -> None:
        await self._do(_REDIGEST, digest, pepper_id, key_id, [digest, *older])
        if older:
            await self._do(_DROP_OLDER, list(older), digest)  # one that was revoked in between stays
        await self._do(_NOTE_LAST, digest, last)

    async def add(self, digest: bytes, *, account: str, pepper_id: str, now_ms: int) -> bool:
        return bool(await self._do(_NEW_ROW, digest, account, pepper_id, now_ms, self._channel, grant_id(digest)))

    async def count_tokens(self, account: str) -> int:
        [row] = await self._do("SELECT count(*) FROM token WHERE account = $1", account)
        return int(row["count"])

    # --- events -------------------------------------------------------------------------------------------------------

    async def claim(self, event: Event, *, now_ms: int) -> bool:
        key_id, sealed = self._sealed(event.object)
        values = (event.id, event.type, event.live, event.created, now_ms, sealed, key_id, event.account)
        return bool(await self._do(_ADD_EVENT, *values))

    async def close_event(self, id: str, status: InboxStatus, *, error: str | None = None) -> None:
        await self._do("UPDATE event SET status = $2, error = $3 WHERE id = $1", id, status, error)

    async def events(self, status: InboxStatus) -> list[Event]:
        return [entry.event for entry in await self.entries(status)]

    async def entries(self, status: InboxStatus) -> list[InboxEntry]:
        entries = []
        for row in await self._do(f"{_EVENT} WHERE status = $1 ORDER BY received", status):
            entry = self._entry(row)
            if not entry.readable and status == "waiting":
                await self.close_event(entry.event.id, "parked", error=_KEY_GONE)
            else:
                entries.append(entry)
        return entries

    async def find_entry(self, id: str) -> InboxEntry | None:
        for row in await self._do(f"{_EVENT} WHERE id = $1", id):
            return self._entry(row)
        return None

    def _entry(self, row: asyncpg.Record) -> InboxEntry:
        content = self._unsealed(row["key_id"], row["object"])
        event = Event(row["id"], row["type"], row["live"], row["created"], content or {}, row["account"])
        return InboxEntry(event, row["status"], row["received"], row["error"], readable=content is not None)

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
        for row in await self._do(f"{_EVENT} WHERE key_id = $1 LIMIT $2", key_id, count):
            content = self._unsealed(key_id, row["object"])
            if content is not None:
                await self._do(
                    "UPDATE event SET key_id = $1, object = $2 WHERE id = $3", *self._sealed(content), row["id"]
                )
                sealed += 1
        sealed = sealed or await self.payers.reseal(key_id, self._keyring, self._randomness, count=count)
        return sealed or await self.licensees.reseal(key_id, self._keyring, self._randomness, count=count)

    async def drop_events(self, *, before_ms: int, count: int) -> int:
        return len(await self._do(_DROP_EVENTS, before_ms, count))

    # --- links --------------------------------------------------------------------------------------------------------

    async def find_link(self, key: str) -> str | None:
        for row in await self._do("SELECT url FROM payment_link WHERE key = $1", key):
            return str(row["url"])
        return None

    async def keep_link(self, key: str, url: str) -> None:
        await self._do(_KEEP_LINK, key, url)

    # --- receipts -----------------------------------------------------------------------------------------------------

    async def keep_credited(self, credited: Credited) -> Credited:
        await self._do(_ADD_CREDITED, *pay_columns.of_credited(credited))
        return await self.find_credited(credited.payment) or credited

    async def find_credited(self, payment: str) -> Credited | None:
        for row in await self._do(_CREDITED, payment):
            return pay_columns.credited(tuple(row))
        return None

    async def payments_of(self, account: str) -> list[str]:
        rows = await self._do("SELECT payment FROM credited WHERE account = $1 ORDER BY payment", account)
        return [row["payment"] for row in rows]

    async def keep_notice(self, notice: Notice) -> None:
        names = (notice.event, notice.payment, notice.kind, notice.about)
        amount = notice.amount
        await self._do(_ADD_NOTICE, *names, amount.micros, amount.currency, notice.stands, notice.at, notice.live)

    async def notices(self, payment: str) -> list[Notice]:
        rows = await self._do("SELECT * FROM notice WHERE payment = $1 ORDER BY at, event", payment)
        return [
            Notice(
                event=row["event"],
                payment=row["payment"],
                kind=row["kind"],
                about=row["about"],
                amount=Money(row["micros"], row["currency"]),
                stands=row["stands"],
                at=row["at"],
                live=row["live"],
            )
            for row in rows
        ]

    async def moves(self, payment: str) -> list[Move]:
        query = "SELECT number, micros, kind, made FROM move WHERE payment = $1 ORDER BY number"
        rows = await self._do(query, payment)
        return [Move(payment, row["number"], row["micros"], row["kind"], row["made"]) for row in rows]

    async def plan_move(self, move: Move) -> bool:
        return bool(await self._do(_ADD_MOVE, move.payment, move.number, move.micros, move.kind))

    async def move_made(self, payment: str, number: int) -> None:
        await self._do("UPDATE move SET made = true WHERE payment = $1 AND number = $2", payment, number)

    async def correct_move(self, payment: str, number: int, micros: int) -> None:
        await self._do("UPDATE move SET micros = $3 WHERE payment = $1 AND number = $2", payment, number, micros)

    async def unmade(self) -> list[str]:
        rows = await self._do("SELECT DISTINCT payment FROM move WHERE NOT made ORDER BY payment")
        return [row["payment"] for row in rows]

    # --- watermarks ---------------------------------------------------------------------------------------------------

    async def watermark(self, name: str) -> int | None:
        for row in await self._do("SELECT value FROM watermark WHERE name = $1", name):
            return int(row["value"])
        return None

    async def keep_watermark(self, name: str, value: int) -> None:
        await self._do(_KEEP_WATERMARK, name, value)

    async def newest_watermark(self, prefix: str) -> int | None:
        [row] = await self._do("SELECT max(value) AS newest FROM watermark WHERE starts_with(name, $1)", prefix)
        return None if row["newest"] is None else int(row["newest"])

    async def ask(self, statement: str, *values: object) -> Sequence[Any]:
        """One committed statement, its parameters written `$1`; what it returns."""
        return [tuple(row) for row in await self._do(statement, *values)]

    async def tend(self, statement: str) -> bool:
        """Something like VACUUM, an hour at most; False if others use the table for longer than we wait."""
        if self._pool is None:
            raise RecordsUnavailable()
        try:
            async with self._pool.acquire(timeout=self._address.bounds.connect) as connection:
                await connection.execute("SET statement_timeout = 0")  # until the connection is given back
                await connection.execute(statement, timeout=TEND_SECONDS_MAX)
        except asyncpg.LockNotAvailableError:
            return False
        except PROBLEMS as error:
            raise RecordsUnavailable() from error
        return True

    async def _do(self, statement: str, *values: object) -> Sequence[asyncpg.Record]:
        """One committed statement; what it returns."""
        if self._pool is None:
            raise RecordsUnavailable()
        try:
            async with self._pool.acquire(timeout=self._address.bounds.connect) as connection:
                return await connection.fetch(statement, *values)
        except PROBLEMS as error:
            raise RecordsUnavailable() from error
