"""Subscriptions and their unpaid invoices, among the records in SQLite. Implements `ports.Subscriptions`."""

from gateway.adapters.sqlite.keyroll import Read, Write
from gateway.core.plans import Subscription
from gateway.core.subscription_columns import NEWER, SUBSCRIPTION, of_subscription, subscription

_KEEP = f"INSERT INTO subscription ({SUBSCRIPTION}) VALUES ({','.join('?' * 11)}) {NEWER}"
_WHOSE = "UPDATE subscription SET account = ? WHERE id = ? AND account = ''"
_AFTER = f"SELECT {SUBSCRIPTION}, number FROM subscription WHERE number > ? ORDER BY number LIMIT ?"
_KEEP_UNPAID = """INSERT INTO unpaid_invoice VALUES (?, ?, ?, 0)
ON CONFLICT (invoice) DO UPDATE SET url = excluded.url WHERE NOT unpaid_invoice.is_over"""
_OVER = """INSERT INTO unpaid_invoice VALUES (?, ?, NULL, 1)
ON CONFLICT (invoice) DO UPDATE SET is_over = 1, url = NULL"""
_UNPAID = "SELECT url FROM unpaid_invoice WHERE subscription = ? AND NOT is_over AND url IS NOT NULL ORDER BY invoice"


class SqliteSubscriptions:
    """Reads and writes as the records do."""

    def __init__(self, read: Read, write: Write) -> None:
        self._read = read
        self._write = write

    async def keep_subscription(self, found: Subscription) -> None:
        await self._write(_KEEP, of_subscription(found))
        await self._write(_WHOSE, (found.account, found.id))

    async def find_subscription(self, id: str) -> Subscription | None:
        rows = await self._read(f"SELECT {SUBSCRIPTION} FROM subscription WHERE id = ?", (id,))
        return next((subscription(row) for row in rows), None)

    async def subscriptions_of(self, account: str) -> list[Subscription]:
        query = f"SELECT {SUBSCRIPTION} FROM subscription WHERE account = ? ORDER BY id"
        return [subscription(row) for row in await self._read(query, (account,))]

    async def subscriptions_after(self, number: int, count: int) -> list[tuple[int, Subscription]]:
        return [(row[-1], subscription(row[:-1])) for row in await self._read(_AFTER, (number, count))]

    async def keep_unpaid(self, invoice: str, subscription: str, url: str | None) -> bool:
        return await self._write(_KEEP_UNPAID, (invoice, subscription, url))

    async def unpaid_over(self, invoice: str, subscription: str) -> None:
        await self._write(_OVER, (invoice, subscription))

    async def unpaid_of(self, subscription: str) -> list[str]:
        return [url for (url,) in await self._read(_UNPAID, (subscription,))]
