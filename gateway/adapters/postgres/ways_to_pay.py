"""Orders, and auto top-up with its refills, among the records that hosts share.

Each verb is one statement. What it decides (whose number is next, whether a ceiling is reached) it may decide by what
was committed when it began; a refill that another host began meanwhile has taken the number then, or is under way, and
the statement writes nothing.
"""

from collections.abc import Awaitable, Callable, Sequence

import asyncpg

from gateway.core import pay_columns as columns
from gateway.core.auto_top_ups import DAY_MS, MONTH_MS, Ceilings, Pause, Refill, RefillState, Rule, SavedCard, Wish
from gateway.core.orders import Order
from gateway.core.pay_columns import ORDER, REFILL, RULE

_KEEP_ORDER = f"""INSERT INTO pay_order ({ORDER}) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)
ON CONFLICT DO NOTHING"""
_KEEP_RULE = f"""INSERT INTO auto_top_up ({RULE})
VALUES ($1, $2, $3, $4, $5, $6, NULL, NULL, NULL, NULL, true, $7, NULL)
ON CONFLICT (account) DO UPDATE SET currency = excluded.currency, threshold = excluded.threshold,
adds = excluded.adds, day = excluded.day, month = excluded.month, paused = NULL, wanted = true,
changed = excluded.changed"""
_KEEP_CARD = f"""INSERT INTO auto_top_up ({RULE}) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, NULL, true, $10, $11)
ON CONFLICT (account) DO UPDATE SET currency = excluded.currency, threshold = excluded.threshold,
adds = excluded.adds, day = excluded.day, month = excluded.month, customer = excluded.customer,
method = excluded.method, label = excluded.label, paused = NULL, expires = excluded.expires,
wanted = true, changed = excluded.changed WHERE auto_top_up.changed <= $12"""
_DROP_RULE = """UPDATE auto_top_up SET wanted = false, method = NULL, label = NULL, paused = NULL, changed = $2
WHERE account = $1 AND wanted RETURNING account"""
_DROP_CARD = """UPDATE auto_top_up SET method = NULL, label = NULL, paused = 'card_removed', changed = $2
WHERE method = $1"""
_DROP_CUSTOMER = """UPDATE auto_top_up SET customer = NULL, method = NULL, label = NULL, paused = 'card_removed',
changed = $2 WHERE customer = $1"""
_RENEW = """UPDATE auto_top_up SET paused = NULL, changed = $3
WHERE method = $1 AND paused = 'declined' AND changed <= $2"""
_BEGIN = f"""INSERT INTO refill ({REFILL}, state)
SELECT $1, $2::bigint, $3, $4, $5::bigint, $6, $7, $8, $9::bigint, 'asked'
FROM auto_top_up WHERE account = $1 AND wanted AND paused IS NULL AND method = $7
AND NOT coalesce((SELECT frozen FROM freezing WHERE account = $1 ORDER BY number DESC LIMIT 1), false)
AND NOT EXISTS (SELECT 1 FROM alias WHERE account = $1)
AND $5::bigint + (SELECT coalesce(sum(amount), 0) FROM refill
                  WHERE account = $1 AND state <> 'failed' AND created > $9::bigint - {DAY_MS}) <= $10::bigint
AND $5::bigint + (SELECT coalesce(sum(amount), 0) FROM refill
                  WHERE account = $1 AND state <> 'failed' AND created > $9::bigint - {MONTH_MS}) <= $11::bigint
ON CONFLICT DO NOTHING RETURNING number"""
_OPEN = f"SELECT {REFILL} FROM refill WHERE state = 'asked'"
_REFILLED = """SELECT coalesce(sum(amount), 0)::bigint AS micros FROM refill
WHERE account = $1 AND state <> 'failed' AND created > $2"""


