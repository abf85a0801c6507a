"""Claims of idempotency keys, by all hosts together. Implements `ports.KeyClaims`."""

from collections.abc import Sequence

from gateway.adapters.postgres.keyroll import Do
from gateway.core.idempotency import Claim
from gateway.core.idempotency_columns import COLUMNS, claim_of, forgetting, of_claim

_SET = """fingerprint = $3, request = $4, holder = $5, lease = $6, expires = $7, state = $8, sealed_by = $9,
answer = $10"""
_CLAIM = f"""INSERT INTO idempotency_key ({COLUMNS}) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)
ON CONFLICT (account, key) DO UPDATE SET {_SET}
WHERE idempotency_key.expires <= $11 AND (idempotency_key.state <> 'open' OR idempotency_key.lease <= $11)
RETURNING request"""  # noqa: S608 -- the names of columns, of our own
_FIND = f"SELECT {COLUMNS} FROM idempotency_key WHERE account = $1 AND key = $2"  # noqa: S608
_TAKE_OVER = f"""UPDATE idempotency_key SET {_SET}
WHERE account = $1 AND key = $2 AND state = 'open' AND request = $11 AND lease <= $12 RETURNING request"""  # noqa: S608
_RENEW = "UPDATE idempotency_key SET lease = $1 WHERE holder = $2 AND state = 'open'"
_END = """UPDATE idempotency_key SET expires = $4, state = $5, sealed_by = $6, answer = $7
WHERE account = $1 AND key = $2 AND request = $3 AND state = 'open' AND ($8::bigint IS NULL OR lease <= $8::bigint)
RETURNING request"""
_FREE = "DELETE FROM idempotency_key WHERE account = $1 AND key = $2 AND request = $3 AND state = 'open'"
_DROP = """DELETE FROM idempotency_key WHERE (account, key) IN
(SELECT account, key FROM idempotency_key WHERE expires <= $1 AND (state <> 'open' OR lease <= $1)
ORDER BY expires LIMIT $2) RETURNING request"""
_FORGET = forgetting("$1::bigint", "$2", empty="''") + " RETURNING request"


class PostgresKeyClaims:
    """Asks as the records do."""

    def __init__(self, do: Do) -> None:
        self._do = do

    async def claim(self, claim: Claim, *, now_ms: int) -> Claim | None:
        while not await self._do(_CLAIM, *of_claim(claim), now_ms):
            for row in await self._do(_FIND, claim.account, claim.key):
                return claim_of(tuple(row))
        return None

    async def used_by(self, accounts: Sequence[str], key: bytes, *, now_ms: int) -> str | None:
        for account in accounts:
            for row in await self._do(_FIND, account, key):
                if not claim_of(tuple(row)).is_over(now_ms):
                    return account
        return None

    async def take_over(self, claim: Claim, *, of: str, now_ms: int) -> bool:
        return bool(await self._do(_TAKE_OVER, *of_claim(claim), of, now_ms))

    async def renew(self, holder: str, lease_ms: int) -> None:
        await self._do(_RENEW, lease_ms, holder)

    async def end(self, ended: Claim, *, lapsed_ms: int | None = None) -> bool:
        whose = (ended.account, ended.key, ended.request)
        changes = (ended.expires_ms, ended.state, ended.sealed_by, ended.answer)
        return bool(await self._do(_END, *whose, *changes, lapsed_ms))

    async def free(self, claim: Claim) -> None:
        await self._do(_FREE, claim.account, claim.key, claim.request)

    async def drop_expired(self, *, now_ms: int, count: int) -> int:
        return len(await self._do(_DROP, now_ms, count))

    async def forget_answers(self, *, bytes_max: int, count: int) -> int:
        return len(await self._do(_FORGET, bytes_max, count))
