"""All tokens of an account, or of everyone, are over: also those of which nothing is on record.

A token that a caller was given unasked says its account and when it was made, and is on record only once it has paid.
So that it can be ended before, a mark is written down: what was made for this account before then is good no more. It
holds for ever, also if a payment that was under way puts the token on record later. Every process knows the marks by
heart and reads what is new of them every second; while the records cannot be read, what was known stays true. So it is
with licences, which say when they were made and are on no record either. Tokens that are made afterwards, and those
that a holder had made, are no concern of a mark: their own record says how they are.
"""

from collections.abc import Callable

from gateway.core.ids import account_ms
from gateway.ports import EndedBook

_OVERLAP = 64
"""Rows that are read again: of several hosts, a lower number may be committed after a higher one."""


class EndTokens:
    """Implements `ports.Ended`. `forget` drops what is remembered of all tokens."""

    def __init__(self, book: EndedBook, *, forget: Callable[[], None]) -> None:
        self._book = book
        self._forget = forget
        self._ended: dict[str, int] = {}
        self._everyone_ms = 0
        self._seen = 0

    def ended(self, account: str, made_ms: int | None = None) -> bool:
        made = account_ms(account) if made_ms is None else made_ms
        return made < self._everyone_ms or made < self._ended.get(account, 0)

    async def look(self) -> None:
        """Learn what is new. Raises RecordsUnavailable."""
        new = False
        for number, account, before_ms in await self._book.ended_after(max(0, self._seen - _OVERLAP)):
            if account:
                new |= self._ended.get(account, 0) < before_ms
                self._ended[account] = max(before_ms, self._ended.get(account, 0))
            else:
                new |= self._everyone_ms < before_ms
                self._everyone_ms = max(before_ms, self._everyone_ms)
            self._seen = max(self._seen, number)
        if new:
            self._forget()
