"""A long answer is paid for while it goes on; what is said of it in between keeps nobody else waiting."""

import asyncio
from types import SimpleNamespace
from typing import Any

from gateway.core.money import Money
from gateway.flows.serve import Serve


class Running:
    """A meter that is low until more is held."""

    is_short = is_over = False
    units = owed = 0
    asked = 0

    def __init__(self) -> None:
        self.ceiling = 10
        self.low: Any = None

    def watch(self, slice: int, *, low: Any, short: Any) -> None:
        self.low = low

    @property
    def is_low(self) -> bool:
        return self.ceiling < 15

    @property
    def seconds_left(self) -> float:
        self.asked += 1
        assert self.asked < 5, "it goes round without waiting"
        return 60.0


async def test_more_that_comes_while_a_slice_is_being_paid_for_is_waited_for_once() -> None:
    meter, renewed = Running(), asyncio.Event()

    async def renew(hold: Any, due: Money, ahead: Money) -> None:
        meter.low()  # more of the answer came in the meantime
        renewed.set()

    stub: Any = SimpleNamespace(_ledger=SimpleNamespace(renew=renew))
    price: Any = SimpleNamespace(slice=Money(15, "usd"), cost=lambda units: Money(units, "usd"))
    exchange: Any = SimpleNamespace(pause=None, go_on=lambda: None)
    given: Any = meter
    paying = asyncio.create_task(Serve._pay_on(stub, exchange, None, given, price, Money(100, "usd")))  # type: ignore[arg-type]
    await renewed.wait()
    for _ in range(10):
        await asyncio.sleep(0)
    assert not paying.done()
    assert meter.asked == 1
    paying.cancel()
    await asyncio.gather(paying, return_exceptions=True)
