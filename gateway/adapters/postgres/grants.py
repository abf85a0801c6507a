"""Tokens as their holders know them, for all hosts. Implements `ports.TokenBook`.

A number of a change is taken only when the one before it is committed (see `freezes`), so whoever asks for those after
the highest that it has seen misses none.
"""

from collections.abc import Sequence

from gateway.adapters.postgres.freezes import numbered
from gateway.adapters.postgres.keyroll import Do
from gateway.core.grant_columns import COLUMNS, grant_of, of_grant, terms_text
from gateway.core.grants import LINE_MAX, Grant
from gateway.ports import Rotation

_NEXT = "(SELECT coalesce(max(change), 0) + 1 FROM token_grant)"
_ADD = f"""WITH granted AS (
    INSERT INTO token_grant ({COLUMNS})
    SELECT $1, $2::text, $3::bigint, $4, $5, $6, $7::bigint, $8::bigint, $9::bigint, $10
    WHERE (SELECT count(*) FROM token_grant WHERE account = $2::text AND revoked IS NULL AND id LIKE 'tok%'
    AND (expires IS NULL OR expires > $3::bigint)) < $11
    ON CONFLICT DO NOTHING RETURNING id, account, created
) INSERT INTO token (access_token_hash, account, pepper_id, created, grant_id)
SELECT $12, account, $13, created, id FROM granted ON CONFLICT DO NOTHING
RETURNING access_token_hash"""  # noqa: S608 -- the names of columns, of our own
_ALL = f"""SELECT {COLUMNS} FROM token_grant WHERE account = ANY($1::text[])
AND EXISTS (SELECT 1 FROM token WHERE grant_id = token_grant.id) ORDER BY created, id"""  # noqa: S608
_LINES = f"""WITH RECURSIVE line (root, depth, id) AS (
    SELECT id, 0, id FROM token_grant WHERE id = ANY($1::text[])
    UNION ALL
    SELECT root, depth + 1, parent FROM line JOIN token_grant USING (id)
    WHERE parent IS NOT NULL AND depth < {LINE_MAX - 1}
) SELECT root, {COLUMNS} FROM line JOIN token_grant USING (id) ORDER BY depth"""  # noqa: S608
_CHANGE = f"""UPDATE token_grant SET name = $5, terms = $6, expires = $7, change = {_NEXT}
WHERE id = $1 AND name = $2 AND terms IS NOT DISTINCT FROM $3 AND expires IS NOT DISTINCT FROM $4
RETURNING id"""  # noqa: S608
_REVOKE = f"""UPDATE token_grant SET revoked = $2, change = {_NEXT} WHERE id = $1 AND revoked IS NULL
RETURNING id"""  # noqa: S608
_REVOKE_SECRETS = "UPDATE token SET revoked = $2 WHERE grant_id = $1 AND revoked IS NULL"
# Who ends many at once takes all their rows first and in one order, and only then numbers: else two who end some of the
# same could each wait for a row, or a number, of the other's.
_REVOKE_MANY = """WITH locked AS (
    SELECT id FROM token_grant WHERE id = ANY($1::text[]) AND revoked IS NULL ORDER BY id FOR UPDATE
), alive AS (SELECT id, row_number() OVER (ORDER BY id) AS step FROM locked)
UPDATE token_grant SET revoked = $2, change = (SELECT coalesce(max(change), 0) FROM token_grant) + step
FROM alive WHERE alive.id = token_grant.id RETURNING token_grant.id"""
_REVOKE_SECRETS_OF_MANY = """WITH locked AS (
    SELECT access_token_hash FROM token WHERE revoked IS NULL AND grant_id = ANY($1::text[])
    ORDER BY access_token_hash FOR UPDATE
) UPDATE token SET revoked = $2 FROM locked WHERE locked.access_token_hash = token.access_token_hash"""
_AT_ONCE = 500
_NEWEST = """SELECT access_token_hash FROM token WHERE grant_id = $1
ORDER BY created DESC, expires IS NOT NULL, access_token_hash LIMIT 1"""
_ROTATION = """SELECT newer, pepper_id, last, sealed_by, sealed, at, good_until FROM token_rotation
WHERE older = $1"""
_ADD_ROTATION = "INSERT INTO token_rotation VALUES ($1, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT DO NOTHING"
_SUCCEED = """INSERT INTO token (access_token_hash, account, pepper_id, created, grant_id)
SELECT $1, account, $2, $3, grant_id FROM token WHERE access_token_hash = $4 ON CONFLICT DO NOTHING"""
_OUTLIVED = "UPDATE token SET expires = least(coalesce(expires, $2), $2) WHERE access_token_hash = $1"
_RENEWED = f"""UPDATE token_grant SET last = $2, change = {_NEXT}
WHERE id = (SELECT grant_id FROM token WHERE access_token_hash = $1) RETURNING id"""  # noqa: S608
_USED = "UPDATE token_grant SET used = greatest(coalesce(used, 0), $2) WHERE id = ANY($1::text[])"
_CHANGES = "SELECT change, id FROM token_grant WHERE change > $1 ORDER BY change"


