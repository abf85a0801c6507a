"""One reading of a request target, or a refusal."""

import string
from urllib.parse import parse_qsl, urlencode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.refusals import BadTarget, TargetTooLong
from gateway.core.targets import TARGET_BYTES_MAX, Target, read, readings, with_query_parameter

PLAIN = string.ascii_letters + string.digits + "-._~!$&'()*+,=:@"


@pytest.mark.parametrize(
    ("raw", "path", "query"),
    [
        ("/", "/", ""),
        ("/search/cats.json", "/search/cats.json", ""),
        ("/a?b=c?d", "/a", "?b=c?d"),
        ("/a?", "/a", "?"),
        ("/caf%C3%A9", "/caf%C3%A9", ""),
        ("/a?../..", "/a", "?../.."),
        ("/a?x=%00%2e", "/a", "?x=%00%2e"),
        ("/...", "/...", ""),
        ("/.well-known/x", "/.well-known/x", ""),
        ("/a..b/..c", "/a..b/..c", ""),
        ("/a//b", "/a//b", ""),
        ("/a;b=1", "/a;b=1", ""),
    ],
)
def test_a_plain_target_is_kept_as_it_was_sent(raw: str, path: str, query: str) -> None:
    target = read(raw)
    assert (target.raw, target.path, target.query) == (raw, path, query)


@pytest.mark.parametrize(
    "raw",
    [
        "/free/../paid", "/free/./paid", "/..", "/.", "/../", "/a/..", "/free/..;/paid", "/free/..;x=1/paid",
        "/free/%2e%2e/paid", "/free/%2E./paid", "/free/.%2e/paid", "/%2e", "/free/..%2fpaid", "/free/%2e%2e%2fpaid",
        "/free/..%5cpaid", "/free/%252e%252e/paid", "/free/%252e%252e%252fpaid", "/free/..%252fpaid", "/free%2f../paid",
        "/free%2f..%2fpaid", "/free%5c..%5cpaid", "/free/%2e%2e%3b/paid", "/free/..%3bx/paid", "/free/..%253b/paid",
        "/free/%25%32%65%25%32%65/paid",
    ],
)  # fmt: skip
def test_a_dot_segment_is_refused_in_every_spelling(raw: str) -> None:
    with pytest.raises(BadTarget, match="a dot segment"):
        read(raw)


@pytest.mark.parametrize("raw", ["/a%00", "/a%0d%0aX:1", "/a%7f", "/%1f", "/a%2500", "/a%250a", "/a/%09"])
def test_an_encoded_control_character_is_refused(raw: str) -> None:
    with pytest.raises(BadTarget, match="encoded control character"):
        read(raw)


@pytest.mark.parametrize("raw", ["/a%", "/a%2", "/a%zz", "/%%41", "/a%u002e"])
def test_a_percent_that_begins_no_escape_is_refused(raw: str) -> None:
    with pytest.raises(BadTarget, match="begins no escape"):
        read(raw)


@pytest.mark.parametrize("code", [*range(0x21), *b'"#<>\\^`{|}', *range(0x7F, 0x102)])
def test_a_character_that_must_be_encoded_is_refused_in_path_and_query(code: int) -> None:
    for raw in (f"/a{chr(code)}b", f"/a?b{chr(code)}"):
        with pytest.raises(BadTarget, match="must be percent-encoded"):
            read(raw)


@pytest.mark.parametrize(
    "raw",
    ["", "*", "a", "?a", "host/a", "host:443", "\\a", "ftp://host/a", "httpx://host/", "http:/host/", "http:host"],
)
def test_a_target_of_another_form_is_refused(raw: str) -> None:
    with pytest.raises(BadTarget, match="must begin with a slash"):
        read(raw, host="host")


# --- the server as a whole, and absolute form -------------------------------------------------------------------------


