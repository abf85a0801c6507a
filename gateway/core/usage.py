"""What an answer says of its own use: tokens, rows, and any number in it, read from a copy as it passes by.

A JSON document is searched for its members, a stream of server-sent events in the data of each event, and lines of
JSON in each line; of what several events or lines say, the last counts, since such numbers are running totals. An
event that was cut off says nothing. The shapes of OpenAI's and Anthropic's answers are known by themselves:

    input_tokens    what was put in, less what came from a cache if `cached_tokens` have a price of their own
    cached_tokens   what of it was read from a cache
    output_tokens   what came out
    total_tokens    both, or what the answer says they are together
"""

import re
from collections.abc import Callable, Iterator, Mapping

from gateway.core import coded
from gateway.core.coded import Unreadable
from gateway.core.json_paths import COUNT_MAX, JsonPaths, Sought

TOKENS = ("input_tokens", "cached_tokens", "output_tokens", "total_tokens")
ROWS = "rows"

_OWN = "="
"""Begins the names of what is read to find tokens; no unit's name does."""
_SHAPES = {
    "=prompt": "prompt_tokens",
    "=prompt_cached": "prompt_tokens_details.cached_tokens",
    "=completion": "completion_tokens",
    "=input": "input_tokens",
    "=input_cached": "input_tokens_details.cached_tokens",
    "=cache_read": "cache_read_input_tokens",
    "=cache_made": "cache_creation_input_tokens",
    "=output": "output_tokens",
    "=total": "total_tokens",
}
_WHERE = ("usage", "message.usage", "response.usage")
_BEGUN = "=begun"
"""What came out when it began: Anthropic's first event counts a token or so, its last but one all of them."""
_BEGINS = "message.usage.output_tokens"
_LINES = ("application/x-ndjson", "application/ndjson", "application/jsonl", "application/x-jsonlines")
_BREAKS = re.compile(rb"[^\r\n]+|\r\n|\r|\n")
_DATA = b"data:"
_BEGUN_BYTES_MAX = 2048
_LONG_BYTES = 16_384
"""From here on a copy of what came costs more than reading the event apart in which it begins."""
_ENDS = (b"\n\n", b"\r\n\r\n")
"""How events end, nearly always; an end that is written otherwise is only found later."""


def sought(paths: Mapping[str, str], *, tokens: bool, rows: str | None) -> Sought:
    """What a price looks for: its own paths by unit, tokens in the known shapes, an array of rows."""
    shapes = {name: [f"{above}.{path}" for above in _WHERE] for name, path in _SHAPES.items()} if tokens else {}
    if shapes:
        shapes["=output"].remove(_BEGINS)
        shapes[_BEGUN] = [_BEGINS]
    return Sought({**{unit: [path] for unit, path in paths.items()}, **shapes}, rows)


class Reading:
    """Follows the body of one answer. `values` is what is known by now; a unit that nobody spoke of is not in it."""

    def __init__(self, sought: Sought, content_type: str, codings: str, *, separate_cached: bool) -> None:
        self._separate_cached = separate_cached
        self._known: dict[str, int] | None = None
        self._over = False
        kind = content_type.partition(";")[0].strip().lower()
        self._text: _Document | _Events | _Lines | None = None
        self._decoded: Callable[[bytes], Iterator[bytes]] | None = None
        try:
            self._decoded = coded.reader(codings)
        except Unreadable:
            return
        if kind == "text/event-stream":
            self._text = _Events(sought)
        elif kind in _LINES:
            self._text = _Lines(sought)
        elif kind == "application/json" or kind.endswith("+json"):
            self._text = _Document(sought)

    def feed(self, data: bytes) -> None:
        if self._text is None:
            return
        self._known = None
        if self._decoded is None:
            self._text.feed(data)
            return
        try:
            for piece in self._decoded(data):
                self._text.feed(piece)
        except Unreadable:
            self._text = None

    def end(self) -> None:
        """It came whole."""
        self.leave()
        if self._text is not None:
            self._text.end()

    def leave(self) -> None:
        """Its caller has left: more would have come, so what it began with is no total."""
        self._over, self._known = True, None

    @property
    def values(self) -> dict[str, int]:
        if self._known is None:
            self._known = self.values_with(separate_cached=self._separate_cached)
        return self._known

    def values_with(self, *, separate_cached: bool) -> dict[str, int]:
        """The same where what came from a cache is no input, or is."""
        if self._text is None:
            return {}
        if self._known is not None and separate_cached == self._separate_cached:
            return self._known
        found, rows = self._text.values, self._text.rows
        units = _tokens(found, separate_cached=separate_cached, over=self._over) if found else {}
        if rows is not None:
            units[ROWS] = rows
        for unit, number in found.items():
            if not unit.startswith(_OWN):
                units[unit] = number
        return units


