"""What meters read, for all hosts. Implements `ports.MeterBook`."""

from collections.abc import Sequence

from gateway.adapters.postgres.keyroll import Do

_KEEP = """INSERT INTO reading SELECT * FROM unnest($1::text[], $2::bigint[], $3::text[]) ON CONFLICT DO NOTHING"""
_OF = "SELECT request, contents FROM reading WHERE request = ANY($1::text[])"
_DROP = """DELETE FROM reading WHERE request IN (
    SELECT request FROM reading
    WHERE at < greatest($1::bigint, coalesce((SELECT at FROM reading ORDER BY at DESC LIMIT 1 OFFSET $2), 0))
    ORDER BY at LIMIT $3
) RETURNING 1"""


class PostgresMeterBook:
    """Reads and writes as the records do."""

    def __init__(self, do: Do) -> None:
        self._do = do

    async def keep(self, rows: Sequence[tuple[str, int, str]]) -> None:
        await self._do(_KEEP, *(list(column) for column in zip(*rows, strict=True)))

    async def of(self, requests: Sequence[str]) -> dict[str, str]:
        return {row["request"]: row["contents"] for row in await self._do(_OF, list(requests))}

    async def drop(self, *, before_ms: int, rows_max: int, count: int) -> int:
        return len(await self._do(_DROP, before_ms, rows_max - 1, count))
