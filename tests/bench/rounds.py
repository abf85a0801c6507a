"""Rounds: everybody runs once in each, one after the other, and begins at another place in the next.

So what changes while the run lasts (a warmer machine, a neighbour, a longer ledger) falls on all of them alike, and a
ratio is only ever taken between two that ran in the same round.
"""

import json
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from tests.bench.contenders import Contender
from tests.bench.cores import Share
from tests.bench.load import Plan, Tally
from tests.bench.processes import BenchFailed, Processes

_MORE_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Shape:
    """What every contender is asked, and who answers in the end."""

    upstream_pid: int
    tokens: tuple[str, ...]
    body: bytes
    fields: tuple[str, ...]
    connections: int
    seconds: float
    warm_up_seconds: float


Round = Mapping[str, Tally]
"""By the contender's name."""


def run(
    processes: Processes,
    contenders: Sequence[Contender],
    shape: Shape,
    *,
    count: int,
    progress: Callable[[str], None],
) -> list[Round]:
    """All rounds. Raises BenchFailed at the first answer that was not right."""
    rounds: list[Round] = []
    for number in range(count):
        first = number % len(contenders)
        tallies = {}
        for contender in (*contenders[first:], *contenders[:first]):
            tally = tallies[contender.name] = _load(processes, contender, shape)
            progress(f"round {number + 1} of {count}  {contender.title:<38} {tally.per_second:>8,.0f}/s")
            if not tally.right:
                raise BenchFailed(_what_was_wrong(contender, tally))
        rounds.append(tallies)
    return rounds


def served(rounds: Sequence[Round], contenders: Sequence[Contender]) -> Mapping[str, int]:
    """How many requests each priced route answered, warm-ups and all."""
    return {
        contender.route: sum(tallies[contender.name].served for tallies in rounds)
        for contender in contenders
        if contender.route is not None
    }


def _load(processes: Processes, contender: Contender, shape: Shape) -> Tally:
    """One contender under load, from a process of its own."""
    plan = Plan(
        port=contender.port,
        path=contender.path,
        tokens=shape.tokens,
        body=shape.body.decode(),
        fields=shape.fields,
        connections=shape.connections,
        warm_up_seconds=shape.warm_up_seconds,
        seconds=shape.seconds,
        contender_pid=contender.child.pid,
        upstream_pid=shape.upstream_pid,
        contender_cores=tuple(processes.pins.contender),
        load_cores=tuple(processes.pins.others),
    )
    contender.child.wait_for(contender.port)  # says why, should it be gone
    printed = processes.run(
        [sys.executable, "-m", "tests.bench.load"],
        on=processes.pins.others,
        seconds_max=shape.seconds + shape.warm_up_seconds + _MORE_SECONDS,
        stdin=json.dumps(asdict(plan)),
    )
    return _tally(json.loads(printed))


def _tally(content: dict[str, Any]) -> Tally:
    shares = {name: Share(**content[name]) for name in ("contender_core", "load_cores") if content[name] is not None}
    return Tally(**{**content, **shares})


def _what_was_wrong(contender: Contender, tally: Tally) -> str:
    return (
        f"{contender.title}: of {tally.sent} requests {tally.wrong} were answered wrongly and {tally.missing} not at"
        f" all\n{tally.first_wrong}\n{contender.child.said()}"
    )
