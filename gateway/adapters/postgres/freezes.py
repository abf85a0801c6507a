"""Frozen accounts, for all hosts. Implements `ports.FreezeBook`.

A number is taken only when the one before it is committed (the next waits at the primary key), so whoever reads from
the highest that it has seen misses none.
"""

from collections.abc import Sequence

import asyncpg

from gateway.adapters.postgres.keyroll import Do
from gateway.core.refusals import RecordsUnavailable
from gateway.ports import Freeze

_ADD = """INSERT INTO freezing
SELECT (SELECT coalesce(max(number), 0) + 1 FROM freezing), $1, $2, $3, $4, $5::text
WHERE NOT EXISTS (SELECT 1 FROM freezing WHERE cause = $5::text) RETURNING number"""
_COLUMNS = "SELECT number, account, frozen, reason, at FROM freezing"
_TRIES = 20


class PostgresFreezes:
    """Reads and writes as the records do."""

    def __init__(self, do: Do) -> None:
        self._do = do

    async def add_freeze(
        self, account: str, *, frozen: bool, reason: str, now_ms: int, cause: str | None = None
    ) -> bool:
        return await numbered(self._do, _ADD, account, frozen, reason, now_ms, cause)

    async def freezes_after(self, number: int) -> list[Freeze]:
        return _read(await self._do(f"{_COLUMNS} WHERE number > $1 ORDER BY number", number))

    async def freezes_of(self, account: str) -> list[Freeze]:
        return _read(await self._do(f"{_COLUMNS} WHERE account = $1 ORDER BY number", account))


def _read(rows: Sequence[asyncpg.Record]) -> list[Freeze]:
    return [Freeze(row["number"], row["account"], row["frozen"], row["reason"], row["at"]) for row in rows]


async def numbered(do: Do, statement: str, *values: object) -> bool:
    """Write a row with the next number, whoever else takes one; whether there was one to write."""
    for _ in range(_TRIES):
        try:
            return bool(await do(statement, *values))
        except RecordsUnavailable as unavailable:
            if not isinstance(unavailable.__cause__, asyncpg.UniqueViolationError):
                raise
    raise RecordsUnavailable()  # somebody was faster, every time
