"""Where a session is paid: one attempt, from the tender on the counter to the events that tell of it.

An attempt ends in one of these ways, each with the objects and events that Stripe leaves behind:

    subscribes    as `subscriptions` says, then checkout.session.completed
    saves a card  setup_intent.created, payment_method.attached, setup_intent.succeeded, checkout.session.completed
    succeeds      payment_intent.created, charge.succeeded, payment_intent.succeeded, checkout.session.completed (paid)
    settles later payment_intent.created, payment_intent.processing, charge.pending,
                  checkout.session.completed (unpaid); `settle` brings the rest
    is declined   payment_intent.created, charge.failed, payment_intent.payment_failed; the session stays open
    is refused    nothing: the session is not open, or the amount is out of bounds

The next attempt in the same session uses the same payment intent. The journal gets a line only when money moves.
"""

from __future__ import annotations

from dataclasses import dataclass

from gateway.demo.standin import cards, catalogue, currencies, objects, sessions
from gateway.demo.standin.cards import DECLINED, Card, Decline
from gateway.demo.standin.store import Json, Movement, World


@dataclass(frozen=True, slots=True)
class Tender:
    """What the buyer puts on the counter: a card, a Link e-mail, or (`later`) a method that settles later."""

    email: str
    card: Card | None = None
    later: str | None = None


