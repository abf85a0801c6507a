"""Exact amounts, and cards that Stripe keeps: what is asked for, and how its answers and events are read.

An order becomes a Checkout Session (https://docs.stripe.com/api/checkout/sessions/create), a refill a payment intent
that is made and confirmed without the buyer (https://docs.stripe.com/payments/save-and-reuse). Whatever is asked comes
from what was written down, with its key, so that asking again is the same request.

Which account it is for travels with it: as `client_reference_id` of the session, in the metadata of the payment intent.
The payment intent of a *session* has none, so that its `payment_intent.succeeded` is nobody's payment: the session is.
"""

from collections.abc import Mapping
from typing import Any, Final

from gateway.core.auto_top_ups import CardNotice, Refill, Refilled, SavedCard, Wish
from gateway.core.money import Money, MoneySyntax, from_minor, to_minor
from gateway.core.orders import Order
from gateway.core.payers import Payer
from gateway.core.payments import Event, Payment

KEY: Final = "farebox_refill"
REFERENCE: Final = "farebox_reference"
_THRESHOLD, _AMOUNT = "farebox_threshold", "farebox_amount"
_LABEL_CHARS_MAX = 40
_METHODS = ["card", "link"]  # what can be charged later without the buyer, and says at once whether it succeeded
TYPES: Final = frozenset(
    (
        "payment_intent.succeeded",
        "payment_intent.payment_failed",
        "payment_intent.requires_action",
        "payment_method.detached",
        "payment_method.automatically_updated",
        "customer.deleted",
    )
)
"""The events that say something, besides those of a checkout."""


def session_of(order: Order, *, return_url: str, wallet_url: str) -> dict[str, Any]:
    """What Stripe is asked for."""
    asked: dict[str, Any] = {"client_reference_id": order.reference, "cancel_url": wallet_url}
    if order.wish is not None:
        wish = {_THRESHOLD: str(order.wish.threshold), _AMOUNT: str(order.wish.amount)}
        asked |= {"metadata": wish, "allowed_payment_method_types": _METHODS}
    if order.customer is not None:
        asked["customer"] = order.customer
    elif order.wish is not None:
        asked["customer_creation"] = "always"
    if order.amount is None:
        return {**asked, "mode": "setup", "currency": order.currency, "success_url": wallet_url}
    price = {
        "currency": order.currency,
        "unit_amount": to_minor(order.amount),
        "product_data": {"name": f"API credit, {order.amount}"},
    }
    if order.wish is not None:
        asked["payment_intent_data"] = {"setup_future_usage": "off_session"}
    items = [{"price_data": price, "quantity": 1}]
    return {**asked, "mode": "payment", "line_items": items, "success_url": return_url}


def intent_of(refill: Refill) -> dict[str, Any]:
    """What Stripe is asked for."""
    return {
        "amount": to_minor(refill.amount),
        "currency": refill.amount.currency,
        "customer": refill.customer,
        "payment_method": refill.method,
        "automatic_payment_methods": {"enabled": True, "allow_redirects": "never"},
        "off_session": True,
        "confirm": True,
        "description": f"API credit, {refill.amount}, auto top-up",
        "metadata": {KEY: refill.key, REFERENCE: refill.reference},
    }


def payment_of(intent: Mapping[str, Any]) -> Payment | None:
    """A payment intent as a payment; None if it is not a refill of ours that succeeded. Raises ValueError."""
    metadata = mapping(intent.get("metadata"))
    if KEY not in metadata or intent.get("status") != "succeeded":
        return None
    id, amount, currency = intent.get("id"), intent.get("amount_received"), intent.get("currency")
    live, reference = intent.get("livemode"), metadata.get(REFERENCE)
    if not (isinstance(id, str) and isinstance(live, bool) and isinstance(currency, str)):
        raise ValueError("the payment intent has no id, mode or currency")
    if not (isinstance(amount, int) and not isinstance(amount, bool) and amount >= 0):
        raise ValueError("the payment intent has no amount")
    paid = from_minor(amount, currency)
    return Payment(id, paid, reference if isinstance(reference, str) else None, True, live, intent=id, paid=paid)


def refilled(intent: Mapping[str, Any]) -> Refilled:
    """How a refill stands. Raises ValueError."""
    status = intent.get("status")
    if status == "succeeded":
        return Refilled("succeeded", payment=payment_of(intent))
    if status == "processing":
        return Refilled("processing")
    if status in ("requires_action", "requires_confirmation"):
        return Refilled("authentication_required", str(status))
    return failure(mapping(intent.get("last_payment_error")))


