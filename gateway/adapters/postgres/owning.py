"""Reads owners out of the books that hosts share, on a connection of its own for each question."""

from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

from gateway.adapters.postgres.sessions import PROBLEMS, Address, Connection
from gateway.core.claw_backs import Borne, Debtor, Spent
from gateway.core.held import read_due_account
from gateway.core.payouts import OwnersBooks, Shared
from gateway.core.transfers import CLAW_BACK_REF
from gateway.ports import StoreFailed

_FOLD = "SELECT coalesce(max(number), 0) FROM fold WHERE done"
_SHARED = """
SELECT substr(owner, 7), unit, hour, sum(micros)::bigint FROM (
    SELECT payee AS owner, unit, fold, micros FROM transfer WHERE kind = 'share' AND payee LIKE 'owner:%'
    UNION ALL SELECT payer, unit, fold, -micros FROM transfer WHERE kind = 'share' AND payer LIKE 'owner:%'
) AS moved JOIN fold ON fold.number = moved.fold WHERE fold.number <= $1 GROUP BY owner, unit, hour
ORDER BY owner, unit, hour
"""
_LEFT = """
SELECT holder, unit, ref, entry.micros, at, kind FROM (
    SELECT ref, account, micros, kind, at FROM reversal
    UNION ALL SELECT ref, account, -micros, kind, at FROM credit
) AS entry JOIN account ON account.id = entry.account
WHERE holder LIKE 'owner:%' OR holder LIKE 'held:%:due' ORDER BY at, ref
"""
# What is there still was not spent, whether a host holds it or has just given it back: it settles as much of the debt.
_DEBTORS = """
SELECT id, unit, debt - (credited - spent) AS debt FROM account
WHERE debt > credited - spent AND debt > 0 AND holder NOT LIKE 'owner:%' AND unit NOT LIKE '%:%'
"""
_UNITS = """SELECT id, unit, greatest(debt - (credited - spent), 0) AS debt FROM account
WHERE id = ANY ($1::bigint[])"""
_SPENT = """
SELECT usage_hour.hour, owner, commission_points, sum(usage_hour.micros)::bigint
FROM usage_hour JOIN fold ON fold.number = usage_hour.fold
JOIN tariff ON tariff.keeper = fold.keeper AND tariff.id = usage_hour.tariff
WHERE usage_hour.account = $1 AND route <> '' AND fold.number <= $2 GROUP BY usage_hour.hour, owner, commission_points
"""
_T = TypeVar("_T")


class PostgresOwnersMoney:
    """Implements `ports.OwnersMoney`."""

    def __init__(self, address: Address) -> None:
        self._address = address

    async def owners_books(self) -> OwnersBooks:
        return await self._read(_owners_books)

    async def debtors(self) -> Sequence[Debtor]:
        return await self._read(_debtors)

    async def _read(self, read: Callable[[Connection], Awaitable[_T]]) -> _T:
        try:
            connection = await self._address.connect("owners")
            try:
                async with connection.transaction(isolation="repeatable_read", readonly=True):
                    return await read(connection)
            finally:
                await connection.close(timeout=1)
        except PROBLEMS as error:
            raise StoreFailed(self._address.told(error)) from error


async def _owners_books(connection: Connection) -> OwnersBooks:
    fold = await connection.fetchval(_FOLD)
    shared = [Shared(*row) for row in await connection.fetch(_SHARED, fold)]
    return OwnersBooks.read(fold, shared, [tuple(row) for row in await connection.fetch(_LEFT)])


async def _debtors(connection: Connection) -> list[Debtor]:
    borne: dict[int, dict[str, Borne]] = {}
    for holder, _, ref, micros, *_ in await connection.fetch(_LEFT):
        kind, _, rest = ref.partition(":")
        if kind == CLAW_BACK_REF:
            owner = read_due_account(holder)[0]
            by_owner = borne.setdefault(int(rest.partition(":")[0]), {})
            before = by_owner.get(owner, Borne(owner, 0, 0))
            by_owner[owner] = Borne(owner, before.micros + micros, before.entries + 1)
    rows = {row["id"]: (row["unit"], row["debt"]) for row in await connection.fetch(_DEBTORS)}
    settled = sorted(borne.keys() - rows.keys())
    rows |= {row["id"]: (row["unit"], row["debt"]) for row in await connection.fetch(_UNITS, settled)}
    fold = await connection.fetchval(_FOLD)
    found = []
    for id, (unit, debt) in sorted(rows.items()):
        spent = [Spent(*row) for row in await connection.fetch(_SPENT, id, fold)] if debt else []
        found.append(Debtor(id, unit, debt, spent, list(borne.get(id, {}).values())))
    return found
