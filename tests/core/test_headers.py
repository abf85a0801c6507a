"""Which fields pass: edge by edge, and for any fields at all."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.headers import HOP_BY_HOP, asks_us, prefers_html, receipt, to_caller, to_upstream, windows
from gateway.core.limits import Limit, Rate, Stand
from gateway.core.money import Money
from gateway.core.routes import FieldRules, UpstreamCredential
from gateway.core.secrets import Secret

TOKEN = "fb_test_1a2b" + "A" * 40
COOKIE = "gateway_token"

names = st.text("abcdefgXYZ-_", min_size=1, max_size=12)
values = st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=30)
some_fields = st.lists(st.tuples(names, values), max_size=12)


def up(*fields: tuple[str, str]) -> list[tuple[str, str]]:
    return to_upstream(fields, cookie=COOKIE)


def test_what_is_the_callers_passes_in_order_and_spelling() -> None:
    fields = [("accept", "a"), ("X-B", "2"), ("x-b", "3"), ("User-Agent", ""), ("Accept", "b")]
    assert up(*fields) == fields


SAID_BY_US = {"host", "forwarded", "x-forwarded-for", "x-forwarded-proto", "x-forwarded-host", "x-real-ip", "expect"}


@pytest.mark.parametrize("name", sorted(HOP_BY_HOP | SAID_BY_US))
def test_hop_by_hop_and_forwarding_fields_do_not_pass(name: str) -> None:
    assert up((name.title(), "x"), ("Kept", "y")) == [("Kept", "y")]


@pytest.mark.parametrize(
    "name",
    [
        "Gateway-Account",
        "gateway-anything",
        "X_Account",
        "Content_Length",
        "_",
        "X-Forwarded-Port",
        "x-forwarded-user",
        "X-Original-URL",
        "x-rewrite-url",
    ],
)
def test_names_that_claim_something_do_not_pass(name: str) -> None:
    assert up((name, "x")) == []


def test_what_connection_names_does_not_pass() -> None:
    assert up(("Connection", "close, X-Hop"), ("x-hop", "1"), ("X-Hop2", "2")) == [("X-Hop2", "2")]


def test_connection_cannot_take_out_the_framing() -> None:
    length = ("Content-Length", "5")
    assert up(("Connection", "content-length"), length) == [length]
    assert to_caller([("Connection", "Content-Length, x"), length, ("X", "1")]) == [length]


@pytest.mark.parametrize("name", ["Via", "traceparent", "X-Forwarded", "X-Original", "Content-Length", "Trailers"])
def test_names_that_only_look_like_ours_pass(name: str) -> None:
    assert up((name, "1")) == [(name, "1")]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("Authorization", f"Bearer {TOKEN}"),
        ("authorization", f"bearer  {TOKEN}"),
        ("Authorization", f"Bearer\t{TOKEN}"),
        ("Authorization", f'Bearer "{TOKEN}", Bearer x'),
        ("Authorization", f"Token {TOKEN}"),
        ("X-Api-Key", TOKEN),
        ("X-Anything", f"see {TOKEN}"),
    ],
)
def test_a_token_of_ours_does_not_pass(name: str, value: str) -> None:
    assert up((name, value)) == []


@pytest.mark.parametrize(
    ("name", "value"), [("Authorization", "Basic dTpw"), ("Authorization", "Bearer other"), ("X-Api-Key", "other")]
)
def test_a_credential_that_is_not_ours_passes(name: str, value: str) -> None:
    assert up((name, value)) == [(name, value)]


@pytest.mark.parametrize(
    ("cookie", "left"),
    [
        ("a=1; gateway_token=x; b=2", "a=1; b=2"),
        ("gateway_token=x", None),
        ("gateway_token=x;gateway_token_0a1b2c3d4e5f=y", None),
        (f"a=b, gateway_token={TOKEN}; c=d", "c=d"),
        (f"other={TOKEN}; c=d", "c=d"),
        ("a=1;b=2 ;  c=3", "a=1;b=2 ;  c=3"),
        ("not_gateway_token=x", "not_gateway_token=x"),
    ],
)
def test_our_cookies_are_taken_out_and_the_others_stay(cookie: str, left: str | None) -> None:
    assert up(("Cookie", cookie)) == ([] if left is None else [("Cookie", left)])


# --- what a route adds ------------------------------------------------------------------------------------------------


def ruled(rules: FieldRules, *fields: tuple[str, str]) -> list[tuple[str, str]]:
    """The rules do the same both ways."""
    kept = to_upstream(fields, cookie=COOKIE, rules=rules)
    assert to_caller(fields, rules) == kept
    return kept


def test_remove_takes_out_every_field_of_its_names_and_no_other() -> None:
    rules = FieldRules(remove=frozenset(("x-a",)))
    assert ruled(rules, ("X-A", "1"), ("X-AB", "2"), ("x-a", "3")) == [("X-AB", "2")]


def test_set_replaces_every_field_of_its_name() -> None:
    rules = FieldRules(set=(("X-A", "ours"),))
    assert ruled(rules, ("x-a", "1"), ("X-B", "2"), ("X-A", "3")) == [("X-B", "2"), ("X-A", "ours")]
    assert ruled(rules) == [("X-A", "ours")]


def test_add_leaves_the_others() -> None:
    rules = FieldRules(add=(("X-A", "ours"), ("X-A", "too")))
    assert ruled(rules, ("X-A", "1")) == [("X-A", "1"), ("X-A", "ours"), ("X-A", "too")]


def test_rules_remove_first_then_set_then_add() -> None:
    rules = FieldRules(set=(("X-A", "set"),), add=(("X-A", "added"),), remove=frozenset(("x-a",)))
    assert ruled(rules, ("X-A", "1")) == [("X-A", "set"), ("X-A", "added")]


def test_a_rule_may_say_what_a_caller_may_not() -> None:
    fields = [("Gateway-Tier", "gold")]
    assert to_upstream(fields, cookie=COOKIE, rules=FieldRules(set=(("Gateway-Tier", "free"),))) == [
        ("Gateway-Tier", "free")
    ]


def credential(place: str, name: str = "X-Api-Key") -> UpstreamCredential:
    return UpstreamCredential("header" if place == "header" else "query", name, Secret("ours"))


def test_a_credential_replaces_the_callers_field_of_that_name() -> None:
    fields = [("x-api-key", "theirs"), ("X-Api-Key2", "y")]
    sent = to_upstream(fields, cookie=COOKIE, credential=credential("header"))
    assert sent == [("X-Api-Key2", "y"), ("X-Api-Key", "ours")]


def test_a_credential_outdoes_a_rule() -> None:
    rules = FieldRules(add=(("X-API-Key", "rule"),))
    assert to_upstream([], cookie=COOKIE, rules=rules, credential=credential("header")) == [("X-Api-Key", "ours")]


def test_a_credential_in_the_query_is_no_field() -> None:
    fields = [("X-Api-Key", "theirs")]
    assert to_upstream(fields, cookie=COOKIE, credential=credential("query")) == fields


# --- any fields at all ------------------------------------------------------------------------------------------------


@given(some_fields)
def test_nothing_is_made_up_and_nothing_is_reordered(fields: list[tuple[str, str]]) -> None:
    kept = up(*fields)
    rest = iter(fields)
    assert all(field in rest for field in kept), "kept fields are the sent ones, in their order"
    for name, _ in kept:
        assert name.lower() not in HOP_BY_HOP
        assert "_" not in name


@given(some_fields)
def test_the_way_back_only_takes_away(fields: list[tuple[str, str]]) -> None:
    rest = iter(fields)
    assert all(field in rest for field in to_caller(fields))


def test_an_upstream_cannot_speak_for_the_gateway() -> None:
    assert to_caller([("Gateway-Cost", "0"), ("Set-Cookie", "a"), ("Set-Cookie", "b")]) == [
        ("Set-Cookie", "a"),
        ("Set-Cookie", "b"),
    ]


def test_receipt_and_window_are_written_as_documented() -> None:
    assert receipt(Money(2000, "usd"), "4.998 usd") == [
        ("Gateway-Cost", "0.002 usd"),
        ("Gateway-Balance", "4.998 usd"),
    ]
    limits = [
        Limit("weather", Rate(100, 60, "100/minute")),
        Limit("spend", Rate(5_000_000, 86_400, "5.00 usd/day", currency="usd")),
        Limit("weather-token-at-once", None, at_once=3, per="token"),
    ]
    policy = ", ".join(limit.policy for limit in limits)
    assert windows(policy, limits, [Stand(False, 7, 200), Stand(True, 4_998_000, 86_400_000), Stand(True, 2, 0)]) == [
        (
            "RateLimit-Policy",
            '"weather";q=100;w=60, "spend";q=5000000;w=86400;qu="micro-usd", '
            '"weather-token-at-once";q=3;qu="concurrent-requests"',
        ),
        ("RateLimit", '"weather";r=0;t=1, "spend";r=4998000;t=86400, "weather-token-at-once";r=2'),
    ]


@pytest.mark.parametrize(
    ("accept", "mode", "html"),
    [
        ("text/html,application/xhtml+xml,*/*;q=0.8", "navigate", True),
        ("text/html", None, True),
        ("text/html", "cors", False),
        ("*/*", None, False),
        ("", "navigate", False),
        ("application/json", "navigate", False),
        ("application/json, text/html;q=0.5", None, False),
        ("text/html;q=0.9, application/json;q=0.5", None, True),
        ("text/html;q=x", None, False),
        ("TEXT/HTML ; q=1", None, True),
    ],
)
def test_who_prefers_html(accept: str, mode: str | None, html: bool) -> None:
    headers = {"Accept": accept} | ({"Sec-Fetch-Mode": mode} if mode else {})
    assert prefers_html(headers) is html


@pytest.mark.parametrize(
    ("names", "asks"),
    [
        ([], False),
        (["Host", "X-Gateway-Max-Price", "Gatewa-y", "Gateway_Cost"], False),
        (["Host", "gateway-max-price"], True),
        (["GATEWAY-Final-Event"], True),
        (["Gateway-"], True),
    ],
)
def test_only_fields_of_our_own_name_ask_us(names: list[str], asks: bool) -> None:
    assert asks_us(names) is asks
