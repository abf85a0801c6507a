"""Payouts: how much of what is due to an owner leaves, when, and what becomes of it.

**How much.** Only what is folded counts. Hours that began within the hold-back are not payable yet (without one, all
that is folded is), and neither is the reserve: a part of what was shared in the last so many days. If less than that
was left at any moment since (callers got their money back), no more than that is payable. What has left already, paid
out or clawed back, is taken off; less than nothing is carried over. A payout is of whole units that the provider knows:
the micros below stay due.

**A payout's life** is the table `NEXT`. Its number among those of its owner and unit is part of its money key, and only
one of them may be under way: so two who plan at once plan the same one, and the books take it once. Everything that is
to be done is written down before it is done, so that whoever finds a payout goes on with it, however often:

    planned   how much, where to, and the key of the call
    written   the books have it: it is not due any more
    sending   the call was or will be made; what became of it is not known
    created   the provider has made the transfer
    paid      the provider said so once more (older webhooks)
    failed    the provider refused for good, and the money is on its way back in the books
    returned  it is back, due again, and may be in the next payout
    reversed  all of it was fetched back from the owner's account; it is due again

**Coming back.** What came back of a payout is an entry of its own, named by how much of it had come back before: so
each part is given back once, whoever hears of it first.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Literal, get_args

from gateway.core.ledger import Credit, Reversal
from gateway.core.money import MICROS_PER_UNIT, Money, from_minor, is_named, minor_decimals
from gateway.core.transfers import HOUR_MS, PAYOUT_REF, POINTS, hour_of, owner_account

DAY_MS = 86_400_000

PayoutState = Literal["planned", "written", "sending", "created", "paid", "failed", "returned", "reversed"]
PAYOUT_STATES: tuple[PayoutState, ...] = get_args(PayoutState)
PayoutEvent = Literal["written", "sending", "created", "paid", "refused", "given back", "reversed"]
PAYOUT_EVENTS: tuple[PayoutEvent, ...] = get_args(PayoutEvent)

NEXT: Mapping[tuple[PayoutState, PayoutEvent], PayoutState] = {
    ("planned", "written"): "written",
    ("written", "sending"): "sending",
    ("sending", "created"): "created",
    ("sending", "paid"): "paid",
    ("sending", "refused"): "failed",
    ("created", "paid"): "paid",
    ("failed", "given back"): "returned",
    ("created", "reversed"): "reversed",
    ("paid", "reversed"): "reversed",
}
"""What does not stand here changes nothing: it was heard before, too late, or is not to be believed."""

UNDER_WAY: tuple[PayoutState, ...] = ("planned", "written", "sending", "failed")
"""While one is, no other of its owner and unit is planned."""

Every = Literal["daily", "weekly", "monthly"]
_WHOLE = frozenset(("isk", "ugx"))
"""Written with two decimals that are always 0: https://docs.stripe.com/currencies#special-cases"""
WEEKDAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")


@dataclass(frozen=True, slots=True)
class PayoutTerms:
    """When an owner is paid, and how much is kept back.

    `day` counts from Monday = 0, or is the day of the month, 28 at most.
    """

    every: Every = "weekly"
    day: int = 0
    minimum: Mapping[str, Money] = field(default_factory=dict)
    hold_back_days: int = 7
    reserve_points: int = 0
    reserve_days: int = 90


@dataclass(frozen=True, slots=True)
class Shared:
    """What the books gave to an owner for one hour that is folded; less than nothing if more was given back."""

    owner: str
    unit: str
    hour: int
    micros: int


@dataclass(frozen=True, slots=True)
class Left:
    """An entry of an owner's account: `micros` have left it, or come back if they are less than nothing."""

    owner: str
    unit: str
    ref: str
    micros: int
    at_ms: int
    kind: str


@dataclass(frozen=True, slots=True)
class OwnersBooks:
    """What the books have of owners, at one moment: `fold` is the last one that counts."""

    fold: int
    shared: Sequence[Shared]
    left: Sequence[Left]


@dataclass(frozen=True, slots=True)
class Payable:
    """How an owner stands in a unit, in micros. `due` is all that is theirs; `payable` what can leave now."""

    owner: str
    unit: str
    shared: int
    paid_out: int
    clawed_back: int
    held_back: int
    reserved: int
    payable: int
    fold: int
    before_ms: int

    @property
    def due(self) -> int:
        return self.shared - self.paid_out - self.clawed_back


def payables(books: OwnersBooks, terms: Mapping[str, PayoutTerms], usual: PayoutTerms, *, now_ms: int) -> list[Payable]:
    """Of each owner and unit that the books know, in order."""
    shared: dict[tuple[str, str], list[Shared]] = {}
    left: dict[tuple[str, str], list[Left]] = {}
    for share in books.shared:
        shared.setdefault((share.owner, share.unit), []).append(share)
    for entry in books.left:
        left.setdefault((entry.owner, entry.unit), []).append(entry)
    return [
        payable(key, shared.get(key, ()), left.get(key, ()), terms.get(key[0], usual), books.fold, now_ms=now_ms)
        for key in sorted(shared.keys() | left.keys())
    ]


