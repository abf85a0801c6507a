"""Steps: a price that goes by how many calls of a route an account has made in a day, a week or a month.

    1,000 free a month, then 0.002 usd, from the 10,001st 0.001 usd

**A step is a count that is held with the money.** For each account and period it is a cap (`core/caps.py`) of so many
calls, in a unit of its own. A request is held under the first step that has a call left, at the price of that step, all
or nothing; so of any number of requests at once, on any number of workers and hosts, just as many get a step's price as
it has calls. What is not charged gives its call back. So which step a request is of is decided when it is held, and a
long one counts in the period in which it began.

**A free step** holds its call and no money. It is only for accounts that somebody paid into: else anybody could have
as many free calls as they can make tokens.

**Each price counts its own calls**: those of a method with a price of its own, and those of a plan, do not count for
others. How many calls a step has is settled for an account when its period begins there: a change counts from the next.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from gateway.core.caps import QUOTA_PREFIX, Cap, Span
from gateway.core.money import Money
from gateway.core.pricing import AnyPrice


@dataclass(frozen=True, slots=True)
class PriceStep:
    """A price, and up to which call of a period it holds; None for all that follow."""

    price: AnyPrice
    up_to: int | None


@dataclass(frozen=True, slots=True)
class SteppedPrice:
    """What a call costs by how many there were before it in its period. The last step has no end."""

    period: Span
    zone: str
    steps: tuple[PriceStep, ...]

    @property
    def dearest(self) -> AnyPrice:
        """What a call costs at most, whoever makes it."""
        return max((step.price for step in self.steps), key=lambda price: price.ceiling.micros)

    def __str__(self) -> str:
        """In one sentence, as a price list has it."""
        first, *others = self.steps
        text = f"{first.price} for the first {first.up_to:,} a {self.period}"
        if first.price.free:
            text = f"{first.up_to:,} free a {self.period}"
        before = first.up_to or 0
        for place, step in enumerate(others):
            text += f", from the {nth(before + 1)} {step.price}" if place else f", then {step.price}"
            before = step.up_to or 0
        return text

    def step(self, place: int, name: str, counter: AnyPrice) -> "Step":
        """How the calls of one of its steps are counted under this name."""
        before = (self.steps[place - 1].up_to or 0) if place else 0
        up_to = self.steps[place].up_to
        unit = f"{QUOTA_PREFIX}{name}:{place + 1}"
        return Step(unit, self.period, self.zone, before, None if up_to is None else up_to - before, counter)


@dataclass(frozen=True, slots=True)
class Step:
    """So many `calls` of each period, after those `before`; None for all that follow, which nobody counts."""

    unit: str
    period: Span
    zone: str
    before: int
    calls: int | None
    counter: AnyPrice
    """By its meter it is known whether a free call would have been charged, and so counts."""

    def cap(self, account: str) -> Cap | None:
        """What a request of this account is held under."""
        return None if self.calls is None else Cap(account, self.period, Money(self.calls, self.unit), self.zone)

    def __str__(self) -> str:
        if self.calls is None:
            return f"from the {nth(self.before + 1)} call of a {self.period}"
        if not self.before:
            return f"the first {self.calls:,} calls of a {self.period}"
        return f"calls {self.before + 1:,} to {self.before + self.calls:,} of a {self.period}"


def place_of(used: Sequence[tuple[int, int]]) -> int:
    """Which step the next call is of, by how many calls each has that has an end, and how many were made."""
    return next((place for place, (calls, made) in enumerate(used) if made < calls), len(used))


def nth(number: int) -> str:
    """`1st`, `10,001st`, `12th`."""
    ending = "th" if number % 100 in (11, 12, 13) else {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    return f"{number:,}{ending}"
