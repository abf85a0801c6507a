"""Which authorities are names or addresses, and which are the same."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.hosts import same, valid


@pytest.mark.parametrize(
    "authority",
    [
        "a", "api.example", "API.Example", "api.example.", "a-b_c~d.e", "a..b", "127.0.0.1", "1", "a:0", "a:80",
        "a:65535", "127.0.0.1:8402", "[::1]", "[::1]:443", "[2001:db8::1]", "[::ffff:10.0.0.1]:1", "a" * 255,
        "a" * 255 + ":80", "xn--caf-dma.example",
    ],
)  # fmt: skip
def test_a_name_or_an_address_is_valid(authority: str) -> None:
    assert valid(authority)


@pytest.mark.parametrize(
    "authority",
    [
        "", ":", ":80", "a:", "a:65536", "a:99999", "a:080", "a:+1", "a:1 ", "a:x", "a:1:2", "a:b:c", "a b", " a",
        "a ", "a/b", "a\\b", "x/#@y", "u@a", "u:p@a", "a?b", "a#b", "a%41", "a,b", "a;b", "a'b", "(a)", "a*", "a!",
        '"a"', "a\x00", "a\n", "\ta", "é", "a²", "a:٥", "::1", "[::1", "::1]", "[]", "[::g]", "[::1]x", "[::1]:",
        "[::1%eth0]", "[1.2.3.4]", "[:::]", "[v1.a]", "[[::1]]", "a" * 256, "http://a",
    ],
)  # fmt: skip
def test_anything_else_is_not(authority: str) -> None:
    assert not valid(authority)


@given(st.text("ab01.-:[]/@%, \n", max_size=12))
def test_what_is_valid_holds_nothing_that_ends_an_authority(authority: str) -> None:
    if valid(authority):
        assert not set("/@%, \n") & set(authority)
        assert authority.count(":") <= 1 or authority.startswith("[")


@pytest.mark.parametrize(
    ("a", "b", "scheme", "agree"),
    [
        ("a", "a", "http", True),
        ("API.example", "api.EXAMPLE", "https", True),
        ("a:80", "a", "http", True),
        ("a", "a:443", "https", True),
        ("a:80", "a", "https", False),
        ("a:443", "a", "http", False),
        ("a:8080", "a", "http", False),
        ("a:8080", "a:8080", "http", True),
        ("a:80", "a:443", "http", False),
        ("[::1]:80", "[::1]", "http", True),
        ("[::1]", "[::2]", "http", False),
        ("a", "b", "http", False),
        ("a.b", "a", "http", False),
        ("a", "", "http", False),
        ("a:180", "a:1", "http", False),
    ],
)
def test_two_authorities_are_the_same_up_to_case_and_default_port(a: str, b: str, scheme: str, agree: bool) -> None:
    assert same(a, b, scheme) is agree
    assert same(b, a, scheme) is agree
