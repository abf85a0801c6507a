"""How often callers may call: the rules of a route, and the counting of them.

A limit is a window (so many requests, or so much money, in so much time) or a cap (so many requests under way at once),
for each of a kind of subject. A request meets all limits of its route at once, and all or nothing: what one of them
refuses, none of them counts, so a caller that waits for one is not worn down by the others.

`Limiter` keeps the windows in memory, never more than its bound. With each new window a few old ones are looked at, and
those that say nothing any more go. If all of these still count and the bound is reached, one goes nevertheless: one
that was not asked for since it was last looked at, if there is one. That is counted in `forgotten`. So a flood of new
subjects can at worst make old ones begin anew, and never fill the memory.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from ipaddress import IPv6Address, ip_address
from math import ceil
from typing import Literal, NamedTuple

from gateway.core import windows
from gateway.core.windows import Kind

Per = Literal["caller", "token", "account", "address", "route", "owner"]
Callers = Literal["all", "paid", "unpaid"]

_BY_CALLER = frozenset(("caller", "token", "account"))
_LOOK_AT_ONCE = 4
_NETWORK_BITS = 64
SITE_BITS = 48


@dataclass(frozen=True, slots=True)
class Rate:
    """At most `amount` requests, or millionths of a `currency`, in `seconds`; as written: `100/minute`."""

    amount: int
    seconds: int
    text: str
    window: Kind = "sliding"
    currency: str = ""


@dataclass(frozen=True, slots=True)
class Limit:
    """One rule: a `rate`, or how many requests may be `at_once`, for each subject of a kind."""

    name: str
    """What it is called in `RateLimit` and in a refusal."""
    rate: Rate | None
    at_once: int = 0
    per: Per = "caller"
    callers: Callers = "all"
    text: str = field(init=False)
    """For people."""
    policy: str = field(init=False)
    """For `RateLimit-Policy` (draft-ietf-httpapi-ratelimit-headers-10)."""
    quoted: str = field(init=False)
    """How `RateLimit` begins for it, up to how much is left."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "text", self.rate.text if self.rate else f"{self.at_once} at once")
        object.__setattr__(self, "policy", f'"{self.name}";{self._quota()}')
        object.__setattr__(self, "quoted", f'"{self.name}";r=')

    @property
    def tells_callers_apart(self) -> bool:
        """Whether it makes a difference who has paid."""
        return self.per in _BY_CALLER or self.callers != "all"

    def is_met(self, *, paid: bool) -> bool:
        """Whether it counts a caller who has paid, or has not."""
        return self.callers != ("unpaid" if paid else "paid")

    def _quota(self) -> str:
        if self.rate is None:
            return f'q={self.at_once};qu="concurrent-requests"'
        unit = f';qu="micro-{self.rate.currency}"' if self.rate.currency else ""
        return f"q={self.rate.amount};w={self.rate.seconds}{unit}"


class Ask(NamedTuple):
    """A question to one window: whether `cost` more fits."""

    rate: Rate
    key: str
    cost: int = 1


class Place(NamedTuple):
    """A question to one cap: whether one more request fits."""

    key: str
    most: int


class Stand(NamedTuple):
    """How a window or a cap stands after a question. `reset_ms` of one that refused: until it would not."""

    allowed: bool
    remaining: int
    reset_ms: int

    @property
    def reset_seconds(self) -> int:
        return max(0, ceil(self.reset_ms / 1000))


@lru_cache(4096)
def network(peer: str, bits: int = _NETWORK_BITS) -> str:
    """Whose address counts as one: an IPv4 address, or all of an IPv6 network of 64 bits, for nobody has fewer.

    Many have more: with `SITE_BITS`, what one customer of a provider may be given.
    """
    try:
        address = ip_address(peer.partition("%")[0])
    except ValueError:
        return peer
    if not isinstance(address, IPv6Address):
        return str(address)
    if address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    return f"{IPv6Address(int(address) >> 128 - bits << 128 - bits)}/{bits}"


