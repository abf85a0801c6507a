"""The owners: what it proves is that nobody was paid more than was due when it was written down.

A payout says by which hours and up to which fold it was due. The shares of those hours, in the folds up to there, must
cover it and all that had left the owner before it: payouts less what came back, and claw-backs less what was restored.
A later claw-back may make the owner's account negative; nothing else can. Shares, entries and their places in the
chain are proved elsewhere, and that an owner's row is what its entries come to; here it is also that none was ever paid
into. Of what was held for an owner no more leaves than was there.

A payout that was found at the provider after an old copy was put back names its transfer, not hours: what was sold then
may be lost, so it may be more than was due. `gateway payouts reconcile` proves it, and all later ones count it.
"""

import re
from datetime import datetime

from gateway.adapters.sqlite.audit.database import UNREADABLE, Database
from gateway.adapters.sqlite.audit.report import Findings, short

_BASIS = re.compile(r"of hours before (\d{4}-\d\d-\d\dT\d\d:\d\dZ), up to fold (\d{1,18})", re.ASCII)
_FOUND = re.compile(r"sent as [A-Za-z0-9_]{1,255}, and not on record here", re.ASCII)
_SHARES = """
SELECT owner, unit, fold, hour, sum(micros) FROM (
    SELECT payee AS owner, unit, fold, micros FROM transfer WHERE kind = 'share' AND payee GLOB 'owner:*'
    UNION ALL SELECT payer, unit, fold, -micros FROM transfer WHERE kind = 'share' AND payer GLOB 'owner:*'
) JOIN fold ON fold.last = fold GROUP BY owner, unit, fold, hour
"""
_ENTRIES = """
SELECT holder, unit, ref, entry.micros, reason FROM (
    SELECT 0 AS step, ref, account, -micros AS micros, reason, batch FROM credit
    UNION ALL SELECT 1, ref, account, micros, reason, batch FROM reversal
) AS entry JOIN account ON account.id = entry.account WHERE holder GLOB 'owner:*' ORDER BY batch, step, ref
"""
_HELD = """
SELECT id, more FROM (
    SELECT account.id, debt - (
        SELECT coalesce(sum(micros), 0) FROM reversal WHERE reversal.account = account.id
        AND ref GLOB 'payout:*' AND reason GLOB 'sent as *, and not on record here'
    ) AS more FROM account WHERE holder GLOB 'held:*' AND debt > 0
) WHERE more > 0
"""
_ROWS = "SELECT id, unit, credited, spent, debt, priority, expires FROM account WHERE holder GLOB 'owner:*'"


def check_owners(database: Database, findings: Findings) -> dict[str, int]:
    """Every payout against what was due; how much has left all owners, by unit."""
    left: dict[str, int] = {}
    try:
        shares: dict[tuple[str, str], list[tuple[int, int, int]]] = {}
        for owner, unit, fold, hour, micros in database.sql.execute(_SHARES):
            shares.setdefault((owner, unit), []).append((fold, hour, micros))
        gone: dict[tuple[str, str], int] = {}
        for owner, unit, ref, micros, reason in database.sql.execute(_ENTRIES).fetchall():
            gone[owner, unit] = gone.get((owner, unit), 0) + micros
            if micros > 0 and ref.startswith("payout:"):
                _check_payout(ref, reason, gone[owner, unit], shares.get((owner, unit), []), findings)
        for id, more in database.sql.execute(_HELD).fetchall():
            findings.add("account", id, None, f"is of money that was held, and {more} more than that has left")
        for id, unit, credited, spent, debt, priority, expires in database.sql.execute(_ROWS).fetchall():
            left[unit] = left.get(unit, 0) + debt
            if credited or spent or priority or expires:
                findings.add("account", id, None, "is an owner's, and was paid into or spent from")
    except UNREADABLE as error:
        findings.add("account", None, None, f"of owners cannot be read: {error}")
    return left


def _check_payout(ref: str, reason: str, gone: int, shares: list[tuple[int, int, int]], findings: Findings) -> None:
    if _FOUND.fullmatch(reason):
        return
    basis = _BASIS.fullmatch(reason)
    if basis is None:
        findings.add("reversal", ref, "reason", f"is {short(reason)}, which does not say by what it was due")
        return
    before = int(datetime.fromisoformat(basis[1]).timestamp() * 1000)
    due = sum(micros for fold, hour, micros in shares if fold <= int(basis[2]) and hour < before)
    if gone > due:
        what = f"makes {gone} that have left the owner, and {due} were shared by {basis[1]}"
        findings.add("reversal", ref, "micros", what)
