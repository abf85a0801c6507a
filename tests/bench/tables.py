"""Markdown tables: the first column is words, the others are figures."""

import statistics
from collections.abc import Iterator, Sequence
from typing import Protocol


class Section(Protocol):
    """One part of a report."""

    def lines(self) -> Iterator[str]:
        """For people: Markdown."""

    def as_dict(self) -> dict[str, object]:
        """For programs: what was measured, and what is made of it."""


def table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    yield row(heads)
    yield row(["---", *["---:"] * (len(heads) - 1)])
    yield from map(row, rows)


def row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def known(values: Sequence[float | None]) -> float | None:
    """The median of those that are known; None of none."""
    found = [value for value in values if value is not None]
    return statistics.median(found) if found else None


def shown(value: float | None, form: str) -> str:
    """A figure, or a dash for one that nobody knows."""
    return "–" if value is None else format(value, form)
