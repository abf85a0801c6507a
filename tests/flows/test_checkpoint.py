"""What long answers have come to is on record while they go on."""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from gateway.core.callers import Caller
from gateway.core.meters import Meter
from gateway.core.money import Money
from gateway.core.refusals import LedgerUnavailable
from gateway.core.routes import Route
from gateway.core.use_meters import UseMeter
from gateway.flows import checkpoint
from gateway.flows.checkpoint import Checkpoints
from gateway.flows.keep import Keeper, Pace
from gateway.ports import AnswerCut, Started
from tests.fakes import FakeClock
from tests.flows.test_serve import FakeExchange, Shop


class LongExchange(FakeExchange):
    """One whose answer goes on until it is told to end."""

    answering: asyncio.Event
    over: asyncio.Event
    meter: UseMeter
    ends_well = True

    async def forward(self, route: Route, target: str, meter: Meter, caller: Caller) -> None:
        await super().forward(route, target, meter, caller)
        assert isinstance(meter, UseMeter)
        self.meter = meter
        meter.answers("GET", 200, [])

    async def answer(self, meter: Meter, started: Started) -> None:
        started()
        self.answering.set()
        await self.over.wait()
        if not self.ends_well:
            self.meter.cut()
            raise AnswerCut
        self.meter.end()


@pytest.fixture
async def shop() -> AsyncIterator[Shop]:
    shop = Shop()
    await shop.open()
    yield shop
    await shop.keeper.close()


@pytest.fixture
def checkpoints(shop: Shop) -> Checkpoints:
    return shop.checkpoints


def long(shop: Shop, target: str = "/used/x", **rest: Any) -> LongExchange:
    exchange = LongExchange(target, headers={"authorization": f"Bearer {shop.token}"}, **rest)
    exchange.answering, exchange.over = asyncio.Event(), asyncio.Event()
    return exchange


async def begun(shop: Shop, exchange: LongExchange) -> "asyncio.Task[None]":
    task = asyncio.create_task(shop.serve.serve(exchange))
    await exchange.answering.wait()
    return task


async def after_a_crash(shop: Shop) -> int:
    """What whoever comes next finds the account to have."""
    next = Keeper(shop.store, FakeClock(), pace=Pace(gap=0, idly=0, quiet=0.001, refuse_after=600, give_up_after=600))
    await next.open()
    found = await next.balance(shop.account, "usd")
    await next.close()
    return found.available.micros


async def test_a_crash_leaves_what_an_answer_had_come_to(shop: Shop, checkpoints: Checkpoints) -> None:
    exchange = long(shop)
    task = await begun(shop, exchange)
    for bytes_so_far in (5, 12):
        exchange.meter.body(b"x" * (bytes_so_far - exchange.meter._answer_bytes))
        await checkpoints.write()
        assert await after_a_crash(shop) == 999_000 - 1000 * bytes_so_far
    await checkpoints.write()  # with nothing new
    assert await shop.balance() == (900_000, 100_000)
    exchange.meter.body(b"x")
    exchange.over.set()
    await task
    assert (exchange.cost, await shop.balance()) == (Money.parse("0.014 usd"), (986_000, 0))
    assert len(checkpoints) == 0


async def test_an_answer_that_ends_cheaper_than_it_was_gets_it_back(shop: Shop, checkpoints: Checkpoints) -> None:
    exchange = long(shop)
    task = await begun(shop, exchange)
    exchange.meter.body(b"12345")
    await checkpoints.write()
    exchange.meter.void()
    await checkpoints.write()
    exchange.over.set()
    await task
    assert (exchange.cost, await shop.balance()) == (Money.zero("usd"), (1_000_000, 0))


async def test_what_has_ended_is_noted_no_more(
    shop: Shop, checkpoints: Checkpoints, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whether it ends well or not, and also while others are being noted."""
    monkeypatch.setattr(checkpoint, "_A_STEP", 1)
    answers = [long(shop) for _ in range(3)]
    tasks = [await begun(shop, exchange) for exchange in answers]
    assert len(checkpoints) == 3
    for exchange in answers:
        exchange.meter.body(b"12345")
    answers[1].ends_well = False
    renewed: list[Any] = []
    renew = shop.keeper.renew

    async def renewing(*asked: Any) -> None:
        renewed.append(asked)
        await renew(*asked)
        for exchange in answers[1:]:
            exchange.over.set()
        await asyncio.gather(*tasks[1:])

    monkeypatch.setattr(shop.keeper, "renew", renewing)
    await checkpoints.write()
    assert (len(renewed), len(checkpoints)) == (1, 1)
    answers[0].over.set()
    await tasks[0]
    assert [exchange.cost for exchange in answers] == [Money.parse("0.006 usd")] * 3
    assert await shop.balance() == (982_000, 0)


async def test_what_is_paid_for_in_slices_says_by_itself_what_it_has_come_to(
    shop: Shop, checkpoints: Checkpoints
) -> None:
    exchange = long(shop, "/sliced/x")
    task = await begun(shop, exchange)
    assert len(checkpoints) == 0
    exchange.meter.body(b"12345")
    exchange.over.set()
    await task
    assert (exchange.cost, await shop.balance()) == (Money.parse("0.006 usd"), (994_000, 0))


async def test_books_that_cannot_be_written_are_no_concern_of_it(
    shop: Shop, checkpoints: Checkpoints, monkeypatch: pytest.MonkeyPatch
) -> None:
    exchange = long(shop)
    task = await begun(shop, exchange)
    exchange.meter.body(b"12345")

    async def renew(*asked: Any) -> None:
        raise LedgerUnavailable()

    with monkeypatch.context() as patch:
        patch.setattr(shop.keeper, "renew", renew)
        await checkpoints.write()
    await checkpoints.write()
    assert await after_a_crash(shop) == 994_000
    exchange.over.set()
    await task


async def test_an_answer_whose_cost_is_known_when_it_begins_is_not_followed(
    shop: Shop, checkpoints: Checkpoints, monkeypatch: pytest.MonkeyPatch
) -> None:
    followed: list[int] = []
    began: Callable[..., None] = checkpoints.begin

    def begin(*given: Any) -> None:
        followed.append(1)
        began(*given)

    monkeypatch.setattr(checkpoints, "begin", begin)
    await shop.serve.serve(shop.exchange("/paid/x"))
    exchange = long(shop)
    forward = exchange.forward

    async def whole(route: Route, target: str, meter: Meter, caller: Caller) -> None:
        await forward(route, target, meter, caller)
        exchange.meter.body(b"12345")
        exchange.meter.end()

    monkeypatch.setattr(exchange, "forward", whole)
    exchange.over.set()
    await shop.serve.serve(exchange)
    assert (exchange.cost, followed) == (Money.parse("0.006 usd"), [])
