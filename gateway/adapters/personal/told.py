"""All that the records have of the person behind an account, with what is sealed opened; in records of either kind.

Secrets are told of and not told: of tokens, ours and a provider's, only that they are there.
"""

import json
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from gateway.adapters.personal.parts import PARTS, Part
from gateway.core.keyring import Keyring, NotOurs, UnknownKey
from gateway.core.personal import ids_in, is_about

Ask = Callable[..., Awaitable[Sequence[Any]]]
EVENT = "event"
"""What events are sealed for."""
_EVENTS = """SELECT id, type, created, received, status, key_id, object FROM event WHERE id > $1
ORDER BY id LIMIT $2"""
_PAGE = 500


_JSON, _FLAGS = {"content", "terms", "progress"}, {"wanted", "stands", "made", "frozen", "leaves", "live"}


class PersonalRecords:
    """Reads only. Every call may raise RecordsUnavailable."""

    def __init__(self, ask: Ask, keyring: Keyring) -> None:
        self._ask = ask
        self._keyring = keyring

    async def of(self, accounts: Sequence[str]) -> dict[str, list[dict[str, Any]]]:
        """By what it is, what there is of somebody with these accounts. What nobody can open any more is None."""
        told = {name: await self._part(part, accounts) for name, part in PARTS.items()}
        return told | {"events": await self._events(accounts, ids=ids_in(list(told.values())))}

    async def _part(self, part: Part, accounts: Sequence[str]) -> list[dict[str, Any]]:
        names = [column.rpartition(" AS ")[2] for column in part.columns]
        columns = ", ".join([*part.columns, *(("key_id", part.sealed.column) if part.sealed else ())])
        query = f"SELECT {columns} FROM {part.table} WHERE {part.whose.replace('{}', marks(accounts))} ORDER BY 1, 2"  # noqa: S608
        return [self._row(part, dict(zip(names, row, strict=False)), row) for row in await self._ask(query, *accounts)]

    def _row(self, part: Part, told: dict[str, Any], row: Sequence[Any]) -> dict[str, Any]:
        for name in _JSON & told.keys():
            told[name] = _read(told[name])
        if part.table == "trail":
            del told["content"]["actor"]  # somebody else
        for name in _FLAGS & told.keys():
            told[name] = bool(told[name])
        if part.sealed is not None:
            plain = self._opened(part.sealed.purpose, *row[-2:], about=row[0] if part.sealed.is_bound else "")
            told[part.sealed.told] = _read(plain)
        return told

    async def _events(self, accounts: Sequence[str], *, ids: set[str]) -> list[dict[str, Any]]:
        """Until another look at all of them finds no more: one names what the next is found by."""
        found: dict[str, dict[str, Any]] = {}
        known = -1
        while known != len(found):
            known, after = len(found), ""
            while page := await self._ask(_EVENTS, after, _PAGE):
                after = page[-1][0]
                for id, type, created, received, status, key_id, sealed in page:
                    content = None if id in found else _read(self._opened(EVENT, key_id, sealed))
                    if content and is_about(content, ids=ids, accounts=accounts, keyring=self._keyring):
                        ids |= ids_in(content)
                        times = {"created_seconds": created, "received_ms": received}
                        found[id] = {"id": id, "type": type, **times, "status": status, "object": content}
        return [found[id] for id in sorted(found)]

    def _opened(self, purpose: str, key_id: str | None, sealed: bytes | None, *, about: str = "") -> str | None:
        if key_id is None or sealed is None:
            return None
        try:
            return self._keyring.open(purpose, key_id, sealed, about=about).decode()
        except (NotOurs, UnknownKey):
            return None


def _read(text: str | None) -> Any:
    """What was written as JSON, or as it is."""
    try:
        return None if text is None else json.loads(text)
    except ValueError:
        return text


def marks(values: Sequence[object], *, first: int = 1) -> str:
    """A list of parameters, as a statement has it."""
    return f"({', '.join(f'${number}' for number in range(first, first + len(values)))})"
