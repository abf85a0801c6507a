"""Promotion credit beside what was paid: drawn in its order, until its time is over, and never both in one micro."""

import asyncio
from dataclasses import replace

import pytest

from gateway.adapters.postgres.audit import audit as audit_database
from gateway.adapters.postgres.bookkeeping import PostgresBookkeeping
from gateway.adapters.postgres.ledger import PostgresLedgerStore
from gateway.adapters.postgres.sessions import Address
from gateway.adapters.sqlite.bookkeeping import SqliteBookkeeping
from gateway.adapters.sqlite.ledger import SqliteLedgerStore
from gateway.core.ids import RequestId
from gateway.core.ledger import Credit, Reversal
from gateway.core.purses import PLAIN, Purse, purse_named
from gateway.core.refusals import LedgerUnavailable, PaymentRequired
from gateway.core.secrets import Secret
from gateway.flows.keep import Keeper
from gateway.flows.maintain import Maintain
from gateway.ports import Bookkeeping, RequestUnknown
from tests.ledger_books import (
    BUSY_BUT_NEVER_QUIET,
    KEY,
    PATIENT,
    TARIFF,
    Books,
    available,
    books,
    commit,
    hold,
    lose_patience,
    paid,
    regain_patience,
    request,
    turn,
    usd,
)

__all__ = ["books"]  # a fixture

NOW = 1_790_000_000_000
SOON = NOW + 1000
PROMO = Purse(-10)
ENDING = Purse(0, SOON)


def granted(ref: str, micros: int, purse: Purse, account: str = "ann") -> Credit:
    return Credit(ref, account, usd(micros), "grant", "welcome", purse)


async def left(keeper: Keeper, *purses: Purse) -> list[int]:
    """What is in each purse."""
    found = [await keeper.account((purse.named("ann"), "usd")) for purse in purses]
    return [account.available + account.elsewhere for account in found]


async def test_the_lowest_priority_number_is_drawn_on_first_and_then_what_ends_sooner(books: Books) -> None:
    keeper, _ = await books.open()
    later = Purse(-10, SOON + 1)
    for number, purse in enumerate((PLAIN, later, Purse(5), ENDING, PROMO)):
        await keeper.credit(granted(f"g{number}", 100, purse))
    assert await available(keeper) == 500
    order = (later, PROMO, ENDING, PLAIN, Purse(5))
    for spent in range(1, 6):
        await request(keeper, 100, 100)
        assert await left(keeper, *order[: spent + 1]) == [0] * spent + [100] * (spent < 5)
    with pytest.raises(PaymentRequired) as refused:
        await hold(keeper, 1)
    assert refused.value.balance == usd(0)


async def test_a_second_purse_pays_only_what_the_first_is_short_of(books: Books) -> None:
    keeper, _ = await books.open()
    await keeper.credit(paid("cs", 100))
    await keeper.credit(granted("g", 30, PROMO))
    held = await hold(keeper, 50)
    assert held.balance == usd(130)  # nothing is on record yet
    await keeper.start(held, usd(50), "strict")
    held.started()
    assert held.balance == usd(80)
    assert keeper.settle(held, usd(50)) == usd(50)
    assert await left(keeper, PROMO, PLAIN) == [0, 80]
    keeper, recovered = await books.reopen()
    assert recovered.count == 0
    assert await left(keeper, PROMO, PLAIN) == [0, 80]


async def test_what_it_costs_less_in_the_end_is_given_back_to_the_purse_that_paid_last(books: Books) -> None:
    keeper, _ = await books.open()
    await keeper.credit(paid("cs", 100))
    await keeper.credit(granted("g", 30, PROMO))
    await request(keeper, 50, 40)
    assert await left(keeper, PROMO, PLAIN) == [0, 90]
    await keeper.credit(granted("g2", 30, PROMO))
    await request(keeper, 50, 20)
    assert await left(keeper, PROMO, PLAIN) == [10, 90]
    await request(keeper, 20, 0)
    assert await left(keeper, PROMO, PLAIN) == [10, 90]


