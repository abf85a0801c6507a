"""Caps in the books of every store: held with the money or not at all, changed while in use, given back."""

import asyncio
from itertools import count

import pytest

from gateway.core.caps import Cap
from gateway.core.ids import RequestId
from gateway.core.ledger import Credit
from gateway.core.money import Money
from gateway.core.purses import Purse
from gateway.core.refusals import CapReached, PaymentRequired
from gateway.core.routes import Durability
from gateway.flows.keep import Keeper
from gateway.flows.keep.caps import CappedHold
from gateway.ports import Hold
from tests.ledger_books import TARIFF, Books, available, books, commit, paid, usd

__all__ = ["books"]

_numbers = count(1_000_000)
DAY_MS = 86_400_000


def daily(micros: int, *, node: str = "acct_a", since: int = 1) -> Cap:
    return Cap(node, "day", usd(micros), since_ms=since)


def id_of(number: int) -> RequestId:
    return RequestId(1_790_000_000_000, number)


async def hold(keeper: Keeper, micros: int, *caps: Cap) -> Hold:
    return await keeper.hold("ann", usd(micros), id=id_of(next(_numbers)), token=7, tariff=TARIFF, caps=caps)


async def spend(keeper: Keeper, micros: int, *caps: Cap, durability: Durability = "strict") -> RequestId:
    number = next(_numbers)
    held = await keeper.hold("ann", usd(micros), id=id_of(number), token=7, tariff=TARIFF, caps=caps)
    await keeper.start(held, usd(micros), durability)
    held.started()
    keeper.settle(held, usd(micros))
    return id_of(number)


async def spent(books: Books, cap: Cap) -> int:
    return (await books.cap_lines.cap_line(cap.name(books.clock.now_ms()), cap.unit)).spent


async def test_all_that_a_cap_allows_can_be_spent_and_not_a_micro_more(books: Books) -> None:
    keeper, _ = await books.open()
    await keeper.credit(paid("p", 1000))
    cap = daily(300)
    for _ in range(3):
        await spend(keeper, 100, cap)
    with pytest.raises(CapReached) as refused:
        await spend(keeper, 1, cap)
    assert (refused.value.cap, refused.value.left, refused.value.price) == (cap, usd(0), usd(1))
    assert refused.value.resets_ms == cap.resets_ms(books.clock.now_ms())
    assert await available(keeper) == 700
    await commit(keeper)
    assert await spent(books, cap) == 300


async def test_a_request_is_held_under_every_cap_or_under_none(books: Books) -> None:
    keeper, _ = await books.open()
    await keeper.credit(paid("p", 1000))
    child, parent = daily(500, node="tok_child"), Cap("acct_a", "month", usd(200), since_ms=1)
    with pytest.raises(CapReached) as refused:
        await hold(keeper, 201, child, parent)
    assert refused.value.cap == parent
    assert refused.value.left == usd(200)
    held = await hold(keeper, 200, child, parent)
    assert sorted((use.cap.node, use.left) for use in held.caps) == [("acct_a", 200), ("tok_child", 500)]
    keeper.settle(held, usd(0))
    await spend(keeper, 200, child, parent)
    assert await available(keeper) == 800


async def test_too_little_money_leaves_a_cap_as_it_was(books: Books) -> None:
    keeper, _ = await books.open()
    await keeper.credit(paid("p", 50))
    cap = daily(100)
    with pytest.raises(PaymentRequired):
        await hold(keeper, 60, cap)
    await spend(keeper, 50, cap)
    await keeper.credit(paid("q", 100))
    with pytest.raises(CapReached) as refused:
        await hold(keeper, 51, cap)
    assert refused.value.left == usd(50)


async def test_what_a_request_did_not_cost_is_the_caps_again(books: Books) -> None:
    keeper, _ = await books.open()
    await keeper.credit(paid("p", 1000))
    cap = daily(100)
    held = await hold(keeper, 100, cap)
    await keeper.start(held, usd(100), "strict")
    assert keeper.settle(held, usd(30)) == usd(30)
    await commit(keeper)
    assert await spent(books, cap) == 30
    await spend(keeper, 70, cap, durability="relaxed")
    with pytest.raises(CapReached):
        await hold(keeper, 1, cap)


