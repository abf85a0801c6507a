"""Reads owners out of the books in a file, on a connection and in a thread of its own. Needs no lock."""

import asyncio
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

from gateway.core.claw_backs import Borne, Debtor, Spent
from gateway.core.held import read_due_account
from gateway.core.payouts import OwnersBooks, Shared
from gateway.core.transfers import CLAW_BACK_REF
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
_DEBTORS = """
SELECT id, unit, debt FROM account WHERE debt > 0 AND holder NOT GLOB 'owner:*' AND unit NOT GLOB '*:*'
"""
_UNIT = "SELECT id, unit, debt FROM account WHERE id = ?"
_SPENT = """
SELECT hour, owner, commission_points, sum(micros) FROM usage_hour JOIN tariff ON tariff.id = tariff
WHERE account = ? AND route <> '' AND fold <= ? GROUP BY hour, owner, commission_points
"""


class SqliteOwnersMoney:
    """Implements `ports.OwnersMoney`."""

    def __init__(self, path: Path) -> None:
        self._path = path

    async def owners_books(self) -> OwnersBooks:
        return await asyncio.to_thread(self._read, _owners_books)

    async def debtors(self) -> list[Debtor]:
        return await asyncio.to_thread(self._read, _debtors)

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


def _debtors(sql: sqlite3.Connection) -> list[Debtor]:
    borne: dict[int, dict[str, Borne]] = {}
    for holder, _, ref, micros, *_ in sql.execute(_LEFT):
        kind, _, rest = ref.partition(":")
        if kind == CLAW_BACK_REF:
            owner = read_due_account(holder)[0]
            by_owner = borne.setdefault(int(rest.partition(":")[0]), {})
            before = by_owner.get(owner, Borne(owner, 0, 0))
            by_owner[owner] = Borne(owner, before.micros + micros, before.entries + 1)
    rows = {id: (unit, debt) for id, unit, debt in sql.execute(_DEBTORS)}
    for id in borne.keys() - rows.keys():
        rows |= {id: (unit, debt) for id, unit, debt in sql.execute(_UNIT, (id,))}
    (fold,) = sql.execute(_FOLD).fetchone()
    return [
        Debtor(
            id,
            unit,
            debt,
            [Spent(*row) for row in sql.execute(_SPENT, (id, fold))] if debt else [],
            list(borne.get(id, {}).values()),
        )
        for id, (unit, debt) in sorted(rows.items())
    ]
