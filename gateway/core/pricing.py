"""What a request may cost and did cost."""

from dataclasses import dataclass

from gateway.core.meters import CallMeter, Meter
from gateway.core.money import Money


@dataclass(frozen=True, slots=True)
class Price:
    """A fixed price per answered call. Zero means that the route is free."""

    per_call: Money

    @property
    def free(self) -> bool:
        return not self.per_call

    @property
    def ceiling(self) -> Money:
        """The most that one request can cost: what is held before it is forwarded."""
        return self.per_call

    def meter(self) -> Meter:
        return CallMeter()

    def cost(self, units: int) -> Money:
        """What `units` cost; never more than the ceiling."""
        return Money(self.per_call.micros * min(units, 1), self.per_call.currency)

    def __str__(self) -> str:
        return "free" if self.free else str(self.per_call)
