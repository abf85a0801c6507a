"""Accounts, records and batches: the rules of the books, and the bytes in which they are kept.

**Accounts.** `available = credited - spent - leased - debt`. A hold sets money aside in memory only; it is the record
of what a request did cost that moves money, from the account to the owner that the record's tariff names. Spending
never makes a balance negative; only a *reversal* can, for a refund or a dispute takes money back that may be spent by
then. What of it was available goes at once, the rest is `debt`, which the next credits pay first. Money that is held or
lent is never taken, so `credited - spent - leased` itself never falls below zero.

A holder's *purses* (see `core/purses.py`) are accounts of their own.

**Records** are 48 bytes and append-only. A CAPTURE takes the cost of one request. A RENEWAL takes more for one whose
answer goes on. A CORRECTION is a signed delta (never upwards beyond what was captured and renewed). A VOID undoes a
capture whose answer never started; only recovery writes it. All records of one request share its id, and their sum is
what it did cost: never negative.

**Batches** are what one commit writes: records packed together, plus *notes* (a credit, a tariff that is used for the
first time) as canonical JSON lines. Each has a hash over its contents and the hash before it, so no row can be changed,
dropped from the middle or reordered without the chain showing it.

**Gated records and the watermark.** A strict capture is durable *before* its answer starts. If the host dies between
the two, a caller was charged for an answer that never came. So each batch also stores `started`: the number up to which
every record's answer has started (or its request has ended). After a crash, gated records beyond the last stored
watermark are voided: an unanswered request is never charged, and the price of that certainty is that answers started
since the last commit or two are given away, counted and shown.

Everything here is pure; `flows/keep` is the moving part and the stores in `adapters` are the durable one.
"""

import hashlib
import json
import struct
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import IntEnum

from gateway.core.ids import RequestId
from gateway.core.money import Money
from gateway.core.purses import PLAIN, Purse, purse_named

CREDIT_CHARS_MAX = 500
_SLICE_REQUESTS = 1000
GENESIS = bytes(32)
"""The hash before the first batch."""


class Kind(IntEnum):
    """What a record does. The number is stored; it never changes its meaning."""

    CAPTURE = 1
    GATED_CAPTURE = 2
    CORRECTION = 3
    VOID = 4
    RENEWAL = 5


