"""How many requests are under way, by route and by upstream: a bound, and never a queue.

A queue in front of a server that is too slow only makes everybody wait for an answer that comes too late; a refusal
with `Retry-After` lets callers decide. Counts are kept by name, so that a reload, which replaces the routes, keeps
them.
"""

from types import TracebackType

from gateway.core.refusals import UpstreamBusy
from gateway.core.routes import Route


class Places:
    """Counts requests in and out."""

    __slots__ = ("_routes", "_upstreams")

    def __init__(self) -> None:
        self._routes: dict[str, int] = {}
        self._upstreams: dict[str, int] = {}

    def take(self, route: Route) -> "Place":
        """A place for one request, to be used in a `with`. Raises UpstreamBusy if there is none."""
        if self._upstreams.get(route.upstream.name, 0) >= route.upstream.connections_max:
            raise UpstreamBusy()
        if route.concurrency_max is not None and self._routes.get(route.name, 0) >= route.concurrency_max:
            raise UpstreamBusy()
        return Place(self._routes, route.name, self._upstreams, route.upstream.name)


class Place:
    """One request's place; free again when its `with` ends, however it ends."""

    __slots__ = ("_route", "_routes", "_upstream", "_upstreams")

    def __init__(self, routes: dict[str, int], route: str, upstreams: dict[str, int], upstream: str) -> None:
        self._routes = routes
        self._route = route
        self._upstreams = upstreams
        self._upstream = upstream

    def __enter__(self) -> None:
        self._routes[self._route] = self._routes.get(self._route, 0) + 1
        self._upstreams[self._upstream] = self._upstreams.get(self._upstream, 0) + 1

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._routes[self._route] -= 1
        self._upstreams[self._upstream] -= 1
