"""A caller's connection as bytes: what is sent is said, what comes back is read by its framing, nothing is guessed."""

import asyncio
from dataclasses import dataclass, field
from typing import Self

from tests.raw import closed

SECONDS_MAX = 10.0


@dataclass(slots=True)
class Seen:
    """An answer, the bytes as they came but for the framing of its body."""

    line: bytes
    fields: list[tuple[bytes, bytes]]
    body: bytes = b""
    chunks: list[bytes] = field(default_factory=list)
    trailers: list[tuple[bytes, bytes]] = field(default_factory=list)

    @property
    def status(self) -> int:
        return int(self.line.split(b" ")[1])

    def values(self, name: bytes) -> list[bytes]:
        return [value for key, value in self.fields if key.lower() == name.lower()]


class Wire:
    """One connection to a gateway."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    @classmethod
    async def to(cls, url: str, *, limit: int = 1 << 16) -> Self:
        host, port = url.removeprefix("http://").split(":")
        return cls(*await asyncio.open_connection(host, int(port), limit=limit))

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await closed(self.writer)

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        async with asyncio.timeout(SECONDS_MAX):
            await self.writer.drain()

    async def until(self, mark: bytes) -> bytes:
        async with asyncio.timeout(SECONDS_MAX):
            return await self.reader.readuntil(mark)

    async def exactly(self, count: int) -> bytes:
        async with asyncio.timeout(SECONDS_MAX):
            return await self.reader.readexactly(count)

    async def rest(self) -> bytes:
        """Everything until the gateway closes."""
        async with asyncio.timeout(SECONDS_MAX):
            return await self.reader.read()

    async def silent(self, seconds: float) -> bool:
        """Whether nothing comes, not even the end."""
        try:
            async with asyncio.timeout(seconds):
                return await self.reader.read(1) == b"never"
        except TimeoutError:
            return True

    async def head(self) -> Seen:
        """The next head, also an interim one."""
        line, *lines = (await self.until(b"\r\n\r\n"))[:-4].split(b"\r\n")
        return Seen(line, [_field(text) for text in lines])

    async def chunk(self) -> bytes:
        """The next chunk's payload; empty for the last one, whose trailers are still to come."""
        size = int((await self.until(b"\r\n"))[:-2], 16)
        return (await self.exactly(size + 2))[:-2] if size else b""

    async def answer(self, *, bodiless: bool = False) -> Seen:
        """The next answer, whole. `bodiless`: it answers a HEAD."""
        seen = await self.head()
        if bodiless or seen.status < 200 or seen.status in (204, 304):
            return seen
        if seen.values(b"Transfer-Encoding") == [b"chunked"]:
            while piece := await self.chunk():
                seen.chunks.append(piece)
            while (line := await self.until(b"\r\n")) != b"\r\n":
                seen.trailers.append(_field(line[:-2]))
            seen.body = b"".join(seen.chunks)
        elif lengths := seen.values(b"Content-Length"):
            seen.body = await self.exactly(int(lengths[0]))
        else:
            seen.body = await self.rest()
        return seen


def _field(line: bytes) -> tuple[bytes, bytes]:
    name, colon, value = line.partition(b":")
    assert colon, line
    return name, value.removeprefix(b" ")


def request(target: str, *lines: str | bytes, method: str = "GET", version: str = "1.1", body: bytes = b"") -> bytes:
    """A request of these very bytes."""
    head = [f"{method} {target} HTTP/{version}", "Host: api.example", *lines]
    return b"".join([line if isinstance(line, bytes) else line.encode("latin-1") for line in _ended(head)]) + body


def _ended(lines: list[str | bytes]) -> list[str | bytes]:
    ended: list[str | bytes] = []
    for line in lines:
        ended += [line, "\r\n"]
    return [*ended, "\r\n"]


async def ask(url: str, data: bytes, *, bodiless: bool = False) -> Seen:
    """One request, one answer."""
    async with await Wire.to(url) as wire:
        await wire.send(data)
        return await wire.answer(bodiless=bodiless)
