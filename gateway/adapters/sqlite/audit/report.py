"""What the audit read, and what it found: the first hundred findings word by word, the rest as a number.

A finding is one thing that is not as it must be, with the row where it shows. A file that is broken everywhere makes
one for every row, so they are bounded; the same thing is told once.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

FINDINGS_MAX = 100
"""So many findings are told; the rest are counted."""


class AuditRefused(Exception):
    """There is nothing to audit: no file, not a ledger, or one of a newer gateway. The message says which."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is not as it must be, and the row where it shows."""

    table: str
    row: int | str | None
    column: str | None
    what: str

    def __str__(self) -> str:
        row = "" if self.row is None else f" {self.row}" if str(self.row).isprintable() else f" {self.row!r}"
        column = "" if self.column is None else f"{self.column} "
        return f"{self.table}{row}: {column}{self.what}"


@dataclass(frozen=True, slots=True)
class Total:
    """All accounts of one unit, in micros."""

    credited: int
    """Less what was taken back."""
    spent: int
    available: int
    debt: int = 0


@dataclass(frozen=True, slots=True)
class Report:
    """What was read and what was found. `more` counts the findings beyond those that are told."""

    batches: int
    records: int
    accounts: int
    credits: int
    totals: Mapping[str, Total]
    voided: int
    voided_micros: int
    head: str
    findings: tuple[Finding, ...]
    more: int
    first_bad_batch: int | None = None
    """The lowest batch that is changed, gone or cannot be read; none, too, when only other rows are wrong."""
    first_batch: int = 1
    """The first batch that was proved."""
    unproved: tuple[str, ...] = ()
    """What was not looked at, in words: nothing, unless only later batches were proved."""
    transfers: int = 0
    folded: int = 0
    """The last batch that transfers were derived from."""
    reversals: int = 0
    left_owners: Mapping[str, int] = field(default_factory=dict)
    """What was paid out to owners and clawed back from them, less what came back, by unit."""

    @property
    def clean(self) -> bool:
        return not self.findings


class Findings:
    """The first findings, and a count of the rest."""

    def __init__(self) -> None:
        self.told: list[Finding] = []
        self.more = 0
        self.first_bad_batch: int | None = None

    def add(self, table: str, row: int | str | None, column: str | None, what: str) -> None:
        finding = Finding(table, row, column, what)
        if finding in self.told:
            return
        if table == "batch" and isinstance(row, int):
            self.bad_batch(row)
        if len(self.told) < FINDINGS_MAX:
            self.told.append(finding)
        else:
            self.more += 1

    def bad_batch(self, seq: int) -> None:
        """A batch is bad, whatever else is told of it."""
        self.first_bad_batch = seq if self.first_bad_batch is None else min(seq, self.first_bad_batch)

    def differs(self, table: str, row: int | str, column: str, value: object, noted: object) -> None:
        """A row's column holds another value than the chain has for it."""
        self.add(table, row, column, f"is {short(value)} but the chain says {short(noted)}")


def short(value: object) -> str:
    """A value that somebody else may have written, fit to be told."""
    text = repr(value) if isinstance(value, str | bytes) else str(value)
    return text if len(text) <= 80 else text[:77] + "…"
