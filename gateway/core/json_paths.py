"""Numbers in a JSON document, found by their paths while the document passes by in pieces.

What is kept is where we are on the way to something that is sought, and what was found: never the document, however
long it is, how deep, or where it was split. For a document that is JSON the outcome is that of parsing all of it and
looking each path up: of two equal keys the last one counts. What is no JSON ends the search; what was found stays.

A path is the names of members with dots between: `usage.total_tokens`. `rows` is the path of an array whose elements
are counted; the empty path is the document itself.
"""

import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import Any

COUNT_MAX = 10**15
"""More of anything is taken for this much."""

_ESCAPED_ASCII = re.compile(rb"\\u00")
"""A key of plain letters may be written with escapes: these begin like this, those of other letters do not."""
_KEY_BYTES_MAX = 1024
_NUMBER_BYTES_MAX = 64
_DIGITS_SHORT = len(str(COUNT_MAX))
_AT_ONCE_BYTES_MAX = 16_384
_PLAIN_KEY = re.compile(rb"[!#-\[\]-~ ]{0,%d}" % _KEY_BYTES_MAX)
_IN_STRING = re.compile(rb'["\\]')
_IN_DEAD = re.compile(rb'["{}\[\]]')
_BLANKS = " \t\n\r"
_AFTER_BLANKS = re.compile(rb"[^ \t\n\r]")
_AFTER_SCALAR = re.compile(rb'[\s,:\]}\["{]')
_NUMBER = re.compile(rb"[0-9]+(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?")


class _Place:
    """A place in the tree of paths."""

    __slots__ = ("below", "name", "rows")

    def __init__(self) -> None:
        self.below: dict[str, _Place] = {}
        self.name = ""
        self.rows = False

    def at(self, path: str) -> "_Place":
        place = self
        for part in path.split(".") if path else ():
            place = place.below.setdefault(part, _Place())
        return place

    def all(self) -> Iterable["_Place"]:
        yield self
        for place in self.below.values():
            yield from place.all()


class Sought:
    """What is looked for: made once for a price, used by every answer. Several paths may have one name."""

    def __init__(self, paths: Mapping[str, Iterable[str]], rows: str | None = None) -> None:
        self.root = _Place()
        for name, spellings in paths.items():
            for path in spellings:
                self.root.at(path).name = name
        self._rows = rows is not None
        if rows is not None:
            self.root.at(rows).rows = True
        self._names = _cover(path for spellings in paths.values() for path in spellings)
        self._signs = re.compile(b"|".join(re.escape(name) for name in self._names) or b"(?!)")

    def in_document(self, text: bytes) -> dict[str, int] | None:
        """What a document says that is here whole, by name; None if it has to be followed.

        The same as following it, in a fraction of the time. What the two might see differently is followed: what is no
        JSON, keys that come twice, rows, anything long.
        """
        if self._rows or len(text) > _AT_ONCE_BYTES_MAX:
            return None
        try:
            said = text.decode().strip(_BLANKS)
            document, end = _AT_ONCE.raw_decode(said)
        except (ValueError, RecursionError):
            return None
        if end != len(said):
            return None
        found: dict[str, int] = {}
        _look(self.root, document, found)
        return found

    def first(self, data: bytes, begin: int, end: int) -> int:
        """Where something that is sought can begin at the earliest; -1 if nothing can. A key is looked for whole.

        (`rfind` takes half the time of `find` and expressions, which quotes hold up; and of most keys there is one.)
        """
        first = -1
        for name in self._names:
            last = data.rfind(name, begin, end)
            if last >= 0:
                first = last
                if len(self._names) > 1 or data.rfind(name, begin, last) >= 0:
                    found = self._signs.search(data, begin, end)
                    first = found.start() if found else last
                break
        if data.find(b"\\", begin, end if first < 0 else first) < 0:
            return first
        escaped = _ESCAPED_ASCII.search(data, begin, end if first < 0 else first)
        return escaped.start() if escaped else first


def _look(place: _Place, value: Any, found: dict[str, int]) -> None:
    """In the order of the document: of two places with one name the later one counts."""
    if isinstance(value, dict):
        for key, inner in value.items():
            below = place.below.get(key)
            if below is not None:
                _look(below, inner, found)
    elif place.name and type(value) is int:  # `true` is none
        found[place.name] = value
    elif place.name and isinstance(value, Decimal):
        found[place.name] = whole(value)


def _once_each(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) != len(pairs):
        raise ValueError("a key comes twice")
    return made


def _counted(text: str) -> Decimal | None:
    """A number, if it could be a count."""
    return None if text[0] == "-" else Decimal(text)


def _whole(text: str) -> int | Decimal | None:
    """The same of one without a point or an exponent."""
    return int(text) if text[0] != "-" and len(text) < _DIGITS_SHORT else _counted(text)


def _refuse(text: str) -> None:
    raise ValueError(f"{text} is no JSON")


_AT_ONCE = json.JSONDecoder(
    object_pairs_hook=_once_each, parse_int=_whole, parse_float=_counted, parse_constant=_refuse
)


def _cover(paths: Iterable[str]) -> list[bytes]:
    """A few keys of which every path has one, as they are written in JSON."""
    left = [frozenset(path.split(".")) for path in paths]
    signs = []
    while left:
        names = Counter(name for path in left for name in path)
        name, _ = max(sorted(names.items()), key=lambda item: item[1])
        left = [path for path in left if name not in path]
        # What is not ASCII, or needs an escape, can be written in several ways: then everything is read.
        signs.append(b'"%b"' % name.encode() if json.dumps(name) == f'"{name}"' else b"")
    return signs


