"""How often Stripe is asked."""

import pytest

from gateway.adapters.stripe.pace import BURST, FAILURES_MAX, PER_SECOND, REST_SECONDS, WAIT_SECONDS_MAX, Pace
from gateway.core.refusals import PaymentServiceUnavailable


class Time:
    def __init__(self) -> None:
        self.at = 1000.0

    def __call__(self) -> float:
        return self.at


def paced(share: int = 1) -> tuple[Pace, Time]:
    time = Time()
    return Pace(share=share, now=time), time


@pytest.mark.parametrize("share", [1, 4])
def test_no_second_has_more_calls_than_are_allowed(share: int) -> None:
    pace, time = paced(share)
    turns = []
    while True:
        try:
            turns.append(time.at + pace.reserve())
        except PaymentServiceUnavailable:
            break
    assert turns[:BURST] == pytest.approx([time.at] * BURST)
    assert turns[BURST] > time.at + 0.01
    assert turns[-1] <= time.at + WAIT_SECONDS_MAX + 0.001
    for begin in turns:
        assert sum(begin <= turn < begin + 1 for turn in turns) <= BURST + PER_SECOND / share
    assert len(turns) >= BURST + WAIT_SECONDS_MAX * PER_SECOND / share - 1
    time.at += 60
    assert pace.reserve() == 0


def test_after_failures_in_a_row_one_tries_for_all_every_few_seconds() -> None:
    pace, time = paced()
    for _ in range(FAILURES_MAX):
        pace.reserve()
        pace.failed()
    with pytest.raises(PaymentServiceUnavailable):
        pace.reserve()
    for _ in range(3):
        time.at += REST_SECONDS
        pace.reserve()
        with pytest.raises(PaymentServiceUnavailable):
            pace.reserve()
        pace.failed()
    time.at += REST_SECONDS
    pace.reserve()
    pace.answered()
    assert [pace.reserve() for _ in range(3)] == [0, 0, 0]


def test_failures_that_are_not_in_a_row_open_nothing() -> None:
    pace, time = paced()
    for _ in range(10):
        time.at += 1
        pace.reserve()
        pace.failed()
        pace.reserve()
        pace.answered()
    assert pace.reserve() == 0
