"""What accounts may spend, in the records' file. Implements `ports.CapBook`."""

from gateway.adapters.sqlite.keyroll import Read, Write
from gateway.core.caps import CapSetting, Period

_ADD = """INSERT INTO account_cap SELECT (SELECT coalesce(max(number), 0) + 1 FROM account_cap), ?1, ?2, ?3, ?4,
max(?5, coalesce((SELECT max(since) + 1 FROM account_cap WHERE account = ?1), 0)), ?6, ?7"""
_COLUMNS = "SELECT number, account, period, unit, micros, since, tell_at, zone FROM account_cap"


class SqliteCapBook:
    """Reads and writes as the records do."""

    def __init__(self, read: Read, write: Write) -> None:
        self._read = read
        self._write = write

    async def add_cap(
        self,
        account: str,
        period: Period,
        unit: str,
        micros: int | None,
        *,
        now_ms: int,
        tell_at: int | None = None,
        zone: str | None = None,
    ) -> None:
        await self._write(_ADD, (account, period, unit, micros, now_ms, tell_at, zone))

    async def caps_after(self, number: int) -> list[CapSetting]:
        rows = await self._read(f"{_COLUMNS} WHERE number > ? ORDER BY number", (number,))
        return [CapSetting(*row) for row in rows]

    async def caps_of(self, account: str) -> list[CapSetting]:
        rows = await self._read(f"{_COLUMNS} WHERE account = ? ORDER BY number", (account,))
        return [CapSetting(*row) for row in rows]
