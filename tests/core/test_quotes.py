"""Quotes: what is not known is quoted at the maximum, and an address is read as its request would be."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.charging import ALWAYS, SUCCESS, WHOLE, ChargeWhen
from gateway.core.limits import Limit, Rate
from gateway.core.money import Money
from gateway.core.pricing import AnyPrice, MeteredPrice, Price
from gateway.core.quotes import Quote, quote, read_length
from gateway.core.refusals import AmbiguousTarget, BadRequest, BadTarget, MethodNotAllowed, NoRoute, Refusal
from gateway.core.routes import Route, RouteTable, Server, Upstream
from tests.core.test_metered_prices import per, usd

UPSTREAM = Upstream("files", (Server("http", "127.0.0.1", 9001),))
FLAT = Price(usd(2_000))
BOUNDED = MeteredPrice(
    maximum=usd(500_000),
    base=usd(100),
    per=(per("request_bytes", 2), per("output_tokens", 15)),
    bounds={"output_tokens": ("max_tokens",)},
)
SLICED = MeteredPrice(maximum=usd(9_000), base=usd(0), per=(per("seconds", 1),), slice=usd(1_000))
REPORTED = MeteredPrice(maximum=usd(7_000), base=usd(100), reported=True)
LIMITS = (
    Limit("all", Rate(1, 60, "1/minute")),
    Limit("buyers", Rate(2, 60, "2/minute"), callers="paid"),
    Limit("others", Rate(3, 60, "3/minute"), callers="unpaid"),
)


def ask(price: AnyPrice, method: str = "GET", url: str = "/files/a", **known: Any) -> Quote:
    return quote(RouteTable([Route("files", "/files/", UPSTREAM, price, limits=LIMITS)]), method, url, **known)


def test_a_price_of_a_call_is_quoted_as_it_is() -> None:
    found = ask(FLAT, url="/files/a?b=c")
    assert (found.at_most, found.held, found.exact, found.target.raw) == (usd(2_000), usd(2_000), True, "/files/a?b=c")


@pytest.mark.parametrize(
    ("method", "known", "most"),
    [
        ("POST", {}, 500_000),
        ("POST", {"length": 10}, 500_000),
        ("POST", {"length": 20, "body": b'{"max_tokens": 100}'}, 100 + 40 + 1_500),
        ("POST", {"length": 20, "body": b'{"max_tokens": 10'}, 500_000),
        ("POST", {"body": b'{"max_tokens": 100}'}, 500_000),
        ("GET", {}, 500_000),
    ],
)
def test_what_a_quote_is_not_told_leaves_it_at_the_maximum(method: str, known: dict[str, Any], most: int) -> None:
    assert ask(BOUNDED, method, **known).at_most == usd(most)


@pytest.mark.parametrize(("method", "length", "most"), [("GET", None, 100), ("GET", 5, 110), ("POST", None, 500_000)])
def test_what_has_no_body_as_a_rule_is_quoted_without_one(method: str, length: int | None, most: int) -> None:
    price = replace(BOUNDED, per=(per("request_bytes", 2),), bounds={})
    assert ask(price, method, length=length).at_most == usd(most)


@given(st.sampled_from([FLAT, BOUNDED, SLICED, REPORTED]), st.integers(0, 10**7), st.integers(0, 10**6))
def test_no_quote_that_knows_more_is_above_one_that_knows_less(price: AnyPrice, length: int, tokens: int) -> None:
    body = b'{"max_tokens": %d}' % tokens
    known = [ask(price, "POST"), ask(price, "POST", length=length), ask(price, "POST", length=length, body=body)]
    assert known[0].at_most == price.ceiling
    assert known[2].at_most <= known[1].at_most <= known[0].at_most
    assert all(one.held <= one.at_most for one in known)


def test_of_a_price_in_slices_the_first_is_held() -> None:
    assert (ask(SLICED).at_most, ask(SLICED).held) == (usd(9_000), usd(1_000))


def test_what_an_upstream_reports_is_quoted_at_the_maximum() -> None:
    assert ask(REPORTED).at_most == usd(7_000)
    assert not ask(REPORTED).exact


@pytest.mark.parametrize(
    ("charge", "exact"), [(ALWAYS, True), (WHOLE, True), (ChargeWhen(empty=0), True), (ChargeWhen(cut=50), False)]
)
def test_an_amount_for_each_call_is_exact_unless_a_part_of_it_may_be_due(charge: ChargeWhen, exact: bool) -> None:
    assert ask(MeteredPrice(maximum=usd(10), base=usd(10), charge=charge)).exact is exact


def test_only_the_limits_that_a_caller_meets_are_named() -> None:
    found = ask(FLAT)
    assert [limit.name for limit in found.limits(paid=True)] == ["all", "buyers"]
    assert [limit.name for limit in found.limits(paid=False)] == ["all", "others"]
    assert found.limits(paid=None) == LIMITS


@pytest.mark.parametrize(
    ("method", "url", "refusal"),
    [
        ("GET", "/elsewhere", NoRoute),
        ("GET", "/-/wallet", NoRoute),
        ("GET", "/files/../x", BadTarget),
        ("GET", "/files//..;/x", BadTarget),
        ("GET", "/files%2fa", AmbiguousTarget),
        ("GET", "files/a", BadTarget),
        ("GET", "https://evil.example/files/a", BadTarget),
        ("GET", "ftp://shop.example/files/a", BadTarget),
        ("GET", "https://shop.example:444/files/a", BadTarget),
        ("TRACE", "/files/a", MethodNotAllowed),
        ("G T", "/files/a", BadRequest),
    ],
)
def test_a_quote_is_refused_as_its_request_would_be(method: str, url: str, refusal: type[Refusal]) -> None:
    with pytest.raises(refusal):
        ask(FLAT, method, url, hosts_of_ours=("shop.example",))


@pytest.mark.parametrize("url", ["https://shop.example/files/a", "HTTPS://Shop.example:443/files/a", "/files/a"])
def test_an_address_may_be_whole_if_it_is_ours(url: str) -> None:
    assert ask(FLAT, url=url, hosts_of_ours=("inside:8402", "shop.example")).target.raw == "/files/a"


@pytest.mark.parametrize("text", ["-1", "1e3", "²", "", "1" * 16])
def test_a_length_is_a_number_of_bytes(text: str) -> None:
    with pytest.raises(BadRequest):
        read_length(text)
    assert (read_length("012"), read_length(None)) == (12, None)


@pytest.mark.parametrize(
    ("charge", "words"),
    [
        (ALWAYS, "2xx, 3xx"),
        (WHOLE, "2xx, 3xx; cut off: free"),
        (
            ChargeWhen(SUCCESS | {404}, empty=0, cut=50, late=10, late_seconds=1.5),
            "2xx, 3xx, 404; empty: free; cut off: 50%; later than 1.5 s: 10%",
        ),
    ],
)
def test_when_an_answer_is_charged_is_said_in_words(charge: ChargeWhen, words: str) -> None:
    assert str(charge) == words


def test_money_is_of_the_prices_currency() -> None:
    assert ask(Price(Money(1, "eur"))).at_most.currency == "eur"
