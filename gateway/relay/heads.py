"""Heads of requests and answers: read once, remembered by their bytes.

llhttp judges every head, and what it read must agree, line by line, with the lines as they stand: two readers that see
the same fields leave no room for a third reading further on. Callers repeat themselves, so what a block of fields means
is kept under its bytes. Equal bytes have equal meaning, whoever sends them; nothing of a connection or a moment is kept
with it. The memories are bounded, see `memory`.

A `traceparent` is another with every request, and would make every block a new one. So a block with a valid one is
remembered without its value, and what was made of it gets the value of the moment in the same place.

Bytes are texts here in Latin-1, one character each, so that every byte survives whatever it was meant to be.
"""

import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Any

import httptools

from gateway.core import framing, heads, traces
from gateway.core.framing import BadFraming, Framing
from gateway.core.headers import Fields, asks_us, to_caller, to_upstream
from gateway.core.heads import RequestHead
from gateway.core.idempotency import FIELD
from gateway.core.refusals import BadRequest, HeadTooLarge, Refusal
from gateway.core.routes import Route, Server
from gateway.core.traces import TraceMode
from gateway.relay.memory import Memory

_REQUESTS, _ANSWERS = 1024, 256
"""A generation of each. Every caller has heads of their own; an answer's changes with its date, every second."""
_ROUTES_MAX = 8
_STATUS_LINE = re.compile(rb"HTTP/1\.([01]) ([1-9][0-9][0-9])(?: ([\t\x20-\x7e\x80-\xff]*))?")
_UPGRADE = ("Connection", "Upgrade")
_TRACEPARENT = re.compile(
    rb"\r\n([Tt]raceparent: )(00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2})(?=\r\n)"
)
_VERSIONS = {b"HTTP/1.1": 11, b"HTTP/1.0": 10}
_BAD_VALUE = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")


class Headers(Mapping[str, str]):
    """Fields by name, whatever its case; the first of several."""

    __slots__ = ("_first",)

    def __init__(self, fields: Fields) -> None:
        self._first = {name.lower(): value for name, value in reversed(fields)}

    def __getitem__(self, name: str) -> str:
        return self._first[name.lower()]

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and name.lower() in self._first

    def get(self, name: str, default: Any = None) -> Any:
        return self._first.get(name.lower(), default)

    def __iter__(self) -> Iterator[str]:
        return iter(self._first)

    def __len__(self) -> int:
        return len(self._first)


class PerRoute:
    """Lines that were made for a route and one of its servers, by the very objects: comparing is as dear as making."""

    __slots__ = ("_made",)

    def __init__(self) -> None:
        self._made: dict[int, tuple[Route, Server | None, bytes]] = {}

    def get(self, route: Route, server: Server | None = None) -> bytes | None:
        found = self._made.get(id(route))
        if found is None or found[0] is not route or found[1] is not server:
            return None
        return found[2]

    def keep(self, route: Route, made: bytes, server: Server | None = None) -> None:
        if len(self._made) >= _ROUTES_MAX:
            self._made.clear()
        self._made[id(route)] = (route, server, made)


class RequestBlock:
    """A request's version and fields: everything of its head but method and target."""

    __slots__ = (
        "_for_route",
        "asks_us",
        "cookies",
        "fault",
        "fields",
        "has_body",
        "has_key",
        "head",
        "headers",
        "lines",
        "mark",
        "traceparent",
        "version",
    )

    def __init__(
        self, version: int, lines: bytes, fields: Fields, head: RequestHead | None, fault: Refusal | None
    ) -> None:
        self.version = version
        self.lines = lines
        """As they came."""
        self.fields = fields
        self.headers = Headers(fields)
        self.asks_us = asks_us(self.headers)
        self.has_key = FIELD in self.headers
        self.head = head or _NOTHING
        self.has_body = self.head.framing.has_body
        self.fault = fault
        """Why a request with such a head is refused."""
        self.traceparent = traces.valid(fields)
        self.mark: bytes | None = None
        """The line with the `traceparent` of the request that this was first read of, and the line end before it."""
        self.cookies = _cookies(fields)
        self._for_route = PerRoute()

    def retraced(self, lines: bytes, value: str) -> bytes:
        """Lines that were made of this block, with this `traceparent` in the place of the one that it was read with."""
        mark = self.mark
        if mark is None:
            return lines
        return lines.replace(mark, mark[: mark.index(b":") + 2] + value.encode("latin-1") + b"\r\n", 1)

    def for_upstream(self, route: Route, server: Server, cookie: str, mode: TraceMode) -> bytes:
        """The lines that pass, `Host` first; but for what differs from request to request."""
        if (known := self._for_route.get(route, server)) is not None:
            return known
        authority = server.authority
        host = {"upstream": authority, "caller": self.head.host or authority}.get(route.host, route.host)
        replaced = traces.replaced(self.traceparent, "pass" if self.mark is not None and mode != "off" else mode)
        kept = to_upstream(
            self.fields,
            cookie=cookie,
            rules=route.request_fields,
            credential=route.upstream.credential,
            replaced=replaced,
        )
        lines = [("Host", host), *kept]
        if self.head.framing.kind == "chunked":
            lines.append(("Transfer-Encoding", "chunked"))
        if self.head.expects_continue:
            lines.append(("Expect", "100-continue"))
        options = []
        if self.head.upgrade:
            lines.append(("Upgrade", self.head.upgrade))
            options.append("Upgrade")
        if self.head.wants_trailers:
            lines.append(("TE", "trailers"))
            options.append("TE")
        if options:
            lines.append(("Connection", ", ".join(options)))
        made = encoded(lines)
        self._for_route.keep(route, made, server)
        return made


