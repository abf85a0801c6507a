"""Subscriptions as flat columns, the same in every database that keeps them.

`is_over`, `at`, `ends`, `standing` and `event` together are how recent a row is: the greater replaces the other.
"""

from collections.abc import Sequence
from typing import Any

from gateway.core.plans import Subscription

SUBSCRIPTION = "id, account, price, customer, state, ends, leaves, is_over, at, standing, event"
RECENCY = "(excluded.is_over, excluded.at, excluded.ends, excluded.standing, excluded.event) > \
(subscription.is_over, subscription.at, subscription.ends, subscription.standing, subscription.event)"
NEWER = (
    """ON CONFLICT (id) DO UPDATE SET price = excluded.price, customer = excluded.customer, state = excluded.state,
ends = excluded.ends, leaves = excluded.leaves, is_over = excluded.is_over, at = excluded.at,
standing = excluded.standing, event = excluded.event WHERE """
    + RECENCY
)


def of_subscription(found: Subscription) -> tuple[object, ...]:
    over, at, ends, standing, event = found.recency
    named = (found.id, found.account, found.price, found.customer, found.state)
    return *named, ends, found.leaves, over, at, standing, event


def subscription(row: Sequence[Any]) -> Subscription:
    id, account, price, customer, state, ends, leaves, _, at, _, event = row
    return Subscription(id, account, price, customer, state, ends, bool(leaves), at, event)
