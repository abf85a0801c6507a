"""Payouts: how much of what is due to an owner leaves, when, and what becomes of it.

**How much.** Only what is folded counts. Hours that began within the hold-back are not payable yet (without one, all
that is folded is), and neither is the reserve: a part of what was shared in the last so many days. If less than that
was left at any moment since (callers got their money back), no more than that is payable. What has left already, paid
out or clawed back, is taken off; less than nothing is carried over. A payout is of whole units that the provider knows:
the micros below stay due.

**A payout's life** is the table `NEXT`. It is of what was shared, or of what was held and is free (`core/held.py`). Its
number among those of its owner and unit is part of its money key, and only one of each kind may be under way: so two
who plan at once plan the same one, and the books take it once. Everything that is to be done is written down before it
is done, so that whoever finds a payout goes on with it, however often:

    planned   how much, where to, and the key of the call; a transfer of that key is looked for, and if there is one,
              an old copy was put back, and the payout is what was sent (`created`)
    written   the books have it: it is not due any more
    sending   the call was or will be made; what became of it is not known
    created   the provider has made the transfer
    paid      the provider said so once more (older webhooks)
    failed    the provider refused for good, and the money is on its way back in the books
    returned  it is back, due again, and may be in the next payout
    reversed  all of it was fetched back from the owner's account; it is due again

**Too little there.** What the provider keeps for a dispute that was lost can leave our balance below the dues. Then one
payout of each kind waits, with its number and in the books, and is tried again ever less often until the balance
covers it. Nothing is sent in part: what is due by then is in the next one.

**Coming back.** What came back of a payout is an entry of its own, named by how much of it had come back before: so
each part is given back once, whoever hears of it first.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Literal, get_args

from gateway.core.held import Entry, Source, came_in, due_account, read_due_account
from gateway.core.ledger import Credit, Reversal
from gateway.core.money import MICROS_PER_UNIT, Money, from_minor, is_named, minor_decimals
from gateway.core.transfers import HOUR_MS, PAYOUT_REF, POINTS, hour_of

DAY_MS = 86_400_000

PayoutState = Literal["planned", "written", "sending", "created", "paid", "failed", "returned", "reversed"]
PAYOUT_STATES: tuple[PayoutState, ...] = get_args(PayoutState)
PayoutEvent = Literal["found", "written", "sending", "created", "paid", "refused", "given back", "reversed"]
PAYOUT_EVENTS: tuple[PayoutEvent, ...] = get_args(PayoutEvent)

NEXT: Mapping[tuple[PayoutState, PayoutEvent], PayoutState] = {
    ("planned", "written"): "written",
    ("planned", "found"): "created",
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

SHORT = "balance_insufficient"
"""What the provider says while our balance there does not cover a payout: it is not refused for good, and waits."""

UNDER_WAY: tuple[PayoutState, ...] = ("planned", "written", "sending", "failed")
"""While one is, no other of its owner, unit and source is planned."""

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
    source: Source = "shares"


@dataclass(frozen=True, slots=True)
class Left:
    """An entry of an owner's account: `micros` have left it, or come back if they are less than nothing."""

    owner: str
    unit: str
    ref: str
    micros: int
    at_ms: int
    kind: str
    source: Source = "shares"


@dataclass(frozen=True, slots=True)
class OwnersBooks:
    """What the books have of owners, at one moment: `fold` is the last one that counts."""

    fold: int
    shared: Sequence[Shared]
    left: Sequence[Left]

    @staticmethod
    def read(fold: int, shared: Iterable[Shared], entries: Iterable[Entry]) -> "OwnersBooks":
        """From the shares of hours, and every entry of the holders that have dues. Raises ValueError."""
        more, others = came_in(entries)
        whole, left = list(shared), []
        for holder, unit, _, micros, at_ms, _ in more:
            owner, source = read_due_account(holder)
            whole.append(Shared(owner, unit, hour_of(at_ms), -micros, source))
        for holder, unit, ref, micros, at_ms, kind in others:
            owner, source = read_due_account(holder)
            left.append(Left(owner, unit, ref, micros, at_ms, kind, source))
        return OwnersBooks(fold, whole, left)


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
    source: Source = "shares"

    @property
    def due(self) -> int:
        return self.shared - self.paid_out - self.clawed_back


