"""How routes are used: calls, those that failed, those that we turned away, and how long answers took to begin.

For who runs what is behind a route. A call is what its upstream was asked for, or should have been: it failed if its
answer was 5xx. What we turned away for a reason of the caller's (no balance, a limit) says nothing of the upstream.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from gateway.core.counting import SECONDS
from gateway.core.refusals import Refusal

CALLS, ERRORS, REFUSED = "calls", "errors", "refused"
_TURNED_AWAY = frozenset(one.code for one in Refusal.__subclasses__() if one.status < 500)
_BUCKETS = tuple(f"under {place:02d}" for place in range(len(SECONDS) + 1))
_SHARE = 0.95

Measures = Mapping[tuple[str, str], int]
"""Numbers by route and measure."""


@dataclass(frozen=True, slots=True)
class Use:
    """How a route was used in a time. `slow_seconds`: 95 of 100 answers began within it; None if nobody knows."""

    calls: int = 0
    errors: int = 0
    refused: int = 0
    slow_seconds: float | None = None
    slower: bool = False
    """Whether it was more than that."""


def measures_of(answered: Mapping[int, int], refused: Mapping[str, int], took: Sequence[int]) -> dict[str, int]:
    """Of one route: its requests by status, those that were refused by code, and in which buckets answers began."""
    turned_away = sum(number for code, number in refused.items() if code in _TURNED_AWAY)
    found = {
        CALLS: sum(answered.values()) - turned_away,
        ERRORS: sum(number for status, number in answered.items() if status >= 500),
        REFUSED: turned_away,
        **dict(zip(_BUCKETS, took, strict=True)),
    }
    return {measure: number for measure, number in found.items() if number}


def use_of(measures: Mapping[str, int]) -> Use:
    """What the measures of one route come to."""
    buckets = [measures.get(name, 0) for name in _BUCKETS]
    wanted, total = sum(buckets) * _SHARE, 0
    slow, slower = None, False
    for place, number in enumerate(buckets):
        total += number
        if total and total >= wanted:
            slow, slower = SECONDS[min(place, len(SECONDS) - 1)], place == len(SECONDS)
            break
    return Use(measures.get(CALLS, 0), measures.get(ERRORS, 0), measures.get(REFUSED, 0), slow, slower)
