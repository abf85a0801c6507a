"""An account is another one now: its money follows, whatever any process knows at the time."""

import asyncio
from typing import Any, Literal, cast

import pytest
from hypothesis import given
from hypothesis import strategies as some

from gateway.adapters.memory import MemoryAliases, MemoryLedgerStore, MemoryRecords
from gateway.core.ids import RequestId
from gateway.core.ledger import Credit, Reversal, Tariff
from gateway.core.money import AMOUNT_MICROS_MAX, Money
from gateway.core.purses import Purse
from gateway.core.refusals import LedgerUnavailable
from gateway.flows.follow import Aliases, FollowingDesk, JoinBooks
from gateway.flows.freeze import Freezes
from gateway.flows.keep import Keeper, Pace
from gateway.ports import Alias, AliasBook
from tests.fakes import FakeClock

ACCOUNTS = [f"acct_{letter * 32}" for letter in "abcd"]
A, B, C, _ = ACCOUNTS
FAR = 4_000_000_000_000


def usd(micros: int) -> Money:
    return Money(micros, "usd")


class Shop:
    """Books and records, and processes that each know what they have looked at."""

    def __init__(self, processes: int = 1) -> None:
        self.records, self.clock, self.told = MemoryRecords(), FakeClock(), list[str]()
        self.store = MemoryLedgerStore()
        self.keeper = Keeper(self.store, self.clock, pace=Pace(gap=0, idly=0, quiet=0))
        report = lambda what, **_: self.told.append(what)  # noqa: E731
        book = self.records.aliases
        self.known = [Aliases(book=book, clock=self.clock, report=report) for _ in range(processes)]
        self.desks = [FollowingDesk(self.keeper, aliases) for aliases in self.known]
        self.join = JoinBooks(
            book=book, aliases=self.known[0], ledger=self.keeper, books=self.store, clock=self.clock, report=report
        )

    async def has(self, account: str) -> int:
        return (await self.keeper.balance(account, "usd")).available.micros

    async def joined(self) -> None:
        """Until there is nothing left to do."""
        for _ in range(len(ACCOUNTS) + 1):
            self.clock.pass_seconds(1)
            await self.join.now()
        assert await self.records.aliases.unjoined() == []


def paid(number: int, account: str, micros: int) -> Credit:
    return Credit(f"stripe:cs_{number}", account, usd(micros), "payment", "")


async def test_what_comes_late_goes_where_the_account_has_gone() -> None:
    shop = Shop()
    await shop.keeper.open()
    assert await shop.known[0].add(A, B, "asked") == "joined"
    assert shop.known[0].root(A) == B
    assert await shop.desks[0].credit(paid(1, A, 5))
    assert not await shop.desks[0].credit(paid(1, A, 5))
    assert await shop.desks[0].reverse(Reversal("stripe:re_1", A, usd(2), "refund", ""))
    assert (await shop.has(A), await shop.has(B)) == (0, 3)
    assert (await shop.desks[0].balance(A, "usd")).available == usd(3)
    assert await shop.desks[0].funded(A, "usd")


async def test_what_a_process_credits_that_has_not_heard_is_moved_after_it() -> None:
    shop = Shop(processes=2)
    await shop.keeper.open()
    await shop.known[0].add(A, B, "asked")
    await shop.joined()
    await shop.desks[1].credit(paid(1, A, 5))
    assert await shop.has(A) == 5, "it did not know"
    await shop.joined()
    assert (await shop.has(A), await shop.has(B)) == (0, 5)


async def test_a_payment_that_is_heard_again_is_followed_by_the_name_it_had() -> None:
    """The first try was killed when the credit was in the books and nobody had looked yet where it belongs."""
    shop = Shop()
    await shop.keeper.open()
    await shop.known[0].add(A, B, "asked")
    await shop.joined()
    await shop.keeper.credit(paid(1, A, 5))
    assert not await shop.desks[0].credit(paid(1, A, 5))
    await shop.joined()
    assert await shop.has(B) == 5


