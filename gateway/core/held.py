"""Money that the platform holds for owners, outside of what their routes share: whose it is, and when it leaves.

Two holders of the books have it. `held:anna` is what is anna's and may not leave yet: the fee of it is not paid.
`held:anna:due` is what may: a due like every other of hers, and the payouts pay it by the same schedule, minimum,
hold-back and reserve. It was tried otherwise, with one transfer for each at once: then an owner on hold, a missing
account, a refusal and a transfer that Stripe fetches back were all told twice, and `gateway payouts reconcile` knew
nothing of them.

It is not in the holder `owner:anna`: what stands there was shared by the fold, and is proved from the batches alone.
"""

from collections.abc import Iterable
from typing import Final, Literal, get_args

from gateway.core.transfers import PAYOUT_REF, is_owner, owner_account

Source = Literal["shares", "proceeds"]
"""What a payout pays out: what was shared of sales, or what was held and is free."""
SOURCES: Final[tuple[Source, ...]] = get_args(Source)

HELD = "held:"
"""What the holder of a seller's money begins with."""
_DUE = ":due"

Entry = tuple[str, str, str, int, int, str]
"""Holder, unit, money key, micros that left, time, kind."""


def held_account(owner: str) -> str:
    """Who has what may not leave yet."""
    return HELD + owner


def due_account(owner: str, source: Source = "proceeds") -> str:
    """Who has what is due to an owner, by what it is of."""
    return owner_account(owner) if source == "shares" else HELD + owner + _DUE


def read_due_account(holder: str) -> tuple[str, Source]:
    """Of whose dues a holder has the money, and of which. Raises ValueError."""
    if is_owner(holder):
        return holder.partition(":")[2], "shares"
    if holder.startswith(HELD) and holder.endswith(_DUE):
        return holder[len(HELD) : -len(_DUE)], "proceeds"
    raise ValueError(f"{holder} has no dues")


def came_in(entries: Iterable[Entry]) -> tuple[list[Entry], list[Entry]]:
    """Of the entries of dues: those that made them more, and those that left or came back."""
    more: list[Entry] = []
    others: list[Entry] = []
    for entry in entries:
        holder, ref = entry[0], entry[2]
        is_new = not is_owner(holder) and ref.partition(":")[0] != PAYOUT_REF
        (more if is_new else others).append(entry)
    return more, others
