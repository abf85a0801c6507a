"""What a statement reads, from the books of many hosts: one snapshot of all of them, also on a read replica.

A statement is a loop over what it reads, and has nothing to do meanwhile: so each piece is simply waited for here.
"""

import asyncio
import struct
from collections.abc import Awaitable, Iterator, Mapping, Sequence
from types import TracebackType
from typing import Any

import asyncpg

from gateway.adapters.postgres.sessions import PROBLEMS, Address, Connection
from gateway.core.dues import KindSum, Sold, UnitSums
from gateway.core.ids import RequestId
from gateway.core.statements import Batches, Chain, Moved, PurseRow, Sum
from gateway.ports import BooksRefused, BooksSlow

_AT_ONCE = 100
_CHAINS = """SELECT keeper.id, coalesce(anchor.seq, 0), coalesce(
    (SELECT max(last) FROM fold WHERE fold.keeper = keeper.id AND done), 0)
FROM keeper LEFT JOIN anchor ON anchor.keeper = keeper.id
WHERE EXISTS (SELECT 1 FROM batch WHERE batch.keeper = keeper.id) ORDER BY keeper.id"""
_BATCHES = "SELECT seq, at, first, payload FROM batch WHERE keeper = $1 AND seq >= $2 ORDER BY seq"
_BATCHES_OF = """SELECT seq, at, first, payload FROM batch WHERE keeper = $1 AND seq >= $2
AND EXISTS (SELECT 1 FROM unnest($3::bytea[]) AS wanted (id) WHERE position(id IN payload) > 0) ORDER BY seq"""
_BATCHES_WITH = """SELECT seq, at, first, payload FROM batch WHERE keeper = $1 AND seq >= $2
AND position($3::bytea IN payload) > 0 ORDER BY seq"""
_HOURS = """SELECT usage_hour.hour, fold.keeper, fold.last, usage_hour.account, tariff, requests, micros
FROM usage_hour JOIN fold ON fold.number = usage_hour.fold
JOIN unnest($1::integer[], $2::bigint[]) AS up_to (keeper, last)
    ON fold.keeper = up_to.keeper AND fold.last <= up_to.last
WHERE cardinality($3::bigint[]) = 0 OR usage_hour.account = ANY ($3::bigint[])
ORDER BY {order}, usage_hour.account, tariff"""
_SOLD = """SELECT usage_hour.hour, fold.keeper, tariff, unit, sum(requests)::bigint, sum(usage_hour.micros)::bigint
FROM usage_hour JOIN fold ON fold.number = usage_hour.fold
JOIN unnest($1::integer[], $2::bigint[]) AS up_to (keeper, last)
    ON fold.keeper = up_to.keeper AND fold.last <= up_to.last
JOIN account ON account.id = usage_hour.account GROUP BY usage_hour.hour, fold.keeper, tariff, unit"""
_MONEY = """
SELECT 'credit', ref, account, micros, kind, at, keeper, batch FROM credit WHERE account = $1 UNION ALL
SELECT 'reversal', ref, account, -micros, kind, at, keeper, batch FROM reversal WHERE account = $1"""

