"""How routes are used, in the records of either kind. Implements `ports.RouteUse`.

Numbers are only ever added to, each in a row of its own and in the same order by everybody, so that any number of
processes can count into the same rows.
"""

from collections.abc import Awaitable, Callable, Collection, Sequence
from typing import Any

from gateway.core.route_use import Measures

Ask = Callable[..., Awaitable[Sequence[Any]]]
_ROWS_MAX = 100
_ADD = """INSERT INTO route_use (hour, route, measure, number) VALUES {}
ON CONFLICT (hour, route, measure) DO UPDATE SET number = route_use.number + excluded.number"""


class RecordedUse:
    """Keeps them."""

    def __init__(self, ask: Ask) -> None:
        self._ask = ask

    async def add_use(self, hour_ms: int, measures: Measures) -> None:
        rows = [(hour_ms, *key, number) for key, number in sorted(measures.items())]
        for begin in range(0, len(rows), _ROWS_MAX):
            some = rows[begin : begin + _ROWS_MAX]
            marks = ", ".join(f"(${at}, ${at + 1}, ${at + 2}, ${at + 3})" for at in range(1, 4 * len(some), 4))
            await self._ask(_ADD.format(marks), *(value for row in some for value in row))

    async def use_since(self, hour_ms: int, routes: Collection[str]) -> dict[str, dict[str, int]]:
        found: dict[str, dict[str, int]] = {}
        query = (
            "SELECT route, measure, CAST(sum(number) AS BIGINT) FROM route_use WHERE hour >= $1 GROUP BY route, measure"
        )
        for route, measure, number in await self._ask(query, hour_ms):
            if route in routes:
                found.setdefault(route, {})[measure] = int(number)
        return found

    async def drop_use(self, before_ms: int) -> None:
        await self._ask("DELETE FROM route_use WHERE hour < $1", before_ms)
