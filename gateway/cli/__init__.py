"""What an operator types. Each command loads what it needs when it runs, so that `gateway --help` answers at once.

Exit codes: 0 done, 1 the answer is no (an audit with findings, a demo step that failed), 2 the command or the
configuration is wrong, 3 the gateway cannot start or be reached.
"""

import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import click

from gateway import __version__
from gateway.cli.alert_commands import alerts
from gateway.cli.charge_commands import cancel_payout, charges
from gateway.cli.desk import add_commands
from gateway.cli.options import config_option, form_option, json_option
from gateway.cli.stand_in import stand_in


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="gateway")
def main() -> None:
    """Farebox: makes any HTTP API pay-per-use."""


@main.command()
@config_option
def run(config: Path) -> None:
    """Start the gateway."""
    from gateway.adapters.allocator import give_memory_back
    from gateway.cli.configuration import existing
    from gateway.settings.apart import Reading

    give_memory_back()
    begun = time.time()
    reading = Reading(existing(config), make_secrets=True)  # while what serves is imported

    from gateway.cli.run import run_gateway

    run_gateway(config, reading, begun)


@main.command()
@click.option(
    "--online",
    is_flag=True,
    help="Also ask Stripe whether plans cost there what the settings say, and whether accounts can be opened.",
)
@config_option
@json_option
def check(online: bool, config: Path, as_json: bool) -> None:
    """Say whether the configuration is right, without starting."""
    from gateway.cli.configuration import check_configuration

    check_configuration(config, online=online, as_json=as_json)


@main.command()
@click.argument("what", metavar="METHOD|REQUEST")
@click.argument("url", required=False)
@click.option("--token", default=None, help="For whoever has this token; - reads it from the standard input.")
@click.option("--content-length", "length", type=click.IntRange(min=0), default=None, help="Bytes of its body.")
@config_option
@json_option
def explain(what: str, url: str | None, token: str | None, length: int | None, config: Path, as_json: bool) -> None:
    """What METHOD URL would cost by the configuration as it is now; or what REQUEST (req_…) did cost, by the books."""
    from gateway.cli.explain import explain as explained

    explained(config, what, url, token=token, length=length, as_json=as_json)


@main.command()
@config_option
@json_option
def reload(config: Path, as_json: bool) -> None:
    """Let the running gateway read its routes and upstreams again. Nothing under way is cut; SIGHUP does the same."""
    from gateway.cli.admin import reload_gateway

    reload_gateway(config, as_json=as_json)


@main.command()
@config_option
@json_option
def restart(config: Path, as_json: bool) -> None:
    """Replace the workers of the running gateway one by one (SIGUSR2). No request is lost. Needs `workers` > 1."""
    from gateway.cli.admin import restart_gateway

    restart_gateway(config, as_json=as_json)


@main.command()
@click.option("--live", is_flag=True, help="Only whether it is alive, not whether it is ready to serve.")
@config_option
@json_option
def health(live: bool, config: Path, as_json: bool) -> None:
    """Whether the gateway on this host is ready to serve: exit code 0, else 1. For containers and load balancers."""
    from gateway.cli.health import ask_health

    ask_health(config, live=live, as_json=as_json)


@main.command()
@config_option
@json_option
def doctor(config: Path, as_json: bool) -> None:
    """What is wrong here, and which file, setting or command mends it. Mends nothing. Exit code 1 if anything is."""
    from gateway.cli.doctor import examine

    examine(config, as_json=as_json)


@main.group()
def config() -> None:
    """The configuration's schema and reference."""


@config.command()
def schema() -> None:
    """Print the JSON Schema of the configuration file."""
    from gateway.settings import reference

    click.echo(reference.schema(), nl=False)


@config.command()
def reference() -> None:
    """Print every setting, its variable, its default and what it does (Markdown)."""
    from gateway.settings import reference

    click.echo(reference.reference(), nl=False)


@main.command()
@click.option("--script", is_flag=True, help="Do the walk-through by itself, tick each step, and end.")
@click.option(
    "--data",
    type=click.Path(path_type=Path, file_okay=False),
    default=None,
    help="Where the demo keeps its data.  [default: data/demo; a passing folder with --script]",
)
@click.option("--port", default=8402, show_default=True, help="The port to begin at; the next free one is taken.")
def demo(script: bool, data: Path | None, port: int) -> None:
    """Gateway, toy upstreams and a Stripe stand-in on this machine. No real money moves."""
    from gateway.cli.demo import run_demo

    run_demo(script=script, data=data, port=port)


