"""Plans: what a subscription at the provider is worth here, and how subscriptions stand.

A plan is one recurring price at the provider, and what each period of it that was paid for grants. Every line of a paid
invoice says by itself what it is about (which price, how much, until when), so what an invoice grants is a function of
that invoice alone: no order of events, and no event that is missing, can change it.

**A line grants the part of a period that it pays for**: `grants` times what it comes to (after its discount), by what
a period costs. So two places grant twice as much, a coupon of half the price half, a part of a month that part, and
what is given back for the unused rest of a plan that was left takes that much back. A trial or a full coupon comes to
nothing and grants nothing, unless the plan says otherwise. Who subscribed at a price that the plan had before goes on
paying that one: its periods grant the same, measured by what a period costs at it. What a credit
note took off the invoice before it was paid takes that part off every line, as a coupon does. All lines of one invoice
together are rounded down once: to a millionth, or to a whole one of a named credit.
Each goes into the purse of its own plan and period; what lines give back is first taken off what the invoice itself
grants, of the purse that gets most, so that nobody is in debt between one entry and the next. An invoice that grants
nothing in the end, or less, is one entry, in the purse of the line that weighs most.

How a subscription stands is what its newest event says; of one second, the one of the later period, then by the order
of states below. Being over is final.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Literal

from gateway.core.money import Money, whole
from gateway.core.purses import PLAIN, Purse, Share


@dataclass(frozen=True, slots=True)
class Plan:
    """What is sold. `price` is the provider's id of it, `costs` what a period of it costs there."""

    name: str
    price: str
    costs: Money
    every: str
    grants: Money
    priority: int = 0
    ends: bool = False
    """Whether what it grants ends with the period."""
    grace_ms: int = 0
    """How much later it does: the next period's invoice is paid an hour or so after the period began."""
    grants_unpaid: bool = False
    """Whether a period grants all of it though less was paid: a trial, a coupon, a credit note."""
    older: tuple[tuple[str, Money], ...] = ()
    """The prices that it had before, and what a period costs at each."""
    sold: bool = True
    """Whether this is the price that is sold, and none of before."""

    @property
    def prices(self) -> tuple[str, ...]:
        """The one that is sold, then those of before."""
        return (self.price, *(price for price, _ in self.older))


def by_price(plans: Iterable[Plan]) -> dict[str, Plan]:
    """Plans by every price that is theirs, each at what it costs there; the one that is sold comes first."""
    found: dict[str, Plan] = {}
    for plan in plans:
        found[plan.price] = plan
        found |= {price: replace(plan, price=price, costs=costs, older=(), sold=False) for price, costs in plan.older}
    return found


@dataclass(frozen=True, slots=True)
class Line:
    """One line of an invoice. `amount` is what it comes to after discounts, less than nothing for what is given back.

    `part` says that it is about a part of a period (a change in the middle of it).
    """

    price: str
    amount: Money
    quantity: int
    ends_ms: int
    part: bool = False


@dataclass(frozen=True, slots=True)
class Grant:
    """What an invoice grants; less than nothing if it takes back more. `shares` are of several purses, most first."""

    amount: Money
    purse: Purse
    shares: tuple[Share, ...] = ()


def granted(plans: Mapping[str, Plan], lines: Iterable[Line], asked: Fraction = Fraction(1)) -> Grant | None:
    """What the lines of an invoice grant together; None if none is of a plan. `plans` are by the provider's price.

    `asked` is the part of it that was left to be paid after credit notes.

    It is for who asks to see that the invoice is in the currency of the plans. Raises ValueError if it is about plans
    that grant different things, money and a named credit, say: a part of one cannot be taken off the other.
    """
    ours = [(plans[line.price], line) for line in lines if line.price in plans]
    if not ours:
        return None
    if len({plan.grants.currency for plan, _ in ours}) > 1:
        raise ValueError("the invoice is about plans that grant different units")
    weights = [_weight(plan, line, asked) for plan, line in ours]
    over_whole = sum(weights, Fraction())
    sign = -1 if over_whole < 0 else 1
    total = whole(sign * int(abs(over_whole)), ours[0][0].grants.currency)
    plan, line = max(zip(ours, weights, strict=True), key=lambda one: sign * one[1])[0]
    shares = _shares([_purse(*one) for one in ours], weights, total, plan.grants.currency)
    return Grant(Money(total, plan.grants.currency), shares[0].purse if shares else _purse(plan, line), shares)


