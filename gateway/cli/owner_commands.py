"""Owners and what they are due: `owners`, `service`, `payouts`, `books`. What each does is loaded when it runs."""

from pathlib import Path
from typing import Any

import click

from gateway.cli.options import config_option, form_option, json_option


@click.group()
def owners() -> None:
    """Whose upstreams are sold here, and what is due to them (the setting `owners`)."""


@owners.command("list")
@config_option
@json_option
def list_owners(config: Path, as_json: bool) -> None:
    """List owners, what their routes took, and what of it is theirs and ours. Reads only."""
    from gateway.cli.owners import list_owners

    list_owners(config, as_json=as_json)


@owners.command("show")
@click.argument("name")
@config_option
@json_option
def show_owner(name: str, config: Path, as_json: bool) -> None:
    """Show one owner, also by commission and by route."""
    from gateway.cli.owners import show_owner

    show_owner(config, name, as_json=as_json)


@owners.command()
@click.argument("name")
@click.option("--from", "begin", metavar="DATE", default=None, help="From that day on (UTC): 2026-01-31.")
@click.option("--to", "end", metavar="DATE", default=None, help="Up to that day, without it.")
@form_option("jsonl")
@config_option
def statement(name: str, begin: str | None, end: str | None, form: str, config: Path) -> None:
    """Write what an owner's routes took each day, and how it is shared. Its lines add up to what is due."""
    from gateway.cli.owners import write_statement

    write_statement(config, name, begin=begin, end=end, form=form)


@owners.command()
@click.argument("name")
@config_option
@json_option
def invite(name: str, config: Path, as_json: bool) -> None:
    """Make an address at which one person, who signs in there, comes to act for an owner. Good once, for 7 days."""
    from gateway.cli.owner_people import invite

    invite(config, name, as_json=as_json)


@owners.command("link")
@click.argument("name")
@click.argument("user")
@click.option("--dry-run", is_flag=True, help="Say what would be done.")
@config_option
@json_option
def link_owner(name: str, user: str, dry_run: bool, config: Path, as_json: bool) -> None:
    """Let a person who has signed in (usr_…) act for an owner."""
    from gateway.cli.owner_people import link

    link(config, name, user, dry_run=dry_run, as_json=as_json)


@owners.command("unlink")
@click.argument("user")
@click.option("--dry-run", is_flag=True, help="Say what would be done.")
@config_option
@json_option
def unlink_owner(user: str, dry_run: bool, config: Path, as_json: bool) -> None:
    """Let a person act for no owner any more."""
    from gateway.cli.owner_people import unlink

    unlink(config, user, dry_run=dry_run, as_json=as_json)


@owners.command("people")
@config_option
@json_option
def list_owner_people(config: Path, as_json: bool) -> None:
    """List who acts for which owner by invitation or link. Reads only."""
    from gateway.cli.owner_people import people

    people(config, as_json=as_json)


@owners.command("accounts")
@config_option
@json_option
def list_owner_accounts(config: Path, as_json: bool) -> None:
    """List how owners' accounts at Stripe stand, as was found last. Reads only."""
    from gateway.cli.owner_people import accounts

    accounts(config, as_json=as_json)


@click.group()
def service() -> None:
    """Programs that call us: the platform's own (the setting `charging`), and owners' (`owners.*.routes`)."""


_grace = click.option(
    "--grace-hours", type=click.IntRange(0, 720), default=24, show_default=True, help="How long the old one is good."
)


@service.command("add")
@click.argument("name")
@click.option(
    "--role", type=click.Choice(["monitor", "auditor", "commission", "owner"]), required=True, help="What it may do."
)
@click.option("--owner", help="Whose program it is, in the role `owner`.")
@click.option("--dry-run", is_flag=True, help="Say what would be done.")
@config_option
@json_option
def add_service(name: str, role: Any, owner: str | None, dry_run: bool, config: Path, as_json: bool) -> None:
    """Make a service, and print its secret: once, it is not kept."""
    from gateway.cli.services import add

    add(config, name, role, owner, dry_run=dry_run, as_json=as_json)


@service.command("list")
@config_option
@json_option
def list_services(config: Path, as_json: bool) -> None:
    """List services, and what each may call. Reads only."""
    from gateway.cli.services import list_services

    list_services(config, as_json=as_json)


@service.command("rotate")
@click.argument("name")
@_grace
@click.option("--dry-run", is_flag=True, help="Say what would be done.")
@config_option
@json_option
def rotate_service(name: str, grace_hours: int, dry_run: bool, config: Path, as_json: bool) -> None:
    """Make a new secret, and print it; the old one is good for a while."""
    from gateway.cli.services import rotate

    rotate(config, name, grace_hours, dry_run=dry_run, as_json=as_json)


