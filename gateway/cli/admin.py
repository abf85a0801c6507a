"""Asking the gateway that runs, by its admin listener."""

import asyncio
import getpass
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import click

from gateway.adapters.system import digest_of
from gateway.cli.configuration import read
from gateway.settings import Settings
from gateway.web.status import OPERATOR_FIELD

_ANSWER_SECONDS_MAX = 120  # a restart waits for each worker in turn


async def ask(settings: Settings, path: str, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
    """POST to the admin listener; the status and what it says. Exit code 3 if nobody answers."""
    return await _asked(settings, "POST", path, body)


async def get(settings: Settings, path: str) -> tuple[int, dict[str, Any]]:
    """GET of the same. Exit code 3 if nobody answers."""
    return await _asked(settings, "GET", path, None)


async def _asked(settings: Settings, method: str, path: str, body: dict[str, Any] | None) -> tuple[int, dict[str, Any]]:
    from aiohttp import ClientError, ClientSession, ClientTimeout

    host, port = settings.admin
    url = f"http://[{host}]:{port}{path}" if ":" in host else f"http://{host}:{port}{path}"
    if settings.secrets.operator_token is None:
        _nobody(f"there is no operator token beside {settings.store_path}: no gateway has run there")
    token = {"Authorization": f"Bearer {settings.secrets.operator_token.reveal()}", OPERATOR_FIELD: login()}
    try:
        async with (
            ClientSession(timeout=ClientTimeout(total=_ANSWER_SECONDS_MAX)) as session,
            session.request(method, url, json=body, headers=token) as answer,
        ):
            content: dict[str, Any] = await answer.json(content_type=None)
    except (ClientError, TimeoutError, ValueError) as error:
        _nobody(f"no gateway answers on {host}:{port} ({type(error).__name__})")
    return answer.status, content


def login() -> str:
    """Who types, by the system; empty if it does not know."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return ""


async def answers(settings: Settings) -> bool:
    """Whether a gateway of these settings runs on this host."""
    try:
        _, writer = await asyncio.open_connection(*settings.admin)
    except OSError:
        return False
    writer.close()
    return True


def reload_gateway(config: Path, *, as_json: bool) -> None:
    """`gateway reload`: exit code 1 if the gateway refused. Mistakes in the file end it here, with exit code 2."""
    _order(config, "/reload", _told, as_json=as_json)


def restart_gateway(config: Path, *, as_json: bool) -> None:
    """`gateway restart`: exit codes as those of a reload."""
    _order(config, "/restart", lambda outcome: f"{outcome['workers']} workers replaced", as_json=as_json)


def _order(config: Path, path: str, words: Callable[[dict[str, Any]], str], *, as_json: bool) -> NoReturn:
    """The gateway reads its own file; it is told which one is meant, lest it does what nobody asked for."""
    settings = read(config, make_secrets=False)
    meant = digest_of(settings.file)
    status, outcome = asyncio.run(ask(settings, f"{path}?sha256={meant}" if meant else path, {}))
    if as_json:
        click.echo(json.dumps(outcome))
    elif status == 200:
        click.echo(words(outcome))
    else:
        for mistake in outcome.get("mistakes") or [outcome.get("detail") or outcome.get("code")]:
            click.echo(f"gateway: {mistake}", err=True)
    sys.exit(0 if status == 200 else 1)


def _told(outcome: dict[str, Any]) -> str:
    routes = [f"{what} {', '.join(outcome[what])}" for what in ("added", "changed", "removed") if outcome[what]]
    lines = [f"reloaded; routes: {'; '.join(routes) or 'none changed'}"]
    if outcome["keys"]:
        lines.append(f"  keys taken up: {', '.join(outcome['keys'])}")
    if outcome["needs_restart"]:
        lines.append(f"  note: wait for a restart: {', '.join(outcome['needs_restart'])}")
    return "\n".join(lines)


def _nobody(words: str) -> NoReturn:
    click.echo(f"gateway: {words}", err=True)
    sys.exit(3)
