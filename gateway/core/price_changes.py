"""What each route costs, in words, and what of that has changed: for the trail."""

import hashlib
import json
from collections.abc import Iterable, Mapping

from gateway.core.routes import Route
from gateway.core.trail import CHARS_MAX, FACTS_MAX

DIGEST = "digest"
_MORE = "more"


def prices_of(routes: Iterable[Route]) -> dict[str, str]:
    """The rule of each route, and of each method, call and plan that has one of its own."""
    told = {}
    for route in routes:
        told[route.name] = _said(route)
        told |= {f"{route.name} {method}": _said(variant) for method, variant in route.methods.items()}
        told |= {f"{route.name} {call}": _said(variant) for call, variant in route.by_call}
        for method, plan, variant in route.by_plan:
            told[f"{route.name}{f' {method}' if method else ''} for {plan}"] = _said(variant)
    return told


def digest(prices: Mapping[str, str]) -> str:
    """The same for the same prices."""
    return hashlib.sha256(json.dumps(prices, sort_keys=True).encode()).hexdigest()[:16]


def changes(before: Mapping[str, str], after: Mapping[str, str]) -> dict[str, str]:
    """The facts of an entry: each price that is another, `old → new`, as many as an entry takes, and a digest."""
    said = {
        name[:CHARS_MAX]: f"{before.get(name, 'not there')} → {after.get(name, 'not there')}"[:CHARS_MAX]
        for name in sorted({*before, *after})
        if before.get(name) != after.get(name)
    }
    facts = dict(list(said.items())[: FACTS_MAX - 2])
    if len(said) > len(facts):
        facts[_MORE] = str(len(said) - len(facts))
    return {**facts, DIGEST: digest(after)}


def _said(route: Route) -> str:
    return f"{route.rule} ({route.price.charge})" if not route.price.free else "free"
