"""Licences: what a subscriber of a plan is given, so that an application can tell without asking.

A licence is a token that we sign and anybody can verify (`core/jwt_keys.py`): RS256, of the kind `licence+jwt`, for one
audience, good for some days. It says who the customer is at the provider, whether the plan counts (`proActive`), and
whose wallet it spends from (`sub`).

**Only what was begun as a licence carries one** (`MARK`, which the checkout writes into the subscription). Anybody may
subscribe for somebody else's wallet, as anybody may pay into it, and is then the customer at the provider: a licence of
such a subscription would spend the money of the wallet's holder. The checkout that is marked is one that the wallet's
own holder began, or one for a wallet that was made for it. What nobody here began, because it is older than this
gateway, has no wallet, and gets one that is derived from its customer.

An address is known by a keyed digest of how it is written in small letters; what is sealed is for the licence alone.
"""

import re
from base64 import b32encode, urlsafe_b64decode
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

from gateway.core import services
from gateway.core.plans import State, Subscription, SubscriptionNotice

KIND: Final = "licence+jwt"
MARK: Final = "farebox_licence"
"""In a subscription's metadata at the provider: it was begun by whose wallet it is."""
ADDRESS_PURPOSE: Final = "licensee's address"
CODE_MS: Final = 600_000
CODE_BYTES: Final = 10
_HEADER: Final = re.compile(r"(eyJ[A-Za-z0-9_-]{1,400})\.")
_ADDRESS: Final = re.compile(r"[^@\s\"\\\x00-\x1f<>(),;:]{1,64}@[A-Za-z0-9.-]{1,190}")
STATUSES: Final[dict[State, str]] = {
    "trial": "trialing",
    "active": "active",
    "unpaid": "past_due",
    "paused": "paused",
    "waiting": "incomplete",
    "over": "canceled",
}
"""What a licence's application calls each state."""


@dataclass(frozen=True, slots=True)
class Terms:
    """What every licence says, and what makes one count."""

    issuer: str
    audience: str
    days: int
    prices: frozenset[str]
    """The provider's ids of the plans that come with one."""
    counts: frozenset[State]
    credit: str
    """The named credit that `exportCredits` counts."""


@dataclass(frozen=True, slots=True)
class LicenceWish:
    """How a checkout ends that begins a licence: to whom, and where its payer goes."""

    email: str
    return_to: str | None = None


@dataclass(frozen=True, slots=True)
class Licensee:
    """A customer at the provider who has or had a licence, and whose wallet it is of. `at`: as of when, in seconds."""

    customer: str
    account: str
    email: str
    at: int


@dataclass(frozen=True, slots=True)
class Customer:
    """A customer as the provider knows them; `at` as of when, in seconds."""

    id: str
    email: str | None
    at: int
    live: bool


@dataclass(frozen=True, slots=True)
class Arrival:
    """A checkout that began a licence. `reference` names its wallet, sealed."""

    customer: Customer
    reference: str | None
    subscription: SubscriptionNotice | None = None


@dataclass(frozen=True, slots=True)
class Held:
    """A licensee and one subscription of theirs."""

    licensee: Licensee
    subscription: Subscription


def chosen(held: Iterable[Held], terms: Terms) -> Held | None:
    """The one of several that is licensed: one that counts before others, then the one that lasts longest."""
    of_plans = [one for one in held if one.subscription.price in terms.prices]
    return max(of_plans, key=lambda one: _weight(one, terms), default=None)


def duplicates(held: Iterable[Held], best: Held, terms: Terms) -> list[Held]:
    """Those that are paid for besides."""
    return [one for one in held if one != best and one.subscription.state in terms.counts]


def _weight(held: Held, terms: Terms) -> tuple[bool, int, int, str]:
    one = held.subscription
    return one.state in terms.counts, one.ends_ms, one.at, one.id


def claims(held: Held, terms: Terms, *, credits: int, now_seconds: int, id: str) -> dict[str, Any]:
    """What a licence says."""
    return {
        "iss": terms.issuer,
        "aud": terms.audience,
        "sub": held.licensee.account,
        "jti": id,
        "iat": now_seconds,
        "exp": now_seconds + terms.days * 86_400,
        "customerId": held.licensee.customer,
        "email": held.licensee.email,
        "proActive": held.subscription.state in terms.counts,
        "exportCredits": credits,
    }


def user(held: Held, terms: Terms) -> dict[str, Any]:
    """The same for an application that reads no tokens."""
    one = held.subscription
    return {
        "email": held.licensee.email,
        "proActive": one.state in terms.counts,
        "subscriptionStatus": STATUSES[one.state],
        "currentPeriodEnd": one.ends_ms or None,
    }


def address(text: str) -> str | None:
    """An e-mail address as it was typed, without what stands around it; None if it is none."""
    stripped = text.strip()
    return stripped if _ADDRESS.fullmatch(stripped) else None


def address_name(email: str) -> str:
    """What is digested of an address. No token has a space."""
    return f"licensee {email.strip().lower()}"


def new_code(random: bytes) -> str:
    """What is typed on another device: `ABCD-EFGH-IJKL-MNOP`."""
    text = b32encode(random).decode()
    return "-".join(text[at : at + 4] for at in range(0, len(text), 4))


def code_name(code: str) -> str:
    """What is digested of a code, however it was typed."""
    return f"licence code {''.join(code.upper().replace('-', ' ').split())[:64]}"


def holds_licence(text: str) -> bool:
    """Whether something that says of itself that it is a licence, or a service's token, stands anywhere in a text.

    It goes to no upstream.
    """
    return "eyJ" in text and any(_is_ours(_decoded(found[1])) for found in _HEADER.finditer(text))


def _is_ours(header: bytes) -> bool:
    return KIND.encode() in header or services.KIND.encode() in header


def _decoded(text: str) -> bytes:
    """What base64 holds, less a last character that alone says nothing."""
    whole = text[:-1] if len(text) % 4 == 1 else text
    return urlsafe_b64decode(whole + "=" * (-len(whole) % 4))
