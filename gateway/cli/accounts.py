"""The commands about accounts: `account freeze`, `unfreeze`, `show`, `frozen` and `join`.

They write to the records, which every process of every gateway reads within a second: none need run.
"""

import json
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import click

from gateway.adapters.sqlite.ledger import read_available
from gateway.adapters.sqlite.rights import why
from gateway.adapters.system import SystemClock
from gateway.app.stores import statement_books
from gateway.cli.caps import CapStanding, standings
from gateway.cli.hosts import balance_there
from gateway.cli.payments import moment
from gateway.cli.records import (
    aliases_of,
    fail,
    opened,
    plain_reason,
    read_for,
    read_with_records,
    run,
    unheard,
    write_down,
)
from gateway.cli.subscriptions import said, subscriptions_of, told
from gateway.core.aliases import NOT_JOINED, Joined
from gateway.core.money import Money
from gateway.core.purses import Purse
from gateway.core.statements import PurseRow
from gateway.flows.freeze import Freezes
from gateway.ports import BooksRefused, BooksSlow, Freeze
from gateway.settings import Settings

_LOOK_SECONDS_MAX = 10.0


def freeze_account(config: Path, account: str, *, reason: str, frozen: bool, as_json: bool) -> None:
    """`gateway account freeze` and `gateway account unfreeze`."""
    settings = read_for(config, account)
    reason = plain_reason(reason)

    async def change() -> bool:
        async with opened(settings) as here:
            aliases = await aliases_of(here)
            freezes = Freezes(book=here.freezes, clock=SystemClock(), report=unheard, root=aliases.root)
            action = "account.freeze" if frozen else "account.unfreeze"
            await write_down(settings, here, action, account, reason=reason)
            return await (freezes.freeze if frozen else freezes.unfreeze)(account, reason)

    changed = run(change())
    state = "frozen" if frozen else "not frozen"
    if as_json:
        click.echo(json.dumps({"account": account, "frozen": frozen, "changed": changed}))
    else:
        click.echo(f"{account}  {state}" if changed else f"{account}  {state}, as it was before")


def join_accounts(config: Path, account: str, into: str, *, reason: str, yes: bool, as_json: bool) -> None:
    """`gateway account join`."""
    settings = read_for(config, account)
    read_for(config, into)
    reason = plain_reason(reason)

    async def look() -> tuple[str, str | None]:
        async with opened(settings) as here:
            aliases = await aliases_of(here)
            root = aliases.root(into)
            if aliases.root(account) == root:
                return root, "one already"
            if aliases.root(account) != account:
                return root, "an alias already"
            last = [(await here.freezes.freezes_of(one))[-1:] for one in (account, root)]
            return root, "frozen" if any(row.frozen for rows in last for row in rows) else None

    async def join() -> str | None:
        async with opened(settings) as here:
            await write_down(settings, here, "account.join", account, reason=reason, into=into)
            outcome = await (await aliases_of(here)).add(account, into, reason)
            return None if outcome == "joined" else outcome

    root, refused = run(look())
    moves = available(settings, account)
    if refused is None and yes:
        refused = run(join())
    if refused is not None:
        fail(NOT_JOINED[cast(Joined, refused)])
    if as_json:
        click.echo(json.dumps({"account": account, "into": root, "moves": str(moves), "joined": yes}))
        return
    if not yes:
        click.echo(f"{account}  would be {root} from now on, and {moves} would move; --yes does it, for good")
        return
    click.echo(f"{account}  is {root} from now on; {moves} moves, by the gateway that runs, or at its next start")


