"""The least and the most that one payment can be.

https://docs.stripe.com/currencies#minimum-and-maximum-charge-amounts. For currencies that are not in the table Stripe
converts its minimum from the account's own currency, so it cannot be known here and an operator must name an amount.
"""

from gateway.core.money import Money

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
