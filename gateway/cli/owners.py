"""`gateway owners list|show|statement`: what routes of each owner took, what of it is the platform's, and what is due.

It reads one snapshot of the books, beside a gateway that runs or without one, and writes nothing.
"""

import csv
import json
import sys
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from gateway.app.stores import statement_books
from gateway.cli.configuration import read
from gateway.cli.ledger import moment_of
from gateway.cli.progress import Progress
from gateway.cli.records import fail
from gateway.core.dues import DayLine, Due, Taking, by_day, by_rate, by_route, by_unit
from gateway.core.money import Money, written
from gateway.core.statements import FAR_MS, Period
from gateway.flows.add_up import takings
from gateway.ports import BooksRefused, BooksSlow
from gateway.settings import Settings

_SECONDS_MAX = 3600.0
_COLUMNS = ("day", "route", "unit", "commission_bps", "requests", "sold", "commission", "share")


def list_owners(config: Path, *, as_json: bool) -> None:
    """Those that the configuration names, and those that ever took something."""
    settings = read(config, make_secrets=False)
    found = _takings(settings)
    dues = by_unit(by_rate(found))
    names = sorted({*settings.owners, *(due.owner for due in dues)})
    told = [_told(settings, name, found, [due for due in dues if due.owner == name]) for name in names]
    kept = _kept(dues)
    if as_json:
        platform = [{"unit": unit, "commission": str(Money(micros, unit))} for unit, micros in kept.items()]
        click.echo(json.dumps({"owners": told, "platform": platform}))
        return
    for one in told:
        click.echo("\n".join(_said(one)))
    if not told:
        click.echo("there are none")
    for unit, micros in kept.items():
        click.echo(f"the platform's commissions: {Money(micros, unit)}")


def show_owner(config: Path, name: str, *, as_json: bool) -> None:
    """One of them: also rate by rate, and route by route."""
    settings = read(config, make_secrets=False)
    found = _takings_of(settings, name)
    rates = by_rate(found)
    told = _told(settings, name, found, by_unit(rates)) | {
        "rates": [{"commission_bps": due.commission_points, **_told_due(due)} for due in rates],
        "took": [{"route": taking.route, **_told_taking(taking)} for taking in by_route(found)],
    }
    if as_json:
        click.echo(json.dumps(told))
        return
    lines = list(_said(told))
    lines += [f"  at {one['commission_bps']} bps: sold {one['sold']}, due {one['due']}" for one in told["rates"]]
    lines += [
        f"  {one['route']} at {one['commission_bps']} bps: {one['requests']:,} requests, sold {one['sold']}"
        for one in told["took"]
    ]
    click.echo("\n".join(lines))


def write_statement(config: Path, name: str, *, begin: str | None, end: str | None, form: str) -> None:
    """Day by day and route by route, on standard output."""
    period = Period(moment_of(begin, "--from", 0), moment_of(end, "--to", FAR_MS))
    lines = by_day(_takings_of(read(config, make_secrets=False), name), period)
    if form == "jsonl":
        for line in lines:
            click.echo(json.dumps(_columns(line)))
        return
    writer = csv.DictWriter(sys.stdout, _COLUMNS)
    writer.writeheader()
    writer.writerows(map(_columns, lines))


def _columns(line: DayLine) -> dict[str, Any]:
    day = datetime.fromtimestamp(line.begin_ms / 1000, UTC).date().isoformat()
    amounts = (written(line.sold), written(line.commission), written(line.share))
    values = (day, line.route, line.unit, line.commission_points, line.requests, *amounts)
    return dict(zip(_COLUMNS, values, strict=True))


def _takings_of(settings: Settings, name: str) -> list[Taking]:
    found = [taking for taking in _takings(settings) if taking.owner == name]
    if name not in settings.owners and not found:
        fail(f"there is no owner {name}: neither in the configuration nor in the books")
    return found


def _takings(settings: Settings) -> list[Taking]:
    try:
        with statement_books(settings).open(seconds=_SECONDS_MAX) as source:
            return takings(source, Progress("read {} of {} batches"))
    except BooksSlow:
        fail(f"the books could not be read within {_SECONDS_MAX:,.0f} seconds")
    except BooksRefused as refused:
        fail(str(refused))


def _told(settings: Settings, name: str, found: Sequence[Taking], dues: Sequence[Due]) -> dict[str, Any]:
    """`commission_bps` is that of new requests on routes that say no other; None for who is not named any more."""
    ours = settings.owners.get(name)
    routes = {route.name for route in settings.routes.routes if route.owner == name}
    routes |= {taking.route for taking in found if taking.owner == name}
    return {
        "owner": name,
        "commission_bps": ours.commission_points if ours else None,
        "routes": sorted(routes),
        "dues": [_told_due(due) for due in dues],
    }


def _told_due(due: Due) -> dict[str, Any]:
    return {
        "unit": due.unit,
        "requests": due.requests,
        "sold": str(Money(due.sold, due.unit)),
        "commission": str(Money(due.commission, due.unit)),
        "due": str(Money(due.share, due.unit)),
        "not_folded": str(Money(due.open, due.unit)),
    }


def _told_taking(taking: Taking) -> dict[str, Any]:
    return {
        "commission_bps": taking.commission_points,
        "unit": taking.unit,
        "requests": taking.requests,
        "sold": str(Money(taking.micros, taking.unit)),
    }


def _said(told: dict[str, Any]) -> Iterator[str]:
    rate = "not in the configuration" if told["commission_bps"] is None else f"{told['commission_bps']} bps"
    yield f"{told['owner']}  {rate}  routes: {', '.join(told['routes']) or 'none'}"
    for due in told["dues"]:
        yield (
            f"  sold {due['sold']} in {due['requests']:,} requests, commission {due['commission']},"
            f" due {due['due']} ({due['not_folded']} of it in hours that are not over)"
        )


def _kept(dues: Sequence[Due]) -> dict[str, int]:
    """What of it all is the platform's, by unit."""
    sums: dict[str, int] = {}
    for due in dues:
        sums[due.unit] = sums.get(due.unit, 0) + due.commission
    return {unit: micros for unit, micros in sorted(sums.items()) if micros}
