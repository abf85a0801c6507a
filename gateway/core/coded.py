"""A copy of a coded body, decoded as it passes by, for reading only: what the caller gets stays as it came.

A small body may stand for a very large one, so a bound is set on what is decoded of it, and it is decoded a little at
a time. What is beyond the bound, in a coding that is not known, or no such coding at all, is unreadable.
"""

import zlib
from collections.abc import Callable, Iterator

DECODED_BYTES_MAX = 64 << 20

_PIECE_BYTES = 65_536
_GZIP = 16 + zlib.MAX_WBITS


class Unreadable(Exception):
    """It cannot be decoded, or not any further."""


class Inflated:
    """One that is, by gzip or deflate; gzip may be of several parts."""

    def __init__(self, coding: str, bytes_max: int = DECODED_BYTES_MAX) -> None:
        self._coding = coding
        self._left = bytes_max
        self._begun = b""
        self._inflate: zlib._Decompress | None = None

    def feed(self, data: bytes) -> Iterator[bytes]:
        """The next pieces. Raises Unreadable."""
        try:
            while data:
                if self._inflate is None:
                    self._begun += data
                    if self._coding == "deflate" and len(self._begun) < 2:
                        return
                    data, self._begun = self._begun, b""
                    self._inflate = zlib.decompressobj(self._window(data))
                piece = self._inflate.decompress(data, _PIECE_BYTES)
                self._left -= len(piece)
                if self._left < 0:
                    raise Unreadable
                data = self._inflate.unconsumed_tail
                if self._inflate.eof:
                    data = self._inflate.unused_data if self._coding == "gzip" else b""
                    self._inflate = None if self._coding == "gzip" else self._inflate
                if piece:
                    yield piece
        except zlib.error:
            raise Unreadable from None

    def _window(self, begun: bytes) -> int:
        """Many servers send deflate without the frame that it should have (RFC 9110, section 8.4.1.2)."""
        if self._coding == "gzip":
            return _GZIP
        return zlib.MAX_WBITS if begun[0] & 15 == 8 and int.from_bytes(begun[:2]) % 31 == 0 else -zlib.MAX_WBITS


def reader(codings: str) -> Callable[[bytes], Iterator[bytes]] | None:
    """What reads a body with this `Content-Encoding`; None for one that is as it comes. Raises Unreadable."""
    coding = codings.strip().lower()
    if coding in ("", "identity"):
        return None
    if coding in ("gzip", "x-gzip"):
        return Inflated("gzip").feed
    if coding == "deflate":
        return Inflated("deflate").feed
    raise Unreadable
