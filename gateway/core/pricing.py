"""What a request may cost and did cost: one price for each answered call, or a sum over what was used.

A metered price is exact until its end: the base and every unit are added up as a fraction, the sum is brought between
`minimum` and `maximum`, the share that `charge_when` leaves is taken of it, and that is rounded once, by `rounded_up`.
No request costs more than was held for it.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from math import lcm
from typing import Literal

from gateway.core import usage
from gateway.core.charging import ALWAYS, WHOLE, ChargeWhen
from gateway.core.json_paths import JsonPaths, Sought
from gateway.core.meters import CallMeter, Meter
from gateway.core.money import Money
from gateway.core.use_meters import UseMeter

REQUEST_BYTES, ANSWER_BYTES, SECONDS = "request_bytes", "answer_bytes", "seconds"
COUNTED = (REQUEST_BYTES, ANSWER_BYTES, SECONDS)
_AT_ONCE = ("n", "best_of")
"""How many answers a request of OpenAI's shape asks for at once, each as long as its bound."""
_MADE = ("output_tokens", "total_tokens")
"""Units that we count by ourselves; all others an answer has to say."""
LOOKED_AT_BYTES_MAX = 1 << 20
"""Of a request's body before money is held for it."""
UNITS = (*COUNTED, usage.ROWS, *usage.TOKENS)
REPORTED = "Gateway-Price"
"""The field in which an upstream says what an answer costs."""
MILLISECONDS = 1000
"""Time is counted in these."""


