"""The commands about money: `audit`, `balance`, `credit`.

Reading needs no running gateway: the books are a file. Writing goes through whoever keeps them: the running gateway, by
its admin listener, or this command itself when no gateway runs (the lock file tells).
"""

import asyncio
import json
import secrets
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any, NoReturn

import click

from gateway.adapters.sqlite.audit import AuditRefused, Report, audit
from gateway.adapters.sqlite.ledger import SqliteLedgerStore, read_available
from gateway.adapters.system import SystemClock
from gateway.app import HEAD_KEY_PURPOSE
from gateway.cli.configuration import read
from gateway.core.keyring import Keyring
from gateway.core.ledger import Credit
from gateway.core.money import Money
from gateway.flows.keep import Keeper
from gateway.ports import StoreDamaged, StoreLocked
from gateway.settings import Settings
from gateway.web.status import manual_credit


def audit_books(config: Path, store: Path | None, head: Path | None, *, as_json: bool) -> None:
    """`gateway audit`: exit code 1 when something was found."""
    settings = read(config, make_secrets=False)
    path = store or settings.store_path
    try:
        report = audit(
            path,
            head_key=head_keys(settings) or None,
            head_path=head,
            progress=None if as_json else _progress,
        )
    except AuditRefused as refused:
        _fail(str(refused))
    if as_json:
        click.echo(json.dumps({"clean": report.clean, **asdict(report)}, indent=2))
    else:
        print_report(report, path)
    sys.exit(0 if report.clean else 1)


def head_keys(settings: Settings) -> list[bytes]:
    """The keys that may have signed the chain's head; none before the first start."""
    if not settings.secrets.sealing_keys:
        return []
    return [key.subkey(HEAD_KEY_PURPOSE) for key in Keyring(settings.secrets.sealing_keys).keys]


def print_report(report: Report, path: Path) -> None:
    """A report for people."""
    click.echo(f"{path}")
    click.echo(f"  {report.batches:,} batches, {report.records:,} records, {report.credits:,} credits")
    for unit, total in sorted(report.totals.items()):
        credited, spent, available = (Money(micros, unit) for micros in (total.credited, total.spent, total.available))
        click.echo(f"  {credited} credited - {spent} spent = {available} on {report.accounts:,} accounts")
    if report.voided:
        click.echo(f"  {report.voided:,} requests given away after crashes")
    click.echo(f"  head of the chain: {report.head}")
    for finding in report.findings:
        click.echo(f"  {click.style('FOUND', fg='red')}  {finding}")
    if report.more:
        click.echo(f"  … and {report.more:,} more")
    click.echo(f"  {'clean: the chain holds and every sum is right' if report.clean else 'NOT CLEAN'}")


def _progress(done: int, total: int) -> None:
    if sys.stderr.isatty():
        click.echo(f"\raudited {done:,} of {total:,} batches", nl=done == total, err=True)


def show_balance(config: Path, account: str, *, as_json: bool) -> None:
    """`gateway balance`: as committed."""
    settings = read(config, make_secrets=False)
    if not settings.store_path.exists():
        _fail(f"there is no ledger at {settings.store_path} yet; `gateway run` makes it")
    balance = Money(read_available(settings.store_path, account, settings.currency), settings.currency)
    if as_json:
        click.echo(json.dumps({"account": account, "available": str(balance)}))
    else:
        click.echo(f"{account}  {balance}")


def give_credit(config: Path, account: str, amount: str, *, reason: str, ref: str | None, as_json: bool) -> None:
    """`gateway credit`."""
    settings = read(config, make_secrets=True)
    try:
        credit = manual_credit(account, amount, ref=ref or secrets.token_hex(8), reason=reason)
    except ValueError as error:
        _fail(str(error), code=2)
    if credit.amount.currency != settings.currency:
        _fail(f"amount: this gateway's currency is {settings.currency}", code=2)
    done = asyncio.run(_give(settings, credit))
    if as_json:
        click.echo(json.dumps(done))
    elif done["credited"]:
        click.echo(f"{account}  +{credit.amount}  balance {done['available']}  ({credit.ref})")
    else:
        click.echo(f"{account}  nothing added: {credit.ref} was credited before; balance {done['available']}")


async def _give(settings: Settings, credit: Credit) -> dict[str, Any]:
    """Through our own keeper if the books are free, else through the gateway that keeps them."""
    store = SqliteLedgerStore(settings.store_path, head_key=head_keys(settings)[0])
    keeper = Keeper(store, SystemClock())
    try:
        await keeper.open()
    except StoreLocked:
        return await _ask_gateway(settings, credit)
    except StoreDamaged as error:
        _fail(str(error))
    try:
        new = await keeper.credit(credit)
        balance = await keeper.balance(credit.account, credit.amount.currency)
        return {"account": credit.account, "credited": new, "available": str(balance.available)}
    finally:
        await keeper.close()


async def _ask_gateway(settings: Settings, credit: Credit) -> dict[str, Any]:
    from aiohttp import ClientError, ClientSession, ClientTimeout

    host, port = settings.admin
    url = f"http://{host}:{port}/accounts/{credit.account}/credit"
    body = {"ref": credit.ref.removeprefix("manual:"), "amount": str(credit.amount), "reason": credit.reason}
    assert settings.secrets.operator_token is not None, "it was made if it was not there"
    token = {"Authorization": f"Bearer {settings.secrets.operator_token.reveal()}"}
    try:
        async with (
            ClientSession(timeout=ClientTimeout(total=10)) as session,
            session.post(url, json=body, headers=token) as answer,
        ):
            content: dict[str, Any] = await answer.json(content_type=None)
    except (ClientError, TimeoutError, ValueError) as error:
        _fail(f"the gateway that keeps the books does not answer on {host}:{port} ({type(error).__name__})")
    if answer.status != 200:
        _fail(f"the gateway refused: {content.get('detail') or content.get('code')}")
    return content


def _fail(words: str, *, code: int = 3) -> NoReturn:
    click.echo(f"gateway: {words}", err=True)
    sys.exit(code)
