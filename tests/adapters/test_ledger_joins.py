"""Two wallets become one: everything moves, once, whatever is going on."""

import asyncio

import pytest

from gateway.adapters.postgres.audit import audit as audit_database
from gateway.adapters.postgres.credits import PostgresCreditLines
from gateway.adapters.postgres.ledger import PostgresLedgerStore
from gateway.adapters.postgres.sessions import Address
from gateway.adapters.sqlite.credits import SqliteCreditLines
from gateway.core.ledger import Credit, Reversal
from gateway.core.money import AMOUNT_MICROS_MAX, Money
from gateway.core.purses import PLAIN, Purse
from gateway.core.refusals import PaymentRequired
from gateway.core.secrets import Secret
from gateway.flows.keep import Keeper
from gateway.ports import Standings
from tests.ledger_books import Books, available, books, commit, hold, paid, request, usd

__all__ = ["books"]  # a fixture

PROMO = Purse(-10, 1_800_000_000_000)


async def both(keeper: Keeper) -> tuple[int, int]:
    return await available(keeper, "ann"), await available(keeper, "bob")


async def test_everything_moves_into_the_other_wallet(books: Books) -> None:
    keeper, watched = await books.open()
    await keeper.credit(paid("cs_1", 100))
    await keeper.credit(paid("cs_2", 30, "bob"))
    await request(keeper, 20, 20)
    assert await keeper.join("ann", "bob", "usd")
    assert await both(keeper) == (0, 110)
    assert await keeper.join("ann", "bob", "usd"), "there is nothing left to do"
    await request(keeper, 110, 110, account="bob")
    with pytest.raises(PaymentRequired):
        await hold(keeper, 1)
    keeper, _ = await books.reopen()
    assert await both(keeper) == (0, 0)
    await keeper.close()
    if isinstance(watched.inner, PostgresLedgerStore):
        assert (await audit_database(Address(Secret(books._dsn)))).findings == ()


async def test_the_books_know_what_a_holder_has_something_in(books: Books) -> None:
    keeper, watched = await books.open()
    for ref, unit in (("cs_1", "usd"), ("cs_2", "eur"), ("cs_3", "eur")):
        await keeper.credit(Credit(ref, "ann", Money(5, unit), "payment", "", PROMO if ref == "cs_3" else PLAIN))
    await keeper.credit(Credit("cs_4", "bob", Money(5, "jpy"), "payment", ""))
    lines: Standings
    if isinstance(watched.inner, PostgresLedgerStore):
        lines = PostgresCreditLines(Address(Secret(books._dsn)))
    else:
        lines = SqliteCreditLines(books.path) if books.in_sqlite else books._memory
    assert await lines.units("ann") == ["eur", "usd"]
    for unit in await lines.units("ann"):
        assert await keeper.join("ann", "bob", unit)
    assert [str((await keeper.balance("bob", unit)).available) for unit in await lines.units("bob")] == [
        "0.00001 eur",
        "0.000005 jpy",
        "0.000005 usd",
    ]
    assert await lines.units("eve") == []


async def test_into_a_wallet_that_is_not_there(books: Books) -> None:
    keeper, _ = await books.open()
    await keeper.credit(paid("cs_1", 100))
    assert await keeper.join("ann", "bob", "usd")
    assert await both(keeper) == (0, 100)
    assert await keeper.join("nobody", "bob", "usd")


async def test_every_purse_stays_what_it_is(books: Books) -> None:
    keeper, _ = await books.open()
    await keeper.credit(paid("cs_1", 100))
    await keeper.credit(Credit("g_1", "ann", usd(50), "grant", "", PROMO))
    await keeper.credit(Credit("g_2", "bob", usd(5), "grant", "", PROMO))
    assert await keeper.join("ann", "bob", "usd")
    assert await both(keeper) == (0, 155)
    await request(keeper, 60, 60, account="bob")
    books.clock.now = PROMO.expires_ms
    assert await available(keeper, "bob") == 95


