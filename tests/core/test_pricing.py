"""What a request may cost, and did cost."""

import time

import pytest

from gateway.core.money import Money
from gateway.core.pricing import Price

PRICE = Price(Money(2_000, "usd"))
FREE = Price(Money.zero("usd"))


def test_a_free_price_is_free_whatever_is_used() -> None:
    assert FREE.free
    assert not PRICE.free
    assert not FREE.cost(1)
    assert (str(FREE), str(PRICE)) == ("free", "0.002 usd")


@pytest.mark.parametrize(("units", "micros"), [(0, 0), (1, 2_000), (2, 2_000)])
def test_a_call_costs_its_price_once_and_never_more_than_its_ceiling(units: int, micros: int) -> None:
    assert PRICE.cost(units) == Money(micros, "usd")
    assert PRICE.cost(units) <= PRICE.ceiling


@pytest.mark.parametrize(
    ("status", "micros"),
    [(199, 0), (200, 2_000), (204, 2_000), (304, 2_000), (399, 2_000), (400, 0), (404, 0), (500, 0)],
)
def test_only_a_successful_answer_costs(status: int, micros: int) -> None:
    meter = PRICE.meter(time.monotonic, PRICE.ceiling)
    assert not PRICE.cost(meter.units)
    meter.head(status)
    assert PRICE.cost(meter.units).micros == micros


def test_an_answer_that_the_upstream_breaks_off_is_free() -> None:
    meter = PRICE.meter(time.monotonic, PRICE.ceiling)
    meter.head(200)
    meter.cut()
    assert not PRICE.cost(meter.units)
