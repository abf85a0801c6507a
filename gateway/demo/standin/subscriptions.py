"""Subscriptions: begun by a checkout, renewed when their clock moves, changed, ended; and the invoices of each period.

    begins        customer.subscription.created (incomplete), invoice.created, invoice.finalized, then as `is paid`;
                  with a trial the invoice comes to nothing and no money moves
    is paid       charge.succeeded, payment_intent.succeeded, invoice.paid, invoice.payment_succeeded,
                  invoice_payment.paid, customer.subscription.updated (active)
    is not paid   charge.failed, payment_intent.payment_failed, (invoice.payment_action_required,)
                  invoice.payment_failed, customer.subscription.updated (past_due); `pay_invoice` pays it later
    is changed    an invoice of two prorated lines, what is given back and what is asked for the rest of the period
    ends          customer.subscription.updated (cancel_at_period_end), at the end customer.subscription.deleted

Periods follow a clock of their own, which only ever moves by hand (`advance`): events keep the time of day, as they do
with a test clock of Stripe's. A month is thirty days here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from gateway.demo.standin import cards, objects, till
from gateway.demo.standin import objects_of_subscriptions as made_of
from gateway.demo.standin.errors import invalid
from gateway.demo.standin.store import Json, World

DAY_SECONDS = 86_400
_DAYS = {"day": 1, "week": 7, "month": 30, "year": 365}
_GOING = ("trialing", "active", "past_due")


def begin(world: World, session: Json, method: Json) -> Json:
    """What a checkout in mode `subscription` does, once its card is attached."""
    data, id = world.intent_data.get(session["id"], {}), world.id("sub")
    trial = int(data.get("trial_period_days", 0))
    at = clock(world)
    items = []
    for bought in world.items[session["id"]]:
        ends = at + (trial * DAY_SECONDS if trial else _length(bought["price"]))
        items.append(made_of.item(world.id("si"), at, id, bought["price"], bought["quantity"], (at, ends)))
    made = world.keep(made_of.subscription(id, world.seconds(), session["customer"], items, data))
    made.update(default_payment_method=method["id"], trial_end=items[0]["current_period_end"] if trial else None)
    world.subscribers[id] = session["client_reference_id"]
    world.emit("customer.subscription.created", made)
    amounts = [(item, 0 if trial else _full(item), False) for item in items]
    invoice = _invoiced(world, made, amounts, "subscription_create")
    _charge(world, made, invoice, None)
    _stands(world, made, "trialing" if trial else "active")
    session.update(subscription=id, invoice=invoice["id"])
    return made


def advance(world: World, seconds: int) -> list[Json]:
    """Move the clock of subscriptions, and do what is due by then. Returns the invoices that were made."""
    world.ahead += seconds
    invoices = []
    for made in list(world.shelf("subscription")):
        while made["status"] in _GOING and made["items"]["data"][0]["current_period_end"] <= clock(world):
            invoice = _renew(world, made)
            if invoice is None:
                break
            invoices.append(invoice)
    return invoices


def change(world: World, made: Json, price: Json, part: int) -> Json:
    """Another price in the middle of a period, with `part` percent of it left. Returns the invoice of it."""
    item = made["items"]["data"][0]
    back = (dict(item), -_full(item) * part // 100, True)
    item["price"] = price
    asked = (item, _full(item) * part // 100, True)
    world.emit("customer.subscription.updated", made)
    invoice = _invoiced(world, made, [back, asked], "subscription_update")
    _charge(world, made, invoice, _decline(world, made))
    return invoice


def add_item(world: World, made: Json, price: Json, times: int) -> None:
    """So many lines more on the next invoice, each of this price for the period that begins then."""
    item, ends = made["items"]["data"][0], made["items"]["data"][0]["current_period_end"]
    period = {"current_period_start": ends, "current_period_end": ends + _length(price)}
    more = {**item, "price": price, "quantity": 1, **period}
    world.pending.setdefault(made["id"], []).extend([(more, _full(more), False)] * times)


def pay_invoice(world: World, invoice: Json) -> Json:
    """Its payer pays an open invoice after all. Raises `ApiError` if it is not open."""
    if invoice["status"] != "open":
        raise invalid(f"Invoice is {invoice['status']}.")
    made = world.get("subscription", invoice["parent"]["subscription_details"]["subscription"])
    _charge(world, made, invoice, None)
    if made["status"] == "past_due":
        _stands(world, made, "active")
    return invoice


def update(world: World, id: str, params: Mapping[str, Any]) -> Json:
    """`POST /v1/subscriptions/{id}`."""
    made = world.get("subscription", id)
    if made["status"] == "canceled":
        raise invalid("A canceled subscription can only update its cancellation_details and metadata.")
    made["cancel_at_period_end"] = params.get("cancel_at_period_end", made["cancel_at_period_end"])
    made["cancel_at"] = made["items"]["data"][0]["current_period_end"] if made["cancel_at_period_end"] else None
    made["metadata"] = {**made["metadata"], **(params.get("metadata") or {})}
    world.emit("customer.subscription.updated", made)
    return made


def cancel(world: World, id: str, params: Mapping[str, Any]) -> Json:
    """`DELETE /v1/subscriptions/{id}`: at once."""
    made = world.get("subscription", id)
    if made["status"] == "canceled":
        raise invalid("This subscription is over already.")
    made.update(status="canceled", ended_at=world.seconds(), canceled_at=world.seconds())
    world.emit("customer.subscription.deleted", made)
    return made


def forget_customer(world: World, id: str, params: Mapping[str, Any]) -> Json:
    """`DELETE /v1/customers/{id}`: their subscriptions end at once, and whoever looks finds them deleted."""
    made = world.get("customer", id)
    for one in list(world.shelf("subscription").newest()):
        if one["customer"] == id and one["status"] != "canceled":
            cancel(world, one["id"], {})
    world.emit("customer.deleted", made)
    world.shelf("customer").remove(id)
    return {"id": id, "object": "customer", "deleted": True}


def clock(world: World) -> int:
    """The time of day, as subscriptions have it."""
    return world.seconds() + world.ahead


def _renew(world: World, made: Json) -> Json | None:
    if made["cancel_at_period_end"]:
        cancel(world, made["id"], {})
        return None
    for item in made["items"]["data"]:
        item["current_period_start"] = item["current_period_end"]
        item["current_period_end"] += _length(item["price"])
    amounts = [(item, _full(item), False) for item in made["items"]["data"]]
    amounts += world.pending.pop(made["id"], [])
    invoice = _invoiced(world, made, amounts, "subscription_cycle")
    decline = _decline(world, made)
    _charge(world, made, invoice, decline)
    _stands(world, made, "active" if decline is None else "past_due")
    return invoice


def _invoiced(world: World, made: Json, amounts: Sequence[tuple[Json, int, bool]], reason: str) -> Json:
    id, at = world.id("in"), world.seconds()
    lines = []
    for item, amount, part in amounts:
        off = amount * world.off_percent // 100 if amount > 0 else 0
        lines.append(made_of.line(world.id("il"), id, item, amount, off, proration=part))
    world.lines[id] = lines
    invoice = world.keep(made_of.invoice(id, at, made, lines, reason, f"{world.origin}/invoices/{id}"))
    made["latest_invoice"] = id
    world.emit("invoice.created", invoice)
    world.emit("invoice.finalized", invoice)
    return invoice


def _charge(world: World, made: Json, invoice: Json, decline: cards.Decline | None) -> None:
    """Try to be paid for an invoice; one that asks for nothing is paid."""
    invoice.update(attempted=True, attempt_count=invoice["attempt_count"] + (1 if invoice["amount_due"] else 0))
    if not invoice["amount_due"]:
        _paid(world, invoice)
        return
    method = world.get("payment_method", made["default_payment_method"])
    intent = _intent(world, made, invoice, method)
    charge = till.charge_with(world, intent, method)
    if decline is None:
        buyer = {"id": invoice["id"], "client_reference_id": world.subscribers.get(made["id"])}
        till.succeed(world, buyer, intent, charge)
        invoice.update(amount_paid=invoice["amount_due"], amount_remaining=0)
        paid = world.keep(made_of.invoice_payment(world.id("inpay"), world.seconds(), invoice, intent["id"]))
        _paid(world, invoice)
        world.emit("invoice_payment.paid", paid)
        return
    till.fail(world, intent, charge, method, decline)
    if decline.code == "authentication_required":
        world.emit("invoice.payment_action_required", invoice)
    world.emit("invoice.payment_failed", invoice)


def _paid(world: World, invoice: Json) -> None:
    invoice["status"] = "paid"
    invoice["status_transitions"]["paid_at"] = world.seconds()
    world.emit("invoice.paid", invoice)
    world.emit("invoice.payment_succeeded", invoice)


def _intent(world: World, made: Json, invoice: Json, method: Json) -> Json:
    id = world.id("pi")
    like = {
        "amount_total": invoice["amount_due"],
        "currency": invoice["currency"],
        "customer": made["customer"],
        "payment_method_types": ["card", "link"],
    }
    intent = world.keep(objects.payment_intent(id, world.seconds(), f"{id}_secret_{world.token(24)}", like, {}))
    world.emit("payment_intent.created", intent)
    intent["payment_method"] = method["id"]
    return intent


def _stands(world: World, made: Json, status: str) -> None:
    made["status"] = status
    world.emit("customer.subscription.updated", made)


def _decline(world: World, made: Json) -> cards.Decline | None:
    return cards.off_session(world.numbers.get(made["default_payment_method"], ""))


def _full(item: Json) -> int:
    return int(item["price"]["unit_amount"]) * int(item["quantity"])


def _length(price: Json) -> int:
    every = price["recurring"]
    return _DAYS[every["interval"]] * int(every["interval_count"]) * DAY_SECONDS
