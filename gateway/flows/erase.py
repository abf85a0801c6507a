"""A person is erased: nothing personal stays in the records, and the books stay as they are.

In this order, so that whoever is cut off begins again and finds the rest: it goes on the trail, the account is frozen
(a token that is not on record would work on otherwise), every token and session is ended, events are redacted while it
still shows which are theirs, the provider is to be asked to forget them, and then the rows go. Money keys, amounts and
moments stay, because books must be kept and a refund may still come.

What happens later is kept as ever: who pays again is known again. Events that the provider sends afterwards, such as
that it has forgotten somebody, are found by the ids that stay, so erasing once more erases them, too.
"""

import hashlib
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from gateway.core.jobs import Job, TryLater
from gateway.core.refusals import PaymentServiceUnavailable
from gateway.core.trail import ERASURE, NEWEST, Act
from gateway.ports import (
    Clock,
    ErasesCustomers,
    ErasesPeople,
    Freezer,
    Jobs,
    TokenBook,
    TrailBook,
    Unscrubbed,
    Witnesses,
)

AT_PROVIDER = "erase_customer"
"""The kind of job; its user is the customer at the provider."""
PROVIDER = "stripe"


class ChargeUnderWay(Exception):
    """A saved card is just being charged: what became of it is asked for by what would be erased."""


class ChargesWait(Exception):
    """Fees wait for the person, who could not be asked for them any more: they are to be paid first, or waived."""

    def __init__(self, ids: Sequence[str]) -> None:
        super().__init__(", ".join(ids))
        self.ids = list(ids)


@dataclass(frozen=True, slots=True)
class Erased:
    """What was done, or would be."""

    before_ms: int | None
    """When it was done before."""
    tokens: int
    """Ended, sessions among them."""
    rows: Mapping[str, int]
    """By what they were."""
    events: int
    """Of which nothing but ids is left."""
    events_open: Sequence[str]
    """Left, because they are still to be acted on."""
    customers: Sequence[str]
    """At the provider."""
    charges: Sequence[str]
    """Fees that waited for them: waived, or in the way."""
    unscrubbed: Unscrubbed = field(default_factory=Unscrubbed)


class Erase:
    """For one operator's command."""

    def __init__(
        self,
        *,
        personal: ErasesPeople,
        tokens: TokenBook,
        freezes: Freezer,
        trail: TrailBook,
        jobs: Jobs,
        witness: Witnesses,
        clock: Clock,
    ) -> None:
        self._personal = personal
        self._tokens = tokens
        self._freezes = freezes
        self._trail = trail
        self._jobs = jobs
        self._witness = witness
        self._clock = clock

    async def look(self, account: str, accounts: Sequence[str]) -> Erased:
        """What would be done to an account with all that are one with it. Raises RecordsUnavailable."""
        events = await self._personal.events(accounts)
        customers = sorted({*events.customers, *await self._personal.customers(accounts)})
        rows, alive = await self._personal.there_is(accounts), await self._alive(accounts)
        before = await self._before(account)
        waiting = await self._personal.waiting_charges(accounts)
        return Erased(before, len(alive), rows, len(events.over), events.open, customers, waiting)

    async def now(
        self, account: str, accounts: Sequence[str], reason: str, *, at_provider: bool, waive: bool = False
    ) -> Erased:
        """Do it; `waive` gives up the fees that wait. Raises ChargeUnderWay, ChargesWait, RecordsUnavailable."""
        if await self._personal.is_charged(accounts):
            raise ChargeUnderWay
        waiting = await self._personal.waiting_charges(accounts)
        if waiting and not waive:
            raise ChargesWait(waiting)
        for id in waiting:
            await self._witness.write(Act("operator", "operator", "charge.waive", id, "command", reason))
            if not await self._personal.waive_charge(id, now_ms=self._clock.now_ms()):
                raise ChargeUnderWay  # it is tried again just now
        before = await self._before(account)
        facts = {"at_provider": "asked"} if at_provider else {}
        await self._witness.write(Act("operator", "operator", ERASURE, account, "command", reason, facts))
        await self._freezes.freeze(account, "erased")
        alive = await self._alive(accounts)
        await self._tokens.revoke_grants(alive, now_ms=self._clock.now_ms())
        events = await self._personal.events(accounts)
        customers = sorted({*events.customers, *await self._personal.customers(accounts)})
        if at_provider:
            await self._ask_provider(customers)
        redacted = await self._personal.redact(events.over)
        rows = await self._personal.erase(accounts, now_ms=self._clock.now_ms())
        unscrubbed = await self._personal.scrub()
        return Erased(before, len(alive), rows, redacted, events.open, customers, waiting, unscrubbed)

    async def _before(self, account: str) -> int | None:
        for step in await self._trail.steps_before(NEWEST, count=1, object=account, action=ERASURE):
            return step.at_ms
        return None

    async def _alive(self, accounts: Sequence[str]) -> list[str]:
        return [grant.id for grant in await self._tokens.grants_of(accounts) if grant.revoked_ms is None]

    async def _ask_provider(self, customers: Sequence[str]) -> None:
        for customer in customers:
            cause, now_ms = f"{AT_PROVIDER} {customer}", self._clock.now_ms()
            id = f"job_{hashlib.sha256(cause.encode()).hexdigest()[:20]}"
            if not await self._jobs.put_job(AT_PROVIDER, customer, PROVIDER, id=id, cause=cause, now_ms=now_ms):
                await self._jobs.again_job(id, now_ms=now_ms)


class EraseAtProvider:
    """Does jobs of the kind `erase_customer`."""

    def __init__(self, provider: ErasesCustomers) -> None:
        self._provider = provider

    async def do(self, job: Job, note: Callable[[Mapping[str, Any]], Awaitable[None]]) -> None:
        """Raises TryLater."""
        try:
            await self._provider.delete_customer(job.user)
        except PaymentServiceUnavailable as unavailable:
            raise TryLater("the provider did not take it") from unavailable
