"""What `ports.Ledger` and `ports.LedgerStore` promise, over every store."""

import asyncio
import sqlite3
from collections.abc import Awaitable, Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Literal

import pytest

from gateway.adapters.postgres.ledger import PostgresLedgerStore
from gateway.adapters.sqlite.audit import audit
from gateway.adapters.sqlite.ledger import SqliteLedgerStore
from gateway.core.ids import RequestId
from gateway.core.ledger import AccountRow, Balance, Committed, Draft, Kind, Record, Tail
from gateway.core.money import Money
from gateway.core.refusals import LedgerUnavailable, PaymentRequired
from gateway.core.routes import Durability
from gateway.flows.keep import Keeper, Recovered
from gateway.ports import Hold, LedgerStore, StoreBusy, StoreDamaged, StoreFailed, StoreLocked
from tests.ledger_books import (
    BUSY_BUT_NEVER_QUIET,
    KEY,
    PATIENT,
    TARIFF,
    Books,
    Clock,
    available,
    books,
    commit,
    file_books,
    hold,
    lose_patience,
    paid,
    regain_patience,
    request,
    turn,
    until,
    usd,
)

__all__ = ["books", "file_books"]  # fixtures


# --- credits ----------------------------------------------------------------------------------------------------------


async def test_a_credit_arrives_once(books: Books) -> None:
    keeper, _ = await books.open()
    assert await keeper.credit(paid("cs_1", 500)) is True
    assert await keeper.credit(paid("cs_1", 500)) is False
    assert await keeper.credit(paid("cs_2", 70)) is True
    assert await available(keeper) == 570
    keeper, _ = await books.reopen()
    assert await keeper.credit(paid("cs_1", 500)) is False
    assert await available(keeper) == 570


async def test_a_credit_that_comes_fifty_times_at_once_arrives_once(books: Books) -> None:
    keeper, _ = await books.open()
    await commit(keeper)
    assert sorted(await asyncio.gather(*(keeper.credit(paid("cs_1", 500)) for _ in range(50)))) == [False] * 49 + [True]
    assert await available(keeper) == 500


async def test_a_ref_is_credited_once_whoever_it_names(books: Books) -> None:
    keeper, _ = await books.open()
    await keeper.credit(paid("cs_1", 500))
    assert not await keeper.credit(paid("cs_1", 900, "bob"))
    assert (await available(keeper), await available(keeper, "bob")) == (500, 0)


async def test_currencies_are_accounts_of_their_own(books: Books) -> None:
    keeper, _ = await books.open()
    await keeper.credit(paid("cs_1", 500))
    await keeper.credit(paid("cs_2", 300, currency="jpy"))
    assert await keeper.balance("ann", "jpy") == Balance(Money(300, "jpy"), Money(0, "jpy"))
    assert await available(keeper) == 500


@pytest.mark.parametrize("loaded", [True, False])
async def test_a_credit_reaches_an_account_that_is_in_memory_or_not(books: Books, loaded: bool) -> None:
    keeper, _ = await books.open()
    if loaded:
        with pytest.raises(PaymentRequired):
            await hold(keeper, 1)
    await keeper.credit(paid("cs_1", 500))
    await request(keeper, 500, 500)
    assert await available(keeper) == 0


@pytest.mark.parametrize("micros", [0, -5])
async def test_a_credit_of_nothing_is_refused_before_it_can_spoil_a_batch(books: Books, micros: int) -> None:
    keeper, _ = await books.open()
    with pytest.raises(ValueError, match="is no credit"):
        await keeper.credit(paid("cs_1", micros))
    assert await keeper.credit(paid("cs_1", 5))


async def test_a_credit_whose_caller_left_is_credited_all_the_same(books: Books) -> None:
    keeper, store = await books.open()
    store.go.clear()
    leaving = asyncio.create_task(keeper.credit(paid("cs_1", 500)))
    staying = asyncio.create_task(keeper.credit(paid("cs_2", 30)))
    await store.entered()
    leaving.cancel()
    await turn()
    store.go.set()
    assert await staying
    assert leaving.cancelled()
    assert await available(keeper) == 530


# --- holds ------------------------------------------------------------------------------------------------------------


async def test_an_account_that_nobody_paid_into_has_nothing(books: Books) -> None:
    keeper, _ = await books.open()
    assert await keeper.balance("ann", "usd") == Balance(usd(0), usd(0))
    with pytest.raises(PaymentRequired) as refused:
        await hold(keeper, 2000)
    assert (refused.value.price, refused.value.balance) == (usd(2000), usd(0))


async def test_the_last_micro_can_be_held_and_not_one_more(books: Books) -> None:
    keeper, _ = await books.open()
    await keeper.credit(paid("cs_1", 100))
    with pytest.raises(PaymentRequired) as refused:
        await hold(keeper, 101)
    assert refused.value.balance == usd(100)
    await hold(keeper, 100)
    assert await keeper.balance("ann", "usd") == Balance(usd(0), usd(100))


