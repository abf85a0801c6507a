"""`gateway db migrate` and `gateway db backup`: the files under the books and the records.

Both leave the configuration's secrets alone: no key is needed to migrate, and none is ever copied.
"""

import json
import os
import sqlite3
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from typing import NoReturn

import click

from gateway.adapters.sqlite.backup import SUMS, Backup, back_up
from gateway.adapters.sqlite.ledger import lock_books
from gateway.adapters.sqlite.migrations import MigrationRefused
from gateway.adapters.sqlite.upgrade import Upgrade, plan, upgrade
from gateway.app import records_path
from gateway.cli.books import head_keys
from gateway.cli.configuration import read
from gateway.cli.hosts import NO_SECRETS, back_up_there, migrate_there
from gateway.cli.progress import Progress
from gateway.ports import BackupRefused, StoreLocked
from gateway.settings import Settings


def migrate_stores(config: Path, *, dry_run: bool, as_json: bool) -> None:
    """`gateway db migrate`: both files, in the order in which `gateway run` opens them; or the tables of a database."""
    settings = read(config, make_secrets=False)
    if settings.store_url is not None:
        migrate_there(settings, dry_run=dry_run, as_json=as_json)
        return
    try:
        upgrades = plan_stores(settings) if dry_run else _migrate(settings)
    except (MigrationRefused, StoreLocked, sqlite3.Error, OSError) as error:
        _fail(str(error))
    if as_json:
        rows = [{"file": str(path), **_fields(done, dry_run=dry_run)} for path, done in upgrades.items()]
        click.echo(json.dumps({"dry_run": dry_run, "files": rows}, indent=2))
        return
    for path, done in upgrades.items():
        for line in _told(path, done, dry_run=dry_run):
            click.echo(line)


def migrate_at_start(settings: Settings) -> list[str]:
    """What `gateway run` did to bring its files up to date, in words: nothing on most starts.

    What stands in the way (another gateway, a damaged file) is told by whoever opens the files next, and better.
    """
    if settings.store_url is not None:
        return []
    with suppress(MigrationRefused, StoreLocked, sqlite3.Error, OSError):
        if any(done and done.migrations for done in plan_stores(settings).values()):
            done_by_path = _migrate(settings).items()
            return [line for path, done in done_by_path if done and done.migrations for line in _told(path, done)]
    return []


def back_up_stores(config: Path, folder: Path, *, as_json: bool) -> None:
    """`gateway db backup`."""
    settings = read(config, make_secrets=False)
    if settings.store_url is not None:
        back_up_there(settings, folder, as_json=as_json)
        return
    told: dict[str, Progress] = {}

    def progress(name: str, done: int, total: int) -> None:
        told.setdefault(name, Progress(f"copied {{}} of {{}} pages of {name}"))(done, total)

    try:
        backup = back_up(
            settings.store_path,
            records_path(settings.store_path),
            folder,
            head_keys=head_keys(settings),
            progress=progress,
        )
    except BackupRefused as refused:
        _fail(str(refused))
    if as_json:
        click.echo(json.dumps({**asdict(backup), "folder": str(backup.folder), "secrets": False}, indent=2))
    else:
        _print_backup(backup, settings)


def _print_backup(backup: Backup, settings: Settings) -> None:
    click.echo(f"{backup.folder}")
    for file in backup.files:
        click.echo(f"  {file.name}  {file.bytes:,} bytes")
    click.echo(f"  {SUMS}, for `sha256sum --check`")
    lag = backup.batch - backup.head_batch
    vouched = "its head vouches for all of them" if not lag else f"its head vouches for all but the last {lag:,}"
    click.echo(f"  the books up to batch {backup.batch:,}; {vouched}; {backup.seconds:,.1f} s")
    if not head_keys(settings):
        click.echo("  NOT CHECKED who signed the head: there is no sealing key here")
    click.echo(f"  {NO_SECRETS.format(settings.secrets_path)}")
    click.echo(f"  Prove it: gateway audit --store {backup.folder / settings.store_path.name}")


def plan_stores(settings: Settings) -> dict[Path, Upgrade | None]:
    """What is pending, of each file; None of one that is not there. Raises MigrationRefused, OSError, sqlite3.Error."""
    return {path: _planned(path, folder) for path, folder in _files(settings).items()}


def _planned(path: Path, folder: str) -> Upgrade | None:
    return plan(path, folder) if _holds_something(path) else None


def _migrate(settings: Settings) -> dict[Path, Upgrade | None]:
    """Under the lock of the ledger, which keeps every gateway away from both files."""
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


def _fields(done: Upgrade | None, *, dry_run: bool) -> dict[str, object]:
    if done is None:
        return {"exists": False}
    names = list(done.migrations)
    return {
        "exists": True,
        "schema": done.schema,
        "pending": names if dry_run else [],
        "applied": [] if dry_run else names,
        "backup": str(done.backup) if done.backup else None,
        "backups": done.backups,
    }


def _told(path: Path, done: Upgrade | None, *, dry_run: bool = False) -> list[str]:
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


def _fail(words: str) -> NoReturn:
    click.echo(f"gateway: {words}", err=True)
    sys.exit(3)