async def test_a_request_that_is_refunded_later_is_given_back_to_who_has_it_now() -> None:
    shop = Shop()
    shop.keeper = Keeper(shop.store, shop.clock, archive=shop.store, pace=Pace(gap=0, idly=0, quiet=0))
    desk = FollowingDesk(shop.keeper, shop.known[0])
    await shop.keeper.open()
    shop.join = JoinBooks(
        book=shop.records.aliases, aliases=shop.known[0], ledger=shop.keeper, books=shop.store, clock=shop.clock,
        report=lambda *_, **__: None,
    )  # fmt: skip
    await shop.keeper.credit(paid(1, A, 5))
    id = RequestId(1, 1)
    hold = await shop.keeper.hold(A, usd(4), id=id, token=1, tariff=Tariff("r", "operator", 0, "p"))
    await shop.keeper.start(hold, usd(4), "strict")
    hold.started()
    shop.keeper.settle(hold, usd(4))
    await shop.known[0].add(A, B, "asked")
    await shop.joined()
    assert await shop.has(B) == 1
    await desk.refund(id, "it was wrong")
    await shop.joined()
    assert (await shop.has(A), await shop.has(B)) == (0, 5)


async def test_what_a_crash_gave_back_follows_at_the_next_start() -> None:
    shop = Shop()
    await shop.keeper.open()
    await shop.known[0].add(A, B, "asked")
    await shop.joined()
    await shop.keeper.credit(Credit("void", A, usd(3), "manual", ""))  # as a voided record does: nobody follows it
    await shop.join.now()
    assert await shop.has(A) == 3
    await shop.join.begin()
    await shop.joined()
    assert (await shop.has(A), await shop.has(B)) == (0, 3)


async def test_what_comes_back_after_the_books_were_joined_follows_within_minutes() -> None:
    """A request that another process had under way ends, and nobody looks whose account it was of."""
    shop = Shop()
    await shop.keeper.open()
    await shop.known[0].add(A, B, "asked")
    await shop.joined()
    await shop.keeper.credit(paid(1, A, 5))
    await shop.joined()
    assert await shop.has(B) == 0, "nobody has been told"
    shop.clock.pass_seconds(600)
    await shop.join.now()
    assert (await shop.has(A), await shop.has(B)) == (0, 5)


async def test_what_it_has_in_other_currencies_comes_too() -> None:
    shop = Shop()
    await shop.keeper.open()
    for number, micros in enumerate((1, 20, 300)):
        unit = ("usd", "eur", "jpy")[number]
        await shop.keeper.credit(Credit(f"cs_{unit}", A, Money(micros, unit), "payment", ""))
    await shop.keeper.credit(Credit("g_1", A, Money(4, "eur"), "grant", "", Purse(-10, FAR)))
    await shop.known[0].add(A, B, "asked")
    await shop.joined()
    for unit, micros in (("usd", 1), ("eur", 24), ("jpy", 300)):
        assert (await shop.keeper.balance(A, unit)).available == Money.zero(unit)
        assert (await shop.keeper.balance(B, unit)).available == Money(micros, unit)


async def test_what_is_stuck_in_one_currency_keeps_no_other() -> None:
    shop = Shop()
    await shop.keeper.open()
    await shop.keeper.credit(Credit("cs_1", A, Money(AMOUNT_MICROS_MAX, "eur"), "payment", ""))
    await shop.keeper.credit(Credit("cs_2", B, Money(1, "eur"), "payment", ""))
    await shop.keeper.credit(paid(3, A, 5))
    await shop.known[0].add(A, B, "asked")
    for _ in range(3):
        await shop.join.now()
    assert await shop.has(B) == 5
    assert shop.told == ["wallets joined", "wallets cannot be joined"]
    assert [alias.account for alias in await shop.records.aliases.unjoined()] == [A]


