"""Commands of the gateway as processes of their own, forked from one that has already imported everything.

Python's imports are most of what a start costs, and the suite starts hundreds. So one process of each session of tests
imports them once, and every command is a fork of it that looks like one started from the shell: a session (and group)
of its own, its own environment, folder, files and end. Scripts find it as the command `gateway` in `folder()`. What the
start itself says (preloaded libraries, `ulimit`, the installed command) is started as an operator starts it.

Who asks for a command is connected to the forker until that has ended, and hears of its pid and its exit code. When
whoever asked is gone the command is killed, and when the tests are, so is the forker.
"""

import asyncio
import atexit
import contextlib
import functools
import gc
import importlib
import json
import os
import pkgutil
import runpy
import select
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import traceback
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Any

ROOT = Path(__file__).parents[1]
END_SECONDS_MAX = 60.0
_MESSAGE_BYTES_MAX = 1 << 17
_NUMBER = struct.Struct("i")
_SOCKET = "forker"

_COMMAND = """#!{python} -IS
import json, os, signal, socket, struct, sys
with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as forker:
    forker.connect({path!r})
    wanted = dict(words=["gateway", *sys.argv[1:]], environ=dict(os.environ), folder=os.getcwd())
    socket.send_fds(forker, [json.dumps(wanted).encode()], [0, 1, 2])
    pid, = struct.unpack("i", forker.recv(4))
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR2):
        signal.signal(number, lambda number, _: os.kill(pid, number))
    code, = struct.unpack("i", forker.recv(4))
sys.exit(code if code >= 0 else 128 - code)
"""


class Forked:
    """One that runs. It says its pid first, and its exit code when it has ended: -9 if it was killed by signal 9."""

    def __init__(self, forker: socket.socket) -> None:
        self._forker = forker
        self.pid = self._said()
        self.returncode: int | None = None

    def end(self) -> int:
        """Stand still until it has ended; its exit code. Raises TimeoutError, and it is killed."""
        if self.returncode is None:
            with self._forker:
                self.returncode = self._said()
        return self.returncode

    async def wait(self) -> int:
        """Its exit code, when it has ended."""
        while self.returncode is None:
            if select.select([self._forker], [], [], 0)[0]:
                return self.end()
            await asyncio.sleep(0.005)
        return self.returncode

    def send_signal(self, number: int) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, number)

    def _said(self) -> int:
        said = self._forker.recv(_NUMBER.size)
        if not said:
            raise RuntimeError("the process that forks commands has ended")
        number: int = _NUMBER.unpack(said)[0]
        return number


def start(
    *words: str, err: int, program: Sequence[str] = ("gateway",), environ: Mapping[str, str] | None = None
) -> Forked:
    """`python -m <program> <words>`, with `environ` beside what is in the environment now. What it says is not kept."""
    with Path(os.devnull).open("r+b") as nothing:
        return _ask([*program, *words], environ, [nothing.fileno(), nothing.fileno(), err])


