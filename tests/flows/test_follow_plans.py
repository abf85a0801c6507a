"""Every process knows who subscribes to what, by heart and in time."""

from dataclasses import replace

from gateway.adapters.memory import MemorySubscriptions
from gateway.core.money import Money
from gateway.core.plans import Plan, State, Subscription
from gateway.flows.follow_plans import FollowPlans

TEN = Money.parse("10.00 usd")
PLANS = [Plan("small", "price_1", TEN, "month", TEN), Plan("large", "price_2", TEN, "month", TEN)]
STANDS = Subscription("sub_1", "acct_1", "price_1", "cus_1", "active", 0, False, 5, "evt_5")


class Roots:
    """Two accounts that are one."""

    def root(self, account: str) -> str:
        return "acct_1" if account == "acct_old" else account

    def names(self, account: str) -> list[str]:
        return ["acct_1", "acct_old"] if account == "acct_1" else [account]


async def test_a_subscription_counts_while_it_is_active_or_on_trial() -> None:
    book = MemorySubscriptions()
    plans = FollowPlans(book=book, roots=Roots(), plans=PLANS)
    states: list[tuple[State, bool]] = [
        ("waiting", False), ("trial", True), ("active", True), ("unpaid", False), ("active", True), ("paused", False),
        ("active", True), ("over", False), ("active", False),
    ]  # fmt: skip
    for at, (state, counts) in enumerate(states):
        await book.keep_subscription(replace(STANDS, state=state, at=at, event=f"evt_{at}"))
        await plans.look()
        assert (list(plans.of("acct_1")) == ["small"]) is counts, (at, state)
    assert not plans.of("")


async def test_another_plan_replaces_the_one_before_and_two_subscriptions_are_two() -> None:
    book = MemorySubscriptions()
    plans = FollowPlans(book=book, roots=Roots(), plans=PLANS)
    await book.keep_subscription(STANDS)
    await book.keep_subscription(replace(STANDS, id="sub_2", account="acct_old", price="price_2"))
    await book.keep_subscription(replace(STANDS, id="sub_3", account="acct_2", price="price_of_another_shop"))
    await book.keep_subscription(replace(STANDS, id="sub_4", account=""))
    await plans.look()
    assert set(plans.of("acct_1")) == {"small", "large"}, "what an account that is one with it has, counts"
    assert not plans.of("acct_2")
    await book.keep_subscription(replace(STANDS, price="price_2", at=6))
    await plans.look()
    assert set(plans.of("acct_1")) == {"large"}


async def test_more_than_one_step_of_subscriptions_is_read_at_once() -> None:
    book = MemorySubscriptions()
    plans = FollowPlans(book=book, roots=Roots(), plans=PLANS)
    for number in range(1001):
        await book.keep_subscription(replace(STANDS, id=f"sub_{number}", account=f"acct_{number}x"))
    await plans.look()
    assert all(plans.of(f"acct_{number}x") for number in range(1001))


async def test_who_subscribed_at_a_price_of_before_has_the_plan() -> None:
    book = MemorySubscriptions()
    sold = replace(PLANS[0], price="price_new", older=((PLANS[0].price, PLANS[0].costs),))
    plans = FollowPlans(book=book, roots=Roots(), plans=[sold])
    await book.keep_subscription(STANDS)
    await plans.look()
    assert set(plans.of(STANDS.account)) == {sold.name}
