"""Dues: what an owner's routes took, what of it is the platform's, and what is due to the owner; also day by day.

The transfers say it account by account and hour by hour (`core/transfers.py`), and what was rounded off is carried from
one to the next. So all commissions of an owner at one rate are that rate of all that was sold at it, rounded down once;
and what is due can be told from those sums alone, also of hours that are not folded yet. A day's commission is what
they come to at its end less what they came to at its beginning: so days that are over do not change, and add up.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from gateway.core.money import written
from gateway.core.statements import DAY_MS, Moved, Period
from gateway.core.transfers import CLAW_BACK_REF, PAYOUT_REF, split


@dataclass(frozen=True, slots=True)
class Sold:
    """What was sold in an hour under one tariff of a host: how many requests, for how much altogether."""

    hour: int
    keeper: int
    tariff: int
    unit: str
    requests: int
    micros: int


@dataclass(frozen=True, slots=True)
class Taking:
    """The same, with whose tariff that is. `micros` are less what was given back; `open` of them are not folded yet."""

    hour: int
    owner: str
    route: str
    commission_points: int
    unit: str
    requests: int
    micros: int
    open: int = 0


@dataclass(frozen=True, slots=True)
class Due:
    """What an owner sold in a unit at a rate, or at several (None), and how it is shared: fee and share are all of it.

    `open` is the part of the share that is not in the transfers yet.
    """

    owner: str
    unit: str
    commission_points: int | None
    requests: int
    sold: int
    commission: int
    share: int
    open: int


@dataclass(frozen=True, slots=True)
class UnitSums:
    """What the entries of the books come to in a unit, in micros; those of caps and counts are not among them.

    `otherwise` is what else callers were given less what was taken: by hand, as a plan's credit, by time. `callers` is
    what all of them have left, less what they owe. `paid_out` and `clawed_back` are less what came back. `charged` is
    what the platform charged by agreement; `held` of sellers' money is with it, due or not yet, and `released` has left
    for them.
    """

    unit: str
    paid_in: int
    refunded: int
    otherwise: int
    callers: int
    paid_out: int
    clawed_back: int
    charged: int = 0
    held: int = 0
    released: int = 0


@dataclass(frozen=True, slots=True)
class KindSum:
    """How many entries of a kind there are in a unit, and what they come to; of debts, how many accounts owe."""

    unit: str
    side: str
    """`credit`, `reversal` or `debt`."""
    kind: str
    count: int
    micros: int


@dataclass(frozen=True, slots=True)
class Spent:
    """What one account spent on an owner's routes in a unit."""

    account: str
    unit: str
    requests: int
    micros: int


def by_rate(takings: Iterable[Taking]) -> list[Due]:
    """Owner by owner, and for each unit and commission."""
    sums: dict[tuple[str, str, int], list[int]] = {}
    for taking in takings:
        sum = sums.setdefault((taking.owner, taking.unit, taking.commission_points), [0, 0, 0])
        for place, value in enumerate((taking.requests, taking.micros, taking.open)):
            sum[place] += value
    return [_due(*key, *sum) for key, sum in sorted(sums.items())]


def _due(owner: str, unit: str, points: int, requests: int, sold: int, open: int) -> Due:
    whole, folded = split(sold, points, 0), split(sold - open, points, 0)
    return Due(owner, unit, points, requests, sold, whole.commission, whole.share, whole.share - folded.share)


def by_unit(dues: Sequence[Due]) -> list[Due]:
    """What they come to, owner by owner, whatever the commission was."""
    found: dict[tuple[str, str], Due] = {}
    for due in dues:
        before = found.get((due.owner, due.unit))
        found[due.owner, due.unit] = replace(due, commission_points=None) if before is None else _added(before, due)
    return list(found.values())


def _added(one: Due, other: Due) -> Due:
    return Due(
        one.owner,
        one.unit,
        None,
        one.requests + other.requests,
        one.sold + other.sold,
        one.commission + other.commission,
        one.share + other.share,
        one.open + other.open,
    )


@dataclass(frozen=True, slots=True)
class DueLine:
    """How an owner stands in a unit: what is theirs of sales, and what was held and is free, less what left."""

    due: Due
    paid_out: int
    clawed_back: int
    freed: int = 0

    @property
    def left(self) -> int:
        return self.due.share + self.freed - self.paid_out - self.clawed_back