class _Kept:
    """A window under its key, and whether it was asked for since it was last looked at."""

    __slots__ = ("asked", "rate", "window")

    def __init__(self, rate: Rate) -> None:
        self.rate = rate
        self.window = windows.window(rate.window, rate.amount, rate.seconds * 1000)
        self.asked = False


def _refused_by(window: windows.Window, wait_ms: int, now_ms: int) -> Stand:
    """How a window stands that counted nothing, because it or another one refused."""
    remaining, reset_ms = window.left(now_ms)
    return Stand(not wait_ms, max(0, remaining), wait_ms or reset_ms)


class Limiter:
    """Counts. At most `keys_max` windows; places are as many as requests under way."""

    def __init__(self, keys_max: int = 100_000) -> None:
        self._keys_max = keys_max
        self._kept: dict[str, _Kept] = {}
        self._under_way: dict[str, int] = {}
        self.forgotten = 0
        """How many windows went while they still counted."""

    @property
    def kept(self) -> int:
        """How many windows there are."""
        return len(self._kept)

    def admit(self, asks: Sequence[Ask], places: Sequence[Place], now_ms: int) -> list[Stand]:
        """Count one request everywhere, or nowhere; how the windows and then the caps stand, in the order asked.

        It was counted if all of them allow it. A place that was taken is given back with `leave`.
        """
        known = len(self._kept)
        found, refused = [], False
        for rate, key, cost in asks:
            kept = self._kept.get(key)
            if kept is None or kept.rate is not rate:
                kept = self._begin(rate, key)
            kept.asked = True
            wait_ms = kept.window.wait_ms(now_ms, cost)
            refused = refused or wait_ms > 0
            found.append((kept.window, wait_ms, cost))
        full = [self._under_way.get(place.key, 0) >= place.most for place in places] if places else ()
        if refused or True in full:
            stands = [_refused_by(window, wait_ms, now_ms) for window, wait_ms, _ in found]
        else:
            stands = []
            for window, _, cost in found:
                remaining, reset_ms = window.take(now_ms, cost)
                stands.append(Stand(True, remaining, reset_ms))
            for place in places:
                self._under_way[place.key] = self._under_way.get(place.key, 0) + 1
        for place, is_full in zip(places, full, strict=True) if places else ():
            stands.append(Stand(not is_full, max(0, place.most - self._under_way.get(place.key, 0)), 0))
        if len(self._kept) > known:
            for _ in range(len(self._kept) - known):
                self._make_room(now_ms)
        return stands

    def occupy(self, keys: Sequence[str]) -> None:
        """Take places without a question: for requests that another has admitted."""
        for key in keys:
            self._under_way[key] = self._under_way.get(key, 0) + 1

    def leave(self, keys: Sequence[str]) -> None:
        """Give places back, once each."""
        for key in keys:
            left = self._under_way[key] - 1
            if left:
                self._under_way[key] = left
            else:
                del self._under_way[key]

    def _begin(self, rate: Rate, key: str) -> _Kept:
        """A new window, unless only the rate's object is another one. A reload may have changed it."""
        kept = self._kept.get(key)
        if kept is None or kept.rate != rate:
            kept = self._kept[key] = _Kept(rate)
        kept.rate = rate
        return kept

    def _make_room(self, now_ms: int) -> None:
        is_full = len(self._kept) > self._keys_max
        for key in [key for key, _ in zip(self._kept, range(_LOOK_AT_ONCE), strict=False)]:
            kept = self._kept.pop(key)
            if kept.window.is_idle(now_ms):
                is_full = False
            elif is_full and not kept.asked:
                self.forgotten += 1
                is_full = False
            else:
                kept.asked = False
                self._kept[key] = kept  # at the end: its turn comes again
        if is_full:
            del self._kept[next(iter(self._kept))]
            self.forgotten += 1
