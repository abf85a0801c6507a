"""Heads, bodies and answers, read by themselves: no sockets."""

import random
from types import SimpleNamespace
from typing import Any, cast

import pytest

from gateway.core.framing import BadFraming, Framing
from gateway.core.headers import Fields
from gateway.core.refusals import BadRequest, BodyTooLarge, HeadTooLarge
from gateway.relay.bodies import RequestBody, chunked
from gateway.relay.connection import CallerConnection
from gateway.relay.heads import AnswerHead, Headers, Heads
from gateway.relay.lending import Lent
from gateway.relay.reading import AnswerReader

BLOCK = b"HTTP/1.1\r\nHost: a.example\r\n"


@pytest.fixture
def heads() -> Heads:
    return Heads(fields_max=10, head_bytes_max=1000)


# --- requests ---------------------------------------------------------------------------------------------------------


def test_a_block_is_read_into_fields_byte_by_byte(heads: Heads) -> None:
    block = heads.request(BLOCK + b'X-Odd:\t \xff\xfe  \r\nx-odd: second\r\nEmpty:\r\nCookie: a=1; b="2"; a=3\r\n')
    assert block.fault is None
    assert block.version == 11
    assert block.fields == [
        ("Host", "a.example"), ("X-Odd", "\xff\xfe"), ("x-odd", "second"), ("Empty", ""), ("Cookie", 'a=1; b="2"; a=3'),
    ]  # fmt: skip
    assert block.headers["X-ODD"] == "\xff\xfe"
    assert block.headers.get("nothing") is None
    assert block.cookies == {"a": "1", "b": "2"}


def test_equal_blocks_are_read_no_more_when_they_came_twice(heads: Heads) -> None:
    heads.request(BLOCK)
    assert heads.request(BLOCK) is heads.request(BLOCK)
    assert heads.request(BLOCK) is not heads.request(BLOCK.replace(b"Host", b"host"))


def test_a_block_that_is_refused_is_not_remembered(heads: Heads) -> None:
    """An exception that is raised many times keeps the frames of each time."""
    bad = BLOCK + b"Host: b.example\r\n"
    first, second = heads.request(bad), heads.request(bad)
    assert isinstance(first.fault, BadRequest)
    assert first is not second
    assert first.fault is not second.fault


def test_large_blocks_are_read_each_time_and_memory_is_bounded(heads: Heads) -> None:
    large = BLOCK + b"X: " + b"y" * 5000 + b"\r\n"
    assert heads.request(large) is not heads.request(large)
    for number in range(2100):
        for _ in range(2):
            heads.request(BLOCK + b"X: %d\r\n" % number)
        assert heads.kept() <= 2048


@pytest.mark.parametrize("count", [10, 11])
def test_fields_are_counted(heads: Heads, count: int) -> None:
    fault = heads.request(BLOCK + b"X: y\r\n" * (count - 1)).fault
    assert isinstance(fault, HeadTooLarge) if count > 10 else fault is None


@pytest.mark.parametrize(
    "lines",
    [
        b"X\r\n", b": x\r\n", b"X : y\r\n", b" X: y\r\n", b"X: a\rb\r\n", b"X: a\nb\r\n", b"X: a\0b\r\n",
        b"X: y\r\n z\r\n", b"X: \x7f\r\n",
        b"Host: b\r\n", b"Content-Length: 5\r\nContent-Length: 5\r\n",
        b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
        b"Content-Length: 05\r\n", b"Transfer-Encoding: gzip\r\n", b"X\xe9: y\r\n", b"X: y\n", b"\r\n", b"\r\nX: y\r\n",
        b"Content-Length: 5\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n",
    ],
)  # fmt: skip
def test_a_malformed_block_has_a_fault_and_quotes_nothing(heads: Heads, lines: bytes) -> None:
    block = heads.request(BLOCK + lines)
    assert isinstance(block.fault, BadRequest)
    assert not block.head.keep_alive
    assert "b" not in block.fault.why.split()


@pytest.mark.parametrize(
    "version", [b"HTTP/1.2", b"HTTP/2.0", b"http/1.1", b"HTTP/1.1 ", b"", b"HTTP/1.10", b"RTSP/1.0", b"ICE/1.0"]
)
def test_other_versions_have_a_fault(heads: Heads, version: bytes) -> None:
    assert isinstance(heads.request(version + b"\r\nHost: a\r\n").fault, BadRequest)


