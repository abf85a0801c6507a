"""Where a message ends: one reading of `Content-Length` and `Transfer-Encoding`, or none.

Two programs that disagree about the end of a message read somebody's body as the next request (smuggling). So nothing
here is lenient: one `Content-Length` that is a plain number, or one `Transfer-Encoding` that is exactly `chunked`, or
neither. What RFC 9112 (section 6.3) lets a recipient repair, such as equal lengths sent twice, is refused instead.

A chunked body is read by the letter too (section 7.1): `CRLF` and nothing else ends a line, there is no space around
the size, extensions follow their grammar and are thrown away, and every line is bounded. Trailers that would frame the
message anew are refused.
"""

import re
from dataclasses import dataclass
from typing import Literal

from gateway.core.headers import Fields
from gateway.core.refusals import BadRequest

_LENGTH = re.compile(r"0|[1-9][0-9]{0,17}")
_CHUNKED = re.compile(r"[ \t]*chunked[ \t]*", re.IGNORECASE | re.ASCII)

_TOKEN = rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_QUOTED = rb'"(?:[\t \x21\x23-\x5b\x5d-\x7e]|\\[\t \x21-\x7e])*"'
_EXTENSIONS = rb"(?:;%b(?:=(?:%b|%b))?)*" % (_TOKEN, _TOKEN, _QUOTED)
_PLAIN_SIZE = re.compile(rb"([0-9A-Fa-f]{1,15})\r\n")
_SIZE_LINE = re.compile(rb"([0-9A-Fa-f]{1,15})(%b)\r\n" % _EXTENSIONS)
_SIZE_BEGUN = re.compile(rb"[0-9A-Fa-f]{1,15}(?:;[\t\x20-\x7e]*)?\r?|")
_TRAILER_LINE = re.compile(rb"(%b):[ \t]*([\t \x21-\x7e\x80-\xff]*)\r\n" % _TOKEN)
_NEVER_TRAILERS = frozenset(("content-length", "transfer-encoding"))
_SIZE_BYTES_MAX = 15
_CRLF = b"\r\n"


class BadFraming(Exception):
    """Where the message ends cannot be told for certain. `why` holds nothing that was sent."""

    def __init__(self, why: str) -> None:
        super().__init__(why)
        self.why = why


@dataclass(frozen=True, slots=True)
class Framing:
    """How the end of a body is known. `length` is that of kind "length"."""

    kind: Literal["none", "length", "chunked", "until_close"]
    length: int = 0

    @property
    def has_body(self) -> bool:
        """Whether a byte may follow the head."""
        return self.length > 0 or self.kind in ("chunked", "until_close")


NO_BODY = Framing("none")
_CHUNKS = Framing("chunked")
_UNTIL_CLOSE = Framing("until_close")


def request_framing(version: int, fields: Fields) -> Framing:
    """How a request of HTTP/1.0 (10) or HTTP/1.1 (11) is framed. Raises BadRequest."""
    try:
        lengths, codings = _said(fields)
        return _framing(version, lengths, codings) or NO_BODY
    except BadFraming as bad:
        raise BadRequest(bad.why) from None


def answer_framing(method: str, status: int, version: int, fields: Fields) -> Framing:
    """How the answer to a request is framed. Raises BadFraming.

    An answer to HEAD, a 1xx, a 204 and a 304 have no body, whatever they say about one.
    """
    lengths, codings = _said(fields)
    if method == "HEAD" or status < 200 or status in (204, 304):
        if lengths:
            _framing(version, lengths, codings)
        return NO_BODY
    return _framing(version, lengths, codings) or _UNTIL_CLOSE


def _said(fields: Fields) -> tuple[list[str], list[str]]:
    """What `Content-Length` and `Transfer-Encoding` say, each as often as it was sent."""
    lengths: list[str] = []
    codings: list[str] = []
    for name, value in fields:
        lower = name.lower()
        if lower == "content-length":
            lengths.append(value.strip(" \t"))
        elif lower == "transfer-encoding":
            codings.append(value)
    return lengths, codings


def _framing(version: int, lengths: list[str], codings: list[str]) -> Framing | None:
    if lengths and codings:
        raise BadFraming("it has both a Content-Length and a Transfer-Encoding")
    if codings:
        if version != 11:
            raise BadFraming("HTTP/1.0 has no Transfer-Encoding")
        if len(codings) > 1 or not _CHUNKED.fullmatch(codings[0]):
            raise BadFraming("its Transfer-Encoding is not exactly chunked")
        return _CHUNKS
    if len(lengths) > 1:
        raise BadFraming("it has more than one Content-Length")
    if lengths:
        if not _LENGTH.fullmatch(lengths[0]):
            raise BadFraming("its Content-Length is not a plain number")
        return Framing("length", int(lengths[0]))
    return None


