"""Dues: what an owner's routes took, what of it is the platform's, and what is due to the owner.

The transfers say it account by account and hour by hour (`core/transfers.py`), and what was rounded off is carried from
one to the next. So all commissions of an owner at one rate are that rate of all that was sold at it, rounded down once;
and what is due can be told from those sums alone, also of hours that are not folded yet.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from gateway.core.transfers import split


@dataclass(frozen=True, slots=True)
class Sold:
    """What was sold under one tariff of a host: how many requests, for how much altogether."""

    keeper: int
    tariff: int
    unit: str
    requests: int
    micros: int


@dataclass(frozen=True, slots=True)
class Taking:
    """The same, with whose tariff that is. `micros` are less what was given back; `open` of them are not folded yet."""

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
