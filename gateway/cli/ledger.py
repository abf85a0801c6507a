"""The commands about the books: `ledger export`, `ledger fold` and `db prune`.

They work beside a gateway that keeps the books: export reads one snapshot; fold and prune write in short transactions
between the gateway's commits, which they never keep waiting for longer than one of its own. For books that many hosts
share see `hosts.py`.
"""

import csv
import json
import sqlite3
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn, TypeVar

import click

from gateway.adapters.sqlite.bookkeeping import EVERYTHING_MS, open_books
from gateway.adapters.sqlite.fold import Fold
from gateway.adapters.sqlite.prune import Prunable, Prune
from gateway.adapters.sqlite.rights import why
from gateway.adapters.sqlite.scratch import SqliteScratch
from gateway.adapters.sqlite.statement import SqliteStatementSource
from gateway.adapters.system import SystemClock
from gateway.app.stores import records_path
from gateway.cli.books import head_keys
from gateway.cli.configuration import read
from gateway.cli.hosts import fold_there, prune_there, statement_source
from gateway.cli.records import opened, run, write_down
from gateway.core.folding import Folded
from gateway.core.statements import COLUMNS, FAR_MS, Line, Period, columns
from gateway.flows.maintain import DAY_MS
from gateway.flows.statement import Statement
from gateway.ports import BooksRefused, StatementSource
from gateway.settings import Settings

if TYPE_CHECKING:  # an extra
    from gateway.adapters.postgres.prune import Prunable as PrunableThere

_REST_SECONDS = 0.005
T = TypeVar("T")
_BUSY_SECONDS_MAX = 10.0


def export_statement(
    config: Path,
    store: Path | None,
    *,
    account: str | None,
    owner: str | None,
    begin: str | None,
    end: str | None,
    form: str,
    summary: bool,
) -> None:
    """`gateway ledger export`: lines on standard output as they are found."""
    if account is not None and owner is not None:
        _fail("a statement is of one of them: write --account or --owner, not both", code=2)
    if account is None and owner is None:
        _fail("say whose statement it is: --account or --owner", code=2)
    period = period_of(begin, end)
    settings = None if store is not None else read(config, make_secrets=False)
    try:
        with _source(settings, store) as source:
            statement = Statement(
                source, period, account=account, owner=owner, scratch=SqliteScratch, progress=_progress
            )
            if settings is not None:  # not before: what was mistyped is nobody's, and may be anything
                _put_on_trail(settings, account or f"owner:{owner}")
            _write(statement.summary() if summary else statement.requests(), form)
    except BrokenPipeError:
        sys.stderr.close()  # whoever read has enough
        sys.exit(0)
    except sqlite3.Error as error:
        _fail(why(store or _path(settings), error))
    except BooksRefused as refused:
        _fail(str(refused))


def _put_on_trail(settings: Settings, whose: str) -> None:
    """Who looks at what was paid is on the trail first. Copies of books, and books without records, have none."""
    if not settings.secrets.sealing_keys:
        return
    if settings.store_url is None and not records_path(settings.store_path).exists():
        return

    async def write() -> None:
        async with opened(settings) as here:
            await write_down(settings, here, "ledger.export", whose)

    run(write())


@contextmanager
def _source(settings: Settings | None, store: Path | None) -> Iterator[StatementSource]:
    if settings is not None and settings.store_url is not None:
        with statement_source(settings) as source:
            yield source
        return
    path = store or _path(settings)
    with closing(open_books(path, write=False)) as sql:
        yield SqliteStatementSource(sql)


def _path(settings: Settings | None) -> Path:
    assert settings is not None
    return settings.store_path


def _write(lines: Iterator[Line], form: str) -> None:
    if form == "jsonl":
        for line in lines:
            sys.stdout.write(json.dumps(columns(line)) + "\n")
    else:
        writer = csv.DictWriter(sys.stdout, COLUMNS)
        writer.writeheader()
        writer.writerows(map(columns, lines))
    sys.stdout.flush()


def fold_books(config: Path, store: Path | None, *, as_json: bool) -> None:
    """`gateway ledger fold`: everything up to now."""
    settings = None if store is not None else read(config, make_secrets=False)
    if settings is not None and settings.store_url is not None:
        try:
            _tell_folded(f"the books of {settings.host_name} and all others", fold_there(settings), as_json=as_json)
        except BooksRefused as refused:
            _fail(str(refused))
        return
    path = store or _path(settings)
    (last,) = _once(path, lambda sql: sql.execute("SELECT coalesce(max(seq), 0) FROM batch").fetchone())
    fold = Fold(until=last)
    _step_by_step(path, lambda sql: fold.step(sql, closed_before_ms=EVERYTHING_MS))
    _tell_folded(str(path), fold.done, as_json=as_json)


