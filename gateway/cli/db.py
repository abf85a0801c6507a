"""`gateway db migrate` and `gateway db backup`: the files under the books and the records.

Both leave the configuration's secrets alone: no key is needed to migrate, and none is ever copied.
"""

import json
import sqlite3
import sys
from dataclasses import asdict
from pathlib import Path
from typing import NoReturn

import click

from gateway.adapters.sqlite.backup import SUMS, Backup, back_up
from gateway.adapters.sqlite.migrations import MigrationRefused
from gateway.adapters.sqlite.upgrade import Upgrade
from gateway.app import records_path
from gateway.cli.books import head_keys
from gateway.cli.configuration import read
from gateway.cli.hosts import NO_SECRETS, back_up_there, migrate_there
from gateway.cli.progress import Progress
from gateway.cli.upgrading import migrate, plan_stores, told
from gateway.ports import BackupRefused, StoreFailed, StoreLocked
from gateway.settings import Settings


def migrate_stores(config: Path, *, dry_run: bool, as_json: bool) -> None:
    """`gateway db migrate`: both files, in the order in which `gateway run` opens them; or the tables of a database."""
    settings = read(config, make_secrets=False)
    if settings.store_url is not None:
        migrate_there(settings, dry_run=dry_run, as_json=as_json)
        return
    try:
        upgrades = plan_stores(settings) if dry_run else migrate(settings)
    except (MigrationRefused, StoreFailed, StoreLocked, sqlite3.Error, OSError) as error:
        _fail(str(error))
    if as_json:
        rows = [{"file": str(path), **_fields(done, dry_run=dry_run)} for path, done in upgrades.items()]
        click.echo(json.dumps({"dry_run": dry_run, "files": rows}, indent=2))
        return
    for path, done in upgrades.items():
        for line in told(path, done, dry_run=dry_run):
            click.echo(line)


def back_up_stores(config: Path, folder: Path, *, as_json: bool) -> None:
    """`gateway db backup`."""
    settings = read(config, make_secrets=False)
    if not folder.name:
        _fail(f"{folder} exists, and a backup writes over nothing: name a new folder")
    if settings.store_url is not None:
        back_up_there(settings, folder, as_json=as_json)
        return
    shown: dict[str, Progress] = {}

    def progress(name: str, done: int, total: int) -> None:
        shown.setdefault(name, Progress(f"copied {{}} of {{}} pages of {name}"))(done, total)

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


def _fail(words: str) -> NoReturn:
    click.echo(f"gateway: {words}", err=True)
    sys.exit(3)
