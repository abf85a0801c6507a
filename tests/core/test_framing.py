"""Where a message ends: what is accepted, what just outside of it is not, and what llhttp says to all that."""

import re
from itertools import pairwise

import pytest
from httptools import HttpParserError, HttpRequestParser
from hypothesis import example, given, settings
from hypothesis import strategies as st

from gateway.core.framing import NO_BODY, BadFraming, ChunkedReader, Framing, answer_framing, request_framing
from gateway.core.headers import Fields
from gateway.core.refusals import BadRequest

CHUNKED = ("Transfer-Encoding", "chunked")


def length(value: str) -> tuple[str, str]:
    return ("Content-Length", value)


# --- requests ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "framing"),
    [
        ([], NO_BODY),
        ([("X-Content-Length", "5")], NO_BODY),
        ([length("0")], Framing("length", 0)),
        ([length("5")], Framing("length", 5)),
        ([("content-LENGTH", "10")], Framing("length", 10)),
        ([length(" 5\t")], Framing("length", 5)),
        ([length("9" * 18)], Framing("length", 10**18 - 1)),
        ([CHUNKED], Framing("chunked")),
        ([("transfer-encoding", "\t ChunKED ")], Framing("chunked")),
    ],
)
def test_a_request_is_framed_in_one_way(fields: Fields, framing: Framing) -> None:
    assert request_framing(11, fields) == framing


@pytest.mark.parametrize(
    "value",
    [
        "", "005", "00", "+5", "-5", "5,5", "5, 5", "5 5", "0x5", "5.0", "1e2", "1_0", "٥", "²", "5\x0b", "5\xa0",
        "9" * 19, "18446744073709551621",
    ],
)  # fmt: skip
def test_a_length_that_is_not_a_plain_number_is_refused(value: str) -> None:
    with pytest.raises(BadRequest, match="Content-Length is not a plain number"):
        request_framing(11, [length(value)])


@pytest.mark.parametrize("second", ["5", "6", "", "x"])
def test_a_second_length_is_refused_even_if_it_is_equal(second: str) -> None:
    with pytest.raises(BadRequest, match="more than one Content-Length"):
        request_framing(11, [length("5"), ("X", "y"), ("content-length", second)])


@pytest.mark.parametrize(
    "value",
    [
        "", "gzip", "gzip, chunked", "chunked, chunked", "chunked,", ",chunked", "identity", "chunked;q=1", "xchunked",
        "chun\u212aed", "chunked\x0b", "\xa0chunked", "chunked\n", '"chunked"',
    ],
)  # fmt: skip
def test_a_coding_that_is_not_exactly_chunked_is_refused(value: str) -> None:
    with pytest.raises(BadRequest, match="not exactly chunked"):
        request_framing(11, [("Transfer-Encoding", value)])


def test_a_second_coding_is_refused_even_if_it_is_equal() -> None:
    with pytest.raises(BadRequest, match="not exactly chunked"):
        request_framing(11, [CHUNKED, CHUNKED])


def test_a_length_and_a_coding_are_refused_together() -> None:
    for fields in ([length("5"), CHUNKED], [CHUNKED, length("5")], [CHUNKED, length("x")]):
        with pytest.raises(BadRequest, match="both a Content-Length and a Transfer-Encoding"):
            request_framing(11, fields)


def test_http_1_0_has_lengths_and_no_codings() -> None:
    assert request_framing(10, [length("5")]) == Framing("length", 5)
    with pytest.raises(BadRequest, match=r"HTTP/1\.0 has no"):
        request_framing(10, [CHUNKED])


# --- answers ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "status", "fields", "framing"),
    [
        ("GET", 200, [], Framing("until_close")),
        ("GET", 200, [length("5")], Framing("length", 5)),
        ("GET", 200, [length("0")], Framing("length", 0)),
        ("GET", 200, [CHUNKED], Framing("chunked")),
        ("GET", 199, [], NO_BODY),
        ("GET", 100, [length("5")], NO_BODY),
        ("GET", 101, [CHUNKED], NO_BODY),
        ("GET", 204, [length("5")], NO_BODY),
        ("GET", 205, [length("5")], Framing("length", 5)),
        ("GET", 304, [length("5")], NO_BODY),
        ("GET", 304, [("Transfer-Encoding", "gzip")], NO_BODY),
        ("GET", 303, [length("5")], Framing("length", 5)),
        ("HEAD", 200, [length("5")], NO_BODY),
        ("HEAD", 200, [CHUNKED], NO_BODY),
        ("HEAD", 200, [], NO_BODY),
        ("head", 200, [length("5")], Framing("length", 5)),
    ],
)
def test_an_answer_is_framed_in_one_way(method: str, status: int, fields: Fields, framing: Framing) -> None:
    assert answer_framing(method, status, 11, fields) == framing


