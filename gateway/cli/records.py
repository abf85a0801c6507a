"""The records, for a command: opened beside a gateway that runs, or without one."""

import asyncio
import sqlite3
import sys
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, TypeAlias, TypeVar

import click

from gateway.adapters.sqlite.records import SqliteRecords
from gateway.adapters.system import SystemClock, SystemRandomness
from gateway.app.stores import records, records_path, witness
from gateway.cli.admin import login
from gateway.cli.configuration import read
from gateway.core.keyring import Keyring
from gateway.core.refusals import RecordsUnavailable
from gateway.core.trail import Act
from gateway.flows.follow import Aliases
from gateway.ports import BooksRefused, StoreDamaged, StoreFailed
from gateway.settings import Settings
from gateway.web.by_hand import is_account, read_reason
from gateway.web.status import operator_named

if TYPE_CHECKING:  # an extra
    from gateway.adapters.postgres.records import PostgresRecords

Records: TypeAlias = "SqliteRecords | PostgresRecords"
T = TypeVar("T")


def read_with_records(config: Path) -> Settings:
    """The settings of a gateway that has run; the command ends if none has."""
    settings = read(config, make_secrets=False)
    if not settings.secrets.sealing_keys or not settings.secrets.peppers:
        fail("there are no keys yet: `gateway run` makes them at its first start")
    if settings.store_url is None and not records_path(settings.store_path).exists():
        fail(f"there are no records beside {settings.store_path} yet; `gateway run` makes them")
    return settings


def read_for(config: Path, account: str) -> Settings:
    """The same, for what is done about an account."""
    if not is_account(account):
        fail(f"{account!r} is not an account id: acct_ and 32 hexadecimal digits", code=2)
    return read_with_records(config)


def plain_reason(text: str) -> str:
    """What is to be kept for ever. The command ends if it is none, or names a person."""
    try:
        return read_reason(text)
    except ValueError as error:
        fail(str(error), code=2)


@asynccontextmanager
async def opened(settings: Settings) -> AsyncIterator[Records]:
    """The records, and closed again."""
    here = records(settings, Keyring(settings.secrets.sealing_keys), SystemRandomness())
    try:
        await here.open()
        yield here
    finally:
        await here.close()


class Scribe:
    """What a command is about to do goes on the trail. Implements `ports.Witnesses`."""

    def __init__(self, settings: Settings, here: Records) -> None:
        keyring = Keyring(settings.secrets.sealing_keys)
        self._trail = witness(settings, keyring, here, SystemClock(), _complain)

    async def write(self, act: Act) -> None:
        """With whoever types it as the actor, and the head renewed: a command ends soon."""
        await self._trail.write(replace(act, actor=operator_named(login()), role="operator", origin="command"))
        await self._trail.close()


async def write_down(
    settings: Settings, here: Records, action: str, object: str, *, reason: str = "", **facts: str
) -> None:
    """On the trail before it is done. Raises RecordsUnavailable."""
    await Scribe(settings, here).write(Act("operator", "operator", action, object, "command", reason, facts))


def _complain(_: str, *, problem: str) -> None:
    click.echo(f"gateway: {problem}", err=True)


async def aliases_of(here: Records) -> Aliases:
    """Which accounts are others by now. Raises RecordsUnavailable."""
    aliases = Aliases(book=here.aliases, clock=SystemClock(), report=unheard)
    await aliases.look()
    return aliases


def unheard(*_: object, **__: object) -> None:
    """The command says it itself."""


def run(work: Coroutine[Any, Any, T]) -> T:
    """Run it; whatever is in the way ends the command with words."""
    try:
        return asyncio.run(work)
    except (StoreDamaged, StoreFailed, BooksRefused, ValueError, OSError, sqlite3.Error) as error:
        fail(str(error))
    except RecordsUnavailable:
        fail("the records cannot be read or written just now")


def fail(words: str, *, code: int = 3) -> NoReturn:
    """End the command."""
    click.echo(f"gateway: {words}", err=True)
    sys.exit(code)
