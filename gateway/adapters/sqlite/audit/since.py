"""A shorter audit: what was proved before is taken as it stands, and the rest is proved upon it.

Of the batches from a given one on, everything is proved that a whole audit proves: hashes, records, notes, credits, and
that no account was overspent at any commit. Of the earlier ones it proves that their numbers run on without a gap and
that their payloads have the length of their records. Of the whole file it proves the tables' definitions, the sums of
all rows of credits and reversals against the accounts, that nothing is negative, and the head.

What it takes on trust, and says so: the hash of the last earlier batch; the earlier rows of credits, reversals and
tariffs; that an account had spent before what its row says less what its later records sum to; that requests which
begun earlier were captured. And it does not read SQLite's pages for damage. So it proves that nothing went wrong
*since*; somebody who changed earlier books, and made the rows agree, is seen by a whole audit only.
"""

import sqlite3
from collections import Counter
from dataclasses import dataclass, field

from gateway.adapters.sqlite.audit.database import UNREADABLE, Database
from gateway.adapters.sqlite.audit.layout import GENESIS, RECORD, Row, read_note, records_of
from gateway.adapters.sqlite.audit.report import AuditRefused, Findings


@dataclass(frozen=True, slots=True)
class Since:
    """From where on the batches are proved: from a number, or from a time in milliseconds since 1970."""

    batch: int | None = None
    at_ms: int | None = None


@dataclass(slots=True)
class Account:
    """What the chain says of an account."""

    holder: str
    unit: str
    priority: int
    expires: int
    credited: int = 0
    spent: int = 0
    overspent: bool = False
    debt: int = 0


@dataclass(frozen=True, slots=True)
class Start:
    """What stands before the first batch that is proved: nothing, or what is taken from the tables."""

    seq: int = 0
    next: int = 1
    started: int = 0
    hash: bytes = GENESIS
    accounts: dict[int, Account] = field(default_factory=dict)
    tariffs: dict[int, Row] = field(default_factory=dict)

    @property
    def unproved(self) -> tuple[str, ...]:
        """What nobody looked at, in words."""
        if not self.seq:
            return ()
        return (
            f"the hashes, records and notes of the batches up to {self.seq}; that the rows of credits, reversals and"
            " tariffs which came with them are theirs, and that accounts had spent what remains of their rows",
            "changes to requests that were captured in those batches, and whether a later capture repeats one of them",
            "SQLite's pages, for damage",
        )


def start_at(database: Database, since: Since, findings: Findings) -> Start:
    """Take the books as they stand before `since`. Raises AuditRefused when there is nothing before it to stand on."""
    try:
        first = _first_batch(database.sql, since)
        before = database.sql.execute(
            "SELECT seq, first + count, started, hash FROM batch WHERE seq < ? ORDER BY seq DESC LIMIT 1", (first,)
        ).fetchone()
    except UNREADABLE as error:
        raise AuditRefused(f"nobody can tell where to begin: {error}; audit without --since") from error
    if before is None:
        return Start()
    seq, next, started, hash = before
    if [type(value) for value in before] != [int, int, int, bytes]:
        raise AuditRefused(f"batch {seq} is not as the gateway writes one; audit without --since")
    _check_earlier_numbers(database, seq, findings)
    moved, noted = _moved_since(database, seq)
    accounts = _accounts_before(database, seq, moved, findings)
    tariffs = {row["id"]: row for row in database.rows("tariff", order="id") if row["id"] not in noted}
    return Start(seq, next, started, hash, accounts, tariffs)


def _first_batch(connection: sqlite3.Connection, since: Since) -> int:
    """The first batch to prove; the one after the last when there is none so late."""
    if since.batch is not None:
        return since.batch
    query = "SELECT coalesce(min(seq), (SELECT max(seq) + 1 FROM batch), 1) FROM batch WHERE at >= ?"
    return int(connection.execute(query, (since.at_ms,)).fetchone()[0])


def _check_earlier_numbers(database: Database, last: int, findings: Findings) -> None:
    """Read without the payloads: SQLite knows a blob's length without following its pages."""
    query = "SELECT seq, first, count, started, length(payload) FROM batch WHERE seq <= ? ORDER BY seq"
    before = (0, 1, 0)
    try:
        anchor = "SELECT seq, next, started FROM anchor ORDER BY seq DESC LIMIT 1"  # where pruned books begin
        before = database.sql.execute(anchor).fetchone() or before
        for seq, first, count, started, length in database.sql.execute(query, (last,)):
            if not all(type(value) is int for value in (seq, first, count, started, length)):
                findings.add("batch", seq, None, "is not as the gateway writes one")
                continue
            if seq != before[0] + 1:
                findings.add("batch", seq, "seq", f"follows {before[0]}: {seq - before[0] - 1} missing between them")
            elif first != before[1] or started < before[2]:
                findings.add("batch", seq, "first", f"or its `started` does not follow from batch {before[0]}")
            if length != count * RECORD.size:
                findings.add("batch", seq, "count", f"is {count} but its payload has {length} bytes")
            before = (seq, first + count, started)
    except UNREADABLE as error:
        findings.add("batch", before[0] + 1, None, f"cannot be read: {error}")


def _moved_since(database: Database, last: int) -> tuple[Counter[int], set[object]]:
    """What later records sum to by account, and the tariffs that are noted later."""
    moved: Counter[int] = Counter()
    noted: set[object] = set()
    for batch in database.rows("batch", "seq", "first", "payload", "notes", order="seq", after=last):
        for _, (_, _, _, id, _, micros, _, _) in records_of(batch):
            moved[id] += micros
        notes = [read_note(line) for line in batch["notes"].splitlines()]
        noted |= {note["id"] for note in notes if note is not None and note["note"] == "tariff"}
    return moved, noted


def _accounts_before(database: Database, last: int, moved: Counter[int], findings: Findings) -> dict[int, Account]:
    """Credited, debt: what the earlier rows sum to. Spent: the account's row, less what its later records sum to."""
    credited: Counter[int] = Counter()
    debt: Counter[int] = Counter()
    for row in database.rows("credit", "ref", "account", "micros", "repaid", "batch", order="ref"):
        if row["batch"] <= last:
            credited[row["account"]] += row["micros"] - row["repaid"]
            debt[row["account"]] -= row["repaid"]
    for row in database.rows("reversal", "ref", "account", "micros", "taken", "batch", order="ref"):
        if row["batch"] <= last:
            credited[row["account"]] -= row["taken"]
            debt[row["account"]] += row["micros"] - row["taken"]
    accounts = {}
    for row in database.rows("account", order="id"):
        if row["id"] in credited:
            account = Account(row["holder"], row["unit"], row["priority"], row["expires"])
            account.credited, account.debt = credited[row["id"]], debt[row["id"]]
            account.spent = row["spent"] - moved[row["id"]]
            accounts[row["id"]] = account
            if not 0 <= account.spent <= account.credited:
                account.overspent = True
                what = f"is {row['spent']}, so it was {account.spent} of {account.credited} after batch {last}"
                findings.add("account", row["id"], "spent", what)
    for id in sorted(credited.keys() - accounts.keys()):
        findings.add("account", id, None, "is missing: credits name it")
    return accounts
