"""Auto top-up: a saved card pays when the balance falls below a line that the holder drew.

A holder has one *rule*: below which balance, how much, at most how much in a day and in a month (any 24 hours, any 30
days). A rule is `on` when there is a card for it and nothing speaks against using it. Whatever does, the card that was
declined or the bank that wants to see its owner, *pauses* it: nothing is tried again until somebody acts, who pays with
a card that is saved in doing so, says "resume", or has the bank send a new card. So does a refund or a dispute:
what a payer takes back is not fetched again by the card, nor is any other debt. A rule that was made in another
currency than payments are in now stands as paused until its holder makes it anew: nobody agreed to amounts in this one.

Each payment without its owner is a *refill*, numbered by account and written down with its key before the provider is
asked. One is under way per account. Who begins one has read the number of the one before, and only then the balance:
the money of every refill up to that number is in that balance, and of two that saw the same, one finds the number
taken.
"""

from dataclasses import dataclass, replace
from typing import Literal

from gateway.core.money import Money
from gateway.core.payments import Payment

DAY_MS = 86_400_000
MONTH_MS = 30 * DAY_MS
REPEAT_MS_MAX = 20 * 3_600_000
"""How long a refill of unknown outcome may be repeated: the provider remembers keys for a day at least."""


Pause = Literal["declined", "authentication_required", "card_removed", "refused", "taken_back"]
State = Literal["on", "paused", "no_card"]
RefillState = Literal["asked", "succeeded", "failed"]


@dataclass(frozen=True, slots=True)
class Wish:
    """Below which balance to pay, and how much."""

    threshold: Money
    amount: Money


@dataclass(frozen=True, slots=True)
class Ceilings:
    """The most that is charged without its owner, in any 24 hours and in any 30 days."""

    day: Money
    month: Money


def strictest(one: Ceilings, other: Ceilings) -> Ceilings:
    """The lower of each."""
    return Ceilings(
        one.day if one.day < other.day else other.day, one.month if one.month < other.month else other.month
    )


@dataclass(frozen=True, slots=True)
class SavedCard:
    """A card that the provider keeps. `label` is what its owner knows it by: `visa 4242`."""

    customer: str
    method: str
    label: str
    expires: str | None = None
    """The month until whose end it is good, where that is known: `2034-12`."""


@dataclass(frozen=True, slots=True)
class Rule:
    """What a holder wants, and how it stands. `changed_ms` is when it last changed."""

    account: str
    wish: Wish
    ceilings: Ceilings
    card: SavedCard | None
    paused: Pause | Literal["other_currency"] | None
    changed_ms: int
    wanted: bool = True
    """False once it was switched off."""
    customer: str | None = None
    """Whom the provider knows this holder as, with a card or without."""

    @property
    def state(self) -> State:
        if self.card is None:
            return "no_card"
        return "paused" if self.paused else "on"

    def where(self, currency: str) -> "Rule":
        """As it stands where payments are in this currency."""
        return self if self.wish.amount.currency == currency else replace(self, paused="other_currency")


@dataclass(frozen=True, slots=True)
class Refill:
    """One payment without its owner, as it is asked for."""

    account: str
    number: int
    key: str
    amount: Money
    customer: str
    method: str
    reference: str
    created_ms: int


@dataclass(frozen=True, slots=True)
class Refilled:
    """What the provider says of a refill. `why` is the provider's own word for a failure, `payment` the success."""

    state: Literal["succeeded", "processing", "declined", "authentication_required", "refused"]
    why: str = ""
    payment: Payment | None = None


@dataclass(frozen=True, slots=True)
class CardNotice:
    """What an event says of saved cards and of refills.

    `saved`: the checkout `about` saved a card, for the account that `reference` names. `paid`, `failed`: the refill
    whose key is `about`. `removed`, `renewed`: the card `about`, at `at` seconds. `customer_gone`: the customer
    `about`.
    """

    kind: Literal["saved", "paid", "failed", "removed", "renewed", "customer_gone"]
    about: str
    at: int
    live: bool
    reference: str | None = None
    wish: Wish | None = None
    outcome: Refilled | None = None
    expires: str | None = None
    """Of a card that was `renewed`."""
