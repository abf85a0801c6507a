"""How long it takes to begin: `gateway --help`, and from the start of the process to its first answer; and the memory
of a gateway that has answered once and has nothing to do.
"""

import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from tests.bench.farebox import Farebox
from tests.bench.processes import BenchFailed, Processes, first_answer

_HELP_SECONDS_MAX = 30.0
_REST_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Starts:
    """Each trial's figure."""

    help_seconds: list[float] = field(default_factory=list)
    first_answer_seconds: list[float] = field(default_factory=list)
    idle_bytes: list[int] = field(default_factory=list)


def measure(
    processes: Processes, farebox: Farebox, path: str, *, trials: int, progress: Callable[[str], None]
) -> Starts:
    """Every trial starts a process anew. The first start of all does not count: it compiles the modules."""
    starts = Starts()
    _trial(processes, farebox, path, Starts())
    for number in range(trials):
        _trial(processes, farebox, path, starts)
        progress(
            f"start {number + 1} of {trials}  --help {starts.help_seconds[-1]:.2f} s,"
            f" first answer {starts.first_answer_seconds[-1]:.2f} s"
        )
    return starts


def _trial(processes: Processes, farebox: Farebox, path: str, starts: Starts) -> None:
    begun = time.perf_counter()
    command = [sys.executable, "-m", "gateway", "--help"]
    processes.run(command, on=processes.pins.contender, seconds_max=_HELP_SECONDS_MAX)
    starts.help_seconds.append(time.perf_counter() - begun)

    begun = time.perf_counter()
    child = farebox.start()
    child.wait_for(farebox.port)
    status = first_answer(farebox.port, path)
    starts.first_answer_seconds.append(time.perf_counter() - begun)
    if b" 200 " not in status:
        raise BenchFailed(f"the gateway's first answer is {status!r}\n{child.said()}")
    time.sleep(_REST_SECONDS)
    idle = child.resident_bytes()
    if idle is not None:
        starts.idle_bytes.append(idle)
    child.end()
