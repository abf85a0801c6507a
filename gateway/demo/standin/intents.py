"""Payments without the buyer: a payment intent that is made and confirmed in one call, with a card that was saved.

    succeeds      payment_intent.created, charge.succeeded, payment_intent.succeeded
    is declined   payment_intent.created, charge.failed, payment_intent.payment_failed; the call is answered 402 with
                  the code, and `authentication_required` is one of them

Other ways to make a payment intent are not played.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

from gateway.demo.standin import cards, currencies, objects, till
from gateway.demo.standin.errors import ApiError, invalid, missing, not_played
from gateway.demo.standin.store import Json, World


def create(world: World, params: Mapping[str, Any]) -> Json:
    """`POST /v1/payment_intents`. Raises `ApiError`, also for a card that is declined."""
    if not (params.get("confirm") and params.get("off_session")):
        raise not_played(["confirm and off_session other than true"])
    for name in ("customer", "payment_method"):
        if name not in params:
            raise missing(name)
    currency = params["currency"].lower()
    amount = currencies.checked(params["amount"], currency, "amount")
    currencies.chargeable(amount, currency, "amount")
    customer = world.get("customer", params["customer"], "customer", 400)
    method = world.get("payment_method", params["payment_method"], "payment_method", 400)
    if method["customer"] != customer["id"]:
        message = f"The PaymentMethod {method['id']} does not belong to the Customer {customer['id']}."
        raise invalid(message, "payment_method")
    intent = _made(world, params, amount, currency, customer, method)
    charge = till.charge_with(world, intent, method)
    decline = cards.off_session(world.numbers.get(method["id"], ""))
    if decline is None:
        till.succeed(world, None, intent, charge)
        return intent
    till.fail(world, intent, charge, method, decline)
    about = {"charge": charge["id"], "decline_code": decline.decline_code, "payment_intent": copy.deepcopy(intent)}
    raise ApiError(402, decline.message, type="card_error", code=decline.code, about=about)


def detach(world: World, id: str, params: Mapping[str, Any]) -> Json:
    """`POST /v1/payment_methods/{id}/detach`."""
    method = world.get("payment_method", id)
    if method["customer"] is None:
        raise invalid("The payment method you provided is not attached to a customer so detachment is impossible.")
    customer, method["customer"] = method["customer"], None
    world.emit("payment_method.detached", method, previous_attributes={"customer": customer})
    return method


def _made(world: World, params: Mapping[str, Any], amount: int, currency: str, customer: Json, method: Json) -> Json:
    id = world.id("pi")
    like = {
        "amount_total": amount,
        "currency": currency,
        "customer": customer["id"],
        "payment_method_types": ["card", "link"],
    }
    intent = world.keep(objects.payment_intent(id, world.seconds(), f"{id}_secret_{world.token(24)}", like, params))
    automatic = params.get("automatic_payment_methods")
    if automatic is not None:
        intent["automatic_payment_methods"] = {"allow_redirects": "always", **automatic}
    world.emit("payment_intent.created", intent)
    intent["payment_method"] = method["id"]
    return intent
