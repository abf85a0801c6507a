"""Orders, rules, refills and what was credited as flat columns, the same in every database that keeps them."""

from collections.abc import Sequence
from typing import Any

from gateway.core.auto_top_ups import Ceilings, Refill, Rule, SavedCard, Wish
from gateway.core.money import Money
from gateway.core.orders import Order
from gateway.core.purses import Purse, Share
from gateway.core.reversals import Credited

ORDER = "id, account, currency, amount, reference, created, threshold, adds, customer, url, plan"
RULE = "account, currency, threshold, adds, day, month, customer, method, label, paused, wanted, changed, expires"
CREDITED = "payment, session, account, currency, paid, credit, priority, expires, shares, unit, at"
REFILL = "account, number, key, currency, amount, customer, method, reference, created"

INBOX_STANDING = """SELECT
(SELECT max(newest) FROM (SELECT max(received) AS newest FROM event WHERE status = 'waiting'
    UNION ALL SELECT max(received) FROM event WHERE status = 'done'
    UNION ALL SELECT max(received) FROM event WHERE status = 'ignored'
    UNION ALL SELECT max(received) FROM event WHERE status = 'parked') AS each_status),
(SELECT count(*) FROM event WHERE status = 'waiting'),
(SELECT min(received) FROM event WHERE status = 'waiting'),
(SELECT count(*) FROM event WHERE status = 'parked')"""
"""The newest of each status is one look into the index; that of all would read every event."""


def of_wish(wish: Wish, ceilings: Ceilings) -> tuple[object, ...]:
    """From `currency` to `month`."""
    money = (wish.threshold, wish.amount, ceilings.day, ceilings.month)
    return wish.amount.currency, *(one.micros for one in money)


def of_order(order: Order) -> tuple[object, ...]:
    wish = (order.wish.threshold.micros, order.wish.amount.micros) if order.wish else (None, None)
    amount = order.amount.micros if order.amount else None
    known = (order.id, order.account, order.currency, amount, order.reference, order.created_ms)
    return *known, *wish, order.customer, order.url, order.plan


def of_refill(refill: Refill) -> tuple[object, ...]:
    money, card = (refill.amount.currency, refill.amount.micros), (refill.customer, refill.method)
    return refill.account, refill.number, refill.key, *money, *card, refill.reference, refill.created_ms


def of_credited(credited: Credited) -> tuple[object, ...]:
    """As `CREDITED`."""
    money = credited.paid.currency, credited.paid.micros, credited.credit.micros
    purse = credited.purse.priority, credited.purse.expires_ms
    shares = [f"{one.purse.priority}@{one.purse.expires_ms}={one.amount.micros}" for one in credited.shares]
    unit = credited.credit.currency if credited.credit.currency != credited.paid.currency else None
    known = credited.payment, credited.session, credited.account
    return *known, *money, *purse, " ".join(shares) or None, unit, credited.at_ms


def credited(row: Sequence[Any]) -> Credited:
    payment, session, account, currency, paid, credit, priority, expires, shares, unit, at_ms = row
    money = Money(paid, currency), Money(credit, unit or currency)
    parts = tuple(_share(text, unit or currency) for text in (shares or "").split())
    return Credited(payment, session, account, *money, Purse(priority, expires), parts, at_ms)


def _share(text: str, currency: str) -> Share:
    purse, _, micros = text.partition("=")
    priority, _, expires = purse.partition("@")
    return Share(Purse(int(priority), int(expires)), Money(int(micros), currency))


def order(row: Sequence[Any]) -> Order:
    id, account, currency, amount, reference, created, threshold, adds, customer, url, plan = row
    wish = None if adds is None else Wish(Money(threshold, currency), Money(adds, currency))
    paid = None if amount is None else Money(amount, currency)
    return Order(id, account, currency, paid, reference, created, wish, customer, url, plan)


def rule(row: Sequence[Any]) -> Rule:
    account, currency, threshold, adds, day, month, customer, method, label, paused, wanted, changed, expires = row
    return Rule(
        account=account,
        wish=Wish(Money(threshold, currency), Money(adds, currency)),
        ceilings=Ceilings(Money(day, currency), Money(month, currency)),
        card=SavedCard(customer, method, label, expires) if method else None,
        paused=paused,
        changed_ms=changed,
        wanted=bool(wanted),
        customer=customer,
    )


def refill(row: Sequence[Any]) -> Refill:
    account, number, key, currency, amount, customer, method, reference, created = row
    return Refill(account, number, key, Money(amount, currency), customer, method, reference, created)