@pytest.mark.parametrize("durability", ["strict", "relaxed"])
@pytest.mark.parametrize(
    ("due", "cost", "charged"), [(60, 60, 60), (60, 25, 25), (60, 0, 0), (0, 0, 0), (0, 40, 40), (100, 101, 100)]
)
async def test_a_request_costs_what_it_is_settled_at(
    books: Books, durability: Durability, due: int, cost: int, charged: int
) -> None:
    keeper, _ = await books.open(BUSY_BUT_NEVER_QUIET)
    await keeper.credit(paid("cs_1", 1000))
    held = await hold(keeper, 100)
    assert held.balance == usd(1000)
    await keeper.start(held, usd(due), durability)
    assert held.balance == usd(1000 - due)
    assert await keeper.balance("ann", "usd") == Balance(usd(900), usd(100))
    held.started()
    assert keeper.settle(held, usd(cost)) == usd(charged)
    assert held.balance == usd(1000 - charged)
    assert await keeper.balance("ann", "usd") == Balance(usd(1000 - charged), usd(0))
    keeper, recovered = await books.reopen()
    assert recovered == Recovered(0, 0)
    assert await available(keeper) == 1000 - charged


async def test_settling_takes_at_most_what_was_held_and_never_less_than_nothing(books: Books) -> None:
    keeper, _ = await books.open()
    await keeper.credit(paid("cs_1", 1000))
    assert keeper.settle(await hold(keeper, 100), usd(101)) == usd(100)
    assert keeper.settle(await hold(keeper, 100), usd(-5)) == usd(0)
    assert await available(keeper) == 900


async def test_settling_twice_is_settling_once(books: Books) -> None:
    keeper, _ = await books.open()
    await keeper.credit(paid("cs_1", 1000))
    held = await hold(keeper, 100)
    await keeper.start(held, usd(100), "strict")
    assert keeper.settle(held, usd(70)) == usd(70)
    assert keeper.settle(held, usd(100)) == usd(70)
    assert await available(keeper) == 930
    keeper, _ = await books.reopen()
    assert await available(keeper) == 930


@pytest.mark.parametrize("due", [-1, 101])
async def test_a_start_beyond_the_hold_is_a_bug_and_records_nothing(books: Books, due: int) -> None:
    keeper, _ = await books.open()
    await keeper.credit(paid("cs_1", 1000))
    held = await hold(keeper, 100)
    with pytest.raises(ValueError, match="less than nothing, or more than was held"):
        await keeper.start(held, usd(due), "relaxed")
    keeper.settle(held, usd(0))
    assert await available(keeper) == 1000


async def test_a_released_hold_writes_nothing(books: Books) -> None:
    keeper, store = await books.open()
    await keeper.credit(paid("cs_1", 1000))
    keeper.settle(await hold(keeper, 100), usd(0))
    await commit(keeper)
    assert sum(draft.count for draft in store.landed) == 0


async def test_of_500_holds_at_once_exactly_those_that_are_affordable_are_granted(books: Books) -> None:
    keeper, _ = await books.open()
    await keeper.credit(paid("cs_1", 37 * 20 + 19))
    outcomes = await asyncio.gather(*(request(keeper, 20, 20) for _ in range(500)), return_exceptions=True)
    assert sum(outcome is None for outcome in outcomes) == 37
    assert sum(isinstance(outcome, PaymentRequired) for outcome in outcomes) == 463
    assert await available(keeper) == 19
    keeper, _ = await books.reopen()
    assert await available(keeper) == 19


async def test_of_500_holds_that_nobody_settles_exactly_those_that_are_affordable_are_granted(books: Books) -> None:
    keeper, _ = await books.open()
    await keeper.credit(paid("cs_1", 240 * 3 + 2))
    outcomes = await asyncio.gather(*(hold(keeper, 3) for _ in range(500)), return_exceptions=True)
    assert sum(not isinstance(outcome, Exception) for outcome in outcomes) == 240
    assert await keeper.balance("ann", "usd") == Balance(usd(2), usd(720))


# --- strict and relaxed -----------------------------------------------------------------------------------------------


async def test_a_strict_start_returns_when_its_record_is_durable_and_not_before(books: Books) -> None:
    keeper, store = await books.open()
    await keeper.credit(paid("cs_1", 1000))
    held = await hold(keeper, 100)
    store.go.clear()
    starting = asyncio.create_task(keeper.start(held, usd(100), "strict"))
    await turn()
    assert not starting.done()
    assert not any(draft.count for draft in store.landed)
    store.go.set()
    await starting
    assert sum(draft.count for draft in store.landed) == 1