def test_an_asterisk_is_for_options_alone() -> None:
    assert read("*", method="OPTIONS", host="a") == Target("*", "*")
    for raw, method in (("*", "GET"), ("*", "options"), ("**", "OPTIONS"), ("*/", "OPTIONS"), ("*?a", "OPTIONS")):
        with pytest.raises(BadTarget, match="must begin with a slash"):
            read(raw, method=method)


@pytest.mark.parametrize(
    ("raw", "host", "origin_form"),
    [
        ("http://api.example/a?b=c", "api.example", "/a?b=c"),
        ("HTTP://API.example/a", "api.EXAMPLE", "/a"),
        ("http://api.example:80/a", "api.example", "/a"),
        ("https://api.example/a", "api.example:443", "/a"),
        ("http://api.example:8402/a", "api.example:8402", "/a"),
        ("http://[::1]/a", "[::1]:80", "/a"),
        ("http://a", "a", "/"),
        ("http://a/", "a", "/"),
        ("http://a?b", "a", "/?b"),
        ("http://a?", "a", "/?"),
        ("http://a//b", "a", "//b"),
        ("http://a/http://b/", "a", "/http://b/"),
    ],
)
def test_an_absolute_form_is_brought_to_origin_form(raw: str, host: str, origin_form: str) -> None:
    assert read(raw, host=host) == read(origin_form)


def test_an_absolute_form_without_a_path_is_the_whole_server_for_options() -> None:
    assert read("http://a", method="OPTIONS", host="a") == Target("*", "*")
    assert read("http://a/", method="OPTIONS", host="a") == Target("/", "/")


@pytest.mark.parametrize(
    ("raw", "host"),
    [
        ("http://b/a", "a"), ("http://a/", ""), ("http://a:81/", "a"), ("https://a/", "a:80"), ("http://u@a/", "a"),
        ("http://u@a/", "u@a"), ("http://u:p@a/", "a"), ("http://a@b/", "a"), ("http:///a", "a"), ("http:///a", ""),
        ("http://", ""), ("http://?a", ""), ("http://a\\b/", "a"), ("http://a\\b/", "a\\b"),
        ("http://a#/", "a#"), ("http://a:/", "a"), ("http://a%2f/", "a%2f"),
    ],
)  # fmt: skip
def test_an_absolute_form_for_another_host_is_refused(raw: str, host: str) -> None:
    with pytest.raises(BadTarget, match="another host"):
        read(raw, host=host)


@pytest.mark.parametrize("rest", ["/../paid", "/%2e%2e/paid", "/a%00", "/a#b", "/a b", "/%zz", "#a"])
def test_an_absolute_form_hides_nothing(rest: str) -> None:
    with pytest.raises(BadTarget):
        read("http://a" + rest, host="a")


def test_an_absolute_form_is_as_long_as_a_target_may_be() -> None:
    read("http://a/" + "a" * (TARGET_BYTES_MAX - 9), host="a")
    with pytest.raises(TargetTooLong):
        read("http://a/" + "a" * (TARGET_BYTES_MAX - 8), host="a")


@given(rest=st.text(alphabet="/.%;2eab?#:@\\ ", max_size=16))
def test_an_absolute_form_is_accepted_exactly_when_its_rest_is(rest: str) -> None:
    assert outcome("http://a/" + rest) == outcome("/" + rest)


def outcome(raw: str) -> Target | str:
    try:
        return read(raw, host="a")
    except BadTarget as refused:
        return refused.why


# --- a credential in the query ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("raw", "result"),
    [
        ("/a", "/a?key=s"),
        ("/a?", "/a?key=s"),
        ("/a?b=c", "/a?b=c&key=s"),
        ("/a?key=x", "/a?key=s"),
        ("/a?b=%20+&&c&key=x&d=e=f?", "/a?b=%20+&&c&d=e=f?&key=s"),
        ("/a?key&key=&key=1&KEY=2&key2=3&xkey=4", "/a?KEY=2&key2=3&xkey=4&key=s"),
        ("/a?%6bey=x&%6B%65%79=y", "/a?key=s"),
        ("/a?b=1;key=x", "/a?b=1;key=x&key=s"),
        ("/a?b=1%26key=x", "/a?b=1%26key=x&key=s"),
        ("/a?key%3dx", "/a?key%3dx&key=s"),
        ("/a?%256bey=x", "/a?%256bey=x&key=s"),
        ("/a?&", "/a?&&key=s"),
        ("/key=x?b=key", "/key=x?b=key&key=s"),
        ("*", "*"),
    ],
)
def test_a_parameter_is_set_and_every_other_byte_left_alone(raw: str, result: str) -> None:
    assert with_query_parameter(raw, "key", "s") == result


