"""Where an answer begins and ends: its interim heads, its head, its body, its trailers.

An `AnswerReader` follows the answers of one connection, one after the other. It is told of the request (a HEAD's answer
has no body, whatever its head says) and tells its `Reads` what comes, in order. Bytes that follow the end are a fault
of the server's and never somebody else's answer.
"""

import re
from typing import Protocol

from gateway.core.framing import BadFraming, ChunkedReader
from gateway.core.headers import Fields
from gateway.relay.heads import AnswerHead, Heads

_NO_BODY = (204, 304)


class Reads(Protocol):
    """Told of an answer's parts as they come."""

    def interim(self, head: AnswerHead) -> None:
        """A `1xx` other than `101`."""

    def head(self, head: AnswerHead) -> None:
        """The final head; also that of a `101`, after which everything is `switched`."""

    def body(self, data: bytes) -> None:
        """A piece of the body, without its framing."""

    def end(self, trailers: Fields) -> None:
        """The answer is whole."""

    def switched(self, data: bytes) -> None:
        """Bytes after a `101`."""


class AnswerReader:
    """Reads an answer after each `begin`. `feed` raises BadFraming for what no server may send."""

    __slots__ = (
        "_buffer",
        "_bytes_max",
        "_chunks",
        "_heads",
        "_interims",
        "_left",
        "_method",
        "_reads",
        "_state",
        "begun",
    )

    def __init__(self, heads: Heads, reads: Reads, head_bytes_max: int) -> None:
        self._heads = heads
        self._reads = reads
        self._bytes_max = head_bytes_max
        self._state = _ENDED
        self.begin("GET")
        self._state = _ENDED  # nothing was asked yet

    def let_go(self) -> None:
        """Nothing more will come: who is told of it holds us, and is held no more."""
        del self._reads

    def begin(self, method: str) -> None:
        """A request with this method goes out: its answer is next."""
        self._method = method
        self._state = _HEAD
        self._buffer = b""
        self._left = 0
        self._interims = 0
        self._chunks: ChunkedReader | None = None
        self.begun = False
        """Whether any byte has come."""

    @property
    def ended(self) -> bool:
        return self._state == _ENDED

    @property
    def switched(self) -> bool:
        """Whether a `101` has made this something else than HTTP."""
        return self._state == _SWITCHED

    def whole(self, data: bytes) -> tuple[AnswerHead, bytes] | None:
        """The head and the body of an answer that came in one piece, as most do. None: it did not, and is to be fed."""
        self.begun = True
        if self._state != _HEAD or self._buffer or self._method == "HEAD":
            return None
        end = data.find(b"\r\n\r\n") + 4
        if end < 4 or end > self._bytes_max:
            return None
        head = self._heads.answer(data[:end])
        body = head.framing
        if body.kind != "length" or body.length != len(data) - end or head.status < 200:
            return None
        self._state = _ENDED
        return head, data[end:]

    def feed(self, data: bytes) -> bytes:
        """Take what has arrived; what is left over after the end of the answer."""
        self.begun = True
        while data:
            state = self._state
            if state == _HEAD:
                data = self._feed_head(data)
            elif state == _LENGTH:
                data = self._feed_length(data)
            elif state == _CHUNKS:
                data = self._feed_chunks(data)
            elif state == _UNTIL_CLOSE:
                self._reads.body(data)
                return b""
            elif state == _SWITCHED:
                self._reads.switched(data)
                return b""
            else:
                return data
        return b""

    def closed(self) -> bool:
        """The connection ended in good order; whether that was the answer's end."""
        if self._state != _UNTIL_CLOSE:
            return False
        self._end([])
        return True

    def _feed_head(self, data: bytes) -> bytes:
        if self._buffer:
            data = self._buffer + data
        end = data.find(b"\r\n\r\n") + 4
        if end > self._bytes_max or (end < 4 and len(data) > self._bytes_max):
            raise BadFraming("its head is too large")
        if end < 4:
            if not _BEGINNING.startswith(data[: len(_BEGINNING)]):
                raise BadFraming("it is not HTTP")  # now, rather than when the rest does not come
            if _BARE_LINE_FEED.search(data):
                raise BadFraming("a line does not end with a carriage return and a line feed")
            self._buffer = data
            return b""
        self._buffer = b""
        raw = data[:end] if end < len(data) else data
        head = self._heads.answer(raw)
        if head.status < 200 and head.status != 101:
            self._interims += 1
            if self._interims > _INTERIMS_MAX:
                raise BadFraming("it has too many interim answers")
            self._reads.interim(head)
        else:
            self._begin_body(head)
        return data[end:]

    def _begin_body(self, head: AnswerHead) -> None:
        body = head.framing
        if head.status == 101:
            self._state = _SWITCHED
            self._reads.head(head)
            return
        self._reads.head(head)
        if self._method == "HEAD" or body.kind == "none":
            self._end([])
        elif body.kind == "length":
            self._left = body.length
            self._state = _LENGTH
            if not self._left:
                self._end([])
        elif body.kind == "chunked":
            self._chunks = ChunkedReader()
            self._state = _CHUNKS
        else:
            self._state = _UNTIL_CLOSE

    def _feed_length(self, data: bytes) -> bytes:
        left = self._left
        if len(data) < left:
            self._left = left - len(data)
            self._reads.body(data)
            return b""
        self._left = 0
        if len(data) == left:
            self._reads.body(data)
            self._end([])
            return b""
        self._reads.body(data[:left])
        self._end([])
        return data[left:]

    def _feed_chunks(self, data: bytes) -> bytes:
        assert self._chunks is not None
        pieces, consumed = self._chunks.feed(data)
        if pieces:
            self._reads.body(pieces[0] if len(pieces) == 1 else b"".join(pieces))
        if self._chunks.done:
            self._end(self._chunks.trailers)
            return data[consumed:]
        return b""

    def _end(self, trailers: Fields) -> None:
        self._state = _ENDED
        self._reads.end(trailers)


_HEAD, _LENGTH, _CHUNKS, _UNTIL_CLOSE, _SWITCHED, _ENDED = range(6)
_INTERIMS_MAX = 16
_BEGINNING = b"HTTP/1."
_BARE_LINE_FEED = re.compile(rb"(?<!\r)\n")