Left = Mapping[tuple[str, str], Sequence[Moved]]
"""By owner and unit, entries of one kind of dues."""


def due_lines(takings: Iterable[Taking], left: Left, freed: Left) -> list[DueLine]:
    """Owner by owner, in each unit; also of who has sold nothing, and has been freed something."""
    dues = {(due.owner, due.unit): due for due in by_unit(by_rate(takings))}
    found = []
    for key in sorted(dues.keys() | freed.keys()):
        shares, proceeds = left.get(key, ()), freed.get(key, ())
        clawed = sum(-one.micros for one in shares if _named(one) == CLAW_BACK_REF)
        paid = sum(-one.micros for one in (*shares, *proceeds) if _named(one) == PAYOUT_REF)
        more = sum(one.micros for one in proceeds if _named(one) != PAYOUT_REF)
        due = dues.get(key, Due(*key, None, 0, 0, 0, 0, 0))
        found.append(DueLine(due, paid, clawed, more))
    return found


def _named(one: Moved) -> str:
    return one.ref.partition(":")[0]


@dataclass(frozen=True, slots=True)
class DayLine:
    """What one route took on a day, in UTC, in a unit and at a rate, and how it is shared."""

    begin_ms: int
    route: str
    unit: str
    commission_points: int
    requests: int
    sold: int
    commission: int
    share: int


def by_day(takings: Iterable[Taking], period: Period) -> list[DayLine]:
    """The days of one owner that begin within a period, in order."""
    sums: dict[tuple[int, str, str, int], list[int]] = {}
    for taking in takings:
        day = taking.hour - taking.hour % DAY_MS
        sum = sums.setdefault((day, taking.route, taking.unit, taking.commission_points), [0, 0])
        sum[0] += taking.requests
        sum[1] += taking.micros
    carries: dict[tuple[str, int], int] = {}
    found = []
    for (day, route, unit, points), (requests, sold) in sorted(sums.items()):
        parts = split(sold, points, carries.get((unit, points), 0))
        carries[unit, points] = parts.carry
        if period.holds(day):
            found.append(DayLine(day, route, unit, points, requests, sold, parts.commission, parts.share))
    return found


STATEMENT = ("day", "route", "unit", "commission_bps", "requests", "sold", "commission", "share", "entry")
"""The columns of an owner's statement."""


def statement(
    takings: Iterable[Taking], left: Iterable[tuple[str, Moved]], period: Period
) -> list[dict[str, str | int]]:
    """An owner's statement: day by day and route by route, and then what left that day, each by its unit."""
    lines = [_columns(line) for line in by_day(takings, period)]
    lines += [_entry_columns(unit, one) for unit, one in left if period.holds(one.at_ms)]
    return sorted(lines, key=lambda line: str(line["day"]))


def _columns(line: DayLine) -> dict[str, str | int]:
    amounts = (written(line.sold), written(line.commission), written(line.share))
    values = (_day(line.begin_ms), line.route, line.unit, line.commission_points, line.requests, *amounts, "")
    return dict(zip(STATEMENT, values, strict=True))


def _entry_columns(unit: str, one: Moved) -> dict[str, str | int]:
    """A payout, a claw-back, or what came back of one: named in the last column."""
    name = f"{one.kind} {one.ref.partition(':')[2]}"
    values = (_day(one.at_ms), "", unit, "", 0, written(0), written(0), written(one.micros), name)
    return dict(zip(STATEMENT, values, strict=True))


def _day(at_ms: int) -> str:
    return datetime.fromtimestamp(at_ms / 1000, UTC).date().isoformat()


def by_route(takings: Iterable[Taking]) -> list[Taking]:
    """What they come to, whatever the hour was; which is 0 then."""
    sums: dict[tuple[str, str, int, str], Taking] = {}
    for taking in takings:
        key = (taking.owner, taking.route, taking.commission_points, taking.unit)
        before = sums.get(key, Taking(0, *key, 0, 0))
        requests, micros = before.requests + taking.requests, before.micros + taking.micros
        sums[key] = Taking(0, *key, requests, micros, before.open + taking.open)
    return [sums[key] for key in sorted(sums)]
