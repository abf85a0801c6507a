"""Windows of our own, held against the strategies of the `limits` library by the same clock."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from limits import RateLimitItemPerSecond
from limits.storage import MemoryStorage
from limits.strategies import (
    FixedWindowRateLimiter,
    MovingWindowRateLimiter,
    RateLimiter,
    SlidingWindowCounterRateLimiter,
)

from gateway.core.windows import Kind, Window, window

BEGIN = 1_800_000_000_000
STRATEGIES: dict[Kind, type[RateLimiter]] = {
    "fixed": FixedWindowRateLimiter,
    "moving": MovingWindowRateLimiter,
    "sliding": SlidingWindowCounterRateLimiter,
}
KINDS: tuple[Kind, ...] = ("fixed", "moving", "sliding")


class NoTimer:
    """The library drops what is over in a thread, by the machine's clock; here it decides from what it has."""

    def __init__(self, *_: object) -> None:
        pass

    def start(self) -> None:
        pass

    def is_alive(self) -> bool:
        return True


class Oracle:
    """One subject of the library. It counts what it refuses in fixed windows, we do not: so it is asked first."""

    def __init__(self, kind: Kind, amount: int, seconds: int) -> None:
        self._limiter = STRATEGIES[kind](MemoryStorage())
        self._item = RateLimitItemPerSecond(amount, seconds)

    def hit(self, cost: int) -> bool:
        return self._limiter.test(self._item, "a", cost=cost) and self._limiter.hit(self._item, "a", cost=cost)


def hit(ours: Window, now_ms: int, cost: int) -> bool:
    if ours.wait_ms(now_ms, cost):
        return False
    ours.take(now_ms, cost)
    return True


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=250, deadline=None)
@given(
    amount=st.integers(1, 24),
    seconds=st.sampled_from([1, 2, 8, 64]),
    steps=st.lists(st.tuples(st.integers(0, 24), st.integers(1, 5)), min_size=1, max_size=60),
)
def test_we_admit_what_the_library_admits(kind: Kind, amount: int, seconds: int, steps: list[tuple[int, int]]) -> None:
    """Times are such that the library's floats are exact: eighths of a second, periods of a power of two."""
    with pytest.MonkeyPatch.context() as patched:
        now_ms = BEGIN
        patched.setattr("limits.storage.memory.threading.Timer", NoTimer)
        patched.setattr("limits.storage.memory.time.time", lambda: now_ms / 1000)
        oracle, ours = Oracle(kind, amount, seconds), window(kind, amount, seconds * 1000)
        for eighths, cost in steps:
            now_ms += eighths * seconds * 125 // (1 if seconds == 1 else 2)
            assert hit(ours, now_ms, cost) == oracle.hit(cost)


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=100, deadline=None)
@given(
    amount=st.integers(1, 12),
    steps=st.lists(st.tuples(st.integers(0, 700), st.integers(1, 4)), min_size=1, max_size=40),
)
def test_the_wait_that_is_named_is_enough_and_not_a_moment_too_long(
    kind: Kind, amount: int, steps: list[tuple[int, int]]
) -> None:
    ours, now_ms = window(kind, amount, 1000), BEGIN
    for step, cost in steps:
        now_ms += step
        wait_ms = ours.wait_ms(now_ms, cost)
        if cost > amount:
            assert wait_ms == 1000
        elif wait_ms:
            now_ms += wait_ms - 1
            assert ours.wait_ms(now_ms, cost) == 1
            now_ms += 1
            assert hit(ours, now_ms, cost)
        else:
            ours.take(now_ms, cost)


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=60, deadline=None)
@given(steps=st.lists(st.tuples(st.integers(-300, 900), st.integers(1, 3)), min_size=1, max_size=40))
def test_what_is_left_is_what_still_fits(kind: Kind, steps: list[tuple[int, int]]) -> None:
    ours, now_ms = window(kind, 7, 1000), BEGIN
    for step, cost in steps:
        now_ms += step
        if not ours.wait_ms(now_ms, cost):
            assert ours.take(now_ms, cost) == ours.left(now_ms)
        left, _ = ours.left(now_ms)
        assert ours.wait_ms(now_ms, left) == 0
        assert ours.wait_ms(now_ms, left + 1) > 0


@pytest.mark.parametrize("kind", KINDS)
def test_what_was_refused_is_not_counted(kind: Kind) -> None:
    ours = window(kind, 3, 1000)
    assert hit(ours, BEGIN, 2)
    assert [hit(ours, BEGIN, 2) for _ in range(5)] == [False] * 5
    assert hit(ours, BEGIN, 1)


@pytest.mark.parametrize("kind", KINDS)
def test_a_clock_that_is_set_back_a_little_gives_nothing_away(kind: Kind) -> None:
    ours = window(kind, 2, 60_000)
    assert hit(ours, BEGIN, 2)
    assert not hit(ours, BEGIN - 3, 1)
    assert not ours.is_idle(BEGIN - 3)


def test_a_moving_window_still_counts_its_newest_hit_after_the_clock_was_set_back() -> None:
    ours = window("moving", 9, 1000)
    assert hit(ours, BEGIN, 1)
    assert hit(ours, BEGIN - 500, 1)
    assert not ours.is_idle(BEGIN + 900)
    assert ours.left(BEGIN + 900)[0] == 7


@pytest.mark.parametrize("kind", KINDS)
def test_a_window_is_idle_when_nothing_of_it_counts(kind: Kind) -> None:
    ours = window(kind, 2, 1000)
    assert hit(ours, BEGIN + 10, 1)
    assert not ours.is_idle(BEGIN + 999)
    assert ours.is_idle(BEGIN + 2000)