def run(*words: str, environ: Mapping[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    """`gateway <words>` to its end, as `subprocess.run` does it."""
    with Path(os.devnull).open() as nothing, tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        code = _ask(["gateway", *words], environ, [nothing.fileno(), out.fileno(), err.fileno()]).end()
        return subprocess.CompletedProcess(words, code, _read(out), _read(err))


@functools.cache
def folder() -> Path:
    """Where the command `gateway` is that is forked; the forker is started for whoever asks first."""
    made = Path(tempfile.mkdtemp(prefix="gateway-forker-"))
    command, path = made / "gateway", made / _SOCKET
    command.write_text(_COMMAND.format(python=sys.executable, path=str(path)))
    command.chmod(0o755)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with listener:
        listener.bind(str(path))
        listener.listen(100)
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.programs", str(listener.fileno())],
            cwd=ROOT, pass_fds=[listener.fileno()], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL,
        )  # fmt: skip

    def end() -> None:
        process.communicate()
        shutil.rmtree(made, ignore_errors=True)

    atexit.register(end)
    return made


def _ask(words: Sequence[str], environ: Mapping[str, str] | None, files: list[int]) -> Forked:
    wanted = {"words": words, "environ": {**os.environ, **(environ or {})}, "folder": str(Path.cwd())}
    forker = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    forker.settimeout(END_SECONDS_MAX)
    forker.connect(str(folder() / _SOCKET))
    socket.send_fds(forker, [json.dumps(wanted).encode()], files)
    return Forked(forker)


def _read(file: IO[bytes]) -> str:
    file.seek(0)
    return file.read().decode()


# --- the process that forks -------------------------------------------------------------------------------------------


class _Forker:
    def __init__(self, listener: socket.socket) -> None:
        self._listener = listener
        self._living: dict[int, socket.socket] = {}
        self._woken, self._wakes = os.pipe()
        os.set_blocking(self._wakes, False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the tests
        signal.set_wakeup_fd(self._wakes)

    def serve(self) -> list[str]:
        """The words that a fork is to run; in the forker itself it does not return."""
        while True:
            asked = {asker.fileno(): pid for pid, asker in self._living.items()}
            ready = select.select([0, self._listener.fileno(), self._woken, *asked], [], [])[0]
            if self._woken in ready:
                os.read(self._woken, 4096)
                self._reap()
                continue
            for gone in asked.keys() & set(ready):
                self._kill(asked[gone])
            if 0 in ready:
                for pid in self._living:
                    self._kill(pid)
                os._exit(0)
            if self._listener.fileno() in ready and (words := self._fork()):
                return words

    def _fork(self) -> list[str] | None:
        asker, _ = self._listener.accept()
        message, files, _, _ = socket.recv_fds(asker, _MESSAGE_BYTES_MAX, 3)
        if not message:
            return None
        wanted = json.loads(message)
        if pid := os.fork():
            self._living[pid] = asker
            for file in files:
                os.close(file)
            return None
        self._become(wanted, files, asker)
        words: list[str] = wanted["words"]
        return words

    def _become(self, wanted: dict[str, Any], files: list[int], asker: socket.socket) -> None:
        os.setsid()
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        for number, file in enumerate(files):
            os.dup2(file, number)
        os.environ.clear()
        os.environ.update(wanted["environ"])
        os.chdir(wanted["folder"])
        asker.send(_NUMBER.pack(os.getpid()))
        for held in (asker, self._listener, *self._living.values()):
            held.close()
        for file in (self._woken, self._wakes, *files):
            os.close(file)

    def _reap(self) -> None:
        while self._living:
            pid, code = os.waitpid(-1, os.WNOHANG)
            if not pid:
                return
            with self._living.pop(pid) as asker, contextlib.suppress(OSError):
                asker.send(_NUMBER.pack(os.waitstatus_to_exitcode(code)))

    def _kill(self, pid: int) -> None:
        for kill in (os.kill, os.killpg):  # it may have no group yet
            with contextlib.suppress(ProcessLookupError):
                kill(pid, signal.SIGKILL)


def _import_everything() -> None:
    import gateway

    for module in pkgutil.walk_packages(gateway.__path__, "gateway."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
    importlib.import_module("stripe")
    key_pairs = importlib.import_module("tests.key_pairs")
    key_pairs.use()
    key_pairs.prepare()


def _run_to_its_end(program: str) -> int:
    try:
        runpy.run_module(program, run_name="__main__", alter_sys=True)
    except SystemExit as ended:
        if ended.code is not None and not isinstance(ended.code, int):
            print(ended.code, file=sys.stderr)
            return 1
        return ended.code or 0
    except BaseException:
        traceback.print_exc()
        return 1
    return 0


if __name__ == "__main__":
    _import_everything()
    gc.freeze()
    program, *sys.argv[1:] = _Forker(socket.socket(fileno=int(sys.argv[1]))).serve()
    code = _run_to_its_end(program)
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)  # all but to take apart, one by one, what was imported: that costs as much as the imports
