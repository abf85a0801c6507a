"""Where the body of a caller's request ends, and what its bytes are on the way up.

A body with a length passes as it is. A chunked one is read strictly and written anew, a chunk for each piece that
arrived, so that an upstream never sees a chunk extension or a trailer: both have been used to smuggle requests.
"""

from gateway.core.framing import NO_BODY, BadFraming, ChunkedReader, Framing
from gateway.core.refusals import BadRequest, BodyTooLarge

LAST_CHUNK = b"0\r\n\r\n"


class RequestBody:
    """Follows one body from its first byte to its last."""

    __slots__ = ("_bytes_max", "_chunks", "_left", "done", "seen")

    def __init__(self, framing: Framing, bytes_max: int) -> None:
        self._chunks = ChunkedReader() if framing.kind == "chunked" else None
        self._left = framing.length
        self._bytes_max = bytes_max
        self.seen = 0
        self.done = framing.kind == "none" or (framing.kind == "length" and framing.length == 0)

    @property
    def left(self) -> int | None:
        """How many bytes are yet to come; None if nobody knows."""
        return None if self._chunks else self._left

    def feed(self, data: bytes) -> tuple[bytes, bytes]:
        """What of this goes up, and what belongs to the next request. Raises BadRequest, BodyTooLarge."""
        if self._chunks is not None:
            return self._feed_chunks(self._chunks, data)
        taken, rest = (data, b"") if len(data) <= self._left else (data[: self._left], data[self._left :])
        self._left -= len(taken)
        self.seen += len(taken)
        self.done = self._left == 0
        return taken, rest

    def _feed_chunks(self, chunks: ChunkedReader, data: bytes) -> tuple[bytes, bytes]:
        try:
            pieces, consumed = chunks.feed(data)
        except BadFraming:
            raise BadRequest("the body is malformed") from None
        self.seen += sum(map(len, pieces))
        if self.seen > self._bytes_max:
            raise BodyTooLarge(limit_bytes=self._bytes_max)
        self.done = chunks.done
        up = chunked(pieces)
        return (up + LAST_CHUNK if self.done else up), data[consumed:]


def chunked(pieces: list[bytes]) -> bytes:
    """These pieces as one chunk; nothing for nothing."""
    size = sum(map(len, pieces))
    return b"%x\r\n%b\r\n" % (size, b"".join(pieces)) if size else b""


NO_UPLOAD = RequestBody(NO_BODY, 0)
"""Of every request without a body: it is at its end, and nothing is fed to it."""
