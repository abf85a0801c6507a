"""`gateway subscriptions`: who has which plan, and how it stands, beside a running gateway or without one."""

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import click

from gateway.cli.payments import moment
from gateway.cli.records import Records, aliases_of, fail, opened, read_for, read_with_records, run, write_down
from gateway.core import licences
from gateway.core.plans import Subscription
from gateway.core.tokens import Peppers
from gateway.settings import Settings

_PAGE = 500


def list_subscriptions(config: Path, account: str | None, *, email: str | None, also_over: bool, as_json: bool) -> None:
    """Of one account, with those of accounts that are it now, of an address, or of all."""
    settings = read_with_records(config) if account is None else read_for(config, account)
    address = None if email is None else licences.address(email)
    if email is not None and (address is None or account is not None):
        fail("--email: an e-mail address was expected, and no ACCOUNT beside it", code=2)

    async def look() -> list[dict[str, Any]]:
        async with opened(settings) as here:
            if address is None:
                await write_down(settings, here, "subscription.list", account or "everyone")
            if address is not None:
                found = _bought_with(settings, here, address)
            else:
                found = _all(here) if account is None else _of(here, account)
            return [told(settings, one) async for one in found if also_over or one.state != "over"]

    rows = run(look())
    if as_json:
        click.echo(json.dumps(rows))
        return
    for row in rows:
        click.echo(f"{row['account'] or 'no account'}  {said(row)}")
    if not rows:
        click.echo("no subscriptions")


async def subscriptions_of(here: Records, account: str) -> list[Subscription]:
    """Those of an account that are not over. Raises RecordsUnavailable."""
    return [one async for one in _of(here, account) if one.state != "over"]


def told(settings: Settings, one: Subscription) -> dict[str, Any]:
    """A subscription, for programs. Its plan is None if no plan has its price any more."""
    named = (plan.name for plan in settings.plans if one.price in plan.prices)
    return {
        "id": one.id,
        "account": one.account or None,
        "plan": next(named, None),
        "price": one.price,
        "state": one.state,
        "period_ends": moment(one.ends_ms) if one.ends_ms else None,
        "ends_with_period": one.leaves,
    }


def said(row: dict[str, Any]) -> str:
    """The same, for people."""
    plan = row["plan"] or f"no plan of this gateway ({row['price']})"
    ends = f", {'ends' if row['ends_with_period'] else 'paid until'} {row['period_ends']}" if row["period_ends"] else ""
    return f"{row['id']}  {plan}: {row['state']}{ends}"


async def _of(here: Records, account: str) -> AsyncIterator[Subscription]:
    for name in (await aliases_of(here)).names(account):
        for one in await here.subscriptions.subscriptions_of(name):
            yield one


async def _all(here: Records) -> AsyncIterator[Subscription]:
    """By their ids. One that changes while they are read comes once more, later: as it is then."""
    found: dict[str, Subscription] = {}
    after = 0
    while page := await here.subscriptions.subscriptions_after(after, _PAGE):
        found |= {one.id: one for _, one in page}
        after = page[-1][0]
    for id in sorted(found):
        yield found[id]


async def _bought_with(settings: Settings, here: Records, email: str) -> AsyncIterator[Subscription]:
    """Those of the licences of an address. Who looked, and at whom, is on the trail."""
    rows = await here.licensees.find_licensees(Peppers(settings.secrets.peppers).digests(licences.address_name(email)))
    customers = {row.customer for row in rows}
    object = " ".join(sorted(customers)) or "nobody"
    await write_down(settings, here, "subscription.look", object, reason="looked up by address")
    for row in rows:
        for one in await here.subscriptions.subscriptions_of(row.account):
            if one.customer in customers:
                yield one
