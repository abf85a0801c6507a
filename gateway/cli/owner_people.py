"""`gateway owners invite|link|unlink|people|accounts`: who acts for an owner, and how their account at Stripe stands.

Beside a running gateway, which heeds it at once, or without one.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

import click

from gateway.adapters.owning import OwnerRecords
from gateway.adapters.people import PeopleBook
from gateway.adapters.system import SystemClock, SystemRandomness
from gateway.app.owning import belong
from gateway.cli.records import Records, Scribe, fail, opened, read_with_records, run, write_down
from gateway.core.owning import Member, OwnerAccount, payable, told
from gateway.core.tokens import Peppers
from gateway.settings import Settings
from gateway.web.owners import JOIN_PATH
from gateway.web.told_tokens import moment


def invite(config: Path, owner: str, *, as_json: bool) -> None:
    """An address that makes one person act for an owner, once."""
    settings = _read(config, owner)
    if not settings.sign_in.providers:
        fail("nobody can sign in: sign_in.providers is empty", code=2)

    async def make() -> str:
        async with opened(settings) as here:
            made = belong(
                settings,
                here,
                PeopleBook(here.ask),
                Peppers(settings.secrets.peppers),
                witness=Scribe(settings, here),
                clock=SystemClock(),
                randomness=SystemRandomness(),
            )
            return (await made.invite(owner)).reveal()

    url = f"{settings.public_url}{JOIN_PATH}?invite={quote(run(make()), safe='')}"
    if as_json:
        click.echo(json.dumps({"owner": owner, "url": url, "good_for_days": 7}))
    else:
        click.echo(
            f"{url}\nwho signs in there within 7 days acts for {owner}; it is good once, so send it to them alone"
        )


def link(config: Path, owner: str, user: str, *, dry_run: bool, as_json: bool) -> None:
    """A person who has signed in acts for an owner."""
    settings = _read(config, owner)

    async def add() -> Member:
        async with opened(settings) as here:
            book = OwnerRecords(here.ask)
            if await PeopleBook(here.ask).user(user) is None:
                raise ValueError(f"{user}: nobody of this id has signed in")
            before = await book.member(user)
            if before is not None and before.owner != owner:
                raise ValueError(f"{user} acts for {before.owner}; `gateway owners unlink {user}` first")
            wanted = Member(user, owner, "linked", SystemClock().now_ms())
            if dry_run:
                return before or wanted
            await write_down(settings, here, "owner.link", owner, user=user)
            return await book.add_member(wanted)

    done = run(add())
    would = "would act" if dry_run else "acts"
    click.echo(json.dumps(_member(done)) if as_json else f"{user} {would} for {done.owner}")


def unlink(config: Path, user: str, *, dry_run: bool, as_json: bool) -> None:
    """They act for nobody from now on, but for whom the configuration says."""
    settings = read_with_records(config)

    async def drop() -> Member:
        async with opened(settings) as here:
            book = OwnerRecords(here.ask)
            before = await book.member(user)
            if before is None:
                raise ValueError(f"{user} acts for nobody by invitation or link; see also `signs_in` of owners")
            if not dry_run:
                await write_down(settings, here, "owner.unlink", before.owner, user=user)
                await book.drop_member(user)
            return before

    done = run(drop())
    words = f"{user} would not act for {done.owner} any more" if dry_run else f"{user} acts for {done.owner} no more"
    click.echo(json.dumps({**_member(done), "unlinked": not dry_run}) if as_json else words)


def people(config: Path, *, as_json: bool) -> None:
    """Who acts for whom, as far as it is on record."""
    settings = read_with_records(config)

    async def look() -> list[Member]:
        async with opened(settings) as here:
            return await OwnerRecords(here.ask).members()

    found = run(look())
    if as_json:
        click.echo(json.dumps([_member(one) for one in found]))
        return
    for one in found:
        click.echo(f"{one.owner}  {one.user}  {one.how} {moment(one.since_ms)}")
    if not found:
        click.echo("there are none")


def accounts(config: Path, *, as_json: bool) -> None:
    """How the account of each owner stands, and why it is not paid into, if it is not."""
    settings = read_with_records(config)

    async def look() -> list[dict[str, Any]]:
        async with opened(settings) as here:
            return _accounts(settings, await _kept(settings, here))

    found = run(look())
    if as_json:
        click.echo(json.dumps(found))
        return
    for one in found:
        due = f", due: {', '.join(one['requirements'])}" if one["requirements"] else ""
        checked = f", checked {one['checked']}" if one["checked"] else ""
        click.echo(f"{one['owner']}  {one['status']}  {one['account'] or '-'}{due}{checked}")
    if not found:
        click.echo("there are none")


async def _kept(settings: Settings, here: Records) -> Sequence[OwnerAccount]:
    return await OwnerRecords(here.ask).accounts(live=settings.mode == "live")


def _accounts(settings: Settings, kept: Sequence[OwnerAccount]) -> list[dict[str, Any]]:
    by_owner = {one.owner: one for one in kept}
    names = sorted({*by_owner, *(owner.name for owner in settings.owners.values() if owner.named)})
    return [_told(settings, name, by_owner.get(name)) for name in names]


def _told(settings: Settings, name: str, kept: OwnerAccount | None) -> dict[str, Any]:
    owner = settings.owners.get(name)
    configured = owner.stripe_account if owner is not None else None
    where = payable(configured, kept)
    known = {"owner": name, **told(kept), "payable": where.account, "reason": where.reason}
    known["checked"] = moment(kept.checked_ms) if kept is not None and kept.standing is not None else None
    return known | ({"status": "configured", "account": configured} if configured is not None else {})


def _member(one: Member) -> dict[str, Any]:
    return {"owner": one.owner, "user": one.user, "how": one.how, "since": moment(one.since_ms)}


def _read(config: Path, owner: str) -> Settings:
    settings = read_with_records(config)
    if owner not in settings.owners or not settings.owners[owner].named:
        fail(f"there is no owner {owner} in `owners` of the configuration", code=2)
    return settings