def test_a_name_with_a_space_is_found_in_both_spellings() -> None:
    assert with_query_parameter("/?my+key=1&my%20key=2&my%2Bkey=3", "my key", "s") == "/?my%2Bkey=3&my%20key=s"


def test_a_name_that_is_not_ascii_is_found() -> None:
    assert with_query_parameter("/?caf%C3%A9=1&caf%E9=2&x=3", "café", "s") == "/?caf%E9=2&x=3&caf%C3%A9=s"


@given(
    name=st.text(min_size=1, max_size=6),
    value=st.text(max_size=12),
    others=st.lists(st.tuples(st.text(max_size=3), st.text(max_size=3)), max_size=4),
)
def test_a_form_reads_the_parameter_once_and_the_others_as_they_were(
    name: str, value: str, others: list[tuple[str, str]]
) -> None:
    raw = "/a?" + urlencode(others)
    set_to = with_query_parameter(raw, name, value)
    read(set_to)
    left = [pair for pair in others if pair[0] != name]
    assert parse_qsl(set_to.partition("?")[2], keep_blank_values=True) == [*left, (name, value)]


def test_a_target_is_as_long_as_it_may_be_and_no_longer() -> None:
    read("/" + "a" * (TARGET_BYTES_MAX - 1))
    with pytest.raises(TargetTooLong) as refused:
        read("/" + "a" * TARGET_BYTES_MAX)
    assert refused.value.limit_bytes == TARGET_BYTES_MAX


@pytest.mark.parametrize("path", ["/", "/a", "/a/", "/a/b.c/d~e", "/a:b@c"])
def test_a_plain_path_can_be_read_in_one_way_only(path: str) -> None:
    assert readings(path) == (path,)


@pytest.mark.parametrize(
    ("path", "other"),
    [
        ("/a%2fb", "/a/b"), ("/a%2Fb", "/a/b"), ("/a%252fb", "/a/b"), ("/a%5cb", "/a/b"), ("/a%255cb", "/a/b"),
        ("/%61", "/a"), ("/%2561", "/a"), ("/a//b", "/a/b"), ("//a", "/a"), ("/a///", "/a/"), ("/a;x", "/a"),
        ("/a;x/b;y", "/a/b"), ("/a%3bx", "/a"), ("/a%2f%2fb", "/a/b"), ("/a;x%2fb", "/a/b"),
    ],
)  # fmt: skip
def test_every_plausible_reading_of_a_path_is_listed_as_sent_first(path: str, other: str) -> None:
    found = readings(path)
    assert found[0] == path
    assert other in found


@given(segments=st.lists(st.text(PLAIN, max_size=6), max_size=5))
def test_a_target_of_plain_segments_is_refused_only_for_its_dots(segments: list[str]) -> None:
    raw = "/" + "/".join(segments)
    if {".", ".."} & set(segments):
        with pytest.raises(BadTarget):
            read(raw)
    else:
        assert read(raw).raw == raw


@given(raw=st.text(alphabet="/.%;2ef5cEF3b\\ab?#:@\x00é", max_size=24))
def test_what_passes_has_no_dot_segment_in_any_of_its_readings(raw: str) -> None:
    try:
        target = read("/" + raw)
    except BadTarget:
        return
    for reading in readings(target.path):
        segments = reading.replace("\\", "/").split("/")
        assert not {".", ".."} & {segment.partition(";")[0] for segment in segments}
        assert not any(ord(character) < 32 for character in reading)
