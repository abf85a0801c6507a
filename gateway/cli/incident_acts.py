"""`gateway incident revoke|freeze|rotate|affected`: what is done at once, and whom it concerns.

Tokens and freezes are read by every process of every gateway within a second. Whatever is typed here is on the trail
before it is done, under the incident that is open.
"""

import csv
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import click

from gateway.adapters.ended_tokens import EndedTokens
from gateway.adapters.personal import AffectedRecords
from gateway.adapters.system import SystemClock
from gateway.cli.incident import chosen
from gateway.cli.keys import BY_HAND, OPERATORS, rotate_all
from gateway.cli.ledger import moment_of
from gateway.cli.payments import moment
from gateway.cli.records import (
    Records,
    aliases_of,
    fail,
    opened,
    plain_reason,
    read_with_records,
    run,
    unheard,
    write_down,
)
from gateway.core.incidents import FACT
from gateway.core.keyring import Keyring
from gateway.flows.follow import Aliases
from gateway.flows.freeze import Freezes
from gateway.settings import Settings
from gateway.settings.plain import secrets_in
from gateway.web.by_hand import is_account

_FILES = {"sealing_key": "sealing_keys", "pepper": "peppers", "jwt": "jwt_keys", "operator_token": "operator_token"}
_OURS = ("secrets.",)
_SHOWN = {"store_url": "store", "limits.storage_url": "limits.storage"}
"""What settings are called in the file, where it is another name."""
_EACH_HOST = "that of this host is another; `gateway incident rotate --all` on every other host exchanges theirs"
_STRIPE = {"stripe.secret_key": "stripe_key", "stripe.webhook_secrets": "webhook_secret"}
_ELSEWHERE = "make another where it is from, put it into the configuration, reload (or restart), end the old one there"


@dataclass(frozen=True, slots=True)
class Whom:
    """Whose: accounts, a plan's subscribers, the holder of a token, or everyone."""

    accounts: tuple[str, ...] = ()
    plan: str | None = None
    token: str | None = None
    everyone: bool = False

    def check(self, settings: Settings) -> None:
        """The command ends if it is not one of them."""
        if sum((bool(self.accounts), self.plan is not None, self.token is not None, self.everyone)) != 1:
            fail("say whose: --account, --plan, --token, or --everyone", code=2)
        if wrong := [one for one in self.accounts if not is_account(one)]:
            fail(f"{wrong[0]!r} is not an account id: acct_ and 32 hexadecimal digits", code=2)
        if self.plan is not None and self.plan not in {plan.name for plan in settings.plans}:
            fail(f"{self.plan}: there is no such plan", code=2)

    @property
    def object(self) -> str:
        """As the trail says it."""
        if self.everyone:
            return "everyone"
        return f"plan {self.plan}" if self.plan else self.token or " ".join(self.accounts[:8])


def revoke(config: Path, whom: Whom, *, reason: str, incident: str | None, dry_run: bool, as_json: bool) -> None:
    settings, reason = read_with_records(config), plain_reason(reason)
    whom.check(settings)

    async def end() -> int:
        async with opened(settings) as here:
            found = _affected(settings, here)
            accounts = None if whom.everyone else await _accounts(settings, here, whom, found)
            ids = await found.alive(accounts, now_ms=SystemClock().now_ms())
            if not dry_run:
                facts = {"tokens": str(len(ids)), **await _facts(here, incident)}
                await write_down(settings, here, "incident.revoke", whom.object, reason=reason, **facts)
                now_ms = SystemClock().now_ms()
                await EndedTokens(here.ask).end_tokens(accounts if accounts is not None else [""], before_ms=now_ms)
                await here.grants.revoke_grants(ids, now_ms=now_ms)
            return len(ids)

    count = run(end())
    if as_json:
        click.echo(json.dumps({"whose": whom.object, "revoked": not dry_run, "tokens": count}))
    elif dry_run:
        click.echo(f"{count} tokens and sessions of {whom.object} would be over, for good")
    else:
        words = "are over, everywhere within two seconds, and so is every token that is not on record"
        click.echo(f"{count} tokens and sessions of {whom.object} {words}")


def freeze(config: Path, whom: Whom, *, reason: str, incident: str | None, dry_run: bool, as_json: bool) -> None:
    settings, reason = read_with_records(config), plain_reason(reason)
    whom.check(settings)
    if whom.everyone:
        fail("nobody freezes everyone: stop the gateway, or take the routes out of the configuration", code=2)

    async def hold() -> list[str]:
        async with opened(settings) as here:
            aliases = await aliases_of(here)
            accounts = await _accounts(settings, here, whom, _affected(settings, here))
            roots = sorted({aliases.root(account) for account in accounts})
            freezes = Freezes(book=here.freezes, clock=SystemClock(), report=unheard, root=aliases.root)
            facts = await _facts(here, incident)
            for account in () if dry_run else roots:
                await write_down(settings, here, "account.freeze", account, reason=reason, **facts)
                await freezes.freeze(account, reason)
            return roots

    frozen = run(hold())
    if as_json:
        click.echo(json.dumps({"whose": whom.object, "frozen": not dry_run, "accounts": frozen}))
        return
    for account in frozen:
        click.echo(f"{account}  {'would be frozen' if dry_run else 'frozen'}")
    if not frozen:
        click.echo(f"there is no account of {whom.object}")