async def test_all_or_nothing(books: Books) -> None:
    keeper, _ = await books.open()
    await keeper.credit(paid("cs", 20))
    await keeper.credit(granted("g", 30, PROMO))
    with pytest.raises(PaymentRequired) as refused:
        await hold(keeper, 51)
    assert refused.value.balance == usd(50)
    await request(keeper, 50, 50)
    assert await available(keeper) == 0


async def test_of_many_at_once_exactly_those_that_are_affordable_are_served(books: Books) -> None:
    keeper, _ = await books.open()
    await keeper.credit(paid("cs", 205))
    await keeper.credit(granted("g", 98, PROMO))
    await keeper.credit(granted("h", 100, Purse(7)))
    done = await asyncio.gather(*(request(keeper, 10, 10) for _ in range(60)), return_exceptions=True)
    assert sum(outcome is None for outcome in done) == 40
    assert all(outcome is None or isinstance(outcome, PaymentRequired) for outcome in done)
    assert await available(keeper) == 3


async def test_a_holder_of_promotion_credit_alone_is_served_and_known(books: Books) -> None:
    keeper, _ = await books.open()
    assert not await keeper.funded("ann", "usd")
    await keeper.credit(granted("g", 30, PROMO))
    assert await keeper.funded("ann", "usd")
    await request(keeper, 30, 30)
    with pytest.raises(PaymentRequired):
        await hold(keeper, 1)


async def test_a_grant_is_made_once(books: Books) -> None:
    keeper, _ = await books.open()
    assert await keeper.credit(granted("g", 30, PROMO))
    assert not await keeper.credit(granted("g", 30, ENDING))
    assert await left(keeper, PROMO, ENDING) == [30, 0]


async def test_a_grant_is_drawn_on_from_the_next_request_on(books: Books) -> None:
    keeper, _ = await books.open()
    await keeper.credit(paid("cs", 100))
    await request(keeper, 10, 10)
    await keeper.credit(granted("g", 30, PROMO))
    await request(keeper, 10, 10)
    assert await left(keeper, PROMO, PLAIN) == [20, 90]


async def test_a_split_hold_whose_record_does_not_become_durable_costs_nothing(books: Books) -> None:
    pace = replace(PATIENT)
    keeper, store = await books.open(pace)
    await keeper.credit(paid("cs", 100))
    await keeper.credit(granted("g", 30, PROMO))
    held = await hold(keeper, 50)
    store.go.clear()
    lose_patience(pace)
    with pytest.raises(LedgerUnavailable):
        await keeper.start(held, usd(50), "strict")
    assert keeper.settle(held, usd(50)) == usd(0)
    regain_patience(pace)
    store.go.set()
    await commit(keeper)
    assert await left(keeper, PROMO, PLAIN) == [30, 100]


async def test_what_has_expired_is_not_drawn_on(books: Books) -> None:
    keeper, _ = await books.open()
    await keeper.credit(paid("cs", 10))
    await keeper.credit(granted("g", 50, ENDING))
    books.clock.now = SOON - 1
    await request(keeper, 20, 20)
    books.clock.now = SOON
    assert await available(keeper) == 10
    await request(keeper, 10, 10)
    with pytest.raises(PaymentRequired) as refused:
        await hold(keeper, 1)
    assert refused.value.balance == usd(0)


async def test_what_was_held_when_it_expired_is_settled(books: Books) -> None:
    keeper, _ = await books.open()
    await keeper.credit(granted("g", 50, ENDING))
    held = await hold(keeper, 30)
    books.clock.now = SOON
    rest = Reversal("expired:1", "ann", usd(10**12), "expired", "", ENDING, at_most=True)
    assert await keeper.reverse(rest)
    await keeper.start(held, usd(30), "strict")
    held.started()
    keeper.settle(held, usd(25))
    assert await left(keeper, ENDING) == [5]
    assert await keeper.reverse(replace(rest, ref="expired:2"))
    assert await left(keeper, ENDING) == [0]
    assert not await keeper.reverse(replace(rest, ref="expired:3")), "there was nothing"


