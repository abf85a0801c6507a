"""Who has a licence, for all hosts. Implements `ports.LicenseeBook`."""

from collections.abc import Sequence

import asyncpg

from gateway.adapters.postgres.keyroll import Do
from gateway.core.keyring import Keyring
from gateway.core.licences import ADDRESS_PURPOSE
from gateway.ports import LicenseeRow, Randomness

_ROW = "SELECT customer, account, digest, pepper_id, key_id, sealed, at FROM licensee"
_KEEP = """INSERT INTO licensee (customer, account, digest, pepper_id, key_id, sealed, at)
VALUES ($1, $2, $3, $4, $5, $6, $7)
ON CONFLICT (customer) DO UPDATE SET digest = excluded.digest, pepper_id = excluded.pepper_id,
key_id = excluded.key_id, sealed = excluded.sealed, at = excluded.at WHERE excluded.at >= licensee.at"""
_TAKE = """DELETE FROM licence_code WHERE digest = ANY($1::bytea[]) AND until > $2 RETURNING customer"""


class PostgresLicensees:
    """Asks as the records do."""

    def __init__(self, do: Do) -> None:
        self._do = do

    async def keep_licensee(self, row: LicenseeRow) -> None:
        await self._do(_KEEP, row.customer, row.account, row.digest, row.pepper_id, row.key_id, row.sealed, row.at)

    async def find_licensee(self, customer: str) -> LicenseeRow | None:
        return next(iter(_rows(await self._do(f"{_ROW} WHERE customer = $1", customer))), None)

    async def find_licensees(self, digests: Sequence[bytes]) -> list[LicenseeRow]:
        return _rows(await self._do(f"{_ROW} WHERE digest = ANY($1::bytea[]) ORDER BY customer", list(digests)))

    async def add_code(self, digest: bytes, customer: str, *, until_ms: int, now_ms: int) -> None:
        await self._do("DELETE FROM licence_code WHERE until <= $1", now_ms)
        await self._do(
            "INSERT INTO licence_code (digest, customer, until) VALUES ($1, $2, $3)", digest, customer, until_ms
        )

    async def take_code(self, digests: Sequence[bytes], *, now_ms: int) -> str | None:
        return next((row["customer"] for row in await self._do(_TAKE, list(digests), now_ms)), None)

    async def drop_codes(self, customer: str) -> None:
        await self._do("DELETE FROM licence_code WHERE customer = $1", customer)

    async def count_restore(self, customer: str, *, now_ms: int, since_ms: int) -> int:
        await self._do("DELETE FROM licence_restore WHERE customer = $1 AND at < $2", customer, since_ms)
        await self._do("INSERT INTO licence_restore (customer, at) VALUES ($1, $2)", customer, now_ms)
        [row] = await self._do("SELECT count(*) AS count FROM licence_restore WHERE customer = $1", customer)
        return int(row["count"])

    async def reseal(self, key_id: str, keyring: Keyring, randomness: Randomness, *, count: int) -> int:
        """Seal so many addresses of this key with the newest; how many there were."""
        rows = await self._do("SELECT customer, sealed FROM licensee WHERE key_id = $1 LIMIT $2", key_id, count)
        for customer, was in rows:
            plain = keyring.open(ADDRESS_PURPOSE, key_id, was)
            now = keyring.seal(ADDRESS_PURPOSE, plain, nonce=randomness.bytes(12))
            await self._do("UPDATE licensee SET key_id = $1, sealed = $2 WHERE customer = $3", *now, customer)
        return len(rows)


def _rows(rows: Sequence[asyncpg.Record]) -> list[LicenseeRow]:
    return [LicenseeRow(*row) for row in rows]
