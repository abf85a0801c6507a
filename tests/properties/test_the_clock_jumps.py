"""The machine's clock is set a day forth or back while requests are served: nothing about money depends on it."""

from pathlib import Path

import pytest

from gateway.adapters.ratelimits import MemoryRateLimits
from gateway.adapters.sqlite.audit import audit
from gateway.adapters.sqlite.ledger import SqliteLedgerStore
from gateway.core.ids import RequestId
from gateway.core.ledger import Credit, Tariff
from gateway.core.limits import Rate
from gateway.core.money import Money
from gateway.flows.keep import Keeper, Pace

DAY_MS = 24 * 3600 * 1000
PRICE = Money(20, "usd")
TARIFF = Tariff("search", "operator", 0, "p")


class Clock:
    def __init__(self) -> None:
        self.ms = 1_790_000_000_000

    def now_ms(self) -> int:
        return self.ms


async def serve(keeper: Keeper, clock: Clock, number: int) -> None:
    hold = await keeper.hold("ann", PRICE, id=RequestId(clock.now_ms(), number), token=1, tariff=TARIFF)
    await keeper.start(hold, PRICE, "strict")
    hold.started()
    keeper.settle(hold, PRICE)


@pytest.mark.parametrize("jumps", [[DAY_MS], [-DAY_MS], [-DAY_MS, DAY_MS], [DAY_MS, -DAY_MS, -DAY_MS]])
async def test_books_are_right_whatever_the_clock_said(tmp_path: Path, jumps: list[int]) -> None:
    clock, number = Clock(), 0
    for jump in [0, *jumps]:
        clock.ms += jump
        keeper = Keeper(
            SqliteLedgerStore(tmp_path / "books.db", head_key=b"k" * 32), clock, pace=Pace.patient(60, gap=0)
        )
        await keeper.open()
        assert await keeper.credit(Credit(f"cs_{number}", "ann", Money(100, "usd"), "payment", ""))
        for back in (0, jump):
            clock.ms -= back
            for _ in range(2):
                number += 1
                await serve(keeper, clock, number)
            clock.ms += back
        assert not await keeper.credit(Credit("cs_0", "ann", Money(100, "usd"), "payment", ""))
        await keeper.close()
    report = audit(tmp_path / "books.db", head_key=b"k" * 32)
    assert report.findings == ()
    assert report.totals["usd"].spent == number * PRICE.micros
    assert report.totals["usd"].credited == 100 * (len(jumps) + 1)


@pytest.mark.parametrize("jump", [DAY_MS, -DAY_MS])
async def test_a_limit_begins_anew_when_the_clock_jumps_and_nobody_is_locked_out(jump: int) -> None:
    clock, rate = Clock(), Rate(3, 60, "3/minute")
    limits = MemoryRateLimits(clock)
    assert [(await limits.hit(rate, "ann")).allowed for _ in range(4)] == [True, True, True, False]
    clock.ms += jump
    assert [(await limits.hit(rate, "ann")).allowed for _ in range(4)] == [True, True, True, False]
