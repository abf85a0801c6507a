"""Tokens as their holders know them, in the records' file. Implements `ports.TokenBook`."""

from collections.abc import Sequence

from gateway.adapters.sqlite.keyroll import Read, Write
from gateway.core.grant_columns import COLUMNS, grant_of, of_grant, terms_text
from gateway.core.grants import LINE_MAX, Grant
from gateway.ports import Rotation

_NEXT = "(SELECT coalesce(max(change), 0) + 1 FROM token_grant)"
_ADD = f"""INSERT INTO token_grant ({COLUMNS}) SELECT ?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10
WHERE (SELECT count(*) FROM token_grant WHERE account = ?2 AND revoked IS NULL AND id LIKE 'tok%'
AND (expires IS NULL OR expires > ?3)) < ?11 ON CONFLICT DO NOTHING"""  # noqa: S608 -- the names of columns, of our own
_BEHIND = """INSERT INTO token (access_token_hash, account, pepper_id, created, grant_id)
VALUES (?, ?, ?, ?, ?) ON CONFLICT DO NOTHING"""
_ALL = f"""SELECT {COLUMNS} FROM token_grant WHERE account IN {{}}
AND EXISTS (SELECT 1 FROM token WHERE grant_id = token_grant.id) ORDER BY created, id"""  # noqa: S608
_LINES = f"""WITH RECURSIVE line (root, depth, id) AS (
    SELECT id, 0, id FROM token_grant WHERE id IN {{}}
    UNION ALL
    SELECT root, depth + 1, parent FROM line JOIN token_grant USING (id)
    WHERE parent IS NOT NULL AND depth < {LINE_MAX - 1}
) SELECT root, {COLUMNS} FROM line JOIN token_grant USING (id) ORDER BY depth"""  # noqa: S608
_CHANGE = f"""UPDATE token_grant SET name = ?, terms = ?, expires = ?, change = {_NEXT}
WHERE id = ? AND name = ? AND terms IS ? AND expires IS ?"""  # noqa: S608
_REVOKE = f"UPDATE token_grant SET revoked = ?, change = {_NEXT} WHERE id = ? AND revoked IS NULL"  # noqa: S608
_REVOKE_SECRETS = "UPDATE token SET revoked = ? WHERE grant_id = ? AND revoked IS NULL"
_REVOKE_MANY = """WITH alive AS (
    SELECT id, row_number() OVER (ORDER BY id) AS step FROM token_grant WHERE id IN {} AND revoked IS NULL
) UPDATE token_grant SET revoked = ?, change = (SELECT coalesce(max(change), 0) FROM token_grant) + step
FROM alive WHERE alive.id = token_grant.id"""
_REVOKE_SECRETS_OF_MANY = "UPDATE token SET revoked = ? WHERE revoked IS NULL AND grant_id IN {}"
_NEWEST = """SELECT access_token_hash FROM token WHERE grant_id = ?
ORDER BY created DESC, expires IS NOT NULL, access_token_hash LIMIT 1"""
_ROTATION = """SELECT newer, pepper_id, last, sealed_by, sealed, at, good_until FROM token_rotation
WHERE older = ?"""
_ADD_ROTATION = "INSERT INTO token_rotation VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING"
_SUCCEED = """INSERT INTO token (access_token_hash, account, pepper_id, created, grant_id)
SELECT ?, account, ?, ?, grant_id FROM token WHERE access_token_hash = ? ON CONFLICT DO NOTHING"""
_OUTLIVED = "UPDATE token SET expires = min(coalesce(expires, ?1), ?1) WHERE access_token_hash = ?2"
_RENEWED = f"""UPDATE token_grant SET last = ?, change = {_NEXT}
WHERE id = (SELECT grant_id FROM token WHERE access_token_hash = ?)"""  # noqa: S608
_USED = "UPDATE token_grant SET used = max(coalesce(used, 0), ?) WHERE id IN {}"
_AT_ONCE = 500


