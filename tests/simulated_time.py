"""An event loop whose time is a count of its turns: what a test does there depends on no machine and no load.

Every turn takes a fixed moment, and when there is nothing to do until a timer is due, it is that time at once. Nothing
comes from outside (no sockets, no threads), so a loop that would wait for ever is told so.
"""

import asyncio
import selectors
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")
TURN_SECONDS = 0.00002
"""About what a turn takes in earnest, so that what is paced in milliseconds happens as often as it would."""


class _Idle(selectors.DefaultSelector):
    """Turns waiting into time that has passed."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0

    def select(self, timeout: float | None = None) -> Any:
        if timeout is None:
            raise RuntimeError("everybody waits, and nothing will ever happen")
        self.now += max(timeout, TURN_SECONDS)
        return []


class SimulatedLoop(asyncio.SelectorEventLoop):
    def __init__(self) -> None:
        self._idle = _Idle()
        super().__init__(self._idle)

    def time(self) -> float:
        return self._idle.now


def simulated(story: Coroutine[Any, Any, T]) -> T:
    """Run it to its end."""
    with asyncio.Runner(loop_factory=SimulatedLoop) as runner:
        return runner.run(story)