@pytest.mark.parametrize(("method", "status"), [("GET", 200), ("HEAD", 200), ("GET", 100), ("GET", 204), ("GET", 304)])
@pytest.mark.parametrize("fields", [[length("x")], [length("5"), length("5")], [length("5"), CHUNKED], [length("")]])
def test_lengths_that_contradict_are_bad_even_where_there_is_no_body(method: str, status: int, fields: Fields) -> None:
    with pytest.raises(BadFraming):
        answer_framing(method, status, 11, fields)


def test_an_answer_of_http_1_0_has_no_codings() -> None:
    assert answer_framing("GET", 200, 10, []) == Framing("until_close")
    with pytest.raises(BadFraming):
        answer_framing("GET", 200, 10, [CHUNKED])


@pytest.mark.parametrize("value", ["gzip, chunked", "identity", "chunked, chunked", ""])
def test_an_answers_coding_is_exactly_chunked(value: str) -> None:
    with pytest.raises(BadFraming):
        answer_framing("GET", 200, 11, [("Transfer-Encoding", value)])


@given(st.lists(st.tuples(st.sampled_from(("Content-Length", "transfer-encoding")), st.text(max_size=8))))
def test_why_a_framing_is_bad_says_nothing_of_what_was_sent(fields: Fields) -> None:
    why = None
    try:
        answer_framing("GET", 200, 11, fields)
    except BadFraming as bad:
        why = bad.why
    if why is not None:
        assert re.fullmatch("[A-Za-z0-9/.' -]+", why)
        with pytest.raises(BadRequest, match=f"^{re.escape(why)}$"):
            request_framing(11, fields)


@pytest.mark.parametrize(
    ("framing", "has_body"),
    [
        (NO_BODY, False),
        (Framing("length", 0), False),
        (Framing("length", 1), True),
        (Framing("chunked"), True),
        (Framing("until_close"), True),
    ],
)
def test_which_framings_let_a_byte_follow(framing: Framing, has_body: bool) -> None:
    assert framing.has_body is has_body


# --- chunks -----------------------------------------------------------------------------------------------------------


def read(data: bytes, **bounds: int) -> tuple[bytes, Fields, int]:
    """The payload, the trailers, and how many bytes belong to the message."""
    reader = ChunkedReader(**bounds)
    pieces, consumed = reader.feed(data)
    assert reader.done, "the message is not at its end"
    return b"".join(pieces), reader.trailers, consumed


@pytest.mark.parametrize(
    ("data", "payload"),
    [
        (b"0\r\n\r\n", b""),
        (b"000\r\n\r\n", b""),
        (b"5\r\nhello\r\n0\r\n\r\n", b"hello"),
        (b"5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n", b"hello world"),
        (b"a\r\n0123456789\r\nA\r\n0123456789\r\n0\r\n\r\n", b"0123456789" * 2),
        (b"000000000000002\r\n\r\n\r\n0\r\n\r\n", b"\r\n"),
        (b"1;a\r\nx\r\n0;b=c;d\r\n\r\n", b"x"),
        (b'1;a="b; \t\\"c"\r\nx\r\n0\r\n\r\n', b"x"),
        (b"1;chunk-signature=ad80c730\r\nx\r\n0;chunk-signature=b6c6\r\n\r\n", b"x"),
    ],
)
def test_a_chunked_body_is_read(data: bytes, payload: bytes) -> None:
    assert read(data) == (payload, [], len(data))


