"""How a message is written: its length, its kind, its contents.

What comes with every request is packed; what is rare is JSON. A frame has a bound, so that a line that lost its place
ends instead of filling the memory.
"""

import json
import struct
from collections.abc import Iterable, Iterator, Mapping
from enum import IntEnum, unique
from typing import Any

FRAME_BYTES_MAX = 256 * 1024 * 1024
_HEADER = struct.Struct(">IB")
_PAIR = struct.Struct(">qq")


@unique
class Kind(IntEnum):
    """What a frame is. The first ones go from the worker to the keeper, the others the other way."""

    HELLO = 1
    DRAFT = 2
    DRAW = 3
    BACK = 4
    RECALLED = 5
    ADMIT = 6
    FORGET = 7  # both ways
    REVERSE = 8
    COUNTED = 9
    ENDED = 10
    SOME_BACK = 11
    LEAVE = 12
    WELCOME = 16
    BEGONE = 17
    LANDED = 18
    DRAWN = 19
    UNAVAILABLE = 20
    RECALL = 21
    ADMITTED = 22
    REVERSED = 23
    HAS_ENDED = 24
    CHANGED = 25
    ANYTHING_CHANGED = 26


class BrokenLine(Exception):
    """What came is no frame."""


def frame(kind: Kind, contents: bytes = b"") -> bytes:
    """One message."""
    return _HEADER.pack(len(contents), kind) + contents


def json_frame(kind: Kind, contents: object) -> bytes:
    """A message whose contents are JSON."""
    return frame(kind, json.dumps(contents, separators=(",", ":")).encode())


def pairs(values: Mapping[int, int]) -> bytes:
    """Pairs of whole numbers, packed."""
    return b"".join([_PAIR.pack(key, value) for key, value in values.items()])


def read_pairs(contents: bytes | memoryview) -> Iterable[tuple[int, int]]:
    """What `pairs` packed."""
    return _PAIR.iter_unpack(contents)


def with_json(packed: bytes, more: Any, rest: bytes = b"") -> bytes:
    """Packed contents, then something rare as JSON (nothing if there is none), then the rest."""
    text = json.dumps(more, separators=(",", ":")).encode() if more else b""
    return packed + len(text).to_bytes(4) + text + rest


def split_json(contents: bytes, start: int) -> tuple[Any, bytes]:
    """What `with_json` put after the first `start` bytes: the rare part, or None, and the rest."""
    length = int.from_bytes(contents[start : start + 4])
    begin, end = start + 4, start + 4 + length
    return json.loads(contents[begin:end]) if length else None, contents[end:]


class FrameReader:
    """Puts frames together again from what arrives."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> Iterator[tuple[int, bytes]]:
        """The frames that are whole now. Raises BrokenLine."""
        buffer = self._buffer
        buffer += data
        place = 0
        while len(buffer) - place >= _HEADER.size:
            length, kind = _HEADER.unpack_from(buffer, place)
            if length > FRAME_BYTES_MAX:
                raise BrokenLine(f"a frame of {length} bytes")
            end = place + _HEADER.size + length
            if len(buffer) < end:
                break
            yield kind, bytes(memoryview(buffer)[place + _HEADER.size : end])
            place = end
        del buffer[:place]
