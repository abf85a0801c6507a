"""The trail of what was done by whom."""

from collections.abc import Sequence
from typing import Protocol

from gateway.core.trail import Act, Step


class TrailBook(Protocol):
    """Where the entries are kept. Rows are only ever added. Every call may raise RecordsUnavailable."""

    async def last_step(self) -> Step | None:
        """The newest entry."""

    async def add_step(self, step: Step, *, action: str, object: str) -> bool:
        """Write it, durably; False if its number is taken."""

    async def steps_after(self, number: int, *, count: int) -> Sequence[Step]:
        """The next entries, in their order."""

    async def steps_before(
        self, number: int, *, count: int, object: str | None = None, action: str | None = None
    ) -> Sequence[Step]:
        """The newest entries of less than this number, newest first; those of an object, those of an action."""


class Witnesses(Protocol):
    """Writes down what is about to be done."""

    async def write(self, act: Act) -> None:
        """It is on the trail when this returns. Raises RecordsUnavailable: then it must not be done."""


class WitnessesOnce(Protocol):
    """Writes down what was done by an outside cause, which may be told any number of times."""

    async def write_once(self, act: Act, *, by: str = "") -> bool:
        """Write it, unless there is an entry of this action on this object: then False. Raises RecordsUnavailable.

        With `by`, the entry must also have the same fact of that name: what may happen to an object again has another.
        """


class WritesTrail(Witnesses, WitnessesOnce, Protocol):
    """Both."""
