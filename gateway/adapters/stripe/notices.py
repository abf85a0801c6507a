"""What Stripe's events say of a payment that was made: refunds, disputes, warnings of fraud.

Every event carries its object as it was when the event was made (https://docs.stripe.com/api/events/object), so each is
read by itself. Payments of Checkout always have a payment intent (https://docs.stripe.com/api/payment_intents); what
names none is about something that this gateway did not sell.

Whether a dispute holds its money: its list of balance transactions says so once there are some (none, one for the
withdrawal, two with the reinstatement, https://docs.stripe.com/api/disputes/object); else its status, and an event that
is about the money says it outright. An inquiry (`warning_…`) withdraws nothing, nor does a dispute that was prevented.
What was given back in part, in the dispute's own currency, leaves the rest withdrawn; in another, rates would tell.
"""

import re
from collections.abc import Mapping
from typing import Any, Final, TypeGuard

from gateway.core.money import Money, from_minor
from gateway.core.payments import Event
from gateway.core.reversals import Notice, NoticeKind

_REFUND_OVER = frozenset(("failed", "canceled"))
_DISPUTE_OVER = frozenset(("won", "prevented", "warning_closed", "warning_needs_response", "warning_under_review"))
_NO_AMOUNT: Final = Money(0, "xxx")
_CURRENCY = re.compile("[A-Za-z]{3}")
_KINDS: Mapping[str, NoticeKind] = {
    "charge.refunded": "refunded",
    **dict.fromkeys(("refund.created", "refund.updated", "refund.failed", "charge.refund.updated"), "refund"),
    **{
        f"charge.dispute.{what}": "dispute"
        for what in ("created", "updated", "closed", "funds_withdrawn", "funds_reinstated")
    },
    "radar.early_fraud_warning.created": "warning",
    "radar.early_fraud_warning.updated": "warning",
}
TYPES: Final = frozenset(_KINDS)
"""The events that say something."""


def notice(event: Event) -> Notice | None:
    """What an event says of a payment; None if it says nothing that concerns us. Raises ValueError."""
    kind = _KINDS.get(event.type)
    payment = event.object.get("payment_intent")
    if kind is None or payment is None:
        return None
    about = event.object.get("id")
    if not _is_id(payment) or not _is_id(about):
        raise ValueError(f"the {kind} has no id of its own or of its payment")
    amount, stands = _amount(event.object, kind), _stands(event, kind)
    withheld = _withheld(event, amount) if kind == "dispute" else None
    if withheld is not None:
        amount, stands = withheld or amount, bool(withheld)
    return Notice(
        event=event.id,
        payment=payment,
        kind=kind,
        about=about,
        amount=amount,
        stands=stands,
        at=event.created,
        live=event.live,
    )


def _amount(about: Mapping[str, Any], kind: NoticeKind) -> Money:
    if kind == "warning":
        return _NO_AMOUNT
    amount, currency = about.get("amount_refunded" if kind == "refunded" else "amount"), about.get("currency")
    if not (isinstance(amount, int) and not isinstance(amount, bool) and amount >= 0):
        raise ValueError(f"the {kind} has no amount")
    if not (isinstance(currency, str) and _CURRENCY.fullmatch(currency)):
        raise ValueError(f"the {kind} has no currency")
    return from_minor(amount, currency)


def _stands(event: Event, kind: NoticeKind) -> bool:
    status = event.object.get("status")
    if kind == "refund":
        if not isinstance(status, str):
            raise ValueError("the refund has no status")
        return event.type != "refund.failed" and status not in _REFUND_OVER
    if kind != "dispute":
        return True
    if not isinstance(status, str):
        raise ValueError("the dispute has no status")
    if event.type == "charge.dispute.funds_withdrawn":
        return True
    if event.type == "charge.dispute.funds_reinstated" or status in _DISPUTE_OVER:
        return False
    moved = _moved(event.object.get("balance_transactions"))
    return True if moved is None else moved < 0


def _withheld(event: Event, disputed: Money) -> Money | None:
    """What is still withdrawn of a dispute that gave something back; None where its list does not say."""
    found: Any = event.object.get("balance_transactions")
    moved = _moved(found)
    if moved is None or event.type == "charge.dispute.funds_withdrawn":  # which the list may not have yet
        return None
    gave_back = any(item["amount"] > 0 for item in found)
    if not gave_back or {str(item.get("currency")).lower() for item in found} != {disputed.currency}:
        return None
    return min(disputed, from_minor(max(0, -moved), disputed.currency))


def _moved(transactions: Any) -> int | None:
    """What the dispute's balance transactions sum up to; None if there are none."""
    if not isinstance(transactions, list) or not transactions:
        return None
    amounts = [item.get("amount") if isinstance(item, Mapping) else None for item in transactions]
    return sum(amounts) if all(isinstance(amount, int) for amount in amounts) else None  # type: ignore[arg-type]


def _is_id(text: object) -> TypeGuard[str]:
    return isinstance(text, str) and 0 < len(text) <= 255 and text.isascii() and text.isprintable()
