"""The test cards, and what becomes of each.

Only Stripe's published test numbers are taken. Any other number is turned away on the page and nothing of it is
kept: somebody will type a real one. A fingerprint is the same for the same card within one stand-in, as
fingerprints are within one Stripe account.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from gateway.demo.standin.store import Json


@dataclass(frozen=True, slots=True)
class Decline:
    code: str
    decline_code: str
    message: str


@dataclass(frozen=True, slots=True)
class Card:
    number: str
    brand: str
    month: int
    year: int
    decline: Decline | None
    """What the bank says to a payment for which the buyer is there."""


class BadCard(Exception):
    """A card that is refused before anybody is asked. `field` is the input to correct."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(message)
        self.field = field
        self.message = message


DECLINED = Decline("card_declined", "generic_decline", "Your card was declined.")
DECLINES: Mapping[str, Decline] = {
    "4000000000000002": DECLINED,
    "4000000000009995": Decline("card_declined", "insufficient_funds", "Your card has insufficient funds."),
    "4000000000009987": Decline("card_declined", "lost_card", "Your card was declined."),
    "4000000000009979": Decline("card_declined", "stolen_card", "Your card was declined."),
    "4000000000000069": Decline("expired_card", "expired_card", "Your card has expired."),
    "4000000000000127": Decline("incorrect_cvc", "incorrect_cvc", "Your card's security code is incorrect."),
    "4000000000000119": Decline("processing_error", "processing_error", "The card could not be processed. Try again."),
}
#: Can be saved, and every payment with it is declined.
ATTACHES = "4000000000000341"
AUTHENTICATE = Decline(
    "authentication_required",
    "authentication_required",
    "Your card was declined. This transaction requires authentication.",
)
#: What the bank says to a payment without the buyer, with a card that was saved. On the hosted page the buyer is there,
#: and is taken to have confirmed at the bank.
OFF_SESSION: Mapping[str, Decline | None] = {
    "4000002500003155": None,
    "4000003800000446": None,
    "4000002760003184": AUTHENTICATE,
    ATTACHES: DECLINED,
}
BRANDS: Mapping[str, str] = {
    "4242424242424242": "visa",
    "4000056655665556": "visa",
    "5555555555554444": "mastercard",
    "2223003122003222": "mastercard",
    "378282246310005": "amex",
    "6011111111111117": "discover",
    "3056930009020004": "diners",
    "3566002020360505": "jcb",
    "6200000000000005": "unionpay",
    **dict.fromkeys((*DECLINES, *OFF_SESSION), "visa"),
}

_EXPIRY = re.compile(r"([0-9]{1,2})\s*[/-]?\s*([0-9]{2}|20[0-9]{2})")


def read(number: str, expiry: str, cvc: str, now: float) -> Card:
    """A card as typed. Raises `BadCard`."""
    digits = re.sub(r"[\s-]", "", number)
    if not (digits.isascii() and digits.isdigit() and 12 <= len(digits) <= 19 and luhn(digits)):
        raise BadCard("number", "Your card number is invalid.")
    if digits not in BRANDS:
        raise BadCard("number", "This is a stand-in: use a test card such as 4242 4242 4242 4242, never a real one.")
    month, year = _expiry(expiry.strip(), now)
    brand = BRANDS[digits]
    if not re.fullmatch(r"[0-9]{4}" if brand == "amex" else r"[0-9]{3}", cvc.strip()):
        raise BadCard("cvc", "Your card's security code is incomplete.")
    return Card(digits, brand, month, year, DECLINED if digits == ATTACHES else DECLINES.get(digits))


def luhn(digits: str) -> bool:
    total = 0
    for at, digit in enumerate(reversed(digits)):
        value = int(digit) * (1 + at % 2)
        total += value - 9 if value > 9 else value
    return total % 10 == 0


def fingerprint(secret: str, identity: str) -> str:
    return hmac.new(secret.encode(), identity.encode(), hashlib.sha256).hexdigest()[:16]


def details(card: Card, secret: str) -> Json:
    """The `card` part of a payment method."""
    return {
        "brand": card.brand,
        "checks": {"address_line1_check": None, "address_postal_code_check": None, "cvc_check": "pass"},
        "country": "US",
        "display_brand": card.brand,
        "exp_month": card.month,
        "exp_year": card.year,
        "fingerprint": fingerprint(secret, card.number),
        "funding": "credit",
        "generated_from": None,
        "last4": card.number[-4:],
        "networks": {"available": [card.brand], "preferred": None},
        "regulated_status": "unregulated",
        "three_d_secure_usage": {"supported": True},
        "wallet": None,
    }


def charge_details(card: Json, amount: int) -> Json:
    """The `card` part of a charge's payment method details."""
    shared = ("brand", "checks", "country", "exp_month", "exp_year", "fingerprint", "funding", "last4")
    return {
        **{name: card[name] for name in shared},
        "amount_authorized": amount,
        "authorization_code": None,
        "extended_authorization": {"status": "disabled"},
        "incremental_authorization": {"status": "unavailable"},
        "installments": None,
        "mandate": None,
        "multicapture": {"status": "unavailable"},
        "network": card["brand"],
        "network_token": {"used": False},
        "network_transaction_id": None,
        "overcapture": {"maximum_amount_capturable": amount, "status": "unavailable"},
        "regulated_status": card["regulated_status"],
        "three_d_secure": None,
        "wallet": None,
    }


def _expiry(text: str, now: float) -> tuple[int, int]:
    match = _EXPIRY.fullmatch(text)
    if match is None or not 1 <= int(match[1]) <= 12:
        raise BadCard("expiry", "Your card's expiration date is incomplete.")
    month, year = int(match[1]), int(match[2]) % 100 + 2000
    today = datetime.fromtimestamp(now, UTC)
    if (year, month) < (today.year, today.month):
        raise BadCard("expiry", "Your card's expiration date is in the past.")
    return month, year


def off_session(number: str) -> Decline | None:
    """What the bank says to a payment with a saved card, for which the buyer is not there."""
    return OFF_SESSION[number] if number in OFF_SESSION else DECLINES.get(number)
