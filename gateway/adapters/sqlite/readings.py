"""What meters read, in the records' file. Implements `ports.MeterBook`."""

import json
from collections.abc import Awaitable, Callable, Sequence

from gateway.adapters.sqlite.keyroll import Read, Write

_KEEP = "INSERT INTO reading VALUES {} ON CONFLICT DO NOTHING"
_OF = "SELECT request, contents FROM reading WHERE request IN (SELECT value FROM json_each(?))"
_DROP = """DELETE FROM reading WHERE request IN (
    SELECT request FROM reading
    WHERE at < max(?1, coalesce((SELECT at FROM reading ORDER BY at DESC LIMIT 1 OFFSET ?2), 0))
    ORDER BY at LIMIT ?3
)"""


class SqliteMeterBook:
    """Reads and writes as the records do."""

    def __init__(self, read: Read, write: Write, change: Callable[[str, tuple[object, ...]], Awaitable[int]]) -> None:
        self._read = read
        self._write = write
        self._change = change

    async def keep(self, rows: Sequence[tuple[str, int, str]]) -> None:
        """One statement: what it takes is on the processor of those who serve."""
        if rows:
            places = ",".join(["(?, ?, ?)"] * len(rows))
            await self._write(_KEEP.format(places), tuple(value for row in rows for value in row))

    async def of(self, requests: Sequence[str]) -> dict[str, str]:
        rows = await self._read(_OF, (json.dumps(requests),))
        return {str(request): str(contents) for request, contents in rows}

    async def drop(self, *, before_ms: int, rows_max: int, count: int) -> int:
        return await self._change(_DROP, (before_ms, rows_max - 1, count))
