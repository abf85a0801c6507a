"""A till in memory: webhooks, top-ups, refunds and the books, with Stripe's reading of events and nobody to call."""

from collections.abc import AsyncIterator, Mapping
from typing import Any

from gateway.adapters.memory import MemoryLedgerStore, MemoryRecords
from gateway.adapters.stripe.payments import StripePayments
from gateway.core import references
from gateway.core.ids import RequestId
from gateway.core.keyring import Keyring
from gateway.core.ledger import Tariff
from gateway.core.money import Money
from gateway.core.outgoing import Type
from gateway.core.payments import Bounds, Event, Payment
from gateway.core.plans import Plan, by_price
from gateway.core.references import Reference
from gateway.core.refusals import PaymentServiceUnavailable
from gateway.core.secrets import Secret
from gateway.flows.follow import Aliases
from gateway.flows.keep import Keeper, Pace
from gateway.flows.receive import Webhooks
from gateway.flows.subscribe import Subscribe
from gateway.flows.take_back import TakeBack
from gateway.flows.top_up import TopUp
from tests.fakes import FakeClock, SeededRandomness, Trail

FIVE = Money.parse("5.00 usd")
ACCOUNT = "acct_" + "1a" * 16
KEYRING = Keyring([Secret("k" * 40)])
PERIOD_ENDS = 2_000_000_000
"""In seconds."""
PLANS = (
    Plan("monthly", "price_month", Money.parse("10.00 usd"), "month", Money.parse("20.00 usd")),
    Plan("ending", "price_ends", Money.parse("10.00 usd"), "month", Money.parse("20.00 usd"), ends=True),
    Plan("gift", "price_gift", Money.parse("10.00 usd"), "month", Money.parse("20.00 usd"), grants_unpaid=True),
)
_TARIFF = Tariff("search", "operator", 0, "p")


class Provider(StripePayments):
    """Reads events as Stripe's adapter does; what it can be asked is what `known` and `happened` hold."""

    def __init__(self) -> None:
        super().__init__(
            secret_key=Secret("sk_test_" + "1a" * 20),
            webhook_secrets=[Secret("whsec_x")],
            api_url="http://127.0.0.1:1",
            tolerance_seconds=300,
            report=lambda *_, **__: None,
            plans=PLANS,
        )
        self.cancelled: list[str] = []
        self.known: dict[str, Payment] = {}
        self.happened: list[Event] = []
        self.listed = 0
        self.fails_after: int | None = None

    def sell(self, *plans: Plan) -> None:
        """These from now on, as after a restart with other settings."""
        self._plans = by_price(plans)

    async def payment_link(self, price: Money, return_url: str, bounds: Bounds | None = None) -> str:
        return "https://pay.example/1"

    async def find_payment_of(self, intent: str) -> Payment | None:
        return next((payment for payment in self.known.values() if payment.intent == intent), None)

    async def find_payment(self, session: str) -> Payment | None:
        return self.known.get(session)

    async def cancel_subscription(self, id: str) -> None:
        self.cancelled.append(id)

    async def events(self, *, begin: int, end: int) -> AsyncIterator[Event]:
        for event in sorted(self.happened, key=lambda event: -event.created):
            if begin <= event.created < end:
                if self.fails_after is not None and self.listed >= self.fails_after:
                    raise PaymentServiceUnavailable()
                self.listed += 1
                yield event

    async def checkouts(self, *, begin: int, end: int) -> AsyncIterator[Payment]:
        for payment in self.known.values():
            yield payment


class Told:
    """What somebody is to be told, once per cause."""

    def __init__(self) -> None:
        self.by_cause: dict[str, tuple[Type, str, Mapping[str, Any]]] = {}

    async def put(self, type: Type, account: str, content: Mapping[str, Any], *, cause: str, now_ms: int) -> bool:
        return self.by_cause.setdefault(cause, told := (type, account, content)) is told


class MemoryTill:
    """Everything that turns events into entries. With the records and books of another, it is that one restarted."""

    def __init__(self, before: "MemoryTill | None" = None) -> None:
        self.records: MemoryRecords = before.records if before else MemoryRecords()
        self.store: MemoryLedgerStore = before.store if before else MemoryLedgerStore()
        self.clock: FakeClock = before.clock if before else FakeClock()
        self.told: list[str] = []
        self.provider = Provider()
        self.ledger = Keeper(
            self.store, self.clock, pace=Pace(gap=0, idly=0, quiet=0, refuse_after=600, give_up_after=600)
        )
        report = lambda what, **_: self.told.append(what)  # noqa: E731
        self.trail: Trail = before.trail if before else Trail()
        self.take_back = TakeBack(
            receipts=self.records, ledger=self.ledger, lines=self.store, live=False, report=report, witness=self.trail
        )
        self.top_up = TopUp(
            payments=self.provider,
            price=FIVE,
            return_url="https://shop.example/-/paid",
            live=False,
            keyring=KEYRING,
            ledger=self.ledger,
            credentials=self.records,
            links=self.records,
            receipts=self.records,
            subscriptions=self.records.subscriptions,
            inbox=self.records,
            take_back=self.take_back,
            clock=self.clock,
            randomness=SeededRandomness(),
            token_recorded=lambda digest: None,
            witness=self.trail,
        )
        self.outbox = Told()
        self.aliases = Aliases(book=self.records.aliases, clock=self.clock, report=report)
        self.subscribe = Subscribe(
            sells=self.provider,
            subscriptions=self.records.subscriptions,
            outbox=self.outbox,
            roots=self.aliases,
            keyring=KEYRING,
            live=False,
            clock=self.clock,
            report=report,
        )
        self.webhooks = Webhooks(
            payments=self.provider,
            inbox=self.records,
            till=self.top_up,
            take_back=self.take_back,
            clock=self.clock,
            report=report,
            live=False,
            witness=self.trail,
            hears=[self.subscribe],
        )

    async def hear(self, *events: Event) -> None:
        """One after the other."""
        for event in events:
            await self.webhooks.take(event)
            await self.webhooks.settled()

    async def spend(self, micros: int, *, number: int = 1) -> None:
        """One request that costs so much. Raises PaymentRequired."""
        cost = Money(micros, "usd")
        hold = await self.ledger.hold(ACCOUNT, cost, id=RequestId(1, number), token=7, tariff=_TARIFF)
        await self.ledger.start(hold, cost, "strict")
        hold.started()
        self.ledger.settle(hold, cost)

    async def available(self, account: str = ACCOUNT) -> int:
        return (await self.ledger.balance(account, "usd")).available.micros

    def statuses(self) -> dict[str, str]:
        return {id: stored.status for id, stored in self.records.inbox.items()}

    def net(self, account: str = ACCOUNT) -> int:
        """All that ever went in, less all that was taken back."""
        credits = sum(one.amount.micros for one in self.store.credits.values() if one.account == account)
        return credits - sum(one.amount.micros for one in self.store.reversals.values() if one.account == account)