async def test_a_debt_closes_every_purse_until_it_is_paid(books: Books) -> None:
    keeper, _ = await books.open()
    await keeper.credit(paid("cs", 40))
    await keeper.credit(granted("g", 50, PROMO))
    await request(keeper, 10, 10)
    await keeper.reverse(Reversal("re", "ann", usd(60), "refund", ""))
    assert await available(keeper) == -20
    with pytest.raises(PaymentRequired) as refused:
        await hold(keeper, 5)
    assert refused.value.balance == usd(-20)
    await keeper.credit(paid("cs_2", 20))
    assert await available(keeper) == 40
    await request(keeper, 40, 40)


async def test_a_long_answer_goes_on_with_the_next_purse(books: Books) -> None:
    keeper, _ = await books.open()
    await keeper.credit(paid("cs", 100))
    await keeper.credit(granted("g", 30, PROMO))
    held = await hold(keeper, 20)
    await keeper.start(held, usd(10), "strict")
    held.started()
    await keeper.renew(held, usd(20), usd(40))
    assert held.balance == usd(110)
    assert (await keeper.balance("ann", "usd")).held == usd(60)
    with pytest.raises(PaymentRequired):
        await keeper.renew(held, usd(60), usd(71))
    assert keeper.settle(held, usd(55)) == usd(55)
    assert await left(keeper, PROMO, PLAIN) == [0, 75]
    keeper, _ = await books.reopen()
    assert await left(keeper, PROMO, PLAIN) == [0, 75]


async def test_what_comes_back_to_a_purse_that_was_all_charged_can_be_spent(books: Books) -> None:
    keeper, _ = await books.open()
    await keeper.credit(granted("g_1", 100, PROMO))
    await keeper.credit(paid("cs", 10))
    held = await hold(keeper, 100)
    await keeper.start(held, usd(100), "strict")
    held.started()
    await keeper.credit(granted("g_2", 1, Purse(5)))  # which purses there are is asked anew
    assert (await keeper.balance("ann", "usd")).held == usd(100)
    assert not await keeper.join("ann", "bob", "usd"), "not all can have moved"
    keeper.settle(held, usd(30))
    assert await available(keeper) == 70
    await request(keeper, 70, 70)


async def test_a_refund_goes_back_to_the_purses_that_paid(books: Books) -> None:
    keeper, _ = await books.open()
    await keeper.credit(paid("cs", 100))
    await keeper.credit(granted("g", 30, PROMO))
    id = RequestId(NOW, 77)
    held = await keeper.hold("ann", usd(50), id=id, token=7, tariff=TARIFF)
    await keeper.start(held, usd(50), "strict")
    held.started()
    keeper.settle(held, usd(50))
    await request(keeper, 80, 80)
    given = await keeper.refund(id, "it was wrong")
    assert sorted((charge.holder, charge.name, charge.micros) for charge in given) == [
        ("ann", "ann", 20),
        ("ann", PROMO.named("ann"), 30),
    ]
    assert await keeper.refund(id, "it was wrong") == []
    assert await left(keeper, PROMO, PLAIN) == [30, 20]
    await request(keeper, 50, 50)
    with pytest.raises(RequestUnknown):
        await keeper.refund(RequestId(NOW, 78), "x")


async def test_an_answer_that_never_started_is_voided_in_every_purse(books: Books) -> None:
    keeper, _ = await books.open(BUSY_BUT_NEVER_QUIET)
    await keeper.credit(paid("cs", 100))
    await keeper.credit(granted("g", 30, PROMO))
    await keeper.start(await hold(keeper, 50), usd(50), "strict")
    image = await books.crash()
    keeper, _, recovered = await image.recover()
    if not books.lends:  # there, who takes a dead host's books over voids
        assert (recovered.count, recovered.micros) == (2, 50)
    assert await left(keeper, PROMO, PLAIN) == [30, 100]


