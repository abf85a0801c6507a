"""How everything stands at this moment: what the processes see themselves, and what the records say of webhooks.

Readiness does not depend on it: a parked payment is no reason to take callers away. Nobody outside is asked, the
records are, within a bound; whoever watches gets an answer also while everything else hangs.
"""

import asyncio
from collections.abc import Callable, Mapping

from gateway.core.readiness import Check, age
from gateway.core.refusals import RecordsUnavailable
from gateway.ports import Clock, Inbox, InboxStanding

SECONDS_MAX = 2.0
LATE_SECONDS = 300.0
"""An event that has waited for longer is not waiting for its turn."""


class CheckUp:
    """`parts` is what needs no waiting; `hears` whether there is a provider that delivers events."""

    def __init__(
        self, *, parts: Callable[[], Mapping[str, Check]], inbox: Inbox, hears: bool, clock: Clock, seconds: float
    ) -> None:
        self._parts = parts
        self._inbox = inbox
        self._hears = hears
        self._clock = clock
        self._seconds = seconds

    async def checks(self) -> dict[str, Check]:
        """By name. Raises nothing, and takes no longer than the bound."""
        return {**self._parts(), **await self._records()}

    async def _records(self) -> dict[str, Check]:
        try:
            async with asyncio.timeout(self._seconds):
                standing = await self._inbox.inbox_standing()
        except (RecordsUnavailable, TimeoutError) as error:
            slow = isinstance(error, TimeoutError)
            why = f"no answer within {self._seconds:g} s" if slow else "they cannot be read"
            return {"records": Check(False, why), "webhooks": Check(False, "the records do not tell")}
        return {"records": Check(True, "they can be read"), "webhooks": self._webhooks(standing)}

    def _webhooks(self, standing: InboxStanding) -> Check:
        if not self._hears:
            return Check(True, "stripe is not set, so none come")
        now_ms = self._clock.now_ms()
        newest, oldest = standing.newest_ms, standing.oldest_waiting_ms
        came = "none has come yet" if newest is None else f"the newest came {age((now_ms - newest) / 1000)} ago"
        late = oldest is not None and now_ms - oldest > LATE_SECONDS * 1000
        waits = f", for {age((now_ms - oldest) / 1000)}" if oldest is not None else ""
        why = f"{came}; {standing.waiting} waiting{waits}; {standing.parked} parked"
        return Check(not standing.parked and not late, why)