async def test_a_refund_of_a_request_gives_the_cap_its_money_back(books: Books) -> None:
    keeper, _ = await books.open()
    await keeper.credit(paid("p", 1000))
    cap = daily(100)
    request = await spend(keeper, 100, cap)
    [given] = await keeper.refund(request, "it was wrong")
    assert (given.holder, given.unit, given.micros) == ("ann", "usd", 100)  # the cap's own is nobody's money
    assert await spent(books, cap) == 0
    await spend(keeper, 100, cap)
    assert await available(keeper) == 900
    assert await books.findings() == []


async def test_a_stream_goes_on_for_as_long_as_its_cap_does(books: Books) -> None:
    keeper, _ = await books.open()
    await keeper.credit(paid("p", 1000))
    cap = daily(250)
    held = await hold(keeper, 100, cap)
    await keeper.start(held, usd(100), "relaxed")
    await keeper.renew(held, usd(100), usd(100))
    with pytest.raises(CapReached) as refused:
        await keeper.renew(held, usd(200), usd(100))
    assert refused.value.left == usd(50)
    await keeper.renew(held, usd(200), usd(50))
    assert keeper.settle(held, usd(300)) == usd(250)
    await commit(keeper)
    assert (await available(keeper), await spent(books, cap)) == (750, 250)


async def test_a_stream_whose_money_ends_first_leaves_the_cap_as_it_was(books: Books) -> None:
    keeper, _ = await books.open()
    await keeper.credit(paid("p", 100))
    cap = daily(250)
    held = await hold(keeper, 100, cap)
    with pytest.raises(PaymentRequired):
        await keeper.renew(held, usd(100), usd(100))
    keeper.settle(held, usd(100))
    await keeper.credit(paid("q", 1000))
    await spend(keeper, 150, cap)
    with pytest.raises(CapReached):
        await hold(keeper, 1, cap)


async def test_a_new_day_begins_anew_and_a_request_is_of_the_day_in_which_it_was_held(books: Books) -> None:
    keeper, _ = await books.open()
    await keeper.credit(paid("p", 1000))
    cap = daily(100)
    today = cap.name(books.clock.now)
    held = await hold(keeper, 100, cap)
    books.clock.now += DAY_MS
    await keeper.start(held, usd(100), "strict")
    keeper.settle(held, usd(100))
    await spend(keeper, 60, cap)
    assert await spent(books, cap) == 60
    assert (await books.cap_lines.cap_line(today, cap.unit)).spent == 100


async def test_a_cap_is_raised_and_lowered_while_it_is_in_use(books: Books) -> None:
    keeper, _ = await books.open()
    await keeper.credit(paid("p", 1000))
    await spend(keeper, 100, daily(100))
    raised = daily(250, since=2)
    await spend(keeper, 100, raised)
    lowered = daily(120, since=3)
    with pytest.raises(CapReached) as refused:
        await hold(keeper, 1, lowered)
    assert refused.value.left == usd(0)
    with pytest.raises(CapReached):
        await hold(keeper, 1, raised)  # by somebody who has not heard of it yet
    assert await available(keeper) == 800
    again = daily(201, since=4)
    await spend(keeper, 1, again)
    with pytest.raises(CapReached):
        await hold(keeper, 1, again)
    line = await books.cap_lines.cap_line(again.name(books.clock.now), again.unit)
    assert (line.limit, line.spent, line.since_ms) == (201, 201, 4)


async def test_a_cap_outlives_a_restart(books: Books) -> None:
    keeper, _ = await books.open()
    await keeper.credit(paid("p", 1000))
    await spend(keeper, 100, daily(150))
    keeper, _ = await books.reopen()
    with pytest.raises(CapReached):
        await hold(keeper, 51, daily(150))
    with pytest.raises(CapReached):
        await hold(keeper, 51, daily(9999, since=0))  # an older setting than the books have
    await spend(keeper, 50, daily(150))


