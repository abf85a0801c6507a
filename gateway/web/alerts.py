"""Alerts for operators, as calls of the admin listener: what is open, and was; acknowledging, muting, testing."""

import json
from typing import Any

from aiohttp import web

from gateway.core.refusals import RecordsUnavailable
from gateway.core.trail import Act
from gateway.ports import Witnesses
from gateway.web.alerts_by_hand import AlertsByHand
from gateway.web.answers import OwnAnswer
from gateway.web.operator_calls import NotThere, read_members
from gateway.web.refusals import as_problem
from gateway.web.status import OPERATOR_FIELD, operator_named

PATH = "/alerts"


class AlertPlace:
    """The calls."""

    def __init__(self, by_hand: AlertsByHand, witness: Witnesses) -> None:
        self.by_hand = by_hand
        self._witness = witness

    def add_to(self, app: web.Application) -> None:
        app.router.add_get(PATH, self.show)
        app.router.add_post(f"{PATH}/test", self.test)
        app.router.add_post(f"{PATH}/mute", self.mute)
        app.router.add_post(f"{PATH}/{{alert}}/ack", self.ack)

    async def show(self, request: web.Request) -> web.StreamResponse:
        """`GET /alerts`: those that are open, the newest first; with `?all=1` those that have ended, too."""
        try:
            return _json(await self.by_hand.told(open_only="all" not in request.query))
        except RecordsUnavailable as refusal:
            return as_problem(refusal)

    async def ack(self, request: web.Request) -> web.StreamResponse:
        """`POST /alerts/{id}/ack`. 404 if none such is open."""
        try:
            return _json(await self.by_hand.ack(request.match_info["alert"], self._trail(request)))
        except NotThere as error:
            return _json({"code": error.code, "detail": str(error), "charged": False}, 404)
        except RecordsUnavailable as refusal:
            return as_problem(refusal)

    async def mute(self, request: web.Request) -> web.StreamResponse:
        """`POST /alerts/mute` with `{"name", "hours"}`: nobody is told of these for so long; 0 ends it."""
        try:
            content = await read_members(request, "name", "hours")
            return _json(await self.by_hand.mute(content["name"], content["hours"], self._trail(request)))
        except (ValueError, KeyError, TypeError) as error:
            return _json({"code": "bad_request", "detail": str(error), "charged": False}, 400)
        except RecordsUnavailable as refusal:
            return as_problem(refusal)

    async def test(self, request: web.Request) -> web.StreamResponse:
        """`POST /alerts/test`: a test on every way, at once, and what became of it. 502 if one did not arrive."""
        try:
            told = await self.by_hand.test(self._trail(request))
        except RecordsUnavailable as refusal:
            return as_problem(refusal)
        return _json(told, 200 if told["arrived"] or not told["ways"] else 502)

    def _trail(self, request: web.Request) -> Witnesses:
        return Calling(self._witness, request.headers.get(OPERATOR_FIELD, ""))


class Calling:
    """Whoever sends a call, as they name themselves. Implements `ports.Witnesses`."""

    def __init__(self, witness: Witnesses, name: str) -> None:
        self._witness = witness
        self._actor = operator_named(name)

    async def write(self, act: Act) -> None:
        await self._witness.write(Act(self._actor, "operator", act.action, act.object, "admin", act.reason, act.facts))


def _json(content: dict[str, Any], status: int = 200) -> OwnAnswer:
    return OwnAnswer(status=status, text=json.dumps(content) + "\n", content_type="application/json")
