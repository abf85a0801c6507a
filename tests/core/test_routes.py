"""The longest match wins, and no spelling of a target reaches a route that another reading of it would not."""

import re
from collections.abc import Callable
from dataclasses import replace
from urllib.parse import unquote

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from gateway.core.ledger import Tariff
from gateway.core.money import Money
from gateway.core.pricing import Price
from gateway.core.refusals import AmbiguousTarget, BadTarget, NoRoute, Refusal
from gateway.core.routes import Route, RouteTable, Server, Upstream
from gateway.core.targets import read

UPSTREAM = Upstream("api", (Server("http", "127.0.0.1", 9000),))
FREE, PAID = Price(Money.zero("usd")), Price(Money(2_000, "usd"))


def route(match: str, price: Price = PAID, *, rewrite: str | None = None) -> Route:
    return Route(match, match, UPSTREAM, price, rewrite=rewrite)


TABLE = RouteTable([route("/", FREE), route("/paid/"), route("/paid/more/"), route("/free/", FREE), route("/paid/one")])


def matched(raw: str, table: RouteTable = TABLE) -> str:
    return table.match(read(raw)).match


@pytest.mark.parametrize(
    ("raw", "match"),
    [
        ("/", "/"), ("/x", "/"), ("/paid", "/"), ("/paid/", "/paid/"), ("/paid/x", "/paid/"),
        ("/paid/one", "/paid/one"),
        ("/paid/one/", "/paid/"), ("/paid/onE", "/paid/"), ("/paid/more/", "/paid/more/"), ("/paid/more", "/paid/"),
        ("/paid/x?y=/free/", "/paid/"), ("/paid/one?x", "/paid/one"), ("/free/paid/", "/free/"), ("/PAID/x", "/"),
    ],
)  # fmt: skip
def test_the_longest_match_wins(raw: str, match: str) -> None:
    assert matched(raw) == match
    assert matched(raw, RouteTable(reversed(TABLE.routes))) == match


def test_a_path_that_no_route_names_has_none() -> None:
    table = RouteTable([route("/a/"), route("/b")])
    for raw in ("/", "/a", "/b/", "/bb", "/c"):
        with pytest.raises(NoRoute):
            matched(raw, table)


@pytest.mark.parametrize("raw", ["/-/", "/-/balance", "/.well-known/x"])
def test_no_route_reaches_an_address_of_our_own(raw: str) -> None:
    with pytest.raises(NoRoute):
        matched(raw)


@pytest.mark.parametrize(
    "raw",
    [
        "/paid%2fone", "/%70aid/x", "/%2570aid/x", "//paid/x", "/paid;x/one", "/paid%5cone", "/;x/paid/one",
        "/-%2fbalance",
        "/free;x", "/fre%65", "/%252d/balance", "//-/balance",
    ],
)  # fmt: skip
def test_a_spelling_that_could_mean_two_routes_is_refused(raw: str) -> None:
    with pytest.raises(AmbiguousTarget):
        matched(raw, RouteTable([*TABLE.routes, route("/free")]))


@pytest.mark.parametrize("raw", ["/paid/a%2fb", "/paid/a//b", "/paid/a;b=1", "/paid/caf%C3%A9", "/x%2fy", "/paid/%41"])
def test_a_spelling_that_means_one_route_in_every_reading_is_let_through(raw: str) -> None:
    assert read(raw).raw == raw
    assert matched(raw) == ("/paid/" if raw.startswith("/paid/") else "/")


# --- what servers make of a path --------------------------------------------------------------------------------------


def decode(path: str) -> str:
    return unquote(path, "latin-1")


def merge(path: str) -> str:
    return re.sub("/+", "/", path)


def slash(path: str) -> str:
    return path.replace("\\", "/")


def strip(path: str) -> str:
    return re.sub(";[^/]*", "", path)


def resolve(path: str) -> str:
    kept: list[str] = []
    for segment in path.split("/")[1:]:
        if segment == "..":
            kept = kept[:-1]
        elif segment != ".":
            kept.append(segment)
    return "/" + "/".join(kept)


