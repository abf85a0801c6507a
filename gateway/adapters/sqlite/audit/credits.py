"""The credits: what it proves is that the `credit` table and the notes of the chain tell of the same money.

Both are read once, side by side, in the order of the batches: neither has to fit in memory.
"""

import sqlite3
from collections.abc import Iterator

from gateway.adapters.sqlite.audit.database import UNREADABLE
from gateway.adapters.sqlite.audit.layout import Row
from gateway.adapters.sqlite.audit.report import Findings, short


class Credits:
    """The credit rows in the order of their batches, compared with the notes of each."""

    def __init__(self, connection: sqlite3.Connection, findings: Findings, rows: Iterator[Row]) -> None:
        self._sql = connection
        self._findings = findings
        self._rows = rows
        self._coming = next(rows, None)
        self.count = 0

    def compare(self, seq: int, notes: list[Row]) -> None:
        """The notes of one batch, column by column, with the rows that name it; none of either may be left over."""
        rows = self._rows_of(seq)
        for note in notes:
            ref = note["ref"]
            row = rows.pop(ref, None)
            if row is None:
                self._findings.add("credit", ref, *self._whereabouts(seq, ref))
                continue
            for column in ("account", "micros", "kind", "reason", "at"):
                if row[column] != note[column]:
                    self._findings.differs("credit", ref, column, row[column], note[column])
        for ref in rows:
            self._findings.add("credit", ref, None, f"is not in the notes of batch {seq}")

    def finish(self) -> None:
        """The rows that are left after the last batch name batches that do not exist."""
        self._rows_of(None)

    def _rows_of(self, seq: int | None) -> dict[str, Row]:
        """The rows that name this batch. Those before it name batches that do not exist."""
        found = {}
        while self._coming is not None and (seq is None or self._coming["batch"] <= seq):
            row, self._coming = self._coming, next(self._rows, None)
            self.count += 1
            if row["batch"] == seq:
                found[row["ref"]] = row
            else:
                self._findings.add("credit", row["ref"], "batch", f"is {row['batch']}, and there is no such batch")
        return found

    def _whereabouts(self, seq: int, ref: str) -> tuple[str | None, str]:
        """Why a note has no row: it names another batch, was noted twice, or is gone."""
        try:
            found = self._sql.execute("SELECT batch FROM credit WHERE ref = ?", (ref,)).fetchone()
        except UNREADABLE:
            found = None
        if found is None:
            return None, f"is missing: batch {seq} notes it"
        if found[0] == seq:
            return None, f"is noted twice by batch {seq}, or cannot be read"
        return "batch", f"is {short(found[0])} but batch {seq} notes it"
