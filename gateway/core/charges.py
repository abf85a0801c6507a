"""Charges by agreement: a person's saved method pays the platform's fee of a refund that was confirmed, once.

**How much.** `fee` of the refund's amount at a rate in basis points, rounded half up to the currency's smallest unit,
once, here.

**Its life** is the table `NEXT`. The refund's id is what a charge is of, for ever: another call with it is the same
charge, and one with other terms is refused. All of a charge's attempts confirm **one** payment intent at the provider,
which can be paid only once, whatever is repeated, by whomever, and however late:

    planned    written down; nothing was asked of the provider
    sending    an attempt is under way, or nobody knows yet what became of it
    retrying   the bank declined; tried again when it is due
    pending    the bank wants the person to confirm it, by the link
    succeeded  paid, and in the books
    failed     given up; should the money come all the same, it is believed
    refunded   it was paid, and all of the fee or a part went back
    disputed   it was paid, and the bank has fetched it back; who wins that has it again, and it is `succeeded`

**The seller's money.** Where the platform holds what was refunded, it is in the books from the beginning, of the holder
`held:OWNER`. When the fee is paid it is free, and due to the owner like what their routes earn: `held`, then `due`. The
payouts pay it (`core/held.py` says why). Without such money it is `none`. What goes back of the fee is the platform's:
the seller's stays theirs.

**Waived.** Nothing is held for ever: an operator may give a fee up, and then what was held is the seller's, all of it.
Not by itself when it fails, for then who does not pay would be paid the more; nor is the fee taken of what is held, for
that was not agreed to. `failed` with the reason `waiving` is until the intent is cancelled at the provider, so that its
money cannot come any more, and `waived` afterwards.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, get_args

from gateway.core.held import due_account, held_account
from gateway.core.ledger import Credit, Reversal
from gateway.core.money import Money, from_minor, to_minor
from gateway.core.payouts import granularity
from gateway.core.reversals import Credited, Notice, due, is_disputed
from gateway.core.transfers import POINTS

DAY_MS: Final = 86_400_000
PLATFORM_HOLDER: Final = "platform"
"""Whose account in the books has what was charged."""

ChargeState = Literal["planned", "sending", "retrying", "pending", "succeeded", "failed", "refunded", "disputed"]
CHARGE_STATES: tuple[ChargeState, ...] = get_args(ChargeState)
ChargeEvent = Literal[
    "begun",
    "succeeded",
    "processing",
    "declined",
    "authentication",
    "given up",
    "waived",
    "refunded",
    "disputed",
    "restored",
]
CHARGE_EVENTS: tuple[ChargeEvent, ...] = get_args(ChargeEvent)
SellerState = Literal["none", "held", "due", "sending", "paid"]
"""`sending` and `paid` are of versions that sent each by itself."""
PAID: tuple[ChargeState, ...] = ("succeeded", "refunded", "disputed")
"""The fee was paid, whatever became of it later."""

NEXT: Mapping[tuple[ChargeState, ChargeEvent], ChargeState] = {
    ("planned", "begun"): "sending",
    ("retrying", "begun"): "sending",
    ("sending", "begun"): "sending",
    ("sending", "processing"): "sending",
    ("sending", "declined"): "retrying",
    ("sending", "authentication"): "pending",
    ("sending", "given up"): "failed",
    ("retrying", "waived"): "failed",
    ("pending", "waived"): "failed",
    ("failed", "waived"): "failed",
    ("sending", "succeeded"): "succeeded",
    ("retrying", "succeeded"): "succeeded",
    ("pending", "succeeded"): "succeeded",
    ("failed", "succeeded"): "succeeded",
    ("planned", "succeeded"): "succeeded",
    ("succeeded", "refunded"): "refunded",
    ("succeeded", "disputed"): "disputed",
    ("refunded", "refunded"): "refunded",
    ("refunded", "disputed"): "disputed",
    ("refunded", "restored"): "succeeded",
    ("disputed", "disputed"): "disputed",
    ("disputed", "refunded"): "refunded",
    ("disputed", "restored"): "succeeded",
}
"""What does not stand here changes nothing."""

WAIVING: Final = "waiving"
WAIVED: Final = "waived"

_REFUND = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:-]{0,127}")
_USER = re.compile(r"usr_[A-Za-z0-9]{1,64}")
_CURRENCY = re.compile(r"[A-Za-z]{3}")
_MINOR_MAX = 10**12


@dataclass(frozen=True, slots=True)
class ChargeTerms:
    """What is set of charges. `retry_ms`: how long after each decline it is tried again; after the last, never."""

    points: int
    of_owners: Mapping[str, int]
    currency: str
    maximum: Money | None
    per_day: Money | None
    count_per_day: int
    retry_ms: tuple[int, ...]
    hold_proceeds: bool


@dataclass(frozen=True, slots=True)
class ChargeWish:
    """What a service asks for: the fee of this refund, of this person."""

    refund: str
    user: str
    amount: Money


@dataclass(frozen=True, slots=True)
class Charge:
    """One charge. `turn` rises with each change; `due_ms`: when something is to be done.

    `tries` counts what was declined. `back` is how many micros of the fee went back to the person, and `dispute_fee`
    what the provider keeps for a dispute, which the platform bears.
    """

    id: str
    live: bool
    refund: str
    user: str
    owner: str
    amount: Money
    fee: Money
    points: int
    customer: str
    created_ms: int
    state: ChargeState = "planned"
    turn: int = 0
    tries: int = 0
    due_ms: int = 0
    changed_ms: int = 0
    method: str = ""
    intent: str | None = None
    reason: str | None = None
    seller: SellerState = "none"
    transfer: str | None = None
    back: int = 0
    dispute_fee: int = 0

    def is_of(self, wish: ChargeWish) -> bool:
        """Whether another call for the same refund means the same."""
        return (self.user, self.amount) == (wish.user, wish.amount)

    @property
    def status(self) -> str:
        """How it stands, as others are told."""
        return "processing" if self.state in ("planned", "sending") else self.state

    @property
    def key(self) -> str:
        """What the seller's transfer is called at the provider."""
        return f"farebox-proceeds-{self.id}-{self.tries}"


