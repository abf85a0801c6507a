"""A population that spends for a year, and attacks in it: what the detectors of `core/anomalies.py` are measured by.

What the gateway counts of itself is in `tests/counts_of_a_shop.py`.

Everything comes from one seed. Normal accounts have the habits that ours are thought to have: offices with weekends and
night shifts now and then, evenings of private people, robots by day and night, nightly batches that are larger at the
end of a month, people who come by now and then, customers that grow, that pause over holidays, or go for two months and
come back; and hours vary by a lognormal factor, with a burst now and then. An attack is an account of its own (with a
normal history, where it has one).
"""

import math
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from gateway.core.anomalies import DAY_HOURS, WEEK_HOURS, Habit, Newcomers, hour_of_week

USD = 1_000_000
LEAST = 2 * USD
FACTOR = 4.0
START = 17_532 * DAY_HOURS  # some Sunday
Spends = Callable[[random.Random, int, int], float]
"""What an account spends, before its noise: by the hour since it began, and the hour of its week."""


def office(rng: random.Random, age: int, place: int) -> float:
    day, clock = divmod(place, DAY_HOURS)
    if day < 5 and 8 <= clock < 18:
        return 6.0 * (1 - abs(clock - 13) / 10)
    return 3.0 if day < 5 and clock in (18, 19, 20) and rng.random() < 0.04 else 0.0


def evenings(rng: random.Random, age: int, place: int) -> float:
    day, clock = divmod(place, DAY_HOURS)
    likely = 0.5 if 18 <= clock <= 23 else 0.25 if day >= 5 and clock >= 10 else 0.02
    return 2.0 if rng.random() < likely else 0.0


def robot(rng: random.Random, age: int, place: int) -> float:
    return 4.0 + 2.0 * math.sin(place % DAY_HOURS / DAY_HOURS * 2 * math.pi)


def batch(rng: random.Random, age: int, place: int) -> float:
    if place % DAY_HOURS != 2:
        return 0.0
    return 60.0 if age // DAY_HOURS % 30 == 29 else 25.0


def now_and_then(rng: random.Random, age: int, place: int) -> float:
    return 5.0 if rng.random() < 0.03 else 0.0


KINDS: tuple[Spends, ...] = (office, evenings, robot, batch, now_and_then)


@dataclass
class Account:
    """One account: how it spends, how it grows, when it is away, and from when on it is attacked."""

    name: str
    spends: Spends
    size: float
    began: int
    zone: int = 0
    growth: float = 0.0
    """A week."""
    away: tuple[int, int] = (0, 0)
    quiet: tuple[int, int] = (0, 0)
    attack: "Attack | None" = None
    noise: float = 0.45

    def micros(self, rng: random.Random, hour: int) -> int:
        if hour < self.began or self.away[0] <= hour < self.away[1]:
            dollars = 0.0
        else:
            age = hour - self.began
            dollars = self.spends(rng, age, (hour_of_week(hour) + self.zone) % WEEK_HOURS)
            if dollars:
                dollars *= self.size * (1 + self.growth) ** (age / WEEK_HOURS) * rng.lognormvariate(0, self.noise)
                dollars *= 2.0 if rng.random() < 0.002 else 1.0
                if self.quiet[0] <= hour < self.quiet[1]:
                    dollars *= 0.15
        if self.attack is not None and self.attack.begins <= hour < self.attack.ends:
            dollars += self.attack.dollars(rng, hour, dollars)
        return round(dollars * USD)


@dataclass
class Attack:
    begins: int
    ends: int
    dollars: Callable[[random.Random, int, float], float]


@dataclass
class Found:
    """What came of a run."""

    account_days: int = 0
    alarms: list[tuple[str, int, str]] = field(default_factory=list)
    """Account, hour and why, of each that opened (one that goes on within a day is the same)."""
    planted: dict[str, tuple[int, int]] = field(default_factory=dict)

    @property
    def caught(self) -> dict[str, int]:
        """Of each attack that was found, after how many hours."""
        found: dict[str, int] = {}
        for name, hour, _ in self.alarms:
            begins, ends = self.planted.get(name, (0, -1))
            if begins <= hour <= ends + 3 * DAY_HOURS:
                found.setdefault(name, hour - begins)
        return found

    @property
    def false(self) -> list[tuple[str, int, str]]:
        return [
            (name, hour, why)
            for name, hour, why in self.alarms
            if not (name in self.planted and self.planted[name][0] <= hour <= self.planted[name][1] + 8 * DAY_HOURS)
        ]

    @property
    def false_in_10000(self) -> float:
        return len(self.false) * 10_000 / self.account_days


