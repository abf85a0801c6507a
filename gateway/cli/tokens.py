"""The commands about tokens: `token list`, `create`, `derive`, `rotate` and `revoke`.

They write to the records, which every process of every gateway reads within a second: none need run. A new secret is
printed once, by the command that made it.
"""

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, TypeVar

import click

from gateway.adapters.system import SystemClock, SystemRandomness
from gateway.app.stores import credit_lines
from gateway.app.tokens import Nobody, hand_out
from gateway.cli.records import Records, Scribe, fail, opened, read_with_records, run, write_down
from gateway.core.keyring import Keyring
from gateway.core.refusals import BadRequest, NoSuchToken, TokenConflict
from gateway.core.tokens import Peppers
from gateway.flows.follow import Aliases
from gateway.flows.hand_out import HandOut
from gateway.ports import Made, Shown
from gateway.settings import Settings
from gateway.web.by_hand import is_account
from gateway.web.told_tokens import SpentOfCaps, told, told_made

_OPERATOR = ""
_T = TypeVar("_T")


def list_tokens(config: Path, account: str, *, as_json: bool) -> None:
    """`gateway token list`."""
    clock = SystemClock()

    async def look(tokens: HandOut, root: str, settings: Settings) -> list[dict[str, Any]]:
        spent = SpentOfCaps(credit_lines(settings), clock, zone=settings.caps.time_zone)
        shown = await tokens.held(root, _OPERATOR)
        return [told(one, clock.now_ms(), None if one.is_over else await spent.of(one.grant)) for one in shown]

    content = _done(config, account, look, looks=True)
    if as_json:
        click.echo(json.dumps(content))
        return
    for one in content:
        click.echo(_line(one))
    if not content:
        click.echo(f"{account} has no tokens on record")


def create_token(config: Path, account: str, said: dict[str, Any], *, as_json: bool) -> None:
    """`gateway token create` and `gateway token derive`, which names a parent."""
    wanted = {name: value for name, value in said.items() if value}
    _say_made(_done(config, account, lambda tokens, root, _: tokens.create(root, _OPERATOR, wanted)), as_json=as_json)


def rotate_token(config: Path, account: str, id: str, *, as_json: bool) -> None:
    """`gateway token rotate`."""
    _say_made(_done(config, account, lambda tokens, root, _: tokens.rotate(root, _OPERATOR, id)), as_json=as_json)


def revoke_token(config: Path, account: str, id: str, *, yes: bool, as_json: bool) -> None:
    """`gateway token revoke`: without --yes it is only said what would be done."""

    async def revoke(tokens: HandOut, root: str, settings: Settings) -> list[Shown]:
        below = await tokens.below(root, _OPERATOR, id)
        if yes:
            await tokens.revoke(root, _OPERATOR, id)
        return below

    ended = [shown.grant.id for shown in _done(config, account, revoke)]
    if as_json:
        click.echo(json.dumps({"account": account, "revoked": yes, "tokens": ended}))
    elif yes:
        click.echo(f"revoked: {', '.join(ended)}")
    else:
        click.echo(f"would be over, for good: {', '.join(ended)}; --yes does it")


def said(options: dict[str, Any]) -> dict[str, Any]:
    """The options of a command as the members of a wish; a cap is written `day=5.00 usd`."""
    caps = {period: amount for period, _, amount in (text.partition("=") for text in options["caps"])}
    lists = {name: list(options[name]) for name in ("routes", "methods", "limit")}
    return {"name": options["name"], "role": options["role"], "expires": options["expires"], **lists, "caps": caps}


def _done(
    config: Path, account: str, work: Callable[[HandOut, str, Settings], Awaitable[_T]], *, looks: bool = False
) -> _T:
    """Do it. Who looks is on the trail first; what is done to tokens puts itself there."""
    settings = read_with_records(config)
    if not is_account(account):
        fail(f"{account} is not an account: acct_ and 32 hexadecimal digits", code=2)

    async def all_of_it() -> _T:
        async with _handing_out(settings) as (here, tokens, aliases):
            if looks:
                await write_down(settings, here, "token.list", account)
            return await work(tokens, aliases.root(account), settings)

    try:
        return run(all_of_it())
    except (BadRequest, TokenConflict) as refused:
        fail(refused.why, code=2)
    except NoSuchToken:
        fail(f"{account} has no such token; `gateway token list {account}` shows those that it has", code=1)


@asynccontextmanager
async def _handing_out(settings: Settings) -> AsyncIterator[tuple[Records, HandOut, Aliases]]:
    async with opened(settings) as here:
        clock = SystemClock()
        aliases = Aliases(book=here.aliases, clock=clock, report=lambda *_, **__: None)
        await aliases.look()
        tokens = hand_out(
            settings,
            here,
            keyring=Keyring(settings.secrets.sealing_keys),
            peppers=Peppers(settings.secrets.peppers),
            roots=aliases,
            callers=Nobody(),
            recorded=Nobody().recorded,
            routes=lambda: {route.name for route in settings.routes.routes},
            clock=clock,
            randomness=SystemRandomness(),
            witness=Scribe(settings, here),
            origin="command",
        )
        yield here, tokens, aliases


def _say_made(made: Made, *, as_json: bool) -> None:
    content = told_made(made, SystemClock().now_ms())
    if as_json:
        click.echo(json.dumps(content))
        return
    click.echo(_line(content["token"]))
    click.echo(f"  {content['access_token']}")
    click.echo("  It is shown this once.")
    if "previous_valid_until" in content:
        click.echo(f"  The one before it is good until {content['previous_valid_until']}.")


def _line(one: dict[str, Any]) -> str:
    bounds = [
        "" if one["role"] == "owner" else one["role"],
        f"of {one['parent']}" if one["parent"] else "",
        f"routes {' '.join(one['routes'])}" if one["routes"] else "",
        f"methods {' '.join(one['methods'])}" if one["methods"] else "",
        " ".join(one["limit"]),
        ", ".join(f"{_spent(one, period)}{amount} per {period}" for period, amount in one["caps"].items()),
        f"until {one['expires']}" if one["expires"] else "",
        f"last used {one['last_used']}" if one["last_used"] else "",
    ]
    last = f"…{one['last']}" if one["last"] else ""
    return "  ".join(part for part in (one["id"], last, one["state"], one["name"], *bounds) if part)


def _spent(one: dict[str, Any], period: str) -> str:
    return f"{one['spent'][period]} of " if one.get("spent") else ""