@main.group(invoke_without_command=True)
@config_option
@click.option("--store", default=None, help="Another ledger file or postgresql://… database, such as a copy.")
@click.option(
    "--head", type=click.Path(path_type=Path), default=None, help="The head of its chain.  [default: beside it]"
)
@click.option(
    "--since",
    metavar="SEQ|WHEN",
    default=None,
    help="Prove the batches from this number or time on (900, 24h, 7d, 2026-01-31); the earlier ones as they stand.",
)
@click.option("--accept-head", is_flag=True, help="Sign the books as they end now, after a loss that was understood.")
@json_option
@click.pass_context
def audit(
    context: click.Context,
    config: Path,
    store: str | None,
    head: Path | None,
    since: str | None,
    accept_head: bool,
    as_json: bool,
) -> None:
    """Prove from the files alone that the books are right. Reads only; works while the gateway runs.

    With LOG or VERIFY it is about the trail: what operators, holders and Stripe did besides spending.
    """
    if context.invoked_subcommand is not None:
        return
    from gateway.cli.audited import audit_and_note
    from gateway.cli.books import accept_books, audit_books

    if accept_head:
        accept_books(config, store)
    work = partial(audit_books, config, store, head, since=since, as_json=as_json)
    audit_and_note(config, store, since, work)


@audit.command("log")
@click.option("--of", "object", metavar="ID", default=None, help="What was done to this account, token, payment, key …")
@click.option("--action", default=None, help="Only this, such as account.freeze.")
@click.option("--limit", type=click.IntRange(1, 10_000), default=50, show_default=True, help="The newest so many.")
@config_option
@json_option
def audit_log(object: str | None, action: str | None, limit: int, config: Path, as_json: bool) -> None:
    """Who did what, when, why and by which door."""
    from gateway.cli.trail import list_trail

    list_trail(config, object=object, action=action, limit=limit, as_json=as_json)


@audit.command("verify")
@click.option("--head", type=click.Path(path_type=Path), default=None, help="Its head.  [default: beside the secrets]")
@config_option
@json_option
def audit_verify(head: Path | None, config: Path, as_json: bool) -> None:
    """Prove that nobody has changed, dropped, added or cut off an entry of the log. Exit code 1 if somebody has."""
    from gateway.cli.trail import verify_trail

    verify_trail(config, head, as_json=as_json)


@main.group()
def db() -> None:
    """The files under the books and the records."""


@db.command()
@config_option
@click.option("--dry-run", is_flag=True, help="Only say what would be done.")
@json_option
def migrate(config: Path, dry_run: bool, as_json: bool) -> None:
    """Bring the files up to date, after a copy of each. `gateway run` does it by itself when it starts.

    In PostgreSQL, the tables: with the login of their owner, if the gateway's may not.
    """
    from gateway.cli.db import migrate_stores

    migrate_stores(config, dry_run=dry_run, as_json=as_json)


@db.command()
@click.argument("folder", type=click.Path(path_type=Path))
@config_option
@json_option
def backup(folder: Path, config: Path, as_json: bool) -> None:
    """Copy books, head and records, as they are at one moment, into a new FOLDER. Works while the gateway runs."""
    from gateway.cli.db import back_up_stores

    back_up_stores(config, folder, as_json=as_json)


@db.command()
@click.option("--before", metavar="DATE", default=None, help="Drop what is older than this (UTC), such as 2026-01-31.")
@click.option("--keep-days", type=click.IntRange(min=1), default=None, help="Or: keep so many days.")
@click.option("--dry-run", is_flag=True, help="Only say what would be dropped.")
@config_option
@json_option
def prune(before: str | None, keep_days: int | None, dry_run: bool, config: Path, as_json: bool) -> None:
    """Drop old batches that are folded. Their hourly sums stay, and an anchor from which the audit goes on.

    [default: keep `retention.batches_days`]
    """
    from gateway.cli.ledger import prune_books

    prune_books(config, before=before, keep_days=keep_days, dry_run=dry_run, as_json=as_json)


@main.group()
def ledger() -> None:
    """Statements and double entry."""


@ledger.command()
@config_option
@click.option("--store", type=click.Path(path_type=Path), default=None, help="Another ledger file, such as a copy.")
@click.option("--account", default=None, help="What this account used and paid in.")
@click.option("--owner", default=None, help="Or: what the routes of this owner took.")
@click.option("--from", "begin", metavar="DATE", default=None, help="From then on (UTC): 2026-01-31, 2026-01-31T12:00.")
@click.option("--to", "end", metavar="DATE", default=None, help="Up to then, without it.")
@form_option("jsonl")
@click.option("--summary", is_flag=True, help="Hour by hour instead of request by request.")
def export(
    config: Path,
    store: Path | None,
    account: str | None,
    owner: str | None,
    begin: str | None,
    end: str | None,
    form: str,
    summary: bool,
) -> None:
    """Write a statement. Reads only; works while the gateway runs. Of pruned batches it has the hours."""
    from gateway.cli.ledger import export_statement

    export_statement(config, store, account=account, owner=owner, begin=begin, end=end, form=form, summary=summary)


