"""A named credit is kept like money, in every store: held, charged, in purses, and apart from all money."""

import pytest

from gateway.core.ids import RequestId
from gateway.core.ledger import Credit
from gateway.core.money import Money
from gateway.core.purses import PLAIN, Purse
from gateway.core.refusals import PaymentRequired
from gateway.flows.keep import Keeper
from tests.ledger_books import TARIFF, Books, paid
from tests.ledger_books import books as books

EXPORT = "unit:export"


def grant(ref: str, count: int, purse: Purse = PLAIN) -> Credit:
    return Credit(ref, "ann", Money.parse_grant(f"{count} {EXPORT}"), "grant", "plan", purse)


async def export(keeper: Keeper, number: int, count: int = 1) -> None:
    price = Money.parse_grant(f"{count} {EXPORT}")
    hold = await keeper.hold("ann", price, id=RequestId(1_790_000_000_000, number), token=7, tariff=TARIFF)
    await keeper.start(hold, price, "strict")
    hold.started()
    keeper.settle(hold, price)


async def left(keeper: Keeper) -> tuple[str, str]:
    return str((await keeper.balance("ann", EXPORT)).available), str((await keeper.balance("ann", "usd")).available)


async def test_a_named_credit_is_spent_to_the_last_and_no_money_with_it(books: Books) -> None:
    keeper, _ = await books.open()
    assert await keeper.credit(paid("cs_1", 5_000_000))
    assert await keeper.credit(grant("plan", 3))
    assert not await keeper.credit(grant("plan", 3))
    assert await keeper.credit(grant("gift", 2, Purse(-10)))
    for number in range(1, 6):
        await export(keeper, number)
    with pytest.raises(PaymentRequired):
        await export(keeper, 6)
    assert await left(keeper) == (f"0 {EXPORT}", "5.00 usd")
    keeper, _ = await books.reopen()
    assert await left(keeper) == (f"0 {EXPORT}", "5.00 usd")
