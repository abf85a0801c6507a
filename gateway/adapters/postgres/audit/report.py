"""What the audit of many hosts read and what it found: a hundred findings word by word, the rest as a number."""

from collections.abc import Mapping
from dataclasses import dataclass, field

FINDINGS_MAX = 100


class AuditRefused(Exception):
    """There is nothing to audit. The message says why."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is not as it must be, and the row where it shows."""

    table: str
    row: int | str | None
    column: str | None
    what: str

    def __str__(self) -> str:
        row = "" if self.row is None else f" {self.row}"
        column = "" if self.column is None else f"{self.column} "
        return f"{self.table}{row}: {column}{self.what}"


@dataclass(frozen=True, slots=True)
class Total:
    """All accounts of one unit, in micros."""

    credited: int
    spent: int
    available: int
    debt: int = 0


@dataclass(frozen=True, slots=True)
class Report:
    """What was read and what was found; the same as of a SQLite store, so that it is told in the same way."""

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
    first_batch: int = 1
    unproved: tuple[str, ...] = ()
    transfers: int = 0
    folded: int = 0
    """How many batches, of all hosts, transfers were derived from."""
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
        if len(self.told) < FINDINGS_MAX:
            self.told.append(Finding(table, row, column, what))
        else:
            self.more += 1

    def bad_batch(self, seq: int, at: str, what: str) -> None:
        """A batch that was changed, is gone or cannot be read."""
        self.bad_batch_follows(seq - 1)
        self.add("batch", at, None, what)

    def bad_batch_follows(self, last: int) -> None:
        """The batch after this one is gone, or worse; that is told in other words."""
        self.first_bad_batch = last + 1 if self.first_bad_batch is None else min(self.first_bad_batch, last + 1)
