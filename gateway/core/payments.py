"""What any payment provider can tell us."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from gateway.core.money import Money
from gateway.core.payers import Payer
from gateway.core.purses import PLAIN, Purse, Share, parted


@dataclass(frozen=True, slots=True)
class Event:
    """A verified message of the provider. `object` is what it is about, as the provider describes it.

    `account` is that of the provider's accounts which it happened in, if it is not our own.
    """

    id: str
    type: str
    live: bool
    created: int
    object: Mapping[str, Any]
    account: str = ""


@dataclass(frozen=True, slots=True)
class Payment:
    """A completed checkout: what was paid, and the sealed reference that says for whom.

    `settled` is false while the money may still fail to arrive (a bank debit). `id` is the provider's id of the
    checkout session: the money key. `amount` is what is credited, without tax; `paid` is all of it. `intent` is by what
    name refunds and disputes speak of it.

    A paid invoice of a `subscription` is a payment, too: of what it grants, in the `purse` of its plan, or in the
    `shares` of several. That is less than nothing if it gives back more than it asks for. `partial`: the event does not
    hold all of it, so what it grants is not known before the provider is asked. `unplanned`: no plan names a price of
    it, so nothing says what it grants, and it may not be ours.
    """

    id: str
    amount: Money
    reference: str | None
    settled: bool
    live: bool
    intent: str | None = None
    paid: Money | None = None
    purse: Purse = PLAIN
    subscription: str | None = None
    shares: tuple[Share, ...] = ()
    partial: bool = False
    unplanned: bool = False

    @property
    def shown(self) -> Money:
        """What an operator is told that it is about."""
        return self.paid if self.unplanned and self.paid is not None else self.amount

    @property
    def entries(self) -> dict[str, Money]:
        """What is credited for it, by money key."""
        return parted(self.id, self.amount, self.shares)


@dataclass(frozen=True, slots=True)
class Attempt:
    """A card was tried, with or without success. `intent` is what the provider knows the payment by."""

    card: Payer
    intent: str | None
    live: bool
    declined: bool = False


Bounds = tuple[Money, Money]
"""The least and the most that can be paid at once."""
Outcome = Literal[
    "credited", "repeated", "pending", "no account", "no plan", "not ours", "wrong mode", "wrong currency"
]
NoticeOutcome = Literal["applied", "unknown payment", "wrong mode", "wrong currency"]
PARKED: dict[str, str] = {
    "no account": "it names no account that this gateway can open",
    "no plan": "no plan here names its price, so nothing says what it grants",
    "unknown payment": "it is about a payment that never arrived here",
    "wrong mode": "test and live disagree",
    "wrong account": "it happened in another Stripe account",
    "wrong currency": "nothing here is priced in its currency",
}
"""Outcomes that an operator must look at, and why."""
