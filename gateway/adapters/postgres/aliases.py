"""Accounts that are another one now, for all hosts. Implements `ports.AliasBook`.

Numbers are taken one after the other, as those of freezes are: of two hosts that write at the same time the second
sees what the first wrote, so that two accounts never become aliases of each other.
"""

from collections.abc import Sequence

import asyncpg

from gateway.adapters.postgres.freezes import numbered
from gateway.adapters.postgres.keyroll import Do
from gateway.ports import Alias

_COLUMNS = "SELECT number, account, target, why, at, asked FROM alias"
_FROZEN = "coalesce((SELECT frozen FROM freezing WHERE account = {} ORDER BY number DESC LIMIT 1), false)"
_ADD = f"""INSERT INTO alias (number, account, target, why, at)
SELECT (SELECT coalesce(max(number), 0) + 1 FROM alias), $1::text, root, $3, $4
FROM (SELECT coalesce((SELECT target FROM alias WHERE account = $2::text), $2::text) AS root) AS meant
WHERE root <> $1::text AND NOT {_FROZEN.format("$1::text")} AND NOT {_FROZEN.format("root")}
AND NOT EXISTS (SELECT 1 FROM alias WHERE account = $1::text) RETURNING number"""  # noqa: S608


class PostgresAliases:
    """Reads and writes as the records do."""

    def __init__(self, do: Do) -> None:
        self._do = do

    async def add_alias(self, account: str, into: str, *, why: str, now_ms: int) -> bool:
        return await numbered(self._do, _ADD, account, into, why, now_ms)

    async def aliases_after(self, number: int) -> list[Alias]:
        return _aliases(await self._do(f"{_COLUMNS} WHERE number > $1 ORDER BY number", number))

    async def find_alias(self, account: str) -> Alias | None:
        return next(iter(_aliases(await self._do(f"{_COLUMNS} WHERE account = $1", account))), None)

    async def unjoined(self) -> list[Alias]:
        return _aliases(await self._do(f"{_COLUMNS} WHERE done < asked ORDER BY number"))

    async def ask_to_join(self, account: str) -> None:
        await self._do("UPDATE alias SET asked = asked + 1 WHERE account = $1", account)

    async def ask_to_join_since(self, at_ms: int) -> None:
        await self._do("UPDATE alias SET asked = asked + 1 WHERE at > $1", at_ms)

    async def joined(self, alias: Alias) -> None:
        query = "UPDATE alias SET done = asked WHERE account = $1 AND asked = $2"
        await self._do(query, alias.account, alias.asked)


def _aliases(rows: Sequence[asyncpg.Record]) -> list[Alias]:
    return [Alias(*row) for row in rows]
