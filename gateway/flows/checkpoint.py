"""A long answer that costs by its use is put on record while it goes on, so that a crash does not give all of it away.

What an answer costs is on record before it begins, as far as that is known by then, and wholly once it has ended. In
between, what all that are under way have come to is noted every few seconds: what a process that dies gives away is
what came since. An answer that is paid for in slices is on record with each of them, and is none of these: two who say
what it has come to would contradict each other.

A count that the answer itself says, such as tokens, is only known from when it does: as of one that its upstream breaks
off, what was not said by then is not charged.
"""

import asyncio
from contextlib import suppress

from gateway.core.pricing import MeteredPrice
from gateway.core.refusals import LedgerUnavailable
from gateway.core.use_meters import UseMeter
from gateway.ports import Hold, Ledger

EVERY_SECONDS = 5.0
_A_STEP = 200
"""So many are written together: they share a commit or two."""


class Checkpoints:
    """Implements `ports.FollowsLong`: the answers of one process that go on, and whose cost is not known yet."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._under_way: dict[UseMeter, tuple[Hold, MeteredPrice]] = {}

    def __len__(self) -> int:
        return len(self._under_way)

    def begin(self, meter: UseMeter, hold: Hold, price: MeteredPrice) -> None:
        self._under_way[meter] = hold, price

    def end(self, meter: UseMeter) -> None:
        self._under_way.pop(meter, None)

    async def write(self) -> None:
        """To be called every EVERY_SECONDS."""
        under_way = list(self._under_way)
        for begin in range(0, len(under_way), _A_STEP):
            await asyncio.gather(*map(self._note, under_way[begin : begin + _A_STEP]))

    async def _note(self, meter: UseMeter) -> None:
        if meter not in self._under_way:
            return  # it has ended since
        hold, price = self._under_way[meter]
        due = price.cost(meter.units)
        if due <= hold.spent:
            return
        with suppress(LedgerUnavailable):  # whoever asks for something learns of that; the next round is soon
            await self._ledger.renew(hold, due, price.cost(meter.ceiling - due.micros))
