"""An owner's own routes, for programs: `GET` and `PUT /-/api/v1/owners/{owner}/routes`.

The text is YAML (JSON is YAML, too) and is taken and told as it is written. For who acts for another owner, or for one
whom the operator allows no routes, nothing is here.
"""

import re
from collections.abc import Awaitable, Callable, Collection

from aiohttp import web

from gateway.core.indented import indented
from gateway.core.limits import Rate
from gateway.core.refusals import BadRequest, BodyTooLarge, NoRoute, RateLimited
from gateway.flows.own_routes import TEXT_BYTES_MAX, OwnRoutes, etag_of
from gateway.ports import RateLimits
from gateway.web.answers import OwnAnswer

PATH = "/-/api/v1/owners/{owner}/routes"
_TYPES = ("application/yaml", "application/x-yaml", "text/yaml", "application/json")
_CHANGES = Rate(60, 3600, "60/hour")
"""How often one owner may have routes checked: each time, all of the configuration is."""
_TAG = re.compile(r'"[0-9a-f]{32}"')


class OwnRoutesPlace:
    """The handlers. `who` says who asks and for which owner; `may` are the owners who may have routes of their own."""

    def __init__(
        self,
        own_routes: OwnRoutes,
        *,
        who: Callable[[web.Request], Awaitable[tuple[str, str]]],
        may: Callable[[], Collection[str]],
        limits: RateLimits,
    ) -> None:
        self._own_routes = own_routes
        self._who = who
        self._may = may
        self._limits = limits

    async def show(self, request: web.Request) -> web.StreamResponse:
        """`GET`: the text, with its ETag. Raises UnknownToken, TokenOutOfScope, NoRoute, RecordsUnavailable."""
        _, owner = await self._theirs(request)
        text = self._own_routes.read(owner)
        return OwnAnswer(text=text, content_type="application/yaml", headers={"ETag": etag_of(text)})

    async def change(self, request: web.Request) -> web.StreamResponse:
        """`PUT` with `If-Match`: they are this from now on; with `?dry_run=1`, what would change.

        Raises UnknownToken, TokenOutOfScope, NoRoute, BadRequest, BodyTooLarge, EditBlind, EditConflict,
        RoutesRefused, RateLimited, RecordsUnavailable, GatewayBusy.
        """
        user, owner = await self._theirs(request)
        if request.content_type not in _TYPES:
            raise BadRequest("application/yaml or application/json was expected")
        dry_run = request.query.get("dry_run", "0")
        if dry_run not in ("0", "1"):
            raise BadRequest("dry_run: 0 or 1 was expected")
        window = await self._limits.hit(_CHANGES, f"routes {owner}")
        if not window.allowed:
            raise RateLimited(policy=_CHANGES.text, retry_after_seconds=max(1, window.reset_seconds))
        given = request.headers.get("If-Match")
        if given is not None and not _TAG.fullmatch(given):
            raise BadRequest("If-Match: the ETag of one answer was expected")
        text = await _text(request)
        changed = await self._own_routes.change(owner, user, text, of=given, dry_run=dry_run == "1")
        routes = {name: changed.routes.get(name, []) for name in ("added", "changed", "removed")}
        told = {"owner": owner, "done": changed.done, "diff": changed.diff, "routes": routes}
        return OwnAnswer(
            text=indented(told),
            content_type="application/json",
            headers={"ETag": changed.etag} if dry_run == "0" else {},
        )

    async def _theirs(self, request: web.Request) -> tuple[str, str]:
        user, owner = await self._who(request)
        if request.match_info["owner"] != owner or owner not in self._may():
            raise NoRoute()
        return user, owner


async def _text(request: web.Request) -> str:
    """The body. Raises BodyTooLarge, BadRequest."""
    if (request.content_length or 0) > TEXT_BYTES_MAX:
        raise BodyTooLarge(limit_bytes=TEXT_BYTES_MAX)
    content = await request.read()  # which is bounded itself, if no length was said
    if len(content) > TEXT_BYTES_MAX:
        raise BodyTooLarge(limit_bytes=TEXT_BYTES_MAX)
    try:
        return content.decode()
    except UnicodeDecodeError:
        raise BadRequest("the body is not UTF-8") from None
