"""Where the payment provider delivers its events: `POST /-/webhooks/stripe`, and its aliases when switched on.

The body is read raw and bounded; whatever is wrong with a delivery is a 400 with a code, and says nothing of why a
signature did not fit. 2xx means that the event is durable here.

Where the gateway is known by an https address, a delivery over plain http is refused, whatever its signature: somebody
in between has read it. A front that ended its TLS says so, if it is one of `trusted_proxies`.
"""

from aiohttp import web

from gateway.core import forwarding
from gateway.core.refusals import BodyTooLarge, WebhookRefused
from gateway.flows.receive import Webhooks
from gateway.web.answers import OwnAnswer

_BODY_BYTES_MAX = 1024 * 1024


class WebhookPlace:
    """The handler of webhook deliveries."""

    def __init__(
        self, webhooks: Webhooks, *, only_https: bool, trusted: forwarding.Networks = (), trust_unix: bool = False
    ) -> None:
        self._webhooks = webhooks
        self._only_https = only_https
        self._trusted = trusted
        self._trust_unix = trust_unix

    async def receive(self, request: web.Request) -> web.StreamResponse:
        if self._only_https and self._scheme(request) != "https":
            raise WebhookRefused("it came over plain http, and by no front of `trusted_proxies` that says otherwise")
        body = await _read(request)
        await self._webhooks.receive(body, request.headers.get("Stripe-Signature"))
        return OwnAnswer(text='{"received": true}\n', content_type="application/json")

    def _scheme(self, request: web.Request) -> str:
        fields = [(name.lower(), value) for name, value in request.headers.items()]
        peer, host = request.remote or "", request.host
        found = forwarding.origin(peer, request.scheme, host, fields, self._trusted, trust_unix=self._trust_unix)
        return found.scheme


async def _read(request: web.Request) -> bytes:
    body = bytearray()
    async for chunk in request.content.iter_any():
        body += chunk
        if len(body) > _BODY_BYTES_MAX:
            raise BodyTooLarge(limit_bytes=_BODY_BYTES_MAX)
    return bytes(body)
