"""The commands about payments: `payments parked`, `payments assign`, `webhooks list`, `webhooks replay`.

They work beside a running gateway and without one. The records are opened by several processes at once; entries in the
books are written by this command if nobody keeps them, else by the gateway that does, through its admin listener.
"""

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NoReturn, TypeVar

import click

from gateway.adapters.sqlite.archive import SqliteArchive
from gateway.adapters.system import SystemClock
from gateway.app import ledger_store
from gateway.app.by_hand import ACT_SECONDS_MAX, WOULD, assign, parked, replay, would_assign
from gateway.app.office import Office
from gateway.cli.admin import ask
from gateway.cli.configuration import read
from gateway.cli.hosts import visiting_keeper
from gateway.cli.records import Scribe, write_down
from gateway.core.keyring import Keyring
from gateway.core.ledger import Credit, Reversal
from gateway.core.refusals import LedgerUnavailable, PaymentServiceUnavailable, RecordsUnavailable
from gateway.flows.keep import Keeper
from gateway.ports import Assigned, Entries, InboxEntry, InboxStatus, Parked, StoreDamaged, StoreFailed, StoreLocked
from gateway.settings import Settings
from gateway.web import watched
from gateway.web.by_hand import is_account
from gateway.web.status import told_entry
from gateway.web.watched import told_by_hand, told_event

_STATUSES: tuple[InboxStatus, ...] = ("waiting", "parked", "done", "ignored")
_T = TypeVar("_T")
moment = watched.moment


class EntriesThere:
    """Writes through the gateway that keeps the books. Implements `ports.Entries`."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    async def credit(self, credit: Credit) -> bool:
        return await self._write(credit)

    async def reverse(self, reversal: Reversal) -> bool:
        return await self._write(reversal)

    async def _write(self, entry: Credit | Reversal) -> bool:
        status, content = await ask(self._settings, "/entries", told_entry(entry))
        if status == 503:
            raise LedgerUnavailable()
        if status != 200:
            raise ValueError(f"the gateway refused: {content.get('detail') or content.get('code')}")
        return bool(content["new"])


class NoEntries:
    """For commands that only look."""

    async def credit(self, credit: Credit) -> bool:
        raise LedgerUnavailable()

    async def reverse(self, reversal: Reversal) -> bool:
        raise LedgerUnavailable()


@asynccontextmanager
async def books(settings: Settings) -> AsyncIterator[Entries]:
    """Whoever writes entries: our own keeper if the books are free, else the gateway that keeps them.

    Those in a database are always free, in their turn. Raises StoreFailed when that does not come.
    """
    if settings.store_url is not None:
        keeper = visiting_keeper(settings)
    else:
        store = ledger_store(settings.store_path, Keyring(settings.secrets.sealing_keys))
        keeper = Keeper(store, SystemClock(), archive=SqliteArchive(settings.store_path))
    try:
        await keeper.open()
    except StoreLocked as locked:
        if settings.store_url is not None:
            raise StoreFailed(str(locked)) from locked
        yield EntriesThere(settings)
        return
    try:
        yield keeper
    finally:
        await keeper.close()


@asynccontextmanager
async def office(settings: Settings, entries: Entries) -> AsyncIterator[Office]:
    """Opened, and closed again."""
    if settings.store_url is None and not settings.store_path.exists():
        fail(f"there is no ledger at {settings.store_path} yet; `gateway run` makes it")
    opened = Office(settings, entries, report=lambda *_, **__: None)
    try:
        await opened.open()
        yield opened
    finally:
        await opened.close()


def run(work: Coroutine[Any, Any, _T]) -> _T:
    """Run it; whatever is in the way ends the command with words."""
    try:
        return asyncio.run(work)
    except (StoreDamaged, StoreFailed, ValueError) as error:
        fail(str(error))
    except (RecordsUnavailable, LedgerUnavailable, TimeoutError):
        fail("the books or the records cannot be written just now")
    except PaymentServiceUnavailable:
        fail("Stripe cannot be reached, or refuses the key")


# --- parked payments --------------------------------------------------------------------------------------------------


def list_parked(config: Path, *, as_json: bool) -> None:
    """`gateway payments parked`. On the trail first, as whatever shows payments."""
    settings = read(config, make_secrets=False)

    async def look() -> list[Parked]:
        async with office(settings, NoEntries()) as here:
            await write_down(settings, here.records, "payment.parked", "everyone")
            return await parked(here)

    found = run(look())
    if as_json:
        click.echo(json.dumps([told_by_hand(one) for one in found]))
        return
    for one in found:
        click.echo(f"{one.payment}  {one.amount}  {one.what}, {one.received}, {one.event}, {one.status}: {one.why}")
    if not found:
        click.echo("no payment is parked")


# --- assigning --------------------------------------------------------------------------------------------------------


def assign_payment(config: Path, id: str, account: str, *, yes: bool, as_json: bool) -> None:
    """`gateway payments assign`: exit code 1 if it is somebody else's or cannot be credited."""
    if not is_account(account):
        fail(f"{account!r} is not an account id: acct_ and 32 hexadecimal digits", code=2)
    settings = read(config, make_secrets=False)

    async def work() -> Assigned:
        if not yes:
            async with office(settings, NoEntries()) as here:
                return await would_assign(here, id, account)
        async with books(settings) as entries, office(settings, entries) as here, asyncio.timeout(ACT_SECONDS_MAX):
            return await assign(here, id, account, Scribe(settings, here.records))

    done = run(work())
    if as_json:
        click.echo(json.dumps(told_by_hand(done)))
    else:
        click.echo(f"{done.session}  {done.amount}  {done.account}: {done.outcome}")
        if done.outcome == WOULD:
            click.echo("nothing was done; repeat it with --yes")
    sys.exit(0 if done.right else 1)


