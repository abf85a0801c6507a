"""Where an owner's money can go."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class PayoutAccount:
    """The provider's account that an owner is paid into; without one, `reason` says why nothing can be paid."""

    account: str | None
    reason: str | None = None
