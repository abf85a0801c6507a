"""The gateway inside an application that a server runs in several processes, on one PostgreSQL: one has it."""

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from aiohttp import ClientSession, web
from pytest_aiohttp.plugin import AiohttpClient

import gateway
from gateway.adapters.system import SystemClock
from gateway.app.stores import shared_store
from gateway.demo.upstreams import ToyUpstream
from gateway.ports import StoreLocked
from tests.postgres_server import Server
from tests.stories.test_many_hosts import fund, upstream, write

__all__ = ["upstream"]
APPLICATION = """
import asyncio, sys
import gateway
from aiohttp import web


async def main():
    app = web.Application()
    gateway.mount(app, sys.argv[1])
    runner = web.AppRunner(app, auto_decompress=False, handler_cancellation=True)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    print(runner.addresses[0][1], flush=True)
    await asyncio.sleep(3600)


asyncio.run(main())
"""


@asynccontextmanager
async def process(folder: Path, config: Path) -> AsyncIterator[tuple[asyncio.subprocess.Process, str]]:
    """One process of the server, and where it listens: empty if it does not."""
    (folder / "application.py").write_text(APPLICATION)
    started = await asyncio.create_subprocess_exec(
        sys.executable, str(folder / "application.py"), str(config), env=os.environ | {"PYTHONUNBUFFERED": "1"},
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    assert started.stdout is not None
    try:
        async with asyncio.timeout(60):
            port = (await started.stdout.readline()).decode().strip()
        yield started, f"http://127.0.0.1:{port}" if port else ""
    finally:
        if started.returncode is None:
            started.kill()
        await started.communicate()


async def test_the_second_process_does_not_start_and_the_first_goes_on(
    tmp_path: Path, postgres: Server, upstream: ToyUpstream, aiohttp_client: AiohttpClient
) -> None:
    config, settings = write(tmp_path, "north", await postgres.schema(), upstream.url)
    [caller] = await fund(settings, "1.00 usd", count=1)
    apps = [web.Application() for _ in range(3)]
    for app in apps:
        gateway.mount(app, config)
    first = await aiohttp_client(apps[0])
    second = web.AppRunner(apps[1])
    with pytest.raises(StoreLocked, match="'north' mounted: run one process, give each its own `host_name`"):
        await second.setup()
    await second.cleanup()
    async with first.get("/paid/oslo", headers=caller.headers) as answer:
        assert answer.status == 200
    await first.close()
    again = await aiohttp_client(apps[2])
    async with again.get("/paid/oslo", headers=caller.headers) as answer:
        assert answer.status == 200


async def test_one_that_is_killed_is_replaced_at_once_and_one_that_is_fenced_says_so(
    tmp_path: Path, postgres: Server, upstream: ToyUpstream
) -> None:
    config, settings = write(tmp_path, "north", await postgres.schema(), upstream.url)
    [caller] = await fund(settings, "1.00 usd", count=1)
    async with process(tmp_path, config) as (first, url), ClientSession() as client:
        assert url
        async with process(tmp_path, config) as (second, nowhere):
            assert not nowhere
            _, said = await second.communicate()
            assert b"StoreLocked: another process on this host has the gateway 'north' mounted" in said
        first.kill()
        await first.wait()
        async with process(tmp_path, config) as (heir, url):
            async with client.get(f"{url}/paid/oslo", headers=caller.headers) as answer:
                assert answer.status == 200
            # `gateway run` under the same name, on a host that shares no folder with this one
            other = shared_store(settings, SystemClock(), name="north", report=lambda *_, **__: None)
            await other.open()
            assert heir.stderr is not None
            async with asyncio.timeout(30):
                told = json.loads(await heir.stderr.readline())
            assert (told["event"], told["level"]) == ("ledger", "warning")
            assert "another gateway took over what 'north' kept in postgresql://" in told["problem"]
            await other.close()