class ChunkedReader:
    """Reads a chunked body strictly, from pieces cut anywhere (RFC 9112, section 7.1)."""

    __slots__ = (
        "_crlf_seen",
        "_extension_bytes_max",
        "_line",
        "_remaining",
        "_state",
        "_trailer_bytes_left",
        "trailers",
    )

    def __init__(self, *, trailer_bytes_max: int = 16_384, extension_bytes_max: int = 256) -> None:
        self.trailers: Fields = []
        self._extension_bytes_max = extension_bytes_max
        self._trailer_bytes_left = trailer_bytes_max
        self._state: Literal["size", "data", "data_end", "trailers", "done"] = "size"
        self._line = b""  # the part of a line that has come
        self._remaining = 0  # of the chunk's data
        self._crlf_seen = 0  # bytes of the CRLF after a chunk's data

    @property
    def done(self) -> bool:
        """Whether the last CRLF of the message was read."""
        return self._state == "done"

    def feed(self, data: bytes) -> tuple[list[bytes], int]:
        """The pieces of payload in `data`, and how many of its bytes were consumed. Raises BadFraming.

        Fewer than all are consumed only at the end of the message: what follows is the next one.
        """
        pieces: list[bytes] = []
        at, size = 0, len(data)
        while at < size and self._state != "done":
            if self._state == "data":
                piece = data[at : at + self._remaining]
                pieces.append(piece)
                at += len(piece)
                self._remaining -= len(piece)
                if not self._remaining:
                    self._state = "data_end"
            elif self._state == "data_end":
                at = self._read_data_end(data, at)
            elif self._state == "size":
                at = self._read_whole_chunks(data, at, pieces) if not self._line else at
                if at < size:
                    at = self._read_size(data, at)
            else:
                at = self._read_trailer(data, at)
        return pieces, at

    def _read_whole_chunks(self, data: bytes, at: int, pieces: list[bytes]) -> int:
        """Take the chunks that are there from size to end and have no extension, as nearly all are; where they end."""
        while found := _PLAIN_SIZE.match(data, at):
            begin = found.end()
            end = begin + int(found[1], 16)
            if end == begin or data[end : end + 2] != _CRLF:
                break
            pieces.append(data[begin:end])
            at = end + 2
        return at

    def _read_data_end(self, data: bytes, at: int) -> int:
        expected = _CRLF[self._crlf_seen :]
        found = data[at : at + len(expected)]
        if not expected.startswith(found):
            raise BadFraming("a chunk is longer than its size")
        self._crlf_seen += len(found)
        if self._crlf_seen == len(_CRLF):
            self._crlf_seen = 0
            self._state = "size"
        return at + len(found)

    def _read_size(self, data: bytes, at: int) -> int:
        line, at = self._read_line(data, at, _SIZE_BYTES_MAX + self._extension_bytes_max + len(_CRLF))
        if line:
            found = _SIZE_LINE.fullmatch(line)
            if not found or len(found[2]) > self._extension_bytes_max:
                raise BadFraming("a chunk does not begin with its size")
            self._remaining = int(found[1], 16)
            self._state = "data" if self._remaining else "trailers"
        elif not _SIZE_BEGUN.fullmatch(self._line):  # now, rather than when the rest does not come
            raise BadFraming("a chunk does not begin with its size")
        return at

    def _read_trailer(self, data: bytes, at: int) -> int:
        line, at = self._read_line(data, at, self._trailer_bytes_left + len(_CRLF))
        if line == _CRLF:
            self._state = "done"
        elif line:
            self._trailer_bytes_left -= len(line)
            found = _TRAILER_LINE.fullmatch(line)
            if not found or self._trailer_bytes_left < 0:
                raise BadFraming("a trailer is malformed or too long")
            name, value = found[1].decode("latin-1"), found[2].decode("latin-1")
            if name.lower() in _NEVER_TRAILERS:
                raise BadFraming("a trailer frames the message anew")
            self.trailers.append((name, value.rstrip(" \t")))
        elif b"\r" in self._line[:-1]:
            raise BadFraming("a trailer is malformed or too long")
        return at

    def _read_line(self, data: bytes, at: int, bytes_max: int) -> tuple[bytes, int]:
        """The line with its end if all of it has come, else nothing; and where `data` goes on."""
        end = data.find(b"\n", at, at + bytes_max) + 1
        line = self._line + data[at : end or at + bytes_max + 1]
        if len(line) > bytes_max:
            raise BadFraming("a line of the chunked body is too long")
        if end:
            self._line = b""
            return line, end
        self._line = line
        return b"", len(data)