class PostgresWaysToPay:
    """Implements `ports.Orders` and `ports.AutoTopUps`. Every call may raise RecordsUnavailable."""

    def __init__(self, do: Callable[..., Awaitable[Sequence[asyncpg.Record]]]) -> None:
        self._do = do

    # --- orders -------------------------------------------------------------------------------------------------------

    async def keep_order(self, order: Order) -> Order:
        await self._do(_KEEP_ORDER, *columns.of_order(order))
        rows = await self._do(f"SELECT {ORDER} FROM pay_order WHERE id = $1", order.id)
        return next((columns.order(tuple(row)) for row in rows), order)

    async def order_made(self, id: str, url: str) -> None:
        await self._do("UPDATE pay_order SET url = $2 WHERE id = $1", id, url)

    async def drop_orders(self, before_ms: int) -> None:
        await self._do("DELETE FROM pay_order WHERE created < $1", before_ms)

    # --- rules --------------------------------------------------------------------------------------------------------

    async def find_rule(self, account: str) -> Rule | None:
        rows = await self._do(f"SELECT {RULE} FROM auto_top_up WHERE account = $1", account)
        return next((columns.rule(tuple(row)) for row in rows), None)

    async def rules_since(self, changed_ms: int) -> list[Rule]:
        rows = await self._do(f"SELECT {RULE} FROM auto_top_up WHERE changed >= $1", changed_ms)
        return [columns.rule(tuple(row)) for row in rows]

    async def keep_rule(self, account: str, wish: Wish, ceilings: Ceilings, *, now_ms: int) -> None:
        await self._do(_KEEP_RULE, account, *columns.of_wish(wish, ceilings), now_ms)

    async def keep_card(
        self, account: str, card: SavedCard, wish: Wish, ceilings: Ceilings, *, at_ms: int, now_ms: int
    ) -> None:
        owner = (card.customer, card.method, card.label)
        await self._do(_KEEP_CARD, account, *columns.of_wish(wish, ceilings), *owner, now_ms, card.expires, at_ms)

    async def drop_rule(self, account: str, *, now_ms: int) -> bool:
        return bool(await self._do(_DROP_RULE, account, now_ms))

    async def pause(self, method: str, why: Pause, *, now_ms: int) -> None:
        await self._do(
            "UPDATE auto_top_up SET paused = $2, changed = $3 WHERE method = $1 AND wanted", method, why, now_ms
        )

    async def card_expires(self, method: str, expires: str) -> None:
        await self._do("UPDATE auto_top_up SET expires = $1 WHERE method = $2", expires, method)

    async def renew(self, method: str, *, at_ms: int, now_ms: int) -> None:
        await self._do(_RENEW, method, at_ms, now_ms)

    async def drop_card(self, method: str, *, now_ms: int) -> None:
        await self._do(_DROP_CARD, method, now_ms)

    async def drop_customer(self, customer: str, *, now_ms: int) -> None:
        await self._do(_DROP_CUSTOMER, customer, now_ms)

    # --- refills ------------------------------------------------------------------------------------------------------

    async def last_refill(self, account: str) -> int:
        rows = await self._do("SELECT coalesce(max(number), 0) AS last FROM refill WHERE account = $1", account)
        return int(rows[0]["last"])

    async def begin_refill(self, refill: Refill, ceilings: Ceilings) -> bool:
        return bool(await self._do(_BEGIN, *columns.of_refill(refill), ceilings.day.micros, ceilings.month.micros))

    async def end_refill(self, key: str, state: RefillState) -> bool:
        ended = "UPDATE refill SET state = $2 WHERE key = $1 AND state = 'asked' RETURNING number"
        return bool(await self._do(ended, key, state))

    async def find_refill(self, key: str) -> Refill | None:
        rows = await self._do(f"{_OPEN} AND key = $1", key)
        return next((columns.refill(tuple(row)) for row in rows), None)

    async def open_refills(self, before_ms: int) -> list[Refill]:
        rows = await self._do(f"{_OPEN} AND created < $1 ORDER BY created", before_ms)
        return [columns.refill(tuple(row)) for row in rows]

    async def refilled_since(self, account: str, since_ms: int) -> int:
        return int((await self._do(_REFILLED, account, since_ms))[0]["micros"])
