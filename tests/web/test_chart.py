"""Bars stand within the drawing, in the order of the days, as high as the days were dear."""

from hypothesis import given
from hypothesis import strategies as st

from gateway.core.money import Money
from gateway.core.statements import DAY_MS, Day
from gateway.web.chart import HEIGHT, WIDTH, bars


@given(st.lists(st.integers(-(10**6), 2**62), max_size=60))
def test_bars_are_in_the_drawing_and_as_high_as_the_days_were_dear(costs: list[int]) -> None:
    days = [Day(place * DAY_MS, 1, Money(micros, "usd")) for place, micros in enumerate(costs)]
    drawn = bars(days)
    assert [bar.day for bar in drawn] == days
    for bar, micros in zip(drawn, costs, strict=True):
        assert 0 <= bar.x <= bar.x + bar.width <= WIDTH
        assert bar.y + bar.height == HEIGHT
        assert (bar.height > 0) == (micros > 0)
    if max(costs, default=0) > 0:
        assert max(bar.height for bar in drawn) == HEIGHT
    by_cost = sorted(drawn, key=lambda bar: bar.day.cost.micros)
    assert [bar.height for bar in by_cost] == sorted(bar.height for bar in drawn)
