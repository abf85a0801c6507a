"""Stripe as a payment provider, through the official SDK.

The SDK is loaded when first needed (it costs a third of a second) and talks through aiohttp. It retries as often as it
is told (by default never), with an idempotency key that stays the same over retries. Telemetry is off: it would write
to the operator's home folder. Whatever goes wrong on the way, cut bodies included, is reported and is
`PaymentServiceUnavailable` for who asked. `pace` keeps calls apart, and away from a Stripe that does not answer.
"""

import hashlib
import re
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from decimal import Decimal
from typing import TYPE_CHECKING, Any, TypeVar

from gateway.adapters.stripe import attempts, cards, licences, notices, subscriptions, transfers, webhooks
from gateway.adapters.stripe.pace import Pace
from gateway.adapters.stripe.transfers import StripeTransfers
from gateway.core.auto_top_ups import CardNotice, Refill, Refilled, SavedCard
from gateway.core.licences import Arrival, Customer
from gateway.core.money import Money, from_minor, to_minor
from gateway.core.orders import Order
from gateway.core.payers import Payer
from gateway.core.payments import Attempt, Bounds, Event, Payment
from gateway.core.plans import Plan, SubscriptionNotice, Unpaid, by_price
from gateway.core.refusals import PaymentServiceUnavailable
from gateway.core.reversals import Notice
from gateway.core.secrets import Secret

if TYPE_CHECKING:
    from aiohttp import ClientSession
    from stripe import StripeClient

_COMPLETED = frozenset(("checkout.session.completed", "checkout.session.async_payment_succeeded"))
_USUAL = sorted({*_COMPLETED, *notices.TYPES, "checkout.session.async_payment_failed"})
_ACTED_ON = sorted({*_USUAL, *cards.TYPES})
"""With saved cards."""
_TYPES_MAX = 20  # https://docs.stripe.com/api/events/list
_SESSION_ID = re.compile(r"cs_(test|live)_[A-Za-z0-9]{1,200}")
_INTENT_ID = re.compile(r"pi_[A-Za-z0-9_]{1,200}")
_PAGE = 100  # the most that Stripe gives, https://docs.stripe.com/api/pagination
_EVENTS_PAGE = 20  # each holds a whole object: a hundred of them are megabytes, and hold callers up while they are read
_Read = TypeVar("_Read")
_TIMEOUT_SECONDS = 10
_RETRIES = 2


