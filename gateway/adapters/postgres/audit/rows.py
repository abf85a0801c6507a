"""The rows: what it proves is that the tables say what the chains say, and nothing else."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from gateway.adapters.postgres.audit.report import Findings, Total
from gateway.adapters.postgres.sessions import Connection

_AT_ONCE = 500


@dataclass(slots=True)
class Account:
    """What the chains make of an account."""

    credited: int = 0
    spent: int = 0
    debt: int = 0


async def check_keys(connection: Connection, findings: Findings) -> None:
    """Every entry has its money key, and every key its one entry."""
    query = """SELECT ref, count(*) FILTER (WHERE entry) AS entries, count(*) FILTER (WHERE NOT entry) AS keys
    FROM (SELECT ref, true AS entry FROM credit UNION ALL SELECT ref, true FROM reversal
          UNION ALL SELECT ref, false FROM money_key) AS every
    GROUP BY ref HAVING count(*) FILTER (WHERE entry) <> 1 OR count(*) FILTER (WHERE NOT entry) <> 1"""
    for row in await connection.fetch(query):
        findings.add("money_key", row["ref"], None, f"has {row['entries']} entries and {row['keys']} keys")


async def check_tariffs(
    connection: Connection, tariffs: Mapping[tuple[int, int], Mapping[str, Any]], findings: Findings, *, short: bool
) -> None:
    """By host and number, as the chains note them; empty where one was used that an earlier batch may note."""
    found = {(row["keeper"], row["id"]): row for row in await connection.fetch("SELECT * FROM tariff")}
    for (keeper, id), noted in tariffs.items():
        row = found.pop((keeper, id), None)
        earlier = short and not noted  # an earlier batch may note it
        if row is None or any(row[column] != value for column, value in noted.items()) or not (noted or earlier):
            findings.add("tariff", f"{keeper}/{id}", None, "is not what the chain notes")
    for keeper, id in () if short else found:
        findings.add("tariff", f"{keeper}/{id}", None, "is not in the chain")


async def check_accounts(
    connection: Connection, accounts: dict[int, Account], findings: Findings, *, short: bool
) -> tuple[Mapping[str, Total], int]:
    """The rows against what the chains make of them; those of callers together by unit, and how many rows there are."""
    totals: dict[str, Total] = {}
    count = 0
    async for row in connection.cursor("SELECT * FROM account ORDER BY id", prefetch=_AT_ONCE):
        count += 1
        noted = accounts.pop(row["id"], Account())
        spent = row["spent"] if short else noted.spent
        for column, value in (("credited", noted.credited), ("spent", spent), ("debt", noted.debt)):
            if row[column] != value:
                findings.add("account", row["id"], column, f"is {row[column]} but the chains say {value}")
        left = row["credited"] - row["spent"] - row["leased"]
        if left < 0 or min(row["credited"], row["spent"], row["leased"], row["debt"]) < 0:
            findings.add("account", row["id"], None, "has less than nothing available")
        if row["holder"].startswith("owner:"):
            continue  # what has left owners is no caller's debt
        before = totals.get(row["unit"], Total(0, 0, 0))
        totals[row["unit"]] = Total(
            before.credited + row["credited"],
            before.spent + row["spent"],
            before.available + row["credited"] - row["spent"] - row["debt"],
            before.debt + row["debt"],
        )
    for id in accounts:
        findings.add("account", id, None, "is missing: a chain moves it")
    return totals, count


async def check_leases(connection: Connection, findings: Findings) -> None:
    """What is leased of an account is what its leases sum to."""
    query = """SELECT account.id, leased, coalesce(sum(lease.micros), 0)::bigint AS leases
    FROM account LEFT JOIN lease ON lease.account = account.id GROUP BY account.id
    HAVING leased <> coalesce(sum(lease.micros), 0)"""
    for row in await connection.fetch(query):
        findings.add("account", row["id"], "leased", f"is {row['leased']} but its leases sum to {row['leases']}")
    for row in await connection.fetch("SELECT keeper, account, micros FROM lease WHERE micros < 0"):
        findings.add("lease", f"{row['keeper']}/{row['account']}", "micros", f"is {row['micros']}")
