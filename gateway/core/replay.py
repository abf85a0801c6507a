"""Yesterday's requests under tomorrow's prices: what each route would have earned.

A request is replayed if what it would cost can be known: a flat price goes by the request alone, one by use needs what
its meter read, and the price of a method needs to know the method, which stands there, too. What cannot be replayed is
counted, and stands on neither side of the sum. Its plan is the one by which it was priced. Requests that were not
charged are not on record: they stay what they are. Calls of steps are counted from the first request that is replayed.
"""

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from gateway.core.caps import began
from gateway.core.measured import Measured
from gateway.core.pricing import COUNTED, AnyPrice, MeteredPrice
from gateway.core.routes import Route
from gateway.core.statements import Line
from gateway.core.steps import place_of

_INPUT, _CACHED = "input_tokens", "cached_tokens"
_PLAN = re.compile(r"\(plan ([^,)]+)[,)]")


@dataclass(slots=True)
class Replayed:
    """What a route took from so many requests, and would have taken, in micros; and of how many that is not known."""

    requests: int = 0
    earned: int = 0
    would_earn: int = 0
    unknown: int = 0
    earned_of_unknown: int = 0


class Replay:
    """Adds up, route by route."""

    def __init__(self, routes: Mapping[str, Route], unit: str) -> None:
        self._routes = routes
        self._unit = unit
        self._calls: Counter[tuple[str, ...]] = Counter()
        self.found: dict[str, Replayed] = {}

    def take(self, line: Line, measured: Measured | None) -> None:
        """A request, or the sum of an hour whose requests are not on record any more."""
        if line.unit != self._unit or not (line.cost or line.type == "hour"):
            return
        sums = self.found.setdefault(line.route, Replayed())
        would = self._would_cost(line, measured)
        if would is None:
            sums.unknown += line.requests
            sums.earned_of_unknown += line.cost
        else:
            sums.requests += line.requests
            sums.earned += line.cost
            sums.would_earn += would

    def _would_cost(self, line: Line, measured: Measured | None) -> int | None:
        route = self._routes.get(line.route)
        if route is None or (route.methods and measured is None) or route.calls or line.state == "adjusted":
            return None
        plan = _PLAN.search(line.rule)
        route = route.for_method(measured.method if measured is not None else "")
        route = route.for_plans([plan[1]] if plan else [])
        if line.type == "hour" and (route.steps or not route.price.charge.whole):
            return None
        if route.steps:
            route = self._step(route, line)
        if measured is not None:
            return micros_at(route.price, measured)
        return route.price.ceiling.micros * line.requests if route.price.free or route.price.flat else None

    def _step(self, route: Route, line: Line) -> Route:
        first = route.steps[0].step
        assert first is not None
        key = (first.unit, line.account, began(first.period, line.at_ms, first.zone))
        made, self._calls[key] = self._calls[key], self._calls[key] + 1
        ends = [(one.step.before + (one.step.calls or 0), made) for one in route.steps[:-1] if one.step is not None]
        return route.steps[place_of(ends)]


def micros_at(price: AnyPrice, measured: Measured) -> int | None:
    """What a request would have cost at this price; None if that goes by something that nobody read."""
    charge = price.charge
    if not charge.is_charged(measured.status):
        return 0
    percent = charge.percent(empty=measured.empty, cut=measured.cut, seconds=measured.waited_ms / 1000)
    if not isinstance(price, MeteredPrice):
        return price.ceiling.micros if percent else 0
    if price.units - {*COUNTED, *measured.looked_for}:
        return None
    used = dict(measured.used)
    if _CACHED in price.units and measured.input_without_cached is not None:
        used[_INPUT] = measured.input_without_cached
    unsaid = not measured.bodiless and any(unit not in used for unit in price.units)
    unsaid = unsaid or (price.reported and measured.reported is None)
    if unsaid and not measured.cut and price.unreported == "maximum":
        return price.micros(used, reported=price.maximum.micros, percent=percent)
    return price.micros(used, reported=measured.reported or 0, percent=percent)
