"""Pruning: drops old batches once they are rolled up, and keeps what the chain goes on from.

What is dropped ends with a run of the fold, so transfers and hourly usage say all that the batches said but for single
requests. First the *anchor* is moved: the number and hash of the last batch that goes, where the record numbers stand,
and the hash over everything folded up to there (which is where the sums of every account are), signed with the key of
the chain's head. From that moment on the batches up to it count as gone; then they are deleted, some hundred at a time.
A kill in between leaves batches that nobody reads and that the next step deletes.

Kept whatever their age: batches that are not folded; those whose records could still be voided; those that the head may
name after a crash; and the newest few, in which a keeper that takes the books over finds where its workers stood.
"""

import hashlib
import hmac
import json
import sqlite3
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from gateway.core.transfers import HOUR_MS
from gateway.ports import BooksRefused

BATCHES_KEPT = 1024
BATCHES_A_STEP = 256
_NUMBERS = struct.Struct(">qqqqq")

_END = """
SELECT max(last) FROM fold WHERE last > :after AND last < coalesce((
    SELECT min(last) FROM fold
    WHERE last > :after AND NOT (done AND hour + :hour <= :before AND last < :end AND next - 1 <= :started)
), :end)
"""


@dataclass(frozen=True, slots=True)
class Prunable:
    """What would be dropped: the batches up to `last`."""

    last: int
    batches: int
    records: int
    bytes: int
    oldest_ms: int | None
    newest_ms: int | None


_ANCHOR = "SELECT seq, next, started, tariffs, hash, folded, mac FROM anchor"


class Prune:
    """Prunes on connections of one thread; the connection is in autocommit mode. The newest of `keys` signs."""

    def __init__(self, path: Path, keys: Sequence[bytes]) -> None:
        self._head = path.with_name(path.name + ".head")
        self._keys = keys
        self.batches = 0

    def step(self, sql: sqlite3.Connection, *, before_ms: int) -> bool:
        """One bounded piece of work; False when there is none. Raises BooksRefused, sqlite3.Error."""
        if self._delete(sql):
            return True
        last = self._end(sql, before_ms)
        if last is None:
            return False
        self._anchor(sql, last, before_ms)
        return True

    def prunable(self, sql: sqlite3.Connection, *, before_ms: int) -> Prunable:
        """What `step` would drop in the end. Reads only."""
        last = self._end(sql, before_ms) or anchored(sql)
        found = sql.execute(
            "SELECT count(*), coalesce(sum(count), 0), coalesce(sum(length(payload) + length(notes)), 0), min(at),"
            " max(at) FROM batch WHERE seq <= ?",
            (last,),
        ).fetchone()
        return Prunable(last, *found)

    def _delete(self, sql: sqlite3.Connection) -> bool:
        """Delete a few of the batches that are behind the anchor."""
        (first,) = sql.execute("SELECT min(seq) FROM batch").fetchone()
        end = anchored(sql)
        if first is None or first > end:
            return False
        gone = sql.execute("DELETE FROM batch WHERE seq <= ?", (min(end, first + BATCHES_A_STEP - 1),))
        self.batches += gone.rowcount
        return True

    def _end(self, sql: sqlite3.Connection, before_ms: int) -> int | None:
        """The last batch that may go; None if there is nothing more than is gone already."""
        newest = sql.execute("SELECT seq, started FROM batch ORDER BY seq DESC LIMIT 1").fetchone()
        if newest is None:
            return None
        seq, started = newest
        bounds = {
            "after": anchored(sql),
            "end": min(seq - BATCHES_KEPT + 1, self._vouched_for()),
            "before": before_ms,
            "started": started,
            "hour": HOUR_MS,
        }
        (last,) = sql.execute(_END, bounds).fetchone()
        return None if last is None else int(last)

    def _vouched_for(self) -> int:
        """The batch that the head names: it must stay."""
        try:
            return int(json.loads(self._head.read_text())["seq"])
        except (OSError, ValueError, KeyError, TypeError):
            raise BooksRefused(f"{self._head} cannot be read, and what it vouches for must not be dropped") from None

    def _anchor(self, sql: sqlite3.Connection, last: int, before_ms: int) -> None:
        sql.execute("BEGIN IMMEDIATE")
        try:
            if self._end(sql, before_ms) == last:  # else another program was faster
                self._check_old_anchor(sql)
                self._write_anchor(sql, last)
            sql.execute("COMMIT")
        except BaseException:
            if sql.in_transaction:
                sql.execute("ROLLBACK")
            raise

    def _write_anchor(self, sql: sqlite3.Connection, last: int) -> None:
        next, started, tariffs, chain, folded = sql.execute(
            "SELECT next, started, tariffs, chain, hash FROM fold WHERE last = ?", (last,)
        ).fetchone()
        (stored,) = sql.execute("SELECT hash FROM batch WHERE seq = ?", (last,)).fetchone() or (None,)
        if stored != chain:
            raise BooksRefused(f"batch {last} is not the one that was folded; `gateway audit` says more")
        mac = _signed(self._keys[0], sql, last, next, started, tariffs, chain, folded)
        sql.execute("DELETE FROM anchor")
        sql.execute(
            "INSERT INTO anchor VALUES (?, ?, ?, ?, ?, ?, ?)", (last, next, started, tariffs, chain, folded, mac)
        )

    def sign(self, sql: sqlite3.Connection) -> None:
        """Sign the anchor by the newest key, if an older one has."""
        if len(self._keys) == 1 or self.is_signed(sql, self._keys[:1]):
            return
        sql.execute("BEGIN IMMEDIATE")
        try:
            self._check_old_anchor(sql)
            *contents, _ = sql.execute(_ANCHOR).fetchone()
            sql.execute("UPDATE anchor SET mac = ?", (_signed(self._keys[0], sql, *contents),))
            sql.execute("COMMIT")
        except BaseException:
            if sql.in_transaction:
                sql.execute("ROLLBACK")
            raise

    def is_signed(self, sql: sqlite3.Connection, keys: Sequence[bytes]) -> bool:
        """Whether there is no anchor, or one of these keys signed it."""
        found = sql.execute(_ANCHOR).fetchone()
        if found is None:
            return True
        *contents, mac = found
        return any(hmac.compare_digest(mac, _signed(key, sql, *contents)) for key in keys)

    def _check_old_anchor(self, sql: sqlite3.Connection) -> None:
        """What we go on from must be ours: signing it anew would bless whatever somebody wrote there."""
        if not self.is_signed(sql, self._keys):
            raise BooksRefused("the anchor of the batches that were pruned is not signed by this gateway's key")


def anchored(sql: sqlite3.Connection) -> int:
    """The last batch that counts as gone; 0 if none was ever pruned."""
    (seq,) = sql.execute("SELECT coalesce(max(seq), 0) FROM anchor").fetchone()
    return int(seq)


def _signed(
    key: bytes, sql: sqlite3.Connection, seq: int, next: int, started: int, tariffs: int, hash: bytes, folded: bytes
) -> bytes:
    known = sql.execute(
        "SELECT id, route, owner, commission_points, price FROM tariff WHERE id <= ? ORDER BY id", (tariffs,)
    ).fetchall()
    rows = hashlib.sha256(json.dumps(known, separators=(",", ":")).encode()).digest()
    numbers = _NUMBERS.pack(seq, next, started, tariffs, len(known))
    return hmac.digest(key, b"anchor" + numbers + hash + folded + rows, "sha256")
