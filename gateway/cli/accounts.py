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
from gateway.app.stores import records_path, statement_books
from gateway.cli.caps import CapStanding, standings
from gateway.cli.configuration import read
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
from gateway.core.money import Money, MoneySyntax
from gateway.core.purses import Purse
from gateway.core.statements import PurseRow
from gateway.flows.freeze import Freezes
from gateway.ports import BooksRefused, BooksSlow, Freeze, StoreForbidden
from gateway.settings import Settings
from gateway.web.by_hand import is_account

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
    moves, named = available(settings, account), _named(settings, account)
    if refused is None and yes:
        refused = run(join())
    if refused is not None:
        fail(NOT_JOINED[cast(Joined, refused)])
    if as_json:
        click.echo(json.dumps({"account": account, "into": root, "moves": str(moves), "named": named, "joined": yes}))
        return
    what = " and ".join([str(moves), *named])
    if not yes:
        click.echo(f"{account}  would be {root} from now on, and {what} would move; --yes does it, for good")
        return
    click.echo(f"{account}  is {root} from now on; {what} moves, by the gateway that runs, or at its next start")


def available(settings: Settings, *accounts: str, unit: str | None = None) -> Money:
    """What accounts that are one can spend together, as committed. The command ends if the books cannot be read."""
    unit, path, now_ms = unit or settings.currency, settings.store_path, SystemClock().now_ms()
    try:
        if settings.store_url is not None:
            micros = sum(balance_there(settings, account, unit) for account in accounts)
        else:
            micros = sum(read_available(path, account, unit, now_ms=now_ms) for account in accounts)
    except sqlite3.Error as error:
        fail(f"{why(path, error)}; `gateway audit` says more")
    return Money(micros, unit)


def show_balance(config: Path, account: str, *, unit: str | None, as_json: bool) -> None:
    """`gateway balance`: as committed. Of an account that is another one by now, what that has."""
    if not is_account(account):
        fail(f"{account!r} is not an account id: acct_ and 32 hexadecimal digits", code=2)
    settings = read(config, make_secrets=False)
    unit = unit or settings.currency
    try:
        Money.parse_grant(f"1 {unit}")
    except MoneySyntax:
        fail(f"--unit: {unit!r} is neither a currency nor a named credit such as unit:export", code=2)
    if settings.store_url is None and not settings.store_path.exists():
        fail(f"there is no ledger at {settings.store_path} yet; `gateway run` makes it")
    names = _names(settings, account)
    balance = available(settings, *names, unit=unit)
    if unit != settings.currency and not balance.named and not balance.micros:
        fail(f"--unit: this gateway's currency is {settings.currency}, and the account has no {unit}", code=2)
    root = names[0]
    if as_json:
        other = {"alias_of": root} if root != account else {}
        click.echo(json.dumps({"account": account, "available": str(balance), **other}))
    else:
        click.echo(f"{account}  {balance}" + (f"  (it is {root} now)" if root != account else ""))


def _names(settings: Settings, account: str) -> list[str]:
    """The account that this one is now, and all that are one with it. Books alone know nothing of that."""
    if not settings.secrets.sealing_keys:
        return [account]
    if settings.store_url is None and not records_path(settings.store_path).exists():
        return [account]

    async def look() -> list[str]:
        try:
            async with opened(settings) as here:
                aliases = await aliases_of(here)
                return aliases.names(aliases.root(account))
        except StoreForbidden as forbidden:  # the books may be read all the same, while a gateway keeps them
            click.echo(f"note: nobody could look whether it is another account by now: {forbidden}", err=True)
            return [account]

    return run(look())


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
            aliases = await aliases_of(here)
            root = aliases.root(account)
            rule = await here.ways_to_pay.find_rule(account)
            return _Seen(
                names=aliases.names(root),
                tokens=await here.count_tokens(account),
                paid=await here.payments_of(account),
                freezes=await here.freezes.freezes_of(account),
                caps=await standings(settings, here, root),
                plans=[told(settings, one) for one in await subscriptions_of(here, account)],
                card=rule.card.label if rule is not None and rule.card is not None else None,
            )

    seen = run(look())
    balance, purses = str(available(settings, *seen.names)), _purses(settings, *seen.names)
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


def _purses(settings: Settings, *holders: str) -> list[PurseRow]:
    """What is left of it, in the order in which it is spent; of a currency or named unit that is over, nothing."""
    try:
        with statement_books(settings).open(seconds=_LOOK_SECONDS_MAX) as source:
            found = [purse for holder in holders for purse in source.purses(holder) if purse.left]
    except (BooksRefused, BooksSlow) as error:
        fail(str(error) or "the books cannot be read just now")
    return sorted(found, key=lambda one: (one.unit, *Purse(one.priority, one.expires_ms).order))


def _named(settings: Settings, account: str) -> list[str]:
    """What it has that is no money of this gateway's: named credits, and what is left of another currency."""
    left: dict[str, int] = {}
    for purse in _purses(settings, account):
        left[purse.unit] = left.get(purse.unit, 0) + purse.left
    return [str(Money(micros, unit)) for unit, micros in left.items() if unit != settings.currency and micros]


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

    names: list[str]
    """The account that it is now, and all that are one with it."""
    tokens: int
    paid: list[str]
    freezes: list[Freeze]
    caps: list[CapStanding]
    plans: list[dict[str, Any]]
    card: str | None

    @property
    def root(self) -> str:
        return self.names[0]

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
