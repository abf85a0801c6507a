"""Somebody chooses how much to pay, or saves a card: a checkout of their own at the provider.

The payment link needs no call to the provider and stays what a refused caller is offered. This is for who wants an
exact amount, or auto top-up. Every order is written down with its key before the provider is asked, so whoever asks
again with the same key (a form that was sent twice, a program that lost the answer) gets the same checkout. Who sends
no key gets a new one each time.

A call to the provider costs more than an answer of ours, and trying many cards is what thieves of cards do: one address
and one account may ask for a few, and all together for a few a second, well below the provider's own bound
(`limits.checkouts`, `stripe.checkouts_per_account`, `limits.checkouts_altogether`); one country, where that is known,
may be bounded, too, or turned away (`geo`). One account is sold so much in any
24 hours, by what the books say was paid in; a payment that arrives all the same is credited, for money that came is
never refused. Orders are of use for a day (then the same key is another checkout) and dropped after two, so strangers
cannot fill the disk.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace

from gateway.core import references
from gateway.core.auto_top_ups import DAY_MS, Ceilings, Wish
from gateway.core.callers import Caller
from gateway.core.keyring import Keyring
from gateway.core.licences import LicenceWish
from gateway.core.limits import Ask, Rate, network
from gateway.core.money import Money, MoneySyntax, to_minor
from gateway.core.orders import KEEP_MS, PAYABLE_MS, Order, order_id
from gateway.core.plans import Plan
from gateway.core.refusals import BadRequest, LedgerUnavailable, PaymentServiceUnavailable, RateLimited
from gateway.ports import (
    AutoTopUps,
    Cards,
    Clock,
    Orders,
    Randomness,
    RateLimits,
    Screens,
    Standings,
    StoreFailed,
)

KEY_CHARS_MAX = 255
_LIMITS = ("checkouts", "checkouts_per_account", "checkouts_altogether", "checkouts_per_country")


class CheckOut:
    """Makes checkouts. `ceilings` are those of auto top-up, if that is offered."""

    def __init__(
        self,
        *,
        cards: Cards | None,
        orders: Orders,
        rules: AutoTopUps,
        least: Money,
        most: Money,
        ceilings: Ceilings | None,
        plans: Sequence[Plan] = (),
        day_most: Money,
        books: Standings,
        keyring: Keyring,
        limits: RateLimits,
        per_address: Rate,
        per_account: Rate,
        altogether: Rate,
        screen: Screens,
        clock: Clock,
        randomness: Randomness,
        root: Callable[[str], str] = lambda account: account,
    ) -> None:
        self._cards = cards
        self._orders = orders
        self._rules = rules
        self.least = least
        self.most = most
        self._ceilings = ceilings
        self.plans = plans
        self._day_most = day_most
        self._books = books
        self._keyring = keyring
        self._limits = limits
        self._per_address = per_address
        self._per_account = per_account
        self._altogether = altogether
        self._screen = screen
        self._clock = clock
        self._randomness = randomness
        self._root = root
        self._swept_ms = 0

    @property
    def saves_cards(self) -> bool:
        """Whether auto top-up is offered here."""
        return self._ceilings is not None

    def reference(self, caller: Caller) -> str:
        """Names the caller's account to whoever is to pay into it, sealed."""
        known = references.of_caller(caller, now_seconds=self._clock.now_ms() // 1000)
        return references.seal(self._keyring, known, nonce=self._randomness.bytes(12))

    def new_key(self) -> str:
        """A key for one form: sent twice, it is one order."""
        return self._randomness.bytes(16).hex()

    def amount(self, text: str) -> Money:
        """What somebody typed, if it can be paid. Raises BadRequest."""
        money = self.ceiling(text, "amount")
        try:
            to_minor(money)
        except MoneySyntax as error:
            raise BadRequest(f"amount: {error}") from None
        if not self.least <= money <= self.most:
            raise BadRequest(f"amount: from {self.least} to {self.most}")
        return money

    def plan(self, name: str) -> Plan:
        """One of those that are sold. Raises BadRequest."""
        found = next((plan for plan in self.plans if plan.name == name), None)
        if found is None:
            raise BadRequest(f"plan: one of {', '.join(plan.name for plan in self.plans)} was expected")
        return found

    def ceiling(self, text: str, what: str) -> Money:
        """Any amount that somebody typed, with or without the currency. Raises BadRequest."""
        currency, written = self.least.currency, text.strip()
        try:
            money = Money.parse(written if " " in written else f"{written} {currency}")
        except MoneySyntax as error:
            raise BadRequest(f"{what}: {error}") from None
        if money.currency != currency:
            raise BadRequest(f"{what}: payments here are in {currency}")
        return money

    def wish(self, threshold: str, amount: str) -> Wish:
        """Below which balance to pay, and how much. Raises BadRequest."""
        if self._ceilings is None:
            raise BadRequest("auto top-up is not offered here")
        line = self.ceiling(threshold, "threshold")
        if self.most < line:
            raise BadRequest(f"threshold: at most {self.most}")
        wish = Wish(line, self.amount(amount))
        if self._ceilings.day < wish.amount:
            raise BadRequest(f"amount: at most {self._ceilings.day} for auto top-up, the most in a day")
        return wish

    async def begin(
        self,
        reference: str,
        amount: Money | None,
        *,
        holder: str | None,
        wish: Wish | None = None,
        plan: Plan | None = None,
        key: str | None = None,
        licence: LicenceWish | None = None,
        peer: str,
    ) -> Order:
        """A checkout for the account that a sealed reference names; without an amount it saves a card.

        With a `plan` it begins a subscription, and a `licence` if that is asked for.

        `holder` is the account that whoever asks has proven to be theirs. The provider shows the e-mail and the cards
        of a customer that it knows: anybody may pay for an account, but only its holder is shown those.

        Raises NotOurs, UnknownKey, BadRequest, RateLimited, CountryRefused, PaymentServiceUnavailable,
        RecordsUnavailable, LedgerUnavailable.
        """
        if self._cards is None:
            raise BadRequest("no way to pay is configured here; ask the operator for credit")
        account = self._root(references.unseal(self._keyring, reference).account)
        if key is not None and not (0 < len(key) <= KEY_CHARS_MAX):
            raise BadRequest(f"an idempotency key has 1 to {KEY_CHARS_MAX} characters")
        await self.admit(peer, account)
        if amount is not None:
            await self._within_a_day(account, amount)
        rule = await self._rules.find_rule(account) if self.saves_cards and holder == account else None
        order = Order(
            id=order_id(account, key or self.new_key()),
            account=account,
            currency=self.least.currency,
            amount=amount,
            reference=reference,
            created_ms=self._clock.now_ms(),
            wish=wish,
            customer=rule.customer if rule else None,
            plan=plan.name if plan else None,
            licence=licence,
        )
        return await self._made(self._cards, order)

    async def _made(self, cards: Cards, order: Order) -> Order:
        known = await self._orders.keep_order(order)
        if not known.same(order):
            raise BadRequest("this idempotency key was used for something else")
        if self._clock.now_ms() - known.created_ms >= PAYABLE_MS:
            return await self._made(cards, order.after(known))
        if known.url is not None:
            return known
        url = await cards.checkout(replace(known, licence=order.licence))
        await self._orders.order_made(known.id, url)
        found = await self._orders.keep_order(known)
        if found.url is None:
            raise PaymentServiceUnavailable()
        return found

    async def _within_a_day(self, account: str, amount: Money) -> None:
        try:
            paid = await self._books.paid_since(account, amount.currency, self._clock.now_ms() - DAY_MS)
        except StoreFailed:
            raise LedgerUnavailable() from None
        if self._day_most < paid + amount:
            left = self._day_most - paid
            more = f"{left} are left of it" if left.micros > 0 else "nothing is left of it"
            raise BadRequest(f"amount: at most {self._day_most} in 24 hours can be paid into one account, and {more}")

    async def admit(self, peer: str, account: str) -> None:
        """Count a call to the provider that somebody at this address wants made. Raises RateLimited, CountryRefused."""
        if (refusal := self._screen.refusal(peer)) is not None:
            raise refusal
        asks = [
            Ask(self._per_address, f"-/checkouts {network(peer)}"),
            Ask(self._per_account, f"-/checkouts {account}"),
            Ask(self._altogether, "-/checkouts"),
            *self._screen.asks(peer),
        ]
        stands = await self._limits.hit_all(asks)
        for name, ask, stand in zip(_LIMITS, asks, stands, strict=False):
            if not stand.allowed:
                raise RateLimited(ask.rate.text, max(1, stand.reset_seconds), (name,))
        now = self._clock.now_ms()
        if now - self._swept_ms > KEEP_MS // 48:
            self._swept_ms = now
            await self._orders.drop_orders(now - KEEP_MS)
