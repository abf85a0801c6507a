"""`gateway show` and `gateway operator link`."""

import asyncio
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from gateway.adapters.system import SystemClock, SystemRandomness
from gateway.app.gateway import url_of
from gateway.cli.admin import get
from gateway.cli.configuration import read
from gateway.cli.records import fail
from gateway.core.operators import LINK_NONCE_BYTES, link_code
from gateway.settings import Settings
from gateway.web.operator_pages import ENTER_PATH


def show_what(config: Path, what: str, *, as_json: bool) -> None:
    """Exit code 3 if no gateway answers, or it cannot tell just now."""
    status, told = asyncio.run(get(read(config, make_secrets=False), f"/{what}"))
    if status != 200:
        fail(f"the gateway does not tell: {told.get('detail') or told.get('code')}")
    if as_json:
        click.echo(json.dumps(told))
        return
    for line in _lines(told):
        click.echo(line)


def print_link(config: Path, *, as_json: bool) -> None:
    """Whether or not a gateway runs: it is opened by the one that does."""
    settings = read(config, make_secrets=False)
    link = link_of(settings, url_of("http", settings.admin))
    if link is None:
        fail("there is no operator token yet: `gateway run` makes it at its first start")
    click.echo(json.dumps({"link": link}) if as_json else link)
    sys.stdout.flush()


def link_of(settings: Settings, admin: str) -> str | None:
    """A link to the pages on this admin listener; None without an operators' token."""
    token = settings.secrets.operator_token
    if token is None:
        return None
    nonce = SystemRandomness().bytes(LINK_NONCE_BYTES)
    return f"{admin}{ENTER_PATH}?link={link_code(token, now_ms=SystemClock().now_ms(), nonce=nonce)}"


def _lines(told: Any, name: str = "") -> Iterator[str]:
    """Each number on a line of its own, under the names that lead to it."""
    if isinstance(told, dict) and told:
        for key, value in told.items():
            yield from _lines(value, f"{name}.{key}" if name else key)
    elif isinstance(told, list) and told:
        for at, value in enumerate(told):
            label = next((str(value[key]) for key in ("name", "process", "unit", "id") if key in value), str(at))
            yield from _lines(value, f"{name}.{label}")
    else:
        yield f"{name}: {'-' if told in (None, [], {}) else json.dumps(told) if isinstance(told, bool) else told}"
