"""What is promised of money that is taken back, over every store that can: once per ref, to the micro, debt first."""

import asyncio
import copy
import shutil
import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path

import pytest

from gateway.adapters.memory import MemoryLedgerStore
from gateway.adapters.sqlite.audit import audit
from gateway.adapters.sqlite.bookkeeping import EVERYTHING_MS, open_books
from gateway.adapters.sqlite.fold import Fold
from gateway.adapters.sqlite.ledger import SqliteLedgerStore, read_available
from gateway.core.ids import RequestId
from gateway.core.ledger import Balance, Committed, Credit, Draft, Reversal, Tail, Tariff
from gateway.core.money import AMOUNT_MICROS_MAX, Money
from gateway.core.refusals import LedgerUnavailable, PaymentRequired
from gateway.flows.keep import Keeper, Pace
from gateway.ports import Hold, LedgerStore, StoreFailed

KEY = b"k" * 32
TARIFF = Tariff("search", "operator", 0, "0.002 usd")
PATIENT = Pace(gap=0, idly=0, quiet=0, refuse_after=600, give_up_after=600, retry=0)


class Clock:
    def now_ms(self) -> int:
        return 1_790_000_000_000


class Watched:
    """A store that can be stopped before a commit, and made to fail around one."""

    def __init__(self, inner: LedgerStore) -> None:
        self.inner = inner
        self.go = asyncio.Event()
        self.go.set()
        self.drafts: list[Draft] = []
        self.fail_after: list[Exception] = []

    async def open(self) -> Tail:
        return await self.inner.open()

    async def reopen(self) -> None:
        await self.inner.reopen()

    async def commit(self, draft: Draft) -> Committed:
        self.drafts.append(draft)
        await self.go.wait()
        done = await self.inner.commit(draft)
        if self.fail_after:
            raise self.fail_after.pop()
        return done

    async def close(self) -> None:
        await self.inner.close()


class Books:
    """One set of books, and the keepers that open it, one after the other."""

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder
        self._memory = MemoryLedgerStore()
        self.keeper: Keeper | None = None

    @property
    def path(self) -> Path:
        assert self._folder is not None
        return self._folder / "ledger.db"

    async def open(self, accounts_max: int = 1000) -> tuple[Keeper, Watched]:
        await self.close()
        self.store = Watched(SqliteLedgerStore(self.path, head_key=KEY) if self._folder else self._memory)
        self.keeper = Keeper(self.store, Clock(), pace=PATIENT, accounts_max=accounts_max)
        await self.keeper.open()
        return self.keeper, self.store

    async def crash(self) -> "Books":
        """The books as a power failure would leave them now."""
        image = Books(self._folder and self._folder / "image")
        image._memory = copy.deepcopy(self._memory)
        if image._folder is not None:
            image._folder.mkdir()
            for ending in ("", "-wal", ".head"):
                shutil.copy(self.path.with_name(self.path.name + ending), image._folder)
        return image

    async def close(self) -> None:
        if self.keeper is not None:
            self.store.go.set()
            await self.keeper.close()
            self.keeper = None
            if self._folder is not None:
                self.prove()

    def prove(self) -> None:
        """As they are, and folded."""
        assert audit(self.path, head_key=KEY).findings == ()
        with closing(open_books(self.path, write=True)) as sql:
            fold = Fold()
            while fold.step(sql, closed_before_ms=EVERYTHING_MS):
                pass
        assert audit(self.path, head_key=KEY).findings == ()


@pytest.fixture(params=["memory", "sqlite"])
async def books(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Books]:
    made = Books(tmp_path / "books" if request.param == "sqlite" else None)
    yield made
    await made.close()


@pytest.fixture
async def file_books(tmp_path: Path) -> AsyncIterator[Books]:
    made = Books(tmp_path / "books")
    yield made
    await made.close()


def usd(micros: int) -> Money:
    return Money(micros, "usd")


def paid(ref: str, micros: int, account: str = "ann") -> Credit:
    return Credit(ref, account, usd(micros), "payment", "")


def back(ref: str, micros: int, account: str = "ann") -> Reversal:
    return Reversal(ref, account, usd(micros), "refund", "")


_numbers = iter(range(1, 1 << 40))


async def hold(keeper: Keeper, micros: int, account: str = "ann") -> Hold:
    return await keeper.hold(
        account, usd(micros), id=RequestId(1_790_000_000_000, next(_numbers)), token=7, tariff=TARIFF
    )


