"""One look, four times a second, at everything that may take too long.

A timer for each request would cost more than the request's parsing; a deadline is an attribute, and looking at ten
thousand of them takes a millisecond.
"""

import asyncio
from typing import Protocol

_EVERY_SECONDS = 0.25


class Sweepable(Protocol):
    """Has a time by which something must have happened."""

    def late(self, now: float) -> bool:
        """Whether that time has passed."""

    def expire(self) -> None:
        """It has, and it did not."""


class Sweep:
    """Expires whatever is past its deadline."""

    def __init__(self) -> None:
        self._swept: set[Sweepable] = set()
        self._timer: asyncio.TimerHandle | None = None

    def start(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(_EVERY_SECONDS, self._look)

    def stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()

    def add(self, one: Sweepable) -> None:
        self._swept.add(one)

    def discard(self, one: Sweepable) -> None:
        self._swept.discard(one)

    def _look(self) -> None:
        loop = asyncio.get_running_loop()
        now = loop.time()
        late = [one for one in self._swept if one.late(now)]
        self.start()  # first: whatever goes wrong with one of them, the next look comes
        for one in late:
            try:
                one.expire()
            except Exception as error:
                loop.call_exception_handler({"message": "what is late could not be ended", "exception": error})
