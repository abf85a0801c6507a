"""A copy of one database as it is at one moment, page for page, while others write to it.

SQLite's online backup, stepped inside one read transaction: a writer is never kept waiting, the copy is of the moment
at which the transaction began however long it takes, and there is a place to tell how far it is. (Without that
transaction the copy would begin again whenever somebody writes; under load it would never end.) `VACUUM INTO` would
write the rows anew: a smaller file, but slower, silent, and it would tidy damage away that should be seen. While a copy
is made the write-ahead log cannot be reset, so it grows by what is written meanwhile.
"""

import os
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

_PAGES_AT_ONCE = 1024


def copy_database(source: sqlite3.Connection, to: Path, *, progress: Callable[[int, int], None] | None = None) -> None:
    """Copy what the connection sees into a new file, durably. `progress` is told pages done, and of how many.

    Raises FileExistsError, OSError, sqlite3.Error; then there is no file.
    """
    os.close(os.open(to, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
    try:
        with closing(sqlite3.connect(to, isolation_level=None)) as target:
            target.execute("PRAGMA journal_mode = OFF")  # a copy that breaks off is removed, and never rolled back
            target.execute("PRAGMA synchronous = OFF")  # once, at the end
            source.backup(
                target,
                pages=_PAGES_AT_ONCE,
                progress=None if progress is None else lambda _, left, pages: progress(pages - left, pages),
                sleep=0.01,
            )
        sync(to)
    except BaseException:
        to.unlink()
        raise


def copy_file(source: Path, to: Path) -> None:
    """Copy a small file whole, durably, readable by its owner only."""
    with os.fdopen(os.open(to, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "wb") as file:
        file.write(source.read_bytes())
        file.flush()
        os.fsync(file.fileno())


def sync(path: Path) -> None:
    """Return when a file's contents are on disk."""
    with path.open("rb") as file:
        os.fsync(file.fileno())


def sync_folder(path: Path) -> None:
    """Return when a folder's names are on disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
