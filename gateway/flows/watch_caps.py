"""Owners, and holders by letter, are told that a spending cap is nearly used up: once for each cap and period.

It is noticed beside the road, when a request that was paid for leaves little of a cap as far as this process knows, or
one is refused for it; the books decide. As the message's cause names the cap's balance in its period, many processes
that notice write one. It is delivered by `notify.py`.
"""

import asyncio
from collections import OrderedDict
from contextlib import suppress
from datetime import UTC, datetime

from gateway.core.caps import Cap, CapLine
from gateway.core.money import Money
from gateway.core.refusals import CapReached, RecordsUnavailable
from gateway.ports import CapLines, Clock, Hold, Outbox, StoreFailed

_LOOKS_AFTER = (0.0, 0.2, 2.0)
"""When the books are looked at: what a request did cost may take a moment to be committed."""
_REST_SECONDS = 10.0
_LOOKED_MAX = 10_000
_LOOKING_MAX = 100


class WatchCaps:
    """Notices caps of which `percent` is spent."""

    def __init__(self, *, outbox: Outbox, lines: CapLines, percent: int, clock: Clock) -> None:
        self._outbox = outbox
        self._lines = lines
        self._percent = percent
        self._clock = clock
        self._rests: OrderedDict[str, float] = OrderedDict()
        """Until when a balance is not looked at again, of the loop's time; oldest first."""
        self._tasks: dict[str, asyncio.Task[None]] = {}

    def spent(self, account: str, hold: Hold) -> None:
        """A request was paid for. Awaits nothing."""
        for use in hold.caps:
            if self._is_near(use.cap, use.cap.amount.micros, use.cap.amount.micros - use.left):
                self._look(account, use.cap, use.name)

    def reached(self, account: str, refusal: CapReached) -> None:
        """A request was refused for a cap. Awaits nothing."""
        self._look(account, refusal.cap, refusal.cap.name(self._clock.now_ms()))

    async def settled(self) -> None:
        """Until nothing is being looked at."""
        while self._tasks:
            await asyncio.wait(list(self._tasks.values()))

    async def close(self) -> None:
        for task in self._tasks.values():
            task.cancel()
        await asyncio.gather(*self._tasks.values(), return_exceptions=True)

    def _look(self, account: str, cap: Cap, name: str) -> None:
        loop = asyncio.get_running_loop()
        if name in self._tasks or len(self._tasks) >= _LOOKING_MAX or self._rests.get(name, 0.0) > loop.time():
            return
        task = self._tasks[name] = loop.create_task(self._tell(account, cap, name), name=f"look at {name}")
        task.add_done_callback(lambda _: self._tasks.pop(name))

    async def _tell(self, account: str, cap: Cap, name: str) -> None:
        seconds = _REST_SECONDS
        with suppress(RecordsUnavailable, StoreFailed):
            for after in _LOOKS_AFTER:
                await asyncio.sleep(after)
                line = await self._lines.cap_line(name, cap.unit)
                if self._is_near(cap, line.limit, line.spent):
                    await self._put(account, cap, name, line)
                    seconds = float("inf")  # another process would be told so by the outbox
                    break
        self._rests.pop(name, None)
        self._rests[name] = asyncio.get_running_loop().time() + seconds
        if len(self._rests) > _LOOKED_MAX:
            self._rests.popitem(last=False)

    def _is_near(self, cap: Cap, limit: int, spent: int) -> bool:
        if cap.tell_at is not None:
            return spent >= cap.tell_at
        return spent * 100 >= limit * self._percent

    async def _put(self, account: str, cap: Cap, name: str, line: CapLine) -> None:
        now_ms, currency = self._clock.now_ms(), cap.amount.currency
        resets = cap.resets_ms(now_ms)
        content = {
            "node": cap.node,
            "per": cap.period,
            "cap": str(Money(line.limit, currency)) if cap.binds else None,
            "tell_at": None if cap.tell_at is None else str(Money(cap.tell_at, currency)),
            "spent": str(Money(line.spent, currency)),
            "resets_at": None if resets is None else datetime.fromtimestamp(resets / 1000, UTC).isoformat(),
        }
        await self._outbox.put("cap.near", account, content, cause=f"{name} {currency}", now_ms=now_ms)
