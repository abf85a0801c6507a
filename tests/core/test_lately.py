"""The last minutes: what came between two looks, and quantiles out of buckets."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.counting import SECONDS, Durations
from gateway.core.lately import Lately, Look, quantile

BUCKETS = len(SECONDS) + 1


def look(at_seconds: float, requests: int, refused: int = 0, buckets: tuple[int, ...] = (0,) * BUCKETS) -> Look:
    return Look(int(at_seconds * 1000), {"200": requests, "500": refused}, {"payment_required": refused}, buckets)


def test_a_window_is_the_difference_of_the_looks_at_its_ends() -> None:
    lately = Lately(330)
    assert lately.window(60).per_second == 0
    for at in range(0, 400, 5):
        lately.look(look(at, requests=at * 2, refused=at // 5))
    window = lately.window(60)
    assert (window.seconds, window.requests, window.per_second) == (60, 132, 2.2)
    assert (window.of_class(2), window.of_class(5), window.codes) == (120, 12, {"payment_required": 12})
    assert lately.window(300).requests == 660
    assert lately.window(1000).seconds <= 335, "what is older is forgotten"


def test_a_window_of_one_look_says_nothing_and_counters_that_went_back_begin_anew() -> None:
    lately = Lately(330)
    lately.look(look(0, 100))
    assert (lately.window(60).seconds, lately.window(60).requests) == (0, 0)
    lately.look(look(5, 110))
    assert lately.window(60).requests == 10
    lately.look(look(10, 3))
    assert lately.window(60).requests == 0
    lately.look(look(15, 5))
    assert (lately.window(60).seconds, lately.window(60).requests) == (5, 2)


@given(st.lists(st.floats(0, 60), min_size=1, max_size=60), st.sampled_from((50, 95, 99)))
def test_a_quantile_is_in_the_bucket_of_the_time_that_it_is_about(times: list[float], percent: int) -> None:
    counted = Durations()
    for time in times:
        counted.count(time)
    found = quantile(counted.buckets, percent)
    assert found is not None
    true = sorted(times)[max(0, -(-len(times) * percent // 100) - 1)]
    low = max((bound for bound in SECONDS if bound < true), default=0.0)
    high = min((bound for bound in SECONDS if bound >= true), default=SECONDS[-1])
    assert low <= found <= max(high, low)


def test_a_quantile_is_a_straight_line_through_its_bucket() -> None:
    buckets = [0] * BUCKETS
    assert quantile(buckets, 50) is None
    buckets[SECONDS.index(0.1)] = 10  # from 0.05 to 0.1
    assert quantile(buckets, 50) == pytest.approx(0.075)
    buckets[-1] = 1000
    assert quantile(buckets, 99) == SECONDS[-1]
