"""Rounds: everybody runs once in each, one after the other, and begins at another place in the next.

So what changes while the run lasts (a warmer machine, a neighbour, a longer ledger) falls on all of them alike, and a
ratio is only ever taken between two that ran in the same round.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tests.bench.contenders import Contender
from tests.bench.cores import Share
from tests.bench.load import Plan, Tally
from tests.bench.processes import BenchFailed, Processes


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
    varied: bool = False
    posted: str = ""
    """What each request brings, as JSON; nothing: they are GET."""


@dataclass(frozen=True, slots=True)
class Times:
    """How long one contender runs."""

    seconds: float
    warm_up_seconds: float
    """Before that; what happens then does not count."""


Round = Mapping[str, Tally]
"""By the contender's name."""


def run(
    processes: Processes,
    contenders: Callable[[], Sequence[Contender]],
    shape: Shape,
    *,
    count: int,
    progress: Callable[[str], None],
) -> list[Round]:
    """All rounds; before each it asks who takes part. Raises BenchFailed at the first answer that was not right."""
    rounds: list[Round] = []
    for number in range(count):
        tallies = {}
        for contender in _turned(contenders(), number):
            tally = tallies[contender.name] = _load(processes, contender, shape)
            progress(f"round {number + 1} of {count}  {contender.title:<38} {tally.per_second:>8,.0f}/s")
            if not tally.right:
                raise BenchFailed(what_was_wrong(contender, tally.sent, tally.wrong, tally.missing, tally.first_wrong))
        rounds.append(tallies)
    return rounds


def orders(contenders: Sequence[Contender], count: int) -> Iterator[Sequence[Contender]]:
    """Who runs after whom, in each round: everybody begins once."""
    return (_turned(contenders, number) for number in range(count))


def _turned(contenders: Sequence[Contender], number: int) -> Sequence[Contender]:
    first = number % len(contenders)
    return (*contenders[first:], *contenders[:first])


def served(rounds: Sequence[Round], contenders: Sequence[Contender]) -> Mapping[str, int]:
    """How many requests each priced route answered, warm-ups and all."""
    return {
        contender.route: answered(rounds, contender.name) for contender in contenders if contender.route is not None
    }


def answered(rounds: Sequence[Round], name: str) -> int:
    """How many requests one contender answered, warm-ups and all."""
    return sum(tallies[name].served for tallies in rounds if name in tallies)


def what_was_wrong(contender: Contender, sent: int, wrong: int, missing: int, first_wrong: str) -> str:
    return (
        f"{contender.title}: of {sent} requests {wrong} were answered wrongly and {missing} not at all\n"
        f"{first_wrong}\n{contender.child.said()}"
    )


def _load(processes: Processes, contender: Contender, shape: Shape) -> Tally:
    """One contender under load, from a process of its own."""
    plan = Plan(
        port=contender.port,
        path=contender.path or f"{contender.prefix}{len(shape.body)}",
        tokens=shape.tokens if contender.tokens is None else contender.tokens,
        body=(shape.body if contender.body is None else contender.body).decode(),
        fields=(*shape.fields, *contender.fields),
        varied=shape.varied,
        posted=shape.posted,
        connections=shape.connections,
        warm_up_seconds=shape.warm_up_seconds,
        seconds=shape.seconds,
        contender_pids=contender.pids,
        upstream_pid=shape.upstream_pid,
        contender_cores=tuple(processes.pins.contender),
        load_cores=tuple(processes.pins.others),
    )
    contender.child.wait_for(contender.port)  # says why, should it be gone
    return _tally(processes.ask("tests.bench.load", plan, seconds=shape.seconds + shape.warm_up_seconds))


def _tally(content: dict[str, Any]) -> Tally:
    shares = {name: Share(**content[name]) for name in ("contender_core", "load_cores") if content[name] is not None}
    return Tally(**{**content, **shares})
