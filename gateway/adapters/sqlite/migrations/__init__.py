"""Schema changes: numbered .sql files, each applied once, in order, in one transaction with its own record.

A file that was applied is never edited afterwards: its checksum is kept, and a difference is refused, because nobody
could say any more what the tables look like. All that are missing are one transaction: a kill in the middle leaves
either all of it or nothing. `upgrade` keeps the file as it was before.
"""

import hashlib
import sqlite3
from collections.abc import Iterator
from pathlib import Path

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
        for number, name, text in _missing(connection, folder):
            for statement in _statements(text):
                connection.execute(statement)
            connection.execute("INSERT INTO migration VALUES (?, ?, ?)", (number, name, _checksum(text)))
            applied += 1
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:  # a full disk ends it by itself
            connection.execute("ROLLBACK")
        raise
    return applied


def pending(connection: sqlite3.Connection, folder: str) -> tuple[int, list[str]]:
    """The newest migration that a database has (0: none), and the names of those it lacks. Raises MigrationRefused."""
    if not connection.execute("SELECT 1 FROM sqlite_schema WHERE name = 'migration'").fetchone():
        return 0, [name for _, name, _ in _files(folder)]
    (newest,) = connection.execute("SELECT coalesce(max(number), 0) FROM migration").fetchone()
    return newest, [name for _, name, _ in _missing(connection, folder)]


def _missing(connection: sqlite3.Connection, folder: str) -> list[tuple[int, str, str]]:
    """The files that were not applied yet, once it is sure that those which were are the ones we have."""
    known = {number: (name, checksum) for number, name, checksum in connection.execute("SELECT * FROM migration")}
    missing = []
    for number, name, text in _files(folder):
        if number not in known:
            missing.append((number, name, text))
        elif known.pop(number)[1] != _checksum(text):
            raise MigrationRefused(f"migration {name} was changed after it had been applied")
    if known:
        newest = known[max(known)][0]
        raise MigrationRefused(
            f"the database has migration {newest}, which this version does not know: use a newer gateway"
        )
    return missing


def _checksum(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _files(folder: str) -> Iterator[tuple[int, str, str]]:
    for file in sorted((Path(__file__).parent / folder).iterdir()):
        if file.name.endswith(".sql"):
            yield int(file.name.partition("_")[0]), file.name, file.read_text()


def _statements(text: str) -> Iterator[str]:
    statement = ""
    for line in text.splitlines(keepends=True):
        statement += line
        if sqlite3.complete_statement(statement):
            yield statement
            statement = ""
