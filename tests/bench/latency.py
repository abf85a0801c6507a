"""How long one request takes while the gateway is not full: 1,000 requests a second, on a fixed schedule (`paced`).

What the load itself is late by is in the figures of all contenders alike, and said beside them.
"""

import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field

from tests.bench import contenders, rounds, tables
from tests.bench.contenders import Contender
from tests.bench.farebox import Farebox, Proof
from tests.bench.paced import PER_SECOND, Plan, Tally
from tests.bench.processes import BenchFailed, Processes
from tests.bench.rounds import Times
from tests.bench.tables import shown

_BODY = contenders.body(1024)


@dataclass(frozen=True, slots=True)
class Latency:
    """What the rounds found."""

    titles: Mapping[str, str]
    proof: Proof
    rounds: list[Mapping[str, Tally]] = field(default_factory=list)

    def more_p99_ms(self, name: str) -> float | None:
        """Than nginx in the same round, in the median."""
        if "nginx" not in self.titles:
            return None
        return statistics.median(tallies[name].p99_ms - tallies["nginx"].p99_ms for tallies in self.rounds)

    def lines(self) -> Iterator[str]:
        yield from tables.table(
            [f"{PER_SECOND:,} requests/s, open load", "p50 ms", "p99 ms", "p99 over nginx's", "sent late, p99"],
            [
                [
                    title,
                    *(f"{self._median(name, figure):.2f}" for figure in ("p50_ms", "p99_ms")),
                    "0" if name == "nginx" else shown(self.more_p99_ms(name), "+.2f"),
                    f"{self._median(name, 'late_p99_ms'):.2f}",
                ]
                for name, title in self.titles.items()
            ],
        )

    def as_dict(self) -> dict[str, object]:
        return {
            "per_second": PER_SECOND,
            "rounds": [{name: asdict(tally) for name, tally in tallies.items()} for tallies in self.rounds],
            "more_p99_ms": {name: self.more_p99_ms(name) for name in self.titles},
            "proof": asdict(self.proof),
        }

    def _median(self, name: str, figure: str) -> float:
        return float(statistics.median(getattr(tallies[name], figure) for tallies in self.rounds))


def measured(
    processes: Processes, times: Times, *, accounts: int, count: int, progress: Callable[[str], None]
) -> Latency:
    """All rounds, and the books after them."""
    with processes:
        upstream = contenders.start_upstream(processes, bodies=(_BODY,))
        farebox = Farebox(processes, upstream_port=upstream.port)
        tokens = farebox.open_accounts(accounts)
        everybody = [
            *contenders.start_nginx(processes, upstream),
            *contenders.start_gateway(farebox, ("free", "strict")),
        ]
        found: list[Mapping[str, Tally]] = []
        for number, order in enumerate(rounds.orders(everybody, count)):
            tallies = {contender.name: _run(processes, contender, tokens, times) for contender in order}
            for contender in order:
                tally = tallies[contender.name]
                progress(f"latency {number + 1} of {count}  {contender.title:<28} p99 {tally.p99_ms:.2f} ms")
            found.append(tallies)
    served = {"strict": sum(tallies["strict"].served for tallies in found)}
    return Latency({contender.name: contender.title for contender in everybody}, farebox.prove(served), found)


def _run(processes: Processes, contender: Contender, tokens: Sequence[str], times: Times) -> Tally:
    path = f"{contender.prefix}{len(_BODY)}"
    plan = Plan(contender.port, path, tuple(tokens), _BODY.decode(), **asdict(times))
    tally = Tally(**processes.ask("tests.bench.paced", plan, seconds=times.seconds))
    if not tally.right:
        raise BenchFailed(rounds.what_was_wrong(contender, tally.sent, tally.wrong, tally.missing, tally.first_wrong))
    return tally