def available(settings: Settings, account: str) -> Money:
    """What an account can spend, as committed. The command ends if the books cannot be read."""
    if settings.store_url is not None:
        return Money(balance_there(settings, account, settings.currency), settings.currency)
    now_ms = SystemClock().now_ms()
    try:
        return Money(read_available(settings.store_path, account, settings.currency, now_ms=now_ms), settings.currency)
    except sqlite3.Error as error:
        fail(why(settings.store_path, error))


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
    """`gateway account show`. On the trail first, as whatever shows payments."""
    settings = read_for(config, account)

    async def look() -> _Seen:
        async with opened(settings) as here:
            await write_down(settings, here, "account.show", account)
            root = (await aliases_of(here)).root(account)
            rule = await here.ways_to_pay.find_rule(account)
            return _Seen(
                root=root,
                tokens=await here.count_tokens(account),
                paid=await here.payments_of(account),
                freezes=await here.freezes.freezes_of(account),
                caps=await standings(settings, here, root),
                plans=[told(settings, one) for one in await subscriptions_of(here, account)],
                card=rule.card.label if rule is not None and rule.card is not None else None,
            )

    seen, balance = run(look()), str(available(settings, account))
    purses = _purses(settings, seen.root)
    if as_json:
        told_purses = [_told_purse(purse) for purse in purses]
        click.echo(json.dumps({"account": account, "available": balance, "purses": told_purses, **seen.told(account)}))
        return
    frozen = "FROZEN" if seen.frozen else "not frozen"
    click.echo(f"{account}  balance {balance}; {seen.tokens} tokens on record; {frozen}")
    for purse in purses:
        click.echo(f"  {_said_purse(purse)}")
    for line in seen.said(account):
        click.echo(f"  {line}")


def _purses(settings: Settings, holder: str) -> list[PurseRow]:
    """What is left of it, in the order in which it is spent; of a currency or named unit that is over, nothing."""
    try:
        with statement_books(settings).open(seconds=_LOOK_SECONDS_MAX) as source:
            found = [purse for purse in source.purses(holder) if purse.left]
    except (BooksRefused, BooksSlow) as error:
        fail(str(error) or "the books cannot be read just now")
    return sorted(found, key=lambda one: (one.unit, *Purse(one.priority, one.expires_ms).order))


def _told_purse(purse: PurseRow) -> dict[str, Any]:
    expires = moment(purse.expires_ms) if purse.expires_ms else None
    left = str(Money(purse.left, purse.unit))
    return {"unit": purse.unit, "priority": purse.priority, "expires": expires, "left": left}


def _said_purse(purse: PurseRow) -> str:
    until = f"until {moment(purse.expires_ms)}" if purse.expires_ms else "for ever"
    return f"purse {Money(purse.left, purse.unit)}  priority {purse.priority}, {until}"


@dataclass(frozen=True, slots=True)
class _Seen:
    """What the records have of an account. `card` is saved for auto top-up."""

    root: str
    tokens: int
    paid: list[str]
    freezes: list[Freeze]
    caps: list[CapStanding]
    plans: list[dict[str, Any]]
    card: str | None

    @property
    def frozen(self) -> bool:
        return bool(self.freezes) and self.freezes[-1].frozen

    def told(self, account: str) -> dict[str, Any]:
        return {
            "frozen": self.frozen,
            "tokens": self.tokens,
            "payments": self.paid,
            **({"alias_of": self.root} if self.root != account else {}),
            "caps": [cap.told() for cap in self.caps],
            "subscriptions": self.plans,
            "saved_card": self.card,
            "freezes": [_told(row) for row in self.freezes],
        }

    def said(self, account: str) -> Iterator[str]:
        if self.root != account:
            yield f"an alias: it is {self.root} now"
        yield from (cap.said() for cap in self.caps)
        for row in self.freezes:
            yield f"{moment(row.at_ms)}  {'frozen' if row.frozen else 'unfrozen'}: {row.reason}"
        yield from (f"paid by {payment}" for payment in self.paid)
        yield from (f"subscribed: {said(plan)}" for plan in self.plans)
        if self.card is not None:
            yield f"saved card: {self.card}"


def _told(row: Freeze) -> dict[str, Any]:
    return {"account": row.account, "frozen": row.frozen, "at": moment(row.at_ms), "reason": row.reason}
