"""What Prometheus is told adds up over workers, never goes back, and is all in the catalogue."""

import json
import re
from typing import cast

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from gateway.adapters.metrics import Counts, Tally, Totals, exposition
from gateway.adapters.metrics.catalogue import FAMILIES
from gateway.core.callers import ANONYMOUS, Caller
from gateway.core.counting import SECONDS, Durations
from gateway.core.money import Money
from gateway.core.pricing import Price
from gateway.core.routes import Route, Server, Upstream
from gateway.ports import Exchange

ROUTE = Route("paid", "/", Upstream("w", (Server("http", "127.0.0.1", 9),)), Price(Money(2000, "usd")))
BOUNDED = {
    "route", "status", "code", "outcome", "currency", "worker", "cache", "upstream", "state", "issuer", "channel",
    "version", "python", "alert",
}  # fmt: skip


class Ended:
    """As much of an exchange as is counted."""

    def __init__(self, status: int = 200, *, cost: Money | None = None, code: str = "", first: float | None = 0.002):
        self.status, self.cost, self.refusal_code, self.upstream_seconds = status, cost, code, first
        self.begun, self.bytes_in, self.bytes_out = 5.0, 10, 100


def counted(*ended: Ended, route: Route | None = ROUTE) -> Tally:
    tally = Tally(lambda *_: None, now=lambda: 5.03)
    for one in ended:
        tally(cast(Exchange, one), route, ANONYMOUS)
    return tally


def shown(counts: Counts) -> dict[str, float]:
    lines = [line.rpartition(" ") for line in exposition(counts).decode().splitlines() if not line.startswith("#")]
    return {name: float(number) for name, _, number in lines}


def test_a_request_is_counted_in_all_that_it_was() -> None:
    paid, nothing = Money(2000, "usd"), Money(0, "usd")
    tally = counted(
        Ended(cost=paid), Ended(cost=paid), Ended(502, cost=nothing, code="upstream_failed", first=None),
        Ended(402, code="payment_required", first=None), Ended(0, code="internal_error", first=None),
    )  # fmt: skip
    found = shown(tally.counts())
    assert {name: number for name, number in found.items() if "_bucket" not in name} == {
        'gateway_requests_total{route="paid",status="200"}': 2,
        'gateway_requests_total{route="paid",status="402"}': 1,
        'gateway_requests_total{route="paid",status="500"}': 1,
        'gateway_requests_total{route="paid",status="502"}': 1,
        'gateway_refusals_total{code="internal_error",route="paid"}': 1,
        'gateway_refusals_total{code="payment_required",route="paid"}': 1,
        'gateway_refusals_total{code="upstream_failed",route="paid"}': 1,
        'gateway_request_body_bytes_total{route="paid"}': 50,
        'gateway_answer_body_bytes_total{route="paid"}': 500,
        'gateway_holds_total{outcome="captured",route="paid"}': 2,
        'gateway_holds_total{outcome="released",route="paid"}': 1,
        'gateway_charged_total{currency="usd",route="paid"}': 0.004,
        'gateway_request_seconds_count{route="paid"}': 5,
        'gateway_request_seconds_sum{route="paid"}': pytest.approx(0.15),
        'gateway_upstream_seconds_count{route="paid"}': 2,
        'gateway_upstream_seconds_sum{route="paid"}': pytest.approx(0.004),
    }
    assert found['gateway_request_seconds_bucket{le="0.025",route="paid"}'] == 0
    assert found['gateway_request_seconds_bucket{le="0.05",route="paid"}'] == 5
    assert found['gateway_upstream_seconds_bucket{le="0.001",route="paid"}'] == 0
    assert found['gateway_upstream_seconds_bucket{le="0.0025",route="paid"}'] == 2


def test_what_met_no_route_has_an_empty_one() -> None:
    assert shown(counted(Ended(404), route=None).counts())['gateway_requests_total{route="",status="404"}'] == 1


