"""Reads owners out of the books that hosts share, on a connection of its own for each question."""

from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

from gateway.adapters.postgres.sessions import PROBLEMS, Address, Connection
from gateway.core.claw_backs import Debtor, Spent, borne_by_rows, of_wallet
from gateway.core.payouts import OwnersBooks, Shared
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
_OWING = """
SELECT id, holder, unit FROM account
WHERE (debt > credited - spent AND debt > 0 AND holder NOT LIKE 'owner:%' AND unit NOT LIKE '%:%')
OR id = ANY ($1::bigint[]) ORDER BY id
"""
_WALLET = """
SELECT id, CASE WHEN debt > 0 THEN greatest(debt - (credited - spent), 0) ELSE 0 END AS owed FROM account
WHERE holder = ANY ($1::text[]) AND unit = $2 AND (
    (priority = 0 AND expires = 0)
    OR EXISTS (SELECT 1 FROM credit WHERE credit.account = account.id AND kind <> 'manual')
)
"""
_SPENT = """
SELECT usage_hour.account, usage_hour.hour, owner, commission_points, sum(usage_hour.micros)::bigint
FROM usage_hour JOIN fold ON fold.number = usage_hour.fold
JOIN tariff ON tariff.keeper = fold.keeper AND tariff.id = usage_hour.tariff
WHERE usage_hour.account = ANY ($1::bigint[]) AND route <> '' AND fold.number <= $2
GROUP BY usage_hour.account, usage_hour.hour, owner, commission_points
"""
# A reversal says of which payment it is (`core/reversals.py`), and the credit of that payment where it went.
_BACK = """
WITH entry AS (
    SELECT reason, micros FROM reversal WHERE account = ANY ($1::bigint[]) AND ref LIKE 'stripe:%'
    UNION ALL SELECT reason, -micros FROM credit
    WHERE account = ANY ($1::bigint[]) AND ref LIKE 'stripe:%' AND kind = 'restored'
), payment AS (
    SELECT 'stripe:' || substr(reason, strpos(reason, ' of ') + 4) AS ref FROM entry GROUP BY 1 HAVING sum(micros) > 0
)
SELECT DISTINCT account.id FROM payment CROSS JOIN account JOIN credit ON credit.account = account.id
AND credit.ref IN (payment.ref, payment.ref || '#' || account.priority || '@' || account.expires)
WHERE account.id = ANY ($1::bigint[])
"""
_T = TypeVar("_T")


class PostgresOwnersMoney:
    """Implements `ports.OwnersMoney`."""

    def __init__(self, address: Address) -> None:
        self._address = address

    async def owners_books(self) -> OwnersBooks:
        return await self._read(_owners_books)

    async def debtors(self, wallet: Callable[[str], Sequence[str]]) -> Sequence[Debtor]:
        return await self._read(lambda connection: _debtors(connection, wallet))

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


async def _debtors(connection: Connection, wallet: Callable[[str], Sequence[str]]) -> list[Debtor]:
    borne, found, seen = borne_by_rows([tuple(one) for one in await connection.fetch(_LEFT)]), [], set[int]()
    fold = await connection.fetchval(_FOLD)
    for row, holder, unit in await connection.fetch(_OWING, list(borne)):
        if row in seen:
            continue
        rows = {one["id"]: one["owed"] for one in await connection.fetch(_WALLET, list(wallet(holder)), unit)}
        seen |= rows.keys()
        spent: dict[int, list[Spent]] = {}
        back: list[int] = []
        if any(rows.values()):
            back = [one["id"] for one in await connection.fetch(_BACK, list(rows))]
            for id, *one in await connection.fetch(_SPENT, list(rows), fold):
                spent.setdefault(id, []).append(Spent(*one))
        found.append(of_wallet(unit, rows, spent, borne, back))
    return found
