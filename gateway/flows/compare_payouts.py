"""Every transfer at the provider against every payout in the books, in both directions.

First what was sent between two moments, against what the books have under its number, whenever that was; then what the
books wrote down between the two, against its transfer, whenever that was made. Nothing is changed here: what the
provider said is handed on with each difference, for who may act on it.
"""

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass

from gateway.core.money import Money
from gateway.core.payouts import Left, Payout, TransferNotice
from gateway.core.transfers import PAYOUT_REF
from gateway.ports import OwnersMoney, PayoutBook, Transfers


@dataclass(frozen=True, slots=True)
class PayoutDifference:
    """A payout that is in one place and not, or otherwise, in the other; amounts less what came back."""

    payout: str
    what: str
    sent: Money | None
    booked: Money | None
    notice: TransferNotice | None = None


async def compare_payouts(
    transfers: Transfers, book: PayoutBook, money: OwnersMoney, *, prefix: str, begin: int, end: int
) -> AsyncIterator[PayoutDifference | None]:
    """One for each that was compared, None if both sides agree; `prefix` is that of our keys, times are in seconds.

    Raises PaymentServiceUnavailable, StoreFailed, RecordsUnavailable.
    """
    notices = [one async for one in transfers.transfers_between(begin=begin, end=end) if one.key.startswith(prefix)]
    entries = _by_payout((await money.owners_books()).left)
    seen = set[str]()
    for notice in notices:
        payout = await book.payout_of(notice.key)
        if payout is None:
            yield PayoutDifference(notice.key, "sent at Stripe, not on record here", _left(notice), None, notice)
            continue
        seen.add(payout.ref)
        if payout.transfer not in (None, notice.transfer):  # it has another: what is left of this was paid on top of it
            left = _left(notice)
            yield PayoutDifference(payout.id, f"sent a second time, {notice.transfer}", left, None) if left else None
            continue
        yield _compare(payout, notice, entries.get(payout.ref, []))
    for ref, found in entries.items():
        first = found[0]
        if ref in seen or not begin * 1000 <= first.at_ms < end * 1000:
            continue
        payout = await book.find_payout(first.owner, first.unit, int(ref.rpartition(":")[2]))
        if payout is None:
            yield PayoutDifference(ref, "in the books, not on record here", None, _sum(found))
            continue
        yield _compare(payout, await transfers.find_transfer(payout.key), found)


def _compare(payout: Payout, notice: TransferNotice | None, entries: list[Left]) -> PayoutDifference | None:
    booked = _sum(entries) if entries else Money.zero(payout.unit)
    sent = _left(notice) if notice is not None else Money.zero(payout.unit)
    what = None
    if notice is not None and payout.state in ("planned", "written", "sending"):
        what = "sent at Stripe, and here it is not known yet"
    elif booked != sent and payout.state in ("planned", "written", "sending", "failed"):
        what = f"under way: {payout.state}"
    elif notice is None and booked:
        what = "in the books, not sent at Stripe"
    elif booked != sent:
        what = "another amount is in the books"
    return PayoutDifference(payout.id, what, sent if notice else None, booked, notice) if what else None


def _by_payout(left: Sequence[Left]) -> Mapping[str, list[Left]]:
    """The entries of each, by its money key; the one that took it first."""
    found: dict[str, list[Left]] = {}
    for entry in left:
        if entry.ref.startswith(f"{PAYOUT_REF}:"):
            found.setdefault(entry.ref.partition(":back:")[0], []).append(entry)
    return {ref: sorted(entries, key=lambda one: -one.micros) for ref, entries in found.items()}


def _sum(entries: list[Left]) -> Money:
    return Money(sum(entry.micros for entry in entries), entries[0].unit)


def _left(notice: TransferNotice) -> Money:
    return notice.amount - notice.reversed
