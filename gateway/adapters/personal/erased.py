"""A person is erased from the records of either kind, by the same table that says what is theirs. See `parts`.

Each statement commits by itself, and what leads to others goes last: rows that name a user before the user, so that
whoever is cut off finds the rest again. Doing it twice changes nothing the second time, and says so by its counts.

An event stays as a row, so that it is never taken for a new one; what it said is replaced by the ids in it, which lead
to those that come later. One that is still to be acted on is left: it may be somebody's money.

Deleted text stays in a file until it is written over, so `scrub` makes the files anew: the one of SQLite, with its log
emptied, or those of PostgreSQL's tables, for its plain VACUUM leaves what it frees as it was. Its own log and backups
are not ours to reach. Only a table's owner may do that there; of events nothing stands in clear, so their rows, which
are many, are only freed.

PostgreSQL carries a deleted row over into the new file while any transaction that began before may still read it: a
`pg_dump`, a session that idles in its transaction, even its own ANALYZE. Whether it did stands in the table's
`relfrozenxid`, which a VACUUM FULL sets to the oldest transaction it had to spare; so the tables that spared one older
than the erasing are made anew once more, and after `PAUSES` are told of. (What `pg_stat_activity` says of sessions is
hidden from a login of few rights.) What ANALYZE notes of the values in a column it keeps elsewhere, where only a
superuser may clean up: for columns of people's words it notes nothing, see the migration `words_unseen`.
"""

import asyncio
import json
from collections.abc import Mapping, Sequence
from typing import Any, Final, Protocol

from gateway.adapters.personal.parts import PARTS, Blanked, Dropped, Kept, Part
from gateway.adapters.personal.told import EVENT, Ask, PersonalRecords, marks
from gateway.core.keyring import Keyring
from gateway.core.personal import ids_in
from gateway.ports import PersonalEvents, Randomness, Unscrubbed

ERASED: Final = "erased"
"""In an event, in place of what it said."""
_OVER = ("done", "ignored")
_FOLLOWS = "changed"
"""A column that tells others of a change: no difference by itself."""
_REDACT = """UPDATE event SET object = $2, key_id = $3, error = NULL WHERE id = $1 AND status IN ('done', 'ignored')
RETURNING id"""
_SECRETS = "UPDATE token SET revoked = $1 WHERE revoked IS NULL AND account IN {} RETURNING account"

_OWNED = """SELECT relname::text FROM pg_class
WHERE relnamespace = current_schema()::regnamespace AND relkind = 'r' AND pg_has_role(relowner, 'USAGE')"""
_NEXT = "SELECT (txid_current() % 4294967296)::text"
_SPARED = """SELECT relname::text FROM pg_class WHERE relnamespace = current_schema()::regnamespace AND relkind = 'r'
AND relname::text = ANY(string_to_array($1, ',')) AND age(relfrozenxid) > age($2::text::xid) ORDER BY 1"""
PAUSES: Final = (0.1, 0.2, 0.5, 1.0, 2.0, 4.0, 8.0)
"""Seconds between one try and the next to outlast the transactions that may still read what was deleted."""
_UNDER_WAY = (
    "SELECT key FROM refill WHERE state = 'asked' AND account IN {} LIMIT 1",
    """SELECT id FROM stripe_transactions WHERE state IN ('planned', 'sending')
AND user_id IN (SELECT id FROM users WHERE account IN {}) LIMIT 1""",
)
"""Charges of which nobody knows yet what became."""
_WAITING = """SELECT id FROM stripe_transactions WHERE state IN ('retrying', 'pending')
AND user_id IN (SELECT id FROM users WHERE account IN {}) ORDER BY id"""
_WAIVE = """UPDATE stripe_transactions SET state = 'failed', reason = 'waiving', turn = turn + 1, changed = $2, due = $2
WHERE id = $1 AND state IN ('retrying', 'pending') RETURNING id"""


class Tended(Protocol):
    """Records of either kind."""

    async def ask(self, statement: str, *values: Any) -> Sequence[Any]: ...

    async def tend(self, statement: str) -> bool:
        """For what may take long; False if it did not get to do it."""


