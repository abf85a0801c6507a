"""What the last minutes were like: how many requests, how many of them failed, how long they took.

Counters only grow. Somebody looks at them every few seconds; the difference of two looks is what happened in between.
Looks are kept for as long as the longest window, so the memory does not grow. A counter that went back belongs to a
process that began anew: what came before is forgotten, and the window is shorter for a while.

A quantile is read off a histogram: the bucket that it falls into, and a straight line through that. It is as fine as
the buckets are, and a time beyond the last bound is told as that bound.
"""

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from gateway.core.counting import SECONDS

QUANTILES = (50, 95, 99)


@dataclass(frozen=True, slots=True)
class Look:
    """What was counted up to a moment: requests by status, refusals by code, and how long requests took."""

    at_ms: int
    statuses: Mapping[str, int]
    codes: Mapping[str, int]
    buckets: Sequence[int] = field(default=(0,) * (len(SECONDS) + 1))


@dataclass(frozen=True, slots=True)
class Window:
    """What happened in so many seconds. `seconds` is 0 when there was only one look yet."""

    seconds: float
    requests: int
    statuses: Mapping[str, int]
    codes: Mapping[str, int]
    buckets: Sequence[int]

    @property
    def per_second(self) -> float:
        return self.requests / self.seconds if self.seconds else 0.0

    def of_class(self, hundreds: int) -> int:
        """How many were answered with a status of this class, such as 5."""
        return sum(number for status, number in self.statuses.items() if status[:1] == str(hundreds))

    def quantile_seconds(self, percent: int) -> float | None:
        """What so many of a hundred requests did not take longer than; None of no requests."""
        return quantile(self.buckets, percent)


class Lately:
    """Keeps looks for `most_seconds`."""

    def __init__(self, most_seconds: float) -> None:
        self._most_ms = int(most_seconds * 1000)
        self._looks: deque[Look] = deque()

    def look(self, look: Look) -> None:
        """The counters as they are now; later ones come later."""
        if self._looks and _went_back(self._looks[-1], look):
            self._looks.clear()
        self._looks.append(look)
        while len(self._looks) > 2 and self._looks[1].at_ms <= look.at_ms - self._most_ms:
            self._looks.popleft()

    def window(self, seconds: float) -> Window:
        """From the look that is nearest to so long ago, and not younger, up to the last one."""
        if len(self._looks) < 2:
            return Window(0.0, 0, {}, {}, (0,) * (len(SECONDS) + 1))
        last = self._looks[-1]
        since = last.at_ms - int(seconds * 1000)
        first = next((look for look in reversed(self._looks) if look.at_ms <= since), self._looks[0])
        statuses = _more(first.statuses, last.statuses)
        return Window(
            (last.at_ms - first.at_ms) / 1000,
            sum(statuses.values()),
            statuses,
            _more(first.codes, last.codes),
            [now - then for then, now in zip(first.buckets, last.buckets, strict=True)],
        )


def quantile(buckets: Sequence[int], percent: int) -> float | None:
    """In seconds, of what each bucket counts by itself; the last one is of all that took longer than any bound."""
    total = sum(buckets)
    if not total:
        return None
    wanted, counted, below = total * percent / 100, 0, 0.0
    for bound, number in zip(SECONDS, buckets, strict=False):
        if number and counted + number >= wanted:
            return below + (bound - below) * (wanted - counted) / number
        counted, below = counted + number, bound
    return SECONDS[-1]


def _more(then: Mapping[str, int], now: Mapping[str, int]) -> dict[str, int]:
    return {key: more for key, number in sorted(now.items()) if (more := number - then.get(key, 0))}


def _went_back(then: Look, now: Look) -> bool:
    return sum(now.statuses.values()) < sum(then.statuses.values()) or sum(now.buckets) < sum(then.buckets)
