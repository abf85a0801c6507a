"""Claw-backs: what owners bear of money that a caller took back after it was spent.

A refund or dispute takes from the caller's account; what was spent by then becomes the caller's debt. The owners who
got that money give their share of it back, up to the debt: of the most recent spending first, hour by hour as it is
folded, and within an hour each tariff's part alike. The platform bears its commission itself.

Nothing is kept of this but the books: for each caller, owner and unit, the entries so far are compared with what they
should come to now, and the difference is the next entry. It is named by how many there were before, so that two who see
the same do the same once. When the debt is settled (a dispute is won, the caller pays) it should come to less, and is
given back.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from gateway.core.ledger import Credit, Reversal
from gateway.core.money import Money, is_named
from gateway.core.transfers import CLAW_BACK_REF, owner_account, split


@dataclass(frozen=True, slots=True)
class Spent:
    """What one account spent in an hour with an owner, at a commission."""

    hour: int
    owner: str
    commission_points: int
    micros: int


@dataclass(frozen=True, slots=True)
class Borne:
    """What an owner has given back for an account so far, in so many entries."""

    owner: str
    micros: int
    entries: int


@dataclass(frozen=True, slots=True)
class Debtor:
    """An account of a caller, by its row: what it owes, what it spent, and what owners bear of that."""

    row: int
    unit: str
    debt: int
    spent: Sequence[Spent]
    borne: Sequence[Borne]


def shares_of_debt(debt: int, spent: Iterable[Spent]) -> dict[str, int]:
    """What each owner has to bear, in micros: never more than their shares of what was spent, nor than the debt."""
    hours: dict[int, list[Spent]] = {}
    for one in spent:
        hours.setdefault(one.hour, []).append(one)
    bears: dict[str, int] = {}
    for hour in sorted(hours, reverse=True):
        found = [one for one in hours[hour] if one.micros > 0]
        whole = sum(one.micros for one in found)
        taken = min(debt, whole)
        debt -= taken
        for one in sorted(found, key=lambda one: (one.owner, one.commission_points)):
            part = taken * one.micros // whole
            share = split(part, one.commission_points, 0).share
            bears[one.owner] = bears.get(one.owner, 0) + share
        if not debt:
            break
    return bears


def entries(debtor: Debtor, *, owners_bear: bool, besides: Iterable[str] = ()) -> list[Credit | Reversal]:
    """What is to be written so that owners bear what they should. `besides` are owners who never bear anything."""
    if is_named(debtor.unit):
        return []
    should = shares_of_debt(debtor.debt, debtor.spent) if owners_bear else {}
    never = set(besides)
    bears = {one.owner: one for one in debtor.borne}
    found: list[Credit | Reversal] = []
    for owner in sorted((should.keys() | bears.keys()) - never):
        so_far = bears.get(owner, Borne(owner, 0, 0))
        more = should.get(owner, 0) - so_far.micros
        ref = f"{CLAW_BACK_REF}:{debtor.row}:{owner}:{so_far.entries}"
        holder, amount = owner_account(owner), Money(abs(more), debtor.unit)
        if more > 0:
            why = f"account {debtor.row} took money back that it had spent"
            found.append(Reversal(ref, holder, amount, "claw_back", why))
        elif more < 0:
            found.append(Credit(ref, holder, amount, "restored", f"account {debtor.row} owes less"))
    return found
