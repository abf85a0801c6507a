"""Who subscribes to which plan: every process knows it by heart, for prices that go by it.

As with frozen accounts (`freeze.py`), a request asks nobody, and what is new is read every second: a subscription
that was paid, or that ended, counts everywhere a second later. When the records cannot be read, what was known stays
true. A subscription counts while it is active or on trial, whatever its period says: an unpaid or paused one does not.
"""

from collections.abc import Collection, Iterable

from gateway.core.plans import COUNTS, Plan, State, Subscription, by_price
from gateway.ports import Roots, Subscriptions

LOOK_SECONDS = 1.0
_A_STEP = 1000


class FollowPlans:
    """The plans of accounts."""

    def __init__(
        self, *, book: Subscriptions, roots: Roots, plans: Iterable[Plan], counts: Collection[State] = COUNTS
    ) -> None:
        self._counts = counts
        self._book = book
        self._roots = roots
        self._names = {price: plan.name for price, plan in by_price(plans).items()}
        self._held: dict[str, dict[str, str]] = {}
        """By account and subscription, the plan."""
        self._seen = 0

    def of(self, account: str) -> Collection[str]:
        """The plans of an account, and of those that are one with it. Asks nobody."""
        names = self._roots.names(account) if account else ()
        return {plan for name in names for plan in self._held.get(name, {}).values()}

    async def look(self) -> None:
        """Learn what is new. Raises RecordsUnavailable."""
        while self._names and (rows := await self._book.subscriptions_after(self._seen, _A_STEP)):
            for number, found in rows:
                self._take(found)
                self._seen = number

    def _take(self, found: Subscription) -> None:
        plan = self._names.get(found.price)
        if not found.account:
            return  # nobody knows yet whose it is
        held = self._held.setdefault(found.account, {})
        if plan is not None and found.state in self._counts:
            held[found.id] = plan
        else:
            held.pop(found.id, None)
        if not held:
            del self._held[found.account]
