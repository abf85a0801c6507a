"""kill -9 in the middle of an answer that costs by its use: what it had come to stays charged, and no more than that.

By one process with the books in it, and by a worker of two, whose keeper lives on.
"""

import asyncio
import os
import signal
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from gateway.adapters.sqlite.audit import audit
from gateway.cli.books import head_keys
from gateway.core.ledger import Record
from tests.gateway_process import fund, running, write_config
from tests.raw import RawUpstream, Visit
from tests.raw import closed as connection_closed
from tests.relay.scenes import until

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 1000000\r\n\r\n"
PRICE = {"per": {"answer_bytes": "0.001 usd"}, "maximum": "5.00 usd"}
ROUND_SECONDS_MAX = 25.0
"""Five times what passes between two notes."""


def on_record(path: Path) -> int:
    with closing(sqlite3.connect(path)) as books:
        payloads = books.execute("SELECT payload FROM batch").fetchall()
    return sum(record.micros for [payload] in payloads for record in Record.unpack_all(payload))


@pytest.mark.parametrize("workers", [1, 2])
async def test_what_an_answer_had_come_to_stays_charged(tmp_path: Path, workers: int) -> None:
    more = asyncio.Event()

    async def script(visit: Visit) -> None:
        visit.writer.write(HEAD + b"x" * 100)
        await more.wait()
        visit.writer.write(b"x" * 50)
        await visit.gone.wait()

    upstream = RawUpstream(script)
    await upstream.start()
    settings = write_config(tmp_path, upstream.url, workers=workers, price=PRICE)
    [caller] = await fund(settings, "10.00 usd", count=1)
    assert isinstance(settings.listen, tuple)
    async with running(tmp_path / "gateway.yaml") as process:
        reader, writer = await asyncio.open_connection(*settings.listen)
        writer.write(f"GET /paid/x HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {caller.token}\r\n\r\n".encode())
        async with asyncio.timeout(10):
            head = await reader.readuntil(b"\r\n\r\n")
            assert b"Gateway-Cost-Max: 5.00 usd\r\n" in head
            await reader.readexactly(100)
        await until(lambda: on_record(settings.store_path) == 100_000, seconds=ROUND_SECONDS_MAX)
        more.set()
        await reader.readexactly(50)
        await until(lambda: on_record(settings.store_path) == 150_000, seconds=ROUND_SECONDS_MAX)
        if workers == 1:
            await process.kill()
        for slot in range(workers) if workers > 1 else ():
            os.kill(process.worker(slot), signal.SIGKILL)
        async with asyncio.timeout(10):
            assert await reader.read() == b""
        await connection_closed(writer)
        if workers > 1:
            await process.stop()
    await upstream.stop()
    report = audit(settings.store_path, head_key=head_keys(settings))
    assert report.clean, [str(finding) for finding in report.findings]
    assert (report.totals["usd"].spent, report.voided) == (150_000, 0)
