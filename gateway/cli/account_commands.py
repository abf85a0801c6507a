"""One account and its tokens: `account`, `token`, `erase`. What each does is loaded when it runs."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from gateway.cli.options import config_option, json_option


@click.group()
def account() -> None:
    """Accounts: what there is of one, and whether it may spend."""


_reason = click.option("--reason", required=True, help="Why; it is kept.")


@account.command()
@click.argument("account")
@_reason
@config_option
@json_option
def freeze(account: str, reason: str, config: Path, as_json: bool) -> None:
    """Let ACCOUNT (acct_…) spend nothing, on every gateway within two seconds. Its money stays, and more may come."""
    from gateway.cli.accounts import freeze_account

    freeze_account(config, account, reason=reason, frozen=True, as_json=as_json)


@account.command()
@click.argument("account")
@_reason
@config_option
@json_option
def unfreeze(account: str, reason: str, config: Path, as_json: bool) -> None:
    """Let ACCOUNT spend again."""
    from gateway.cli.accounts import freeze_account

    freeze_account(config, account, reason=reason, frozen=False, as_json=as_json)


@account.command()
@click.argument("account")
@click.argument("into")
@_reason
@click.option("--yes", is_flag=True, help="Do it. Without it, it is only said what would be done.")
@config_option
@json_option
def join(account: str, into: str, reason: str, yes: bool, config: Path, as_json: bool) -> None:
    """Make ACCOUNT the same as INTO: its tokens spend from there, and what it has moves. Nothing undoes it."""
    from gateway.cli.accounts import join_accounts

    join_accounts(config, account, into, reason=reason, yes=yes, as_json=as_json)


@account.command("cap")
@click.argument("account")
@click.argument("amount", required=False)
@click.option("--per", type=click.Choice(["day", "month", "total"]), required=True, help="By the calendar, or at all.")
@click.option("--tell-at", metavar="AMOUNT", default=None, help="Tell when so much is spent; without AMOUNT no more.")
@click.option("--time-zone", "zone", default=None, help="Whose calendar, such as Asia/Tokyo.")
@click.option("--remove", is_flag=True, help="Without a cap of this period from now on, and nothing told of it.")
@click.option("--dry-run", is_flag=True, help="Only say what would be so.")
@config_option
@json_option
def cap_account(account: str, amount: str | None, remove: bool, config: Path, **rest: Any) -> None:
    """Let ACCOUNT spend AMOUNT ("5.00 usd") in a period at most, on every gateway within two seconds.

    A budget that is only told of has no AMOUNT, but --tell-at.
    """
    from gateway.cli.caps import set_cap

    if (amount is None and rest["tell_at"] is None) is not remove:
        raise click.UsageError('write either an amount, such as "5.00 usd", or --tell-at, or --remove')
    set_cap(config, account, amount, **rest)


@account.command("frozen")
@config_option
@json_option
def frozen_accounts(config: Path, as_json: bool) -> None:
    """List the accounts that are frozen, and why."""
    from gateway.cli.accounts import list_frozen

    list_frozen(config, as_json=as_json)


@account.command()
@click.argument("account")
@config_option
@json_option
def show(account: str, config: Path, as_json: bool) -> None:
    """Balance, tokens, payments, spending caps and freezes of ACCOUNT."""
    from gateway.cli.accounts import show_account

    show_account(config, account, as_json=as_json)


@account.command("export")
@click.argument("account")
@config_option
@json_option
def export_person(account: str, config: Path, as_json: bool) -> None:
    """All that is kept of the person behind ACCOUNT, opened, for that person. It is on the trail that you asked."""
    from gateway.cli.personal import export_account

    export_account(config, account, as_json=as_json)


@click.command()
@click.option("--account", required=True, metavar="ACCT", help="Whose: acct_…, with all that are one with it.")
@click.option("--reason", default="asked for by the person", show_default=True, help="Why; it is kept for ever.")
@click.option("--at-stripe", is_flag=True, help="Have Stripe forget the customers, too. Their plans end at once.")
@click.option("--waive-charges", "waive", is_flag=True, help="Give up the fees that wait for the person.")
@click.option("--dry-run", is_flag=True, help="Only say what would be erased, and what is kept.")
@config_option
@json_option
def erase(account: str, reason: str, at_stripe: bool, waive: bool, dry_run: bool, config: Path, as_json: bool) -> None:
    """Erase what is kept of the person behind an account, for good. The books stay; so do amounts and ids in them."""
    from gateway.cli.erase import erase_account

    erase_account(config, account, reason=reason, at_stripe=at_stripe, waive=waive, dry_run=dry_run, as_json=as_json)


@click.group()
def token() -> None:
    """Tokens of an account: made, narrowed, rotated, revoked. Every gateway knows within two seconds."""


_ROLES = ("owner", "spender", "viewer")


def _terms(command: Callable[..., None]) -> Callable[..., None]:
    """What a new token may be bound to."""
    for option in reversed(
        (
            click.option("--name", default=None, help="What its holder calls it."),
            click.option(
                "--role",
                type=click.Choice(("owner", "spender", "viewer")),
                default=None,
                help="As a member of a shared wallet.",
            ),
            click.option("--route", "routes", multiple=True, help="Only for this route, by its name; may be repeated."),
            click.option("--method", "methods", multiple=True, help="Only for this method; may be repeated."),
            click.option("--expires", default=None, help="30d, 12h or 90m, or a moment such as 2027-01-31T12:00:00Z."),
            click.option("--limit", "limit", multiple=True, help="A limit of its own, such as 100/minute."),
            click.option("--cap", "caps", multiple=True, help="Such as 'day=5.00 usd'; also month= and total=."),
        )
    ):
        command = option(command)
    return command


@token.command("list")
@click.argument("account")
@config_option
@json_option
def list_tokens(account: str, config: Path, as_json: bool) -> None:
    """List the tokens of ACCOUNT (acct_…); never their secrets."""
    from gateway.cli.tokens import list_tokens as listed

    listed(config, account, as_json=as_json)


@token.command("create")
@click.argument("account")
@_terms
@config_option
@json_option
def create_token(account: str, config: Path, as_json: bool, **terms: Any) -> None:
    """Make a token of ACCOUNT. It is printed this once."""
    from gateway.cli import tokens

    tokens.create_token(config, account, tokens.said(terms), as_json=as_json)


@token.command("derive")
@click.argument("account")
@click.argument("parent")
@_terms
@config_option
@json_option
def derive_token(account: str, parent: str, config: Path, as_json: bool, **terms: Any) -> None:
    """Make a child of the token PARENT (tok_…) of ACCOUNT: never wider than that, and over with it."""
    from gateway.cli import tokens

    tokens.create_token(config, account, {**tokens.said(terms), "parent": parent}, as_json=as_json)


@token.command("rotate")
@click.argument("account")
@click.argument("id")
@config_option
@json_option
def rotate_token(account: str, id: str, config: Path, as_json: bool) -> None:
    """Give the token ID of ACCOUNT another secret. The one that it has is good for `tokens.rotation_grace`."""
    from gateway.cli.tokens import rotate_token as rotated

    rotated(config, account, id, as_json=as_json)


@token.command("revoke")
@click.argument("account")
@click.argument("id")
@click.option("--yes", is_flag=True, help="Do it. Without it, it is only said what would be done.")
@config_option
@json_option
def revoke_token(account: str, id: str, yes: bool, config: Path, as_json: bool) -> None:
    """End the token ID of ACCOUNT and all that came of it, for good."""
    from gateway.cli.tokens import revoke_token as revoked

    revoked(config, account, id, yes=yes, as_json=as_json)
