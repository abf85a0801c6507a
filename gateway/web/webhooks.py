"""Where the payment provider delivers its events: `POST /-/webhooks/stripe`, and its aliases when switched on.

The body is read raw and bounded; whatever is wrong with a delivery is a 400 with a code, and says nothing of why a
signature did not fit. 2xx means that the event is durable here.
"""

from aiohttp import web

from gateway.core.refusals import BodyTooLarge
from gateway.flows.receive import Webhooks
from gateway.web.answers import OwnAnswer

_BODY_BYTES_MAX = 1024 * 1024


class WebhookPlace:
    """The handler of webhook deliveries."""

    def __init__(self, webhooks: Webhooks) -> None:
        self._webhooks = webhooks

    async def receive(self, request: web.Request) -> web.StreamResponse:
        body = await _read(request)
        await self._webhooks.receive(body, request.headers.get("Stripe-Signature"))
        return OwnAnswer(text='{"received": true}\n', content_type="application/json")


async def _read(request: web.Request) -> bytes:
    body = bytearray()
    async for chunk in request.content.iter_any():
        body += chunk
        if len(body) > _BODY_BYTES_MAX:
            raise BodyTooLarge(limit_bytes=_BODY_BYTES_MAX)
    return bytes(body)
