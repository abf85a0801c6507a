"""Bring a database up to date, and keep it as it was.

Before a migration touches a database that holds something, the whole of it is copied beside it:
`gateway.db.schema-0001.20260102T030405Z`, named for the newest migration it has and the time, with the head of the
ledger's chain as `….head`. The copy is complete and on disk before the migration begins, never written over and never
removed by the gateway: it is money, and only an operator knows when it is no longer wanted. So we say how many there
are. Going back to the older gateway is putting the copy, and its head, in the place of the file.

The caller holds the ledger's lock, so that nothing is written between the copy and the migration. A kill at any moment
leaves the file as it was (the migration is one transaction) and perhaps a `….partial` copy, which the next one removes.
"""

import sqlite3
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from gateway.adapters.sqlite import migrations
from gateway.adapters.sqlite.copies import copy_database, copy_file, sync_folder
from gateway.adapters.sqlite.migrations import MigrationRefused


@dataclass(frozen=True, slots=True)
class Upgrade:
    """What was, or is to be, applied to one database; the copy made before, and how many such copies there are."""

    schema: int
    migrations: tuple[str, ...]
    backup: Path | None = None
    backups: int = 0


def plan(path: Path, folder: str) -> Upgrade:
    """What `upgrade` would do to a file. Reads only. Raises MigrationRefused, sqlite3.Error."""
    connection = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=5)
    try:
        schema, names = migrations.pending(connection, folder)
    finally:
        connection.close()
    return Upgrade(schema, tuple(names), backups=len(copies_of(path)))


def upgrade(connection: sqlite3.Connection, path: Path, folder: str) -> Upgrade:
    """Apply what is missing, after a copy if there is anything to lose. Raises MigrationRefused.

    The connection is in autocommit mode; the caller keeps others from writing.
    """
    schema, names = migrations.pending(connection, folder)
    kept = None
    if names and connection.execute("SELECT 1 FROM sqlite_schema LIMIT 1").fetchone():
        try:
            kept = _keep(connection, path, schema)
        except (OSError, sqlite3.Error) as error:
            raise MigrationRefused(
                f"{', '.join(names)} must be applied, and no copy of the file could be made before: {error}."
                " Nothing was changed; make room beside the file and start again"
            ) from error
    migrations.apply(
        connection, folder
    )  # also when nothing is missing: it tells whether a stranger has the file locked
    return Upgrade(schema, tuple(names), kept, len(copies_of(path)))


def copies_of(path: Path) -> list[Path]:
    """The copies that were made of a database before its migrations, oldest schema first."""
    found = path.parent.glob(f"{path.name}.schema-*")
    return sorted(file for file in found if file.suffix not in (".head", ".partial"))


def _keep(connection: sqlite3.Connection, path: Path, schema: int) -> Path:
    for leftover in path.parent.glob(f"{path.name}.schema-*.partial"):
        leftover.unlink()
    copy = _free_name(path, schema)
    head = path.with_name(f"{path.name}.head")
    if head.exists():
        copy_file(head, copy.with_name(f"{copy.name}.head"))
    partial = copy.with_name(f"{copy.name}.partial")
    copy_database(connection, partial)
    partial.rename(copy)
    sync_folder(path.parent)
    return copy


def _free_name(path: Path, schema: int) -> Path:
    stem = f"{path.name}.schema-{schema:04d}.{datetime.now(UTC):%Y%m%dT%H%M%SZ}"
    names = (path.with_name(stem if number == 1 else f"{stem}-{number}") for number in range(1, 1000))
    return next(name for name in names if not name.exists() and not name.with_name(f"{name.name}.head").exists())
