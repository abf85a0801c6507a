"""Reads owners out of the books in a file, on a connection and in a thread of its own. Needs no lock."""

import asyncio
import json
import sqlite3
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from gateway.core.claw_backs import Debtor, Spent, borne_by_rows, of_wallet
from gateway.core.payouts import OwnersBooks, Shared
from gateway.ports import StoreFailed

_FOLD = "SELECT coalesce(max(last), 0) FROM fold WHERE done"
_SHARED = """
SELECT substr(owner, 7), unit, hour, sum(micros) FROM (
    SELECT payee AS owner, unit, fold, micros FROM transfer WHERE kind = 'share' AND payee GLOB 'owner:*'
    UNION ALL SELECT payer, unit, fold, -micros FROM transfer WHERE kind = 'share' AND payer GLOB 'owner:*'
) JOIN fold ON fold.last = fold WHERE fold <= ? GROUP BY owner, unit, hour ORDER BY owner, unit, hour
"""
_LEFT = """
SELECT holder, unit, ref, entry.micros, at, kind FROM (
    SELECT ref, account, micros, kind, at, batch FROM reversal
    UNION ALL SELECT ref, account, -micros, kind, at, batch FROM credit
) AS entry JOIN account ON account.id = entry.account
WHERE holder GLOB 'owner:*' OR holder GLOB 'held:*:due' ORDER BY batch, ref
"""
_OWING = """
SELECT id, holder, unit FROM account
WHERE (debt > 0 AND holder NOT GLOB 'owner:*' AND unit NOT GLOB '*:*') OR id IN (SELECT value FROM json_each(?))
ORDER BY id
"""
_WALLET = """
SELECT id, debt FROM account WHERE holder IN (SELECT value FROM json_each(?)) AND unit = ? AND (
    (priority = 0 AND expires = 0)
    OR EXISTS (SELECT 1 FROM credit WHERE credit.account = account.id AND kind <> 'manual')
)
"""
_SPENT = """
SELECT account, hour, owner, commission_points, sum(micros) FROM usage_hour JOIN tariff ON tariff.id = tariff
WHERE account IN (SELECT value FROM json_each(?)) AND route <> '' AND fold <= ?
GROUP BY account, hour, owner, commission_points
"""
# A reversal says of which payment it is (`core/reversals.py`), and the credit of that payment where it went.
_BACK = """
WITH entry AS (
    SELECT reason, micros FROM reversal WHERE account IN (SELECT value FROM json_each(?1)) AND ref GLOB 'stripe:*'
    UNION ALL SELECT reason, -micros FROM credit
    WHERE account IN (SELECT value FROM json_each(?1)) AND ref GLOB 'stripe:*' AND kind = 'restored'
), payment AS (
    SELECT 'stripe:' || substr(reason, instr(reason, ' of ') + 4) AS ref FROM entry GROUP BY 1 HAVING sum(micros) > 0
)
SELECT DISTINCT account.id FROM account, payment JOIN credit ON credit.account = account.id
AND credit.ref IN (payment.ref, payment.ref || '#' || account.priority || '@' || account.expires)
WHERE account.id IN (SELECT value FROM json_each(?1))
"""


class SqliteOwnersMoney:
    """Implements `ports.OwnersMoney`."""

    def __init__(self, path: Path) -> None:
        self._path = path

    async def owners_books(self) -> OwnersBooks:
        return await asyncio.to_thread(self._read, _owners_books)

    async def debtors(self, wallet: Callable[[str], Sequence[str]]) -> list[Debtor]:
        owing = await asyncio.to_thread(self._read, lambda sql: _owing(sql, borne_by_rows(sql.execute(_LEFT))))
        wallets = {holder: list(wallet(holder)) for _, holder, _ in owing}
        return await asyncio.to_thread(self._read, lambda sql: _debtors(sql, wallets))

    def _read(self, read: Any) -> Any:
        try:
            with closing(sqlite3.connect(f"{self._path.absolute().as_uri()}?mode=ro", uri=True, timeout=5)) as sql:
                sql.isolation_level = None
                sql.execute("BEGIN")
                return read(sql)
        except sqlite3.Error as error:
            raise StoreFailed(f"{self._path}: {error}") from error


def _owners_books(sql: sqlite3.Connection) -> OwnersBooks:
    (fold,) = sql.execute(_FOLD).fetchone()
    shared = [Shared(*row) for row in sql.execute(_SHARED, (fold,))]
    return OwnersBooks.read(fold, shared, sql.execute(_LEFT))


def _owing(sql: sqlite3.Connection, borne: Iterable[int]) -> list[tuple[int, str, str]]:
    """Row, holder and unit of whoever owes, or did."""
    return list(sql.execute(_OWING, (json.dumps(list(borne)),)))


def _debtors(sql: sqlite3.Connection, wallets: Mapping[str, Sequence[str]]) -> list[Debtor]:
    borne, found, seen = borne_by_rows(sql.execute(_LEFT)), [], set[int]()
    (fold,) = sql.execute(_FOLD).fetchone()
    for row, holder, unit in _owing(sql, borne):
        if row in seen:
            continue
        rows = dict(sql.execute(_WALLET, (json.dumps(wallets.get(holder, [holder])), unit)))
        seen |= rows.keys()
        spent: dict[int, list[Spent]] = {}
        back: list[int] = []
        if any(rows.values()):
            ids = json.dumps(list(rows))
            back = [id for (id,) in sql.execute(_BACK, (ids,))]
            for id, *one in sql.execute(_SPENT, (ids, fold)):
                spent.setdefault(id, []).append(Spent(*one))
        found.append(of_wallet(unit, rows, spent, borne, back))
    return found