def test_whatever_llhttp_and_the_lines_read_differently_is_refused(heads: Heads) -> None:
    """Random blocks: what is accepted reads back, line by line, as the bytes that came."""
    chance = random.Random(3)
    accepted = 0
    for _ in range(5000):
        size = chance.randrange(1, 12)
        lines = b"".join(
            chance.choice((b"X", b":", b" ", b"\t", b"\r\n", b"a", b"\r", b"\n", b"\0", b"\xff", b",", b"("))
            for _ in range(size)
        )
        block = heads.request(BLOCK + lines + b"\r\n")
        if block.fault is None:
            accepted += 1
            said = [f"{name}: {value}" if value else f"{name}:" for name, value in block.fields[1:]]
            read = [line.decode("latin-1") for line in (lines + b"\r\n").split(b"\r\n")[:-1]]
            assert [text.replace(" ", "").replace("\t", "") for text in said] == [
                text.replace(" ", "").replace("\t", "") for text in read
            ]
            assert not any(control in value for _, value in block.fields for control in "\0\r\n")
    assert accepted > 10


def test_headers_are_found_in_any_case_and_the_first_counts() -> None:
    headers = Headers([("A", "1"), ("a", "2"), ("B", "3")])
    assert (headers["a"], headers["A"], headers.get("b"), dict(headers)) == ("1", "1", "3", {"a": "1", "b": "3"})
    with pytest.raises(KeyError):
        headers["c"]


# --- bodies of requests -----------------------------------------------------------------------------------------------


def test_a_body_with_a_length_ends_after_it() -> None:
    body = RequestBody(Framing("length", 5), 100)
    assert (body.feed(b"hel"), body.done, body.left) == ((b"hel", b""), False, 2)
    assert (body.feed(b"loGET /"), body.done, body.left) == ((b"lo", b"GET /"), True, 0)
    assert body.seen == 5


@pytest.mark.parametrize("framing", [Framing("none"), Framing("length", 0)])
def test_no_body_is_done_before_it_begins(framing: Framing) -> None:
    assert RequestBody(framing, 100).done


def test_chunks_are_written_anew_and_trailers_stay_here() -> None:
    body = RequestBody(Framing("chunked"), 100)
    assert body.left is None
    up, rest = body.feed(b"2;x=y\r\nhe\r\n3\r\nllo\r\n0\r\nX-Trailer: 1\r\n\r\nGET /")
    assert (up, rest, body.done, body.seen) == (b"5\r\nhello\r\n0\r\n\r\n", b"GET /", True, 5)


@pytest.mark.parametrize("size", [1, 2, 3, 7])
def test_chunks_in_pieces_are_the_same_body(size: int) -> None:
    body = RequestBody(Framing("chunked"), 100)
    said, up = b"2;x=y\r\nhe\r\n3\r\nllo\r\n0\r\nX: 1\r\n\r\n", b""
    for at in range(0, len(said), size):
        piece, rest = body.feed(said[at : at + size])
        up += piece
        assert rest == b""
    assert body.done
    again = RequestBody(Framing("chunked"), 100)
    assert again.feed(up)[1] == b""
    assert (again.done, again.seen) == (True, 5)


@pytest.mark.parametrize("count", [100, 101])
def test_chunks_are_bounded_together(count: int) -> None:
    body = RequestBody(Framing("chunked"), 100)
    said = b"1\r\nx\r\n" * count + b"0\r\n\r\n"
    if count > 100:
        with pytest.raises(BodyTooLarge):
            body.feed(said)
    else:
        assert body.feed(said)[1] == b""


def test_a_bad_chunk_is_a_bad_request_that_quotes_nothing() -> None:
    with pytest.raises(BadRequest) as caught:
        RequestBody(Framing("chunked"), 100).feed(b"secret\r\n")
    assert "secret" not in caught.value.why


def test_no_chunk_of_ours_is_the_last_by_accident() -> None:
    assert chunked([]) == chunked([b""]) == b""
    assert chunked([b"a", b"", b"bc"]) == b"3\r\nabc\r\n"


# --- answers ----------------------------------------------------------------------------------------------------------


class Told:
    """Writes down what an `AnswerReader` tells."""

    def __init__(self) -> None:
        self.events: list[Any] = []

    def interim(self, head: AnswerHead) -> None:
        self.events.append(("interim", head.status))

    def head(self, head: AnswerHead) -> None:
        self.events.append(("head", head.status))

    def body(self, data: bytes) -> None:
        if self.events and self.events[-1][0] == "body":
            data = self.events.pop()[1] + data
        self.events.append(("body", data))

    def end(self, trailers: Fields) -> None:
        self.events.append(("end", trailers))

    def switched(self, data: bytes) -> None:
        self.events.append(("switched", data))


def reader(method: str = "GET") -> tuple[AnswerReader, Told]:
    told = Told()
    made = AnswerReader(Heads(fields_max=10, head_bytes_max=1000), told, 1000)
    made.begin(method)
    return made, told


