"""Credits and reversals in the books: what arrives, and what is taken back.

The money key decides, over all hosts and in the same transaction as the money: whoever writes it first has made the
entry. Keys are written in one order, then missing accounts by name, then accounts are locked by id: hosts that bring
the same money at once wait for one another and never in a circle.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from gateway.adapters.postgres.sessions import Connection
from gateway.core.ledger import Credit, Draft, Reversal
from gateway.core.money import AMOUNT_MICROS_MAX
from gateway.core.purses import PLAIN, purse_named

_KEYS = """INSERT INTO money_key SELECT ref FROM unnest($1::text[]) AS new (ref) ORDER BY ref
ON CONFLICT DO NOTHING RETURNING ref"""
_NEW_ACCOUNT = """INSERT INTO account (holder, unit, priority, expires)
SELECT $1::text, $2::text, $3::integer, $4::bigint WHERE NOT EXISTS (
    SELECT 1 FROM account
    WHERE holder = $1::text AND unit = $2::text AND priority = $3::integer AND expires = $4::bigint
) ON CONFLICT DO NOTHING RETURNING id"""
_IDS = """SELECT id, name, unit FROM account JOIN unnest($1::text[], $2::text[]) AS wanted (name, unit)
USING (name, unit)"""
_LOCKED = """SELECT id, credited, spent, leased, debt FROM account WHERE id = ANY ($1::bigint[])
ORDER BY id FOR NO KEY UPDATE"""
_MOVE = """UPDATE account SET credited = account.credited + new.credited, debt = account.debt + new.debt
FROM unnest($1::bigint[], $2::bigint[], $3::bigint[]) AS new (id, credited, debt) WHERE account.id = new.id"""

Key = tuple[str, str]
Outcomes = list[bool | None]


@dataclass(slots=True)
class _Account:
    """A row under lock, and what moves it."""

    credited: int
    available: int
    debt: int
    more_credited: int = 0
    more_debt: int = 0

    def move(self, *, credited: int = 0, debt: int = 0) -> None:
        self.credited += credited
        self.available += credited
        self.debt += debt
        self.more_credited += credited
        self.more_debt += debt


@dataclass(slots=True)
class Entries:
    """What became of a draft's credits and reversals, and the notes of those that were made."""

    credited: Outcomes = field(default_factory=list)
    reversed: Outcomes = field(default_factory=list)
    notes: list[dict[str, object]] = field(default_factory=list)
    changed: list[str] = field(default_factory=list)
    """What the keepers are to be told: whose purses can, or cannot, be drawn on now."""

    def tell(self, entry: Credit | Reversal) -> None:
        self.changed.append(json.dumps({"changed": [entry.account, entry.amount.currency]}))


async def write_entries(connection: Connection, keeper: int, draft: Draft) -> Entries:
    """Make the entries whose money key is new. The fence is held."""
    made = Entries()
    everything: list[Credit | Reversal] = [*draft.credits, *(reversal for reversal, _ in draft.reversals)]
    if not everything:
        return made
    first: dict[str, Credit | Reversal] = {}
    for entry in everything:
        first.setdefault(entry.ref, entry)
    moved = {entry.ref: entry.moved for entry in first.values() if isinstance(entry, Reversal) and entry.moved}
    rows = await connection.fetch(_KEYS, [*first, *(credit.ref for credit in moved.values())])
    new = {row["ref"] for row in rows}
    keys = {entry.key for entry in first.values() if entry.ref in new}
    ids, fresh = await _ids(connection, sorted(keys | {credit.key for ref, credit in moved.items() if ref in new}))
    rows = await connection.fetch(_LOCKED, sorted({*ids.values(), *draft.spent}))
    accounts = {
        row["id"]: _Account(row["credited"], row["credited"] - row["spent"] - row["leased"], row["debt"])
        for row in rows
    }
    writer = _Writer(connection, keeper, draft, made, {key: (id, accounts[id]) for key, id in ids.items()})
    for entry in everything:
        mine = entry.ref in new and first[entry.ref] is entry
        outcome = await writer.write(entry) if mine else False
        (made.credited if isinstance(entry, Credit) else made.reversed).append(outcome)
    changed = {id: account for id, account in accounts.items() if account.more_credited or account.more_debt}
    await connection.execute(
        _MOVE,
        list(changed),
        [account.more_credited for account in changed.values()],
        [account.more_debt for account in changed.values()],
    )
    if spare := [id for id in fresh if id not in changed]:
        await connection.execute("DELETE FROM account WHERE id = ANY ($1::bigint[])", spare)
    return made


