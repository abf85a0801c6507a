"""Several windows and caps at once, all or nothing, in bounded memory."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.limits import Ask, Limiter, Place, Rate, network

NOW = 1_800_000_000_000
SECOND, MINUTE, DAY = Rate(2, 1, "2/second"), Rate(3, 60, "3/minute"), Rate(1000, 86_400, "1000/day")


def allowed(limiter: Limiter, asks: list[Ask], places: list[Place], now_ms: int = NOW) -> list[bool]:
    return [stand.allowed for stand in limiter.admit(asks, places, now_ms)]


def test_what_one_refuses_none_counts() -> None:
    limiter, asks = Limiter(), [Ask(SECOND, "s ann"), Ask(MINUTE, "m ann")]
    place = [Place("p ann", 5)]
    assert [allowed(limiter, asks, place) for _ in range(5)] == [[True] * 3] * 2 + [[False, True, True]] * 3
    [_, minute, cap] = limiter.admit(asks, place, NOW)
    assert (minute.remaining, cap.remaining) == (1, 3)
    assert allowed(limiter, asks, place, NOW + 2000) == [True, True, True]
    assert allowed(limiter, asks, place, NOW + 2000) == [True, False, True]


def test_a_cap_that_is_full_counts_nothing_and_has_room_when_one_has_left() -> None:
    limiter, asks, place = Limiter(), [Ask(MINUTE, "m ann")], [Place("p ann", 1)]
    assert allowed(limiter, asks, place) == [True, True]
    assert allowed(limiter, asks, place) == [True, False]
    limiter.leave(["p ann"])
    assert allowed(limiter, asks, place) == [True, True]
    assert allowed(limiter, [], [Place("p bob", 1)]) == [True]


def test_a_window_counts_what_a_request_costs() -> None:
    limiter, money = Limiter(), Rate(5_000, 60, "0.005 usd/minute", currency="usd")
    asks = [Ask(money, "ann", 2_000)]
    assert [allowed(limiter, asks, []) for _ in range(3)] == [[True], [True], [False]]
    assert allowed(limiter, [Ask(money, "ann", 1_000)], []) == [True]


def test_a_rate_that_a_reload_has_changed_counts_anew_and_an_equal_one_goes_on() -> None:
    limiter = Limiter()
    assert [allowed(limiter, [Ask(SECOND, "ann")], []) for _ in range(2)] == [[True], [True]]
    assert allowed(limiter, [Ask(Rate(2, 1, "2/second"), "ann")], []) == [False]
    assert allowed(limiter, [Ask(Rate(3, 1, "3/second"), "ann")], []) == [True]


def test_subjects_that_say_nothing_any_more_are_forgotten() -> None:
    limiter = Limiter()
    for number in range(1000):
        allowed(limiter, [Ask(MINUTE, f"stranger {number}")], [], NOW + number * 1000)
    assert limiter.kept < 200
    assert limiter.forgotten == 0


@pytest.mark.parametrize("keys_max", [40, 41, 42, 43, 44])
def test_there_are_never_more_windows_than_the_bound_and_those_in_use_stay(keys_max: int) -> None:
    limiter = Limiter(keys_max)
    for number in range(1000):
        assert allowed(limiter, [Ask(DAY, f"stranger {number}")], []) == [True]
        assert allowed(limiter, [Ask(DAY, "ann")], []) == [True]
        assert limiter.kept <= keys_max
    assert limiter.forgotten == 1001 - keys_max
    assert allowed(limiter, [Ask(DAY, "ann")], []) == [False]


def test_the_bound_holds_also_when_all_are_in_use() -> None:
    limiter = Limiter(keys_max=3)
    for subject in "abcabcdabcde":
        assert allowed(limiter, [Ask(DAY, subject)], []) == [True]
        assert limiter.kept <= 3
    assert limiter.forgotten > 0


@given(st.lists(st.tuples(st.sampled_from("abcdefgh"), st.integers(0, 3000)), max_size=80))
def test_a_window_that_was_not_forgotten_never_admits_more_than_its_amount(steps: list[tuple[str, int]]) -> None:
    limiter, now_ms, admitted = Limiter(), NOW, dict[str, list[int]]()
    rate = Rate(3, 5, "3/5 second", "moving")
    for subject, step in steps:
        now_ms += step
        if allowed(limiter, [Ask(rate, subject)], [], now_ms) == [True]:
            admitted.setdefault(subject, []).append(now_ms)
    for times in admitted.values():
        assert all(later - earlier > 5000 for earlier, later in zip(times, times[3:], strict=False))


@pytest.mark.parametrize(
    ("peer", "counted_as"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2:ffff::1", "2001:db8:1:2::/64"),
        ("2001:db8:1:3::1", "2001:db8:1:3::/64"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("fe80::1%eth0", "fe80::/64"),
        ("unix:", "unix:"),
    ],
)
def test_an_address_of_ipv6_counts_with_its_network(peer: str, counted_as: str) -> None:
    assert network(peer) == counted_as
