"""Frozen accounts, in the records' file. Implements `ports.FreezeBook`."""

from gateway.adapters.sqlite.keyroll import Read, Write
from gateway.ports import Freeze

_ADD = """INSERT INTO freezing SELECT (SELECT coalesce(max(number), 0) + 1 FROM freezing), ?1, ?2, ?3, ?4, ?5
WHERE true ON CONFLICT (cause) DO NOTHING"""
_COLUMNS = "SELECT number, account, frozen, reason, at FROM freezing"


class SqliteFreezes:
    """Reads and writes as the records do."""

    def __init__(self, read: Read, write: Write) -> None:
        self._read = read
        self._write = write

    async def add_freeze(
        self, account: str, *, frozen: bool, reason: str, now_ms: int, cause: str | None = None
    ) -> bool:
        return await self._write(_ADD, (account, frozen, reason, now_ms, cause))

    async def freezes_after(self, number: int) -> list[Freeze]:
        rows = await self._read(f"{_COLUMNS} WHERE number > ? ORDER BY number", (number,))
        return [Freeze(number, account, bool(frozen), reason, at) for number, account, frozen, reason, at in rows]

    async def freezes_of(self, account: str) -> list[Freeze]:
        rows = await self._read(f"{_COLUMNS} WHERE account = ? ORDER BY number", (account,))
        return [Freeze(number, account, bool(frozen), reason, at) for number, account, frozen, reason, at in rows]