class PostgresGrants:
    """Reads and writes as the records do."""

    def __init__(self, do: Do) -> None:
        self._do = do

    async def add_grant(self, grant: Grant, digest: bytes, *, pepper_id: str, alive_max: int) -> bool:
        return bool(await self._do(_ADD, *of_grant(grant), alive_max, digest, pepper_id))

    async def grants_of(self, accounts: Sequence[str]) -> list[Grant]:
        return [grant_of(tuple(row)) for row in await self._do(_ALL, list(accounts))]

    async def lines(self, ids: Sequence[str]) -> dict[str, list[Grant]]:
        """Each of them, its parent, and so on up."""
        lines: dict[str, list[Grant]] = {}
        for root, *row in await self._do(_LINES, list(ids)):
            lines.setdefault(root, []).append(grant_of(row))
        return lines

    async def change_grant(self, was: Grant, now: Grant) -> bool:
        known = (was.id, was.name, terms_text(was.terms), was.expires_ms)
        return await numbered(self._do, _CHANGE, *known, now.name, terms_text(now.terms), now.expires_ms)

    async def revoke_grant(self, id: str, *, now_ms: int) -> bool:
        changed = await numbered(self._do, _REVOKE, id, now_ms)
        await self._do(_REVOKE_SECRETS, id, now_ms)
        return changed

    async def revoke_grants(self, ids: Sequence[str], *, now_ms: int) -> None:
        for first in range(0, len(ids), _AT_ONCE):
            some = list(ids[first : first + _AT_ONCE])
            await numbered(self._do, _REVOKE_MANY, some, now_ms)
            await self._do(_REVOKE_SECRETS_OF_MANY, some, now_ms)

    async def newest_secret(self, id: str) -> bytes | None:
        for row in await self._do(_NEWEST, id):
            return bytes(row["access_token_hash"])
        return None

    async def find_rotation(self, digest: bytes) -> Rotation | None:
        for row in await self._do(_ROTATION, digest):
            return Rotation(*row)
        return None

    async def rotate(self, digest: bytes, rotation: Rotation) -> Rotation:
        wanted = (rotation.digest, rotation.pepper_id, rotation.last, rotation.sealed_by, rotation.sealed)
        await self._do(_ADD_ROTATION, digest, *wanted, rotation.at_ms, rotation.until_ms)
        made = await self.find_rotation(digest) or rotation
        await self._do(_SUCCEED, made.digest, made.pepper_id, made.at_ms, digest)
        await self._do(_OUTLIVED, digest, made.until_ms)
        await numbered(self._do, _RENEWED, digest, made.last)
        return made

    async def drop_rotations(self, *, before_ms: int) -> None:
        await self._do("DELETE FROM token_rotation WHERE at < $1", before_ms)

    async def was_used(self, ids: Sequence[str], *, now_ms: int) -> None:
        await self._do(_USED, sorted(ids), now_ms)

    async def changes_after(self, number: int) -> list[tuple[int, str]]:
        return [(row["change"], row["id"]) for row in await self._do(_CHANGES, number)]

    async def last_change(self) -> int:
        [row] = await self._do("SELECT coalesce(max(change), 0) AS number FROM token_grant")
        return int(row["number"])
