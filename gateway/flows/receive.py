"""A webhook is verified, written down once, then acted on.

The provider is answered 2xx as soon as the event is durable, and not before: what was acknowledged is never delivered
again. The work follows in the background, and at start for whatever a crash left waiting. An event that cannot be acted
on is parked with its error, where an operator sees it; one that waits for the ledger is tried again.
"""

import asyncio
from collections.abc import Callable

from gateway.core.payments import PARKED, Event, Outcome, Payment
from gateway.core.refusals import LedgerUnavailable, RecordsUnavailable
from gateway.ports import Clock, Inbox, Payments, Till

_RETRY_SECONDS = 0.5
_AT_ONCE_MAX = 16


class Webhooks:
    """The provider's messages."""

    def __init__(
        self, *, payments: Payments, inbox: Inbox, till: Till, clock: Clock, report: Callable[..., None]
    ) -> None:
        self._payments = payments
        self._inbox = inbox
        self._till = till
        self._clock = clock
        self._report = report
        self._at_once = asyncio.Semaphore(_AT_ONCE_MAX)
        self._work: set[asyncio.Task[None]] = set()

    async def receive(self, body: bytes, signature: str | None) -> None:
        """Take one delivery in. Returns when it is durable. Raises WebhookRefused."""
        now_ms = self._clock.now_ms()
        event = self._payments.verify(body, signature, now_seconds=now_ms // 1000)
        if await self._inbox.claim(event, now_ms=now_ms):
            self._act_later(event)

    async def resume(self) -> int:
        """Act on what was written down before the last stop; how many there are."""
        waiting = await self._inbox.events("waiting")
        for event in waiting:
            self._act_later(event)
        return len(waiting)

    async def settled(self) -> None:
        """Until everything that was received has been acted on."""
        while self._work:
            await asyncio.wait(self._work)

    async def close(self) -> None:
        """Stop; what is unfinished is taken up at the next start."""
        for task in self._work:
            task.cancel()
        await asyncio.gather(*self._work, return_exceptions=True)

    def _act_later(self, event: Event) -> None:
        task = asyncio.create_task(self._act(event), name=f"event {event.id}")
        self._work.add(task)
        task.add_done_callback(self._work.discard)

    async def _act(self, event: Event) -> None:
        async with self._at_once:
            try:
                await self._apply(event)
            except RecordsUnavailable:
                self._report("event waits for the next start", id=event.id, type=event.type)
            except Exception as error:
                # Whatever it is, the event stays where an operator can see and replay it.
                self._report("event parked", id=event.id, type=event.type, error=type(error).__name__)
                await self._inbox.close_event(event.id, "parked", error=f"{type(error).__name__}: {error}")

    async def _apply(self, event: Event) -> None:
        payment = self._payments.payment(event)
        if payment is None:
            await self._inbox.close_event(event.id, "ignored")
            return
        outcome = await self._fulfil(payment)
        if outcome in PARKED:
            self._report("payment parked", id=event.id, session=payment.id, why=PARKED[outcome])
            await self._inbox.close_event(event.id, "parked", error=PARKED[outcome])
        else:
            self._report(
                "payment", level="info", outcome=outcome, id=event.id, session=payment.id, amount=str(payment.amount)
            )
            await self._inbox.close_event(event.id, "done")

    async def _fulfil(self, payment: Payment) -> Outcome:
        while True:
            try:
                return await self._till.fulfil(payment)
            except (LedgerUnavailable, RecordsUnavailable):
                await asyncio.sleep(_RETRY_SECONDS)
