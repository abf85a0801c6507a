"""Room for the lines of one statement: a temporary database of SQLite's, which spills to the disk."""

import sqlite3
from collections.abc import Iterable, Iterator
from dataclasses import astuple

from gateway.core.statements import Piece, Sum

_TABLES = """
CREATE TABLE line (
    at_ms INTEGER, number INTEGER, account INTEGER, keeper INTEGER, seq INTEGER, position INTEGER, booked INTEGER,
    tariff INTEGER, token INTEGER, micros INTEGER, rank INTEGER, captured INTEGER,
    PRIMARY KEY (at_ms, number, account)
) WITHOUT ROWID;
CREATE TABLE hour (
    hour INTEGER, keeper INTEGER, last INTEGER, account INTEGER, tariff INTEGER, requests INTEGER, micros INTEGER,
    PRIMARY KEY (hour, keeper, account, tariff)
) WITHOUT ROWID;
"""
_CHANGED = """
INSERT INTO line VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT DO UPDATE SET micros = micros + excluded.micros, rank = max(rank, excluded.rank)
"""
_CAPTURED = (
    _CHANGED
    + """, captured = 1, keeper = excluded.keeper, seq = excluded.seq, position = excluded.position,
    booked = excluded.booked, tariff = excluded.tariff, token = excluded.token
"""
)
_HOURLY = """
INSERT INTO hour VALUES (?, ?, ?, ?, ?, ?, ?)
ON CONFLICT DO UPDATE SET requests = requests + excluded.requests, micros = micros + excluded.micros
"""
_FORGET = "DELETE FROM line WHERE at_ms = ? AND number = ? AND account = ? AND NOT captured"


class SqliteScratch:
    """Implements `ports.Scratch`."""

    def __init__(self) -> None:
        self._sql = sqlite3.connect("", isolation_level=None)
        self._sql.executescript(_TABLES)
        self._sql.execute("BEGIN")

    def add(self, piece: Piece) -> None:
        self._sql.execute(_CAPTURED if piece.captured else _CHANGED, astuple(piece))

    def forget_uncaptured(self, requests: Iterable[tuple[int, int, int]] | None = None) -> None:
        if requests is None:
            self._sql.execute("DELETE FROM line WHERE NOT captured")
        else:
            self._sql.executemany(_FORGET, requests)

    def has_uncaptured(self) -> bool:
        return self._sql.execute("SELECT 1 FROM line WHERE NOT captured LIMIT 1").fetchone() is not None

    def pieces(self, *, by_time: bool) -> Iterator[Piece]:
        order = "booked, keeper, seq, position" if by_time else "position"
        for columns in self._sql.execute(f"SELECT * FROM line ORDER BY {order}"):  # noqa: S608
            yield Piece(*columns)

    def add_hours(self, sums: Iterable[Sum]) -> None:
        self._sql.executemany(_HOURLY, map(astuple, sums))

    def hours(self) -> Iterator[Sum]:
        for columns in self._sql.execute("SELECT * FROM hour ORDER BY hour, keeper, account, tariff"):
            yield Sum(*columns)

    def close(self) -> None:
        self._sql.close()
