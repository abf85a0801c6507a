"""Orders, and auto top-up with its refills, among the records in SQLite.

Each verb is one statement, so what it decides (whose number is next, whether a ceiling is reached, whether another
refill is under way) is decided and written in one step, whoever else asks at the same moment.
"""

import sqlite3
from collections.abc import Awaitable, Callable, Iterable

from gateway.core import pay_columns as columns
from gateway.core.auto_top_ups import DAY_MS, MONTH_MS, Ceilings, Pause, Refill, RefillState, Rule, SavedCard, Wish
from gateway.core.orders import Order
from gateway.core.pay_columns import ORDER, REFILL, RULE

_KEEP_RULE = f"""INSERT INTO auto_top_up ({RULE}) VALUES (?, ?, ?, ?, ?, ?, NULL, NULL, NULL, NULL, 1, ?, NULL)
ON CONFLICT (account) DO UPDATE SET currency = excluded.currency, threshold = excluded.threshold,
adds = excluded.adds, day = excluded.day, month = excluded.month, paused = NULL, wanted = 1,
changed = excluded.changed"""
_KEEP_CARD = f"""INSERT INTO auto_top_up ({RULE}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, NULL, 1, ?, ?)
ON CONFLICT (account) DO UPDATE SET currency = excluded.currency, threshold = excluded.threshold,
adds = excluded.adds, day = excluded.day, month = excluded.month, customer = excluded.customer,
method = excluded.method, label = excluded.label, paused = NULL, expires = excluded.expires,
wanted = 1, changed = excluded.changed WHERE auto_top_up.changed <= ?"""
_BEGIN = f"""INSERT INTO refill ({REFILL}, state) SELECT ?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, 'asked'
FROM auto_top_up WHERE account = ?1 AND wanted AND paused IS NULL AND method = ?7
AND NOT coalesce((SELECT frozen FROM freezing WHERE account = ?1 ORDER BY number DESC LIMIT 1), 0)
AND NOT EXISTS (SELECT 1 FROM alias WHERE account = ?1)
AND ?5 + (SELECT coalesce(sum(amount), 0) FROM refill
          WHERE account = ?1 AND state <> 'failed' AND created > ?9 - {DAY_MS}) <= ?10
AND ?5 + (SELECT coalesce(sum(amount), 0) FROM refill
          WHERE account = ?1 AND state <> 'failed' AND created > ?9 - {MONTH_MS}) <= ?11
ON CONFLICT DO NOTHING"""


class SqliteWaysToPay:
    """Implements `ports.Orders` and `ports.AutoTopUps`. Every call may raise RecordsUnavailable."""

    def __init__(
        self,
        read: Callable[[str, tuple[object, ...]], Awaitable[Iterable[sqlite3.Row]]],
        write: Callable[[str, tuple[object, ...]], Awaitable[bool]],
    ) -> None:
        self._read = read
        self._write = write

    # --- orders -------------------------------------------------------------------------------------------------------

    async def keep_order(self, order: Order) -> Order:
        values = ",".join("?" * 11)
        await self._write(
            f"INSERT INTO pay_order ({ORDER}) VALUES ({values}) ON CONFLICT DO NOTHING", columns.of_order(order)
        )
        rows = await self._read(f"SELECT {ORDER} FROM pay_order WHERE id = ?", (order.id,))
        return next((columns.order(row) for row in rows), order)

    async def order_made(self, id: str, url: str) -> None:
        await self._write("UPDATE pay_order SET url = ? WHERE id = ?", (url, id))

    async def drop_orders(self, before_ms: int) -> None:
        await self._write("DELETE FROM pay_order WHERE created < ?", (before_ms,))

    # --- rules --------------------------------------------------------------------------------------------------------

    async def find_rule(self, account: str) -> Rule | None:
        rows = await self._read(f"SELECT {RULE} FROM auto_top_up WHERE account = ?", (account,))
        return next((columns.rule(row) for row in rows), None)

    async def rules_since(self, changed_ms: int) -> list[Rule]:
        rows = await self._read(f"SELECT {RULE} FROM auto_top_up WHERE changed >= ?", (changed_ms,))
        return [columns.rule(row) for row in rows]

    async def keep_rule(self, account: str, wish: Wish, ceilings: Ceilings, *, now_ms: int) -> None:
        await self._write(_KEEP_RULE, (account, *columns.of_wish(wish, ceilings), now_ms))

    async def keep_card(
        self, account: str, card: SavedCard, wish: Wish, ceilings: Ceilings, *, at_ms: int, now_ms: int
    ) -> None:
        owner = (card.customer, card.method, card.label)
        await self._write(_KEEP_CARD, (account, *columns.of_wish(wish, ceilings), *owner, now_ms, card.expires, at_ms))

    async def drop_rule(self, account: str, *, now_ms: int) -> bool:
        return await self._write(
            "UPDATE auto_top_up SET wanted = 0, method = NULL, label = NULL, paused = NULL, changed = ?"
            " WHERE account = ? AND wanted",
            (now_ms, account),
        )

    async def pause(self, method: str, why: Pause, *, now_ms: int) -> None:
        values = (why, now_ms, method)
        await self._write("UPDATE auto_top_up SET paused = ?, changed = ? WHERE method = ? AND wanted", values)

    async def card_expires(self, method: str, expires: str) -> None:
        await self._write("UPDATE auto_top_up SET expires = ? WHERE method = ?", (expires, method))

    async def renew(self, method: str, *, at_ms: int, now_ms: int) -> None:
        await self._write(
            "UPDATE auto_top_up SET paused = NULL, changed = ? WHERE method = ? AND paused = 'declined'"
            " AND changed <= ?",
            (now_ms, method, at_ms),
        )

    async def drop_card(self, method: str, *, now_ms: int) -> None:
        await self._write(
            "UPDATE auto_top_up SET method = NULL, label = NULL, paused = 'card_removed', changed = ? WHERE method = ?",
            (now_ms, method),
        )

    async def drop_customer(self, customer: str, *, now_ms: int) -> None:
        await self._write(
            "UPDATE auto_top_up SET customer = NULL, method = NULL, label = NULL, paused = 'card_removed', changed = ?"
            " WHERE customer = ?",
            (now_ms, customer),
        )

    # --- refills ------------------------------------------------------------------------------------------------------

    async def last_refill(self, account: str) -> int:
        rows = await self._read("SELECT coalesce(max(number), 0) FROM refill WHERE account = ?", (account,))
        return next(int(number) for (number,) in rows)

    async def begin_refill(self, refill: Refill, ceilings: Ceilings) -> bool:
        return await self._write(_BEGIN, (*columns.of_refill(refill), ceilings.day.micros, ceilings.month.micros))

    async def end_refill(self, key: str, state: RefillState) -> bool:
        return await self._write("UPDATE refill SET state = ? WHERE key = ? AND state = 'asked'", (state, key))

    async def find_refill(self, key: str) -> Refill | None:
        rows = await self._read(f"SELECT {REFILL} FROM refill WHERE key = ? AND state = 'asked'", (key,))
        return next((columns.refill(row) for row in rows), None)

    async def open_refills(self, before_ms: int) -> list[Refill]:
        query = f"SELECT {REFILL} FROM refill WHERE state = 'asked' AND created < ? ORDER BY created"
        return [columns.refill(row) for row in await self._read(query, (before_ms,))]

    async def refilled_since(self, account: str, since_ms: int) -> int:
        query = "SELECT coalesce(sum(amount), 0) FROM refill WHERE account = ? AND state <> 'failed' AND created > ?"
        return next(int(micros) for (micros,) in await self._read(query, (account, since_ms)))
