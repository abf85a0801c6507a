"""An account's tokens as a page: `/-/wallet/tokens`, and its forms. A secret is shown on the page that made it.

Revoking is asked for twice: the first time the page says what would end.
"""

from collections.abc import Callable, Sequence
from typing import Any

from aiohttp import web

from gateway.core.callers import Caller
from gateway.core.caps import PERIODS
from gateway.core.refusals import BadRequest, NoSuchToken, Refusal, TokenConflict
from gateway.core.routes import RouteTable
from gateway.flows.hand_out import HandOut
from gateway.ports import Clock, Made
from gateway.web.answers import OwnAnswer
from gateway.web.refusals import WORDS
from gateway.web.templates import Templates
from gateway.web.tokens import TokenPlace
from gateway.web.told_tokens import told_made
from gateway.web.visitors import Visitors

_ROUTE = "route:"
_CHOICES_MAX = 24
"""More routes than that are typed, not ticked."""


class TokenPage:
    """The handlers for people."""

    def __init__(
        self,
        *,
        templates: Templates,
        visitors: Visitors,
        tokens: TokenPlace,
        hand_out: HandOut,
        clock: Clock,
        currency: str,
        routes: Callable[[], RouteTable],
    ) -> None:
        self._routes = routes
        self._templates = templates
        self._visitors = visitors
        self._tokens = tokens
        self._hand_out = hand_out
        self._clock = clock
        self._currency = currency

    async def show(self, request: web.Request) -> web.StreamResponse:
        """`GET /-/wallet/tokens`."""
        return await self._page(await self._visitors.bearer(request))

    async def act(self, request: web.Request) -> web.StreamResponse:
        """`POST` to the same address: create, rename, rotate or revoke; and the page again."""
        caller = await self._visitors.bearer(request)
        fields = await self._visitors.form(request, caller)
        if fields.get("action") == "revoke" and not fields.get("sure"):
            return await self._page(caller, doomed=fields.get("id", ""))
        try:
            made = await self._done(caller, fields)
        except (BadRequest, TokenConflict, NoSuchToken) as refusal:
            return await self._page(caller, refusal=refusal)
        id = fields.get("id", "")
        if made is None and fields.get("action") == "revoke" and id == caller.token_id:
            return OwnAnswer(status=303, headers={"Location": "/-/wallet"})
        answer = await self._page(caller, made=made)
        if made is not None and made.grant.id == caller.token_id and self._visitors.came_by_cookie(request):
            self._visitors.cookies.set_token(answer, made.secret)
        return answer

    async def _done(self, caller: Caller, fields: dict[str, str]) -> Made | None:
        action, id = fields.get("action"), fields.get("id", "")
        whose = (caller.account, caller.token_id)
        if action in ("revoke", "rotate"):
            self._tokens.keep_outside(caller, id)
        if action == "revoke":
            await self._hand_out.revoke(*whose, id)
            return None
        await self._tokens.admit(caller)
        if action == "create":
            return await self._hand_out.create(*whose, _wish(fields))
        if action == "rotate":
            return await self._hand_out.rotate(*whose, id)
        if action == "rename":
            await self._hand_out.change(*whose, id, {"name": fields.get("name", "")})
            return None
        raise BadRequest("action: create, rename, rotate or revoke was expected")

    async def _page(
        self, caller: Caller, *, made: Made | None = None, refusal: Refusal | None = None, doomed: str | None = None
    ) -> OwnAnswer:
        now_ms = self._clock.now_ms()
        said = told_made(made, now_ms) if made else {}
        tokens = await self._tokens.held(caller)
        good = [one for one in tokens if one["state"] == "good"]
        asked = next((one for one in good if one["id"] == doomed), None)
        if doomed is not None and asked is None:
            refusal = NoSuchToken()
        return OwnAnswer(
            status=refusal.status if refusal else 200,
            text=self._templates.render(
                "tokens.html",
                tokens=tokens,
                names={one["id"]: one["name"] for one in tokens},
                parents=good,
                routes=self._choices(),
                doomed=asked,
                below=_below(good, asked["id"]) if asked else 0,
                mark=self._visitors.mark(caller),
                secret=said.get("access_token"),
                made=said.get("token"),
                previous=said.get("previous_valid_until"),
                problem=WORDS[type(refusal)].detail(refusal) if refusal else None,
                currency=self._currency,
            ),
            content_type="text/html",
        )

    def _choices(self) -> Sequence[str]:
        """The routes that can be ticked: those that cost something, if they are not too many."""
        priced = [route.name for route in self._routes().routes if route.listed and not route.price.free]
        return priced if len(priced) <= _CHOICES_MAX else ()


def _below(tokens: Sequence[dict[str, Any]], id: str) -> int:
    """How many came of it, and of those."""
    children = [one["id"] for one in tokens if one["parent"] == id]
    return len(children) + sum(_below(tokens, child) for child in children)


def _wish(fields: dict[str, str]) -> dict[str, Any]:
    """What was typed; an empty field says nothing."""
    texts = ("name", "role", "parent", "expires")
    wish: dict[str, Any] = {name: fields.get(name, "").strip() or None for name in texts}
    for name in ("routes", "methods"):
        wish[name] = fields.get(name, "").replace(",", " ").split() or None
    if ticked := [field.removeprefix(_ROUTE) for field in fields if field.startswith(_ROUTE)]:
        wish["routes"] = ticked
    limit = fields.get("limit", "").strip()
    caps = {period: fields[period].strip() for period in PERIODS if fields.get(period, "").strip()}
    return {**wish, "limit": [limit] if limit else None, "caps": caps or None}