async def _ids(connection: Connection, keys: Sequence[Key]) -> tuple[dict[Key, int], list[int]]:
    """The rows of these accounts, made where there are none; and those that were made."""
    made = []
    for name, unit in keys:
        holder, purse = purse_named(name)
        id = await connection.fetchval(_NEW_ACCOUNT, holder, unit, purse.priority, purse.expires_ms)
        if id is not None:
            made.append(id)
    rows = await connection.fetch(_IDS, [key[0] for key in keys], [key[1] for key in keys])
    return {(row["name"], row["unit"]): row["id"] for row in rows}, made


class _Writer:
    """Writes one entry after the other."""

    def __init__(
        self,
        connection: Connection,
        keeper: int,
        draft: Draft,
        made: Entries,
        accounts: Mapping[Key, tuple[int, _Account]],
    ) -> None:
        self._accounts = accounts
        self._connection = connection
        self._keeper = keeper
        self._draft = draft
        self._made = made

    async def write(self, entry: Credit | Reversal) -> bool | None:
        """Whether it was made; None if an account cannot hold so much. Unless it was, no key is kept."""
        id, account = self._accounts[entry.key]
        done = await (
            self._credit(entry, id, account) if isinstance(entry, Credit) else self._reverse(entry, id, account)
        )
        if not done:
            refs = [entry.ref, *([entry.moved.ref] if isinstance(entry, Reversal) and entry.moved else [])]
            await self._connection.execute("DELETE FROM money_key WHERE ref = ANY ($1::text[])", refs)
        return done

    async def _credit(self, credit: Credit, id: int, account: _Account) -> bool | None:
        micros = credit.amount.micros
        repaid = min(account.debt, micros)
        if account.credited + micros - repaid > AMOUNT_MICROS_MAX:
            return None
        await self._connection.execute(
            "INSERT INTO credit VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
            credit.ref, id, micros, credit.kind, credit.reason, self._draft.at_ms, self._keeper, self._draft.seq,
            repaid,
        )  # fmt: skip
        account.move(credited=micros - repaid, debt=-repaid)
        self._made.notes.append(credit.note(id, self._draft.at_ms, repaid))
        if repaid or credit.purse != PLAIN:
            self._made.tell(credit)
        return True

    async def _reverse(self, reversal: Reversal, id: int, account: _Account) -> bool | None:
        """What is available goes at once; the rest is debt. What is on loan is not touched."""
        taken = max(0, min(reversal.amount.micros, account.available - account.debt))
        if reversal.at_most and not taken:
            return False
        reversal = reversal.taking(taken)
        micros = reversal.amount.micros
        moved = reversal.moved
        if account.debt + micros - taken > AMOUNT_MICROS_MAX or (moved is not None and not self._has_room_for(moved)):
            return None
        await self._connection.execute(
            "INSERT INTO reversal VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
            reversal.ref, id, micros, taken, reversal.kind, reversal.reason, self._draft.at_ms, self._keeper,
            self._draft.seq,
        )  # fmt: skip
        account.move(credited=-taken, debt=micros - taken)
        self._made.notes.append(reversal.note(id, self._draft.at_ms, taken))
        self._made.tell(reversal)
        if moved is not None:
            await self._credit(moved, *self._accounts[moved.key])
        return True

    def _has_room_for(self, credit: Credit) -> bool:
        _, account = self._accounts[credit.key]
        return account.credited + max(0, credit.amount.micros - account.debt) <= AMOUNT_MICROS_MAX


async def landed(connection: Connection, keeper: int, draft: Draft, seq: int) -> tuple[Outcomes, Outcomes]:
    """Which of a draft's entries were made when it was written as `seq`. One that it names twice was made once."""
    credits = [credit.ref for credit in draft.credits]
    reversals = [reversal.ref for reversal, _ in draft.reversals]
    rows = await connection.fetch(
        "SELECT ref FROM credit WHERE keeper = $1 AND batch = $2 UNION ALL"
        " SELECT ref FROM reversal WHERE keeper = $1 AND batch = $2",
        keeper, seq,
    )  # fmt: skip
    made = {row["ref"] for row in rows}
    return (
        [ref in made and ref not in credits[:place] for place, ref in enumerate(credits)],
        [ref in made and ref not in reversals[:place] for place, ref in enumerate(reversals)],
    )
