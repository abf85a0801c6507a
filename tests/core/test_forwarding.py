"""Where a request came from: who is believed, and how the upstream is told."""

from ipaddress import ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.forwarding import Networks, Origin, fields, origin
from gateway.core.headers import Fields

TRUSTED: Networks = (ip_network("10.0.0.0/8"), ip_network("2001:db8::/32"), ip_network("127.0.0.1"))


def seen(peer: str, *sent: tuple[str, str], trusted: Networks = TRUSTED, trust_unix: bool = False) -> Origin:
    return origin(peer, "http", "asked.example", list(sent), trusted, trust_unix=trust_unix)


def xff(*values: str) -> Fields:
    return [("X-Forwarded-For", value) for value in values]


# --- who is believed --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("peer", ["9.255.255.255", "11.0.0.0", "127.0.0.2", "2001:db9::1", "::1", "unknown", ""])
def test_a_peer_that_is_not_trusted_is_the_client_whatever_it_says(peer: str) -> None:
    said = [*xff("6.6.6.6"), ("X-Forwarded-Proto", "https"), ("X-Forwarded-Host", "evil.example")]
    assert seen(peer, *said) == Origin(peer, "http", "asked.example")


def test_nobody_is_trusted_unless_it_is_said() -> None:
    assert seen("10.0.0.1", *xff("6.6.6.6"), trusted=()) == Origin("10.0.0.1", "http", "asked.example")


@pytest.mark.parametrize("peer", ["10.0.0.0", "10.255.255.255", "127.0.0.1", "2001:db8::1", "::ffff:10.1.2.3"])
def test_a_trusted_peer_is_believed(peer: str) -> None:
    said = [*xff("6.6.6.6"), ("X-Forwarded-Proto", "https"), ("X-Forwarded-Host", "told.example:8443")]
    assert seen(peer, *said) == Origin("6.6.6.6", "https", "told.example:8443", peer)


def test_a_trusted_peer_that_says_nothing_is_the_client() -> None:
    assert seen("10.0.0.1") == Origin("10.0.0.1", "http", "asked.example")


def test_a_unix_socket_is_believed_only_if_it_is_trusted() -> None:
    assert seen("", *xff("6.6.6.6, 10.0.0.2"), trust_unix=True) == Origin(
        "6.6.6.6", "http", "asked.example", "10.0.0.2"
    )
    assert seen("", *xff("6.6.6.6"), trusted=(), trust_unix=True).address == "6.6.6.6"
    assert seen("", trust_unix=True) == Origin("", "http", "asked.example")
    assert seen("", *xff("6.6.6.6"), trust_unix=False).address == ""
    assert seen("9.9.9.9", *xff("6.6.6.6"), trust_unix=True).address == "9.9.9.9"


@pytest.mark.parametrize(
    ("values", "address", "chain"),
    [
        (["6.6.6.6"], "6.6.6.6", "10.0.0.1"),
        (["1.1.1.1, 6.6.6.6"], "6.6.6.6", "10.0.0.1"),
        (["6.6.6.6, 10.0.0.2"], "6.6.6.6", "10.0.0.2, 10.0.0.1"),
        (["1.1.1.1, 6.6.6.6,10.0.0.3 ,\t10.0.0.2"], "6.6.6.6", "10.0.0.3, 10.0.0.2, 10.0.0.1"),
        (["1.1.1.1", "6.6.6.6", "10.0.0.2"], "6.6.6.6", "10.0.0.2, 10.0.0.1"),
        (["10.0.0.3, 10.0.0.2"], "10.0.0.3", "10.0.0.2, 10.0.0.1"),
        (["unknown"], "10.0.0.1", ""),
        ([""], "10.0.0.1", ""),
        (["6.6.6.6, unknown"], "10.0.0.1", ""),
        (["6.6.6.6, "], "10.0.0.1", ""),
        (["6.6.6.6, unknown, 10.0.0.2"], "10.0.0.2", "10.0.0.1"),
        (["unknown, 6.6.6.6"], "6.6.6.6", "10.0.0.1"),
        (["6.6.6.6:1234"], "6.6.6.6", "10.0.0.1"),
        (["2001:DB9::1"], "2001:db9::1", "10.0.0.1"),
        (["[2001:db9::1]:80, [2001:db8::1]"], "2001:db9::1", "2001:db8::1, 10.0.0.1"),
        (["::ffff:6.6.6.6"], "6.6.6.6", "10.0.0.1"),
        (["6.6.6.6:x"], "10.0.0.1", ""),
        (["[2001:db9::1"], "10.0.0.1", ""),
        (["006.6.6.6"], "10.0.0.1", ""),
        (["٦.6.6.6"], "10.0.0.1", ""),
        (['"6.6.6.6"'], "10.0.0.1", ""),
        (["fe80::1%evil"], "fe80::1", "10.0.0.1"),
    ],
)
def test_the_client_is_the_first_from_the_right_that_is_not_trusted(
    values: list[str], address: str, chain: str
) -> None:
    found = seen("10.0.0.1", *xff(*values))
    assert (found.address, found.chain) == (address, chain)


