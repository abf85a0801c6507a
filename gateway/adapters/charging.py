"""Charges by agreement, in the records of either kind. Implements `ports.ChargeBook`.

Each change is one statement that compares what it changes by its turn: of two who go on with the same charge one
changes it, and the other learns that it did not. What a person may be charged in a day is part of the statement that
writes a charge down; hosts that write two at the same moment may pass it by one.
"""

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from gateway.core.charges import Agreed, Charge
from gateway.core.money import Money

Ask = Callable[..., Awaitable[Sequence[Any]]]
_AGREED = "user_id, live, key, customer, method, setup, setups, changed"
_BEGIN = """INSERT INTO stripe_customers (user_id, live, key, setups, created, changed) VALUES ($1, $2, $3, 0, $4, $4)
ON CONFLICT DO NOTHING"""
_CUSTOMER = """UPDATE stripe_customers SET customer = $3, changed = $4
WHERE user_id = $1 AND live = $2 AND customer IS NULL"""
_SETUP = """UPDATE stripe_customers SET setup = $4, setups = setups + 1, changed = $5
WHERE user_id = $1 AND live = $2 AND setups = $3 RETURNING user_id"""
_FIXED = "id, live, refund, user_id, owner, currency, amount, fee, points, customer, created"
_MOVING = "state, turn, tries, due, changed, method, intent, reason, seller, transfer, back, dispute_fee"
_CHARGE = f"{_FIXED}, {_MOVING}"
_COUNTS = "user_id = $4 AND live = $2 AND created >= $24 AND state <> 'failed'"
_ADD = f"""INSERT INTO stripe_transactions ({_CHARGE})
SELECT $1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21, $22, $23
WHERE (SELECT count(*) FROM stripe_transactions WHERE {_COUNTS}) < $25
AND (SELECT CAST(coalesce(sum(fee), 0) AS bigint) FROM stripe_transactions WHERE {_COUNTS}) + $8 <= $26
ON CONFLICT DO NOTHING RETURNING id"""  # noqa: S608 -- columns and conditions of our own
_MOVE = """UPDATE stripe_transactions SET state = $3, turn = $4, tries = $5, due = $6, changed = $7, method = $8,
intent = $9, reason = $10, seller = $11, transfer = $12, back = $13, dispute_fee = $14
WHERE id = $1 AND turn = $2 RETURNING id"""
_DUE = f"""SELECT {_CHARGE} FROM stripe_transactions WHERE live = $1 AND due <= $2
AND (state IN ('planned', 'sending', 'retrying', 'pending') OR (state IN ('succeeded', 'refunded', 'disputed')
AND seller IN ('held', 'sending')) OR (state = 'failed' AND reason = 'waiving'))
ORDER BY due, id LIMIT $3"""  # noqa: S608
_LIST = f"""SELECT {_CHARGE} FROM stripe_transactions WHERE live = $1 AND ($2 = '' OR user_id = $2)
AND (created < $3 OR (created = $3 AND id < $4)) ORDER BY created DESC, id DESC LIMIT $5"""  # noqa: S608
_LATEST, _MOST = 2**62, 2**62


