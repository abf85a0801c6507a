"""What prices, quotes and past requests are called: for programs as members of JSON, for people in one sentence.

The addresses of ours and the commands say the same, so they all take it from here.
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

from gateway.core.ledger import Kind
from gateway.core.limits import Limit
from gateway.core.money import Money
from gateway.core.pricing import MILLISECONDS, SECONDS, AnyPrice, Price
from gateway.core.quotes import Quote
from gateway.core.routes import Route
from gateway.core.statements import Explained, Step
from gateway.web.templates import moment

_MOMENT = "%Y-%m-%dT%H:%M:%SZ"
_OUTCOMES = {
    "voided": "not answered: no byte of an answer had left",
    "adjusted": "not known any more: its beginning is too old",
}
_ANSWERED = "answered"
_WHOM = {"all": "", "paid": " that has paid", "unpaid": " that has not paid"}


def told_quote(quote: Quote, *, paid: bool | None) -> dict[str, Any]:
    """What a request would cost, and the limits that a caller meets who has paid or has not; all if that is open."""
    price = quote.route.price
    return {
        "method": quote.method,
        "target": quote.target.raw,
        "route": quote.route.name,
        "rule": quote.route.rule,
        "charged_when": "" if price.free else str(price.charge),
        "free": price.free,
        "exact": quote.exact,
        "at_most": str(quote.at_most),
        "held": str(quote.held),
        "steps": told_steps(quote.steps),
        "step": told_step(quote),
        "says": quote_sentence(quote),
        "limits": told_limits(quote.limits(paid=paid)),
    }


def quote_sentence(quote: Quote) -> str:
    """One sentence: what it costs, by which rule, and when."""
    asked, price = f"{quote.method} {quote.target.raw}", quote.route.price
    if quote.stepped is not None:
        left = "" if quote.left is None else f", of which {quote.left:,} {'is' if quote.left == 1 else 'are'} left"
        at_step = replace(quote, route=replace(quote.route, step=None), stepped=None)
        under = f"the next call is of this step: {quote.route.step}{left}"
        return f"{quote_sentence(at_step)} By the rule {quote.stepped.rule}; {under}."
    condition = f" ({quote.route.condition})" if quote.route.condition else ""
    if price.free:
        return f"{asked} is free{condition}."
    if quote.exact:
        return f"{asked} costs {quote.at_most}{condition} if its answer is charged ({price.charge}), else nothing."
    rule = quote.route.rule
    held = f", of which {quote.held} must be there at first" if quote.held != quote.at_most else ""
    return (
        f"{asked} costs at most {quote.at_most}{held}, by the rule {rule}; nothing if its answer is not charged"
        f" ({price.charge})."
    )


def told_limits(limits: Iterable[Limit]) -> list[dict[str, str]]:
    """Limits as they are written, not how they stand: asking must not count."""
    return [
        {"name": limit.name, "text": limit.text, "policy": limit.policy, "per": limit.per, "callers": limit.callers}
        for limit in limits
    ]


def limit_words(limit: Limit) -> str:
    """`100/minute for each caller that has paid`."""
    return f"{limit.text} for each {limit.per}{_WHOM[limit.callers]}"


def told_steps(steps: Sequence[Route]) -> list[dict[str, Any]]:
    """Each step of a price: from which call of a period on, up to which (None: all that follow), and its price."""
    return [
        {
            "from": one.step.before + 1,
            "up_to": None if one.step.calls is None else one.step.before + one.step.calls,
            "per": one.step.period,
            "price": told_price(one.price),
        }
        for one in steps
        if one.step is not None
    ]


def told_step(quote: Quote) -> dict[str, Any] | None:
    """The step that the next call is of; None if that is not known, or there are no steps."""
    step = quote.route.step
    return None if step is None else {"from": step.before + 1, "left": quote.left}


def told_costs(route: Route) -> dict[str, Any]:
    """What a route of the price list costs, with its steps if it has some: `amount` is of no single one then."""
    if not route.steps:
        return told_price(route.price)
    most, charge = route.price.ceiling, route.price.charge
    told: dict[str, Any] = {"mode": "stepped", "rule": route.costs, "at_most": str(most), "charged_when": str(charge)}
    return {**told, "steps": told_steps(route.steps)}


def told_price(price: AnyPrice) -> dict[str, Any]:
    """A price of the price list. `fixed`: each charged answer costs `amount`; `metered`: what the parts come to."""
    if price.free:
        return {"mode": "free"}
    told: dict[str, Any] = {"rule": str(price), "at_most": str(price.ceiling), "charged_when": str(price.charge)}
    if isinstance(price, Price) or price.flat:
        return {"mode": "fixed", "amount": str(price.ceiling), **told}
    parts = [
        {"unit": rate.unit, "amount": str(rate.amount), "count": _count(rate.unit, rate.count)} for rate in price.per
    ]
    told |= {"mode": "metered", "base": str(price.base), "per": parts, "reported_by_upstream": price.reported}
    told |= {name: str(found) for name, found in (("minimum", price.minimum), ("held_first", price.slice)) if found}
    return told


def told_route(route: Route) -> dict[str, Any]:
    """A route of the price list: nothing of its upstream."""
    return {
        "name": route.name,
        "path": route.match,
        "and_below": route.match.endswith("/"),
        "price": told_costs(route),
        "prices_by_method": {method: told_costs(one) for method, one in route.methods.items()},
        "prices_by_plan": [
            {"plan": plan, "method": method, "price": told_costs(one)} for method, plan, one in route.by_plan
        ],
        "limits": told_limits(route.limits),
    } | ({"prices_by_call": {call: told_costs(one) for call, one in route.by_call}} if route.calls else {})


def told_request(found: Explained, route: Route | None) -> dict[str, Any]:
    """What is on record of a request. `route` is the one of that name today, if there still is one."""
    same = next((one for one in (route.variants if route else ()) if one.rule == found.rule), None)
    return {
        "request": str(found.id),
        "at": moment(found.id.at_ms, _MOMENT),
        "account": found.account,
        "route": found.route,
        "rule": found.rule,
        "cost": str(found.cost),
        "held_at_most": str(same.price.ceiling) if same is not None else None,
        "state": found.state,
        "outcome": _OUTCOMES.get(found.state, _ANSWERED),
        "steps": [
            {"at": moment(step.at_ms, _MOMENT), "what": _what(step), "amount": str(step.amount)} for step in found.steps
        ],
        "says": request_sentence(found),
        "limits_today": told_limits(route.limits) if route is not None else [],
    }


def request_sentence(found: Explained) -> str:
    """One sentence: what it did cost, how that came about, and by which rule."""
    steps = ", ".join(f"{_size(step.amount)} {_what(step)}" for step in found.steps)
    return f"It cost {found.cost} by the rule {found.rule}: {steps}."


def _what(step: Step) -> str:
    if step.kind in (Kind.CAPTURE, Kind.GATED_CAPTURE):
        return "when its answer began"
    if step.kind is Kind.RENEWAL:
        return "as it went on"
    return "given back" if step.amount.micros < 0 else "more at its end"


def _size(amount: Money) -> Money:
    return -amount if amount.micros < 0 else amount


def _count(unit: str, count: int) -> int:
    """Seconds are told in seconds."""
    return count // MILLISECONDS if unit == SECONDS else count
