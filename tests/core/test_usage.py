"""What answers say of their own use, in the shapes that are known, however they were coded and split."""

import gzip
import json
import zlib
from collections.abc import Iterable, Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core import coded, usage
from gateway.core.usage import Reading

TOKENS = usage.sought({}, tokens=True, rows=None)
JSON, EVENTS, LINES = "application/json", "text/event-stream; charset=utf-8", "application/x-ndjson"

OPENAI = (
    b'data: {"id":"c1","choices":[{"delta":{"role":"assistant","content":""}}],"usage":null}\n\n'
    b'data: {"id":"c1","choices":[{"delta":{"content":"\\"usage\\": {\\"prompt_tokens\\": 9}"}}],"usage":null}\n\n'
    b'data: {"id":"c1","choices":[],"usage":{"prompt_tokens":1000,"completion_tokens":20,"total_tokens":1020,'
    b'"prompt_tokens_details":{"cached_tokens":600}}}\n\n'
    b"data: [DONE]\n\n"
)
RESPONSES = (
    b'event: response.created\ndata: {"type":"response.created","response":{"usage":null}}\n\n'
    b'event: response.completed\ndata: {"type":"response.completed","response":{"output":['
    b'{"usage":{"input_tokens":1}}],"usage":{"input_tokens":1000,"input_tokens_details":{"cached_tokens":600},"output_tokens":20,'
    b'"total_tokens":1020}}}\n\n'
)
ANTHROPIC = (
    b'event: message_start\ndata: {"type":"message_start","message":{"id":"m","content":[],"usage":{"input_tokens":300,'
    b'"cache_creation_input_tokens":100,"cache_read_input_tokens":600,"output_tokens":1}}}\n\n'
    b'event: ping\ndata: {"type": "ping"}\n\n'
    b'event: content_block_delta\ndata: {"type":"content_block_delta","delta":{"type":"text_delta","text":"Hi"}}\n\n'
    b'event: message_delta\ndata: {"type":"message_delta","delta":{"stop_reason":"end_turn"},'
    b'"usage":{"output_tokens":20}}\n\n'
    b'event: message_stop\ndata: {"type":"message_stop"}\n\n'
)
SAID = {"input_tokens": 400, "cached_tokens": 600, "output_tokens": 20, "total_tokens": 1020}


def read(
    pieces: Iterable[bytes],
    kind: str,
    coding: str = "",
    *,
    sought: object = TOKENS,
    separate: bool = True,
    whole: bool = True,
) -> dict[str, int]:
    reading = Reading(sought, kind, coding, separate_cached=separate)  # type: ignore[arg-type]
    for piece in pieces:
        reading.feed(piece)
    if whole:
        reading.end()
    return reading.values


def splits(body: bytes) -> Iterator[list[bytes]]:
    """All of it, each byte, and in two at each place."""
    yield [body]
    yield [body[i : i + 1] for i in range(len(body))]
    yield from ([body[:i], body[i:]] for i in range(1, len(body)))


@pytest.mark.parametrize("body", [OPENAI, RESPONSES, ANTHROPIC], ids=["openai", "responses", "anthropic"])
@pytest.mark.parametrize("ending", [b"\n", b"\r\n", b"\r"])
def test_streams_of_the_known_shapes_say_the_same_at_every_split(body: bytes, ending: bytes) -> None:
    for pieces in splits(body.replace(b"\n", ending)):
        assert read(pieces, EVENTS) == SAID, pieces


@pytest.mark.parametrize("body", [OPENAI, RESPONSES, ANTHROPIC], ids=["openai", "responses", "anthropic"])
@pytest.mark.parametrize("ending", [b"\n", b"\r\n", b"\r"])
def test_where_an_event_began_does_not_matter_if_much_follows(body: bytes, ending: bytes) -> None:
    body = body.replace(b"\n", ending)
    much = b'data: {"choices":[{"delta":{"content":"word"}}]}\n\n' * 400
    assert len(much) > usage._LONG_BYTES
    for at in range(1, len(body)):
        assert read([body[:at], body[at:] + much], EVENTS) == SAID, at


def test_without_a_price_for_cached_tokens_they_are_input() -> None:
    for body in (OPENAI, ANTHROPIC):
        assert read([body], EVENTS, separate=False)["input_tokens"] == 1000


def test_of_a_stream_that_is_cut_only_whole_events_count() -> None:
    assert read([OPENAI[: OPENAI.index(b"data: [DONE]") - 2]], EVENTS, whole=False) == {}
    begun = ANTHROPIC[: ANTHROPIC.index(b"event: message_delta")]
    assert read([begun], EVENTS, whole=False)["output_tokens"] == 1
    assert "output_tokens" not in read([begun], EVENTS)


def test_a_stream_without_usage_says_nothing() -> None:
    assert read([b'data: {"choices":[{"delta":{"content":"usage"}}]}\n\n'] * 3, EVENTS) == {}


def test_data_of_several_lines_is_one_document() -> None:
    body = b': note\ndata: {"usage":\ndata:{"prompt_tokens": 5,\r\ndata: "completion_tokens": 6}}\n\n'
    for pieces in splits(body):
        assert read(pieces, EVENTS)["total_tokens"] == 11


def test_an_event_of_any_size_is_read_without_being_kept() -> None:
    reading = Reading(TOKENS, EVENTS, "", separate_cached=True)
    reading.feed(b'data: {"response": {"text": "')
    for _ in range(100):
        reading.feed(b"x" * 100_000)
    reading.feed(b'", "usage": {"input_tokens": 1, "output_tokens": 2}}}\n\n')
    assert reading.values["total_tokens"] == 3


