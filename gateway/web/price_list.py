"""The public price list: a page for people, and for programs `pricing.json`, `llms.txt` and an OpenAPI document.

It tells of each route its name, path, price and limits, and nothing of who answers there; a route with `listed: false`
is in none of them. It says what is true at this moment, so it may be kept for a minute at most, and anybody may read
it, from any page.
"""

from collections.abc import Callable, Sequence
from typing import Any
from urllib.parse import urlsplit

from aiohttp import web

from gateway.core.indented import indented
from gateway.core.money import Money
from gateway.core.plans import Plan
from gateway.core.routes import RouteTable
from gateway.web.answers import OwnAnswer
from gateway.web.explaining import limit_words, told_route
from gateway.web.guard import Handler
from gateway.web.openapi import document
from gateway.web.templates import Templates

_FOR_ALL = {"Cache-Control": "public, max-age=60", "Access-Control-Allow-Origin": "*"}


class PriceListPlace:
    """The handlers."""

    def __init__(
        self,
        *,
        templates: Templates,
        routes: Callable[[], RouteTable],
        currency: str,
        public_url: str,
        top_up: Money | None,
        plans: Sequence[Plan],
        header: str,
    ) -> None:
        self._templates = templates
        self._routes = routes
        self._currency = currency
        self._url = public_url
        self._top_up = top_up
        self._plans = plans
        self._header = header

    def addresses(self) -> dict[str, tuple[str, Handler]]:
        """What is served where; and under which other name at the root, if a setting says so."""
        return {
            "/-/pricing": ("/pricing", self.page),
            "/.well-known/pricing.json": ("/pricing.json", self.as_json),
            "/-/llms.txt": ("/llms.txt", self.as_text),
            "/-/openapi.json": ("/openapi.json", self.as_openapi),
        }

    async def page(self, request: web.Request) -> web.StreamResponse:
        """`GET /-/pricing`."""
        text = self._templates.render(
            "pricing.html", routes=self._routes().listed, plans=self._plans, top_up=self._top_up, url=self._url
        )
        return OwnAnswer(text=text, content_type="text/html", headers={"Cache-Control": _FOR_ALL["Cache-Control"]})

    async def as_json(self, request: web.Request) -> web.StreamResponse:
        """`GET /.well-known/pricing.json`."""
        told: dict[str, Any] = {
            "version": 1,
            "url": self._url,
            "currency": self._currency,
            "top_up": str(self._top_up) if self._top_up else None,
            "routes": [told_route(route) for route in self._routes().listed],
            "plans": [
                {"plan": plan.name, "price": str(plan.costs), "every": plan.every, "grants": str(plan.grants)}
                for plan in self._plans
            ],
            "quote": f"{self._url}/-/api/v1/quote",
            "openapi": f"{self._url}/-/openapi.json",
        }
        return _json(told)

    async def as_openapi(self, request: web.Request) -> web.StreamResponse:
        """`GET /-/openapi.json`."""
        ours = [
            (route.method, route.resource.canonical)
            for route in request.app.router.routes()
            if route.resource is not None
        ]
        return _json(
            document(self._routes().listed, ours, title=urlsplit(self._url).netloc, url=self._url, header=self._header)
        )

    async def as_text(self, request: web.Request) -> web.StreamResponse:
        """`GET /-/llms.txt`: the price list as a language model reads it (llmstxt.org)."""
        bearer = "`Authorization: Bearer …`" if self._header == "Authorization" else f"the header `{self._header}`"
        costs = self._currency.upper()
        lines = [
            f"# {urlsplit(self._url).netloc}",
            "",
            f"> An API that is paid per use, from a prepaid balance in {costs}. There is no sign-up.",
            "",
            "The first request without a token is answered with status 402 and JSON: a fresh `access_token`, and",
            "a `payment_url` at which a person can pay. Afterwards repeat the request with the token in",
            f"{bearer}. Each answer says what it did cost in `Gateway-Cost`; a stream of events in its last event, if",
            "`Gateway-Final-Event: cost` asked for that.",
            f"`Gateway-Max-Price: 0.01 {self._currency}` refuses a request that could cost more.",
            "",
            "## Routes",
            "",
        ]
        for route in self._routes().listed:
            below = " and everything below" if route.match.endswith("/") else ""
            limits = "".join(f"; {limit_words(limit)}" for limit in route.limits)
            others = "".join(f"; {method}: {one.costs}" for method, one in route.methods.items())
            others += "".join(f"; {call}: {one.costs}" for call, one in route.by_call)
            others += "".join(f"; {method or 'all'} with {plan}: {one.costs}" for method, plan, one in route.by_plan)
            lines.append(f"- [{route.name}]({self._url}{route.match}){below}: {route.costs}{others}{limits}")
        lines += [
            "", "## More", "",
            f"- [Prices as JSON]({self._url}/.well-known/pricing.json): the same, for programs",
            f"- [OpenAPI]({self._url}/-/openapi.json): the routes and the gateway's own API",
            f"- [A quote]({self._url}/-/api/v1/quote?method=GET&url=/): what a request would cost, before it is sent",
            f"- [Prices for people]({self._url}/-/pricing)",
        ]  # fmt: skip
        return OwnAnswer(text="\n".join(lines) + "\n", content_type="text/plain", headers=_FOR_ALL)


def _json(content: dict[str, Any]) -> OwnAnswer:
    return OwnAnswer(text=indented(content), content_type="application/json", headers=_FOR_ALL)
