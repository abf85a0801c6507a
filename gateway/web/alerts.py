"""Alerts for operators, on the admin listener: what is open, and was; acknowledging, muting, testing."""

import json
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime
from typing import Any

from aiohttp import web

from gateway.core.alerts import NAMES, Alert
from gateway.core.refusals import RecordsUnavailable
from gateway.core.trail import Act
from gateway.flows.tell_operators import Became
from gateway.ports import Alerts, Clock, Witnesses
from gateway.web.answers import OwnAnswer
from gateway.web.operator_calls import read_object
from gateway.web.refusals import as_problem
from gateway.web.status import OPERATOR_FIELD, operator_named

PATH = "/alerts"
COUNT_MAX = 500
MUTE_HOURS_MAX = 24 * 30
_HOUR_MS = 3_600_000


class AlertPlace:
    """The handlers. `test` sends a message on every way and says what became of it."""

    def __init__(
        self,
        *,
        alerts: Alerts,
        test: Callable[[str], Awaitable[Sequence[Became]]],
        witness: Witnesses,
        clock: Clock,
        new_id: Callable[[], str],
    ) -> None:
        self._alerts = alerts
        self._test = test
        self._witness = witness
        self._clock = clock
        self._new_id = new_id

    def add_to(self, app: web.Application) -> None:
        app.router.add_get(PATH, self.show)
        app.router.add_post(f"{PATH}/test", self.test)
        app.router.add_post(f"{PATH}/mute", self.mute)
        app.router.add_post(f"{PATH}/{{alert}}/ack", self.ack)

    async def show(self, request: web.Request) -> web.StreamResponse:
        """`GET /alerts`: those that are open, the newest first; with `?all=1` those that have ended, too."""
        try:
            return _json(await self.told(open_only="all" not in request.query))
        except RecordsUnavailable as refusal:
            return as_problem(refusal)

    async def told(self, *, open_only: bool = False) -> dict[str, Any]:
        """What the call and the operators' page show. Raises RecordsUnavailable."""
        found = await self._alerts.found(open_only=open_only, count=COUNT_MAX)
        mutes = await self._alerts.mutes(now_ms=self._clock.now_ms())
        muted = {name: moment(until) for name, until in mutes.items()}
        return {"alerts": [told_alert(one) for one in found], "muted": muted}

    async def ack(self, request: web.Request) -> web.StreamResponse:
        """`POST /alerts/{id}/ack`: somebody looks after it, so nobody is reminded. 404 if none such is open."""
        id = request.match_info["alert"]
        try:
            await self._write(request, "alert.ack", id)
            alert = await self._alerts.ack(id, now_ms=self._clock.now_ms())
        except RecordsUnavailable as refusal:
            return as_problem(refusal)
        if alert is None:
            return _json({"code": "unknown_alert", "detail": "no alert of this id is open", "charged": False}, 404)
        return _json(told_alert(alert))

    async def mute(self, request: web.Request) -> web.StreamResponse:
        """`POST /alerts/mute` with `{"name", "hours"}`: nobody is told of these for so long; 0 ends it."""
        try:
            content = await read_object(request)
            name, hours = content["name"], content["hours"]
            if name not in NAMES:
                raise ValueError("name: there is no such alert")
            if isinstance(hours, bool) or not isinstance(hours, int | float) or not 0 <= hours <= MUTE_HOURS_MAX:
                raise ValueError(f"hours: write a number from 0 to {MUTE_HOURS_MAX}")
            until_ms = self._clock.now_ms() + int(hours * _HOUR_MS)
            await self._write(request, "alert.mute", name, hours=str(hours))
            await self._alerts.mute(name, until_ms=until_ms)
        except (ValueError, KeyError, TypeError) as error:
            return _json({"code": "bad_request", "detail": str(error), "charged": False}, 400)
        except RecordsUnavailable as refusal:
            return as_problem(refusal)
        return _json({"name": name, "until": moment(until_ms)})

    async def test(self, request: web.Request) -> web.StreamResponse:
        """`POST /alerts/test`: a test on every way, at once, and what became of it. 502 if one did not arrive."""
        try:
            await self._write(request, "alert.test", "alerts")
        except RecordsUnavailable as refusal:
            return as_problem(refusal)
        became = await self._test(self._new_id())
        arrived = all(one.delivered for one in became)
        return _json({"arrived": arrived and bool(became), "ways": told_ways(became)}, 200 if arrived else 502)

    async def _write(self, request: web.Request, action: str, object: str, **facts: str) -> None:
        """On the trail before it is done. Raises RecordsUnavailable."""
        actor = operator_named(request.headers.get(OPERATOR_FIELD, ""))
        await self._witness.write(Act(actor, "operator", action, object, "admin", "", facts))


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


def _json(content: dict[str, Any], status: int = 200) -> OwnAnswer:
    return OwnAnswer(status=status, text=json.dumps(content) + "\n", content_type="application/json")
