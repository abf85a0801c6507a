"""A webhook is verified, written down once, then acted on.

The provider is answered 2xx as soon as the event is durable, and not before: what was acknowledged is never delivered
again. The work follows in the background, and at start for whatever a crash left waiting. An event that cannot be acted
on is parked with its error, where an operator sees it and can have it acted on again; one that waits for the ledger is
tried again.

A refund or dispute may come before its payment. Then it waits: every minute and then ever less often the provider is
asked which checkout made the payment, which also heals a payment whose webhook was lost. After a day it is parked, for
an operator to look at. Waiting or parked, it takes effect when the payment arrives.

An event shows ten lines of an invoice at most: of a longer one the provider is asked for all of it, again and again
until it answers.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import TypeVar

from gateway.core import payment_acts
from gateway.core.counting import Durations
from gateway.core.payments import PARKED, Event, NoticeOutcome, Payment
from gateway.core.refusals import LedgerUnavailable, PaymentServiceUnavailable, RecordsUnavailable, WebhookRefused
from gateway.core.reversals import Notice
from gateway.ports import (
    Clock,
    Hears,
    HearsReturns,
    Inbox,
    InboxEntry,
    InboxStatus,
    Payments,
    Replenishes,
    TakesBack,
    Till,
    WitnessesOnce,
)

_RETRY_SECONDS = 0.5
_AT_ONCE_MAX = 16
SWEEP_SECONDS = 60.0
WAIT_MS_MAX = 24 * 3_600_000
_Result = TypeVar("_Result")
_OF_ACCOUNTS = ("account.", "capability.", "payout.", "person.", "v2.core.account")
"""What connected accounts are looked after by: an endpoint that listens to them hears of everything there."""
WAITS = "its payment has not arrived here yet"


class Webhooks:
    """The provider's messages. Where it is said whether we are `live`, those of the other mode are parked."""

    def __init__(
        self,
        *,
        payments: Payments,
        inbox: Inbox,
        till: Till,
        take_back: TakesBack,
        clock: Clock,
        report: Callable[..., None],
        witness: WitnessesOnce,
        live: bool | None = None,
        replenish: Replenishes | None = None,
        hears: Sequence[Hears] = (),
        returns: Sequence[HearsReturns] = (),
    ) -> None:
        self._live = live
        self._witness = witness
        self._replenish = replenish
        self._hears = tuple(hears)
        self._returns = tuple(returns)
        self._payments = payments
        self._inbox = inbox
        self._till = till
        self._take_back = take_back
        self._clock = clock
        self._report = report
        self._at_once = asyncio.Semaphore(_AT_ONCE_MAX)
        self._work: dict[str, asyncio.Task[InboxStatus]] = {}
        self._asked: dict[str, int] = {}
        """Of events that wait for their payment, when the provider was last asked."""
        self._sweeping: asyncio.Task[None] | None = None
        self.received = {"new": 0, "repeated": 0, "refused": 0}
        """Deliveries, by what became of them."""
        self.acted: dict[InboxStatus, int] = {"done": 0, "ignored": 0, "waiting": 0, "parked": 0}
        self.lag = Durations()
        """From an event's beginning to its first delivery."""

    async def receive(self, body: bytes, signature: str | None) -> None:
        """Take one delivery in. Returns when it is durable. Raises WebhookRefused."""
        now_ms = self._clock.now_ms()
        try:
            event = self._payments.verify(body, signature, now_seconds=now_ms // 1000)
        except WebhookRefused:
            self.received["refused"] += 1
            raise
        new = await self.take(event)
        self.received["new" if new else "repeated"] += 1
        if new:
            self.lag.count(max(0.0, now_ms / 1000 - event.created))

    async def take(self, event: Event) -> bool:
        """Write a genuine event down and act on it in the background. False if it was there."""
        new = await self._inbox.claim(event, now_ms=self._clock.now_ms())
        if new:
            self._act_later(event)
        return new

    async def open(self) -> None:
        """Act on what was written down before the last stop, and from now on look after what waits."""
        await self.resume()
        self._sweeping = asyncio.create_task(self._sweep(), name="waiting events")

    async def resume(self) -> int:
        """Act on whatever waits and is not under way; how many there are."""
        waiting = [entry for entry in await self._inbox.entries("waiting") if entry.event.id not in self._work]
        for entry in waiting:
            self._act_later(entry.event, entry)
        self._asked = {id: at for id, at in self._asked.items() if id in {entry.event.id for entry in waiting}}
        return len(waiting)

    async def settled(self) -> None:
        """Until everything that was received has been acted on."""
        while self._work:
            await asyncio.wait(self._work.values())

    async def close(self) -> None:
        """Stop; what is unfinished is taken up at the next start."""
        tasks = [*self._work.values(), *([self._sweeping] if self._sweeping else [])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(SWEEP_SECONDS)
            try:
                await self.resume()
                await self._take_back.resume()
            except (RecordsUnavailable, LedgerUnavailable):
                continue

    def _act_later(self, event: Event, entry: InboxEntry | None = None) -> None:
        task = asyncio.create_task(self.act(event, entry), name=f"event {event.id}")
        self._work[event.id] = task
        task.add_done_callback(lambda _: self._work.pop(event.id, None))

    async def act(self, event: Event, entry: InboxEntry | None = None) -> InboxStatus:
        """Do what an event that was written down asks for; how it stands now."""
        status = await self._acted_on(event, entry)
        self.acted[status] += 1
        return status

    async def _acted_on(self, event: Event, entry: InboxEntry | None) -> InboxStatus:
        async with self._at_once:
            try:
                return await self._apply(event, entry)
            except RecordsUnavailable:
                self._report("event waits", id=event.id, type=event.type)
                return "waiting"
            except PaymentServiceUnavailable:
                self._report("event waits", id=event.id, type=event.type)
                return await self._closed(event, "waiting", "the payment provider cannot be asked about it")
            except Exception as error:
                # Whatever it is, the event stays where an operator can see and replay it.
                self._report("event parked", id=event.id, type=event.type, error=type(error).__name__)
                return await self._closed(event, "parked", f"{type(error).__name__}: {error}")

    async def _apply(self, event: Event, entry: InboxEntry | None) -> InboxStatus:
        if self._live is not None and event.live != self._live:
            self._report("event parked", id=event.id, type=event.type, why=PARKED["wrong mode"])
            return await self._closed(event, "parked", PARKED["wrong mode"])
        if event.account and not event.type.startswith(_OF_ACCOUNTS):
            return await self._elsewhere(event)
        payment = self._payments.payment(event)
        if payment is not None and payment.partial:
            payment = await self._payments.find_payment(payment.id)
        if payment is not None:
            return await self._paid(event, payment)
        notice = self._payments.notice(event)
        if notice is not None:
            return await self._noticed(event, notice, entry)
        return await self._of_more(event)

    async def _of_more(self, event: Event) -> InboxStatus:
        return await self._closed(event, "done" if await self._about_more(event) else "ignored")

    async def _elsewhere(self, event: Event) -> InboxStatus:
        """What happened in another account: money there is not ours, nor are the cards and subscriptions."""
        payment = self._payments.payment(event)
        if (payment is None or payment.unplanned) and self._payments.notice(event) is None:
            return await self._closed(event, "ignored")
        self._report("event parked", id=event.id, type=event.type, why=PARKED["wrong account"])
        return await self._closed(event, "parked", PARKED["wrong account"])

    async def _about_more(self, event: Event) -> bool:
        """Whether it said something of saved cards or subscriptions; a payment may, too."""
        hears = (self._replenish, *self._hears) if self._replenish else self._hears
        said = [await self._patiently(partial(one.heard, event)) for one in hears]
        return any(said)

    async def _paid(self, event: Event, payment: Payment) -> InboxStatus:
        outcome = await self._patiently(lambda: self._till.fulfil(payment))
        if outcome == "not ours":
            return await self._of_more(event)
        if outcome in PARKED:
            self._report("payment parked", id=event.id, session=payment.id, why=PARKED[outcome])
            await self._set_aside(payment, event, outcome)
            await self._about_more(event)  # an invoice is paid, whoever it is credited to
            return await self._closed(event, "parked", PARKED[outcome])
        await self._about_more(event)
        self._report(
            "payment", level="info", outcome=outcome, id=event.id, session=payment.id, amount=str(payment.amount)
        )
        return await self._closed(event, "done")

    async def _noticed(self, event: Event, notice: Notice, entry: InboxEntry | None) -> InboxStatus:
        if self._replenish is not None:
            await self._replenish.goes_back(notice)
        for one in self._returns:
            if await self._patiently(partial(one.returned, event, notice)):
                return await self._closed(event, "done")
        outcome = await self._patiently(lambda: self._take_back.heard(notice))
        if outcome == "unknown payment":
            outcome = await self._looked_up(notice, entry)
        if outcome == "applied":
            return await self._closed(event, "done")
        if outcome == "unknown payment" and not self._too_late(entry):
            return await self._closed(event, "waiting", WAITS)
        self._report("event parked", id=event.id, type=event.type, payment=notice.payment, why=PARKED[outcome])
        await self._set_aside(notice, event, outcome)
        await self._closed(event, "parked", PARKED[outcome])
        # Its payment may have come in just before that, and seen nothing parked.
        if outcome == "unknown payment" and await self._patiently(lambda: self._take_back.heard(notice)) == "applied":
            return await self._closed(event, "done")
        return "parked"

    async def _looked_up(self, notice: Notice, entry: InboxEntry | None) -> NoticeOutcome:
        """Ask the provider for the payment, if it has not been asked for as long as the event has waited by then."""
        now = self._clock.now_ms()
        asked = self._asked.get(notice.event)
        if entry is None or (asked is not None and now - asked < asked - entry.received_ms):
            return "unknown payment"
        self._asked[notice.event] = now
        try:
            if await self._patiently(lambda: self._till.fulfil_intent(notice.payment)) is None:
                return "unknown payment"
        except PaymentServiceUnavailable:
            return "unknown payment"
        return await self._patiently(lambda: self._take_back.heard(notice))

    def _too_late(self, entry: InboxEntry | None) -> bool:
        return entry is not None and self._clock.now_ms() - entry.received_ms > WAIT_MS_MAX

    async def _set_aside(self, about: Payment | Notice, event: Event, why: str) -> None:
        act = payment_acts.parked(about, event.id, why)
        await self._patiently(lambda: self._witness.write_once(act))

    async def _closed(self, event: Event, status: InboxStatus, error: str | None = None) -> InboxStatus:
        await self._inbox.close_event(event.id, status, error=error)
        return status

    async def _patiently(self, work: Callable[[], Awaitable[_Result]]) -> _Result:
        while True:
            try:
                return await work()
            except (LedgerUnavailable, RecordsUnavailable):
                await asyncio.sleep(_RETRY_SECONDS)
