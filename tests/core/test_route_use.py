"""How a route is used is told as who runs its upstream would count it."""

from gateway.core.counting import SECONDS
from gateway.core.route_use import Use, measures_of, use_of


def buckets(**at: int) -> list[int]:
    """So many in the bucket of that number."""
    return [at.get(f"b{place}", 0) for place in range(len(SECONDS) + 1)]


def test_what_we_turn_away_is_no_call_and_what_fails_behind_us_is_an_error() -> None:
    answered = {200: 90, 404: 3, 402: 5, 303: 2, 429: 1, 502: 4, 500: 2, 0: 1}
    refused = {"payment_required": 7, "rate_limited": 1, "upstream_failed": 4}
    found = use_of(measures_of(answered, refused, buckets(b3=94)))
    assert (found.calls, found.errors, found.refused) == (100, 6, 8)


def test_the_slowest_twentieth_is_left_out_and_no_more() -> None:
    assert use_of(measures_of({200: 100}, {}, buckets(b2=95, b9=5))).slow_seconds == SECONDS[2]
    assert use_of(measures_of({200: 100}, {}, buckets(b2=94, b9=6))).slow_seconds == SECONDS[9]
    slowest = use_of(measures_of({200: 1}, {}, buckets(**{f"b{len(SECONDS)}": 1})))
    assert (slowest.slow_seconds, slowest.slower) == (SECONDS[-1], True)
    assert use_of({}) == Use()
