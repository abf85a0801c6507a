"""Sessions of operators and the links that they used, in either kind of records. Implements `ports.OperatorBook`."""

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from gateway.core.operators import Session

Ask = Callable[..., Awaitable[Sequence[Any]]]
_COLUMNS = "digest, name, rank, stamp, begun, seen"
_BEGIN = "INSERT INTO operator_session (digest, name, rank, stamp, begun, seen) VALUES ($1, $2, $3, $4, $5, $6)"
_FIND = f"SELECT {_COLUMNS} FROM operator_session WHERE digest = $1"  # noqa: S608 -- the names of columns, of our own
_USE = "INSERT INTO operator_link (nonce, used) VALUES ($1, $2) ON CONFLICT DO NOTHING RETURNING nonce"


class OperatorRecords:
    """Keeps them; any number of processes and hosts may share one book."""

    def __init__(self, ask: Ask) -> None:
        self._ask = ask

    async def begin_session(self, session: Session) -> None:
        await self._ask(
            _BEGIN, session.digest, session.name, session.rank, session.stamp, session.begun_ms, session.seen_ms
        )

    async def find_session(self, digest: bytes) -> Session | None:
        for kept, name, rank, stamp, begun, seen in await self._ask(_FIND, digest):
            return Session(bytes(kept), name, rank, bytes(stamp), begun, seen)
        return None

    async def see_session(self, digest: bytes, *, now_ms: int) -> None:
        await self._ask("UPDATE operator_session SET seen = $2 WHERE digest = $1 AND seen < $2", digest, now_ms)

    async def end_session(self, digest: bytes) -> bool:
        return bool(await self._ask("DELETE FROM operator_session WHERE digest = $1 RETURNING digest", digest))

    async def end_sessions(self, *, seen_before_ms: int, begun_before_ms: int) -> None:
        await self._ask("DELETE FROM operator_session WHERE seen < $1 OR begun < $2", seen_before_ms, begun_before_ms)

    async def use_link(self, nonce: bytes, *, now_ms: int) -> bool:
        return bool(await self._ask(_USE, nonce, now_ms))

    async def drop_links(self, *, used_before_ms: int) -> None:
        await self._ask("DELETE FROM operator_link WHERE used < $1", used_before_ms)
