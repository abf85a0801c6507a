"""Where owners find everything of theirs: routes and how they do, what they earn, how they are paid, and one to try.

All of it is of the owner for whom whoever is signed in acts, and of no other. Callers are told apart and not named:
each is a keyed digest that is another for every owner, so that two owners cannot compare.
"""

import csv
import hashlib
import hmac
import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from aiohttp import web

from gateway.core import targets
from gateway.core.dues import STATEMENT, Spent, by_day, due_lines, statement
from gateway.core.keyring import Keyring
from gateway.core.limits import Rate
from gateway.core.money import Money
from gateway.core.payouts import Payout
from gateway.core.refusals import (
    AmbiguousTarget,
    BadRequest,
    BadTarget,
    NoRoute,
    RateLimited,
    RecordsUnavailable,
    TargetTooLong,
)
from gateway.core.route_use import Use, use_of
from gateway.core.routes import RouteTable
from gateway.core.statements import DAY_MS, Day, Period
from gateway.core.transfers import hour_of
from gateway.flows.add_up import LookAtOwners, OwnersSums
from gateway.flows.pay_out import PayOut, Prospect
from gateway.flows.statement import HISTORY_DAYS
from gateway.ports import BooksRefused, BooksSlow, Clock, Door, PayoutBook, RateLimits, RouteUse, Seen, StoreFailed
from gateway.web import chart
from gateway.web.answers import OwnAnswer
from gateway.web.owners import OwnerPlace
from gateway.web.pages import again
from gateway.web.templates import Templates
from gateway.web.visitors import Visitors
from gateway.web.wallet import period_of

HOME_PATH = "/-/owners"
STATEMENT_PATH = "/-/owners/statement.csv"
LINK_PATH = "/-/owners/connect/link"
TRY_PATH = "/-/owners/try"
_PURPOSE = "callers as owners see them"
_LOOKS = Rate(120, 3600, "120/hour")
"""How often one owner may have the books read."""
_TRIES = Rate(30, 60, "30/minute")
_CALLERS_MAX, _PAYOUTS_MAX = 20, 50
_METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")
_BODY_CHARS_MAX = 8_192
_SHOWN_FIELDS = ("content-type", "gateway-cost", "gateway-balance", "gateway-error", "gateway-request-id")


@dataclass(frozen=True, slots=True)
class RouteLine:
    """One route as its owner sees it. `out` of `servers` are left out."""

    name: str
    match: str
    costs: str
    use: Use
    out: int
    servers: int
    sold: tuple[Money, ...]
    """In thirty days."""

    @property
    def health(self) -> str:
        """In a word or two."""
        if not self.servers:
            return "not served"
        if self.out == self.servers:
            return "down"
        return f"{self.out} of {self.servers} servers left out" if self.out else "up"


