"""Who has a licence, in the records' file. Implements `ports.LicenseeBook`."""

from collections.abc import Sequence

from gateway.adapters.sqlite.grants import marks
from gateway.adapters.sqlite.keyroll import Read, Write
from gateway.core.keyring import Keyring
from gateway.core.licences import ADDRESS_PURPOSE
from gateway.ports import LicenseeRow, Randomness

_ROW = "SELECT customer, account, digest, pepper_id, key_id, sealed, at FROM licensee"
_KEEP = """INSERT INTO licensee (customer, account, digest, pepper_id, key_id, sealed, at) VALUES (?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (customer) DO UPDATE SET digest = excluded.digest, pepper_id = excluded.pepper_id,
key_id = excluded.key_id, sealed = excluded.sealed, at = excluded.at WHERE excluded.at >= licensee.at"""


class SqliteLicensees:
    """Reads and writes as the records do."""

    def __init__(self, read: Read, write: Write) -> None:
        self._read = read
        self._write = write

    async def keep_licensee(self, row: LicenseeRow) -> None:
        await self._write(_KEEP, (row.customer, row.account, row.digest, row.pepper_id, row.key_id, row.sealed, row.at))

    async def find_licensee(self, customer: str) -> LicenseeRow | None:
        return next((LicenseeRow(*row) for row in await self._read(f"{_ROW} WHERE customer = ?", (customer,))), None)

    async def find_licensees(self, digests: Sequence[bytes]) -> list[LicenseeRow]:
        rows = await self._read(f"{_ROW} WHERE digest IN {marks(digests)} ORDER BY customer", tuple(digests))
        return [LicenseeRow(*row) for row in rows]

    async def add_code(self, digest: bytes, customer: str, *, until_ms: int, now_ms: int) -> None:
        await self._write("DELETE FROM licence_code WHERE until <= ?", (now_ms,))
        await self._write(
            "INSERT INTO licence_code (digest, customer, until) VALUES (?, ?, ?)", (digest, customer, until_ms)
        )

    async def take_code(self, digests: Sequence[bytes], *, now_ms: int) -> str | None:
        query = f"SELECT digest, customer FROM licence_code WHERE digest IN {marks(digests)} AND until > ?"  # noqa: S608
        for digest, customer in list(await self._read(query, (*digests, now_ms))):
            if await self._write("DELETE FROM licence_code WHERE digest = ?", (digest,)):
                return str(customer)
        return None

    async def drop_codes(self, customer: str) -> None:
        await self._write("DELETE FROM licence_code WHERE customer = ?", (customer,))

    async def count_restore(self, customer: str, *, now_ms: int, since_ms: int) -> int:
        await self._write("DELETE FROM licence_restore WHERE customer = ? AND at < ?", (customer, since_ms))
        await self._write("INSERT INTO licence_restore (customer, at) VALUES (?, ?)", (customer, now_ms))
        [(count,)] = await self._read("SELECT count(*) FROM licence_restore WHERE customer = ?", (customer,))
        return int(count)

    async def reseal(self, key_id: str, keyring: Keyring, randomness: Randomness, *, count: int) -> int:
        """Seal so many addresses of this key with the newest; how many there were."""
        rows = list(await self._read("SELECT customer, sealed FROM licensee WHERE key_id = ? LIMIT ?", (key_id, count)))
        for customer, was in rows:
            plain = keyring.open(ADDRESS_PURPOSE, key_id, was)
            now = keyring.seal(ADDRESS_PURPOSE, plain, nonce=randomness.bytes(12))
            await self._write("UPDATE licensee SET key_id = ?, sealed = ? WHERE customer = ?", (*now, customer))
        return len(rows)
