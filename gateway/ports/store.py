"""What is durable under the books, and who lends of it."""

from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Protocol

from gateway.core.ids import RequestId
from gateway.core.ledger import Charge, Claim, Committed, Draft, Drawn, Record, Reversal, Tail


class StoreBusy(Exception):
    """A stranger holds the store locked. Nothing was written; the same draft may be tried again."""


class StoreFailed(Exception):
    """A commit failed and it is not known whether it was written. `reopen`, then try the same draft again."""


class StoreForbidden(StoreFailed):
    """This user may not write a file or folder of the store; the message says which. Nothing is damaged."""


class LedgerStore(Protocol):
    """Durable books with one writer. Used by one keeper, one call at a time."""

    async def open(self) -> Tail:
        """Make or open the books. Raises StoreDamaged if they do not hang together, StoreLocked if they are in use."""

    async def reopen(self) -> None:
        """Drop the handle that failed and take a new one. Raises StoreFailed."""

    async def commit(self, draft: Draft) -> Committed:
        """Write the draft whole or not at all, durably; then read what it asks for. Raises StoreBusy, StoreFailed.

        A draft that was already written (its first attempt's outcome was unknown) is recognised, not repeated.
        """

    async def close(self) -> None: ...


class BackupRefused(Exception):
    """There is nothing to copy, nobody to copy it, nowhere to put it, or what was copied is not sound.

    Nothing was left behind.
    """


@dataclass(frozen=True, slots=True)
class CopiedFile:
    """One file of a backup."""

    name: str
    bytes: int
    sha256: str


class KeptFile(Protocol):
    """A small file of this host."""

    @property
    def name(self) -> str:
        """Where it is, in messages."""

    def read(self) -> bytes | None:
        """All of it; None if it is not there. Raises OSError."""

    def write(self, contents: bytes) -> None:
        """Replace it, durably: a reader finds the old contents or the new. Raises OSError."""


class Borrower(Protocol):
    """A keeper that borrows: what its lender may ask of it, at any time."""

    def claim(self) -> Claim:
        """What is spoken for. From this moment on the rest of its slices is void."""

    async def ended(self, request: RequestId) -> bool:
        """Whether a request is not under way here and all of it has been told. Raises LedgerUnavailable."""

    def called_in(self, row: int) -> AbstractAsyncContextManager[bool]:
        """Entered when those who borrow an account from this keeper have parted with what they can; whether all have.

        Until it is left, nothing of what came in is lent on: a `recall` within it speaks for everybody here. A lender
        that knows that nobody borrows from this keeper need not enter it.
        """

    def recall(self, row: int) -> int | None:
        """Part with what is not spoken for of an account, here in this keeper; how many micros that is.

        None, and nothing is given, when more comes free with the draft that is under way, or may with a decision on
        several purses: ask again after the next commit, or `Lender.look_again`.
        """

    def changed(self, holder: str, unit: str) -> None:
        """The holder has another purse now, or owes, or has paid what it owed: before the next hold, ask."""

    def anything_changed(self) -> None:
        """As `changed` of every holder: what was said of whom may have been lost on its way."""

    def lost(self) -> None:
        """All of it is somebody else's now, for good: the next commit will say so, and is to be tried at once."""


class Lender(Protocol):
    """Books that others draw on too: an account is borrowed from them slice by slice."""

    def lends_to(self, borrower: Borrower) -> None:
        """Whom to ask. Called once, before anything else."""

    async def draw(self, holder: str, unit: str, micros: int) -> Drawn:
        """Borrow at least so much, or all there is; nothing when `micros` is 0. Raises StoreFailed.

        Cancelled, whatever was lent goes back.
        """

    def give_back(self, returns: Mapping[int, int], *, in_use: bool = False) -> None:
        """Return micros of accounts, by their rows; of those not `in_use` nothing more is to come. Awaits nothing."""

    def look_again(self) -> None:
        """What was recalled and could not be parted with yet may have come free. Awaits nothing."""


class Archive(Protocol):
    """Finds what the books hold of one request."""

    async def charges_of(self, request: RequestId) -> list[Charge]:
        """What it has cost as committed; empty if the books hold nothing of it. Raises StoreFailed."""


class Teller(Protocol):
    """Beside a lender: does for a keeper that borrows what takes all of an account."""

    async def reverse(self, reversal: Reversal) -> bool:
        """As `Ledger.reverse`; what others have is called back first. Raises StoreFailed, ValueError."""


class Refunds(Protocol):
    """Beside a lender: does for a keeper that borrows what needs the books of all."""

    async def refund(self, request: RequestId, reason: str) -> list[Charge]:
        """As `Ledger.refund`, wherever the request was served. Raises StoreFailed, too."""


class Survivors(Protocol):
    """Workers that lived on while the keeper of the books died."""

    async def gather(self, tail: Tail) -> None:
        """Until all have come back, or those that have not are given up."""

    def keep(self, number: int, record: Record) -> bool:
        """Whether one of them answers for this record, so that it must not be voided."""


class Bookkeeping(Protocol):
    """What is derived from the books, and what of them need not be kept: done in short steps, between commits.

    Every step is in the books whole or not at all, and whoever was cut off may begin again. All of them raise
    StoreBusy, StoreFailed, and BooksRefused for books that do not hang together.
    """

    async def fold(self, *, closed_before_ms: int) -> bool:
        """Derive transfers and hourly usage from the next batches. False if all hours over by then are done."""

    async def prune(self, *, before_ms: int) -> bool:
        """Drop batches of hours before that, if they are folded and nothing needs them. False if there are none."""

    async def expired(self, *, now_ms: int) -> Sequence[Reversal]:
        """The entries that end purses whose time is over by then and that have something left; a few at a time."""

    async def sign(self) -> None:
        """Sign with the newest key what an older one has signed: so it may go some day."""

    async def close(self) -> None:
        """Let go of what is used for nothing else."""


class BooksRefused(Exception):
    """The books do not hang together, so nothing was derived from them or dropped. The message says where."""


class StoreDamaged(Exception):
    """The books do not hang together; the message says where and what to do."""


class KeysDiffer(StoreDamaged):
    """They are those of gateways that have other keys than this one."""


class StoreLocked(Exception):
    """Another process keeps these books."""
