"""What is on record about payments, and who acts on them."""

from dataclasses import dataclass, field
from typing import Literal, Protocol

from gateway.core.auto_top_ups import Ceilings, Pause, Refill, RefillState, Rule, SavedCard, Wish
from gateway.core.callers import Caller
from gateway.core.ledger import Reversal
from gateway.core.money import Money
from gateway.core.orders import Order
from gateway.core.payments import Event, NoticeOutcome, Outcome, Payment
from gateway.core.plans import Subscription
from gateway.core.purses import Purse
from gateway.core.refusals import PaymentRequired, Refusal
from gateway.core.reversals import Credited, Move, Notice
from gateway.ports.selling import Hold

InboxStatus = Literal["waiting", "done", "ignored", "parked"]


@dataclass(frozen=True, slots=True)
class InboxEntry:
    """An event as it stands in the inbox. `readable` is false when the key that sealed it has left the ring."""

    event: Event
    status: InboxStatus
    received_ms: int
    error: str | None
    readable: bool = True


@dataclass(frozen=True, slots=True)
class InboxStanding:
    """How the inbox stands: when the newest event came, how many wait and since when, how many are parked."""

    newest_ms: int | None
    waiting: int
    oldest_waiting_ms: int | None
    parked: int


class Inbox(Protocol):
    """Every event that the provider delivered, once."""

    async def claim(self, event: Event, *, now_ms: int) -> bool:
        """Write the event down; returns when it is durable. False if it was there."""

    async def close_event(self, id: str, status: InboxStatus, *, error: str | None = None) -> None:
        """Say what became of it."""

    async def events(self, status: InboxStatus) -> list[Event]:
        """Every event that stands like this, oldest first."""

    async def entries(self, status: InboxStatus) -> list[InboxEntry]:
        """The same, with all that is known of each."""

    async def find_entry(self, id: str) -> InboxEntry | None:
        """One event by its id."""

    async def inbox_standing(self) -> InboxStanding:
        """Counted, not read: cheap however many there are that need nothing more."""

    async def reseal(self, key_id: str, *, count: int) -> int:
        """Seal so many events or payers of this key with the newest; how many there were. Of none it can open, 0."""

    async def drop_events(self, *, before_ms: int, count: int) -> int:
        """Drop so many events that were received before that and need nothing more; how many there were."""


class Receipts(Protocol):
    """What was credited of which payment, what was heard of it since, and what was taken back. Kept for ever."""

    async def keep_credited(self, credited: Credited) -> Credited:
        """Write down whose a payment is; what is on record of it, which is what was written first."""

    async def find_credited(self, payment: str) -> Credited | None: ...

    async def keep_notice(self, notice: Notice) -> None:
        """Once per event, however often."""

    async def notices(self, payment: str) -> list[Notice]: ...

    async def moves(self, payment: str) -> list[Move]:
        """By their numbers, without a gap."""

    async def plan_move(self, move: Move) -> bool:
        """Write down what is to be done. False if there is another of this number: then read them again."""

    async def move_made(self, payment: str, number: int) -> None:
        """It is in the books."""

    async def correct_move(self, payment: str, number: int, micros: int) -> None:
        """The books have another amount under this number: these records are older than the books."""

    async def unmade(self) -> list[str]:
        """The payments that have a move which is not known to be in the books."""


@dataclass(frozen=True, slots=True)
class CreditLine:
    """A payment as the books have it."""

    ref: str
    account: str
    amount: Money
    at_ms: int = field(default=0, compare=False)
    """When it was credited; 0 where that is not known."""


class CreditLines(Protocol):
    """Reads payments out of the books, as committed; works while somebody keeps them. Raises StoreFailed."""

    async def taken_by(self, ref: str) -> int | None:
        """What the entry of this ref took, in micros; less than nothing if it is a credit. None: there is none."""

    async def credit_of(self, ref: str) -> CreditLine | None: ...

    async def credits_between(self, begin_ms: int, end_ms: int) -> list[CreditLine]:
        """Every credit of a checkout (`stripe:cs_…`), refill (`pi_…`) or invoice (`in_…`) of then, oldest first."""