async def test_a_relaxed_start_does_not_wait_for_the_store(books: Books) -> None:
    keeper, store = await books.open()
    await keeper.credit(paid("cs_1", 1000))
    held = await hold(keeper, 100)
    store.go.clear()
    await keeper.start(held, usd(100), "relaxed")
    store.go.set()
    await commit(keeper)
    (draft,) = (draft for draft in store.landed if draft.count)
    (record,) = Record.unpack_all(bytes(draft.payload))
    assert (record.kind, record.micros) == (Kind.CAPTURE, 100)


async def test_one_commit_holds_whatever_has_gathered(books: Books) -> None:
    keeper, store = await books.open(BUSY_BUT_NEVER_QUIET)
    await keeper.credit(paid("cs_1", 100_000))
    await asyncio.gather(*(request(keeper, 10, 10) for _ in range(100)))
    assert [draft.count for draft in store.landed if draft.count] == [100]


async def test_one_strict_caller_that_leaves_does_not_keep_the_others_waiting(books: Books) -> None:
    keeper, store = await books.open()
    await keeper.credit(paid("cs_1", 1000))
    holds = [await hold(keeper, 100) for _ in range(3)]
    store.go.clear()
    starts = [asyncio.create_task(keeper.start(held, usd(100), "strict")) for held in holds]
    await store.entered()
    starts[1].cancel()
    store.go.set()
    await asyncio.wait(starts)
    assert [start.cancelled() for start in starts] == [False, True, False]
    for held in holds:
        keeper.settle(held, usd(100))
    assert await available(keeper) == 700


async def test_a_cancelled_start_stands_until_settle_corrects_it(books: Books) -> None:
    keeper, store = await books.open()
    await keeper.credit(paid("cs_1", 1000))
    held = await hold(keeper, 100)
    store.go.clear()
    start = asyncio.create_task(keeper.start(held, usd(100), "strict"))
    await turn()
    start.cancel()
    await turn()
    store.go.set()
    await commit(keeper)
    assert sum(draft.count for draft in store.landed) == 1
    keeper.settle(held, usd(0))
    assert await keeper.balance("ann", "usd") == Balance(usd(1000), usd(0))
    keeper, _ = await books.reopen()
    assert await available(keeper) == 1000


# --- loading and forgetting -------------------------------------------------------------------------------------------


async def test_many_who_ask_for_an_account_at_once_share_one_read(books: Books) -> None:
    keeper, _ = await books.open()
    await keeper.credit(paid("cs_1", 1000))
    await books.close()
    keeper, store = await books.open()
    await asyncio.gather(*(hold(keeper, 10) for _ in range(20)))
    if books.lends:
        assert store.draws == [("ann", "usd")]
    else:
        assert [draft.loads for draft in store.landed] == [[("ann", "usd")]]


async def test_a_caller_that_leaves_while_its_account_is_read_leaves_nothing_on_hold(books: Books) -> None:
    keeper, store = await books.open()
    await keeper.credit(paid("cs_1", 1000))
    store.go.clear()
    waiting = [asyncio.create_task(hold(keeper, 100)) for _ in range(3)]
    await store.entered()
    waiting[0].cancel()
    store.go.set()
    await asyncio.wait(waiting)
    assert waiting[0].cancelled()
    assert await keeper.balance("ann", "usd") == Balance(usd(800), usd(200))


async def test_a_caller_that_leaves_in_the_tick_that_grants_its_hold_leaves_nothing_on_hold(books: Books) -> None:
    """Cancelled one turn later each time, from before the read to after the hold."""
    keeper, _ = await books.open()
    await keeper.credit(paid("cs_1", 1000))
    for turns in range(40):
        await books.close()
        keeper, _ = await books.open()
        task = asyncio.create_task(hold(keeper, 100))
        await turn(turns)
        task.cancel()
        await asyncio.wait([task])
        granted = 0 if task.cancelled() else 100
        assert await keeper.balance("ann", "usd") == Balance(usd(1000 - granted), usd(granted))


@pytest.mark.parametrize("accounts_max", [1, 2, 5])
async def test_a_small_memory_keeps_every_balance_exact(books: Books, accounts_max: int) -> None:
    keeper, _ = await books.open(accounts_max=accounts_max)
    names = [f"account {n}" for n in range(12)]
    await asyncio.gather(*(keeper.credit(paid(name, 1000, name)) for name in names))
    for _ in range(3):
        outcomes = await asyncio.gather(
            *(request(keeper, 100, 60, account=name) for name in names for _ in range(3)), return_exceptions=True
        )
        assert outcomes == [None] * 36
    assert [await available(keeper, name) for name in names] == [1000 - 9 * 60] * 12
    keeper, _ = await books.reopen()
    assert [await available(keeper, name) for name in names] == [1000 - 9 * 60] * 12


