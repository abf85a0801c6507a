"""Schema changes: numbered .sql files, each applied once, in order, in one transaction with its own record.

A file that was applied is never edited afterwards: its checksum is kept, and a difference is refused, because nobody
could say any more what the tables look like. A kill in mid-migration leaves either all of it or nothing.
"""

import hashlib
import sqlite3
from collections.abc import Iterator
from importlib.resources import files

_TABLE = """CREATE TABLE IF NOT EXISTS migration (
    number INTEGER PRIMARY KEY, name TEXT NOT NULL, checksum TEXT NOT NULL) STRICT"""


class MigrationRefused(Exception):
    """The database was made by another version of the gateway; the message says which file disagrees."""


def apply(connection: sqlite3.Connection, folder: str) -> int:
    """Bring a database up to date; how many migrations were applied. Raises MigrationRefused.

    The connection is in autocommit mode (`isolation_level=None`).
    """
    applied = 0
    connection.execute("BEGIN IMMEDIATE")
    try:
        connection.execute(_TABLE)
        known = {number: (name, checksum) for number, name, checksum in connection.execute("SELECT * FROM migration")}
        for number, name, text in _files(folder):
            checksum = hashlib.sha256(text.encode()).hexdigest()
            if number in known:
                if known.pop(number)[1] != checksum:
                    raise MigrationRefused(f"migration {name} was changed after it had been applied")
                continue
            for statement in _statements(text):
                connection.execute(statement)
            connection.execute("INSERT INTO migration VALUES (?, ?, ?)", (number, name, checksum))
            applied += 1
        if known:
            newest = max(known)
            raise MigrationRefused(
                f"the database has migration {known[newest][0]}, which this version does not know: use a newer gateway"
            )
        connection.execute("COMMIT")
    except BaseException:
        connection.execute("ROLLBACK")
        raise
    return applied


def _files(folder: str) -> Iterator[tuple[int, str, str]]:
    for file in sorted(files(__package__).joinpath(folder).iterdir(), key=lambda file: file.name):
        if file.name.endswith(".sql"):
            yield int(file.name.partition("_")[0]), file.name, file.read_text()


def _statements(text: str) -> Iterator[str]:
    statement = ""
    for line in text.splitlines(keepends=True):
        statement += line
        if sqlite3.complete_statement(statement):
            yield statement
            statement = ""
