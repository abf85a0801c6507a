"""kill -9 while requests are in flight: nobody pays for an answer that never came.

The truth is the callers' own journal: the ids of the requests whose answer's head arrived. After every kill the gateway
is started again (which is when it voids what it must), the audit must be clean, no unanswered request may be charged,
and of the answered ones only those of the last commits before the kill may have been given away.
"""

import asyncio
import os
import random
import sqlite3
from collections import Counter
from contextlib import closing
from pathlib import Path

from gateway.adapters.sqlite.audit import audit
from gateway.cli.books import head_keys
from gateway.core.ledger import Kind, Record
from gateway.demo.upstreams import ToyUpstream, weather
from gateway.settings import Settings
from tests.callers import Funded
from tests.gateway_process import fund, running, write_config
from tests.raw import closed

CONNECTIONS = 64
KILLS = 50 if os.environ.get("GATEWAY_TORTURE") else 5
GIVEN_AWAY_MAX = 2 * CONNECTIONS  # two commits, each with at most one record a connection


class Load:
    """Connections that ask without pause, and a journal of what was answered."""

    def __init__(self, settings: Settings, callers: list[Funded]) -> None:
        assert isinstance(settings.listen, tuple)
        self._address = settings.listen
        self._callers = callers
        self.answered: set[str] = set()
        self.enough = asyncio.Event()
        self._wanted = 0

    async def run(self, wanted: int) -> None:
        """Until the connections break. `enough` is set after `wanted` more answers."""
        self._wanted = len(self.answered) + wanted
        self.enough.clear()
        await asyncio.gather(*(self._connection(number) for number in range(CONNECTIONS)))

    async def _connection(self, number: int) -> None:
        order = random.Random(number)
        try:
            reader, writer = await asyncio.open_connection(*self._address)
        except OSError:
            return
        try:
            while True:
                token = order.choice(self._callers).token
                writer.write(f"GET /paid/oslo HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\n\r\n".encode())
                await self._answer(reader)
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            await closed(writer)

    async def _answer(self, reader: asyncio.StreamReader) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        fields = dict(line.split(": ", 1) for line in head.split("\r\n")[1:-2])
        assert head.startswith("HTTP/1.1 200"), head
        self.answered.add(fields["Gateway-Request-Id"])
        if len(self.answered) >= self._wanted:
            self.enough.set()
        await reader.readexactly(int(fields["Content-Length"]))


async def test_after_every_kill_the_books_are_right(tmp_path: Path) -> None:
    toy = ToyUpstream("toy", weather)
    await toy.start()
    settings = write_config(tmp_path, toy.url)
    callers = await fund(settings, "100.00 usd", count=200)
    load, order = Load(settings, callers), random.Random(3)
    given_away = 0
    try:
        for _ in range(KILLS):
            async with running(tmp_path / "gateway.yaml") as process:
                flood = asyncio.create_task(load.run(order.randrange(100, 900)))
                await load.enough.wait()
                await process.kill()
                await flood
            async with running(tmp_path / "gateway.yaml") as process:
                assert await process.stop() == 0
            charged, voided = journal(settings.store_path)
            assert charged <= load.answered, "a request was charged whose answer never came"
            lost = len(load.answered - charged)
            assert lost - given_away <= GIVEN_AWAY_MAX
            assert lost <= voided
            given_away = lost
            report = audit(settings.store_path, head_key=head_keys(settings))
            assert report.clean, [str(finding) for finding in report.findings]
    finally:
        await toy.stop()
    assert toy.calls >= len(load.answered)


def journal(path: Path) -> tuple[set[str], int]:
    """The ids of the requests that the ledger charged, and how many it voided."""
    net: Counter[str] = Counter()
    voided = 0
    with closing(sqlite3.connect(path)) as connection:
        for (payload,) in connection.execute("SELECT payload FROM batch"):
            for record in Record.unpack_all(payload):
                net[str(record.request)] += record.micros
                voided += record.kind is Kind.VOID
    assert min(net.values(), default=0) >= 0
    return {request for request, micros in net.items() if micros}, voided
