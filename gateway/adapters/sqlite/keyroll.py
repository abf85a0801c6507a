"""Which keys are in use, in the records' file. Implements `ports.KeyRoll`."""

import sqlite3
from collections.abc import Awaitable, Callable, Iterable, Sequence

from gateway.core.rotation import Holder, KeyKind, KeyUse

Read = Callable[[str, tuple[object, ...]], Awaitable[Iterable[sqlite3.Row]]]
Write = Callable[[str, tuple[object, ...]], Awaitable[bool]]
_TOKENS = {
    "pepper": "SELECT pepper_id, count(*) FROM (SELECT pepper_id FROM token UNION ALL"
    " SELECT pepper_id FROM user_login UNION ALL SELECT pepper_id FROM service) AS digested GROUP BY pepper_id",
    "sealing_key": "SELECT key_id, count(*) FROM token WHERE grant_id IS NULL OR grant_id LIKE 'tok%' GROUP BY key_id",
}
_EVENTS = """SELECT key_id, count(*) FROM (SELECT key_id FROM event UNION ALL SELECT key_id FROM users
UNION ALL SELECT key_id FROM oauth_tokens
UNION ALL SELECT key_id FROM stripe_accounts WHERE key_id IS NOT NULL) AS sealed GROUP BY key_id"""
_ANSWERS = "SELECT sealed_by, count(*) FROM idempotency_key WHERE state = 'kept' GROUP BY sealed_by"
_CLIENTS = """SELECT key_id, count(*) FROM oauth_client WHERE auth <> 'none' AND EXISTS (
    SELECT 1 FROM oauth_consent consent JOIN token_grant allowed ON allowed.id = consent.token_grant
    WHERE consent.client = oauth_client.id AND allowed.revoked IS NULL
) GROUP BY key_id"""


class SqliteKeyRoll:
    """Reads and writes as the records do."""

    def __init__(self, read: Read, write: Write) -> None:
        self._read = read
        self._write = write

    async def call_in(self, holder: str, kind: KeyKind, ids: Sequence[str], *, now_ms: int) -> None:
        await self._write(
            "INSERT INTO key_holder VALUES (?, ?, ?, ?)"
            " ON CONFLICT DO UPDATE SET ids = excluded.ids, seen = excluded.seen",
            (holder, kind, " ".join(ids), now_ms),
        )
        for id in ids[1:]:
            await self._write("INSERT INTO key_use VALUES (?, ?, ?) ON CONFLICT DO NOTHING", (kind, id, now_ms))
        await self._write(
            "INSERT INTO key_use VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET sealed = max(sealed, excluded.sealed)",
            (kind, ids[0], now_ms),
        )

    async def leave(self, holder: str) -> None:
        await self._write("DELETE FROM key_holder WHERE holder = ?", (holder,))

    async def retired(self, kind: KeyKind, id: str) -> None:
        """One host: nobody else could come with it."""

    async def holders(self, kind: KeyKind) -> list[Holder]:
        rows = await self._read("SELECT holder, ids, seen FROM key_holder WHERE kind = ? ORDER BY holder", (kind,))
        return [Holder(name, kind, tuple(ids.split()), seen) for name, ids, seen in rows]

    async def use(self, kind: KeyKind) -> KeyUse:
        holders = await self.holders(kind)
        rows = await self._read("SELECT id, sealed FROM key_use WHERE kind = ?", (kind,))
        sealed = {row[0]: row[1] for row in rows}
        tokens = {row[0]: row[1] for row in await self._read(_TOKENS[kind], ())} if kind in _TOKENS else {}
        if kind != "sealing_key":
            return KeyUse(holders, sealed, tokens)
        asked = [await self._read(query, ()) for query in (_EVENTS, _ANSWERS, _CLIENTS)]
        return KeyUse(holders, sealed, tokens, *({row[0]: row[1] for row in rows} for rows in asked))
