"""A keeper that lends on what is itself on loan to it: what it promises its workers, its lender and its heir."""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import replace

import pytest

from gateway.core.ids import RequestId
from gateway.core.ledger import Claim, Committed, Draft, Drawn, Kind, Origin, Record, Tail, Tariff
from gateway.flows.keep import Keeper, Pace, Recovered, slices
from gateway.flows.keep.slices import Branch, Greeting, Slices, WorkerDraft
from gateway.ports import Borrower

PACE = Pace(gap=0, idly=0, quiet=0, refuse_after=600, give_up_after=600, retry=0, idle=600)
TARIFF = Tariff("search", "operator", 0, "p")
ROW = 1


class Clock:
    def now_ms(self) -> int:
        return 1_790_000_000_000


class Bank:
    """A store that lends, of which a test says when it answers and what."""

    def __init__(self, tail: Tail) -> None:
        self._tail = tail
        self.questions: list[tuple[int, asyncio.Future[Drawn]]] = []
        self.returned = 0
        self.drafts: list[Draft] = []
        self.may_commit = asyncio.Event()
        self.may_commit.set()

    def lends_to(self, borrower: Borrower) -> None:
        """It asks when its test does."""

    async def open(self) -> Tail:
        return self._tail

    async def reopen(self) -> None:
        raise AssertionError("nothing has failed")

    async def commit(self, draft: Draft) -> Committed:
        await self.may_commit.wait()
        self.drafts.append(draft)
        return Committed([], {})

    async def close(self) -> None:
        """Nothing is left open."""

    async def draw(self, holder: str, unit: str, micros: int) -> Drawn:
        if not micros:
            return Drawn(ROW, 0, 0, doubtful=False)
        answer: asyncio.Future[Drawn] = asyncio.get_running_loop().create_future()
        self.questions.append((micros, answer))
        return await answer

    def look_again(self) -> None:
        """Nothing was kept back."""

    def give_back(self, returns: Mapping[int, int], *, in_use: bool = False) -> None:
        self.returned += sum(returns.values())

    async def answers(self, micros: int, *, lacking: int, elsewhere: int = 0, doubtful: bool = False) -> None:
        """Its next answer, to a question for so much."""
        await until(lambda: bool(self.questions))
        asked, answer = self.questions.pop(0)
        assert asked == lacking
        answer.set_result(Drawn(ROW, micros, elsewhere, doubtful))

    def written(self) -> list[tuple[Kind, int]]:
        return [
            (record.kind, record.micros) for draft in self.drafts for record in Record.unpack_all(bytes(draft.payload))
        ]


class Worker:
    """One that parts with `spare` when it is recalled; None if it does not answer."""

    def __init__(self, name: str, *, claim: Claim | None = None) -> None:
        self.spare: int | None = 0
        self.recalls = 0
        self.gone = False
        greeting = Greeting(name, claim is None, claim or Claim(0, {}, ()))
        self.branch = Branch(greeting, self._recall, begone=self._begone)
        self.lender: Slices | None = None

    def _recall(self, row: int) -> None:
        self.recalls += 1
        if self.spare is not None:
            assert self.lender is not None
            asyncio.get_running_loop().call_soon(self.lender.recalled, self.branch, row, self.spare)
            self.spare = 0

    def _begone(self) -> None:
        self.gone = True


class Host:
    """A keeper in the middle, with workers."""

    def __init__(self, *workers: Worker, tail: Tail | None = None, pace: Pace = PACE, accounts_max: int = 1000) -> None:
        self.bank = Bank(tail or Tail(0, 1, 0, {}, ()))
        self.keeper = Keeper(self.bank, Clock(), lender=self.bank, pace=pace, accounts_max=accounts_max)
        expected = [worker.branch.worker for worker in workers if not worker.branch.greeting.fresh]
        self.slices = Slices(self.keeper, workers=2, expected=expected)
        for worker in workers:
            worker.lender = self.slices
            assert self.slices.join(worker.branch)

    async def open(self) -> Recovered:
        recovered = await self.keeper.open(self.slices)
        await self.slices.begin()
        return recovered

    def asks(self, worker: Worker, micros: int) -> asyncio.Task[Drawn]:
        return asyncio.create_task(self.slices.draw(worker.branch, "ann", "usd", micros))

    async def lend(self, worker: Worker, micros: int) -> None:
        """Exactly so much, from the bank."""
        asked = self.asks(worker, micros)
        await self.bank.answers(micros, lacking=micros)
        assert (await asked).micros == micros


