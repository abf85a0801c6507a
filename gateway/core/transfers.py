"""Transfers: what the batches say, as double entry between two accounts.

A batch moves money of one caller's account at a time; where it goes stands in the tariff. The *fold* adds up a run of
batches of one hour and derives transfers from the sums, so that the books can be read by account, owner and commission
without going through every record. Each kind of account has a name of its own: `account:17` (a caller, by its row),
`debt:17` (what that caller owes), `owner:anna`, `platform`, `clearing:stripe` (where money comes from),
`paid_out:stripe` (where owners' money went) and `clawed_back` (what owners bear of callers' debts). Every transfer
takes from one what it gives to another, so all of them always sum to zero.

- A credit moves its amount from its clearing account to the caller; what it pays of a debt is a `repayment`, to the
  caller's debt account.
- A reversal moves what was available from the caller to its clearing account; the rest is a `debt`, which the caller's
  debt account pays for the time being.
- Usage moves an account's net sum under one owner and commission from the caller to the owner (the share) and the
  platform (the commission). Corrections and voids net out within the run. What corrects a run that was folded before
  may leave a negative net: then the transfers go the other way. No amount is ever negative.
- What leaves an owner is an entry like any other, of the holder `owner:anna`: a reversal takes a `payout` (or a
  `claw_back`) from it, and a credit makes one `returned` (or `restored`). The row of such a holder is never paid into,
  so what was taken and did not come back stands there as its debt, and is added up and proved like everybody's.

**Rounding.** Only `split` rounds, and what it rounds off is carried on to the next amount of the same owner, unit and
commission. So the commissions of an owner are exactly the rate of all that was sold, rounded down once, wherever the
runs begin and end and however much was corrected. Until it makes a whole micro, the fraction is with the owner.
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from gateway.core.ledger import Kind, Record

HOUR_MS = 3_600_000
POINTS = 10_000
"""Basis points in a whole."""

PLATFORM = "platform"

_COUNTS = {Kind.CAPTURE: 1, Kind.GATED_CAPTURE: 1, Kind.CORRECTION: 0, Kind.VOID: -1, Kind.RENEWAL: 0}
_COUNTED = tuple(_COUNTS.get(kind, 0) for kind in range(256))  # type: ignore[call-overload]  # by the stored number


@dataclass(frozen=True, slots=True)
class Split:
    """An amount between owner and platform, and what the next amount has to be split with."""

    share: int
    commission: int
    carry: int


def split(micros: int, commission_points: int, carry: int) -> Split:
    """The one place where money is rounded: down to whole micros of commission, the rest to the owner.

    `carry` is what was rounded off before, in ten-thousandths of a micro. A negative amount gives back.
    """
    if not 0 <= commission_points <= POINTS:
        raise ValueError(f"{commission_points} basis points are no commission")
    commission, carry = divmod(carry + micros * commission_points, POINTS)
    return Split(micros - commission, commission, carry)


def hour_of(at_ms: int) -> int:
    """When the hour began."""
    return at_ms - at_ms % HOUR_MS


def caller_account(row: int) -> str:
    return f"account:{row}"


def owner_account(owner: str) -> str:
    return f"owner:{owner}"


def clearing_account(ref: str) -> str:
    """Where the money of a credit comes from: what its ref says before the colon."""
    return f"clearing:{ref.partition(':')[0] if ':' in ref else 'other'}"


def debt_account(row: int) -> str:
    return f"debt:{row}"


PAID_OUT = "paid_out:stripe"
CLAWED_BACK = "clawed_back"
PAYOUT_REF, CLAW_BACK_REF = "payout", "claw_back"
"""What the money key of an owner's entry begins with."""

_OWNER = "owner:"

TransferKind = Literal[
    "credit", "repayment", "reversal", "debt", "share", "commission", "payout", "returned", "claw_back", "restored"
]


def is_owner(holder: str) -> bool:
    """Whether an account of the books is an owner's, and no caller's."""
    return holder.startswith(_OWNER)


def _owners_entry(kind: str, ref: str) -> tuple[TransferKind, str]:
    """Of an owner's entry: what it is called, and the account at its other end."""
    back = kind in ("credit", "repayment")
    if ref.partition(":")[0] == CLAW_BACK_REF:
        return ("restored" if back else "claw_back"), CLAWED_BACK
    return ("returned" if back else "payout"), PAID_OUT


@dataclass(frozen=True, slots=True)
class Transfer:
    """An immutable move between two accounts. `cause` is a money key, or the owner and commission of usage."""

    kind: TransferKind
    payer: str
    payee: str
    unit: str
    micros: int
    cause: str


@dataclass(frozen=True, slots=True)
class Usage:
    """What one account used of one tariff: how many requests (less those voided), at what cost altogether."""

    account: int
    tariff: int
    requests: int
    micros: int


