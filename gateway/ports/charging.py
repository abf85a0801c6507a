"""Services, and charges by agreement: what is on record of both, and the provider that charges."""

from dataclasses import dataclass
from typing import Literal, Protocol

from gateway.core.charges import Agreed, Charge, Outcome
from gateway.core.money import Money
from gateway.core.payments import Event
from gateway.core.services import Service


class FindsServices(Protocol):
    """Knows programs that may call us, whoever has made them. May raise RecordsUnavailable."""

    async def find_service(self, name: str) -> Service | None: ...


class ServiceBook(FindsServices, Protocol):
    """Programs that may call us. Every call may raise RecordsUnavailable."""

    async def add_service(self, service: Service) -> bool:
        """Write it down; False if there is one of this name."""

    async def services(self) -> list[Service]:
        """By name."""

    async def rotate_service(self, before: Service, after: Service) -> bool:
        """False, and nothing changes, if it is another by now."""

    async def drop_service(self, name: str) -> bool: ...


class ChargeBook(Protocol):
    """What may be charged of whom, and what was. Every call may raise RecordsUnavailable."""

    # --- whose method may be charged ---

    async def begin_customer(self, agreed: Agreed, *, now_ms: int) -> Agreed:
        """Write it down, if nothing is; what is on record, which is what was written first."""

    async def agreed(self, user: str, *, live: bool) -> Agreed | None: ...

    async def agreed_by(self, customer: str) -> Agreed | None: ...

    async def keep_customer(self, agreed: Agreed, customer: str, *, now_ms: int) -> None:
        """The provider's id of it, once."""

    async def keep_setup(self, agreed: Agreed, setup: str, *, now_ms: int) -> bool:
        """The newest setup. False, and nothing changes, if there is another by now."""

    async def keep_method(self, customer: str, method: str, *, now_ms: int) -> None:
        """From now on this one is charged."""

    async def drop_method(self, method: str, *, now_ms: int) -> bool:
        """It may not be charged any more."""

    # --- charges ---

    async def add_charge(self, charge: Charge, *, since_ms: int, count_max: int, micros_max: int | None) -> bool:
        """Write it down; False if there is one of this refund, or since then there were as many of the person's.

        Those that failed do not count.
        """

    async def move_charge(self, before: Charge, after: Charge) -> bool:
        """Write down what changed. False, and nothing changes, if it is another by now."""

    async def find_charge(self, id: str) -> Charge | None: ...

    async def charge_of(self, refund: str, *, live: bool) -> Charge | None: ...

    async def charge_by(self, intent: str) -> Charge | None: ...

    async def due_charges(self, *, live: bool, now_ms: int, count: int) -> list[Charge]:
        """Those for which something is to be done, and nobody is at it; due for longest first."""

    async def charges(self, *, live: bool, user: str | None, before: Charge | None, count: int) -> list[Charge]:
        """The newest so many that are older than that one, newest first."""


@dataclass(frozen=True, slots=True)
class SetUp:
    """What a page needs to save a method. `state`: whether it is still to be done."""

    id: str
    client_secret: str
    state: Literal["open", "done", "gone"]


@dataclass(frozen=True, slots=True)
class IntentNotice:
    """What an event says of a charge's payment intent."""

    charge: str
    intent: str
    outcome: Outcome


@dataclass(frozen=True, slots=True)
class MethodNotice:
    """What an event says of a saved method."""

    kind: Literal["saved", "gone", "renewed"]
    method: str
    customer: str = ""


class ChargeRefused(Exception):
    """The provider will not make it, asked again or not. The message is a code of its."""


class ChargesByAgreement(Protocol):
    """A payment provider that charges saved methods. Calls may raise PaymentServiceUnavailable: then repeat."""

    async def customer(self, agreed: Agreed) -> str:
        """The id of their customer; asked again, it is the same."""

    async def set_up(self, agreed: Agreed) -> SetUp:
        """A way to save a method, the next of this customer's."""

    async def find_set_up(self, id: str) -> SetUp: ...

    async def set_up_page(self, agreed: Agreed, back: str) -> str:
        """The address of the provider's own page for the same."""

    async def intent(self, charge: Charge, *, again: bool) -> str:
        """The id of the charge's payment intent, which nobody has confirmed by that.

        `again`: it may be there from long ago, so it is looked for first. Raises ChargeRefused.
        """

    async def confirm(self, charge: Charge) -> Outcome:
        """Charge the saved method, without the person; asked again with as many tries, it is the same attempt."""

    async def look(self, intent: str) -> Outcome | None:
        """What became of it by now; None if nothing was tried."""

    async def cancel(self, intent: str) -> Outcome:
        """Nobody can pay it any more, or somebody has. Harmless to repeat."""

    async def confirm_page(self, charge: Charge, back: str) -> Outcome:
        """Begin what the person's bank wants, where the person is there: with the address of its page."""

    def intent_notice(self, event: Event) -> IntentNotice | None:
        """What an event says of a charge of ours, if it does."""

    def dispute_fee(self, event: Event) -> Money | None:
        """What the provider keeps so far for the dispute that an event tells of; None if it does not say."""

    def method_notice(self, event: Event) -> MethodNotice | None:
        """What an event says of saved methods, if it does."""
