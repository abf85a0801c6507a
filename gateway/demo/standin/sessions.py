"""Checkout sessions: opened through the API or by a visit to a payment link, expired by hand or by time.

An invalid `client_reference_id` is an error in an API call, and dropped without a word in the address of a
payment link: as with Stripe, where a buyer must not be stopped by it, and where a seller finds out too late.
"""

from __future__ import annotations

import copy
import heapq
import re
from collections.abc import Mapping
from typing import Any

from gateway.demo.standin import currencies, objects
from gateway.demo.standin.catalogue import absolute, basket
from gateway.demo.standin.errors import invalid, missing, not_played
from gateway.demo.standin.store import Json, World

LIFETIME_SECONDS = 24 * 3600
LIFETIME_SECONDS_MIN = 30 * 60
LINES_MAX = 100

#: Methods that settle later, by the currency they exist in.
LATER = {
    "usd": "us_bank_account",
    "eur": "sepa_debit",
    "gbp": "bacs_debit",
    "cad": "acss_debit",
    "aud": "au_becs_debit",
    "jpy": "konbini",
    "brl": "boleto",
    "mxn": "oxxo",
}

_REFERENCE = re.compile(r"[A-Za-z0-9_-]{1,200}")
_EMAIL = re.compile(r"[^@\s]{1,64}@[^@\s.]+(\.[^@\s.]+)+")


def valid_reference(text: str) -> bool:
    return _REFERENCE.fullmatch(text) is not None


def valid_email(text: str) -> bool:
    return len(text) <= 254 and _EMAIL.fullmatch(text) is not None


def create(world: World, params: Mapping[str, Any]) -> Json:
    """`POST /v1/checkout/sessions`."""
    _check(world, params)
    items: list[Json] = []
    if params["mode"] == "setup":
        currency = str(params["currency"]).lower()
    else:
        items, currency = basket(world, params["line_items"], params.get("currency"))
        _check_recurring(params["mode"], items)
    given = dict(params)
    given["metadata"] = {key: value for key, value in (params.get("metadata") or {}).items() if value != ""}
    given["payment_method_types"] = _methods(params, currency)
    if "customer" not in params and params["mode"] != "subscription":
        given.setdefault("customer_creation", "if_required")
    expires = params.get("expires_at", world.seconds() + LIFETIME_SECONDS)
    return _open(world, items, currency, expires, given)


def open_from_link(world: World, link: Json, query: Mapping[str, str]) -> Json:
    """What a visit to a payment link does: a new session with the link's items and the visitor's reference."""
    reference = query.get("client_reference_id", "")
    after = link["after_completion"]
    given = {
        "billing_address_collection": link["billing_address_collection"],
        "client_reference_id": reference if valid_reference(reference) else None,
        "custom_text": link["custom_text"],
        "customer_creation": link["customer_creation"],
        "metadata": dict(link["metadata"]),
        "payment_intent_data": link["payment_intent_data"] or {},
        "payment_link": link["id"],
        "payment_method_types": link["payment_method_types"] or _methods({}, link["currency"]),
        "submit_type": link["submit_type"],
        "success_url": after["redirect"]["url"] if after["type"] == "redirect" else None,
    }
    items = [{**copy.deepcopy(item), "id": world.id("li")} for item in world.items[link["id"]]]
    session = _open(world, items, link["currency"], world.seconds() + LIFETIME_SECONDS, given)
    email = query.get("prefilled_email", "")
    if valid_email(email):
        world.prefilled[session["id"]] = {"email": email}
    return session


def expire(world: World, id: str) -> Json:
    session = world.get("checkout.session", id)
    if session["status"] != "open":
        raise invalid(f"Only an open Checkout Session can be expired; this one is {session['status']}.", "session")
    return _expire(world, session)


def expire_due(world: World) -> None:
    """Expire every open session whose time is over. Called before anything that looks at sessions."""
    now = world.now()
    while world.due and world.due[0][0] <= now:
        session = world.shelf("checkout.session").get(heapq.heappop(world.due)[1])
        if session is not None and session["status"] == "open":
            _expire(world, session)


def custom_amount(world: World, session: Json) -> Json | None:
    """The bounds of an amount that the buyer chooses, if the buyer does."""
    items = world.items[session["id"]]
    return items[0]["price"]["custom_unit_amount"] if items else None


def link_is_open(link: Json) -> bool:
    restrictions = link["restrictions"]
    if not link["active"]:
        return False
    if restrictions is None:
        return True
    completed = restrictions["completed_sessions"]
    return bool(completed["count"] < completed["limit"])


