"""What a plan is said to cost here against what the provider asks for it.

Grants are measured by what the settings say that a period costs, so a wrong amount there grants too much or too little,
to everybody, and nothing else would notice. So it is looked at when a gateway starts, and by `gateway check --online`.
It is said and blocks nothing: the provider may be out of reach, and a price may be replaced a moment later.
"""

from collections.abc import Callable, Sequence

from gateway.core.plans import Plan
from gateway.core.refusals import PaymentServiceUnavailable
from gateway.ports import Sells


async def differences(sells: Sells, plans: Sequence[Plan]) -> list[str]:
    """One sentence for each plan that is otherwise there. Raises PaymentServiceUnavailable."""
    found = [(plan, await sells.differs(plan)) for plan in plans]
    return [f"plans.{plan.name}: {words}" for plan, words in found if words is not None]


async def report_differences(sells: Sells, plans: Sequence[Plan], report: Callable[..., None]) -> None:
    """For the log, at the start; silent while the provider cannot be asked."""
    try:
        for words in await differences(sells, plans):
            report("a plan is not what is sold", why=words)
    except PaymentServiceUnavailable:
        report("plans are not compared", level="info", why="the payment provider cannot be reached or refuses")
