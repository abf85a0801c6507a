"""A fee that was charged goes back: the person is refunded, or their bank fetches it.

To the books it is a payment like every other, whose account is the platform's: so `TakesBack` reckons what is gone from
all that was heard, in any order and any number of times, makes it in the books once, and gives it back when a dispute
is won. Here the fee is made known to it, and the charge says how it stands by now, and what the provider keeps for the
dispute. The seller's money is not touched: it was theirs before the fee was paid.

What is heard before the charge is known to be paid waits, as all that is about a payment which has not arrived.
"""

import asyncio
from collections.abc import Callable
from dataclasses import replace

from gateway.core.charges import NEXT, PAID, Charge, credited, gone_back
from gateway.core.money import Money
from gateway.core.payments import Event
from gateway.core.reversals import Notice
from gateway.core.trail import Act
from gateway.ports import ChargeBook, ChargesByAgreement, Clock, Receipts, TakesBack, WitnessesOnce


class ReturnFee:
    """Implements `ports.HearsReturns`."""

    def __init__(
        self,
        *,
        book: ChargeBook,
        provider: ChargesByAgreement,
        receipts: Receipts,
        take_back: TakesBack,
        witness: WitnessesOnce,
        live: bool,
        clock: Clock,
        report: Callable[..., None],
    ) -> None:
        self._book = book
        self._provider = provider
        self._receipts = receipts
        self._take_back = take_back
        self._witness = witness
        self._live = live
        self._clock = clock
        self._report = report
        self._one = asyncio.Lock()
        """The provider tells of one refund by several events at once: here each change is written down once."""

    async def returned(self, event: Event, notice: Notice) -> bool:
        async with self._one:
            return await self._returned(event, notice)

    async def _returned(self, event: Event, notice: Notice) -> bool:
        charge = await self._book.charge_by(notice.payment)
        if charge is None or charge.live != self._live or charge.state not in PAID:
            return False
        await self._receipts.keep_credited(credited(charge))
        if await self._take_back.heard(notice) != "applied":
            return False
        while True:
            after = await self._after(charge, event, notice)
            if after == charge:
                return True
            what = "restored" if after.state == "succeeded" else after.state
            await self._tell(charge, after, what, notice)
            if await self._book.move_charge(charge, replace(after, turn=charge.turn + 1)):
                self._report("a fee went back", level="info", id=charge.id, state=after.state, back=after.back)
                return True
            charge = await self._book.find_charge(charge.id) or charge  # somebody else has heard more

    async def _after(self, charge: Charge, event: Event, notice: Notice) -> Charge:
        """How it stands by all that was heard."""
        notices = await self._receipts.notices(notice.payment)
        happens, back = gone_back(charge, notices)
        state = NEXT.get((charge.state, happens), charge.state)
        kept = charge.dispute_fee
        # Of one second, what ends a dispute comes after what opens it, however late it is told.
        told = [(one.at, not one.stands) for one in notices if one.about == notice.about]
        if notice.kind == "dispute" and (notice.at, not notice.stands) >= max(told):
            fee = self._provider.dispute_fee(event)
            kept = kept if fee is None else fee.micros
        if (state, back, kept) == (charge.state, charge.back, charge.dispute_fee):
            return charge
        return replace(charge, state=state, back=back, dispute_fee=kept, changed_ms=self._clock.now_ms())

    async def _tell(self, charge: Charge, after: Charge, what: str, notice: Notice) -> None:
        facts = {
            "fee": str(charge.fee),
            "refund": charge.refund,
            "back": str(Money(after.back, charge.fee.currency)),
            "dispute_fee": str(Money(after.dispute_fee, charge.fee.currency)),
            "turn": str(charge.turn),
            "before": charge.state,
            "after": notice.about,
        }
        act = Act("stripe", "provider", f"charge.{what}", charge.id, "api", notice.event, facts)
        await self._witness.write_once(act, by="turn")
