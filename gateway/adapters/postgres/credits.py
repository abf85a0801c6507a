"""Reads payments out of the books that hosts share, on a connection of its own for each question."""

from collections.abc import Sequence

import asyncpg

from gateway.adapters.postgres.sessions import PROBLEMS, Address
from gateway.core.caps import CapLine
from gateway.core.money import Money
from gateway.ports import CreditLine, StoreFailed

_LINES = "SELECT ref, holder, unit, micros, at FROM credit JOIN account ON credit.account = account.id WHERE "
_ENTRY = """SELECT ref, holder, unit, -micros AS micros, at FROM reversal JOIN account ON reversal.account = account.id
WHERE ref = $1 UNION ALL
SELECT ref, holder, unit, micros, at FROM credit JOIN account ON credit.account = account.id WHERE ref = $1"""
_TAKEN = "SELECT micros FROM reversal WHERE ref = $1 UNION ALL SELECT -micros FROM credit WHERE ref = $1"

_STANDING = """SELECT coalesce(sum(credited - spent - debt), 0) AS micros FROM account
WHERE holder = $1 AND unit = $2"""
_TOTALS = """SELECT coalesce(sum(credited), 0) AS credited, coalesce(sum(credited - spent - debt), 0) AS standing
FROM account WHERE holder = $1 AND unit = $2"""
_CAP = """
SELECT credited - debt, spent, count(entry.account), coalesce(max(entry.reason::bigint), -1)
FROM account LEFT JOIN LATERAL (
    SELECT account, reason FROM credit WHERE credit.account = account.id
    UNION ALL SELECT account, reason FROM reversal WHERE reversal.account = account.id
) AS entry ON true WHERE holder = $1 AND unit = $2 GROUP BY id
"""
_UNITS = "SELECT DISTINCT unit FROM account WHERE holder = $1 ORDER BY unit"
_PAID = "ref ~ '^stripe:(cs_|(pi|in)_[^:]*$)'"
"""Payments; what was given back of one is numbered after its name."""


class PostgresCreditLines:
    """Implements `ports.CreditLines`, `ports.EntryLines`, `ports.Standings` and `ports.CapLines`."""

    def __init__(self, address: Address) -> None:
        self._address = address

    async def credit_of(self, ref: str) -> CreditLine | None:
        return next(iter(await self._read("ref = $1", ref)), None)

    async def entry_of(self, ref: str) -> CreditLine | None:
        return next(iter(_lines(await self._rows(_ENTRY, ref))), None)

    async def standing(self, holder: str, currency: str) -> Money:
        rows = await self._rows(_STANDING, holder, currency)
        return Money(int(rows[0]["micros"]), currency)

    async def totals(self, holder: str, currency: str) -> tuple[Money, Money]:
        [row] = await self._rows(_TOTALS, holder, currency)
        return Money(int(row["credited"]), currency), Money(int(row["standing"]), currency)

    async def paid_since(self, holder: str, currency: str, since_ms: int) -> Money:
        lines = f"{_LINES}{_PAID} AND holder = $1 AND unit = $2 AND at > $3"
        query = f"SELECT coalesce(sum(micros), 0) AS micros FROM ({lines}) AS line"  # noqa: S608
        [row] = await self._rows(query, holder, currency, since_ms)
        return Money(int(row["micros"]), currency)

    async def cap_line(self, name: str, unit: str) -> CapLine:
        rows = await self._rows(_CAP, name, unit)
        return CapLine(*rows[0].values()) if rows else CapLine()

    async def units(self, holder: str) -> list[str]:
        return [str(row["unit"]) for row in await self._rows(_UNITS, holder)]

    async def credits_between(self, begin_ms: int, end_ms: int) -> list[CreditLine]:
        condition = f"{_PAID} AND at >= $1 AND at < $2 ORDER BY at, ref"
        return await self._read(condition, begin_ms, end_ms)

    async def taken_by(self, ref: str) -> int | None:
        rows = await self._rows(_TAKEN, ref)
        return int(rows[0][0]) if rows else None

    async def _read(self, condition: str, *values: object) -> list[CreditLine]:
        return _lines(await self._rows(_LINES + condition, *values))

    async def _rows(self, query: str, *values: object) -> Sequence[asyncpg.Record]:
        try:
            connection = await self._address.connect("reconcile")
            try:
                return await connection.fetch(query, *values)
            finally:
                await connection.close(timeout=1)
        except PROBLEMS as error:
            raise StoreFailed(self._address.told(error)) from error


def _lines(rows: Sequence[asyncpg.Record]) -> list[CreditLine]:
    return [CreditLine(row["ref"], row["holder"], Money(row["micros"], row["unit"]), row["at"]) for row in rows]
