"""Accounts that are another one now, in the records' file. Implements `ports.AliasBook`."""

import sqlite3
from collections.abc import Iterable

from gateway.adapters.sqlite.keyroll import Read, Write
from gateway.ports import Alias

_COLUMNS = "SELECT number, account, target, why, at, asked FROM alias"
_FROZEN = "coalesce((SELECT frozen FROM freezing WHERE account = {} ORDER BY number DESC LIMIT 1), 0)"
_ADD = f"""INSERT INTO alias (number, account, target, why, at)
SELECT (SELECT coalesce(max(number), 0) + 1 FROM alias), ?1, root, ?3, ?4
FROM (SELECT coalesce((SELECT target FROM alias WHERE account = ?2), ?2) AS root)
WHERE root <> ?1 AND NOT {_FROZEN.format("?1")} AND NOT {_FROZEN.format("root")} ON CONFLICT (account) DO NOTHING"""  # noqa: S608


class SqliteAliases:
    """Reads and writes as the records do."""

    def __init__(self, read: Read, write: Write) -> None:
        self._read = read
        self._write = write

    async def add_alias(self, account: str, into: str, *, why: str, now_ms: int) -> bool:
        return await self._write(_ADD, (account, into, why, now_ms))

    async def aliases_after(self, number: int) -> list[Alias]:
        return _aliases(await self._read(f"{_COLUMNS} WHERE number > ? ORDER BY number", (number,)))

    async def find_alias(self, account: str) -> Alias | None:
        return next(iter(_aliases(await self._read(f"{_COLUMNS} WHERE account = ?", (account,)))), None)

    async def unjoined(self) -> list[Alias]:
        return _aliases(await self._read(f"{_COLUMNS} WHERE done < asked ORDER BY number", ()))

    async def ask_to_join(self, account: str) -> None:
        await self._write("UPDATE alias SET asked = asked + 1 WHERE account = ?", (account,))

    async def ask_to_join_since(self, at_ms: int) -> None:
        await self._write("UPDATE alias SET asked = asked + 1 WHERE at > ?", (at_ms,))

    async def joined(self, alias: Alias) -> None:
        query = "UPDATE alias SET done = asked WHERE account = ? AND asked = ?"
        await self._write(query, (alias.account, alias.asked))


def _aliases(rows: Iterable[sqlite3.Row]) -> list[Alias]:
    return [Alias(*row) for row in rows]
