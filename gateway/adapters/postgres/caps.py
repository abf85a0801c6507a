"""What accounts may spend, for all hosts. Implements `ports.CapBook`; numbers are taken as those of freezes."""

from gateway.adapters.postgres.freezes import numbered
from gateway.adapters.postgres.keyroll import Do
from gateway.core.caps import CapSetting, Period

_ADD = """INSERT INTO account_cap SELECT (SELECT coalesce(max(number), 0) + 1 FROM account_cap), $1, $2, $3, $4,
greatest($5::bigint, coalesce((SELECT max(since) + 1 FROM account_cap WHERE account = $1), 0)), $6, $7
RETURNING number"""
_COLUMNS = "SELECT number, account, period, unit, micros, since, tell_at, zone FROM account_cap"


class PostgresCapBook:
    """Reads and writes as the records do."""

    def __init__(self, do: Do) -> None:
        self._do = do

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
        await numbered(self._do, _ADD, account, period, unit, micros, now_ms, tell_at, zone)

    async def caps_after(self, number: int) -> list[CapSetting]:
        rows = await self._do(f"{_COLUMNS} WHERE number > $1 ORDER BY number", number)
        return [CapSetting(*row.values()) for row in rows]

    async def caps_of(self, account: str) -> list[CapSetting]:
        rows = await self._do(f"{_COLUMNS} WHERE account = $1 ORDER BY number", account)
        return [CapSetting(*row.values()) for row in rows]
