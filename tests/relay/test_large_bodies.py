"""A body of any size, and a gateway that does not grow with it: a real process, its memory as the system tells it."""

import asyncio
import hashlib
import json
import os
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from gateway import settings as configuration
from tests.callers import Funded
from tests.gateway_process import GatewayProcess, fund, running, write_config
from tests.raw import RawUpstream, Visit
from tests.relay.wire import Wire, request

BODY_BYTES = 100_000_000
GROWTH_BYTES_MAX = 64 << 20
PIECE = os.urandom(1 << 16)
PIECES = BODY_BYTES // len(PIECE)

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads a process's memory from /proc")


def memory(process: GatewayProcess, what: str) -> int:
    """`VmRSS` is what it has now, `VmHWM` the most that it ever had; in bytes."""
    for line in Path(f"/proc/{process.pid}/status").read_text().splitlines():
        if line.startswith(what + ":"):
            return int(line.split()[1]) << 10
    raise AssertionError(what)


@pytest.fixture
async def served(upstream: RawUpstream, tmp_path: Path) -> AsyncIterator["Served"]:
    """A gateway in a process of its own, warm."""
    settings = write_config(tmp_path, upstream.url)
    file = tmp_path / "gateway.yaml"
    config = json.loads(file.read_text())
    config["limits"] = {"request_body_max": "256 MiB"}
    file.write_text(json.dumps(config))
    settings = configuration.load(file, {}, make_secrets=True)
    [caller] = await fund(settings, "1.00 usd", count=1)
    async with running(file) as process:
        async with await Wire.to(settings.public_url) as wire:
            for _ in range(50):
                await wire.send(request("/paid/warm", f"Authorization: Bearer {caller.token}"))
                assert (await wire.answer()).status == 200
        yield settings.public_url, process, caller


Served = tuple[str, GatewayProcess, Funded]


async def test_a_large_answer_for_a_slow_reader_takes_little_memory(served: Served, upstream: RawUpstream) -> None:
    for framing in ("length", "chunked"):
        await comes_down(served, upstream, framing)


async def comes_down(served: Served, upstream: RawUpstream, framing: str) -> None:
    url, process, caller = served

    async def script(visit: Visit) -> None:
        chunked = framing == "chunked"
        said = b"Transfer-Encoding: chunked" if chunked else b"Content-Length: %d" % (PIECES * len(PIECE))
        visit.writer.write(b"HTTP/1.1 200 OK\r\n%b\r\n\r\n" % said)
        for _ in range(PIECES):
            visit.writer.write(b"%x\r\n%b\r\n" % (len(PIECE), PIECE) if chunked else PIECE)
            await visit.writer.drain()
        if chunked:
            visit.writer.write(b"0\r\n\r\n")

    upstream.script = script
    before = memory(process, "VmRSS")
    digest, size = hashlib.sha256(), 0
    async with await Wire.to(url) as wire:
        await wire.send(request("/paid/x", f"Authorization: Bearer {caller.token}"))
        assert (await wire.head()).status == 200
        await asyncio.sleep(0.3)  # all of it would be here by now, if it were let
        while size < PIECES * len(PIECE):
            piece = await wire.chunk() if framing == "chunked" else await wire.reader.read(len(PIECE))
            digest.update(piece)
            size += len(piece)
            if size % 97 == 0:
                await asyncio.sleep(0.001)
    assert digest.digest() == whole()
    assert memory(process, "VmHWM") - before < GROWTH_BYTES_MAX


async def test_a_large_upload_to_a_slow_upstream_takes_little_memory(served: Served, upstream: RawUpstream) -> None:
    for framing in ("length", "chunked"):
        await goes_up(served, upstream, framing)


async def goes_up(served: Served, upstream: RawUpstream, framing: str) -> None:
    url, process, caller = served
    upstream.reads_bodies = False
    chunked = framing == "chunked"

    async def script(visit: Visit) -> None:
        digest, size = hashlib.sha256(), 0
        await asyncio.sleep(0.3)
        while size < PIECES * len(PIECE):
            if chunked:
                length = int((await visit.reader.readuntil(b"\r\n"))[:-2], 16)
                piece = (await visit.reader.readexactly(length + 2))[:-2]
            else:
                piece = await visit.reader.read(len(PIECE))
            digest.update(piece)
            size += len(piece)
        if chunked:
            assert await visit.reader.readexactly(5) == b"0\r\n\r\n"
        said = digest.hexdigest().encode()
        visit.writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(said) + said)

    upstream.script = script
    before = memory(process, "VmRSS")
    line = "Transfer-Encoding: chunked" if chunked else f"Content-Length: {PIECES * len(PIECE)}"
    async with await Wire.to(url) as wire:
        await wire.send(request("/paid/x", f"Authorization: Bearer {caller.token}", line, method="PUT"))
        for _ in range(PIECES):
            await wire.send(b"%x\r\n%b\r\n" % (len(PIECE), PIECE) if chunked else PIECE)
        if chunked:
            await wire.send(b"0\r\n\r\n")
        assert (await wire.answer()).body == whole().hex().encode()
    assert memory(process, "VmHWM") - before < GROWTH_BYTES_MAX


def whole() -> bytes:
    """The digest of the whole body."""
    digest = hashlib.sha256()
    for _ in range(PIECES):
        digest.update(PIECE)
    return digest.digest()
