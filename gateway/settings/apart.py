"""The configuration, read by another process, for one that serves: its memory is for requests.

What reads a configuration weighs 14 MiB and is needed for a moment. So a child does it, and hands over values alone.
A process that has one thread yet, as at its start, forks that child, and may go on with its own imports meanwhile; one
with more threads starts another Python, for a fork would leave it whatever locks the others hold just then.

Values hold secrets, which refuse to be pickled lest they get into some file; on this pipe, between a process and its
own child, they are let through.
"""

import io
import os
import pickle
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, BinaryIO, Final, NamedTuple

from gateway.core.routes import NO_RULES
from gateway.core.secrets import Secret
from gateway.settings.invalid import Mistake, SettingsInvalid
from gateway.settings.values import Settings

SECONDS_MAX: Final = 60.0
_PIECE = 1 << 16


class Asked(NamedTuple):
    """What `load` is asked for, with the environment of the process."""

    path: Path | None
    make_secrets: bool
    instead: Mapping[str, str] | None = None


class _Child(NamedTuple):
    """Who reads, where it answers, and how its exit code is had when it has ended."""

    pid: int
    answer: int
    wait: Callable[[], int]


class Reading:
    """One that is under way from when it is made. Raises SettingsInvalid where no process can be had."""

    def __init__(self, path: Path | None, *, make_secrets: bool, instead: Mapping[str, str] | None = None) -> None:
        asked = Asked(path, make_secrets, instead)
        answer, told = os.pipe()
        try:
            with open(told, "wb") as out:
                start = _forked if threading.active_count() == 1 else _started
                self._child = start(asked, answer, out)
        except OSError as error:
            os.close(answer)
            raise _failed(f"no process could be started: {error.strerror}") from None
        self._until = time.monotonic() + SECONDS_MAX

    def settings(self) -> Settings:
        """To be called once. Raises SettingsInvalid, also where the child came to another end."""
        try:
            said = self._said()
        finally:
            os.close(self._child.answer)
            code = self._child.wait()
        if not said:
            raise _failed(f"the process that does ended with {code}")
        found = pickle.loads(said)  # noqa: S301 -- of our own child
        if isinstance(found, SettingsInvalid):
            raise found
        assert isinstance(found, Settings)
        return found

    def _said(self) -> bytes:
        """All that comes until the child closes its end; nothing if that takes too long."""
        pieces: list[bytes] = []
        while select.select([self._child.answer], [], [], max(0.0, self._until - time.monotonic()))[0]:
            piece = os.read(self._child.answer, _PIECE)
            if not piece:
                return b"".join(pieces)
            pieces.append(piece)
        os.kill(self._child.pid, signal.SIGKILL)
        return b""


def _failed(how: str) -> SettingsInvalid:
    return SettingsInvalid([Mistake("settings", "", f"they could not be read, right or wrong; {how}")])


def load(path: Path | None, *, make_secrets: bool, instead: Mapping[str, str] | None = None) -> Settings:
    """As `loading.load` with our own environment. Raises SettingsInvalid."""
    return Reading(path, make_secrets=make_secrets, instead=instead).settings()


def with_its_keys(settings: Settings) -> Settings:
    """The same settings, for a gateway that goes on by them: a key file that is gone is a mistake by now.

    Raises SettingsInvalid.
    """
    secrets, words = settings.secrets, "it is missing; put it back: the gateway goes on with the keys that it has"
    missing = {"sealing_key": not secrets.sealing_keys, "pepper": not secrets.peppers, "jwt.pem": not secrets.jwt_keys}
    mistakes = [Mistake(str(settings.secrets_path / name), "", words) for name, gone in missing.items() if gone]
    if mistakes:
        raise SettingsInvalid(mistakes)
    return settings


def unchangeable(values: dict[Any, Any]) -> MappingProxyType[Any, Any]:
    """A view of values; its type has no name that can be imported."""
    return MappingProxyType(values)


class _Pickler(pickle.Pickler):
    """Lets secrets pass, and mappings that cannot be changed. What is known by its identity stays what it is."""

    def reducer_override(self, value: Any) -> Any:
        if value is NO_RULES:
            return "NO_RULES"  # a name of its module
        if isinstance(value, Secret):
            return Secret, (value.reveal(),)
        if isinstance(value, MappingProxyType):
            return unchangeable, (dict(value),)
        return NotImplemented


def pickled(found: Settings | SettingsInvalid) -> bytes:
    """For the pipe and nothing else: there are secrets in it."""
    out = io.BytesIO()
    _Pickler(out, pickle.HIGHEST_PROTOCOL).dump(found)
    return out.getvalue()


def _answered(asked: Asked) -> bytes:
    from gateway.settings.loading import load

    try:
        return pickled(load(asked.path, os.environ, make_secrets=asked.make_secrets, instead=asked.instead))
    except SettingsInvalid as invalid:
        return pickled(invalid)


def _forked(asked: Asked, answer: int, out: BinaryIO) -> _Child:
    """One that has imported all that we have."""
    pid = os.fork()
    if pid:
        return _Child(pid, answer, lambda: os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
    code = 1
    try:
        os.close(answer)
        out.write(_answered(asked))
        out.flush()
        code = 0
    except KeyboardInterrupt:
        pass  # who started us was told to end, too
    except BaseException:
        sys.excepthook(*sys.exc_info())
    finally:
        os._exit(code)


def _started(asked: Asked, answer: int, out: BinaryIO) -> _Child:
    """Another Python with the same code."""
    ours = str(Path(__file__).parents[2])
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join((ours, *sys.path))}
    words = [sys.executable, "-c", f"from {__name__} import main; main()"]
    child = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=out, env=environ)  # noqa: S603 -- ourselves
    assert child.stdin is not None
    with child.stdin:
        child.stdin.write(pickle.dumps(tuple(asked)))
    return _Child(child.pid, answer, child.wait)


def main() -> None:
    """The other Python."""
    asked = Asked(*pickle.load(sys.stdin.buffer))  # noqa: S301 -- of our own parent
    sys.stdout.buffer.write(_answered(asked))
