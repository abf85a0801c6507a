"""What becomes of a payment after it was credited: refunds and disputes, told in any order and any number of times.

Nothing here follows events one by one. Each event is one *notice*, kept for good; what an account has to give back is a
function of the **set** of notices (`due`), so order and repetition cannot matter. Whatever differs between that and the
moves made so far is the next *move*, numbered by payment: the number makes its money key, and two processes that plan
the same move find one of them taken.

The rules, by kind of notice (https://docs.stripe.com/refunds, https://docs.stripe.com/disputes/how-disputes-work):

- A *refund* counts from the moment it exists (the provider has set the money aside) until it failed or was cancelled,
  which is final.
- `refunded` is what a charge says all its refunds come to. It counts as far as it exceeds the refunds that are known
  one by one: it announces one that was not heard of yet, and is never added to those that were.
- A *dispute* counts while its money is withdrawn, as its newest notice has it: it may be opened, won, lost after all
  and reinstated. An inquiry withdraws nothing.
- A *warning* of fraud is kept and moves nothing.

All together never count for more than was paid, so a refund on top of a dispute takes nothing twice. What is credited
may be less than what was paid (tax is not credited), so a part of a payment takes that part of its credit: rounded down
once, over all of them together (to whole ones of a named credit). **The remainder stays with the account** until all is
taken, which is exactly what was credited.

**What went into several purses** comes out of each by the part that it got.

**What went into a purse of its own** is taken back in three entries, so that each has one amount for ever: all of it
from the plain purse, where debts stand; then out of the other purse what is still there, at most as much; then exactly
that into the plain purse. Together they take the amount, whoever makes them and how often. What is given back again
stays in the plain purse, where it does not end.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from gateway.core.ledger import Credit, Reversal
from gateway.core.money import Money, whole
from gateway.core.purses import PLAIN, Purse, Share, parted

NoticeKind = Literal["refund", "refunded", "dispute", "warning"]


@dataclass(frozen=True, slots=True)
class Notice:
    """What one event says of a payment that was made.

    `event` is its id and `at` its time in seconds, `about` the refund, dispute or charge. `stands` says whether the
    money is with the buyer by it: false for a refund that failed, a dispute that was won. `payment` is the provider's
    id of the payment (its payment intent).
    """

    event: str
    payment: str
    kind: NoticeKind
    about: str
    amount: Money
    stands: bool
    at: int
    live: bool

    def concerns(self, credited: "Credited") -> bool:
        """Whether it is in the payment's currency; a warning is about no amount."""
        return self.kind == "warning" or self.amount.currency == credited.paid.currency


@dataclass(frozen=True, slots=True)
class Credited:
    """A payment that was credited: to which account and purse, how much was paid, and what was credited for it."""

    payment: str
    session: str
    account: str
    paid: Money
    credit: Money
    purse: Purse = PLAIN
    shares: tuple[Share, ...] = ()
    """Where it went, if into several purses."""
    at_ms: int = field(default=0, compare=False)
    """When it was first credited; 0 before that was kept, and of what nobody paid in."""

    @property
    def credits(self) -> list[tuple[str, Purse, Money]]:
        """What was credited: under which name, into which purse, how much."""
        purses = [share.purse for share in self.shares] or [self.purse]
        entries = parted(self.session, self.credit, self.shares)
        return [(name, purse, amount) for (name, amount), purse in zip(entries.items(), purses, strict=True)]


@dataclass(frozen=True, slots=True)
class Move:
    """One change of what was taken back of a payment: `micros` more, or less than nothing for giving back."""

    payment: str
    number: int
    micros: int
    kind: str
    made: bool = False
    """Whether it is known to be in the books. It may be there before this is true."""


def due(credited: Credited, notices: Iterable[Notice]) -> int:
    """How many micros of its credit a payment has to give back, by everything that is known of it."""
    ours = [notice for notice in notices if notice.concerns(credited)]
    taken = min(credited.paid.micros, _refunded(ours) + _disputed(ours))
    if not taken:
        return 0  # and perhaps nothing was paid: a plan may grant for nothing
    return whole(credited.credit.micros * taken // credited.paid.micros, credited.credit.currency)


def is_disputed(credited: Credited, notices: Iterable[Notice]) -> bool:
    """Whether a dispute holds money of it."""
    return _disputed([notice for notice in notices if notice.concerns(credited)]) > 0


def next_move(credited: Credited, notices: Sequence[Notice], moves: Sequence[Move]) -> Move | None:
    """What is to be done after the moves so far; None if they are right."""
    change = due(credited, notices) - sum(move.micros for move in moves)
    if not change:
        return None
    return Move(credited.payment, len(moves) + 1, change, _kind(notices))


def entry(credited: Credited, move: Move) -> Credit | Reversal:
    """The move as the books take it."""
    ref, reason = f"stripe:{move.payment}:{move.number}", f"{move.kind} of {credited.session}"
    if move.micros > 0:
        return Reversal(ref, credited.account, Money(move.micros, credited.credit.currency), move.kind, reason)
    return Credit(ref, credited.account, Money(-move.micros, credited.credit.currency), "restored", reason)


def parts(credited: Credited, whole: Reversal) -> list[tuple[Purse, Reversal]]:
    """By purse, what is to come out of each: of several the part that it got, the remainder out of the first."""
    if not credited.shares:
        return [(credited.purse, whole)]
    micros = [whole.amount.micros * share.amount.micros // credited.credit.micros for share in credited.shares]
    micros[0] += whole.amount.micros - sum(micros)
    return [
        (share.purse, replace(whole, ref=share.purse.named(whole.ref), amount=Money(part, whole.amount.currency)))
        for share, part in zip(credited.shares, micros, strict=True)
        if part
    ]


def out_of(purse: Purse, whole: Reversal) -> Reversal:
    """What is still in a purse of its own, of what was taken from the plain one: as much as there is."""
    return replace(whole, ref=f"{whole.ref}:purse", purse=purse, at_most=True)


def into_plain(whole: Reversal, taken: int) -> Credit:
    """What `out_of` took, back where the whole was taken from."""
    amount = Money(taken, whole.amount.currency)
    return Credit(f"{whole.ref}:plain", whole.account, amount, "restored", whole.reason)


def _refunded(notices: Sequence[Notice]) -> int:
    amounts: dict[str, int] = {}
    over: set[str] = set()
    announced = 0
    for notice in notices:
        if notice.kind == "refund":
            amounts[notice.about] = max(notice.amount.micros, amounts.get(notice.about, 0))
            if not notice.stands:
                over.add(notice.about)
        elif notice.kind == "refunded":
            announced = max(announced, notice.amount.micros)
    return max(sum(amounts.values()), announced) - sum(amounts[id] for id in over)


def _disputed(notices: Sequence[Notice]) -> int:
    newest: dict[str, Notice] = {}
    for notice in notices:
        if notice.kind == "dispute":
            known = newest.get(notice.about)
            newest[notice.about] = notice if known is None else max(known, notice, key=_recency)
    return sum(notice.amount.micros for notice in newest.values() if notice.stands)


def _recency(notice: Notice) -> tuple[int, bool, int, str]:
    """Of one second, what ends a dispute comes after what opens it."""
    return notice.at, not notice.stands, notice.amount.micros, notice.event


def _kind(notices: Sequence[Notice]) -> str:
    kinds = {"dispute" if notice.kind == "dispute" else "refund" for notice in notices if notice.kind != "warning"}
    return " and ".join(sorted(kinds, reverse=True))