_SUMS = """
SELECT unit, coalesce(sum(CASE WHEN holder NOT LIKE 'owner:%' AND paid AND micros > 0 THEN micros END), 0)::bigint,
    coalesce(sum(CASE WHEN holder NOT LIKE 'owner:%' AND paid AND micros < 0 THEN -micros END), 0)::bigint,
    coalesce(sum(CASE WHEN holder NOT LIKE 'owner:%' AND NOT paid THEN micros END), 0)::bigint,
    coalesce(sum(CASE WHEN holder LIKE 'owner:%' AND payout THEN -micros END), 0)::bigint,
    coalesce(sum(CASE WHEN holder LIKE 'owner:%' AND NOT payout THEN -micros END), 0)::bigint
FROM (
    SELECT account, micros, ref LIKE 'stripe:%' AS paid, ref LIKE 'payout:%' AS payout FROM credit
    UNION ALL SELECT account, -micros, ref LIKE 'stripe:%', ref LIKE 'payout:%' FROM reversal
) AS entry JOIN account ON account.id = entry.account
WHERE unit NOT LIKE 'cap:%' AND unit NOT LIKE 'quota:%' GROUP BY unit ORDER BY unit
"""
_KINDS = """
WITH caller AS (SELECT id, unit, debt FROM account
    WHERE holder NOT LIKE 'owner:%' AND unit NOT LIKE 'cap:%' AND unit NOT LIKE 'quota:%')
SELECT unit, 'credit', kind, count(*), sum(micros)::bigint FROM credit JOIN caller ON caller.id = account
    GROUP BY unit, kind
UNION ALL SELECT unit, 'reversal', kind, count(*), sum(micros)::bigint FROM reversal JOIN caller ON caller.id = account
    GROUP BY unit, kind
UNION ALL SELECT unit, 'debt', '', count(*), sum(debt)::bigint FROM caller WHERE debt > 0 GROUP BY unit
ORDER BY 1, 2, 3
"""
_OF_CALLERS = "WHERE holder NOT LIKE 'owner:%' AND holder NOT LIKE 'held:%' AND holder <> 'platform'"
_CALLERS = f"SELECT unit, sum(credited - spent - debt)::bigint FROM account {_OF_CALLERS} GROUP BY unit"  # noqa: S608
_LEFT = f"""SELECT unit, sum(credited - spent - debt)::bigint FROM account
{_OF_CALLERS} AND unit <> $1 AND credited - spent > debt GROUP BY unit"""  # noqa: S608
_CHARGED = """SELECT unit, coalesce(sum(CASE WHEN holder = 'platform' THEN credited - spent - debt END), 0)::bigint,
    coalesce(sum(CASE WHEN holder LIKE 'held:%' THEN credited - spent - debt END), 0)::bigint,
    (SELECT coalesce(sum(moved.micros), 0) FROM (
        SELECT ref, account, micros FROM reversal UNION ALL SELECT ref, account, -micros FROM credit
    ) AS moved JOIN account AS held ON held.id = moved.account WHERE held.unit = account.unit
        AND held.holder LIKE 'held:%' AND (ref LIKE 'payout:%' OR ref LIKE 'proceeds:%:paid'))::bigint
FROM account GROUP BY unit"""
_PURSES = "SELECT unit, priority, expires, credited - spent - debt FROM account WHERE holder = $1"