class _Document:
    """One JSON document."""

    def __init__(self, sought: Sought) -> None:
        self._paths = JsonPaths(sought)
        self.feed = self._paths.feed

    def end(self) -> None:
        """What was found stands."""

    @property
    def values(self) -> Mapping[str, int]:
        return self._paths.values

    @property
    def rows(self) -> int | None:
        return self._paths.rows


class _Lines:
    """A JSON document in each line. The rows are the lines that are not blank."""

    def __init__(self, sought: Sought) -> None:
        self._paths = JsonPaths(sought)
        self._filled = False
        self.values: dict[str, int] = {}
        self.rows: int | None = 0

    def feed(self, data: bytes) -> None:
        *lines, rest = data.split(b"\n")
        for line in lines:
            self._add(line)
            self._line_ends()
        self._add(rest)

    def _add(self, part: bytes) -> None:
        self._paths.feed(part)
        self._filled = self._filled or bool(part.strip())

    def _line_ends(self) -> None:
        if self._filled:
            self.rows = min((self.rows or 0) + 1, COUNT_MAX)
            self.values |= self._paths.values
        self._paths.reset()
        self._filled = False

    def end(self) -> None:
        self._line_ends()


class _Events:
    """A stream of server-sent events (https://html.spec.whatwg.org/multipage/server-sent-events.html)."""

    rows: int | None = None

    def __init__(self, sought: Sought) -> None:
        self._paths: JsonPaths | None = None  # made when an event has to be followed
        self._sought = sought
        self._first = sought.first
        self._begun = b""  # of an event, and not read yet
        self._between = True  # nothing of an event has been read
        self._line = b""  # how a line begins, until that says whether it is data
        self._is_data: bool | None = None
        self._after_cr = False
        self.values: dict[str, int] = {}

    def feed(self, data: bytes) -> None:
        """Whole events that say nothing of what is sought are stepped over, as most are; the others are read.

        How one begins is kept until the rest of it is there, unless it is long.
        """
        at = 0
        if self._begun:
            data, at = self._with_begun(data)
        end = len(data)
        while at < end:
            if self._between:
                found = self._first(data, at, end)
                after = _after_event(data, at, found if found >= 0 else end, last=True)
                if after:
                    at, self._after_cr = after, False
                    continue
            stop = _after_event(data, at, end, last=False)
            if stop and self._between and self._at_once(data[at:stop]):
                at, self._after_cr = stop, False
                continue
            if not stop and self._between and not self._after_cr and end - at <= _BEGUN_BYTES_MAX:
                self._begun = data[at:]
                return
            self._read(data[at : stop or end])
            at = stop or end

    def _with_begun(self, data: bytes) -> tuple[bytes, int]:
        """The same with what was kept before it, and where to go on."""
        begun, self._begun = self._begun, b""
        if len(data) > _LONG_BYTES:
            event = begun + data[:_BEGUN_BYTES_MAX]
            stop = _after_event(event, 0, len(event), last=False)
            if stop:
                self.feed(event[:stop])
                return data, stop - len(begun)
        return begun + data, 0

    def _at_once(self, event: bytes) -> bool:
        """Take an event that is whole, if it is an ordinary one: one line of data among others."""
        if b"\r" in event:
            return False
        line = event
        if not event.startswith(_DATA) or event.find(b"\n") != len(event) - 2:
            lines = [line for line in event.split(b"\n") if line.startswith(b"data")]
            if len(lines) != 1 or not lines[0].startswith(_DATA):
                return False
            line = lines[0]
        said = self._sought.in_document(line[len(_DATA) :])
        if said is None:
            return False
        self.values |= said
        return True

    def _read(self, data: bytes) -> None:
        for found in _BREAKS.finditer(data):
            piece = found[0]
            if piece[0] not in b"\r\n":
                self._add(piece)
            elif not (piece == b"\n" and self._after_cr):
                self._line_ends()
            self._after_cr = piece == b"\r"

    def _add(self, piece: bytes) -> None:
        self._between = False
        if self._is_data is None:
            missing = len(_DATA) - len(self._line)
            self._line += piece[:missing]
            if self._line != _DATA and _DATA.startswith(self._line):
                return
            self._is_data, piece = self._line == _DATA, piece[missing:]
        if self._is_data:
            self._followed().feed(piece)

    def _followed(self) -> JsonPaths:
        if self._paths is None:
            self._paths = JsonPaths(self._sought)
        return self._paths

    def _line_ends(self) -> None:
        if self._is_data is None and not self._line:
            self._event_ends()
        elif self._is_data:
            self._followed().feed(b"\n")
        self._line, self._is_data = b"", None

    def _event_ends(self) -> None:
        if self._paths is not None:
            self.values |= self._paths.values
            self._paths.reset()
        self._between = True

    def end(self) -> None:
        self._read(self._begun)
        self._event_ends()