class OwnerHome:
    """The handlers. `door` and `left_out` are known once the gateway listens; without a `pay_out`, nobody is paid."""

    def __init__(
        self,
        place: OwnerPlace,
        *,
        templates: Templates,
        visitors: Visitors,
        keyring: Keyring,
        look: LookAtOwners,
        use: RouteUse,
        payouts: PayoutBook,
        pay_out: Callable[[], PayOut | None],
        routes: Callable[[], RouteTable],
        left_out: Callable[[], Mapping[str, tuple[int, int]]],
        door: Callable[[], Door | None],
        limits: RateLimits,
        clock: Clock,
        currency: str,
        token_header: str,
        connects: bool,
        edits: Callable[[str], bool],
    ) -> None:
        self._place = place
        self._templates = templates
        self._visitors = visitors
        self._keyring = keyring
        self._look = look
        self._use = use
        self._payouts = payouts
        self._pay_out = pay_out
        self._routes = routes
        self._left_out = left_out
        self._door = door
        self._limits = limits
        self._clock = clock
        self._currency = currency
        self._token_header = token_header
        self._connects = connects
        self._edits = edits

    async def show(self, request: web.Request) -> web.StreamResponse:
        """`GET /-/owners`. Raises UnknownToken, TokenOutOfScope, NoRoute, RateLimited."""
        _, owner = await self._place.who(request)
        return await self._page(request, owner)

    async def statement(self, request: web.Request) -> web.StreamResponse:
        """`GET /-/owners/statement.csv?from=&to=`: day by day and route by route, and what left.

        Raises UnknownToken, TokenOutOfScope, NoRoute, BadRequest, RateLimited, RecordsUnavailable.
        """
        _, owner = await self._place.who(request)
        tomorrow = (self._clock.now_ms() // DAY_MS + 1) * DAY_MS
        period = period_of(request, tomorrow - HISTORY_DAYS * DAY_MS, tomorrow)
        await self._bounded(_LOOKS, owner)
        try:
            sums = await self._look.of(owner, period.begin_ms)
        except (BooksSlow, BooksRefused):
            raise RecordsUnavailable() from None
        table = io.StringIO()
        writer = csv.DictWriter(table, STATEMENT)
        writer.writeheader()
        writer.writerows(statement(sums.takings, sums.moved, period))
        named = f'attachment; filename="{owner}.csv"'
        return OwnAnswer(text=table.getvalue(), content_type="text/csv", headers={"Content-Disposition": named})

    async def link(self, request: web.Request) -> web.StreamResponse:
        """`POST /-/owners/connect/link`: on to Stripe, for what it still needs.

        Raises UnknownToken, TokenOutOfScope, NoRoute, BadRequest, RateLimited, PaymentServiceUnavailable.
        """
        _, owner = await self._place.who(request)
        caller = await self._visitors.holder(request)
        await self._visitors.form(request, caller)
        url = await self._place.fresh_link(owner)
        return self._rendered("to_stripe.html", url=url)

    async def attempt(self, request: web.Request) -> web.StreamResponse:
        """`POST /-/owners/try`: one request to a route of theirs, paid from the wallet of whoever is signed in.

        Raises UnknownToken, TokenOutOfScope, NoRoute, BadRequest, RateLimited.
        """
        _, owner = await self._place.who(request)
        caller = await self._visitors.holder(request)
        fields = await self._visitors.form(request, caller)
        method, target, body = fields.get("method", "GET"), fields.get("path", ""), fields.get("body", "")
        door = self._door()
        if method not in _METHODS or len(body) > _BODY_CHARS_MAX or door is None:
            raise BadRequest("a method, a path and a short body were expected")
        try:
            route = self._routes().match(targets.read(target, method=method))
        except (BadTarget, TargetTooLong, NoRoute, AmbiguousTarget):
            route = None
        if route is None or route.owner != owner:
            raise BadRequest("path: one of your own routes was expected")
        await self._bounded(_TRIES, owner)
        shown = await door.ask(method, target, self._shows_itself(request, body), body.encode())
        return await self._page(request, owner, tried=_tried(method, target, body, shown))

    def _shows_itself(self, request: web.Request, body: str) -> dict[str, str]:
        """What whoever asks has shown us, and nothing else of theirs."""
        found = {"Accept": "*/*", "User-Agent": "farebox-try"}
        if self._token_header in request.headers:
            found[self._token_header] = request.headers[self._token_header]
        names = [name for name in self._visitors.cookies.read_names if name in request.cookies]
        if names:
            found["Cookie"] = f"{names[0]}={request.cookies[names[0]]}"
        return found | ({"Content-Type": "application/json"} if body else {})

    # --- what it shows ------------------------------------------------------------------------------------------------

    async def _page(self, request: web.Request, owner: str, tried: dict[str, Any] | None = None) -> OwnAnswer:
        await self._bounded(_LOOKS, owner)
        today = self._clock.now_ms() // DAY_MS
        since_ms = (today - HISTORY_DAYS + 1) * DAY_MS
        try:
            sums = await self._look.of(owner, since_ms)
            routes = await self._lines(owner, sums, since_ms)
            paid = await self._payouts.list_payouts(owner=owner, count=_PAYOUTS_MAX)
            prospects = await self._prospects(owner)
            account, payable, wants = await self._place.stands(owner)
        except (BooksSlow, BooksRefused, StoreFailed, RecordsUnavailable):
            return again(self._templates, request, "Your figures cannot be read just now")
        days = [line for line in by_day(sums.takings, Period(since_ms)) if line.requests or line.sold]
        caller = await self._visitors.holder(request)
        return self._rendered(
            "owner.html",
            owner=owner,
            routes=routes,
            days=days,
            bars=chart.bars(_by_day(days, since_ms, self._currency)),
            dues=due_lines(sums.takings, sums.left, sums.freed),
            callers=self._callers(owner, sums.spent),
            prospects=prospects,
            payouts=[_told_payout(one) for one in paid],
            connects=self._connects,
            account=account,
            payable=payable,
            wants=wants,
            tried=tried,
            methods=_METHODS,
            edits=self._edits(owner),
            mark=self._visitors.mark(caller),
        )

    async def _lines(self, owner: str, sums: OwnersSums, since_ms: int) -> list[RouteLine]:
        served = {route.name: route for route in self._routes().routes if route.owner == owner}
        names = [*served, *sorted({one.route for one in sums.takings} - served.keys())]
        used = await self._use.use_since(hour_of(self._clock.now_ms() - DAY_MS), names)
        out, sold = self._left_out(), _sold_since(sums, since_ms)
        found = []
        for name in names:
            route = served.get(name)
            left, servers = out.get(route.upstream.name, (0, len(route.upstream.servers))) if route else (0, 0)
            match, price = (route.match, route.costs) if route else ("", "")
            money = tuple(Money(micros, unit) for unit, micros in sorted(sold.get(name, {}).items()))
            found.append(RouteLine(name, match, price, use_of(used.get(name, {})), left, servers, money))
        return found

    async def _prospects(self, owner: str) -> list[Prospect]:
        pay_out = self._pay_out()
        return await pay_out.prospects(owner) if pay_out is not None else []

    def _callers(self, owner: str, spent: Sequence[Spent]) -> list[tuple[str, Spent]]:
        key = self._keyring.subkeys(_PURPOSE)[0]
        return [(pseudonym(key, owner, one.account), one) for one in spent[:_CALLERS_MAX]]

    async def _bounded(self, rate: Rate, owner: str) -> None:
        window = await self._limits.hit(rate, f"owner {rate.text} {owner}")
        if not window.allowed:
            raise RateLimited(policy=rate.text, retry_after_seconds=max(1, window.reset_seconds))

    def _rendered(self, name: str, **values: Any) -> OwnAnswer:
        return OwnAnswer(text=self._templates.render(name, **values), content_type="text/html")


def pseudonym(key: bytes, owner: str, account: str) -> str:
    """What an owner knows a caller as: always the same to them, as long as the key is, and another to every other."""
    digest = hmac.digest(key, f"{owner}\0{account}".encode(), hashlib.sha256)
    return f"caller-{digest.hex()[:12]}"


def _sold_since(sums: OwnersSums, since_ms: int) -> dict[str, dict[str, int]]:
    sold: dict[str, dict[str, int]] = {}
    for one in sums.takings:
        if one.hour >= since_ms and one.micros:
            by_unit = sold.setdefault(one.route, {})
            by_unit[one.unit] = by_unit.get(one.unit, 0) + one.micros
    return sold


def _by_day(days: Sequence[Any], since_ms: int, currency: str) -> list[Day]:
    """All routes together, in the one currency, for each of the days."""
    sums: dict[int, list[int]] = {}
    for line in days:
        if line.unit == currency:
            sum = sums.setdefault(line.begin_ms, [0, 0])
            sum[0] += line.requests
            sum[1] += line.sold
    begins = range(since_ms, since_ms + HISTORY_DAYS * DAY_MS, DAY_MS)
    return [Day(at, requests, Money(sold, currency)) for at in begins for requests, sold in [sums.get(at, (0, 0))]]


_STATES = {
    "planned": "being sent", "written": "being sent", "sending": "being sent", "created": "sent", "paid": "sent",
    "failed": "refused; due again soon", "returned": "refused; due again", "reversed": "fetched back; due again",
}  # fmt: skip


def _told_payout(one: Payout) -> dict[str, Any]:
    state = "waits for the platform's balance at Stripe" if one.waits else _STATES[one.state]
    return {"at_ms": one.created_ms, "id": one.id, "amount": one.amount, "state": state}


def _tried(method: str, target: str, body: str, shown: Seen | None) -> dict[str, Any]:
    """What is shown of an attempt. The template escapes all of it."""
    asked = {"method": method, "path": target, "body": body}
    if shown is None:
        return {**asked, "status": None, "fields": (), "text": "", "more": False}
    fields = [(name, value) for name, value in shown.fields if name.lower() in _SHOWN_FIELDS]
    text = shown.body.decode("utf-8", "replace")
    return {**asked, "status": shown.status, "fields": fields, "text": text, "more": shown.more}
