"""A payment link goes out, a credit comes in.

Out: one link per price and return address is made at the provider, once, and kept (of a fixed amount, or one that its
payer chooses); each caller's copy differs only in
the sealed reference that it carries, so no call to the provider stands in the way of a request. When the provider
cannot be reached, whoever asks for a link in the meantime shares the one attempt and gets an answer within two seconds.

In: `fulfil` is the one way in which a payment becomes a credit. It is called by the webhook, by the return page, by the
reconciler and at start, in any order and any number of times: the checkout session's id is the money key. Whose a
payment is, is written down before it is credited, so that a refund finds its account; refunds that came before it take
effect with it. Money follows the reference
that the payment carries; a payment that names no account we can open is for an operator to assign, and is never
dropped.
"""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import replace
from types import MappingProxyType

from gateway.core import payment_acts, references
from gateway.core.callers import Caller
from gateway.core.keyring import Keyring, NotOurs, UnknownKey
from gateway.core.ledger import Credit, Reversal
from gateway.core.money import Money
from gateway.core.payments import Bounds, Outcome, Payment
from gateway.core.references import NO_TOKEN, Reference
from gateway.core.refusals import PaymentRequired, PaymentServiceUnavailable, Refusal
from gateway.core.reversals import Credited
from gateway.core.trail import Origin
from gateway.ports import (
    Clock,
    Credentials,
    Entries,
    Inbox,
    Links,
    Payments,
    Randomness,
    Receipts,
    Subscriptions,
    TakesBack,
    WitnessesOnce,
)

_LINK_SECONDS_MAX = 2.0
_RETRY_SECONDS = 5.0


