"""How late events are (`events`): from the upstream's write to the caller's read, on 50 streams, one every 20 ms each.

nginx stands beside the gateway, with `proxy_buffering off`.
"""

import statistics
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field

from tests.bench import contenders, nginx, rounds, tables
from tests.bench.contenders import Contender
from tests.bench.events import INTERVAL_SECONDS, STREAMS, Plan, Tally
from tests.bench.farebox import Farebox
from tests.bench.processes import BenchFailed, Processes, free_port
from tests.bench.rounds import Times
from tests.bench.tables import shown

_FIGURES = ("p50_ms", "p99_ms")


@dataclass(frozen=True, slots=True)
class Lags:
    """What the rounds found."""

    titles: Mapping[str, str]
    rounds: list[Mapping[str, Tally]] = field(default_factory=list)

    def more_ms(self, name: str, figure: str) -> float | None:
        """Than nginx in the same round, in the median."""
        if "nginx" not in self.titles:
            return None
        pairs = ((getattr(tallies[name], figure), getattr(tallies["nginx"], figure)) for tallies in self.rounds)
        return float(statistics.median(value - base for value, base in pairs))

    def lines(self) -> Iterator[str]:
        heads = [f"{STREAMS} streams, an event every {INTERVAL_SECONDS * 1000:.0f} ms", "lag p50 ms", "lag p99 ms"]
        rows = [
            [
                title,
                *(f"{statistics.median(getattr(tallies[name], of) for tallies in self.rounds):.2f}" for of in _FIGURES),
                *("0" if name == "nginx" else shown(self.more_ms(name, of), "+.2f") for of in _FIGURES),
            ]
            for name, title in self.titles.items()
        ]
        yield from tables.table([*heads, "p50 over nginx's", "p99 over nginx's"], rows)

    def as_dict(self) -> dict[str, object]:
        return {
            "rounds": [{name: asdict(tally) for name, tally in tallies.items()} for tallies in self.rounds],
            "more_ms": {name: {figure: self.more_ms(name, figure) for figure in _FIGURES} for name in self.titles},
        }


def measured(processes: Processes, times: Times, *, count: int, progress: Callable[[str], None]) -> Lags:
    with processes:
        port = free_port()
        upstream = contenders.started_upstream(processes, [sys.executable, "-m", "tests.bench.events", str(port)], port)
        farebox = Farebox(processes, upstream_port=port)
        everybody = [
            *contenders.start_nginx(processes, upstream, more=nginx.AT_ONCE),
            *contenders.start_gateway(farebox, ("free",)),
        ]
        found = Lags({contender.name: contender.title for contender in everybody})
        for number, order in enumerate(rounds.orders(everybody, count)):
            tallies = {contender.name: _run(processes, contender, times) for contender in order}
            for contender in order:
                tally = tallies[contender.name]
                progress(f"events {number + 1} of {count}  {contender.title:<28} lag p99 {tally.p99_ms:.2f} ms")
            found.rounds.append(tallies)
        return found


def _run(processes: Processes, contender: Contender, times: Times) -> Tally:
    plan = Plan(contender.port, contender.prefix, **asdict(times))
    tally = Tally(**processes.ask("tests.bench.events", plan, seconds=times.seconds))
    if tally.whole != tally.streams:
        raise BenchFailed(
            f"{contender.title}: of {tally.streams} streams of {plan.events} events {tally.whole} came whole\n"
            f"{tally.first_wrong}\n{contender.child.said()}"
        )
    return tally
