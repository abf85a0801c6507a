"""A log file that several processes write to, and that anybody may put aside.

Every writer looks before each write whether the file under the name is still the one that it has open: whoever moves it
away (logrotate, an operator, another process of ours) finds a new one under the name with the next line, and nothing is
lost in between, because what was opened still takes what is under way. So no signal is needed, and `copytruncate`
neither. Lines are appended (`O_APPEND`), whole batches at a time.

When it has grown too large, or its day is over, the first who notices puts it aside under a lock of its own, so that of
many processes one does it; the others see another file under the name and follow. Files that were put aside have the
time in their names, and go when they are too old.
"""

import fcntl
import os
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

_DAY_SECONDS = 86_400
_MODE = 0o640


class LogFile:
    """As much of a text stream as `LineWriter` wants: where to write now. `now` is the time in seconds."""

    encoding = "utf-8"

    def __init__(
        self,
        path: Path,
        *,
        bytes_max: int | None = None,
        daily: bool = False,
        keep_days: int | None = None,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._path = path
        self._bytes_max = bytes_max
        self._daily = daily
        self._keep_days = keep_days
        self._now = now
        self._descriptor: int | None = None

    def fileno(self) -> int:
        """The descriptor of the file that stands under the name now. Raises OSError."""
        self._follow()
        if self._is_due():
            self._put_aside()
            self._follow()
        assert self._descriptor is not None
        return self._descriptor

    def write(self, text: str) -> int:
        """For who has a line at once, and no writer."""
        return os.write(self.fileno(), text.encode(self.encoding, "backslashreplace"))

    def flush(self) -> None:
        """Nothing is kept back."""

    def close(self) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def _follow(self) -> None:
        """Open what stands under the name, if it is another file than the one that is open."""
        if self._descriptor is not None:
            ours = os.fstat(self._descriptor)
            try:
                named = os.stat(self._path)
            except FileNotFoundError:
                named = None
            if named is not None and (named.st_dev, named.st_ino) == (ours.st_dev, ours.st_ino):
                return
            self.close()
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        self._descriptor = os.open(self._path, flags, _MODE)

    def _is_due(self) -> bool:
        assert self._descriptor is not None
        state = os.fstat(self._descriptor)
        if not state.st_size:
            return False
        if self._bytes_max is not None and state.st_size >= self._bytes_max:
            return True
        return self._daily and int(state.st_mtime) // _DAY_SECONDS < int(self._now()) // _DAY_SECONDS

    def _put_aside(self) -> None:
        """One of all writers does it. The lock goes with its descriptor, also when its holder is killed."""
        lock = os.open(f"{self._path}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, _MODE)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            self._follow()
            if self._is_due():
                os.rename(self._path, self._free_name())
                self._drop_old()
        finally:
            os.close(lock)

    def _free_name(self) -> str:
        moment = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(self._now()))
        number = 0
        while os.path.lexists(name := f"{self._path}.{moment}" + (f".{number}" if number else "")):
            number += 1
        return name

    def _drop_old(self) -> None:
        if self._keep_days is None:
            return
        before = self._now() - self._keep_days * _DAY_SECONDS
        for old in self._path.parent.glob(f"{_escaped(self._path.name)}.[0-9]*"):
            with suppress(OSError):
                if old.lstat().st_mtime < before:
                    old.unlink()


def _escaped(name: str) -> str:
    """A name as a pattern that finds it alone."""
    return "".join(f"[{character}]" if character in "*?[" else character for character in name)
