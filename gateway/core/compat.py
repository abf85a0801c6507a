"""What callers and upstreams of another gateway are used to, so that they need not change with it.

`stripeflare`: `/me` and `/rotate-token` at the root, the cookie `access_token`, an upstream that tells its price in
whole cents as `X-Price`, and answers that tell the balance in cents as `X-Balance`, and where to pay as
`x-payment-link`.
"""

from typing import Literal

from gateway.core.money import Money

Compat = Literal["stripeflare"]

COOKIE = "access_token"
PRICE = "x-price"
ME, ROTATE = "/me", "/rotate-token"
_CENT_MICROS = 10_000
_DIGITS_MAX = 12


def balance(money: Money) -> list[tuple[str, str]]:
    """In whole cents; what is left of one is not told, nor is a named credit, which has none."""
    if money.named:
        return []
    return [("X-Balance", str(money.micros // _CENT_MICROS))]


def cents(text: str) -> int | None:
    """The micros of whole cents, as `X-Price` has them; None if it says nothing."""
    text = text.strip()
    return int(text) * _CENT_MICROS if text.isascii() and text.isdigit() and len(text) <= _DIGITS_MAX else None
