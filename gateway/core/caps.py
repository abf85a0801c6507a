"""Caps: what may be spent under a node in a day, a month or at all.

A *node* is whoever a cap is for: an account, a token of it, a member. A caller carries the caps of its token and of
whatever stands above that; a request is held under each of them and on the account, or not at all.

**A cap is a balance.** For each period it is an account of its own in the ledger, named by `Cap.name` and counted in
the cap's own unit (`cap:usd`), so that no sum of money has it in it. What is credited to it is the cap; what its
records take is what was spent under it. So what makes balances exact on many workers and hosts, and what voids and
refunds give back, holds for caps as it stands. The period is that of the moment of the hold: a request that straddles
midnight is charged to the day on which it was held.

**A count of calls** is a cap, too: one whose amount is so many of a unit of its own (`quota:forecast:1`, see
`core/steps.py`). Each request that is charged takes one of it, whatever it costs.

**Periods are calendar days, weeks and months** of a time zone; a week begins on a Monday. A day may have 23 or 25
hours; one begins at the first moment that its calendar shows, and ends where the next begins, so that each moment is of
exactly one.
"""

from bisect import bisect_left
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta, tzinfo
from functools import lru_cache
from typing import Literal, get_args
from zoneinfo import ZoneInfo

from gateway.core.money import Money

Period = Literal["day", "month", "total"]
PERIODS: tuple[Period, ...] = get_args(Period)
Span = Literal["day", "week", "month", "total"]
"""Of a count of calls, a week, too."""
SPANS: tuple[Span, ...] = get_args(Span)

_PREFIX = "cap:"
QUOTA_PREFIX = "quota:"
NO_BOUND_MICROS = 10**18
"""More than anybody spends: what is counted so far is counted, and never refused."""
NODE_CHARS_MAX = 200
DAY_MS = 86_400_000


@dataclass(frozen=True, slots=True)
class CapLine:
    """A cap's balance as the books have it: `limit` is what it was set to `since_ms`, after so many `changes`."""

    limit: int = 0
    spent: int = 0
    changes: int = 0
    since_ms: int = -1


@dataclass(frozen=True, slots=True)
class CapUse:
    """How a cap stands that binds a request: the name of its balance, and the micros that are left as far as known."""

    cap: "Cap"
    name: str
    left: int


@dataclass(frozen=True, slots=True)
class Cap:
    """So much may be spent under a node in each period, as a calendar in `zone` has them.

    `since_ms` is when it was set to this amount: of two that are known somewhere, the later one holds. From `tell_at`
    micros on somebody is told; None for the usual part of it.
    """

    node: str
    period: Span
    amount: Money
    zone: str = "UTC"
    since_ms: int = 0
    tell_at: int | None = None

    def __post_init__(self) -> None:
        periods = SPANS if self.counts_calls else PERIODS
        if self.period not in periods:
            raise ValueError(f"{self.period!r} is no period of a cap; write one of {', '.join(periods)}")
        if (
            not self.node
            or len(self.node) > NODE_CHARS_MAX
            or not self.node.isprintable()
            or set(self.node) & set(":#")
        ):
            raise ValueError(f"{self.node!r} is no node that could have a cap")
        if self.amount.micros < 0:
            raise ValueError(f"{self.amount} is no cap; write nothing less than 0")
        if self.since_ms < 0:
            raise ValueError(f"{self.since_ms} is no time at which a cap could be set")

    def name(self, now_ms: int) -> str:
        """The holder of its balance in the period of that moment: `cap:acct_x:day:2026-11-22`."""
        begun = began(self.period, now_ms, self.zone)
        prefix = QUOTA_PREFIX if self.counts_calls else _PREFIX
        return f"{prefix}{self.node}:{self.period}" + (f":{begun}" if begun else "")

    @property
    def unit(self) -> str:
        """The unit of its balance."""
        return self.amount.currency if self.counts_calls else _PREFIX + self.amount.currency

    @property
    def binds(self) -> bool:
        """Whether it ever refuses: one that does not is there to be told of."""
        return self.amount.micros < NO_BOUND_MICROS

    @property
    def counts_calls(self) -> bool:
        """Whether it counts requests, and not what they cost."""
        return self.amount.currency.startswith(QUOTA_PREFIX)

    def takes(self, micros: int) -> int:
        """What has to be set aside under it for a request that costs so much at most."""
        return 1 if self.counts_calls else micros

    def resets_ms(self, now_ms: int) -> int | None:
        """When the next period begins; None if there is only one."""
        return ends_ms(self.period, now_ms, self.zone)


@dataclass(frozen=True, slots=True)
class CapSetting:
    """An account's cap was set, or removed if there are no `micros` and no line. Numbers are as those of freezes.

    With `tell_at` and no `micros` nothing is refused, and somebody is told. `zone` is whose calendar it goes by, if not
    by that of all.
    """

    number: int
    account: str
    period: Period
    unit: str
    micros: int | None
    since_ms: int
    tell_at: int | None = None
    zone: str | None = None

    def cap(self, zone: str) -> Cap | None:
        """What holds from then on, by the calendar of this zone if it has none of its own."""
        if self.micros is None and self.tell_at is None:
            return None
        amount = Money(NO_BOUND_MICROS if self.micros is None else self.micros, self.unit)
        return Cap(self.account, self.period, amount, self.zone or zone, self.since_ms, self.tell_at)


def began(period: Span, now_ms: int, zone: str) -> str:
    """The day, week or month of that moment, as it is written; nothing if there is only one period."""
    if period == "total":
        return ""
    today = datetime.fromtimestamp(now_ms / 1000, zone_named(zone)).date()
    if period == "week":
        return f"{today:%G-W%V}"
    return today.isoformat() if period == "day" else f"{today:%Y-%m}"


def ends_ms(period: Span, now_ms: int, zone: str) -> int | None:
    """When the period of that moment ends; None if it never does."""
    if period == "total":
        return None
    today = datetime.fromtimestamp(now_ms / 1000, zone_named(zone)).date()
    if period == "month":
        return _begins_ms(_next_month(today), zone)
    return _begins_ms(today + timedelta(days=1 if period == "day" else 7 - today.weekday()), zone)


@lru_cache(64)
def zone_named(name: str) -> tzinfo:
    """A time zone by its name. Raises ValueError. The one that is everybody's needs no data of the system's."""
    if name == "UTC":
        return UTC
    try:
        return ZoneInfo(name)
    except (OSError, ValueError, KeyError):
        raise ValueError(f"{name!r} is no time zone; write one such as Europe/Berlin, or UTC") from None


def is_cap(unit: str) -> bool:
    """Whether a balance of this unit is a cap or a count of calls, and no money."""
    return unit.startswith((_PREFIX, QUOTA_PREFIX))


def _next_month(day: date) -> date:
    return date(day.year + day.month // 12, day.month % 12 + 1, 1)


@lru_cache(256)
def _begins_ms(day: date, zone: str) -> int:
    """The first moment of a day: where clocks jump over midnight it is the one at which they do."""
    place = zone_named(zone)
    # A midnight that clocks jump over is named by the offset before it, and may then be later than the jump.
    midnight = int(datetime(day.year, day.month, day.day, tzinfo=place).timestamp() * 1000)
    moments = range(midnight - DAY_MS, midnight)
    return moments[0] + bisect_left(moments, day, key=lambda ms: datetime.fromtimestamp(ms / 1000, place).date())
