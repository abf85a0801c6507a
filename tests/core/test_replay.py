"""Requests on record, replayed under other prices."""

from dataclasses import replace
from types import MappingProxyType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.charging import ChargeWhen
from gateway.core.measured import Measured
from gateway.core.money import Money
from gateway.core.pricing import AnyPrice, MeteredPrice, Price, UnitPrice
from gateway.core.replay import Replay, Replayed, micros_at
from gateway.core.routes import Route, Server, Upstream
from gateway.core.statements import Line
from gateway.core.steps import PriceStep, SteppedPrice
from gateway.core.use_meters import UseMeter

UPSTREAM = Upstream("toy", (Server("http", "127.0.0.1", 80),))
JSON_TYPE = ("Content-Type", "application/json")


def usd(micros: int) -> Money:
    return Money(micros, "usd")


def metered(**per: int) -> MeteredPrice:
    """So many micros for each of a unit, and at most 1 usd."""
    return MeteredPrice(
        maximum=usd(1_000_000), base=usd(7), per=tuple(UnitPrice(unit, usd(n), 1, "") for unit, n in per.items())
    )


def answer(price: MeteredPrice, body: bytes, status: int = 200, *, cut: bool = False, method: str = "GET") -> UseMeter:
    """What was metered of one."""
    seconds = iter([0.0, 2.5] + [4.0] * 50)
    meter = UseMeter(price, lambda: next(seconds), price.ceiling.micros)
    meter.asks(lambda: 11)
    meter.head(status)
    meter.answers(method, status, [JSON_TYPE, ("Gateway-Price", "0.000500 usd")])
    meter.body(body)
    (meter.cut if cut else meter.end)()
    return meter


PRICES = [
    metered(answer_bytes=3),
    metered(input_tokens=5, output_tokens=9),
    metered(input_tokens=5, cached_tokens=2, output_tokens=9, request_bytes=1, seconds=1),
    replace(metered(rows=4), unreported="minimum", minimum=usd(300)),
    replace(metered(pages=40), fields=MappingProxyType({"pages": "result.pages"}), maximum=usd(50)),
    replace(metered(answer_bytes=1), reported=True, charge=ChargeWhen(late=50, late_seconds=1.0, empty=0, cut=25)),
]
BODIES = [
    b"",
    b"[1,2,3]",
    b'{"usage": {"prompt_tokens": 100, "completion_tokens": 30, "prompt_tokens_details": {"cached_tokens": 40}}}',
    b'{"result": {"pages": 3}}',
]


@given(
    price=st.sampled_from(PRICES),
    body=st.sampled_from(BODIES),
    status=st.sampled_from([200, 204, 302, 404, 500]),
    cut=st.booleans(),
)
def test_under_the_same_price_a_request_costs_what_it_did_cost(
    price: MeteredPrice, body: bytes, status: int, cut: bool
) -> None:
    meter = answer(price, b"" if status == 204 else body, status, cut=cut)
    kept = Measured.unpacked(meter.measured("GET").packed())
    assert micros_at(price, kept) == meter.units


@given(before=st.sampled_from(PRICES[1:3]), after=st.sampled_from(PRICES[:3]), body=st.sampled_from(BODIES))
def test_whatever_was_looked_for_has_another_price_as_if_it_had_always_had_it(
    before: MeteredPrice, after: MeteredPrice, body: bytes
) -> None:
    kept = answer(before, body).measured("GET")
    assert micros_at(after, kept) == answer(after, body).units


def test_what_nobody_read_has_no_price() -> None:
    kept = answer(PRICES[0], BODIES[3]).measured("GET")
    assert micros_at(PRICES[4], kept) is None
    assert micros_at(Price(usd(5)), kept) == 5
    assert micros_at(Price(usd(5)), replace(kept, status=500)) == 0


def route(price: AnyPrice, **changes: Any) -> Route:
    return Route(name="maps", match="/maps/", upstream=UPSTREAM, price=price, **changes)


def line(cost: int = 100, *, rule: str = "0.0001 usd", account: str = "acct_a", **changes: Any) -> Line:
    made = Line("request", "req_1", 0, account, "operator", "maps", 1, cost, 0, "usd", "", "captured", rule)
    return replace(made, **changes)


def replayed(made: Route, *taken: tuple[Line, Measured | None]) -> Replayed:
    replay = Replay({made.name: made}, "usd")
    for one, measured in taken:
        replay.take(one, measured)
    return replay.found.get("maps", Replayed())


def test_a_flat_price_needs_nothing_but_the_request() -> None:
    assert replayed(route(Price(usd(150))), (line(), None), (line(90), None)) == Replayed(2, 190, 300)
    hour = line(500, type="hour", requests=5)
    assert replayed(route(Price(usd(150))), (hour, None)) == Replayed(5, 500, 750)


@pytest.mark.parametrize("left_out", [line(0), line(unit="eur")])
def test_what_was_not_charged_or_is_other_money_is_left_out(left_out: Line) -> None:
    assert replayed(route(Price(usd(150))), (left_out, None)) == Replayed()


def test_what_cannot_be_known_stands_on_neither_side() -> None:
    by_method = route(Price(usd(1)), methods={"POST": route(Price(usd(2)))})
    for made, taken in (
        (route(PRICES[0]), line()),
        (by_method, line()),
        (route(Price(usd(1))), line(state="adjusted", requests=0)),
        (replace(route(Price(usd(1))), name="gone"), line()),
    ):
        found = replayed(made, (taken, None)) if made.name == "maps" else None
        assert found in (None, Replayed(0, 0, 0, taken.requests, 100))


def test_the_method_of_what_was_metered_is_known() -> None:
    made = route(Price(usd(1)), methods={"POST": route(Price(usd(2)))})
    kept = answer(PRICES[0], b"x", method="POST").measured("POST")
    assert replayed(made, (line(), kept)) == Replayed(1, 100, 2)


def test_who_had_a_plan_has_it_in_the_replay() -> None:
    made = route(Price(usd(10)), plans={"pro": route(Price(usd(4)))})
    rules = ["0.01 usd", "0.01 usd (plan pro)", "0.01 usd (plan pro, the first 3 calls of a day)", "0.01 usd (plan x)"]
    assert replayed(made, *((line(rule=rule), None) for rule in rules)) == Replayed(4, 400, 28)


def test_steps_count_the_calls_of_each_account_and_period() -> None:
    stepped = SteppedPrice("day", "UTC", (PriceStep(Price(usd(0)), 2), PriceStep(Price(usd(9)), None)))
    steps = tuple(
        route(one.price, step=stepped.step(place, "maps", PRICES[0])) for place, one in enumerate(stepped.steps)
    )
    made = route(Price(usd(9)), stepped=stepped, steps=steps)
    taken = [
        line(account=account, at_ms=day * 86_400_000) for account in ("a", "b") for day in (1, 2) for _ in range(3)
    ]
    assert replayed(made, *((one, None) for one in taken)) == Replayed(12, 1200, 4 * 9)
