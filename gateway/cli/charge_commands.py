"""`gateway charges`, as it is typed. What each command does is loaded when it runs."""

from pathlib import Path

import click

from gateway.cli.options import config_option, json_option


@click.group()
def charges() -> None:
    """Fees that are charged by agreement (the setting `charging`)."""


@charges.command("list")
@click.option("--state", metavar="STATE", default=None, help="Those that stand so: retrying, pending, failed, …")
@click.option("--limit", type=click.IntRange(min=1), default=100, show_default=True, help="The newest so many.")
@config_option
@json_option
def list_charges(state: str | None, limit: int, config: Path, as_json: bool) -> None:
    """List fees, and what is held for the seller of each. Reads only."""
    from gateway.cli.charges import STATES, list_charges

    if state is not None and state not in STATES:
        raise click.BadParameter(f"{state}: it is none of {', '.join(STATES)}", param_hint="--state")
    list_charges(config, state=state, limit=limit, as_json=as_json)


@charges.command("waive")
@click.argument("id")
@click.option("--reason", required=True, help="Goes on the trail.")
@click.option("--dry-run", is_flag=True, help="Only say what would be given up, and what would be due to the seller.")
@config_option
@json_option
def waive_charge(id: str, reason: str, dry_run: bool, config: Path, as_json: bool) -> None:
    """Give up a fee that waits or has failed; what is held is due to the seller."""
    from gateway.cli.charges import waive_charge

    waive_charge(config, id, reason=reason, dry_run=dry_run, as_json=as_json)
