"""Whose tokens were ended all at once: kept in both databases, and known by every process."""

from gateway.adapters.ended_tokens import EndedTokens
from gateway.core.ids import account_id
from gateway.flows.end_tokens import EndTokens
from tests.stored import Records

OLD, YOUNG = account_id(1_000, b"o" * 32), account_id(3_000, b"y" * 32)


async def test_what_was_made_before_is_over_and_what_was_made_since_is_not(records: Records) -> None:
    book, forgot = EndedTokens(records.ask), []
    known = EndTokens(book, forget=lambda: forgot.append(1))
    await known.look()
    assert ([known.ended(one) for one in (OLD, YOUNG)], forgot) == ([False, False], [])
    await book.end_tokens([OLD, YOUNG], before_ms=2_000)
    assert not known.ended(OLD), "nobody has looked"
    await known.look()
    assert ([known.ended(one) for one in (OLD, YOUNG)], forgot) == ([True, False], [1])
    await known.look()
    assert forgot == [1], "nothing is new"
    await book.end_tokens([YOUNG], before_ms=1_500)
    await known.look()
    assert ([known.ended(one) for one in (OLD, YOUNG)], forgot) == ([True, False], [1])
    await book.end_tokens([""], before_ms=4_000)
    await known.look()
    late = account_id(4_000, b"l" * 32)
    assert ([known.ended(one) for one in (OLD, YOUNG, late)], forgot) == ([True, True, False], [1, 1])
    again = EndTokens(book, forget=lambda: None)
    await again.look()
    assert again.ended(YOUNG), "whoever begins later knows it, too"


async def test_any_number_is_ended_at_once_and_none_is_nobody(records: Records) -> None:
    book = EndedTokens(records.ask)
    accounts = [account_id(number, b"x" * 32) for number in range(1_100)]
    await book.end_tokens([], before_ms=9)
    assert await book.ended_after(0) == []
    await book.end_tokens(accounts, before_ms=9)
    rows = await book.ended_after(0)
    assert [account for _, account, _ in rows] == accounts
    assert await book.ended_after(rows[-2][0]) == rows[-1:]
