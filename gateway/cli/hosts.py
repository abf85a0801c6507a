"""The commands about money on a database that many hosts share.

Nothing is locked there: a command that writes is a host of its own for a moment, beside those that run.
"""

import asyncio
import json
import sys
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn, TypeVar

import click

from gateway.adapters import logs
from gateway.adapters.system import SystemClock, SystemFile
from gateway.app.stores import database, head_path, shared_store
from gateway.cli.progress import Progress, taking_its_time
from gateway.core.folding import Folded
from gateway.flows.keep import Keeper
from gateway.ports import BackupRefused, BooksRefused, StatementSource, StoreBusy, StoreFailed
from gateway.settings import Settings

if TYPE_CHECKING:  # an extra
    from gateway.adapters.postgres.bookkeeping import PostgresBookkeeping
    from gateway.adapters.postgres.prune import Prunable
    from gateway.adapters.postgres.sessions import Address
    from gateway.adapters.sqlite.audit import Since as Span

T = TypeVar("T")
NO_SECRETS = (
    "The secrets are not in it: without the sealing keys and peppers, no token, payment link or event of this backup"
    " can be opened again. Keep a copy of {} elsewhere, where fewer can read it."
)
_REST_SECONDS = 0.005
_BUSY_SECONDS_MAX = 15.0
_TURN_SECONDS_MAX = 20.0


def audit_database(settings: Settings, head: Path | None, since: "Span | None", *, as_json: bool) -> None:
    """`gateway audit` of all hosts; exit code 1 when something was found. `head`: that of another host than ours."""
    from gateway.cli.books import check_there_were_some, head_keys, print_report

    file = SystemFile(head or head_path(settings))
    if head is not None and not head.exists():
        _fail(f"{head}: there is no such file")
    try:
        address = database(settings)
        from gateway.adapters.postgres.audit import AuditRefused, KeptHead, Since, audit

        report = asyncio.run(
            audit(
                address,
                keys=head_keys(settings) or None,
                head=KeptHead(file.name, file.read()),
                since=None if since is None else Since(since.batch, since.at_ms),
                progress=Progress("audited {} of {} batches"),
            )
        )
    except (StoreFailed, AuditRefused) as refused:
        _fail(str(refused))
    except OSError as error:
        _fail(f"{file.name}: {error.strerror}")
    check_there_were_some(report, since)
    if as_json:
        click.echo(json.dumps({"clean": report.clean, **asdict(report)}, indent=2))
    else:
        print_report(report, address.name)
    sys.exit(0 if report.clean else 1)


def accept_there(settings: Settings, key: bytes) -> None:
    """`gateway audit --accept-head`: this host's chain, as it ends now."""
    file = SystemFile(head_path(settings))
    try:
        seq = asyncio.run(_accept(settings, file, key))
    except (StoreFailed, OSError) as error:
        _fail(str(error))
    click.echo(f"{file.name}: accepted the chain of {settings.host_name} as it ends, with batch {seq}", err=True)


async def _accept(settings: Settings, file: SystemFile, key: bytes) -> int:
    address = database(settings)
    from gateway.adapters.postgres.head import accept_head
    from gateway.adapters.postgres.sessions import PROBLEMS

    try:
        connection = await address.connect("accept")
        try:
            return await accept_head(connection, file, key, settings.host_name)
        finally:
            await connection.close(timeout=1)
    except PROBLEMS as error:
        raise StoreFailed(address.told(error)) from error


def migrate_there(settings: Settings, *, dry_run: bool, as_json: bool) -> None:
    """`gateway db migrate` of a database: with the login of who owns its tables."""
    try:
        address = database(settings)
        from gateway.adapters.postgres.migrations import MigrationRefused
        from gateway.adapters.postgres.migrations.by_hand import migrate

        try:
            parts = asyncio.run(migrate(address, dry_run=dry_run))
        except MigrationRefused as refused:
            _fail(f"{address.name}: {refused}")
    except StoreFailed as failed:
        _fail(str(failed))
    if as_json:
        click.echo(json.dumps({"dry_run": dry_run, "parts": [asdict(part) for part in parts]}, indent=2))
        return
    for part in parts:
        names = ", ".join(part.files)
        done = f"{'pending' if dry_run else 'applied'} {names}" if names else f"up to date (schema {part.schema:04d})"
        click.echo(f"{address.name}, {part.name}: {done}")
    if dry_run and any(part.files for part in parts):
        click.echo("Nothing was changed. Before it is: `gateway db backup`")


