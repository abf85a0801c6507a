"""`gateway demo`: the stage, a walk-through to copy from, then one line for each request."""

import asyncio
import sys
import tempfile
import time
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import click

from gateway.adapters.sqlite.audit import audit
from gateway.cli.books import head_keys
from gateway.cli.run import runner, stop_signal
from gateway.cli.shown import link_of
from gateway.cli.stage import Stage
from gateway.core.callers import Caller
from gateway.core.routes import Route
from gateway.demo.walk import StepFailed, Walk, lines
from gateway.ports import Exchange, StoreDamaged, StoreLocked
from gateway.settings import SettingsInvalid

DATA_DEFAULT = Path("data/demo")


def run_demo(*, script: bool, data: Path | None, port: int) -> None:
    """Exit code 0, or 1 when a step of the script fails, or 3 when the demo cannot start."""
    try:
        with runner() as loop:
            if script:
                sys.exit(loop.run(_run_script(data, port)))
            loop.run(_run(data or DATA_DEFAULT, port))
    except (StoreDamaged, StoreLocked, SettingsInvalid, OSError) as error:
        click.echo(f"gateway demo: {error}", err=True)
        if isinstance(error, StoreLocked):
            click.echo("Is another demo running? End it, or give this one its own place with --data.", err=True)
        sys.exit(3)


async def _run(data: Path, port: int) -> None:
    stage = Stage(data, port=port, served=_Lines(), report=_report)
    stop = stop_signal()
    try:
        await stage.start()
        _introduce(stage)
        await stop.wait()
    finally:
        await stage.stop()
    click.echo(f"\nThe demo has ended. Its data is in {data}/ and will be there the next time.")


def _introduce(stage: Stage) -> None:
    click.echo(f"\n{click.style('Farebox demo', bold=True)}   {stage.url}   no real money moves\n")
    for number, (words, command) in enumerate(lines(stage.url), 1):
        click.echo(f"{number:>3}. {words}\n     {click.style(command, fg='cyan')}\n")
    click.echo(f"     Your wallet: {stage.url}/-/wallet      Stripe stand-in: {stage.stand_in.url}")
    if stage.running is not None:
        link = link_of(stage.settings, stage.running.admin_address)
        click.echo(f"     What an operator sees (it opens once, within 15 minutes): {link}")
    click.echo("     Ctrl-C ends the demo. Requests appear below as they come.\n")


class _Lines:
    """Implements `ports.Served`: a line for people's eyes."""

    def __call__(self, exchange: Exchange, route: Route | None, caller: Caller) -> None:
        fields = dict(exchange.fields)
        paid = f"{fields['Gateway-Cost']:>10}  left {fields['Gateway-Balance']}" if "Gateway-Cost" in fields else ""
        colour = "green" if exchange.status < 300 else "yellow" if exchange.status < 500 else "red"
        status = click.style(str(exchange.status or "cut"), fg=colour)
        click.echo(
            f"{time.strftime('%H:%M:%S')}  {status}  {route.name if route else '-':<9}"
            f"{exchange.method:<5}{exchange.target.partition('?')[0]:<28}{paid}"
        )


def _report(event: str, *, level: str = "", **fields: object) -> None:
    shown = "  ".join(f"{name} {value}" for name, value in fields.items())
    click.echo(f"{time.strftime('%H:%M:%S')}  {click.style(event, fg='magenta')}  {shown}")


# --- by itself --------------------------------------------------------------------------------------------------------


async def _run_script(data: Path | None, port: int) -> int:
    with tempfile.TemporaryDirectory(prefix="farebox-demo-") as passing:
        stage = Stage(data or Path(passing), port=port, served=lambda *_: None, report=lambda *_, **__: None)
        try:
            await stage.start()
            return await _walk(stage)
        finally:
            await stage.stop()


async def _walk(stage: Stage) -> int:
    async def pay(payment_url: str) -> dict[str, Any]:
        [reference] = parse_qs(urlsplit(payment_url).query)["client_reference_id"]
        session = stage.stand_in.pay(payment_url, client_reference_id=reference)
        await stage.stand_in.settled()
        if stage.gateway.paying.webhooks is not None:
            await stage.gateway.paying.webhooks.settled()
        return session

    async def deliver_again(times: int) -> int:
        for event in stage.stand_in.events:
            if event["type"] == "checkout.session.completed":
                stage.stand_in.deliver_again(event["id"], times=times)
        await stage.stand_in.settled()
        if stage.gateway.paying.webhooks is not None:
            await stage.gateway.paying.webhooks.settled()
        return times

    async def proof() -> str:
        path, keys = stage.settings.store_path, head_keys(stage.settings)
        report = await asyncio.to_thread(audit, path, head_key=keys)
        if not report.clean:
            raise StepFailed("; ".join(map(str, report.findings)))
        return f"{report.records} records, {report.credits} credits, every sum right, chain unbroken"

    def tick(words: str) -> None:
        click.echo(f"  {click.style('✓', fg='green')} {words}")

    walk = Walk(stage.url, pay=pay, deliver_again=deliver_again, audit=proof, say=tick)
    try:
        await walk.run()
    except StepFailed as failed:
        click.echo(f"  {click.style('✗', fg='red')} {failed}")
        return 1
    click.echo("The walk-through passes.")
    return 0
