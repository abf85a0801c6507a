"""Payments and events that an operator acts on by hand: the same for a command and for the gateway that runs.

Each piece of work is done in an office (`app/office.py`) that is open. A command opens its own; the gateway opens one
for each piece, because such work is rare, and one office less is one connection less.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager

from gateway.app.office import Office
from gateway.core.payments import PARKED, Payment
from gateway.core.trail import Act
from gateway.ports import Assigned, Entries, InboxEntry, InboxStatus, Parked, Witnesses
from gateway.settings import Settings
from gateway.web.watched import moment

ACT_SECONDS_MAX = 60.0
WOULD = "would be credited"
_WORDS: dict[str, str] = {
    **PARKED,
    "credited": "credited",
    "repeated": "it was credited before",
    "pending": "it is not paid yet",
    "not ours": "it is of nothing that was sold here",
}


class PaymentsThere:
    """Implements `ports.PaymentsByHand` in the gateway that keeps the books."""

    def __init__(self, settings: Callable[[], Settings], entries: Entries, *, report: Callable[..., None]) -> None:
        self._settings = settings
        self._entries = entries
        self._report = report
        self._one = asyncio.Lock()

    async def parked(self, trail: Witnesses) -> Sequence[Parked]:
        await trail.write(_act("payment.parked", "everyone"))
        async with self._office() as here:
            return await parked(here)

    async def assign(self, id: str, account: str, *, trail: Witnesses, dry_run: bool) -> Assigned:
        async with self._office() as here:
            return await (would_assign(here, id, account) if dry_run else assign(here, id, account, trail))

    async def events(self, statuses: Sequence[InboxStatus]) -> Sequence[InboxEntry]:
        async with self._office() as here:
            return [entry for status in statuses for entry in await here.records.entries(status)]

    async def replay(self, id: str, *, trail: Witnesses) -> InboxEntry:
        async with self._office() as here:
            return await replay(here, id, trail)

    @asynccontextmanager
    async def _office(self) -> AsyncIterator[Office]:
        async with self._one, asyncio.timeout(ACT_SECONDS_MAX):
            office = Office(self._settings(), self._entries, report=self._report)
            try:
                await office.open()
                yield office
            finally:
                await office.close()


async def parked(here: Office) -> list[Parked]:
    """Payments, refunds and disputes that reached no account, and those that wait."""
    entries = [*await here.records.entries("parked"), *await here.records.entries("waiting")]
    return [found for entry in entries if (found := told_parked(here, entry)) is not None]


def told_parked(here: Office, entry: InboxEntry) -> Parked | None:
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
        payment, amount = paid.id, str(paid.shown)
    elif notice is not None:
        payment, amount = notice.payment, str(notice.amount)
    return Parked(event.id, event.type, payment, amount, moment(entry.received_ms), entry.status, why)


async def would_assign(here: Office, id: str, account: str) -> Assigned:
    """What would come of `assign`. Raises ValueError if there is no such payment."""
    payment, _ = await _find(here, id)
    owner = await here.top_up.account_of(payment)
    refused = here.top_up.refusal(payment)
    if refused is not None:
        outcome = _WORDS[refused]
    elif owner is None:
        outcome = WOULD
    else:
        outcome = "it is this account's" if owner == account else "it is another account's"
    right = refused is None and owner in (None, account)
    return Assigned(payment.id, str(payment.shown), owner or account, right, outcome)


async def assign(here: Office, id: str, account: str, trail: Witnesses) -> Assigned:
    """Give a parked payment to an account, once. Raises ValueError if there is no such payment."""
    payment, entries = await _find(here, id)
    await trail.write(_act("payment.assign", payment.id, account=account, amount=str(payment.amount)))
    outcome, owner = await here.top_up.assign(payment, account)
    if outcome in ("credited", "repeated"):
        for entry in entries:
            await here.records.close_event(entry.event.id, "done")
    right = outcome in ("credited", "repeated") and owner == account
    return Assigned(payment.id, str(payment.shown), owner, right, _WORDS[outcome])


async def replay(here: Office, id: str, trail: Witnesses) -> InboxEntry:
    """Act on an event again; how it stands then. Raises ValueError if it never came."""
    entry = await here.records.find_entry(id)
    if entry is None:
        raise ValueError(f"{id}: no such event was ever delivered; `gateway reconcile` asks Stripe for what is missing")
    if entry.readable:
        await trail.write(_act("webhook.replay", id))
        async with asyncio.timeout(ACT_SECONDS_MAX):
            await here.webhooks.act(entry.event, entry)
    return await here.records.find_entry(id) or entry


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


def _act(action: str, object: str, **facts: str) -> Act:
    """Whoever writes it down says who does it, and by which door."""
    return Act("operator", "operator", action, object, "admin", "", facts)
