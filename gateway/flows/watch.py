"""Looks for what an operator has to know of, writes it down, and ends what is over.

Every process that keeps a gateway's books looks: it adds what its host has counted to the sums of all, and notes what
is wrong with the host itself. One of them, by a claim in the records that it renews, looks for all: at the sums, at
events, messages and jobs, at who spends. It is noted again as long as it is true; what was not noted for `ends_ms` has
ended. So nobody has to say that something is over, and what a dead host had said ends by itself.

A round is beside the road. While the records are away nobody looks, and metrics and readiness say so.
"""

from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from typing import Any

from gateway.core.alerts import Name, Sign, Thresholds
from gateway.core.limits import Rate
from gateway.ports import Alerts, AlertSources, Clock, Counted, Inbox

TICK_MS = 10_000
HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS
_COUNTS_KEEP_MS = 2 * DAY_MS
_MONTH_ANEW_MS = 300_000
PAID = ("checkout.session.completed", "checkout.session.async_payment_succeeded", "invoice.paid")
_DISPUTED = ("charge.dispute.created",)
_REFUSED = ("charge.failed", "payment_intent.payment_failed")
_RETURNED = ("charge.refunded", "refund.created")


class Watch:
    """One host's. `counted` says all that its processes have counted; `here` what is wrong with the host."""

    def __init__(
        self,
        *,
        alerts: Alerts,
        counts: Counted,
        sources: AlertSources,
        inbox: Inbox,
        thresholds: Thresholds,
        counted: Callable[[], Mapping[str, int]],
        here: Callable[[], Awaitable[Sequence[Sign]]],
        also: Sequence[Callable[[int], Awaitable[Sequence[Sign]]]] = (),
        tells: tuple[bool, bool],
        who: str,
        lease_ms: int,
        remind_ms: int,
        ends_ms: int,
        keep_ms: int,
        clock: Clock,
    ) -> None:
        self._alerts = alerts
        self._counts = counts
        self._sources = sources
        self._inbox = inbox
        self._thresholds = thresholds
        self._counted = counted
        self._here = here
        self._also = also
        self._tells_alerts, self._tells_accounts = tells
        self._who = who
        self._lease_ms = lease_ms
        self._remind_ms = remind_ms
        self._ends_ms = ends_ms
        self._keep_ms = keep_ms
        self._clock = clock
        self._written: dict[str, int] = {}
        self._muted: Collection[Name] = ()
        self._dropped_ms = 0
        self._month = (0, 0)
        self._month_ms = -_MONTH_ANEW_MS

    async def look(self) -> None:
        """One round. Raises RecordsUnavailable."""
        now_ms = self._clock.now_ms()
        await self._add_counts(now_ms)
        self._muted = await self._alerts.mutes(now_ms=now_ms)
        for sign in await self._here():
            await self._note(sign)
        if not await self._counts.claim(self._who, now_ms=now_ms, lease_ms=self._lease_ms):
            return
        await self._of_counts(now_ms)
        await self._of_events(now_ms)
        await self._of_what_waits(now_ms)
        for look in self._also:
            for sign in await look(now_ms):
                await self._note(sign)
        if self._tells_alerts:
            await self._alerts.remind(now_ms=now_ms, before_ms=now_ms - self._remind_ms)
        await self._alerts.end(now_ms=now_ms, before_ms=now_ms - self._ends_ms)
        await self._drop(now_ms)

    async def _note(self, sign: Sign) -> None:
        if sign.name not in self._thresholds.unwatched:
            tells = self._tells_alerts and sign.name not in self._muted
            await self._alerts.note(sign, now_ms=self._clock.now_ms(), tells=tells)

    async def _add_counts(self, now_ms: int) -> None:
        """What is new since the last time; a process that began anew counts from nothing."""
        counted = dict(self._counted())
        more = {name: number - self._written.get(name, 0) for name, number in counted.items()}
        more = {name: number for name, number in more.items() if number > 0}
        if more:
            await self._counts.add_counts(now_ms - now_ms % TICK_MS, more)
        self._written = counted

    # --- for all ------------------------------------------------------------------------------------------------------

    async def _of_counts(self, now_ms: int) -> None:
        limits = self._thresholds
        rates: tuple[tuple[Name, str, Rate], ...] = (
            ("webhook_signatures", "webhooks.refused", limits.webhook_signatures),
            ("guessed_tokens", "guessed", limits.guessed_tokens),
        )
        for name, measure, rate in rates:
            since = now_ms - rate.seconds * 1000
            number = (await self._counts.counts(since_ms=since - since % TICK_MS, until_ms=now_ms + 1)).get(measure, 0)
            await self._if_many(name, number, rate)

    async def _if_many(self, name: Name, number: int, rate: Rate, **facts: Any) -> None:
        if number >= rate.amount:
            await self._note(Sign(name, facts={"number": number, "seconds": rate.seconds, **facts}))

    async def _of_events(self, now_ms: int) -> None:
        limits = self._thresholds
        standing = await self._inbox.inbox_standing()
        if standing.parked:
            await self._note(Sign("payment_parked", facts={"parked": standing.parked}))
        kinds: tuple[tuple[Name, Sequence[str], Rate], ...] = (
            ("cards_refused", _REFUSED, limits.cards_refused),
            ("refunds_surge", _RETURNED, limits.refunds),
        )
        for name, types, rate in kinds:
            events = await self._sources.events(since_ms=now_ms - rate.seconds * 1000, until_ms=now_ms + 1)
            await self._if_many(name, max(events.get(type, 0) for type in types), rate)
        rate = limits.account_payments
        for account, number in await self._sources.payments(since_ms=now_ms - rate.seconds * 1000, least=rate.amount):
            await self._note(Sign("account_payments", account, {"payments": number, "seconds": rate.seconds}))
        paid, disputed = await self._of_the_month(now_ms)
        if disputed >= limits.disputes_least and disputed * 10_000 >= limits.dispute_bps * max(paid, disputed):
            await self._note(Sign("dispute_rate", facts={"disputes": disputed, "payments": paid, "days": 30}))

    async def _of_the_month(self, now_ms: int) -> tuple[int, int]:
        """Payments and disputes. To count them reads every event of thirty days, so not in every round."""
        if not 0 <= now_ms - self._month_ms < _MONTH_ANEW_MS:
            events = await self._sources.events(since_ms=now_ms - 30 * DAY_MS, until_ms=now_ms + 1)
            paid, disputed = (sum(events.get(type, 0) for type in types) for types in (PAID, _DISPUTED))
            self._month, self._month_ms = (paid, disputed), now_ms
        return self._month

    async def _of_what_waits(self, now_ms: int) -> None:
        limits = self._thresholds
        failed, waits_ms = await self._sources.late(
            now_ms=now_ms, alerts=self._tells_alerts, accounts=self._tells_accounts
        )
        if failed or waits_ms >= limits.outbox_ms:
            await self._note(Sign("outbox_behind", facts={"given_up": failed, "oldest_seconds": waits_ms // 1000}))
        if jobs := await self._sources.failed_jobs():
            await self._note(Sign("jobs_failed", facts={"jobs": jobs}))
        for customer, number in await self._sources.devices(since_ms=now_ms - 30 * DAY_MS, least=limits.devices):
            await self._note(Sign("licence_devices", customer, {"devices": number, "days": 30}))
        for account, number in await self._sources.duplicates():
            await self._note(Sign("duplicate_subscriptions", account, {"subscriptions": number}))
        for payout in await self._sources.unreturned(before_ms=now_ms - limits.returned_ms):
            await self._note(Sign("payouts_differ", payout))

    async def _drop(self, now_ms: int) -> None:
        """What nobody is shown any more, once an hour."""
        if now_ms - self._dropped_ms < HOUR_MS:
            return
        self._dropped_ms = now_ms
        await self._alerts.drop(before_ms=now_ms - self._keep_ms)
        await self._counts.forget_counts(
            before_ms=now_ms - _COUNTS_KEEP_MS, habits_before_ms=now_ms - 400 * DAY_MS, habits_max=200_000
        )
