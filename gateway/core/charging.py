"""Which answers are charged, and for what part: the `charge_when` of a route.

A switch of protocols (`101`) is a success. Each reason to charge less names the percent that is due; if there are
several, the least is. They are percents of what the price says for what was delivered.
"""

from dataclasses import dataclass

SUCCESS = frozenset(range(200, 400))


@dataclass(frozen=True, slots=True)
class ChargeWhen:
    """A route's contract with its callers."""

    statuses: frozenset[int] = SUCCESS
    empty: int = 100
    """Percent of an answer without a body, where it could have had one."""
    cut: int = 100
    """Percent of an answer that the upstream broke off."""
    late: int = 100
    """Percent of an answer whose head came later than `late_seconds`."""
    late_seconds: float | None = None

    def is_charged(self, status: int) -> bool:
        return status in self.statuses or status == 101

    def percent(self, *, empty: bool, cut: bool, seconds: float) -> int:
        late = self.late_seconds is not None and seconds > self.late_seconds
        return min(100, self.empty if empty else 100, self.cut if cut else 100, self.late if late else 100)


ALWAYS = ChargeWhen()
"""Every 2xx and 3xx, for what was delivered."""
