"""Payouts, in the records of either kind. Implements `ports.PayoutBook`.

Each step is one statement that compares what it changes: of two who go on with the same payout, or claim the same run,
one changes it, and the other learns that it did not.
"""

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from gateway.core.money import Money
from gateway.core.payouts import SHORT, UNDER_WAY, Payout, PayoutState, SentOn
from gateway.ports import OnHold

Ask = Callable[..., Awaitable[Sequence[Any]]]
_FIXED = "owner, unit, number, micros, account, key, fold, before, created"
_MOVING = "state, changed, due, tries, transfer, back, came_back, error"
_PAYOUT = f"{_FIXED}, {_MOVING}, source, short"
_OPEN = ", ".join(f"'{state}'" for state in UNDER_WAY)
_VALUES = ", ".join(f"${place}" for place in range(1, 20))
_PLAN = f"""INSERT INTO payouts ({_PAYOUT}) SELECT {_VALUES}
WHERE NOT EXISTS (SELECT 1 FROM payout_hold WHERE owner = $1)
ON CONFLICT DO NOTHING RETURNING number"""  # noqa: S608 -- the names of columns, of our own
_TAKE_IN = f"INSERT INTO payouts ({_PAYOUT}) VALUES ({_VALUES}) ON CONFLICT DO NOTHING RETURNING number"  # noqa: S608
_MOVE = """UPDATE payouts SET state = $4, changed = $5, due = $6, tries = $7, transfer = $8, back = $9, came_back = $10,
error = $11, micros = $12, short = $17, account = $18, source = $19 WHERE owner = $1 AND unit = $2 AND number = $3
AND state = $13 AND tries = $14 AND back = $15 AND came_back = $16 RETURNING number"""
_OPEN_ONES = f"""SELECT {_PAYOUT} FROM payouts WHERE (state IN ({_OPEN}) OR came_back < back) AND due <= $1
ORDER BY created, owner, unit, number"""  # noqa: S608
_LIST = f"""SELECT {_PAYOUT} FROM payouts WHERE ($1 = '' OR owner = $1) AND ($2 = '' OR state = $2)
ORDER BY created DESC, owner, unit, number DESC LIMIT $3"""  # noqa: S608
_CLAIM = """INSERT INTO payout_run (owner, slot, until, done) VALUES ($1, $2, $4, $5)
ON CONFLICT (owner) DO UPDATE SET slot = excluded.slot, until = excluded.until, done = excluded.done
WHERE payout_run.slot < excluded.slot OR (payout_run.slot = excluded.slot AND NOT payout_run.done
AND payout_run.until <= $3) RETURNING owner"""
_HOLD = """INSERT INTO payout_hold (owner, reason, since) VALUES ($1, $2, $3)
ON CONFLICT DO NOTHING RETURNING owner"""
_SENT_ON = """INSERT INTO payout_sent_on (id, account, currency, micros, status, arrives, at, error)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT (id) DO UPDATE SET status = excluded.status,
arrives = excluded.arrives, at = excluded.at, error = excluded.error WHERE payout_sent_on.at <= excluded.at
RETURNING id"""


