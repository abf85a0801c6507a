"""The payment provider, and who is let through to it."""

from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Protocol

from gateway.core.auto_top_ups import CardNotice, Refill, Refilled, SavedCard
from gateway.core.limits import Ask
from gateway.core.money import Money
from gateway.core.orders import Order
from gateway.core.payers import Payer
from gateway.core.payments import Attempt, Bounds, Event, Payment
from gateway.core.plans import Plan, SubscriptionNotice, Unpaid
from gateway.core.refusals import CountryRefused
from gateway.core.reversals import Notice


class Payments(Protocol):
    """A payment provider."""

    @property
    def scope(self) -> str:
        """Tells this provider's account from every other; what was made for one must not be used for another."""

    @property
    def lasting_scope(self) -> str:
        """Where the provider is asked, and in which mode: the same after its key was exchanged."""

    async def payment_link(self, price: Money, return_url: str, bounds: Bounds | None = None) -> str:
        """The address of a page on which `price` can be paid, again and again. Made once and reused.

        With `bounds` its payer chooses an amount between the two; `price` is what is suggested.

        Raises PaymentServiceUnavailable.
        """

    def verify(self, body: bytes, signature: str | None, *, now_seconds: int) -> Event:
        """The event that a webhook brings. Raises WebhookRefused for whatever the provider did not sign just now."""

    def payment(self, event: Event) -> Payment | None:
        """The payment that an event reports, if it is one. Raises ValueError when it cannot be read.

        A `partial` one is to be found by its id before it is acted on.
        """

    def notice(self, event: Event) -> Notice | None:
        """What an event says of a payment that was made, if it does. Raises ValueError when it cannot be read."""

    async def find_payment(self, session: str) -> Payment | None:
        """A checkout by its id, as the provider knows it now. Raises PaymentServiceUnavailable."""

    async def find_payment_of(self, intent: str) -> Payment | None:
        """The checkout that made a payment. Raises PaymentServiceUnavailable."""

    def events(self, *, begin: int, end: int) -> AsyncIterator[Event]:
        """What happened from `begin` to before `end`, in seconds, newest first of each kind; page by page.

        Raises PaymentServiceUnavailable.
        """

    def checkouts(self, *, begin: int, end: int) -> AsyncIterator[Payment]:
        """Every completed checkout that was begun between the two, newest first. Raises PaymentServiceUnavailable."""


class Payers(Protocol):
    """A payment provider that can say who paid."""

    async def payer_of(self, session: str) -> Payer | None:
        """Who paid a checkout, by what it was paid with; None if that tells nobody.

        Raises PaymentServiceUnavailable.
        """

    async def is_open(self, session: str) -> bool:
        """Whether a checkout is still to be completed. Raises PaymentServiceUnavailable."""


class Cards(Protocol):
    """A payment provider that takes exact amounts, and keeps cards and charges them."""

    async def checkout(self, order: Order) -> str:
        """The address of a page on which just this can be paid, or a card be saved. The same for the same order.

        Raises PaymentServiceUnavailable.
        """

    async def saved_card(self, session: str) -> SavedCard | None:
        """The card that a checkout saved; None if it saved none. Raises PaymentServiceUnavailable."""

    async def refill(self, refill: Refill) -> Refilled:
        """Charge a saved card without its owner. Asked again, it says again what became of it.

        Raises PaymentServiceUnavailable when that is not known; it may have been charged.
        """

    async def find_refill(self, refill: Refill) -> Refilled | None:
        """What became of a refill, long after; None if the provider never heard of it. Raises the same."""

    def card_notice(self, event: Event) -> CardNotice | None:
        """What an event says of saved cards and refills, if it does. Raises ValueError when it cannot be read."""


class Sells(Protocol):
    """A payment provider that sells plans."""

    @property
    def plans(self) -> Mapping[str, Plan]:
        """By the provider's id of the price."""

    def subscription_notice(self, event: Event) -> SubscriptionNotice | None:
        """What an event says of a subscription, if it does. Raises ValueError when it cannot be read."""

    def unpaid(self, event: Event) -> Unpaid | None:
        """What an event says of money that did not come, if it does. Raises ValueError when it cannot be read."""

    async def differs(self, plan: Plan) -> str | None:
        """In words, what is otherwise of its price there than the plan says. Raises PaymentServiceUnavailable."""

    async def cancel_subscription(self, id: str) -> None:
        """It ends with the period under way. Raises PaymentServiceUnavailable."""


class Attempts(Protocol):
    """A payment provider that tells of every attempt to pay."""

    def attempt(self, event: Event) -> Attempt | None:
        """The card that was tried, if an event says that one was."""

    async def reference_of(self, intent: str) -> str | None:
        """The sealed reference of what is paid there, whether it was or not. Raises PaymentServiceUnavailable."""


class Countries(Protocol):
    """Knows where addresses are."""

    def country_of(self, address: str) -> str | None:
        """Two letters, such as `NO`; None where that is not known. Awaits nothing."""


class Screens(Protocol):
    """Says who is offered a way to pay, by their address; implemented by the flow that does. Awaits nothing."""

    def refusal(self, peer: str) -> CountryRefused | None:
        """Why not; None if they are."""

    def asks(self, peer: str) -> Sequence[Ask]:
        """What their checkouts are counted against, besides what everybody's are."""


class Freezer(Protocol):
    """Freezes accounts; implemented by the flow that does."""

    async def freeze(self, account: str, reason: str) -> bool:
        """False if nothing was to be done. Raises RecordsUnavailable."""


class HolderPages(Protocol):
    """A payment provider's own pages for who has paid."""

    async def receipt_url(self, payment: str) -> str | None:
        """The receipt of a checkout or a refill, by its id; None if there is none. Raises PaymentServiceUnavailable."""

    async def portal_url(self, customer: str) -> str:
        """A page on which a customer sees receipts and cards, good for minutes. Raises PaymentServiceUnavailable."""
