"""Who is affected by something that went wrong: whose token it was, who was here at the time, and how to reach them.

An address is known where it was proven: of who signed in, of who paid with Link, of who has a licence. What is sealed
is opened here, so whoever asks is on the trail first.
"""

import json
from collections.abc import Iterable, Sequence

from gateway.adapters.personal.parts import PARTS, Sealed
from gateway.adapters.personal.told import Ask, marks
from gateway.core.keyring import Keyring, NotOurs, UnknownKey

_AT_ONCE = 500
_ALIVE = "revoked IS NULL AND (expires IS NULL OR expires > $1)"
_HERE = """SELECT account FROM token_grant WHERE created < $2 AND (revoked IS NULL OR revoked >= $1)
AND (expires IS NULL OR expires >= $1)
UNION SELECT account FROM payer WHERE at < $2 UNION SELECT account FROM users WHERE created < $2
UNION SELECT account FROM licensee WHERE at < $2 / 1000"""
_ADDRESSES = {"people": "email", "payers": None, "licensees": None}
"""Of which parts, and in which field of what is sealed; None if it is the address itself."""


class AffectedRecords:
    """Reads only. Every call may raise RecordsUnavailable."""

    def __init__(self, ask: Ask, keyring: Keyring) -> None:
        self._ask = ask
        self._keyring = keyring

    async def account_of_token(self, id: str) -> str | None:
        for (account,) in await self._ask("SELECT account FROM token_grant WHERE id = $1", id):
            return str(account)
        return None

    async def accounts_of_prices(self, prices: Sequence[str]) -> list[str]:
        """Who is subscribed to one of these now."""
        if not prices:
            return []
        query = f"SELECT DISTINCT account FROM subscription WHERE state <> 'over' AND account <> '' AND price IN {marks(prices)}"  # noqa: S608, E501 -- marks alone
        return sorted(account for (account,) in await self._ask(query, *prices))

    async def accounts_here(self, begin_ms: int, end_ms: int) -> list[str]:
        """Who had a token that was good in that time, or of whom something personal was kept before its end."""
        return sorted(account for (account,) in await self._ask(_HERE, begin_ms, end_ms))

    async def alive(self, accounts: Sequence[str] | None, *, now_ms: int) -> list[str]:
        """The tokens and sessions that are good, of these accounts or of everyone."""
        if accounts is None:
            rows = await self._ask(f"SELECT id FROM token_grant WHERE {_ALIVE} ORDER BY id", now_ms)  # noqa: S608
            return [id for (id,) in rows]
        found: list[str] = []
        for some in _parts(accounts):
            query = f"SELECT id FROM token_grant WHERE {_ALIVE} AND account IN {marks(some, first=2)} ORDER BY id"  # noqa: S608
            found += [id for (id,) in await self._ask(query, now_ms, *some)]
        return found

    async def contacts(self, accounts: Sequence[str]) -> dict[str, list[str]]:
        """The addresses of each that has one."""
        found: dict[str, set[str]] = {}
        for name, field in _ADDRESSES.items():
            part = PARTS[name]
            assert part.sealed is not None
            key = part.columns[0]
            columns = f"account, {key}, key_id, {part.sealed.column}"
            for some in _parts(accounts):
                query = f"SELECT {columns} FROM {part.table} WHERE {part.whose.replace('{}', marks(some))}"  # noqa: S608
                for account, about, key_id, sealed in await self._ask(query, *some):
                    address = self._address(part.sealed, field, about, key_id, sealed)
                    if address:
                        found.setdefault(account, set()).add(address)
        return {account: sorted(addresses) for account, addresses in found.items()}

    def _address(self, how: Sealed, field: str | None, about: str, key_id: str | None, sealed: bytes | None) -> str:
        if key_id is None or sealed is None:
            return ""
        try:
            text = self._keyring.open(how.purpose, key_id, sealed, about=about if how.is_bound else "").decode()
        except (NotOurs, UnknownKey):
            return ""
        return str(json.loads(text).get(field) or "") if field else text


def _parts(accounts: Sequence[str]) -> Iterable[Sequence[str]]:
    return (accounts[first : first + _AT_ONCE] for first in range(0, len(accounts), _AT_ONCE))
