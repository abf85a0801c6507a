"""Which card was tried: every attempt to pay leaves a charge, whether the bank said yes or no.

Charges of saved cards (refills) are attempts of ours, and bounded by what their account may be charged.
"""

from typing import Final

from gateway.adapters.stripe import cards
from gateway.core.payers import Payer
from gateway.core.payments import Attempt, Event

DECLINED: Final = "charge.failed"
TYPES: Final = frozenset(("charge.succeeded", DECLINED))


def attempt_of(event: Event) -> Attempt | None:
    """None for any other event, and for what no card was tried for."""
    if event.type not in TYPES:
        return None
    charge = event.object
    card = cards.mapping(cards.mapping(charge.get("payment_method_details")).get("card"))
    fingerprint, intent = card.get("fingerprint"), charge.get("payment_intent")
    if not (isinstance(fingerprint, str) and fingerprint) or cards.KEY in cards.mapping(charge.get("metadata")):
        return None
    intent = intent if isinstance(intent, str) else None
    return Attempt(Payer("card", fingerprint), intent, event.live, declined=event.type == DECLINED)