def test_a_duration_is_in_the_bucket_that_it_just_fills() -> None:
    durations = Durations()
    for seconds in (*SECONDS, SECONDS[-1] + 1, 0.0):
        durations.count(seconds)
    assert durations.buckets == [2, *[1] * len(SECONDS)]


def test_everything_survives_the_way_to_the_keeper() -> None:
    counts = counted(Ended(cost=Money(2000, "usd")), Ended(402, code="payment_required")).counts()
    counts.gauges["gateway_connections", "0"] = 3
    told = json.loads(json.dumps(counts.told()))
    assert shown(Counts.heard(told)) == shown(counts)


@given(st.lists(st.tuples(st.integers(0, 3), st.booleans(), st.integers(0, 9)), max_size=40))
def test_sums_are_exact_and_never_go_back(events: list[tuple[int, bool, int]]) -> None:
    """Workers count, report, and end; each that ends is followed by a new one in its slot."""
    totals, names, seen = Totals(), dict.fromkeys(range(4), 0), 0
    tallies: dict[int, Tally] = {}
    for slot, ends, requests in events:
        tally = tallies.setdefault(slot, counted())
        for _ in range(requests):
            tally(cast(Exchange, Ended(cost=Money(1, "usd"))), ROUTE, ANONYMOUS)
        seen += requests
        counts = tally.counts()
        counts.gauges["gateway_connections", str(slot)] = 1
        totals.hear(f"{slot}-{names[slot]}", Counts.heard(counts.told()))
        if ends:
            totals.ended(f"{slot}-{names[slot]}")
            totals.ended(f"{slot}-{names[slot]}")
            names[slot] += 1
            del tallies[slot]
        total = totals.sum()
        assert total.counters.get(("gateway_requests", "paid", "200"), 0) == seen
        assert total.counters.get(("gateway_charged", "paid", "usd"), 0) == seen
        assert sum(total.durations["gateway_request_seconds", "paid"].buckets) if seen else True
        assert sorted(key[1] for key in total.gauges) == sorted(map(str, tallies))
        assert totals.workers == len(tallies)


def test_names_and_labels_are_as_they_should_be() -> None:
    names = [family.name for family in FAMILIES]
    assert len(set(names)) == len(names)
    for family in FAMILIES:
        assert re.fullmatch("gateway_[a-z_]+", family.name)
        assert set(family.labels) <= BOUNDED, family.name
        assert family.help.endswith(".")
        assert not family.name.endswith("_total")
        if family.kind == "histogram":
            assert family.name.endswith("_seconds")


def test_what_is_in_no_catalogue_is_a_bug() -> None:
    with pytest.raises(AssertionError, match="gateway_made_up"):
        exposition(Counts({("gateway_made_up",): 1}))


def test_a_scrape_is_what_prometheus_reads() -> None:
    text = exposition(counted(Ended(cost=Money(2000, "usd"))).counts()).decode()
    families = {family.name: family for family in text_string_to_metric_families(text)}
    assert set(families) == {family.name for family in FAMILIES}
    assert {name: family.type for name, family in families.items()} == {one.name: one.kind for one in FAMILIES}


def test_what_accounts_spend_is_handed_over_once_in_one_currency_and_of_so_many(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("gateway.adapters.metrics.ACCOUNTS_MAX", 2)
    tally = Tally(lambda *_: None, now=lambda: 5.03, currency="usd")
    for account, cost in (("a", "usd"), ("b", "usd"), ("a", "usd"), ("c", "usd"), ("a", "unit:export")):
        tally(cast(Exchange, Ended(cost=Money(2000, cost))), ROUTE, Caller(account=account))
    assert tally.take_spent() == {"a": 4000, "b": 2000}
    assert tally.take_spent() == {}
    assert counted(Ended(cost=Money(2000, "usd"))).take_spent() == {}, "nobody asked for it"
