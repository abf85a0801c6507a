"""`gateway alerts list|test|ack|mute`: beside a running gateway, or without one."""

import json
import secrets
import sys
from pathlib import Path
from typing import Any, cast

import click

from gateway.adapters.alerts import AlertBook
from gateway.adapters.system import SystemClock
from gateway.app.alerting import teller
from gateway.cli.records import fail, opened, read_with_records, run, unheard, write_down
from gateway.core.alerts import NAMES, Alert, Name
from gateway.flows.tell_operators import Became
from gateway.web.alerts_by_hand import moment, told_alert, told_ways


def list_alerts(config: Path, *, all_of_them: bool, limit: int, as_json: bool) -> None:
    """The newest first. Exit code 0 also if some are open: this is a listing."""
    settings = read_with_records(config)

    async def look() -> tuple[list[Alert], dict[Name, int]]:
        async with opened(settings) as here:
            book = AlertBook(here.ask)
            found = await book.found(open_only=not all_of_them, count=limit)
            return found, await book.mutes(now_ms=SystemClock().now_ms())

    found, mutes = run(look())
    if as_json:
        muted = {name: moment(until) for name, until in mutes.items()}
        click.echo(json.dumps({"alerts": [told_alert(one) for one in found], "muted": muted}))
        return
    for one in found:
        click.echo(_line(one))
    for name, until in sorted(mutes.items()):
        click.echo(f"{name} is muted until {moment(until)}")
    if not found:
        click.echo("there are none")


def ack_alert(config: Path, id: str, *, as_json: bool) -> None:
    """Somebody looks after it: nobody is reminded."""
    settings = read_with_records(config)

    async def ack() -> Alert:
        async with opened(settings) as here:
            book = AlertBook(here.ask)
            unknown = ValueError(f"{id}: no alert of this id is open; see `gateway alerts list`")
            if not await book.is_open(id):
                raise unknown
            await write_down(settings, here, "alert.ack", id)
            found = await book.ack(id, now_ms=SystemClock().now_ms())
            if found is None:
                raise unknown
            return found

    alert = run(ack())
    click.echo(json.dumps(told_alert(alert)) if as_json else _line(alert))


def mute_alert(config: Path, name: str, seconds: float, *, as_json: bool) -> None:
    """Nobody is told of these for so long; 0 ends it."""
    settings = read_with_records(config)
    until_ms = SystemClock().now_ms() + int(seconds * 1000)

    async def mute() -> None:
        async with opened(settings) as here:
            await write_down(settings, here, "alert.mute", name, seconds=f"{seconds:g}")
            await AlertBook(here.ask).mute(cast(Name, name), until_ms=until_ms)

    assert name in NAMES
    run(mute())
    told = {"name": name, "until": moment(until_ms)}
    click.echo(json.dumps(told) if as_json else f"nobody is told of {name} until {told['until']}; it is still watched")


def send_test(config: Path, *, as_json: bool) -> None:
    """Exit code 1 if a message did not arrive, 2 if nobody is told of anything."""
    settings = read_with_records(config)
    if not settings.alerts.tells:
        fail("nobody is told of alerts: set alerts.url, or alerts.mail_to", code=2)

    async def test() -> list[Became]:
        async with opened(settings) as here:
            await write_down(settings, here, "alert.test", "alerts")
            told = teller(settings, here, clock=SystemClock(), report=unheard)
            try:
                return await told.test(f"test_{secrets.token_hex(8)}")
            finally:
                await told.close()

    became = run(test())
    if as_json:
        click.echo(json.dumps({"arrived": all(one.delivered for one in became), "ways": told_ways(became)}))
    else:
        for one in became:
            click.echo(f"{one.way}: {'it was taken' if one.delivered else f'not delivered: {one.why}'}")
    sys.exit(0 if all(one.delivered for one in became) else 1)


def _line(alert: Alert) -> str:
    about = f" {alert.subject}" if alert.subject else ""
    state = "open" if alert.ended_ms is None else f"ended {moment(alert.ended_ms)}"
    acked = ", acknowledged" if alert.acked_ms is not None and alert.ended_ms is None else ""
    facts = ", ".join(f"{name} {_shown(value)}" for name, value in alert.facts.items())
    when = f"{alert.id}  {moment(alert.opened_ms)}  {alert.severity}"
    return f"{when}  {alert.name}{about}  {state}{acked}: {facts or alert.words}"


def _shown(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)