SERVERS: tuple[tuple[Callable[[str], str], ...], ...] = (
    (resolve,),
    (merge, resolve),
    (decode, resolve),
    (resolve, decode),
    (decode, merge, resolve),
    (decode, slash, resolve),
    (decode, slash, merge, resolve),
    (decode, strip, resolve),
    (decode, slash, strip, merge, resolve),
    (decode, decode, resolve),
    (decode, resolve, decode),
    (decode, decode, merge, resolve),
    (decode, decode, slash, strip, merge, resolve),
    (strip, decode, resolve),
    (strip, decode, merge, resolve),
    (strip, decode, strip, decode, slash, resolve),
)
"""How servers turn a path into the thing that they serve. Written apart from the gateway's own list of readings."""


def longest(path: str) -> str | None:
    """Which match a path falls under, without the table's own code."""
    own = path.startswith(("/-/", "/.well-known/"))
    fits = [r.match for r in TABLE.routes if path == r.match or (r.match.endswith("/") and path.startswith(r.match))]
    return None if own else max(fits, key=len, default=None)


PIECES = st.sampled_from(
    ["/", "//", "paid", "free", "one", "more", "x", "%2f", "%2F", "%252f", "%5c", "%70aid", "%2570aid", "..", ".",
     "%2e", "%2e%2e", "%252e%252e", ";", ";x", "%3b", "-", "%2d", "\\", "?", "/paid/one", "/free/", "%25", "%00"],
)  # fmt: skip


@settings(max_examples=1500)
@given(pieces=st.lists(PIECES, max_size=7))
@example(["free/", "..", "/paid/one"])
@example(["free/", "%2e%2e", "/paid/one"])
@example(["free/", "..", "%2f", "paid/one"])
@example(["free/", "%252e%252e", "/paid/one"])
@example(["free", "%2f", "..", "%2f", "paid/one"])
@example(["paid/one;", "%2f", "x"])
def test_no_spelling_reaches_a_route_other_than_the_one_that_all_readings_lead_to(pieces: list[str]) -> None:
    raw = "/" + "".join(pieces)
    try:
        found = matched(raw)
    except Refusal:
        return
    for server in SERVERS:
        path = raw.partition("?")[0]
        for step in server:
            path = step(path)
        assert longest(path) == found, (raw, path)


# --- what is forwarded ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("match", "raw", "forwarded"),
    [
        ("/paid/", "/paid/x/y?z=%2e", "/x/y?z=%2e"),
        ("/paid/", "/paid/", "/"),
        ("/paid/", "/paid/?a", "/?a"),
        ("/paid/one", "/paid/one", "/"),
        ("/paid/one", "/paid/one?a=b", "/?a=b"),
        ("/", "/x", "/x"),
    ],
)
def test_a_prefix_is_stripped_if_the_route_says_so_and_nothing_else_is_touched(
    match: str, raw: str, forwarded: str
) -> None:
    target = read(raw)
    assert route(match, rewrite="/").upstream_target(target) == forwarded
    assert route(match).upstream_target(target) == raw


@given(rest=st.text("abc/%2F;.?=", max_size=12))
def test_what_is_forwarded_is_what_was_sent_less_the_prefix(rest: str) -> None:
    try:
        target = read("/paid/" + rest)
        found = TABLE.match(target)
    except (BadTarget, AmbiguousTarget):
        return
    if found.match == "/paid/":
        forwarded = replace(found, rewrite="/").upstream_target(target)
        assert forwarded.startswith("/")
        assert not forwarded.startswith("//") or target.raw.startswith("/paid//")
        assert target.raw.endswith(forwarded.removeprefix("/"))


def test_a_route_s_tariff_says_whose_it_is_and_what_it_costs() -> None:
    assert replace(route("/paid/"), owner="anna").tariff == Tariff("/paid/", "anna", 0, "0.002 usd")


def test_a_method_may_have_a_price_of_its_own_however_it_is_spelt() -> None:
    plain = route("/paid/")
    made = replace(plain, methods={"POST": replace(plain, price=FREE)})
    assert [made.for_method(method).price for method in ("POST", "post", "PoSt")] == [FREE] * 3
    assert [made.for_method(method) for method in ("GET", "POSTS", "")] == [made] * 3
    assert [one.price for one in made.variants] == [PAID, FREE]
    assert plain.for_method("POST") is plain
    assert made != plain, "a reload says that it has changed"