def population(rng: random.Random, count: int, hours: int) -> list[Account]:
    """Normal accounts; a fifth of them come in the course of the time."""
    made = []
    for number in range(count):
        began = START + (rng.randrange(hours) if number % 5 == 4 else rng.randrange(WEEK_HOURS))
        account = Account(
            f"acct_{number}",
            KINDS[number % len(KINDS)] if number % 5 < 4 else rng.choice(KINDS),
            size=rng.lognormvariate(0, 0.7),
            began=began,
            zone=rng.randrange(DAY_HOURS),
            growth=rng.choice((0.0, 0.0, 0.01, 0.03, -0.01)) if hours < 5000 else rng.choice((0.0, 0.0, 0.01, -0.01)),
            noise=rng.choice((0.25, 0.45, 0.6)),
        )
        if number % 7 == 0:
            begins = began + rng.randrange(1000, 3000)
            account.quiet = (begins, begins + 14 * DAY_HOURS)
        if number % 11 == 0:
            begins = began + rng.randrange(1000, 3000)
            account.away = (begins, begins + rng.randrange(35, 60) * DAY_HOURS)
        made.append(account)
    return made


def attacks_on_accounts(rng: random.Random, hours: int) -> list[Account]:
    """Twelve kinds. All but the new ones have a normal history before."""
    at = START + hours - 21 * DAY_HOURS

    def at_clock(day: int, clock: int) -> int:
        """That hour of that day of a week, near the end."""
        hour = at
        while hour_of_week(hour) != day * DAY_HOURS + clock:
            hour += 1
        return hour

    def during(begins: int, for_hours: int, dollars: Callable[[random.Random, int, float], float]) -> Attack:
        return Attack(begins, begins + for_hours, dollars)

    usual: dict[str, Account] = {}

    def victim(name: str, spends: Spends, attack: Attack, **more: float | tuple[int, int]) -> None:
        usual[name] = Account(name, spends, size=1.0, began=START, attack=attack, **more)  # type: ignore[arg-type]

    victim("stolen token at night", office, during(at_clock(1, 1), 4, lambda *_: 7.0))
    victim("stolen token on a weekend", office, during(at_clock(6, 11), 5, lambda *_: 8.0))
    victim("sudden in working hours", office, during(at_clock(2, 11), 2, lambda *_: 120.0))
    victim("robot runs away", robot, during(at_clock(3, 3), 8, lambda *_: 60.0))
    victim("slow leak of a robot", robot, during(at_clock(0, 0), 18 * DAY_HOURS, lambda _, __, usual: 1.8 * usual))
    victim("slow leak of an office", office, during(at_clock(0, 0), 18 * DAY_HOURS, lambda _, __, usual: 2.2 * usual))
    victim("batch by day", batch, during(at_clock(2, 14), 4, lambda *_: 12.0))
    gone = (at - 45 * DAY_HOURS, at + hours)
    victim("dormant wakes", robot, during(at_clock(4, 3), 1, lambda *_: 36.0), away=gone, noise=0.1)
    victim("now and then is drained", now_and_then, during(at_clock(5, 4), 3, lambda *_: 150.0))
    victim("evenings are drained", evenings, during(at_clock(1, 9), 2, lambda *_: 80.0))
    nothing: Spends = lambda rng, age, place: 0.0  # noqa: E731
    victim("new account ramps", nothing, during(at_clock(1, 3), 24, lambda _, hour, __: 20.0 * (hour % 24 + 1)))
    victim("new account bursts", nothing, during(at_clock(2, 15), 1, lambda *_: 2000.0))
    return list(usual.values())


def watched(accounts: list[Account], seed: int, hours: int) -> Found:
    """Let them spend, judge each hour and learn it, hour by hour, as the gateway does."""
    rngs = [random.Random(f"{seed} {account.name}") for account in accounts]
    habits: dict[str, Habit] = {}
    newcomers, found = Newcomers(), Found()
    rang: dict[str, int] = {}
    for account in accounts:
        if account.attack is not None:
            found.planted[account.name] = (account.attack.begins, account.attack.ends)
    for hour in range(START, START + hours):
        for account, rng in zip(accounts, rngs, strict=True):
            if hour >= account.began and not hour % DAY_HOURS:
                found.account_days += account.attack is None
            micros = account.micros(rng, hour)
            if not micros:
                continue
            habit = habits.get(account.name)
            if habit is None:
                habit = habits[account.name] = Habit(hour)
            why = habit.judge(hour, micros, least=LEAST, factor=FACTOR, sane=newcomers.sane(LEAST))
            if why is not None:
                if hour - rang.get(account.name, 0) > DAY_HOURS:
                    found.alarms.append((account.name, hour, why))
                rang[account.name] = hour
            if not habit.is_known:
                newcomers.learn(micros)
            habit.learn(hour, micros)
    return found


def poisson(rng: random.Random, mean: float) -> int:
    if mean > 30:
        return max(0, round(rng.gauss(mean, math.sqrt(mean))))
    return next(_poissons(rng, mean))


def _poissons(rng: random.Random, mean: float) -> Iterator[int]:
    bound, number, left = math.exp(-mean), 0, rng.random()
    while left > bound:
        number, left = number + 1, left * rng.random()
    yield number
