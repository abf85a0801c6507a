"""What counts units: fed with the head and the chunks of an answer, read for the units used.

A meter reads zero until the upstream has answered. That is why `flows/serve.py` needs no special case for a dead
upstream or a refused request: what was not delivered was not counted.
"""

from typing import Protocol


class Meter(Protocol):
    """Follows one answer. Fed by the exchange, read by the price; never raises."""

    @property
    def units(self) -> int:
        """Units used so far."""

    def head(self, status: int) -> None:
        """The upstream's final status has arrived."""

    def cut(self) -> None:
        """The upstream broke its answer off, or was too slow. (A caller that leaves or lets it wait cuts nothing.)"""


class CallMeter:
    """Counts the call itself: one unit when the upstream answers 2xx or 3xx in full, or switches protocols; else none.

    Errors of the upstream (4xx, 5xx) and answers that it breaks off are free. A caller that hangs up in mid-answer, or
    reads so slowly that the time for all of it passes, has had the work done and pays. After a `101` there is no whole
    that could be broken off: the switch is the answer.
    """

    __slots__ = ("units",)

    def __init__(self) -> None:
        self.units = 0

    def head(self, status: int) -> None:
        self.units = 1 if 200 <= status < 400 or status == 101 else 0

    def cut(self) -> None:
        self.units = 0