# --- webhooks ---------------------------------------------------------------------------------------------------------


def list_webhooks(config: Path, *, status: str | None, limit: int, as_json: bool) -> None:
    """`gateway webhooks list`: what was delivered, and what became of it."""
    settings = read(config, make_secrets=False)

    async def look() -> list[InboxEntry]:
        async with office(settings, NoEntries()) as here:
            await write_down(settings, here.records, "webhook.list", "everyone")
            found = []
            for wanted in _STATUSES:
                if status in (wanted, "all") or (status is None and wanted in ("waiting", "parked")):
                    found += await here.records.entries(wanted)
            return sorted(found, key=lambda entry: entry.received_ms)[-limit:]

    entries = run(look())
    if as_json:
        click.echo(json.dumps([told_event(entry) for entry in entries]))
        return
    for entry in entries:
        why = f": {entry.error}" if entry.error else ""
        click.echo(f"{entry.event.id}  {entry.event.type}  {moment(entry.received_ms)}  {entry.status}{why}")
    if not entries:
        click.echo("nothing waits and nothing is parked" if status is None else "none")


def replay_webhooks(config: Path, ids: tuple[str, ...], *, all_parked: bool, as_json: bool) -> None:
    """`gateway webhooks replay`: act on events again; exit code 1 if one of them still cannot be acted on."""
    if bool(ids) == all_parked:
        fail("say which events, or --parked for all that are", code=2)
    settings = read(config, make_secrets=False)

    async def work() -> list[InboxEntry]:
        async with books(settings) as entries, office(settings, entries) as here:
            chosen = [entry.event.id for entry in await here.records.entries("parked")] if all_parked else list(ids)
            return [await replay(here, id, Scribe(settings, here.records)) for id in chosen]

    done = run(work())
    if as_json:
        click.echo(json.dumps([told_event(entry) for entry in done]))
    for entry in () if as_json else done:
        why = f": {entry.error}" if entry.error else ""
        click.echo(f"{entry.event.id}  {entry.event.type}  {entry.status}{why}")
    sys.exit(1 if any(entry.status in ("parked", "waiting") for entry in done) else 0)


def fail(words: str, *, code: int = 3) -> NoReturn:
    """End the command."""
    click.echo(f"gateway: {words}", err=True)
    sys.exit(code)
