"""Whose tokens were ended all at once, in either kind of records. Implements `ports.EndedBook`."""

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

Ask = Callable[..., Awaitable[Sequence[Any]]]
_AT_ONCE = 500


class EndedTokens:
    """Keeps them; any number of processes and hosts may share one book."""

    def __init__(self, ask: Ask) -> None:
        self._ask = ask

    async def end_tokens(self, accounts: Sequence[str], *, before_ms: int) -> None:
        for first in range(0, len(accounts), _AT_ONCE):
            some = accounts[first : first + _AT_ONCE]
            rows = ", ".join(f"(${number}, $1)" for number in range(2, len(some) + 2))
            await self._ask(f"INSERT INTO ended_token (account, before) VALUES {rows}", before_ms, *some)  # noqa: S608

    async def ended_after(self, number: int) -> list[tuple[int, str, int]]:
        rows = await self._ask(
            "SELECT number, account, before FROM ended_token WHERE number > $1 ORDER BY number", number
        )
        return [(number, account, before) for number, account, before in rows]
