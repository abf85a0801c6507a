"""The trail, of all hosts together. Implements `ports.TrailBook`."""

from collections.abc import Sequence

import asyncpg

from gateway.adapters.postgres.keyroll import Do
from gateway.core.trail import Step

_COLUMNS = "SELECT number, content, hash, key_id, mac FROM trail"
_ADD = """INSERT INTO trail (number, content, hash, key_id, mac, action, object) VALUES ($1, $2, $3, $4, $5, $6, $7)
ON CONFLICT DO NOTHING RETURNING number"""


class PostgresTrail:
    """Reads and writes as the records do."""

    def __init__(self, do: Do) -> None:
        self._do = do

    async def last_step(self) -> Step | None:
        return next(iter(_steps(await self._do(f"{_COLUMNS} ORDER BY number DESC LIMIT 1"))), None)

    async def add_step(self, step: Step, *, action: str, object: str) -> bool:
        values = (step.number, step.content, step.hash, step.key_id, step.mac, action, object)
        return bool(await self._do(_ADD, *values))

    async def steps_after(self, number: int, *, count: int) -> Sequence[Step]:
        return _steps(await self._do(f"{_COLUMNS} WHERE number > $1 ORDER BY number LIMIT $2", number, count))

    async def steps_before(
        self, number: int, *, count: int, object: str | None = None, action: str | None = None
    ) -> Sequence[Step]:
        # Written so that the index of objects is used: each payment that is credited asks.
        of_it = "object = $3" if object is not None else "$3::text IS NULL"
        among = f"number < $1 AND {of_it} AND ($4::text IS NULL OR action = $4)"
        query = f"{_COLUMNS} WHERE {among} ORDER BY number DESC LIMIT $2"
        return _steps(await self._do(query, number, count, object, action))


def _steps(rows: Sequence[asyncpg.Record]) -> list[Step]:
    return [Step(row["number"], row["content"], row["hash"], row["key_id"], row["mac"]) for row in rows]
