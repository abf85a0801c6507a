"""`gateway charges …` and `gateway payouts cancel`: an operator gives up what waits, or has failed.

Giving up is safe to repeat, and beside a gateway that runs: whoever else is at it, one of the two is told no.
"""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import click

from gateway.adapters.charging import ChargeRecords
from gateway.adapters.payouts import RecordedPayouts
from gateway.app.office import Office
from gateway.cli.configuration import read
from gateway.cli.payments import NoEntries, books, fail, moment, office, run
from gateway.cli.payouts import said as said_payout
from gateway.cli.payouts import told as told_payout
from gateway.cli.records import opened, plain_reason, read_with_records
from gateway.cli.records import run as run_records
from gateway.core.charges import CHARGE_STATES, NEXT, WAIVED, Charge
from gateway.core.charges import told as told_charge
from gateway.core.payouts import Payout, read_payout_id
from gateway.core.refusals import ChargeConflict
from gateway.settings import Settings

STATES = CHARGE_STATES
_PAGE = 500


def list_charges(config: Path, *, state: str | None, limit: int, as_json: bool) -> None:
    """The newest first."""
    settings = read_with_records(config)

    async def look() -> list[Charge]:
        async with opened(settings) as here:
            book, found, before = ChargeRecords(here.ask), list[Charge](), None
            live = settings.mode == "live"
            while page := await book.charges(live=live, user=None, before=before, count=_PAGE):
                found += [one for one in page if state in (None, one.state)]
                before = page[-1]
                if len(found) >= limit:
                    break
            return found[:limit]

    found = run_records(look())
    if as_json:
        click.echo(json.dumps([_told(one) for one in found]))
        return
    click.echo("\n".join(_said(one) for one in found) or "there are none")


def waive_charge(config: Path, id: str, *, reason: str, dry_run: bool, as_json: bool) -> None:
    """Exit code 3 if there is nothing to give up."""
    settings, reason = _read(config, reason)

    async def waive() -> Charge:
        async with _office(settings, writes=not dry_run) as here:
            charge = here.charge
            found = await ChargeRecords(here.records.ask).find_charge(id)
            if charge is None or found is None or found.live != (settings.mode == "live"):
                raise ValueError(f"there is no charge {id[:80]}")
            if (found.state, "waived") not in NEXT or found.reason == WAIVED:
                raise ValueError(f"{id}: there is nothing to give up: {found.reason or found.status}")
            return found if dry_run else await charge.waive(found, reason)

    try:
        found = run(waive())
    except ChargeConflict:
        fail(f"{id}: it is tried just now; look again in a minute")
    if as_json:
        click.echo(json.dumps({"dry_run": dry_run, **_told(found)}))
    elif dry_run:
        seller = f", and {found.amount} would be due to {found.owner}" if found.seller == "held" else ""
        click.echo(f"{id}  {found.fee} would be given up{seller}")
    else:
        click.echo(_said(found))


def cancel_payout(config: Path, id: str, *, reason: str, dry_run: bool, as_json: bool) -> None:
    """Exit code 3 if it does not wait."""
    settings, reason = _read(config, reason)
    try:
        key = read_payout_id(id)
    except ValueError as error:
        fail(str(error), code=2)

    async def cancel() -> Payout:
        async with _office(settings, writes=not dry_run) as here:
            found = await RecordedPayouts(here.records.ask).find_payout(*key)
            if here.pay_out is None or found is None:
                raise ValueError(f"there is no payout {id}")
            if not found.waits:
                raise ValueError(f"{id}: it does not wait for the balance, it is {found.state}")
            return found if dry_run else await here.pay_out.cancel(found, reason)

    found = run(cancel())
    if as_json:
        click.echo(json.dumps({"dry_run": dry_run, **told_payout(found)}))
    else:
        click.echo(f"{id}  {found.amount} would be due again" if dry_run else said_payout(found))


@asynccontextmanager
async def _office(settings: Settings, *, writes: bool) -> AsyncIterator[Office]:
    if not writes:
        async with office(settings, NoEntries()) as here:
            yield here
        return
    async with books(settings) as entries, office(settings, entries) as here:
        yield here


def _read(config: Path, reason: str) -> tuple[Settings, str]:
    return read(config, make_secrets=False), plain_reason(reason)


def _told(one: Charge) -> dict[str, Any]:
    """For programs, as the API tells it; the amounts also written out."""
    more = {"owner": one.owner or None, "of": str(one.amount), "costs": str(one.fee)}
    return {**told_charge(one), **more, "changed": moment(one.changed_ms)}


def _said(one: Charge) -> str:
    """And for people."""
    why = f": {one.reason}" if one.reason else ""
    held = f"  {one.amount} of {one.owner} {one.seller}" if one.seller != "none" else ""
    return f"{one.id}  {one.fee} of refund {one.refund}  {one.status}{why}{held}  {moment(one.created_ms)}"
