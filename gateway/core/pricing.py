"""What a request may cost and did cost."""

from dataclasses import dataclass, field

from gateway.core.meters import CallMeter, Meter
from gateway.core.money import Money


@dataclass(frozen=True, slots=True)
class Price:
    """A fixed price per answered call. Zero means that the route is free."""

    per_call: Money
    free: bool = field(init=False, compare=False, repr=False)
    _nothing: Money = field(init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "free", not self.per_call)
        object.__setattr__(self, "_nothing", Money.zero(self.per_call.currency))

    @property
    def ceiling(self) -> Money:
        """The most that one request can cost: what is held before it is forwarded."""
        return self.per_call

    def meter(self) -> Meter:
        return CallMeter()

    def cost(self, units: int) -> Money:
        """What `units` cost; never more than the ceiling."""
        return self.per_call if units else self._nothing

    def __str__(self) -> str:
        return "free" if self.free else str(self.per_call)
