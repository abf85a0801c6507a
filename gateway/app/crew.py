"""The parent of several processes: it binds the sockets, forks, watches, replaces, and decides nothing else.

One process keeps the books, `workers` serve callers. All listening sockets are the parent's, so that a process that is
replaced loses no connection: whoever connects meanwhile waits in the socket's queue. (A socket of each worker's own,
`SO_REUSEPORT`, resets what waits in its queue when the worker ends.)

- **Whoever ends is replaced**, at once the first time and later, up to two seconds, while that keeps happening.
- **Whoever is silent is ended.** A process says every second that it is alive; after five without a word (stopped, or
  stuck in something) it is killed, so that the money in its slices comes back. When it was the parent that slept, it
  counts anew. Until then nobody waits for it but who asks for money in its slices (503, never a false 402) or for a
  refund: answers of the others are gated by the disk alone. What it does hold back is the watermark (`core/ledger.py`),
  which cannot pass a record of which only it knows whether its answer began. So it costs something if the *whole host*
  dies in these seconds: what its other workers answered since the silence began is given away, counted and shown, not
  the last commit or two alone. (A keeper that dies alone asks the workers, and voids nothing of those that live.)
  Storing what has begun beyond the mark with every batch would mend that, at a price for every commit on every day.
- **A reload** is read by the parent first; only what is right goes on to the others. A worker that is forked later
  gets the last configuration that was right, whatever stands in the file by then.
- **A restart** replaces worker by worker: the next leaves when the new one before it is ready. The keeper stays.
- **To stop**, workers finish first, then the keeper: what they report is still written.

The parent runs no event loop and no thread, because a fork copies neither; its children begin with a clean slate.
"""

import os
import selectors
import signal
import socket
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, NoReturn

from gateway.app.channel import Messages, Word, written
from gateway.app.gateway import url_of
from gateway.app.members import KeeperMember, Member, Post, Worker
from gateway.app.places import listening
from gateway.app.running import refused
from gateway.settings import Settings, SettingsInvalid, UnixSocket

SILENT_SECONDS_MAX = 5.0
SHORT_LIFE_SECONDS = 5.0
BACK_OFF_SECONDS_MAX = 2.0
_TICK_SECONDS = 0.5
_START_SECONDS_MAX = 30.0
_STOP_SECONDS_MORE = 10.0  # beyond what requests under way may take

_KEPT = ("workers", "listen", "admin", "store_path", "secrets_path")
"""What only a new parent can change."""

_NOBODY = 0
"""The number of no question."""

Runs = Callable[[Member], int]
"""Runs one process to its end; its exit code."""


class CannotStart(Exception):
    """A process ended before it was ready for the first time; it has said why."""

    def __init__(self, code: int) -> None:
        super().__init__(f"exit code {code}")
        self.code = code


class Child:
    """One process, as its parent sees it."""

    def __init__(self, role: str, slot: int, name: str, pid: int, channel: socket.socket, now: float) -> None:
        self.role = role
        self.slot = slot
        self.name = name
        self.pid = pid
        self.channel = channel
        self.born = now
        self.heard = now
        self.ready = False
        self.leaving = False
        self.messages = Messages()
        self.unsent = bytearray()