@ledger.command()
@config_option
@click.option("--store", type=click.Path(path_type=Path), default=None, help="Another ledger file, such as a copy.")
@json_option
def fold(config: Path, store: Path | None, as_json: bool) -> None:
    """Derive transfers and hourly sums from the batches, up to now. The gateway does it by itself every hour."""
    from gateway.cli.ledger import fold_books

    fold_books(config, store, as_json=as_json)


@ledger.command()
@click.argument("request")
@click.option("--reason", required=True, help="Why; it is written into the books.")
@config_option
@json_option
def refund(request: str, reason: str, config: Path, as_json: bool) -> None:
    """Give back what REQUEST (req_…, as `Gateway-Request-Id` has it) did cost. Twice is once."""
    from gateway.cli.books import refund_request

    refund_request(config, request, reason=reason, as_json=as_json)


@main.command()
@click.argument("account")
@click.option("--unit", default=None, help="Of a named credit, such as unit:export.  [default: the currency]")
@config_option
@json_option
def balance(account: str, unit: str | None, config: Path, as_json: bool) -> None:
    """What ACCOUNT (acct_…) can spend."""
    from gateway.cli.books import show_balance

    show_balance(config, account, unit=unit, as_json=as_json)


@main.command()
@click.argument("account")
@click.argument("amount")
@click.option("--reason", required=True, help="Why; it is written into the books.")
@click.option("--ref", default=None, help="A key of your own: one ref is credited once.  [default: a random one]")
@click.option("--expires", default=None, help="Promotion credit: a date, or a date and time, until which it is good.")
@click.option(
    "--priority", default=0, help="When it is spent, lowest first; what is paid in has 0.  [default: 0]", type=int
)
@config_option
@json_option
def credit(
    account: str,
    amount: str,
    reason: str,
    ref: str | None,
    expires: str | None,
    priority: int,
    config: Path,
    as_json: bool,
) -> None:
    """Add AMOUNT (such as "5.00 usd" or "100 unit:export") to ACCOUNT by hand, while the gateway runs or not."""
    from gateway.cli.books import give_credit

    give_credit(config, account, amount, reason=reason, ref=ref, expires=expires, priority=priority, as_json=as_json)


@main.command()
@click.argument("account")
@click.argument("amount")
@click.option("--reason", required=True, help="Why; it is written into the books.")
@click.option("--ref", default=None, help="A key of your own: one ref is one entry.  [default: a random one]")
@config_option
@json_option
def debit(account: str, amount: str, reason: str, ref: str | None, config: Path, as_json: bool) -> None:
    """Take AMOUNT from ACCOUNT by hand. What is not there is owed: the balance is negative until it is paid in."""
    from gateway.cli.books import take_debit

    take_debit(config, account, amount, reason=reason, ref=ref, as_json=as_json)


@main.group()
def payments() -> None:
    """Payments: all of them, and those that reached no account."""


@payments.command("list")
@click.argument("account", required=False)
@click.option(
    "--since", metavar="DATE", default=None, help="Credited from then on (UTC): 2026-01-31, 2026-01-31T12:00."
)
@config_option
@json_option
def paid_payments(account: str | None, since: str | None, config: Path, as_json: bool) -> None:
    """List what was paid, oldest first: all of it, or of ACCOUNT (acct_…) and what was joined to it."""
    from gateway.cli.paid import list_paid

    list_paid(config, account, since=since, as_json=as_json)


@payments.command("parked")
@config_option
@json_option
def parked_payments(config: Path, as_json: bool) -> None:
    """List payments, refunds and disputes that name no account which can be opened, or wait for their payment."""
    from gateway.cli.payments import list_parked

    list_parked(config, as_json=as_json)


@payments.command()
@click.argument("id")
@click.argument("account")
@click.option("--yes", is_flag=True, help="Do it. Without it, it is only said what would be done.")
@config_option
@json_option
def assign(id: str, account: str, yes: bool, config: Path, as_json: bool) -> None:
    """Credit the payment ID (cs_… or evt_…) to ACCOUNT (acct_…). Once: it cannot be given to another one later."""
    from gateway.cli.payments import assign_payment

    assign_payment(config, id, account, yes=yes, as_json=as_json)


@main.group()
def prices() -> None:
    """What other prices would do."""


