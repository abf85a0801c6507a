"""An exact amount that somebody wants to pay at the provider's checkout, or a card that they want to save there.

An order is written down before the provider is asked, with everything that it will be asked: whoever asks again, after
an answer that was lost, asks for the same thing under the same key (`id`), and gets the same checkout. It can be paid
for a day: whoever asks again after that gets another, under an id of its own, for the provider may remember that of the
first.
"""

import hashlib
from dataclasses import dataclass, replace

from gateway.core.auto_top_ups import Wish
from gateway.core.licences import LicenceWish
from gateway.core.money import Money

PAYABLE_MS = 86_400_000
"""How long a checkout can be paid."""
KEEP_MS = 2 * PAYABLE_MS
"""How long an order is kept."""


@dataclass(frozen=True, slots=True)
class Order:
    """What the provider is asked for. Without an `amount` a card is saved and nothing is paid."""

    id: str
    account: str
    currency: str
    amount: Money | None
    reference: str
    created_ms: int
    wish: Wish | None = None
    """The card is saved, and the account topped up with it like this from then on."""
    customer: str | None = None
    url: str | None = None
    """Where it can be paid, once the provider has said so."""
    plan: str | None = None
    """The name of what is subscribed to; `amount` is then what its first period costs."""
    licence: LicenceWish | None = None
    """What begins with it; it is not kept, for whoever asks again says it again."""

    def same(self, other: "Order") -> bool:
        """Whether both ask for the same."""
        return (self.account, self.amount, self.wish, self.plan) == (
            other.account,
            other.amount,
            other.wish,
            other.plan,
        )

    def after(self, known: "Order") -> "Order":
        """The same, to be asked for once `known` cannot be paid any more."""
        return replace(self, id=order_id(known.account, f"after {known.id}"))


def order_id(account: str, key: str) -> str:
    """One order per account and key: the key of one caller says nothing about another's."""
    return hashlib.sha256(f"order {account} {key}".encode()).hexdigest()[:40]
