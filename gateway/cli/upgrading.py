"""The files under the books and the records are brought up to date: by every start, and by `gateway db migrate`."""

import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

from gateway.adapters.sqlite.ledger import lock_books
from gateway.adapters.sqlite.migrations import MigrationRefused
from gateway.adapters.sqlite.upgrade import Upgrade, plan, upgrade
from gateway.app import records_path
from gateway.ports import StoreFailed, StoreLocked
from gateway.settings import Settings


def migrate_at_start(settings: Settings) -> list[str]:
    """What `gateway run` did to bring its files up to date, in words: nothing on most starts.

    What stands in the way (another gateway, a damaged file) is told by whoever opens the files next, and better.
    """
    if settings.store_url is not None:
        return []
    with suppress(MigrationRefused, StoreFailed, StoreLocked, sqlite3.Error, OSError):
        if any(done and done.migrations for done in plan_stores(settings).values()):
            done_by_path = migrate(settings).items()
            return [line for path, done in done_by_path if done and done.migrations for line in told(path, done)]
    return []


def plan_stores(settings: Settings) -> dict[Path, Upgrade | None]:
    """What is pending, of each file; None of one that is not there. Raises MigrationRefused, OSError, sqlite3.Error."""
    return {path: _planned(path, folder) for path, folder in _files(settings).items()}


def _planned(path: Path, folder: str) -> Upgrade | None:
    return plan(path, folder) if _holds_something(path) else None


def migrate(settings: Settings) -> dict[Path, Upgrade | None]:
    """Under the lock of the ledger, which keeps every gateway away from both files.

    Raises as `plan_stores`, and StoreLocked, StoreFailed.
    """
    if not any(map(_holds_something, _files(settings))):
        return dict.fromkeys(_files(settings))
    with _books_locked(settings.store_path):
        return {path: _migrated(path, folder) for path, folder in _files(settings).items()}


def _migrated(path: Path, folder: str) -> Upgrade | None:
    if not _holds_something(path):
        return None
    with closing(sqlite3.connect(path, isolation_level=None, timeout=1)) as connection:
        connection.execute("PRAGMA synchronous = FULL")
        return upgrade(connection, path, folder)


def _files(settings: Settings) -> dict[Path, str]:
    return {settings.store_path: "ledger", records_path(settings.store_path): "records"}


def _holds_something(path: Path) -> bool:
    """An empty file is left for `gateway run`: SQLite would throw the log beside it away."""
    return path.exists() and path.stat().st_size > 0


@contextmanager
def _books_locked(path: Path) -> Iterator[None]:
    try:
        lock = lock_books(path)
    except StoreLocked as locked:
        raise StoreLocked(f"{locked}; stop it first: a gateway brings its files up to date when it starts") from None
    try:
        yield
    finally:
        os.close(lock)


def told(path: Path, done: Upgrade | None, *, dry_run: bool = False) -> list[str]:
    """What was done to a file, or would be, in words."""
    if done is None:
        return [f"{path}: not there yet; `gateway run` makes it"]
    if not done.migrations:
        return [f"{path}: up to date (schema {done.schema:04d})"]
    names = ", ".join(done.migrations)
    if dry_run:
        size = path.stat().st_size
        return [f"{path}: pending: {names}; before that, a copy of {size:,} bytes is made beside it"]
    lines = [f"{path}: applied {names}", f"  as it was before: {done.backup}"]
    if done.backups > 1:
        lines.append(f"  {done.backups} such copies lie beside it; the gateway removes none: keep what you need")
    return lines