async def until(condition: Callable[[], bool]) -> None:
    for _ in range(10_000):
        if condition():
            return
        await asyncio.sleep(0)
    raise AssertionError("it does not come to that")


async def turns() -> None:
    for _ in range(50):
        await asyncio.sleep(0)


def gated(micros: int, number: int = 1) -> Record:
    return Record(Kind.GATED_CAPTURE, 1, ROW, 7, micros, RequestId(1_790_000_000_000, number))


# --- before a no ------------------------------------------------------------------------------------------------------


async def test_workers_part_with_what_they_can_before_the_last_question_and_it_goes_with_it() -> None:
    one, two = Worker("one"), Worker("two")
    host = Host(one, two)
    await host.open()
    await host.lend(two, 100)
    two.spare = 60
    asked = host.asks(one, 150)
    await host.bank.answers(100, lacking=150)
    assert host.bank.returned == 60
    assert await asked == Drawn(ROW, 100, 40, doubtful=False)
    assert (one.recalls, two.recalls) == (0, 1)
    await host.keeper.close()


async def test_where_there_is_more_than_with_our_workers_is_asked_first_and_it_is_not_the_last_word() -> None:
    one, two = Worker("one"), Worker("two")
    host = Host(one, two)
    await host.open()
    asked = host.asks(two, 100)
    await host.bank.answers(100, lacking=100, elsewhere=101)
    assert (await asked).micros == 100
    two.spare = 100
    asked = host.asks(one, 80)
    await host.bank.answers(0, lacking=80)
    await turns()
    assert (two.recalls, asked.done(), host.bank.questions) == (1, True, [])
    assert asked.result() == Drawn(ROW, 80, 20, doubtful=False)
    await host.keeper.close()


async def test_a_worker_that_does_not_answer_makes_a_no_doubtful(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slices, "ANSWER_SECONDS_MAX", 0.01)
    one, two = Worker("one"), Worker("two")
    host = Host(one, two)
    await host.open()
    await host.lend(two, 100)
    two.spare = None
    for _ in range(2):
        asked = host.asks(one, 20)
        await asyncio.sleep(0.02)
        await host.bank.answers(0, lacking=20)
        assert (await asked).doubtful
        async with host.keeper.called_in(ROW) as sure:
            assert not sure
    assert two.recalls == 1
    await host.keeper.close()


async def test_what_the_lender_doubts_is_doubtful() -> None:
    one = Worker("one")
    host = Host(one)
    await host.open()
    asked = host.asks(one, 20)
    await host.bank.answers(5, lacking=20, doubtful=True)
    assert await asked == Drawn(ROW, 5, 0, doubtful=True)
    await host.keeper.close()


# --- when another host asks -------------------------------------------------------------------------------------------


async def test_while_another_host_calls_in_nothing_that_came_is_lent_on() -> None:
    one, two = Worker("one"), Worker("two")
    host = Host(one, two)
    await host.open()
    await host.lend(two, 100)
    two.spare = 60
    async with host.keeper.called_in(ROW) as sure:
        asked = host.asks(one, 20)
        await turns()
        assert (sure, asked.done()) == (True, False)
        assert host.keeper.recall(ROW) == 60
    await host.bank.answers(20, lacking=20)
    assert (await asked).micros == 20
    await host.keeper.close()


