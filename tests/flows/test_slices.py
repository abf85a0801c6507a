"""What the lender's side promises where no story of many steps is needed to see it."""

import asyncio
import copy

import pytest

from gateway.adapters.memory import MemoryLedgerStore
from gateway.core.ids import RequestId
from gateway.core.ledger import Claim, Credit, Kind, Record, Tariff
from gateway.core.money import Money
from gateway.flows.keep import Keeper, Pace, Recovered
from gateway.flows.keep.slices import Branch, Disorder, Greeting, Slices, WorkerDraft

PACE = Pace(gap=0, idly=0, quiet=0, refuse_after=600, give_up_after=600, retry=0)
TARIFF = Tariff("search", "operator", 0, "p")
NOTHING = Claim(0, {}, ())


class Clock:
    def now_ms(self) -> int:
        return 1_790_000_000_000


def usd(micros: int) -> Money:
    return Money(micros, "usd")


async def lender(store: MemoryLedgerStore, *branches: Branch) -> tuple[Keeper, Slices, Recovered]:
    """A keeper that lends to these, all of which have come."""
    keeper = Keeper(store, Clock(), pace=PACE)
    slices = Slices(keeper, workers=2, expected=[branch.worker for branch in branches if not branch.greeting.fresh])
    for branch in branches:
        assert slices.join(branch)
    recovered = await keeper.open(slices)
    return keeper, slices, recovered


def branch(name: str = "one", *, claim: Claim = NOTHING, fresh: bool = True) -> Branch:
    return Branch(Greeting(name, fresh, claim), lambda row: None)


def gated(row: int, micros: int, number: int = 1) -> bytes:
    return Record.packed(Kind.GATED_CAPTURE, 1, row, 7, micros, RequestId(1_790_000_000_000, number))


async def paid(store: MemoryLedgerStore, *branches: Branch) -> tuple[Keeper, Slices]:
    keeper, slices, _ = await lender(store, *branches)
    await slices.begin()
    await keeper.credit(Credit("cs_1", "ann", usd(1000), "payment", ""))
    return keeper, slices


async def test_a_slice_is_a_quarter_of_what_is_there_and_single_requests_at_the_end() -> None:
    one = branch()
    keeper, slices = await paid(MemoryLedgerStore(), one)
    assert (await slices.draw(one, "ann", "usd", 20)).micros == 250
    assert (await slices.draw(one, "ann", "usd", 700)).micros == 700
    last = await slices.draw(one, "ann", "usd", 60)
    assert (last.micros, last.elsewhere, last.doubtful) == (50, 0, False)
    await keeper.close()


async def test_a_worker_that_spends_what_it_does_not_have_is_found_out_and_nothing_is_written() -> None:
    one = branch()
    keeper, slices = await paid(store := MemoryLedgerStore(), one)
    drawn = await slices.draw(one, "ann", "usd", 20)
    with pytest.raises(Disorder, match="spends 251"):
        await slices.take(one, WorkerDraft(1, 0, 1, gated(drawn.row, 251), {1: TARIFF}))
    with pytest.raises(Disorder, match="gives back 251"):
        slices.give_back(one, {drawn.row: 251})
    slices.leave(one)
    assert (await keeper.balance("ann", "usd")).available == usd(1000)
    await keeper.close()
    assert store.records == []


async def test_what_comes_back_before_the_claims_are_taken_up_is_not_lost() -> None:
    one = branch()
    keeper, slices = await paid(store := MemoryLedgerStore(), one)
    row = (await slices.draw(one, "ann", "usd", 100)).row
    store = copy.deepcopy(store)  # the keeper dies
    await keeper.close()
    again = branch(claim=Claim(0, {}, [(row, "ann", "usd", 100)]), fresh=False)
    keeper, slices, _ = await lender(store, again)
    slices.give_back(again, {row: 40})
    await slices.begin()
    two = branch("two")
    assert slices.join(two)
    assert (await slices.draw(two, "ann", "usd", 940)).micros == 940
    assert (await slices.draw(two, "ann", "usd", 1)).micros == 0
    await keeper.close()


async def test_an_answer_that_has_not_begun_is_voided_though_its_keeper_died_before_its_worker() -> None:
    one = branch()
    keeper, slices = await paid(store := MemoryLedgerStore(), one)
    row = (await slices.draw(one, "ann", "usd", 100)).row
    await slices.take(one, WorkerDraft(1, 0, 1, gated(row, 100), {1: TARIFF}))
    store = copy.deepcopy(store)  # the keeper dies; the worker lives, and its answer still has not begun
    await keeper.close()
    again = branch(claim=Claim(0, {1: TARIFF}, [(row, "ann", "usd", 0)]), fresh=False)
    keeper, slices, recovered = await lender(store, again)
    assert recovered.count == 0
    await slices.begin()
    await keeper.credit(Credit("cs_2", "ann", usd(1), "payment", ""))
    store = copy.deepcopy(store)  # now both die
    await keeper.close()
    keeper, _, recovered = await lender(store)
    assert recovered == Recovered(1, 100)
    assert (await keeper.balance("ann", "usd")).available == usd(1001)
    await keeper.close()


