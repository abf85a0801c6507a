"""Reads payments out of the books in a file, on a connection and in a thread of its own. Needs no lock."""

import asyncio
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

from gateway.adapters.sqlite.rights import why
from gateway.core.caps import CapLine
from gateway.core.money import Money
from gateway.ports import CreditLine, StoreFailed

_LINES = "SELECT ref, holder, unit, micros, at FROM credit JOIN account ON account = id WHERE "
_ENTRY = """SELECT ref, holder, unit, -micros, at FROM reversal JOIN account ON account = id WHERE ref = ?1
UNION ALL SELECT ref, holder, unit, micros, at FROM credit JOIN account ON account = id WHERE ref = ?1"""
_TAKEN = "SELECT micros FROM reversal WHERE ref = ?1 UNION ALL SELECT -micros FROM credit WHERE ref = ?1"

_STANDING = "SELECT coalesce(sum(credited - spent - debt), 0) FROM account WHERE holder = ? AND unit = ?"
_TOTALS = """SELECT coalesce(sum(credited), 0), coalesce(sum(credited - spent - debt), 0) FROM account
WHERE holder = ? AND unit = ?"""
_CAP = """
SELECT credited - debt, spent, (SELECT count(*) FROM credit WHERE account = id)
    + (SELECT count(*) FROM reversal WHERE account = id), coalesce((
        SELECT max(CAST(reason AS INTEGER)) FROM (
            SELECT reason FROM credit WHERE account = id UNION ALL SELECT reason FROM reversal WHERE account = id
        )
    ), -1)
FROM account WHERE holder = ? AND unit = ?
"""
_UNITS = "SELECT DISTINCT unit FROM account WHERE holder = ? ORDER BY unit"
_PAID = """(ref GLOB 'stripe:cs_*'
OR (ref GLOB 'stripe:pi_*' OR ref GLOB 'stripe:in_*') AND ref NOT GLOB 'stripe:??_*:*')"""
"""Payments; what was given back of one is numbered after its name."""


class SqliteCreditLines:
    """Implements `ports.CreditLines`, `ports.EntryLines`, `ports.Standings` and `ports.CapLines`."""

    def __init__(self, path: Path) -> None:
        self._path = path

    async def credit_of(self, ref: str) -> CreditLine | None:
        return next(iter(await asyncio.to_thread(self._read, "ref = ?", ref)), None)

    async def entry_of(self, ref: str) -> CreditLine | None:
        return next(iter(_lines(await asyncio.to_thread(self._rows, _ENTRY, (ref,)))), None)

    async def standing(self, holder: str, currency: str) -> Money:
        rows = await asyncio.to_thread(self._rows, _STANDING, (holder, currency))
        return Money(int(rows[0][0]), currency)

    async def totals(self, holder: str, currency: str) -> tuple[Money, Money]:
        [(credited, left)] = await asyncio.to_thread(self._rows, _TOTALS, (holder, currency))
        return Money(int(credited), currency), Money(int(left), currency)

    async def paid_since(self, holder: str, currency: str, since_ms: int) -> Money:
        query = f"SELECT coalesce(sum(micros), 0) FROM ({_LINES}{_PAID} AND holder = ? AND unit = ? AND at > ?)"  # noqa: S608
        [(micros,)] = await asyncio.to_thread(self._rows, query, (holder, currency, since_ms))
        return Money(int(micros), currency)

    async def cap_line(self, name: str, unit: str) -> CapLine:
        rows = await asyncio.to_thread(self._rows, _CAP, (name, unit))
        return CapLine(*rows[0]) if rows else CapLine()

    async def units(self, holder: str) -> list[str]:
        rows = await asyncio.to_thread(self._rows, _UNITS, (holder,))
        return [str(unit) for (unit,) in rows]

    async def credits_between(self, begin_ms: int, end_ms: int) -> list[CreditLine]:
        condition = f"{_PAID} AND at >= ? AND at < ? ORDER BY at, ref"
        return await asyncio.to_thread(self._read, condition, begin_ms, end_ms)

    async def taken_by(self, ref: str) -> int | None:
        rows = await asyncio.to_thread(self._rows, _TAKEN, (ref,))
        return int(rows[0][0]) if rows else None

    def _read(self, condition: str, *values: object) -> list[CreditLine]:
        return _lines(self._rows(_LINES + condition, values))

    def _rows(self, query: str, values: tuple[object, ...]) -> list[tuple[Any, ...]]:
        try:
            with closing(sqlite3.connect(f"{self._path.absolute().as_uri()}?mode=ro", uri=True, timeout=5)) as sql:
                return sql.execute(query, values).fetchall()
        except sqlite3.Error as error:
            raise StoreFailed(why(self._path, error)) from error


def _lines(rows: list[tuple[Any, ...]]) -> list[CreditLine]:
    return [CreditLine(ref, holder, Money(micros, unit), at) for ref, holder, unit, micros, at in rows]
