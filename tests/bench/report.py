"""The figures of the rounds: medians over them, ratios within each, as Markdown for people and JSON for programs."""

import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field

from tests.bench import tables
from tests.bench.cores import Share
from tests.bench.farebox import Proof
from tests.bench.load import Tally
from tests.bench.rounds import Round
from tests.bench.starts import Starts
from tests.bench.tables import shown

_MEASURES = (
    ("nginx", "÷ nginx"),
    ("aiohttp", "÷ aiohttp"),
    ("handmade", "÷ Lua + Redis"),
    ("tuned", "÷ tuned"),
    ("free", "÷ free route"),
)
"""The contenders that others are held against."""

_FULL = 0.9
_STRANGERS = 0.03


@dataclass(frozen=True, slots=True)
class Figures:
    """What the rounds of one shape say."""

    titles: Mapping[str, str]
    """Of the contenders that took part, by name."""
    rounds: Sequence[Round]

    def as_dict(self) -> dict[str, object]:
        """The raw numbers of every round, and what is made of them."""
        return {
            "rounds": [
                {name: {**asdict(tally), "per_second": tally.per_second} for name, tally in tallies.items()}
                for tallies in self.rounds
            ],
            "medians": {name: self.speed(name) for name in self.titles},
            "per_full_core": {name: self.per_full_core(name) for name in self.titles},
            "ratios": {
                name: {base: self.ratio(name, base) for base, _ in _MEASURES if base in self.titles}
                for name in self.titles
            },
        }

    def median(self, name: str, figure: Callable[[Tally], float]) -> float:
        return statistics.median(figure(tallies[name]) for tallies in self.rounds)

    def speed(self, name: str) -> float | None:
        """Requests per second; None of one that took no part."""
        return self.median(name, lambda tally: tally.per_second) if name in self.titles else None

    def ratio(self, name: str, base: str) -> float | None:
        """The median of the ratios of each round; None where one of the two took no part."""
        if not {name, base} <= self.titles.keys():
            return None
        return statistics.median(tallies[name].per_second / tallies[base].per_second for tallies in self.rounds)

    def spread(self, name: str) -> float:
        """From the slowest round to the fastest, as a share of the median."""
        speeds = [tallies[name].per_second for tallies in self.rounds]
        return (max(speeds) - min(speeds)) / statistics.median(speeds)

    def per_full_core(self, name: str) -> float | None:
        """What a core would carry that does nothing but serve: the speed over the contender's part of the core."""
        return tables.known([_per_full_core(tallies[name]) for tallies in self.rounds])

    def busy(self, name: str) -> float | None:
        """How full the contender's core was."""
        return tables.known([_busy(tallies[name].contender_core) for tallies in self.rounds])

    def strangers(self) -> float:
        """What other programs took of a core, at the worst."""
        shares = (share for tallies in self.rounds for tally in tallies.values() for share in _shares(tally))
        return max((share.strangers for share in shares), default=0.0)


@dataclass(frozen=True, slots=True)
class Result:
    """Everything that the rounds found."""

    shape: Mapping[str, object]
    figures: Figures
    starts: Starts
    loaded_bytes: int | None
    proof: Proof
    more_shapes: Mapping[str, Figures] = field(default_factory=dict)
    """Of other requests and answers, by what they are."""
    remarks: Sequence[str] = ()

    def as_dict(self) -> dict[str, object]:
        return {
            "shape": self.shape,
            **self.figures.as_dict(),
            "shapes": {title: figures.as_dict() for title, figures in self.more_shapes.items()},
            "starts": asdict(self.starts),
            "loaded_bytes": self.loaded_bytes,
            "proof": asdict(self.proof),
            "remarks": self.remarks,
        }

    def lines(self) -> Iterator[str]:
        yield from [*_table(self.figures), ""]
        if self.more_shapes:
            yield from [*_shapes({"the table above": self.figures, **self.more_shapes}), ""]
        yield from [*_notes(self), "", *_starts(self)]
        yield from ["", *(f"- {name}: {value}" for name, value in self.shape.items())]