def sealed(account: str = ACCOUNT) -> str:
    """The reference that a payment of this account carries."""
    return references.seal(KEYRING, Reference(account, b"d" * 32, "0000", expires=0), nonce=bytes(12))


def paid(*, number: int = 1, amount: int = 500, tax: int = 0, at: int = 1, **change: Any) -> Event:
    """A checkout that was completed and paid: session `cs_test_1` by intent `pi_1`."""
    about = {
        "id": f"cs_test_{number}",
        "mode": "payment",
        "status": "complete",
        "payment_status": "paid",
        "amount_total": amount,
        "currency": "usd",
        "client_reference_id": sealed(),
        "livemode": False,
        "payment_intent": f"pi_{number}",
        "total_details": {"amount_tax": tax},
    }
    return Event(f"evt_paid_{number}", "checkout.session.completed", False, at, {**about, **change})


def refund(
    id: str, amount: int, status: str = "succeeded", *, what: str = "created", at: int = 2, **change: Any
) -> Event:
    """A refund of `pi_1` as `refund.created` and the like tell it."""
    about = {"id": id, "amount": amount, "currency": "usd", "payment_intent": "pi_1", "status": status}
    return Event(f"evt_{id}_{what}_{status}", f"refund.{what}", False, at, {**about, **change})


def refunded(amount: int, *, at: int = 2, **change: Any) -> Event:
    """What the charge of `pi_1` says its refunds come to."""
    about = {"id": "ch_1", "amount_refunded": amount, "currency": "usd", "payment_intent": "pi_1", "amount": 500}
    return Event(f"evt_ch_1_{amount}", "charge.refunded", False, at, {**about, **change})


def dispute(what: str, status: str, *, id: str = "dp_1", amount: int = 500, at: int = 2, **change: Any) -> Event:
    """A dispute of `pi_1` as `charge.dispute.{what}` tells it."""
    about = {"id": id, "amount": amount, "currency": "usd", "payment_intent": "pi_1", "status": status}
    return Event(f"evt_{id}_{what}_{status}_{at}", f"charge.dispute.{what}", False, at, {**about, **change})


def line(price: str = "price_month", amount: int = 1000, **change: Any) -> dict[str, Any]:
    """One line of an invoice."""
    return {
        "amount": amount,
        "currency": "usd",
        "quantity": 1,
        "discount_amounts": [],
        "period": {"start": PERIOD_ENDS - 2_592_000, "end": PERIOD_ENDS},
        "pricing": {"type": "price_details", "price_details": {"price": price}},
        "parent": {"type": "subscription_item_details", "subscription_item_details": {"proration": False}},
        **change,
    }


def part(price: str, amount: int) -> dict[str, Any]:
    """A line about a part of a period: what is asked for the rest of it, or given back."""
    details = {"type": "subscription_item_details", "subscription_item_details": {"proration": True}}
    return line(price, amount, parent=details)


def invoice(
    *lines: Mapping[str, Any], what: str = "paid", number: int = 1, status: str = "paid", at: int = 2, **change: Any
) -> Event:
    """An invoice `in_1` of `sub_1`, which `pi_1` pays."""
    total = sum(one["amount"] for one in lines)
    about = {
        "id": f"in_{number}",
        "status": status,
        "livemode": False,
        "currency": "usd",
        "amount_paid": max(total, 0) if status == "paid" else 0,
        "amount_remaining": 0 if status == "paid" else total,
        "attempt_count": 1,
        "hosted_invoice_url": f"https://invoice.example/in_{number}",
        "lines": {"data": list(lines), "has_more": False},
        "parent": {
            "type": "subscription_details",
            "subscription_details": {"subscription": "sub_1", "metadata": {"farebox_reference": sealed()}},
        },
    }
    return Event(f"evt_in_{number}_{what}_{at}", f"invoice.{what}", False, at, {**about, **change})


def subscription(
    what: str, status: str, *, at: int, price: str = "price_month", ends: int = PERIOD_ENDS, **change: Any
) -> Event:
    """What `customer.subscription.{what}` says of `sub_1`."""
    about = {
        "id": "sub_1",
        "status": status,
        "customer": "cus_1",
        "cancel_at_period_end": False,
        "items": {"data": [{"price": {"id": price}, "current_period_end": ends}]},
        "metadata": {"farebox_reference": sealed()},
    }
    return Event(f"evt_sub_1_{what}_{status}_{at}", f"customer.subscription.{what}", False, at, {**about, **change})
