"""What was changed about tokens, by whichever process of whichever host, is known here a second later.

What is remembered of a token is forgotten when its number of change is new here: so a token that was revoked, narrowed
or rotated is looked up anew, and so is all that came of it. The other way round this process notes which tokens were
used, once a minute and never while a request waits. While the records cannot be read, what was known stays true.
"""

from gateway.ports import Clock, RemembersTokens, TokenBook

LOOK_SECONDS = 1.0
NOTE_SECONDS = 60.0
_ROTATIONS_MS = 86_400_000


class FollowTokens:
    """One process's."""

    def __init__(self, *, book: TokenBook, callers: RemembersTokens, clock: Clock) -> None:
        self._book = book
        self._callers = callers
        self._clock = clock
        self._seen = 0

    async def begin(self) -> None:
        """Nothing is remembered yet: only what changes from now on is news. Raises RecordsUnavailable."""
        self._seen = await self._book.last_change()

    async def look(self) -> None:
        """Raises RecordsUnavailable."""
        changes = await self._book.changes_after(self._seen)
        if changes:
            self._callers.forget_grants([id for _, id in changes])
            self._seen = changes[-1][0]

    async def note_used(self) -> None:
        """Raises RecordsUnavailable; what it would have noted is lost then, until they are used again."""
        used = sorted(set(self._callers.used()))
        if used:
            await self._book.was_used(used, now_ms=self._clock.now_ms())

    async def drop_rotations(self) -> None:
        """No sealed secret is kept for longer than a day. Raises RecordsUnavailable."""
        await self._book.drop_rotations(before_ms=self._clock.now_ms() - _ROTATIONS_MS)
