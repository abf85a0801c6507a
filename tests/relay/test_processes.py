"""A real `gateway run` that is told to stop, or has too little to live on."""

import asyncio
import json
import os
import time
from contextlib import AsyncExitStack, suppress
from pathlib import Path
from typing import Any

import pytest

from gateway import settings as configuration
from gateway.adapters.sqlite.audit import audit
from gateway.cli.books import head_keys
from gateway.settings import Settings
from tests.gateway_process import fund, running, write_config
from tests.raw import Visit
from tests.relay.scenes import connected, request, toy_upstream, until
from tests.relay.test_trouble import room_for_files

PRICE = 2_000
TORTURE = bool(os.environ.get("GATEWAY_TORTURE"))


def write(folder: Path, upstream: str, **more: Any) -> Settings:
    write_config(folder, upstream)
    file = folder / "gateway.yaml"
    file.write_text(json.dumps({**json.loads(file.read_text()), **more}))
    return configuration.load(file, {}, make_secrets=True)


def spent(settings: Settings) -> int:
    report = audit(settings.store_path, head_key=head_keys(settings))
    assert report.clean, [str(finding) for finding in report.findings]
    return report.totals["usd"].spent


async def slowly(visit: Visit) -> None:
    """An answer of a second, an endless stream, or an answer at once."""
    if b"/events" in visit.request_line:
        visit.writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\ndata: 1\n\n")
        await visit.reader.read()
    elif b"/silent" in visit.request_line:
        await visit.reader.read()
    else:
        await asyncio.sleep(1 if b"/slow" in visit.request_line else 0)
        visit.writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ndone")


async def test_told_to_stop_it_finishes_what_it_can_and_settles_the_rest(tmp_path: Path) -> None:
    async with toy_upstream(slowly) as upstream:
        settings = write(tmp_path, upstream.url, timeouts={"shutdown": "1500ms"})
        [caller] = await fund(settings, "1.00 usd", count=1)
        url = settings.public_url
        async with (
            running(tmp_path / "gateway.yaml") as process,
            connected(url) as slow, connected(url) as stream, connected(url) as silent, connected(url) as idle,
        ):  # fmt: skip
            idle.send(request("/free/x"))
            assert (await idle.answer()).body == b"done"
            slow.send(request("/paid/slow", caller))
            stream.send(request("/paid/events", caller))
            silent.send(request("/paid/silent", caller))
            assert b"data: 1" in await stream.reader.readuntil(b"data: 1\n\n")
            await until(lambda: len(upstream.visits) == 4)
            began = time.monotonic()
            stopped = asyncio.create_task(process.stop())
            assert await idle.rest() == b""
            with pytest.raises(OSError, match=r"refused|Connect call failed"):
                async with connected(url):
                    pass
            answer = await slow.answer()
            assert (answer.body, answer.closes) == (b"done", True)
            assert await slow.rest() == b""
            assert not stopped.done()  # the stream and the silent one have until the bound
            for wire in (stream, silent):
                with suppress(ConnectionError):
                    assert await wire.rest(3) in (b"", b"\r\n")  # a chunk's end
            assert await stopped == 0
            assert 1.4 < time.monotonic() - began < 7.5
    assert spent(settings) == 2 * PRICE  # the slow answer, and the stream that had begun


async def test_with_too_few_files_some_are_turned_away_and_nothing_is_lost(tmp_path: Path) -> None:
    room_for_files(2000)
    async with toy_upstream(slowly) as upstream:
        settings = write(tmp_path, upstream.url)
        [caller] = await fund(settings, "10.00 usd", count=1)
        seen: list[int] = []

        async def ask(turns: int) -> None:
            try:
                async with connected(settings.public_url) as wire:
                    for _ in range(turns):
                        wire.send(request("/paid/x", caller))
                        seen.append((await wire.answer(20)).status)
            except (OSError, EOFError):
                seen.append(0)

        async with running(tmp_path / "gateway.yaml", files_max=256) as process:
            await asyncio.gather(*(ask(2) for _ in range(400)))
            assert set(seen) <= {200, 503, 0}
            assert seen.count(200) > 100
            assert seen.count(200) < 800
            answered = seen.count(200)
            seen.clear()
            await asyncio.sleep(0.3)
            await asyncio.gather(*(ask(5) for _ in range(40)))
            assert seen == [200] * 200
            assert await process.stop() == 0
    assert spent(settings) == (answered + 200) * PRICE


@pytest.mark.skipif(not TORTURE, reason="takes long; set GATEWAY_TORTURE=1")
async def test_ten_thousand_idle_connections(tmp_path: Path) -> None:
    count = 9_900
    room_for_files(count + 500)
    async with toy_upstream(slowly) as upstream:
        settings = write(tmp_path, upstream.url, timeouts={"head": "5m"}, limits={"connections_max": 10_000})
        async with running(tmp_path / "gateway.yaml") as process:
            async with AsyncExitStack() as stack:
                for _ in range(count):
                    await stack.enter_async_context(connected(settings.public_url))
                pages = int(Path(f"/proc/{process.pid}/statm").read_text().split()[1])
                assert pages * os.sysconf("SC_PAGE_SIZE") < 500 << 20
                async with connected(settings.public_url) as wire:
                    for _ in range(100):
                        wire.send(request("/free/x"))
                        assert (await wire.answer()).status == 200
            assert await process.stop() == 0
