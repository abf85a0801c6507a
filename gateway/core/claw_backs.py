"""Claw-backs: what owners bear of money that a caller took back after it was spent.

A refund or dispute takes from the caller's account; what was spent by then becomes the caller's debt. The owners who
got that money give their share of it back, up to the debt: of the most recent spending first, hour by hour as it is
folded, and within an hour each tariff's part alike. The platform bears its commission itself.

A caller is a wallet here: the account, what was joined with it, and each purse of theirs that was ever paid into. For
the debt stands in the plain purse of the account that is left, and the money was spent wherever it was by then. So
what bears first is the spending of the rows that the money which came back was once credited to, and only what is left
of the debt falls on the others. A purse that was only ever filled by hand held no money that anybody took back.

Nothing is kept of this but the books: for each caller, owner and unit, the entries so far are compared with what they
should come to now, and the difference is the next entry. It is named by a row of the wallet and by how many entries
that row had before, so that two who see the same do the same once. When the debt is settled (a dispute is won, the
caller pays) it should come to less, and is given back.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from gateway.core.held import read_due_account
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
    """A wallet, by one of its rows: what it owes, what it spent, and what owners bear of that."""

    row: int
    unit: str
    debt: int
    spent: Sequence[Spent]
    """Where the money was that came back; of all of it, if nobody knows."""
    borne: Sequence[Borne]
    spent_besides: Sequence[Spent] = ()


def borne_by_rows(left: Iterable[Sequence[Any]]) -> dict[int, dict[str, Borne]]:
    """What owners have given back so far, by row and by owner. Of what left owners: holder, unit, ref, micros."""
    found: dict[int, dict[str, Borne]] = {}
    for holder, _, ref, micros, *_ in left:
        kind, _, rest = ref.partition(":")
        if kind == CLAW_BACK_REF:
            owner = read_due_account(holder)[0]
            by_owner = found.setdefault(int(rest.partition(":")[0]), {})
            before = by_owner.get(owner, Borne(owner, 0, 0))
            by_owner[owner] = Borne(owner, before.micros + micros, before.entries + 1)
    return found


def of_wallet(
    unit: str,
    rows: Mapping[int, int],
    spent: Mapping[int, Sequence[Spent]],
    borne: Mapping[int, Mapping[str, Borne]],
    back: Collection[int],
) -> Debtor:
    """A wallet by its `rows` and what each of them owes; money came `back` of these. Entries are those of the first."""
    first, sums = min(rows), dict[str, Borne]()
    for row in rows:
        for one in borne.get(row, {}).values():
            before = sums.get(one.owner, Borne(one.owner, 0, 0))
            counted = one.entries if row == first else 0
            sums[one.owner] = Borne(one.owner, before.micros + one.micros, before.entries + counted)
    bearing = set(back) & rows.keys() or rows.keys()
    of_it = [one for row in rows if row in bearing for one in spent.get(row, ())]
    besides = [one for row in rows if row not in bearing for one in spent.get(row, ())]
    return Debtor(first, unit, sum(rows.values()), of_it, list(sums.values()), besides)


def shares_of_debt(debt: int, spent: Iterable[Spent], besides: Iterable[Spent] = ()) -> dict[str, int]:
    """What each owner has to bear, in micros: never more than their shares of what was spent, nor than the debt."""
    bears: dict[str, int] = {}
    for some in (spent, besides):
        debt -= _bear(bears, debt, some)
    return bears


def _bear(bears: dict[str, int], debt: int, spent: Iterable[Spent]) -> int:
    """Lay so much of a debt on what was spent; how much of it that could bear."""
    hours: dict[int, list[Spent]] = {}
    for one in spent:
        hours.setdefault(one.hour, []).append(one)
    left = debt
    for hour in sorted(hours, reverse=True):
        found = [one for one in hours[hour] if one.micros > 0]
        whole = sum(one.micros for one in found)
        taken = min(left, whole)
        left -= taken
        for one in sorted(found, key=lambda one: (one.owner, one.commission_points)):
            part = taken * one.micros // whole
            share = split(part, one.commission_points, 0).share
            bears[one.owner] = bears.get(one.owner, 0) + share
        if not left:
            break
    return debt - left


def entries(debtor: Debtor, *, owners_bear: bool, besides: Iterable[str] = ()) -> list[Credit | Reversal]:
    """What is to be written so that owners bear what they should. `besides` are owners who never bear anything."""
    if is_named(debtor.unit):
        return []
    should = shares_of_debt(debtor.debt, debtor.spent, debtor.spent_besides) if owners_bear else {}
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
