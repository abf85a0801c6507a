"""The commands about accounts: `account freeze`, `account unfreeze`, `account show`, `account frozen`.

They write to the records, which every process of every gateway reads within a second: none need run.
"""

import json
from pathlib import Path
from typing import Any

import click

from gateway.adapters.sqlite.ledger import read_available
from gateway.adapters.system import SystemClock
from gateway.cli.hosts import balance_there
from gateway.cli.payments import moment
from gateway.cli.records import fail, opened, read_with_records, run
from gateway.core.money import Money
from gateway.flows.freeze import Freezes
from gateway.ports import Freeze
from gateway.settings import Settings
from gateway.web.by_hand import is_account, read_reason


def freeze_account(config: Path, account: str, *, reason: str, frozen: bool, as_json: bool) -> None:
    """`gateway account freeze` and `gateway account unfreeze`."""
    settings = _read(config, account)
    try:
        reason = read_reason(reason)
    except ValueError as error:
        fail(str(error), code=2)

    async def change() -> bool:
        async with opened(settings) as here:
            freezes = Freezes(book=here.freezes, clock=SystemClock(), report=lambda *_, **__: None)
            return await (freezes.freeze if frozen else freezes.unfreeze)(account, reason)

    changed = run(change())
    state = "frozen" if frozen else "not frozen"
    if as_json:
        click.echo(json.dumps({"account": account, "frozen": frozen, "changed": changed}))
    else:
        click.echo(f"{account}  {state}" if changed else f"{account}  {state}, as it was before")


def list_frozen(config: Path, *, as_json: bool) -> None:
    """`gateway account frozen`."""
    settings = read_with_records(config)

    async def look() -> list[Freeze]:
        async with opened(settings) as here:
            return await here.freezes.freezes_after(0)

    rows = run(look())
    newest = {row.account: row for row in rows}
    frozen = [row for row in newest.values() if row.frozen]
    if as_json:
        click.echo(json.dumps([_told(row) for row in frozen]))
        return
    for row in frozen:
        click.echo(f"{row.account}  since {moment(row.at_ms)}: {row.reason}")
    if not frozen:
        click.echo("no account is frozen")


def show_account(config: Path, account: str, *, as_json: bool) -> None:
    """`gateway account show`."""
    settings = _read(config, account)

    async def look() -> tuple[list[Freeze], int, list[str]]:
        async with opened(settings) as here:
            rows = await here.freezes.freezes_of(account)
            return rows, await here.count_tokens(account), await here.payments_of(account)

    rows, tokens, paid = run(look())
    if settings.store_url is not None:
        micros = balance_there(settings, account, settings.currency)
    else:
        micros = read_available(settings.store_path, account, settings.currency, now_ms=SystemClock().now_ms())
    frozen = bool(rows) and rows[-1].frozen
    balance = str(Money(micros, settings.currency))
    if as_json:
        told = {"account": account, "available": balance, "frozen": frozen, "tokens": tokens, "payments": paid}
        click.echo(json.dumps({**told, "freezes": [_told(row) for row in rows]}))
        return
    click.echo(f"{account}  balance {balance}; {tokens} tokens on record; {'FROZEN' if frozen else 'not frozen'}")
    for row in rows:
        click.echo(f"  {moment(row.at_ms)}  {'frozen' if row.frozen else 'unfrozen'}: {row.reason}")
    for payment in paid:
        click.echo(f"  paid by {payment}")


def _told(row: Freeze) -> dict[str, Any]:
    return {"account": row.account, "frozen": row.frozen, "at": moment(row.at_ms), "reason": row.reason}


def _read(config: Path, account: str) -> Settings:
    if not is_account(account):
        fail(f"{account!r} is not an account id: acct_ and 32 hexadecimal digits", code=2)
    return read_with_records(config)
