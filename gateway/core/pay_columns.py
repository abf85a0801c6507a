"""Orders, rules and refills as flat columns, the same in every database that keeps them."""

from collections.abc import Sequence
from typing import Any

from gateway.core.auto_top_ups import Ceilings, Refill, Rule, SavedCard, Wish
from gateway.core.money import Money
from gateway.core.orders import Order

ORDER = "id, account, currency, amount, reference, created, threshold, adds, customer, url, plan"
RULE = "account, currency, threshold, adds, day, month, customer, method, label, paused, wanted, changed, expires"
REFILL = "account, number, key, currency, amount, customer, method, reference, created"


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