class SqliteGrants:
    """Reads and writes as the records do."""

    def __init__(self, read: Read, write: Write) -> None:
        self._read = read
        self._write = write

    async def add_grant(self, grant: Grant, digest: bytes, *, pepper_id: str, alive_max: int) -> bool:
        # The secret comes last: a grant without one is nobody's, and is not listed.
        if not await self._write(_ADD, (*of_grant(grant), alive_max)):
            return False
        await self._write(_BEHIND, (digest, grant.account, pepper_id, grant.created_ms, grant.id))
        return True

    async def grants_of(self, accounts: Sequence[str]) -> list[Grant]:
        rows = await self._read(_ALL.format(marks(accounts)), tuple(accounts))
        return [grant_of(row) for row in rows]

    async def lines(self, ids: Sequence[str]) -> dict[str, list[Grant]]:
        """Each of them, its parent, and so on up."""
        lines: dict[str, list[Grant]] = {}
        for root, *row in await self._read(_LINES.format(marks(ids)), tuple(ids)):
            lines.setdefault(root, []).append(grant_of(row))
        return lines

    async def change_grant(self, was: Grant, now: Grant) -> bool:
        values = (now.name, terms_text(now.terms), now.expires_ms)
        return await self._write(_CHANGE, (*values, was.id, was.name, terms_text(was.terms), was.expires_ms))

    async def revoke_grant(self, id: str, *, now_ms: int) -> bool:
        changed = await self._write(_REVOKE, (now_ms, id))
        await self._write(_REVOKE_SECRETS, (now_ms, id))
        return changed

    async def revoke_grants(self, ids: Sequence[str], *, now_ms: int) -> None:
        for first in range(0, len(ids), _AT_ONCE):
            some = ids[first : first + _AT_ONCE]
            await self._write(_REVOKE_MANY.format(marks(some)), (*some, now_ms))
            await self._write(_REVOKE_SECRETS_OF_MANY.format(marks(some)), (now_ms, *some))

    async def newest_secret(self, id: str) -> bytes | None:
        for (digest,) in await self._read(_NEWEST, (id,)):
            return bytes(digest)
        return None

    async def find_rotation(self, digest: bytes) -> Rotation | None:
        for row in await self._read(_ROTATION, (digest,)):
            return Rotation(*row)
        return None

    async def rotate(self, digest: bytes, rotation: Rotation) -> Rotation:
        wanted = (rotation.digest, rotation.pepper_id, rotation.last, rotation.sealed_by, rotation.sealed)
        await self._write(_ADD_ROTATION, (digest, *wanted, rotation.at_ms, rotation.until_ms))
        made = await self.find_rotation(digest) or rotation
        await self._write(_SUCCEED, (made.digest, made.pepper_id, made.at_ms, digest))
        await self._write(_OUTLIVED, (made.until_ms, digest))
        await self._write(_RENEWED, (made.last, digest))
        return made

    async def drop_rotations(self, *, before_ms: int) -> None:
        await self._write("DELETE FROM token_rotation WHERE at < ?", (before_ms,))

    async def was_used(self, ids: Sequence[str], *, now_ms: int) -> None:
        for first in range(0, len(ids), _AT_ONCE):
            some = ids[first : first + _AT_ONCE]
            await self._write(_USED.format(marks(some)), (now_ms, *some))

    async def changes_after(self, number: int) -> list[tuple[int, str]]:
        rows = await self._read("SELECT change, id FROM token_grant WHERE change > ? ORDER BY change", (number,))
        return [(change, id) for change, id in rows]

    async def last_change(self) -> int:
        [(number,)] = await self._read("SELECT coalesce(max(change), 0) FROM token_grant", ())
        return int(number)


def marks(values: Sequence[object]) -> str:
    """A list of parameters, as a statement has it."""
    return f"({', '.join('?' * len(values))})"
