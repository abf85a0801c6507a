"""The owners: what it proves is that nobody was paid more than was due when it was written down.

A payout says by which hours and up to which fold it was due. The shares of those hours, in the folds up to there, must
cover it, all payouts of lower numbers, less what of them came back, and what was clawed back by then. Entries of
several hosts are put in order by their times, and clocks differ: within a minute, the order is what speaks for the
books. A later claw-back may make the owner's account negative; nothing else can. Shares, entries and their places in
the chains are proved elsewhere, and that an owner's row is what its entries come to; here it is also that none was ever
paid into. Of what was held for an owner no more leaves than was there.

A payout that was found at the provider after an old copy was put back names its transfer, not hours: what was sold then
may be lost, so it may be more than was due. `gateway payouts reconcile` proves it, and all later ones count it.
"""

import re
from dataclasses import dataclass, field
from datetime import datetime

from gateway.adapters.postgres.audit.report import Findings
from gateway.adapters.postgres.sessions import Connection

_BASIS = re.compile(r"of hours before (\d{4}-\d\d-\d\dT\d\d:\d\dZ), up to fold (\d{1,18})", re.ASCII)
_FOUND = re.compile(r"sent as [A-Za-z0-9_]{1,255}, and not on record here", re.ASCII)
_SKEW_MS = 60_000
_SHARES = """
SELECT owner, unit, moved.fold, hour, sum(micros)::bigint AS micros FROM (
    SELECT payee AS owner, unit, fold, micros FROM transfer WHERE kind = 'share' AND payee LIKE 'owner:%'
    UNION ALL SELECT payer, unit, fold, -micros FROM transfer WHERE kind = 'share' AND payer LIKE 'owner:%'
) AS moved JOIN fold ON fold.number = moved.fold GROUP BY owner, unit, moved.fold, hour
"""
_ENTRIES = """
SELECT holder, unit, ref, entry.micros, reason, at FROM (
    SELECT ref, account, -micros AS micros, reason, at FROM credit
    UNION ALL SELECT ref, account, micros, reason, at FROM reversal
) AS entry JOIN account ON account.id = entry.account WHERE holder LIKE 'owner:%'
"""
_HELD = """
SELECT id, more FROM (
    SELECT account.id, debt - (
        SELECT coalesce(sum(micros), 0)::bigint FROM reversal WHERE reversal.account = account.id
        AND ref LIKE 'payout:%' AND reason LIKE 'sent as %, and not on record here'
    ) AS more FROM account WHERE holder LIKE 'held:%' AND debt > 0
) AS left_more WHERE more > 0
"""
_ROWS = "SELECT id, unit, credited, spent, debt, priority, expires FROM account WHERE holder LIKE 'owner:%'"


@dataclass(slots=True)
class _Owner:
    """Of one owner and unit: shares by fold and hour, payouts by number, and what else went or came back when."""

    shares: list[tuple[int, int, int]] = field(default_factory=list)
    payouts: dict[int, tuple[str, int, str, int]] = field(default_factory=dict)
    others: list[tuple[int, int]] = field(default_factory=list)


async def check_owners(connection: Connection, findings: Findings) -> dict[str, int]:
    """Every payout against what was due; how much has left all owners, by unit."""
    owners: dict[tuple[str, str], _Owner] = {}
    for row in await connection.fetch(_SHARES):
        owner = owners.setdefault((row["owner"], row["unit"]), _Owner())
        owner.shares.append((row["fold"], row["hour"], row["micros"]))
    for row in await connection.fetch(_ENTRIES):
        owner = owners.setdefault((row["holder"], row["unit"]), _Owner())
        number = row["ref"].rpartition(":")[2]
        if row["micros"] > 0 and row["ref"].startswith("payout:") and number.isdecimal():
            owner.payouts[int(number)] = row["ref"], row["micros"], row["reason"], row["at"]
        else:
            owner.others.append((row["at"], row["micros"]))
    for owner in owners.values():
        _check(owner, findings)
    left: dict[str, int] = {}
    for row in await connection.fetch(_HELD):
        more = f"is of money that was held, and {row['more']} more than that has left"
        findings.add("account", row["id"], None, more)
    for row in await connection.fetch(_ROWS):
        left[row["unit"]] = left.get(row["unit"], 0) + row["debt"]
        if row["credited"] or row["spent"] or row["priority"] or row["expires"]:
            findings.add("account", row["id"], None, "is an owner's, and was paid into or spent from")
    return left


def _check(owner: _Owner, findings: Findings) -> None:
    paid = 0
    for _, (ref, micros, reason, at) in sorted(owner.payouts.items()):
        paid += micros
        if _FOUND.fullmatch(reason):
            continue
        basis = _BASIS.fullmatch(reason)
        if basis is None:
            findings.add("reversal", ref, "reason", f"is {reason[:80]}, which does not say by what it was due")
            continue
        others = sum(more for when, more in owner.others if when <= at + (_SKEW_MS if more < 0 else -_SKEW_MS))
        before = int(datetime.fromisoformat(basis[1]).timestamp() * 1000)
        due = sum(share for fold, hour, share in owner.shares if fold <= int(basis[2]) and hour < before)
        if paid + others > due:
            what = f"makes {paid + others} that have left the owner, and {due} were shared by {basis[1]}"
            findings.add("reversal", ref, "micros", what)