@pytest.mark.parametrize(
    "data",
    [
        b"\r\n", b"x\r\n", b"5\nhello\r\n0\r\n\r\n", b"5\rhello", b"5\r\r\nhello", b" 5\r\nhello", b"5 \r\nhello",
        b"+5\r\nhello", b"-5\r\n", b"0x5\r\nhello", b"5_0\r\n", b"5.\r\n", b"0000000000000005\r\nhello", b"g\r\n",
        b"5\r\nhello\n0\r\n\r\n", b"5\r\nhello0\r\n\r\n", b"5\r\nhello\rx", b"5\r\nhello\r\r\n", b"5\r\nhello!\r\n",
        b"5;\r\nhello", b"5; a\r\nhello", b"5 ;a\r\nhello", b"5;a\x00\r\nhello", b"5;a\rb\r\nhello", b"5;a\nb\r\nhello",
        b"5;a=\xff\r\nhello", b'5;a="\x7f"\r\nhello', b'5;a="b"c\r\nhello', b'5;a="b\r\nhello', b"5,a\r\nhello",
        b"0\r\n\n", b"0\r\n\r\r\n", b"0\n\r\n", b"0\r\nA: b\n\r\n", b"0\r\nA\r\n\r\n", b"0\r\nA : b\r\n\r\n",
        b"0\r\n: b\r\n\r\n", b"0\r\nA: b\r\n c\r\n\r\n", b"0\r\n A: b\r\n\r\n", b"0\r\nA: \x00\r\n\r\n",
        b"0\r\nA: b\rc\r\n\r\n", b"0\r\nA: \x7f\r\n\r\n", b"0\r\nA\xe4: b\r\n\r\n", b"0\r\nContent-Length: 5\r\n\r\n",
        b"0\r\ntransfer-encoding: chunked\r\n\r\n",
    ],
)  # fmt: skip
def test_a_chunked_body_that_is_not_by_the_letter_is_bad(data: bytes) -> None:
    for cut in range(len(data) + 1):
        assert outcome([data[:cut], data[cut:]]) == "bad"


def test_what_follows_the_message_is_not_consumed() -> None:
    reader = ChunkedReader()
    assert reader.feed(b"2\r\nhi\r\n0\r\n\r\nGET / HTTP/1.1\r\n") == ([b"hi"], 12)
    assert reader.done
    assert reader.feed(b"GET / HTTP/1.1\r\n") == ([], 0)


def test_trailers_are_kept_in_order_and_spelling() -> None:
    data = b"0\r\nX-B: 1\r\nx-b:  a b\t \r\nEmpty:\r\nTab: a\tb\r\nHigh: \xe4\r\n\r\n"
    assert read(data) == (b"", [("X-B", "1"), ("x-b", "a b"), ("Empty", ""), ("Tab", "a\tb"), ("High", "ä")], len(data))


def test_extensions_are_as_long_as_they_may_be_and_no_longer() -> None:
    def extended(size: int) -> bytes:
        return b"0;" + b"a" * (size - 1) + b"\r\n\r\n"

    read(extended(20), extension_bytes_max=20)
    read(b"0" * 15 + extended(20)[1:], extension_bytes_max=20)
    for data in (extended(21), extended(60), b"0;" + b"a" * 60):
        for step in (1, len(data)):
            assert outcome(pieces_of(data, step), extension_bytes_max=20) == "bad"


def test_trailers_are_together_as_long_as_they_may_be_and_no_longer() -> None:
    two = b"A: 3456\r\nB: 3456\r\n"
    read(b"0\r\n" + two + b"\r\n", trailer_bytes_max=18)
    read(b"0\r\n\r\n", trailer_bytes_max=0)
    for data in (two + b"\r\n", two, b"A: " + b"x" * 40, b"A: 3\r\n" * 3):
        for step in (1, len(data)):
            assert outcome(pieces_of(b"0\r\n" + data, step), trailer_bytes_max=17) == "bad"


def test_a_large_piece_is_passed_on_as_it_came() -> None:
    reader = ChunkedReader()
    reader.feed(b"100000\r\n")
    piece = b"x" * 0x10000
    for _ in range(16):
        [found], consumed = reader.feed(piece)
        assert found is piece
        assert consumed == len(piece)
    assert reader.feed(b"\r\n0\r\n\r\n") == ([], 7)


# --- any bytes at all -------------------------------------------------------------------------------------------------

tokens = st.text("abcXYZ09!-_~", min_size=1, max_size=6).map(str.encode)
quoted = st.lists(st.sampled_from([b"a", b" ", b"\t", b";", b"=", b'\\"', b"\\\\", b"\\a"]), max_size=5).map(
    lambda parts: b'"' + b"".join(parts) + b'"'
)
extensions = st.lists(
    st.tuples(tokens, st.one_of(st.just(b""), tokens.map(b"=".__add__), quoted.map(b"=".__add__))), max_size=2
).map(lambda pairs: b"".join(b";" + name + value for name, value in pairs))
sizes = st.sampled_from([b"%x", b"%X", b"0%x"])
trailers = st.lists(
    st.tuples(st.sampled_from(["X-Sum", "a", "Server-Timing", "!"]), st.text("abc :\t;,=", max_size=8)), max_size=3
)


