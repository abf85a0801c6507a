"""`gateway service add|list|rotate|remove`: programs of the platform's own, and the secrets that they show.

A secret is printed once and kept as a keyed digest: who lost it rotates. Beside a running gateway, which heeds it at
once: but a token that was issued before is good for five minutes more.
"""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from gateway.adapters.services import ServiceRecords
from gateway.adapters.system import SystemClock, SystemRandomness
from gateway.cli.records import fail, opened, read_with_records, run, write_down
from gateway.core.secrets import Secret
from gateway.core.services import MAY, SECRET_BEGINS, Service, ServiceRole, service_name
from gateway.core.tokens import Peppers
from gateway.settings import Settings
from gateway.settings.values import ServiceSettings
from gateway.web.told_tokens import moment

_HOUR_MS = 3_600_000


def add(config: Path, name: str, role: ServiceRole, owner: str | None, *, dry_run: bool, as_json: bool) -> None:
    """Make one, and print its secret."""
    settings = read_with_records(config)
    if not settings.is_for_services:
        fail("nothing here is for services: neither `charging` nor `owners.*.routes` is set", code=2)
    if (role == "owner") != (owner is not None):
        fail("--owner goes with --role owner, and that with --owner", code=2)
    if owner is not None and (owner not in settings.owners or settings.owners[owner].routes is None):
        fail(f"owners.{owner}.routes is not set: there is nothing for the program to change", code=2)
    _not_configured(settings, name)
    peppers, now_ms = Peppers(settings.secrets.peppers), SystemClock().now_ms()
    secret = _secret()

    async def make() -> None:
        service_name(name)
        async with opened(settings) as here:
            book = ServiceRecords(here.ask)
            if await book.find_service(name) is not None:
                raise ValueError(f"there is a service {name}; `gateway service rotate {name}` makes a new secret")
            if dry_run:
                return
            await write_down(settings, here, "service.add", name, role=role, **({"owner": owner} if owner else {}))
            digest = peppers.digest(secret.reveal())
            made = Service(name, role, digest, peppers.newest_id, now_ms, now_ms, owner=owner or "")
            if not await book.add_service(made):
                raise ValueError(f"somebody else has just made a service {name}")

    run(make())
    _print_secret(name, role, None if dry_run else secret, as_json=as_json)


def rotate(config: Path, name: str, hours: int, *, dry_run: bool, as_json: bool) -> None:
    """Make a new secret; the one before is good for so many hours more."""
    settings = read_with_records(config)
    _not_configured(settings, name)
    peppers, now_ms = Peppers(settings.secrets.peppers), SystemClock().now_ms()
    secret = _secret()

    async def make() -> Service:
        async with opened(settings) as here:
            book = ServiceRecords(here.ask)
            before = await _there(book, name)
            if dry_run:
                return before
            await write_down(settings, here, "service.rotate", name, hours=str(hours))
            after = replace(
                before,
                digest=peppers.digest(secret.reveal()),
                pepper_id=peppers.newest_id,
                rotated_ms=now_ms,
                older=before.digest if hours else None,
                older_until_ms=now_ms + hours * _HOUR_MS,
            )
            if not await book.rotate_service(before, after):
                raise ValueError(f"somebody else has just rotated {name}")
            return after

    done = run(make())
    _print_secret(name, done.role, None if dry_run else secret, as_json=as_json)


def remove(config: Path, name: str, *, dry_run: bool, as_json: bool) -> None:
    """It gets no more tokens."""
    settings = read_with_records(config)
    _not_configured(settings, name)

    async def drop() -> None:
        async with opened(settings) as here:
            book = ServiceRecords(here.ask)
            await _there(book, name)
            if not dry_run:
                await write_down(settings, here, "service.remove", name)
                await book.drop_service(name)

    run(drop())
    words = f"{name} would get no more tokens" if dry_run else f"{name} gets no more tokens"
    click.echo(json.dumps({"name": name, "removed": not dry_run}) if as_json else words)


def list_services(config: Path, *, as_json: bool) -> None:
    """Reads only."""
    settings = read_with_records(config)
    now_ms = SystemClock().now_ms()

    async def look() -> list[Service]:
        async with opened(settings) as here:
            return await ServiceRecords(here.ask).services()

    set_here = {one.name: one for one in settings.services}
    found = [one for one in run(look()) if one.name not in set_here]
    if as_json:
        told_here = [_told_configured(one) for one in set_here.values()]
        click.echo(json.dumps([*told_here, *(_told(one, now_ms) for one in found)]))
        return
    for given in set_here.values():
        click.echo(f"{given.name}  {_role(given.role, given.owner)}  secret of the configuration")
    for one in found:
        told = _told(one, now_ms)
        older = f", the one before good until {told['older_until']}" if told["older_until"] else ""
        click.echo(f"{one.name}  {_role(one.role, one.owner)}  secret of {told['rotated']}{older}")
    if not found and not set_here:
        click.echo("there are none")


async def _there(book: ServiceRecords, name: str) -> Service:
    found = await book.find_service(name)
    if found is None:
        raise ValueError(f"there is no service {name[:80]}")
    return found


def _secret() -> Secret:
    return Secret(SECRET_BEGINS + SystemRandomness().bytes(32).hex())


def _told(one: Service, now_ms: int) -> dict[str, Any]:
    older = one.older is not None and now_ms < one.older_until_ms
    return {
        "name": one.name,
        "role": one.role,
        "owner": one.owner or None,
        "apis": sorted(MAY[one.role]),
        "created": moment(one.created_ms),
        "rotated": moment(one.rotated_ms),
        "older_until": moment(one.older_until_ms) if older else None,
        "configured": False,
    }


def _told_configured(one: ServiceSettings) -> dict[str, Any]:
    nothing = dict.fromkeys(("created", "rotated", "older_until"))
    known = {"name": one.name, "role": one.role, "owner": one.owner or None, "apis": sorted(MAY[one.role])}
    return {**known, **nothing, "configured": True}


def _role(role: str, owner: str) -> str:
    return f"{role} {owner}" if owner else role


def _not_configured(settings: Settings, name: str) -> None:
    if name in (one.name for one in settings.services):
        fail(f"{name} is in the configuration: change it at services.{name}", code=2)


def _print_secret(name: str, role: str, secret: Secret | None, *, as_json: bool) -> None:
    shown = secret.reveal() if secret is not None else None
    if as_json:
        click.echo(json.dumps({"client_id": name, "role": role, "client_secret": shown}))
    elif shown is None:
        click.echo(f"{name} ({role}) would get a new secret")
    else:
        click.echo(f"client_id: {name}\nclient_secret: {shown}\nit is shown this once; role {role}")
