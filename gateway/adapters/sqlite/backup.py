"""`gateway db backup`: books, head and records as they are at one moment, in a folder, while the gateway writes.

**One moment.** A read transaction is begun on the records, then the head is read, then one is begun on the ledger; all
that is copied afterwards is of that moment (`copies`). The order matters in the milliseconds between: an event that the
records call done has its credit in the books, and one that is credited but not yet done is taken up again at the start
and credited once. The other way round, money could be missing that nobody would ask for again. And the head is older
than the books beside it: it may lag, and never leads.

**Whole or not there.** The folder is made as `….partial`, every file and folder is synced, the copies are checked, and
only then does it get its name. What has the name is complete. Nothing is ever written over.

**Checked.** SQLite's `quick_check` of both files, the last batches' hashes, and the head against the copied books. That
finds a copy that is useless; `gateway audit --store` on the copy proves it.

The secrets are not copied. Whoever finds a backup must not find the keys beside it; and without the keys, kept
elsewhere, no token, no payment link and no event in it can be opened again.
"""

import hashlib
import shutil
import sqlite3
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from gateway.adapters.sqlite.copies import copy_database, copy_file, sync, sync_folder
from gateway.adapters.sqlite.ledger import Head
from gateway.adapters.sqlite.rights import why
from gateway.adapters.sqlite.soundness import check_tail, named_batch
from gateway.ports import BackupRefused, CopiedFile, StoreDamaged

SUMS = "SHA256SUMS"


@dataclass(frozen=True, slots=True)
class Backup:
    """What was copied: the last batch in the books, the one that the head vouches for, and the files."""

    folder: Path
    batch: int
    head_batch: int
    files: tuple[CopiedFile, ...]
    seconds: float


def back_up(
    ledger: Path,
    records: Path,
    folder: Path,
    *,
    head_keys: Sequence[bytes],
    progress: Callable[[str, int, int], None] | None = None,
) -> Backup:
    """Copy the files into a new folder. Raises BackupRefused. `progress` is told a file's name, pages and their total.

    `head_keys`: any of them may have signed the head; with none, nobody looks who did.
    """
    begun = time.monotonic()
    partial = folder.with_name(f"{folder.name}.partial")
    _refuse(ledger, folder, partial)
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        partial.mkdir(mode=0o700)
        try:
            _copy(ledger, records, partial, progress)
            batch, head_batch = _check(partial / ledger.name, partial / records.name, head_keys)
            files = _sum_up(partial)
            partial.rename(folder)
        except BaseException:
            shutil.rmtree(partial)
            raise
        sync_folder(folder.parent)
    except sqlite3.Error as error:
        raise BackupRefused(f"{why(ledger, error)}; nothing was kept") from error
    except OSError as error:
        raise BackupRefused(f"{error}; nothing was kept") from error
    return Backup(folder, batch, head_batch, files, time.monotonic() - begun)


def _refuse(ledger: Path, folder: Path, partial: Path) -> None:
    if not ledger.is_file():
        raise BackupRefused(f"there is no ledger at {ledger} yet; `gateway run` makes it")
    if folder.exists() or folder.is_symlink():
        raise BackupRefused(f"{folder} exists, and a backup writes over nothing: name a new folder")
    if partial.exists():
        raise BackupRefused(
            f"{partial} exists: another backup is being made there, or one was killed; if none runs, remove it"
        )


def _copy(ledger: Path, records: Path, folder: Path, progress: Callable[[str, int, int], None] | None) -> None:
    with closing(_reader(records) if records.exists() else sqlite3.connect(":memory:")) as second:
        _begin(second)
        head = ledger.with_name(f"{ledger.name}.head")
        if head.exists():
            copy_file(head, folder / head.name)
        with closing(_reader(ledger)) as first:
            _begin(first)
            for connection, path in ((first, ledger), (second, records)):
                if path.exists():
                    copy_database(connection, folder / path.name, progress=_named(progress, path.name))


def _reader(path: Path) -> sqlite3.Connection:
    return sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, isolation_level=None, timeout=5)


def _begin(connection: sqlite3.Connection) -> None:
    """From here on the connection sees what is committed now, and nothing later."""
    connection.execute("BEGIN")
    connection.execute("SELECT 1 FROM sqlite_schema LIMIT 1").fetchone()


def _named(progress: Callable[[str, int, int], None] | None, name: str) -> Callable[[int, int], None] | None:
    return None if progress is None else lambda done, total: progress(name, done, total)


def _check(ledger: Path, records: Path, head_keys: Sequence[bytes]) -> tuple[int, int]:
    """That the copies are sound; the last batch, and the one that the head names. Raises BackupRefused."""
    if records.exists():
        with closing(_at_rest(records)) as connection:
            _check_pages(connection, records)
    with closing(_at_rest(ledger)) as connection:
        _check_pages(connection, ledger)
        try:
            check_tail(connection, ledger)
            if head_keys:
                Head(ledger, head_keys[0], head_keys[1:]).check(connection)
        except StoreDamaged as damaged:
            raise BackupRefused(
                f"the books are damaged, and a copy would be too: {damaged}. Nothing was kept; to keep them as they"
                " are, stop the gateway and copy the files by hand"
            ) from damaged
        (last,) = connection.execute("SELECT coalesce(max(seq), 0) FROM batch").fetchone()
    return last, named_batch(ledger.with_name(f"{ledger.name}.head"))


def _at_rest(path: Path) -> sqlite3.Connection:
    """A connection that leaves nothing beside the file."""
    return sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro&immutable=1", uri=True)


def _check_pages(connection: sqlite3.Connection, path: Path) -> None:
    (found,) = connection.execute("PRAGMA quick_check(1)").fetchone()
    if found != "ok":
        raise BackupRefused(f"{path.name} is damaged, and a copy would be too: {' '.join(str(found).split())}")


def _sum_up(folder: Path) -> tuple[CopiedFile, ...]:
    """Write down what `sha256sum --check` can compare later, and make the folder durable."""
    files = []
    for path in sorted(folder.iterdir()):
        with path.open("rb") as file:
            files.append(CopiedFile(path.name, path.stat().st_size, hashlib.file_digest(file, "sha256").hexdigest()))
    sums = folder / SUMS
    sums.touch(mode=0o600)
    sums.write_text("".join(f"{file.sha256}  {file.name}\n" for file in files))
    sync(sums)
    sync_folder(folder)
    return tuple(files)