class TopUp:
    """Sells credit for accounts."""

    def __init__(
        self,
        *,
        payments: Payments | None,
        price: Money,
        bounds: Bounds | None = None,
        return_url: str,
        live: bool,
        keyring: Keyring,
        ledger: Entries,
        credentials: Credentials,
        links: Links,
        receipts: Receipts,
        subscriptions: Subscriptions,
        inbox: Inbox,
        take_back: TakesBack,
        clock: Clock,
        randomness: Randomness,
        token_recorded: Callable[[bytes], None],
        witness: WitnessesOnce,
        origin: Origin = "api",
        sold: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        self._sold = sold
        self._witness = witness
        self._origin: Origin = origin
        self._payments = payments
        self._price = price
        self._bounds = bounds
        self._return_url = return_url
        self._live = live
        self._keyring = keyring
        self._ledger = ledger
        self._credentials = credentials
        self._links = links
        self._receipts = receipts
        self._subscriptions = subscriptions
        self._inbox = inbox
        self._take_back = take_back
        self._clock = clock
        self._randomness = randomness
        self._token_recorded = token_recorded
        self._link: str | None = None
        self._making: asyncio.Task[str] | None = None
        self._closed_until = 0.0

    @property
    def payer_chooses(self) -> bool:
        """Whether the link sells what its payer chooses."""
        return self._bounds is not None

    # --- out ----------------------------------------------------------------------------------------------------------

    async def offer(self, refusal: PaymentRequired, caller: Caller) -> Refusal:
        """The refusal with a way to pay, or PaymentServiceUnavailable when there is none just now."""
        try:
            named = refusal.price.named
            url = self._plans_url(caller, refusal.price.currency) if named else await self.payment_url(caller)
        except PaymentServiceUnavailable as unavailable:
            return unavailable
        return replace(
            refusal,
            account=caller.account,
            token_digest=caller.token_digest,
            payment_url=url,
            access_token=caller.fresh,
        )

    async def payment_url(self, caller: Caller) -> str | None:
        """Where this caller's account can be paid into; None without a provider.

        Raises PaymentServiceUnavailable within two seconds.
        """
        if self._payments is None:
            return None
        link = self._link or await self._made_link(self._payments)
        return f"{link}?client_reference_id={self._sealed(caller)}"

    def _plans_url(self, caller: Caller, unit: str) -> str | None:
        """Where a named credit is to be had for this account; None if no plan grants it."""
        found = self._sold.get(unit)
        return f"{found}?for={self._sealed(caller)}" if found else None

    def _sealed(self, caller: Caller) -> str:
        reference = references.of_caller(caller, now_seconds=self._clock.now_ms() // 1000)
        return references.seal(self._keyring, reference, nonce=self._randomness.bytes(12))

    async def prepare(self) -> None:
        """Make the link before anybody asks. Raises PaymentServiceUnavailable."""
        if self._payments is not None and self._link is None:
            await self._made_link(self._payments)

    async def _made_link(self, payments: Payments) -> str:
        """One attempt at a time, shared by all who wait; after a failure none for a few seconds."""
        if self._making is None:
            if asyncio.get_running_loop().time() < self._closed_until:
                raise PaymentServiceUnavailable()
            self._making = asyncio.create_task(self._make_link(payments), name="payment link")
            self._making.add_done_callback(self._made)
        try:
            async with asyncio.timeout(_LINK_SECONDS_MAX):
                return await asyncio.shield(self._making)
        except TimeoutError:
            raise PaymentServiceUnavailable() from None

    async def _make_link(self, payments: Payments) -> str:
        key = f"{payments.scope} {self._price} {self._return_url}"
        if self._bounds is not None:
            key = f"{key} {self._bounds[0]} {self._bounds[1]}"
        link = await self._links.find_link(key)
        if link is None:
            link = await payments.payment_link(self._price, self._return_url, self._bounds)
            await self._links.keep_link(key, link)
        return link

    def _made(self, task: asyncio.Task[str]) -> None:
        self._making = None
        if task.cancelled() or task.exception() is not None:
            self._closed_until = asyncio.get_running_loop().time() + _RETRY_SECONDS
        else:
            self._link = task.result()

    # --- in -----------------------------------------------------------------------------------------------------------

    async def fulfil(self, payment: Payment) -> Outcome:
        """Credit a payment to the account that its reference names; at most once. Raises LedgerUnavailable."""
        refused = self.refusal(payment)
        if refused == "no plan":
            return await self._unplanned(payment)
        if refused is not None:
            return refused
        reference = self.reference(payment)
        if reference is None:
            return await self._assigned(payment)
        new = await self._credit(payment, reference.account)
        if reference.token_digest != NO_TOKEN:
            await self._record_token(reference)
        return "credited" if new else "repeated"

    async def _record_token(self, reference: Reference) -> None:
        await self._credentials.add(
            reference.token_digest,
            account=reference.account,
            pepper_id=reference.pepper_id,
            now_ms=self._clock.now_ms(),
        )
        self._token_recorded(reference.token_digest)

    async def assign(self, payment: Payment, account: str) -> tuple[Outcome, str]:
        """Credit a payment that names no account to this one; what became of it, and whose it is now.

        An operator's decision, taken once: who assigns it again gets to know whose it is. Raises LedgerUnavailable.
        """
        refused = self.refusal(payment)
        if refused is not None:
            return refused, account
        reference = self.reference(payment)
        account = reference.account if reference else account
        new = await self._credit(payment, account)
        known = await self._known(payment)
        return "credited" if new else "repeated", known.account if known else account

    async def account_of(self, payment: Payment) -> str | None:
        """Whose a payment is: by record, or by what it says itself; None if nobody knows."""
        known = await self._known(payment)
        reference = self.reference(payment)
        return known.account if known else reference.account if reference else None

    def refusal(self, payment: Payment) -> Outcome | None:
        """Why a payment cannot be credited to anybody; None if it can."""
        if payment.live != self._live:
            return "wrong mode"
        if payment.unplanned:
            return "no plan"
        if not payment.settled or not payment.amount:
            return "pending"
        paid = payment.amount if payment.paid is None else payment.paid  # what is granted for it may be no money
        if paid.currency != self._price.currency:
            return "wrong currency"
        return None

    async def _assigned(self, payment: Payment) -> Outcome:
        """It names nobody, but an operator may have."""
        known = await self._known(payment)
        account = known.account if known else await self._subscriber(payment)
        if account is None:
            return "no account"
        return "credited" if await self._credit(payment, account) else "repeated"

    async def _unplanned(self, payment: Payment) -> Outcome:
        """No plan says what it grants: what is on record does, or of a subscriber's of ours an operator has to."""
        known = await self._known(payment)
        if known is not None:
            return "credited" if await self._credit(payment, known.account) else "repeated"
        ours = self.reference(payment) is not None
        if not ours and payment.subscription is not None:
            ours = await self._subscriptions.find_subscription(payment.subscription) is not None
        return "no plan" if ours else "not ours"

    async def _known(self, payment: Payment) -> Credited | None:
        """An invoice may be on record under its own id, before it was known what paid it."""
        known = await self._receipts.find_credited(_key(payment))
        return known or await self._receipts.find_credited(payment.id)

    async def _subscriber(self, payment: Payment) -> str | None:
        """Whose the subscription is: the key that sealed its reference may have gone, years after that."""
        if payment.subscription is None:
            return None
        found = await self._subscriptions.find_subscription(payment.subscription)
        return found.account or None if found else None

    async def _credit(self, payment: Payment, account: str) -> bool:
        """Whether it was new. Whatever was heard of its refunds takes effect, and no longer waits.

        The money key is the one that was written down first for this payment intent: a checkout and its payment intent
        are never two credits. The trail has it after the books, once. A kill in between is made good by the next
        telling of the payment, and there is one: its event is acted on until this is through.
        """
        if payment.amount.micros < 0:
            why = f"a change of {payment.subscription}"
            less = Reversal(f"stripe:{payment.id}", account, -payment.amount, "subscription", why)
            new = await self._take_back.less(less, payment.purse)
            await self._witness.write_once(payment_acts.lessened(less, payment, self._origin))
            return new
        first = await self._known(payment)
        if first is None:
            paid = payment.paid or payment.amount
            first = Credited(
                _key(payment),
                payment.id,
                account,
                paid,
                payment.amount,
                payment.purse,
                payment.shares,
                at_ms=self._clock.now_ms(),
            )
        known = await self._receipts.keep_credited(replace(first, payment=_key(payment)))
        how = "subscription" if payment.subscription else "checkout"
        how = "auto top-up" if known.session == payment.intent else how
        new = False
        for name, purse, amount in known.credits:
            new |= await self._ledger.credit(Credit(f"stripe:{name}", known.account, amount, "payment", how, purse))
        await self._witness.write_once(payment_acts.credited(known, how, self._origin))
        for event in await self._take_back.settle(known):
            await self._inbox.close_event(event, "done")
        return new

    async def fulfil_intent(self, intent: str) -> Outcome | None:
        """Ask the provider about a payment and fulfil it; None if it knows none. Raises PaymentServiceUnavailable."""
        payment = await self._payments.find_payment_of(intent) if self._payments else None
        return None if payment is None else await self.fulfil(payment)

    async def fulfil_session(self, session: str) -> tuple[Outcome, Payment] | None:
        """Ask the provider about a checkout and fulfil it; None if it knows none. Raises PaymentServiceUnavailable."""
        payment = await self._payments.find_payment(session) if self._payments else None
        if payment is None:
            return None
        outcome = await self.fulfil(payment)
        return None if outcome == "not ours" else (outcome, payment)

    def reference(self, payment: Payment) -> Reference | None:
        """Whose payment it is; None if it names no account that we can open."""
        if payment.reference is None:
            return None
        try:
            return references.unseal(self._keyring, payment.reference)
        except (NotOurs, UnknownKey):
            return None


def _key(payment: Payment) -> str:
    """By what name refunds speak of it. A checkout without a payment intent has none to speak of."""
    return payment.intent or payment.id
