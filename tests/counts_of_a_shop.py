"""What a shop counts of itself for months, with eight attacks in it, watched by what the gateway itself watches with.

`Watch` and `WatchSurges` are the gateway's own, put together as it does, with the thresholds that nobody has changed;
only what they read and write is in memory. So a figure that comes of this is the gateway's, and not a model's.
"""

import asyncio
import math
import random
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from typing import Any, cast

from gateway.app.alerting import series
from gateway.core.alerts import Name, Sign
from gateway.core.anomalies import DAY_HOURS, HOUR_MS
from gateway.flows.watch import PAID, Watch
from gateway.flows.watch_surges import WatchSurges
from gateway.ports import InboxStanding
from gateway.settings.alerting import alerts
from gateway.settings.shapes import GatewayShape
from gateway.settings.shapes.alerts import AlertsShape
from tests.anomalies import START, Found, poisson
from tests.fakes import FakeClock

STEP_MS = 600_000
STEPS = HOUR_MS // STEP_MS
ATTACKS: Mapping[str, tuple[Name, str, float, float]] = {
    "402 surge": ("unpaid_surge", "unpaid", 40.0, 2500.0),
    "credential stuffing": ("guessed_tokens", "guessed", 4.0, 2400.0),
    "errors": ("errors_surge", "failed", 10.0, 1500.0),
    "card testing": ("cards_refused", "charge.failed", 1.0, 70.0),
    "burst of refunds": ("refunds_surge", "charge.refunded", 0.5, 45.0),
    "webhook forgery": ("webhook_signatures", "webhooks.refused", 0.02, 60.0),
    "dispute wave": ("dispute_rate", "charge.dispute.created", 0.005, 20.0),
    "payments of a botnet": ("payment_velocity", PAID[0], 6.0, 160.0),
}
"""Which alert each is for, what is counted, how many an hour there usually are, and how many an attack makes."""


class Sums:
    """How many of something came until when."""

    def __init__(self) -> None:
        self._moments: list[int] = []
        self._until: list[int] = [0]

    def add(self, at_ms: int, number: int) -> None:
        self._moments.append(at_ms)
        self._until.append(self._until[-1] + number)

    def between(self, since_ms: int, until_ms: int) -> int:
        moments = self._moments
        return self._until[bisect_left(moments, until_ms)] - self._until[bisect_left(moments, since_ms)]


class Memory:
    """Implements `ports.Alerts`, `Counted`, `AlertSources`, and as much of `Inbox` as is asked for."""

    def __init__(self) -> None:
        self.measures: dict[str, Sums] = {}
        self.types: dict[str, Sums] = {}
        self.habit: dict[str, str] = {}
        self.noted: list[tuple[int, Sign]] = []

    async def note(self, sign: Sign, *, now_ms: int, tells: bool) -> None:
        self.noted.append((now_ms, sign))

    async def add_counts(self, moment_ms: int, numbers: Mapping[str, int]) -> None:
        for name, number in numbers.items():
            self.measures.setdefault(name, Sums()).add(moment_ms, number)

    async def counts(self, *, since_ms: int, until_ms: int) -> dict[str, int]:
        return {name: sums.between(since_ms, until_ms) for name, sums in self.measures.items()}

    async def events(self, *, since_ms: int, until_ms: int) -> dict[str, int]:
        return {name: sums.between(since_ms, until_ms) for name, sums in self.types.items()}

    async def habits(self, subjects: Sequence[str]) -> dict[str, str]:
        return {one: self.habit[one] for one in subjects if one in self.habit}

    async def keep_habits(self, states: Mapping[str, str], *, now_ms: int) -> None:
        self.habit |= states

    async def inbox_standing(self) -> InboxStanding:
        return InboxStanding(None, 0, None, 0)

    async def claim(self, who: str, *, now_ms: int, lease_ms: int) -> bool:
        return True

    async def mutes(self, *, now_ms: int) -> dict[Name, int]:
        return {}

    async def late(self, *, now_ms: int, alerts: bool, accounts: bool) -> tuple[int, int]:
        return 0, 0

    async def failed_jobs(self) -> int:
        return 0

    async def nothing(self, **_: object) -> list[Any]:
        return []

    payments = duplicates = devices = unreturned = end = remind = drop = forget_counts = nothing


def surges(seed: int, hours: int) -> Found:
    """Each with one attack of three hours in it, near the end, at the busiest or quietest time by turns.

    A day of a series counts as a day of an account.
    """
    return asyncio.run(_surges(seed, hours))


async def _surges(seed: int, hours: int) -> Found:
    memory, clock, found = Memory(), FakeClock(START * HOUR_MS), Found()
    usual = alerts(GatewayShape.model_construct(alerts=AlertsShape(), currency="usd"))
    counted: dict[str, int] = {}
    book = cast(Any, memory)
    look = WatchSurges(series(usual.thresholds), counts=book, sources=book, factor=usual.thresholds.surge_factor)
    watch = Watch(
        alerts=book, counts=book, sources=book, inbox=book, thresholds=usual.thresholds, counted=lambda: counted,
        here=memory.nothing, also=[look.look], tells=(False, False), who="one", lease_ms=10**9,
        remind_ms=usual.remind_ms, ends_ms=usual.ends_ms, keep_ms=10**12, clock=clock,
    )  # fmt: skip
    rngs = {name: random.Random(f"{seed} {name}") for name in ATTACKS}
    for number, name in enumerate(ATTACKS):
        begins = START + hours - 10 * DAY_HOURS + 7 * number
        found.planted[name] = (begins, begins + 3)
    found.account_days = len(ATTACKS) * hours // DAY_HOURS
    for step in range(hours * STEPS):
        hour = START + step // STEPS
        for name, (_, counts, mean, many) in ATTACKS.items():
            begins, ends = found.planted[name]
            number = poisson(rngs[name], mean / STEPS * (1 + 0.8 * math.sin(hour / 12 * math.pi)))
            number += poisson(rngs[name], many / STEPS) if begins <= hour < ends else 0
            if "." in counts and counts != "webhooks.refused":
                memory.types.setdefault(counts, Sums()).add(clock.now_ms(), number)
            else:
                counted[counts] = counted.get(counts, 0) + number
        clock.pass_seconds(STEP_MS / 1000 - 1)  # a round falls anywhere
        await watch.look()
        clock.pass_seconds(1)
    about = {alert: name for name, (alert, *_) in ATTACKS.items()}
    rang: dict[str, int] = {}
    for at_ms, sign in memory.noted:
        name, hour = about[sign.name], at_ms // HOUR_MS
        if hour - rang.get(name, 0) > DAY_HOURS:
            found.alarms.append((name, hour, "surge"))
        rang[name] = hour
    return found
