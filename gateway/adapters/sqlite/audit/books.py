"""The books: what it proves is that every row of `account` and `tariff` is what the chain says it is.

A balance is the sum of its credits less that of its reversals and its records, to the micro; no row is there that the
chain does not know, and none is missing. (The rows of credits and reversals were compared on the way through the chain,
by `credits`.)
"""

from collections.abc import Mapping

from gateway.adapters.sqlite.audit.database import Database
from gateway.adapters.sqlite.audit.layout import Row
from gateway.adapters.sqlite.audit.report import Findings, Total
from gateway.adapters.sqlite.audit.since import Account


def check_tariffs(database: Database, chain: Mapping[int, Row], findings: Findings) -> None:
    """The tariffs that records were priced by, against the chain's notes."""
    found = {row["id"]: row for row in database.rows("tariff", order="id")}
    for id, row in found.items():
        noted = chain.get(id)
        if noted is None:
            findings.add("tariff", id, None, "is not in the chain")
            continue
        for column, value in noted.items():
            if row[column] != value:
                findings.differs("tariff", id, column, row[column], value)
    for id in chain.keys() - found.keys():
        findings.add("tariff", id, None, "is missing: the chain notes it")


def check_accounts(
    database: Database, chain: Mapping[int, Account], findings: Findings
) -> tuple[Mapping[str, Total], int]:
    """Balances against the sums of the chain; totals of callers by unit, and how many accounts there are."""
    totals: dict[str, Total] = {}
    seen = set()
    for row in database.rows("account", order="id"):
        seen.add(row["id"])
        if "batch" not in database.unread:
            _check_account(row, chain.get(row["id"]), findings)
        if row["holder"].startswith("owner:"):
            continue  # what has left owners is no caller's debt
        before = totals.get(row["unit"], Total(0, 0, 0))
        credited, spent = before.credited + row["credited"], before.spent + row["spent"]
        available = before.available + row["credited"] - row["spent"] - row["leased"] - row["debt"]
        totals[row["unit"]] = Total(credited, spent, available, before.debt + row["debt"])
    for id in sorted(chain.keys() - seen):
        findings.add("account", id, None, "is missing: the chain credits it")
    if "batch" in database.unread:
        findings.add("account", None, None, "was not compared with a chain that cannot be read to its end")
    return totals, len(seen)


def _check_account(row: Row, account: Account | None, findings: Findings) -> None:
    id = row["id"]
    if row["leased"]:
        findings.add("account", id, "leased", f"is {row['leased']}, and nothing writes it")
    if row["credited"] - row["spent"] - row["leased"] < 0:
        findings.add("account", id, None, "has less than nothing available")
    if account is None:
        findings.add("account", id, None, "was made by no credit")
        return
    for column in ("holder", "unit", "priority", "expires"):
        if row[column] != (value := getattr(account, column)):
            findings.differs("account", id, column, row[column], value)
    if row["credited"] != account.credited:
        what = f"is {row['credited']} but its credits sum to {account.credited}"
        findings.add("account", id, "credited", what)
    if row["debt"] != account.debt:
        findings.add("account", id, "debt", f"is {row['debt']} but its reversals and credits leave {account.debt}")
    if row["spent"] != account.spent:
        findings.add("account", id, "spent", f"is {row['spent']} but its records sum to {account.spent}")
