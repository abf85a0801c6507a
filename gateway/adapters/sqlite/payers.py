"""Who has paid before, in the records' file. Implements `ports.PayerBook`."""

import sqlite3
from collections.abc import Iterable, Sequence

from gateway.adapters.sqlite.keyroll import Read, Write
from gateway.core.keyring import Keyring
from gateway.core.payers import MAIL_PURPOSE, Homecoming, Standing
from gateway.ports import Randomness

_KEEP = """INSERT INTO payer (digest, pepper_id, account, at, key_id, sealed) VALUES (?, ?, ?, ?, ?, ?)
ON CONFLICT DO NOTHING"""
_REDIGEST = """INSERT INTO payer SELECT ?, ?, account, at, key_id, sealed FROM payer WHERE digest = ?
ON CONFLICT DO NOTHING"""
_HAS = """SELECT 1 FROM payer WHERE account = ?1
OR account IN (SELECT account FROM alias WHERE target = ?1) LIMIT 1"""
_ADDRESSES = "SELECT digest, key_id, sealed FROM payer WHERE account = ? AND sealed IS NOT NULL"
_COLUMNS = "session, browser, account, at, state, key_id, sealed"
_COME = f"INSERT INTO homecoming ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING"  # noqa: S608
_TURN = """UPDATE homecoming SET state = ?3, at = ?4,
key_id = CASE ?3 WHEN 'waiting' THEN key_id END, sealed = CASE ?3 WHEN 'waiting' THEN sealed END
WHERE session = ?1 AND state = ?2"""


class SqlitePayers:
    """Reads and writes as the records do."""

    def __init__(self, read: Read, write: Write) -> None:
        self._read = read
        self._write = write

    async def find_payers(self, digests: Sequence[bytes]) -> dict[bytes, str]:
        marks = ", ".join("?" * len(digests))
        rows = await self._read(f"SELECT digest, account FROM payer WHERE digest IN ({marks})", tuple(digests))  # noqa: S608
        return {row[0]: row[1] for row in rows}

    async def keep_payer(
        self, digest: bytes, *, account: str, pepper_id: str, now_ms: int, sealed: tuple[str, bytes] | None
    ) -> str:
        await self._write(_KEEP, (digest, pepper_id, account, now_ms, *(sealed or (None, None))))
        return (await self.find_payers([digest])).get(digest, account)

    async def redigest_payer(self, digest: bytes, older: Sequence[bytes], *, pepper_id: str) -> None:
        for one in older:
            await self._write(_REDIGEST, (digest, pepper_id, one))
            await self._write("DELETE FROM payer WHERE digest = ?", (one,))

    async def has_payer(self, account: str) -> bool:
        return any(True for _ in await self._read(_HAS, (account,)))

    async def addresses_of(self, account: str) -> list[tuple[bytes, str, bytes]]:
        rows = await self._read(_ADDRESSES, (account,))
        return [(digest, key_id, sealed) for digest, key_id, sealed in rows]

    async def forget_address(self, digest: bytes) -> None:
        await self._write("UPDATE payer SET key_id = NULL, sealed = NULL WHERE digest = ?", (digest,))

    async def reseal(self, key_id: str, keyring: Keyring, randomness: Randomness, *, count: int) -> int:
        """Seal so many addresses of this key with the newest; how many there were."""
        sealed = 0
        for digest, was in await self._read(
            "SELECT digest, sealed FROM payer WHERE key_id = ? LIMIT ?", (key_id, count)
        ):
            plain = keyring.open(MAIL_PURPOSE, key_id, was)
            now = keyring.seal(MAIL_PURPOSE, plain, nonce=randomness.bytes(12))
            await self._write("UPDATE payer SET key_id = ?, sealed = ? WHERE digest = ?", (*now, digest))
            sealed += 1
        return sealed

    async def come_home(self, coming: Homecoming) -> Homecoming:
        sealed = (coming.key_id, coming.sealed)
        await self._write(_COME, (coming.session, coming.browser, coming.account, coming.at_ms, coming.state, *sealed))
        return await self.find_homecoming(coming.session) or coming

    async def find_homecoming(self, session: str) -> Homecoming | None:
        return next(iter(await self._homecomings("session = ?", session)), None)

    async def coded(self, digests: Sequence[bytes], *, since_ms: int) -> Homecoming | None:
        marks = ", ".join("?" * len(digests))
        found = await self._homecomings(f"state = 'coded' AND browser IN ({marks}) AND at >= ?", *digests, since_ms)
        return next(iter(found), None)

    async def turn(self, session: str, was: Standing, now: Standing, *, now_ms: int) -> bool:
        return await self._write(_TURN, (session, was, now, now_ms))

    async def waiting(self, before_ms: int) -> list[Homecoming]:
        return await self._homecomings("state = 'waiting' AND at <= ? ORDER BY at", before_ms)

    async def drop_homecomings(self, before_ms: int) -> None:
        await self._write("DELETE FROM homecoming WHERE at < ?", (before_ms,))

    async def _homecomings(self, condition: str, *values: object) -> list[Homecoming]:
        rows: Iterable[sqlite3.Row] = await self._read(
            f"SELECT {_COLUMNS} FROM homecoming WHERE {condition}",  # noqa: S608 -- conditions of our own
            values,
        )
        return [Homecoming(*row) for row in rows]
