"""`account cap`, and what `account show` says of caps.

A cap is written to the records, which every process of every gateway reads within a second; what was spent under it is
read out of the books. No gateway need run.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import click

from gateway.adapters.system import SystemClock
from gateway.app.stores import credit_lines
from gateway.cli.payments import moment
from gateway.cli.records import Records, aliases_of, fail, opened, read_for, run, write_down
from gateway.core.caps import Cap, CapLine, Period
from gateway.core.money import Money, MoneySyntax
from gateway.flows.cap import AccountCaps
from gateway.settings import Settings


@dataclass(frozen=True, slots=True)
class CapStanding:
    """A cap, and what was spent under it in the period that is now."""

    cap: Cap
    spent: Money
    resets_ms: int | None

    def told(self) -> dict[str, Any]:
        resets = None if self.resets_ms is None else moment(self.resets_ms)
        return {"per": self.cap.period, "amount": str(self.cap.amount), "spent": str(self.spent), "resets_at": resets}

    def said(self) -> str:
        per = "in all" if self.cap.period == "total" else f"a {self.cap.period}"
        resets = "" if self.resets_ms is None else f"; begins anew at {moment(self.resets_ms)}"
        return f"capped at {self.cap.amount} {per}, {self.spent} of it spent{resets}"


def set_cap(config: Path, account: str, amount: str | None, *, per: str, dry_run: bool, as_json: bool) -> None:
    """`gateway account cap`."""
    settings = read_for(config, account)
    period, wanted = cast(Period, per), _amount(amount, settings) if amount is not None else None

    async def change() -> tuple[str, bool, list[CapStanding]]:
        async with opened(settings) as here:
            root = (await aliases_of(here)).root(account)
            caps = AccountCaps(book=here.caps, clock=SystemClock(), zone=settings.caps.time_zone)
            if not dry_run:
                await write_down(settings, here, "account.cap", root, per=period, amount=str(wanted or "none"))
            if dry_run:
                changed = False
            elif wanted is None:
                changed = await caps.remove(root, period)
            else:
                changed = await caps.set(root, period, wanted)
            return root, changed, await standings(settings, here, root)

    root, changed, standing = run(change())
    if as_json:
        told = {"account": root, "per": per, "amount": None if wanted is None else str(wanted), "changed": changed}
        click.echo(json.dumps({**told, "caps": [cap.told() for cap in standing]}))
        return
    span = "in all" if per == "total" else f"a {per}"
    state = f"without a cap {span}" if wanted is None else f"capped at {wanted} {span}"
    if dry_run:
        click.echo(f"{root}  would be {state}; nothing was changed")
    else:
        click.echo(f"{root}  {state} from now on" if changed else f"{root}  {state}, as it was before")
    for cap in standing:
        click.echo(f"  {cap.said()}")


async def standings(settings: Settings, here: Records, account: str) -> list[CapStanding]:
    """The caps of an account, and how they stand. Raises StoreFailed, RecordsUnavailable."""
    clock = SystemClock()
    caps = AccountCaps(book=here.caps, clock=clock, zone=settings.caps.time_zone)
    await caps.look()
    lines, now_ms = credit_lines(settings), clock.now_ms()
    kept = settings.store_url is not None or settings.store_path.exists()
    found = []
    for cap in caps.of(account):
        line = await lines.cap_line(cap.name(now_ms), cap.unit) if kept else CapLine()
        found.append(CapStanding(cap, Money(line.spent, cap.amount.currency), cap.resets_ms(now_ms)))
    return found


def _amount(text: str, settings: Settings) -> Money:
    try:
        amount = Money.parse_grant(text)
    except MoneySyntax as error:
        fail(str(error), code=2)
    if not amount.named and amount.currency != settings.currency:
        fail(f"this is in {amount.currency}, but `currency` is {settings.currency}", code=2)
    return amount
