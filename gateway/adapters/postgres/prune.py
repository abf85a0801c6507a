"""Pruning: drops old batches of every host once they are rolled up, and keeps what their chains go on from.

Host by host, as in the books of a single one: what is dropped ends with a run of the fold, so transfers and hourly
usage say all that the batches said but for single requests. First the host's *anchor* is moved: the number and hash of
the last batch that goes, where its record numbers stand, and the hash over everything folded up to there (of all
hosts), signed with the key of the chains' heads. From that moment on the batches up to it count as gone; then they are
deleted, some hundred at a time. A kill in between leaves batches that nobody reads and that the next step deletes.

Kept whatever their age: batches that are not folded; those whose records could still be voided; and the newest few of
each host, in which whoever takes it over finds where it stood.
"""

import hashlib
import hmac
import json
import struct
from collections.abc import Sequence
from dataclasses import dataclass

import asyncpg

from gateway.adapters.postgres.sessions import Connection
from gateway.core.transfers import HOUR_MS
from gateway.ports import BooksRefused

BATCHES_KEPT = 1024
BATCHES_A_STEP = 256
_NUMBERS = struct.Struct(">qqqqqqq")

_END = """SELECT max(last) FROM fold WHERE keeper = $1 AND last > $2 AND last < coalesce((
    SELECT min(last) FROM fold
    WHERE keeper = $1 AND last > $2 AND NOT (done AND hour + $3 <= $4 AND last < $5 AND next - 1 <= $6)
), $5)"""
_STANDS = """SELECT keeper.id, name, coalesce(anchor.seq, 0) AS anchored, newest.seq, newest.started FROM keeper
LEFT JOIN anchor ON anchor.keeper = keeper.id
JOIN LATERAL (SELECT seq, started FROM batch WHERE keeper = keeper.id ORDER BY seq DESC LIMIT 1) AS newest ON true
ORDER BY keeper.id"""
_BEHIND = """SELECT keeper, seq, (SELECT min(seq) FROM batch WHERE batch.keeper = anchor.keeper) AS oldest FROM anchor
WHERE EXISTS (SELECT 1 FROM batch WHERE batch.keeper = anchor.keeper AND batch.seq <= anchor.seq) LIMIT 1"""
_DELETE = "DELETE FROM batch WHERE keeper = $1 AND seq <= $2"
_SIZE = """SELECT count(*) AS batches, coalesce(sum(count), 0)::bigint AS records,
coalesce(sum(length(payload) + length(notes)), 0)::bigint AS bytes, min(at) AS oldest_ms, max(at) AS newest_ms
FROM batch JOIN unnest($1::integer[], $2::bigint[]) AS going (keeper, last)
ON batch.keeper = going.keeper AND seq <= last"""
_ANCHOR = """INSERT INTO anchor VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) ON CONFLICT (keeper) DO UPDATE SET
seq = excluded.seq, next = excluded.next, started = excluded.started, tariffs = excluded.tariffs, hash = excluded.hash,
fold = excluded.fold, folded = excluded.folded, mac = excluded.mac"""


@dataclass(frozen=True, slots=True)
class Prunable:
    """What would be dropped: of each host, by its name, the batches up to `last`."""

    last: dict[str, int]
    batches: int
    records: int
    bytes: int
    oldest_ms: int | None
    newest_ms: int | None


