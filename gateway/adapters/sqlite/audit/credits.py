"""The credits: what it proves is that the `credit` table and the notes of the chain tell of the same money.

So it is with the `reversal` table. Table and notes are read once, side by side, in the order of the batches: neither
has to fit in memory. That no ref is in both tables is asked once, at the end.
"""

from gateway.adapters.sqlite.audit.database import UNREADABLE, Database
from gateway.adapters.sqlite.audit.layout import Row
from gateway.adapters.sqlite.audit.report import Findings, short


class Credits:
    """The rows of credits or reversals in the order of their batches, compared with the notes of each."""

    def __init__(self, database: Database, table: str, findings: Findings, *, after: int) -> None:
        self._sql = database.sql
        self._table = table
        self._findings = findings
        self._rows = database.rows(table, order="batch", after=after)
        self._coming = next(self._rows, None)
        self.count = 0

    def compare(self, seq: int, notes: list[Row]) -> None:
        """The notes of one batch, column by column, with the rows that name it; none of either may be left over."""
        rows = self._rows_of(seq)
        for note in notes:
            ref = note["ref"]
            row = rows.pop(ref, None)
            if row is None:
                self._findings.add(self._table, ref, *self._whereabouts(seq, ref))
                continue
            for column in row.keys() - {"ref", "batch"}:
                if row[column] != note[column]:
                    self._findings.differs(self._table, ref, column, row[column], note[column])
        for ref in rows:
            self._findings.add(self._table, ref, None, f"is not in the notes of batch {seq}")

    def finish(self) -> None:
        """The rows that are left after the last batch name batches that do not exist."""
        self._rows_of(None)
        if self._table == "reversal":
            try:
                for (ref,) in self._sql.execute("SELECT ref FROM reversal JOIN credit USING (ref)").fetchall():
                    self._findings.add("reversal", ref, "ref", "is that of a credit, too")
            except UNREADABLE as error:
                self._findings.add("reversal", None, None, f"cannot be read to its end: {error}")

    def _rows_of(self, seq: int | None) -> dict[str, Row]:
        """The rows that name this batch. Those before it name batches that do not exist."""
        found = {}
        while self._coming is not None and (seq is None or self._coming["batch"] <= seq):
            row, self._coming = self._coming, next(self._rows, None)
            self.count += 1
            if row["batch"] == seq:
                found[row["ref"]] = row
            else:
                self._findings.add(self._table, row["ref"], "batch", f"is {row['batch']}, and there is no such batch")
        return found

    def _whereabouts(self, seq: int, ref: str) -> tuple[str | None, str]:
        """Why a note has no row: it names another batch, was noted twice, or is gone."""
        try:
            query = f"SELECT batch FROM {self._table} WHERE ref = ?"  # noqa: S608
            found = self._sql.execute(query, (ref,)).fetchone()
        except UNREADABLE:
            found = None
        if found is None:
            return None, f"is missing: batch {seq} notes it"
        if found[0] == seq:
            return None, f"is noted twice by batch {seq}, or cannot be read"
        return "batch", f"is {short(found[0])} but batch {seq} notes it"