class Crew:
    """All processes of one gateway. `runs` is given each in its own process."""

    def __init__(
        self, settings: Settings, *, load: Callable[..., Settings], report: Callable[..., None], runs: Runs
    ) -> None:
        self._settings = settings
        self._load = load
        self._report = report
        self._runs = runs
        self._children: dict[int, Child] = {}
        self._failures: dict[tuple[str, int], int] = {}
        self._due: dict[tuple[str, int], float] = {}
        self._selector = selectors.DefaultSelector()
        self._signals: list[int] = []
        self._stopping = False
        self._started = False
        self._woke = time.monotonic()
        self._reloading: tuple[Child | None, int, int, dict[str, Any], set[int]] | None = None
        self._restarting: tuple[Child | None, int, list[int]] | None = None
        self._reloads = 0
        self._name = os.urandom(8).hex()

    # --- life ---------------------------------------------------------------------------------------------------------

    def run(self, listening: Callable[[str, str], None]) -> int:
        """Until a signal says stop; the exit code. `listening` is told the addresses when all are ready.

        Raises OSError when an address is taken, CannotStart.
        """
        folder = Path(tempfile.mkdtemp(prefix="gateway-"))
        self._line_path = str(folder / "keeper")
        try:
            self._bind()
            self._watch_signals()
            self._fork("keeper", 0)
            for slot in range(self._settings.workers):
                self._fork("worker", slot)
            self._until(self._all_ready, _START_SECONDS_MAX)
            self._started = True
            listening(self._address, url_of("http", self._admin.getsockname()))
            while not self._stopping:
                self._turn()
            self._stop()
        finally:
            self._end_all()
            with suppress(OSError):
                os.unlink(self._line_path)
            with suppress(OSError):
                folder.rmdir()
        return 0

    def _bind(self) -> None:
        settings = self._settings
        self._line = socket.socket(socket.AF_UNIX)
        self._line.bind(self._line_path)
        self._line.listen(128)
        self._admin = _tcp("admin", settings.admin)
        if isinstance(settings.listen, UnixSocket):
            with listening("listen", settings.listen.path):
                self._listening = _unix(settings.listen.path)
            self._address = f"unix:{settings.listen.path}"
        else:
            self._listening = _tcp("listen", settings.listen)
            self._address = url_of("https" if settings.tls else "http", self._listening.getsockname())
        self._listening.listen(1024)

    def _watch_signals(self) -> None:
        self._wake, wake = socket.socketpair()
        self._wake.setblocking(False)
        wake.setblocking(False)
        self._wake_end = wake
        signal.set_wakeup_fd(wake.fileno(), warn_on_full_buffer=False)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2, signal.SIGCHLD):
            signal.signal(number, lambda number, _: self._signals.append(number))
        self._selector.register(self._wake, selectors.EVENT_READ)

    def _all_ready(self) -> bool:
        return all(child.ready for child in self._children.values()) and len(self._children) > self._settings.workers

    def _stop(self) -> None:
        """The workers first, so that the keeper writes down what they still report."""
        bound = self._settings.timeouts.shutdown_seconds + _STOP_SECONDS_MORE
        for child in self._of("worker"):
            self._tell(child, Word.STOP)
        self._until(lambda: not self._of("worker"), bound, or_fail=False)
        for child in self._of("worker"):
            _kill(child.pid)
        self._until(lambda: not self._of("worker"), bound, or_fail=False)
        for child in self._of("keeper"):
            self._tell(child, Word.STOP)
        self._until(lambda: not self._children, bound, or_fail=False)

    def _end_all(self) -> None:
        """Whatever is left: no process outlives its parent."""
        for child in list(self._children.values()):
            _kill(child.pid)
            with suppress(ChildProcessError):
                os.waitpid(child.pid, 0)
        self._children.clear()

    def _until(self, condition: Callable[[], bool], seconds: float, *, or_fail: bool = True) -> None:
        end = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > end:
                if or_fail:
                    raise CannotStart(3)
                return
            self._turn()

    def _of(self, role: str) -> list[Child]:
        return [child for child in self._children.values() if child.role == role]

    # --- one turn -----------------------------------------------------------------------------------------------------

    def _turn(self) -> None:
        for key, _ in self._selector.select(_TICK_SECONDS):
            if key.fileobj is self._wake:
                with suppress(BlockingIOError):
                    self._wake.recv(4096)
            else:
                self._hear(key.data)
        for number in self._signals[:]:
            self._signals.remove(number)
            self._obey(number)
        self._reap()
        now = time.monotonic()
        slept, self._woke = now - self._woke > SILENT_SECONDS_MAX / 2, now
        for child in list(self._children.values()):
            self._flush(child)
            if slept:
                child.heard = now
            elif now - child.heard > SILENT_SECONDS_MAX:
                self._report("process killed", role=child.role, slot=child.slot, why="it was silent for 5 s")
                child.heard = now
                _kill(child.pid)
        for (role, slot), due in list(self._due.items()):
            if now >= due and not self._stopping:
                del self._due[role, slot]
                self._fork(role, slot)
        self._go_on_restarting()

    def _obey(self, number: int) -> None:
        if number in (signal.SIGTERM, signal.SIGINT):
            self._stopping = True
        elif number == signal.SIGHUP:
            self._reload(None, 0)
        elif number == signal.SIGUSR2:
            self._restart(None, 0)

    def _reap(self) -> None:
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if not pid:
                return
            child = self._children.pop(pid, None)
            if child is not None:
                self._ended(child, os.waitstatus_to_exitcode(status))

    def _ended(self, child: Child, code: int) -> None:
        self._selector.unregister(child.channel)
        child.channel.close()
        self._reloaded(child, None)
        if not self._started and not self._stopping:
            raise CannotStart(code if code > 0 else 3)
        if child.leaving or self._stopping:
            return
        place, now = (child.role, child.slot), time.monotonic()
        failures = self._failures[place] = (
            0 if now - child.born > SHORT_LIFE_SECONDS else self._failures.get(place, 0) + 1
        )
        wait = 0.0 if failures <= 1 else min(BACK_OFF_SECONDS_MAX, 0.1 * 2 ** (failures - 2))
        self._due[place] = now + wait
        self._report("process ended", role=child.role, slot=child.slot, code=code, again_in_seconds=wait)

    # --- processes ----------------------------------------------------------------------------------------------------

    def _fork(self, role: str, slot: int) -> Child:
        ours, theirs = socket.socketpair()
        name = os.urandom(8).hex()
        survivors = tuple(child.name for child in self._of("worker"))
        sys.stdout.flush()
        sys.stderr.flush()
        pid = os.fork()
        if not pid:
            self._be(role, slot, name, ours, theirs, survivors)
        theirs.close()
        ours.setblocking(False)
        child = self._children[pid] = Child(role, slot, name, pid, ours, time.monotonic())
        self._selector.register(ours, selectors.EVENT_READ, child)
        return child

    def _be(
        self, role: str, slot: int, name: str, ours: socket.socket, theirs: socket.socket, survivors: tuple[str, ...]
    ) -> NoReturn:
        """The child's life. It never comes back: nothing of the parent's runs twice."""
        code = 3
        try:
            signal.set_wakeup_fd(-1)
            _call_oneself("gateway-keeper" if role == "keeper" else f"gateway-w{slot}")
            for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2):
                signal.signal(number, signal.SIG_IGN)  # the parent says when
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            self._selector.close()
            for unneeded in (ours, self._wake, self._wake_end, *(child.channel for child in self._children.values())):
                unneeded.close()
            post = Post(self._settings, self._load, self._report, theirs, self._line_path, slot, name, self._name)
            member: Member
            if role == "keeper":
                self._listening.close()
                member = KeeperMember(post, self._line, self._admin, survivors=survivors)
            else:
                self._line.close()
                self._admin.close()
                member = Worker(post, self._listening)
            code = self._runs(member)
        finally:
            os._exit(code)

    # --- messages -----------------------------------------------------------------------------------------------------

    def _tell(self, child: Child, word: Word, contents: Any = None) -> None:
        child.unsent += written(word, contents)
        self._flush(child)

    def _flush(self, child: Child) -> None:
        """What does not fit now goes with the next turn: no child can hold its parent up."""
        while child.unsent:
            try:
                del child.unsent[: child.channel.send(child.unsent)]
            except BlockingIOError:
                return
            except OSError:
                child.unsent.clear()

    def _hear(self, child: Child) -> None:
        try:
            data = child.channel.recv(65536)
        except OSError:
            data = b""
        if not data:
            if child.pid in self._children and child.channel in self._selector.get_map():
                time.sleep(0.001)  # it is ending: the system tells in a moment
            return
        child.heard = time.monotonic()
        for word, contents in child.messages.feed(data):
            if word is Word.READY:
                child.ready = True
            elif word is Word.RELOADED:
                self._reloaded(child, contents)
            elif word is Word.ASKED:
                number, what = contents
                (self._restart if what == "restart" else self._reload)(child, number)

    # --- reload and restart -------------------------------------------------------------------------------------------

    def _read(self) -> dict[str, Any] | None:
        """Read the configuration; what is wrong with it, or None when from now on it is the one."""
        try:
            read = self._load()
        except SettingsInvalid as invalid:
            return refused(invalid, self._report)
        kept = {name: getattr(self._settings, name) for name in _KEPT}
        self._settings = replace(read, **kept)
        return None

    def _reload(self, asker: Child | None, number: int) -> None:
        wrong = self._read() if self._reloading is None else {"reloaded": False, "mistakes": ["a reload is under way"]}
        if wrong is not None:
            self._answer(asker, number, wrong)
            return
        self._reloads += 1
        members = {pid for pid, child in self._children.items() if not child.leaving}  # the keeper for its keys
        self._reloading = (asker, number, self._reloads, {}, members)
        for pid in members:
            self._tell(self._children[pid], Word.RELOAD, self._reloads)

    def _reloaded(self, child: Child, contents: Any) -> None:
        """A process goes on by the new configuration, or has ended (its replacement does)."""
        if self._reloading is None:
            return
        asker, number, reload, outcome, missing = self._reloading
        if contents is not None:
            which, told = contents
            if which != reload:
                return
            if told["reloaded"]:
                outcome.update(told)
            else:
                _kill(child.pid)  # the file was changed between the two readings: it is replaced by one that is right
        missing.discard(child.pid)
        if missing:
            return
        self._reloading = None
        nothing: dict[str, Any] = {name: [] for name in ("keys", "added", "changed", "removed", "needs_restart")}
        outcome = {**nothing, **outcome, "reloaded": True}
        self._report("configuration reloaded", level="info", **outcome)
        self._answer(asker, number, outcome)

    def _restart(self, asker: Child | None, number: int) -> None:
        """Replace the workers, one after the other."""
        busy = self._restarting is not None
        wrong = {"restarted": False, "mistakes": ["a restart is under way"]} if busy else self._read()
        if wrong is not None:
            self._answer(asker, number, {"restarted": False, "mistakes": wrong["mistakes"]})
            return
        self._restarting = (asker, number, list(range(self._settings.workers)))
        self._replacement: Child | None = None

    def _go_on_restarting(self) -> None:
        if self._restarting is None or self._stopping:
            return
        asker, number, left = self._restarting
        new = self._replacement
        if new is not None and new.pid in self._children and not new.ready:
            return
        if new is not None and new.ready:
            for child in self._of("worker"):
                if child.slot == new.slot and child is not new and not child.leaving:
                    child.leaving = True
                    self._tell(child, Word.LEAVE)
            left.remove(new.slot)
        self._replacement = None
        if left:
            self._replacement = self._fork("worker", left[0])
            return
        self._restarting = None
        self._report("workers replaced", level="info", workers=self._settings.workers)
        self._answer(asker, number, {"restarted": True, "workers": self._settings.workers})

    def _answer(self, asker: Child | None, number: int, outcome: dict[str, Any]) -> None:
        if asker is not None:
            self._tell(asker, Word.OUTCOME, [number, outcome])
        for keeper in self._of("keeper") if asker is None or asker.role != "keeper" else ():
            self._tell(keeper, Word.OUTCOME, [_NOBODY, outcome])  # which counts them


def _tcp(setting: str, address: tuple[str, int]) -> socket.socket:
    """Bound, and open to be taken over by the next gateway at once. Raises OSError."""
    host, port = address
    with listening(setting, f"{host}:{port}"):
        family, kind, _, _, where = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        made = socket.socket(family, kind)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            made.bind(where)
        except OSError:
            made.close()
            raise
    made.setblocking(False)
    return made


def _unix(path: str) -> socket.socket:
    """Bound, in the place of one that a gateway before us left behind. Raises OSError."""
    made = socket.socket(socket.AF_UNIX)
    with suppress(FileNotFoundError):
        if Path(path).is_socket():
            os.unlink(path)
    made.bind(path)
    made.setblocking(False)
    return made


def _call_oneself(name: str) -> None:
    """So that `ps` and `top` tell the processes apart (15 characters). Elsewhere than on Linux they all look alike."""
    with suppress(OSError):
        Path("/proc/self/comm").write_text(name)


def _kill(pid: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
