"""What is to be told, in the records' file. Implements `ports.Outbox`."""

import json
from collections.abc import Mapping
from typing import Any

from gateway.adapters.sqlite.keyroll import Read, Write
from gateway.core.outgoing import About, Channel, Outgoing, State, Type

_COLUMNS = "id, type, account, content, created, coalesce(since, created), tries, state, due, error, channel, receiver"
_PUT = """INSERT INTO outgoing (type, account, content, cause, created, due) VALUES (?, ?, ?, ?, ?5, ?5)
ON CONFLICT DO NOTHING"""
_PUT_EXPIRING = """INSERT INTO outgoing (type, account, content, cause, created, due)
SELECT 'card.expiring', account, json_object('card', label, 'expires', expires),
    'expiring ' || account || ' ' || method || ' ' || expires, ?2, ?2
FROM auto_top_up WHERE wanted AND method IS NOT NULL AND expires <= ?1 ON CONFLICT DO NOTHING"""
_TAKE = f"""UPDATE outgoing SET tries = tries + 1, due = ?2 WHERE number =
(SELECT number FROM outgoing WHERE state = 'waiting' AND due <= ?1 AND channel = ?3 AND (type LIKE 'alert.%') = ?4
ORDER BY due, number LIMIT 1)
RETURNING {_COLUMNS}"""  # noqa: S608 -- the names of columns, of our own
_PUT_LETTER = """INSERT INTO outgoing (type, account, content, cause, created, due, channel, receiver)
SELECT type, account, content, 'letter ' || id || ' ' || ?2, ?3, ?3, 'mail', ?2 FROM outgoing WHERE id = ?1
ON CONFLICT DO NOTHING"""
_PUT_OFF = "UPDATE outgoing SET state = ?, due = coalesce(?, due), error = ? WHERE id = ? AND state = 'waiting'"
_AGAIN = """UPDATE outgoing SET state = 'waiting', due = ?1, since = ?1, tries = 0
WHERE id = ?2 AND state <> 'waiting'"""
_DROP = """DELETE FROM outgoing WHERE number IN
(SELECT number FROM outgoing WHERE created < ? ORDER BY created LIMIT ?)"""


class SqliteOutbox:
    """Reads and writes as the records do."""

    def __init__(self, read: Read, write: Write) -> None:
        self._read = read
        self._write = write

    async def put(self, type: Type, account: str, content: Mapping[str, Any], *, cause: str, now_ms: int) -> bool:
        return await self._write(_PUT, (type, account, json.dumps(content), cause, now_ms))

    async def put_expiring(self, until: str, *, now_ms: int) -> None:
        await self._write(_PUT_EXPIRING, (until, now_ms))

    async def seen_low(self, account: str) -> tuple[int, int] | None:
        rows = await self._read("SELECT remains, credited FROM low_balance WHERE account = ?", (account,))
        return next(((remains, credited) for remains, credited in rows), None)

    async def keep_low(self, account: str, *, remains: int, credited: int) -> None:
        await self._write("INSERT OR REPLACE INTO low_balance VALUES (?, ?, ?)", (account, remains, credited))

    async def find(self, id: str) -> Outgoing | None:
        rows = await self._read(f"SELECT {_COLUMNS} FROM outgoing WHERE id = ?", (id,))  # noqa: S608
        return next((_outgoing(row) for row in rows), None)

    async def put_letter(self, id: str, receiver: str, *, now_ms: int) -> None:
        await self._write(_PUT_LETTER, (id, receiver, now_ms))

    async def take(
        self, *, now_ms: int, lease_ms: int, channel: Channel = "webhook", about: About = "accounts"
    ) -> Outgoing | None:
        values = (now_ms, now_ms + lease_ms, channel, about == "alerts")
        return next((_outgoing(row) for row in await self._read(_TAKE, values)), None)

    async def delivered(self, id: str) -> None:
        await self._write(_PUT_OFF, ("delivered", None, None, id))

    async def put_off(self, id: str, *, due_ms: int | None, error: str) -> None:
        await self._write(_PUT_OFF, ("failed" if due_ms is None else "waiting", due_ms, error, id))

    async def again(self, id: str, *, now_ms: int) -> bool:
        return await self._write(_AGAIN, (now_ms, id))

    async def entries(self, state: State | None, *, count: int) -> list[Outgoing]:
        query = f"SELECT {_COLUMNS} FROM outgoing WHERE ?1 IS NULL OR state = ?1 ORDER BY number DESC LIMIT ?2"  # noqa: S608
        return [_outgoing(row) for row in await self._read(query, (state, count))]

    async def count(self) -> dict[tuple[Channel, State], int]:
        rows = await self._read("SELECT channel, state, count(*) FROM outgoing GROUP BY channel, state", ())
        return {(channel, state): number for channel, state, number in rows}

    async def drop(self, *, before_ms: int, count: int) -> bool:
        return await self._write(_DROP, (before_ms, count))


def _outgoing(row: Any) -> Outgoing:
    id, type, account, content, *more = row
    return Outgoing(id, type, account, json.loads(content), *more)