async def test_an_account_with_money_on_hold_is_not_forgotten(books: Books) -> None:
    keeper, _ = await books.open(accounts_max=1)
    await keeper.credit(paid("cs_1", 100))
    held = await hold(keeper, 100)
    for n in range(80):
        await available(keeper, f"account {n}")
    with pytest.raises(PaymentRequired):
        await hold(keeper, 1)
    keeper.settle(held, usd(40))
    assert await available(keeper) == 60


async def test_an_account_can_be_used_while_the_memory_is_full_of_accounts_that_are_busy(books: Books) -> None:
    keeper, _ = await books.open(accounts_max=1)
    names = [f"account {n}" for n in range(5)]
    await asyncio.gather(*(keeper.credit(paid(name, 100, name)) for name in names))
    holds = [await hold(keeper, 100, name) for name in names]
    assert [keeper.settle(held, usd(30)) for held in holds] == [usd(30)] * 5
    assert [await available(keeper, name) for name in names] == [70] * 5


async def test_an_account_whose_record_is_not_yet_durable_is_not_forgotten(books: Books) -> None:
    keeper, store = await books.open(accounts_max=1)
    await keeper.credit(paid("cs_1", 100))
    held = await hold(keeper, 100)
    others = [asyncio.create_task(available(keeper, f"account {n}")) for n in range(3)]
    store.go.clear()
    await turn()
    keeper.settle(held, usd(100))  # goes into the draft behind the one under way
    store.go.set()
    await asyncio.gather(*others)
    with pytest.raises(PaymentRequired):
        await hold(keeper, 1)


# --- tariffs ----------------------------------------------------------------------------------------------------------


async def test_a_tariff_is_written_once_and_reused_after_a_reopening(books: Books) -> None:
    other = replace(TARIFF, price="0.003 usd")
    keeper, _ = await books.open()
    await keeper.credit(paid("cs_1", 1000))
    for tariff in (TARIFF, other, TARIFF):
        keeper.settle(await hold(keeper, 10, tariff=tariff), usd(10))
    keeper, _ = await books.reopen()
    newest = replace(TARIFF, owner="anna")
    for tariff in (other, TARIFF, newest):
        keeper.settle(await hold(keeper, 10, tariff=tariff), usd(10))
    await books.close()
    store = await books.store()
    assert (await store.open()).tariffs == {TARIFF: 1, other: 2, newest: 3}
    await store.close()


# --- a store in trouble -----------------------------------------------------------------------------------------------


async def test_holds_are_refused_while_a_commit_takes_too_long(books: Books) -> None:
    pace = replace(PATIENT)
    keeper, store = await books.open(pace)
    await keeper.credit(paid("cs_1", 1000))
    await hold(keeper, 100)
    store.go.clear()
    lose_patience(pace)
    credit = asyncio.create_task(keeper.credit(paid("cs_2", 5)))
    await store.entered(len(store.attempts) + 1)
    assert keeper.stuck
    with pytest.raises(LedgerUnavailable):
        await hold(keeper, 100)
    with pytest.raises(LedgerUnavailable):
        await keeper.credit(paid("cs_3", 5))
    with pytest.raises(LedgerUnavailable):
        await keeper.balance("bob", "usd")
    with pytest.raises(LedgerUnavailable):
        await credit
    regain_patience(pace)
    await turn()
    store.go.set()
    assert await keeper.credit(paid("cs_2", 5)) is False  # it had been queued, and was written after all
    assert await keeper.balance("ann", "usd") == Balance(usd(905), usd(100))


async def test_a_hold_whose_start_failed_costs_nothing_whatever_the_cost(books: Books) -> None:
    pace = replace(PATIENT)
    keeper, store = await books.open(pace)
    await keeper.credit(paid("cs_1", 1000))
    early, late = await hold(keeper, 100), await hold(keeper, 100)
    store.go.clear()
    lose_patience(pace)
    first = asyncio.create_task(keeper.start(early, usd(100), "strict"))
    await store.entered(len(store.attempts) + 1)
    with pytest.raises(LedgerUnavailable):  # behind the commit under way
        await keeper.start(late, usd(100), "strict")
    with pytest.raises(LedgerUnavailable):  # in the commit under way
        await first
    assert keeper.settle(early, usd(100)) == usd(0)
    assert keeper.settle(late, usd(100)) == usd(0)
    regain_patience(pace)
    store.go.set()
    assert await keeper.balance("ann", "usd") == Balance(usd(1000), usd(0))
    keeper, _ = await books.reopen()
    assert await available(keeper) == 1000


