"""An account is capped: so much may be spent of it in a day, in a month or at all, whatever it has.

As with frozen accounts (`freeze.py`), every process knows the caps by heart and reads what is new of them every second:
what an operator sets here holds everywhere a second later. When the records cannot be read, what was known stays true.
What was spent under a cap stands in the ledger (`keep/caps.py`). Who caps an alias caps the account that it is now.
"""

from collections.abc import Callable

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

    async def set(self, account: str, period: Period, amount: Money) -> bool:
        """From now on, so much; False if it is what it was. Raises RecordsUnavailable."""
        return await self._set(account, period, amount)

    async def remove(self, account: str, period: Period) -> bool:
        """From now on, as much as there is; False if there was no such cap. Raises RecordsUnavailable."""
        return await self._set(account, period, None)

    async def _set(self, account: str, period: Period, amount: Money | None) -> bool:
        account = self._root(account)
        await self.look()
        was = next((cap for cap in self.of(account) if cap.period == period), None)
        if amount == (was and was.amount):
            return False
        unit = amount.currency if amount is not None else was.amount.currency if was is not None else ""
        micros = None if amount is None else amount.micros
        await self._book.add_cap(account, period, unit, micros, now_ms=self._clock.now_ms())
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
