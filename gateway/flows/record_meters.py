"""What meters read is kept, so that yesterday's requests can be replayed under tomorrow's prices.

Off the road: a request that ends leaves its reading in the memory, and every second all of them are written at once.
There is room for so many; what comes beyond that while the records cannot be written is dropped, and so is what a crash
takes with it: a replay says how many requests it knows nothing of. Only prices by use leave readings: of all others the
books say all there is.
"""

from collections import deque
from contextlib import suppress

from gateway.core.ids import RequestId
from gateway.core.measured import Measured
from gateway.core.refusals import RecordsUnavailable
from gateway.core.use_meters import UseMeter
from gateway.ports import Clock, Exchange, MeterBook

EVERY_SECONDS = 1.0
WAITING_MAX = 20_000
_A_STEP = 500


class RecordMeters:
    """Keeps readings for a while, and so many at most."""

    def __init__(self, *, book: MeterBook, clock: Clock, keep_ms: int, rows_max: int) -> None:
        self._book = book
        self._clock = clock
        self._keep_ms = keep_ms
        self._rows_max = rows_max
        self._waiting: deque[tuple[RequestId, Measured]] = deque(maxlen=WAITING_MAX)

    def ended(self, exchange: Exchange, meter: UseMeter) -> None:
        """A request is over. Awaits nothing."""
        self._waiting.append((exchange.id, meter.measured(exchange.method)))

    async def write(self) -> None:
        """To be called every EVERY_SECONDS. Raises RecordsUnavailable; then what waits goes on waiting."""
        while self._waiting:
            rows = [self._waiting.popleft() for _ in range(min(_A_STEP, len(self._waiting)))]
            try:
                await self._book.keep([(str(id), id.at_ms, measured.packed()) for id, measured in rows])
            except BaseException:
                self._waiting.extendleft(reversed(rows))  # written twice is written once
                raise

    async def leave(self) -> None:
        """Once more, if it can be."""
        with suppress(RecordsUnavailable):
            await self.write()

    async def drop(self, count: int) -> int:
        """So many of those that are too old or too many; how many there were. Raises RecordsUnavailable."""
        before_ms = self._clock.now_ms() - self._keep_ms
        return await self._book.drop(before_ms=before_ms, rows_max=self._rows_max, count=count)