class PostgresStatementSource:
    """Implements `ports.StatementSource`; a context in which its connection is open. Raises BooksRefused.

    With `seconds`, it is read for so long at most, and then raises BooksSlow.
    """

    def __init__(self, address: Address, *, seconds: float | None = None) -> None:
        self._address = address
        self._seconds = seconds
        self._end: float | None = None
        self._runner = asyncio.Runner()
        self._sql: Connection | None = None

    def __enter__(self) -> "PostgresStatementSource":
        try:
            self._do(self._open())
        except BaseException:
            self._close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._close()

    def _close(self) -> None:
        if self._sql is not None:
            self._sql.terminate()
        self._runner.close()

    async def _open(self) -> None:
        if self._seconds is not None:
            self._end = asyncio.get_running_loop().time() + self._seconds
        sql = self._sql = await self._address.connect("statement")
        await sql.execute(f"SET statement_timeout = {int((self._seconds or 0) * 1000)}")
        await sql.execute("SET idle_in_transaction_session_timeout = 0")
        if await sql.fetchval("SELECT to_regclass('batch') IS NULL"):
            raise BooksRefused(f"{self._address.name} holds no books")
        if await sql.fetchval("SELECT to_regclass('refund') IS NULL"):
            raise BooksRefused(f"{self._address.name} was made by an older gateway: start this one on it once")
        await sql.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")

    # --- the port -----------------------------------------------------------------------------------------------------

    def tariffs(self) -> Iterator[tuple[tuple[int, int], str, str]]:
        for keeper, id, owner, route in self._rows("SELECT keeper, id, owner, route FROM tariff"):
            yield (keeper, id), owner, route

    def commissions(self) -> Iterator[tuple[tuple[int, int], int]]:
        for keeper, id, points in self._rows("SELECT keeper, id, commission_points FROM tariff"):
            yield (keeper, id), points

    def sold(self, last: Mapping[int, int]) -> Iterator[Sold]:
        yield from (Sold(*row) for row in self._rows(_SOLD, list(last), list(last.values())))

    def sums(self) -> Iterator[UnitSums]:
        callers = dict(tuple(row) for row in self._rows(_CALLERS))
        charged = {unit: sums for unit, *sums in self._rows(_CHARGED)}
        for unit, paid_in, refunded, otherwise, *left in self._rows(_SUMS):
            yield UnitSums(unit, paid_in, refunded, otherwise, callers.get(unit, 0), *left, *charged.get(unit, ()))

    def kinds(self) -> Iterator[KindSum]:
        yield from (KindSum(*row) for row in self._rows(_KINDS))

    def left(self, *, besides: str) -> dict[str, int]:
        return dict(tuple(row) for row in self._rows(_LEFT, besides))

    def accounts(self, holder: str) -> list[tuple[int, str]]:
        return [(id, unit) for id, unit in self._rows("SELECT id, unit FROM account WHERE holder = $1", holder)]

    def account(self, id: int) -> tuple[str, str]:
        [(holder, unit)] = self._rows("SELECT holder, unit FROM account WHERE id = $1", id)
        return holder, unit

    def purses(self, holder: str) -> list[PurseRow]:
        return [PurseRow(*row) for row in self._rows(_PURSES, holder)]

    def chains(self) -> list[Chain]:
        return [Chain(*row) for row in self._rows(_CHAINS)]

    def first_batch(self, keeper: int, after: int, at_ms: int) -> int | None:
        query = "SELECT min(seq) FROM batch WHERE keeper = $1 AND seq > $2 AND at >= $3"
        [(first,)] = self._rows(query, keeper, after, at_ms)
        return None if first is None else int(first)

    def last_batch(self, keeper: int) -> int:
        [(last,)] = self._rows("SELECT coalesce(max(seq), 0) FROM batch WHERE keeper = $1", keeper)
        return int(last)

    def batches(self, keeper: int, first: int, accounts: Sequence[int]) -> Batches:
        if accounts:  # the server looks for the account's bytes, and sends only those batches
            yield from self._rows(_BATCHES_OF, keeper, first, [struct.pack(">q", id) for id in accounts])
        else:
            yield from self._rows(_BATCHES, keeper, first)

    def batches_of(self, keeper: int, first: int, request: RequestId) -> Batches:
        yield from self._rows(_BATCHES_WITH, keeper, first, struct.pack(">qq", request.at_ms, request.number))

    def rule(self, keeper: int, tariff: int) -> str:
        [(price,)] = self._rows("SELECT price FROM tariff WHERE keeper = $1 AND id = $2", keeper, tariff)
        return str(price)

    def hours(self, last: Mapping[int, int], accounts: Sequence[int]) -> Iterator[Sum]:
        order = "usage_hour.hour, fold.keeper, fold.last" if len(last) > 1 else "fold.last"
        query = _HOURS.format(order=order)
        yield from (Sum(*row) for row in self._rows(query, list(last), list(last.values()), list(accounts)))

    def money(self, account: int) -> list[Moved]:
        return [Moved(*row) for row in self._rows(_MONEY, account)]

    # --- waiting ------------------------------------------------------------------------------------------------------

    def _rows(self, query: str, *values: object) -> Iterator[Any]:
        cursor = self._do(self._cursor(query, *values))
        while rows := self._do(cursor.fetch(_AT_ONCE)):
            yield from (tuple(row) for row in rows)

    async def _cursor(self, query: str, *values: object) -> "asyncpg.cursor.Cursor[asyncpg.Record]":
        assert self._sql is not None
        return await self._sql.cursor(query, *values)

    def _do(self, work: Any) -> Any:
        try:
            return self._runner.run(self._in_time(work))
        except (BooksSlow, asyncpg.QueryCanceledError) as slow:
            raise BooksSlow from slow
        except PROBLEMS as error:
            raise BooksRefused(self._address.told(error)) from error

    async def _in_time(self, work: Awaitable[Any]) -> Any:
        bound = asyncio.timeout_at(self._end)
        try:
            async with bound:
                return await work
        except TimeoutError:
            if bound.expired():
                raise BooksSlow from None
            raise


class PostgresStatementBooks:
    """Implements `ports.StatementBooks`."""

    def __init__(self, address: Address) -> None:
        self._address = address

    def open(self, *, seconds: float) -> PostgresStatementSource:
        return PostgresStatementSource(self._address, seconds=seconds)