def destination(session: Json) -> str | None:
    """Where the buyer goes after paying, or None for the hosted confirmation."""
    url = session["success_url"]
    return None if url is None else str(url).replace("{CHECKOUT_SESSION_ID}", session["id"])


def _expire(world: World, session: Json) -> Json:
    session["status"] = "expired"
    session["url"] = None
    world.emit("checkout.session.expired", session)
    return session


def _open(world: World, items: list[Json], currency: str, expires: int, given: Mapping[str, Any]) -> Json:
    id = f"cs_test_a1{world.token(58)}"
    amount = sum(item["amount_total"] for item in items) if items else None
    bounds = items[0]["price"]["custom_unit_amount"] if items else None
    if bounds is not None:
        amount = bounds["preset"] or bounds["minimum"] or 0
    world.items[id] = items
    world.intent_data[id] = copy.deepcopy(
        dict(given.get("payment_intent_data") or given.get("subscription_data") or {})
    )
    _note_due(world, expires, id)
    url = f"{world.origin}/checkout/{id}"
    return world.keep(objects.session(id, world.seconds(), expires, url, amount, currency, given))


def _note_due(world: World, expires: int, id: str) -> None:
    heapq.heappush(world.due, (expires, id))
    if len(world.due) > 2 * world.objects_max:
        shelf = world.shelf("checkout.session")
        world.due = [entry for entry in world.due if shelf.get(entry[1]) is not None]
        heapq.heapify(world.due)


def _check(world: World, params: Mapping[str, Any]) -> None:
    for name in ("mode", "success_url"):
        if name not in params:
            raise missing(name)
    if params["mode"] not in ("payment", "setup", "subscription"):
        raise not_played([f"mode={params['mode']}"])
    _check_mode(params)
    if len(params.get("line_items", ())) > LINES_MAX:
        raise invalid(f"line_items takes at most {LINES_MAX} items", "line_items")
    for name in ("success_url", "cancel_url"):
        if name in params:
            absolute(params[name], name)
    if not valid_reference(params.get("client_reference_id", "x")):
        raise invalid(
            "client_reference_id may have up to 200 characters, each a letter, a digit, a dash or an underscore",
            "client_reference_id",
        )
    if "customer" in params:
        world.get("customer", params["customer"], "customer", 400)
        if "customer_creation" in params:
            raise invalid("You may only specify one of these parameters: customer, customer_creation.", "customer")
        if "customer_email" in params:
            raise invalid("Only one of customer and customer_email may be used", "customer_email")
    if not valid_email(params.get("customer_email", "a@b.c")):
        raise invalid(f"Invalid email address: {params['customer_email'][:254]}", "customer_email", "email_invalid")
    lifetime = params.get("expires_at", world.seconds() + LIFETIME_SECONDS) - world.seconds()
    if not LIFETIME_SECONDS_MIN <= lifetime <= LIFETIME_SECONDS:
        raise invalid("expires_at must be between 30 minutes and 24 hours from now", "expires_at")


def _check_mode(params: Mapping[str, Any]) -> None:
    """What goes with a payment and what with the saving of a card."""
    if params["mode"] in ("payment", "subscription"):
        if "line_items" not in params:
            raise missing("line_items")
        other = "payment_intent_data" if params["mode"] == "subscription" else "subscription_data"
        for name in (other, *(("customer_creation",) if params["mode"] == "subscription" else ())):
            if name in params:
                raise invalid(f"You can not pass `{name}` in `{params['mode']}` mode.", name)
        return
    for name in ("line_items", "payment_intent_data", "subscription_data", "submit_type"):
        if name in params:
            raise invalid(f"You can not pass `{name}` in `setup` mode.", name)
    if "currency" not in params:
        raise missing("currency")


def _check_recurring(mode: str, items: list[Json]) -> None:
    recurring = [item["price"]["recurring"] is not None for item in items]
    if mode == "payment" and any(recurring):
        raise invalid("You specified `payment` mode but passed a recurring price.", "mode")
    if mode == "subscription" and not all(recurring):
        raise invalid("You must provide at least one recurring price in `subscription` mode.", "line_items")


def _methods(params: Mapping[str, Any], currency: str) -> list[str]:
    played = ["card", "link"]
    if currency in LATER:
        played.append(LATER[currency])
    allowed = params.get("allowed_payment_method_types")
    if not allowed:
        return played
    chosen = [name for name in played if name in allowed]
    if not chosen:
        raise not_played([f"allowed_payment_method_types={','.join(allowed)}"])
    return chosen


def least(bounds: Json, currency: str) -> int:
    """The smallest amount a buyer may choose."""
    return int(bounds["minimum"] or currencies.least(currency))


def most(bounds: Json) -> int:
    return int(bounds["maximum"] or currencies.AMOUNT_MAX)
