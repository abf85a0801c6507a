"""A caller that sends bytes and reads answers by the letter: it has its own parser.

Whatever is not exactly as RFC 9112 has it is `Malformed`: a test that reads an answer has checked its framing.
"""

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

from gateway.cli.stage import Stage
from tests.callers import Funded
from tests.raw import RawUpstream, closed

SECRET = "zq7secret"
"""Stands in whatever is refused: no answer may quote it."""
CHUNKED = "Transfer-Encoding: chunked"
BODY_MAX, HEAD_MAX, FIELDS_MAX = 4096, 16384, 24
_NAMES_NOBODY_LEARNS = re.compile(rb"aiohttp|llhttp|httptools|python|uvloop|asyncio|traceback", re.IGNORECASE)
_STATUS_LINE = re.compile(rb"HTTP/1\.1 ([1-9][0-9][0-9]) ([\t\x20-\x7e\x80-\xff]*)")
_FIELD = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*([\t\x20-\x7e\x80-\xff]*?)[ \t]*")


class Malformed(AssertionError):
    """What came is no HTTP answer."""


class Answer(NamedTuple):
    """One answer; `fields` in small letters."""

    status: int
    fields: list[tuple[bytes, bytes]]
    body: bytes

    def values(self, name: bytes) -> list[bytes]:
        return [value for key, value in self.fields if key == name]

    @property
    def code(self) -> bytes:
        """Why the gateway refused; nothing for an upstream's answer."""
        return b"".join(self.values(b"gateway-error"))

    @property
    def closes(self) -> bool:
        return b"close" in b",".join(self.values(b"connection")).lower()


class Caller:
    """One connection of a caller's."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    def send(self, data: bytes) -> None:
        """What is sent after the connection has ended is lost; how it ended is told to whoever reads."""
        if not self.writer.is_closing():  # uvloop raises RuntimeError where asyncio says nothing
            self.writer.write(data)

    async def send_slowly(self, data: bytes, size: int = 1) -> None:
        """In pieces that arrive one by one."""
        for at in range(0, len(data), size):
            self.send(data[at : at + size])
            await asyncio.sleep(0)  # the gateway runs on this loop: it looks between any two pieces
            await asyncio.sleep(0)

    async def answer(self, method: str = "GET", seconds: float = 5) -> Answer:
        """The next final answer, to a request with this method. Raises Malformed, EOFError and TimeoutError."""
        async with asyncio.timeout(seconds):
            while True:
                found = await self._answer(method)
                if found.status >= 200 or found.status == 101:
                    return found

    async def rest(self, seconds: float = 5) -> bytes:
        """Everything until the gateway closes."""
        async with asyncio.timeout(seconds):
            return await self.reader.read()

    async def _answer(self, method: str) -> Answer:
        try:
            head = await self.reader.readuntil(b"\r\n\r\n")
        except asyncio.IncompleteReadError as error:
            raise (Malformed(f"the connection ended in {error.partial!r}") if error.partial else EOFError()) from None
        status, fields = read_head(head)
        lengths = [value for name, value in fields if name == b"content-length"]
        codings = [value for name, value in fields if name == b"transfer-encoding"]
        if status < 200 or status in (204, 304) or method == "HEAD":
            return Answer(status, fields, b"")
        if len(lengths) + len(codings) > 1:
            raise Malformed("framed twice")
        try:
            if codings:
                return Answer(status, fields, await self._chunks())
            if lengths:
                return Answer(status, fields, await self.reader.readexactly(int(lengths[0])))
        except asyncio.IncompleteReadError as error:
            raise Malformed(f"cut after {error.partial!r}") from None
        return Answer(status, fields, await self.reader.read())

    async def _chunks(self) -> bytes:
        body = b""
        while True:
            line = await self.reader.readuntil(b"\r\n")
            if not re.fullmatch(rb"[0-9a-fA-F]{1,15}\r\n", line):
                raise Malformed(f"a chunk begins with {line!r}")
            size = int(line, 16)
            if size == 0:
                break
            body += await self.reader.readexactly(size)
            if await self.reader.readexactly(2) != b"\r\n":
                raise Malformed("a chunk is longer than its size")
        while line := (await self.reader.readuntil(b"\r\n"))[:-2]:
            if not _FIELD.fullmatch(line):
                raise Malformed(f"a trailer is {line!r}")
        return body


@asynccontextmanager
async def connected(url: str) -> AsyncIterator[Caller]:
    host, port = url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    try:
        yield Caller(reader, writer)
    finally:
        await closed(writer)


def read_head(head: bytes) -> tuple[int, list[tuple[bytes, bytes]]]:
    """Status and fields of a head that ends with its empty line."""
    first, *lines = head.removesuffix(b"\r\n\r\n").split(b"\r\n")
    found = _STATUS_LINE.fullmatch(first)
    if not found:
        raise Malformed(f"a status line is {first!r}")
    fields = []
    for line in lines:
        field = _FIELD.fullmatch(line)
        if not field:
            raise Malformed(f"a field is {line!r}")
        fields.append((field[1].lower(), field[2]))
    return int(found[1]), fields


def head(
    *lines: str,
    method: str = "GET",
    target: str = f"/free/{SECRET}",
    version: str = "HTTP/1.1",
    host: str = "a.example",
) -> bytes:
    """A request's head with its empty line; Latin-1 says which bytes."""
    first = [f"{method} {target} {version}", *([f"Host: {host}"] if host else [])]
    return "\r\n".join([*first, *lines, "", ""]).encode("latin-1")