def back_up_there(settings: Settings, folder: Path, *, as_json: bool) -> None:
    """`gateway db backup` of a database."""
    try:
        address = database(settings)
        from gateway.adapters.postgres.backup import FILE, SUMS, back_up

        backup = asyncio.run(back_up(address, folder, head=SystemFile(head_path(settings))))
    except (StoreFailed, BackupRefused) as refused:
        _fail(str(refused))
    if as_json:
        click.echo(json.dumps({**asdict(backup), "folder": str(backup.folder), "secrets": False}, indent=2))
        return
    click.echo(f"{backup.folder}")
    for file in backup.files:
        click.echo(f"  {file.name}  {file.bytes:,} bytes")
    click.echo(f"  {SUMS}, for `sha256sum --check`; the tables of schema {backup.schema}; {backup.seconds:,.1f} s")
    click.echo(f"  {NO_SECRETS.format(settings.secrets_path)}")
    there = " --schema=public" if backup.schema == "public" else ""  # which every database has, unlike another one
    click.echo(
        f"  Prove it: createdb proof && pg_restore --no-owner{there} --dbname=proof {backup.folder / FILE}, then"
        " gateway audit --store postgresql://…/proof"
    )


def balance_there(settings: Settings, account: str, unit: str) -> int:
    """What an account has as committed, on loan to hosts or not, in micros."""
    try:
        address = database(settings)
        from gateway.adapters.postgres.ledger import read_balance

        return asyncio.run(read_balance(address, account, unit, now_ms=SystemClock().now_ms()))
    except StoreFailed as failed:
        _fail(str(failed))


def visiting_keeper(settings: Settings) -> Keeper:
    """A keeper under a name of its own, so that it takes nothing over from the gateway of this host.

    All commands of a host have this one: of several at once, each waits for its turn.
    """
    clock = SystemClock()
    database(settings)  # says which packages are missing
    from gateway.adapters.postgres.desk import Turn

    turn = Turn(_TURN_SECONDS_MAX, lambda: taking_its_time("waiting for another command of this host"))
    store = shared_store(settings, clock, name=f"{settings.host_name} (command)", report=logs.report, turn=turn)
    return Keeper(store, clock, lender=store, teller=store, refunds=store)


@contextmanager
def statement_source(settings: Settings) -> Iterator[StatementSource]:
    """What a statement reads. Raises BooksRefused."""
    address = _patient(settings)
    from gateway.adapters.postgres.statement import PostgresStatementSource

    with PostgresStatementSource(address) as source:
        yield source


def fold_there(settings: Settings) -> Folded:
    """Fold everything up to now, beside the gateways. Raises BooksRefused."""

    async def work(books: "PostgresBookkeeping") -> Folded:
        from gateway.adapters.postgres.bookkeeping import EVERYTHING_MS

        await _to_the_end(lambda: books.fold(closed_before_ms=EVERYTHING_MS))
        return books.done

    return asyncio.run(_with_books(settings, (), work))


def prune_there(settings: Settings, keys: Sequence[bytes], *, before_ms: int, dry_run: bool) -> "Prunable":
    """Drop batches, unless it is a dry run; what would go, or went. Raises BooksRefused."""

    async def work(books: "PostgresBookkeeping") -> "Prunable":
        plan = await books.prunable(before_ms=before_ms)
        if not dry_run:
            await _to_the_end(lambda: books.prune(before_ms=before_ms))
        return plan

    return asyncio.run(_with_books(settings, keys, work))


async def _with_books(
    settings: Settings, keys: Sequence[bytes], work: Callable[["PostgresBookkeeping"], Awaitable[T]]
) -> T:
    address = _patient(settings)
    from gateway.adapters.postgres.bookkeeping import PostgresBookkeeping

    books = PostgresBookkeeping(address, keys, name=f"{settings.host_name} (command)")
    try:
        return await work(books)
    except StoreBusy:
        raise BooksRefused("another command is folding or pruning these books; try again when it is done") from None
    except StoreFailed as failed:
        raise BooksRefused(str(failed)) from failed
    finally:
        await books.close()


async def _to_the_end(step: Callable[[], Awaitable[bool]]) -> None:
    """With a rest after each step. A gateway whose turn it is gives it up; another command is waited for."""
    patience = time.monotonic() + _BUSY_SECONDS_MAX
    more = True
    while more:
        try:
            more = await step()
            patience = time.monotonic() + _BUSY_SECONDS_MAX
        except StoreBusy:
            if time.monotonic() > patience:
                raise
        await asyncio.sleep(_REST_SECONDS)


def _patient(settings: Settings) -> "Address":
    """The database, for a command that nobody waits for but who gave it. Raises BooksRefused."""
    try:
        address = database(settings)
    except StoreFailed as failed:
        raise BooksRefused(str(failed)) from failed
    from gateway.adapters.postgres.sessions import Bounds

    address.bounds = Bounds(connect=10, statement=600, answer=610)
    return address


def _fail(words: str) -> NoReturn:
    click.echo(f"gateway: {words}", err=True)
    sys.exit(3)
