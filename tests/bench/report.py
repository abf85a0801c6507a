"""The figures: medians over the rounds, ratios within a round, as Markdown for people and JSON for programs."""

import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from tests.bench.cores import Share
from tests.bench.farebox import Proof
from tests.bench.load import Tally
from tests.bench.rounds import Round
from tests.bench.starts import Starts

_MEASURES = (("nginx", "÷ nginx"), ("aiohttp", "÷ aiohttp"), ("free", "÷ free route"))
"""The contenders that others are held against."""

_FULL = 0.9
_STRANGERS = 0.03


@dataclass(frozen=True, slots=True)
class Result:
    """Everything that one run found."""

    machine: Mapping[str, str]
    shape: Mapping[str, object]
    titles: Mapping[str, str]
    rounds: Sequence[Round]
    starts: Starts
    loaded_bytes: int | None
    proof: Proof

    def as_dict(self) -> dict[str, Any]:
        """The raw numbers of every round, and what is made of them."""
        return {
            "machine": self.machine,
            "shape": self.shape,
            "rounds": [
                {name: {**asdict(tally), "per_second": tally.per_second} for name, tally in tallies.items()}
                for tallies in self.rounds
            ],
            "medians": {name: self.median(name, lambda tally: tally.per_second) for name in self.titles},
            "per_full_core": {name: self.per_full_core(name) for name in self.titles},
            "ratios": {
                name: {base: self.ratio(name, base) for base, _ in _MEASURES if base in self.titles}
                for name in self.titles
            },
            "starts": asdict(self.starts),
            "loaded_bytes": self.loaded_bytes,
            "proof": asdict(self.proof),
        }

    def median(self, name: str, figure: Callable[[Tally], float]) -> float:
        return statistics.median(figure(tallies[name]) for tallies in self.rounds)

    def ratio(self, name: str, base: str) -> float:
        """The median of the ratios of each round."""
        return statistics.median(tallies[name].per_second / tallies[base].per_second for tallies in self.rounds)

    def spread(self, name: str) -> float:
        """From the slowest round to the fastest, as a share of the median."""
        speeds = [tallies[name].per_second for tallies in self.rounds]
        return (max(speeds) - min(speeds)) / statistics.median(speeds)

    def per_full_core(self, name: str) -> float | None:
        """What a core would carry that does nothing but serve: the speed over the contender's part of the core."""
        return _median_or_none([_per_full_core(tallies[name]) for tallies in self.rounds])

    def busy(self, name: str) -> float | None:
        """How full the contender's core was."""
        return _median_or_none([_busy(tallies[name].contender_core) for tallies in self.rounds])


def markdown(result: Result) -> str:
    """The report."""
    return "\n".join([*_table(result), "", *_notes(result), "", *_starts(result), "", *_machine(result)])


def _table(result: Result) -> Iterator[str]:
    measures = [(base, title) for base, title in _MEASURES if base in result.titles]
    heads = [
        "",
        "requests/s",
        "spread",
        "p50 ms",
        "p99 ms",
        "core busy",
        "per full core",
        *(title for _, title in measures),
    ]
    yield _row(heads)
    yield _row(["---", *["---:"] * (len(heads) - 1)])
    for name, title in result.titles.items():
        busy, per_full_core = result.busy(name), result.per_full_core(name)
        yield _row(
            [
                title,
                f"{result.median(name, lambda tally: tally.per_second):,.0f}",
                f"{result.spread(name):.0%}",
                f"{result.median(name, lambda tally: tally.p50_ms):.2f}",
                f"{result.median(name, lambda tally: tally.p99_ms):.2f}",
                "–" if busy is None else f"{busy:.0%}",
                "–" if per_full_core is None else f"{per_full_core:,.0f}",
                *("1" if name == base else f"{result.ratio(name, base):.3g}" for base, _ in measures),
            ]
        )


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _notes(result: Result) -> Iterator[str]:
    proof = result.proof
    yield (
        f"The books: {proof.requests:,} priced requests served, {proof.requests:,} debits of {proof.micros:,} micros in"
        f" {proof.batches:,} batches; audit clean, head {proof.head}."
    )
    for name, title in result.titles.items():
        busy = result.busy(name)
        if busy is not None and busy < _FULL:
            pace = "the disk, or the load side," if name in ("strict", "limited") else "the load side"
            yield f"- {title}: its core was {busy:.0%} busy, so {pace} set the pace, and a full core would serve more."
    shares = [share for tallies in result.rounds for tally in tallies.values() for share in _shares(tally)]
    strangers = max((share.strangers for share in shares), default=0.0)
    if strangers > _STRANGERS:
        yield f"- Other programs took up to {strangers:.0%} of a core. These figures are not from a quiet machine."


def _starts(result: Result) -> Iterator[str]:
    starts = result.starts
    yield _row(["the gateway's process", "median", "of"])
    yield _row(["---", "---:", "---:"])
    yield _seconds("`gateway --help`", starts.help_seconds)
    yield _seconds("start to first answer", starts.first_answer_seconds)
    if starts.idle_bytes:
        memory = statistics.median(starts.idle_bytes)
        yield _row(["memory, idle", f"{memory / 2**20:.1f} MiB", str(len(starts.idle_bytes))])
    if result.loaded_bytes is not None:
        yield _row(["memory, after all rounds", f"{result.loaded_bytes / 2**20:.1f} MiB", "1"])


def _seconds(title: str, seconds: Sequence[float]) -> str:
    return _row([title, f"{statistics.median(seconds):.2f} s", str(len(seconds))])


def _machine(result: Result) -> Iterator[str]:
    for name, value in {**result.machine, **result.shape}.items():
        yield f"- {name}: {value}"


def _per_full_core(tally: Tally) -> float | None:
    share = tally.contender_core
    if share is None or share.busy <= share.strangers:
        return None
    return tally.per_second / (share.busy - share.strangers)


def _busy(share: Share | None) -> float | None:
    return None if share is None else share.busy


def _shares(tally: Tally) -> list[Share]:
    return [share for share in (tally.contender_core, tally.load_cores) if share is not None]


def _median_or_none(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return statistics.median(known) if known else None
