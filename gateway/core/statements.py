"""Statements: one line of what an account used and paid in, or of what an owner's routes took."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime
from typing import Any

from gateway.core.ids import RequestId
from gateway.core.ledger import Kind
from gateway.core.money import Money, written

DAY_MS = 86_400_000
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
    rule: str = ""
    """By which a request or an hour was priced. It stands in no table."""


COLUMNS = ["time" if field.name == "at_ms" else field.name for field in fields(Line) if field.name != "rule"]


def columns(line: Line) -> dict[str, Any]:
    """A line as it is written in a table: by `COLUMNS`, times in UTC, amounts in full units."""
    found = asdict(line)
    time = datetime.fromtimestamp(line.at_ms / 1000, UTC).isoformat(timespec="milliseconds")
    found |= {"time": time, "cost": written(line.cost), "credited": written(line.credited)}
    return {name: found[name] for name in COLUMNS}


@dataclass(frozen=True, slots=True)
class Step:
    """What a record did to the cost of its request, and when it was booked."""

    at_ms: int
    kind: Kind
    amount: Money


@dataclass(frozen=True, slots=True)
class Explained:
    """All that the books hold of one request. `rule` is the price as it was written then."""

    id: RequestId
    account: str
    owner: str
    route: str
    rule: str
    token: int
    steps: tuple[Step, ...]
    """In the order in which they were booked; the first is the capture, unless its batch was pruned."""

    @property
    def cost(self) -> Money:
        """What it has cost by now."""
        return sum((step.amount for step in self.steps[1:]), self.steps[0].amount)

    @property
    def state(self) -> str:
        """As in a statement."""
        kinds = {step.kind for step in self.steps}
        if not kinds & _CAPTURES:
            return "adjusted"
        return STATES[max(RANKS[kind] for kind in kinds)]


_CAPTURES = frozenset((Kind.CAPTURE, Kind.GATED_CAPTURE))


@dataclass(frozen=True, slots=True)
class Day:
    """What an account used on a day, in UTC."""

    begin_ms: int
    requests: int
    cost: Money


@dataclass(frozen=True, slots=True)
class PurseRow:
    """What is left in one purse of a holder: when it is spent, lowest first, and until when it can be (0: for ever)."""

    unit: str
    priority: int
    expires_ms: int
    left: int


@dataclass(frozen=True, slots=True)
class History:
    """What an account did lately. `to_the_hour`: what is not rolled up yet was too much to read, and is not in it."""

    days: tuple[Day, ...]
    money: tuple["Moved", ...]
    """Newest first."""
    purses: tuple[PurseRow, ...]
    """Those with something left, in the order in which they are spent."""
    to_the_hour: bool = False
    named: tuple[PurseRow, ...] = ()
    """The same of named credits."""


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

    @property
    def paid(self) -> str | None:
        """The checkout or refill that brought it, by the provider's id; None for what is no payment."""
        name, _, id = self.ref.partition(":")
        return (
            id
            if self.type == "credit" and name == "stripe" and id.startswith(("cs_", "pi_")) and ":" not in id
            else None
        )


Batches = Iterator[tuple[int, int, int, bytes]]
"""Number, time, first record and payload of each batch."""
