"""`gateway payments list`: what was paid, of all or of one account and whatever was joined to it."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from gateway.adapters.system import SystemClock
from gateway.app.stores import credit_lines
from gateway.cli.payments import moment
from gateway.cli.reconcile import seconds_of
from gateway.cli.records import aliases_of, opened, read_for, read_with_records, run, write_down
from gateway.core.purses import purse_named
from gateway.ports import CreditLine

_KINDS = {"cs": "checkout", "pi": "saved card", "in": "subscription"}


def list_paid(config: Path, account: str | None, *, since: str | None, as_json: bool) -> None:
    """`gateway payments list`: oldest first, as credited. On the trail first: it shows who paid what."""
    settings = read_with_records(config) if account is None else read_for(config, account)
    begin = 0 if since is None else seconds_of(since, "--since") * 1000

    async def look() -> list[tuple[CreditLine, str]]:
        async with opened(settings) as here:
            await write_down(settings, here, "payment.list", account or "everyone")
            root = (await aliases_of(here)).root
        lines = await credit_lines(settings).credits_between(begin, SystemClock().now_ms() + 1)
        found = [(line, root(line.account)) for line in lines]
        return [(line, whose) for line, whose in found if account is None or whose == root(account)]

    _say(run(look()), as_json=as_json)


def _say(found: Sequence[tuple[CreditLine, str]], *, as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps([_told(line, whose) for line, whose in found]))
        return
    for line, whose in found:
        one = _told(line, whose)
        click.echo(f"{one['at']}  {one['amount']}  {one['kind']} {one['payment']}  {whose}")
    if not found:
        click.echo("nothing was paid")


def _told(line: CreditLine, whose: str) -> dict[str, Any]:
    payment = purse_named(line.ref.removeprefix("stripe:"))[0]
    kind = _KINDS[payment.partition("_")[0]]
    return {"at": moment(line.at_ms), "payment": payment, "kind": kind, "amount": str(line.amount), "account": whose}
