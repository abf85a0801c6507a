"""A person agrees that a method of theirs is charged later: a customer at the provider, and a way to save the method.

The customer is made once, under a key that was written down before; a setup is used until it is done, and then the next
one is made. What is saved is told by the provider's event alone, never by a page, and kept by its id: of a card nothing
else is ever here.
"""

from typing import NamedTuple

from gateway.core.charges import Agreed
from gateway.core.refusals import PaymentServiceUnavailable
from gateway.core.trail import Act
from gateway.ports import ChargeBook, ChargesByAgreement, Clock, Randomness, SetUp, Witnesses


class Begun(NamedTuple):
    """What a page needs to save a method; `page` is the provider's own one, if it was asked for."""

    customer: str
    setup: SetUp
    has_method: bool
    page: str | None


class Agree:
    """Begins what ends with a saved method."""

    def __init__(
        self,
        *,
        book: ChargeBook,
        provider: ChargesByAgreement,
        witness: Witnesses,
        live: bool,
        back: str,
        clock: Clock,
        randomness: Randomness,
    ) -> None:
        self._book = book
        self._provider = provider
        self._witness = witness
        self._live = live
        self._back = back
        self._clock = clock
        self._randomness = randomness

    async def begin(self, user: str, *, hosted: bool) -> Begun:
        """The same for as long as nothing was saved. Raises PaymentServiceUnavailable, RecordsUnavailable."""
        agreed = await self._with_customer(user)
        setup = await self._open(agreed)
        page = await self._provider.set_up_page(agreed, self._back) if hosted else None
        assert agreed.customer is not None
        return Begun(agreed.customer, setup, agreed.method is not None, page)

    async def _with_customer(self, user: str) -> Agreed:
        kept = await self._book.agreed(user, live=self._live)
        if kept is None:
            await self._witness.write(Act(user, "owner", "charge.agree", user, "api"))
            fresh = Agreed(user, self._live, self._randomness.bytes(12).hex())
            kept = await self._book.begin_customer(fresh, now_ms=self._clock.now_ms())
        if kept.customer is None:
            made = await self._provider.customer(kept)
            await self._book.keep_customer(kept, made, now_ms=self._clock.now_ms())
            kept = await self._book.agreed(user, live=self._live)
        if kept is None or kept.customer is None:
            raise PaymentServiceUnavailable()  # it was erased meanwhile
        return kept

    async def _open(self, agreed: Agreed) -> SetUp:
        """The newest setup, or the next if that is over."""
        if agreed.setup is not None:
            found = await self._provider.find_set_up(agreed.setup)
            if found.state == "open":
                return found
        made = await self._provider.set_up(agreed)
        await self._book.keep_setup(agreed, made.id, now_ms=self._clock.now_ms())
        return made