@pytest.mark.parametrize("when", ["before", "after"])
async def test_a_draft_of_records_whose_outcome_is_unknown_is_written_once(
    books: Books, when: Literal["before", "after"]
) -> None:
    keeper, store = await books.open()
    await keeper.credit(paid("cs_1", 1000))
    await hold(keeper, 100)
    store.fail = [(when, StoreFailed("the disk went away")), ("before", StoreFailed("and again"))]
    await request(keeper, 100, 100)
    assert store.reopened == 2
    assert await keeper.balance("ann", "usd") == Balance(usd(800), usd(100))
    keeper, _ = await books.reopen()
    assert await available(keeper) == 900


@pytest.mark.parametrize("when", ["before", "after"])
async def test_credits_whose_outcome_is_unknown_are_credited_once(
    file_books: Books, when: Literal["before", "after"]
) -> None:
    keeper, store = await file_books.open()
    await keeper.credit(paid("cs_0", 1000))
    await hold(keeper, 100)
    store.fail = [(when, StoreFailed("the disk went away"))]
    wanted = [paid("cs_0", 1000), *[paid("cs_1", 500)] * 50, paid("cs_2", 70, "bob")]
    new = await asyncio.gather(*(keeper.credit(credit) for credit in wanted))
    assert (new[0], sorted(new[1:-1]), new[-1]) == (False, [False] * 49 + [True], True)
    assert await keeper.balance("ann", "usd") == Balance(usd(1400), usd(100))
    assert await available(keeper, "bob") == 70
    keeper, _ = await file_books.reopen()
    assert await available(keeper) == 1500


async def test_a_store_that_cannot_be_reopened_is_tried_until_it_can(books: Books) -> None:
    keeper, store = await books.open()
    await keeper.credit(paid("cs_1", 1000))
    reopen, failures = store.inner.reopen, [StoreFailed("no such device")] * 3

    async def fail_thrice() -> None:
        if failures:
            raise failures.pop()
        await reopen()

    store.reopen = fail_thrice  # type: ignore[method-assign]
    await hold(keeper, 100)
    store.fail = [("after", StoreFailed("the disk went away"))]
    await request(keeper, 100, 100)
    assert not failures
    assert await keeper.balance("ann", "usd") == Balance(usd(800), usd(100))


async def test_a_busy_store_is_tried_again_with_the_same_draft(books: Books) -> None:
    keeper, store = await books.open()
    await keeper.credit(paid("cs_1", 1000))
    held = await hold(keeper, 100)
    store.fail = [("before", StoreBusy()), ("before", StoreBusy())]
    await keeper.start(held, usd(100), "strict")
    keeper.settle(held, usd(100))
    first, second, third = (draft for draft in store.attempts if draft.count)
    assert first is second is third
    assert store.reopened == 0
    assert await available(keeper) == 900


async def test_a_stranger_who_locks_the_file_closes_paid_routes_until_it_lets_go(file_books: Books) -> None:
    pace = replace(PATIENT)
    keeper, store = await file_books.open(pace)
    await keeper.credit(paid("cs_1", 1000))
    held = await hold(keeper, 100)
    lose_patience(pace)
    with closing(sqlite3.connect(file_books.path, isolation_level=None)) as stranger:
        stranger.execute("BEGIN IMMEDIATE")
        with pytest.raises(LedgerUnavailable):
            await keeper.start(held, usd(100), "strict")
        assert keeper.settle(held, usd(100)) == usd(0)
        with pytest.raises(LedgerUnavailable):
            await hold(keeper, 100)
        await store.entered(len(store.attempts) + 1)  # it was found busy, and is tried again
        regain_patience(pace)
        stranger.execute("ROLLBACK")
    await until(lambda: sum(draft.count for draft in store.landed) == 2)
    assert store.reopened == 0
    assert await available(keeper) == 1000