class EntryLines(Protocol):
    """Reads any entry out of the books, as committed; works while somebody keeps them. Raises StoreFailed."""

    async def entry_of(self, ref: str) -> CreditLine | None:
        """By the name of its purse; the amount of one that took is less than nothing."""


class Standings(Protocol):
    """Reads accounts out of the books, as committed; works while somebody keeps them. Raises StoreFailed."""

    async def standing(self, holder: str, currency: str) -> Money:
        """What is left of all that was paid in, whoever of the hosts and workers has it set aside."""

    async def totals(self, holder: str, currency: str) -> tuple[Money, Money]:
        """What was paid in altogether, less what was taken back of it; and what is left, at the same moment."""

    async def paid_since(self, holder: str, currency: str, since_ms: int) -> Money:
        """What was credited for payments after that."""

    async def units(self, holder: str) -> list[str]:
        """Every currency, or other unit, that the holder ever had something in."""


class Watermarks(Protocol):
    """How far something was read, so that it goes on there after a stop."""

    async def watermark(self, name: str) -> int | None: ...

    async def keep_watermark(self, name: str, value: int) -> None:
        """It never goes back."""

    async def newest_watermark(self, prefix: str) -> int | None:
        """The highest of those whose names begin so; None if there is none."""


class Links(Protocol):
    """The payment links that were made, so that each is made once."""

    async def find_link(self, key: str) -> str | None: ...

    async def keep_link(self, key: str, url: str) -> None: ...


class Orders(Protocol):
    """What somebody wants to pay at the provider's checkout, written down before the provider is asked."""

    async def keep_order(self, order: Order) -> Order:
        """Write it down; what is on record under its id, which is what was written first."""

    async def order_made(self, id: str, url: str) -> None:
        """The provider has said where it can be paid."""

    async def drop_orders(self, before_ms: int) -> None:
        """Forget those that were begun before that."""


class AutoTopUps(Protocol):
    """Who wants to be topped up with which card, and every attempt at it."""

    async def find_rule(self, account: str) -> Rule | None:
        """Also one that is not wanted any more."""

    async def rules_since(self, changed_ms: int) -> list[Rule]:
        """All that changed at or after that, also those that are not wanted any more."""

    async def keep_rule(self, account: str, wish: Wish, ceilings: Ceilings, *, now_ms: int) -> None:
        """Make or change it, with the card that it has. It is not paused any more."""

    async def keep_card(
        self, account: str, card: SavedCard, wish: Wish, ceilings: Ceilings, *, at_ms: int, now_ms: int
    ) -> None:
        """A card was saved at `at_ms` for this. Nothing, if the rule changed after that."""

    async def drop_rule(self, account: str, *, now_ms: int) -> bool:
        """Switch it off and forget the card. False if it was off."""

    async def pause(self, method: str, why: Pause, *, now_ms: int) -> None:
        """Use this card no more until somebody acts."""

    async def card_expires(self, method: str, expires: str) -> None:
        """This card is good until then."""

    async def renew(self, method: str, *, at_ms: int, now_ms: int) -> None:
        """The bank has sent a new card at `at_ms`: one that was declined before that may be used again."""

    async def drop_card(self, method: str, *, now_ms: int) -> None:
        """The provider does not keep this card any more."""

    async def drop_customer(self, customer: str, *, now_ms: int) -> None:
        """Nor this customer."""

    async def last_refill(self, account: str) -> int:
        """The number of its newest refill; 0 if there was none."""

    async def begin_refill(self, refill: Refill, ceilings: Ceilings) -> bool:
        """Write it down as asked for, in one step with all that speaks against it; False if anything does.

        That is: the rule is not on or has another card, the account is frozen, one is under way, the number is taken, a
        ceiling is reached.
        """

    async def end_refill(self, key: str, state: RefillState) -> bool:
        """It is over. False if it was over before."""

    async def find_refill(self, key: str) -> Refill | None:
        """One that is under way."""

    async def open_refills(self, before_ms: int) -> list[Refill]:
        """Those under way that were begun before that, oldest first."""

    async def refilled_since(self, account: str, since_ms: int) -> int:
        """How many micros were charged after that, with what is under way."""


