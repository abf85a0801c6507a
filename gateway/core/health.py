"""Which server of an upstream is asked next.

Round robin among the servers that are not left out. A server that failed so many times in a row is left out for a
while. When its time is over one request may try it; the others go on without it until that one's outcome is known, or
until another while has passed, in case nobody ever reports it. If it failed again it is left out for twice as long as
before, up to a bound. One success and everything is forgotten.

There are two kinds of failure. A server that *cannot be reached*, or fails its health checks, does so for everybody,
and while all are like that nobody is asked: a fast refusal beats a slow one. A server that was reached and *misbehaved*
(broke off, or let its time pass) may do so on one address only, and whoever asks for that address makes it happen. So
misbehaviour moves a server's load to others and never takes an upstream away: the last server that is in stays in, and
when nobody else may be asked, those that misbehaved are.

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
    """In a row, of both kinds."""
    unreachable: int = 0
    """Those among them that no caller can bring about."""
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
        """The server to ask; None if all are avoided or cannot be reached."""
        return self._turn(now, avoid) or self._turn(now, avoid, misbehaved=True)

    def _turn(self, now: float, avoid: Collection[Server], *, misbehaved: bool = False) -> Server | None:
        """The next one that may be asked; with `misbehaved`, the next one that can be reached."""
        count = len(self._turns)
        for step in range(count):
            at = (self._next + step) % count
            server, record = self._turns[at]
            if server in avoid or not (self._may_be_asked(record, now) or (misbehaved and not self._is_dead(record))):
                continue
            self._next = (at + 1) % count
            if self._is_out(record) and not misbehaved:
                record.tried = True
                record.out_until = now + self._ejection.seconds
            return server
        return None

    def unreachable(self, server: Server, now: float) -> None:
        """It could not be connected to, or failed its health check."""
        record = self._records[server]
        if self._is_dead(record) and not self._counts(record, now):
            return
        record.unreachable += 1
        self._blame(record, now)

    def misbehaved(self, server: Server, now: float) -> None:
        """It was asked, and gave no answer or only a part of one."""
        record = self._records[server]
        if self._is_out(record) and not self._counts(record, now):
            return
        if self._trials:
            record.unreachable = 0  # it was reached
        if any(other is not record and not self._is_out(other) for _, other in self._turns):
            self._blame(record, now)
        else:
            record.failures = min(record.failures + 1, self._ejection.failures - 1)
            record.tried = False

    def _counts(self, record: _Record, now: float) -> bool:
        """Whether a failure of a server that is out is more than the outage that is known."""
        return record.tried or self._may_be_asked(record, now)

    def _blame(self, record: _Record, now: float) -> None:
        record.failures += 1
        record.tried = False
        if self._is_out(record):
            failures = record.unreachable if self._is_dead(record) else record.failures
            record.out_until = now + self._seconds_out(failures - self._ejection.failures)

    def succeeded(self, server: Server) -> None:
        """It answered."""
        record = self._records[server]
        record.failures = record.unreachable = 0
        record.tried = False

    def retry_after(self, now: float) -> float:
        """Seconds until somebody may be asked again; without trials, not more than the least they can be."""
        waits = (record.out_until - now if self._is_dead(record) else 0.0 for _, record in self._turns)
        return max(0.0, min(waits))

    def healthy(self, server: Server, now: float) -> bool:
        """Whether it may be asked now, though there are others."""
        return self._may_be_asked(self._records[server], now)

    def left_out(self) -> int:
        """How many servers are, until they are tried again."""
        return sum(self._is_out(record) for _, record in self._turns)

    def _may_be_asked(self, record: _Record, now: float) -> bool:
        return not self._is_out(record) or (self._trials and now >= record.out_until)

    def _is_out(self, record: _Record) -> bool:
        return record.failures >= self._ejection.failures

    def _is_dead(self, record: _Record) -> bool:
        return record.unreachable >= self._ejection.failures

    def _seconds_out(self, doublings: int) -> float:
        # Bounded before it is raised: a server may stay away for ever.
        return float(min(self._ejection.seconds * 2.0 ** min(doublings, 64), self._ejection.seconds_max))