@dataclass(frozen=True, slots=True)
class Tariff:
    """What a record was priced by: the route, whose it is, the commission in basis points, and the price as written."""

    route: str
    owner: str
    commission_points: int
    price: str
    _hash: int = field(init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        if not 0 <= self.commission_points <= 10_000:
            raise ValueError(f"{self.commission_points} basis points are no commission")
        object.__setattr__(self, "_hash", hash((self.route, self.owner, self.commission_points, self.price)))

    def __hash__(self) -> int:
        """Made once: every request looks its tariff up."""
        return self._hash

    def __reduce__(self) -> tuple[type["Tariff"], tuple[str, str, int, str]]:
        """In another process a text has another hash, so it is made anew there."""
        return Tariff, (self.route, self.owner, self.commission_points, self.price)


CAP_TARIFF = Tariff("", "", 0, "cap")
"""What the records of a cap's balance name: nobody's route, and nobody is paid by them."""
QUOTA_TARIFF = Tariff("", "", 0, "quota")
"""The same of a count of calls that cost something."""
FREE_TARIFF = Tariff("", "", 0, "free quota")
"""And of one of calls that cost nothing: what it counts is all that the books have of them."""


@dataclass(frozen=True, slots=True)
class Record:
    """One movement of money, caused by one request."""

    kind: Kind
    tariff: int
    account: int
    token: int
    micros: int
    request: RequestId

    _LAYOUT = struct.Struct(">BxxxIqqqqq")
    SIZE = _LAYOUT.size

    def pack(self) -> bytes:
        return Record.packed(self.kind, self.tariff, self.account, self.token, self.micros, self.request)

    @staticmethod
    def packed(kind: int, tariff: int, account: int, token: int, micros: int, request: RequestId) -> bytes:
        """The bytes of a record with these contents."""
        return Record._LAYOUT.pack(kind, tariff, account, token, micros, request.at_ms, request.number)

    @staticmethod
    def unpacked(payload: bytes) -> Iterator[tuple[int, int, int, int, int, int, int]]:
        """Kind, tariff, account, token, micros, and time and number of the request, of each record; no objects."""
        return Record._LAYOUT.iter_unpack(payload)

    @staticmethod
    def unpack_all(payload: bytes) -> Iterator["Record"]:
        for kind, tariff, account, token, micros, at_ms, number in Record.unpacked(payload):
            yield Record(Kind(kind), tariff, account, token, micros, RequestId(at_ms, number))


_pack = Record._LAYOUT.pack


@dataclass(frozen=True, slots=True)
class Credit:
    """Money that arrived. `ref` is its money key (`stripe:cs_…`, `manual:…`): one ref is credited once, for ever."""

    ref: str
    account: str
    amount: Money
    kind: str
    reason: str
    purse: Purse = PLAIN

    def __post_init__(self) -> None:
        """What is written into the books for ever must be writable: one bad text would hold up a whole batch."""
        if self.amount.micros <= 0:
            raise ValueError(f"{self.amount} is no credit")
        _check_holder(self.account)
        _check_texts("credit", self.ref, self.account, self.amount.currency, self.kind, self.reason)

    @property
    def key(self) -> tuple[str, str]:
        """The purse's name, and the unit."""
        return self.purse.named(self.account), self.amount.currency

    def note(self, row: int, at_ms: int, repaid: int = 0) -> dict[str, object]:
        """The line that the batch keeps of it: every column of its row, and which account row is whose.

        `repaid` is the part that went into the account's debt; where there was none, nothing is said of it.
        """
        return (
            {
                "note": "credit",
                "account": row,
                "ref": self.ref,
                "holder": self.account,
                "unit": self.amount.currency,
                "micros": self.amount.micros,
                "kind": self.kind,
                "reason": self.reason,
                "at": at_ms,
            }
            | ({"repaid": repaid} if repaid else {})
            | _of_purse(self.purse)
        )


@dataclass(frozen=True, slots=True)
class Reversal:
    """Money that is taken back: a refund, a dispute, an operator's debit.

    `ref` is a money key like that of a credit and shares their names: one ref is one entry, for ever. `at_most`: only
    what is available is taken, and nothing becomes debt; where nothing is, no entry is made. `into`: the same amount is
    credited to this holder's purse of the same kind, in the same commit.
    """

    ref: str
    account: str
    amount: Money
    kind: str
    reason: str
    purse: Purse = PLAIN
    at_most: bool = False
    into: str = ""

    def __post_init__(self) -> None:
        if self.amount.micros <= 0:
            raise ValueError(f"{self.amount} is nothing to take back")
        if self.into == self.account:
            raise ValueError(f"{self.account} cannot be moved into itself")
        _check_holder(self.account)
        _check_holder(self.into)
        _check_texts("reversal", self.ref, self.account, self.amount.currency, self.kind, self.reason)

    @property
    def key(self) -> tuple[str, str]:
        """The purse's name, and the unit."""
        return self.purse.named(self.account), self.amount.currency

    def taking(self, micros: int) -> "Reversal":
        """The same of what was there, if it is to take no more than that."""
        return replace(self, amount=Money(micros, self.amount.currency), at_most=False) if self.at_most else self

    @property
    def moved(self) -> Credit | None:
        """What is credited to somebody else for it."""
        if not self.into:
            return None
        return Credit(f"{self.ref}:in", self.into, self.amount, self.kind, self.reason, self.purse)

    def note(self, row: int, at_ms: int, taken: int) -> dict[str, object]:
        """The line that the batch keeps of it. `taken` was available; the rest of the amount is debt."""
        return {
            "note": "reversal",
            "account": row,
            "ref": self.ref,
            "holder": self.account,
            "unit": self.amount.currency,
            "micros": self.amount.micros,
            "taken": taken,
            "kind": self.kind,
            "reason": self.reason,
            "at": at_ms,
        } | _of_purse(self.purse)


def expiry(row: int, key: tuple[str, str], micros: int, *, now_ms: int) -> Reversal:
    """What takes away the rest of a purse whose time is over, `micros` at most; what is held by then is settled first.

    Each attempt has a key of its own: as none takes more than there is, none can take it twice.
    """
    holder, purse = purse_named(key[0])
    ref, reason = f"expired:{row}:{now_ms}", "its time is over"
    return Reversal(ref, holder, Money(micros, key[1]), "expired", reason, purse, at_most=True)


def _of_purse(purse: Purse) -> dict[str, object]:
    """What a note says of a purse that is not the plain one."""
    return {} if purse == PLAIN else {"priority": purse.priority, "expires": purse.expires_ms}


@dataclass(frozen=True, slots=True)
class Charge:
    """What a request did cost an account, all of its records together. `captured` is false if its capture is gone.

    `name` is that of the holder's purse.
    """

    row: int
    name: str
    unit: str
    tariff: int
    token: int
    micros: int
    captured: bool

    @property
    def holder(self) -> str:
        return purse_named(self.name)[0]


@dataclass(frozen=True, slots=True)
class Refund:
    """An operator gives back what a request did cost: why, beside the correction that does it."""

    request: RequestId
    charge: Charge
    reason: str

    def __post_init__(self) -> None:
        _check_texts("refund", self.reason)

    def note(self, at_ms: int) -> dict[str, object]:
        """The line that the batch keeps of it."""
        return {
            "note": "refund",
            "request": str(self.request),
            "account": self.charge.row,
            "micros": self.charge.micros,
            "reason": self.reason,
            "at": at_ms,
        }


def charges(records: Iterable["Record"], names: Mapping[int, tuple[str, str]]) -> list[Charge]:
    """What the records of one request come to, by account, in the order in which they first appear.

    `names` has the purse's name and the unit of each row.
    """
    by_row: dict[int, list[Record]] = {}
    for record in records:
        by_row.setdefault(record.account, []).append(record)
    return [
        Charge(
            row,
            *names[row],
            tariff=found[0].tariff,
            token=found[0].token,
            micros=sum(record.micros for record in found),
            captured=found[0].kind in (Kind.CAPTURE, Kind.GATED_CAPTURE),
        )
        for row, found in by_row.items()
    ]


def _check_holder(holder: str) -> None:
    if "#" in holder:
        raise ValueError(f"{holder!r} is no holder: a `#` names a purse")


def _check_texts(what: str, *texts: str) -> None:
    for text in texts:
        if len(text) > CREDIT_CHARS_MAX or not text.isprintable():
            raise ValueError(f"a text of a {what} is unprintable or longer than {CREDIT_CHARS_MAX} characters")


@dataclass(frozen=True, slots=True)
class Origin:
    """Records of a batch that came from a worker process: which of its drafts they are, and where they begin.

    A keeper that takes the books over learns from it whether a worker's last draft landed, and whose an answer is.
    """

    worker: str
    seq: int
    first: int
    count: int
    local: int
    """The worker's own number of the first record."""

    def note(self) -> dict[str, object]:
        """The line that the batch keeps of it."""
        return {
            "note": "origin",
            "worker": self.worker,
            "seq": self.seq,
            "first": self.first,
            "count": self.count,
            "local": self.local,
        }

    @classmethod
    def among(cls, notes: str) -> "Iterator[Origin]":
        """Those in a batch's lines. Of the others, which may be many, none is parsed."""
        for line in notes.splitlines():
            if '"origin"' in line and (note := json.loads(line))["note"] == "origin":
                yield cls(note["worker"], note["seq"], note["first"], note["count"], note["local"])


@dataclass(frozen=True, slots=True)
class Balance:
    """What an account can spend, and what is set aside for requests in flight. A debt shows as less than nothing."""

    available: Money
    held: Money


@dataclass(frozen=True, slots=True)
class AccountRow:
    """An account as the store has it: `id` is its row (0 if nobody paid into it), `available` in micros."""

    id: int
    available: int
    purses: Sequence[str] = ()
    """Of a plain purse: the names of the holder's others of that unit that have something left."""


@dataclass(slots=True)
class Draft:
    """What the next commit is to write, and what it is to read on the way.

    `spent` sums the records by account row. Drafts are numbered from 1 without gaps; a repeated draft is the same one.
    """

    seq: int
    first: int
    at_ms: int = 0
    started: int = 0
    count: int = 0
    payload: bytearray = field(default_factory=bytearray)
    spent: dict[int, int] = field(default_factory=dict)
    tariffs: list[tuple[int, Tariff]] = field(default_factory=list)
    credits: list[Credit] = field(default_factory=list)
    loads: list[tuple[str, str]] = field(default_factory=list)
    origins: list[Origin] = field(default_factory=list)
    reversals: list[tuple[Reversal, int]] = field(default_factory=list)
    """Each with what of its amount was available when it came, and is set aside for it."""
    refunds: list[Refund] = field(default_factory=list)
    """Each has its correction among the records."""
    quiet: bool = False
    """Nothing follows for now: a good moment to write down the chain's head."""

    @property
    def writes(self) -> bool:
        """Whether there is anything to commit; loads alone need no transaction."""
        return bool(self.count or self.credits or self.tariffs or self.origins or self.reversals or self.quiet)

    @property
    def reads(self) -> set[tuple[str, str]]:
        """The accounts that are to be read once it is written."""
        entries: list[Credit | Reversal] = [*self.credits, *(reversal for reversal, _ in self.reversals)]
        entries += [moved for reversal, _ in self.reversals if (moved := reversal.moved) is not None]
        plain = ((entry.account, entry.amount.currency) for entry in entries)
        return {*self.loads, *plain, *(entry.key for entry in entries)}

    def add(self, record: Record) -> int:
        """Append a record; its number in the ledger."""
        return self.write(record.kind, record.tariff, record.account, record.token, record.micros, record.request)

    def write(self, kind: int, tariff: int, account: int, token: int, micros: int, request: RequestId) -> int:
        """The same without the object, which costs more to make than to write."""
        number = self.first + self.count
        self.payload += _pack(kind, tariff, account, token, micros, request.at_ms, request.number)
        self.count += 1
        self.spent[account] = self.spent.get(account, 0) + micros
        return number


@dataclass(frozen=True, slots=True)
class Committed:
    """What a commit did: which credits and reversals were new, and the accounts that were asked for or moved."""

    credited: Sequence[bool | None]
    """For each credit of the draft: whether it was new; None if the account cannot hold so much."""
    accounts: Mapping[tuple[str, str], AccountRow]
    elsewhere: Mapping[int, int] = field(default_factory=dict)
    """By account row: what the others still have, where the store lends slices."""
    reversed: Sequence[bool | None] = ()
    """For each reversal of the draft: as with the credits."""


@dataclass(frozen=True, slots=True)
class Drawn:
    """A slice of an account: `micros` more to spend here, and what is left `elsewhere`."""

    row: int
    micros: int
    elsewhere: int
    doubtful: bool
    """Somebody who holds a slice did not answer: there may be more than was said."""
    purses: Sequence[str] | None = ()
    """Of a plain purse that owes nothing: the names of the holder's others that have something left; None if this does
    not say.
    """
    owes: bool = False
    """More of it is on loan than there is: of what was lent before, nothing may be spent on anything new."""


@dataclass(frozen=True, slots=True)
class Claim:
    """What a worker tells a new keeper: how far its answers have begun, and what of its slices is spoken for."""

    started: int
    tariffs: Mapping[int, Tariff]
    slices: Sequence[tuple[int, str, str, int]]
    """Row, holder, unit and micros."""


def slice_of(missing: int, available: int, workers: int) -> int:
    """How much a worker gets that lacks `missing` of an account with `available` to give.

    Much while there is much, so that it asks seldom; single requests when little is left, so that nobody sits on what
    another needs. Nothing of a debt.
    """
    return max(0, min(available, max(missing, min(_SLICE_REQUESTS * missing, available // (2 * workers)))))


@dataclass(frozen=True, slots=True)
class Tail:
    """Where a store stands when it is opened: the next numbers, and the records beyond the watermark.

    The unstarted records are numbered on from `started + 1`; `origins` are those of the last batches, oldest first.
    Of a store that lends, `loans` is what is still on loan to its keeper from before: row, holder, unit and micros.
    `anew`: somebody else had the books since, so whatever workers still have of them is void.
    """

    seq: int
    first: int
    started: int
    tariffs: Mapping[Tariff, int]
    unstarted: Sequence[Record]
    origins: Sequence[Origin] = ()
    loans: Sequence[tuple[int, str, str, int]] = ()
    anew: bool = False


def voids(unstarted: Iterable[Record]) -> list[Record]:
    """The records that undo every gated capture among `unstarted`, net of its corrections; none twice."""
    gated: dict[tuple[RequestId, int], Record] = {}
    net: dict[tuple[RequestId, int], int] = {}
    for record in unstarted:
        key = (record.request, record.account)
        if record.kind is Kind.GATED_CAPTURE:
            gated[key] = record
        net[key] = net.get(key, 0) + record.micros
    return [
        Record(Kind.VOID, record.tariff, record.account, record.token, -net[key], record.request)
        for key, record in gated.items()
        if net[key] > 0
    ]


_HEADER = struct.Struct(">qqqqqq")
_HASHED_AT_ONCE = 2016


def chain(previous: bytes, draft: Draft, notes: str) -> bytes:
    """The hash of a batch: SHA-256 over the hash before it, its numbers, its records and its notes."""
    header = _HEADER.pack(draft.seq, draft.at_ms, draft.first, draft.count, draft.started, len(draft.payload))
    digest = hashlib.sha256(previous + header)
    # In small pieces: hashlib hands Python's lock over for larger ones, and a loop that has work keeps it for 5 ms.
    for contents in (memoryview(draft.payload), memoryview(notes.encode())):
        for start in range(0, len(contents), _HASHED_AT_ONCE):
            digest.update(contents[start : start + _HASHED_AT_ONCE])
    return digest.digest()


def note_lines(notes: Iterable[Mapping[str, object]]) -> str:
    """Notes as the batch keeps them: one canonical JSON object a line, nothing when there are none."""
    return "".join(json.dumps(note, sort_keys=True, separators=(",", ":"), ensure_ascii=True) + "\n" for note in notes)


def tariff_note(id: int, tariff: Tariff) -> dict[str, object]:
    """The line that a batch keeps of a tariff which it is the first to use."""
    return {
        "note": "tariff",
        "id": id,
        "route": tariff.route,
        "owner": tariff.owner,
        "commission_points": tariff.commission_points,
        "price": tariff.price,
    }