class Subscriptions(Protocol):
    """How subscriptions stand, and which of their invoices wait to be paid. Each call may raise RecordsUnavailable."""

    async def keep_subscription(self, found: Subscription) -> None:
        """Write down how it stands, if what is on record is not more recent. An account that is known stays."""

    async def find_subscription(self, id: str) -> Subscription | None: ...

    async def subscriptions_of(self, account: str) -> list[Subscription]:
        """Also those that are over, by their ids."""

    async def subscriptions_after(self, number: int, count: int) -> list[tuple[int, Subscription]]:
        """As many that were written after the one of that number, as they stand, each with its own, in order.

        Whoever reads from the highest that it has seen misses none.
        """

    async def keep_unpaid(self, invoice: str, subscription: str, url: str | None) -> bool:
        """An invoice waits to be paid. False, and nothing changes, if it is known to be over."""

    async def unpaid_over(self, invoice: str, subscription: str) -> None:
        """It does not any more, and will not again."""

    async def unpaid_of(self, subscription: str) -> list[str]:
        """Where those that wait can be paid, if that is known."""


class Offers(Protocol):
    """Tells who cannot pay how they can."""

    async def offer(self, refusal: PaymentRequired, caller: Caller) -> Refusal:
        """The refusal with a way to pay, or PaymentServiceUnavailable when there is none just now."""


class Hears(Protocol):
    """Acts on what an event says besides payments, refunds and disputes; implemented by the flows that do."""

    async def heard(self, event: Event) -> bool:
        """False if it says nothing that concerns this flow. Asked again, it is no different.

        Raises RecordsUnavailable, PaymentServiceUnavailable, ValueError.
        """


class Replenishes(Offers, Hears, Protocol):
    """Tops accounts up by themselves; implemented by the flow that does, known to those that hear of it."""

    def spent(self, account: str, hold: Hold) -> None:
        """A request was paid for. Awaits nothing, and looks no further for an account without a rule."""

    async def goes_back(self, notice: Notice) -> None:
        """Told before what a payer takes back leaves the balance. Raises RecordsUnavailable."""


class Till(Protocol):
    """Where callers pay; implemented by the flow that sells credit, known to those that need it."""

    async def offer(self, refusal: PaymentRequired, caller: Caller) -> Refusal:
        """The refusal with a way to pay, or PaymentServiceUnavailable when there is none just now."""

    async def fulfil(self, payment: Payment) -> Outcome:
        """Credit a payment, at most once; what became of it. Raises LedgerUnavailable."""

    async def fulfil_intent(self, intent: str) -> Outcome | None:
        """Ask the provider about a payment and fulfil it; None if it knows none. Raises PaymentServiceUnavailable."""


class HearsReturns(Protocol):
    """Acts on refunds and disputes of payments that are no caller's; implemented by the flows that take those."""

    async def returned(self, event: Event, notice: Notice) -> bool:
        """False if the payment is none of its own, or not known to be paid yet. Asked again, it is no different.

        Raises RecordsUnavailable, LedgerUnavailable.
        """


class TakesBack(Protocol):
    """Takes back what was credited; implemented by the flow that does, known to those that hear of it."""

    async def heard(self, notice: Notice) -> NoticeOutcome:
        """Act on what is known of a payment by now; the notice is kept. Raises LedgerUnavailable."""

    async def less(self, reversal: Reversal, purse: Purse) -> bool:
        """Take something from a holder, of this purse as far as it is there; False if that was done before.

        Raises LedgerUnavailable.
        """

    async def settle(self, credited: Credited) -> list[str]:
        """Bring the books up to all that was heard of a payment; the events that told it. Raises LedgerUnavailable."""

    async def resume(self) -> None:
        """Make what a stop left planned. Raises LedgerUnavailable."""