OKAY = b"HTTP/1.1 200 OK\r\n"
WHOLE: dict[str, tuple[str, bytes, list[Any]]] = {
    "length": ("GET", OKAY + b"Content-Length: 5\r\n\r\nhello", [("head", 200), ("body", b"hello"), ("end", [])]),
    "chunks": (
        "GET",
        OKAY + b"Transfer-Encoding: chunked\r\n\r\n2\r\nhe\r\n3;x\r\nllo\r\n0\r\nT: u\r\n\r\n",
        [("head", 200), ("body", b"hello"), ("end", [("T", "u")])],
    ),
    "nothing": ("GET", OKAY + b"Content-Length: 0\r\n\r\n", [("head", 200), ("end", [])]),
    "HEAD": ("HEAD", OKAY + b"Content-Length: 5\r\n\r\n", [("head", 200), ("end", [])]),
    "HEAD of chunks": ("HEAD", OKAY + b"Transfer-Encoding: chunked\r\n\r\n", [("head", 200), ("end", [])]),
    "HEAD until close": ("HEAD", OKAY + b"\r\n", [("head", 200), ("end", [])]),
    "204": ("GET", b"HTTP/1.1 204 No\r\nContent-Length: 5\r\n\r\n", [("head", 204), ("end", [])]),
    "304": ("GET", b"HTTP/1.1 304 No\r\nContent-Length: 5\r\n\r\n", [("head", 304), ("end", [])]),
    "interim": (
        "GET",
        b"HTTP/1.1 100 C\r\n\r\nHTTP/1.1 103 E\r\nX: y\r\n\r\n" + OKAY + b"Content-Length: 0\r\n\r\n",
        [("interim", 100), ("interim", 103), ("head", 200), ("end", [])],
    ),
}


@pytest.mark.parametrize("size", [1, 2, 5, 1000])
@pytest.mark.parametrize("what", WHOLE)
def test_an_answer_is_the_same_in_any_pieces_and_ends_exactly(what: str, size: int) -> None:
    method, said, expected = WHOLE[what]
    made, told = reader(method)
    left = b""
    for at in range(0, len(said), size):
        assert not made.ended
        left += made.feed(said[at : at + size])
    assert (told.events, made.ended, left) == (expected, True, b"")
    made, told = reader(method)
    assert made.feed(said + b"HTTP/1.1 200 next") == b"HTTP/1.1 200 next"
    assert told.events == expected


@pytest.mark.parametrize("what", WHOLE)
def test_no_answer_ends_before_its_last_byte(what: str) -> None:
    method, said, _ = WHOLE[what]
    for size in range(len(said)):
        made, told = reader(method)
        assert made.feed(said[:size]) == b""
        assert not made.ended
        assert not made.closed()
        assert "end" not in [event[0] for event in told.events]


def test_an_answer_without_framing_ends_with_its_connection() -> None:
    made, told = reader()
    made.feed(OKAY + b"\r\nhel")
    made.feed(b"lo")
    assert made.closed()
    assert told.events == [("head", 200), ("body", b"hello"), ("end", [])]


def test_after_a_101_everything_is_passed() -> None:
    made, told = reader()
    made.feed(b"HTTP/1.1 101 S\r\nUpgrade: x\r\nConnection: Upgrade\r\n\r\n\x00raw")
    made.feed(b"HTTP/1.1 200")
    assert told.events == [("head", 101), ("switched", b"\x00raw"), ("switched", b"HTTP/1.1 200")]
    assert not made.closed()


@pytest.mark.parametrize("lines", [b"", b"Upgrade: x\r\n", b"Connection: Upgrade\r\n"])
def test_a_101_says_what_it_switches_to(lines: bytes) -> None:
    made, _ = reader()
    with pytest.raises(BadFraming):
        made.feed(b"HTTP/1.1 101 S\r\n" + lines + b"\r\n")


def test_nothing_is_read_before_it_was_asked_for() -> None:
    told = Told()
    made = AnswerReader(Heads(fields_max=10, head_bytes_max=1000), told, 1000)
    assert made.ended
    assert made.feed(OKAY) == OKAY
    assert told.events == []


@pytest.mark.parametrize("size", [1000, 1001])
@pytest.mark.parametrize("pieces", [1, 2000])
def test_an_answers_head_is_bounded(size: int, pieces: int) -> None:
    made, told = reader()
    said = OKAY + b"X: " + b"y" * (size - len(OKAY) - 7) + b"\r\n\r\n"
    assert len(said) == size
    if size > 1000:
        with pytest.raises(BadFraming):
            [made.feed(said[at : at + pieces]) for at in range(0, size, pieces)]
    else:
        [made.feed(said[at : at + pieces]) for at in range(0, size, pieces)]
        assert told.events == [("head", 200)]


