"""The anchor: what it proves is that what is left of pruned books goes on from where the pruned part ended.

The batches up to the anchor are gone, and with them what each request did cost. What they summed to is left: in the
transfers and the hourly usage, whose hash the anchor holds, and the tariffs, all under the key of the chain's head. So
every balance is still proved to the micro; with the key, against whoever could write the file but did not hold it.
"""

import hashlib
import hmac
import json
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from gateway.adapters.sqlite.audit.database import UNREADABLE, Database
from gateway.adapters.sqlite.audit.layout import COLUMNS, Row
from gateway.adapters.sqlite.audit.report import Findings
from gateway.adapters.sqlite.audit.since import Account, Start
from gateway.adapters.sqlite.audit.transfers import MONEY_KINDS, OF_OWNERS, caller_of, owners_in

_NUMBERS = struct.Struct(">qqqqq")


@dataclass(frozen=True, slots=True)
class AnchoredStart(Start):
    """What stands before the first batch of pruned books."""

    @property
    def unproved(self) -> tuple[str, ...]:
        return (
            f"the batches up to {self.seq} were pruned: of what they held, the sums by hour, account and tariff and the"
            " amount of every credit are anchored; what each request did cost is gone",
            "of the credits that came with them, their kind, reason and time",
        )


class Anchor:
    """The anchor of the books, if they were ever pruned: `row` is None if not."""

    def __init__(self, database: Database, findings: Findings) -> None:
        self._database = database
        self._findings = findings
        rows = list(database.rows("anchor", order="seq"))
        self.row: Row | None = rows[-1] if rows else None
        for row in rows[:-1]:
            findings.add("anchor", row["seq"], None, "is one of several")

    def start(self) -> Start:
        """Where the audit begins: at the anchor's batch, with the sums of everything up to it."""
        if self.row is None:
            return Start()
        anchor = self.row
        tariffs = {
            row["id"]: row for row in self._database.rows("tariff", order="id") if row["id"] <= anchor["tariffs"]
        }
        return AnchoredStart(
            anchor["seq"], anchor["next"], anchor["started"], anchor["hash"], self._accounts(anchor["seq"]), tariffs
        )

    def _accounts(self, seq: int) -> dict[int, Account]:
        credited: dict[int, int] = {}
        debt: dict[int, int] = {}
        spent: dict[int, int] = {}
        owners, columns = self._owners(), ("fold", "kind", "payer", "payee", "unit", "micros")
        for row in self._database.rows("transfer", *columns, order="fold"):
            if row["fold"] <= seq and row["kind"] in MONEY_KINDS and (id := caller_of(row, owners)):
                kind = OF_OWNERS.get(row["kind"], row["kind"])
                gives = -1 if kind in ("reversal", "repayment") else 1
                owes = kind in ("repayment", "debt")
                credited[id] = credited.get(id, 0) + (0 if owes else gives * row["micros"])
                debt[id] = debt.get(id, 0) + (gives * row["micros"] if owes else 0)
        for row in self._database.rows("usage_hour", "fold", "account", "micros", order="fold"):
            if row["fold"] <= seq:
                spent[row["account"]] = spent.get(row["account"], 0) + row["micros"]
        return {
            row["id"]: Account(
                row["holder"],
                row["unit"],
                row["priority"],
                row["expires"],
                credited=credited[row["id"]],
                spent=spent.get(row["id"], 0),
                debt=debt[row["id"]],
            )
            for row in self._database.rows("account", order="id")
            if row["id"] in credited
        }

    def _owners(self) -> Mapping[tuple[str, str], int]:
        rows = self._database.rows("account", "id", "holder", "unit", order="id")
        return owners_in({row["id"]: (row["holder"], row["unit"]) for row in rows})

    @property
    def seq(self) -> int:
        """The last batch that is gone; 0 if none is."""
        return int(self.row["seq"]) if self.row else 0

    def check(self, folded: bytes | None, keys: Sequence[bytes] | None) -> None:
        """That the anchor is signed, that its fold is the one that is there, and that its credits are."""
        if self.row is None:
            return
        seq = self.row["seq"]
        if folded != self.row["folded"]:
            self._findings.add("anchor", seq, "folded", "is not the hash of what was folded up to there")
        if keys is not None and not self._signed(self.row, keys):
            self._findings.add("anchor", seq, "mac", "is not signed by a key of this gateway")
        self._check_credits(seq)

    def _signed(self, anchor: Row, keys: Sequence[bytes]) -> bool:
        columns = ("id", "route", "owner", "commission_points", "price")
        tariffs = [row for row in self._database.rows("tariff", order="id") if row["id"] <= anchor["tariffs"]]
        rows = json.dumps([[row[name] for name in columns] for row in tariffs], separators=(",", ":"))
        numbers = [anchor[name] for name in ("seq", "next", "started", "tariffs")]
        signed = b"anchor" + _NUMBERS.pack(*numbers, len(tariffs)) + anchor["hash"] + anchor["folded"]
        signed += hashlib.sha256(rows.encode()).digest()
        return any(hmac.compare_digest(anchor["mac"], hmac.digest(key, signed, "sha256")) for key in keys)

    def _check_credits(self, seq: int) -> None:
        """Every credit and reversal that was pruned from the chain against its transfers, and the other way round."""
        for table, whole, part in (("credit", "credit", "repayment"), ("reversal", "reversal", "debt")):
            split = "repaid" if table == "credit" else "micros - taken"
            of_owners = {kind: split for kind, like in OF_OWNERS.items() if like == part}
            self._check_entries(seq, table, {whole: f"micros - ({split})", part: split, **of_owners})

    def _check_entries(self, seq: int, table: str, amounts: Mapping[str, str]) -> None:
        """`amounts` has the kinds of transfers that a table's rows make, and how much each is of."""
        count, owners = 0, self._owners()
        columns = ("fold", "kind", "payer", "payee", "unit", "micros", "cause")
        for row in self._database.rows("transfer", *columns, order="fold"):
            if row["fold"] > seq or row["kind"] not in amounts:
                continue
            count += 1
            ref = row["cause"]
            found = self._entry(table, ref, amounts[row["kind"]])
            if found is None:
                self._findings.add(table, ref, None, "is missing: it was transferred")
            elif found[:2] != (caller_of(row, owners), row["micros"]) or found[2] > row["fold"]:
                self._findings.add(table, ref, None, f"is {found}, and its transfer says otherwise")
        parts = [column for column in COLUMNS[table] if column in ("repaid", "taken")]
        for row in self._database.rows(table, "ref", "micros", "batch", *parts, order="ref"):
            if row["batch"] <= seq:
                count -= (row[parts[0]] != 0) + (row[parts[0]] != row["micros"])
        if count:
            self._findings.add(
                table, None, None, f"of the pruned batches: {abs(count)} too {'few' if count > 0 else 'many'}"
            )

    def _entry(self, table: str, ref: str, amount: str) -> tuple[int, int, int] | None:
        try:
            query = f"SELECT account, {amount}, batch FROM {table} WHERE ref = ?"  # noqa: S608
            row = self._database.sql.execute(query, (ref,)).fetchone()
        except UNREADABLE:
            return None
        return None if row is None else (row[0], row[1], row[2])
