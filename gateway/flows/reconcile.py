"""Webhooks that were missed are found in the provider's own list of events.

At start and every few minutes the list is read from a watermark on, a little before it (events may be listed later than
they happened), and every event goes the way of a webhook: written down once, acted on once. What was delivered is there
already, so only what was missed does anything. The watermark is of the provider and the mode: a key that is
exchanged changes nothing. Where there is none (they were kept by key once), the newest of any is gone on from.

Long stretches are read in pieces of an hour, oldest first, and the watermark moves when a piece is through. A kill in
the middle of one reads that hour again, which does nothing twice. When the provider cannot be reached the next attempt
comes later each time, up to an hour; that is told once. All of it is beside the road: no request waits for it.

`audit_payments` is the operator's own look: every paid checkout against every credit, in both directions. What an
invoice granted was decided when it was credited: it is compared with that, for plans change, and go.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass

from gateway.core.money import Money
from gateway.core.payments import Event, Payment
from gateway.core.purses import purse_named
from gateway.core.refusals import LedgerUnavailable, PaymentServiceUnavailable, RecordsUnavailable
from gateway.ports import Clock, CreditLine, CreditLines, Payments, Receipts, Watermarks

OVERLAP_SECONDS = 600
PIECE_SECONDS = 3600
KEPT_SECONDS = 30 * 86_400
"""How long the provider lists events (https://docs.stripe.com/api/events)."""
_BACK_OFF_SECONDS_MAX = 3600.0
_AT_ONCE_MAX = 200
_MARKS = "events "


class Reconcile:
    """Reads the provider's events in the background. `take` is where webhooks go; `settled` waits for what it began."""

    def __init__(
        self,
        *,
        payments: Payments,
        take: Callable[[Event], Awaitable[bool]],
        settled: Callable[[], Awaitable[None]],
        watermarks: Watermarks,
        clock: Clock,
        report: Callable[..., None],
        every_seconds: float,
    ) -> None:
        self._payments = payments
        self._take = take
        self._settled = settled
        self._watermarks = watermarks
        self._clock = clock
        self._report = report
        self._every = every_seconds
        self.read_until: int | None = None
        """Up to which second everything was compared, by this process."""
        self.was_read = asyncio.Event()
        """All of what was missed before the start is written down by now."""
        self._failures = 0
        self._task: asyncio.Task[None] | None = None

    def open(self) -> None:
        """Begin."""
        self._task = asyncio.create_task(self._run(), name="reconciliation")

    async def close(self) -> None:
        """Stop; the next start goes on where this one was."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _run(self) -> None:
        while True:
            wait = await self.attempt()
            await asyncio.sleep(wait)

    async def attempt(self) -> float:
        """One turn; how many seconds later the next one is due."""
        try:
            await self.turn()
        except (PaymentServiceUnavailable, RecordsUnavailable, LedgerUnavailable) as error:
            return self._failed(type(error).__name__)
        except Exception as error:
            return self._failed(f"{type(error).__name__}: {error}")
        if self._failures:
            self._report("reconciliation goes on", level="info")
        self._failures = 0
        return self._every

    async def turn(self) -> int:
        """Read everything up to now; how many events had been missed. Raises PaymentServiceUnavailable."""
        name, now = f"{_MARKS}{self._payments.lasting_scope}", self._clock.now_ms() // 1000
        mark = await self._mark(name)
        begin = (now if mark is None else mark) - OVERLAP_SECONDS
        if begin < now - KEPT_SECONDS:
            self._report("events are too old to be listed", why="compare with `gateway reconcile --from`")
            begin = now - KEPT_SECONDS
        missed = 0
        while begin <= now:
            end = min(begin + PIECE_SECONDS, now + 1)
            missed += await self._piece(begin, end)
            await self._watermarks.keep_watermark(name, end - 1)
            self.read_until = end - 1
            begin = end
        self.was_read.set()
        if missed:
            self._report("missed webhooks were found", count=missed)
        return missed

    async def _mark(self, name: str) -> int | None:
        mark = await self._watermarks.watermark(name)
        if mark is not None:
            return mark
        newest = await self._watermarks.newest_watermark(_MARKS)
        if newest is not None:
            self._report("events are read on from where another key was", level="info", read_until=newest)
        return newest

    async def _piece(self, begin: int, end: int) -> int:
        missed = 0
        async for event in self._payments.events(begin=begin, end=end):
            if await self._take(event):
                missed += 1
                if missed % _AT_ONCE_MAX == 0:
                    await self._settled()
        return missed

    def _failed(self, why: str) -> float:
        if not self._failures:
            self._report("reconciliation waits", why=why)
        self._failures += 1
        return float(min(_BACK_OFF_SECONDS_MAX, max(self._every, 1.0) * 2 ** min(self._failures - 1, 12)))


@dataclass(frozen=True, slots=True)
class Difference:
    """A payment that is in one place and not, or otherwise, in the other."""

    session: str
    what: str
    paid: Money | None
    credited: Money | None
    account: str | None = None


async def audit_payments(
    payments: Payments, lines: CreditLines, receipts: Receipts, *, begin: int, end: int, live: bool
) -> AsyncIterator[tuple[Difference | None, Payment | None]]:
    """Compare what was paid from `begin` to before `end` (seconds) with what was credited; each with its difference.

    First every checkout that was begun then, against its credit whenever that was; then every credit of then, against
    its checkout whenever that was. Raises PaymentServiceUnavailable, RecordsUnavailable, StoreFailed.
    """
    seen = set[str]()
    async for payment in payments.checkouts(begin=begin, end=end):
        if payment.live == live and payment.settled:
            entries = await _entries(payment, await lines.credit_of(f"stripe:{payment.id}"), receipts)
            seen.update(entries)
            for name, amount in entries.items():
                yield _compare(name, amount, await lines.credit_of(f"stripe:{name}")), payment
    for line in await lines.credits_between(begin * 1000, end * 1000):
        session = line.ref.removeprefix("stripe:")
        if session not in seen:
            found = await payments.find_payment(purse_named(session)[0])
            if found is None or not found.settled:
                what = "credited here, not paid at Stripe"
                yield Difference(session, what, None, line.amount, line.account), found
            else:
                entries = await _entries(found, line, receipts)
                yield _compare(session, entries.get(session, found.amount), line), found


async def _entries(payment: Payment, line: CreditLine | None, receipts: Receipts) -> dict[str, Money]:
    """What a payment comes to in the books, where `line` is one of it: all of it, or one for each purse."""
    if payment.subscription is not None:
        known = await receipts.find_credited(payment.id)
        if known is not None:
            return {name: amount for name, _, amount in known.credits}
    if payment.unplanned and line is not None:
        return {line.ref.removeprefix("stripe:"): line.amount}  # nothing says that it should be otherwise
    if payment.amount.micros <= 0:
        return {}
    whole = line is not None and line.ref == f"stripe:{payment.id}" and line.amount == payment.amount
    return {payment.id: payment.amount} if whole else payment.entries


def _compare(name: str, amount: Money, line: CreditLine | None) -> Difference | None:
    if line is None:
        return Difference(name, "paid at Stripe, not credited here", amount, None)
    if line.amount != amount:
        return Difference(name, "another amount was credited", amount, line.amount, line.account)
    return None
