"""OAuth 2.1 for agents, where programs talk: metadata, registration, tokens, revocation, introspection.

Any page may call what is here: no cookie counts, so another site can do nothing in somebody's name. What a client did
wrong is told by the names of RFC 6749. The page for people is in `web/consent.py`.
"""

import json
from collections.abc import Awaitable, Callable, Mapping
from typing import Any
from urllib.parse import parse_qsl

from aiohttp import web

from gateway.core.indented import indented
from gateway.core.oauth import Client, OAuthRefused, single
from gateway.core.refusals import BadRequest, BodyTooLarge, NoRoute
from gateway.flows.authorize import Authorize
from gateway.flows.know_clients import KnowClients
from gateway.flows.know_services import GRANT, KnowServices
from gateway.web.answers import OwnAnswer

_BODY_BYTES_MAX = 16 * 1024
_FOR_ALL = {"Access-Control-Allow-Origin": "*"}
_KEPT = {**_FOR_ALL, "Cache-Control": "public, max-age=300"}
_PREFLIGHT = {
    **_FOR_ALL,
    "Access-Control-Allow-Methods": "GET, POST",
    "Access-Control-Allow-Headers": "Authorization, Content-Type, MCP-Protocol-Version",
    "Access-Control-Max-Age": "600",
}

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
Fields = Mapping[str, str]


class OAuthPlace:
    """The handlers for programs."""

    def __init__(self, authorize: Authorize, clients: KnowClients, services: KnowServices | None = None) -> None:
        self._authorize = authorize
        self._clients = clients
        self._services = services

    async def server(self, request: web.Request) -> web.StreamResponse:
        """`GET /.well-known/oauth-authorization-server`, and the same with the path of a resource behind it."""
        path = request.match_info.get("rest", "")
        if path and self._authorize.resource_metadata(f"/{path}") is None:
            raise NoRoute()
        known = self._authorize.server_metadata()
        if self._services is not None:
            known["grant_types_supported"] = [*known["grant_types_supported"], GRANT]
        return _json(known, headers=_KEPT)

    async def resource(self, request: web.Request) -> web.StreamResponse:
        """`GET /.well-known/oauth-protected-resource`, with the path of a resource behind it, or without."""
        path = request.match_info.get("rest", "")
        told = self._authorize.resource_metadata(f"/{path}" if path else "")
        if told is None:
            raise NoRoute()
        return _json(told, headers=_KEPT)

    async def register(self, request: web.Request) -> web.StreamResponse:
        """`POST /-/oauth/register` (RFC 7591)."""
        return await _told(self._register, request)

    async def _register(self, request: web.Request) -> OwnAnswer:
        try:
            said = json.loads(await _body(request))
        except (ValueError, RecursionError):
            said = None
        if not isinstance(said, dict):
            raise OAuthRefused("invalid_client_metadata", "a JSON object was expected")
        return _json(await self._clients.register(said, request.remote or ""), status=201)

    async def token(self, request: web.Request) -> web.StreamResponse:
        """`POST /-/oauth/token`."""
        return await _told(self._token, request)

    async def _token(self, request: web.Request) -> OwnAnswer:
        fields = await _form(request)
        if self._services is not None and fields.get("grant_type") == GRANT:
            return await _of_service(self._services, request, fields)
        client = await self._client(request, fields)
        grant = fields.get("grant_type")
        if grant == "authorization_code":
            return _json(await self._authorize.redeem(client, fields))
        if grant == "refresh_token":
            return _json(await self._authorize.refresh(client, fields))
        raise OAuthRefused("unsupported_grant_type", "authorization_code and refresh_token are granted")

    async def revoke(self, request: web.Request) -> web.StreamResponse:
        """`POST /-/oauth/revoke` (RFC 7009)."""
        return await _told(self._revoke, request)

    async def _revoke(self, request: web.Request) -> OwnAnswer:
        client, fields = await self._proved(request)
        await self._authorize.revoke(client, fields.get("token", ""))
        return _json({})

    async def introspect(self, request: web.Request) -> web.StreamResponse:
        """`POST /-/oauth/introspect` (RFC 7662)."""
        return await _told(self._introspect, request)

    async def _introspect(self, request: web.Request) -> OwnAnswer:
        client, fields = await self._proved(request)
        return _json(await self._authorize.introspect(client, fields.get("token", "")))

    async def preflight(self, request: web.Request) -> web.StreamResponse:
        """`OPTIONS` of all of these."""
        return OwnAnswer(status=204, headers=_PREFLIGHT)

    async def _proved(self, request: web.Request) -> tuple[Client, Fields]:
        """Which client asks, and for what. Raises OAuthRefused."""
        fields = await _form(request)
        return await self._client(request, fields), fields

    async def _client(self, request: web.Request, fields: Fields) -> Client:
        authorization = request.headers.get("Authorization", "")
        return await self._clients.authenticate(fields, authorization, request.remote or "")


class ServiceTokenPlace:
    """The token endpoint alone, for services, where no people allow programs anything."""

    def __init__(self, services: KnowServices) -> None:
        self._services = services

    async def token(self, request: web.Request) -> web.StreamResponse:
        """`POST /-/oauth/token`."""
        return await _told(self._token, request)

    async def _token(self, request: web.Request) -> OwnAnswer:
        fields = await _form(request)
        if fields.get("grant_type") != GRANT:
            raise OAuthRefused("unsupported_grant_type", f"{GRANT} is granted")
        return await _of_service(self._services, request, fields)


async def _of_service(services: KnowServices, request: web.Request, fields: Fields) -> OwnAnswer:
    told = await services.token(fields, request.headers.get("Authorization", ""), request.remote or "")
    return _json(told, headers={**_FOR_ALL, "Cache-Control": "no-store"})


async def _form(request: web.Request) -> Fields:
    """What is asked for. Raises OAuthRefused."""
    if request.content_type != "application/x-www-form-urlencoded":
        raise OAuthRefused("invalid_request", "a form was expected")
    try:
        text = (await _body(request)).decode()
    except UnicodeDecodeError:
        raise OAuthRefused("invalid_request", "a form is UTF-8") from None
    return single(parse_qsl(text, keep_blank_values=True))


async def _told(handler: Callable[[web.Request], Awaitable[OwnAnswer]], request: web.Request) -> OwnAnswer:
    """The answer of the handler, or what was wrong, as the protocol has it."""
    try:
        return await handler(request)
    except OAuthRefused as refused:
        headers = {"WWW-Authenticate": "Basic"} if refused.status == 401 and "Authorization" in request.headers else {}
        told = {"error": refused.error, "error_description": refused.description}
        return _json(told, status=refused.status, headers=_FOR_ALL | headers)


async def _body(request: web.Request) -> bytes:
    if (request.content_length or 0) > _BODY_BYTES_MAX:
        raise BodyTooLarge(limit_bytes=_BODY_BYTES_MAX)
    body = await request.content.read(_BODY_BYTES_MAX + 1)
    while not request.content.at_eof() and len(body) <= _BODY_BYTES_MAX:
        body += await request.content.read(_BODY_BYTES_MAX + 1)
    if len(body) > _BODY_BYTES_MAX:
        raise BadRequest("the body is too large")
    return body


def _json(content: dict[str, Any], *, status: int = 200, headers: dict[str, str] = _FOR_ALL) -> OwnAnswer:
    text = indented(content)
    return OwnAnswer(status=status, text=text, content_type="application/json", headers=headers)