async def test_books_that_are_away_are_joined_when_they_are_back() -> None:
    shop = Shop()
    await shop.keeper.open()
    await shop.keeper.credit(paid(1, A, 5))
    await shop.known[0].add(A, B, "asked")

    class Away(Keeper):
        async def join(self, account: str, into: str, currency: str, *, turn: int | None = None) -> bool:
            raise LedgerUnavailable()

    join, shop.join._ledger = shop.join._ledger, Away(shop.store, shop.clock)
    await shop.join.now()
    assert len(await shop.records.aliases.unjoined()) == 1
    shop.join._ledger = join
    await shop.joined()
    assert await shop.has(B) == 5


@pytest.mark.parametrize(
    ("first", "then", "outcome"),
    [
        ((A, B), (A, C), "an alias already"),
        ((A, B), (B, A), "one already"),
        ((A, B), (A, B), "one already"),
        ((A, B), (B, C), "joined"),
    ],
)
async def test_what_cannot_be_joined_says_why(first: tuple[str, str], then: tuple[str, str], outcome: str) -> None:
    [known] = Shop().known
    assert await known.add(*first, "asked") == "joined"
    assert await known.add(*then, "asked") == outcome


async def test_who_is_frozen_stays_apart() -> None:
    shop = Shop()
    await shop.records.add_freeze(B, frozen=True, reason="why", now_ms=1)
    assert await shop.known[0].add(A, B, "asked") == "frozen"
    assert shop.known[0].root(A) == A


Step = tuple[Literal["alias"], str, str] | tuple[Literal["credit", "reverse", "spend"], str, int, int]
step = some.one_of(
    some.tuples(some.just("alias"), some.sampled_from(ACCOUNTS), some.sampled_from(ACCOUNTS)),
    some.tuples(
        some.sampled_from(["credit", "reverse", "spend"]),
        some.sampled_from(ACCOUNTS),
        some.integers(1, 50),
        some.integers(0, 1),
    ),
    some.tuples(some.sampled_from(["look", "join"])),
)


@given(some.lists(step, max_size=25))
def test_whatever_happens_the_money_is_all_there_and_in_one_place(steps: list[tuple[object, ...]]) -> None:
    asyncio.run(_play(steps))


async def _play(steps: list[tuple[object, ...]]) -> None:
    """Process 1 hears of nothing unless it looks; both credit, take back and serve by what they know."""
    shop, total = Shop(processes=2), 0
    await shop.keeper.open()
    for number, (what, *rest) in enumerate(steps):
        shop.clock.pass_seconds(1)
        if what == "alias":
            await shop.known[0].add(str(rest[0]), str(rest[1]), "asked")
        elif what == "look":
            await shop.known[1].look()
        elif what == "join":
            await shop.join.now()
        else:
            account, micros, process = str(rest[0]), int(str(rest[1])), int(str(rest[2]))
            desk = shop.desks[process]
            if what == "credit":
                total += micros
                await desk.credit(paid(number, account, micros))
            elif what == "reverse":
                total -= micros
                await desk.reverse(Reversal(f"stripe:re_{number}", account, usd(micros), "refund", ""))
            else:
                total -= await _spend(shop, shop.known[process].root(account), micros, number)
        assert sum([await shop.has(account) for account in ACCOUNTS]) == total
    await shop.joined()
    assert sum([await shop.has(account) for account in ACCOUNTS]) == total
    roots = {shop.known[0].root(account) for account in ACCOUNTS}
    assert [await shop.has(account) for account in ACCOUNTS if account not in roots] == [0] * (4 - len(roots))
    await shop.keeper.close()


async def _spend(shop: Shop, account: str, micros: int, number: int) -> int:
    """What one request was charged: all, or nothing where there was less."""
    if await shop.has(account) < micros:
        return 0
    tariff = Tariff("r", "operator", 0, "p")
    hold = await shop.keeper.hold(account, usd(micros), id=RequestId(1, number + 1), token=1, tariff=tariff)
    await shop.keeper.start(hold, usd(micros), "strict")
    hold.started()
    return shop.keeper.settle(hold, usd(micros)).micros