_NOTHING = RequestHead("", Framing("none"), False, False, "", False)


class AnswerHead:
    """The head of an upstream's answer."""

    __slots__ = (
        "_for_route",
        "dated",
        "fields",
        "framing",
        "keep_alive",
        "keep_alive_seconds",
        "line",
        "status",
        "streams",
    )

    def __init__(self, status: int, reason: bytes, fields: Fields, keep_alive: bool, body: Framing) -> None:
        self.status = status
        self.line = b"HTTP/1.1 %d %b\r\n" % (status, reason)
        self.fields = fields
        self.framing = body
        """As a GET's; a HEAD's answer has no body whatever it says."""
        headers = Headers(fields)
        self.keep_alive = keep_alive
        self.keep_alive_seconds = _seconds_kept(headers.get("keep-alive", ""))
        self.dated = "date" in headers
        self.streams = headers.get("content-type", "").partition(";")[0].strip().lower() == "text/event-stream"
        self._for_route = PerRoute()

    def for_caller(self, route: Route) -> bytes:
        """The lines that pass, less those that frame the body."""
        if (known := self._for_route.get(route)) is not None:
            return known
        made = encoded(self.passing(route))
        self._for_route.keep(route, made)
        return made

    def passing(self, route: Route) -> Fields:
        """The fields that pass, among them the body's length if that was said."""
        lines = to_caller(self.fields, route.answer_fields)
        if self.status < 200 or self.status == 204:  # they have no body that could have a length (section 8.6)
            lines = [field for field in lines if field[0].lower() != "content-length"]
        if self.status == 426:  # it says what to upgrade to (RFC 9110, section 15.5.22)
            lines += [*((name, value) for name, value in self.fields if name.lower() == "upgrade"), _UPGRADE]
        return lines