@prices.command("replay")
@click.option("--since", metavar="DATE", required=True, help="From then on (UTC): 2026-01-31, 2026-01-31T12:00.")
@click.option("--to", "until", metavar="DATE", default=None, help="Up to then, without it.  [default: now]")
@config_option
@json_option
def replay_under_prices(since: str, until: str | None, config: Path, as_json: bool) -> None:
    """What the requests on record would have earned by the prices of this configuration. Changes nothing."""
    from gateway.cli.prices import replay_prices

    replay_prices(config, since=since, until=until, as_json=as_json)


@main.command("subscriptions")
@click.argument("account", required=False)
@click.option("--all", "also_over", is_flag=True, help="Also those that are over.")
@click.option("--email", default=None, help="Of the licence that was bought with this address.")
@config_option
@json_option
def who_subscribes(account: str | None, also_over: bool, email: str | None, config: Path, as_json: bool) -> None:
    """Who has which plan, and how it stands: of ACCOUNT (acct_…), of an e-mail address, or of all."""
    from gateway.cli.subscriptions import list_subscriptions

    list_subscriptions(config, account, email=email, also_over=also_over, as_json=as_json)


@main.group("auto-top-up")
def auto_top_up() -> None:
    """Saved cards that pay when a balance runs low."""


@auto_top_up.command("show")
@click.argument("account")
@config_option
@json_option
def show_rule(account: str, config: Path, as_json: bool) -> None:
    """Say how the auto top-up of ACCOUNT (acct_…) stands, and what was charged lately."""
    from gateway.cli.auto_top_up import show_auto_top_up

    show_auto_top_up(config, account, as_json=as_json)


@auto_top_up.command("off")
@click.argument("account")
@config_option
@json_option
def stop_rule(account: str, config: Path, as_json: bool) -> None:
    """Switch the auto top-up of ACCOUNT (acct_…) off. What is under way is still credited."""
    from gateway.cli.auto_top_up import stop_auto_top_up

    stop_auto_top_up(config, account, as_json=as_json)


@main.group()
def webhooks() -> None:
    """What Stripe has delivered."""


@webhooks.command("list")
@click.option(
    "--status",
    type=click.Choice(["waiting", "parked", "done", "ignored", "all"]),
    default=None,
    help="Those that stand like this.  [default: waiting and parked]",
)
@click.option("--limit", type=click.IntRange(min=1), default=100, show_default=True, help="The newest so many.")
@config_option
@json_option
def list_events(status: str | None, limit: int, config: Path, as_json: bool) -> None:
    """List events, how they stand, and what is wrong with those that could not be acted on."""
    from gateway.cli.payments import list_webhooks

    list_webhooks(config, status=status, limit=limit, as_json=as_json)


@webhooks.command()
@click.argument("ids", nargs=-1, metavar="[ID]...")
@click.option("--parked", "all_parked", is_flag=True, help="All that are parked.")
@config_option
@json_option
def replay(ids: tuple[str, ...], all_parked: bool, config: Path, as_json: bool) -> None:
    """Act on events (evt_…) again. Harmless: nothing is ever credited or taken back twice."""
    from gateway.cli.payments import replay_webhooks

    replay_webhooks(config, ids, all_parked=all_parked, as_json=as_json)


@main.group()
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


@main.group()
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


@main.group()
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


@main.command()
@click.option("--stripe", "with_stripe", is_flag=True, help="Also ask Stripe what it has, and what it kept.")
@config_option
@json_option
def books(with_stripe: bool, config: Path, as_json: bool) -> None:
    """Say where all the money is, in a sum that must be even."""
    from gateway.cli.sums import show_books

    show_books(config, with_stripe=with_stripe, as_json=as_json)


@main.group()
def jobs() -> None:
    """What is done for people who signed in (the setting `sign_in`)."""


@jobs.command("list")
@click.option(
    "--state", type=click.Choice(["waiting", "running", "done", "failed"]), default=None, help="Those that stand so."
)
@click.option("--limit", type=click.IntRange(min=1), default=100, show_default=True, help="The newest so many.")
@config_option
@json_option
def list_jobs(state: str | None, limit: int, config: Path, as_json: bool) -> None:
    """List jobs, how they stand, and why those that failed did."""
    from gateway.cli.jobs import list_jobs

    list_jobs(config, state=state, limit=limit, as_json=as_json)


@jobs.command("show")
@click.argument("id")
@config_option
@json_option
def show_job(id: str, config: Path, as_json: bool) -> None:
    """Show one job (job_…)."""
    from gateway.cli.jobs import show_job

    show_job(config, id, as_json=as_json)


