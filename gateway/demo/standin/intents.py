"""Payments without the buyer, with a card that was saved: an intent that is made and confirmed, in one call or in two.

    succeeds      payment_intent.created, charge.succeeded, payment_intent.succeeded
    is declined   payment_intent.created, charge.failed, payment_intent.payment_failed; the call is answered 402 with
                  the code, and `authentication_required` is one of them

Confirmed with the buyer there, a card whose bank wants to hear of it leads to a page of the bank's, and ends there. A
setup intent is made for a page of the platform's; `save` is what that page does.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

from gateway.demo.standin import cards, currencies, objects, till
from gateway.demo.standin.cards import Card, Decline
from gateway.demo.standin.errors import ApiError, invalid, missing, not_played
from gateway.demo.standin.store import Json, World

FAILED = Decline(
    "payment_intent_authentication_failure",
    "authentication_not_handled",
    "We are unable to authenticate your payment method.",
)


def create(world: World, params: Mapping[str, Any]) -> Json:
    """`POST /v1/payment_intents`. Raises `ApiError`, also for a card that is declined."""
    confirm = params.get("confirm", False)
    if confirm and not params.get("off_session"):
        raise not_played(["confirm without off_session"])
    if not confirm and ("off_session" in params or "payment_method" in params):
        raise not_played(["off_session and payment_method without confirm"])
    for name in ("customer", "payment_method") if confirm else ("customer",):
        if name not in params:
            raise missing(name)
    currency = params["currency"].lower()
    amount = currencies.checked(params["amount"], currency, "amount")
    currencies.chargeable(amount, currency, "amount")
    customer = world.get("customer", params["customer"], "customer", 400)
    method = _method(world, params["payment_method"], customer["id"]) if confirm else None
    intent = _made(world, params, amount, currency, customer)
    return intent if method is None else _charged(world, intent, method, cards.off_session(_number(world, method)))


def confirm(world: World, id: str, params: Mapping[str, Any]) -> Json:
    """`POST /v1/payment_intents/{id}/confirm`: without the buyer, or with them; then their bank may want them."""
    intent = world.get("payment_intent", id)
    if intent["status"] not in ("requires_payment_method", "requires_confirmation", "requires_action"):
        message = f"You cannot confirm this PaymentIntent because it has a status of {intent['status']}."
        raise invalid(message, code="payment_intent_unexpected_state")
    if intent["customer"] is None:
        raise not_played(["confirm of an intent without a customer"])
    if "payment_method" not in params:
        raise missing("payment_method")
    if "return_url" not in params:
        raise missing("return_url")
    method = _method(world, params["payment_method"], intent["customer"])
    number = _number(world, method)
    if params.get("off_session"):
        return _charged(world, intent, method, cards.off_session(number))
    if number not in cards.OFF_SESSION or number == cards.ATTACHES:
        return _charged(world, intent, method, cards.off_session(number))
    url = f"{world.origin}/authenticate/{intent['id']}"
    back = {"return_url": params["return_url"], "url": url}
    intent.update(status="requires_action", payment_method=method["id"], last_payment_error=None)
    intent["next_action"] = {"type": "redirect_to_url", "redirect_to_url": back}
    world.emit("payment_intent.requires_action", intent)
    return intent


def cancel(world: World, id: str, params: Mapping[str, Any]) -> Json:
    """`POST /v1/payment_intents/{id}/cancel`: nobody can pay it any more."""
    intent = world.get("payment_intent", id)
    if intent["status"] not in ("requires_payment_method", "requires_confirmation", "requires_action"):
        message = f"You cannot cancel this PaymentIntent because it has a status of {intent['status']}."
        raise invalid(message, code="payment_intent_unexpected_state")
    reason = params.get("cancellation_reason")
    intent.update(status="canceled", canceled_at=world.seconds(), cancellation_reason=reason, next_action=None)
    world.emit("payment_intent.canceled", intent)
    return intent


def authenticated(world: World, intent: Json, *, success: bool) -> str:
    """The buyer did what their bank wants, or did not; where they go back to."""
    back = str(intent["next_action"]["redirect_to_url"]["return_url"])
    method = world.get("payment_method", intent["payment_method"])
    intent["next_action"] = None
    charge = till.charge_with(world, intent, method)
    if success:
        till.succeed(world, None, intent, charge)
    else:
        till.fail(world, intent, charge, method, FAILED)
    return back


def set_up(world: World, params: Mapping[str, Any]) -> Json:
    """`POST /v1/setup_intents`: a method is to be saved, on a page of the platform's."""
    customer = world.get("customer", params["customer"], "customer", 400) if "customer" in params else None
    if customer is None or params.get("usage", "off_session") != "off_session":
        raise not_played(["no customer, or another usage than off_session"])
    id = world.id("seti")
    methods = params.get("allowed_payment_method_types", ["card", "link"])
    like = {"customer": customer["id"], "payment_method_types": methods}
    intent = world.keep(objects.setup_intent(id, world.seconds(), f"{id}_secret_{world.token(24)}", like))
    intent["metadata"] = params.get("metadata", {})
    world.emit("setup_intent.created", intent)
    return intent


