"""What Prometheus is told: plain numbers that the request path counts, put into words when somebody asks.

A request costs a few looks into small dictionaries here. Each worker tells the keeper's process what it has counted,
once a second; there the numbers of all workers are added up, those of workers that have ended among them, so that a
counter never goes back while the keeper lives. A gauge is of one process at one moment: it has the worker's slot as a
label, and goes with its worker. No label ever names a caller.

Counters of other parts (webhooks, calls to the provider) are plain integers where they happen; a worker looks at them
when it tells (`app/measured.py`). What there is stands in `catalogue`.

prometheus_client is imported when the first scrape comes: it takes 80 ms and is no part of a request.
"""

import time
from bisect import bisect_left
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from gateway.adapters.metrics.catalogue import BY_NAME, FAMILIES, Family
from gateway.core.callers import Caller
from gateway.core.counting import SECONDS, Durations
from gateway.core.refusals import INTERNAL_ERROR
from gateway.core.route_use import measures_of
from gateway.core.routes import Route
from gateway.ports import Exchange, Served

if TYPE_CHECKING:
    from prometheus_client.core import Metric

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
ACCOUNTS_MAX = 20_000
Key = tuple[str, ...]
"""The name of a metric, and the values of its labels."""


@dataclass(slots=True)
class Counts:
    """What was counted so far, and how things stand now: numbers by metric and labels."""

    counters: dict[Key, float] = field(default_factory=dict)
    durations: dict[Key, Durations] = field(default_factory=dict)
    gauges: dict[Key, float] = field(default_factory=dict)

    def add(self, other: "Counts") -> None:
        """Counters and durations add up; a gauge is somebody's own."""
        for key, number in other.counters.items():
            self.counters[key] = self.counters.get(key, 0) + number
        for key, durations in other.durations.items():
            self.durations.setdefault(key, Durations()).add(durations)
        self.gauges.update(other.gauges)

    def told(self) -> dict[str, Any]:
        """As JSON can carry it."""
        return {
            "counters": [[*key, number] for key, number in self.counters.items()],
            "durations": [[*key, each.seconds, each.buckets] for key, each in self.durations.items()],
            "gauges": [[*key, number] for key, number in self.gauges.items()],
        }

    @staticmethod
    def heard(told: Mapping[str, Any]) -> "Counts":
        """What `told` said."""
        return Counts(
            {tuple(key): number for *key, number in told["counters"]},
            {tuple(key): Durations(buckets, seconds) for *key, seconds, buckets in told["durations"]},
            {tuple(key): number for *key, number in told["gauges"]},
        )


class _OfRoute:
    """What is counted of one route, whatever its requests were answered."""

    __slots__ = (
        "answered", "bytes_in", "bytes_out", "captured", "micros", "refused", "released", "took", "upstream_took",
    )  # fmt: skip

    def __init__(self) -> None:
        self.bytes_in = self.bytes_out = self.captured = self.released = 0
        self.answered: dict[int, int] = {}
        self.refused: dict[str, int] = {}
        self.micros: dict[str, int] = {}
        self.took = Durations()
        self.upstream_took = Durations()


