"""Money, as an operator moves and looks it up: `ledger`, `balance`, `credit`, `debit`, `payments`, `prices`,
`subscriptions`, `auto-top-up`, `webhooks`. What each does is loaded when it runs."""

from pathlib import Path

import click

from gateway.cli.options import config_option, form_option, json_option


@click.group()
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


@click.command()
@click.argument("account")
@click.option("--unit", default=None, help="Of a named credit, such as unit:export.  [default: the currency]")
@config_option
@json_option
def balance(account: str, unit: str | None, config: Path, as_json: bool) -> None:
    """What ACCOUNT (acct_…) can spend."""
    from gateway.cli.accounts import show_balance

    show_balance(config, account, unit=unit, as_json=as_json)


@click.command()
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


@click.command()
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


@click.group()
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


@click.group()
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


@click.command("subscriptions")
@click.argument("account", required=False)
@click.option("--all", "also_over", is_flag=True, help="Also those that are over.")
@click.option("--email", default=None, help="Of the licence that was bought with this address.")
@config_option
@json_option
def who_subscribes(account: str | None, also_over: bool, email: str | None, config: Path, as_json: bool) -> None:
    """Who has which plan, and how it stands: of ACCOUNT (acct_…), of an e-mail address, or of all."""
    from gateway.cli.subscriptions import list_subscriptions

    list_subscriptions(config, account, email=email, also_over=also_over, as_json=as_json)


@click.group("auto-top-up")
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


@click.group()
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