async def test_what_is_held_moves_when_it_is_settled(books: Books) -> None:
    keeper, _ = await books.open()
    await keeper.credit(paid("cs_1", 100))
    held = await hold(keeper, 60)
    assert not await keeper.join("ann", "bob", "usd")
    assert await available(keeper, "bob") == 40
    await keeper.start(held, usd(60), "strict")
    held.started()
    keeper.settle(held, usd(45))
    await commit(keeper)
    books.clock.now += 1
    assert await keeper.join("ann", "bob", "usd")
    assert await both(keeper) == (0, 55)


async def test_a_debt_moves_once_though_two_join_at_once(books: Books) -> None:
    keeper, _ = await books.open()
    await keeper.credit(paid("cs_1", 50))
    await request(keeper, 50, 50)
    await keeper.reverse(Reversal("re", "ann", usd(50), "refund", ""))
    await keeper.credit(paid("cs_2", 80, "bob"))
    first = asyncio.create_task(keeper.join("ann", "bob", "usd", turn=7))
    for _ in range(3):
        await asyncio.sleep(0)
        books.clock.now += 1
    assert await keeper.join("ann", "bob", "usd", turn=7)
    assert await first
    assert await both(keeper) == (0, 30)


async def test_a_debt_moves_too_and_is_paid_by_what_is_there(books: Books) -> None:
    keeper, _ = await books.open()
    await keeper.credit(paid("cs_1", 50))
    await request(keeper, 50, 50)
    await keeper.reverse(Reversal("re", "ann", usd(50), "refund", ""))
    await keeper.credit(paid("cs_2", 80, "bob"))
    assert await both(keeper) == (-50, 80)
    assert await keeper.join("ann", "bob", "usd")
    assert await both(keeper) == (0, 30)


async def test_a_debt_that_is_larger_stays_a_debt(books: Books) -> None:
    keeper, _ = await books.open()
    await keeper.credit(paid("cs_1", 50))
    await request(keeper, 50, 50)
    await keeper.reverse(Reversal("re", "ann", usd(50), "refund", ""))
    await keeper.credit(paid("cs_2", 20, "bob"))
    assert await keeper.join("ann", "bob", "usd")
    assert await both(keeper) == (0, -30)
    with pytest.raises(PaymentRequired):
        await hold(keeper, 1, "bob")
    await keeper.credit(paid("cs_3", 31, "bob"))
    await request(keeper, 1, 1, account="bob")


async def test_into_one_that_owes(books: Books) -> None:
    keeper, _ = await books.open()
    await keeper.reverse(Reversal("re", "bob", usd(30), "refund", ""))
    await keeper.credit(paid("cs_1", 100))
    assert await keeper.join("ann", "bob", "usd")
    assert await both(keeper) == (0, 70)


async def test_many_at_once_move_it_once(books: Books) -> None:
    keeper, _ = await books.open()
    await keeper.credit(paid("cs_1", 100))
    await asyncio.gather(*(keeper.join("ann", "bob", "usd") for _ in range(5)), *(hold(keeper, 10) for _ in range(3)))
    assert (await keeper.balance("ann", "usd")).held == usd(30)
    assert sum(await both(keeper)) == 70


async def test_there_and_back_again(books: Books) -> None:
    keeper, _ = await books.open()
    await keeper.credit(paid("cs_1", 100))
    for _ in range(3):
        books.clock.now += 1
        assert await keeper.join("ann", "bob", "usd")
        assert await keeper.join("bob", "ann", "usd")
    assert await both(keeper) == (100, 0)


async def test_what_no_account_could_hold_stays_where_it_is(books: Books) -> None:
    keeper, _ = await books.open()
    await keeper.credit(paid("cs_1", AMOUNT_MICROS_MAX))
    await keeper.credit(paid("cs_2", 1, "bob"))
    with pytest.raises(ValueError, match="more than an account can hold"):
        await keeper.join("ann", "bob", "usd")
    assert await both(keeper) == (AMOUNT_MICROS_MAX, 1)


async def test_nothing_moves_into_itself(books: Books) -> None:
    keeper, _ = await books.open()
    await keeper.credit(paid("cs_1", 100))
    with pytest.raises(ValueError, match="into itself"):
        await keeper.join("ann", "ann", "usd")
