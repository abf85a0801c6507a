"""Caps and the calendar."""

from datetime import UTC, date, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.caps import PERIODS, Cap, Period, began, ends_ms, is_cap, zone_named
from gateway.core.money import Money

ZONES = ("UTC", "Europe/Berlin", "America/New_York", "America/Sao_Paulo", "Australia/Lord_Howe", "Asia/Kathmandu",
         "Pacific/Apia", "Africa/Cairo", "America/Havana")  # fmt: skip
FIRST, LAST = datetime(2012, 1, 1, tzinfo=UTC), datetime(2090, 1, 1, tzinfo=UTC)
moments = st.integers(int(FIRST.timestamp() * 1000), int(LAST.timestamp() * 1000))
USD = Money.parse("5.00 usd")


def at(text: str, zone: str = "UTC") -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=zone_named(zone)).timestamp() * 1000)


@given(moments, st.sampled_from(ZONES), st.sampled_from(("day", "month")))
def test_a_period_ends_at_the_very_moment_at_which_the_next_one_begins(now: int, zone: str, period: Period) -> None:
    end = ends_ms(period, now, zone)
    assert end is not None
    assert end > now
    here = began(period, now, zone)
    assert began(period, end - 1, zone) == here
    assert began(period, end, zone) > here
    days = (end - now) / 86_400_000
    assert days <= (25 / 24 if period == "day" else 31 + 1 / 24)


@given(moments, st.sampled_from(ZONES))
def test_a_month_ends_with_its_last_day(now: int, zone: str) -> None:
    end = ends_ms("month", now, zone)
    assert end is not None
    assert ends_ms("day", end - 1, zone) == end
    day = date.fromisoformat(began("day", end - 1, zone))
    assert (day + timedelta(days=1)).day == 1


@pytest.mark.parametrize(
    ("now", "zone", "period", "named", "hours"),
    [
        ("2026-03-29T00:00:00", "Europe/Berlin", "day", "2026-03-29", 23),
        ("2026-10-25T00:00:00", "Europe/Berlin", "day", "2026-10-25", 25),
        ("2018-11-04T01:00:00", "America/Sao_Paulo", "day", "2018-11-04", 23),  # there was no midnight
        ("2028-02-29T00:00:00", "UTC", "day", "2028-02-29", 24),
        ("2028-02-01T00:00:00", "UTC", "month", "2028-02", 29 * 24),
        ("2027-02-01T00:00:00", "UTC", "month", "2027-02", 28 * 24),
        ("2026-12-31T23:00:00", "UTC", "day", "2026-12-31", 1),
        ("2026-12-31T23:00:00", "UTC", "month", "2026-12", 1),
    ],
)
def test_days_and_months_are_as_long_as_the_calendar_has_them(
    now: str, zone: str, period: Period, named: str, hours: int
) -> None:
    moment = at(now, zone)
    assert began(period, moment, zone) == named
    assert ends_ms(period, moment, zone) == moment + hours * 3_600_000


def test_the_same_moment_is_of_another_day_in_another_place() -> None:
    moment = at("2026-11-22T23:30:00")
    assert Cap("acct_x", "day", USD).name(moment) == "cap:acct_x:day:2026-11-22"
    assert Cap("acct_x", "day", USD, "Europe/Berlin").name(moment) == "cap:acct_x:day:2026-11-23"
    assert Cap("acct_x", "month", USD).name(moment) == "cap:acct_x:month:2026-11"


def test_a_total_never_ends() -> None:
    cap = Cap("acct_x", "total", USD)
    assert {cap.name(0), cap.name(2**42)} == {"cap:acct_x:total"}
    assert cap.resets_ms(0) is None


def test_a_cap_is_counted_apart_from_money() -> None:
    assert Cap("acct_x", "day", USD).unit == "cap:usd"
    assert [is_cap(unit) for unit in ("cap:usd", "usd", "unit:caps")] == [True, False, False]


@pytest.mark.parametrize("node", ["", "a:b", "a#1", "a\n", "x" * 201])
def test_what_cannot_be_a_node_is_refused(node: str) -> None:
    with pytest.raises(ValueError, match="no node"):
        Cap(node, "day", USD)


def test_what_is_no_cap_is_refused() -> None:
    with pytest.raises(ValueError, match="no period"):
        Cap("acct_x", "week", USD)
    with pytest.raises(ValueError, match="no cap"):
        Cap("acct_x", "day", -USD)
    with pytest.raises(ValueError, match="no time zone"):
        zone_named("Europe/Nowhere")
    assert PERIODS == ("day", "month", "total")
    assert Cap("acct_x", "day", Money.zero("usd")).amount == Money.zero("usd")
