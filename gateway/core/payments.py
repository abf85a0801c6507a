"""What any payment provider can tell us."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from gateway.core.money import Money


@dataclass(frozen=True, slots=True)
class Event:
    """A verified message of the provider. `object` is what it is about, as the provider describes it."""

    id: str
    type: str
    live: bool
    created: int
    object: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Payment:
    """A completed checkout: what was paid, and the sealed reference that says for whom.

    `settled` is false while the money may still fail to arrive (a bank debit). `id` is the provider's id of the
    checkout session: the money key.
    """

    id: str
    amount: Money
    reference: str | None
    settled: bool
    live: bool