@service.command("remove")
@click.argument("name")
@click.option("--dry-run", is_flag=True, help="Say what would be done.")
@config_option
@json_option
def remove_service(name: str, dry_run: bool, config: Path, as_json: bool) -> None:
    """Let a service get no more tokens."""
    from gateway.cli.services import remove

    remove(config, name, dry_run=dry_run, as_json=as_json)


@click.group()
def payouts() -> None:
    """What leaves owners (the setting `payouts`)."""


@payouts.command("run")
@click.option("--owner", metavar="NAME", default=None, help="Only this one.")
@click.option("--dry-run", is_flag=True, help="Only say who would be paid how much, and why others would not.")
@config_option
@json_option
def run_payouts(owner: str | None, dry_run: bool, config: Path, as_json: bool) -> None:
    """Pay what is payable now, whatever the schedule says."""
    from gateway.cli.payouts import run_payouts

    run_payouts(config, owner=owner, dry_run=dry_run, as_json=as_json)


@payouts.command("list")
@click.option("--owner", metavar="NAME", default=None, help="Only of this one.")
@click.option("--state", metavar="STATE", default=None, help="Those that stand so: sending, created, returned, …")
@click.option("--limit", type=click.IntRange(min=1), default=100, show_default=True, help="The newest so many.")
@config_option
@json_option
def list_payouts(owner: str | None, state: str | None, limit: int, config: Path, as_json: bool) -> None:
    """List payouts and who is on hold."""
    from gateway.cli.payouts import STATES, list_payouts

    if state is not None and state not in STATES:
        raise click.BadParameter(f"{state}: it is none of {', '.join(STATES)}", param_hint="--state")
    list_payouts(config, owner=owner, state=state, limit=limit, as_json=as_json)


@payouts.command("show")
@click.argument("id")
@config_option
@json_option
def show_payout(id: str, config: Path, as_json: bool) -> None:
    """Show one payout, such as anna-usd-7, and what went on to the owner's bank."""
    from gateway.cli.payouts import show_payout

    show_payout(config, id, as_json=as_json)


@payouts.command("hold")
@click.argument("owner")
@click.option("--reason", required=True, help="Goes on the trail.")
@config_option
@json_option
def hold_owner(owner: str, reason: str, config: Path, as_json: bool) -> None:
    """Pay an owner nothing more until `resume`; what is due accrues."""
    from gateway.cli.payouts import hold_owner

    hold_owner(config, owner, reason=reason, held=True, as_json=as_json)


@payouts.command("resume")
@click.argument("owner")
@click.option("--reason", required=True, help="Goes on the trail.")
@config_option
@json_option
def resume_owner(owner: str, reason: str, config: Path, as_json: bool) -> None:
    """Pay an owner again, from the next run on."""
    from gateway.cli.payouts import hold_owner

    hold_owner(config, owner, reason=reason, held=False, as_json=as_json)


@payouts.command("reverse")
@click.argument("id")
@click.option("--reason", required=True, help="Goes on the trail.")
@click.option("--dry-run", is_flag=True, help="Only say how much would be fetched back.")
@config_option
@json_option
def reverse_payout(id: str, reason: str, dry_run: bool, config: Path, as_json: bool) -> None:
    """Fetch a payout back from the owner's account at Stripe; it is due again."""
    from gateway.cli.payouts import reverse_payout

    reverse_payout(config, id, reason=reason, dry_run=dry_run, as_json=as_json)


@payouts.command("reconcile")
@click.option("--from", "begin", metavar="DATE", required=True, help="From that moment on (UTC): 2026-01-31.")
@click.option("--to", "end", metavar="DATE", default=None, help="Up to that moment, without it.")
@click.option("--dry-run", is_flag=True, help="Only compare.")
@config_option
@json_option
def reconcile_payouts(begin: str, end: str | None, dry_run: bool, config: Path, as_json: bool) -> None:
    """Compare every transfer at Stripe with every payout in the books, in both directions."""
    from gateway.cli.payouts import reconcile_payouts

    reconcile_payouts(config, begin=begin, end=end, dry_run=dry_run, as_json=as_json)


@payouts.command("cancel")
@click.argument("id")
@click.option("--reason", required=True, help="Goes on the trail.")
@click.option("--dry-run", is_flag=True, help="Only say how much would be due again.")
@config_option
@json_option
def cancel_payout(id: str, reason: str, dry_run: bool, config: Path, as_json: bool) -> None:
    """Give up a payout that waits for the balance at Stripe; it is due again, and in a later one."""
    from gateway.cli.charges import cancel_payout

    cancel_payout(config, id, reason=reason, dry_run=dry_run, as_json=as_json)


@click.command()
@click.option("--stripe", "with_stripe", is_flag=True, help="Also ask Stripe what it has, and what it kept.")
@config_option
@json_option
def books(with_stripe: bool, config: Path, as_json: bool) -> None:
    """Say where all the money is, in a sum that must be even."""
    from gateway.cli.sums import show_books

    show_books(config, with_stripe=with_stripe, as_json=as_json)