def _weight(plan: Plan, line: Line, asked: Fraction) -> Fraction:
    """What a line grants in micros, not yet rounded."""
    if plan.grants_unpaid and not line.part:
        return Fraction(plan.grants.micros * line.quantity)
    return Fraction(plan.grants.micros * line.amount.micros, plan.costs.micros) * asked


def _shares(purses: Sequence[Purse], weights: Sequence[Fraction], total: int, unit: str) -> tuple[Share, ...]:
    """What goes into each purse, whole micros that are `total` together; none if it is one purse's alone."""
    if total <= 0:
        return ()
    weighed = dict.fromkeys(purses, Fraction())
    for purse, weight in zip(purses, weights, strict=True):
        weighed[purse] += weight
    most_first = sorted(weighed, key=lambda purse: (-weighed[purse], purse.order))
    back = -sum((weight for weight in weighed.values() if weight < 0), Fraction())
    micros = []
    for purse in most_first:
        off = min(back, max(weighed[purse], Fraction()))
        back -= off
        micros.append(int(max(weighed[purse], Fraction()) - off))
    richest = micros.index(max(micros))
    micros[richest] += total - sum(micros)
    shares = tuple(Share(purse, Money(one, unit)) for purse, one in zip(most_first, micros, strict=True) if one)
    return shares if len(shares) > 1 else ()


def _purse(plan: Plan, line: Line) -> Purse:
    if not plan.ends and not plan.priority:
        return PLAIN
    return Purse(plan.priority, line.ends_ms + plan.grace_ms if plan.ends else 0)


State = Literal["trial", "active", "unpaid", "paused", "waiting", "over"]
"""`unpaid`: a renewal failed and is tried again. `waiting`: its first payment is not made yet."""
COUNTS: frozenset[State] = frozenset(("active", "trial"))
"""The states in which an account has the prices of its plan."""


@dataclass(frozen=True, slots=True)
class Subscription:
    """How a subscription stands, by the event of `at` (seconds) whose id is `event`."""

    id: str
    account: str
    price: str
    customer: str
    state: State
    ends_ms: int
    """The end of the period under way."""
    leaves: bool
    """Whether it ends then."""
    at: int
    event: str

    @property
    def recency(self) -> tuple[bool, int, int, int, str]:
        """Which of two is believed: being over is final; of one second the later period is, and then by its state, and
        then the one that was told to end.
        """
        standing = 2 * _RANK.index(self.state) + self.leaves
        return self.state == "over", self.at, self.ends_ms, standing, self.event


_RANK: Sequence[State] = ("waiting", "trial", "unpaid", "paused", "active", "over")


@dataclass(frozen=True, slots=True)
class SubscriptionNotice:
    """What an event says of a subscription. `reference` names its account, sealed."""

    live: bool
    reference: str | None
    found: Subscription
    """Without its account."""


@dataclass(frozen=True, slots=True)
class Unpaid:
    """What an event says of money that did not come, though its payer has left: a renewal, or a bank debit.

    `about` is the invoice or checkout, `attempt` tells one failure from the next, `url` is where it can be paid. `over`
    is said of an invoice that is not waited for any more, paid or not. `unplanned`: no line of it is of a plan, so it
    may be of something that was not sold here.
    """

    why: Literal["declined", "authentication_required", "bank_debit_failed", "over"]
    about: str
    subscription: str | None
    reference: str | None
    amount: Money
    attempt: int
    url: str | None
    live: bool
    unplanned: bool = False