class StripePayments:
    """Implements `ports.Payments`, `Payers`, `Cards`, `Sells`, `Attempts`, `KnowsSubscribers` and `HolderPages`."""

    def __init__(
        self,
        *,
        secret_key: Secret,
        webhook_secrets: Sequence[Secret],
        api_url: str,
        tolerance_seconds: int,
        report: Callable[..., None],
        share: int = 1,
        return_url: str = "",
        wallet_url: str = "",
        keeps_cards: bool = False,
        plans: Sequence[Plan] = (),
        licensed_url: str | None = None,
        pays_owners: bool = False,
        charges: frozenset[str] = frozenset(),
    ) -> None:
        self._pays_owners = pays_owners
        self._charges = charges
        self._licensed_url = licensed_url
        self._plans = by_price(plans)
        self._pace = Pace(share=share)
        self.calls = {"answered": 0, "refused": 0, "failed": 0}
        """By what Stripe said to them."""
        self._share = share
        self._return_url = return_url
        self._wallet_url = wallet_url
        self._keeps_cards = keeps_cards
        self._secret_key = secret_key
        self._webhook_secrets = tuple(webhook_secrets)
        self._api_url = api_url
        self._live = secret_key.reveal().startswith(("sk_live_", "rk_live_"))
        self._tolerance_seconds = tolerance_seconds
        self._report = report
        self._loaded: tuple[StripeClient, ClientSession] | None = None
        self._before: list[ClientSession] = []
        self.transfers = StripeTransfers(self._ask, self._pages, lambda: self.scope)

    def renew(self, *, secret_key: Secret, webhook_secrets: Sequence[Secret]) -> None:
        """Use these from the next call and the next webhook on; of the same account and mode."""
        if secret_key != self._secret_key and self._loaded is not None:
            self._before.append(self._loaded[1])  # calls under way still use it
            self._loaded = None
        if secret_key != self._secret_key:
            self._pace = Pace(share=self._share)  # what was refused may have been the key
        self._secret_key, self._webhook_secrets = secret_key, tuple(webhook_secrets)

    @property
    def resting(self) -> bool:
        """Whether Stripe failed so often in a row that it is hardly asked."""
        return self._pace.resting

    @property
    def scope(self) -> str:
        # The key tells one Stripe account from another; so does where it is used.
        return hashlib.sha256(f"farebox {self._api_url} {self._secret_key.reveal()}".encode()).hexdigest()[:16]

    @property
    def lasting_scope(self) -> str:
        mode = "live" if self._live else "test"
        return hashlib.sha256(f"farebox {self._api_url} {mode}".encode()).hexdigest()[:16]

    @property
    def plans(self) -> Mapping[str, Plan]:
        return self._plans

    # --- what we ask Stripe -------------------------------------------------------------------------------------------

    async def payment_link(self, price: Money, return_url: str, bounds: Bounds | None = None) -> str:
        asked: Any = {"currency": price.currency, "product_data": {"name": f"API credit, {price}"}}
        seed = f"{price} {return_url}"
        if bounds is None:
            asked["unit_amount"] = to_minor(price)
        else:
            least, most = bounds
            asked["product_data"] = {"name": "API credit"}
            limits = {"minimum": to_minor(least), "maximum": to_minor(most), "preset": to_minor(price)}
            asked["custom_unit_amount"] = {"enabled": True, **limits}
            seed = f"{seed} {least} {most}"
        # The keys come from what is made, so that two gateways, or one that was killed in between, make it once.
        seed = hashlib.sha256(seed.encode()).hexdigest()[:32]
        of_price: Any = {"idempotency_key": f"farebox-price-{seed}"}
        made = await self._ask(lambda stripe: stripe.v1.prices.create_async(asked, of_price))
        link = await self._ask(
            lambda stripe: stripe.v1.payment_links.create_async(
                {
                    "line_items": [{"price": made.id, "quantity": 1}],
                    "after_completion": {"type": "redirect", "redirect": {"url": return_url}},
                },
                {"idempotency_key": f"farebox-link-{seed}"},
            )
        )
        return str(link.url)

    async def find_payment(self, session: str) -> Payment | None:
        if _INTENT_ID.fullmatch(session):
            intent = await self._ask(lambda stripe: stripe.v1.payment_intents.retrieve_async(session))
            return None if intent is None else self._readable(intent.to_dict(), cards.payment_of)
        if subscriptions.INVOICE_ID.fullmatch(session):
            return await self._invoice(session)
        found = _SESSION_ID.fullmatch(session)
        if not found or (found[1] == "live") != self._live:
            return None
        checkout = await self._ask(lambda stripe: stripe.v1.checkout.sessions.retrieve_async(session))
        if checkout is not None and checkout.mode == "subscription" and checkout.invoice:
            return await self._invoice(str(checkout.invoice))
        return None if checkout is None else self._readable(checkout.to_dict())

    async def find_payment_of(self, intent: str) -> Payment | None:
        if not _INTENT_ID.fullmatch(intent):
            return None
        found = await self._ask(
            lambda stripe: stripe.v1.checkout.sessions.list_async({"payment_intent": intent, "limit": 1})
        )
        if found and found.data:
            return self._readable(found.data[0].to_dict())
        refill = await self.find_payment(intent) if self._keeps_cards else None
        return refill or await self._invoice_of(intent)

    async def _invoice(self, id: str, intent: str | None = None) -> Payment | None:
        found = await self._ask(lambda stripe: stripe.v1.invoices.retrieve_async(id))
        read = lambda invoice: subscriptions.payment_of(invoice, self._plans, intent)  # noqa: E731
        return None if found is None else self._readable(await self._whole(_plain(found.to_dict())), read)

    async def _whole(self, invoice: Mapping[str, Any]) -> Mapping[str, Any]:
        """The same with all of its lines: it shows ten."""
        if not subscriptions.has_more(invoice):
            return invoice
        id, asked = str(invoice.get("id")), {"limit": _PAGE}
        pages = self._pages(lambda stripe, more: stripe.v1.invoices.line_items.list_async(id, {**asked, **more}))
        return {**invoice, "lines": {"data": [line async for line in pages], "has_more": False}}

    async def _invoice_of(self, intent: str) -> Payment | None:
        """The invoice of a subscription that a payment intent paid, if it is one: its plan may have gone since."""
        of: Any = {"payment": {"type": "payment_intent", "payment_intent": intent}, "limit": 1}
        found = await self._ask(lambda stripe: stripe.v1.invoice_payments.list_async(of))
        return await self._invoice(str(found.data[0].invoice), intent) if found and found.data else None

    def attempt(self, event: Event) -> Attempt | None:
        return attempts.attempt_of(event)

    async def reference_of(self, intent: str) -> str | None:
        if not _INTENT_ID.fullmatch(intent):
            return None
        of: Any = {"payment_intent": intent, "limit": 1}
        found = await self._ask(lambda stripe: stripe.v1.checkout.sessions.list_async(of))
        reference = found.data[0].client_reference_id if found and found.data else None
        return str(reference) if reference else None

    async def differs(self, plan: Plan) -> str | None:
        found = await self._ask(lambda stripe: stripe.v1.prices.retrieve_async(plan.price))
        if found is None:
            return f"Stripe has no price {plan.price} in this mode"
        return subscriptions.difference(plan, _plain(found.to_dict()))

    async def cancel_subscription(self, id: str) -> None:
        ends: Any = {"cancel_at_period_end": True}
        if await self._ask(lambda stripe: stripe.v1.subscriptions.update_async(id, ends)) is None:
            raise PaymentServiceUnavailable()

    async def delete_customer(self, id: str) -> None:
        await self._ask(lambda stripe: stripe.v1.customers.delete_async(id))

    async def payer_of(self, session: str) -> Payer | None:
        more: Any = {"expand": ["payment_intent.payment_method"]}
        found = await self._checkout(session, more)
        return None if found is None else cards.payer(found)

    async def is_open(self, session: str) -> bool:
        found = await self._checkout(session, {})
        return found is not None and found.get("status") == "open"

    async def _checkout(self, session: str, more: Any) -> Mapping[str, Any] | None:
        if not _SESSION_ID.fullmatch(session):
            return None
        found = await self._ask(lambda stripe: stripe.v1.checkout.sessions.retrieve_async(session, more))
        return None if found is None else found.to_dict()

    async def checkout(self, order: Order) -> str:
        plan = next((plan for plan in self._plans.values() if plan.name == order.plan), None)
        if order.plan is not None and plan is None:
            raise PaymentServiceUnavailable()  # it was taken out of the settings since
        urls = {"return_url": self._return_url, "wallet_url": self._wallet_url}
        licensed = self._licensed_url or self._return_url
        asked: Any = (
            subscriptions.session_of(order, plan, **urls, licensed_url=licensed)
            if plan
            else cards.session_of(order, **urls)
        )
        key: Any = {"idempotency_key": f"farebox-order-{order.id}"}
        made = await self._ask(lambda stripe: stripe.v1.checkout.sessions.create_async(asked, key))
        if made is None or not made.url:
            raise PaymentServiceUnavailable()
        return str(made.url)

    async def arrival_of(self, session: str, *, now_seconds: int) -> Arrival | None:
        found = await self._checkout(session, {"expand": ["subscription"]})
        return (
            None
            if found is None
            else self._told(lambda: licences.arrival_of(_plain(found), at=now_seconds, looked_up=True))
        )

    async def customers_of(self, email: str, *, now_seconds: int) -> list[Customer]:
        found: dict[str, Customer] = {}
        for spelling in dict.fromkeys((email, email.lower())):
            asked: Any = {"email": spelling, "limit": _PAGE}
            page = await self._ask(lambda stripe: stripe.v1.customers.list_async(asked))  # noqa: B023 -- called at once
            found |= self._customers(page, now_seconds)
        if not found:
            query: Any = {"query": licences.search_for(email), "limit": _PAGE}
            found = self._customers(
                await self._ask(lambda stripe: stripe.v1.customers.search_async(query)), now_seconds
            )
        return list(found.values())

    def _customers(self, page: Any, at: int) -> dict[str, Customer]:
        read = [self._told(lambda: licences.customer_of(one.to_dict(), at=at)) for one in page.data] if page else []  # noqa: B023
        return {one.id: one for one in read if one is not None}

    async def subscriptions_at(self, customer: str, *, now_seconds: int) -> list[tuple[SubscriptionNotice, bool]]:
        asked: Any = {"customer": customer, "status": "all", "limit": _PAGE}
        pages = self._pages(lambda stripe, more: stripe.v1.subscriptions.list_async({**asked, **more}))
        found = []
        async for one in pages:
            notice = self._told(lambda: licences.notice_of(one, at=now_seconds, live=self._live))  # noqa: B023
            if notice is not None:
                found.append((notice, licences.is_marked(one)))
        return found

    def _told(self, read: Callable[[], _Read]) -> _Read | None:
        try:
            return read()
        except ValueError as error:
            self._report("a subscriber cannot be read", why=str(error))
            return None

    async def receipt_url(self, payment: str) -> str | None:
        if _INTENT_ID.fullmatch(payment):
            of_intent: Any = {"expand": ["latest_charge"]}
            found = await self._ask(lambda stripe: stripe.v1.payment_intents.retrieve_async(payment, of_intent))
        elif _SESSION_ID.fullmatch(payment):
            of_session: Any = {"expand": ["payment_intent.latest_charge"]}
            found = await self._ask(lambda stripe: stripe.v1.checkout.sessions.retrieve_async(payment, of_session))
        else:
            return None
        return None if found is None else cards.receipt_of(found.to_dict())

    async def portal_url(self, customer: str) -> str:
        asked: Any = {"customer": customer, "return_url": self._wallet_url}
        made = await self._ask(lambda stripe: stripe.v1.billing_portal.sessions.create_async(asked))
        if made is None:
            raise PaymentServiceUnavailable()
        return str(made.url)

    async def saved_card(self, session: str) -> SavedCard | None:
        more: Any = {"expand": ["setup_intent.payment_method", "payment_intent.payment_method"]}
        found = await self._ask(lambda stripe: stripe.v1.checkout.sessions.retrieve_async(session, more))
        return None if found is None else cards.saved(found.to_dict())

    async def refill(self, refill: Refill) -> Refilled:
        import stripe

        asked: Any = cards.intent_of(refill)
        key: Any = {"idempotency_key": f"farebox-refill-{refill.key}"}
        try:
            made = await self._ask(lambda client: client.v1.payment_intents.create_async(asked, key))
        except PaymentServiceUnavailable as unavailable:
            # What is certain is told; that somebody else holds the key, or the network, leaves it open.
            error = unavailable.__cause__
            if isinstance(error, stripe.CardError):
                return cards.failure(_error_of(error))
            if isinstance(error, stripe.InvalidRequestError):
                return Refilled("refused", str(error.code or "invalid_request"))
            raise
        return Refilled("refused", "resource_missing") if made is None else self._refilled(made.to_dict())

    async def find_refill(self, refill: Refill) -> Refilled | None:
        since = refill.created_ms // 1000 - 60
        bounds = {"customer": refill.customer, "created": {"gte": since}, "limit": _PAGE}
        async for item in self._pages(lambda stripe, more: stripe.v1.payment_intents.list_async({**bounds, **more})):
            if (item.get("metadata") or {}).get(cards.KEY) == refill.key:
                return self._refilled(item)
        return None

    def _refilled(self, intent: Mapping[str, Any]) -> Refilled:
        try:
            return cards.refilled(intent)
        except ValueError as error:
            self._report("a payment cannot be read", why=str(error))
            raise PaymentServiceUnavailable() from error

    async def events(self, *, begin: int, end: int) -> AsyncIterator[Event]:
        types = sorted(
            {
                *(_ACTED_ON if self._keeps_cards else _USUAL),
                *(subscriptions.TYPES if self._plans else ()),
                *(licences.TYPES if self._licensed_url else ()),
                *(transfers.TYPES if self._pays_owners else ()),
                *self._charges,
            }
        )
        for first in range(0, len(types), _TYPES_MAX):
            bounds: Any = {"created": {"gte": begin, "lt": end}, "types": types[first : first + _TYPES_MAX]}
            async for item in self._pages(_list_of_events({**bounds, "limit": _EVENTS_PAGE})):
                event = webhooks.event_of(item)
                if event is None:
                    self._report("an event cannot be read", id=str(item.get("id"))[:255])
                else:
                    yield event

    async def checkouts(self, *, begin: int, end: int) -> AsyncIterator[Payment]:
        bounds = {"created": {"gte": begin, "lt": end}, "status": "complete", "limit": _PAGE}
        async for item in self._pages(lambda stripe, more: stripe.v1.checkout.sessions.list_async({**bounds, **more})):
            payment = self._readable(item)
            if payment is not None:
                yield payment
        if self._plans:
            paid: Any = {"created": bounds["created"], "status": "paid", "limit": _PAGE}
            async for item in self._pages(lambda stripe, more: stripe.v1.invoices.list_async({**paid, **more})):
                whole = await self._whole(item)
                payment = self._readable(whole, lambda invoice: subscriptions.payment_of(invoice, self._plans))
                if payment is not None:
                    yield payment
        if not self._keeps_cards:
            return  # and the key may not be one that may list them
        between: Any = {"created": bounds["created"], "limit": _PAGE}
        async for item in self._pages(lambda stripe, more: stripe.v1.payment_intents.list_async({**between, **more})):
            payment = self._readable(item, cards.payment_of)
            if payment is not None:
                yield payment

    async def _pages(self, ask: Callable[[Any, Mapping[str, str]], Any]) -> AsyncIterator[dict[str, Any]]:
        """Every object of a list, newest first."""
        more: Mapping[str, str] = {}
        while True:
            cursor = more
            page = await self._ask(lambda stripe: ask(stripe, cursor))  # noqa: B023 -- called at once
            if page is None:  # the object at the cursor is gone, so what follows it is not known
                raise PaymentServiceUnavailable()
            for item in page.data:
                yield _plain(item.to_dict())
            if not page.has_more or not page.data:
                return
            more = {"starting_after": page.data[-1].id}

    def _readable(
        self, found: Mapping[str, Any], read: Callable[[Mapping[str, Any]], Payment | None] | None = None
    ) -> Payment | None:
        try:
            return (read or _payment)(found)
        except ValueError as error:
            self._report("a payment cannot be read", why=str(error))
            return None

    # --- what Stripe tells us -----------------------------------------------------------------------------------------

    def verify(self, body: bytes, signature: str | None, *, now_seconds: int) -> Event:
        return webhooks.verify(
            body, signature, secrets=self._webhook_secrets, now=now_seconds, tolerance=self._tolerance_seconds
        )

    def payment(self, event: Event) -> Payment | None:
        if event.type == "payment_intent.succeeded":
            return cards.payment_of(event.object)
        if event.type == subscriptions.PAID:
            return subscriptions.payment_of(event.object, self._plans)
        return _payment(event.object) if event.type in _COMPLETED else None

    def card_notice(self, event: Event) -> CardNotice | None:
        return cards.notice(event)

    def subscription_notice(self, event: Event) -> SubscriptionNotice | None:
        return subscriptions.subscription_notice(event)

    def arrival(self, event: Event) -> Arrival | None:
        return licences.arrival(event)

    def customer(self, event: Event) -> Customer | None:
        return licences.customer(event)

    def unpaid(self, event: Event) -> Unpaid | None:
        return subscriptions.unpaid(event, self._plans)

    def notice(self, event: Event) -> Notice | None:
        return notices.notice(event)

    # --- the SDK ------------------------------------------------------------------------------------------------------

    async def ask(self, question: Callable[["StripeClient"], Any]) -> Any:
        """The same, for those beside us who speak to Stripe. Raises PaymentServiceUnavailable."""
        return await self._ask(question)

    async def _ask(self, question: Callable[["StripeClient"], Any]) -> Any:
        """One call; None when Stripe knows no such object."""
        import stripe
        from aiohttp import ClientError

        await self._pace.enter()
        try:
            answer = await question(self._client())
            self._pace.answered()
            self.calls["answered"] += 1
            return answer
        except stripe.StripeError as error:
            # That a key may not do one thing is no reason to leave off the others.
            answered = isinstance(error, stripe.InvalidRequestError | stripe.PermissionError)
            self._pace.answered() if answered else self._pace.failed()
            self.calls["refused" if answered else "failed"] += 1
            if isinstance(error, stripe.InvalidRequestError) and error.code == "resource_missing":
                return None
            param = getattr(error, "param", None)
            self._report("stripe said no", error=type(error).__name__, code=error.code, param=param)
            raise PaymentServiceUnavailable() from error
        except (ClientError, TimeoutError, ValueError, AttributeError) as error:
            # A cut or odd answer surfaces raw from within the SDK, and from our reading of what it made of it.
            self._pace.failed()
            self.calls["failed"] += 1
            self._report("stripe's answer cannot be read", error=type(error).__name__)
            raise PaymentServiceUnavailable() from error

    def _client(self) -> "StripeClient":
        if self._loaded is None:
            import stripe
            from aiohttp import ClientSession, ClientTimeout

            stripe.enable_telemetry = False
            session = ClientSession(timeout=ClientTimeout(total=_TIMEOUT_SECONDS))
            client = stripe.StripeClient(
                self._secret_key.reveal(),
                base_addresses={"api": self._api_url},
                max_network_retries=_RETRIES,
                http_client=stripe.AIOHTTPClient(session=session),
            )
            self._loaded = client, session
        return self._loaded[0]

    async def close(self) -> None:
        if self._loaded is not None:
            await self._loaded[1].close()
            self._loaded = None
        for session in self._before:
            await session.close()