@dataclass(frozen=True, slots=True)
class Terms:
    """Of a tariff, what decides where the money goes."""

    owner: str
    commission_points: int


Part = tuple[Literal["credit", "repayment", "reversal", "debt"], str, int]
"""Of a credit or a reversal, what goes to or comes from one account: its kind, the money key, micros."""

CarryKey = tuple[str, str, int]
"""An owner, a unit and a commission in basis points."""


class Tally:
    """The sums of a run of batches: by account and tariff what was used, by account what was credited or taken back.

    `sums` is how many there are of the former; `holders` tells whose the latter accounts are; `tariffs` is the highest
    number of a tariff that is noted, or 0.
    """

    def __init__(self) -> None:
        self.usage: dict[int, dict[int, list[int]]] = {}
        self.sums = 0
        self.money: dict[int, list[Part]] = {}
        self.holders: dict[int, tuple[str, str]] = {}
        self.tariffs = 0

    def add(self, payload: bytes, notes: str) -> None:
        """A batch's records and notes. Raises ValueError or struct.error for what is no batch."""
        usage = self.usage
        for kind, tariff, account, _, micros, _, _ in Record.unpacked(payload):
            try:
                sums = usage[account][tariff]
            except KeyError:
                sums = usage.setdefault(account, {})[tariff] = [0, 0]
                self.sums += 1
            sums[0] += micros
            sums[1] += _COUNTED[kind]
        if notes:
            self._add_notes(notes)

    def _add_notes(self, notes: str) -> None:
        for line in notes.splitlines():
            note = json.loads(line)
            if note["note"] in ("credit", "reversal"):
                self.money.setdefault(note["account"], []).extend(_parts(note))
                self.holders[note["account"]] = (note["holder"], note["unit"])
            elif note["note"] == "tariff":
                self.tariffs = max(self.tariffs, note["id"])

    def accounts(self) -> list[int]:
        """Every account that took part, in order."""
        return sorted(self.usage.keys() | self.money.keys())

    def used_by(self, account: int) -> list[Usage]:
        """What an account used, its tariffs in order."""
        used = sorted(self.usage.get(account, {}).items())
        return [Usage(account, tariff, requests, micros) for tariff, (micros, requests) in used]


def _parts(note: Mapping[str, Any]) -> Iterator[Part]:
    """What a note moves, debt first."""
    ref, micros = note["ref"], note["micros"]
    parts: tuple[Part, Part]
    if note["note"] == "credit":
        repaid = note.get("repaid", 0)
        parts = ("repayment", ref, repaid), ("credit", ref, micros - repaid)
    else:
        taken = note["taken"]
        parts = ("debt", ref, micros - taken), ("reversal", ref, taken)
    return (part for part in parts if part[2])


def transfers(
    account: int,
    unit: str,
    money: Iterable[Part],
    usage: Iterable[Usage],
    terms: Mapping[int, Terms],
    carries: dict[CarryKey, int],
    holder: str = "",
) -> Iterator[Transfer]:
    """The transfers of one account in one run, in their order. `carries` goes on from what it was.

    `holder` is whose account it is, where there is `money`.
    """
    caller = caller_account(account)
    for kind, ref, micros in money:
        if is_owner(holder):
            named, other = _owners_entry(kind, ref)
            out = kind in ("reversal", "debt")
            yield Transfer(named, *((holder, other) if out else (other, holder)), unit, micros, ref)
            continue
        ours = debt_account(account) if kind in ("repayment", "debt") else caller
        ends = (ours, clearing_account(ref)) if kind in ("reversal", "debt") else (clearing_account(ref), ours)
        yield Transfer(kind, *ends, unit, micros, ref)
    sums: dict[tuple[str, int], int] = {}
    for used in usage:
        key = (terms[used.tariff].owner, terms[used.tariff].commission_points)
        sums[key] = sums.get(key, 0) + used.micros
    for (owner, points), micros in sorted(sums.items()):
        parts = split(micros, points, carries.get((owner, unit, points), 0))
        if points:
            carries[owner, unit, points] = parts.carry
        cause = f"{owner} {points}"
        yield from _moved("share", caller, owner_account(owner), unit, parts.share, cause)
        yield from _moved("commission", caller, PLATFORM, unit, parts.commission, cause)


def _moved(
    kind: Literal["share", "commission"], caller: str, other: str, unit: str, micros: int, cause: str
) -> Iterator[Transfer]:
    """Nothing for nothing; the other way round for less than nothing."""
    if micros > 0:
        yield Transfer(kind, caller, other, unit, micros, cause)
    elif micros < 0:
        yield Transfer(kind, other, caller, unit, -micros, cause)
