"""What a customer is shown of themselves: the customer portal, and the receipt of a charge. Both only tell."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from aiohttp import web

from gateway.demo.standin import currencies
from gateway.demo.standin.errors import missing
from gateway.demo.standin.store import Json, World


def create(world: World, params: Mapping[str, Any]) -> Json:
    """`POST /v1/billing_portal/sessions`. Raises `ApiError`."""
    if "customer" not in params:
        raise missing("customer")
    customer = world.get("customer", params["customer"], "customer", 400)
    id = world.id("bps")
    session = {
        "id": id,
        "object": "billing_portal.session",
        "configuration": "bpc_standin",
        "created": world.seconds(),
        "customer": customer["id"],
        "customer_account": None,
        "flow": None,
        "livemode": False,
        "locale": params.get("locale"),
        "on_behalf_of": None,
        "return_url": params.get("return_url"),
        "url": f"{world.origin}/portal/{id}",
    }
    world.shelf("billing_portal.session").put(session)
    return session


def routes(world: World, message: Callable[..., web.Response]) -> list[web.AbstractRouteDef]:
    """`/portal/…` and `/receipts/…`."""

    async def portal(request: web.Request) -> web.Response:
        session = world.shelf("billing_portal.session").get(request.match_info["id"])
        customer = world.shelf("customer").get(session["customer"]) if session else None
        if session is None or customer is None:
            return message(404, "There is no such portal", "Open it again from where you came from.")
        cards = [method for method in world.shelf("payment_method") if method["customer"] == customer["id"]]
        labels = (f"{card['card']['brand']} {card['card']['last4']}" for card in cards if card.get("card"))
        text = f"{customer['email']}: {', '.join(labels) or 'no card'}."
        return message(200, "Your billing", text, back=session["return_url"])

    async def receipt(request: web.Request) -> web.Response:
        charge = world.shelf("charge").get(request.match_info["id"])
        if charge is None:
            return message(404, "There is no such receipt", "Check the address.")
        return message(200, f"Receipt: {currencies.shown(charge['amount'], charge['currency'])}", charge["id"])

    return [web.get("/portal/{id}", portal), web.get("/receipts/{id}", receipt)]