async def buy(keeper: Keeper, micros: int, account: str = "ann") -> None:
    held = await hold(keeper, micros, account)
    await keeper.start(held, usd(micros), "strict")
    held.started()
    keeper.settle(held, usd(micros))


async def available(keeper: Keeper, account: str = "ann") -> int:
    return (await keeper.balance(account, "usd")).available.micros


async def turn(times: int = 30) -> None:
    for _ in range(times):
        await asyncio.sleep(0)


async def test_money_is_taken_back_once(books: Books) -> None:
    keeper, _ = await books.open()
    await keeper.credit(paid("cs_1", 1000))
    assert await keeper.reverse(back("re_1", 300)) is True
    assert await keeper.reverse(back("re_1", 300)) is False
    assert await available(keeper) == 700
    keeper, _ = await books.open()
    assert await keeper.reverse(back("re_1", 300)) is False
    assert await available(keeper) == 700


async def test_it_arrives_once_when_it_comes_fifty_times_at_once(books: Books) -> None:
    keeper, _ = await books.open()
    await keeper.credit(paid("cs_1", 100))
    done = await asyncio.gather(*(keeper.reverse(back("re_1", 30)) for _ in range(50)))
    assert sorted(done) == [False] * 49 + [True]
    assert await available(keeper) == 70
    keeper, _ = await books.open()
    assert await available(keeper) == 70


async def test_a_ref_is_one_entry_whether_it_is_a_credit_or_a_reversal(books: Books) -> None:
    keeper, _ = await books.open()
    await keeper.credit(paid("one", 500))
    assert not await keeper.reverse(back("one", 100))
    assert not await keeper.reverse(back("one", 100, "bob"))
    assert await keeper.reverse(back("two", 100))
    assert not await keeper.credit(paid("two", 100))
    assert (await available(keeper), await available(keeper, "bob")) == (400, 0)
    first, second = await asyncio.gather(keeper.reverse(back("three", 50)), keeper.credit(paid("three", 50)))
    assert first is not second
    assert await available(keeper) == 400 + (50 if second else -50)


async def test_what_is_not_there_any_more_becomes_debt_and_the_next_credits_pay_it(books: Books) -> None:
    keeper, _ = await books.open()
    await keeper.credit(paid("cs_1", 1000))
    await buy(keeper, 900)
    assert await keeper.reverse(back("re_1", 1000))
    assert await available(keeper) == -900
    with pytest.raises(PaymentRequired) as refused:
        await hold(keeper, 1)
    assert refused.value.balance == usd(-900)
    for reopened in (False, True):
        if reopened:
            keeper, _ = await books.open()
        assert await keeper.balance("ann", "usd") == Balance(usd(-900), usd(0))
    await keeper.credit(paid("cs_2", 400))
    assert await available(keeper) == -500
    await keeper.credit(paid("cs_3", 501))
    assert await available(keeper) == 1
    await buy(keeper, 1)
    keeper, _ = await books.open()
    assert await available(keeper) == 0


async def test_a_reversal_of_exactly_what_is_there_leaves_nothing_and_no_debt(file_books: Books) -> None:
    keeper, _ = await file_books.open()
    await keeper.credit(paid("cs_1", 1000))
    await keeper.reverse(back("re_1", 1000))
    await keeper.credit(paid("cs_2", 7))
    await file_books.close()
    with closing(sqlite3.connect(file_books.path)) as sql:
        assert sql.execute("SELECT credited, spent, debt FROM account").fetchall() == [(7, 0, 0)]


async def test_what_is_held_is_never_taken(books: Books) -> None:
    keeper, _ = await books.open()
    await keeper.credit(paid("cs_1", 1000))
    held = await hold(keeper, 600)
    await keeper.reverse(back("re_1", 1000))
    assert await keeper.balance("ann", "usd") == Balance(usd(-600), usd(600))
    await keeper.start(held, usd(600), "strict")
    held.started()
    assert keeper.settle(held, usd(250)) == usd(250)
    assert await available(keeper) == -250
    keeper, _ = await books.open()
    assert await available(keeper) == -250
    await keeper.credit(paid("cs_2", 1000))
    assert await available(keeper) == 750


