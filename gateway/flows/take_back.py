"""Refunds and disputes: the account that was credited gives back what the payer got back.

What an event says of a payment is written down first (a *notice*), then the books are brought up to everything that was
heard of that payment. `gateway/core/reversals.py` says what that is; this is the moving part, which works with any
number of processes at once and after a kill at any point:

1. read the moves that were planned, **then** the notices: a plan that somebody makes in between is of a higher number;
2. plan the difference as the next move. Its number is free, or somebody else was faster: begin again;
3. make each move that is not known to be made. Its money key is its number, so making it twice is making it once. It
   is known to be made when the books and then the trail have it.

Should the books have another amount under that key, then these records are older than the books (an old copy was put
back). The books are right: the plan is corrected by them, and what is missing is the next move.

Whoever writes the last notice also reads it, so the last plan covers all of them. A payment that is not known here yet
has its notices kept; they take effect with its credit.
"""

from collections.abc import Awaitable, Callable

from gateway.core import payment_acts
from gateway.core.ledger import Credit, Reversal
from gateway.core.payments import NoticeOutcome
from gateway.core.purses import PLAIN, Purse
from gateway.core.refusals import LedgerUnavailable
from gateway.core.reversals import Credited, Move, Notice, entry, into_plain, next_move, out_of, parts
from gateway.core.trail import Origin
from gateway.ports import CreditLines, Entries, Receipts, StoreFailed, WitnessesOnce


class TakeBack:
    """Implements `ports.TakesBack`. `warned` is told of each warning of fraud and the account, again and again."""

    def __init__(
        self,
        *,
        receipts: Receipts,
        ledger: Entries,
        lines: CreditLines,
        live: bool,
        report: Callable[..., None],
        witness: WitnessesOnce,
        origin: Origin = "api",
        warned: Callable[[str, Notice], Awaitable[None]] | None = None,
    ) -> None:
        self._receipts = receipts
        self._ledger = ledger
        self._lines = lines
        self._live = live
        self._report = report
        self._warned = warned
        self._witness = witness
        self._origin: Origin = origin

    async def heard(self, notice: Notice) -> NoticeOutcome:
        """Act on what is known of a payment by now."""
        if notice.live != self._live:
            return "wrong mode"
        await self._receipts.keep_notice(notice)
        credited = await self._receipts.find_credited(notice.payment)
        if credited is None:
            return "unknown payment"
        await self.settle(credited)
        return "applied" if notice.concerns(credited) else "wrong currency"

    async def settle(self, credited: Credited) -> list[str]:
        """Bring the books up to all that was heard of a payment; the events that told it, but for odd ones."""
        while True:
            moves = await self._receipts.moves(credited.payment)
            notices = await self._receipts.notices(credited.payment)
            unmade = next((move for move in moves if not move.made), None)
            if unmade is not None:
                await self._make(credited, unmade)
                continue
            move = next_move(credited, notices, moves)
            if move is None:
                break
            await self._receipts.plan_move(move)
        for notice in notices:
            if notice.kind == "warning" and self._warned is not None:
                await self._warned(credited.account, notice)
        return [notice.event for notice in notices if notice.concerns(credited)]

    async def resume(self) -> None:
        """Make what a stop left planned."""
        for payment in await self._receipts.unmade():
            credited = await self._receipts.find_credited(payment)
            if credited is not None:
                await self.settle(credited)

    async def _make(self, credited: Credited, move: Move) -> None:
        what = entry(credited, move)
        if isinstance(what, Credit):
            new = await self._ledger.credit(what)
        else:
            new = await self._ledger.reverse(what)
            for purse, part in parts(credited, what):
                await self._out_of(purse, part)
        if not new:
            await self._believe_the_books(move, what.ref)
        before = f"stripe:{move.payment}:{move.number - 1}" if move.number > 1 else f"stripe:{credited.session}"
        await self._witness.write_once(payment_acts.moved(credited, what, before, self._origin))
        await self._receipts.move_made(move.payment, move.number)
        if new:
            done = "given back" if isinstance(what, Credit) else "taken back"
            self._report(done, level="info", account=what.account, amount=str(what.amount), why=move.kind, ref=what.ref)

    async def less(self, reversal: Reversal, purse: Purse) -> bool:
        """Take something from a holder, of this purse as far as it is there; False if that was done before."""
        new = await self._ledger.reverse(reversal)
        await self._out_of(purse, reversal)
        return new

    async def _out_of(self, purse: Purse, whole: Reversal) -> None:
        """It was taken from the plain purse: what is still in the other one makes up for it."""
        if purse == PLAIN:
            return
        out = out_of(purse, whole)
        await self._ledger.reverse(out)
        taken = await self._taken(out.ref)
        if taken:
            await self._ledger.credit(into_plain(whole, taken))

    async def _taken(self, ref: str) -> int | None:
        try:
            return await self._lines.taken_by(ref)
        except StoreFailed as failed:
            raise LedgerUnavailable() from failed

    async def _believe_the_books(self, move: Move, ref: str) -> None:
        """There was an entry of this key: the same, made before, or another one that these records have forgotten."""
        there = await self._taken(ref)
        if there is not None and there != move.micros:
            self._report("the records are older than the books", ref=ref)
            await self._receipts.correct_move(move.payment, move.number, there)