async def test_a_call_does_not_wait_for_the_turn_of_a_worker_that_waits_for_the_database() -> None:
    one, two = Worker("one"), Worker("two")
    host = Host(one, two)
    await host.open()
    await host.lend(two, 100)
    asked = host.asks(one, 50)
    await until(lambda: bool(host.bank.questions))
    two.spare = 70  # it came free since it was recalled for `one`
    async with asyncio.timeout(1), host.keeper.called_in(ROW):
        assert host.keeper.recall(ROW) == 70
    await host.bank.answers(50, lacking=50)
    assert (await asked).micros == 50
    await host.keeper.close()


async def test_what_has_come_for_a_worker_is_spoken_for_at_once() -> None:
    one = Worker("one")
    host = Host(one)
    await host.open()
    asked = host.asks(one, 50)
    await host.bank.answers(50, lacking=50)
    while not asked.done():
        assert not host.keeper.recall(ROW)
        await asyncio.sleep(0)
    assert asked.result().micros == 50
    await host.keeper.close()


async def test_less_than_was_wanted_may_be_called_back_and_is_then_asked_for_again() -> None:
    one = Worker("one")
    host = Host(one)
    await host.open()
    asked, taken = host.asks(one, 50), 0
    await host.bank.answers(30, lacking=50)
    while not host.bank.questions and not asked.done():
        taken += host.keeper.recall(ROW) or 0
        await asyncio.sleep(0)
    assert taken == 30
    await host.bank.answers(50, lacking=50)
    assert await asked == Drawn(ROW, 50, 0, doubtful=False)
    await host.keeper.close()


async def test_a_worker_gets_nothing_to_spare_while_another_host_calls_in() -> None:
    one = Worker("one")
    host = Host(one)
    await host.open()
    asked = host.asks(one, 20)
    await until(lambda: bool(host.bank.questions))
    async with host.keeper.called_in(ROW):
        await host.bank.answers(500, lacking=20)
        assert (await asked).micros == 20
        assert host.keeper.recall(ROW) == 480
    await host.keeper.close()


async def test_a_worker_that_ends_while_its_question_is_answered_takes_nothing() -> None:
    for step in range(6):
        one = Worker("one")
        host = Host(one)
        await host.open()
        asked = host.asks(one, 20)
        await host.bank.answers(20, lacking=20)
        for _ in range(step):
            await asyncio.sleep(0)
        asked.cancel()
        host.slices.leave(one.branch)
        await asyncio.gather(asked, return_exceptions=True)
        await turns()
        assert host.keeper.recall(ROW) == 20
        await host.keeper.close()


async def test_what_is_not_in_the_books_yet_is_not_given_back_at_the_cost_of_what_is_lent() -> None:
    """A correction of a worker that has ended is nobody's until it is durable: the loan must cover what is lent."""
    one, two = Worker("one"), Worker("two")
    host = Host(one, two)
    await host.open()
    await host.lend(one, 100)
    await host.lend(two, 30)
    correction = Record(Kind.CORRECTION, 1, ROW, 7, -20, RequestId(1_790_000_000_000, 1))
    capture = replace(gated(100), kind=Kind.CAPTURE)
    await host.slices.take(one.branch, WorkerDraft(1, 1, 1, capture.pack(), {1: TARIFF}))
    host.bank.may_commit.clear()
    writing = asyncio.create_task(host.slices.take(one.branch, WorkerDraft(2, 1, 2, correction.pack())))
    await turns()
    host.slices.leave(one.branch)
    assert host.keeper.recall(ROW) is None
    host.bank.may_commit.set()
    await writing
    assert host.keeper.recall(ROW) == 20
    await host.keeper.close()


# --- what lies idle ---------------------------------------------------------------------------------------------------


async def test_what_nobody_uses_goes_back_but_not_what_is_lent() -> None:
    one = Worker("one")
    host = Host(one, pace=replace(PACE, idle=0.005))
    await host.open()
    asked = host.asks(one, 20)
    await host.bank.answers(500, lacking=20)
    lent = (await asked).micros
    await asyncio.sleep(0.05)
    assert host.bank.returned == 0
    host.slices.give_back(one.branch, {ROW: lent})
    await asyncio.sleep(0.05)
    assert host.bank.returned == 500
    await host.keeper.close()


