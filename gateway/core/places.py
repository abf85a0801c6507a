"""How many requests are under way, by route and by upstream: a bound, and never a queue.

A queue in front of a server that is too slow only makes everybody wait for an answer that comes too late; a refusal
with `Retry-After` lets callers decide. Counts are kept by name, so that a reload, which replaces the routes, keeps
them. With several workers each has its share of every bound, so that together they never pass it; one place each is
the least.
"""

from gateway.core.refusals import UpstreamBusy
from gateway.core.routes import Route


class Places:
    """Counts requests in and out."""

    __slots__ = ("_routes", "_share", "_upstreams")

    def __init__(self, share: int = 1) -> None:
        self._share = share
        self._routes: dict[str, int] = {}
        self._upstreams: dict[str, int] = {}

    def take(self, route: Route) -> None:
        """Take a place for one request. Raises UpstreamBusy if there is none; then nothing was taken."""
        under_way, most = self._upstreams.get(route.upstream.name, 0), route.concurrency_max
        if under_way >= self._mine(route.upstream.connections_max):
            raise UpstreamBusy()
        if most is not None and self._routes.get(route.name, 0) >= self._mine(most):
            raise UpstreamBusy()
        self._upstreams[route.upstream.name] = under_way + 1
        self._routes[route.name] = self._routes.get(route.name, 0) + 1

    def _mine(self, most: int) -> int:
        return most if self._share == 1 else max(1, most // self._share)

    def leave(self, route: Route) -> None:
        """Give it back, once."""
        self._upstreams[route.upstream.name] -= 1
        self._routes[route.name] -= 1
