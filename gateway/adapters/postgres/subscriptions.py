"""Subscriptions and their unpaid invoices, among the records that hosts share. Implements `ports.Subscriptions`."""

from collections.abc import Awaitable, Callable, Sequence

import asyncpg

from gateway.core.plans import Subscription
from gateway.core.subscription_columns import NEWER, SUBSCRIPTION, of_subscription, subscription

_KEEP = f"INSERT INTO subscription ({SUBSCRIPTION}) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11) {NEWER}"
_WHOSE = "UPDATE subscription SET account = $1 WHERE id = $2 AND account = ''"
_AFTER = f"SELECT {SUBSCRIPTION}, number FROM subscription WHERE number > $1 ORDER BY number LIMIT $2"
_UNPAID = "SELECT url FROM unpaid_invoice WHERE subscription = $1 AND NOT is_over AND url IS NOT NULL ORDER BY invoice"
_KEEP_UNPAID = """INSERT INTO unpaid_invoice VALUES ($1, $2, $3, false)
ON CONFLICT (invoice) DO UPDATE SET url = excluded.url WHERE NOT unpaid_invoice.is_over RETURNING invoice"""
_OVER = """INSERT INTO unpaid_invoice VALUES ($1, $2, NULL, true)
ON CONFLICT (invoice) DO UPDATE SET is_over = true, url = NULL"""


class PostgresSubscriptions:
    """Asks as the records do."""

    def __init__(self, do: Callable[..., Awaitable[Sequence[asyncpg.Record]]]) -> None:
        self._do = do

    async def keep_subscription(self, found: Subscription) -> None:
        await self._do(_KEEP, *of_subscription(found))
        await self._do(_WHOSE, found.account, found.id)

    async def find_subscription(self, id: str) -> Subscription | None:
        rows = await self._do(f"SELECT {SUBSCRIPTION} FROM subscription WHERE id = $1", id)
        return next((subscription(tuple(row)) for row in rows), None)

    async def subscriptions_of(self, account: str) -> list[Subscription]:
        rows = await self._do(f"SELECT {SUBSCRIPTION} FROM subscription WHERE account = $1 ORDER BY id", account)
        return [subscription(tuple(row)) for row in rows]

    async def subscriptions_after(self, number: int, count: int) -> list[tuple[int, Subscription]]:
        return [(row["number"], subscription(tuple(row)[:-1])) for row in await self._do(_AFTER, number, count)]

    async def keep_unpaid(self, invoice: str, subscription: str, url: str | None) -> bool:
        return bool(await self._do(_KEEP_UNPAID, invoice, subscription, url))

    async def unpaid_over(self, invoice: str, subscription: str) -> None:
        await self._do(_OVER, invoice, subscription)

    async def unpaid_of(self, subscription: str) -> list[str]:
        return [row["url"] for row in await self._do(_UNPAID, subscription)]
