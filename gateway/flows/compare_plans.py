"""What a plan is said to cost here against what the provider asks for it.

Grants are measured by what the settings say that a period costs, so a wrong amount there grants too much or too little,
to everybody, and nothing else would notice. So it is looked at when a gateway starts, and by `gateway check --online`.
It is said and blocks nothing: the provider may be out of reach, and a price may be replaced a moment later.

So is the price of live subscriptions that no plan names: what is paid for them is set aside, period by period.
"""

from collections import Counter
from collections.abc import Callable, Sequence

from gateway.core.plans import Plan, by_price
from gateway.core.refusals import PaymentServiceUnavailable, RecordsUnavailable
from gateway.ports import Sells, Subscriptions

_A_STEP = 1000


async def differences(sells: Sells, plans: Sequence[Plan]) -> list[str]:
    """One sentence for each plan that is otherwise there. Raises PaymentServiceUnavailable."""
    found = [(plan, await sells.differs(plan)) for plan in by_price(plans).values()]
    return [f"plans.{plan.name}: {words}" for plan, words in found if words is not None]


async def report_differences(sells: Sells, plans: Sequence[Plan], report: Callable[..., None]) -> None:
    """For the log, at the start; silent while the provider cannot be asked."""
    try:
        for words in await differences(sells, plans):
            report("a plan is not what is sold", why=words)
    except PaymentServiceUnavailable:
        report("plans are not compared", level="info", why="the payment provider cannot be reached or refuses")


async def without_a_plan(subscriptions: Subscriptions, plans: Sequence[Plan]) -> Counter[str]:
    """How many subscriptions that are not over have a price that no plan names, by price. Raises RecordsUnavailable."""
    named, found, seen = by_price(plans), Counter[str](), 0
    while rows := await subscriptions.subscriptions_after(seen, _A_STEP):
        found.update(one.price for _, one in rows if one.state != "over" and one.price not in named)
        seen = rows[-1][0]
    return found


async def report_without_a_plan(
    subscriptions: Subscriptions, plans: Sequence[Plan], report: Callable[..., None]
) -> None:
    """For the log, at the start."""
    try:
        for price, count in (await without_a_plan(subscriptions, plans)).items():
            why = "what is paid for them is set aside; name the price in a plan's `older_prices`"
            report("subscriptions of no plan", price=price, count=count, why=why)
    except RecordsUnavailable:
        report("subscriptions are not compared with plans", why="the records cannot be read")