@pytest.mark.parametrize("count", [16, 17])
def test_interim_answers_are_counted(count: int) -> None:
    made, _ = reader()
    if count > 16:
        with pytest.raises(BadFraming):
            made.feed(b"HTTP/1.1 102 P\r\n\r\n" * count)
    else:
        made.feed(b"HTTP/1.1 102 P\r\n\r\n" * count)
    made.begin("GET")
    made.feed(b"HTTP/1.1 102 P\r\n\r\n" * 16)  # each answer has its own


@pytest.mark.parametrize(
    "said",
    [
        b"SSH-2.0-x", b"\r\n", b"HTTP/2", b"http/1.1 200", b"HTTP/1.1 200 OK\n", b"\x16\x03", b"HTTP/1.1 099 X\r\n\r\n",
        b"HTTP/1.1 000 X\r\n\r\n",
        b"HTTP/1.1 2000 X\r\n\r\n", b"HTTP/1.1 20 X\r\n\r\n", b"HTTP/1.2 200 X\r\n\r\n", b"HTTP/1.1 200 O\x00K\r\n\r\n",
        OKAY + b"X : y\r\n\r\n",
        OKAY + b"X: y\r\n z\r\n\r\n", OKAY + b"X: \x01\r\n\r\n",
        OKAY + b"Content-Length: 1\r\nContent-Length: 1\r\n\r\n", OKAY + b"X: y\r\n" * 11 + b"\r\n",
    ],
)  # fmt: skip
def test_nonsense_is_bad_framing_as_soon_as_it_shows(said: bytes) -> None:
    made, told = reader()
    with pytest.raises(BadFraming):
        made.feed(said)
    assert told.events == []


@pytest.mark.parametrize(
    ("lines", "kept"),
    [
        (b"", True), (b"Connection: close\r\n", False), (b"Connection: x, Close\r\n", False),
        (b"connection: keep-alive\r\nConnection: CLOSE\r\n", False),
        (b"X-Connection: close\r\n", True),
    ],
)  # fmt: skip
def test_who_says_close_is_not_asked_again(heads: Heads, lines: bytes, kept: bool) -> None:
    assert heads.answer(OKAY + lines + b"\r\n").keep_alive is kept
    assert heads.answer((OKAY + lines + b"\r\n").replace(b"HTTP/1.1", b"HTTP/1.0")).keep_alive is False


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (b"timeout=5", 5.0),
        (b"max=3, timeout=5", 5.0),
        (b"timeout=x", None),
        (b"timeout=-1", None),
        (b"timeout=9999999", None),
        (b"", None),
    ],
)
def test_how_long_a_server_keeps_a_connection(heads: Heads, value: bytes, seconds: float | None) -> None:
    assert heads.answer(OKAY + b"Keep-Alive: " + value + b"\r\n\r\n").keep_alive_seconds == seconds


def test_a_block_is_remembered_without_its_trace_and_says_that_of_the_moment(heads: Heads) -> None:
    first, second = (f"00-{digit * 32}-{digit * 16}-01" for digit in "ab")
    blocks = [BLOCK + f"TraceParent: {value}\r\n".replace("P", "p").encode() + b"X: y\r\n" for value in (first, second)]
    heads.traced(blocks[0])
    (one, theirs), (other, others) = (heads.traced(block) for block in blocks)
    assert one is other
    assert (theirs, others) == (first, second)
    lent = one.retraced(b"\r\n" + one.lines, second)
    assert lent == b"\r\n" + blocks[1].partition(b"\r\n")[2]
    heads.request(BLOCK)
    assert heads.traced(BLOCK) == (heads.request(BLOCK), None)


def test_a_request_that_is_lent_has_its_own_trace(heads: Heads) -> None:
    values = [f"00-{digit * 32}-{digit * 16}-01" for digit in "ab"]
    relay = SimpleNamespace(lend=lambda: None, heads=heads, body_bytes_max=10)
    for value in values:
        block, theirs = heads.traced(BLOCK + f"traceparent: {value}\r\n".encode())
        lent = Lent(cast(CallerConnection, SimpleNamespace(relay=relay)), "GET", "/-/wallet", block, theirs)
        assert f"\r\ntraceparent: {value}\r\n".encode() in lent._head


def test_a_block_that_is_wrong_beside_its_trace_is_refused_each_time(heads: Heads) -> None:
    bad = BLOCK + b"traceparent: 00-" + b"a" * 32 + b"-" + b"b" * 16 + b"-01\r\nHost: two\r\n"
    first, second = heads.traced(bad)[0], heads.traced(bad)[0]
    assert first is not second
    assert first.fault is not None
