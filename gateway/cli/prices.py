"""`gateway prices replay`: what requests since a day would have earned by the prices of a configuration.

It reads the books and what meters read, beside a gateway that runs or without one, and writes nothing.
"""

import asyncio
import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import Any

import click

from gateway.adapters.sqlite.scratch import SqliteScratch
from gateway.app.stores import statement_books
from gateway.cli.ledger import period_of
from gateway.cli.progress import Progress
from gateway.cli.records import Records, fail, opened, read_with_records, run
from gateway.core.measured import Measured
from gateway.core.money import written
from gateway.core.replay import Replay, Replayed
from gateway.core.statements import Line, Period
from gateway.flows.statement import Statement
from gateway.ports import StatementSource
from gateway.settings import Settings

_A_STEP = 500
_SECONDS_MAX = 3600.0


def replay_prices(config: Path, *, since: str, until: str | None, as_json: bool) -> None:
    """`gateway prices replay`."""
    period = period_of(since, until, since="--since")
    settings = read_with_records(config)
    replay = Replay({route.name: route for route in settings.routes.routes}, settings.currency)

    run(_replay(replay, settings, period))
    rows = [_told(route, found, settings) for route, found in sorted(replay.found.items())]
    if as_json:
        click.echo(json.dumps({"currency": settings.currency, "routes": rows}, indent=2))
        return
    for row in rows:
        click.echo(_said(row, settings.currency))
    if not rows:
        fail("the books hold no request since then that was charged", code=1)


async def _replay(replay: Replay, settings: Settings, period: Period) -> None:
    """The books are read in a thread of their own, some requests at a time."""
    loop = asyncio.get_running_loop()
    with ThreadPoolExecutor(1) as reader:
        async with opened(settings) as here:
            steps = _steps(settings, period)
            while lines := await loop.run_in_executor(reader, next, steps, None):
                await _take(replay, lines, here)


def _steps(settings: Settings, period: Period) -> Iterator[list[Line]]:
    with statement_books(settings).open(seconds=_SECONDS_MAX) as source:
        rest = _requests(source, period)
        while step := list(islice(rest, _A_STEP)):
            yield step


def _requests(source: StatementSource, period: Period) -> Iterator[Line]:
    """All that were charged, owner by owner."""
    progress = Progress("read {} of {} batches")
    for owner in sorted({owner for _, owner, route in source.tariffs() if route}):
        statement = Statement(source, period, owner=owner, scratch=SqliteScratch, progress=progress)
        yield from statement.requests()


async def _take(replay: Replay, lines: list[Line], here: Records) -> None:
    read = await here.readings.of([line.id for line in lines if line.type == "request"])
    for line in lines:
        contents = read.get(line.id)
        replay.take(line, Measured.unpacked(contents) if contents is not None else None)


def _told(route: str, found: Replayed, settings: Settings) -> dict[str, Any]:
    return {
        "route": route,
        "requests": found.requests,
        "earned": written(found.earned),
        "would_have_earned": written(found.would_earn),
        "difference": written(found.would_earn - found.earned),
        "not_replayed": {"requests": found.unknown, "earned": written(found.earned_of_unknown)},
    }


def _said(row: dict[str, Any], currency: str) -> str:
    sign = "" if row["difference"].startswith("-") else "+"
    requests = "1 request" if row["requests"] == 1 else f"{row['requests']:,} requests"
    said = (
        f"{row['route']}: {requests} earned {row['earned']} {currency}, would have earned"
        f" {row['would_have_earned']} {currency} ({sign}{row['difference']})"
    )
    rest = row["not_replayed"]
    return said + (f"; {rest['requests']:,} that earned {rest['earned']} are not known" if rest["requests"] else "")