USED = json.dumps(
    {"usage": {"prompt_tokens": 7, "completion_tokens": 5}, "data": [1, [2], {}], "n": {"pages": 2.5}}
).encode()
CUSTOM = usage.sought({"pages": "n.pages"}, tokens=True, rows="data")


def raw_deflate(body: bytes) -> bytes:
    packed = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return packed.compress(body) + packed.flush()


@pytest.mark.parametrize(
    ("coding", "body"),
    [
        ("", USED), ("identity", USED), ("gzip", gzip.compress(USED)), ("X-Gzip", gzip.compress(USED)),
        ("gzip", gzip.compress(USED[:20]) + gzip.compress(USED[20:])), ("deflate", zlib.compress(USED)),
        ("deflate", raw_deflate(USED)),
    ],
    ids=range(7),
)  # fmt: skip
def test_coded_answers_are_read_from_a_copy(coding: str, body: bytes) -> None:
    for pieces in splits(body):
        found = read(pieces, "application/vnd.api+json", coding, sought=CUSTOM)
        assert (found["total_tokens"], found["rows"], found["pages"]) == (12, 3, 3)


@pytest.mark.parametrize(
    ("coding", "body"), [("br", USED), ("gzip", USED), ("gzip, br", USED), ("deflate", b"\xff\xff")]
)
def test_what_cannot_be_decoded_says_nothing(coding: str, body: bytes) -> None:
    assert read([body], JSON, coding) == {}


def test_what_swells_beyond_its_bound_is_unreadable() -> None:
    bomb = coded.Inflated("gzip", bytes_max=1_000_000)
    pieces = bomb.feed(gzip.compress(b"0" * 10_000_000))
    with pytest.raises(coded.Unreadable):
        assert max(map(len, pieces)) <= 0
    assert bomb._left > -65_537


@given(st.lists(st.sampled_from([b'{"n":{"pages":1}}', b"", b" ", b"[1]", b'"x"'])), st.booleans(), st.integers(1, 9))
def test_lines_are_rows_and_the_last_that_says_something_counts(lines: list[bytes], ended: bool, size: int) -> None:
    body = b"\n".join(lines) + (b"\n" if ended else b"")
    pieces = [body[i : i + size] for i in range(0, len(body), size)]
    found = read(pieces, LINES, sought=usage.sought({"pages": "n.pages"}, tokens=False, rows=""))
    assert found.pop("rows") == sum(1 for line in lines if line.strip())
    assert found == ({"pages": 1} if any(b"pages" in line for line in lines) else {})


def test_other_kinds_of_answers_say_nothing() -> None:
    assert read([USED], "text/plain") == {}
    assert read([USED], "") == {}


@pytest.mark.parametrize("key", ["größe", 'quo"ted', "plain"])
@pytest.mark.parametrize("ascii", [True, False])
def test_a_key_is_found_in_a_stream_however_it_is_written(key: str, ascii: bool) -> None:
    reading = Reading(
        usage.sought({"size": f"a.{key}"}, tokens=False, rows=None), "text/event-stream", "", separate_cached=False
    )
    event = json.dumps({"a": {key: 7}}, ensure_ascii=ascii)
    reading.feed(f"data: {{}}\n\ndata: {event}\n\ndata: {{}}\n\n".encode())
    reading.end()
    assert reading.values == {"size": 7}


@pytest.mark.parametrize("size", [1, 7, 100, 2047, 2048, 2049, 5000, 10**6])
def test_events_of_any_length_in_pieces_of_any_length_say_the_same(size: int) -> None:
    words = [json.dumps({"text": "x" * length}) for length in (1, 2000, 2040, 2048, 3000, 9000)]
    said = json.dumps({"usage": {"total_tokens": 7}, "text": "y" * 3000})
    text = "".join(f"data: {event}\n\n" for event in [*words, said, *words]).encode()
    reading = Reading(usage.sought({}, tokens=True, rows=None), "text/event-stream", "", separate_cached=False)
    for at in range(0, len(text), size):
        reading.feed(text[at : at + size])
    reading.end()
    assert reading.values == {"total_tokens": 7}


@pytest.mark.parametrize("first", ["usage", "us\\u0061ge"])
def test_a_stream_may_write_one_key_in_two_ways_and_the_last_counts(first: str) -> None:
    second = "us\\u0061ge" if first == "usage" else "usage"
    events = [
        f'data: {{"{key}":{{"prompt_tokens":{n},"completion_tokens":{n}}}}}\n\n'
        for n, key in enumerate((first, second), 1)
    ]
    between = 'data: {"choices":[{"text":"word"}]}\n\n' * 3
    assert read([(events[0] + between + between.join([events[1], ""])).encode()], EVENTS)["total_tokens"] == 4
    assert read([(between + events[0] + between).encode()], EVENTS)["total_tokens"] == 2


def test_what_looks_like_an_event_of_its_own_may_be_the_rest_of_one_or_none_at_all() -> None:
    used = b'data: {"usage":{"total_tokens":7}}\n\n'
    assert read([used], EVENTS) == {"total_tokens": 7}
    begun = b'data: {"text": "' + b"x" * 3000 + b'",\n'
    assert read([begun, used], EVENTS) == {}, "two lines of data are one document, and this is none"
    assert read([b'event: "usage"\n\n'], EVENTS) == {}
    assert read([b"data\n" + used], EVENTS) == {"total_tokens": 7}