async def test_a_void_of_an_account_that_its_worker_had_let_go_of_goes_back_whole() -> None:
    one = Worker("one")
    host = Host(one, pace=replace(PACE, idle=0.005))
    await host.open()
    await host.lend(one, 100)
    await host.slices.take(one.branch, WorkerDraft(1, 0, 1, gated(60).pack(), {1: TARIFF}))
    host.slices.give_back(one.branch, {ROW: 40})
    await asyncio.sleep(0.05)
    assert host.keeper.on_loan(ROW) is not None  # its answer has not begun: more may come
    host.slices.leave(one.branch)
    await asyncio.sleep(0.05)
    assert host.bank.written() == [(Kind.GATED_CAPTURE, 60), (Kind.VOID, -60)]
    assert host.bank.returned == 100
    await host.keeper.close()


# --- an heir ----------------------------------------------------------------------------------------------------------

LOANS = ((ROW, "ann", "usd", 100),)


def claiming(micros: int, name: str = "one") -> Worker:
    return Worker(name, claim=Claim(0, {1: TARIFF}, [(ROW, "ann", "usd", micros)]))


async def test_claims_come_out_of_the_loan_that_the_dead_keeper_had() -> None:
    one = claiming(60)
    host = Host(one, tail=Tail(0, 1, 0, {}, (), loans=LOANS))
    await host.keeper.open(host.slices)
    calling = asyncio.create_task(called(host))
    await turns()
    assert not calling.done()  # nobody knows yet what is spoken for
    await host.slices.begin()
    assert await calling == 40
    host.slices.leave(one.branch)
    assert host.keeper.recall(ROW) == 60
    await host.keeper.close()


async def test_no_loan_is_given_back_before_the_claims_are_taken_up() -> None:
    one = claiming(60)
    tail = Tail(1, 2, 0, {TARIFF: 1}, (gated(20),), loans=(*LOANS, (2, "bob", "usd", 50), (3, "eve", "usd", 50)))
    host = Host(one, tail=tail, accounts_max=1)
    await host.open()
    await turns()
    assert not one.gone
    assert host.keeper.recall(ROW) == 60  # with what was voided
    await host.keeper.close()


async def called(host: Host) -> int | None:
    async with host.keeper.called_in(ROW):
        return host.keeper.recall(ROW)


async def test_a_worker_that_claims_more_than_there_is_must_go() -> None:
    one, two = claiming(60, "one"), claiming(50, "two")
    host = Host(one, two, tail=Tail(0, 1, 0, {}, (), loans=LOANS))
    await host.open()
    assert (one.gone, two.gone) == (False, True)
    assert host.keeper.recall(ROW) == 40
    await host.keeper.close()


async def test_where_somebody_else_had_the_books_meanwhile_every_survivor_must_go() -> None:
    one, two = claiming(0, "one"), Worker("two")
    host = Host(one, two, tail=Tail(0, 1, 0, {}, (), anew=True))
    await host.open()
    assert (one.gone, two.gone) == (True, False)
    await host.keeper.close()


async def test_what_an_heir_voids_is_part_of_its_loan() -> None:
    tail = Tail(1, 2, 0, {TARIFF: 1}, (gated(20),), loans=LOANS)
    host = Host(tail=tail)
    assert await host.open() == Recovered(1, 20)
    assert host.bank.returned == 0
    assert host.keeper.recall(ROW) == 120
    await host.keeper.close()


async def test_of_a_worker_that_ends_before_its_claim_is_taken_up_the_unanswered_is_voided() -> None:
    one = claiming(30)
    origins = (Origin("one", 1, 1, 1, 1),)
    host = Host(one, tail=Tail(1, 2, 0, {TARIFF: 1}, (gated(20),), origins, loans=LOANS))
    assert await host.keeper.open(host.slices) == Recovered(0, 0)
    host.slices.leave(one.branch)
    await host.slices.begin()
    await host.keeper.durable()
    assert host.bank.written() == [(Kind.VOID, -20)]
    assert host.keeper.recall(ROW) == 120
    await host.keeper.close()
