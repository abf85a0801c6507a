"""Metered prices and their meters: what is due for what came, in every ending."""

import json
from fractions import Fraction
from math import ceil

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.charging import ChargeWhen
from gateway.core.money import Money
from gateway.core.pricing import MeteredPrice, UnitPrice, rounded_up
from gateway.core.use_meters import UseMeter


def usd(micros: int) -> Money:
    return Money(micros, "usd")


def per(unit: str, micros: int, count: int = 1) -> UnitPrice:
    return UnitPrice(unit, usd(micros), count, f"{usd(micros)} per {count}")


TOKENS = MeteredPrice(
    maximum=usd(500_000), base=usd(1_000), per=(per("input_tokens", 3_000_000, 10**6), per("output_tokens", 15, 1))
)
BYTES = MeteredPrice(maximum=usd(1_000), base=usd(0), per=(per("answer_bytes", 1, 3), per("request_bytes", 1)))


class Time:
    def __init__(self) -> None:
        self.seconds = 100.0

    def __call__(self) -> float:
        return self.seconds


def meter_of(price: MeteredPrice, *, status: int = 200, method: str = "GET", **fields: str) -> UseMeter:
    meter = price.meter(Time(), price.ceiling)
    meter.asks(lambda: 10)
    meter.answers(method, status, [(name.replace("_", "-"), value) for name, value in fields.items()])
    meter.head(status)
    return meter


def said(**usage: int) -> bytes:
    return json.dumps({"usage": usage}).encode()


def test_base_and_units_add_up_once_the_answer_has_said_them() -> None:
    meter = meter_of(TOKENS, content_type="application/json")
    assert meter.units == 1_000
    meter.body(said(prompt_tokens=100, completion_tokens=7))
    meter.end()
    assert TOKENS.cost(meter.units) == usd(1_000 + 300 + 105)


def test_it_is_rounded_up_once_at_the_end() -> None:
    meter = meter_of(BYTES)
    meter.body(b"xxxx")
    meter.end()
    assert meter.units == 12  # 10 and a third


@given(
    st.lists(st.tuples(st.integers(1, 10**7), st.integers(1, 10**6), st.integers(0, 10**6)), min_size=1, max_size=3),
    st.integers(0, 10**6), st.integers(0, 10**6), st.integers(0, 10**8), st.integers(0, 100),
)  # fmt: skip
def test_the_sum_is_exact_until_its_end(
    rates: list[tuple[int, int, int]], base: int, least: int, more: int, percent: int
) -> None:
    units = ["request_bytes", "answer_bytes", "seconds"][: len(rates)]
    most = max(base, least) + more
    price = MeteredPrice(
        maximum=usd(most), base=usd(base), minimum=usd(least),
        per=tuple(per(unit, micros, count) for unit, (micros, count, _) in zip(units, rates, strict=True)),
    )  # fmt: skip
    used = {unit: n for unit, (_, _, n) in zip(units, rates, strict=True)}
    exact = base + sum(Fraction(micros * n, count) for micros, count, n in rates)
    expected = ceil(Fraction(min(max(exact, least), most)) * percent / 100)
    assert price.micros(used, percent=percent) == expected <= most


@given(st.integers(0, 10**18), st.integers(1, 10**9))
def test_rounding_gives_the_next_whole_micro(numerator: int, denominator: int) -> None:
    assert 0 <= rounded_up(numerator, denominator) * denominator - numerator < denominator


@pytest.mark.parametrize(
    ("unreported", "ending", "due"),
    [
        ("maximum", "end", 500_000),
        ("minimum", "end", 1_000),
        ("maximum", "cut", 1_000),
        ("maximum", "close", 500_000),
        ("maximum", "void", 0),
    ],
)
def test_what_an_answer_did_not_say_depends_on_how_it_ended(unreported: str, ending: str, due: int) -> None:
    price = MeteredPrice(maximum=TOKENS.maximum, base=TOKENS.base, per=TOKENS.per, unreported=unreported)  # type: ignore[arg-type]
    meter = meter_of(price, content_type="text/event-stream")
    meter.body(b'data: {"choices":[]}\n\n')
    assert meter.units == 1_000
    getattr(meter, ending)()
    meter.close()
    assert meter.units == due


