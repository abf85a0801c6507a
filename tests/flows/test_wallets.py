"""A decision about several purses: what it has taken is not parted with before it is made."""

import asyncio
from collections.abc import Mapping

import pytest

from gateway.adapters.memory import MemoryLedgerStore
from gateway.core.caps import Cap
from gateway.core.ids import RequestId
from gateway.core.ledger import Credit, Drawn, Tariff
from gateway.core.money import Money
from gateway.core.purses import Purse
from gateway.core.refusals import LedgerUnavailable, PaymentRequired
from gateway.flows.keep import Keeper, Pace
from gateway.ports import Borrower, Hold

TARIFF = Tariff("search", "operator", 0, "p")
PROMO = Purse(-1).named("ann")
ROWS = {PROMO: 1, "ann": 2}


class Clock:
    def now_ms(self) -> int:
        return 1_790_000_000_000


class Bank:
    """Lends what it is told to, when it is told to."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, int, asyncio.Future[Drawn]]] = []
        self.looked_again = 0
        self.given_back: list[Mapping[int, int]] = []

    def lends_to(self, borrower: Borrower) -> None:
        """Nothing is asked of it here."""

    async def draw(self, holder: str, unit: str, micros: int) -> Drawn:
        answer: asyncio.Future[Drawn] = asyncio.get_running_loop().create_future()
        self.asked.append((holder, micros, answer))
        return await answer

    def look_again(self) -> None:
        self.looked_again += 1

    def give_back(self, returns: Mapping[int, int], *, in_use: bool = False) -> None:
        """It takes whatever comes."""
        self.given_back.append(returns)

    async def lend(self, holder: str, micros: int, *, elsewhere: int = 0, doubtful: bool = False) -> int:
        """Answer the next question; how much was wanted."""
        for _ in range(1000):
            if self.asked:
                break
            await asyncio.sleep(0)
        asked, wanted, answer = self.asked.pop(0)
        assert asked == holder
        beside = (PROMO,) if holder == "ann" else ()
        answer.set_result(Drawn(ROWS[holder], micros, elsewhere, doubtful, beside))
        for _ in range(10):
            await asyncio.sleep(0)
        return wanted


async def opened(bank: Bank) -> Keeper:
    pace = Pace(gap=0, idly=0, quiet=600, refuse_after=600, give_up_after=600, idle=600)
    keeper = Keeper(MemoryLedgerStore(), Clock(), lender=bank, pace=pace)
    await keeper.open()
    return keeper


def hold(keeper: Keeper, micros: int) -> "asyncio.Task[Hold]":
    id = RequestId(1, next(_numbers))
    return asyncio.create_task(keeper.hold("ann", Money(micros, "usd"), id=id, token=3, tariff=TARIFF))


_numbers = iter(range(1, 1000))


async def half_way(bank: Bank, keeper: Keeper, micros: int) -> "asyncio.Task[Hold]":
    """A hold that has all of the first purse and waits for the second."""
    holding = hold(keeper, micros)
    await bank.lend("ann", 0, elsewhere=50)
    await bank.lend(PROMO, 0, elsewhere=30)
    assert await bank.lend(PROMO, 30) == micros
    return holding


async def test_what_it_has_taken_is_not_parted_with_before_it_is_made() -> None:
    bank = Bank()
    keeper = await opened(bank)
    holding = await half_way(bank, keeper, 70)
    assert keeper.recall(1) is None
    looked = bank.looked_again
    assert await bank.lend("ann", 40) == 40
    held = await holding
    assert bank.looked_again > looked
    assert keeper.recall(1) == 0, "it is held now"
    keeper.settle(held, Money(0, "usd"))
    assert keeper.recall(1) == 30
    await keeper.close()


async def test_who_falls_short_asks_everybody_once_more_and_gives_all_back_before() -> None:
    bank = Bank()
    keeper = await opened(bank)
    holding = await half_way(bank, keeper, 70)
    looked = bank.looked_again
    await bank.lend("ann", 5)
    assert bank.looked_again > looked, "others may have what it had"
    assert await bank.lend(PROMO, 30) == 70, "what it had went back with the question"
    assert await bank.lend("ann", 5) == 40
    with pytest.raises(PaymentRequired) as refused:
        await holding
    assert refused.value.balance == Money(35, "usd")
    assert (keeper.recall(1), keeper.recall(2)) == (30, 5)
    await keeper.close()


async def test_a_doubt_about_any_purse_is_no_refusal() -> None:
    bank = Bank()
    keeper = await opened(bank)
    holding = await half_way(bank, keeper, 70)
    await bank.lend("ann", 5)
    await bank.lend(PROMO, 0, doubtful=True)
    await bank.lend("ann", 0)
    with pytest.raises(LedgerUnavailable):
        await holding
    await keeper.close()


async def test_who_leaves_half_way_has_taken_nothing() -> None:
    bank = Bank()
    keeper = await opened(bank)
    holding = await half_way(bank, keeper, 70)
    holding.cancel()
    await asyncio.gather(holding, return_exceptions=True)
    assert keeper.recall(1) == 30
    await bank.lend("ann", 0)
    await keeper.close()


async def test_decisions_about_one_wallet_take_turns() -> None:
    bank = Bank()
    keeper = await opened(bank)
    first = await half_way(bank, keeper, 70)
    second = hold(keeper, 20)
    assert await bank.lend("ann", 60) == 40
    assert not bank.asked
    assert {(await held).balance.micros for held in (first, second)} == {70, 20}
    await keeper.close()


@pytest.mark.parametrize(
    "caps", [(), (Cap("ann", "total", Money(1000, "usd"), since_ms=1),)], ids=["purses", "and a cap"]
)
async def test_a_watermark_never_stands_between_the_parts_of_one_request(caps: tuple[Cap, ...]) -> None:
    """Its end corrects one part, and so brings on a commit: what a crash after that voids, it voids whole."""
    store = MemoryLedgerStore()
    pace = Pace(gap=0, idly=0, quiet=600, refuse_after=600, give_up_after=600)
    keeper = Keeper(store, Clock(), cap_lines=store, pace=pace)
    await keeper.open()
    await keeper.credit(Credit("cs_1", "ann", Money(50, "usd"), "grant", "", Purse(-1)))
    await keeper.credit(Credit("cs_2", "ann", Money(50, "usd"), "payment", ""))
    held = await keeper.hold("ann", Money(80, "usd"), id=RequestId(1, 1), token=3, tariff=TARIFF, caps=caps)
    await keeper.start(held, Money(80, "usd"), "strict")
    gated, parts = store._next - 2 - len(caps), 2 + len(caps)
    await asyncio.sleep(0)
    keeper.settle(held, Money(70, "usd"))
    while len(store.records) <= parts:
        await asyncio.sleep(0)
    assert store.started < gated or store.started >= gated + parts - 1
    await keeper.close()


async def test_a_purse_that_was_empty_is_drawn_on_first_again_once_others_have_filled_it() -> None:
    bank = Bank()
    keeper = await opened(bank)
    holding = hold(keeper, 30)
    await bank.lend("ann", 0, elsewhere=50)
    await bank.lend(PROMO, 0)
    assert await bank.lend("ann", 50) == 30, "of the promotion there is nothing"
    keeper.settle(await holding, Money(0, "usd"))
    keeper.changed("ann", "usd")
    holding = hold(keeper, 30)
    await bank.lend("ann", 0, elsewhere=50)
    assert await bank.lend(PROMO, 30) == 30
    keeper.settle(await holding, Money(0, "usd"))
    assert keeper.recall(1) == 30
    await keeper.close()


async def test_after_a_silence_every_account_is_asked_about_before_it_is_spent_of_and_nothing_stands_still() -> None:
    bank = Bank()
    keeper = await opened(bank)
    for number in range(2500):
        keeper._receive((f"holder {number}", "usd"), Drawn(number + 10, 50, 0, doubtful=False))
    keeper.anything_changed()
    known = list(keeper._accounts.values())
    assert [account.alone for account in known] == [True] * 1500 + [False] * 1000, "the last used first"
    keeper._receive(("holder 2499", "usd"), Drawn(2509, 0, 0, doubtful=False))
    keeper.anything_changed()  # again, meanwhile
    for _ in range(4):
        await asyncio.sleep(0)
    assert not any(account.spendable or account.alone for account in known)
    await keeper.close()


async def test_who_is_told_of_a_change_spends_nothing_before_it_has_asked() -> None:
    """The account may owe by now: what is there goes back with the question, though a decision is half made."""
    bank = Bank()
    keeper = await opened(bank)
    holding = hold(keeper, 30)
    await bank.lend("ann", 0, elsewhere=50)
    await bank.lend(PROMO, 0, elsewhere=30)
    await bank.lend(PROMO, 0, elsewhere=30)
    await bank.lend("ann", 50)
    keeper.settle(await holding, Money(0, "usd"))
    bank.given_back.clear()
    holding = hold(keeper, 60)
    await asyncio.sleep(0)
    keeper.changed("ann", "usd")
    assert await bank.lend(PROMO, 30) == 60
    assert await bank.lend(PROMO, 30) == 60, "what it had went back with the question"
    assert await bank.lend("ann", 0, elsewhere=-20) == 30
    assert bank.given_back == [{ROWS[PROMO]: 30}, {ROWS["ann"]: 50}]
    with pytest.raises(PaymentRequired) as refused:
        await holding
    assert refused.value.balance == Money(-20, "usd")
    await keeper.close()