@st.composite
def encoded(draw: st.DrawFn) -> tuple[bytes, bytes, Fields]:
    """A chunked body, its payload and its trailers."""
    body, payload = b"", b""
    for chunk in draw(st.lists(st.binary(min_size=1, max_size=40), max_size=4)):
        body += draw(sizes) % len(chunk) + draw(extensions) + b"\r\n" + chunk + b"\r\n"
        payload += chunk
    body += b"0" + draw(extensions) + b"\r\n"
    said = draw(trailers)
    for name, value in said:
        body += f"{name}: {value}\r\n".encode()
    return body + b"\r\n", payload, [(name, value.strip(" \t")) for name, value in said]


nearly = st.one_of(
    encoded().map(lambda made: made[0]),
    st.text("05aF;=\"\\ \t\r\nxX:-", max_size=30).map(str.encode),
    st.builds(
        lambda made, at, junk: made[0][: at % len(made[0])] + junk + made[0][at % len(made[0]) + 1 :],
        encoded(), st.integers(0, 200), st.sampled_from([b"", b"\r", b"\n", b"\r\n", b" ", b"0", b";", b"\x00", b":"]),
    ),
)  # fmt: skip


@given(encoded(), st.binary(max_size=10))
def test_what_was_encoded_is_decoded_and_nothing_more_is_taken(
    made: tuple[bytes, bytes, Fields], following: bytes
) -> None:
    body, payload, said = made
    assert read(body + following) == (payload, said, len(body))


@given(nearly, st.lists(st.integers(0, 200), max_size=8))
def test_any_cut_of_the_bytes_gives_the_same_result(data: bytes, cuts: list[int]) -> None:
    bounds = sorted({0, len(data), *(cut % (len(data) + 1) for cut in cuts)})
    outcomes = [outcome([data]), outcome([data[a:b] for a, b in pairwise(bounds)])]
    outcomes.append(outcome(pieces_of(data, 1)))
    assert outcomes[0] == outcomes[1] == outcomes[2]


def pieces_of(data: bytes, size: int) -> list[bytes]:
    return [data[at : at + size] for at in range(0, len(data), size)]


def outcome(parts: list[bytes], **bounds: int) -> tuple[bytes, int, bool, Fields] | str:
    """What the reader makes of these parts: payload, bytes consumed, whether it is done, trailers; or "bad"."""
    reader, payload, total = ChunkedReader(**bounds), b"", 0
    try:
        for part in parts:
            pieces, consumed = reader.feed(part)
            assert consumed == len(part) or reader.done
            payload, total = payload + b"".join(pieces), total + consumed
    except BadFraming:
        return "bad"
    return payload, total, reader.done, reader.trailers


class Heard:
    """What llhttp tells of a message."""

    def __init__(self) -> None:
        self.payload = b""
        self.fields: Fields = []
        self.complete = False

    def on_body(self, piece: bytes) -> None:
        self.payload += piece

    def on_header(self, name: bytes, value: bytes) -> None:
        self.fields.append((name.decode("latin-1"), value.decode("latin-1").strip(" \t")))

    def on_message_complete(self) -> None:
        self.complete = True


def heard(data: bytes) -> Heard:
    """llhttp's opinion on a chunked body. Raises HttpParserError."""
    told = Heard()
    HttpRequestParser(told).feed_data(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n" + data)
    return told


@given(nearly)
@settings(max_examples=400)
@example(b'1;a="\\\\"\r\nx\r\n0\r\n\r\n')
@example(b"0\r\nX: \xff\r\n\r\n")
def test_what_we_accept_llhttp_accepts_and_reads_the_same(data: bytes) -> None:
    found = outcome([data])
    if isinstance(found, str) or not found[2]:
        return
    payload, total, _, said = found
    told = heard(data[:total])
    assert told.complete
    assert (told.payload, told.fields[2:]) == (payload, said)


@pytest.mark.parametrize(
    "data", [b"5\nhello\r\n0\r\n\r\n", b"5 \r\nhello\r\n0\r\n\r\n", b"0\r\nContent-Length: 1\r\n\r\n"]
)
def test_llhttp_as_an_oracle_does_refuse_something(data: bytes) -> None:
    with pytest.raises(HttpParserError):
        heard(data)
