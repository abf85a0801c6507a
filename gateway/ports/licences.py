"""Licences: who has one, what the provider knows of them, and the codes that bring one to a device."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from gateway.core.licences import Arrival, Customer, Held
from gateway.core.payments import Event
from gateway.core.plans import SubscriptionNotice


@dataclass(frozen=True, slots=True)
class LicenseeRow:
    """A licensee as it is kept: the address sealed, and by its digest. `at`: as of when it is known, in seconds."""

    customer: str
    account: str
    digest: bytes
    pepper_id: str
    key_id: str
    sealed: bytes
    at: int


class LicenseeBook(Protocol):
    """Who has a licence. Every call may raise RecordsUnavailable."""

    async def keep_licensee(self, row: LicenseeRow) -> None:
        """Write it down, if what is on record of the customer is not of later. Its account stays as it was first."""

    async def find_licensee(self, customer: str) -> LicenseeRow | None: ...

    async def find_licensees(self, digests: Sequence[bytes]) -> list[LicenseeRow]:
        """Those whose address has one of these digests, by their customers."""

    async def add_code(self, digest: bytes, customer: str, *, until_ms: int, now_ms: int) -> None:
        """A code is good until then; those that are not any more are dropped."""

    async def take_code(self, digests: Sequence[bytes], *, now_ms: int) -> str | None:
        """Whose code has one of these digests. Of many that ask at once, one is told: a code is good once."""

    async def drop_codes(self, customer: str) -> None:
        """None of theirs is good any more."""

    async def count_restore(self, customer: str, *, now_ms: int, since_ms: int) -> int:
        """A device got a licence; how many of this customer did since then, with it."""


class KnowsSubscribers(Protocol):
    """A payment provider that knows who subscribes. Calls that are awaited may raise PaymentServiceUnavailable."""

    def arrival(self, event: Event) -> Arrival | None:
        """The checkout that began a licence, if an event tells of one. Raises ValueError."""

    def customer(self, event: Event) -> Customer | None:
        """What an event says of a customer, if it does. Raises ValueError."""

    async def arrival_of(self, session: str, *, now_seconds: int) -> Arrival | None:
        """The same by a checkout's id, with how its subscription stands now."""

    async def customers_of(self, email: str, *, now_seconds: int) -> list[Customer]:
        """Those with this address, however it is written."""

    async def subscriptions_at(self, customer: str, *, now_seconds: int) -> list[tuple[SubscriptionNotice, bool]]:
        """All of a customer's, as they stand now; and whether each was begun as a licence."""


class ReadsLicences(Protocol):
    """Whom a licence of ours is of. Awaits nothing."""

    def read(self, licence: str, *, even_ended: bool = False) -> Mapping[str, Any]:
        """What it says, if it is good. Raises `core.jwts.NotAccepted`."""


class Entitles(Protocol):
    """Finds out who has a licence, and issues it; implemented by the flow that does."""

    async def of_address(self, email: str) -> list[Held]:
        """What is on record of an address. Raises RecordsUnavailable."""

    async def of_customer(self, customer: str) -> list[Held]:
        """What is on record of just this customer, whatever address they have by now. Raises RecordsUnavailable."""

    async def learn(self, email: str) -> None:
        """Ask the provider who has this address, and write it down. Raises what it and the records raise."""
