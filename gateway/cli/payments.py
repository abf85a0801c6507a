"""The commands about payments: `payments parked`, `payments assign`, `webhooks list`, `webhooks replay`.

They work beside a running gateway and without one. The records are opened by several processes at once; entries in the
books are written by this command if nobody keeps them, else by the gateway that does, through its admin listener.
"""

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NoReturn, TypeVar

import click

from gateway.adapters.sqlite.archive import SqliteArchive
from gateway.adapters.system import SystemClock
from gateway.app import ledger_store
from gateway.app.office import Office
from gateway.cli.admin import ask
from gateway.cli.configuration import read
from gateway.cli.hosts import visiting_keeper
from gateway.cli.records import write_down
from gateway.core.keyring import Keyring
from gateway.core.ledger import Credit, Reversal
from gateway.core.payments import PARKED, Payment
from gateway.core.refusals import LedgerUnavailable, PaymentServiceUnavailable, RecordsUnavailable
from gateway.flows.keep import Keeper
from gateway.ports import Entries, InboxEntry, InboxStatus, StoreDamaged, StoreFailed, StoreLocked
from gateway.settings import Settings
from gateway.web.by_hand import is_account
from gateway.web.status import told_entry

ACT_SECONDS_MAX = 60.0
WOULD = "would be credited"
_WORDS: dict[str, str] = {
    **PARKED,
    "credited": "credited",
    "repeated": "it was credited before",
    "pending": "it is not paid yet",
}
_STATUSES: tuple[InboxStatus, ...] = ("waiting", "parked", "done", "ignored")
_T = TypeVar("_T")


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
    """Whoever writes entries: our own keeper if the books are free, else the gateway that keeps them."""
    if settings.store_url is not None:
        keeper = visiting_keeper(settings)
    else:
        store = ledger_store(settings.store_path, Keyring(settings.secrets.sealing_keys))
        keeper = Keeper(store, SystemClock(), archive=SqliteArchive(settings.store_path))
    try:
        await keeper.open()
    except StoreLocked:
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


@dataclass(frozen=True, slots=True)
class Parked:
    """A payment, or what goes back of one, that reached no account."""

    event: str
    what: str
    payment: str
    amount: str
    received: str
    status: str
    why: str


def list_parked(config: Path, *, as_json: bool) -> None:
    """`gateway payments parked`. On the trail first, as whatever shows payments."""
    settings = read(config, make_secrets=False)

    async def look() -> list[Parked]:
        async with office(settings, NoEntries()) as here:
            await write_down(settings, here.records, "payment.parked", "everyone")
            entries = [*await here.records.entries("parked"), *await here.records.entries("waiting")]
            return [found for entry in entries if (found := parked(here, entry)) is not None]

    found = run(look())
    if as_json:
        click.echo(json.dumps([_as_dict(one) for one in found]))
        return
    for one in found:
        click.echo(f"{one.payment}  {one.amount}  {one.what}, {one.received}, {one.event}, {one.status}: {one.why}")
    if not found:
        click.echo("no payment is parked")


def parked(here: Office, entry: InboxEntry) -> Parked | None:
    """What an operator is shown of an event that is about money; None if it is not."""
    event, why = entry.event, entry.error or "it has not been acted on yet"
    payment, amount = "?", "?"
    try:
        paid, notice = here.payments.payment(event), here.payments.notice(event)
    except ValueError:
        paid = notice = None
    else:
        if paid is None and notice is None and entry.readable:
            return None
    if paid is not None:
        payment, amount = paid.id, str(paid.amount)
    elif notice is not None:
        payment, amount = notice.payment, str(notice.amount)
    return Parked(event.id, event.type, payment, amount, moment(entry.received_ms), entry.status, why)


# --- assigning --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Assigned:
    """What became, or would become, of an assignment."""

    session: str
    amount: str
    account: str
    """Whose it is."""
    right: bool
    """Whether it is, or could be, the wanted account's."""
    outcome: str


def assign_payment(config: Path, id: str, account: str, *, yes: bool, as_json: bool) -> None:
    """`gateway payments assign`: exit code 1 if it is somebody else's or cannot be credited."""
    if not is_account(account):
        fail(f"{account!r} is not an account id: acct_ and 32 hexadecimal digits", code=2)
    settings = read(config, make_secrets=False)

    async def assign() -> Assigned:
        if not yes:
            async with office(settings, NoEntries()) as here:
                return await _would_assign(here, id, account)
        async with books(settings) as entries, office(settings, entries) as here, asyncio.timeout(ACT_SECONDS_MAX):
            return await _assign(here, id, account)

    done = run(assign())
    if as_json:
        click.echo(json.dumps(_as_dict(done)))
    else:
        click.echo(f"{done.session}  {done.amount}  {done.account}: {done.outcome}")
        if done.outcome == WOULD:
            click.echo("nothing was done; repeat it with --yes")
    sys.exit(0 if done.right else 1)