@pytest.mark.parametrize(
    ("goes_on", "ending", "due"),
    [
        (False, "left", 500_000), (False, "cut", 1_000 + 900 + 15), (False, "whole", 500_000),
        (True, "left", 1_000 + 900 + 300), (True, "cut", 1_000 + 900 + 300), (True, "whole", 1_000 + 900 + 300),
    ],
)  # fmt: skip
def test_what_a_stream_begins_with_is_no_total(goes_on: bool, ending: str, due: int) -> None:
    """Anthropic's first event counts one token of the answer. Who reads all but the last events pays for them, too."""
    meter = meter_of(TOKENS, content_type="text/event-stream")
    meter.body(b'data: {"message":{"usage":{"input_tokens":300,"output_tokens":1}}}\n\n')
    assert meter.units == 1_000 + 900 + 15
    if goes_on:
        meter.body(b'data: {"usage":{"output_tokens":20}}\n\n')
    {"left": meter.close, "cut": meter.cut, "whole": meter.end}[ending]()
    meter.close()
    assert meter.units == due


def test_half_of_what_has_a_price_is_not_enough() -> None:
    meter = meter_of(TOKENS, content_type="application/json")
    meter.body(b'{"usage": {"prompt_tokens": 3}}')
    meter.end()
    assert meter.units == 500_000


@pytest.mark.parametrize(("method", "status"), [("HEAD", 200), ("GET", 204), ("GET", 304)])
def test_an_answer_that_can_have_no_body_costs_the_base(method: str, status: int) -> None:
    meter = meter_of(TOKENS, method=method, status=status, content_type="application/json")
    meter.end()
    assert meter.units == 1_000


@pytest.mark.parametrize("status", [199, 400, 404, 429, 500, 503])
def test_an_error_of_the_upstream_costs_nothing_whatever_it_says(status: int) -> None:
    meter = meter_of(TOKENS, status=status, content_type="application/json")
    meter.body(said(prompt_tokens=100, completion_tokens=7))
    meter.end()
    assert meter.units == 0


def test_an_hour_of_an_open_connection_costs_what_an_hour_costs() -> None:
    price = MeteredPrice(maximum=usd(10**7), base=usd(0), per=(per("seconds", 60_000, 60 * 1000),))
    meter = meter_of(price, status=101)
    time = meter.now
    assert isinstance(time, Time)
    time.seconds += 3600
    assert meter.units == 3_600_000
    meter.close()
    time.seconds += 3600
    assert meter.units == 3_600_000


@pytest.mark.parametrize(
    ("says", "due"),
    [
        ("0.0002", 1_200),
        ("0.0002 usd", 1_200),
        ("0.0002 eur", 5_000),
        ("-1", 5_000),
        ("9", 5_000),
        ("x", 5_000),
        ("", 5_000),
    ],
)
def test_an_upstreams_own_price_is_added_and_bounded(says: str, due: int) -> None:
    price = MeteredPrice(maximum=usd(5_000), base=usd(1_000), reported=True)
    meter = meter_of(price, gateway_price=says)
    meter.end()
    assert meter.units == due


BOUNDED = MeteredPrice(
    maximum=usd(500_000), base=usd(1_000),
    per=(*TOKENS.per, per("request_bytes", 1)),
    bounds={"output_tokens": ("max_tokens", "options.most"), "input_tokens": ("request_bytes",)},
)  # fmt: skip


