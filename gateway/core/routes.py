"""The immutable table of routes: `match` finds the one route of a request, or refuses.

A `match` that ends in `/` is a prefix, any other is one exact path. The longest wins, so the order in the file does not
matter, and two routes can only shadow one another by having the same match. A reload builds a new table; a request in
flight keeps the route, and so the price, that it was quoted.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

from gateway.core import query_tokens, targets
from gateway.core.ledger import Tariff
from gateway.core.limits import Limit
from gateway.core.mcp import Call
from gateway.core.pricing import AnyPrice
from gateway.core.refusals import AmbiguousTarget, NoRoute
from gateway.core.secrets import Secret
from gateway.core.steps import Step, SteppedPrice
from gateway.core.targets import Target

RESERVED_PREFIXES = ("/-/", "/.well-known/")
"""Addresses of our own. No route may begin with one."""

Durability = Literal["strict", "relaxed"]
Unpaid = Literal["redirect", "page"]
LimitsDown = Literal["open", "closed"]


@dataclass(frozen=True, slots=True)
class Server:
    """One place where an upstream listens: a host and a port, or the path of a unix socket."""

    scheme: Literal["http", "https"]
    host: str
    port: int
    socket: str = ""

    @property
    def authority(self) -> str:
        """What `Host` says: the port only where it is not the scheme's own (RFC 9110, section 7.2)."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == _PORTS[self.scheme] else f"{host}:{self.port}"

    def __str__(self) -> str:
        return f"unix:{self.socket}" if self.socket else f"{self.scheme}://{self.authority}"


_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True)
class Ejection:
    """When a server is left out: after so many failures in a row, for so long, doubled each time up to a bound."""

    failures: int = 3
    seconds: float = 1.0
    seconds_max: float = 60.0


@dataclass(frozen=True, slots=True)
class HealthCheck:
    """What every server is asked, so that one that was left out comes back without a caller's request at stake."""

    path: str
    seconds: float = 5.0


@dataclass(frozen=True, slots=True)
class UpstreamCredential:
    """What an upstream wants to see of us: a header field, or a parameter of the query."""

    place: Literal["header", "query"]
    name: str
    value: Secret


@dataclass(frozen=True, slots=True)
class Upstream:
    """Servers that answer for one or more routes, each as well as the others. Times are in seconds."""

    name: str
    servers: tuple[Server, ...]
    connect_seconds: float = 5.0
    first_byte_seconds: float = 60.0
    idle_seconds: float = 60.0
    total_seconds: float | None = None
    """From the request to the end of its answer; None, the default, does not bound streams."""
    keep_alive_seconds: float = 30.0
    """How long a connection waits for its next request."""
    connections_max: int = 1024
    """Over all servers. A request that finds none free is refused, it does not queue."""
    retries_max: int = 1
    ejection: Ejection = Ejection()
    check: HealthCheck | None = None
    ca_file: str | None = None
    """Certificates that are trusted instead of the system's."""
    server_name: str | None = None
    """What the certificate must be for, and SNI says, if it is not the host."""
    credential: UpstreamCredential | None = None
    guarded: bool = False
    """Whether it is reached at addresses of the internet only, whatever its name means when it is dialled."""

    def is_over_by_caller(self, waited_seconds: float) -> bool:
        """Whether an answer that took longer than `total_seconds` did so because its caller was waited for.

        Moments are no reason: a quick caller of a large answer is waited for too. A tenth is: who makes the rest of an
        answer late has had what came of it.
        """
        return self.total_seconds is not None and waited_seconds > self.total_seconds / 10


@dataclass(frozen=True, slots=True)
class FieldRules:
    """What is done to the header fields of a request or an answer: `remove` first, then `set`, then `add`.

    `set` replaces every field of its name, `add` leaves them; `remove` holds small letters.
    """

    set: tuple[tuple[str, str], ...] = ()
    add: tuple[tuple[str, str], ...] = ()
    remove: frozenset[str] = frozenset()
    cookies: tuple[str, ...] = ()
    """Cookies that are taken out, and those whose name is theirs, an underscore, and more."""
    jwts: frozenset[str] = frozenset()
    """Fields that do not pass if they hold a JWT; in small letters."""


