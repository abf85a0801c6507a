"""`gateway owners list|show|statement`: what routes of each owner took, what of it is the platform's, and what is due.

It reads one snapshot of the books, beside a gateway that runs or without one, and writes nothing.
"""

import csv
import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import click

from gateway.app.stores import statement_books
from gateway.cli.configuration import read
from gateway.cli.ledger import period_of
from gateway.cli.progress import Progress
from gateway.cli.records import fail
from gateway.core.dues import STATEMENT, Due, DueLine, Taking, by_rate, by_route, due_lines, statement
from gateway.core.money import Money
from gateway.flows.add_up import OwnersSums, entries_of_dues, takings
from gateway.ports import BooksRefused, BooksSlow
from gateway.settings import Settings

_SECONDS_MAX = 3600.0


def list_owners(config: Path, *, as_json: bool) -> None:
    """Those that the configuration names, and those that ever took something."""
    settings = read(config, make_secrets=False)
    sums = _read(settings)
    lines = due_lines(sums.takings, sums.left, sums.freed)
    names = sorted({*settings.owners, *(line.due.owner for line in lines)})
    told = [_told(settings, name, sums.takings, lines) for name in names]
    kept = _kept([line.due for line in lines])
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
    sums = _sums_of(settings, name)
    found, rates = sums.takings, by_rate(sums.takings)
    told = _told(settings, name, found, due_lines(found, sums.left, sums.freed)) | {
        "rates": [{"commission_bps": due.commission_points, **_told_share(due)} for due in rates],
        "took": [{"route": taking.route, **_told_taking(taking)} for taking in by_route(found)],
    }
    if as_json:
        click.echo(json.dumps(told))
        return
    lines = list(_said(told))
    lines += [f"  at {one['commission_bps']} bps: sold {one['sold']}, share {one['share']}" for one in told["rates"]]
    lines += [
        f"  {one['route']} at {one['commission_bps']} bps: {one['requests']:,} requests, sold {one['sold']}"
        for one in told["took"]
    ]
    click.echo("\n".join(lines))


def write_statement(config: Path, name: str, *, begin: str | None, end: str | None, form: str) -> None:
    """Day by day and route by route, and then what left that day, on standard output."""
    period = period_of(begin, end)
    sums = _sums_of(read(config, make_secrets=False), name)
    lines = statement(sums.takings, sums.moved, period)
    if form == "jsonl":
        for line in lines:
            click.echo(json.dumps(line))
        return
    writer = csv.DictWriter(sys.stdout, STATEMENT)
    writer.writeheader()
    writer.writerows(lines)


def _sums_of(settings: Settings, name: str) -> OwnersSums:
    sums = _read(settings)
    found = [taking for taking in sums.takings if taking.owner == name]
    if name not in settings.owners and not found:
        fail(f"there is no owner {name}: neither in the configuration nor in the books")
    parts = ({key: moved for key, moved in part.items() if key[0] == name} for part in (sums.left, sums.freed))
    left, freed = parts
    return OwnersSums(found, left, freed=freed)


def _read(settings: Settings) -> OwnersSums:
    """What routes took, and what left their owners; of one snapshot."""
    try:
        with statement_books(settings).open(seconds=_SECONDS_MAX) as source:
            found = takings(source, Progress("read {} of {} batches"))
            names = {*settings.owners, *(taking.owner for taking in found)}
            left, freed = entries_of_dues(source, names, "shares"), entries_of_dues(source, names, "proceeds")
            return OwnersSums(found, left, freed=freed)
    except BooksSlow:
        fail(f"the books could not be read within {_SECONDS_MAX:,.0f} seconds")
    except BooksRefused as refused:
        fail(str(refused))


def _told(settings: Settings, name: str, found: Sequence[Taking], lines: Sequence[DueLine]) -> dict[str, Any]:
    """`commission_bps` is that of new requests on routes that say no other; None for who is not named any more."""
    ours = settings.owners.get(name)
    routes = {route.name for route in settings.routes.routes if route.owner == name}
    routes |= {taking.route for taking in found if taking.owner == name}
    return {
        "owner": name,
        "commission_bps": ours.commission_points if ours else None,
        "routes": sorted(routes),
        "dues": [_told_due(line) for line in lines if line.due.owner == name],
    }


def _told_due(line: DueLine) -> dict[str, Any]:
    """`due` is the share, and what was held and is free, less what left."""
    unit = line.due.unit
    return {
        **_told_share(line.due),
        "freed": str(Money(line.freed, unit)),
        "paid_out": str(Money(line.paid_out, unit)),
        "clawed_back": str(Money(line.clawed_back, unit)),
        "due": str(Money(line.left, unit)),
        "not_folded": str(Money(line.due.open, unit)),
    }


def _told_share(due: Due) -> dict[str, Any]:
    return {
        "unit": due.unit,
        "requests": due.requests,
        "sold": str(Money(due.sold, due.unit)),
        "commission": str(Money(due.commission, due.unit)),
        "share": str(Money(due.share, due.unit)),
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
        freed = f", was held and is free {due['freed']}" if float(due["freed"].split()[0]) else ""
        yield (
            f"  sold {due['sold']} in {due['requests']:,} requests, commission {due['commission']}{freed}, paid out"
            f" {due['paid_out']}, clawed back {due['clawed_back']}, due {due['due']} ({due['not_folded']} of it in"
            " hours that are not over)"
        )


def _kept(dues: Sequence[Due]) -> dict[str, int]:
    """What of it all is the platform's, by unit."""
    sums: dict[str, int] = {}
    for due in dues:
        sums[due.unit] = sums.get(due.unit, 0) + due.commission
    return {unit: micros for unit, micros in sorted(sums.items()) if micros}
