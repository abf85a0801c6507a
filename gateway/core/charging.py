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

    @property
    def whole(self) -> bool:
        """Whether all of a price is due or nothing of it, and never a part."""
        return {self.empty, self.cut, self.late} <= {0, 100}

    def is_charged(self, status: int) -> bool:
        return status in self.statuses or status == 101

    def __str__(self) -> str:
        """`2xx, 3xx, 404; cut off: free; later than 10 s: 50%`."""
        whole = [first for first in range(200, 600, 100) if self.statuses >= set(range(first, first + 100))]
        single = sorted(self.statuses - {status for first in whole for status in range(first, first + 100)})
        parts = [", ".join([*(f"{first // 100}xx" for first in whole), *map(str, single)])]
        late = f"later than {self.late_seconds:g} s" if self.late_seconds is not None else "late"
        for what, due in (("empty", self.empty), ("cut off", self.cut), (late, self.late)):
            if due < 100:
                parts.append(f"{what}: {due}%" if due else f"{what}: free")
        return "; ".join(parts)

    def percent(self, *, empty: bool, cut: bool, seconds: float) -> int:
        late = self.late_seconds is not None and seconds > self.late_seconds
        return min(100, self.empty if empty else 100, self.cut if cut else 100, self.late if late else 100)


ALWAYS = ChargeWhen()
"""Every 2xx and 3xx, for what was delivered."""
WHOLE = ChargeWhen(cut=0)
"""Every 2xx and 3xx that came to its end: when an amount for each call is due."""