NO_RULES = FieldRules()


@dataclass(frozen=True, slots=True)
class CallPrices:
    """A route for an MCP server, at the price of each of its tools and of other methods; `others` is for the rest."""

    tools: Mapping[str, "Route"]
    methods: Mapping[str, "Route"]
    others: "Route"

    def everywhere(self, change: Callable[["Route"], "Route"]) -> "CallPrices":
        """The same with a change of each."""
        return CallPrices(
            {name: one.everywhere(change) for name, one in self.tools.items()},
            {name: one.everywhere(change) for name, one in self.methods.items()},
            self.others.everywhere(change),
        )


@dataclass(frozen=True, slots=True)
class Route:
    """The rule that a request matched."""

    name: str
    match: str
    upstream: Upstream
    price: AnyPrice
    rewrite: str | None = None
    """What the upstream's path begins with in place of `match`, with a slash at its end if `match` has one."""
    host: str = "upstream"
    """Whose name `Host` is: the `upstream`'s, the `caller`'s, or this name."""
    request_fields: FieldRules = NO_RULES
    answer_fields: FieldRules = NO_RULES
    concurrency_max: int | None = None
    """How many of its requests are under way at once."""
    context_key: Secret | None = None
    """Signs `Gateway-Context`, a JWT that tells the upstream whose request it is."""
    limits: tuple[Limit, ...] = ()
    """How often callers may call. A request meets all of them, or none of them counts it."""
    limits_down: LimitsDown = "open"
    """What becomes of a request that cannot be counted: it passes, or is refused."""
    unpaid: Unpaid = "redirect"
    durability: Durability = "strict"
    once: bool = True
    """Whether what is asked for with one `Idempotency-Key` is sold once. If not, the key is the upstream's affair."""
    owner: str = "operator"
    commission_points: int = 0
    """What the platform keeps of what it takes, in basis points; the rest is its owner's."""
    listed: bool = True
    """Whether it is in the public price list."""
    token_in_query: str | None = None
    """The name under which a token may stand in the query; it goes no further. None: no token may."""
    public: bool = False
    """Whether it is open to callers whom no outside provider vouches for, where one is configured."""
    issuers: tuple[str, ...] | None = None
    """The outside providers that count here; None: all."""
    pass_claims: tuple[tuple[str, str], ...] = ()
    """Fields that the upstream gets, and which claim of an outside provider each holds."""
    resource: str = ""
    """What OAuth calls it: its address, without a slash at the end. Empty where no agent is authorized."""
    inject: str | None = None
    """The outside provider at which the upstream acts in the caller's name; None: nobody's."""
    cors: Literal["gateway", "upstream"] = "gateway"
    """Who tells browsers which pages may ask, where the gateway does at all."""
    methods: Mapping[str, "Route"] = field(default_factory=dict, hash=False)
    """The same route at another price, for the methods that have one; their names in capital letters."""
    plans: Mapping[str, "Route"] = field(default_factory=dict, hash=False)
    """The same route at another price, for accounts that subscribe to a plan. Of several the first counts."""
    calls: CallPrices | None = field(default=None, hash=False)
    """What the calls of an MCP server cost; a tool without a price of its own costs `price`."""
    condition: str = ""
    """For whom its price is, if not for everybody: `plan monthly`."""
    stepped: SteppedPrice | None = None
    """How its price goes by the calls of a period; `price` is the dearest then."""
    steps: tuple["Route", ...] = ()
    """The same route at the price of each step."""
    step: Step | None = None
    """Which of them it is."""

    tariff: Tariff = field(init=False, compare=False, repr=False)
    """What the ledger keeps of this route's price; made once, not with every request."""

    tells_callers_apart: bool = field(init=False, compare=False, repr=False)
    """Whether any of its limits asks who has paid."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "tariff", Tariff(self.name, self.owner, self.commission_points, self.rule))
        object.__setattr__(self, "tells_callers_apart", any(limit.tells_callers_apart for limit in self.limits))

    @property
    def rule(self) -> str:
        """Its price, as it stands in the books: `0.002 usd`, or `0.001 usd (plan monthly)`."""
        under = ", ".join(filter(None, (self.condition, str(self.step or ""))))
        return f"{self.costs} ({under})" if under else self.costs

    @property
    def costs(self) -> str:
        """What a call costs, in one sentence: `0.002 usd`, or `1,000 free a month, then 0.002 usd`."""
        return str(self.stepped or self.price)

    @property
    def variants(self) -> tuple["Route", ...]:
        """Itself, and what it is at its steps, and for the methods and plans that have a price of their own."""
        others = (*self.plans.values(), *self.methods.values(), *(one for _, one in self.by_call))
        return (self, *self.steps, *(variant for one in others for variant in one.variants))

    def everywhere(self, change: Callable[["Route"], "Route"]) -> "Route":
        """The same with a change, at whichever step and for whichever method, plan and call it is."""
        return replace(
            change(self),
            steps=tuple(one.everywhere(change) for one in self.steps),
            methods={name: one.everywhere(change) for name, one in self.methods.items()},
            plans={name: one.everywhere(change) for name, one in self.plans.items()},
            calls=self.calls.everywhere(change) if self.calls is not None else None,
        )

    @property
    def by_plan(self) -> Iterator[tuple[str | None, str, "Route"]]:
        """What it is for those who subscribe, with the method, None for all that have no price of their own."""
        methods: list[tuple[str | None, Route]] = [(None, self), *self.methods.items()]
        return ((method, plan, variant) for method, one in methods for plan, variant in one.plans.items())

    @property
    def by_call(self) -> Iterator[tuple[str, "Route"]]:
        """What it is for the calls of an MCP server that have a price of their own, by what they are called."""
        if self.calls is not None:
            yield from ((f"tool {name}", one) for name, one in self.calls.tools.items())
            yield from self.calls.methods.items()
            yield "other methods", self.calls.others

    def for_call(self, call: Call) -> "Route":
        """What it is for this call; itself where calls have no prices."""
        if self.calls is None:
            return self
        if call.tool is not None:
            return self.calls.tools.get(call.tool, self)
        return self.calls.methods.get(call.method, self.calls.others)

    def for_method(self, method: str) -> "Route":
        """What it is for this method, however that is spelt: an upstream may not tell `post` from `POST`."""
        return self.methods.get(method.upper(), self) if self.methods else self

    def for_plans(self, held: Collection[str]) -> "Route":
        """What it is for an account with these plans. After `for_method`."""
        return next((variant for name, variant in self.plans.items() if name in held), self)

    def upstream_target(self, target: Target) -> str:
        """The request target for the upstream: the caller's own bytes, its beginning replaced if the route says so.

        And without a token, if one may stand in it.
        """
        raw = target.raw if self.token_in_query is None else query_tokens.taken(target.raw, self.token_in_query)[1]
        if self.rewrite is None or raw == "*":
            return raw
        return self.rewrite + raw[len(self.match) :]


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

    @property
    def listed(self) -> tuple[Route, ...]:
        """Those that are in the public price list."""
        return tuple(route for route in self.routes if route.listed)

    @property
    def named_credits(self) -> frozenset[str]:
        """The named credits that something costs here."""
        ceilings = (one.price.ceiling for route in self.routes for one in route.variants)
        return frozenset(ceiling.currency for ceiling in ceilings if ceiling.named)

    def serves(self, path: str) -> bool:
        """Whether this path, as it stands here, is one of a route."""
        return self._find(path) is not None

    def match(self, target: Target) -> Route:
        """The route of this target. Raises NoRoute, or AmbiguousTarget if its spelling could mean two routes.

        `*` concerns a server as a whole, so only a route for everything is its route.
        """
        if target.path == "*":
            whole = self._find("/")
            if whole is None:
                raise NoRoute()
            return whole
        route = self._find(target.path)
        if not target.plain:
            for reading in targets.readings(target.path):
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


def changes(before: Iterable[Route], after: Iterable[Route]) -> dict[str, list[str]]:
    """The names of routes that come, are others, or go."""
    was, will = ({route.name: route for route in routes} for routes in (before, after))
    return {
        "added": [name for name in will if name not in was],
        "changed": [name for name in will if name in was and will[name] != was[name]],
        "removed": [name for name in was if name not in will],
    }
