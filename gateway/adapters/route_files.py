"""Owners' own routes, as files in a folder of this host. Implements `ports.RouteFiles`.

A file is replaced in one step, by one that is on the disk already: whoever reads it, or starts after a crash, has the
routes from before or those from after. Of all who change one, in any process of this host, one is at it at a time: what
one owner writes is checked together with what the others have written.
"""

import asyncio
import fcntl
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from gateway.core.refusals import GatewayBusy, RecordsUnavailable

SECONDS_MAX = 10.0
_LOOK_SECONDS = 0.05
_LOCK = ".lock"


class FolderOfRoutes:
    """`folder` is made when the first file is written."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def read(self, owner: str) -> str:
        try:
            return self.file_of(owner).read_text()
        except FileNotFoundError:
            return ""
        except (OSError, UnicodeError):
            raise RecordsUnavailable() from None

    @asynccontextmanager
    async def changing(self) -> AsyncIterator[None]:
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            lock = os.open(self._folder / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except OSError:
            raise RecordsUnavailable() from None
        try:
            await _locked(lock)
            yield
        finally:
            os.close(lock)  # and it is nobody's any more, also when the process is killed

    def write(self, owner: str, text: str) -> None:
        file = self.file_of(owner)
        made = file.with_name(f".{file.name}.{os.getpid()}")
        try:
            with made.open("w") as opened:
                opened.write(text)
                opened.flush()
                os.fsync(opened.fileno())
            made.replace(file)
            folder = os.open(self._folder, os.O_RDONLY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)
        except OSError:
            raise RecordsUnavailable() from None

    def file_of(self, owner: str) -> Path:
        return self._folder / f"{owner}.yaml"


async def _locked(lock: int) -> None:
    try:
        async with asyncio.timeout(SECONDS_MAX):
            while True:
                try:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    return
                except BlockingIOError:
                    await asyncio.sleep(_LOOK_SECONDS)
    except TimeoutError:
        raise GatewayBusy() from None
