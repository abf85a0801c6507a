"""The least and the most that one payment can be.

https://docs.stripe.com/currencies#minimum-and-maximum-charge-amounts. For currencies that are not in the table Stripe
converts its minimum from the account's own currency, so it cannot be known here and an operator must name an amount.
"""

from gateway.core.money import Money, MoneySyntax, from_minor, minor_decimals, to_minor

MINOR_MAX = 99_999_999

_LEAST = {
    **dict.fromkeys("usd aud brl cad chf eur inr nzd sgd".split(), "0.50"),
    "gbp": "0.30",
    "bgn": "1.00",
    "aed": "2.00",
    "myr": "2.00",
    "pln": "2.00",
    "ron": "2.00",
    "dkk": "2.50",
    "nok": "3.00",
    "sek": "3.00",
    "hkd": "4.00",
    "mxn": "10",
    "thb": "10",
    "czk": "15",
    "jpy": "50",
    "huf": "175",
}
_USUAL_TIMES = 10


def least(currency: str) -> Money | None:
    """The smallest payment in a currency, where that is known."""
    number = _LEAST.get(currency)
    return Money.parse(f"{number} {currency}") if number else None


def usual(currency: str) -> Money | None:
    """What a payment link sells if nobody said: 5.00 usd, 500 jpy. None if that is not known."""
    smallest = least(currency)
    if smallest is None:
        return None
    return Money(smallest.micros * _USUAL_TIMES, currency)


def usual_choice(top_up: Money) -> tuple[Money, ...]:
    """What a caller may choose from if nobody said: what a link sells, and more."""
    most_micros = most(top_up.currency).micros
    amounts = (Money(top_up.micros * times, top_up.currency) for times in (1, 2, 5))
    return tuple(amount for amount in amounts if amount.micros <= most_micros)


def most(currency: str) -> Money:
    """The largest payment in a currency."""
    return from_minor(MINOR_MAX - MINOR_MAX % 10 if minor_decimals(currency) == 3 else MINOR_MAX, currency)


def problem(amount: Money) -> str:
    """Why an amount cannot be paid; empty if it can."""
    try:
        minor = to_minor(amount)
    except MoneySyntax:
        finest = {0: "no decimals", 2: "two decimals", 3: "two decimals and a 0"}[minor_decimals(amount.currency)]
        return f"a payment in {amount.currency} has {finest}"
    smallest = least(amount.currency)
    if smallest is not None and amount < smallest:
        return f"Stripe takes no payment below {smallest}"
    if minor > MINOR_MAX:
        return "Stripe takes no payment of more than eight digits"
    return ""