def payable(
    key: tuple[str, str],
    shared: Iterable[Shared],
    left: Iterable[Left],
    terms: PayoutTerms,
    fold: int,
    *,
    now_ms: int,
) -> Payable:
    """How one owner stands in one unit."""
    owner, unit = key
    before_ms = hour_of(now_ms - terms.hold_back_days * DAY_MS if terms.hold_back_days else now_ms + HOUR_MS)
    since_ms = hour_of(now_ms - terms.reserve_days * DAY_MS)
    hours: dict[int, int] = {}
    for share in shared:
        hours[share.hour] = hours.get(share.hour, 0) + share.micros
    whole = sum(hours.values())
    running = old = sum(micros for hour, micros in hours.items() if hour < before_ms)
    lowest = old
    for hour in sorted(hour for hour in hours if hour >= before_ms):
        running += hours[hour]
        lowest = min(lowest, running)
    recent = sum(micros for hour, micros in hours.items() if since_ms <= hour < before_ms)
    reserved = -(-max(0, recent) * terms.reserve_points // POINTS)
    entries = list(left)
    clawed = sum(entry.micros for entry in entries if entry.ref.partition(":")[0] != PAYOUT_REF)
    paid = sum(entry.micros for entry in entries) - clawed
    most = max(0, lowest - reserved - paid - clawed)
    return Payable(
        owner, unit, whole, paid, clawed, whole - lowest, reserved, _payable(most, unit, terms), fold, before_ms
    )


def _payable(micros: int, unit: str, terms: PayoutTerms) -> int:
    if is_named(unit):
        return 0
    whole = micros - micros % granularity(unit)
    least = terms.minimum.get(unit, Money.zero(unit)).micros
    return whole if whole >= max(least, 1) else 0


def granularity(currency: str) -> int:
    """The smallest amount that the provider moves, in micros: of three decimals, it wants the last to be 0."""
    if currency in _WHOLE:
        return MICROS_PER_UNIT
    return from_minor(10 if minor_decimals(currency) == 3 else 1, currency).micros


@dataclass(frozen=True, slots=True)
class Payout:
    """One payout. `key` names it at the provider; `back` of it is to come back, `came_back` is in the books."""

    owner: str
    unit: str
    number: int
    micros: int
    account: str
    key: str
    fold: int
    before_ms: int
    created_ms: int
    state: PayoutState = "planned"
    changed_ms: int = 0
    due_ms: int = 0
    tries: int = 0
    transfer: str | None = None
    back: int = 0
    came_back: int = 0
    error: str | None = None

    @property
    def id(self) -> str:
        return f"{self.owner}-{self.unit}-{self.number}"

    @property
    def ref(self) -> str:
        """Its money key."""
        return f"{PAYOUT_REF}:{self.owner}:{self.unit}:{self.number}"

    @property
    def amount(self) -> Money:
        return Money(self.micros, self.unit)


_ID = re.compile(r"(?P<owner>[A-Za-z0-9_-]{1,64})-(?P<unit>[a-z]{3})-(?P<number>[1-9][0-9]{0,8})")


def read_payout_id(text: str) -> tuple[str, str, int]:
    """Owner, unit and number. Raises ValueError."""
    found = _ID.fullmatch(text)
    if found is None:
        raise ValueError(f"{text[:80]!r} is not a payout's id, such as anna-usd-7")
    return found["owner"], found["unit"], int(found["number"])


def posting(payout: Payout) -> Reversal:
    """What takes it from the owner in the books. The reason says by what it was due: the audit reads it."""
    return Reversal(payout.ref, owner_account(payout.owner), payout.amount, "payout", basis(payout))


def basis(payout: Payout) -> str:
    when = datetime.fromtimestamp(payout.before_ms / 1000, UTC).strftime("%Y-%m-%dT%H:%MZ")
    return f"of hours before {when}, up to fold {payout.fold}"


def coming_back(payout: Payout) -> Credit | None:
    """What gives back the next part of it; None if nothing is to come back any more."""
    micros = payout.back - payout.came_back
    if micros <= 0:
        return None
    ref = f"{payout.ref}:back:{payout.came_back}"
    kind, why = ("returned", "it was refused") if payout.state == "failed" else ("returned", "it was reversed")
    return Credit(ref, owner_account(payout.owner), Money(micros, payout.unit), kind, why)


@dataclass(frozen=True, slots=True)
class TransferNotice:
    """What the provider says of a transfer, by its key: how much of it was reversed so far."""

    key: str
    transfer: str
    event: PayoutEvent
    amount: Money
    reversed: Money


@dataclass(frozen=True, slots=True)
class SentOn:
    """A payout of the provider, out of an owner's account there to their bank."""

    id: str
    account: str
    amount: Money
    status: str
    arrives_ms: int
    at_ms: int
    error: str | None = None


def slot(terms: PayoutTerms, now_ms: int) -> int:
    """When the newest run of a schedule was due, in UTC, at midnight."""
    today = datetime.fromtimestamp(now_ms / 1000, UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    if terms.every == "weekly":
        today -= timedelta(days=(today.weekday() - terms.day) % 7)
    elif terms.every == "monthly":
        if today.day < terms.day:
            today = today.replace(day=1) - timedelta(days=1)
        today = today.replace(day=terms.day)
    return int(today.timestamp() * 1000)
