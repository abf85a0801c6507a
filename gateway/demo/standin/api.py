"""The HTTP side of `/v1` and `/v2`: who may call, what was sent, and the answer in Stripe's shape.

A request is taken through the same steps whatever it asks for: key, account, form, idempotency, the two lists of
parameters (what Stripe knows, what is played here), the call itself, expansion. Each step raises an `ApiError` or
hands on. The call never awaits, so requests do not mix; the only place to wait is the gate, which a test can
close to keep requests under way.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import hmac
import json
import logging
from collections.abc import Callable, Mapping
from typing import Any

from aiohttp import web

from gateway.demo.standin import forms, sessions, shapes, views
from gateway.demo.standin.errors import (
    ApiError,
    invalid,
    not_played,
    outage,
    too_many,
    unauthorized,
    unknown_parameters,
    unrecognized,
)
from gateway.demo.standin.idempotency import Answer, Keys
from gateway.demo.standin.routes import ROUTES, Route
from gateway.demo.standin.shapes import Shape
from gateway.demo.standin.store import World

log = logging.getLogger(__name__)

#: What Stripe knows about an address, given its method and path with `{id}` for ids; None when nothing is known.
Parameters = Callable[[str, str], Mapping[str, Any] | None]

LIVE_KEYS = ("sk_live_", "rk_live_")
TEST_KEYS = ("sk_test_", "rk_test_")
FORM = "application/x-www-form-urlencoded"
JSON = "application/json"
#: How a page of the second API is named, which the SDK types nowhere: it follows addresses.
PAGE = "page"


class Api:
    """`/v1/…` and `/v2/…` of the stand-in."""

    def __init__(self, world: World, api_key: str, parameters: Parameters | None, keys_max: int) -> None:
        self._world = world
        self._api_key = api_key
        self._parameters = parameters
        self._keys_max = keys_max
        self._keys = Keys(world.now, keys_max)
        self.gate = asyncio.Event()
        self.gate.set()
        #: How many requests wait at the closed gate.
        self.waiting = 0
        self.arrived = asyncio.Event()
        #: How many answers are still to be cut off: what was asked is done, and who asked does not hear of it.
        self.cuts = 0
        #: How many requests are still to be refused, and how.
        self.failing, self.fails_with = 0, 500
        #: Only those that write are cut off, refused or kept waiting.
        self.only_writes = False

    def forget_keys(self) -> None:
        self._keys = Keys(self._world.now, self._keys_max)

    def routes(self) -> list[web.RouteDef]:
        known = [web.route(route.method, route.path, self._handler(route)) for route in ROUTES]
        return [*known, *(web.route("*", f"/{api}/{{rest:.*}}", self._unrecognized) for api in ("v1", "v2"))]

    def _handler(self, route: Route) -> Callable[[web.Request], Any]:
        async def handle(request: web.Request) -> web.Response:
            return await self._answer(request, route)

        return handle

    async def _unrecognized(self, request: web.Request) -> web.Response:
        return await self._answer(request, None)

    async def _answer(self, request: web.Request, route: Route | None) -> web.Response:
        id = self._world.id("req", 14)
        headers = {"Request-Id": id, "Stripe-Version": self._world.api_version}
        try:
            self._admit(request)
            troubled = request.method != "GET" or not self.only_writes
            if self.failing and troubled:
                self.failing -= 1
                raise too_many() if self.fails_with == 429 else outage()
            if route is None:
                raise unrecognized(request.method, request.path)
            answer, more = await self._run(request, route, id)
            if self.cuts and troubled:
                self.cuts -= 1
                _cut(request)
            return _json(answer.status, answer.body, {**headers, **more})
        except ApiError as error:
            return _json(error.status, encode(error.body()), headers)
        except web.HTTPException as error:
            refused = ApiError(error.status, f"The request was refused: {error.reason}.")
            return _json(error.status, encode(refused.body()), headers)
        except Exception:
            log.exception("the stand-in failed to answer %s", id)
            return _json(500, encode(outage().body()), headers)

    def _admit(self, request: web.Request) -> None:
        key = _presented_key(request)
        if key is None:
            raise unauthorized("No API key was provided. Send it as 'Authorization: Bearer sk_test_…'.")
        if key.startswith(LIVE_KEYS):
            raise unauthorized("This is a stand-in for Stripe: it takes no live keys. Revoke this one if it was real.")
        if not hmac.compare_digest(key.encode(), self._api_key.encode()):
            raise unauthorized(f"Invalid API Key provided: {_masked(key)}")
        if "Stripe-Account" in request.headers:
            raise ApiError(403, "The stand-in plays one account and has no connected ones.", code="account_invalid")

    async def _run(self, request: web.Request, route: Route, id: str) -> tuple[Answer, dict[str, str]]:
        said, sent = await _sent(request, route)
        key = request.headers.get("Idempotency-Key") if request.method == "POST" else None
        if key is None:
            if request.method != "GET" or not self.only_writes:
                await self._pass_gate()
            return Answer(id, self._call(request, route, id, None, sent)), {}
        first = self._keys.claim(key, request.path, said)
        more = {"Idempotency-Key": key, "Original-Request": id}
        if first is not None:
            return first, {**more, "Original-Request": first.request, "Idempotent-Replayed": "true"}
        try:
            await self._pass_gate()
            answer = Answer(id, self._call(request, route, id, key, sent))
        except ApiError as error:
            if error.about is None:
                self._keys.release(key)
                raise
            answer = Answer(id, encode(error.body()), error.status)
        except BaseException:
            self._keys.release(key)
            raise
        self._keys.finish(key, answer)
        return answer, more

    async def _pass_gate(self) -> None:
        self.waiting += 1
        self.arrived.set()
        try:
            await self.gate.wait()
        finally:
            self.waiting -= 1

    def _call(self, request: web.Request, route: Route, id: str, key: str | None, sent: Mapping[str, Any]) -> bytes:
        known = self._parameters(route.method, route.path) if self._parameters else None
        follows = {PAGE: sent[PAGE]} if route.method == "GET" and route.path.startswith("/v2/") and PAGE in sent else {}
        params = checked({name: one for name, one in sent.items() if name not in follows}, known, route.takes) | follows
        expand = params.pop("expand", [])
        sessions.expire_due(self._world)
        with self._world.caused_by(id, key):
            item = route.call(self._world, request.match_info.get("id", ""), params)
            return encode(views.expanded(self._world, item, expand))


def checked(sent: Mapping[str, Any], known: Shape | None, played: Shape) -> dict[str, Any]:
    """The typed parameters of a call. Raises `ApiError` for what Stripe or the stand-in does not take."""
    if known is not None:
        by_stripe = shapes.check(known, sent)
        if by_stripe.unknown:
            raise unknown_parameters(by_stripe.unknown)
        if by_stripe.problems:
            raise by_stripe.problems[0]
    here = shapes.check(played, sent)
    if here.unknown and known is not None:
        raise not_played(here.unknown)
    if here.problems:
        raise here.problems[0]
    return here.values


def encode(value: Any) -> bytes:
    return json.dumps(value, indent=2, ensure_ascii=False).encode()


def _json(status: int, body: bytes, headers: Mapping[str, str]) -> web.Response:
    return web.Response(status=status, body=body, content_type="application/json", headers=headers)


def _cut(request: web.Request) -> None:
    if request.transport is not None:
        request.transport.abort()


async def _sent(request: web.Request, route: Route) -> tuple[bytes, dict[str, Any]]:
    """What makes two requests the same, and what is sent: a form in the first API, JSON in the second."""
    if route.method == "POST" and route.path.startswith("/v2/"):
        body = await request.read()
        if request.content_type != JSON:
            raise invalid(f"Invalid request: send parameters as {JSON}, not as {request.content_type}.")
        try:
            sent = json.loads(body or b"{}")
        except ValueError:
            raise invalid("The body is not valid JSON.") from None
        if not isinstance(sent, dict):
            raise invalid("The body must be a JSON object.")
        return encode(sent), sent
    fields = await _fields(request)
    return encode(sorted(fields)), dict(forms.decode(fields))


async def _fields(request: web.Request) -> list[tuple[str, str]]:
    fields = forms.pairs(request.rel_url.raw_query_string.encode())
    if request.method != "POST":
        return fields
    body = await request.read()
    if body and request.content_type != FORM:
        raise invalid(f"Invalid request: send parameters as {FORM}, not as {request.content_type}.")
    return fields + forms.pairs(body)


def _presented_key(request: web.Request) -> str | None:
    scheme, _, rest = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() == "bearer":
        return rest.strip() or None
    if scheme.lower() != "basic":
        return None
    try:
        return base64.b64decode(rest.strip(), validate=True).decode().partition(":")[0] or None
    except (binascii.Error, UnicodeDecodeError):
        return None


def _masked(key: str) -> str:
    prefix = next((prefix for prefix in TEST_KEYS if key.startswith(prefix)), "")
    hidden = max(0, min(len(key), 40) - len(prefix) - 4)
    return f"{prefix}{'*' * hidden}{key[-4:] if len(key) > len(prefix) + 8 else ''}"
