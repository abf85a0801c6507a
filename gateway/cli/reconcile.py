"""`gateway reconcile`: paid checkouts at Stripe against credits here, in both directions."""

import asyncio
import json
import sys
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from gateway.adapters.system import SystemClock
from gateway.app.by_hand import ACT_SECONDS_MAX
from gateway.app.office import Office
from gateway.app.stores import credit_lines
from gateway.cli.configuration import read
from gateway.cli.payments import NoEntries, books, fail, office, run
from gateway.cli.progress import Progress
from gateway.core.payments import PARKED, Payment
from gateway.flows.reconcile import Difference, audit_payments
from gateway.settings import Settings


@dataclass(frozen=True, slots=True)
class Found:
    """A difference, and what was done about it."""

    difference: Difference
    done: str | None

    @property
    def settled(self) -> bool:
        return self.done in ("credited", "repeated")


def reconcile_payments(config: Path, *, begin: str, end: str | None, dry_run: bool, as_json: bool) -> None:
    """`gateway reconcile`: exit code 1 if a difference is left."""
    first = seconds_of(begin, "--from")
    last = seconds_of(end, "--to") if end is not None else SystemClock().now_ms() // 1000 + 1
    if last <= first:
        fail("--to: it must be after --from", code=2)
    settings = read(config, make_secrets=False)
    compared, found = run(_reconcile(settings, first, last, dry_run=dry_run))
    if as_json:
        told = {"compared": compared, "dry_run": dry_run, "differences": [_told(one) for one in found]}
        click.echo(json.dumps(told))
    else:
        for one in found:
            click.echo(_line(one))
        click.echo(f"{compared} payments compared, {len(found)} differences, {_left(found)} left")
    sys.exit(1 if _left(found) else 0)


async def _reconcile(settings: Settings, first: int, last: int, *, dry_run: bool) -> tuple[int, list[Found]]:
    async with AsyncExitStack() as opened:
        entries = NoEntries() if dry_run else await opened.enter_async_context(books(settings))
        here = await opened.enter_async_context(office(settings, entries))
        compared, found, live = 0, [], settings.mode == "live"
        progress = Progress("compared {} payments")
        async for difference, payment in audit_payments(
            here.payments, credit_lines(settings), here.records, begin=first, end=last, live=live
        ):
            compared += 1
            progress(compared)
            if difference is not None:
                done = None if dry_run else await _heal(here, difference, payment)
                found.append(Found(difference, done))
        progress.over(compared)
        return compared, found


async def _heal(here: Office, difference: Difference, payment: Payment | None) -> str | None:
    """Credit what is missing; of anything else an operator has to think."""
    if difference.credited is not None or payment is None:
        return None
    async with asyncio.timeout(ACT_SECONDS_MAX):
        return await here.top_up.fulfil(payment)


def _line(one: Found) -> str:
    difference = one.difference
    sums = [f"paid {difference.paid}" if difference.paid else "", f"credited {difference.credited}"]
    shown = ", ".join(text for text in sums[: 2 if difference.credited else 1] if text)
    done = f"; {_words(one.done)}" if one.done else ""
    return f"{difference.session}  {difference.what}: {shown}{done}"


def _words(done: str) -> str:
    return {"credited": "credited now", "repeated": "credited meanwhile"}.get(done, PARKED.get(done, done))


def _told(one: Found) -> dict[str, Any]:
    difference = one.difference
    return {
        "session": difference.session,
        "what": difference.what,
        "paid": str(difference.paid) if difference.paid else None,
        "credited": str(difference.credited) if difference.credited else None,
        "account": difference.account,
        "done": one.done,
    }


def _left(found: list[Found]) -> int:
    return sum(not one.settled for one in found)


def seconds_of(text: str, option: str) -> int:
    """A moment that was typed: `2026-11-01` or `2026-11-01T12:00` in UTC (or with an offset)."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        fail(f"{option}: {text!r} is no date; write 2026-11-01 or 2026-11-01T12:00", code=2)
    return int((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp())