async def test_what_a_settlement_has_just_given_back_can_be_taken_in_the_same_commit(books: Books) -> None:
    keeper, store = await books.open()
    await keeper.credit(paid("cs_1", 1000))
    held = await hold(keeper, 1000)
    await keeper.start(held, usd(1000), "strict")
    held.started()
    store.go.clear()
    asking = asyncio.create_task(keeper.balance("nobody", "usd"))
    await turn()
    keeper.settle(held, usd(0))
    taking = asyncio.create_task(keeper.reverse(back("re_1", 1000)))
    await turn()
    store.go.set()
    assert await taking
    await asking
    assert [taken for draft in store.drafts for _, taken in draft.reversals] == [1000]
    assert await available(keeper) == 0


async def test_a_credit_that_is_on_its_way_and_a_reversal_add_up(books: Books) -> None:
    keeper, store = await books.open()
    await keeper.credit(paid("cs_1", 10))
    assert await available(keeper) == 10
    store.go.clear()
    coming = asyncio.create_task(keeper.credit(paid("cs_2", 1000)))
    await turn()
    taking = asyncio.create_task(keeper.reverse(back("re_1", 500)))
    await turn()
    with pytest.raises(PaymentRequired):
        await hold(keeper, 1)
    store.go.set()
    assert await coming
    assert await taking
    assert await available(keeper) == 510
    await buy(keeper, 510)
    keeper, _ = await books.open()
    assert await available(keeper) == 0


async def test_a_refund_may_be_heard_of_before_its_payment(books: Books) -> None:
    keeper, _ = await books.open()
    assert await keeper.reverse(back("re_1", 300))
    assert await available(keeper) == -300
    keeper, _ = await books.open()
    assert await available(keeper) == -300
    await keeper.credit(paid("cs_1", 1000))
    assert await available(keeper) == 700


async def test_nobody_is_granted_what_goes_back_while_it_is_written(books: Books) -> None:
    keeper, store = await books.open()
    await keeper.credit(paid("cs_1", 1000))
    assert await available(keeper) == 1000
    store.go.clear()
    taking = asyncio.create_task(keeper.reverse(back("re_1", 1000)))
    await turn()
    with pytest.raises(PaymentRequired):
        await hold(keeper, 1)
    store.go.set()
    assert await taking


async def test_of_a_ref_that_was_there_the_memory_gets_its_money_back(books: Books) -> None:
    keeper, store = await books.open()
    await keeper.credit(paid("cs_1", 1000))
    await keeper.reverse(back("re_1", 400))
    store.go.clear()
    taking = asyncio.create_task(keeper.reverse(back("re_1", 600)))
    await turn()
    assert (await keeper.balance("ann", "usd")).available == usd(0)
    store.go.set()
    assert await taking is False
    assert await available(keeper) == 600
    await buy(keeper, 600)


async def test_more_than_an_account_can_owe_is_refused_and_changes_nothing(books: Books) -> None:
    keeper, _ = await books.open()
    await keeper.credit(paid("cs_1", 100))
    held = await hold(keeper, 100)
    assert await keeper.reverse(back("re_1", AMOUNT_MICROS_MAX))
    with pytest.raises(ValueError, match="more than an account can hold"):
        await keeper.reverse(back("re_2", 1))
    keeper.settle(held, usd(0))  # the debt in the books is at its bound, the balance is not
    with pytest.raises(ValueError, match="more than an account can hold"):
        await keeper.reverse(back("re_2", 50))
    assert await available(keeper) == 100 - AMOUNT_MICROS_MAX


@pytest.mark.parametrize("micros", [0, -5])
def test_a_reversal_of_nothing_is_refused_before_it_can_spoil_a_batch(micros: int) -> None:
    with pytest.raises(ValueError, match="nothing to take back"):
        back("re_1", micros)


@pytest.mark.parametrize("text", ["a\nb", "x" * 501])
def test_a_reversal_that_cannot_be_written_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="text of a reversal"):
        back(text, 5)


async def test_whoever_asked_may_leave_and_it_is_taken_all_the_same(books: Books) -> None:
    keeper, store = await books.open()
    await keeper.credit(paid("cs_1", 1000))
    assert await available(keeper) == 1000
    store.go.clear()
    leaving = asyncio.create_task(keeper.reverse(back("re_1", 300)))
    await turn()
    leaving.cancel()
    await turn()
    store.go.set()
    await keeper.credit(paid("cs_2", 5))
    assert await available(keeper) == 705


async def test_one_who_leaves_while_the_account_is_loaded_takes_nothing(books: Books) -> None:
    keeper, _ = await books.open()
    await keeper.credit(paid("cs_1", 1000))
    keeper, store = await books.open()
    store.go.clear()
    leaving = asyncio.create_task(keeper.reverse(back("re_1", 300)))
    await turn()
    leaving.cancel()
    store.go.set()
    await turn()
    assert await available(keeper) == 1000
    assert await keeper.reverse(back("re_1", 300))


