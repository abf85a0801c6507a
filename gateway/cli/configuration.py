"""Reading the configuration for a command, and `gateway check`."""

import asyncio
import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click

from gateway import settings
from gateway.cli.options import CONFIG_DEFAULT
from gateway.settings import Settings, SettingsInvalid


def read(config: Path, *, make_secrets: bool) -> Settings:
    """The settings, or every mistake on the standard error and exit code 2."""
    with told_of_mistakes():
        return settings.load(existing(config), os.environ, make_secrets=make_secrets)


@contextmanager
def told_of_mistakes() -> Iterator[None]:
    """Whatever is wrong with settings goes to the standard error; exit code 2."""
    try:
        yield
    except SettingsInvalid as invalid:
        click.echo(str(invalid), err=True)
        sys.exit(2)


def existing(config: Path) -> Path | None:
    """The file; none when it is the default one and is not there, so that the environment alone may configure."""
    return None if config == CONFIG_DEFAULT and not config.exists() else config


def check_configuration(config: Path, *, online: bool, as_json: bool) -> None:
    """`gateway check`: exit code 1 if what is asked for online is otherwise, or cannot be."""
    try:
        found = settings.load(existing(config), os.environ, make_secrets=False)
    except SettingsInvalid as invalid:
        if as_json:
            click.echo(json.dumps({"ok": False, "mistakes": [str(mistake) for mistake in invalid.mistakes]}))
        else:
            click.echo(str(invalid), err=True)
        sys.exit(2)
    from gateway.cli.currency import money_elsewhere  # every command reads settings, and this one alone the books

    notes = settings.notes(found)
    if found.store_url is None and (elsewhere := money_elsewhere(found)) is not None:
        notes.append(elsewhere)  # a database is asked by doctor: a check needs no network
    wrong = _asked_online(found) if online else []
    if as_json:
        told = {"ok": not wrong, "mode": found.mode, "environment": found.environment, "notes": notes}
        click.echo(json.dumps(told | ({"online": wrong} if online else {})))
        sys.exit(1 if wrong else 0)
    where = config if existing(config) else f"there is no {config}; the environment alone"
    many = len(found.routes.routes)
    routes = "1 route" if many == 1 else f"{many} routes"
    click.echo(f"{where}: right; {routes}, {found.environment}, mode {found.mode}")
    for note in notes:
        click.echo(f"  note: {note}")
    for words in wrong:
        click.echo(f"  wrong: {words}")
    sys.exit(1 if wrong else 0)


def _asked_online(found: Settings) -> list[str]:
    """What Stripe has otherwise than the settings say."""
    from gateway.adapters.stripe.connect import StripeConnect
    from gateway.app.ways_to_pay import provider
    from gateway.core.refusals import PaymentServiceUnavailable
    from gateway.flows.compare_plans import differences

    async def ask() -> list[str]:
        payments = provider(found, lambda *_, **__: None)
        if payments is None:
            return ["stripe: not set, so there is nothing to ask"]
        try:
            wrong = await differences(payments, found.plans)
            cannot = await StripeConnect(payments).cannot_connect() if found.connect is not None else None
            return [*wrong, cannot] if cannot is not None else wrong
        except PaymentServiceUnavailable:
            return ["stripe: it cannot be reached, or refuses the key"]
        finally:
            await payments.close()

    return asyncio.run(ask())