@pytest.mark.parametrize("steps", range(24))
async def test_cancelled_at_any_step_nothing_stays_on_hold(books: Books, steps: int) -> None:
    keeper, _ = await books.open()
    await keeper.credit(paid("cs", 40))
    await keeper.credit(granted("g", 30, PROMO))
    asking = asyncio.create_task(hold(keeper, 60))
    await turn(steps)
    asking.cancel()
    done = (await asyncio.gather(asking, return_exceptions=True))[0]
    if not isinstance(done, BaseException):
        keeper.settle(done, usd(0))
    assert (await keeper.balance("ann", "usd")).held == usd(0)
    await request(keeper, 70, 70)
    assert await available(keeper) == 0


async def test_when_the_books_cannot_be_reached_nothing_is_refused_for_want_of_money(books: Books) -> None:
    keeper, _ = await books.open()
    await keeper.credit(granted("g", 30, PROMO))
    keeper, _ = await books.reopen()
    await keeper.close()
    with pytest.raises(LedgerUnavailable):
        await hold(keeper, 10)


@pytest.mark.parametrize("bad", ["ann#", "ann#1@2", "#"])
async def test_no_holder_is_named_like_a_purse(bad: str) -> None:
    with pytest.raises(ValueError, match="no holder"):
        Credit("r", bad, usd(1), "payment", "")


@pytest.mark.parametrize("purse", [PLAIN, PROMO, ENDING, Purse(1000, 2**53)])
def test_a_name_says_which_purse_it_is(purse: Purse) -> None:
    assert purse_named(purse.named("ann")) == ("ann", purse)


@pytest.mark.parametrize(
    "name", ["ann#", "ann#1", "ann#1@", "ann#01@0", "ann#0@0", "ann#+1@5", "ann#1@-5", "ann#1@2#3@4"]
)
def test_a_name_is_written_in_one_way(name: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 -- whatever its words
        purse_named(name)


async def test_the_audit_of_a_database_finds_purses_as_they_were_written(books: Books) -> None:
    keeper, watched = await books.open()
    await keeper.credit(paid("cs", 100))
    await keeper.credit(granted("g", 30, ENDING))
    await request(keeper, 50, 50)
    await keeper.reverse(Reversal("expired:1", "ann", usd(9), "expired", "", ENDING, at_most=True))
    await keeper.close()
    if isinstance(watched.inner, PostgresLedgerStore):
        report = await audit_database(Address(Secret(books._dsn)))
        assert report.findings == ()


async def test_housekeeping_takes_away_what_is_left_when_the_time_is_over(books: Books) -> None:
    keeper, watched = await books.open()
    await keeper.credit(paid("cs", 10))
    await keeper.credit(granted("g", 50, ENDING))
    await keeper.credit(granted("other", 50, replace(ENDING, expires_ms=SOON + 1)))
    held = await hold(keeper, 20)
    if isinstance(watched.inner, PostgresLedgerStore):
        address = Address(Secret(books._dsn))
        bookkeeping: Bookkeeping = PostgresBookkeeping(address, [KEY], name="host", host=lambda: watched.inner.host)  # type: ignore[attr-defined]
    elif isinstance(watched.inner, SqliteLedgerStore):
        bookkeeping = SqliteBookkeeping(watched.inner, books.path, [KEY])
    else:
        keeper.settle(held, usd(0))
        return  # nobody keeps house in the memory
    assert await bookkeeping.expired(now_ms=SOON - 1) == []
    books.clock.now = SOON
    keeping = Maintain(bookkeeping, books.clock, ledger=lambda: keeper)
    await keeping.turn()
    assert await left(keeper, ENDING, PLAIN) == [0, 10]
    await keeper.start(held, usd(15), "strict")
    held.started()
    keeper.settle(held, usd(15))
    await commit(keeper)
    assert await left(keeper, ENDING) == [5], "it was held when the time was over"
    books.clock.now += 1
    await keeping.turn()
    assert await left(keeper, ENDING, replace(ENDING, expires_ms=SOON + 1)) == [0, 0]
    assert await bookkeeping.expired(now_ms=SOON + 5) == []
    await bookkeeping.close()