class Prune:
    """Prunes on a connection of its own. The newest of `keys` signs."""

    def __init__(self, keys: Sequence[bytes]) -> None:
        self._keys = keys
        self.batches = 0

    async def step(self, connection: Connection, *, before_ms: int) -> bool:
        """One bounded piece of work; False when there is none. A transaction is open. Raises BooksRefused."""
        if await self._delete(connection):
            return True
        for host in await connection.fetch(_STANDS):
            if (last := await _end(connection, host, before_ms)) is not None:
                await self._check_old_anchor(connection, host)
                await self._write_anchor(connection, host, last)
                return True
        return False

    async def prunable(self, connection: Connection, *, before_ms: int) -> Prunable:
        """What `step` would drop in the end. Reads only."""
        going: dict[int, int] = {}
        names: dict[str, int] = {}
        for host in await connection.fetch(_STANDS):
            if last := await _end(connection, host, before_ms) or host["anchored"]:
                going[host["id"]] = names[host["name"]] = last
        found = await connection.fetchrow(_SIZE, list(going), list(going.values()))
        assert found is not None
        return Prunable(names, *found)

    async def _delete(self, connection: Connection) -> bool:
        """Delete a few of the batches that are behind an anchor."""
        found = await connection.fetchrow(_BEHIND)
        if found is None:
            return False
        last = min(found["seq"], found["oldest"] + BATCHES_A_STEP - 1)
        gone = await connection.execute(_DELETE, found["keeper"], last)
        self.batches += int(gone.rpartition(" ")[2])
        return True

    async def _write_anchor(self, connection: Connection, host: asyncpg.Record, last: int) -> None:
        fold = await connection.fetchrow("SELECT * FROM fold WHERE keeper = $1 AND last = $2", host["id"], last)
        assert fold is not None
        stored = await connection.fetchval("SELECT hash FROM batch WHERE keeper = $1 AND seq = $2", host["id"], last)
        if stored != fold["chain"]:
            raise BooksRefused(
                f"{host['name']}: batch {last} is not the one that was folded; `gateway audit` says more"
            )
        contents = (
            host["id"], last, fold["next"], fold["started"], fold["tariffs"], fold["chain"], fold["number"],
            fold["hash"],
        )  # fmt: skip
        mac = await _signed(self._keys[0], connection, *contents)
        await connection.execute(_ANCHOR, *contents, mac)

    async def sign(self, connection: Connection) -> None:
        """Sign anchors by the newest key that an older one has signed. A transaction is open. Raises BooksRefused."""
        if len(self._keys) == 1 or await self.is_signed(connection, self._keys[:1]):
            return
        for host in await connection.fetch(_STANDS):
            await self._check_old_anchor(connection, host)
            found = await connection.fetchrow("SELECT * FROM anchor WHERE keeper = $1", host["id"])
            if found is not None:
                *contents, _ = found
                mac = await _signed(self._keys[0], connection, *contents)
                await connection.execute("UPDATE anchor SET mac = $2 WHERE keeper = $1", host["id"], mac)

    async def is_signed(self, connection: Connection, keys: Sequence[bytes]) -> bool:
        """Whether one of these keys signed each anchor."""
        anchors = await connection.fetch("SELECT * FROM anchor")
        return all([await _is_signed(connection, anchor, keys) for anchor in anchors])

    async def _check_old_anchor(self, connection: Connection, host: asyncpg.Record) -> None:
        """What we go on from must be ours: signing it anew would bless whatever somebody wrote there."""
        found = await connection.fetchrow("SELECT * FROM anchor WHERE keeper = $1", host["id"])
        if found is not None and not await _is_signed(connection, found, self._keys):
            raise BooksRefused(
                f"{host['name']}: the anchor of the batches that were pruned is not signed by this gateway's key"
            )


async def _end(connection: Connection, host: asyncpg.Record, before_ms: int) -> int | None:
    """The last batch of a host that may go; None if there is nothing more than is gone already."""
    end = host["seq"] - BATCHES_KEPT + 1
    last: int | None = await connection.fetchval(
        _END, host["id"], host["anchored"], HOUR_MS, before_ms, end, host["started"]
    )
    return last


async def _is_signed(connection: Connection, anchor: asyncpg.Record, keys: Sequence[bytes]) -> bool:
    *contents, mac = anchor
    for key in keys:
        if hmac.compare_digest(mac, await _signed(key, connection, *contents)):
            return True
    return False


async def _signed(
    key: bytes,
    connection: Connection,
    keeper: int,
    seq: int,
    next: int,
    started: int,
    tariffs: int,
    hash: bytes,
    fold: int,
    folded: bytes,
) -> bytes:
    known = await connection.fetch(
        "SELECT id, route, owner, commission_points, price FROM tariff WHERE keeper = $1 AND id <= $2 ORDER BY id",
        keeper, tariffs,
    )  # fmt: skip
    rows = json.dumps([list(row) for row in known], separators=(",", ":"))
    numbers = _NUMBERS.pack(keeper, seq, next, started, tariffs, len(known), fold)
    signed = b"anchor of a host" + numbers + hash + folded + hashlib.sha256(rows.encode()).digest()
    return hmac.digest(key, signed, "sha256")
