"""Subscriptions and their invoices: how they are asked for, and how Stripe's objects and events are read.

An invoice names its subscription and that one's metadata under `parent.subscription_details`, its lines name their
price under `pricing.price_details` (https://docs.stripe.com/api/invoices/object,
https://docs.stripe.com/api/invoice-line-item); when a period ends is on a subscription's items
(https://docs.stripe.com/api/subscription_items/object). An invoice does not name its payment intent: `invoice_payments`
connects the two, and is asked when a refund is heard of.

Whose a subscription is was sealed into its metadata by the checkout that began it, so each of its invoices says so.
"""

import re
from collections.abc import Iterator, Mapping
from fractions import Fraction
from typing import Any, Final, Literal
from urllib.parse import quote

from gateway.core.licences import MARK
from gateway.core.money import Money, from_minor
from gateway.core.orders import Order
from gateway.core.payments import Event, Payment
from gateway.core.plans import Grant, Line, Plan, State, Subscription, SubscriptionNotice, Unpaid, granted
from gateway.core.purses import PLAIN

REFERENCE: Final = "farebox_reference"
PAID: Final = "invoice.paid"
_DEBIT_FAILED: Final = "checkout.session.async_payment_failed"
_UNPAID: Mapping[str, Literal["declined", "authentication_required", "over"]] = {
    "invoice.payment_failed": "declined",
    "invoice.payment_action_required": "authentication_required",
    "invoice.voided": "over",
    "invoice.marked_uncollectible": "over",
    PAID: "over",
}
_SUBSCRIPTION = "customer.subscription."
TYPES: Final = frozenset(
    (
        _DEBIT_FAILED,
        *_UNPAID,
        *(f"{_SUBSCRIPTION}{what}" for what in ("created", "updated", "deleted", "paused", "resumed")),
    )
)
"""The events that say something."""
_STATES: Mapping[str, State] = {
    "trialing": "trial",
    "active": "active",
    "past_due": "unpaid",
    "unpaid": "unpaid",
    "paused": "paused",
    "incomplete": "waiting",
    "incomplete_expired": "over",
    "canceled": "over",
}
INVOICE_ID: Final = re.compile(r"in_[A-Za-z0-9_]{1,200}")


def session_of(order: Order, plan: Plan, *, return_url: str, wallet_url: str, licensed_url: str) -> dict[str, Any]:
    """What Stripe is asked for."""
    asked = {
        "mode": "subscription",
        "client_reference_id": order.reference,
        "line_items": [{"price": plan.price, "quantity": 1}],
        "subscription_data": {"metadata": {REFERENCE: order.reference}},
        "success_url": return_url,
        "cancel_url": wallet_url,
    }
    if order.licence is not None:
        # Whoever is asked to pay cannot make it another's: an address that came with the checkout stays.
        mark, to = {MARK: "own"}, order.licence.return_to
        asked |= {"metadata": mark, "subscription_data": {"metadata": {REFERENCE: order.reference, **mark}}}
        asked |= {"success_url": f"{licensed_url}&to={quote(to, safe='')}" if to else licensed_url}
        if order.customer is None:
            asked["customer_email"] = order.licence.email
    return asked if order.customer is None else {**asked, "customer": order.customer}


def difference(plan: Plan, price: Mapping[str, Any]) -> str | None:
    """In words, what is otherwise of a price at Stripe than the plan says."""
    recurring, amount, currency = _mapping(price.get("recurring")), price.get("unit_amount"), str(price.get("currency"))
    if not isinstance(amount, int) or isinstance(amount, bool) or not recurring:
        return f"{plan.price} is not one amount in each period at Stripe"
    if plan.sold and price.get("active") is not True:
        return f"{plan.price} is not on sale at Stripe any more"
    costs = from_minor(amount, currency)
    if costs != plan.costs:
        return f"costs says {plan.costs}, and {plan.price} costs {costs} at Stripe"
    count = recurring.get("interval_count", 1)
    every = str(recurring.get("interval")) if count == 1 else f"{count} {recurring.get('interval')}s"
    return None if every == plan.every else f"every says {plan.every}, and {plan.price} is paid every {every} at Stripe"


def has_more(invoice: Mapping[str, Any]) -> bool:
    """Whether it has more lines than it shows: ten, https://docs.stripe.com/api/invoices/object#invoice_object-lines."""
    return _mapping(invoice.get("lines")).get("has_more") is True


def payment_of(invoice: Mapping[str, Any], plans: Mapping[str, Plan], intent: str | None = None) -> Payment | None:
    """A paid invoice of a subscription as a payment of what it grants; None if it is none. Raises ValueError.

    One that no line of is of a plan is `unplanned`. That may be a stranger's, or a subscriber's whose plan has gone.
    """
    if invoice.get("status") != "paid" or not _subscription_of(invoice):
        return None
    partial = has_more(invoice) and bool(plans)
    grant = granted(plans, _lines_of(invoice), _asked(invoice))
    id, live, currency = invoice.get("id"), invoice.get("livemode"), invoice.get("currency")
    if not (isinstance(id, str) and INVOICE_ID.fullmatch(id) and isinstance(live, bool) and isinstance(currency, str)):
        raise ValueError("the invoice has no id, mode or currency")
    paid = from_minor(_worth(invoice), currency)
    unplanned = grant is None and not partial
    grant = grant or Grant(Money(0, paid.currency), PLAIN)
    ours = unplanned or paid.currency == next(iter(plans.values())).costs.currency  # else nothing is priced in it
    return Payment(
        id=id,
        amount=grant.amount if ours else paid,
        reference=_reference(invoice),
        settled=True,
        live=live,
        intent=intent,
        paid=paid,
        purse=grant.purse,
        shares=grant.shares if ours else (),
        partial=partial,
        subscription=_subscription_of(invoice),
        unplanned=unplanned,
    )