def rounded_up(numerator: int, denominator: int) -> int:
    """The one rounding of every charge: to the next whole micro."""
    return -(-numerator // denominator)


@dataclass(frozen=True, slots=True)
class Price:
    """A fixed price per answered call. Zero means that the route is free."""

    per_call: Money
    looks_ahead = False
    """Whether the request decides what is held."""
    looks_inside = False
    """And its body."""
    slice = None
    charge = WHOLE
    flat = True

    free: bool = field(init=False, compare=False, repr=False)
    _nothing: Money = field(init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "free", not self.per_call)
        object.__setattr__(self, "_nothing", Money.zero(self.per_call.currency))

    @property
    def ceiling(self) -> Money:
        """The most that one request can cost: what is held before it is forwarded."""
        return self.per_call

    def ceiling_for(self, length: int | None, body: bytes | None) -> Money:
        return self.per_call

    def meter(self, now: Callable[[], float], ceiling: Money) -> Meter:
        return CallMeter()

    def cost(self, units: int) -> Money:
        """What `units` cost; never more than the ceiling."""
        return self.per_call if units else self._nothing

    def __str__(self) -> str:
        return "free" if self.free else str(self.per_call)


@dataclass(frozen=True, slots=True)
class UnitPrice:
    """What so many of a unit cost: 3.00 usd for 1,000,000 input tokens. Seconds are counted in milliseconds."""

    unit: str
    amount: Money
    count: int
    text: str
    """As written."""


@dataclass(frozen=True, slots=True)
class MeteredPrice:
    """A base and units. `unreported`: what an answer costs that came whole and did not say what has a price."""

    maximum: Money
    base: Money
    per: tuple[UnitPrice, ...] = ()
    minimum: Money | None = None
    fields: Mapping[str, str] = field(default_factory=dict, hash=False)
    """The paths of units of its own."""
    rows_at: str = ""
    reported: bool = False
    """Whether what the upstream says in `Gateway-Price` is added."""
    in_cents: bool = False
    """Whether it may say so in cents, too, as `X-Price`."""
    unreported: Literal["maximum", "minimum"] = "maximum"
    slice: Money | None = None
    """What is held at a time, if an answer is paid for as it comes."""
    bounds: Mapping[str, tuple[str, ...]] = field(default_factory=dict, hash=False)
    """Where a request says how much of a unit its answer has at most: paths in its body, or its own length."""
    charge: ChargeWhen = ALWAYS

    sought: Sought | None = field(init=False, compare=False, repr=False)
    units: frozenset[str] = field(init=False, compare=False, repr=False)
    """What has a price."""
    counts: bool = field(init=False, compare=False, repr=False)
    """Whether any of that is counted by ourselves."""
    looked_for: tuple[str, ...] = field(init=False, compare=False, repr=False)
    """What answers are read for, whether all of it has a price or not."""
    looks_ahead: bool = field(init=False, compare=False, repr=False)
    looks_inside: bool = field(init=False, compare=False, repr=False)
    _asked: Sought = field(init=False, compare=False, repr=False)
    _denominator: int = field(init=False, compare=False, repr=False)
    _weights: Mapping[str, int] = field(init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        denominator = lcm(*(rate.count for rate in self.per))
        weights = {rate.unit: rate.amount.micros * (denominator // rate.count) for rate in self.per}
        tokens = any(unit in usage.TOKENS for unit in weights)
        rows = self.rows_at if usage.ROWS in weights else None
        looks = tokens or rows is not None or bool(self.fields)
        inside = {
            f"{path}\n{unit}": [path] for unit, paths in self.bounds.items() for path in paths if path != REQUEST_BYTES
        }
        bounding = {path for paths in self.bounds.values() for path in paths}
        besides = {f"{path}\n": [path] for path in _AT_ONCE if path not in bounding}
        object.__setattr__(self, "_asked", Sought(inside | besides if inside else {}))
        object.__setattr__(self, "looks_inside", bool(inside))
        known = {*self.bounds, REQUEST_BYTES}
        object.__setattr__(self, "looks_ahead", weights.keys() <= known and bool(weights) and not self.reported)
        object.__setattr__(self, "_denominator", denominator)
        object.__setattr__(self, "_weights", weights)
        object.__setattr__(self, "units", frozenset(weights))
        object.__setattr__(self, "counts", not weights.keys().isdisjoint(COUNTED))
        looked_for = (
            *(usage.TOKENS if tokens else ()),
            *((usage.ROWS,) if usage.ROWS in weights else ()),
            *self.fields,
        )
        object.__setattr__(self, "looked_for", looked_for)
        object.__setattr__(self, "sought", usage.sought(self.fields, tokens=tokens, rows=rows) if looks else None)

    @property
    def free(self) -> bool:
        return False

    @property
    def ceiling(self) -> Money:
        """The most that one request can cost: what is held before it is forwarded."""
        return self.maximum

    @property
    def flat(self) -> bool:
        """Whether what is used does not matter: an amount for each call."""
        return not self.per and not self.reported and self.base == self.maximum

    @property
    def micros_of_time(self) -> Fraction:
        """What a second costs."""
        return Fraction(self._weights.get(SECONDS, 0) * MILLISECONDS, self._denominator)

    def ceiling_for(self, length: int | None, body: bytes | None) -> Money:
        """What a request of this length, with this body, can cost at most; None is what is not known.

        Where the body says nothing of a unit, and where it is no JSON, that is the maximum.
        """
        most = self._bounds_of(length, body)
        if self._weights.keys() <= most.keys():
            return self.cost(self.micros(most))
        return self.maximum

    def _bounds_of(self, length: int | None, body: bytes | None) -> dict[str, int]:
        most: dict[str, int] = {}
        if length is not None:
            most = {unit: length for unit, paths in self.bounds.items() if REQUEST_BYTES in paths}
            most[REQUEST_BYTES] = length
        if body is not None:
            asked = JsonPaths(self._asked)
            asked.feed(body)
            said = {} if asked.broken else asked.values
            answers = max((number for name, number in said.items() if name.partition("\n")[0] in _AT_ONCE), default=1)
            for name, number in said.items():
                unit = name.partition("\n")[2]
                times = max(1, answers) if unit in _MADE else 1
                if unit:
                    most[unit] = max(number * times, most.get(unit, 0))
        return most

    def meter(self, now: Callable[[], float], ceiling: Money) -> UseMeter:
        return UseMeter(self, now, ceiling.micros)

    def cost(self, units: int) -> Money:
        """A meter of this price counts micros."""
        return Money(units, self.maximum.currency)

    def micros(self, used: Mapping[str, int], *, reported: int = 0, percent: int = 100) -> int:
        """What this much of each unit costs, of which `percent` are due."""
        exact = (self.base.micros + reported) * self._denominator
        exact += sum(weight * used.get(unit, 0) for unit, weight in self._weights.items())
        least = self.minimum.micros * self._denominator if self.minimum else 0
        exact = min(max(exact, least), self.maximum.micros * self._denominator)
        return rounded_up(exact * percent, self._denominator * 100)

    def __str__(self) -> str:
        """Said in one line, as it is written in the books."""
        parts = [str(self.base)] if self.base else []
        parts += [f"{rate.text} ({rate.unit})" for rate in self.per]
        parts += [f"what {REPORTED} says"] if self.reported else []
        least = f", at least {self.minimum}" if self.minimum else ""
        most = f", at most {self.maximum}" if self.maximum != self.base else ""
        return " + ".join(parts) + least + most


AnyPrice = Price | MeteredPrice


def first_hold(price: AnyPrice, ceiling: Money) -> Money:
    """What is held before a request is forwarded that costs this much at most: all of it, or the first slice."""
    return ceiling if price.slice is None or ceiling < price.slice else price.slice
