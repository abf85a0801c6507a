"""What a host left behind that is gone: its loans go back, and what it never answered is voided.

When to look is a matter of its heartbeat: who looks has beaten a number of times itself without hearing one, so a
database that stood still for a while kills nobody. Whether it is so is decided by the row: the epoch is bumped under
its lock, and whoever comes back late is fenced. Then everything is done that its own recovery would have done, in one
transaction.
"""

import asyncpg

from gateway.adapters.postgres.books import read_tail
from gateway.adapters.postgres.sessions import Connection
from gateway.core.ledger import Draft, chain, voids

_CLAIM = """UPDATE keeper SET epoch = epoch + 1, instance = ''
WHERE id = $1 AND epoch = $2 AND heartbeat = $3 AND instance <> '' RETURNING id"""
_VOID = """UPDATE account SET spent = account.spent + due.micros
FROM unnest($1::bigint[], $2::bigint[]) AS due (id, micros) WHERE account.id = due.id"""


async def reap(connection: Connection, seen: asyncpg.Record, *, at_ms: int) -> tuple[int, int] | None:
    """Take over from a keeper that was seen silent: requests and micros voided; None if it was not so any more."""
    async with connection.transaction():
        if await connection.fetchval(_CLAIM, seen["id"], seen["epoch"], seen["heartbeat"]) is None:
            return None
        await connection.execute("SELECT take_back($1)", seen["id"])
        tail, last = await read_tail(connection, seen["id"])
        draft = Draft(seq=tail.seq + 1, first=tail.first, at_ms=at_ms)
        for record in voids(tail.unstarted):
            draft.add(record)
        if not draft.count:
            return 0, 0
        draft.started = draft.first + draft.count - 1
        rows = sorted(draft.spent)
        await connection.execute("SELECT 1 FROM account WHERE id = ANY ($1) ORDER BY id FOR NO KEY UPDATE", rows)
        await connection.execute(_VOID, rows, [draft.spent[row] for row in rows])
        await connection.execute(
            "INSERT INTO batch VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
            seen["id"], draft.seq, draft.at_ms, draft.first, draft.count, draft.started, bytes(draft.payload), "",
            chain(last, draft, ""),
        )  # fmt: skip
    return draft.count, -sum(draft.spent.values())