async def test_a_keeper_that_ends_by_a_bug_refuses_everybody_and_leaves_nobody_waiting(books: Books) -> None:
    keeper, store = await books.open()
    await keeper.credit(paid("cs_1", 1000))
    one, two = await hold(keeper, 100), await hold(keeper, 100)
    store.go.clear()
    store.fail = [("before", RuntimeError("a bug"))]
    waiting: list[Awaitable[object]] = [
        asyncio.create_task(keeper.start(one, usd(100), "strict")),
        asyncio.create_task(keeper.credit(paid("cs_2", 5))),
        *([] if books.lends else [asyncio.create_task(keeper.balance("bob", "usd"))]),  # a lender's answer is its own
    ]
    await store.entered(len(store.attempts) + 1)
    waiting.append(asyncio.create_task(keeper.credit(paid("cs_3", 5))))
    await turn()
    store.go.set()
    outcomes = await asyncio.gather(*waiting, return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [LedgerUnavailable] * len(waiting)
    await everything_is_refused(keeper, two)


async def test_a_closed_keeper_refuses_everybody(books: Books) -> None:
    keeper, _ = await books.open()
    await keeper.credit(paid("cs_1", 1000))
    held = await hold(keeper, 100)
    await keeper.close()
    await everything_is_refused(keeper, held)
    books._keepers.clear()


async def everything_is_refused(keeper: Keeper, held: Hold) -> None:
    asked: list[Callable[[], Awaitable[object]]] = [
        lambda: hold(keeper, 1),
        lambda: hold(keeper, 1, "carl"),
        lambda: keeper.start(held, usd(1), "strict"),
        lambda: keeper.start(held, usd(1), "relaxed"),
        lambda: keeper.credit(paid("cs_9", 5)),
        lambda: keeper.balance("dora", "usd"),
    ]
    for ask in asked:
        with pytest.raises(LedgerUnavailable):
            await ask()
    assert keeper.settle(held, usd(1)) == usd(0)


async def test_a_close_writes_what_is_queued(books: Books) -> None:
    keeper, _ = await books.open()
    await keeper.credit(paid("cs_1", 1000))
    await request(keeper, 100, 70, "relaxed")
    credit = asyncio.create_task(keeper.credit(paid("cs_2", 5)))
    await turn(1)
    await books.close()
    assert await credit
    keeper, recovered = await books.reopen()
    assert recovered == Recovered(0, 0)
    assert await available(keeper) == 935


async def test_a_close_while_the_store_is_stuck_ends_and_refuses_who_waits(books: Books) -> None:
    keeper, store = await books.open()
    await keeper.credit(paid("cs_1", 1000))
    held = await hold(keeper, 100)
    store.go.clear()
    store.fail = [("before", StoreBusy())]
    waiting: list[asyncio.Task[object]] = [asyncio.create_task(keeper.start(held, usd(100), "strict"))]
    await store.entered(len(store.attempts) + 1)
    waiting.append(asyncio.create_task(keeper.credit(paid("cs_2", 5))))
    await turn()
    closing_down = asyncio.create_task(keeper.close())
    await turn()
    store.go.set()
    await closing_down
    outcomes = await asyncio.gather(*waiting, return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [LedgerUnavailable] * 2
    books._keepers.clear()
    keeper, _ = await books.open()
    assert await available(keeper) == 1000


# --- crashes ----------------------------------------------------------------------------------------------------------


async def test_an_answer_that_never_started_is_voided_by_recovery(books: Books) -> None:
    keeper, _ = await books.open(BUSY_BUT_NEVER_QUIET)
    await keeper.credit(paid("cs_1", 1000))
    await keeper.start(await hold(keeper, 100), usd(100), "strict")
    await keeper.start(await hold(keeper, 40), usd(40), "strict")
    image = await books.crash()
    keeper, _, recovered = await image.recover()
    assert recovered == Recovered(2, 140)
    assert await keeper.balance("ann", "usd") == Balance(usd(1000), usd(0))
    keeper, recovered = await image.reopen()
    assert recovered == Recovered(0, 0)
    assert await available(keeper) == 1000


async def test_a_void_is_durable_before_anything_else(books: Books) -> None:
    keeper, _ = await books.open(BUSY_BUT_NEVER_QUIET)
    await keeper.credit(paid("cs_1", 1000))
    await keeper.start(await hold(keeper, 100), usd(100), "strict")
    once = await books.crash()
    await once.recover(BUSY_BUT_NEVER_QUIET)
    twice = await once.crash()
    keeper, _, recovered = await twice.recover()
    assert recovered == Recovered(0, 0)
    assert await available(keeper) == 1000


async def test_an_answer_that_started_before_a_later_commit_stays_charged(books: Books) -> None:
    keeper, _ = await books.open(BUSY_BUT_NEVER_QUIET)
    await keeper.credit(paid("cs_1", 1000))
    await request(keeper, 100, 100)
    await keeper.credit(paid("cs_2", 1))
    keeper, _, recovered = await (await books.crash()).recover()
    assert recovered == Recovered(0, 0)
    assert await available(keeper) == 901


async def test_answers_since_the_last_commit_are_given_away_and_counted(books: Books) -> None:
    keeper, _ = await books.open(BUSY_BUT_NEVER_QUIET)
    await keeper.credit(paid("cs_1", 1000))
    await request(keeper, 100, 100)
    await request(keeper, 30, 30)  # its commit tells that the first had started
    keeper, _, recovered = await (await books.crash()).recover()
    assert recovered == Recovered(1, 30)
    assert await available(keeper) == 900


async def test_relaxed_records_and_ends_of_streams_are_never_voided(books: Books) -> None:
    keeper, _ = await books.open(BUSY_BUT_NEVER_QUIET)
    await keeper.credit(paid("cs_1", 1000))
    unstarted = await hold(keeper, 500)
    await keeper.start(unstarted, usd(500), "strict")  # its number stays the watermark's edge
    await request(keeper, 100, 60, "relaxed")
    keeper.settle(await hold(keeper, 50), usd(50))
    await commit(keeper)
    keeper, _, recovered = await (await books.crash()).recover()
    assert recovered == Recovered(1, 500)
    assert await available(keeper) == 1000 - 60 - 50


async def test_a_void_gives_back_what_a_correction_left(books: Books) -> None:
    keeper, _ = await books.open(BUSY_BUT_NEVER_QUIET)
    await keeper.credit(paid("cs_1", 1000))
    await keeper.start(await hold(keeper, 500), usd(500), "strict")
    await request(keeper, 100, 30)
    await request(keeper, 100, 0)
    await commit(keeper)
    keeper, _, recovered = await (await books.crash()).recover()
    assert recovered == Recovered(2, 530)
    assert await available(keeper) == 1000


async def test_when_it_goes_quiet_the_final_watermark_is_stored(books: Books) -> None:
    keeper, store = await books.open()
    await keeper.credit(paid("cs_1", 1000))
    await request(keeper, 100, 100)
    await until(lambda: store.landed[-1].started == 1)
    assert store.landed[-1].quiet
    keeper, _, recovered = await (await books.crash()).recover()
    assert recovered == Recovered(0, 0)
    assert await available(keeper) == 900


async def test_an_answer_that_starts_long_after_its_commit_is_in_the_final_watermark(books: Books) -> None:
    """On a slow disk the keeper has gone to rest before the answer begins; nothing else may come for hours."""
    keeper, store = await books.open()
    await keeper.credit(paid("cs_1", 1000))
    held = await hold(keeper, 100)
    await keeper.start(held, usd(100), "strict")
    await turn(200)
    landed = len(store.landed)
    held.started()
    await until(lambda: len(store.landed) > landed)
    assert store.landed[-1].started == 1
    _, _, recovered = await (await books.crash()).recover()
    assert recovered == Recovered(0, 0)
    keeper.settle(held, usd(100))


async def test_a_quiet_keeper_writes_its_watermark_once(books: Books) -> None:
    keeper, store = await books.open()
    await keeper.credit(paid("cs_1", 1000))
    await request(keeper, 100, 100)
    await until(lambda: store.landed[-1].started == 1)
    landed = len(store.landed)
    await turn(300)
    assert len(store.landed) == landed


async def test_an_answer_under_way_at_the_close_is_voided_only_if_it_never_started(books: Books) -> None:
    keeper, _ = await books.open()
    await keeper.credit(paid("cs_1", 1000))
    begun, waiting = await hold(keeper, 100), await hold(keeper, 40)
    await keeper.start(begun, usd(100), "strict")
    await keeper.start(waiting, usd(40), "strict")
    begun.started()
    keeper, recovered = await books.reopen()
    assert recovered == Recovered(1, 40)
    assert await available(keeper) == 900


# --- the store itself -------------------------------------------------------------------------------------------------


def draft(seq: int, first: int, *, credits: int = 0, loads: int = 0) -> Draft:
    return Draft(
        seq=seq,
        first=first,
        at_ms=1000 + seq,
        started=first - 1,
        credits=[paid(f"cs_{n}", 100) for n in range(credits)],
        loads=[("ann", "usd")] * loads,
    )


async def row_of_ann(store: LedgerStore) -> AccountRow | None:
    """The account as committed: a draft that only reads writes nothing."""
    return (await store.commit(Draft(seq=0, first=0, loads=[("ann", "usd")]))).accounts.get(("ann", "usd"))


async def borrow(store: LedgerStore, micros: int) -> None:
    """What is spent out of a store that lends was drawn from it before."""
    if isinstance(store, PostgresLedgerStore):
        assert (await store.draw("ann", "usd", micros)).micros >= micros


async def test_a_store_writes_a_draft_whole_and_reads_after_it(books: Books) -> None:
    store = await books.store()
    tail = await store.open()
    assert replace(tail, unstarted=list(tail.unstarted)) == Tail(0, 1, 0, {}, [])
    assert await row_of_ann(store) is None
    assert await store.commit(draft(1, 1, loads=1)) == Committed([], {}, reversed=[])
    first = draft(1, 1, credits=2, loads=1)
    first.tariffs = [(1, TARIFF)]
    done = await store.commit(first)
    row = AccountRow(1, 200)
    await borrow(store, 30)
    assert (list(done.credited), dict(done.accounts)) == ([True, True], {("ann", "usd"): row})
    second = draft(2, 1, loads=1)
    spent = Record(Kind.GATED_CAPTURE, 1, 1, 7, 30, RequestId(5, 6))
    second.add(spent)
    done = await store.commit(second)
    assert dict(done.accounts) == {("ann", "usd"): AccountRow(1, 170)}
    assert await row_of_ann(store) == AccountRow(1, 170)
    await store.close()
    store = await books.store()
    tail = await store.open()
    await store.close()
    assert replace(tail, unstarted=list(tail.unstarted)) == Tail(2, 2, 0, {TARIFF: 1}, [spent])


async def test_a_draft_that_has_landed_is_recognised_after_a_reopening(books: Books) -> None:
    store = await books.store()
    await store.open()
    await store.commit(draft(1, 1, credits=1))
    await borrow(store, 30)
    spending = draft(2, 1)
    spending.tariffs = [(1, TARIFF)]
    spending.add(Record(Kind.CAPTURE, 1, 1, 7, 30, RequestId(5, 6)))
    await store.commit(spending)
    await store.reopen()
    await store.commit(spending)
    assert await row_of_ann(store) == AccountRow(1, 70)
    await store.close()


# --- the file ---------------------------------------------------------------------------------------------------------


async def test_books_that_are_kept_are_locked_and_free_again_after_the_close(file_books: Books) -> None:
    keeper, _ = await file_books.open()
    with pytest.raises(StoreLocked, match="another gateway keeps these books"):
        await Keeper(await file_books.store(), Clock()).open()
    assert await keeper.credit(paid("cs_1", 5))
    await file_books.close()
    keeper, _ = await file_books.open()
    assert await available(keeper) == 5


async def test_books_that_a_stranger_has_locked_are_locked_and_not_damaged(file_books: Books) -> None:
    await file_books.open()
    await file_books.close()
    with closing(sqlite3.connect(file_books.path, isolation_level=None)) as stranger:
        stranger.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreLocked, match="locked by another program"):
            await file_books.open()
        stranger.execute("ROLLBACK")
    await file_books.open()


async def test_the_files_are_for_their_owner_only(file_books: Books) -> None:
    keeper, _ = await file_books.open()
    await keeper.credit(paid("cs_1", 5))
    for ending in ("", "-wal", ".head", ".lock"):
        assert file_books.path.with_name(file_books.path.name + ending).stat().st_mode & 0o077 == 0


async def spoil(books: Books, statement: str) -> None:
    """Books with two batches and a head, tampered with by somebody who can write the file."""
    keeper, _ = await books.open()
    await keeper.credit(paid("cs_1", 1000))
    await request(keeper, 100, 100)
    await books.close()
    with closing(sqlite3.connect(books.path, isolation_level=None)) as connection:
        connection.execute(statement)


async def refused(books: Books, match: str) -> None:
    keeper = Keeper(await books.store(), Clock())
    with pytest.raises(StoreDamaged, match=match):
        await keeper.open()
    await keeper.close()


@pytest.mark.parametrize(
    ("statement", "match"),
    [
        ("DELETE FROM batch WHERE seq = (SELECT max(seq) FROM batch)", "rows were dropped"),
        ("DELETE FROM batch", "rows were dropped"),
        ("UPDATE batch SET started = 0, payload = x'00', count = 1", "run `gateway audit`"),
        ("UPDATE batch SET started = 0, payload = zeroblob(48), first = 1, count = 1", "run `gateway audit`"),
        ("UPDATE migration SET checksum = 'x'", "was changed after it had been applied"),
        ("INSERT INTO migration VALUES (99, '0099_x.sql', 'x')", "use a newer gateway"),
    ],
)
async def test_books_that_do_not_hang_together_are_refused_and_stay_refused(
    tmp_path: Path, statement: str, match: str
) -> None:
    books = Books(tmp_path / "books")
    await spoil(books, statement)
    for _ in range(2):  # a close after a refusal must not bless what was refused
        await refused(books, match)


async def test_books_without_their_head_or_with_a_strange_one_are_refused(tmp_path: Path) -> None:
    books = Books(tmp_path / "books")
    await spoil(books, "VACUUM")
    head = books.path.with_name("ledger.db.head")
    kept = head.read_text()
    for text in ("", "{}", "[]", '{"seq":"x","hash":"","mac":""}'):
        head.write_text(text)
        await refused(books, "is not a head that the gateway wrote")
    head.write_text(kept.replace('"mac": "', '"mac": "é'))
    await refused(books, "is not signed by this gateway's key")
    head.unlink()
    await refused(books, "is missing")
    head.write_text(kept)
    await books.open()
    await books.close()


async def test_a_head_that_an_older_key_signed_is_accepted_and_signed_anew(file_books: Books) -> None:
    keeper, _ = await file_books.open()
    await keeper.credit(paid("cs_1", 5))
    await file_books.close()
    newer = SqliteLedgerStore(file_books.path, head_key=b"n" * 32, older_head_keys=[b"x" * 32, KEY])
    await newer.open()
    await newer.close()
    assert audit(file_books.path, head_key=b"n" * 32).head == "verified"
    await refused(file_books, "is not signed by this gateway's key")
    file_books.path.unlink()
