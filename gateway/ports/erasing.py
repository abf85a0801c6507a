"""What there is of a person, to be erased."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol


@dataclass(frozen=True, slots=True)
class PersonalEvents:
    """A provider's events about somebody."""

    over: Mapping[str, Mapping[str, Any]]
    """Those that say something of them and need nothing done any more, by their ids."""
    open: Sequence[str]
    """Those that are still to be acted on."""
    customers: Sequence[str]
    """Who they are at the provider, by what these events say."""


@dataclass(frozen=True, slots=True)
class Unscrubbed:
    """Tables whose files still hold what was deleted from them."""

    foreign: Sequence[str] = ()
    """Another login's, which alone may make them anew."""
    held: Sequence[str] = ()
    """In use by a transaction that began before; to be tried again when it is over."""


class ErasesPeople(Protocol):
    """Erases whoever is behind some accounts from the records. Every call may raise RecordsUnavailable."""

    async def there_is(self, accounts: Sequence[str]) -> dict[str, int]:
        """How many rows of what would be erased or blanked."""

    async def erase(self, accounts: Sequence[str], *, now_ms: int) -> dict[str, int]:
        """Do it; how many rows of what. Harmless to repeat, and goes on where it was cut off."""

    async def events(self, accounts: Sequence[str]) -> PersonalEvents:
        """What the provider said about them. To be asked before `erase`, for that drops what leads to some of it."""

    async def redact(self, events: Mapping[str, Mapping[str, Any]]) -> int:
        """Keep nothing of these events but ids; how many there were."""

    async def customers(self, accounts: Sequence[str]) -> list[str]:
        """Who they are at the provider, by what is on record besides events."""

    async def is_charged(self, accounts: Sequence[str]) -> bool:
        """Whether a charge of a saved card is under way, which needs to know whose it is."""

    async def waiting_charges(self, accounts: Sequence[str]) -> list[str]:
        """The fees that wait for them, or for their bank: what became of those is known."""

    async def waive_charge(self, id: str, *, now_ms: int) -> bool:
        """It is given up; False if it does not wait any more."""

    async def scrub(self) -> Unscrubbed:
        """Leave nothing of what was deleted in files of ours; the tables of which that cannot be had now."""


class ErasesCustomers(Protocol):
    """A payment provider that forgets who paid."""

    async def delete_customer(self, id: str) -> None:
        """Forget them there, for good; their subscriptions end at once. Harmless to repeat.

        Raises PaymentServiceUnavailable.
        """
