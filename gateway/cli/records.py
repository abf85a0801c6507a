"""The records, for a command: opened beside a gateway that runs, or without one."""

import asyncio
import sqlite3
import sys
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, TypeAlias, TypeVar

import click

from gateway.adapters.sqlite.records import SqliteRecords
from gateway.adapters.system import SystemRandomness
from gateway.app.stores import records, records_path
from gateway.cli.configuration import read
from gateway.core.keyring import Keyring
from gateway.core.refusals import RecordsUnavailable
from gateway.ports import BooksRefused, StoreDamaged, StoreFailed
from gateway.settings import Settings

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


@asynccontextmanager
async def opened(settings: Settings) -> AsyncIterator[Records]:
    """The records, and closed again."""
    here = records(settings, Keyring(settings.secrets.sealing_keys), SystemRandomness())
    try:
        await here.open()
        yield here
    finally:
        await here.close()


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
