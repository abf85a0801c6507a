"""Which keys are in use, by all hosts. Implements `ports.KeyRoll`."""

from collections.abc import Awaitable, Callable, Sequence

import asyncpg

from gateway.core.rotation import Holder, KeyKind, KeyUse

Do = Callable[..., Awaitable[Sequence[asyncpg.Record]]]
_CALL_IN = """INSERT INTO key_holder VALUES ($1, $2, $3, $4)
ON CONFLICT (holder, kind) DO UPDATE SET ids = excluded.ids, seen = excluded.seen"""
_KNOWN = "INSERT INTO key_use SELECT $1, unnest($2::text[]), $3 ON CONFLICT DO NOTHING"
_SEALS = """INSERT INTO key_use VALUES ($1, $2, $3)
ON CONFLICT (kind, id) DO UPDATE SET sealed = greatest(key_use.sealed, excluded.sealed)"""
_SHARED = "INSERT INTO shared_key SELECT $1, unnest($2::text[]) ON CONFLICT DO NOTHING"
_TOKENS = {
    "pepper": "SELECT pepper_id AS id, count(*) FROM (SELECT pepper_id FROM token UNION ALL"
    " SELECT pepper_id FROM user_login UNION ALL SELECT pepper_id FROM service) AS digested GROUP BY pepper_id",
    "sealing_key": "SELECT key_id AS id, count(*) FROM token"
    " WHERE grant_id IS NULL OR grant_id LIKE 'tok%' GROUP BY key_id",
}
_EVENTS = """SELECT key_id AS id, count(*) FROM (SELECT key_id FROM event UNION ALL SELECT key_id FROM users
UNION ALL SELECT key_id FROM oauth_tokens
UNION ALL SELECT key_id FROM stripe_accounts WHERE key_id IS NOT NULL) AS sealed GROUP BY key_id"""
_ANSWERS = "SELECT sealed_by AS id, count(*) FROM idempotency_key WHERE state = 'kept' GROUP BY sealed_by"
_CLIENTS = """SELECT key_id AS id, count(*) FROM oauth_client WHERE auth <> 'none' AND EXISTS (
    SELECT 1 FROM oauth_consent consent JOIN token_grant allowed ON allowed.id = consent.token_grant
    WHERE consent.client = oauth_client.id AND allowed.revoked IS NULL
) GROUP BY key_id"""


class PostgresKeyRoll:
    """Reads and writes as the records do."""

    def __init__(self, do: Do) -> None:
        self._do = do

    async def call_in(self, holder: str, kind: KeyKind, ids: Sequence[str], *, now_ms: int) -> None:
        await self._do(_CALL_IN, holder, kind, " ".join(ids), now_ms)
        await self._do(_KNOWN, kind, list(ids[1:]), now_ms)
        await self._do(_SEALS, kind, ids[0], now_ms)
        if kind == "sealing_key":  # a host that starts is let in if it shares one of them
            await self._do("INSERT INTO sealing_key SELECT unnest($1::text[]) ON CONFLICT DO NOTHING", list(ids))
        else:
            await self._do(_SHARED, kind, list(ids))

    async def leave(self, holder: str) -> None:
        await self._do("DELETE FROM key_holder WHERE holder = $1", holder)

    async def retired(self, kind: KeyKind, id: str) -> None:
        if kind == "sealing_key":
            await self._do("DELETE FROM sealing_key WHERE id = $1", id)
        else:
            await self._do("DELETE FROM shared_key WHERE kind = $1 AND id = $2", kind, id)

    async def holders(self, kind: KeyKind) -> list[Holder]:
        rows = await self._do("SELECT holder, ids, seen FROM key_holder WHERE kind = $1 ORDER BY holder", kind)
        return [Holder(row["holder"], kind, tuple(row["ids"].split()), row["seen"]) for row in rows]

    async def use(self, kind: KeyKind) -> KeyUse:
        holders = await self.holders(kind)
        sealed = await self._do("SELECT id, sealed FROM key_use WHERE kind = $1", kind)
        tokens = await self._do(_TOKENS[kind]) if kind in _TOKENS else ()
        seals = (_EVENTS, _ANSWERS, _CLIENTS) if kind == "sealing_key" else ()
        asked = [await self._do(query) for query in seals]
        return KeyUse(
            holders,
            {row["id"]: row["sealed"] for row in sealed},
            {row["id"]: row["count"] for row in tokens},
            *({row["id"]: row["count"] for row in rows} for rows in asked),
        )
