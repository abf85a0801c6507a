"""How routes are used: calls, those that failed, those that we turned away, and how long answers took to begin.

For who runs what is behind a route. A call is what its upstream was asked for, or should have been: it failed if its
answer was 5xx, or was cut before it began. What we turned away (no balance, a limit) says nothing of the upstream.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from gateway.core.counting import SECONDS

CALLS, ERRORS, REFUSED = "calls", "errors", "refused"
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


def measures_of(
    answered: Mapping[tuple[str, int, str], int], took: Mapping[str, Sequence[int]]
) -> dict[tuple[str, str], int]:
    """Of requests by route, status and code of refusal, and of durations by route, in buckets."""
    found: dict[tuple[str, str], int] = {}
    for (route, status, code), number in answered.items():
        if not route:
            continue
        refused = bool(code) and 400 <= status < 500
        failed = not refused and (status >= 500 or status == 0)
        for measure in (REFUSED,) if refused else (CALLS, ERRORS) if failed else (CALLS,):
            found[route, measure] = found.get((route, measure), 0) + number
    for route, buckets in took.items():
        for name, number in zip(_BUCKETS, buckets, strict=True):
            if route and number:
                found[route, name] = number
    return found


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
