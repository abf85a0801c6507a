"""100 MB down and up (`mass`): how fast, and how much memory the proxy takes while it passes.

For the speed, both ends are as fast as they can be. For the memory, the reading end takes 50 MB a second and the
writing end gives what it is let: a proxy without back-pressure would have the difference in its memory. The memory is
the process' resident set, looked at every few milliseconds through `/proc` for as long as the bytes pass, over what it
was when the contender had only just started. nginx stands beside the gateway with neither bodies nor answers put on the
disk.
"""

import statistics
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field

from tests.bench import contenders, nginx, rounds, tables
from tests.bench.contenders import Contender
from tests.bench.farebox import Farebox
from tests.bench.mass import STUCK_SECONDS, Plan, Tally, Way
from tests.bench.processes import BenchFailed, Processes, first_answer, free_port
from tests.bench.tables import shown

SIZE_BYTES = 100_000_000
SLOW_BYTES_PER_SECOND = 50_000_000

_WAYS: tuple[Way, ...] = ("down", "up")
_REST_SECONDS = 0.3


@dataclass(frozen=True, slots=True)
class Bulk:
    """What the rounds found."""

    size: int
    titles: Mapping[str, str]
    idle_bytes: Mapping[str, int | None]
    rounds: list[Mapping[str, Sequence[Tally]]] = field(default_factory=list)

    def bytes_per_second(self, name: str, way: Way) -> float:
        return statistics.median(self.size / _fast(tallies[name], way).seconds for tallies in self.rounds)

    def ratio(self, name: str, way: Way) -> float | None:
        """To nginx in the same round, in the median."""
        if "nginx" not in self.titles:
            return None
        return statistics.median(
            _fast(tallies["nginx"], way).seconds / _fast(tallies[name], way).seconds for tallies in self.rounds
        )

    def more_bytes(self, name: str, way: Way) -> int | None:
        """The most memory over that of the idle process, in all passes of that way."""
        idle = self.idle_bytes[name]
        tallies = (tally for round_ in self.rounds for tally in round_[name] if tally.way == way)
        peaks = [tally.peak_bytes for tally in tallies if tally.peak_bytes is not None]
        return None if idle is None or not peaks else max(peaks) - idle

    def lines(self) -> Iterator[str]:
        heads = [f"{self.size / 1e6:,.0f} MB", "idle MiB"]
        for way in _WAYS:
            heads += [f"{way} MB/s", "÷ nginx", "more MiB"]
        yield from tables.table(heads, [self._row(name, title) for name, title in self.titles.items()])

    def as_dict(self) -> dict[str, object]:
        return {
            "size": self.size,
            "idle_bytes": self.idle_bytes,
            "rounds": [
                {name: [asdict(tally) for tally in tallies] for name, tallies in round_.items()}
                for round_ in self.rounds
            ],
            "more_bytes": {name: {way: self.more_bytes(name, way) for way in _WAYS} for name in self.titles},
            "ratios": {name: {way: self.ratio(name, way) for way in _WAYS} for name in self.titles},
        }

    def _row(self, name: str, title: str) -> list[str]:
        cells = [title, shown(_mib(self.idle_bytes[name]), ".1f")]
        for way in _WAYS:
            cells += [
                f"{self.bytes_per_second(name, way) / 1e6:,.0f}",
                "1" if name == "nginx" else shown(self.ratio(name, way), ".3g"),
                shown(_mib(self.more_bytes(name, way)), ".1f"),
            ]
        return cells


def measured(processes: Processes, *, count: int, size: int, progress: Callable[[str], None]) -> Bulk:
    with processes:
        port = free_port()
        upstream = contenders.started_upstream(processes, [sys.executable, "-m", "tests.bench.mass", str(port)], port)
        farebox = Farebox(processes, upstream_port=port)
        _start_and_end(farebox)
        everybody = [
            *contenders.start_nginx(processes, upstream, more=nginx.IN_BULK),
            *contenders.start_gateway(farebox, ("free",)),
        ]
        for contender in everybody:
            first_answer(contender.port, f"{contender.prefix}1")
        time.sleep(_REST_SECONDS)
        idle = {contender.name: contender.child.resident_bytes() for contender in everybody}
        found = Bulk(size, {contender.name: contender.title for contender in everybody}, idle)
        for number, order in enumerate(rounds.orders(everybody, count)):
            tallies = {contender.name: _run(processes, contender, size) for contender in order}
            for contender in order:
                speed = size / _fast(tallies[contender.name], "down").seconds
                progress(f"bulk {number + 1} of {count}  {contender.title:<28} down {speed / 1e6:,.0f} MB/s")
            found.rounds.append(tallies)
        return found


def _start_and_end(farebox: Farebox) -> None:
    """The first start of all may compile the modules, which leaves memory behind that later starts never had."""
    child = farebox.start()
    child.wait_for(farebox.port)
    child.end()


def _run(processes: Processes, contender: Contender, size: int) -> Sequence[Tally]:
    """Slowly and fast, down and up."""
    tallies = []
    for bytes_per_second in (SLOW_BYTES_PER_SECOND, 0):
        for way in _WAYS:
            plan = Plan(contender.port, contender.prefix, way, bytes_per_second, contender.child.pid, size)
            tally = Tally(**processes.ask("tests.bench.mass", plan, seconds=STUCK_SECONDS))
            if not tally.right:
                raise BenchFailed(
                    f"{contender.title}: not all of {size:,} bytes came right on their way {way}\n{tally.said}\n"
                    f"{contender.child.said()}"
                )
            tallies.append(tally)
    return tallies


def _fast(tallies: Sequence[Tally], way: Way) -> Tally:
    return next(tally for tally in tallies if tally.way == way and not tally.bytes_per_second)


def _mib(size: int | None) -> float | None:
    return None if size is None else size / 2**20
