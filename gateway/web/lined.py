"""A line in the log for each request to an address of our own: what was asked by its pattern, and what came of it.

The pattern is what an address is called in the code (`/-/tokens/{token}`), so that no id, code or token that stands in
a path is logged, and the query never is. An answer that has no id yet gets one, so that who complains can be found.
"""

import time
from collections.abc import Awaitable, Callable

from aiohttp import web

from gateway.core.traces import valid
from gateway.ports import OwnRequest, OwnServed

PROXIED = web.RequestKey("proxied", bool)
"""Set on a request of ours that a route has come to serve: it has a line of its own."""
POLLED = ("/livez", "/readyz", "/healthz", "/metrics")
"""Asked every few seconds; only what went wrong there has a line."""
_ID = "Gateway-Request-Id"
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def lined(handler: Handler, *, served: OwnServed, new_id: Callable[[], str]) -> Handler:
    """The handler, of whose answers `served` is told. What has no pattern is `-`."""

    async def told(request: web.Request) -> web.StreamResponse:
        begun = time.monotonic()
        status, code, id = 0, "", ""  # who hangs up before is answered nothing
        try:
            answer = await handler(request)
            status, code, id = answer.status, answer.headers.get("Gateway-Error", ""), answer.headers.get(_ID, "")
            if not id and not answer.prepared:
                id = answer.headers[_ID] = new_id()
            return answer
        except web.HTTPException as other:
            status = other.status
            raise
        finally:
            resource = request.match_info.route.resource
            path = resource.canonical if resource is not None else "-"
            if PROXIED not in request and (path not in POLLED or status >= 400):
                trace = (valid(list(request.headers.items())) or "")[3:35]
                took = time.monotonic() - begun
                served.own(OwnRequest(id or new_id(), request.method, path, status, took, code, trace))

    return told


def lining(served: OwnServed, new_id: Callable[[], str]) -> Callable[..., Awaitable[web.StreamResponse]]:
    """The same as a middleware, for an application that is ours alone."""

    @web.middleware
    async def line(request: web.Request, handler: Handler) -> web.StreamResponse:
        return await lined(handler, served=served, new_id=new_id)(request)

    return line
