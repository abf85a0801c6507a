"""Who has paid before, for all hosts. Implements `ports.PayerBook`."""

from collections.abc import Sequence

from gateway.adapters.postgres.keyroll import Do
from gateway.core.keyring import Keyring
from gateway.core.payers import MAIL_PURPOSE, Homecoming, Standing
from gateway.ports import Randomness

_KEEP = """INSERT INTO payer (digest, pepper_id, account, at, key_id, sealed) VALUES ($1, $2, $3, $4, $5, $6)
ON CONFLICT DO NOTHING"""
_REDIGEST = """INSERT INTO payer SELECT $1, $2, account, at, key_id, sealed FROM payer WHERE digest = $3
ON CONFLICT DO NOTHING"""
_HAS = """SELECT 1 FROM payer WHERE account = $1
OR account IN (SELECT account FROM alias WHERE target = $1) LIMIT 1"""
_ADDRESSES = "SELECT digest, key_id, sealed FROM payer WHERE account = $1 AND sealed IS NOT NULL"
_COLUMNS = "session, browser, account, at, state, key_id, sealed"
_COME = f"INSERT INTO homecoming ({_COLUMNS}) VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT DO NOTHING"  # noqa: S608
_TURN = """UPDATE homecoming SET state = $3::text, at = $4,
key_id = CASE $3::text WHEN 'waiting' THEN key_id END, sealed = CASE $3::text WHEN 'waiting' THEN sealed END
WHERE session = $1 AND state = $2 RETURNING session"""


class PostgresPayers:
    """Reads and writes as the records do."""

    def __init__(self, do: Do) -> None:
        self._do = do

    async def find_payers(self, digests: Sequence[bytes]) -> dict[bytes, str]:
        query = "SELECT digest, account FROM payer WHERE digest = ANY($1::bytea[])"
        return {row["digest"]: row["account"] for row in await self._do(query, list(digests))}

    async def keep_payer(
        self, digest: bytes, *, account: str, pepper_id: str, now_ms: int, sealed: tuple[str, bytes] | None
    ) -> str:
        await self._do(_KEEP, digest, pepper_id, account, now_ms, *(sealed or (None, None)))
        return (await self.find_payers([digest])).get(digest, account)

    async def redigest_payer(self, digest: bytes, older: Sequence[bytes], *, pepper_id: str) -> None:
        for one in older:
            await self._do(_REDIGEST, digest, pepper_id, one)
            await self._do("DELETE FROM payer WHERE digest = $1", one)

    async def has_payer(self, account: str) -> bool:
        return bool(await self._do(_HAS, account))

    async def addresses_of(self, account: str) -> list[tuple[bytes, str, bytes]]:
        return [(row["digest"], row["key_id"], row["sealed"]) for row in await self._do(_ADDRESSES, account)]

    async def forget_address(self, digest: bytes) -> None:
        await self._do("UPDATE payer SET key_id = NULL, sealed = NULL WHERE digest = $1", digest)

    async def reseal(self, key_id: str, keyring: Keyring, randomness: Randomness, *, count: int) -> int:
        """Seal so many addresses of this key with the newest; how many there were."""
        sealed = 0
        for digest, was in await self._do("SELECT digest, sealed FROM payer WHERE key_id = $1 LIMIT $2", key_id, count):
            plain = keyring.open(MAIL_PURPOSE, key_id, was)
            now = keyring.seal(MAIL_PURPOSE, plain, nonce=randomness.bytes(12))
            await self._do("UPDATE payer SET key_id = $1, sealed = $2 WHERE digest = $3", *now, digest)
            sealed += 1
        return sealed

    async def come_home(self, coming: Homecoming) -> Homecoming:
        sealed = (coming.key_id, coming.sealed)
        await self._do(_COME, coming.session, coming.browser, coming.account, coming.at_ms, coming.state, *sealed)
        return await self.find_homecoming(coming.session) or coming

    async def find_homecoming(self, session: str) -> Homecoming | None:
        return next(iter(await self._homecomings("session = $1", session)), None)

    async def coded(self, digests: Sequence[bytes], *, since_ms: int) -> Homecoming | None:
        condition = "state = 'coded' AND browser = ANY($1::bytea[]) AND at >= $2"
        return next(iter(await self._homecomings(condition, list(digests), since_ms)), None)

    async def turn(self, session: str, was: Standing, now: Standing, *, now_ms: int) -> bool:
        return bool(await self._do(_TURN, session, was, now, now_ms))

    async def waiting(self, before_ms: int) -> list[Homecoming]:
        return await self._homecomings("state = 'waiting' AND at <= $1 ORDER BY at", before_ms)

    async def drop_homecomings(self, before_ms: int) -> None:
        await self._do("DELETE FROM homecoming WHERE at < $1", before_ms)

    async def _homecomings(self, condition: str, *values: object) -> list[Homecoming]:
        query = f"SELECT {_COLUMNS} FROM homecoming WHERE {condition}"  # noqa: S608 -- conditions of our own
        return [Homecoming(*row) for row in await self._do(query, *values)]
