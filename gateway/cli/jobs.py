"""`gateway jobs list|show|retry`: beside a running gateway, which takes them up within seconds, or without one."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from gateway.adapters.jobs import JobBook
from gateway.adapters.sqlite.records import SqliteRecords
from gateway.adapters.system import SystemClock
from gateway.cli.records import Records, fail, opened, read_with_records, run, write_down
from gateway.core.jobs import STATES, Job
from gateway.web.people import told_job

_FAILED_MAX = 1000


def list_jobs(config: Path, *, state: str | None, limit: int, as_json: bool) -> None:
    """The newest first."""
    settings = read_with_records(config)
    wanted = next((one for one in STATES if one == state), None)

    async def look() -> list[Job]:
        async with opened(settings) as here:
            return await _book(here).list_jobs(state=wanted, user=None, count=limit)

    _tell(run(look()), as_json=as_json)


def show_job(config: Path, id: str, *, as_json: bool) -> None:
    settings = read_with_records(config)

    async def look() -> Job:
        async with opened(settings) as here:
            return await _found(_book(here), id)

    job = run(look())
    if as_json:
        click.echo(json.dumps(_told(job)))
        return
    for name, value in _told(job).items():
        click.echo(f"{name}: {json.dumps(value) if isinstance(value, dict) else '-' if value is None else value}")


def retry_jobs(config: Path, ids: tuple[str, ...], *, all_failed: bool, dry_run: bool, as_json: bool) -> None:
    """Those that are not given up are left as they are."""
    if bool(ids) == all_failed:
        fail("say which jobs, or --failed for all that were given up", code=2)
    settings = read_with_records(config)

    async def retry() -> list[Job]:
        async with opened(settings) as here:
            book = _book(here)
            given_up = await book.list_jobs(state="failed", user=None, count=_FAILED_MAX) if all_failed else ()
            chosen: Sequence[str] = [one.id for one in given_up] or ids
            for id in chosen:
                await _found(book, id)  # first of all: none is tried again if one of them is not there
            for id in () if dry_run else chosen:
                await write_down(settings, here, "job.retry", id)
                await book.again_job(id, now_ms=SystemClock().now_ms())
            return [await _found(book, id) for id in chosen]

    _tell(run(retry()), as_json=as_json)


async def _found(book: JobBook, id: str) -> Job:
    found = await book.find_job(id)
    if found is None:
        raise ValueError(f"{id}: there is no such job")
    return found


def _book(here: Records) -> JobBook:
    return JobBook(here.ask, shared=not isinstance(here, SqliteRecords))


def _told(job: Job) -> dict[str, Any]:
    return {**told_job(job), "user": job.user}


def _tell(found: Sequence[Job], *, as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps([_told(one) for one in found]))
        return
    for one in found:
        told = _told(one)
        why = f": {one.error}" if one.error else ""
        click.echo(
            f"{one.id}  {told['created']}  {one.kind} {one.provider}  {one.user}  {one.state}, {one.tries} tries{why}"
        )
    if not found:
        click.echo("there are none")
