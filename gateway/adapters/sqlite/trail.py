"""The trail, in the records' file. Implements `ports.TrailBook`."""

from collections.abc import Iterable, Sequence
from typing import Any

from gateway.adapters.sqlite.keyroll import Read, Write
from gateway.core.trail import Step

_COLUMNS = "SELECT number, content, hash, key_id, mac FROM trail"
_ADD = "INSERT INTO trail (number, content, hash, key_id, mac, action, object) VALUES (?, ?, ?, ?, ?, ?, ?)"


class SqliteTrail:
    """Reads and writes as the records do."""

    def __init__(self, read: Read, write: Write) -> None:
        self._read = read
        self._write = write

    async def last_step(self) -> Step | None:
        return next(iter(_steps(await self._read(f"{_COLUMNS} ORDER BY number DESC LIMIT 1", ()))), None)

    async def add_step(self, step: Step, *, action: str, object: str) -> bool:
        values = (step.number, step.content, step.hash, step.key_id, step.mac, action, object)
        return await self._write(f"{_ADD} ON CONFLICT DO NOTHING", values)

    async def steps_after(self, number: int, *, count: int) -> Sequence[Step]:
        return _steps(await self._read(f"{_COLUMNS} WHERE number > ? ORDER BY number LIMIT ?", (number, count)))

    async def steps_before(
        self, number: int, *, count: int, object: str | None = None, action: str | None = None
    ) -> Sequence[Step]:
        # Written so that the index of objects is used: each payment that is credited asks.
        of_it = "object = ?3" if object is not None else "?3 IS NULL"
        among = f"number < ?1 AND {of_it} AND (?4 IS NULL OR action = ?4)"
        query = f"{_COLUMNS} WHERE {among} ORDER BY number DESC LIMIT ?2"
        return _steps(await self._read(query, (number, count, object, action)))


def _steps(rows: Iterable[Any]) -> list[Step]:
    return [Step(*row) for row in rows]
