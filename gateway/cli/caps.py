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
from gateway.core.caps import Cap, CapLine, Period, zone_named
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
        return {
            "per": self.cap.period,
            "amount": str(self.cap.amount) if self.cap.binds else None,
            "tell_at": None if self._line is None else str(self._line),
            "time_zone": self.cap.zone,
            "spent": str(self.spent),
            "resets_at": resets,
        }

    def said(self) -> str:
        per = "in all" if self.cap.period == "total" else f"a {self.cap.period}"
        resets = "" if self.resets_ms is None else f"; begins anew at {moment(self.resets_ms)} ({self.cap.zone})"
        capped = f"capped at {self.cap.amount} {per}" if self.cap.binds else f"no cap {per}"
        line = "" if self._line is None else f", told of at {self._line}"
        return f"{capped}{line}, {self.spent}{' of it' if self.cap.binds else ''} spent{resets}"

    @property
    def _line(self) -> Money | None:
        return None if self.cap.tell_at is None else Money(self.cap.tell_at, self.cap.amount.currency)


def set_cap(
    config: Path,
    account: str,
    amount: str | None,
    *,
    per: str,
    tell_at: str | None = None,
    zone: str | None = None,
    dry_run: bool,
    as_json: bool,
) -> None:
    """`gateway account cap`: a cap, a line from which on somebody is told, or both; neither removes them."""
    settings = read_for(config, account)
    period = cast(Period, per)
    wanted, line = (_amount(text, settings) if text is not None else None for text in (amount, tell_at))
    try:
        zone_named(zone or "UTC")
    except ValueError as error:
        fail(f"--time-zone: {error}", code=2)

    async def change() -> tuple[str, bool, list[CapStanding]]:
        async with opened(settings) as here:
            root = (await aliases_of(here)).root(account)
            caps = AccountCaps(book=here.caps, clock=SystemClock(), zone=settings.caps.time_zone)
            if dry_run:
                return root, False, await standings(settings, here, root)
            said = {"per": period, "amount": str(wanted or "none"), "tell_at": str(line or "as usual")}
            await write_down(settings, here, "account.cap", root, **said, time_zone=zone or "as usual")
            if wanted is None and line is None:
                changed = await caps.remove(root, period)
            else:
                changed = await caps.set(root, period, wanted, tell_at=line, zone=zone)
            return root, changed, await standings(settings, here, root)

    root, changed, standing = run(change())
    if as_json:
        told = {"account": root, "per": per, "changed": changed, "time_zone": zone}
        amounts = {name: str(money) if money else None for name, money in (("amount", wanted), ("tell_at", line))}
        click.echo(json.dumps({**told, **amounts, "caps": [cap.told() for cap in standing]}))
        return
    state = _state(wanted, line, "in all" if per == "total" else f"a {per}")
    if dry_run:
        click.echo(f"{root}  would be {state}; nothing was changed")
    else:
        click.echo(f"{root}  {state} from now on" if changed else f"{root}  {state}, as it was before")
    for cap in standing:
        click.echo(f"  {cap.said()}")


def _state(wanted: Money | None, line: Money | None, span: str) -> str:
    capped = f"without a cap {span}" if wanted is None else f"capped at {wanted} {span}"
    return f"{capped}, told of at {line}" if line is not None else capped


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
