"""Where money goes back: refunds, disputes, and warnings of fraud, with the events that Stripe leaves behind.

    refund           refund.created, charge.refunded
    it settles later refund.created (pending), charge.refunded; then refund.updated, charge.refund.updated
    it fails         refund.updated, charge.refund.updated, refund.failed; the charge is refunded that much less
    dispute          charge.dispute.created, charge.dispute.funds_withdrawn
    inquiry          charge.dispute.created; no money moves
    it is closed     charge.dispute.closed; won: charge.dispute.funds_reinstated as well
    warning          radar.early_fraud_warning.created

A disputed charge cannot be refunded, one under an inquiry can. The journal gets a line whenever money moves.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gateway.demo.standin import currencies
from gateway.demo.standin import objects_of_returns as objects
from gateway.demo.standin.errors import ApiError, invalid, missing
from gateway.demo.standin.store import Json, Movement, World

OPEN = ("needs_response", "under_review", "warning_needs_response", "warning_under_review")


def create_refund(world: World, params: Mapping[str, Any]) -> Json:
    """`POST /v1/refunds`. Raises `ApiError` for what cannot be refunded."""
    return refund(world, _charge(world, params), params)


def refund(world: World, charge: Json, params: Mapping[str, Any], status: str = "succeeded") -> Json:
    """Give back all that is left of a charge, or `amount` of it."""
    left = charge["amount_captured"] - charge["amount_refunded"]
    if charge["disputed"] and not _refundable(world, charge):
        raise invalid(f"Charge {charge['id']} has been charged back; cannot issue a refund.", code="charge_disputed")
    if charge["refunded"] or left <= 0:
        message = f"Charge {charge['id']} has already been refunded."
        raise invalid(message, code="charge_already_refunded")
    amount = params.get("amount", left)
    if amount < 1:
        raise invalid("Invalid positive integer", "amount", "parameter_invalid_integer")
    if amount > left:
        asked, most = (currencies.shown(value, charge["currency"]) for value in (amount, left))
        raise invalid(f"Refund amount ({asked}) is greater than unrefunded amount on charge ({most})", "amount")
    made = world.keep(objects.refund(world.id("re"), world.seconds(), charge, amount, status, params))
    _refunded(charge, amount)
    world.emit("refund.created", made)
    world.emit("charge.refunded", charge)
    _record(world, "refund", charge, -amount)
    return made


def settle_refund(world: World, made: Json, succeed: bool) -> Json:
    """Let a refund arrive, or fail: also one that had succeeded may fail later."""
    if made["status"] in ("failed", "canceled") or (succeed and made["status"] == "succeeded"):
        raise invalid(f"This refund has {made['status']} already.")
    charge = world.get("charge", made["charge"])
    made.update(status="succeeded" if succeed else "failed", pending_reason=None)
    if not succeed:
        made["failure_reason"] = "unknown"
        _refunded(charge, -made["amount"])
        _record(world, "refund failed", charge, made["amount"])
    for type in ("refund.updated", "charge.refund.updated", *(() if succeed else ("refund.failed",))):
        world.emit(type, made)
    return made


def dispute(world: World, charge: Json, amount: int | None, inquiry: bool) -> Json:
    """The buyer's bank asks for the money back, or (an inquiry) asks what it was for."""
    asked = charge["amount"] if amount is None else amount
    if charge["status"] != "succeeded" or not 0 < asked <= charge["amount"]:
        raise invalid("The stand-in disputes succeeded charges, for at most what was charged.", "amount")
    made = world.keep(objects.dispute(world.id("du"), world.seconds(), charge, asked, inquiry))
    charge["disputed"] = True
    world.emit("charge.dispute.created", made)
    if not inquiry:
        made["balance_transactions"].append(_transaction(world, made, -asked, 1500))
        world.emit("charge.dispute.funds_withdrawn", made)
        _record(world, "dispute", charge, -asked)
    return made


def close_dispute(world: World, made: Json, won: bool) -> Json:
    """The bank decides. An inquiry just ends."""
    if made["status"] not in OPEN:
        raise invalid("This dispute is already closed.")
    charge = world.get("charge", made["charge"])
    if made["status"].startswith("warning_"):
        made["status"] = "warning_closed"
        world.emit("charge.dispute.closed", made)
        return made
    made.update(status="won" if won else "lost")
    if won:
        made["balance_transactions"].append(_transaction(world, made, made["amount"], -1500))
    world.emit("charge.dispute.closed", made)
    if won:
        world.emit("charge.dispute.funds_reinstated", made)
        _record(world, "dispute won", charge, made["amount"])
    return made


def accept_dispute(world: World, id: str, params: Mapping[str, Any]) -> Json:
    """`POST /v1/disputes/{id}/close`: the seller has no objection."""
    return close_dispute(world, world.get("dispute", id), won=False)


def warn(world: World, charge: Json) -> Json:
    """The card's issuer thinks that the charge may be fraud."""
    made = world.keep(objects.early_fraud_warning(world.id("issfr"), world.seconds(), charge))
    world.emit("radar.early_fraud_warning.created", made)
    return made


def charge_of(world: World, bought: Json) -> Json:
    """The charge that paid a session or an invoice. Raises `ApiError` when there is none that succeeded."""
    id = bought["payment_intent"] if bought["object"] == "checkout.session" else _intent_of(world, bought)
    intent = world.shelf("payment_intent").get(id or "")
    charge = world.shelf("charge").get((intent or {}).get("latest_charge") or "")
    if charge is None or charge["status"] != "succeeded":
        raise invalid("This has not been paid.", "session")
    return charge


def _intent_of(world: World, invoice: Json) -> str | None:
    paid = (one for one in world.shelf("invoice_payment") if one["invoice"] == invoice["id"])
    return next((one["payment"]["payment_intent"] for one in paid), None)


def _charge(world: World, params: Mapping[str, Any]) -> Json:
    if "charge" in params and "payment_intent" in params:
        raise invalid("Only one of charge and payment_intent may be given.", "payment_intent")
    if "charge" in params:
        charge = world.get("charge", params["charge"], "charge", 404)
    elif "payment_intent" in params:
        intent = world.get("payment_intent", params["payment_intent"], "payment_intent", 404)
        charge = world.get("charge", intent["latest_charge"] or "", "payment_intent", 404)
    else:
        raise missing("charge")
    if charge["status"] != "succeeded":
        raise ApiError(400, f"Charge {charge['id']} has not succeeded; it cannot be refunded.")
    return charge


def _refundable(world: World, charge: Json) -> bool:
    return all(made["is_charge_refundable"] for made in world.shelf("dispute") if made["charge"] == charge["id"])


def _refunded(charge: Json, more: int) -> None:
    charge["amount_refunded"] += more
    charge["refunded"] = charge["amount_refunded"] == charge["amount_captured"]


def _transaction(world: World, made: Json, amount: int, fee: int) -> Json:
    return objects.balance_transaction(world.id("txn"), world.seconds(), made, amount, fee)


def _record(world: World, kind: str, charge: Json, amount: int) -> None:
    before = (one for one in world.journal if one.charge == charge["id"])
    first = next(before, None)
    world.record(
        Movement(
            kind=kind,
            amount=amount,
            currency=charge["currency"],
            session=first.session if first else "",
            payment_intent=charge["payment_intent"],
            charge=charge["id"],
            client_reference_id=first.client_reference_id if first else None,
            method=charge["payment_method_details"]["type"],
            at=world.seconds(),
        )
    )