def payables(books: OwnersBooks, terms: Mapping[str, PayoutTerms], usual: PayoutTerms, *, now_ms: int) -> list[Payable]:
    """Of each owner and unit that the books know, in order; what was held for them and is free beside their shares.

    A minimum is of both together.
    """
    shared: dict[tuple[str, str, Source], list[Shared]] = {}
    left: dict[tuple[str, str, Source], list[Left]] = {}
    for share in books.shared:
        shared.setdefault((share.owner, share.unit, share.source), []).append(share)
    for entry in books.left:
        left.setdefault((entry.owner, entry.unit, entry.source), []).append(entry)
    found = []
    for key in sorted(shared.keys() | left.keys()):
        owner, unit, source = key
        entries = shared.get(key, ()), left.get(key, ())
        its = terms.get(owner, usual)
        whole = replace(its, minimum={})
        found.append(payable((owner, unit), *entries, whole, books.fold, now_ms=now_ms, source=source))
    sums: dict[tuple[str, str], int] = {}
    for one in found:
        sums[one.owner, one.unit] = sums.get((one.owner, one.unit), 0) + one.payable
    return [one if _reaches(sums[one.owner, one.unit], one, terms, usual) else replace(one, payable=0) for one in found]


def _reaches(micros: int, one: Payable, terms: Mapping[str, PayoutTerms], usual: PayoutTerms) -> bool:
    """Whether both kinds of dues together come to the least that is paid."""
    return micros >= terms.get(one.owner, usual).minimum.get(one.unit, Money.zero(one.unit)).micros


def payable(
    key: tuple[str, str],
    shared: Iterable[Shared],
    left: Iterable[Left],
    terms: PayoutTerms,
    fold: int,
    *,
    now_ms: int,
    source: Source = "shares",
) -> Payable:
    """How one owner stands in one unit, in one kind of dues."""
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
    sums = whole, paid, clawed, whole - lowest, reserved, _payable(most, unit, terms)
    return Payable(owner, unit, *sums, fold, before_ms, source)


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
    """One payout. `key` names it at the provider; `back` of it is to come back, `came_back` is in the books.

    `short` counts how often the balance at the provider did not cover it.
    """

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
    source: Source = "shares"
    short: int = 0

    @property
    def asked_as(self) -> str:
        """Its idempotency key: a provider repeats its refusal to the same one for a day."""
        return f"{self.key}-short-{self.short}" if self.short else self.key

    @property
    def waits(self) -> bool:
        """Whether it is for the balance at the provider to cover it."""
        return self.short > 0 and self.state == "sending" and self.error == SHORT

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
    return Reversal(payout.ref, due_account(payout.owner, payout.source), payout.amount, "payout", basis(payout))


def posting_found(payout: Payout, transfer: str) -> Reversal:
    """The same of one that was sent before an old copy was put back. Its reason names the transfer, not hours."""
    return replace(posting(payout), reason=f"sent as {transfer}, and not on record here")


def basis(payout: Payout) -> str:
    when = datetime.fromtimestamp(payout.before_ms / 1000, UTC).strftime("%Y-%m-%dT%H:%MZ")
    return f"of hours before {when}, up to fold {payout.fold}" if payout.source == "shares" else f"freed before {when}"


def coming_back(payout: Payout) -> Credit | None:
    """What gives back the next part of it; None if nothing is to come back any more."""
    micros = payout.back - payout.came_back
    if micros <= 0:
        return None
    ref = f"{payout.ref}:back:{payout.came_back}"
    kind, why = ("returned", "it was refused") if payout.state == "failed" else ("returned", "it was reversed")
    return Credit(ref, due_account(payout.owner, payout.source), Money(micros, payout.unit), kind, why)


@dataclass(frozen=True, slots=True)
class TransferNotice:
    """What the provider says of a transfer, by its key: how much of it was reversed so far, and where it went.

    `source` is what it paid out, of those that say so.
    """

    key: str
    transfer: str
    event: PayoutEvent
    amount: Money
    reversed: Money
    account: str = ""
    source: Source | None = None


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
