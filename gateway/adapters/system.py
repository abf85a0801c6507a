"""The machine's clock, its random source, and small files of its own."""

import fcntl
import hashlib
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class SystemClock:
    """Implements `ports.Clock`."""

    def now_ms(self) -> int:
        return time.time_ns() // 1_000_000


class SystemRandomness:
    """Implements `ports.Randomness`."""

    def bytes(self, count: int) -> bytes:
        return os.urandom(count)


@contextmanager
def alone(path: Path) -> Iterator[bool]:
    """Whether no other process holds this file; it is held meanwhile, and let go of however this process ends.

    Where no file can be written there is nobody to tell, and it is taken for true.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle = os.open(path, os.O_CREAT | os.O_RDWR, 0o600)
    except OSError:
        yield True
        return
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        is_ours = True
    except BlockingIOError:
        is_ours = False
    except OSError:  # a file system that knows no locks
        is_ours = True
    try:
        yield is_ours
    finally:
        os.close(handle)


class SystemFile:
    """Implements `ports.KeptFile`; readable by its owner only. Its folder is made when it is first written."""

    def __init__(self, path: Path) -> None:
        self._path = path

    @property
    def name(self) -> str:
        return str(self._path)

    def read(self) -> bytes | None:
        try:
            return self._path.read_bytes()
        except FileNotFoundError:
            return None

    def write(self, contents: bytes) -> None:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        beside = self._path.with_name(self._path.name + ".new")
        with os.fdopen(os.open(beside, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600), "wb") as file:
            file.write(contents)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(self._path)
        folder = os.open(self._path.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(folder)  # the name, too
        finally:
            os.close(folder)


def digest_of(path: Path | None) -> str | None:
    """What tells a file's contents from all others; None if there is no file, or it cannot be read."""
    try:
        return None if path is None else hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError:
        return None
