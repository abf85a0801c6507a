"""Which server of an upstream is asked next.

Round robin among the servers that are not left out. A server that failed so many times in a row is left out for a
while. When its time is over one request may try it; the others go on without it until that one's outcome is known, or
until another while has passed, in case nobody ever reports it. If it failed again it is left out for twice as long as
before, up to a bound. One success and everything is forgotten.

Many requests may be under way when a server dies. They fail together and are one outage: what fails while the server is
left out anyway does not count, unless it was the one that tried it.

Where somebody else finds out whether a server is back (a health check), no request tries it: without `trials` it stays
left out until it is said to have succeeded.

Pure state: the time arrives as an argument, so it can be told to any test.
"""

from collections.abc import Collection
from dataclasses import dataclass

from gateway.core.routes import Ejection, Server


@dataclass(slots=True)
class _Record:
    """What is known of one server."""

    failures: int = 0
    """In a row."""
    out_until: float = 0.0
    """When it may be tried again; it counts only once there were enough failures."""
    tried: bool = False
    """Whether a request was let through since it was left out, and its outcome is not known."""


class Rotation:
    """The servers of one upstream, in turn."""

    def __init__(self, servers: tuple[Server, ...], ejection: Ejection, *, trials: bool = True) -> None:
        self._ejection = ejection
        self._trials = trials
        self._records = {server: _Record() for server in servers}
        self._turns = tuple(self._records.items())
        self._next = 0

    def pick(self, now: float, avoid: Collection[Server] = ()) -> Server | None:
        """The server to ask; None if all are left out or avoided."""
        count = len(self._turns)
        for step in range(count):
            at = (self._next + step) % count
            server, record = self._turns[at]
            if server in avoid or not self._may_be_asked(record, now):
                continue
            self._next = (at + 1) % count
            if self._is_out(record):
                record.tried = True
                record.out_until = now + self._ejection.seconds
            return server
        return None

    def failed(self, server: Server, now: float) -> None:
        """It could not be reached, or gave no answer."""
        record = self._records[server]
        if not self._may_be_asked(record, now) and not record.tried:
            return
        record.failures += 1
        record.tried = False
        if self._is_out(record):
            record.out_until = now + self._seconds_out(record.failures - self._ejection.failures)

    def succeeded(self, server: Server) -> None:
        """It answered."""
        record = self._records[server]
        record.failures = 0
        record.tried = False

    def retry_after(self, now: float) -> float:
        """Seconds until the first server may be tried again; without trials, not more than the least they can be."""
        waits = (0.0 if self._may_be_asked(record, now) else record.out_until - now for _, record in self._turns)
        return max(0.0, min(waits))

    def healthy(self, server: Server, now: float) -> bool:
        """Whether it may be asked now."""
        return self._may_be_asked(self._records[server], now)

    def _may_be_asked(self, record: _Record, now: float) -> bool:
        return not self._is_out(record) or (self._trials and now >= record.out_until)

    def _is_out(self, record: _Record) -> bool:
        return record.failures >= self._ejection.failures

    def _seconds_out(self, doublings: int) -> float:
        # Bounded before it is raised: a server may stay away for ever.
        return float(min(self._ejection.seconds * 2.0 ** min(doublings, 64), self._ejection.seconds_max))
