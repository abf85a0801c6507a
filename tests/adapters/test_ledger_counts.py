"""Counts of calls in the books of every store: held with the money, one for each request that is charged."""

import asyncio
from dataclasses import replace
from itertools import count

import pytest

from gateway.core.caps import Cap
from gateway.core.ids import RequestId
from gateway.core.money import Money
from gateway.core.refusals import CapReached, PaymentRequired
from gateway.flows.keep import Keeper
from gateway.flows.keep.caps import CappedHold
from gateway.ports import Hold
from tests.ledger_books import TARIFF, Books, available, books, commit, paid, usd

__all__ = ["books"]

_numbers = count(2_000_000)
THREE = Cap("acct_a", "month", Money(3, "quota:search:1"))
FREE = Cap("acct_a", "week", Money(3, "quota:search:2"))


def id_of(number: int) -> RequestId:
    return RequestId(1_790_000_000_000, number)


async def hold(keeper: Keeper, micros: int, *caps: Cap, number: int | None = None) -> Hold:
    id = id_of(next(_numbers) if number is None else number)
    return await keeper.hold("ann", usd(micros), id=id, token=7, tariff=TARIFF, caps=caps)


async def spend(keeper: Keeper, micros: int, *caps: Cap, cost: int | None = None) -> RequestId:
    number = next(_numbers)
    held = await hold(keeper, micros, *caps, number=number)
    await keeper.start(held, usd(micros), "strict", counted=not micros)
    held.started()
    keeper.settle(held, usd(micros if cost is None else cost), counted=not micros and cost is None)
    return id_of(number)


async def made(books: Books, cap: Cap) -> int:
    return (await books.cap_lines.cap_line(cap.name(books.clock.now_ms()), cap.unit)).spent


@pytest.mark.parametrize("micros", [0, 100])
async def test_as_many_calls_as_a_count_has_and_not_one_more(books: Books, micros: int) -> None:
    keeper, _ = await books.open()
    await keeper.credit(paid("p", 1000))
    for _ in range(3):
        await spend(keeper, micros, THREE)
    with pytest.raises(CapReached) as refused:
        await spend(keeper, micros, THREE)
    assert refused.value.cap == THREE
    await commit(keeper)
    assert (await made(books, THREE), await available(keeper)) == (3, 1000 - 3 * micros)
    assert await books.findings() == []


@pytest.mark.parametrize("micros", [0, 100])
async def test_what_is_not_charged_gives_its_call_back(books: Books, micros: int) -> None:
    keeper, _ = await books.open()
    await keeper.credit(paid("p", 1000))
    for _ in range(5):
        await spend(keeper, micros, THREE, cost=0)
        keeper.settle(await hold(keeper, micros, THREE), usd(0))
    for _ in range(3):
        await spend(keeper, micros, THREE)
    await commit(keeper)
    assert await made(books, THREE) == 3
    assert await books.findings() == []


async def test_what_costs_less_than_was_held_is_still_one_call(books: Books) -> None:
    keeper, _ = await books.open()
    await keeper.credit(paid("p", 1000))
    held = await hold(keeper, 100, THREE)
    await keeper.renew(held, usd(50), usd(100))
    await keeper.renew(held, usd(120), usd(10))
    assert keeper.settle(held, usd(121)) == usd(121)
    await spend(keeper, 100, THREE, cost=1)
    await commit(keeper)
    assert (await made(books, THREE), await available(keeper)) == (2, 1000 - 122)
    assert await books.findings() == []


async def test_a_free_call_costs_nothing_and_leaves_the_balance_alone(books: Books) -> None:
    keeper, _ = await books.open()
    await keeper.credit(paid("p", 70))
    await spend(keeper, 70)
    held = await hold(keeper, 0, FREE)
    assert held.balance == usd(0)
    assert list(held.caps) == []  # nobody is told that a free quota is nearly used up as of a cap on spending
    await keeper.start(held, usd(0), "strict", counted=True)
    assert keeper.settle(held, usd(0), counted=True) == usd(0)
    await commit(keeper)
    assert (await made(books, FREE), await available(keeper)) == (1, 0)


async def test_too_little_money_takes_no_call(books: Books) -> None:
    keeper, _ = await books.open()
    await keeper.credit(paid("p", 50))
    for _ in range(5):
        with pytest.raises(PaymentRequired):
            await hold(keeper, 51, THREE)
    await keeper.credit(paid("q", 1000))
    for _ in range(3):
        await spend(keeper, 51, THREE)


async def test_a_count_that_is_used_up_refuses_before_any_cap_does(books: Books) -> None:
    """For then the request is tried at another price, which the cap may leave room for."""
    keeper, _ = await books.open()
    await keeper.credit(paid("p", 1000))
    cap = Cap("acct_a", "day", usd(400), since_ms=1)
    for _ in range(3):
        await spend(keeper, 100, cap, THREE)
    with pytest.raises(CapReached) as refused:
        await hold(keeper, 101, cap, THREE)
    assert refused.value.cap == THREE
    with pytest.raises(CapReached) as refused:
        await hold(keeper, 101, cap, FREE)
    assert (refused.value.cap, refused.value.left) == (cap, usd(100))  # of money, whatever is left of calls
    await spend(keeper, 100, cap)


async def test_counts_of_one_account_and_period_stand_apart(books: Books) -> None:
    keeper, _ = await books.open()
    await keeper.credit(paid("p", 1000))
    other = replace(THREE, amount=Money(2, "quota:export:1"))
    for cap, calls in ((THREE, 3), (other, 2)):
        for _ in range(calls):
            await spend(keeper, 1, cap)
        with pytest.raises(CapReached):
            await hold(keeper, 1, cap)