@dataclass(frozen=True, slots=True)
class Agreed:
    """A person's customer at the provider, and the method that may be charged: both by id alone."""

    user: str
    live: bool
    key: str
    customer: str | None = None
    method: str | None = None
    setup: str | None = None
    setups: int = 0
    changed_ms: int = 0


@dataclass(frozen=True, slots=True)
class Outcome:
    """What the provider says of an attempt. `url`: where the person confirms it; `why` is a code of the provider's."""

    event: ChargeEvent
    why: str = ""
    url: str | None = None


def fee(amount: Money, points: int) -> Money:
    """The one place where a charge is rounded: half up, to the smallest amount that the provider moves."""
    if not 0 <= points <= POINTS:
        raise ValueError(f"{points} basis points are no commission")
    unit = granularity(amount.currency)
    return Money((2 * amount.micros * points + unit * POINTS) // (2 * unit * POINTS) * unit, amount.currency)


def read_wish(said: Mapping[str, Any], currency: str) -> ChargeWish:
    """From a call, in the currency's smallest unit. Raises ValueError."""
    unknown = sorted(set(said) - {"refund_id", "user_id", "amount", "currency"})
    if unknown:
        raise ValueError(f"{str(unknown[0])[:60]}: this is not known here")
    refund, user, amount, code = (said.get(name) for name in ("refund_id", "user_id", "amount", "currency"))
    if not isinstance(refund, str) or not _REFUND.fullmatch(refund):
        raise ValueError("refund_id: letters, digits, and ._:- were expected, 128 at most")
    if not isinstance(user, str) or not _USER.fullmatch(user):
        raise ValueError("user_id: usr_… was expected")
    if not isinstance(code, str) or not _CURRENCY.fullmatch(code) or code.lower() != currency:
        raise ValueError(f"currency: {currency} is the one of this gateway")
    if isinstance(amount, bool) or not isinstance(amount, int) or not 0 < amount <= _MINOR_MAX:
        raise ValueError("amount: a whole number of the currency's smallest unit was expected, more than 0")
    return ChargeWish(refund, user, from_minor(amount, currency))


def revenue(charge: Charge) -> Credit:
    """What the books get of a charge that was paid: the payment intent is its money key."""
    assert charge.intent is not None
    return Credit(f"stripe:charge:{charge.intent}", PLATFORM_HOLDER, charge.fee, "charge", f"fee, {charge.id}")


def proceeds(charge: Charge) -> Credit:
    """The seller's money that the platform holds."""
    return Credit(f"proceeds:{charge.id}", held_account(charge.owner), charge.amount, "proceeds", "held for the seller")


def freed(charge: Charge) -> tuple[Reversal, Credit]:
    """It is due to the seller now, and no longer held."""
    out = Reversal(
        f"proceeds:{charge.id}:free", held_account(charge.owner), charge.amount, "proceeds", f"free, {charge.id}"
    )
    return out, Credit(f"proceeds:{charge.id}:due", due_account(charge.owner), charge.amount, "proceeds", out.reason)


def released(charge: Charge) -> Reversal:
    """It has left for the seller by a transfer of its own, as versions before did it."""
    ref = f"proceeds:{charge.id}:paid"
    return Reversal(ref, held_account(charge.owner), charge.amount, "proceeds", "paid to the seller")


def credited(charge: Charge) -> Credited:
    """The fee as a payment like others, so that what goes back of it is reckoned as of others."""
    assert charge.intent is not None
    return Credited(charge.intent, f"charge:{charge.intent}", PLATFORM_HOLDER, charge.fee, charge.fee)


def gone_back(charge: Charge, notices: Sequence[Notice]) -> tuple[ChargeEvent, int]:
    """What all that was heard of a fee comes to: what happens to the charge, and how many micros are gone."""
    back = due(credited(charge), notices)
    return ("disputed" if is_disputed(credited(charge), notices) else "refunded") if back else "restored", back


def told(charge: Charge, link: str | None = None) -> dict[str, Any]:
    """A charge as those who may know are told; amounts in the currency's smallest unit."""
    return {
        "transaction_id": charge.id,
        "refund_id": charge.refund,
        "user_id": charge.user,
        "amount": to_minor(charge.amount),
        "currency": charge.fee.currency,
        "fee": to_minor(charge.fee),
        "commission_bps": charge.points,
        "status": charge.status,
        "reason": charge.reason,
        "payment_intent_id": charge.intent,
        "link": link,
        "seller": charge.seller,
        "transfer_id": charge.transfer,
        "refunded": to_minor(Money(charge.back, charge.fee.currency)),
        "dispute_fee": to_minor(Money(charge.dispute_fee, charge.fee.currency)),
        "created": charge.created_ms // 1000,
    }
