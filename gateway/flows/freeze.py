"""An account is frozen: it may not spend, whatever it has.

Money stays where it is and more may arrive. Requests under way go on, for they were let in. Every process knows the
frozen accounts by heart, so that a request asks nobody, and reads what is new of them every second: what an operator
or a warning of fraud does here holds there a second later. When the records cannot be read,
what was known stays true. Who freezes an alias freezes the account that it is now.
"""

from collections.abc import Callable

from gateway.core.reversals import Notice
from gateway.core.trail import Act
from gateway.ports import Clock, FreezeBook, Witnesses

LOOK_SECONDS = 1.0
_OVERLAP = 64
"""Rows that are read again: of several hosts, a lower number may be committed after a higher one."""


class Freezes:
    """The frozen accounts. Implements `ports.Frozen`."""

    def __init__(
        self,
        *,
        book: FreezeBook,
        clock: Clock,
        report: Callable[..., None],
        root: Callable[[str], str] = lambda account: account,
        witness: Witnesses | None = None,
    ) -> None:
        self._witness = witness
        self._root = root
        self._book = book
        self._clock = clock
        self._report = report
        self._frozen: set[str] = set()
        self._seen = 0

    def holds(self, account: str) -> bool:
        """Whether an account may not spend."""
        return account in self._frozen

    async def look(self) -> None:
        """Learn what is new. Raises RecordsUnavailable."""
        for row in await self._book.freezes_after(max(0, self._seen - _OVERLAP)):
            (self._frozen.add if row.frozen else self._frozen.discard)(row.account)
            self._seen = max(self._seen, row.number)

    async def freeze(self, account: str, reason: str, *, cause: str | None = None) -> bool:
        """Freeze it, once per cause; False if nothing was to be done. Raises RecordsUnavailable."""
        return await self._set(account, reason, frozen=True, cause=cause)

    async def unfreeze(self, account: str, reason: str) -> bool:
        """Let it spend again; False if it may. Raises RecordsUnavailable."""
        return await self._set(account, reason, frozen=False, cause=None)

    async def warned(self, account: str, notice: Notice) -> None:
        """The provider says that a payment of this account is likely a fraud. Raises RecordsUnavailable."""
        reason = f"warning of fraud {notice.about} about {notice.payment}"
        if self._witness is not None:
            await self._witness.write(Act("stripe", "provider", "account.freeze", account, "webhook", reason))
        if await self._set(account, reason, frozen=True, cause=f"stripe:{notice.about}"):
            self._report("account frozen", account=self._root(account), why="warning of fraud", payment=notice.payment)

    async def _set(self, account: str, reason: str, *, frozen: bool, cause: str | None) -> bool:
        account = self._root(account)
        known = await self._book.freezes_of(account)
        if cause is None and (bool(known) and known[-1].frozen) == frozen:
            return False
        now_ms = self._clock.now_ms()
        new = await self._book.add_freeze(account, frozen=frozen, reason=reason, now_ms=now_ms, cause=cause)
        await self.look()
        return new
