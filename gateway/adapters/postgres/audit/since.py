"""Where the chains are taken up: at their first batch, where they were anchored, or later in a shorter audit.

**A shorter audit** proves of the batches since what a whole one proves: hashes, records, notes, credits and refunds. Of
the earlier ones it proves that their numbers run on without a gap and that their payloads have the length of their
records. Of all of the books it proves the sums of all rows of credits and reversals against the accounts, that nobody
has less than nothing, that leases are what they sum to, that money keys are, and the head.

What it takes on trust, and says so: the hash of the last earlier batch of each chain; the earlier rows of credits,
reversals, refunds and tariffs; that an account had spent before what its row says less what its later records sum to;
that requests which began earlier were captured; and double entry, which is followed from its beginning or not at all.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

import asyncpg

from gateway.adapters.postgres.audit.anchors import Anchors
from gateway.adapters.postgres.audit.report import Findings
from gateway.adapters.postgres.sessions import Connection

_GENESIS = bytes(32)
_FIRST = "SELECT min(seq) FROM batch WHERE keeper = $1 AND at >= $2"
_BEFORE = """SELECT seq, first + count AS next, started, hash FROM batch
WHERE keeper = $1 AND ($2::bigint IS NULL OR seq < $2) ORDER BY seq DESC LIMIT 1"""
_BROKEN = """SELECT seq, before FROM (
    SELECT seq, first, count, started, octet_length(payload) AS bytes, coalesce(lag(seq) OVER chain, $3) AS before,
        coalesce(lag(first + count) OVER chain, $4) AS next, coalesce(lag(started) OVER chain, 0) AS earlier
    FROM batch WHERE keeper = $1 AND seq <= $2 WINDOW chain AS (ORDER BY seq)
) AS batch WHERE seq <> before + 1 OR first <> next OR started < earlier OR bytes <> count * 48
ORDER BY seq LIMIT 100"""
_ENTRIES = """SELECT account, micros - repaid AS credited, -repaid AS debt, keeper, batch FROM credit
UNION ALL SELECT account, -taken, micros - taken, keeper, batch FROM reversal"""
_AT_ONCE = 1000


@dataclass(frozen=True, slots=True)
class Since:
    """From where on the batches are proved: from a number of every chain, or from a time in ms since 1970."""

    batch: int | None = None
    at_ms: int | None = None


@dataclass(frozen=True, slots=True)
class Start:
    """What stands before the first batch of a chain that is proved."""

    seq: int = 0
    next: int = 1
    started: int = 0
    hash: bytes = _GENESIS


@dataclass(slots=True)
class Moved:
    """What entries that came before made of an account."""

    credited: int = 0
    debt: int = 0


@dataclass(slots=True)
class Starts:
    """Those of all chains, by the host's row. `short`: some of them are later than they need be."""

    by_keeper: Mapping[int, Start]
    short: bool = False
    moved: dict[int, Moved] = field(default_factory=dict)
    anchored: tuple[str, ...] = ()

    def seq(self, keeper: int) -> int:
        """The last batch of a chain that is not proved; 0 if all are."""
        return self.by_keeper[keeper].seq if keeper in self.by_keeper else 0

    @property
    def first(self) -> int:
        return 1 + min((start.seq for start in self.by_keeper.values()), default=0)

    @property
    def unproved(self) -> tuple[str, ...]:
        """What nobody looked at, in words."""
        if not self.short:
            return self.anchored
        return (
            "the hashes, records and notes of the earlier batches; that the rows of credits, reversals, refunds and"
            " tariffs which came with them are theirs, and that accounts had spent what remains of their rows",
            "changes to requests that were captured in those batches, and whether a later capture repeats one of them",
            "double entry: transfers, hourly usage and what anchors say of them",
        )


async def take_up(connection: Connection, since: Since | None, anchors: Anchors, findings: Findings) -> Starts:
    """Where each chain is taken up; of a shorter audit, with what stood before, and its numbers looked at."""
    keepers = [row["id"] for row in await connection.fetch("SELECT id FROM keeper ORDER BY id")]
    whole = {keeper: _anchored(anchors.rows.get(keeper)) for keeper in keepers}
    if since is None:
        return Starts(whole, anchored=anchors.unproved)
    later = {keeper: await _start(connection, keeper, since, whole[keeper]) for keeper in keepers}
    if later == whole:
        return Starts(whole, anchored=anchors.unproved)
    starts = Starts(later, short=True)
    for keeper in keepers:
        before, last = whole[keeper], later[keeper].seq
        for row in await connection.fetch(_BROKEN, keeper, last, before.seq, before.next):
            what = f"does not follow from {row['before']}, or its payload has not the length of its records"
            findings.bad_batch(row["seq"], f"{keeper}/{row['seq']}", what)
    async for row in connection.cursor(_ENTRIES, prefetch=_AT_ONCE):
        if row["batch"] <= starts.seq(row["keeper"]):
            moved = starts.moved.setdefault(row["account"], Moved())
            moved.credited += row["credited"]
            moved.debt += row["debt"]
    return starts


def _anchored(anchor: asyncpg.Record | None) -> Start:
    return Start() if anchor is None else Start(anchor["seq"], anchor["next"], anchor["started"], anchor["hash"])


async def _start(connection: Connection, keeper: int, since: Since, earliest: Start) -> Start:
    first = since.batch if since.batch is not None else await connection.fetchval(_FIRST, keeper, since.at_ms)
    row = await connection.fetchrow(_BEFORE, keeper, first)
    return earliest if row is None or row["seq"] <= earliest.seq else Start(*row)
