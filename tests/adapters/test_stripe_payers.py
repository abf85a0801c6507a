"""Who paid, asked of a Stripe whose key may not say."""

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from gateway.adapters.stripe.pace import FAILURES_MAX
from gateway.adapters.stripe.payments import StripePayments
from gateway.core.refusals import PaymentServiceUnavailable
from gateway.core.secrets import Secret


async def test_a_key_that_may_not_tell_is_no_outage() -> None:
    """What it may do goes on: a browser that comes back must not close the till."""
    asked = 0

    async def forbid(request: web.Request) -> web.Response:
        nonlocal asked
        asked += 1
        return web.json_response({"error": {"type": "invalid_request_error", "message": "no"}}, status=403)

    app = web.Application()
    app.router.add_get("/v1/checkout/sessions/{id}", forbid)
    async with TestServer(app) as server:
        stripe = StripePayments(
            secret_key=Secret("rk_test_" + "1a" * 20),
            webhook_secrets=[Secret("whsec_x")],
            api_url=str(server.make_url("")).rstrip("/"),
            tolerance_seconds=300,
            report=lambda *_, **__: None,
        )
        try:
            for _ in range(2 * FAILURES_MAX):
                with pytest.raises(PaymentServiceUnavailable):
                    await stripe.payer_of("cs_test_1")
            assert await stripe.payer_of("pi_1") is None
        finally:
            await stripe.close()
    assert asked == 2 * FAILURES_MAX
