"""One reading of a request target, or a refusal."""

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.refusals import BadTarget, TargetTooLong
from gateway.core.targets import TARGET_BYTES_MAX, read, readings

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


@pytest.mark.parametrize("raw", ["", "*", "a", "http://host/a", "?a", "host/a", "host:443", "\\a"])
def test_a_target_of_another_form_is_refused(raw: str) -> None:
    with pytest.raises(BadTarget, match="must begin with a slash"):
        read(raw)


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
