"""`gateway notices list|replay`: beside a running gateway, which delivers within seconds, or without one."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import get_args

import click

from gateway.adapters.system import SystemClock
from gateway.cli.configuration import read
from gateway.cli.payments import fail, moment, run
from gateway.cli.records import Records, opened, write_down
from gateway.core.outgoing import Outgoing, State
from gateway.ports import Outbox
from gateway.settings import Settings
from gateway.web.watched import told_notice

_FAILED_MAX = 1000


def list_notices(config: Path, *, state: str | None, limit: int, as_json: bool) -> None:
    """The newest first."""
    settings = read(config, make_secrets=False)
    wanted: State | None = next((one for one in get_args(State) if one == state), None)

    async def look() -> list[Outgoing]:
        async with _records(settings) as here:
            await write_down(settings, here, "notice.list", "everyone")
            return await here.outbox.entries(wanted, count=limit)

    _tell(run(look()), as_json=as_json)


def replay_notices(config: Path, ids: tuple[str, ...], *, all_failed: bool, dry_run: bool, as_json: bool) -> None:
    """Those that wait are left as they are."""
    if bool(ids) == all_failed:
        fail("say which messages, or --failed for all that were given up", code=2)
    settings = read(config, make_secrets=False)

    async def replay() -> list[Outgoing]:
        async with _records(settings) as here:
            outbox = here.outbox
            chosen = [one.id for one in await outbox.entries("failed", count=_FAILED_MAX)] if all_failed else ids
            for id in chosen:
                await _found(outbox, id)  # first of all: none is sent again if one of them is not there
            if chosen and not dry_run:
                facts = {"messages": str(len(chosen))} if all_failed else {}
                await write_down(settings, here, "notice.replay", "failed" if all_failed else " ".join(chosen), **facts)
            return [await _replay(outbox, id, dry_run=dry_run) for id in chosen]

    _tell(run(replay()), as_json=as_json)


async def _replay(outbox: Outbox, id: str, *, dry_run: bool) -> Outgoing:
    if not dry_run:
        await outbox.again(id, now_ms=SystemClock().now_ms())
    return await _found(outbox, id)


async def _found(outbox: Outbox, id: str) -> Outgoing:
    found = await outbox.find(id)
    if found is None:
        raise ValueError(f"{id}: there is no such message; it may be so old that it was dropped")
    return found


@asynccontextmanager
async def _records(settings: Settings) -> AsyncIterator[Records]:
    if settings.store_url is None and not settings.store_path.exists():
        fail(f"there is no ledger at {settings.store_path} yet; `gateway run` makes it")
    if not settings.secrets.sealing_keys:
        fail("there are no sealing keys here: no gateway has run with this configuration")
    async with opened(settings) as here:
        yield here


def _tell(found: list[Outgoing], *, as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps([told_notice(one) for one in found]))
        return
    for one in found:
        why = f": {one.error}" if one.error else ""
        about = f"{one.type}  {one.account}  {one.channel}"
        click.echo(f"{one.id}  {moment(one.created_ms)}  {about}  {one.state}, {one.tries} tries{why}")
    if not found:
        click.echo("there are none")
