"""Cores: who runs on which, and how busy each was.

The contender has the first core to itself; the load generator and the upstream share the others. A core's busy time
comes from the kernel and includes what it does on behalf of a process outside of it (half of a proxy's network work),
so a core that is full is the one figure that says whether the contender or the load side set the pace. Where the
system has no affinities or no `/proc`, everything runs anywhere and nothing is said about it.
"""

import os
import sys
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

_CORES_AT_START = sorted(os.sched_getaffinity(0)) if sys.platform == "linux" else []


@dataclass(frozen=True, slots=True)
class Pins:
    """The contender's cores and everybody else's; both empty where nothing is pinned."""

    contender: frozenset[int] = frozenset()
    others: frozenset[int] = frozenset()


def pins() -> Pins:
    """How the cores that this program may use are shared out."""
    if len(_CORES_AT_START) < 2:
        return Pins()
    return Pins(frozenset(_CORES_AT_START[:1]), frozenset(_CORES_AT_START[1:]))


@contextmanager
def on(cores: frozenset[int]) -> Iterator[None]:
    """What is started inside inherits these cores: it never runs an instruction elsewhere."""
    if not cores or sys.platform != "linux":
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


@dataclass(frozen=True, slots=True)
class Spent:
    """What some cores, and the processes that belong there, had spent at one moment; in ticks."""

    total: int
    busy: int
    in_processes: int
    by_ours: int


def spent(cores: Collection[int], pids: Collection[int]) -> Spent | None:
    """None where the system does not tell."""
    try:
        lines = Path("/proc/stat").read_text().splitlines()
        ours = [Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split() for pid in pids]
    except OSError:
        return None
    wanted = {f"cpu{core}" for core in cores}
    total = busy = in_processes = 0
    for words in (line.split() for line in lines):
        if words[0] in wanted:
            user, nice, system, idle, waiting, hard, soft, stolen = map(int, words[1:9])
            in_processes += user + nice + system
            busy += user + nice + system + hard + soft + stolen
            total += user + nice + system + hard + soft + stolen + idle + waiting
    by_ours = sum(int(process[11]) + int(process[12]) for process in ours)
    return Spent(total, busy, in_processes, by_ours) if total else None


@dataclass(frozen=True, slots=True)
class Share:
    """Of a stretch of time: how busy the cores were, and how much of them went to strangers."""

    busy: float
    strangers: float


def share(before: Spent | None, after: Spent | None) -> Share | None:
    if before is None or after is None or after.total <= before.total:
        return None
    total = after.total - before.total
    strangers = (after.in_processes - before.in_processes) - (after.by_ours - before.by_ours)
    return Share((after.busy - before.busy) / total, max(0, strangers) / total)
