"""What a request would cost at most, said before it is sent: by the same steps that hold its money when it comes.

What a quote is not told cannot lower it. A price that depends on the request's length, or on what its body says, is
quoted at the route's `maximum` until it is told these; nobody ever pays more than was quoted, and often less. One that
goes by steps is quoted at the dearest of them, unless it is known how many calls were made; then it is the step of the
next call, and requests that come in between may use that up.
"""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field, replace

from gateway.core import hosts, targets
from gateway.core.heads import read_request
from gateway.core.limits import Limit
from gateway.core.mcp import read_call
from gateway.core.money import Money
from gateway.core.pricing import first_hold
from gateway.core.refusals import BadRequest, BadTarget
from gateway.core.routes import Route, RouteTable
from gateway.core.steps import place_of
from gateway.core.targets import Target

_BODILESS = frozenset(("GET", "HEAD", "DELETE", "OPTIONS"))
"""Their requests have no body, unless a length says that they do."""


@dataclass(frozen=True, slots=True)
class Quote:
    """What one request would meet."""

    method: str
    target: Target
    route: Route
    """At the step that the next call is of, if that is known."""
    at_most: Money
    stepped: Route | None = None
    """The route with all its steps, if it has some and it is known which one this is."""
    left: int | None = None
    """How many calls that step has left; None if it has no end."""
    length: int | None = None
    body: bytes | None = field(default=None, repr=False)

    @property
    def held(self) -> Money:
        """What has to be there before it is forwarded."""
        return first_hold(self.route.price, self.at_most)

    @property
    def steps(self) -> tuple[Route, ...]:
        """Of the route, if its price goes by them."""
        return (self.stepped or self.route).steps

    @property
    def exact(self) -> bool:
        """Whether every answer that is charged costs just this."""
        return self.route.price.flat and self.route.price.charge.whole and not self.route.steps

    def at_step(self, made: Sequence[int]) -> "Quote":
        """The same for who has made so many calls of each step that has an end."""
        steps = self.route.steps
        calls = [one.step.calls or 0 for one in steps[:-1] if one.step is not None]
        place = place_of(list(zip(calls, made, strict=True)))
        left = calls[place] - made[place] if place < len(calls) else None
        at_most = _at_most(steps[place], self.length, self.body)
        return replace(self, route=steps[place], at_most=at_most, stepped=self.route, left=left)

    def limits(self, *, paid: bool | None) -> tuple[Limit, ...]:
        """Those that a caller meets who has paid or has not; all if that is not known."""
        return tuple(limit for limit in self.route.limits if paid is None or limit.is_met(paid=paid))


def quote(
    routes: RouteTable,
    method: str,
    url: str,
    *,
    hosts_of_ours: Iterable[str] = (),
    plans: Collection[str] = (),
    length: int | None = None,
    body: bytes | None = None,
) -> Quote:
    """Of a request with a body of this length, and this body, of who has these plans; None is what is not known.

    `url` is a path with its query, or whole and then of one of our hosts. Raises the refusal that the request would
    meet: NoRoute, AmbiguousTarget, BadTarget, TargetTooLong, BadRequest, MethodNotAllowed.
    """
    ours = tuple(hosts_of_ours)
    read_request(method, 11, [("Host", ours[0] if ours else "localhost")])
    target = _target(url, method, ours)
    route = routes.match(target).for_method(method)
    if body:
        route = route.for_call(read_call(body, {})) if route.calls is not None else route
    route = route.for_plans(plans)
    if length is None and method in _BODILESS:
        length = 0
    most = max((_at_most(one, length, body) for one in route.steps or (route,)), key=lambda amount: amount.micros)
    return Quote(method, target, route, most, length=length, body=body)


def _at_most(route: Route, length: int | None, body: bytes | None) -> Money:
    price = route.price
    return price.ceiling_for(length, body) if price.looks_ahead else price.ceiling


def read_length(text: str | None) -> int | None:
    """How long a body would be, as a caller says. Raises BadRequest."""
    if text is None:
        return None
    if not (text.isascii() and text.isdigit() and len(text) <= 15):
        raise BadRequest("its content_length is not a number of bytes")
    return int(text)


def _target(url: str, method: str, ours: tuple[str, ...]) -> Target:
    scheme, separator, rest = url.partition("://")
    if url.startswith("/") or not separator:
        return targets.read(url, method=method)
    authority = rest.partition("/")[0].partition("?")[0]
    known = scheme.lower() in ("http", "https") and hosts.valid(authority)
    if not known or not any(hosts.same(authority, host, scheme.lower()) for host in ours):
        raise BadTarget("it is not an address of this gateway")
    return targets.read(url, method=method, host=authority)