async def given_away(store: MemoryLedgerStore) -> Recovered:
    """What a host that dies now would find when it starts again."""
    keeper, _, recovered = await lender(copy.deepcopy(store))
    await keeper.close()
    return recovered


async def test_a_worker_that_stands_still_holds_back_only_what_a_death_of_the_whole_host_would_void() -> None:
    """Nobody waits for it: the records of others are durable at once. Until it is replaced the mark cannot pass it."""
    stopped, busy = branch("stopped"), branch("busy")
    keeper, slices = await paid(store := MemoryLedgerStore(), stopped, busy)
    row = (await slices.draw(stopped, "ann", "usd", 100)).row
    await slices.draw(busy, "ann", "usd", 100)
    await slices.take(stopped, WorkerDraft(1, 0, 1, gated(row, 100), {1: TARIFF}))
    for number in (1, 2, 3):
        answered = WorkerDraft(number, number - 1, number, gated(row, 10, number + 1), {1: TARIFF})
        await slices.take(busy, answered)
    await slices.take(busy, WorkerDraft(4, 3, 4, b""))
    await keeper.credit(Credit("cs_2", "ann", usd(1), "payment", ""))
    assert await given_away(store) == Recovered(4, 130)
    slices.leave(stopped)
    await keeper.credit(Credit("cs_3", "ann", usd(1), "payment", ""))
    assert await given_away(store) == Recovered(0, 0)
    assert (await keeper.balance("ann", "usd")).available == usd(1002 - 30)
    await keeper.close()


async def test_a_worker_that_was_given_up_may_not_come_back() -> None:
    keeper = Keeper(MemoryLedgerStore(), Clock(), pace=PACE)
    slices = Slices(keeper, workers=2, expected=["late"], gather_seconds=0)
    await keeper.open(slices)
    await slices.begin()
    assert not slices.join(branch("late", fresh=False))
    assert not slices.join(branch("stranger", fresh=False))
    assert slices.join(branch("new"))
    assert not slices.join(branch("new"))
    await keeper.close()


async def test_a_draft_of_a_worker_that_has_left_is_not_written() -> None:
    one = branch()
    keeper, slices = await paid(store := MemoryLedgerStore(), one)
    row = (await slices.draw(one, "ann", "usd", 100)).row
    taking = asyncio.create_task(slices.take(one, WorkerDraft(1, 0, 1, gated(row, 100), {1: TARIFF})))
    slices.leave(one)
    with pytest.raises(Disorder, match="has left"):
        await taking
    await keeper.close()
    assert store.records == []


async def test_of_a_request_that_draws_on_two_accounts_each_gets_back_what_it_gave() -> None:
    one = branch()
    keeper, slices = await paid(store := MemoryLedgerStore(), one)
    await keeper.credit(Credit("cs_2", "ben", usd(1000), "payment", ""))
    rows = [(await slices.draw(one, holder, "usd", 20)).row for holder in ("ann", "ben")]
    request = RequestId(1_790_000_000_000, 1)
    corrected = Record.packed(Kind.CORRECTION, 1, rows[0], 7, -4, request)
    await slices.take(one, WorkerDraft(1, 0, 1, gated(rows[0], 10) + gated(rows[1], 20) + corrected, {1: TARIFF}))
    assert not await slices.ended(request)
    told: list[tuple[int, int]] = []
    slices._voided = lambda requests, micros: told.append((requests, micros))
    slices.leave(one)
    assert told == [(1, 26)], "operators count requests"
    await keeper.durable()
    voids = [(record.account, record.micros) for _, record in store.records if record.kind is Kind.VOID]
    assert voids == [(rows[0], -6), (rows[1], -20)]
    assert (await keeper.balance("ann", "usd")).available == usd(1000)
    await keeper.close()


async def test_a_request_that_has_ended_is_voided_neither_whole_nor_in_part() -> None:
    """It was paid with all that is left of one account, so nothing of that is spoken for, and with some of another."""
    one = branch()
    keeper, slices = await paid(store := MemoryLedgerStore(), one)
    await keeper.credit(Credit("cs_2", "ben", usd(10), "payment", ""))
    ben, ann = [(await slices.draw(one, holder, "usd", 10)).row for holder in ("ben", "ann")]
    unanswered, answered = gated(ann, 3, 1), gated(ben, 10, 2) + gated(ann, 20, 2)
    await slices.take(one, WorkerDraft(1, 0, 1, unanswered + answered, {1: TARIFF}))
    store = copy.deepcopy(store)  # the keeper dies, and then its worker
    await keeper.close()
    again = branch(claim=Claim(0, {1: TARIFF}, [(ann, "ann", "usd", 0)]), fresh=False)
    keeper, slices, _ = await lender(store, again)
    await slices.begin()
    slices.leave(again)
    await keeper.durable()
    assert [(record.account, record.micros) for _, record in store.records if record.kind is Kind.VOID] == [(ann, -3)]
    await keeper.close()
