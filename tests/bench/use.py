"""What it costs to read along, and to keep answers (`use`): streams at a flat price and at one by their use, as fast as
they come, and requests that are asked anew beside those that are asked again with the same key.

Of what is asked again the upstream must have heard once for each account, and the books must hold it once.
"""

import sys
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field

from tests.bench import contenders, rounds, tables
from tests.bench.canned import body_of
from tests.bench.contenders import Contender
from tests.bench.farebox import Farebox, Proof
from tests.bench.load import Tally
from tests.bench.processes import BenchFailed, Processes, free_port
from tests.bench.rounds import Round, Shape, Times
from tests.bench.tables import shown
from tests.bench.used import STREAM

_STREAMS = 8
_CALLERS = 64
_KEPT = body_of(512)
_KEY = "Idempotency-Key: 8e03978e-40d5-43e8-bc93-6894a57f9324"
_ROWS = {
    "streamed": ("a stream at a flat price", "streamed"),
    "used": ("a stream priced by its tokens", "streamed"),
    "asked": ("asked anew, strict", "asked"),
    "kept": ("asked again with the same key", "asked"),
}
"""By name: what it is, and what it is compared with."""


@dataclass(frozen=True, slots=True)
class Uses:
    """What the rounds found."""

    rounds: Sequence[Round]
    proof: Proof | None = field(default=None)

    def ratio(self, name: str) -> float | None:
        """To what it is compared with, within a round, in the median."""
        beside = _ROWS[name][1]
        return tables.known(
            [
                tallies[name].per_second / tallies[beside].per_second if tallies[beside].per_second else None
                for tallies in self.rounds
            ]
        )

    def lines(self) -> Iterator[str]:
        rows = [
            [title, shown(tables.known([tallies[name].per_second for tallies in self.rounds]), ",.0f"),
             "1" if name == beside else shown(self.ratio(name), ".3g")]
            for name, (title, beside) in _ROWS.items()
        ]  # fmt: skip
        yield from tables.table([f"{_STREAMS} streams, then {_CALLERS} callers at once", "per second", "ratio"], rows)

    def as_dict(self) -> dict[str, object]:
        return {
            "stream_bytes": len(STREAM),
            "rounds": [{name: asdict(tally) for name, tally in tallies.items()} for tallies in self.rounds],
            "ratios": {name: self.ratio(name) for name in _ROWS},
            "proof": asdict(self.proof) if self.proof else None,
        }


def measured(processes: Processes, times: Times, *, accounts: int, count: int, progress: Callable[[str], None]) -> Uses:
    with processes:
        port = free_port()
        upstream = contenders.started_upstream(processes, [sys.executable, "-m", "tests.bench.used", str(port)], port)
        farebox = Farebox(processes, upstream_port=port)
        shape = Shape(upstream.child.pid, farebox.open_accounts(accounts), STREAM, (), _STREAMS, **asdict(times))
        gateway = {one.name: one for one in contenders.start_gateway(farebox, ("strict", "used", "kept"))}
        found = [_round(processes, gateway, shape, progress) for _ in range(count)]
        sold = _sold(port, found, accounts)
    strict = sum(tallies[name].served for tallies in found for name in ("streamed", "asked"))
    used = sum(tallies["used"].served for tallies in found)
    return Uses(found, farebox.prove({"strict": strict, "used": used, "kept": sold}))


def _round(
    processes: Processes, gateway: Mapping[str, Contender], shape: Shape, progress: Callable[[str], None]
) -> Round:
    def run(route: str, body: bytes, fields: tuple[str, ...], connections: int) -> Tally:
        asked = Shape(
            shape.upstream_pid, shape.tokens, body, fields, connections, shape.seconds, shape.warm_up_seconds
        )  # fmt: skip
        [found] = rounds.run(processes, lambda: [gateway[route]], asked, count=1, progress=progress)
        return found[route]

    return {
        "streamed": run("strict", STREAM, (), _STREAMS),
        "used": run("used", STREAM, (), _STREAMS),
        "asked": run("strict", body_of(1024), (), _CALLERS),
        "kept": run("kept", _KEPT, (_KEY,), _CALLERS),
    }


def _sold(port: int, found: Sequence[Round], accounts: int) -> int:
    """How often what was asked with a key was sold: once for each account that asked. Raises BenchFailed."""
    sold = min(accounts, max(tallies["kept"].sent for tallies in found))
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/asked/{len(_KEPT)}") as answer:
        heard = int(answer.read())
    if heard != sold:
        raise BenchFailed(f"{sold} accounts asked with a key, but the upstream was asked {heard} times")
    return sold