def failure(error: Mapping[str, Any]) -> Refilled:
    """What an error of a card says."""
    code, reason = error.get("code"), error.get("decline_code")
    if "authentication_required" in (code, reason):
        return Refilled("authentication_required", "authentication_required")
    return Refilled("declined", str(reason or code or "declined")[:_LABEL_CHARS_MAX])


def saved(session: Mapping[str, Any]) -> SavedCard | None:
    """The card that a checkout saved, if it was expanded down to the payment method."""
    customer = session.get("customer")
    intent = mapping(session.get("setup_intent") or session.get("payment_intent"))
    method = mapping(intent.get("payment_method"))
    id = method.get("id")
    if not (isinstance(customer, str) and isinstance(id, str) and method.get("customer") == customer):
        return None
    card = mapping(method.get("card"))
    label = f"{card.get('brand')} {card.get('last4')}" if card else str(method.get("type"))
    return SavedCard(customer, id, label[:_LABEL_CHARS_MAX], _expiry(card))


def receipt_of(paid: Mapping[str, Any]) -> str | None:
    """The address of the receipt of a session or payment intent, if it was expanded down to the charge."""
    intent = mapping(paid.get("payment_intent")) or paid
    url = mapping(intent.get("latest_charge")).get("receipt_url")
    return url if isinstance(url, str) and url.startswith(("https://", "http://")) else None


def notice(event: Event) -> CardNotice | None:
    """What an event says of saved cards and refills. Raises ValueError for a wish that cannot be read."""
    about = event.object
    id, metadata = str(about.get("id"))[:255], mapping(about.get("metadata"))
    if event.type == "checkout.session.completed" and _AMOUNT in metadata:
        return CardNotice("saved", id, event.created, event.live, about.get("client_reference_id"), _wish(metadata))
    if event.type == "payment_intent.succeeded" and KEY in metadata:
        return CardNotice("paid", str(metadata[KEY]), event.created, event.live)
    if event.type == "payment_intent.payment_failed" and KEY in metadata:
        outcome = failure(mapping(about.get("last_payment_error")))
        return CardNotice("failed", str(metadata[KEY]), event.created, event.live, outcome=outcome)
    if event.type == "payment_intent.requires_action" and KEY in metadata:
        outcome = Refilled("authentication_required", "requires_action")
        return CardNotice("failed", str(metadata[KEY]), event.created, event.live, outcome=outcome)
    if event.type == "payment_method.detached":
        return CardNotice("removed", id, event.created, event.live)
    if event.type == "payment_method.automatically_updated":
        return CardNotice("renewed", id, event.created, event.live, expires=_expiry(mapping(about.get("card"))))
    if event.type == "customer.deleted":
        return CardNotice("customer_gone", id, event.created, event.live)
    return None


def _expiry(card: Mapping[str, Any]) -> str | None:
    """`2034-12`; None for what is no card, or says nothing of it."""
    year, month = card.get("exp_year"), card.get("exp_month")
    if not (isinstance(year, int) and isinstance(month, int) and 2000 <= year < 10_000 and 1 <= month <= 12):
        return None
    return f"{year}-{month:02}"


def _wish(metadata: Mapping[str, Any]) -> Wish:
    try:
        return Wish(Money.parse(str(metadata.get(_THRESHOLD))), Money.parse(str(metadata.get(_AMOUNT))))
    except MoneySyntax as error:
        raise ValueError(f"the checkout's auto top-up cannot be read: {error}") from None


def mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def payer(session: Mapping[str, Any]) -> Payer | None:
    """Who paid a checkout, told by Stripe alone: not by `customer_details`, which its payer typed.

    Apple Pay and Google Pay are cards here, with a fingerprint of their own per device.
    """
    intent = session.get("payment_intent")
    method = intent.get("payment_method") if isinstance(intent, Mapping) else None
    if session.get("status") != "complete" or not isinstance(method, Mapping):
        return None
    card, link = method.get("card"), method.get("link")
    if method.get("type") == "card" and isinstance(card, Mapping) and isinstance(card.get("fingerprint"), str):
        return Payer("card", card["fingerprint"]) if card["fingerprint"] else None
    if method.get("type") == "link" and isinstance(link, Mapping) and isinstance(link.get("email"), str):
        return Payer("link", link["email"]) if link["email"].strip() else None
    return None
