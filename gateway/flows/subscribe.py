"""Subscriptions: how they stand, and who is told when one is not paid.

What a paid invoice grants goes the way of every payment (`Till.fulfil`) and needs nothing of this. Here the rest is
kept: how each subscription stands, for its holder to see, and whose it is. Each event is believed as far as it is the
newest (`core/plans.py`), and an invoice that is over stays so; hence order and repetition do not matter.

Whoever pays by a renewal or a bank debit is not there when it fails. Then a message goes out, once for each attempt,
with where it can be paid.
"""

from collections.abc import Callable
from dataclasses import replace

from gateway.core import references
from gateway.core.keyring import Keyring, NotOurs, UnknownKey
from gateway.core.payments import Event
from gateway.core.plans import Subscription, SubscriptionNotice, Unpaid
from gateway.core.refusals import NoSuchSubscription
from gateway.ports import Clock, Roots, Sells, Subscriptions, Tells


class Subscribe:
    """Implements `ports.Hears`."""

    def __init__(
        self,
        *,
        sells: Sells,
        subscriptions: Subscriptions,
        outbox: Tells,
        roots: Roots,
        keyring: Keyring,
        live: bool,
        clock: Clock,
        report: Callable[..., None],
    ) -> None:
        self._sells = sells
        self._subscriptions = subscriptions
        self._outbox = outbox
        self._roots = roots
        self._keyring = keyring
        self._live = live
        self._clock = clock
        self._report = report

    # --- hearing ------------------------------------------------------------------------------------------------------

    async def heard(self, event: Event) -> bool:
        """Act on what an event says of subscriptions, and of money that did not come."""
        notice, unpaid = self._sells.subscription_notice(event), self._sells.unpaid(event)
        if notice is not None and notice.live == self._live:
            return await self._stands(notice)
        if unpaid is not None and unpaid.live == self._live:
            return await self._unpaid(unpaid)
        return False

    async def _stands(self, notice: SubscriptionNotice) -> bool:
        account = self._opened(notice.reference)
        if notice.found.price not in self._sells.plans and not await self._is_ours(account, notice.found.id):
            return False
        if account is None:
            self._report("a subscription names no account", id=notice.found.id)
        await self._subscriptions.keep_subscription(replace(notice.found, account=account or ""))
        return True

    async def _is_ours(self, account: str | None, subscription: str | None) -> bool:
        """Whether it began here, though no plan names its price now."""
        if account is not None or subscription is None:
            return account is not None
        return await self._subscriptions.find_subscription(subscription) is not None

    async def _unpaid(self, unpaid: Unpaid) -> bool:
        account = self._opened(unpaid.reference)
        if unpaid.unplanned and not await self._is_ours(account, unpaid.subscription):
            return False
        if unpaid.why == "over" and unpaid.subscription is not None:
            await self._subscriptions.unpaid_over(unpaid.about, unpaid.subscription)
            return True
        if unpaid.subscription is not None:
            if not await self._subscriptions.keep_unpaid(unpaid.about, unpaid.subscription, unpaid.url):
                return True
            known = await self._subscriptions.find_subscription(unpaid.subscription)
            account = account or (known.account if known else None)
        if not account:
            return False  # it may be of something that was not sold here
        money = {"currency": unpaid.amount.currency, "micros": unpaid.amount.micros}
        content = {**money, "reason": unpaid.why} | ({"url": unpaid.url} if unpaid.url else {})
        cause = f"unpaid {unpaid.about} {unpaid.why} {unpaid.attempt}"
        account = self._roots.root(account)
        await self._outbox.put("payment.failed", account, content, cause=cause, now_ms=self._clock.now_ms())
        return True

    def _opened(self, reference: str | None) -> str | None:
        try:
            return references.unseal(self._keyring, reference or "").account
        except (NotOurs, UnknownKey):
            return None

    # --- the holder's own ---------------------------------------------------------------------------------------------

    async def of(self, account: str) -> list[Subscription]:
        """Those that are not over, of accounts that are this one now, too. Raises RecordsUnavailable."""
        found = [await self._subscriptions.subscriptions_of(name) for name in self._roots.names(account)]
        return [one for of_one in found for one in of_one if one.state != "over"]

    async def unpaid_of(self, subscription: Subscription) -> list[str]:
        """Where invoices of it wait to be paid. Raises RecordsUnavailable."""
        return await self._subscriptions.unpaid_of(subscription.id)

    async def cancel(self, account: str, id: str) -> None:
        """It ends with its period. Raises BadRequest, PaymentServiceUnavailable, RecordsUnavailable."""
        if all(one.id != id for one in await self.of(account)):
            raise NoSuchSubscription()
        await self._sells.cancel_subscription(id)
