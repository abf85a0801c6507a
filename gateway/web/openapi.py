"""The routes and our own API as an OpenAPI 3.1 document, with what each costs in `x-payment-info`.

Of a route we know its path and its prices, and neither its methods nor its bodies: it stands there as `get`, `post` and
whatever has a price of its own; a path that has everything below it as `{rest}`, which may hold slashes. Our own API is
what `OPERATIONS` says of the addresses that this gateway has; a test holds the one against the other.

`x-payment-info.price` is what directories of paid APIs read: `fixed` (`amount`) or `dynamic` (`min`, `max`).
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from gateway.core.money import Money
from gateway.core.pricing import AnyPrice, Price
from gateway.core.routes import Route
from gateway.web.explaining import limit_words

_METHODS = ("get", "post")
_KNOWN = frozenset("GET PUT POST DELETE OPTIONS HEAD PATCH".split())
_REST = "rest"


@dataclass(frozen=True, slots=True)
class Operation:
    """One method of one of our own addresses: `takes` are the members of its JSON body, `asks` those of its query."""

    summary: str
    takes: dict[str, str] = field(default_factory=dict)
    asks: dict[str, str] = field(default_factory=dict)
    needs_token: bool = False
    answers: str = "200"


_WISH = {"threshold": "when the balance falls below this", "amount": "a saved card pays this"}
_QUOTE = {
    "method": "the request's method; the one that this is asked with if it is left out",
    "url": "the request's path with its query, or its whole address",
}
_TERMS = {
    "name": "what its holder calls it",
    "role": "owner, spender or viewer",
    "routes": "only for these, by their names",
    "methods": "only these",
    "expires": "such as 30d, or a moment",
    "limit": "a list such as 100/minute",
    "caps": "an object with `day`, `month`, `total`: what it may spend",
}
OPERATIONS: dict[tuple[str, str], Operation] = {
    ("GET", "/-/api/v1/quote"): Operation(
        "What a request would cost at most; nothing is held, and no upstream is asked",
        asks={**_QUOTE, "content_length": "how many bytes its body will have"},
    ),
    ("POST", "/-/api/v1/quote"): Operation("The same, with the body that would be sent", asks=_QUOTE),
    ("GET", "/-/api/v1/requests/{id}"): Operation(
        "What a request did cost, and how that came about", needs_token=True
    ),
    ("POST", "/-/api/v1/top-ups"): Operation(
        "An address at which credit can be paid, and a token if there is none yet",
        takes={"amount": 'such as "20.00"', "auto_top_up": "an object with `threshold` and `amount`, to save a card"},
        answers="201",
    ),
    ("GET", "/-/api/v1/subscriptions"): Operation(
        "What is sold for a period, and what this account has; with the operators' token and `email`, what that bought"
    ),
    ("POST", "/-/api/v1/subscriptions"): Operation(
        "An address at which a plan can be subscribed to", takes={"plan": "its name"}, answers="201"
    ),
    ("DELETE", "/-/api/v1/subscriptions/{id}"): Operation("It ends with the period that is paid", needs_token=True),
    ("GET", "/-/api/v1/auto-top-up"): Operation("How the saved card stands", needs_token=True),
    ("PUT", "/-/api/v1/auto-top-up"): Operation(
        "A saved card pays when the balance runs low",
        takes={**_WISH, "per_day": "at most", "per_month": "at most", "new_card": "true to save another one"},
        needs_token=True,
    ),
    ("DELETE", "/-/api/v1/auto-top-up"): Operation("It does not any more", needs_token=True),
    ("GET", "/-/api/v1/tokens"): Operation("The account's tokens that this one may know of", needs_token=True),
    ("POST", "/-/api/v1/tokens"): Operation(
        "Another token, or a child of one; its secret is in this answer only",
        takes={**_TERMS, "parent": "the id of the token that it comes of"}, needs_token=True, answers="201",
    ),
    ("GET", "/-/api/v1/tokens/{id}"): Operation("One of them", needs_token=True),
    ("PATCH", "/-/api/v1/tokens/{id}"): Operation("Another name, or narrower", takes=_TERMS, needs_token=True),
    ("DELETE", "/-/api/v1/tokens/{id}"): Operation("It is over, with all that came of it", needs_token=True),
    ("POST", "/-/api/v1/tokens/{id}/rotate"): Operation(
        "Another secret for it; the older one is good for a while", needs_token=True
    ),
    ("GET", "/-/api/v1/integrations"): Operation(
        "How each connection to a provider stands, of who has signed in", needs_token=True
    ),
    ("DELETE", "/-/api/v1/integrations/{provider}"): Operation(
        "One of them ends, and its tokens are forgotten", needs_token=True, answers="204"
    ),
    ("GET", "/-/api/v1/jobs"): Operation("What is done for who has signed in, the newest first", needs_token=True),
    ("GET", "/-/api/v1/jobs/{id}"): Operation("One piece of it", needs_token=True),
    ("GET", "/-/api/v1/stripe/connect-account"): Operation(
        "How an owner's account at Stripe stands, what Stripe still needs, and a link to where that is given; for the"
        " session of who acts for one",
        needs_token=True,
    ),
    ("POST", "/-/api/v1/stripe/connect-account"): Operation(
        "The same, and there is to be an account if there is none: 202 until it is there", needs_token=True
    ),
    ("GET", "/-/api/v1/owners/{owner}/routes"): Operation(
        "An owner's own routes as they have written them, in YAML; for the session of who acts for them",
        needs_token=True,
    ),
    ("PUT", "/-/api/v1/owners/{owner}/routes"): Operation(
        "They are this from now on, if that is within the operator's bounds: with `If-Match`, and the ETag of what was"
        " looked at",
        asks={"dry_run": "1: what would change is told, and nothing changes"}, needs_token=True,
    ),
    ("POST", "/-/api/v1/stripe/create-customer-setup"): Operation(
        "What a page needs to save a payment method that may be charged later; for the session of a person",
        takes={"hosted": "true: Stripe's own page for it, too"}, needs_token=True,
    ),
    ("POST", "/-/api/v1/stripe/charge-commission"): Operation(
        "The fee of a confirmed refund is charged, once; for services",
        takes={
            "refund_id": "what it is of, for ever", "user_id": "usr_…, who agreed",
            "amount": "of the refund, in the currency's smallest unit", "currency": "that of the gateway",
        },
        needs_token=True,
    ),
    ("GET", "/-/api/v1/stripe/transactions"): Operation("What was charged so, the newest first", needs_token=True),
    ("GET", "/-/api/v1/stripe/transactions/{id}"): Operation("One of them", needs_token=True),
    ("POST", "/-/api/v1/codes"): Operation(
        "The wallet that a code was shown for becomes one with this", takes={"code": "as it was shown"},
        needs_token=True, answers="202",
    ),
}  # fmt: skip


def document(
    routes: Iterable[Route], ours: Iterable[tuple[str, str]], *, title: str, url: str, header: str
) -> dict[str, Any]:
    """The routes that are listed, and of our own addresses those that this gateway has."""
    paths: dict[str, dict[str, Any]] = {}
    for route in routes:
        path = route.match + (f"{{{_REST}}}" if route.match.endswith("/") else "")
        methods = dict.fromkeys((*_METHODS, *(method.lower() for method in route.methods if method in _KNOWN)))
        paths[path] = {method: _of_route(route.for_method(method), method) for method in methods}
    for method, path in ours:
        operation = OPERATIONS.get((method, path))
        if operation is not None:
            paths.setdefault(path, {})[method.lower()] = _of_ours(operation, method, path)
    bearer = {"type": "http", "scheme": "bearer"}
    scheme = bearer if header == "Authorization" else {"type": "apiKey", "in": "header", "name": header}
    return {
        "openapi": "3.1.0",
        "info": {"title": title, "version": "1", "description": _ABOUT},
        "servers": [{"url": url}],
        "paths": paths,
        "components": {"securitySchemes": {"token": scheme}},
    }


_ABOUT = (
    "Requests are paid for from a prepaid balance. The first one without a token is answered with 402, a fresh"
    " `access_token` and a `payment_url`: pay there, then send the token along."
)


def _of_route(route: Route, method: str) -> dict[str, Any]:
    price, limits = route.price, "; ".join(map(limit_words, route.limits))
    below = [_parameter(_REST, "path", "Everything below, slashes too.")] if route.match.endswith("/") else []
    costs = "Free." if price.free else f"Costs {route.costs}."
    told: dict[str, Any] = {
        "operationId": f"{route.name}.{method}",
        "summary": route.name,
        "description": costs + (f" Limits: {limits}." if limits else ""),
        "parameters": below,
        "responses": {"default": {"description": "What the upstream answers, whatever its status."}},
    }
    if not price.free:
        told["responses"]["402"] = {"description": "The balance does not cover it.", "content": _PROBLEM}
        told["security"] = [{"token": []}]
        told["x-payment-info"] = payment_info(price) | _with_steps(route) | _with_plans(route)
    if route.limits:
        told["responses"]["429"] = {"description": "A limit was met.", "content": _PROBLEM}
    return told


_PROBLEM = {"application/problem+json": {"schema": {"type": "object"}}}
_JSON = {"application/json": {"schema": {"type": "object"}}}


def payment_info(price: AnyPrice) -> dict[str, Any]:
    """What it costs, by the names that directories of paid APIs read, and by which rule."""
    most = price.ceiling
    told: dict[str, Any] = {"currency": _unit(most)}
    if isinstance(price, Price) or price.flat:
        told |= {"mode": "fixed", "amount": most.number}
    else:
        told |= {"mode": "dynamic", "min": _least(price).number, "max": most.number}
    return {"price": told, "rule": str(price), "charged_when": str(price.charge), "protocols": [{"farebox": {}}]}


def _unit(amount: Money) -> str:
    """A currency as directories write it; a named credit as it is."""
    return amount.currency if amount.named else amount.currency.upper()


def _with_steps(route: Route) -> dict[str, Any]:
    """Which step of its price a call is of, only its caller can know."""
    if not route.steps:
        return {}
    least = min((_least(one.price) for one in route.steps), key=lambda amount: amount.micros)
    most = route.price.ceiling
    told = {"currency": _unit(most), "mode": "dynamic", "min": least.number, "max": most.number}
    return {"price": told, "rule": route.costs}


def _with_plans(route: Route) -> dict[str, Any]:
    """What it costs those who subscribe."""
    return {"plans": {plan: one.rule for plan, one in route.plans.items()}} if route.plans else {}


def _least(price: AnyPrice) -> Money:
    """What a charged answer costs at least, if all of it is due."""
    if isinstance(price, Price):
        return price.per_call
    return price.base if price.minimum is None or price.minimum < price.base else price.minimum


def _of_ours(operation: Operation, method: str, path: str) -> dict[str, Any]:
    parameters = [_parameter(part, "path", "") for part in re.findall(r"\{(\w+)\}", path)]
    parameters += [_parameter(name, "query", words, required=name == "url") for name, words in operation.asks.items()]
    name = re.sub(r"/\{(\w+)\}", r"-of-\1", path.removeprefix("/-/api/v1/")).replace("/", "-")
    told: dict[str, Any] = {
        "operationId": f"gateway.{name}.{method.lower()}",
        "summary": operation.summary,
        "parameters": parameters,
        "responses": {
            operation.answers: {"description": "Done.", "content": _JSON},
            "default": {"description": "Refused.", "content": _PROBLEM},
        },
    }
    if operation.takes:
        members = {name: {"description": words} for name, words in operation.takes.items()}
        schema = {"type": "object", "properties": members}
        told["requestBody"] = {"required": True, "content": {"application/json": {"schema": schema}}}
    if operation.needs_token:
        told["security"] = [{"token": []}]
    return told


def _parameter(name: str, place: str, words: str, *, required: bool = True) -> dict[str, Any]:
    told = {"name": name, "in": place, "required": required, "schema": {"type": "string"}}
    return {**told, "description": words} if words else told