class Heads:
    """Reads heads and remembers what it read."""

    def __init__(self, *, fields_max: int, head_bytes_max: int) -> None:
        self._fields_max = fields_max
        self._head_bytes_max = head_bytes_max
        self._requests: Memory[RequestBlock] = Memory(_REQUESTS)
        self._traced: Memory[RequestBlock] = Memory(_REQUESTS)
        self._answers: Memory[AnswerHead] = Memory(_ANSWERS)

    def request(self, block: bytes) -> RequestBlock:
        """`block` is what follows the target: the version, a line end, and every field with its line end."""
        known = self._requests.younger.get(block) or self._requests.older(block)
        if known is not None:
            return known
        made = self._read_request(block)
        if made.fault is None:  # an exception that is raised again and again holds on to ever more frames
            self._requests.keep(block, made)
        return made

    def kept(self) -> int:
        """How many heads are remembered."""
        return len(self._requests) + len(self._traced) + len(self._answers)

    def traced(self, block: bytes) -> tuple[RequestBlock, str | None]:
        """The same, and the caller's `traceparent`, if it has a valid one."""
        found = _TRACEPARENT.search(block) if block.find(b"raceparent:") >= 0 else None
        if found is None:
            made = self.request(block)
            return made, made.traceparent
        value = found[2].decode("latin-1")
        key = block[: found.start(2)] + block[found.end(2) :]
        known = self._traced.younger.get(key) or self._traced.older(key)
        if known is not None:
            return known, value
        made = self._read_request(block)
        if made.traceparent is not None and made.fault is None:
            made.mark = found[0] + b"\r\n"
            self._traced.keep(key, made)
        return made, made.traceparent

    def _read_request(self, block: bytes) -> RequestBlock:
        version_text, _, lines = block.partition(b"\r\n")
        version = _VERSIONS.get(version_text)
        if version is None:
            return RequestBlock(11, b"", [], None, BadRequest("it is not HTTP/1.0 or HTTP/1.1"))
        if lines.count(b"\r\n") > self._fields_max:
            return RequestBlock(version, b"", [], None, HeadTooLarge(limit_bytes=self._head_bytes_max))
        reader = _Fields()
        try:
            _feed(httptools.HttpRequestParser(reader), b"GET / " + block + b"\r\n")
            fields = reader.agreed(lines)
        except (httptools.HttpParserError, ValueError):
            return RequestBlock(version, b"", [], None, BadRequest("its head is malformed"))
        try:
            return RequestBlock(version, lines, fields, heads.read_request("GET", version, fields), None)
        except Refusal as refusal:
            return RequestBlock(version, lines, fields, None, refusal)

    def answer(self, head: bytes) -> AnswerHead:
        """`head` is everything up to and with the empty line. Raises BadFraming for what may not be passed on."""
        known = self._answers.younger.get(head) or self._answers.older(head)
        if known is not None:
            return known
        made = self._read_answer(head)
        self._answers.keep(head, made)
        return made

    def _read_answer(self, head: bytes) -> AnswerHead:
        line, _, lines = head[:-2].partition(b"\r\n")
        found = _STATUS_LINE.fullmatch(line)
        if found is None:
            raise BadFraming("the status line is malformed")
        if lines.count(b"\r\n") > self._fields_max:
            raise BadFraming("it has too many header fields")
        reader = _Fields()
        parser = httptools.HttpResponseParser(reader)
        try:
            _feed(parser, head)
            fields = reader.agreed(lines)
        except (httptools.HttpParserError, ValueError):
            raise BadFraming("its head is malformed") from None
        if any(_BAD_VALUE.search(value) for _, value in fields):
            raise BadFraming("a field holds a control character")
        version, status = 10 + int(found[1]), int(found[2])
        body = framing.answer_framing("GET", status, version, fields)
        options = ",".join(value for name, value in fields if name.lower() == "connection").lower()
        named = {option.strip() for option in options.split(",")}
        keep_alive = "close" not in named and (version == 11 or "keep-alive" in named)
        return AnswerHead(status, found[3] or b"", fields, keep_alive, body)


def encoded(fields: Fields) -> bytes:
    """Fields as the lines of a head."""
    return "".join([f"{name}: {value}\r\n" for name, value in fields]).encode("latin-1")


class _Fields:
    """What llhttp tells of a head."""

    def __init__(self) -> None:
        self._seen: list[tuple[bytes, bytes]] = []

    def on_header(self, name: bytes, value: bytes) -> None:
        self._seen.append((name, value))

    def agreed(self, lines: bytes) -> Fields:
        """The fields, if the lines by themselves read the same. Raises ValueError."""
        ours = []
        for line in lines.split(b"\r\n")[:-1]:
            name, _, value = line.partition(b":")
            ours.append((name, value.strip(b" \t")))
        if ours != [(name, value.strip(b" \t")) for name, value in self._seen]:
            raise ValueError("two readings")
        return [(name.decode("latin-1"), value.decode("latin-1")) for name, value in ours]


def _feed(parser: "httptools.HttpRequestParser | httptools.HttpResponseParser", head: bytes) -> None:
    with suppress(httptools.HttpParserUpgrade):  # the head is read; what is upgraded is decided elsewhere
        parser.feed_data(head)


def _seconds_kept(value: str) -> float | None:
    """`Keep-Alive: timeout=5`: how long the upstream will keep the connection."""
    found = re.search(r"(?:^|,)\s*timeout\s*=\s*([0-9]{1,6})\s*(?:,|$)", value)
    return float(found[1]) if found else None


def _cookies(fields: Fields) -> Mapping[str, str]:
    """Cookies by name, the first of several (RFC 6265 section 5.4 sends the most specific one first)."""
    found: dict[str, str] = {}
    for name, value in fields:
        if name.lower() == "cookie":
            for part in value.split(";"):
                key, equals, content = part.partition("=")
                if equals:
                    found.setdefault(key.strip(), content.strip().strip('"'))
    return found