async def test_a_refund_gives_the_call_back(books: Books) -> None:
    keeper, _ = await books.open()
    await keeper.credit(paid("p", 1000))
    priced, free = await spend(keeper, 100, THREE), await spend(keeper, 0, FREE)
    await commit(keeper)
    [given] = await keeper.refund(priced, "it was wrong")
    assert (given.holder, given.micros) == ("ann", 100)
    assert await keeper.refund(free, "it was wrong") == []
    assert (await made(books, THREE), await made(books, FREE)) == (0, 0)
    assert await books.findings() == []


@pytest.mark.parametrize("micros", [0, 100])
async def test_what_a_crash_voids_gives_its_call_back(books: Books, micros: int) -> None:
    keeper, _ = await books.open()
    await keeper.credit(paid("p", 1000))
    await spend(keeper, micros, THREE)
    await commit(keeper)
    held = await hold(keeper, micros, THREE)
    await keeper.start(held, usd(micros), "strict", counted=not micros)
    image = await books.crash()
    recovered, _, given_away = await image.recover()
    assert given_away.micros == micros
    await spend(recovered, micros, THREE)
    await spend(recovered, micros, THREE)
    with pytest.raises(CapReached):
        await hold(recovered, micros, THREE)
    await commit(recovered)
    assert await image.findings() == []


async def test_a_new_period_begins_anew_and_a_request_is_of_that_in_which_it_was_held(books: Books) -> None:
    keeper, _ = await books.open()
    await keeper.credit(paid("p", 1000))
    held = await hold(keeper, 0, FREE)
    this_week = FREE.name(books.clock.now)
    books.clock.now += 7 * 86_400_000
    await keeper.start(held, usd(0), "strict", counted=True)
    keeper.settle(held, usd(0), counted=True)
    for _ in range(3):
        await spend(keeper, 0, FREE)
    await commit(keeper)
    assert await made(books, FREE) == 3
    assert (await books.cap_lines.cap_line(this_week, FREE.unit)).spent == 1


async def test_how_many_calls_there_are_is_settled_when_a_period_begins(books: Books) -> None:
    keeper, _ = await books.open()
    await keeper.credit(paid("p", 1000))
    await spend(keeper, 1, THREE)
    keeper, _ = await books.reopen()
    more = replace(THREE, amount=Money(100, THREE.unit))
    for _ in range(2):
        await spend(keeper, 1, more)
    with pytest.raises(CapReached):
        await hold(keeper, 1, more)
    books.clock.now += 40 * 86_400_000
    for _ in range(5):
        await spend(keeper, 1, more)


async def test_of_many_at_once_as_many_are_served_as_there_are_calls(books: Books) -> None:
    keeper, _ = await books.open()
    await keeper.credit(paid("p", 100_000))
    ten = replace(THREE, amount=Money(10, THREE.unit))

    async def one(micros: int) -> bool:
        try:
            await spend(keeper, micros, ten)
        except CapReached:
            return False
        return True

    served = await asyncio.gather(*(one(100) for _ in range(40)))
    assert sum(served) == 10
    assert await available(keeper) == 99_000
    await commit(keeper)
    assert await made(books, ten) == 10


@pytest.mark.parametrize(("micros", "wrong"), [(20, "counts -1 of"), (0, "counts -2 of")])
async def test_the_audit_finds_a_count_that_is_not_of_what_was_charged(books: Books, micros: int, wrong: str) -> None:
    keeper, _ = await books.open()
    await keeper.credit(paid("p", 1000))
    await spend(keeper, micros, THREE)
    held = await hold(keeper, micros, THREE)
    assert isinstance(held, CappedHold)
    await keeper.start(held, usd(micros), "relaxed", counted=not micros)
    await commit(keeper)
    assert await books.findings() == []
    keeper._change(held.parts[0], 0 if micros else -1)
    await commit(keeper)
    if books.in_sqlite or books.lends:
        assert any(wrong in found and "and 0 was paid" in found for found in await books.findings())
    books.tampered = True


async def test_a_hold_that_is_cancelled_keeps_no_call(books: Books) -> None:
    keeper, _ = await books.open()
    await keeper.credit(paid("p", 10_000))
    for steps in range(20):
        one = Cap(f"acct_{steps}", "day", Money(1, "quota:search:1"))
        task = asyncio.create_task(hold(keeper, 100, one))
        for _ in range(steps):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        if not task.cancelled():
            keeper.settle(task.result(), usd(0))
        await spend(keeper, 100, one)
    assert await available(keeper) == 8000


async def test_who_borrows_keeps_in_mind_for_a_while_that_a_count_is_used_up(
    books: Books, monkeypatch: pytest.MonkeyPatch
) -> None:
    keeper, watched = await books.open()
    await keeper.credit(paid("p", 1000))
    requests = [await spend(keeper, 1, THREE) for _ in range(3)]
    key = (THREE.name(books.clock.now), THREE.unit)
    monkeypatch.setattr("gateway.flows.keep.caps._USED_UP_SECONDS", 600.0)
    for _ in range(3):
        with pytest.raises(CapReached):
            await hold(keeper, 1, THREE)
        asked = watched.draws.count(key)
        await commit(keeper)
        await keeper.refund(requests.pop(), "it was wrong")
        if books.lends:
            with pytest.raises(CapReached):
                await hold(keeper, 1, THREE)
            assert watched.draws.count(key) == asked
            keeper._caps._used_up[key] = 0.0  # the while is over
        await spend(keeper, 1, THREE)
        await commit(keeper)
