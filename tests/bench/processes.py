"""The processes of a run: started on their cores, in sessions of their own, and ended by their number.

A session of its own keeps Ctrl-C away from a child: the run alone decides in which order things end, so the gateway
can always write its books to the end. Every child finds its modules compiled, in the run's own folder, whatever is set
or cached outside: else a start would be timed with the compiler in it on one machine and without it on another.
"""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from tests.bench import cores
from tests.bench.cores import Pins

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

ROOT = Path(__file__).resolve().parents[2]
_LISTENS_SECONDS_MAX = 20.0
_ENDS_SECONDS_MAX = 30.0
_LOOK_SECONDS = 0.002
_MORE_SECONDS = 60.0


class BenchFailed(Exception):
    """No figures: something did not start, answered wrongly, or the books are not right. The message says what."""


class Processes:
    """Starts processes, and ends whatever is left of them when it is left itself."""

    def __init__(self, home: Path, pins: Pins, *, compiled: Path | None = None) -> None:
        self.home = home
        self.pins = pins
        self._compiled = compiled or home / "compiled"
        self._started = ExitStack()

    def within(self, name: str) -> "Processes":
        """More of them, which end before these, with a folder of their own."""
        home = self.home / name
        home.mkdir()
        return Processes(home, self.pins, compiled=self._compiled)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Nothing interrupts this: what is being ended is waited for."""
        before = {number: signal.signal(number, signal.SIG_IGN) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            self._started.close()
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def start(self, name: str, command: Sequence[str], *, on: frozenset[int]) -> "Child":
        """Start something that runs until it is ended; it may not listen yet."""
        errors = self.home / f"{name}.stderr"
        with errors.open("wb") as opened, cores.on(on):
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=opened,
                cwd=ROOT,
                env=self._environment(),
                start_new_session=True,
            )
        child = Child(name, process, errors)
        self._started.callback(child.end)
        return child

    def run(self, command: Sequence[str], *, on: frozenset[int], seconds_max: float, stdin: str = "") -> str:
        """Run something to its end; what it printed. Raises BenchFailed."""
        try:
            with cores.on(on):
                done = subprocess.run(
                    command,
                    input=stdin,
                    capture_output=True,
                    text=True,
                    cwd=ROOT,
                    env=self._environment(),
                    start_new_session=True,
                    timeout=seconds_max,
                    check=False,
                )
        except subprocess.TimeoutExpired:
            raise BenchFailed(f"{' '.join(command)} did not end within {seconds_max:.0f} s") from None
        if done.returncode:
            raise BenchFailed(f"{' '.join(command)} ended with code {done.returncode}\n{done.stderr[-2000:]}")
        return done.stdout

    def ask(self, module: str, plan: "DataclassInstance", *, seconds: float) -> dict[str, Any]:
        """A load's tally: a module of ours, on the others' cores, takes a plan as JSON and prints its tally as JSON."""
        command = [sys.executable, "-m", module]
        content = json.dumps(asdict(plan))
        printed = self.run(command, on=self.pins.others, seconds_max=seconds + _MORE_SECONDS, stdin=content)
        tally: dict[str, Any] = json.loads(printed)
        return tally

    def _environment(self) -> Mapping[str, str]:
        """Ours, without what would configure the gateway."""
        ours = {name: value for name, value in os.environ.items() if not name.startswith("GATEWAY_")}
        ours.pop("PYTHONDONTWRITEBYTECODE", None)
        return {**ours, "PYTHONPYCACHEPREFIX": str(self._compiled)}


class Child:
    """A process of ours. What it says on its standard error is kept in a file, for the message of a failure."""

    def __init__(self, name: str, process: "subprocess.Popen[bytes]", errors: Path) -> None:
        self.name = name
        self.pid = process.pid
        self._process = process
        self._errors = errors

    def end(self) -> None:
        """Ask it to end, and see to it."""
        if self._process.poll() is not None:
            return
        self._process.terminate()
        try:
            self._process.wait(_ENDS_SECONDS_MAX)
        except subprocess.TimeoutExpired:
            os.killpg(self.pid, signal.SIGKILL)
            self._process.wait(_ENDS_SECONDS_MAX)
            raise BenchFailed(f"{self.name} did not end within {_ENDS_SECONDS_MAX:.0f} s\n{self.said()}") from None

    def wait_for(self, port: int) -> None:
        """Until it listens. Raises BenchFailed if it ended instead or takes too long."""
        deadline = time.monotonic() + _LISTENS_SECONDS_MAX
        while not listens(port):
            if self._process.poll() is not None:
                raise BenchFailed(f"{self.name} ended with code {self._process.returncode}\n{self.said()}")
            if time.monotonic() > deadline:
                raise BenchFailed(f"{self.name} does not listen on port {port}\n{self.said()}")
            time.sleep(_LOOK_SECONDS)

    def said(self) -> str:
        return self._errors.read_text(errors="replace")[-2000:]

    def resident_bytes(self) -> int | None:
        """The memory that it occupies now; None where the system does not tell."""
        return resident_bytes(self.pid)


def resident_bytes(pid: int) -> int | None:
    """The memory that a process occupies now; None where the system does not tell."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("VmRSS:")), None)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def first_answer(port: int, path: str, fields: str = "") -> bytes:
    """The status line of one request, made by hand on a connection of its own. Each of the fields ends its line."""
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        connection.sendall(
            f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: close\r\n{fields}\r\n".encode()
        )
        with connection.makefile("rb") as answer:
            return answer.readline()