async def test_what_a_crash_voids_is_the_caps_again_and_is_given_away_once(books: Books) -> None:
    keeper, _ = await books.open()
    await keeper.credit(paid("p", 1000))
    cap = daily(150)
    await spend(keeper, 100, cap)
    await commit(keeper)
    held = await hold(keeper, 50, cap)
    await keeper.start(held, usd(50), "strict")
    image = await books.crash()
    recovered, _, given_away = await image.recover()
    assert (given_away.count, given_away.micros) == (1, 50)
    assert await available(recovered) == 900
    await spend(recovered, 50, cap)
    with pytest.raises(CapReached):
        await hold(recovered, 1, cap)
    await commit(recovered)
    assert await image.findings() == []


async def test_a_cap_of_nothing_refuses_all(books: Books) -> None:
    keeper, _ = await books.open()
    await keeper.credit(paid("p", 1000))
    with pytest.raises(CapReached):
        await hold(keeper, 1, daily(0))


async def test_a_cap_binds_its_own_unit_alone(books: Books) -> None:
    keeper, _ = await books.open()
    await keeper.credit(paid("p", 1000))
    euros = Cap("acct_a", "day", Money(1, "eur"))
    held = await hold(keeper, 100, euros)
    assert held.caps == ()
    keeper.settle(held, usd(0))


async def test_of_many_at_once_as_many_are_served_as_the_cap_has_room_for(books: Books) -> None:
    keeper, _ = await books.open()
    await keeper.credit(paid("p", 100_000))
    child, other, parent = daily(700, node="tok_1"), daily(700, node="tok_2"), daily(1000, node="acct_a")

    async def one(cap: Cap) -> bool:
        try:
            await spend(keeper, 100, cap, parent)
        except CapReached:
            return False
        return True

    served = await asyncio.gather(*(one(child if number % 2 else other) for number in range(40)))
    assert sum(served) == 10
    assert await available(keeper) == 99_000
    await commit(keeper)
    sums = [await spent(books, cap) for cap in (child, other, parent)]
    assert sums[2] == 1000
    assert sums[0] + sums[1] == 1000
    assert max(sums[:2]) <= 700


async def test_promotion_credit_counts_as_money_does(books: Books) -> None:
    keeper, _ = await books.open()
    await keeper.credit(paid("p", 60))
    await keeper.credit(Credit("promo", "ann", usd(50), "promotion", "", Purse(-1)))
    cap = daily(110)
    held = await hold(keeper, 100, cap)
    await keeper.start(held, usd(100), "strict")
    held.started()
    keeper.settle(held, usd(90))
    await commit(keeper)
    assert (await available(keeper), await spent(books, cap)) == (20, 90)
    with pytest.raises(CapReached):
        await hold(keeper, 21, cap)


async def test_the_audit_finds_a_cap_that_counts_something_else_than_was_paid(books: Books) -> None:
    keeper, _ = await books.open()
    await keeper.credit(paid("p", 1000))
    await spend(keeper, 10, daily(100))
    await commit(keeper)
    assert await books.findings() == []
    held = await hold(keeper, 20, daily(100))
    assert isinstance(held, CappedHold)
    await keeper.start(held, usd(20), "relaxed")
    await commit(keeper)
    keeper._change(held.parts[0], 15)
    await commit(keeper)
    if books.in_sqlite or books.lends:
        assert any("counts -5 of" in found and "and 0 was paid" in found for found in await books.findings())
    books.tampered = True
    keeper.settle(held, usd(20))


async def test_a_hold_that_is_cancelled_leaves_nothing_held(books: Books) -> None:
    keeper, _ = await books.open()
    await keeper.credit(paid("p", 10_000))
    for steps in range(30):
        cap = daily(100, node=f"acct_{steps}")
        task = asyncio.create_task(hold(keeper, 100, cap))
        for _ in range(steps):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        if not task.cancelled():
            keeper.settle(task.result(), usd(0))
        assert (await keeper.balance("ann", "usd")).held == usd(0)
        await spend(keeper, 100, cap)
    assert await available(keeper) == 7000
