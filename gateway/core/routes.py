"""The immutable table of routes: `match` finds the one route of a request, or refuses.

A `match` that ends in `/` is a prefix, any other is one exact path. The longest wins, so the order in the file does not
matter, and two routes can only shadow one another by having the same match. A reload builds a new table; a request in
flight keeps the route, and so the price, that it was quoted.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal

from gateway.core import targets
from gateway.core.ledger import Tariff
from gateway.core.pricing import Price
from gateway.core.refusals import AmbiguousTarget, NoRoute
from gateway.core.targets import Target

RESERVED_PREFIXES = ("/-/", "/.well-known/")
"""Addresses of our own. No route may begin with one."""

Durability = Literal["strict", "relaxed"]
Unpaid = Literal["redirect", "page"]


@dataclass(frozen=True, slots=True)
class Upstream:
    """A server that answers for one or more routes. `url` is its scheme, host and port, without a slash at the end."""

    name: str
    url: str
    connect_seconds: float = 5.0
    first_byte_seconds: float = 60.0
    idle_seconds: float = 60.0
    connections_max: int = 256


@dataclass(frozen=True, slots=True)
class Rate:
    """At most `amount` requests in `seconds`, as written: `100/minute`."""

    amount: int
    seconds: int
    text: str


@dataclass(frozen=True, slots=True)
class Route:
    """The rule that a request matched."""

    name: str
    match: str
    upstream: Upstream
    price: Price
    strip_prefix: bool = False
    limit: Rate | None = None
    unpaid: Unpaid = "redirect"
    durability: Durability = "strict"
    owner: str = "operator"

    tariff: Tariff = field(init=False, compare=False, repr=False)
    """What the ledger keeps of this route's price; made once, not with every request."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "tariff", Tariff(self.name, self.owner, 0, str(self.price)))

    def upstream_target(self, target: Target) -> str:
        """The request target for the upstream: the caller's own bytes, less the prefix if the route says so."""
        if not self.strip_prefix:
            return target.raw
        return "/" + target.raw[len(self.match.rstrip("/")) :].removeprefix("/")


class RouteTable:
    """Finds routes by their longest match. Immutable."""

    __slots__ = ("_exact", "_prefixes", "routes")

    def __init__(self, routes: Iterable[Route]) -> None:
        self.routes = tuple(routes)
        self._exact = {route.match: route for route in self.routes if not route.match.endswith("/")}
        self._prefixes = tuple(
            (route.match, route)
            for route in sorted(self.routes, key=lambda route: len(route.match), reverse=True)
            if route.match.endswith("/")
        )

    def match(self, target: Target) -> Route:
        """The route of this target. Raises NoRoute, or AmbiguousTarget if its spelling could mean two routes."""
        first, *others = targets.readings(target.path)
        route = self._find(first)
        for reading in others:
            if self._find(reading) is not route:
                raise AmbiguousTarget()
        if route is None:
            raise NoRoute()
        return route

    def _find(self, path: str) -> Route | None:
        if path.startswith(RESERVED_PREFIXES):
            return None
        exact = self._exact.get(path)
        if exact is not None:
            return exact
        for prefix, route in self._prefixes:
            if path.startswith(prefix):
                return route
        return None
