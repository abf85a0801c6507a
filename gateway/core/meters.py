"""What counts units: fed with the head and the chunks of an answer, read for the units used.

A meter reads zero until the upstream has answered. That is why `flows/serve.py` needs no special case for a dead
upstream or a refused request: what was not delivered was not counted.

Most prices are for the call, and nobody feeds their meters with bodies. Those that have to see more are `Follows`.
"""

from collections.abc import Callable, Iterable
from typing import Protocol


class Meter(Protocol):
    """Follows one answer. Fed by the exchange, read by the price; never raises."""

    @property
    def units(self) -> int:
        """Units used so far."""

    @property
    def follower(self) -> "Follows | None":
        """Itself, if it has to see the bodies."""

    def head(self, status: int) -> None:
        """The upstream's final status has arrived."""

    def cut(self) -> None:
        """The upstream broke its answer off, or was too slow. (A caller that leaves or lets it wait cuts nothing.)"""

    def void(self) -> None:
        """Not a byte of the answer has left: nothing was used, whoever is to blame."""


class Follows(Meter, Protocol):
    """One that sees the bodies, too; an exchange tells it of everything that the upstream says."""

    def asks(self, request_bytes: Callable[[], int]) -> None:
        """A request goes out; `request_bytes` says how much of its body has."""

    def answers(self, method: str, status: int, fields: Iterable[tuple[str, str]]) -> None:
        """The head of the answer is there."""

    def body(self, data: bytes) -> None:
        """More of the answer, or of what follows a `101`."""

    def end(self) -> None:
        """The answer is whole."""

    @property
    def is_over(self) -> bool:
        """Whether nothing will be added."""

    @property
    def is_short(self) -> bool:
        """Whether as much is due as is held, or more."""

    def close(self) -> None:
        """Nobody waits for more of it: if it is not over, its caller has left."""


class CallMeter:
    """Counts the call itself: one unit when the upstream answers 2xx or 3xx in full, or switches protocols; else none.

    Errors of the upstream (4xx, 5xx) and answers that it breaks off are free. A caller that hangs up in mid-answer, or
    reads so slowly that the time for all of it passes, has had the work done and pays. After a `101` there is no whole
    that could be broken off: the switch is the answer.
    """

    __slots__ = ("units",)

    follower: Follows | None = None

    def __init__(self) -> None:
        self.units = 0

    def head(self, status: int) -> None:
        self.units = 1 if 200 <= status < 400 or status == 101 else 0

    def cut(self) -> None:
        self.units = 0

    void = cut
