"""Limits in the configuration: what they are called, what must agree in them, and what they become."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from gateway.core.limits import Limit, Rate
from gateway.settings import forms
from gateway.settings.draft import Draft
from gateway.settings.masking import shown
from gateway.settings.nodes import Path
from gateway.settings.shapes.routes import LimitShape

MOVING_MAX = 10_000
"""A moving window remembers each of its hits."""

_SPANS = {1: "second", 60: "minute", 3600: "hour", 86_400: "day", forms.MONTH_SECONDS: "month"}


def limits(shapes: Sequence[LimitShape], scope: str) -> tuple[Limit, ...]:
    """What is written under `limits` of a route, or `everywhere` if `scope` is empty."""
    return tuple(_limit(shape, scope) for shape in shapes)


def plain(text: str, route: str) -> Limit:
    """A route's `limit`, which is called like the route."""
    return Limit(route, forms.rate(text))


def _limit(shape: LimitShape, scope: str) -> Limit:
    rate = replace(forms.quota(shape.rate), window=shape.window) if shape.rate else None
    name = shape.name or _name(scope, shape.per, rate)
    return Limit(name, rate, at_once=shape.concurrent or 0, per=shape.per, callers=shape.callers)


def _name(scope: str, per: str, rate: Rate | None) -> str:
    """`weather-address-second`: what a limit is called if nobody says."""
    span = _SPANS.get(rate.seconds, f"{rate.seconds}s") if rate else "at-once"
    return "-".join(part for part in (scope, per, rate.currency if rate else "", span) if part)


@dataclass(frozen=True, slots=True)
class _Found:
    """A limit as it stands in the file; `route` is the number of its route, None for one that is everywhere."""

    path: Path
    route: int | None
    rate: Rate | None


def limits_say_one_thing(draft: Draft) -> None:
    for limit in _found(draft):
        rate, cap = (draft.given(*limit.path, key) for key in ("rate", "concurrent"))
        if rate == cap:
            draft.report.add(limit.path, "write either `rate` or `concurrent`")
        elif cap and draft.given(*limit.path, "window"):
            draft.report.add((*limit.path, "window"), "`concurrent` counts what is under way, not in a window of time")
        if limit.route is not None and draft.text(*limit.path, "per") == "owner":
            words = "a route has one owner; write `per: route`, or put this under limits.everywhere"
            draft.report.add((*limit.path, "per"), words)


def moving_windows_are_small(draft: Draft) -> None:
    for limit in _found(draft):
        if limit.rate is None or draft.text(*limit.path, "window") != "moving":
            continue
        if limit.rate.currency or limit.rate.amount > MOVING_MAX:
            words = (
                f"it remembers each request, so it may count {MOVING_MAX} of them at most and no money; write sliding"
            )
            draft.report.add((*limit.path, "window"), words)


def limits_of_money_can_be_met(draft: Draft) -> None:
    currency = draft.read(forms.currency, "currency")
    for limit in _found(draft):
        if limit.rate is None or not limit.rate.currency:
            continue
        path = (*limit.path, "rate")
        if currency and limit.rate.currency != currency:
            draft.report.add(path, f"this is in {limit.rate.currency}, but `currency` is {currency}")
        elif limit.route is not None and all(draft.text(*one) == forms.FREE for one in draft.prices(limit.route)):
            draft.report.add(path, "the route is free, so this would never count anything")
        for route in draft.numbers("routes") if limit.route is None else [limit.route]:
            for price in (draft.read(forms.price, *one) for one in draft.prices(route)):
                if price is not None and price.named:
                    if limit.route is not None:
                        words = (
                            f"this counts money, and routes[{route}] costs {price}; count its calls, or cap the token"
                        )
                        draft.report.add(path, words)
                elif price is not None and price.micros > limit.rate.amount:
                    words = f"routes[{route}] costs {price}, which is more, so nobody could ever call it"
                    draft.report.add(path, words)


def limits_have_names_of_their_own(draft: Draft) -> None:
    first: dict[str, Path] = {}
    for number in draft.numbers("routes"):
        name = draft.text("routes", number, "name")
        if name is not None and draft.given("routes", number, "limit"):
            first[name] = ("routes", number, "limit")
    for limit in _found(draft):
        scope = "" if limit.route is None else draft.text("routes", limit.route, "name") or f"routes[{limit.route}]"
        name = draft.text(*limit.path, "name") or _name(scope, draft.text(*limit.path, "per") or "", limit.rate)
        if name in first:
            given = draft.given(*limit.path, "name")
            words = f"another limit is called {shown(name)}; give " + ("each its own" if given else "one a name")
            draft.report.add((*limit.path, "name") if given else limit.path, words)
        first.setdefault(name, limit.path)


def _found(draft: Draft) -> list[_Found]:
    everywhere: list[tuple[Path, int | None]] = [
        (("limits", "everywhere", number), None) for number in draft.numbers("limits", "everywhere")
    ]
    of_routes: list[tuple[Path, int | None]] = [
        (("routes", route, "limits", number), route)
        for route in draft.numbers("routes")
        for number in draft.numbers("routes", route, "limits")
    ]
    return [_Found(path, route, draft.read(forms.quota, *path, "rate")) for path, route in everywhere + of_routes]


ALL: tuple[Callable[[Draft], None], ...] = (
    limits_say_one_thing,
    moving_windows_are_small,
    limits_of_money_can_be_met,
    limits_have_names_of_their_own,
)