class PaymentRefused(Exception):
    """An attempt that was never made. `reason` is `complete`, `expired`, `closed`, `amount` or `method`."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message


class PaymentDeclined(Exception):
    """The bank said no. The session stays open."""

    def __init__(self, decline: Decline) -> None:
        super().__init__(decline.message)
        self.code = decline.code
        self.decline_code = decline.decline_code
        self.message = decline.message


def pay(world: World, session: Json, tender: Tender, amount: int | None, secret: str) -> Json:
    """One attempt. Raises `PaymentRefused` or `PaymentDeclined`; else the session is complete."""
    _admit(world, session)
    _admit_method(session, tender)
    email = fixed_email(world, session) or tender.email
    if session["mode"] == "setup":
        return _set_up(world, session, tender, email, secret)
    if session["mode"] == "subscription":
        return _subscribe(world, session, tender, email, secret)
    _set_amount(world, session, amount)
    decline = tender.card.decline if tender.card else None
    if decline is None:
        _find_customer(world, session, email)
    method = _method(world, session, tender, email, secret)
    intent = _intent(world, session, method)
    charge = charge_with(world, intent, method)
    if decline is not None:
        fail(world, intent, charge, method, decline)
        raise PaymentDeclined(decline)
    if tender.later:
        intent.update(status="processing", processing={"type": tender.later})
        world.emit("payment_intent.processing", intent)
        world.emit("charge.pending", charge)
    else:
        succeed(world, session, intent, charge)
    _complete(world, session, email, "unpaid" if tender.later else "paid")
    return session


def _set_up(world: World, session: Json, tender: Tender, email: str, secret: str) -> Json:
    """Save a card without a payment."""
    card = tender.card
    if card is not None and card.decline is not None and card.number != cards.ATTACHES:
        raise PaymentDeclined(card.decline)
    _find_customer(world, session, email)
    id = world.id("seti")
    intent = world.keep(objects.setup_intent(id, world.seconds(), f"{id}_secret_{world.token(24)}", session))
    session["setup_intent"] = id
    world.emit("setup_intent.created", intent)
    method = _method(world, session, tender, email, secret)
    intent.update(payment_method=method["id"], status="succeeded")
    world.emit("setup_intent.succeeded", intent)
    _complete(world, session, email, "no_payment_required")
    return session


def _subscribe(world: World, session: Json, tender: Tender, email: str, secret: str) -> Json:
    """Save a card and pay the first period with it."""
    from gateway.demo.standin import subscriptions  # it pays through this module

    if tender.card is not None and tender.card.decline is not None and tender.card.number != cards.ATTACHES:
        raise PaymentDeclined(tender.card.decline)
    if session["customer"] is None:
        session["customer"] = catalogue.create_customer(world, {"email": email})["id"]
    made = subscriptions.begin(world, session, _method(world, session, tender, email, secret))
    free = made["status"] == "trialing"
    _complete(world, session, email, "no_payment_required" if free else "paid")
    return session


def settle(world: World, session: Json, arrives: bool) -> Json:
    """Let a payment that settles later arrive, or fail. Raises `PaymentRefused` when none is under way."""
    intent = world.shelf("payment_intent").get(session["payment_intent"] or "")
    if intent is None or intent["status"] != "processing":
        raise PaymentRefused("method", "This session has no payment that is still to settle.")
    charge = world.get("charge", intent["latest_charge"])
    intent["processing"] = None
    if arrives:
        succeed(world, session, intent, charge)
        session["payment_status"] = "paid"
        world.emit("checkout.session.async_payment_succeeded", session)
    else:
        method = world.get("payment_method", intent["payment_method"])
        fail(world, intent, charge, method, DECLINED)
        world.emit("checkout.session.async_payment_failed", session)
    return session


def fixed_email(world: World, session: Json) -> str | None:
    """The e-mail that the buyer cannot change, because the session came with one."""
    if session["customer_email"]:
        return str(session["customer_email"])
    customer = world.shelf("customer").get(session["customer"] or "")
    return customer["email"] if customer else None


def _admit(world: World, session: Json) -> None:
    sessions.expire_due(world)
    if session["status"] == "complete":
        raise PaymentRefused("complete", "This checkout has been completed already. Nothing was charged again.")
    if session["status"] != "open":
        raise PaymentRefused("expired", "This checkout has expired. Nothing was charged.")
    link = world.shelf("payment_link").get(session["payment_link"] or "")
    if link is not None and not sessions.link_is_open(link):
        raise PaymentRefused("closed", "This payment link is no longer active. Nothing was charged.")


def _admit_method(session: Json, tender: Tender) -> None:
    name = "card" if tender.card else tender.later or "link"
    if name not in session["payment_method_types"]:
        raise PaymentRefused("method", "This way of paying is not offered here.")


def _set_amount(world: World, session: Json, amount: int | None) -> None:
    bounds = sessions.custom_amount(world, session)
    if bounds is None:
        if amount not in (None, session["amount_total"]):
            raise PaymentRefused("amount", "The amount of this checkout is fixed.")
        return
    currency = session["currency"]
    chosen = bounds["preset"] if amount is None else amount
    low, high = sessions.least(bounds, currency), sessions.most(bounds)
    if chosen is None or not low <= chosen <= high:
        between = f"between {currencies.shown(low, currency)} and {currencies.shown(high, currency)}"
        raise PaymentRefused("amount", f"Enter an amount {between}.")
    if chosen % currencies.step(currency):
        step = currencies.shown(currencies.step(currency), currency)
        raise PaymentRefused("amount", f"Enter an amount in steps of {step}.")
    for item in (session, world.items[session["id"]][0]):
        item.update(amount_subtotal=chosen, amount_total=chosen)


def _find_customer(world: World, session: Json, email: str) -> None:
    if session["customer"] is None and session["customer_creation"] == "always":
        session["customer"] = catalogue.create_customer(world, {"email": email})["id"]


def _method(world: World, session: Json, tender: Tender, email: str, secret: str) -> Json:
    if tender.card:
        type, details = "card", cards.details(tender.card, secret)
    elif tender.later:
        type, details = tender.later, {"fingerprint": cards.fingerprint(secret, email), "last4": "6789"}
    else:
        type, details = "link", {"email": tender.email}
    made = objects.payment_method(world.id("pm"), world.seconds(), type, details, email)
    world.keep(made)
    if tender.card:
        world.numbers[made["id"]] = tender.card.number
    usage = world.intent_data.get(session["id"], {}).get("setup_future_usage")
    if session["customer"] and (usage or session["mode"] != "payment"):
        made["customer"] = session["customer"]
        world.emit("payment_method.attached", made)
    return made


def _intent(world: World, session: Json, method: Json) -> Json:
    intent = world.shelf("payment_intent").get(session["payment_intent"] or "")
    fresh = intent is None
    if intent is None:
        id = world.id("pi")
        data = world.intent_data.get(session["id"], {})
        secret = f"{id}_secret_{world.token(24)}"
        intent = world.keep(objects.payment_intent(id, world.seconds(), secret, session, data))
        session["payment_intent"] = id
    intent.update(amount=session["amount_total"], customer=session["customer"], last_payment_error=None)
    if fresh:
        world.emit("payment_intent.created", intent)
    intent["payment_method"] = method["id"]
    return intent


def charge_with(world: World, intent: Json, method: Json) -> Json:
    """A charge of an intent that is under way."""
    details = dict(method[method["type"]])
    if method["type"] == "card":
        details = cards.charge_details(details, intent["amount"])
    elif method["type"] == "link":
        details = {"country": None}
    charge = objects.charge(world.id("ch"), world.seconds(), intent, method, details)
    intent["latest_charge"] = charge["id"]
    return world.keep(charge)


def succeed(world: World, session: Json | None, intent: Json, charge: Json) -> None:
    """The money moves. `session` is None for a payment without the buyer."""
    charge.update(status="succeeded", paid=True, captured=True, amount_captured=charge["amount"])
    charge["receipt_url"] = f"{world.origin}/receipts/{charge['id']}"
    charge["outcome"] = _outcome("approved_by_network", "authorized", None, "Payment complete.")
    charge["balance_transaction"] = world.record(
        Movement(
            kind="payment",
            amount=charge["amount"],
            currency=charge["currency"],
            session=session["id"] if session else "",
            payment_intent=intent["id"],
            charge=charge["id"],
            client_reference_id=session["client_reference_id"] if session else None,
            method=charge["payment_method_details"]["type"],
            at=world.seconds(),
        )
    )
    world.emit("charge.succeeded", charge)
    intent.update(status="succeeded", amount_received=intent["amount"])
    world.emit("payment_intent.succeeded", intent)


def fail(world: World, intent: Json, charge: Json, method: Json, decline: Decline) -> None:
    """The bank said no."""
    charge.update(status="failed", failure_code=decline.code, failure_message=decline.message)
    reason = decline.decline_code
    charge["outcome"] = _outcome("declined_by_network", "issuer_declined", reason, "The bank declined the payment.")
    world.emit("charge.failed", charge)
    intent["last_payment_error"] = {
        "charge": charge["id"],
        "code": decline.code,
        "decline_code": decline.decline_code,
        "message": decline.message,
        "payment_method": method,
        "type": "card_error" if method["type"] == "card" else "invalid_request_error",
    }
    intent.update(status="requires_payment_method", payment_method=None)
    world.emit("payment_intent.payment_failed", intent)


def _complete(world: World, session: Json, email: str, payment_status: str) -> None:
    session.update(status="complete", payment_status=payment_status, url=None)
    session["customer_details"] = objects.customer_details(email)
    link = world.shelf("payment_link").get(session["payment_link"] or "")
    if link is not None and link["restrictions"]:
        link["restrictions"]["completed_sessions"]["count"] += 1
    world.emit("checkout.session.completed", session)


def _outcome(network_status: str, type: str, reason: str | None, seller_message: str) -> Json:
    return {
        "advice_code": None,
        "network_advice_code": None,
        "network_decline_code": None,
        "network_status": network_status,
        "reason": reason,
        "risk_level": "normal",
        "seller_message": seller_message,
        "type": type,
    }
