"""The file as a database: what it proves is that SQLite finds its pages sound and its tables are the ones we ship.

Whoever can write the file can loosen its rules first: a table that forgot that it is strict, a constraint or an index
that is gone. So the definitions are compared with those that our migrations make in memory, and a value of the wrong
type is a finding and never reaches the sums.
"""

import hashlib
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

from gateway.adapters.sqlite.audit.layout import COLUMNS, MIGRATION, TYPE_NAMES, Row, shipped
from gateway.adapters.sqlite.audit.report import AuditRefused, Findings, short

UNREADABLE = (sqlite3.Error, UnicodeError, OverflowError, MemoryError)
"""What reading a broken file can raise: SQLite's own messages may quote it, and so be no text themselves."""


class Database:
    """One snapshot of the file. `unread` are the tables that could not be read to their end."""

    def __init__(self, path: Path, connection: sqlite3.Connection, findings: Findings) -> None:
        self._path = path
        self.sql = connection
        self._findings = findings
        self.unread: set[str] = set()

    def check_what_it_is(self) -> None:
        """That it is a ledger, and one that this gateway's migrations made. Raises AuditRefused if it is none."""
        tables = {name for (name,) in self.sql.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")}
        if not {"migration", "account", "batch"} <= tables:
            raise AuditRefused(f"{self._path} is not a ledger: it holds no books")
        known = {int(name[:4]): (name, text) for name, text in shipped()}
        found = {row["number"]: row for row in self.rows("migration", order="number")}
        newer = found.keys() - known.keys()
        if newer and not known.keys() - found.keys():
            raise AuditRefused(f"{self._path} is from a newer gateway: it has migration {max(newer)}")
        for number in newer:
            self._findings.add("migration", number, None, "is unknown")
        for number, (name, text) in known.items():
            row = found.get(number)
            if row is None:
                what = f"is missing: {name} was never applied; `gateway db migrate` applies it"
                self._findings.add("migration", number, None, what)
                continue
            for column, value in (("name", name), ("checksum", hashlib.sha256(text.encode()).hexdigest())):
                if row[column] != value:
                    self._findings.add("migration", number, column, f"is {short(row[column])}, not {value}")

    def check_soundness(self, *, pages: bool) -> None:
        """SQLite's own view of its pages and indexes, and the tables' definitions against the ones that we ship."""
        schema = "SELECT type || ' ' || name, tbl_name, sql FROM sqlite_schema"
        try:
            for (message,) in self.sql.execute("PRAGMA integrity_check(10)") if pages else ():
                if message != "ok":
                    self._findings.add("database", None, None, f"is damaged: {_line(message)}")
            found = {str(name): definition for name, *definition in self.sql.execute(schema)}
        except UNREADABLE as error:
            self._findings.add("database", None, None, f"is damaged: {error}")
            return
        with closing(sqlite3.connect(":memory:")) as model:
            for text in (MIGRATION, *(text for _, text in shipped())):
                model.executescript(text)
            expected = {str(name): definition for name, *definition in model.execute(schema)}
        for name in sorted({*found, *expected}):
            if found.get(name) != expected.get(name):
                change = "is missing" if name not in found else "is unknown" if name not in expected else "was changed"
                self._findings.add("schema", name, None, change)

    def rows(self, table: str, *columns: str, order: str, after: int = 0) -> Iterator[Row]:
        """A table's rows, without those whose values have the wrong type: they are findings, as is a table's end.

        With `after`, those whose number in the order is greater. (Without, none is left out, whatever its number.)
        """
        types = COLUMNS[table]
        names = columns or tuple(types)
        key = next(iter(types))
        try:
            where = f"WHERE {order} > {after:d}" if after else ""
            for values in self.sql.execute(f"SELECT {', '.join(names)} FROM {table} {where} ORDER BY {order}"):  # noqa: S608
                row = dict(zip(names, values, strict=True))
                wrong = [name for name in names if type(row[name]) is not types[name]]
                for name in wrong:
                    what = f"is {short(row[name])}, which is not {TYPE_NAMES[types[name]]}"
                    self._findings.add(table, row[key] if isinstance(row[key], int | str) else None, name, what)
                if not wrong:
                    yield row
        except UNREADABLE as error:
            self.unread.add(table)
            self._findings.add(table, None, None, f"cannot be read to its end: {error}")

    def count(self, table: str, *, after: int = 0) -> int:
        """So many rows, or so many batches after one; 0 if nobody can tell."""
        try:
            where = f"WHERE seq > {after:d}" if after else ""
            return int(self.sql.execute(f"SELECT count(*) FROM {table} {where}").fetchone()[0])  # noqa: S608
        except UNREADABLE:
            return 0


def _line(message: object) -> str:
    return " ".join(str(message).split())