async def test_a_draft_that_had_landed_is_told_right_when_it_is_tried_again(books: Books) -> None:
    keeper, store = await books.open()
    await keeper.credit(paid("cs_1", 1000))
    await keeper.reverse(back("re_0", 1))
    store.fail_after = [StoreFailed("nobody heard")]
    outcomes = await asyncio.gather(
        keeper.reverse(back("re_1", 300)), keeper.reverse(back("re_1", 300)), keeper.reverse(back("re_0", 1))
    )
    assert list(outcomes) == [True, False, False]
    assert await available(keeper) == 699
    keeper, _ = await books.open()
    assert await available(keeper) == 699


async def test_a_crash_keeps_what_was_told_and_nothing_else(books: Books) -> None:
    keeper, store = await books.open()
    await keeper.credit(paid("cs_1", 1000))
    assert await keeper.reverse(back("re_1", 1200))
    store.go.clear()
    taking = asyncio.create_task(keeper.reverse(back("re_2", 100)))
    await turn()
    image = await books.crash()
    taking.cancel()
    keeper, _ = await image.open()
    assert await available(keeper) == -200
    assert not await keeper.reverse(back("re_1", 1200))
    assert await keeper.reverse(back("re_2", 100))
    await image.close()


async def test_an_account_is_not_forgotten_while_its_reversal_is_written(books: Books) -> None:
    keeper, store = await books.open(accounts_max=1)
    await keeper.credit(paid("cs_1", 1000))
    await keeper.credit(paid("cs_2", 1000, "bob"))
    store.go.clear()
    taking = asyncio.create_task(keeper.reverse(back("re_1", 1500)))
    await turn()
    store.go.set()
    await asyncio.gather(*(keeper.balance(name, "usd") for name in ("bob", "carl", "dora")))
    assert await taking
    assert await available(keeper) == -500


async def test_a_stuck_store_refuses_and_repeating_is_safe(books: Books) -> None:
    keeper, store = await books.open()
    await keeper.credit(paid("cs_1", 1000))
    assert await available(keeper) == 1000
    store.go.clear()
    taking = asyncio.create_task(keeper.reverse(back("re_1", 300)))
    await turn()
    object.__setattr__(keeper._pace, "refuse_after", -1)
    try:
        with pytest.raises(LedgerUnavailable):
            await keeper.reverse(back("re_2", 1))
    finally:
        object.__setattr__(keeper._pace, "refuse_after", 600)
    store.go.set()
    assert await taking
    assert not await keeper.reverse(back("re_1", 300))
    assert await available(keeper) == 700


async def test_a_closed_keeper_takes_nothing_back(books: Books) -> None:
    keeper, _ = await books.open()
    await keeper.credit(paid("cs_1", 1000))
    await books.close()
    with pytest.raises(LedgerUnavailable):
        await keeper.reverse(back("re_1", 300))


async def test_a_reversal_is_in_the_head_before_it_is_told(file_books: Books) -> None:
    keeper, _ = await file_books.open()
    await keeper.credit(paid("cs_1", 1000))
    head = file_books.path.with_name("ledger.db.head")
    before = head.read_text()
    await keeper.reverse(back("re_1", 300))
    assert head.read_text() != before


async def test_double_entry_of_a_debt_and_of_what_pays_it(file_books: Books) -> None:
    keeper, _ = await file_books.open()
    await keeper.credit(paid("stripe:cs_1", 1000))
    await keeper.reverse(back("stripe:re_1", 1300))
    await keeper.credit(paid("stripe:cs_2", 400))
    assert read_available(file_books.path, "ann", "usd", now_ms=0) == 100
    await file_books.close()
    with closing(sqlite3.connect(file_books.path)) as sql:
        found = sql.execute("SELECT kind, payer, payee, micros, cause FROM transfer ORDER BY fold, number").fetchall()
    assert found == [
        ("credit", "clearing:stripe", "account:1", 1000, "stripe:cs_1"),
        ("debt", "debt:1", "clearing:stripe", 300, "stripe:re_1"),
        ("reversal", "account:1", "clearing:stripe", 1000, "stripe:re_1"),
        ("repayment", "clearing:stripe", "debt:1", 300, "stripe:cs_2"),
        ("credit", "clearing:stripe", "account:1", 100, "stripe:cs_2"),
    ]
