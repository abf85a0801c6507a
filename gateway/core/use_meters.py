"""What counts the use of a metered price: bytes, time, and what the answer says of itself.

It is fed with what the *upstream* delivers, which is what its owner had the work of: a caller that leaves has it pay
no less. Its units are micros, so far: what is due if the answer ends now.

Three ends are told apart. An answer that came whole should have said what has a price; if it did not, the price's
`unreported` decides. One that the *upstream* broke off costs what was delivered and said by then. One whose *caller*
left first costs no less than if it had stayed, as far as that can be known: what was not said yet counts as unreported.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING

from gateway.core import compat
from gateway.core.json_paths import COUNT_MAX
from gateway.core.measured import Measured
from gateway.core.money import MoneySyntax, money_in
from gateway.core.usage import Reading

if TYPE_CHECKING:
    from gateway.core.pricing import MeteredPrice

_BODILESS = (204, 304)
_MILLISECONDS = 1000


class UseMeter:
    """Follows one answer, for which `ceiling` micros are held. Implements `meters.Follows`.

    `now` counts seconds from anywhere.
    """

    __slots__ = (
        "_answer_bytes",
        "_asked",
        "_begun",
        "_bodiless",
        "_cut",
        "_due",
        "_is_short",
        "_over",
        "_price",
        "_reading",
        "_reported",
        "_request_bytes",
        "_runs_low",
        "_slice",
        "_status",
        "_void",
        "ceiling",
        "now",
    )  # fmt: skip

    def __init__(self, price: "MeteredPrice", now: Callable[[], float], ceiling: int) -> None:
        self.ceiling = ceiling
        self._slice = 0
        self._runs_low: Callable[[], None] | None = None
        self._is_short: Callable[[], None] | None = None
        self._price = price
        self.now = now
        self._asked = now()
        self._begun = self._over = -1.0
        self._status = 0
        self._bodiless = self._cut = self._void = False
        self._answer_bytes = 0
        self._request_bytes: Callable[[], int] = lambda: 0
        self._reading: Reading | None = None
        self._reported: int | None = None
        self._due: int | None = None  # once it is over

    @property
    def follower(self) -> "UseMeter":
        return self

    @property
    def is_over(self) -> bool:
        return self._over >= 0

    def asks(self, request_bytes: Callable[[], int]) -> None:
        """A request goes out; `request_bytes` says how much of its body has."""
        self._asked, self._request_bytes = self.now(), request_bytes

    def head(self, status: int) -> None:
        self._status = status

    def answers(self, method: str, status: int, fields: Iterable[tuple[str, str]]) -> None:
        """The head of the answer is there."""
        found = {name.lower(): value for name, value in reversed(list(fields))}
        self._status, self._begun = status, self.now()
        self._bodiless = method == "HEAD" or status in _BODILESS
        self._answer_bytes = 0
        price = self._price
        if price.sought is not None and not self._bodiless:
            kind, codings = found.get("content-type", ""), found.get("content-encoding", "")
            self._reading = Reading(price.sought, kind, codings, separate_cached="cached_tokens" in price.units)
        if price.reported:
            self._reported = _micros(found.get("gateway-price", ""), price.maximum.currency)
            if self._reported is None and price.in_cents:
                self._reported = compat.cents(found.get(compat.PRICE, ""))

    def body(self, data: bytes) -> None:
        """More of the answer, or of what follows a `101`."""
        self._answer_bytes += len(data)
        if self._reading is not None:
            self._reading.feed(data)
        if self._runs_low is not None:
            owed = self.owed
            if owed > self.ceiling - self._slice // 2:
                self._runs_low()
                if self._is_short is not None and owed >= self.ceiling:
                    self._is_short()

    def watch(self, slice: int, *, low: Callable[[], None], short: Callable[[], None]) -> None:
        """Tell when less than half a slice is left of what is held, and when nothing is."""
        self._slice, self._runs_low, self._is_short = slice, low, short

    def unwatch(self) -> None:
        self._runs_low = self._is_short = None

    @property
    def is_low(self) -> bool:
        return self.owed > self.ceiling - self._slice // 2

    @property
    def is_short(self) -> bool:
        return self.owed >= self.ceiling

    @property
    def seconds_left(self) -> float | None:
        """How long until it is low if nothing comes but time; None for ever."""
        each = self._price.micros_of_time
        return max(0.0, float((self.ceiling - self._slice // 2 - self.owed + 1) / each)) if each else None

    def end(self) -> None:
        """The answer is whole."""
        if self._over < 0:
            self._over = self.now()
            if self._reading is not None:
                self._reading.end()
            self._tell_the_end()

    def cut(self) -> None:
        if self._over < 0:
            self._over, self._cut = self.now(), True
            self._tell_the_end()

    def _tell_the_end(self) -> None:
        if self._runs_low is not None:
            self._runs_low()

    def void(self) -> None:
        self._void, self._due = True, None

    def close(self) -> None:
        """Nobody waits for more of it: if it is not over, its caller has left."""
        if self._over < 0:
            self._over = self.now()
            if self._reading is not None:
                self._reading.leave()
        self.unwatch()

    @property
    def used(self) -> Mapping[str, int]:
        """How much of each unit that has a price, so far; one that the answer did not speak of is not in it."""
        price, said = self._price, self._reading.values if self._reading is not None else {}
        all_of_it = {**self._counted, **said} if price.counts else said
        return {unit: min(all_of_it[unit], COUNT_MAX) for unit in price.units if unit in all_of_it}

    @property
    def _counted(self) -> dict[str, int]:
        until = self._over if self._over >= 0 else self.now()
        return {
            "request_bytes": self._request_bytes(),
            "answer_bytes": self._answer_bytes,
            "seconds": max(0, round((until - self._begun) * _MILLISECONDS)) if self._begun >= 0 else 0,
        }

    def measured(self, method: str) -> Measured:
        """What was read of it, now that it is over: also what has no price."""
        reading = self._reading
        said = reading.values_with(separate_cached=False) if reading is not None else {}
        input_tokens = said.get("input_tokens")
        return Measured(
            method=method,
            status=self._status,
            used={unit: min(number, COUNT_MAX) for unit, number in (self._counted | said).items()},
            looked_for=self._price.looked_for,
            input_without_cached=None if input_tokens is None else input_tokens - said["cached_tokens"],
            reported=self._reported,
            empty=not (self._answer_bytes or self._bodiless or self._cut),
            cut=self._cut,
            bodiless=self._bodiless,
            waited_ms=max(0, round((self._begun - self._asked) * _MILLISECONDS)),
        )

    @property
    def units(self) -> int:
        return min(self.ceiling, self.owed)

    @property
    def owed(self) -> int:
        """What is due, also if it is more than is held by now."""
        if self._due is None:
            due = self._owed()
            if self._over < 0:
                return due
            self._due = due
        return self._due

    def _owed(self) -> int:
        price = self._price
        if self._void or not price.charge.is_charged(self._status):
            return 0
        used = self.used
        empty = self._over >= 0 and not (self._answer_bytes or self._bodiless or self._cut)
        percent = price.charge.percent(empty=empty, cut=self._cut, seconds=self._begun - self._asked)
        if self._is_silent(used) and price.unreported == "maximum":
            return price.micros(used, reported=price.maximum.micros, percent=percent)
        return price.micros(used, reported=self._reported or 0, percent=percent)

    def _is_silent(self, used: Mapping[str, int]) -> bool:
        """Whether it is over and should have said something that it did not."""
        if self._over < 0 or self._cut:
            return False
        is_unsaid = not self._bodiless and any(unit not in used for unit in self._price.units)
        return is_unsaid or (self._price.reported and self._reported is None)


def _micros(text: str, currency: str) -> int | None:
    """An upstream's own price: `0.002 usd`, or `0.002` in our currency."""
    try:
        money = money_in(text, currency)
    except MoneySyntax:
        return None
    return money.micros if money.currency == currency else None