def _lines_of(invoice: Mapping[str, Any]) -> Iterator[Line]:
    return _lines(_mapping(invoice.get("lines")).get("data"))


def _asked(invoice: Mapping[str, Any]) -> Fraction:
    """Which part of it was left to be paid after credit notes: https://docs.stripe.com/invoicing/dashboard/credit-notes."""
    total, noted = invoice.get("total"), invoice.get("pre_payment_credit_notes_amount")
    if not isinstance(total, int) or not isinstance(noted, int) or total <= 0:
        return Fraction(1)
    return Fraction(max(0, total - max(0, noted)), total)


def _worth(invoice: Mapping[str, Any]) -> int:
    """What it was paid with: money, and credit that the customer had at Stripe, which is less than nothing there.

    A refund is a part of this: what is granted was granted for both. A debt there that it paid, too, is in the money.
    """
    before, after, total = (invoice.get(name) or 0 for name in ("starting_balance", "ending_balance", "total"))
    if not all(isinstance(amount, int) for amount in (before, after, total)):
        raise ValueError("the invoice has odd balances")
    applied = min(max(0, after - before), max(0, total))  # an invoice that shows no end of it has used all of it
    return _whole(invoice, "amount_paid") + applied


def _lines(data: Any) -> Iterator[Line]:
    for line in data if isinstance(data, list) else ():
        priced = _mapping(_mapping(line.get("pricing")).get("price_details"))
        parent = _mapping(line.get("parent"))
        details = _mapping(parent.get("subscription_item_details")) or _mapping(parent.get("invoice_item_details"))
        off = sum(_whole(one, "amount") for one in line.get("discount_amounts") or ())
        yield Line(
            price=str(priced.get("price")),
            amount=from_minor(_whole(line, "amount") - off, str(line.get("currency"))),
            quantity=line["quantity"] if isinstance(line.get("quantity"), int) else 1,
            ends_ms=_whole(_mapping(line.get("period")), "end") * 1000,
            part=details.get("proration") is True,
        )


def subscription_notice(event: Event) -> SubscriptionNotice | None:
    """What an event says of a subscription, if it does. Raises ValueError."""
    if not event.type.startswith(_SUBSCRIPTION) or event.type not in TYPES:
        return None
    return SubscriptionNotice(event.live, _text(_mapping(event.object.get("metadata")).get(REFERENCE)), standing(event))


def standing(event: Event) -> Subscription:
    """How the subscription stands that an event is about, without its account. Raises ValueError."""
    about = event.object
    items = _mapping(about.get("items")).get("data")
    item = _mapping(items[0]) if isinstance(items, list) and items else {}
    state = _STATES.get(str(about.get("status")))
    id, customer = about.get("id"), about.get("customer")
    if state is None or not isinstance(id, str):
        raise ValueError("the subscription has no id or status")
    return Subscription(
        id=id,
        account="",
        price=str(_mapping(item.get("price")).get("id")),
        customer=str(customer),
        state=state,
        ends_ms=_whole(item, "current_period_end") * 1000 if item else 0,
        leaves=about.get("cancel_at_period_end") is True or about.get("cancel_at") is not None,
        at=event.created,
        event=event.id,
    )


def unpaid(event: Event, plans: Mapping[str, Plan]) -> Unpaid | None:
    """What an event says of money that did not come, if it does: a bank debit, or an invoice of a subscription.

    Raises ValueError.
    """
    about = event.object
    id, currency = str(about.get("id"))[:255], str(about.get("currency"))
    if event.type == _DEBIT_FAILED:
        amount, reference = from_minor(_whole(about, "amount_total"), currency), _text(about.get("client_reference_id"))
        return Unpaid("bank_debit_failed", id, None, reference, amount, 1, None, event.live)
    why, subscription = _UNPAID.get(event.type), _subscription_of(about)
    if why is None or subscription is None:
        return None
    unplanned = granted(plans, _lines_of(about)) is None and not (plans and has_more(about))
    return Unpaid(
        why=why,
        about=id,
        subscription=subscription,
        reference=_reference(about),
        amount=from_minor(_whole(about, "amount_remaining"), currency),
        attempt=_whole(about, "attempt_count"),
        url=_text(about.get("hosted_invoice_url")),
        live=event.live,
        unplanned=unplanned,
    )


def _details(invoice: Mapping[str, Any]) -> Mapping[str, Any]:
    return _mapping(_mapping(invoice.get("parent")).get("subscription_details"))


def _subscription_of(invoice: Mapping[str, Any]) -> str | None:
    return _text(_details(invoice).get("subscription"))


def _reference(invoice: Mapping[str, Any]) -> str | None:
    return _text(_mapping(_details(invoice).get("metadata")).get(REFERENCE))


def _whole(about: Mapping[str, Any], name: str) -> int:
    value = about.get(name)
    if not isinstance(value, int) or isinstance(value, bool):
        raise ValueError(f"the invoice or subscription has no {name}")
    return value


def _text(value: object) -> str | None:
    return value if isinstance(value, str) and value else None


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}
