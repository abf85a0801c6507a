"""The operator's view of a marketplace: owners, what is due to them, and what fails; a page, and the same as JSON.

It is on the admin listener. A browser has no way to send the operators' token but by asking for a password, so this one
address takes it as that (HTTP Basic, any user name); it changes nothing, and no call that does takes it so.
"""

import json
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any

from aiohttp import web

from gateway.core.dues import DueLine, due_lines
from gateway.core.headers import prefers_html
from gateway.core.money import Money
from gateway.core.payouts import Payout
from gateway.core.refusals import RecordsUnavailable
from gateway.core.route_use import use_of
from gateway.core.routes import RouteTable
from gateway.core.statements import DAY_MS
from gateway.core.transfers import hour_of
from gateway.flows.add_up import LookAtOwners
from gateway.ports import BooksRefused, BooksSlow, Clock, OwnerBook, PayoutBook, RouteUse
from gateway.web.answers import OwnAnswer
from gateway.web.refusals import as_problem
from gateway.web.templates import Templates

PATH = "/owners"
STYLE_PATH = "/-/style.css"
_FAILED = ("failed", "returned", "reversed")
_PAYOUTS_MAX = 200


@dataclass(frozen=True, slots=True)
class _Owner:
    name: str
    account: str
    dues: tuple[DueLine, ...]
    on_hold: str
    calls: int
    errors: int
    payouts: tuple[Payout, ...]
    """Those that came back, the newest first."""


class PlatformPlace:
    """The handler. `configured` are the accounts that the operator has set, by owner."""

    def __init__(
        self,
        *,
        templates: Templates,
        stylesheet: str,
        look: LookAtOwners,
        owners: OwnerBook,
        payouts: PayoutBook,
        use: RouteUse,
        routes: Callable[[], RouteTable],
        names: Collection[str],
        configured: Collection[str],
        live: bool,
        clock: Clock,
    ) -> None:
        self._templates = templates
        self._stylesheet = stylesheet
        self._look = look
        self._owners = owners
        self._payouts = payouts
        self._use = use
        self._routes = routes
        self._names = names
        self._configured = configured
        self._live = live
        self._clock = clock

    async def show(self, request: web.Request) -> web.StreamResponse:
        """`GET /owners`."""
        try:
            found = await self._found()
        except (BooksSlow, BooksRefused, RecordsUnavailable):
            return as_problem(RecordsUnavailable())
        if prefers_html(request.headers):
            text = self._templates.render("platform.html", owners=found, kept=_kept(found))
            return OwnAnswer(text=text, content_type="text/html")
        told = {"owners": [_told(one) for one in found], "platform": [str(money) for money in _kept(found)]}
        return OwnAnswer(text=json.dumps(told) + "\n", content_type="application/json")

    async def style(self, request: web.Request) -> web.StreamResponse:
        return OwnAnswer(text=self._stylesheet, content_type="text/css")

    async def _found(self) -> list[_Owner]:
        sums = await self._look.of_all(self._names)
        dues = due_lines(sums.takings, sums.left, sums.freed)
        accounts = {one.owner: one.status for one in await self._owners.accounts(live=self._live)}
        held = {one.owner: one.reason for one in await self._payouts.holds()}
        paid = await self._payouts.list_payouts(count=_PAYOUTS_MAX)
        routes = {route.name: route.owner for route in self._routes().routes}
        used = await self._use.use_since(hour_of(self._clock.now_ms() - DAY_MS), list(routes))
        uses = [(routes[name], use_of(measures)) for name, measures in used.items()]
        names = sorted({*self._names, *(line.due.owner for line in dues)})
        return [
            _Owner(
                name,
                "configured" if name in self._configured else accounts.get(name, "none"),
                tuple(line for line in dues if line.due.owner == name),
                held.get(name, ""),
                sum(use.calls for owner, use in uses if owner == name),
                sum(use.errors for owner, use in uses if owner == name),
                tuple(one for one in paid if one.owner == name and one.state in _FAILED),
            )
            for name in names
        ]


def _kept(owners: Collection[_Owner]) -> list[Money]:
    """What of it all is the platform's, by unit."""
    sums: dict[str, int] = {}
    for line in (line for one in owners for line in one.dues):
        sums[line.due.unit] = sums.get(line.due.unit, 0) + line.due.commission
    return [Money(micros, unit) for unit, micros in sorted(sums.items())]


def _told(one: _Owner) -> dict[str, Any]:
    dues = [
        {
            "unit": line.due.unit,
            "requests": line.due.requests,
            "sold": str(Money(line.due.sold, line.due.unit)),
            "commission": str(Money(line.due.commission, line.due.unit)),
            "paid_out": str(Money(line.paid_out, line.due.unit)),
            "clawed_back": str(Money(line.clawed_back, line.due.unit)),
            "freed": str(Money(line.freed, line.due.unit)),
            "due": str(Money(line.left, line.due.unit)),
        }
        for line in one.dues
    ]
    failures = [{"payout": paid.id, "state": paid.state, "error": paid.error} for paid in one.payouts]
    return {
        "owner": one.name,
        "account": one.account,
        "on_hold": one.on_hold or None,
        "dues": dues,
        "last_day": {"calls": one.calls, "errors": one.errors},
        "failures": failures,
    }
