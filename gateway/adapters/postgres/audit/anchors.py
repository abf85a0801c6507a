"""The anchors: what they prove is that what is left of pruned books goes on from where the pruned part ended.

The batches of a host up to its anchor are gone, and with them what each request did cost. What they summed to is left,
in the transfers and the hourly usage. The hash over everything that was folded, of all hosts in the order of the folds,
stands in the anchor, with the host's tariffs, under the key of the chains' heads. So every balance is still proved to
the micro; with the key, against whoever could write the database but did not hold it.
"""

import hashlib
import hmac
import json
import struct
from collections.abc import Mapping, Sequence

import asyncpg

from gateway.adapters.postgres.audit.report import Findings
from gateway.adapters.postgres.sessions import Connection

_NUMBERS = struct.Struct(">qqqqqqq")


class Anchors:
    """Those of all hosts, by the host's row."""

    def __init__(self, rows: Mapping[int, asyncpg.Record], names: Mapping[int, str]) -> None:
        self.rows = rows
        self._names = names

    @classmethod
    async def read(cls, connection: Connection) -> "Anchors":
        rows = await connection.fetch("SELECT anchor.*, name FROM anchor JOIN keeper ON keeper.id = keeper")
        return cls({row["keeper"]: row for row in rows}, {row["keeper"]: row["name"] for row in rows})

    def seq(self, keeper: int) -> int:
        """The last batch of a host that is gone; 0 if none is."""
        return int(self.rows[keeper]["seq"]) if keeper in self.rows else 0

    @property
    def unproved(self) -> tuple[str, ...]:
        if not self.rows:
            return ()
        told = [
            f"the batches of {name} up to {self.seq(keeper)} were pruned: of what they held, the sums by hour, account"
            " and tariff and the amount of every credit are anchored; what each request did cost is gone"
            for keeper, name in sorted(self._names.items(), key=lambda found: found[1])
        ]
        return *told, "of the credits that came with them, their kind, reason and time"

    async def check(
        self, connection: Connection, folded: Mapping[int, tuple[bytes, int, int]], keys: Sequence[bytes] | None,
        findings: Findings,
    ) -> None:  # fmt: skip
        """That each is signed, and that its fold is the one that is there: `folded` has their hash, host and end."""
        for keeper, row in self.rows.items():
            if folded.get(row["fold"]) != (row["folded"], keeper, row["seq"]):
                findings.add("anchor", keeper, "folded", "is not the hash of what was folded up to there")
            if keys is not None and not await _is_signed(connection, row, keys):
                findings.add("anchor", keeper, "mac", "is not signed by a key of this gateway")


async def _is_signed(connection: Connection, anchor: asyncpg.Record, keys: Sequence[bytes]) -> bool:
    tariffs = await connection.fetch(
        "SELECT * FROM tariff WHERE keeper = $1 AND id <= $2 ORDER BY id", anchor["keeper"], anchor["tariffs"]
    )
    columns = ("id", "route", "owner", "commission_points", "price")
    rows = json.dumps([[row[name] for name in columns] for row in tariffs], separators=(",", ":"))
    numbers = [anchor[name] for name in ("keeper", "seq", "next", "started", "tariffs")]
    signed = b"anchor of a host" + _NUMBERS.pack(*numbers, len(tariffs), anchor["fold"])
    signed += anchor["hash"] + anchor["folded"] + hashlib.sha256(rows.encode()).digest()
    return any(hmac.compare_digest(anchor["mac"], hmac.digest(key, signed, "sha256")) for key in keys)