def save(world: World, intent: Json, card: Card, secret: str, *, authenticate: bool) -> Json:
    """What the page does with the intent's secret. Without `authenticate` the bank's wish stays open."""
    if intent["status"] not in ("requires_payment_method", "requires_confirmation", "requires_action"):
        raise invalid("This SetupIntent is over.", code="setup_intent_unexpected_state")
    if card.number in cards.OFF_SESSION and card.number != cards.ATTACHES and not authenticate:
        intent.update(status="requires_action")
        world.emit("setup_intent.requires_action", intent)
        return intent
    if card.decline is not None and card.number != cards.ATTACHES:
        decline = card.decline
        raise ApiError(402, decline.message, type="card_error", code=decline.code)
    method = world.keep(
        objects.payment_method(world.id("pm"), world.seconds(), "card", cards.details(card, secret), "")
    )
    world.numbers[method["id"]] = card.number
    method["customer"] = intent["customer"]
    world.emit("payment_method.attached", method)
    intent.update(payment_method=method["id"], status="succeeded")
    world.emit("setup_intent.succeeded", intent)
    return intent


def detach(world: World, id: str, params: Mapping[str, Any]) -> Json:
    """`POST /v1/payment_methods/{id}/detach`."""
    method = world.get("payment_method", id)
    if method["customer"] is None:
        raise invalid("The payment method you provided is not attached to a customer so detachment is impossible.")
    customer, method["customer"] = method["customer"], None
    world.emit("payment_method.detached", method, previous_attributes={"customer": customer})
    return method


def _number(world: World, method: Json) -> str:
    return world.numbers.get(method["id"], "")


def _method(world: World, id: str, customer: str) -> Json:
    method = world.get("payment_method", id, "payment_method", 400)
    if method["customer"] != customer:
        raise invalid(f"The PaymentMethod {id} does not belong to the Customer {customer}.", "payment_method")
    return method


def _charged(world: World, intent: Json, method: Json, decline: Decline | None) -> Json:
    """One attempt. Raises `ApiError` for a card that is declined."""
    intent.update(payment_method=method["id"], last_payment_error=None, next_action=None)
    charge = till.charge_with(world, intent, method)
    if decline is None:
        till.succeed(world, None, intent, charge)
        return intent
    till.fail(world, intent, charge, method, decline)
    about = {"charge": charge["id"], "decline_code": decline.decline_code, "payment_intent": copy.deepcopy(intent)}
    raise ApiError(402, decline.message, type="card_error", code=decline.code, about=about)


def _made(world: World, params: Mapping[str, Any], amount: int, currency: str, customer: Json) -> Json:
    id = world.id("pi")
    like = {
        "amount_total": amount,
        "currency": currency,
        "customer": customer["id"],
        "payment_method_types": params.get("allowed_payment_method_types", ["card", "link"]),
    }
    intent = world.keep(objects.payment_intent(id, world.seconds(), f"{id}_secret_{world.token(24)}", like, params))
    automatic = params.get("automatic_payment_methods")
    if automatic is not None:
        intent["automatic_payment_methods"] = {"allow_redirects": "always", **automatic}
    world.emit("payment_intent.created", intent)
    return intent
