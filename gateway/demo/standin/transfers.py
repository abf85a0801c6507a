"""Money on its way to connected accounts: transfers, what is fetched back of them, and what goes on to a bank.

    transfer            transfer.created
    a part comes back   transfer.reversed, transfer.updated
    to the bank         payout.created, then payout.paid or payout.failed; events of the connected account

An account must be known here before anything can be sent to it, and the balance must cover what is sent.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gateway.demo.standin import connect, currencies
from gateway.demo.standin.errors import invalid, no_such
from gateway.demo.standin.store import Json, Movement, World

DAY_SECONDS = 86_400


def create(world: World, params: Mapping[str, Any]) -> Json:
    """`POST /v1/transfers`. Raises `ApiError` for an unknown account, or more than the balance holds."""
    destination, currency = params["destination"], currencies.known(params["currency"])
    known = world.connected.get(destination)
    may_receive = world.destinations.get(destination) if known is None else connect.is_active(known)
    if may_receive is None:
        raise no_such("account", destination[:100], "destination", 400)
    if not may_receive:
        message = "Your destination account needs to have at least one of the following capabilities enabled: transfers"
        raise invalid(message, code="insufficient_capabilities_for_transfer")
    amount = params.get("amount", 0)
    if amount < 1 or amount % currencies.step(currency):
        raise invalid("Invalid positive integer", "amount", "parameter_invalid_integer")
    if amount > world.balance.get(currency, 0):
        raise invalid("You have insufficient available funds in your Stripe account.", code="balance_insufficient")
    id = world.id("tr")
    made = world.keep(
        {
            "id": id,
            "object": "transfer",
            "amount": amount,
            "amount_reversed": 0,
            "balance_transaction": None,
            "created": world.seconds(),
            "currency": currency,
            "description": params.get("description"),
            "destination": destination,
            "destination_payment": world.id("py"),
            "livemode": False,
            "metadata": params.get("metadata") or {},
            "reversals": {"object": "list", "data": [], "has_more": False, "url": f"/v1/transfers/{id}/reversals"},
            "reversed": False,
            "source_transaction": None,
            "source_type": "card",
            "transfer_group": params.get("transfer_group"),
        }
    )
    made["balance_transaction"] = _record(world, "transfer", made, -amount, made["id"])
    world.emit("transfer.created", made)
    return made


def reverse(world: World, id: str, params: Mapping[str, Any]) -> Json:
    """`POST /v1/transfers/{id}/reversals`: all that is left, or `amount` of it."""
    transfer = world.get("transfer", id)
    left = transfer["amount"] - transfer["amount_reversed"]
    amount = params.get("amount", left)
    if not left:
        raise invalid("This transfer is already fully reversed.", "id", "transfer_already_reversed")
    if not 0 < amount <= left:
        raise invalid(f"The amount must be between 1 and {left}.", "amount", "parameter_invalid_integer")
    made = world.keep(
        {
            "id": world.id("trr"),
            "object": "transfer_reversal",
            "amount": amount,
            "balance_transaction": None,
            "created": world.seconds(),
            "currency": transfer["currency"],
            "destination_payment_refund": world.id("pyr"),
            "metadata": params.get("metadata") or {},
            "source_refund": None,
            "transfer": id,
        }
    )
    transfer["amount_reversed"] += amount
    transfer["reversed"] = transfer["amount_reversed"] == transfer["amount"]
    transfer["reversals"]["data"].insert(0, made)
    made["balance_transaction"] = _record(world, "transfer reversal", transfer, amount, made["id"])
    world.emit("transfer.reversed", transfer)
    world.emit("transfer.updated", transfer)
    return made


def send_on(world: World, account: str, amount: int, currency: str, succeed: bool) -> Json:
    """A connected account is paid out to its bank, or that fails."""
    made: Json = {
        "id": world.id("po"),
        "object": "payout",
        "amount": amount,
        "application_fee": None,
        "application_fee_amount": None,
        "arrival_date": world.seconds() + 2 * DAY_SECONDS,
        "automatic": True,
        "balance_transaction": world.id("txn"),
        "created": world.seconds(),
        "currency": currency,
        "description": "STRIPE PAYOUT",
        "destination": world.id("ba"),
        "failure_balance_transaction": None,
        "failure_code": None,
        "failure_message": None,
        "livemode": False,
        "metadata": {},
        "method": "standard",
        "original_payout": None,
        "payout_method": None,
        "reconciliation_status": "in_progress",
        "reversed_by": None,
        "source_type": "card",
        "statement_descriptor": None,
        "status": "in_transit",
        "trace_id": None,
        "type": "bank_account",
    }
    world.emit_of(account, "payout.created", made)
    made["status"] = "paid" if succeed else "failed"
    if not succeed:
        made |= {"failure_code": "account_closed", "failure_message": "The bank account has been closed."}
    world.emit_of(account, f"payout.{made['status']}", made)
    return made


def balance(world: World, id: str, params: Mapping[str, Any]) -> Json:
    """`GET /v1/balance`: all of it is available at once."""
    sums = sorted(world.balance.items())
    return {
        "object": "balance",
        "available": [_part(amount, currency) for currency, amount in sums],
        "connect_reserved": [],
        "livemode": False,
        "pending": [_part(0, currency) for currency, _ in sums],
    }


def _part(amount: int, currency: str) -> Json:
    return {"amount": amount, "currency": currency, "source_types": {"card": amount}}


def _record(world: World, kind: str, transfer: Json, amount: int, source: str) -> str:
    return world.record(
        Movement(
            kind=kind,
            amount=amount,
            currency=transfer["currency"],
            session="",
            payment_intent="",
            charge="",
            client_reference_id=None,
            method="",
            at=world.seconds(),
            source=source,
        )
    )
