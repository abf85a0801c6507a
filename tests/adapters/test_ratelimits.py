"""Windows of our own, held against the `limits` library by the same clock."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from limits import RateLimitItemPerSecond
from limits.storage import MemoryStorage
from limits.strategies import SlidingWindowCounterRateLimiter

from gateway.adapters.ratelimits import MemoryRateLimits
from gateway.core.routes import Rate

PER_MINUTE = Rate(3, 60, "3/minute")


class Clock:
    """Stands still until it is told."""

    def __init__(self, ms: int = 1_800_000_000_000) -> None:
        self.ms = ms

    def now_ms(self) -> int:
        return self.ms


async def test_a_window_takes_its_amount_and_no_more() -> None:
    limits = MemoryRateLimits(Clock())
    windows = [await limits.hit(PER_MINUTE, "a") for _ in range(4)]
    assert [(window.allowed, window.remaining) for window in windows] == [(True, 2), (True, 1), (True, 0), (False, 0)]
    assert (await limits.hit(PER_MINUTE, "b")).allowed


async def test_the_wait_that_is_named_is_enough_and_not_a_second_too_long() -> None:
    for passed_ms in range(0, 60_000, 7_001):
        clock = Clock(1_800_000_000_000 + passed_ms)
        limits = MemoryRateLimits(clock)
        for _ in range(3):
            assert (await limits.hit(PER_MINUTE, "a")).allowed
        wait = (await limits.hit(PER_MINUTE, "a")).reset_seconds
        clock.ms += wait * 1000 - 1001
        assert not (await limits.hit(PER_MINUTE, "a")).allowed
        clock.ms += 1001
        assert (await limits.hit(PER_MINUTE, "a")).allowed


async def test_a_rate_that_a_reload_has_changed_counts_anew() -> None:
    limits = MemoryRateLimits(Clock())
    for _ in range(3):
        await limits.hit(PER_MINUTE, "a")
    assert (await limits.hit(Rate(3, 60, "3/minute"), "a")).allowed


async def test_subjects_that_say_nothing_any_more_are_forgotten() -> None:
    clock = Clock()
    limits = MemoryRateLimits(clock)
    for number in range(1000):
        await limits.hit(PER_MINUTE, f"stranger {number}")
        clock.ms += 1000
    assert len(limits._counters) < 200


@settings(max_examples=60, deadline=None)
@given(
    amount=st.integers(1, 20),
    seconds=st.sampled_from([1, 10, 60, 3600]),
    steps=st.lists(st.floats(0, 0.7), min_size=1, max_size=60),
)
async def test_we_decide_as_the_library_does(amount: int, seconds: int, steps: list[float]) -> None:
    """But for one request on the very edge, where the library rounds a float."""
    with pytest.MonkeyPatch.context() as patched:
        clock = Clock()
        patched.setattr("limits.storage.memory.time.time", lambda: clock.ms / 1000)
        oracle = SlidingWindowCounterRateLimiter(MemoryStorage())
        ours, rate = MemoryRateLimits(clock), Rate(amount, seconds, "")
        item = RateLimitItemPerSecond(amount, seconds)
        for step in steps:
            clock.ms += int(step * seconds * 1000)
            theirs = oracle.hit(item, "a")
            window = await ours.hit(rate, "a")
            counter = ours._counters["a"]
            on_the_edge = counter.before and counter.before * (clock.ms % counter.period_ms) % counter.period_ms == 0
            if window.allowed != theirs:
                assert on_the_edge
                return  # from here on the two have counted differently