def flaws(answer: Answer, status: int, code: str | None = None) -> list[str]:
    """What is wrong with a refusal of the gateway's."""
    found = []
    if answer.status != status:
        found.append(f"its status is {answer.status} {answer.code!r}")
    if code and answer.code != code.encode():
        found.append(f"its code is {answer.code!r}")
    if answer.values(b"content-type")[:1] not in (
        [b"application/problem+json"],
        [b"application/problem+json; charset=utf-8"],
    ):
        found.append(f"it is {answer.values(b'content-type')}, no problem+json")
    if b'"code": "%b"' % answer.code not in answer.body or not answer.code:
        found.append("body and Gateway-Error do not agree")
    ids = answer.values(b"gateway-request-id")
    if len(ids) != 1 or b'"request_id": "%b"' % ids[0] not in answer.body:
        found.append("its request id is missing")
    if answer.values(b"content-length") != [b"%d" % len(answer.body)]:
        found.append("its length is not said")
    everything = b"".join(b"%b: %b\n" % field for field in answer.fields) + answer.body
    if answer.values(b"server") or _NAMES_NOBODY_LEARNS.search(everything):
        found.append("it says what it is made of")
    if SECRET.encode() in everything:
        found.append("it quotes what was sent")
    return found


async def refused(url: str, request: bytes, status: int = 400, code: str | None = None) -> str:
    """Send a request that must be refused and end its connection; what was wrong, or nothing."""
    try:
        async with connected(url) as caller:
            caller.send(request)
            answer = await caller.answer(request.split(b" ")[0].decode("latin-1"))
            found = flaws(answer, status, code)
            if not answer.closes:
                found.append("it does not say that it closes")
            if rest := await caller.rest():
                found.append(f"more came: {rest[:60]!r}")
            return "; ".join(found)
    except (Malformed, EOFError, TimeoutError, OSError) as error:
        return f"{type(error).__name__} {error}"


async def all_refused(url: str, cases: dict[str, bytes], status: int = 400, code: str | None = None) -> dict[str, str]:
    """What was wrong, by the case's name; several at once."""
    several = asyncio.Semaphore(32)

    async def one(request: bytes) -> str:
        async with several:
            return await refused(url, request, status, code)

    found = await asyncio.gather(*(one(request) for request in cases.values()))
    return {name: wrong for name, wrong in zip(cases, found, strict=True) if wrong}


def config(upstream: RawUpstream) -> dict[str, Any]:
    return {
        "upstreams": {"raw": {"url": upstream.url, "first_byte_timeout": "3s", "idle_timeout": "3s"}},
        "limits": {"request_body_max": "4 KiB", "request_head_max": "16 KiB", "request_headers_max": FIELDS_MAX},
        "timeouts": {"head": "1s", "body": "1s", "keep_alive": "3s"},
        "routes": [
            {"name": "paid", "match": "/paid/", "upstream": "raw", "price": "0.002 usd"},
            {"name": "free", "match": "/free/", "upstream": "raw", "price": "free"},
        ],
    }


def bearer(caller: Funded) -> str:
    return f"Authorization: Bearer {caller.token}"


async def balance(stage: Stage, caller: Funded) -> int:
    found = await stage.gateway.ledger.balance(caller.account, "usd")
    assert not found.held.micros
    return found.available.micros


def post(*lines: str, body: bytes = b"hello", **more: str) -> bytes:
    return head(*lines, method="POST", **more) + body


async def none_passed(stage: Stage, upstream: RawUpstream, cases: dict[str, bytes], **expected: Any) -> None:
    wrong = await all_refused(stage.url, cases, **expected)
    assert not wrong
    assert [visit.request_line for visit in upstream.visits] == []
    assert upstream.connections == 0


async def all_pass(stage: Stage, upstream: RawUpstream, cases: dict[str, bytes]) -> None:
    """Each on a connection of its own, which still serves another request afterwards."""
    wrong = {}
    for name, request in cases.items():
        async with connected(stage.url) as wire:
            wire.send(request)
            wire.send(head(target="/free/next"))
            method = request.lstrip(b"\r\n").split(b" ")[0].decode()
            try:
                statuses = [(await wire.answer(method)).status, (await wire.answer()).status]
            except (EOFError, TimeoutError, AssertionError) as error:
                wrong[name] = repr(error)
                continue
            if statuses != [200, 200]:
                wrong[name] = str(statuses)
    assert not wrong
    assert len(upstream.visits) == 2 * len(cases)
