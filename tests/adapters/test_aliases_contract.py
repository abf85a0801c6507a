"""What the port promises of aliases, held against every implementation."""

import asyncio

from gateway.core.auto_top_ups import Ceilings, Refill, SavedCard, Wish
from gateway.core.money import Money
from tests.adapters.test_records_contract import Records, records

__all__ = ["records"]  # a fixture

A, B, C, D = (f"acct_{letter * 32}" for letter in "abcd")
FIVE, MUCH = Money.parse("5.00 usd"), Money.parse("50.00 usd")
WISH, CEILINGS, CARD = Wish(FIVE, FIVE), Ceilings(MUCH, MUCH), SavedCard("cus_1", "pm_1", "Visa 4242")


async def targets(records: Records) -> dict[str, str]:
    return {row.account: row.into for row in await records.aliases.aliases_after(0)}


async def test_an_alias_is_written_down_once(records: Records) -> None:
    assert await records.aliases.add_alias(A, B, why="asked", now_ms=7)
    assert not await records.aliases.add_alias(A, C, why="again", now_ms=8)
    found = await records.aliases.find_alias(A)
    assert found is not None
    assert (found.number, found.account, found.into, found.why, found.at_ms, found.asked) == (1, A, B, "asked", 7, 1)
    assert await records.aliases.find_alias(B) is None
    assert await records.aliases.aliases_after(1) == []


async def test_a_chain_is_flat_whichever_end_grows(records: Records) -> None:
    assert await records.aliases.add_alias(A, B, why="", now_ms=1)
    assert await records.aliases.add_alias(B, C, why="", now_ms=2)
    assert await targets(records) == {A: C, B: C}
    assert await records.aliases.add_alias(D, A, why="", now_ms=3)
    assert await targets(records) == {A: C, B: C, D: C}


async def test_nothing_becomes_an_alias_of_itself_by_any_way_round(records: Records) -> None:
    assert not await records.aliases.add_alias(A, A, why="", now_ms=1)
    assert await records.aliases.add_alias(A, B, why="", now_ms=1)
    assert not await records.aliases.add_alias(B, A, why="", now_ms=2)
    assert await targets(records) == {A: B}


async def test_all_round_the_circle_at_once_makes_no_circle(records: Records) -> None:
    ring = [(A, B), (B, C), (C, D), (D, A)] * 3
    done = await asyncio.gather(*(records.aliases.add_alias(*pair, why="", now_ms=1) for pair in ring))
    assert sum(done) == 3, "four accounts become one by three steps"
    assert len(set((await targets(records)).values())) == 1


async def test_a_frozen_account_is_neither_joined_nor_joined_into(records: Records) -> None:
    await records.freezes.add_freeze(A, frozen=True, reason="why", now_ms=1)
    assert not await records.aliases.add_alias(A, B, why="", now_ms=2)
    assert not await records.aliases.add_alias(B, A, why="", now_ms=2)
    assert await records.aliases.add_alias(C, B, why="", now_ms=2)
    await records.freezes.add_freeze(A, frozen=False, reason="why", now_ms=3)
    assert await records.aliases.add_alias(A, C, why="", now_ms=4)


async def test_the_target_that_an_alias_stands_for_must_not_be_frozen_either(records: Records) -> None:
    assert await records.aliases.add_alias(A, B, why="", now_ms=1)
    await records.freezes.add_freeze(B, frozen=True, reason="why", now_ms=2)
    assert not await records.aliases.add_alias(C, A, why="", now_ms=3)


async def test_books_are_joined_until_nobody_asks_any_more(records: Records) -> None:
    book = records.aliases
    await book.add_alias(A, B, why="", now_ms=1)
    [row] = await book.unjoined()
    await book.ask_to_join(A)
    await book.joined(row)
    [row] = await book.unjoined()
    await book.joined(row)
    assert await book.unjoined() == []
    await book.ask_to_join_since(1)
    assert await book.unjoined() == [], "it is not younger than that"
    await book.ask_to_join_since(0)
    [row] = await book.unjoined()
    await book.joined(row)
    await book.add_alias(B, C, why="", now_ms=2)
    assert [(row.account, row.into) for row in await book.unjoined()] == [(A, C), (B, C)]
    await book.ask_to_join(D)


async def test_the_card_of_an_alias_pays_no_more(records: Records) -> None:
    kept = records.ways_to_pay
    await kept.keep_card(A, CARD, WISH, CEILINGS, at_ms=5, now_ms=5)
    await records.aliases.add_alias(A, B, why="", now_ms=4)
    rule = await kept.find_rule(A)
    assert rule is not None
    assert not rule.wanted
    assert rule.changed_ms == 5
    assert [rule.account for rule in await kept.rules_since(5)] == [A]
    await kept.keep_card(A, CARD, WISH, CEILINGS, at_ms=6, now_ms=6)  # by an event that was late
    refill = Refill(A, 1, "key", FIVE, "cus_1", "pm_1", "r", 7)
    assert not await kept.begin_refill(refill, CEILINGS)