class Tally:
    """Implements `ports.Served`: counts every request, and lets the next one know of it."""

    def __init__(self, following: Served, *, now: Callable[[], float] = time.monotonic, currency: str = "") -> None:
        self._following = following
        self._now = now
        self._currency = currency
        """Whose sums are also counted by account; empty for none."""
        self._spent: dict[str, int] = {}
        self._routes: dict[str, _OfRoute] = {}
        self._uncounted: dict[tuple[str, str], int] = {}

    def __call__(self, exchange: Exchange, route: Route | None, caller: Caller) -> None:
        name = route.name if route is not None else ""
        of_route = self._routes.get(name)
        if of_route is None:
            of_route = self._routes[name] = _OfRoute()
        status, code = exchange.status, exchange.refusal_code
        if code:
            of_route.refused[code] = of_route.refused.get(code, 0) + 1
            status = status or (500 if code == INTERNAL_ERROR else 0)
        of_route.answered[status] = of_route.answered.get(status, 0) + 1
        took, seconds = of_route.took, self._now() - exchange.begun  # (`count`, written out: this is every request's)
        took.buckets[bisect_left(SECONDS, seconds)] += 1
        took.seconds += seconds
        of_route.bytes_in += exchange.bytes_in
        of_route.bytes_out += exchange.bytes_out
        upstream_seconds, cost = exchange.upstream_seconds, exchange.cost
        if upstream_seconds is not None:
            took = of_route.upstream_took
            took.buckets[bisect_left(SECONDS, upstream_seconds)] += 1
            took.seconds += upstream_seconds
        if cost is not None:
            if micros := cost.micros:
                of_route.micros[cost.currency] = of_route.micros.get(cost.currency, 0) + micros
                of_route.captured += 1
                if cost.currency == self._currency:
                    spent, account = self._spent, caller.account
                    if account in spent or len(spent) < ACCOUNTS_MAX:
                        spent[account] = spent.get(account, 0) + micros
            else:
                of_route.released += 1
        self._following(exchange, route, caller)

    def take_spent(self) -> dict[str, int]:
        """What accounts spent since this was asked last, in micros; of so many, and no more."""
        spent, self._spent = self._spent, {}
        return spent

    def uncounted(self, route: str, outcome: str) -> None:
        """The limits of a route were down."""
        key = (route, outcome)
        self._uncounted[key] = self._uncounted.get(key, 0) + 1

    def measures(self) -> dict[tuple[str, str], int]:
        """How each route was used."""
        return {
            (name, measure): number
            for name, one in self._routes.items()
            if name
            for measure, number in measures_of(one.answered, one.refused, one.upstream_took.buckets).items()
        }

    def counts(self) -> Counts:
        """All of it, by metric."""
        counts = Counts()
        numbers = counts.counters
        for name, one in self._routes.items():
            for status, number in one.answered.items():
                numbers["gateway_requests", name, str(status)] = number
            numbers["gateway_refusals", name, INTERNAL_ERROR] = 0  # whoever asks for its increase needs a first
            for code, number in one.refused.items():
                numbers["gateway_refusals", name, code] = number
            for currency, micros in one.micros.items():
                numbers["gateway_charged", name, currency] = micros  # whole micros, until they are shown
            counts.durations["gateway_request_seconds", name] = one.took
            counts.durations["gateway_upstream_seconds", name] = one.upstream_took
            numbers["gateway_request_body_bytes", name] = one.bytes_in
            numbers["gateway_answer_body_bytes", name] = one.bytes_out
            for outcome, number in (("captured", one.captured), ("released", one.released)):
                if number:
                    numbers["gateway_holds", name, outcome] = number
        for (name, outcome), number in self._uncounted.items():
            numbers["gateway_limits_down", name, outcome] = number
        return counts


class Totals:
    """The counts of all workers, by their names. One process alone is a worker without a name."""

    def __init__(self) -> None:
        self._ended = Counts()
        self._latest: dict[str, Counts] = {}

    @property
    def workers(self) -> int:
        return len(self._latest)

    def hear(self, worker: str, counts: Counts) -> None:
        """What a worker has counted since it began."""
        self._latest[worker] = counts

    def ended(self, worker: str) -> None:
        """What it counted stays; how it stood does not matter any more."""
        counts = self._latest.pop(worker, None)
        if counts is not None:
            counts.gauges.clear()
            self._ended.add(counts)

    def sum(self) -> Counts:
        total = Counts()
        for counts in (self._ended, *self._latest.values()):
            total.add(counts)
        return total


def exposition(counts: Counts) -> bytes:
    """The answer to a scrape, in Prometheus' text format."""
    from prometheus_client import CollectorRegistry, generate_latest

    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Collector(counts))
    return generate_latest(registry)


class _Collector:
    def __init__(self, counts: Counts) -> None:
        self._counts = counts

    def collect(self) -> Iterable["Metric"]:
        from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily

        counts, numbers = self._counts, {**self._counts.counters, **self._counts.gauges}
        unknown = {key[0] for key in (*numbers, *counts.durations)} - set(BY_NAME)
        if unknown:
            raise AssertionError(f"metrics that no catalogue has: {sorted(unknown)}")
        for family in FAMILIES:
            if family.kind == "histogram":
                shown = HistogramMetricFamily(family.name, family.help, labels=family.labels)
                for key, durations in _of(family, counts.durations):
                    shown.add_metric(key[1:], _summed(durations), durations.seconds)
                yield shown
                continue
            kind = CounterMetricFamily if family.kind == "counter" else GaugeMetricFamily
            plain = kind(family.name, family.help, labels=family.labels)
            for key, number in _of(family, numbers):
                plain.add_metric(key[1:], number / 1_000_000 if family.name == "gateway_charged" else number)
            yield plain


def _of(family: Family, numbers: Mapping[Key, Any]) -> list[tuple[Key, Any]]:
    return sorted((item for item in numbers.items() if item[0][0] == family.name), key=lambda item: item[0])


def _summed(durations: Durations) -> list[tuple[str, float]]:
    total = 0.0
    summed: list[tuple[str, float]] = []
    for bound, number in zip((*map(str, SECONDS), "+Inf"), durations.buckets, strict=True):
        total += number
        summed.append((bound, total))
    return summed
