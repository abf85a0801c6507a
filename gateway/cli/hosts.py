"""The commands about money on a database that many hosts share.

Nothing is locked there: a command that writes is a host of its own for a moment, beside those that run.
"""

import asyncio
import json
import sys
from dataclasses import asdict
from typing import NoReturn

import click

from gateway.adapters import logs
from gateway.adapters.system import SystemClock
from gateway.app.gateway import database, shared_store
from gateway.cli.progress import Progress
from gateway.flows.keep import Keeper
from gateway.ports import StoreFailed
from gateway.settings import Settings


def audit_database(settings: Settings, *, as_json: bool) -> None:
    """`gateway audit` of all hosts; exit code 1 when something was found."""
    from gateway.cli.books import print_report

    try:
        address = database(settings)
        from gateway.adapters.postgres.audit import AuditRefused, audit

        report = asyncio.run(audit(address, progress=Progress("audited {} of {} batches")))
    except (StoreFailed, AuditRefused) as refused:
        _fail(str(refused))
    if as_json:
        click.echo(json.dumps({"clean": report.clean, **asdict(report)}, indent=2))
    else:
        print_report(report, address.name)
    sys.exit(0 if report.clean else 1)


def balance_there(settings: Settings, account: str) -> int:
    """What an account has as committed, on loan to hosts or not, in micros."""
    try:
        address = database(settings)
        from gateway.adapters.postgres.ledger import read_balance

        return asyncio.run(read_balance(address, account, settings.currency))
    except StoreFailed as failed:
        _fail(str(failed))


def visiting_keeper(settings: Settings) -> Keeper:
    """A keeper under a name of its own, so that it takes nothing over from the gateway of this host."""
    clock = SystemClock()
    store = shared_store(settings, clock, name=f"{settings.host_name} (command)", report=logs.report)
    return Keeper(store, clock, lender=store, teller=store)


def _fail(words: str) -> NoReturn:
    click.echo(f"gateway: {words}", err=True)
    sys.exit(3)
