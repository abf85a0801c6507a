"""`gateway account export`: all that is kept of the person behind an account, for that person."""

import json
from pathlib import Path
from typing import Any

import click

from gateway.adapters.personal import PersonalRecords
from gateway.cli.records import aliases_of, opened, read_for, run, write_down
from gateway.core.keyring import Keyring

_ELSEWHERE = (
    "the payment provider has what was typed at its checkout: export that there, by the customers named here",
    "logs hold ids of accounts and tokens, and backups what was kept when they were made, for as long as they are kept",
)


def export_account(config: Path, account: str, *, as_json: bool) -> None:
    """With whatever it is one with. On the trail before anything is read: it opens what is personal."""
    settings = read_for(config, account)

    async def look() -> dict[str, Any]:
        async with opened(settings) as here:
            aliases = await aliases_of(here)
            names = aliases.names(aliases.root(account))
            await write_down(settings, here, "account.export", account)
            kept = await PersonalRecords(here.ask, Keyring(settings.secrets.sealing_keys)).of(names)
            statements = [f"gateway ledger export --account {name}" for name in names]
            return {"account": account, "accounts": names, **kept, "statements": statements, "elsewhere": _ELSEWHERE}

    told = run(look())
    if as_json:
        click.echo(json.dumps(told))
        return
    for name, kept in told.items():
        if kept and name != "account":
            click.echo(f"{name.replace('_', ' ')}:")
            for one in kept:
                click.echo(f"  {one if isinstance(one, str) else _line(one)}")


def _line(row: dict[str, Any]) -> str:
    said = (f"{name} {value if isinstance(value, str | int) else json.dumps(value)}" for name, value in row.items())
    return "; ".join(said)