async def _would_assign(here: Office, id: str, account: str) -> Assigned:
    payment, _ = await _find(here, id)
    owner = await here.top_up.account_of(payment)
    refused = here.top_up.refusal(payment)
    if refused is not None:
        outcome = _WORDS[refused]
    elif owner is None:
        outcome = WOULD
    else:
        outcome = "it is this account's" if owner == account else "it is another account's"
    return Assigned(
        payment.id, str(payment.amount), owner or account, refused is None and owner in (None, account), outcome
    )


async def _assign(here: Office, id: str, account: str) -> Assigned:
    payment, entries = await _find(here, id)
    facts = {"account": account, "amount": str(payment.amount)}
    await write_down(here.settings, here.records, "payment.assign", payment.id, **facts)
    outcome, owner = await here.top_up.assign(payment, account)
    if outcome in ("credited", "repeated"):
        for entry in entries:
            await here.records.close_event(entry.event.id, "done")
    right = outcome in ("credited", "repeated") and owner == account
    return Assigned(payment.id, str(payment.amount), owner, right, _WORDS[outcome])


async def _find(here: Office, id: str) -> tuple[Payment, list[InboxEntry]]:
    """A payment by its session or its event, and the events that tell of it and wait. Raises ValueError."""
    found: Payment | None = None
    entries = []
    for entry in [*await here.records.entries("parked"), *await here.records.entries("waiting")]:
        payment = _payment_in(here, entry)
        if payment is not None and id in (payment.id, entry.event.id):
            found = payment
            entries.append(entry)
    if found is None and (known := await here.records.find_entry(id)) is not None:
        found = _payment_in(here, known)
    if found is None:
        found = await here.payments.find_payment(id)
    if found is None:
        raise ValueError(f"{id}: no payment of this id is parked, and Stripe knows no checkout of it that was paid")
    return found, entries


def _payment_in(here: Office, entry: InboxEntry) -> Payment | None:
    try:
        found = here.payments.payment(entry.event)
    except ValueError:
        return None
    return None if found is None or found.partial else found  # which is to be asked for


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
        click.echo(json.dumps([_told(entry) for entry in entries]))
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

    async def replay() -> list[InboxEntry]:
        async with books(settings) as entries, office(settings, entries) as here:
            chosen = [entry.event.id for entry in await here.records.entries("parked")] if all_parked else list(ids)
            return [await _replay(here, id) for id in chosen]

    done = run(replay())
    if as_json:
        click.echo(json.dumps([_told(entry) for entry in done]))
    for entry in () if as_json else done:
        why = f": {entry.error}" if entry.error else ""
        click.echo(f"{entry.event.id}  {entry.event.type}  {entry.status}{why}")
    sys.exit(1 if any(entry.status in ("parked", "waiting") for entry in done) else 0)


async def _replay(here: Office, id: str) -> InboxEntry:
    entry = await here.records.find_entry(id)
    if entry is None:
        raise ValueError(f"{id}: no such event was ever delivered; `gateway reconcile` asks Stripe for what is missing")
    if entry.readable:
        await write_down(here.settings, here.records, "webhook.replay", id)
        async with asyncio.timeout(ACT_SECONDS_MAX):
            await here.webhooks.act(entry.event, entry)
    return await here.records.find_entry(id) or entry


def _told(entry: InboxEntry) -> dict[str, Any]:
    return {
        "id": entry.event.id,
        "type": entry.event.type,
        "created": moment(entry.event.created * 1000),
        "received": moment(entry.received_ms),
        "status": entry.status,
        "error": entry.error,
    }


def _as_dict(one: Parked | Assigned) -> dict[str, Any]:
    return {name: getattr(one, name) for name in one.__slots__}


def moment(at_ms: int) -> str:
    """A time for people and programs, in UTC."""
    return datetime.fromtimestamp(at_ms / 1000, UTC).isoformat(timespec="seconds")


def fail(words: str, *, code: int = 3) -> NoReturn:
    """End the command."""
    click.echo(f"gateway: {words}", err=True)
    sys.exit(code)