@pytest.mark.parametrize(
    ("length", "body", "ceiling"),
    [
        (100, b'{"max_tokens": 20}', 1_000 + 100 * 3 + 20 * 15 + 100),
        (100, b'{"max_tokens": 20, "options": {"most": 30}}', 1_000 + 100 * 3 + 30 * 15 + 100),
        (100, b'{"max_tokens": 20, "n": 3}', 1_000 + 100 * 3 + 3 * 20 * 15 + 100),
        (100, b'{"n": 2, "max_tokens": 20, "best_of": 5}', 1_000 + 100 * 3 + 5 * 20 * 15 + 100),
        (100, b'{"max_tokens": 20, "n": 0}', 1_000 + 100 * 3 + 20 * 15 + 100),
        (100, b'{"max_tokens": 20, "n": 1e9}', 500_000),
        (0, b'{"max_tokens": 0}', 1_000),
        (100, b'{"max_tokens": 1e9}', 500_000),
        (100, b"{}", 500_000),
        (100, b'{"max_tokens": null}', 500_000),
        (100, b'{"max_tokens": -1}', 500_000),
        (100, b'{"max_tokens": 20}]', 500_000),
        (100, b"", 500_000),
        (100, None, 500_000),
        (None, b'{"max_tokens": 20}', 500_000),
    ],
)
def test_what_is_held_follows_from_the_request_or_is_the_maximum(
    length: int | None, body: bytes | None, ceiling: int
) -> None:
    assert BOUNDED.looks_ahead
    assert BOUNDED.ceiling_for(length, body) == usd(ceiling)


def test_a_bound_may_be_the_number_of_answers_itself() -> None:
    images = MeteredPrice(
        maximum=usd(500_000), base=usd(0), per=(per("images", 40), per("output_tokens", 1)),
        fields={"images": "data.count"}, bounds={"images": ("n",), "output_tokens": ("max_tokens",)},
    )  # fmt: skip
    assert images.ceiling_for(50, b'{"n": 4, "max_tokens": 10}') == usd(4 * 40 + 4 * 10)


@pytest.mark.parametrize("price", [TOKENS, BYTES, MeteredPrice(maximum=usd(9), base=usd(9), reported=True)])
def test_a_request_is_not_looked_at_where_that_bounds_nothing(price: MeteredPrice) -> None:
    assert not price.looks_ahead


@given(st.integers(0, 10**6), st.integers(0, 10**6), st.integers(0, 10**6), st.sampled_from(["end", "cut", "close"]))
def test_nothing_costs_more_than_is_held_for_it(most: int, put_in: int, out: int, ending: str) -> None:
    ceiling = BOUNDED.ceiling_for(100, b'{"max_tokens": %d}' % most)
    meter = BOUNDED.meter(Time(), ceiling)
    meter.asks(lambda: 100)
    meter.answers("POST", 200, [("Content-Type", "application/json")])
    meter.body(said(prompt_tokens=put_in, completion_tokens=out))
    assert meter.units <= ceiling.micros
    getattr(meter, ending)()
    meter.close()
    exact = 1_000 + put_in * 3 + out * 15 + 100
    assert BOUNDED.cost(meter.units) == usd(min(exact, ceiling.micros))


CONTRACT = ChargeWhen(statuses=frozenset((200, 404)), empty=0, cut=50, late=25, late_seconds=2)


@pytest.mark.parametrize(
    ("status", "body", "late", "cut", "due"),
    [
        (200, b"x", 2.0, False, 1_001),
        (404, b"x", 0, False, 1_001),
        (201, b"x", 0, False, 0),
        (200, b"", 0, False, 0),
        (200, b"x", 0, True, 501),
        (200, b"", 0, True, 501),
        (200, b"x", 2.1, False, 251),
        (200, b"x", 2.1, True, 251),
    ],
)
def test_a_contract_charges_a_part_or_nothing(status: int, body: bytes, late: float, cut: bool, due: int) -> None:
    price = MeteredPrice(maximum=usd(1_001), base=usd(1_001), charge=CONTRACT)
    time = Time()
    meter = price.meter(time, price.ceiling)
    meter.asks(lambda: 0)
    time.seconds += late
    meter.answers("GET", status, [])
    meter.body(body)
    meter.cut() if cut else meter.end()
    assert meter.units == due


def test_what_is_in_the_books_says_the_whole_price() -> None:
    price = MeteredPrice(maximum=usd(500_000), base=usd(1_000), minimum=usd(2_000), per=TOKENS.per, reported=True)
    assert str(price) == (
        "0.001 usd + 3.00 usd per 1000000 (input_tokens) + 0.000015 usd per 1 (output_tokens) "
        "+ what Gateway-Price says, at least 0.002 usd, at most 0.50 usd"
    )
