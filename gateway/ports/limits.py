"""Rate limits."""

from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol

from gateway.core.callers import Caller
from gateway.core.limits import Ask, Place, Rate, Stand
from gateway.core.routes import Route
from gateway.ports.exchange import Exchange


class RateLimits(Protocol):
    """Counts requests in windows, and those under way."""

    async def admit(self, asks: Sequence[Ask], places: Sequence[Place]) -> "Admitted":
        """Count one request everywhere, or nowhere if any window or cap refuses it.

        Raises LimitsDown when nothing can be told; then no place is taken. Where only the windows cannot, it is told
        `partly`: caps hold, and a place that was taken is given back as ever. Cancelled, it takes no place, but what
        windows have counted may stand.
        """

    async def hit(self, rate: Rate, subject: str) -> Stand:
        """Count one request in one window, as `hit_all` does."""

    async def hit_all(self, asks: Sequence[Ask]) -> Sequence[Stand]:
        """Count one request everywhere, or nowhere, where somebody has to be able to tell.

        While hosts cannot count together, this one counts alone. While nobody can tell at all, everybody is admitted.
        """

    @property
    def down(self) -> bool:
        """Whether nobody could tell when it was last asked, or tried. Asks nobody."""

    @property
    def failures(self) -> int:
        """How often nobody could tell, from the beginning."""

    async def open(self) -> None:
        """Connect, before the first question. If that fails, it is tried again, and questions raise LimitsDown."""

    async def close(self) -> None:
        """Let go of what is connected."""


class Admitted(NamedTuple):
    """How the windows stand after a request, then the caps, in the order asked."""

    stands: Sequence[Stand]
    leave: Callable[[], None]
    """Gives the places back that were taken, once; awaits nothing."""
    partly: bool = False
    """The windows could not be counted: `stands` are those of the caps alone."""


class LimitsDown(Exception):
    """Requests cannot be counted just now."""


class Admits(Protocol):
    """Holds a request against the limits of its route; implemented by the flow that does."""

    async def admit(self, exchange: Exchange, caller: Caller, route: Route) -> Callable[[], None]:
        """Count it; what gives back its places when it has ended. Raises RateLimited, LimitsUnavailable.

        Cancelled or refused, it leaves no place taken.
        """


class Guesses(Protocol):
    """Counts credentials that were not good, by the address that they came from."""

    def check(self, peer: str) -> None:
        """Raises RateLimited while there were too many. Asks nobody."""

    async def failed(self, peer: str) -> None:
        """One was not good. Raises RateLimited if that is one too many."""
