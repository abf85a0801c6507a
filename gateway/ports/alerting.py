"""Alerts: where they are kept, and who looks."""

from collections.abc import Mapping, Sequence
from typing import Protocol

from gateway.core.alerts import Alert, Name, Sign


class Alerts(Protocol):
    """What operators are alerted of, in the records that all hosts share. Every call may raise RecordsUnavailable."""

    async def note(self, sign: Sign, *, now_ms: int, tells: bool) -> None:
        """It is true now: open an alert, or note that the open one still holds. One that is new and `tells` is told."""

    async def remind(self, *, now_ms: int, before_ms: int) -> None:
        """Tell of those again that hold, nobody has acknowledged or muted, and were last told of before then."""

    async def end(self, *, now_ms: int, before_ms: int) -> None:
        """End those that were last true before then."""

    async def found(self, *, open_only: bool, count: int) -> list[Alert]:
        """The newest so many, newest first."""

    async def open_by_name(self) -> dict[Name, int]: ...

    async def is_open(self, id: str) -> bool:
        """Whether there is an alert of this id that has not ended."""

    async def ack(self, id: str, *, now_ms: int) -> Alert | None:
        """Somebody looks after it; None if there is none of this id that is open."""

    async def mute(self, name: Name, *, until_ms: int) -> None:
        """Nobody is told of these until then."""

    async def mutes(self, *, now_ms: int) -> dict[Name, int]:
        """Until when which are muted."""

    async def drop(self, *, before_ms: int) -> None:
        """Forget those that ended before then."""


class Counted(Protocol):
    """What all hosts count together, and how it usually is. Every call may raise RecordsUnavailable."""

    async def claim(self, who: str, *, now_ms: int, lease_ms: int) -> bool:
        """Whether this one looks for all, for so long. Nobody else does meanwhile."""

    async def add_counts(self, moment_ms: int, numbers: Mapping[str, int]) -> None: ...

    async def counts(self, *, since_ms: int, until_ms: int) -> dict[str, int]:
        """Sums by measure of the moments from `since_ms` on, before `until_ms`."""

    async def add_spent(self, hour_ms: int, micros: Mapping[str, int]) -> None: ...

    async def spent(self, hour_ms: int, *, least: int, after: str, count: int) -> list[tuple[str, int]]:
        """Who spent at least so much in an hour: by account, from `after` on."""

    async def unlearned(self, *, before_ms: int) -> int | None:
        """The earliest hour before that in which somebody spent, of those that are kept."""

    async def learned(self, hour_ms: int, accounts: Sequence[str]) -> None:
        """What they spent in that hour need not be kept any more."""

    async def habits(self, subjects: Sequence[str]) -> dict[str, str]:
        """How they usually are, as it was kept."""

    async def keep_habits(self, states: Mapping[str, str], *, now_ms: int) -> None: ...

    async def forget_counts(self, *, before_ms: int, habits_before_ms: int, habits_max: int) -> None:
        """Forget older counts, and habits that were not used since then or are too many, the oldest first."""


class AlertSources(Protocol):
    """What stands in the records that an alert may be about. Every call may raise RecordsUnavailable."""

    async def events(self, *, since_ms: int, until_ms: int) -> dict[str, int]:
        """How many events of each type came in that time."""

    async def late(self, *, now_ms: int, alerts: bool, accounts: bool) -> tuple[int, int]:
        """How many messages were given up, and for how many milliseconds the oldest has waited.

        Of those about alerts, about accounts, or both.
        """

    async def failed_jobs(self) -> int: ...

    async def devices(self, *, since_ms: int, least: int) -> list[tuple[str, int]]:
        """Customers whose licence was brought to so many devices since then."""

    async def payments(self, *, since_ms: int, least: int) -> list[tuple[str, int]]:
        """Accounts that so many payments were credited to since then."""

    async def duplicates(self) -> list[tuple[str, int]]:
        """Accounts that pay for the same price more than once, and how often."""

    async def unreturned(self, *, before_ms: int) -> list[str]:
        """Payouts of which something came back that is not in the books, and has not been since before then."""