class RecordedPayouts:
    """In a database that has the tables of the migrations `payouts`."""

    def __init__(self, ask: Ask) -> None:
        self._ask = ask

    async def plan_payout(self, payout: Payout) -> bool:
        return bool(await self._ask(_PLAN, *_fixed(payout), *_moving(payout), payout.source, payout.short))

    async def take_in(self, payout: Payout) -> bool:
        return bool(await self._ask(_TAKE_IN, *_fixed(payout), *_moving(payout), payout.source, payout.short))

    async def move_payout(self, before: Payout, after: Payout) -> bool:
        key = (before.owner, before.unit, before.number)
        compared = (before.state, before.tries, before.back, before.came_back)
        more = (after.short, after.account, after.source)
        return bool(await self._ask(_MOVE, *key, *_moving(after), after.micros, *compared, *more))

    async def find_payout(self, owner: str, unit: str, number: int) -> Payout | None:
        query = f"SELECT {_PAYOUT} FROM payouts WHERE owner = $1 AND unit = $2 AND number = $3"  # noqa: S608
        return next((_payout(row) for row in await self._ask(query, owner, unit, number)), None)

    async def payout_of(self, key: str) -> Payout | None:
        query = f"SELECT {_PAYOUT} FROM payouts WHERE key = $1"  # noqa: S608
        return next((_payout(row) for row in await self._ask(query, key)), None)

    async def last_payouts(self) -> dict[tuple[str, str], int]:
        rows = await self._ask("SELECT owner, unit, max(number) AS last FROM payouts GROUP BY owner, unit")
        return {(owner, unit): int(last) for owner, unit, last in rows}

    async def open_payouts(self, now_ms: int) -> list[Payout]:
        return [_payout(row) for row in await self._ask(_OPEN_ONES, now_ms)]

    async def waiting(self) -> int:
        """How many wait for the balance at the provider to cover them."""
        query = f"SELECT count(*) FROM payouts WHERE state = 'sending' AND error = '{SHORT}'"  # noqa: S608 -- a constant
        [(count,)] = await self._ask(query)
        return int(count)

    async def list_payouts(
        self, *, owner: str | None = None, state: PayoutState | None = None, count: int = 100
    ) -> list[Payout]:
        return [_payout(row) for row in await self._ask(_LIST, owner or "", state or "", count)]

    async def hold_owner(self, owner: str, reason: str, *, now_ms: int) -> bool:
        return bool(await self._ask(_HOLD, owner, reason, now_ms))

    async def resume_owner(self, owner: str) -> bool:
        return bool(await self._ask("DELETE FROM payout_hold WHERE owner = $1 RETURNING owner", owner))

    async def holds(self) -> list[OnHold]:
        return [OnHold(*row) for row in await self._ask("SELECT owner, reason, since FROM payout_hold ORDER BY owner")]

    async def claim_run(self, owner: str, slot_ms: int, *, now_ms: int, lease_ms: int) -> bool:
        return bool(await self._ask(_CLAIM, owner, slot_ms, now_ms, now_ms + lease_ms, False))

    async def end_run(self, owner: str, slot_ms: int) -> None:
        query = "UPDATE payout_run SET done = $3 WHERE owner = $1 AND slot = $2 RETURNING owner"
        await self._ask(query, owner, slot_ms, True)

    async def keep_sent_on(self, sent: SentOn) -> None:
        money = (sent.amount.currency, sent.amount.micros)
        await self._ask(_SENT_ON, sent.id, sent.account, *money, sent.status, sent.arrives_ms, sent.at_ms, sent.error)

    async def sent_on(self, accounts: Sequence[str], count: int) -> list[SentOn]:
        marks = ", ".join(f"${place}" for place in range(2, len(accounts) + 2)) or "NULL"
        query = f"""SELECT id, account, currency, micros, status, arrives, at, error FROM payout_sent_on
WHERE account IN ({marks}) ORDER BY at DESC, id LIMIT $1"""  # noqa: S608 -- marks of our own
        return [
            SentOn(id, account, Money(micros, currency), status, arrives, at, error)
            for id, account, currency, micros, status, arrives, at, error in await self._ask(query, count, *accounts)
        ]


def _fixed(payout: Payout) -> tuple[object, ...]:
    money = (payout.owner, payout.unit, payout.number, payout.micros)
    return *money, payout.account, payout.key, payout.fold, payout.before_ms, payout.created_ms


def _moving(payout: Payout) -> tuple[object, ...]:
    when = (payout.state, payout.changed_ms, payout.due_ms, payout.tries)
    return *when, payout.transfer, payout.back, payout.came_back, payout.error


def _payout(row: Sequence[Any]) -> Payout:
    """The columns in the order of the fields."""
    return Payout(*row)
