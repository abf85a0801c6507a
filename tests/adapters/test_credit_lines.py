"""Payments are read out of the books as committed, beside whoever keeps them."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from gateway.adapters.postgres.credits import PostgresCreditLines
from gateway.adapters.postgres.ledger import PostgresLedgerStore
from gateway.adapters.postgres.sessions import Address
from gateway.adapters.sqlite.credits import SqliteCreditLines
from gateway.adapters.sqlite.ledger import SqliteLedgerStore
from gateway.core.ledger import Credit, Reversal
from gateway.core.money import Money
from gateway.core.secrets import Secret
from gateway.flows.keep import Keeper, Pace
from gateway.ports import CreditLine, CreditLines, LedgerStore, StoreFailed
from tests.fakes import FakeClock
from tests.postgres_server import Server

FIVE = Money.parse("5.00 usd")


@pytest.fixture(params=["sqlite", "postgres"])
async def books(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[tuple[Keeper, CreditLines, FakeClock]]:
    clock = FakeClock()
    store: LedgerStore
    lines: CreditLines
    if request.param == "sqlite":
        store, lines = SqliteLedgerStore(tmp_path / "x.db", head_key=b"k" * 32), SqliteCreditLines(tmp_path / "x.db")
        keeper = Keeper(store, clock, pace=Pace.patient(60, gap=0))
    else:
        server: Server = request.getfixturevalue("postgres")
        address = Address(Secret(await server.schema()))
        shared = PostgresLedgerStore(address, name="one", clock=clock, report=lambda *_, **__: None)
        lines = PostgresCreditLines(address)
        keeper = Keeper(shared, clock, lender=shared, teller=shared, pace=Pace.patient(60, gap=0))
    await keeper.open()
    yield keeper, lines, clock
    await keeper.close()


async def test_payments_are_found_by_ref_and_by_time(books: tuple[Keeper, CreditLines, FakeClock]) -> None:
    keeper, lines, clock = books
    begin = clock.now_ms()
    for ref in ("stripe:cs_test_1", "manual:x", "stripe:pi_1:2", "stripe:cs_test_2"):
        await keeper.credit(Credit(ref, f"of {ref}", FIVE, "payment", "checkout"))
        clock.pass_seconds(10)
    first = CreditLine("stripe:cs_test_1", "of stripe:cs_test_1", FIVE)
    assert await lines.credit_of("stripe:cs_test_1") == first
    assert await lines.credit_of("stripe:cs_test_9") is None
    await keeper.reverse(Reversal("stripe:pi_1:1", "of stripe:cs_test_1", Money.parse("7.00 usd"), "refund", "x"))
    taken = [await lines.taken_by(ref) for ref in ("stripe:pi_1:1", "stripe:pi_1:2", "stripe:pi_1:3")]
    assert taken == [7_000_000, -5_000_000, None]
    assert isinstance(lines, SqliteCreditLines | PostgresCreditLines)
    paid, taken_back = await lines.entry_of("manual:x"), await lines.entry_of("stripe:pi_1:1")
    assert paid == CreditLine("manual:x", "of manual:x", FIVE)
    assert taken_back == CreditLine("stripe:pi_1:1", "of stripe:cs_test_1", -Money.parse("7.00 usd"))
    assert await lines.entry_of("stripe:pi_1:3") is None
    found = await lines.credits_between(begin, clock.now_ms())
    assert [one.ref for one in found] == ["stripe:cs_test_1", "stripe:cs_test_2"]
    assert await lines.credits_between(begin, begin + 10_000) == [first]
    assert await lines.credits_between(begin + 1_000_000, begin + 2_000_000) == []


async def test_books_that_are_not_there_are_a_failure(tmp_path: Path, postgres: Server) -> None:
    nowhere = f"postgresql://127.0.0.1:{postgres.port}/nowhere"
    for lines in (SqliteCreditLines(tmp_path / "none.db"), PostgresCreditLines(Address(Secret(nowhere)))):
        with pytest.raises(StoreFailed):
            await lines.credit_of("stripe:cs_test_1")


async def test_a_refill_is_a_payment_and_what_was_given_back_of_one_is_not(
    books: tuple[Keeper, CreditLines, FakeClock],
) -> None:
    keeper, lines, clock = books
    for ref in ("stripe:pi_1", "stripe:pi_1:2"):
        await keeper.credit(Credit(ref, "acct", FIVE, "payment", "auto top-up"))
    found = await lines.credits_between(0, clock.now_ms() + 1)
    assert [one.ref for one in found] == ["stripe:pi_1"]


async def test_an_account_stands_as_committed(books: tuple[Keeper, CreditLines, FakeClock]) -> None:
    keeper, lines, _ = books
    assert isinstance(lines, SqliteCreditLines | PostgresCreditLines)
    assert await lines.standing("acct", "usd") == Money.zero("usd")
    await keeper.credit(Credit("stripe:cs_test_1", "acct", FIVE, "payment", "checkout"))
    assert await lines.standing("acct", "usd") == FIVE
    assert await lines.standing("acct", "eur") == Money.zero("eur")
    await keeper.reverse(Reversal("stripe:pi_1:1", "acct", Money.parse("7.00 usd"), "refund", "x"))
    assert await lines.standing("acct", "usd") == Money.parse("5.00 usd") - Money.parse("7.00 usd")


async def test_totals_and_what_was_paid_lately_are_of_one_account(
    books: tuple[Keeper, SqliteCreditLines | PostgresCreditLines, FakeClock],
) -> None:
    keeper, lines, clock = books
    begin = clock.now_ms()
    for number, (ref, account) in enumerate(
        (
            ("stripe:cs_1", "ann"),
            ("stripe:pi_1", "ann"),
            ("manual:1", "ann"),
            ("stripe:pi_1:2", "ann"),
            ("stripe:cs_2", "bob"),
        )
    ):
        clock.pass_seconds(10 if number else 0)
        await keeper.credit(Credit(ref, account, FIVE, "payment", "x"))
    await keeper.reverse(Reversal("stripe:pi_1:1", "ann", Money.parse("7.00 usd"), "refund", "x"))
    credited, left = await lines.totals("ann", "usd")
    assert (str(credited), str(left)) == ("13.00 usd", "13.00 usd")
    assert await lines.standing("ann", "usd") == left
    assert str(await lines.paid_since("ann", "usd", begin - 1)) == "10.00 usd"
    assert str(await lines.paid_since("ann", "usd", begin)) == "5.00 usd"
    assert not await lines.paid_since("ann", "usd", clock.now_ms())
    assert not await lines.paid_since("ann", "eur", begin - 1)
    assert [one.micros for one in await lines.totals("eve", "usd")] == [0, 0]
