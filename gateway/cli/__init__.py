"""What an operator types. Each command loads what it needs when it runs, so that `gateway --help` answers at once.

Exit codes: 0 done, 1 the answer is no (an audit with findings, a demo step that failed), 2 the command or the
configuration is wrong, 3 the gateway cannot start or be reached.
"""

from pathlib import Path

import click

from gateway import __version__

CONFIG_DEFAULT = Path("config/gateway.yaml")

config_option = click.option(
    "--config",
    "config",
    type=click.Path(path_type=Path, dir_okay=False),
    envvar="GATEWAY_CONFIG",
    default=CONFIG_DEFAULT,
    show_default=True,
    help="The configuration file.",
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON, for programs.")


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="gateway")
def main() -> None:
    """Farebox: makes any HTTP API pay-per-use."""


@main.command()
@config_option
def run(config: Path) -> None:
    """Start the gateway."""
    from gateway.cli.run import run_gateway

    run_gateway(config)


@main.command()
@config_option
@json_option
def check(config: Path, as_json: bool) -> None:
    """Say whether the configuration is right, without starting."""
    from gateway.cli.configuration import check_configuration

    check_configuration(config, as_json=as_json)


@main.command()
@config_option
@json_option
def reload(config: Path, as_json: bool) -> None:
    """Let the running gateway read its routes and upstreams again. Nothing under way is cut; SIGHUP does the same."""
    from gateway.cli.admin import reload_gateway

    reload_gateway(config, as_json=as_json)


@main.group()
def config() -> None:
    """The configuration's schema and reference."""


@config.command()
def schema() -> None:
    """Print the JSON Schema of the configuration file."""
    from gateway import settings

    click.echo(settings.schema(), nl=False)


@config.command()
def reference() -> None:
    """Print every setting, its variable, its default and what it does (Markdown)."""
    from gateway import settings

    click.echo(settings.reference(), nl=False)


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


@main.command()
@config_option
@click.option("--store", type=click.Path(path_type=Path), default=None, help="Another ledger file, such as a copy.")
@click.option(
    "--head", type=click.Path(path_type=Path), default=None, help="The head of its chain.  [default: beside it]"
)
@click.option("--accept-head", is_flag=True, help="Sign the books as they end now, after a loss that was understood.")
@json_option
def audit(config: Path, store: Path | None, head: Path | None, accept_head: bool, as_json: bool) -> None:
    """Prove from the files alone that the books are right. Reads only; works while the gateway runs."""
    from gateway.cli.books import accept_books, audit_books

    if accept_head:
        accept_books(config, store)
    audit_books(config, store, head, as_json=as_json)


@main.command()
@click.argument("account")
@config_option
@json_option
def balance(account: str, config: Path, as_json: bool) -> None:
    """What ACCOUNT (acct_…) can spend."""
    from gateway.cli.books import show_balance

    show_balance(config, account, as_json=as_json)


@main.command()
@click.argument("account")
@click.argument("amount")
@click.option("--reason", required=True, help="Why; it is written into the books.")
@click.option("--ref", default=None, help="A key of your own: one ref is credited once.  [default: a random one]")
@config_option
@json_option
def credit(account: str, amount: str, reason: str, ref: str | None, config: Path, as_json: bool) -> None:
    """Add AMOUNT (such as "5.00 usd") to ACCOUNT by hand. Works while the gateway runs and while it does not."""
    from gateway.cli.books import give_credit

    give_credit(config, account, amount, reason=reason, ref=ref, as_json=as_json)