def _tell_folded(where: str, done: Folded, *, as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps(asdict(done)))
    else:
        click.echo(f"{where}: folded {done.batches:,} batches, {done.records:,} records: {done.transfers:,} transfers")


def prune_books(config: Path, *, before: str | None, keep_days: int | None, dry_run: bool, as_json: bool) -> None:
    """`gateway db prune`: drop batches that are rolled up."""
    settings = read(config, make_secrets=False)
    path, days = settings.store_path, keep_days if keep_days is not None else settings.retention.batches_days
    if before is not None and keep_days is not None:
        _fail("say --before or --keep-days, not both", code=2)
    if before is None and days is None:
        _fail("say what to keep: --before, --keep-days, or the setting retention.batches_days", code=2)
    keys = head_keys(settings)
    if not keys:
        _fail("there is no sealing key to sign with; put secrets/sealing_key back")
    before_ms = SystemClock().now_ms() - (days or 0) * DAY_MS if before is None else moment_of(before, "--before", 0)
    if settings.store_url is not None:
        try:
            there = prune_there(settings, keys, before_ms=before_ms, dry_run=dry_run)
        except BooksRefused as refused:
            _fail(str(refused))
        _tell_pruned(f"the books of {settings.host_name} and all others", there, dry_run=dry_run, as_json=as_json)
        return
    prune = Prune(path, keys)
    plan = _once(path, lambda sql: prune.prunable(sql, before_ms=before_ms))
    if not dry_run:
        _step_by_step(path, lambda sql: prune.step(sql, before_ms=before_ms))
    _tell_pruned(str(path), plan, dry_run=dry_run, as_json=as_json)


def _tell_pruned(path: str, plan: "Prunable | PrunableThere", *, dry_run: bool, as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps({"dry_run": dry_run, **asdict(plan)}))
        return
    would = "would be dropped" if dry_run else "dropped"
    if not plan.batches:
        click.echo(f"{path}: nothing to drop: only old batches that are folded and that nothing needs can go")
        return
    up_to = f"up to {plan.last}" if isinstance(plan, Prunable) else f"of {len(plan.last)} hosts"
    click.echo(f"{path}: {plan.batches:,} batches {up_to} {would}, {plan.records:,} records, {plan.bytes:,} bytes")
    click.echo("  their hourly sums, transfers and credits stay; the space is used again for new batches")


def _once(path: Path, work: Callable[[sqlite3.Connection], T]) -> T:
    try:
        with closing(open_books(path, write=False)) as sql:
            return work(sql)
    except (BooksRefused, sqlite3.Error) as error:
        _fail(why(path, error) if isinstance(error, sqlite3.Error) else str(error))


def _step_by_step(path: Path, step: Callable[[sqlite3.Connection], bool]) -> None:
    """To the end, with a rest after each step, so that a gateway that keeps the books goes first."""
    patience = time.monotonic() + _BUSY_SECONDS_MAX
    try:
        with closing(open_books(path, write=True)) as sql:
            more = True
            while more:
                try:
                    more = step(sql)
                    patience = time.monotonic() + _BUSY_SECONDS_MAX
                except sqlite3.OperationalError as error:
                    if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > patience:
                        raise
                time.sleep(_REST_SECONDS)
    except (BooksRefused, sqlite3.Error) as error:
        _fail(why(path, error) if isinstance(error, sqlite3.Error) else str(error))


def moment_of(text: str | None, option: str, otherwise: int) -> int:
    """`2026-11-01` or `2026-11-01T12:00` in UTC (or with an offset), in milliseconds."""
    if text is None:
        return otherwise
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        _fail(f"{option}: {text!r} is no date; write 2026-11-01 or 2026-11-01T12:00", code=2)
    return int((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() * 1000)


def period_of(begin: str | None, end: str | None, *, since: str = "--from") -> Period:
    """What two options say. The command ends if the one is not before the other: nothing is no answer to that."""
    period = Period(moment_of(begin, since, 0), moment_of(end, "--to", FAR_MS))
    if period.begin_ms >= period.end_ms:
        _fail(f"{since}: {begin} is not before --to, {end}", code=2)
    return period


def _progress(done: int, total: int) -> None:
    if sys.stderr.isatty() and total:
        click.echo(f"\rread {done:,} of {total:,} batches", nl=done == total, err=True)


def _fail(words: str, *, code: int = 3) -> NoReturn:
    click.echo(f"gateway: {words}", err=True)
    sys.exit(code)
