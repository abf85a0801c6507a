"""An account is another one now: whoever had two wallets has one.

That one account is an *alias* of another is written down first, and every process learns it within a second: from then
on the old account's tokens spend from the new account, and what is paid for it goes there. Only then are the books
joined, by whoever looks after it, as often as it takes: requests that were under way keep what they hold until they
end. Killed at any point, the next look goes on.

What another process still puts into the old account, because it has not heard yet, must not stay there. Whoever has
put something into an account looks afterwards whether it is an alias *by the records*, and if so asks for the books to
be joined once more. An alias that is written down after that look is joined after it, too: so nothing falls between.
What a crash gives back (a record that was voided) nobody has put there, nor what a request gives back whose books were
joined while another process had it under way: so the aliases of the last days are joined anew at each start, and every
few minutes.

For at most a second, a process that has not heard finds the old account empty. Before it refuses it looks by the
records whether the account is another one by now.
"""

import asyncio
from collections.abc import Callable
from dataclasses import replace

from gateway.core.aliases import Joined
from gateway.core.ids import RequestId
from gateway.core.ledger import Balance, Charge, Credit, Reversal
from gateway.core.refusals import LedgerUnavailable
from gateway.ports import Alias, AliasBook, Clock, Desk, Entries, Ledger, Standings, StoreFailed

LOOK_SECONDS = 1.0
_OVERLAP = 64
"""Rows that are read again, as those of freezes are."""
_ANEW_MS = 7 * 86_400_000
_EVERY_MS = 10 * 60_000


class Aliases:
    """The accounts that are another one now. Implements `ports.Joins`."""

    def __init__(self, *, book: AliasBook, clock: Clock, report: Callable[..., None]) -> None:
        self._book = book
        self._clock = clock
        self._report = report
        self._roots: dict[str, str] = {}
        self._of: dict[str, set[str]] = {}
        self._seen = 0
        self._looking = asyncio.Lock()
        self._looks = 0

    def root(self, account: str) -> str:
        """The account that this one is an alias of, or itself."""
        return self._roots.get(account, account)

    def names(self, account: str) -> list[str]:
        """The account, and those that are aliases of it."""
        return [account, *sorted(self._of.get(account, ()))]

    async def look(self) -> None:
        """Learn what is new. Raises RecordsUnavailable.

        Who ask while one look is under way share the next: it is begun after each of them has asked.
        """
        looks = self._looks
        async with self._looking:
            if self._looks == looks:
                self._looks += 1
                await self._look()

    async def _look(self) -> None:
        for row in await self._book.aliases_after(max(0, self._seen - _OVERLAP)):
            self._learn(row.account, self.root(row.into))
            self._seen = max(self._seen, row.number)

    def _learn(self, account: str, into: str) -> None:
        """What was an alias of the account is one of the other now."""
        if account == into or self._roots.get(account) == into:
            return
        for one in (account, *self._of.pop(account, ())):
            self._roots[one] = into
            self._of.setdefault(into, set()).add(one)

    async def add(self, account: str, into: str, why: str) -> Joined:
        """Write down that `account` is `into` from now on. Raises RecordsUnavailable."""
        new = await self._book.add_alias(account, into, why=why, now_ms=self._clock.now_ms())
        await self.look()
        if new:
            self._report("wallets joined", level="info", account=account, into=self.root(into), why=why)
            return "joined"
        if self.root(account) == self.root(into):
            return "one already"
        return "an alias already" if self.root(account) != account else "frozen"

    async def find(self, account: str) -> Alias | None:
        """What is on record of an alias. Raises RecordsUnavailable."""
        return await self._book.find_alias(account)

    async def follow(self, account: str) -> None:
        """Something was put into this account: should it be an alias, it is not to stay there.

        Raises RecordsUnavailable.
        """
        if await self._book.find_alias(account) is not None:
            await self._book.ask_to_join(account)


class JoinBooks:
    """Moves what is left in old accounts into the new ones."""

    def __init__(
        self,
        *,
        book: AliasBook,
        aliases: Aliases,
        ledger: Ledger,
        books: Standings,
        clock: Clock,
        report: Callable[..., None],
    ) -> None:
        self._book = book
        self._aliases = aliases
        self._ledger = ledger
        self._books = books
        self._clock = clock
        self._report = report
        self._stuck: set[tuple[str, str]] = set()
        self._anew_ms = 0

    async def begin(self) -> None:
        """At a start, and now and then: whatever was left, and what has come back. Raises RecordsUnavailable."""
        now = self._clock.now_ms()
        await self._book.ask_to_join_since(now - _ANEW_MS)
        self._anew_ms = now + _EVERY_MS

    async def now(self) -> None:
        """Join what is to be joined, as far as it goes just now. Raises RecordsUnavailable."""
        if not 0 < self._anew_ms - self._clock.now_ms() <= _EVERY_MS:  # or the clock was set
            await self.begin()
        try:
            for alias in await self._book.unjoined():
                await self._join(alias)
        except (LedgerUnavailable, StoreFailed):
            return  # the next look finds it back, or does not

    async def _join(self, alias: Alias) -> None:
        """Whatever it has, in every currency; what is stuck in one of them keeps none of the others."""
        done = [await self._moved(alias, unit) for unit in await self._books.units(alias.account)]
        await self._aliases.follow(alias.into)  # it may have become an alias itself in between
        if all(done):
            await self._book.joined(alias)

    async def _moved(self, alias: Alias, unit: str) -> bool:
        try:
            return await self._ledger.join(alias.account, alias.into, unit, turn=alias.asked)
        except ValueError as error:
            if (alias.account, unit) not in self._stuck:
                self._stuck.add((alias.account, unit))
                self._report(
                    "wallets cannot be joined", account=alias.account, into=alias.into, unit=unit, why=str(error)
                )
            return False


class Following:
    """What is meant for an old account goes to the new one. Implements `ports.Entries`."""

    def __init__(self, entries: Entries, aliases: Aliases) -> None:
        self._entries = entries
        self._aliases = aliases

    async def credit(self, credit: Credit) -> bool:
        """As `Ledger.credit`; also raises RecordsUnavailable, when repeating the call is safe, too."""
        account = self._aliases.root(credit.account)
        new = await self._entries.credit(replace(credit, account=account))
        await self._follow(credit.account, account)
        return new

    async def reverse(self, reversal: Reversal) -> bool:
        """As `Ledger.reverse`; the same."""
        account = self._aliases.root(reversal.account)
        new = await self._entries.reverse(replace(reversal, account=account))
        await self._follow(reversal.account, account)
        return new

    async def _follow(self, named: str, account: str) -> None:
        """Also of the one that was named: if this is a repetition, the first try may have found it no alias."""
        for one in {named, account}:
            await self._aliases.follow(one)


class FollowingDesk(Following):
    """Whoever asks for an old account is served at the new one. Implements `ports.Desk`."""

    def __init__(self, ledger: Desk, aliases: Aliases) -> None:
        super().__init__(ledger, aliases)
        self._ledger = ledger

    async def refund(self, request: RequestId, reason: str) -> list[Charge]:
        """As `Ledger.refund`: it goes back to where it came from, and from there to where that has gone."""
        charges = await self._ledger.refund(request, reason)
        for charge in charges:
            await self._aliases.follow(charge.holder)
        return charges

    async def balance(self, account: str, currency: str) -> Balance:
        return await self._ledger.balance(self._aliases.root(account), currency)

    async def funded(self, account: str, currency: str) -> bool:
        return await self._ledger.funded(self._aliases.root(account), currency)
