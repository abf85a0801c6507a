"""What an operator types. Each command loads what it needs when it runs, so that `gateway --help` answers at once.

Exit codes: 0 done, 1 the answer is no (an audit with findings, a demo step that failed), 2 the command or the
configuration is wrong, 3 the gateway cannot start or be reached.
"""

import time
from functools import partial
from pathlib import Path

import click

from gateway import __version__
from gateway.cli.account_commands import account, erase, token
from gateway.cli.alert_commands import alerts
from gateway.cli.charge_commands import charges
from gateway.cli.desk import add_commands
from gateway.cli.incident_commands import incident
from gateway.cli.money_commands import (
    auto_top_up,
    balance,
    credit,
    debit,
    ledger,
    payments,
    prices,
    webhooks,
    who_subscribes,
)
from gateway.cli.options import config_option, json_option
from gateway.cli.owner_commands import books, owners, payouts, service
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
    from gateway.cli.configuration import existing, told_of_mistakes
    from gateway.settings.apart import Reading

    give_memory_back()
    begun = time.time()
    with told_of_mistakes():
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


for _of_another_file in (
    *(account, token, erase, incident, alerts),
    *(ledger, balance, credit, debit, payments, prices, who_subscribes, auto_top_up, webhooks),
    *(owners, service, payouts, books, charges),
    stand_in,
):
    main.add_command(_of_another_file)
add_commands(main, config_option, json_option)