def rotate(config: Path, *, incident: str | None, dry_run: bool, as_json: bool) -> None:
    """What has to be done by hand is listed: it is not done."""
    settings = read_with_records(config)

    async def change() -> list[dict[str, Any]]:
        async with opened(settings) as here:
            return await rotate_all(settings, here, dry_run=dry_run, **await _facts(here, incident))

    done = run(change())
    by_hand = _by_hand(settings, {one["kind"] for one in done})
    if as_json:
        click.echo(json.dumps({"rotated": not dry_run, "keys": done, "by_hand": by_hand}))
    else:
        for one in done:
            told = "would have another" if dry_run else "has another, and opens with the older ones"
            click.echo(f"{one['kind']}  {'is another' if one['kind'] == 'operator_token' and not dry_run else told}")
        for name, words in by_hand.items():
            click.echo(f"  by hand: {name}: {words}")
        click.echo("  what an old key sealed it still opens: gateway keys retire … once nothing needs it")


def _by_hand(settings: Settings, done: set[str]) -> dict[str, str]:
    """What is in the configuration, and so is changed there and where it is from."""
    found: dict[str, str] = {}
    for path, secret in secrets_in(settings):
        name = path.partition("[")[0]
        if name in _SHOWN:
            if _has_password(secret.reveal()):
                found[_SHOWN[name]] = _ELSEWHERE
            continue
        if name.startswith(_OURS):
            kind = next((kind for kind, field in _FILES.items() if name == f"secrets.{field}"), None)
            if kind not in done:
                found[name] = BY_HAND.get(kind or "", _ELSEWHERE)
        else:
            found[name] = BY_HAND[_STRIPE[name]] if name in _STRIPE else _ELSEWHERE
    if settings.store_url is not None and OPERATORS.name in done:
        found[f"secrets.{OPERATORS.name}"] = _EACH_HOST
    return found


def _has_password(address: str) -> bool:
    parts = urlsplit(address)
    return bool(parts.password) or "password" in parse_qs(parts.query)


def affected(config: Path, whom: Whom, *, begin: str | None, end: str | None, incident: str | None, form: str) -> None:
    """Whom to tell, and how they are reached. It opens what is personal: on the trail before that is read."""
    settings = read_with_records(config)
    whom.check(settings)
    begin_ms = moment_of(begin, "--from", 0)
    end_ms = moment_of(end, "--to", SystemClock().now_ms() + 1)

    async def look() -> list[dict[str, Any]]:
        async with opened(settings) as here:
            facts = {"from": moment(begin_ms), "to": moment(end_ms), **await _facts(here, incident)}
            found = _affected(settings, here)
            if whom.everyone:
                accounts = await found.accounts_here(begin_ms, end_ms)
            else:
                accounts = await _accounts(settings, here, whom, found)
            await write_down(settings, here, "incident.affected", whom.object, **facts)
            return _rows(await aliases_of(here), accounts, await found.contacts(accounts))

    rows = run(look())
    if form == "json":
        click.echo(json.dumps({"whose": whom.object, "from": moment(begin_ms), "to": moment(end_ms), "accounts": rows}))
        return
    table = csv.writer(sys.stdout, lineterminator="\n")
    table.writerow(("account", "contacts"))
    table.writerows((row["account"], " ".join(row["contacts"])) for row in rows)


def _rows(aliases: Aliases, accounts: Sequence[str], contacts: dict[str, list[str]]) -> list[dict[str, Any]]:
    found: dict[str, set[str]] = {}
    for account in accounts:
        found.setdefault(aliases.root(account), set()).update(contacts.get(account, ()))
    return [{"account": account, "contacts": sorted(addresses)} for account, addresses in sorted(found.items())]


async def _accounts(settings: Settings, here: Records, whom: Whom, found: AffectedRecords) -> list[str]:
    """With all that are one with them. Raises RecordsUnavailable, ValueError."""
    if whom.plan is not None:
        prices = [price for plan in settings.plans if plan.name == whom.plan for price in plan.prices]
        named = await found.accounts_of_prices(prices)
    elif whom.token is not None:
        account = await found.account_of_token(whom.token)
        if account is None:
            raise ValueError(f"{whom.token}: there is no such token on record")
        named = [account]
    else:
        named = list(whom.accounts)
    aliases = await aliases_of(here)
    return sorted({name for account in named for name in aliases.names(aliases.root(account))})


async def _facts(here: Records, incident: str | None) -> dict[str, str]:
    found = await chosen(here, incident)
    return {FACT: found.id} if found is not None else {}


def _affected(settings: Settings, here: Records) -> AffectedRecords:
    return AffectedRecords(here.ask, Keyring(settings.secrets.sealing_keys))
