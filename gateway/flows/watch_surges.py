"""Surges: many more unpaid or failed requests, or payments, in the last hour than there usually are at that time.

What is usual is learned hour by hour from what all hosts have counted (`core/anomalies.Rhythm`), and is kept with the
records; hours in which no gateway ran count as hours without any.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from gateway.core.alerts import Name, Sign
from gateway.core.anomalies import HOUR_MS, Rhythm
from gateway.core.transfers import hour_of
from gateway.ports import AlertSources, Counted

_HOURS_A_ROUND = 48
LATE_MS = 120_000


@dataclass(frozen=True, slots=True)
class Series:
    """What is counted: a `measure` of requests, or events of these types. Fewer than `least` in an hour are none."""

    name: Name
    least: int
    measure: str = ""
    types: Sequence[str] = ()


class WatchSurges:
    """Learns and judges every series."""

    def __init__(self, series: Sequence[Series], *, counts: Counted, sources: AlertSources, factor: float) -> None:
        self._series = series
        self._counts = counts
        self._sources = sources
        self._factor = factor

    async def look(self, now_ms: int) -> list[Sign]:
        """What surges just now. Raises RecordsUnavailable."""
        signs = []
        kept = await self._counts.habits([f"={one.name}" for one in self._series])
        hour = hour_of(now_ms) // HOUR_MS
        for one in self._series:
            rhythm = await self._learned(one, kept.get(f"={one.name}"), now_ms)
            number = await self._number(one, now_ms - HOUR_MS, now_ms + 1)
            if rhythm.is_surge(hour, number, least=one.least, factor=self._factor):
                facts = {"number": number, "seconds": 3600, "usual": round(rhythm.usual(hour), 1)}
                signs.append(Sign(one.name, facts=facts))
        return signs

    async def _learned(self, one: Series, state: str | None, now_ms: int) -> Rhythm:
        """With the hours that are over by now; it begins with the one that goes on."""
        over = hour_of(now_ms - LATE_MS) // HOUR_MS
        rhythm = Rhythm.unpacked(state) if state is not None else Rhythm(over - 1)
        if state is not None and rhythm.last + 1 >= over:
            return rhythm
        for hour in range(max(rhythm.last + 1, over - _HOURS_A_ROUND), over):
            rhythm.learn(hour, await self._number(one, hour * HOUR_MS, (hour + 1) * HOUR_MS))
        await self._counts.keep_habits({f"={one.name}": rhythm.packed()}, now_ms=now_ms)
        return rhythm

    async def _number(self, one: Series, since_ms: int, until_ms: int) -> int:
        if one.types:
            events = await self._sources.events(since_ms=since_ms, until_ms=until_ms)
            return sum(events.get(type, 0) for type in one.types)
        return (await self._counts.counts(since_ms=since_ms, until_ms=until_ms)).get(one.measure, 0)