async def test_a_chain_is_flat_in_the_memory_too_however_long_ago_it_was_read() -> None:
    [known] = Shop().known
    await known.add(A, B, "asked")
    for number in range(100):  # more than are read again
        await known.add(f"acct_{number:032}", C, "asked")
    await known.add(B, C, "asked")
    assert known.root(A) == C


async def test_what_a_process_takes_back_that_has_not_heard_is_moved_after_it() -> None:
    shop = Shop(processes=2)
    await shop.keeper.open()
    await shop.keeper.credit(paid(1, B, 5))
    await shop.known[0].add(A, B, "asked")
    await shop.joined()
    await shop.desks[1].reverse(Reversal("stripe:re_1", A, usd(2), "refund", ""))
    await shop.joined()
    assert (await shop.has(A), await shop.has(B)) == (0, 3)


async def test_what_a_request_holds_moves_when_it_has_ended() -> None:
    shop = Shop()
    await shop.keeper.open()
    await shop.keeper.credit(paid(1, A, 5))
    hold = await shop.keeper.hold(A, usd(4), id=RequestId(1, 1), token=1, tariff=Tariff("r", "operator", 0, "p"))
    await shop.known[0].add(A, B, "asked")
    await shop.join.now()
    assert await shop.has(B) == 1
    assert len(await shop.records.aliases.unjoined()) == 1
    shop.keeper.settle(hold, usd(0))
    await shop.joined()
    assert (await shop.has(A), await shop.has(B)) == (0, 5)


async def test_into_an_account_that_became_an_alias_in_the_meantime() -> None:
    """What was moved there after its own books had been joined moves on."""
    shop = Shop()
    await shop.keeper.open()
    await shop.keeper.credit(paid(1, A, 5))
    await shop.known[0].add(A, B, "asked")
    [old] = await shop.records.aliases.unjoined()
    await shop.known[0].add(B, C, "asked")
    await shop.joined()
    await shop.keeper.credit(paid(2, A, 7))
    await shop.join._join(old)  # by what another process had read before
    assert await shop.has(B) == 7
    await shop.joined()
    assert [await shop.has(account) for account in (A, B, C)] == [0, 0, 12]


async def test_who_freezes_an_alias_freezes_what_it_is_now() -> None:
    shop = Shop()
    await shop.known[0].add(A, B, "asked")
    freezes = Freezes(book=shop.records, clock=shop.clock, report=lambda *_, **__: None, root=shop.known[0].root)
    assert await freezes.freeze(A, "leaked")
    assert freezes.holds(B)
    assert await freezes.unfreeze(A, "found")
    assert not freezes.holds(B)


async def test_who_asks_while_others_look_learns_what_was_written_before_it_asked() -> None:
    """And a hundred who ask at once make two questions of it."""
    shop = Shop(processes=2)
    book = Slow(shop.records.aliases)
    here = Aliases(book=cast(AliasBook, book), clock=shop.clock, report=lambda *_, **__: None)
    first = asyncio.create_task(here.look())
    await asyncio.sleep(0)
    assert book.asked == 1
    await shop.known[1].add(A, B, "asked")
    others = [asyncio.create_task(here.look()) for _ in range(100)]
    await asyncio.sleep(0)
    book.go.set()
    await asyncio.gather(first, *others)
    assert (here.root(A), book.asked) == (B, 2)


class Slow:
    """A book whose answer was made before it comes."""

    def __init__(self, book: MemoryAliases) -> None:
        self._book = book
        self.go = asyncio.Event()
        self.asked = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._book, name)

    async def aliases_after(self, number: int) -> list[Alias]:
        self.asked += 1
        found = await self._book.aliases_after(number)
        await self.go.wait()
        return found
