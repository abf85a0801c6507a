"""What Prometheus is told: plain numbers that the request path counts, put into words when somebody asks.

A request costs one look into a dictionary here. Each worker tells the keeper's process what it has counted once a
second; there the numbers of all workers are added up, those of workers that have ended among them, so that a counter
never goes back while the keeper lives. No label ever names a caller.

prometheus_client is imported when the first scrape comes: it takes 80 ms and is no part of a request.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from gateway.core.callers import Caller
from gateway.core.routes import Route
from gateway.ports import Exchange, Served

if TYPE_CHECKING:
    from prometheus_client.core import Metric

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


@dataclass(slots=True)
class Counts:
    """What was counted: requests by route and status, and what they did cost by route and currency, in micros.

    And those that no limit could count, by route and by what became of them (`open`: admitted, `closed`: refused).
    """

    requests: dict[tuple[str, int], int] = field(default_factory=dict)
    micros: dict[tuple[str, str], int] = field(default_factory=dict)
    uncounted: dict[tuple[str, str], int] = field(default_factory=dict)

    def add(self, other: "Counts") -> None:
        for answered, number in other.requests.items():
            self.requests[answered] = self.requests.get(answered, 0) + number
        for sold, number in other.micros.items():
            self.micros[sold] = self.micros.get(sold, 0) + number
        for outcome, number in other.uncounted.items():
            self.uncounted[outcome] = self.uncounted.get(outcome, 0) + number

    def told(self) -> dict[str, Any]:
        """As JSON can carry it."""
        return {
            "requests": [[route, status, number] for (route, status), number in self.requests.items()],
            "micros": [[route, currency, number] for (route, currency), number in self.micros.items()],
            "uncounted": [[route, outcome, number] for (route, outcome), number in self.uncounted.items()],
        }

    @staticmethod
    def heard(told: Mapping[str, Any]) -> "Counts":
        """What `told` said."""
        return Counts(
            {(route, status): number for route, status, number in told["requests"]},
            {(route, currency): number for route, currency, number in told["micros"]},
            {(route, outcome): number for route, outcome, number in told["uncounted"]},
        )


class Tally:
    """Implements `ports.Served`: counts every request, and lets the next one know of it."""

    def __init__(self, following: Served) -> None:
        self.counts = Counts()
        self._following = following

    def __call__(self, exchange: Exchange, route: Route | None, caller: Caller) -> None:
        counts, name = self.counts, route.name if route is not None else ""
        key = (name, exchange.status)
        counts.requests[key] = counts.requests.get(key, 0) + 1
        cost = exchange.cost
        if cost is not None and cost.micros:
            sold = (name, cost.currency)
            counts.micros[sold] = counts.micros.get(sold, 0) + cost.micros
        self._following(exchange, route, caller)

    def uncounted(self, route: str, outcome: str) -> None:
        """The limits of a route were down."""
        key = (route, outcome)
        self.counts.uncounted[key] = self.counts.uncounted.get(key, 0) + 1


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
        """What it counted stays."""
        counts = self._latest.pop(worker, None)
        if counts is not None:
            self._ended.add(counts)

    def sum(self) -> Counts:
        total = Counts()
        for counts in (self._ended, *self._latest.values()):
            total.add(counts)
        return total


def exposition(totals: Totals, *, ledger_stuck: Callable[[], bool], forgotten: Callable[[], int]) -> bytes:
    """The answer to a scrape, in Prometheus' text format."""
    from prometheus_client import CollectorRegistry, generate_latest

    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Collector(totals, ledger_stuck, forgotten))
    return generate_latest(registry)


class _Collector:
    def __init__(self, totals: Totals, ledger_stuck: Callable[[], bool], forgotten: Callable[[], int]) -> None:
        self._totals = totals
        self._forgotten = forgotten
        self._ledger_stuck = ledger_stuck

    def collect(self) -> Iterable["Metric"]:
        from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

        counts = self._totals.sum()
        requests = CounterMetricFamily(
            "gateway_requests",
            "Requests that have ended, by route (empty: none matched) and status (0: cut before an answer).",
            labels=["route", "status"],
        )
        for (route, status), number in sorted(counts.requests.items()):
            requests.add_metric([route, str(status)], number)
        charged = CounterMetricFamily(
            "gateway_charged", "What requests did cost, in the currency.", labels=["route", "currency"]
        )
        for (route, currency), micros in sorted(counts.micros.items()):
            charged.add_metric([route, currency], micros / 1_000_000)
        uncounted = CounterMetricFamily(
            "gateway_limits_down",
            "Requests that no limit could count, by what became of them: open, they were admitted; closed, refused.",
            labels=["route", "outcome"],
        )
        for (route, outcome), number in sorted(counts.uncounted.items()):
            uncounted.add_metric([route, outcome], number)
        yield requests
        yield charged
        yield uncounted
        yield CounterMetricFamily(
            "gateway_limits_forgotten",
            "Windows of limits that began anew because there were more than limits.subjects_max.",
            value=self._forgotten(),
        )
        yield GaugeMetricFamily("gateway_workers", "Processes that serve callers.", value=self._totals.workers)
        yield GaugeMetricFamily(
            "gateway_ledger_stuck", "1 while the ledger cannot commit and paid routes are closed.",
            value=int(self._ledger_stuck()),
        )  # fmt: skip
