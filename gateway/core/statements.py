"""Statements: one line of what an account used and paid in, or of what an owner's routes took."""

from collections.abc import Iterator
from dataclasses import dataclass

from gateway.core.ledger import Kind

FAR_MS = 2**62
STATES = ("charged", "corrected", "voided")
RANKS = {Kind.CAPTURE: 0, Kind.GATED_CAPTURE: 0, Kind.RENEWAL: 0, Kind.CORRECTION: 1, Kind.VOID: 2}
"""Which state a record makes of its request: the one of the highest rank."""


@dataclass(frozen=True, slots=True)
class Line:
    """One line: a `request`, the sum of an `hour`, a `credit` or a `reversal`. Amounts are micros of the unit."""

    type: str
    id: str
    at_ms: int
    account: str
    owner: str
    route: str
    requests: int
    cost: int
    credited: int
    unit: str
    token: str
    state: str


@dataclass(frozen=True, slots=True)
class Period:
    """From the first millisecond to the one before the last."""

    begin_ms: int = 0
    end_ms: int = FAR_MS

    def holds(self, at_ms: int) -> bool:
        return self.begin_ms <= at_ms < self.end_ms


@dataclass(frozen=True, slots=True)
class Chain:
    """One host's batches: of which host, and up to which they are gone, and folded."""

    keeper: int
    anchored: int
    folded: int


@dataclass(frozen=True, slots=True)
class Piece:
    """What a batch says of one request: where it stands, when it was booked, and the record."""

    at_ms: int
    number: int
    account: int
    keeper: int
    seq: int
    position: int
    booked: int
    tariff: int
    token: int
    micros: int
    rank: int
    captured: bool


@dataclass(frozen=True, slots=True)
class Sum:
    """What an account used of a host's tariff in an hour; `last` is the last batch that is in it."""

    hour: int
    keeper: int
    last: int
    account: int
    tariff: int
    requests: int
    micros: int


@dataclass(frozen=True, slots=True)
class Moved:
    """A credit or a reversal, and the batch that it came with."""

    type: str
    ref: str
    account: int
    micros: int
    kind: str
    at_ms: int
    keeper: int
    batch: int


Batches = Iterator[tuple[int, int, int, bytes]]
"""Number, time, first record and payload of each batch."""
