"""`incident`, from its beginning to its end. What each command does is loaded when it runs."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from gateway.cli.options import config_option, form_option, json_option


@click.group()
def incident() -> None:
    """When something has gone wrong: stop it, keep the evidence, find and tell who is affected. All on the trail."""


def _whose(command: Callable[..., None]) -> Callable[..., None]:
    """Whom it concerns."""
    for option in reversed(
        (
            click.option("--account", "accounts", multiple=True, metavar="ACCT", help="This account; may be repeated."),
            click.option("--plan", default=None, help="Whoever is subscribed to this plan."),
            click.option("--token", default=None, metavar="ID", help="Whoever holds this token (tok_…)."),
            click.option("--everyone", is_flag=True, help="Everyone."),
        )
    ):
        command = option(command)
    return command


_in_incident = click.option(
    "--incident", metavar="ID", default=None, help="In which incident (inc_…).  [default: the one that is open]"
)
_from = click.option("--from", "begin", metavar="DATE", default=None, help="From then on (UTC): 2026-01-31T12:00.")
_to = click.option("--to", "end", metavar="DATE", default=None, help="Up to then, without it.  [default: now]")
_why = click.option("--reason", required=True, help="Why; it is kept for ever.")
_only_say = click.option("--dry-run", is_flag=True, help="Only say what would be done.")


@incident.command("open")
@click.option("--kind", type=click.Choice(["token", "key", "personal_data", "money", "outage", "other"]), required=True)
@click.option("--note", required=True, help="What was seen; it is kept for ever, so name nobody.")
@config_option
@json_option
def open_incident(kind: str, note: str, config: Path, as_json: bool) -> None:
    """Open an incident: from now on 72 hours run, and what is done is done in it."""
    from gateway.cli.incident import open_incident as opened

    opened(config, kind, note, as_json=as_json)


@incident.command("note")
@click.argument("id")
@click.option("--note", required=True, help="What was found or decided.")
@config_option
@json_option
def note_incident(id: str, note: str, config: Path, as_json: bool) -> None:
    """Write down what was found or decided."""
    from gateway.cli.incident import note_incident as noted

    noted(config, id, note, as_json=as_json)


@incident.command("list")
@config_option
@json_option
def list_incidents(config: Path, as_json: bool) -> None:
    """List incidents, and how much of the 72 hours is left."""
    from gateway.cli.incident import list_incidents as listed

    listed(config, as_json=as_json)


@incident.command("plan")
@click.argument("id", required=False)
@click.option("--review", is_flag=True, help="What is asked afterwards, with what was done.")
@click.option("--affected", type=click.Path(path_type=Path), default=None, help="What `affected --json` wrote.")
@click.option("--notices", type=click.Path(path_type=Path), default=None, help="Write the notices into this folder.")
@config_option
def incident_plan(id: str | None, review: bool, affected: Path | None, notices: Path | None, config: Path) -> None:
    """Roles, steps and the clock; with --notices what the authority and those affected are told."""
    from gateway.cli.incident import show_plan

    show_plan(config, id, review=review, notices=notices, affected=affected)


@incident.command("close")
@click.argument("id")
@click.option("--note", required=True, help="What it was, and what was changed.")
@config_option
@json_option
def close_incident(id: str, note: str, config: Path, as_json: bool) -> None:
    """Close it. Its story stays on the trail."""
    from gateway.cli.incident import close_incident as closed

    closed(config, id, note, as_json=as_json)


@incident.command("revoke")
@_whose
@_why
@_in_incident
@_only_say
@config_option
@json_option
def revoke_many(reason: str, incident: str | None, dry_run: bool, config: Path, as_json: bool, **whose: Any) -> None:
    """End all tokens and sessions of some, on every gateway within two seconds, for good."""
    from gateway.cli.incident_acts import Whom, revoke

    revoke(config, Whom(**whose), reason=reason, incident=incident, dry_run=dry_run, as_json=as_json)


@incident.command("freeze")
@_whose
@_why
@_in_incident
@_only_say
@config_option
@json_option
def freeze_many(reason: str, incident: str | None, dry_run: bool, config: Path, as_json: bool, **whose: Any) -> None:
    """Freeze some accounts, on every gateway within two seconds."""
    from gateway.cli.incident_acts import Whom, freeze

    freeze(config, Whom(**whose), reason=reason, incident=incident, dry_run=dry_run, as_json=as_json)


@incident.command("rotate")
@click.option("--all", "all_keys", is_flag=True, required=True, help="Every key that can be replaced here.")
@_in_incident
@_only_say
@config_option
@json_option
def rotate_all(all_keys: bool, incident: str | None, dry_run: bool, config: Path, as_json: bool) -> None:
    """Replace every key of ours, and list what is to be done by hand and where."""
    from gateway.cli.incident_acts import rotate

    rotate(config, incident=incident, dry_run=dry_run, as_json=as_json)


@incident.command("affected")
@_whose
@_from
@_to
@_in_incident
@form_option("json")
@config_option
def affected_accounts(
    begin: str | None, end: str | None, incident: str | None, form: str, config: Path, **whose: Any
) -> None:
    """Accounts to be told, with the addresses that are known. It is on the trail that you asked."""
    from gateway.cli.incident_acts import Whom, affected

    affected(config, Whom(**whose), begin=begin, end=end, incident=incident, form=form)


@incident.command("bundle")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="The archive (.tar.gz) to be written.")
@_from
@_to
@_in_incident
@click.option("--log", "logs", type=click.Path(path_type=Path, exists=True), multiple=True, help="Another log (JSON).")
@config_option
@json_option
def make_bundle(
    out: Path, begin: str | None, end: str | None, incident: str | None, logs: tuple[Path, ...], config: Path,
    as_json: bool,
) -> None:  # fmt: skip
    """Put evidence together, signed: trail with proof, heads, audit, logs, settings without secrets, versions."""
    from gateway.cli.evidence import make_bundle as made

    made(config, out, begin=begin, end=end, incident=incident, logs=logs, as_json=as_json)


@incident.command("verify")
@click.argument("file", type=click.Path(path_type=Path, exists=True))
@config_option
@json_option
def verify_bundle(file: Path, config: Path, as_json: bool) -> None:
    """Prove that a bundle is as it was made. Exit code 1 if it is not. It is on the trail that you looked."""
    from gateway.cli.evidence import verify_bundle as proved

    proved(config, file, as_json=as_json)