def _after_event(data: bytes, begin: int, end: int, *, last: bool) -> int:
    """Behind the first or the `last` end of an event there; 0 if there is none."""
    lines, returns = _ENDS
    if last:
        after = data.rfind(lines, begin, end) + len(lines)
        begin = after if after >= len(lines) else begin
        later = data.rfind(returns, begin, end) + len(returns) if data.find(b"\r", begin, end) >= 0 else 0
        return later if later >= len(returns) else after if after >= len(lines) else 0
    after = data.find(lines, begin, end) + len(lines)
    if after < len(lines):
        after = 0
    if data.find(b"\r", begin, after or end) >= 0:
        sooner = data.find(returns, begin, after or end) + len(returns)
        return sooner if sooner >= len(returns) else after
    return after


def _tokens(found: Mapping[str, int], *, separate_cached: bool, over: bool) -> dict[str, int]:
    """The four units, as far as an answer speaks of them: OpenAI counts what was cached within, Anthropic beside.

    What one begins with counts while it goes on, and where its upstream broke it off, but is no total.
    """
    put_in, out = found.get("=prompt"), found.get("=completion")
    cached = min(found.get("=prompt_cached", 0), put_in or 0)
    if put_in is None and out is None:
        put_in, out = found.get("=input"), found.get("=output", None if over else found.get(_BEGUN))
        cached = min(found.get("=input_cached", 0), put_in or 0)
        if put_in is not None and ("=cache_read" in found or "=cache_made" in found):
            cached = found.get("=cache_read", 0)
            put_in += cached + found.get("=cache_made", 0)
    units: dict[str, int] = {}
    if put_in is not None:
        units = {"input_tokens": put_in - cached if separate_cached else put_in, "cached_tokens": cached}
    if out is not None:
        units["output_tokens"] = out
    if "=total" in found:
        units["total_tokens"] = found["=total"]
    elif put_in is not None and out is not None:
        units["total_tokens"] = put_in + out
    return units