@jobs.command("retry")
@click.argument("ids", nargs=-1, metavar="[ID]...")
@click.option("--failed", "all_failed", is_flag=True, help="All that were given up, the newest thousand.")
@click.option("--dry-run", is_flag=True, help="Only say which.")
@config_option
@json_option
def retry_jobs(ids: tuple[str, ...], all_failed: bool, dry_run: bool, config: Path, as_json: bool) -> None:
    """Have jobs that were given up tried again, from where they had come to."""
    from gateway.cli.jobs import retry_jobs

    retry_jobs(config, ids, all_failed=all_failed, dry_run=dry_run, as_json=as_json)


@main.group()
def notices() -> None:
    """What an owner or operator is told of accounts (the setting `notices`)."""


@notices.command("list")
@click.option(
    "--state", type=click.Choice(["waiting", "delivered", "failed"]), default=None, help="Those that stand like this."
)
@click.option("--limit", type=click.IntRange(min=1), default=100, show_default=True, help="The newest so many.")
@config_option
@json_option
def list_notices(state: str | None, limit: int, config: Path, as_json: bool) -> None:
    """List messages, how they stand, and why those that failed did."""
    from gateway.cli.notices import list_notices

    list_notices(config, state=state, limit=limit, as_json=as_json)


@notices.command("replay")
@click.argument("ids", nargs=-1, metavar="[ID]...")
@click.option("--failed", "all_failed", is_flag=True, help="All that were given up, the newest thousand.")
@click.option("--dry-run", is_flag=True, help="Only say which.")
@config_option
@json_option
def replay_notices(ids: tuple[str, ...], all_failed: bool, dry_run: bool, config: Path, as_json: bool) -> None:
    """Deliver messages (ntc_…) again. A receiver knows by the id that it had one."""
    from gateway.cli.notices import replay_notices

    replay_notices(config, ids, all_failed=all_failed, dry_run=dry_run, as_json=as_json)


@main.command()
@click.option(
    "--from", "begin", metavar="DATE", required=True, help="From then on (UTC): 2026-01-31, 2026-01-31T12:00."
)
@click.option("--to", "end", metavar="DATE", default=None, help="Up to then, without it.  [default: now]")
@click.option("--dry-run", is_flag=True, help="Only say what differs.")
@config_option
@json_option
def reconcile(begin: str, end: str | None, dry_run: bool, config: Path, as_json: bool) -> None:
    """Compare paid checkouts at Stripe with credits here, and credit what is missing. Harmless to repeat."""
    from gateway.cli.reconcile import reconcile_payments

    reconcile_payments(config, begin=begin, end=end, dry_run=dry_run, as_json=as_json)


@main.group()
def keys() -> None:
    """Our own keys, and how they are replaced."""


@keys.command("list")
@config_option
@json_option
def list_keys(config: Path, as_json: bool) -> None:
    """List keys by their ids: which one seals, what the others are still needed for, who lacks one."""
    from gateway.cli.keys import list_keys as listed

    listed(config, as_json=as_json)


_kind = click.argument("kind", type=click.Choice(["sealing_key", "pepper", "jwt", "webhook_secret", "stripe_key"]))


@keys.command()
@_kind
@click.option("--prepare", is_flag=True, help="Only make it known: it opens, and does not seal. For many hosts.")
@click.option("--activate", metavar="ID", default=None, help="Let this one seal, once every gateway knows it.")
@click.option("--dry-run", is_flag=True, help="Only say whether it could be done.")
@config_option
@json_option
def rotate(kind: str, prepare: bool, activate: str | None, dry_run: bool, config: Path, as_json: bool) -> None:
    """Make a new key, make it known to every process, then seal with it. No request is refused meanwhile."""
    from gateway.cli.keys import rotate_key

    if prepare and activate is not None:
        raise click.UsageError("--prepare comes before --activate, not with it")
    rotate_key(config, kind, prepare=prepare, activate=activate, dry_run=dry_run, as_json=as_json)


@keys.command()
@_kind
@click.argument("id")
@click.option("--yes", is_flag=True, help="Do it. Without it, it is only said whether it may go.")
@config_option
@json_option
def retire(kind: str, id: str, yes: bool, config: Path, as_json: bool) -> None:
    """Remove the key ID, if nothing needs it any more; else say what does, and until when."""
    from gateway.cli.keys import retire_key

    retire_key(config, kind, id, yes=yes, as_json=as_json)


@main.group()
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


@main.group()
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


@main.command()
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


@main.group()
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


main.add_command(alerts)
main.add_command(charges)
payouts.add_command(cancel_payout)
main.add_command(stand_in)

add_commands(main, config_option, json_option)