def _plain(value: Any) -> Any:
    """As the wire has it: the SDK makes numbers of what Stripe writes as texts (`unit_amount_decimal`)."""
    if isinstance(value, Mapping):
        return {name: _plain(one) for name, one in value.items()}
    if isinstance(value, list):
        return [_plain(one) for one in value]
    return str(value) if isinstance(value, Decimal) else value


def _list_of_events(bounds: Mapping[str, Any]) -> Callable[[Any, Mapping[str, str]], Any]:
    return lambda stripe, more: stripe.v1.events.list_async({**bounds, **more})


def _error_of(error: Any) -> Mapping[str, Any]:
    """The error object that Stripe answered with."""
    body = error.json_body
    found = body.get("error") if isinstance(body, Mapping) else None
    return found if isinstance(found, Mapping) else {"code": error.code}


def _payment(session: Mapping[str, Any]) -> Payment | None:
    """A checkout session as a payment; None if it is not one that sells credit. Raises ValueError."""
    if session.get("mode") != "payment" or session.get("status") != "complete":
        return None
    id, amount, currency = session.get("id"), session.get("amount_total"), session.get("currency")
    reference, live = session.get("client_reference_id"), session.get("livemode")
    if not (isinstance(id, str) and _SESSION_ID.fullmatch(id) and isinstance(live, bool)):
        raise ValueError("the session has no id or mode")
    if not (isinstance(amount, int) and not isinstance(amount, bool) and amount >= 0):
        raise ValueError("the session has no amount")
    if not (isinstance(currency, str) and re.fullmatch("[A-Za-z]{3}", currency)):
        raise ValueError("the session has no currency")
    if reference is not None and not isinstance(reference, str):
        raise ValueError("the session's reference is not a text")
    details = session.get("total_details")
    tax = details.get("amount_tax") if isinstance(details, Mapping) else 0
    net = amount - tax if isinstance(tax, int) else amount
    intent = session.get("payment_intent")
    return Payment(
        id=id,
        amount=from_minor(net, currency),
        reference=reference,
        settled=session.get("payment_status") != "unpaid",
        live=live,
        intent=intent if isinstance(intent, str) and _INTENT_ID.fullmatch(intent) else None,
        paid=from_minor(amount, currency),
    )
