"""Whole micro-units of one currency, or of a named credit.

One micro is a millionth of the currency's major unit: 0.002 usd is 2,000 micros, 5 jpy is 5,000,000. Balances,
prices and entries are integers of micros, so that sums are exact; floats never appear. Stripe speaks in *minor* units
(cents, yen, fils), whose size depends on the currency; only `from_minor` and `to_minor` know how.

A *named credit* such as `unit:export` is what an owner counts and nobody can pay with: 100 of it are 100,000,000
micros. It is granted by hand or by a plan, in whole numbers; where money is meant (`parse`) it is not read.
"""

import re
from dataclasses import dataclass
from decimal import Decimal, localcontext

MICROS_PER_UNIT = 1_000_000

# https://docs.stripe.com/currencies#zero-decimal and #three-decimal
ZERO_DECIMAL = frozenset("bif clp djf gnf jpy kmf krw mga pyg rwf vnd vuv xaf xof xpf".split())
THREE_DECIMAL = frozenset("bhd jod kwd omr tnd".split())

AMOUNT_MICROS_MAX = 2**62  # leaves room for a sum in SQLite's and PostgreSQL's 64 bits

_AMOUNT = re.compile(r"(?P<number>[0-9]{1,13}(?:\.[0-9]{1,12})?) (?P<currency>[A-Za-z]{3})")
_COUNT = re.compile(r"(?P<number>[0-9]{1,13}) (?P<unit>unit:[a-z][a-z0-9_-]{0,30})")
UNIT_PREFIX = "unit:"
"""Begins the names of named credits."""


class CurrencyMismatch(ValueError):
    """Two amounts of different currencies were added or compared. It is a bug, never a caller's mistake."""


class MoneySyntax(ValueError):
    """A text is not an amount such as `0.002 usd`. The message says in plain words what is wrong."""


@dataclass(frozen=True, slots=True, order=False)
class Money:
    """An amount of one currency, or of one named credit, in integer micros. May be negative (a debt, a correction)."""

    micros: int
    currency: str

    def __post_init__(self) -> None:
        if not -AMOUNT_MICROS_MAX <= self.micros <= AMOUNT_MICROS_MAX:
            raise MoneySyntax(f"{self.micros} micros is more than an account can hold")

    @classmethod
    def zero(cls, currency: str) -> "Money":
        return cls(0, currency)

    @classmethod
    def parse(cls, text: str) -> "Money":
        """`"0.002 usd"` -> Money(2000, "usd"). Raises MoneySyntax; nothing is ever rounded away."""
        found = _AMOUNT.fullmatch(text.strip())
        if not found:
            raise MoneySyntax(f"{text!r} is not an amount; write a number and a currency, such as 0.002 usd")
        with localcontext() as exact:
            exact.prec = 40
            micros = Decimal(found["number"]) * MICROS_PER_UNIT
            if micros != micros.to_integral_value():
                raise MoneySyntax(f"{text!r} is finer than a millionth of a {found['currency'].lower()}")
            return cls(int(micros), found["currency"].lower())

    @classmethod
    def parse_grant(cls, text: str) -> "Money":
        """What `parse` reads, or so many of a named credit: `"100 unit:export"`. Raises MoneySyntax."""
        if UNIT_PREFIX not in text:
            return cls.parse(text)
        found = _COUNT.fullmatch(text.strip())
        if not found:
            raise MoneySyntax(
                f"{text!r} is not so many of a named credit; write a whole number and a name of small letters, digits,"
                " `_` and `-`, such as 100 unit:export"
            )
        return cls(int(found["number"]) * MICROS_PER_UNIT, found["unit"])

    def __add__(self, other: "Money") -> "Money":
        return Money(self.micros + self._same(other), self.currency)

    def __sub__(self, other: "Money") -> "Money":
        return Money(self.micros - self._same(other), self.currency)

    def __neg__(self) -> "Money":
        return Money(-self.micros, self.currency)

    def __lt__(self, other: "Money") -> bool:
        return self.micros < self._same(other)

    def __le__(self, other: "Money") -> bool:
        return self.micros <= self._same(other)

    def __bool__(self) -> bool:
        return self.micros != 0

    def __str__(self) -> str:
        """`0.002 usd`, `5.00 usd`, `100 unit:export`: exact; money has at least two decimals."""
        return money_text(self.micros, self.currency)

    @property
    def named(self) -> bool:
        """Whether it is of a named credit, and no money."""
        return is_named(self.currency)

    @property
    def number(self) -> str:
        """The amount without its currency: exact, with at least two decimals if it is money."""
        text = written(self.micros)
        return text.removesuffix(".00") if self.currency.startswith(UNIT_PREFIX) else text

    def _same(self, other: "Money") -> int:
        if self.currency != other.currency:
            raise CurrencyMismatch(f"{self} and {other} are not of one currency")
        return other.micros


def money_text(micros: int, unit: str) -> str:
    """As `str` of the amount; every answer tells its caller's balance, and needs no object for that."""
    if ":" in unit:
        return f"{written(micros).removesuffix('.00')} {unit}"
    return f"{written(micros)} {unit}"


def is_named(unit: str) -> bool:
    """Whether it is a named credit, and no currency."""
    return unit.startswith(UNIT_PREFIX)


def whole(micros: int, unit: str) -> int:
    """As much of this as there can be: of a named credit there are whole ones only. Rounded down, towards nothing."""
    if not is_named(unit):
        return micros
    return (abs(micros) // MICROS_PER_UNIT) * (-MICROS_PER_UNIT if micros < 0 else MICROS_PER_UNIT)


def money_in(text: str, currency: str) -> Money:
    """`0.01 usd`, or `0.01` of this currency or so many of this named credit. Raises MoneySyntax."""
    text = text.strip()
    return Money.parse_grant(text if " " in text else f"{text} {currency}")


def written(micros: int) -> str:
    """Micros as a decimal number, exact, with at least two decimals; also sums that no account could hold."""
    if micros < 0:
        return f"-{written(-micros)}"
    digits = str(micros) if micros >= MICROS_PER_UNIT else f"{micros:07d}"
    return f"{digits[:-6]}.{digits[-6:].rstrip('0') if micros % 10_000 else digits[-6:-4]}"


def minor_decimals(currency: str) -> int:
    """How many decimals the provider's integer amounts of this currency have."""
    if currency in ZERO_DECIMAL:
        return 0
    return 3 if currency in THREE_DECIMAL else 2


def from_minor(amount: int, currency: str) -> Money:
    """An amount as the payment provider states it (cents, yen, fils), exactly."""
    currency = currency.lower()
    return Money(amount * _micros_per_minor(currency), currency)


def to_minor(money: Money) -> int:
    """The amount in the provider's units. Raises MoneySyntax if it is finer than those, or no money.

    Three-decimal currencies must end in 0 at Stripe (https://docs.stripe.com/currencies#three-decimal).
    """
    if money.named:
        raise MoneySyntax(f"{money} is nothing that can be paid")
    minor, rest = divmod(money.micros, _micros_per_minor(money.currency))
    if rest or (money.currency in THREE_DECIMAL and minor % 10):
        raise MoneySyntax(f"{money} is finer than a payment in {money.currency} can be")
    return minor


def _micros_per_minor(currency: str) -> int:
    return {0: 1_000_000, 2: 10_000, 3: 1_000}[minor_decimals(currency)]
