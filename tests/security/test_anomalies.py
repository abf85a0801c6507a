"""Twenty planted attacks in a population of normal accounts: all are found, and hardly anybody else is told of.

Twelve are by accounts (`tests/anomalies.py`), eight are of the gateway's own counts (`tests/counts_of_a_shop.py`). The
figures are printed with `-s`.
"""

import os
import random
from collections.abc import Callable

import pytest

from gateway.core import anomalies
from gateway.core.anomalies import Habit, Rhythm
from tests.anomalies import Found, attacks_on_accounts, population, watched
from tests.counts_of_a_shop import ATTACKS, surges

TORTURE = os.environ.get("GATEWAY_TORTURE") == "1"
SEEDS = range(1, 9 if TORTURE else 4)
ACCOUNTS, DAYS, SHOP_DAYS = (600, 365, 365) if TORTURE else (80, 182, 60)


def run(seed: int, *, accounts: int = ACCOUNTS, days: int = DAYS) -> Found:
    rng, hours = random.Random(seed), days * 24
    return watched([*population(rng, accounts, hours), *attacks_on_accounts(rng, hours)], seed, hours)


def test_all_twenty_attacks_are_found_with_at_most_one_false_alarm_in_10000_account_days() -> None:
    days = wrong = 0
    for seed in SEEDS:
        found, counted = run(seed), surges(seed, SHOP_DAYS * 24)
        caught = {**found.caught, **counted.caught}
        print(f"\nseed {seed}: {found.account_days} account-days, false alarms {found.false + counted.false}")
        print(f"  found after hours: {caught}")
        assert set(caught) == {*found.planted, *ATTACKS}
        assert len(caught) == 20
        assert all(hours <= 24 for name, hours in caught.items() if "leak" not in name)
        assert all(hours <= 4 for hours in counted.caught.values())
        assert all(hours <= 10 * 24 for hours in caught.values())
        days += found.account_days
        wrong += len(found.false) + len(counted.false)
    print(f"{wrong} false alarms in {days} account-days: {wrong * 10_000 / days:.2f} in 10,000")
    assert days >= 10_000
    assert wrong * 10_000 <= days


def missed(found: Found) -> set[str]:
    return set(found.planted) - set(found.caught)


@pytest.mark.parametrize(
    ("name", "value", "fails"),
    [
        ("hour_of_week", lambda _: 0, lambda found: "stolen token at night" in missed(found)),
        ("_QUIET", 0.0, lambda found: "stolen token on a weekend" in missed(found)),
        ("_QUIET", 0.5, lambda found: found.false_in_10000 > 1),
        ("_KNOWN_HOURS", 1, lambda found: found.false_in_10000 > 1),
        ("_MANY_HOURS", 1, lambda found: found.false_in_10000 > 1),
        ("_LEAK", 9.0, lambda found: missed(found) >= {"slow leak of a robot"}),
        ("_DAY_SHARE", 9.0, lambda found: "robot runs away" in missed(found)),
        ("_ASLEEP_HOURS", 10**9, lambda found: "dormant wakes" in missed(found)),
        ("_ASLEEP_HOURS", 48, lambda found: found.false_in_10000 > 1),
    ],
)
def test_it_fails_without_any_of_what_it_goes_by(
    name: str, value: object, fails: Callable[[Found], bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The population can tell a worse detector from a good one."""
    monkeypatch.setattr(anomalies, name, value)
    assert fails(run(2, accounts=80, days=182))


def test_a_surge_is_one_only_against_the_same_hour_of_the_week(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the hour of the week, what is usual at noon hides what is not at night."""
    flat = Rhythm(-1)
    for hour in range(3 * 168):
        flat.learn(hour, 1000 if 8 <= hour % 24 < 18 else 10)
    noon, night = 3 * 168 + 12, 3 * 168 + 3
    assert not flat.is_surge(noon, 1500, least=300, factor=4.0)
    assert flat.is_surge(night, 1500, least=300, factor=4.0)
    assert not flat.is_surge(night, 299, least=300, factor=4.0)
    again = Rhythm.unpacked(flat.packed())
    assert (again.last, again.is_surge(night, 1500, least=300, factor=4.0)) == (flat.last, True)


def test_who_has_no_rhythm_has_no_odd_hours() -> None:
    """Of one that comes by now and then, no hour is known to be quiet; of an office, the nights are."""
    rng, visitor, clerk = random.Random(1), Habit(0), Habit(0)
    for hour in range(26 * 168):
        if rng.random() < 0.03:
            visitor.learn(hour, 1_000_000)
        if 8 <= hour % 24 < 18 and anomalies.hour_of_week(hour) < 120:
            clerk.learn(hour, 1_000_000)
    begins = 26 * 168 + next(
        hour for hour in range(168) if anomalies.hour_of_week(hour) == 25
    )  # a Tuesday, one o'clock
    for who, odd in ((visitor, None), (clerk, "odd hours")):
        for hour in (begins, begins + 1):
            assert who.judge(hour, 2_500_000, least=1, factor=4.0, sane=0) is None
            who.learn(hour, 2_500_000)
        assert who.judge(begins + 2, 2_500_000, least=1, factor=4.0, sane=0) == odd
        assert who.judge(begins + 5, 2_500_000, least=1, factor=4.0, sane=0) is None, "not one after the other"


def test_what_is_put_away_judges_as_before_and_is_small() -> None:
    rng, plain, kept = random.Random(7), Habit(0), Habit(0).packed()
    for hour in range(4000):
        micros = round(5e6 * rng.lognormvariate(0, 0.5)) if hour % 24 < 10 else 0
        if not micros:
            continue
        again = Habit.unpacked(kept)
        for factor in (1, 30):
            verdicts = [one.judge(hour, micros * factor, least=1, factor=4.0, sane=1e9) for one in (plain, again)]
            assert verdicts[0] == verdicts[1]
        plain.learn(hour, micros)
        again.learn(hour, micros)
        kept = again.packed()
    assert len(kept) < 2500


def test_an_attack_that_is_learned_does_not_become_the_habit_at_once() -> None:
    habit = Habit(0)
    for hour in range(400):
        habit.learn(hour, 1_000_000)
    habit.learn(400, 1_000_000_000)
    assert habit.peak == 2_000_000
    assert habit.judge(401, 9_000_000, least=1, factor=4.0, sane=0) == "sudden"


def leaks_on(before: int, active: int, times: int, again: int = 99) -> int | None:
    """On which day of a leak it is told: after so many days, `active` of each week; on `again` it is as it was."""
    habit = Habit(0)
    for day in range(before + 40):
        noon = day * 24 + 12
        if habit.judge(noon, 1, least=1, factor=1e9, sane=1e18) == "leak":
            return day - before
        if day % 7 < active:
            habit.learn(noon, 10_000_000 * (times if before <= day < before + again else 1))
    return None


def test_a_leak_is_told_of_who_is_known_for_four_weeks_is_there_four_days_of_them_and_goes_on_for_two() -> None:
    usual = leaks_on(70, 7, 3)
    assert usual is not None
    assert 2 <= usual <= 9
    assert leaks_on(70, 7, 1) is None
    assert leaks_on(70, 4, 3) is not None
    assert leaks_on(70, 3, 1000) is None, "three days of a week are no rhythm"
    new = leaks_on(16, 7, 100)
    assert new is not None
    assert 16 + new > 28, "who is new has grown"
    assert leaks_on(45, 7, 3) is not None
    assert leaks_on(70, 7, 8, again=1) == 3, "the week has come to that on two evenings"
