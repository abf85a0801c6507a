"""The boundary around every handler of ours: a refusal is told in words, anything else that fails by an id alone.

And what changes something is not done for a page of another site. A browser says so itself (`Sec-Fetch-Site`), or names
the site (`Origin`); programs say neither. That is besides the mark that each of our forms carries (`visitors`): a form
that needs none, and a call without a form, are safe by this alone. `Origin: null` says nothing: our own pages send it,
because they tell nobody where they are. A site on the list of `cors` may call what is there for programs, and is told
so; pages and forms are never among that.

Where outside providers vouch for callers, our addresses are for nobody else (`entered`), but those that are open.
"""

from collections.abc import Awaitable, Callable, Mapping

from aiohttp import HttpVersion11, web

from gateway.core.cors import Cors, is_preflight
from gateway.core.refusals import CrossSite, NoRoute, OriginRefused, Refusal
from gateway.web.answers import OwnAnswer, internal_error, log_failure

_SAFE = frozenset(("GET", "HEAD", "OPTIONS"))
_OURS = frozenset(("same-origin", "none"))

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


async def continue_at_once(request: web.Request) -> None:
    """aiohttp's `expect_handler` for our own addresses. Its own answers other expectations, and quotes them."""
    if request.version == HttpVersion11 and request.headers.get("Expect", "").lower() == "100-continue":
        await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        request.writer.output_size = 0  # the answer has yet to begin


def refuse_other_sites(request: web.Request, own_origin: str, cors: Cors | None = None) -> None:
    """Raises CrossSite for what a page of another site makes a browser send, if it could change something."""
    if request.method in _SAFE or (cors is not None and request.headers.get("Origin") in cors.origins):
        return
    site, origin = request.headers.get("Sec-Fetch-Site"), request.headers.get("Origin", "null")
    if site is not None:
        if site not in _OURS:
            raise CrossSite()
    elif origin != "null" and origin != own_origin and origin.partition("://")[2] != request.host:
        raise CrossSite()


def guarded(
    handler: Handler,
    *,
    report: Callable[..., None],
    new_id: Callable[[], str],
    tell: Callable[[Refusal, Mapping[str, str], str], OwnAnswer],
    own_origin: str | None,
    cors: Cors | None = None,
) -> Handler:
    """What is no answer becomes one, with an id that says which request it was.

    Without an `own_origin` the handler itself sees to other sites, where it is not a route that is asked. `cors` is for
    what pages of other sites may call.
    """

    async def bounded(request: web.Request) -> web.StreamResponse:
        try:
            if own_origin is not None:
                refuse_other_sites(request, own_origin, cors)
            return await handler(request)
        except web.HTTPException:
            raise
        except Refusal as refusal:
            return tell(refusal, request.headers, new_id())
        except Exception as error:
            request_id = new_id()
            log_failure(report, request_id, error)
            return internal_error(request_id)

    return bounded if cors is None else _telling_browsers(bounded, cors)


def _telling_browsers(handler: Handler, cors: Cors) -> Handler:
    """The handler, which says with every answer which page may read it."""

    async def told(request: web.Request) -> web.StreamResponse:
        answer = await handler(request)
        for name, value in cors.fields(request.headers):
            answer.headers.setdefault(name, value)
        return answer

    return told


def entered(handler: Handler, require: Callable[[Mapping[str, str], Mapping[str, str]], Awaitable[None]]) -> Handler:
    """The handler for those only whom `require` lets in."""

    async def behind_it(request: web.Request) -> web.StreamResponse:
        await require(request.headers, request.cookies)
        return await handler(request)

    return behind_it


def preflights(cors: Cors) -> Handler:
    """The handler of what a browser asks before it sends. It knows nobody."""

    async def preflight(request: web.Request) -> web.StreamResponse:
        if not is_preflight(request.method, request.headers):
            raise NoRoute()
        allowed = cors.preflight(request.headers)
        if allowed is None:
            raise OriginRefused()
        return OwnAnswer(status=204, headers=dict(allowed))

    return preflight
