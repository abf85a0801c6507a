"""Prices by how many calls were made in a period: what they say, and which step a call is of."""

import pytest

from gateway.core.caps import Cap, began, ends_ms
from gateway.core.money import Money
from gateway.core.pricing import Price
from gateway.core.steps import PriceStep, SteppedPrice, nth, place_of

DAY_MS = 86_400_000
SUNDAY_MS = 1_795_305_600_000  # 2026-11-22, midnight in UTC


def price(micros: int) -> Price:
    return Price(Money(micros, "usd"))


def stepped(*steps: tuple[int, int | None]) -> SteppedPrice:
    return SteppedPrice("month", "UTC", tuple(PriceStep(price(micros), up_to) for micros, up_to in steps))


@pytest.mark.parametrize(
    ("steps", "text"),
    [
        (
            [(0, 1000), (2000, 10_000), (1000, None)],
            "1,000 free a month, then 0.002 usd, from the 10,001st 0.001 usd",
        ),
        ([(0, 1), (2000, None)], "1 free a month, then 0.002 usd"),
        (
            [(3000, 100), (2000, 1111), (0, 1112), (1000, None)],
            "0.003 usd for the first 100 a month, then 0.002 usd, from the 1,112th free, from the 1,113th 0.001 usd",
        ),
    ],
)
def test_a_price_by_steps_is_said_in_one_sentence(steps: list[tuple[int, int | None]], text: str) -> None:
    assert str(stepped(*steps)) == text


def test_each_step_counts_its_own_calls_and_the_last_none() -> None:
    found = stepped((0, 1000), (2000, 10_000), (1000, None))
    steps = [found.step(place, "maps.POST", price(1)) for place in range(3)]
    assert [step.cap("acct_a") for step in steps] == [
        Cap("acct_a", "month", Money(1000, "quota:maps.POST:1")),
        Cap("acct_a", "month", Money(9000, "quota:maps.POST:2")),
        None,
    ]
    assert [str(step) for step in steps] == [
        "the first 1,000 calls of a month",
        "calls 1,001 to 10,000 of a month",
        "from the 10,001st call of a month",
    ]
    assert found.dearest == price(2000)


@pytest.mark.parametrize(
    ("made", "place"), [([(3, 0), (2, 0)], 0), ([(3, 2), (2, 0)], 0), ([(3, 3), (2, 1)], 1), ([(3, 3), (2, 2)], 2)]
)
def test_the_next_call_is_of_the_first_step_that_has_one_left(made: list[tuple[int, int]], place: int) -> None:
    assert place_of(made) == place


def test_numbers_are_said_as_they_are_spoken() -> None:
    numbers = [1, 2, 3, 4, 11, 12, 13, 21, 101, 111, 10_002]
    spoken = ["1st", "2nd", "3rd", "4th", "11th", "12th", "13th", "21st", "101st", "111th", "10,002nd"]
    assert [nth(number) for number in numbers] == spoken


def test_a_week_begins_on_a_monday_and_is_named_by_its_year() -> None:
    assert began("week", SUNDAY_MS, "UTC") == "2026-W47"
    assert ends_ms("week", SUNDAY_MS, "UTC") == SUNDAY_MS + DAY_MS
    assert began("week", SUNDAY_MS + DAY_MS, "UTC") == "2026-W48"
    assert ends_ms("week", SUNDAY_MS + DAY_MS, "UTC") == SUNDAY_MS + 8 * DAY_MS
    assert began("week", 1_798_761_600_000, "UTC") == "2026-W53"  # 1 January 2027
    assert began("week", SUNDAY_MS + DAY_MS - 1, "Europe/Berlin") == "2026-W48"


def test_a_count_is_named_apart_from_the_cap_of_its_account() -> None:
    count = Cap("acct_a", "week", Money(5, "quota:maps:1"))
    assert (count.name(SUNDAY_MS), count.unit) == ("quota:acct_a:week:2026-W47", "quota:maps:1")
    assert (count.takes(2000), Cap("acct_a", "day", Money(5, "usd")).takes(2000)) == (1, 2000)