class ChargeRecords:
    """In a database that has the tables of the migration `charging`."""

    def __init__(self, ask: Ask) -> None:
        self._ask = ask

    # --- whose method may be charged ----------------------------------------------------------------------------------

    async def begin_customer(self, agreed: Agreed, *, now_ms: int) -> Agreed:
        await self._ask(_BEGIN, agreed.user, int(agreed.live), agreed.key, now_ms)
        return await self.agreed(agreed.user, live=agreed.live) or agreed

    async def agreed(self, user: str, *, live: bool) -> Agreed | None:
        query = f"SELECT {_AGREED} FROM stripe_customers WHERE user_id = $1 AND live = $2"  # noqa: S608
        return next((_agreed(row) for row in await self._ask(query, user, int(live))), None)

    async def agreed_by(self, customer: str) -> Agreed | None:
        query = f"SELECT {_AGREED} FROM stripe_customers WHERE customer = $1"  # noqa: S608
        return next((_agreed(row) for row in await self._ask(query, customer)), None)

    async def keep_customer(self, agreed: Agreed, customer: str, *, now_ms: int) -> None:
        await self._ask(_CUSTOMER, agreed.user, int(agreed.live), customer, now_ms)

    async def keep_setup(self, agreed: Agreed, setup: str, *, now_ms: int) -> bool:
        return bool(await self._ask(_SETUP, agreed.user, int(agreed.live), agreed.setups, setup, now_ms))

    async def keep_method(self, customer: str, method: str, *, now_ms: int) -> None:
        await self._ask(
            "UPDATE stripe_customers SET method = $2, changed = $3 WHERE customer = $1", customer, method, now_ms
        )

    async def drop_method(self, method: str, *, now_ms: int) -> bool:
        change = "UPDATE stripe_customers SET method = NULL, changed = $2 WHERE method = $1 RETURNING user_id"
        return bool(await self._ask(change, method, now_ms))

    # --- charges ------------------------------------------------------------------------------------------------------

    async def add_charge(self, charge: Charge, *, since_ms: int, count_max: int, micros_max: int | None) -> bool:
        most = _MOST if micros_max is None else micros_max
        return bool(await self._ask(_ADD, *_fixed(charge), *_moving(charge), since_ms, count_max, most))

    async def move_charge(self, before: Charge, after: Charge) -> bool:
        return bool(await self._ask(_MOVE, before.id, before.turn, *_moving(after)))

    async def find_charge(self, id: str) -> Charge | None:
        return await self._one("id = $1", id)

    async def charge_of(self, refund: str, *, live: bool) -> Charge | None:
        return await self._one("refund = $1 AND live = $2", refund, int(live))

    async def charge_by(self, intent: str) -> Charge | None:
        return await self._one("intent = $1", intent)

    async def _one(self, condition: str, *values: object) -> Charge | None:
        query = f"SELECT {_CHARGE} FROM stripe_transactions WHERE {condition}"  # noqa: S608
        return next((_charge(row) for row in await self._ask(query, *values)), None)

    async def due_charges(self, *, live: bool, now_ms: int, count: int) -> list[Charge]:
        return [_charge(row) for row in await self._ask(_DUE, int(live), now_ms, count)]

    async def charges(self, *, live: bool, user: str | None, before: Charge | None, count: int) -> list[Charge]:
        after = (before.created_ms, before.id) if before is not None else (_LATEST, "")
        return [_charge(row) for row in await self._ask(_LIST, int(live), user or "", *after, count)]


def _agreed(row: Sequence[Any]) -> Agreed:
    user, live, *rest = row
    return Agreed(user, bool(live), *rest)


def _fixed(charge: Charge) -> tuple[object, ...]:
    who = (charge.id, int(charge.live), charge.refund, charge.user, charge.owner, charge.amount.currency)
    return (*who, charge.amount.micros, charge.fee.micros, charge.points, charge.customer, charge.created_ms)


def _moving(charge: Charge) -> tuple[object, ...]:
    stands = (charge.state, charge.turn, charge.tries, charge.due_ms, charge.changed_ms)
    more = (charge.method, charge.intent, charge.reason, charge.seller, charge.transfer)
    return (*stands, *more, charge.back, charge.dispute_fee)


def _charge(row: Sequence[Any]) -> Charge:
    id, live, refund, user, owner, currency, amount, fee, points, customer, created, *moving = row
    state, turn, tries, due, changed, *rest = moving
    sums = Money(amount, currency), Money(fee, currency)
    fixed = (id, bool(live), refund, user, owner, *sums, points, customer, created)
    return Charge(*fixed, state, turn, tries, due, changed, *rest)
