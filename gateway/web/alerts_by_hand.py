"""What operators see and do about alerts, by whichever way they ask: acknowledging, muting, testing.

The call, the command and the page show and do the same, so they all take it from here.
"""

from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime
from typing import Any

from gateway.core.alerts import NAMES, Alert
from gateway.core.trail import Act
from gateway.flows.tell_operators import Became
from gateway.ports import Alerts, Clock, Witnesses
from gateway.web.operator_calls import NotThere

COUNT_MAX = 500
MUTE_HOURS_MAX = 24 * 30
_HOUR_MS = 3_600_000


class AlertsByHand:
    """What operators see and do about alerts, on a page or by a call: each act is on the trail before it is done.

    Everything here raises RecordsUnavailable.
    """

    def __init__(
        self,
        *,
        alerts: Alerts,
        test: Callable[[str], Awaitable[Sequence[Became]]],
        clock: Clock,
        new_id: Callable[[], str],
    ) -> None:
        self._alerts = alerts
        self._test = test
        self._clock = clock
        self._new_id = new_id

    async def told(self, *, open_only: bool = False) -> dict[str, Any]:
        """The newest first, and what is muted until when."""
        found = await self._alerts.found(open_only=open_only, count=COUNT_MAX)
        mutes = await self._alerts.mutes(now_ms=self._clock.now_ms())
        muted = {name: moment(until) for name, until in mutes.items()}
        return {"alerts": [told_alert(one) for one in found], "muted": muted}

    async def ack(self, id: str, trail: Witnesses) -> dict[str, Any]:
        """Somebody looks after it, so nobody is reminded. Raises NotThere if none such is open."""
        unknown = NotThere("unknown_alert", "no alert of this id is open")
        if not await self._alerts.is_open(id):
            raise unknown
        await trail.write(Act("operator", "operator", "alert.ack", id, "admin"))
        alert = await self._alerts.ack(id, now_ms=self._clock.now_ms())
        if alert is None:
            raise unknown
        return told_alert(alert)

    async def mute(self, name: str, hours: object, trail: Witnesses) -> dict[str, Any]:
        """Nobody is told of these for so long; 0 ends it. Raises ValueError with words."""
        if name not in NAMES:
            raise ValueError("name: there is no such alert")
        if isinstance(hours, bool) or not isinstance(hours, int | float) or not 0 <= hours <= MUTE_HOURS_MAX:
            raise ValueError(f"hours: write a number from 0 to {MUTE_HOURS_MAX}")
        until_ms = self._clock.now_ms() + int(hours * _HOUR_MS)
        await trail.write(Act("operator", "operator", "alert.mute", name, "admin", "", {"hours": str(hours)}))
        await self._alerts.mute(name, until_ms=until_ms)
        return {"name": name, "until": moment(until_ms)}

    async def test(self, trail: Witnesses) -> dict[str, Any]:
        """A test on every way, at once, and what became of it. Where nobody is told, it did not arrive."""
        await trail.write(Act("operator", "operator", "alert.test", "alerts", "admin"))
        became = await self._test(self._new_id())
        return {"arrived": bool(became) and all(one.delivered for one in became), "ways": told_ways(became)}


def told_alert(alert: Alert) -> dict[str, Any]:
    """As JSON has it."""
    return {
        "id": alert.id,
        "alert": alert.name,
        "about": alert.subject,
        "severity": alert.severity,
        "what": alert.words,
        "facts": dict(alert.facts),
        "opened": moment(alert.opened_ms),
        "seen": moment(alert.seen_ms),
        "ended": moment(alert.ended_ms),
        "told": alert.told,
        "acknowledged": moment(alert.acked_ms),
    }


def told_ways(became: Sequence[Became]) -> list[dict[str, Any]]:
    """What became of a test."""
    return [{"way": one.way, "delivered": one.delivered, "why": one.why} for one in became]


def moment(at_ms: int | None) -> str | None:
    return None if at_ms is None else datetime.fromtimestamp(at_ms / 1000, UTC).isoformat(timespec="milliseconds")