class Erasure:
    """Implements `ports.ErasesPeople`. `shared`: the records are in a database that many hosts share."""

    def __init__(
        self,
        records: Tended,
        keyring: Keyring,
        randomness: Randomness,
        *,
        shared: bool,
        pauses: Sequence[float] = PAUSES,
    ) -> None:
        self._ask: Ask = records.ask
        self._tend = records.tend
        self._keyring = keyring
        self._randomness = randomness
        self._shared = shared
        self._pauses = pauses
        self._told = PersonalRecords(records.ask, keyring)

    async def there_is(self, accounts: Sequence[str]) -> dict[str, int]:
        counts: dict[str, int] = {}
        for name, part in PARTS.items():
            if not isinstance(part.erased, Kept):
                query = f"SELECT count(*) FROM {part.table} WHERE {self._chosen(part, accounts)}"  # noqa: S608 -- of ours
                [(counts[name],)] = await self._ask(query, *accounts)
        return counts

    async def erase(self, accounts: Sequence[str], *, now_ms: int) -> dict[str, int]:
        counts: dict[str, int] = {}
        for name, part in sorted(PARTS.items(), key=lambda one: -one[1].whose.count("SELECT")):
            if not isinstance(part.erased, Kept):
                rows = await self._ask(self._statement(part, accounts, now_ms), *accounts)
                counts[name] = len(rows)
        await self._ask(_SECRETS.replace("{}", marks(accounts, first=2)), now_ms, *accounts)
        return {name: counts[name] for name in PARTS if name in counts}

    async def events(self, accounts: Sequence[str]) -> PersonalEvents:
        told = (await self._told.of(accounts))["events"]
        open = [one["id"] for one in told if one["status"] not in _OVER]
        over = {one["id"]: one["object"] for one in told if one["status"] in _OVER and ERASED not in one["object"]}
        customers = {id for one in told for id in ids_in(one["object"]) if id.startswith("cus_")}
        return PersonalEvents(over, open, sorted(customers))

    async def redact(self, events: Mapping[str, Mapping[str, Any]]) -> int:
        redacted = 0
        for id, content in events.items():
            left = {"id": content.get("id"), "object": content.get("object"), ERASED: sorted(ids_in(content))}
            sealed = self._keyring.seal(EVENT, json.dumps(left).encode(), nonce=self._randomness.bytes(12))
            redacted += len(await self._ask(_REDACT, id, sealed[1], sealed[0]))
        return redacted

    async def customers(self, accounts: Sequence[str]) -> list[str]:
        found: set[str] = set()
        for part in PARTS.values():
            if "customer" in part.columns:
                whose = part.whose.replace("{}", marks(accounts))
                query = f"SELECT customer FROM {part.table} WHERE customer IS NOT NULL AND {whose}"  # noqa: S608
                found |= {row[0] for row in await self._ask(query, *accounts)}
        return sorted(found)

    async def is_charged(self, accounts: Sequence[str]) -> bool:
        whose = marks(accounts)
        return any([await self._ask(query.replace("{}", whose), *accounts) for query in _UNDER_WAY])

    async def waiting_charges(self, accounts: Sequence[str]) -> list[str]:
        return [row[0] for row in await self._ask(_WAITING.replace("{}", marks(accounts)), *accounts)]

    async def waive_charge(self, id: str, *, now_ms: int) -> bool:
        return bool(await self._ask(_WAIVE, id, now_ms))

    async def scrub(self) -> Unscrubbed:
        if not self._shared:
            await self._tend("VACUUM")
            await self._ask("PRAGMA wal_checkpoint(TRUNCATE)")
            return Unscrubbed()
        tables = sorted({part.table for part in PARTS.values() if not isinstance(part.erased, Kept)} - {EVENT})
        owned = {name for (name,) in await self._ask(_OWNED)}
        held = await self._made_anew([table for table in tables if table in owned])
        if EVENT in owned:
            await self._tend(f"VACUUM {EVENT}")
        return Unscrubbed(tuple(table for table in tables if table not in owned), held)

    async def _made_anew(self, tables: Sequence[str]) -> tuple[str, ...]:
        """Those whose new file still has what was deleted, for somebody's older transaction."""
        [(erased,)] = await self._ask(_NEXT)
        for pause in (*self._pauses, None):
            for table in tables:
                await self._tend(f"VACUUM FULL {table}")  # or others hold it just now: then it is as it was
            tables = [name for (name,) in await self._ask(_SPARED, ",".join(tables), erased)]
            if not tables or pause is None:
                break
            await asyncio.sleep(pause)
        return tuple(tables)

    def _chosen(self, part: Part, accounts: Sequence[str]) -> str:
        """The rows of which something is to be erased, as a condition."""
        whose = part.whose.replace("{}", marks(accounts))
        if not isinstance(part.erased, Blanked):
            return whose
        differs = "IS DISTINCT FROM" if self._shared else "IS NOT"
        others = [f"{name} {differs} {self._value(to)}" for name, to in part.erased.columns.items() if name != _FOLLOWS]
        return f"({whose}) AND ({' OR '.join(others)})"

    def _statement(self, part: Part, accounts: Sequence[str], now_ms: int) -> str:
        chosen = self._chosen(part, accounts)
        if isinstance(part.erased, Dropped):
            return f"DELETE FROM {part.table} WHERE {chosen} RETURNING 1"  # noqa: S608 -- of ours
        assert isinstance(part.erased, Blanked)
        values = [f"{name} = {self._value(to, now_ms)}" for name, to in part.erased.columns.items()]
        return f"UPDATE {part.table} SET {', '.join(values)} WHERE {chosen} RETURNING 1"  # noqa: S608 -- of ours

    def _value(self, written: str, now_ms: int = 0) -> str:
        of_kind = {"{blob}": "bytea", "{no}": "false"} if self._shared else {"{blob}": "BLOB", "{no}": "0"}
        for mark, said in {**of_kind, "{now}": str(now_ms)}.items():
            written = written.replace(mark, said)
        return written


def kept() -> dict[str, list[str]]:
    """What stays, by why."""
    why: dict[str, list[str]] = {}
    for name, part in PARTS.items():
        if not isinstance(part.erased, Dropped):
            why.setdefault(part.erased.why, []).append(name)
    return why
