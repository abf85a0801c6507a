"""Every process says which keys it has, so that none is used before all have it, and none goes that is needed.

It is said at the start, after every reload and every minute, and taken back at the end. A process that is behind (a key
is used elsewhere that it does not have) says so in its log: it refuses tokens that others made.
"""

from collections.abc import Callable, Mapping, Sequence

from gateway.core.rotation import KeyKind
from gateway.ports import Clock, KeyRoll


class CallIn:
    """One process's word. `holder` is its name, `ids` says which keys it has, newest first."""

    def __init__(
        self,
        *,
        roll: KeyRoll,
        holder: str,
        ids: Callable[[], Mapping[KeyKind, Sequence[str]]],
        clock: Clock,
        report: Callable[..., None],
    ) -> None:
        self._roll = roll
        self._holder = holder
        self._ids = ids
        self._clock = clock
        self._report = report
        self._told: set[str] = set()

    async def now(self) -> None:
        """Raises RecordsUnavailable."""
        for kind, ids in ((kind, ids) for kind, ids in self._ids().items() if ids):
            now_ms = self._clock.now_ms()
            await self._roll.call_in(self._holder, kind, ids, now_ms=now_ms)
            holders = await self._roll.holders(kind)
            elsewhere = {holder.ids[0] for holder in holders if holder.ids and holder.is_there(now_ms)}
            for id in elsewhere.difference(ids, self._told):
                self._told.add(id)
                self._report("a key is missing here", kind=kind, id=id, why="another gateway already uses it")

    async def leave(self) -> None:
        """Raises RecordsUnavailable."""
        await self._roll.leave(self._holder)
