"""Reading the configuration for a command, and `gateway check`."""

import json
import os
import sys
from pathlib import Path

import click

from gateway import settings
from gateway.cli import CONFIG_DEFAULT
from gateway.settings import Settings, SettingsInvalid


def read(config: Path, *, make_secrets: bool) -> Settings:
    """The settings, or every mistake on the standard error and exit code 2."""
    try:
        return settings.load(existing(config), os.environ, make_secrets=make_secrets)
    except SettingsInvalid as invalid:
        click.echo(str(invalid), err=True)
        sys.exit(2)


def existing(config: Path) -> Path | None:
    """The file; none when it is the default one and is not there, so that the environment alone may configure."""
    return None if config == CONFIG_DEFAULT and not config.exists() else config


def check_configuration(config: Path, *, as_json: bool) -> None:
    """`gateway check`."""
    try:
        found = settings.load(existing(config), os.environ, make_secrets=False)
    except SettingsInvalid as invalid:
        if as_json:
            click.echo(json.dumps({"ok": False, "mistakes": [str(mistake) for mistake in invalid.mistakes]}))
        else:
            click.echo(str(invalid), err=True)
        sys.exit(2)
    notes = settings.notes(found)
    if as_json:
        click.echo(json.dumps({"ok": True, "mode": found.mode, "environment": found.environment, "notes": notes}))
        return
    where = config if existing(config) else f"there is no {config}; the environment alone"
    click.echo(f"{where}: right; {len(found.routes.routes)} routes, {found.environment}, mode {found.mode}")
    for note in notes:
        click.echo(f"  note: {note}")