@pytest.mark.parametrize("value", ["HTTPS", "ftp", "https, http", "", "https\u212a"])
def test_only_a_scheme_that_is_one_counts(value: str) -> None:
    assert seen("10.0.0.1", ("X-Forwarded-Proto", value)).scheme == "http"
    assert seen("10.0.0.1", ("x-forwarded-proto", " https ")).scheme == "https"


@pytest.mark.parametrize("value", ["a b", "a, b", "", "u@a", "a/b", 'a"'])
def test_only_a_host_that_is_one_counts(value: str) -> None:
    assert seen("10.0.0.1", ("X-Forwarded-Host", value)).host == "asked.example"


@pytest.mark.parametrize("name", ["X-Forwarded-Proto", "X-Forwarded-Host"])
def test_two_fields_of_a_name_count_as_none(name: str) -> None:
    assert seen("10.0.0.1", (name, "https"), (name, "https")) == seen("10.0.0.1")


# --- how the upstream is told -----------------------------------------------------------------------------------------


def test_an_upstream_is_told_in_both_spellings() -> None:
    assert fields(Origin("6.6.6.6", "https", "api.example")) == [
        ("X-Forwarded-For", "6.6.6.6"),
        ("X-Forwarded-Proto", "https"),
        ("X-Forwarded-Host", "api.example"),
        ("Forwarded", 'for=6.6.6.6;host="api.example";proto=https'),
        ("Via", "1.1 farebox"),
    ]


def test_the_client_comes_first_and_the_nearest_proxy_last() -> None:
    told = dict(fields(Origin("6.6.6.6", "http", "a", "10.0.0.2, 10.0.0.1")))
    assert told["X-Forwarded-For"] == "6.6.6.6, 10.0.0.2, 10.0.0.1"
    assert told["Forwarded"] == 'for=6.6.6.6;host="a";proto=http'


@pytest.mark.parametrize(
    ("address", "host", "forwarded"),
    [
        ("2001:db8::1", "", 'for="[2001:db8::1]";proto=http'),
        ("fe80::1%eth0", "", 'for="[fe80::1]";proto=http'),
        ("", "", "for=unknown;proto=http"),
        ("1.2.3.4", "[::1]:80", 'for=1.2.3.4;host="[::1]:80";proto=http'),
    ],
)
def test_forwarded_is_quoted_where_it_must_be(address: str, host: str, forwarded: str) -> None:
    told = fields(Origin(address, "http", host))
    assert ("Forwarded", forwarded) in told
    assert ("X-Forwarded-For" in dict(told)) is bool(address)
    assert ("X-Forwarded-Host" in dict(told)) is bool(host)


entries = st.sampled_from(["6.6.6.6", "10.0.0.9", "2001:db8::9", "unknown", "", "1.2.3.4:5", "x, y", '"', "\x00"])


@given(st.sampled_from(["10.0.0.1", "9.9.9.9", ""]), st.lists(entries, max_size=5), st.booleans())
def test_what_is_told_holds_only_addresses(peer: str, entries: list[str], trust_unix: bool) -> None:
    found = seen(peer, *xff(*entries), ("X-Forwarded-Host", '";evil'), trust_unix=trust_unix)
    assert all(set(part.strip()) <= set("0123456789abcdef:.") for part in f"{found.address},{found.chain}".split(","))


@given(st.lists(entries, max_size=5), st.lists(entries, max_size=5))
def test_nothing_left_of_the_client_changes_anything(right: list[str], left: list[str]) -> None:
    anchored = ["6.6.6.6", *right]
    assert seen("10.0.0.1", *xff(", ".join(anchored))) == seen("10.0.0.1", *xff(", ".join([*left, *anchored])))
