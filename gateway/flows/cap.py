"""An account is capped: so much may be spent of it in a day, in a month or at all, whatever it has.

As with frozen accounts (`freeze.py`), every process knows the caps by heart and reads what is new of them every second:
what an operator sets here holds everywhere a second later. When the records cannot be read, what was known stays true.
What was spent under a cap stands in the ledger (`keep/caps.py`). Who caps an alias caps the account that it is now.
"""

from collections.abc import Callable
from dataclasses import replace

from gateway.core.caps import Cap, CapSetting, Period
from gateway.core.money import Money
from gateway.ports import CapBook, Clock

LOOK_SECONDS = 1.0
_OVERLAP = 64
"""Rows that are read again: of several hosts, a lower number may be committed after a higher one."""


class AccountCaps:
    """The caps of accounts, whose periods are those of the calendar in `zone`. Implements `ports.Caps`."""

    def __init__(
        self, *, book: CapBook, clock: Clock, zone: str, root: Callable[[str], str] = lambda account: account
    ) -> None:
        self._root = root
        self._book = book
        self._clock = clock
        self.zone = zone
        self._caps: dict[str, dict[Period, tuple[int, Cap | None]]] = {}
        self._known: dict[str, tuple[Cap, ...]] = {}
        self._seen = 0

    def of(self, account: str) -> tuple[Cap, ...]:
        return self._known.get(account, ())

    async def look(self) -> None:
        """Learn what is new. Raises RecordsUnavailable."""
        for row in await self._book.caps_after(max(0, self._seen - _OVERLAP)):
            self._take(row)
            self._seen = max(self._seen, row.number)

    async def set(
        self,
        account: str,
        period: Period,
        amount: Money | None,
        *,
        tell_at: Money | None = None,
        zone: str | None = None,
    ) -> bool:
        """From now on, so much, and from `tell_at` on somebody is told; without an amount nothing is refused.

        False if it is what it was. Raises RecordsUnavailable, and ValueError if there is neither of the two, or they
        are of two units.
        """
        units = {money.currency for money in (amount, tell_at) if money is not None}
        if len(units) != 1:
            raise ValueError("a cap, and what is told of it, are amounts of one currency")
        return await self._set(account, period, units.pop(), amount, tell_at, zone)

    async def remove(self, account: str, period: Period) -> bool:
        """From now on, as much as there is; False if there was no such cap. Raises RecordsUnavailable."""
        was = await self._standing(account, period)
        if was is None:
            return False
        return await self._set(account, period, was.amount.currency, None, None, None)

    async def _standing(self, account: str, period: Period) -> Cap | None:
        await self.look()
        return next((cap for cap in self.of(self._root(account)) if cap.period == period), None)

    async def _set(
        self, account: str, period: Period, unit: str, amount: Money | None, tell_at: Money | None, zone: str | None
    ) -> bool:
        was, now_ms = await self._standing(account, period), self._clock.now_ms()
        micros, told = (None if money is None else money.micros for money in (amount, tell_at))
        wanted = CapSetting(0, self._root(account), period, unit, micros, 0, told, zone).cap(self.zone)
        if wanted == (was and replace(was, since_ms=0)):
            return False
        await self._book.add_cap(self._root(account), period, unit, micros, now_ms=now_ms, tell_at=told, zone=zone)
        await self.look()
        return True

    def _take(self, row: CapSetting) -> None:
        """Of what comes again, or comes late, the later setting counts."""
        settings = self._caps.setdefault(row.account, {})
        if row.since_ms <= settings.get(row.period, (-1, None))[0]:
            return
        settings[row.period] = row.since_ms, row.cap(self.zone)
        standing = tuple(cap for _, cap in settings.values() if cap is not None)
        if standing:
            self._known[row.account] = standing
        else:
            self._known.pop(row.account, None)