def _table(figures: Figures) -> Iterator[str]:
    measures = [(base, title) for base, title in _MEASURES if base in figures.titles]
    heads = ["", "requests/s", "spread", "p50 ms", "p99 ms", "core busy", "per full core"]
    rows = [
        [
            title,
            shown(figures.speed(name), ",.0f"),
            f"{figures.spread(name):.0%}",
            f"{figures.median(name, lambda tally: tally.p50_ms):.2f}",
            f"{figures.median(name, lambda tally: tally.p99_ms):.2f}",
            shown(figures.busy(name), ".0%"),
            shown(figures.per_full_core(name), ",.0f"),
            *("1" if name == base else shown(figures.ratio(name, base), ".3g") for base, _ in measures),
        ]
        for name, title in figures.titles.items()
    ]
    return tables.table([*heads, *(title for _, title in measures)], rows)


def _shapes(shapes: Mapping[str, Figures]) -> Iterator[str]:
    heads = ["each request", "nginx", "free route", "free ÷ nginx", "strict ÷ free", "relaxed ÷ free"]
    rows = [
        [
            title,
            shown(figures.speed("nginx"), ",.0f"),
            shown(figures.speed("free"), ",.0f"),
            shown(figures.ratio("free", "nginx"), ".3g"),
            shown(figures.ratio("strict", "free"), ".3g"),
            shown(figures.ratio("relaxed", "free"), ".3g"),
        ]
        for title, figures in shapes.items()
    ]
    return tables.table(heads, rows)


def _notes(result: Result) -> Iterator[str]:
    proof, figures = result.proof, result.figures
    yield (
        f"The books: {proof.requests:,} priced requests served, {proof.requests:,} debits of {proof.micros:,} micros in"
        f" {proof.batches:,} batches; audit clean, head {proof.head}."
    )
    for name, title in figures.titles.items():
        busy = figures.busy(name)
        if busy is not None and busy < _FULL:
            pace = "the disk, or the load side," if name in ("strict", "limited") else "the load side"
            yield f"- {title}: its core was {busy:.0%} busy, so {pace} set the pace, and a full core would serve more."
    for title, more in result.more_shapes.items():
        busy = more.busy("nginx") if "nginx" in more.titles else None
        if busy is not None and busy < _FULL:
            yield f"- {title}: nginx's core was {busy:.0%} busy, so the load side set its pace."
    strangers = max(found.strangers() for found in (figures, *result.more_shapes.values()))
    if strangers > _STRANGERS:
        yield f"- Other programs took up to {strangers:.0%} of a core. These figures are not from a quiet machine."
    yield from (f"- {remark}" for remark in result.remarks)


def _starts(result: Result) -> Iterator[str]:
    starts = result.starts
    rows = [
        _seconds("`gateway --help`", starts.help_seconds),
        _seconds("start to first answer", starts.first_answer_seconds),
    ]
    if starts.idle_bytes:
        memory = statistics.median(starts.idle_bytes)
        rows.append(["memory, idle", f"{memory / 2**20:.1f} MiB", str(len(starts.idle_bytes))])
    if result.loaded_bytes is not None:
        rows.append(["memory, after a round", f"{result.loaded_bytes / 2**20:.1f} MiB", "1"])
    return tables.table(["the gateway's process", "median", "of"], rows)


def _seconds(title: str, seconds: Sequence[float]) -> list[str]:
    return [title, f"{statistics.median(seconds):.2f} s", str(len(seconds))]


def _per_full_core(tally: Tally) -> float | None:
    share = tally.contender_core
    if share is None or share.busy <= share.strangers:
        return None
    return tally.per_second / (share.busy - share.strangers)


def _busy(share: Share | None) -> float | None:
    return None if share is None else share.busy


def _shares(tally: Tally) -> list[Share]:
    return [share for share in (tally.contender_core, tally.load_cores) if share is not None]
