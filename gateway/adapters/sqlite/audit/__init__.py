"""Prove the books from their bytes alone.

Nothing here comes from the ledger: the layout of a record, the hash of a batch and the shape of a note are written down
a second time (`layout`), so that a mistake in the ledger cannot hide in its own proof.

What is proved, of one snapshot: the chain holds from its first batch; every request was captured once, was never worth
less than nothing or more than its capture, and was voided only while its answer had not started; no account was
overspent at any commit; every row of `account`, `credit`, `reversal` and `tariff` is what the chain says it is, and
there is no row that the chain does not know; transfers and hourly usage are what their batches sum to, and the books
sum to zero. Whoever can write the file can also compute the chain anew, or drop its end; that shows against the *head*,
the newest hash under a key that is not in the file. Without the key the report says that nobody looked. A head and a
file that are both put back to the same earlier day prove themselves; only a copy elsewhere tells.

**Nothing is written.** While a gateway runs, or a `-wal` file lies there, this is one read transaction like any other
(SQLite may put its `-shm` index beside such a file). Otherwise the file is opened as immutable, which leaves nothing
beside it; should a gateway have started meanwhile, the audit begins again.

**Memory.** Batches are streamed. Sums are kept for every account, and for the newest requests only: when too many are
open, the older half (by the time in their ids) is let go. A record that comes for a request from before that edge is
noted, and a second pass over the file follows just these requests from their beginning. So every request is checked
whole, however late its correction; what grows is the memory, and only with the number of such latecomers.

**Where it is proved.** `database`: the file is a sound database with the tables that we ship. `chain`: every batch
follows from the one before, and what it says can be. `requests`: no request cost less than nothing or more than it was
quoted. `credits` and `books`: the rows are what the chain says. `transfers`: what was folded is what the batches say.
`owners`: nobody was paid what was not due. `head`: the end of the chain is still there. `anchor`: so is what pruned
books begin with. `since`: a shorter audit.
"""

import sqlite3
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path

from gateway.adapters.sqlite.audit.anchor import Anchor
from gateway.adapters.sqlite.audit.books import check_accounts, check_tariffs
from gateway.adapters.sqlite.audit.chain import Chain
from gateway.adapters.sqlite.audit.database import UNREADABLE, Database
from gateway.adapters.sqlite.audit.head import Head
from gateway.adapters.sqlite.audit.owners import check_owners
from gateway.adapters.sqlite.audit.report import FINDINGS_MAX, AuditRefused, Finding, Findings, Report, Total
from gateway.adapters.sqlite.audit.requests import Requests
from gateway.adapters.sqlite.audit.since import Since, Start, start_at
from gateway.adapters.sqlite.audit.transfers import Transfers

__all__ = ["FINDINGS_MAX", "AuditRefused", "Finding", "Report", "Since", "Total", "audit"]


def audit(
    path: Path,
    *,
    head_key: bytes | Sequence[bytes] | None = None,
    head_path: Path | None = None,
    since: Since | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Report:
    """Audit the ledger in `path`. Raises AuditRefused when that is no ledger; whatever else is wrong is a finding.

    `head_key` is the subkey `ledger head` of the sealing key, or of each of them: any may have signed. `progress` is
    told how many batches were read, and of how many. With `since`, earlier batches are taken as they stand.
    """
    keys = None if head_key is None else [head_key] if isinstance(head_key, bytes) else list(head_key)
    head = Head(head_path or path.with_name(path.name + ".head"), keys)
    if not path.is_file():
        raise AuditRefused(f"{path} is not a file" if path.exists() else f"{path} does not exist")
    at_rest = _at_rest(path)
    before = path.stat()
    report = _audit_once(path, head, since, progress, immutable=at_rest)
    after = path.stat()
    if at_rest and (not _at_rest(path) or (after.st_mtime_ns, after.st_size) != (before.st_mtime_ns, before.st_size)):
        report = _audit_once(path, head, since, progress, immutable=False)
    return report


def _at_rest(path: Path) -> bool:
    """Whether nobody has the file open and all of it is in the one file."""
    wal, index = (path.with_name(path.name + ending) for ending in ("-wal", "-shm"))
    return not index.exists() and (not wal.exists() or not wal.stat().st_size)


def _audit_once(
    path: Path,
    head: Head,
    since: Since | None,
    progress: Callable[[int, int], None] | None,
    *,
    immutable: bool,
) -> Report:
    head.read()  # before the snapshot: a head may lag behind the books, never lead them
    address = f"{path.resolve().as_uri()}?mode=ro{'&immutable=1' if immutable else ''}"
    try:
        connection = sqlite3.connect(address, uri=True, isolation_level=None)
    except sqlite3.Error as error:
        raise AuditRefused(f"{path} cannot be opened: {error}") from error
    with closing(connection):
        connection.text_factory = lambda raw: raw.decode("utf-8", "surrogateescape")
        return _prove(path, connection, head, since, progress)


def _prove(
    path: Path,
    connection: sqlite3.Connection,
    head: Head,
    since: Since | None,
    progress: Callable[[int, int], None] | None,
) -> Report:
    """One pass over the batches, and then over the rows that they must agree with."""
    findings = Findings()
    database = Database(path, connection, findings)
    try:
        connection.execute("BEGIN")
        database.check_what_it_is()
    except UNREADABLE as error:
        if getattr(error, "sqlite_errorcode", None) in (sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CANTOPEN):
            raise AuditRefused(f"{path} is not a ledger: {error}") from error
        findings.add("database", None, None, f"cannot be read: {error}")
        stands = "not checked: the database cannot be read"
        return Report(0, 0, 0, 0, {}, 0, 0, stands, tuple(findings.told), findings.more)
    anchor = Anchor(database, findings)
    start = start_at(database, since, findings) if since else Start()
    database.check_soundness(pages=not start.seq)
    if start.seq <= anchor.seq:
        start = anchor.start()
    transfers = Transfers(database, start.seq, anchor.seq, findings)
    requests = Requests(findings, after=start.seq)
    chain = Chain(database, requests, transfers, start, findings)
    credits, reversals = chain.walk(progress)
    again = database.rows("batch", "seq", "first", "started", "payload", order="seq", after=start.seq)
    requests.follow_latecomers(again)
    transfers.finish()
    anchor.check(transfers.anchored, head.keys)
    check_tariffs(database, chain.tariffs, findings)
    totals, accounts = check_accounts(database, chain.accounts, findings)
    left_owners = check_owners(database, findings)
    stands = head.check(connection, findings, last=chain.last)
    return Report(
        batches=chain.batches,
        records=chain.records,
        accounts=accounts,
        credits=credits,
        totals=totals,
        voided=chain.voided,
        voided_micros=chain.voided_micros,
        head=stands,
        findings=tuple(findings.told),
        more=findings.more,
        first_bad_batch=findings.first_bad_batch,
        first_batch=start.seq + 1,
        unproved=start.unproved,
        transfers=transfers.count,
        folded=transfers.folded,
        reversals=reversals,
        left_owners=left_owners,
    )