class JsonPaths:
    """Follows one document after the other; `rows` is what the present one has said so far, if anything."""

    __slots__ = (
        "_dead", "_escaped", "_found", "_frames", "_key", "_keys_next", "_next", "_scalar", "_sought",
        "_string", "broken", "rows",
    )  # fmt: skip

    def __init__(self, sought: Sought) -> None:
        self._sought = sought
        self.reset()

    def reset(self) -> None:
        """The next document begins."""
        self._found: dict[_Place, int] = {}
        self.rows: int | None = None
        self.broken = False
        self._frames: list[_Place] = []  # the containers around us, all on the way to something
        self._dead = 0  # how deep we are in one that is not
        self._next: _Place | None = self._sought.root  # where the next value stands
        self._keys_next = False
        self._key: bytearray | None = None
        self._string = False
        self._escaped = False
        self._scalar: bytearray | None = None

    @property
    def values(self) -> dict[str, int]:
        """What the present document has said so far, by name."""
        return {place.name: number for place, number in self._found.items()}

    def feed(self, data: bytes) -> None:
        at, end = 0, len(data)
        while at < end and not self.broken:
            if self._string:
                at = self._in_string(data, at)
            elif self._scalar is not None:
                at = self._in_scalar(data, at, self._scalar)
            elif found := (_IN_DEAD if self._dead else _AFTER_BLANKS).search(data, at):
                at = found.end()
                self._dead_sign(found[0]) if self._dead else self._sign(found[0])
            else:
                return

    def _in_string(self, data: bytes, at: int) -> int:
        if self._escaped:
            self._escaped = False
            self._keep(data[at : at + 1])
            return at + 1
        found = _IN_STRING.search(data, at)
        stop = found.start() if found else len(data)
        self._keep(data[at:stop])
        if found is None:
            return stop
        if found[0] == b"\\":
            self._escaped = True
            self._keep(b"\\")
        else:
            self._string = False
            if self._key is not None:
                self._named(bytes(self._key))
        return found.end()

    def _keep(self, piece: bytes) -> None:
        if self._key is not None:
            self._key += piece[: _KEY_BYTES_MAX + 1 - len(self._key)]

    def _named(self, key: bytes) -> None:
        """A key has ended: what comes next is its value."""
        self._key, self._keys_next = None, False
        try:
            if _PLAIN_KEY.fullmatch(key):
                name = key.decode()
            else:
                name = json.loads(b'"%b"' % key) if len(key) <= _KEY_BYTES_MAX else ""
        except ValueError:
            self.broken = True
            return
        self._next = self._frames[-1].below.get(name)

    def _in_scalar(self, data: bytes, at: int, scalar: bytearray) -> int:
        found = _AFTER_SCALAR.search(data, at)
        stop = found.start() if found else len(data)
        scalar += data[at : min(stop, at + _NUMBER_BYTES_MAX + 1 - len(scalar))]
        if found is not None:
            self._scalar = None
            if self._next is not None and self._next.name and _NUMBER.fullmatch(scalar):
                self._found[self._next] = whole(Decimal(scalar.decode()))
            self._next = None
        return stop

    def _dead_sign(self, sign: bytes) -> None:
        if sign == b'"':
            self._string = True
        else:
            self._dead += 1 if sign in b"{[" else -1

    def _sign(self, sign: bytes) -> None:
        """The first sign of a value, or one of those that stand between values."""
        if sign in b"}]":
            self._close()
        elif sign == b",":
            is_object = bool(self._frames) and not self._in_rows
            self._next, self._keys_next = None, is_object
            self.broken = not self._frames
        elif sign == b":":
            self.broken = not self._frames or self._keys_next
        elif sign == b'"' and self._keys_next:
            self._string, self._key = True, bytearray()
        else:
            self._begin(sign)

    @property
    def _in_rows(self) -> bool:
        return bool(self._frames) and self._frames[-1] is _ROWS

    def _begin(self, sign: bytes) -> None:
        """A value begins."""
        if self._in_rows and self.rows is not None:
            self.rows = min(self.rows + 1, COUNT_MAX)
        place = self._next
        if place is not None:
            self._forget(place)
        if sign == b'"':
            self._string, self._next = True, None
        elif sign == b"{" and place is not None and place.below:
            self._frames.append(place)
            self._keys_next, self._next = True, None
        elif sign == b"[" and place is not None and place.rows:
            self._frames.append(_ROWS)
            self.rows, self._next = 0, None
        elif sign in b"{[":
            self._dead, self._next = 1, None
        else:
            self._scalar = bytearray(sign)

    def _forget(self, place: _Place) -> None:
        """Something stands there anew: what was found there and below it is no more."""
        if not self._found and self.rows is None:
            return
        for each in place.all():
            self._found.pop(each, None)
            if each.rows:
                self.rows = None

    def _close(self) -> None:
        if not self._frames:
            self.broken = True
            return
        self._frames.pop()
        self._keys_next, self._next = False, None


_ROWS = _Place()


def whole(number: Decimal) -> int:
    """A count as a whole number: begun ones count, and none is more than `COUNT_MAX`."""
    if not number:
        return 0
    if number.adjusted() >= 15:
        return COUNT_MAX
    return 1 if number.adjusted() < 0 else int(number) + (number != int(number))
