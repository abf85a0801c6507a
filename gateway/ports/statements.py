"""Reading the books back: statements of any length in bounded memory."""

from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Protocol

from gateway.core.dues import KindSum, Sold, UnitSums
from gateway.core.ids import RequestId
from gateway.core.statements import Batches, Chain, Moved, Piece, PurseRow, Sum


class StatementSource(Protocol):
    """The books as a statement reads them, all from one snapshot. Raises BooksRefused."""

    def tariffs(self) -> Iterable[tuple[tuple[int, int], str, str]]:
        """Host and number of each tariff, its owner and its route."""

    def commissions(self) -> Iterable[tuple[tuple[int, int], int]]:
        """Host and number of each tariff, and its commission in basis points."""

    def sold(self, last: Mapping[int, int]) -> Iterable[Sold]:
        """What was folded of each host up to a batch, by hour, tariff and unit."""

    def sums(self) -> Iterable[UnitSums]:
        """What all entries come to, unit by unit."""

    def kinds(self) -> Iterable[KindSum]:
        """What callers were credited, what was taken back of it, by kind, and what they owe."""

    def left(self, *, besides: str) -> Mapping[str, int]:
        """What callers have in other units than this one, in micros; what others owe is not taken off."""

    def accounts(self, holder: str) -> Sequence[tuple[int, str]]:
        """The rows of a holder, and the unit of each."""

    def account(self, id: int) -> tuple[str, str]:
        """Holder and unit of a row."""

    def purses(self, holder: str) -> Sequence[PurseRow]:
        """What is left of each, as committed; of one that owes, less than nothing."""

    def chains(self) -> Iterable[Chain]:
        """The hosts that have batches."""

    def first_batch(self, keeper: int, after: int, at_ms: int) -> int | None:
        """The first of a host's batches behind one that is not older."""

    def last_batch(self, keeper: int) -> int: ...

    def batches(self, keeper: int, first: int, accounts: Sequence[int]) -> Batches:
        """From that on, in order; at least all that hold records of these accounts, if any are named."""

    def batches_of(self, keeper: int, first: int, request: RequestId) -> Batches:
        """From that on, in order, all that hold records of this request; and maybe others."""

    def rule(self, keeper: int, tariff: int) -> str:
        """The price of a tariff, as it was written."""

    def hours(self, last: Mapping[int, int], accounts: Sequence[int]) -> Iterable[Sum]:
        """What was folded of each host up to a batch, in order: of time if there are several hosts."""

    def money(self, account: int) -> Sequence[Moved]:
        """What was paid in and taken back."""


class BooksSlow(Exception):
    """Reading took longer than it may."""


class StatementBooks(Protocol):
    """Opens the books for one reader, beside whoever keeps them. To be used in a thread: reading keeps it waiting."""

    def open(self, *, seconds: float) -> AbstractContextManager[StatementSource]:
        """One snapshot, for so long: then whatever is read of it raises BooksSlow, and lets go of the books.

        Raises BooksRefused, there and while it is read.
        """


class Scratch(Protocol):
    """Room for the lines of one statement, which may be more than the memory holds."""

    def add(self, piece: Piece) -> None:
        """Merge it with what is there of its request. Of one that is captured, the capture says where it stands."""

    def forget_uncaptured(self, requests: Iterable[tuple[int, int, int]] | None = None) -> None:
        """Forget those without a capture: all, or these (by time, number and account)."""

    def has_uncaptured(self) -> bool: ...

    def pieces(self, *, by_time: bool) -> Iterable[Piece]:
        """All that are left, in the order of their records or of the time at which they were booked."""

    def add_hours(self, sums: Iterable[Sum]) -> None: ...

    def hours(self) -> Iterable[Sum]:
        """What was added up, in order."""

    def close(self) -> None: ...


class MeterBook(Protocol):
    """What meters read, for a while. Every call may raise RecordsUnavailable."""

    async def keep(self, rows: Sequence[tuple[str, int, str]]) -> None:
        """Requests, when they began, and what was read of each; of one that is there already, the first stays."""

    async def of(self, requests: Sequence[str]) -> dict[str, str]:
        """What is kept of these."""

    async def drop(self, *, before_ms: int, rows_max: int, count: int) -> int:
        """Drop so many of those from before then, or beyond the newest `rows_max`, the oldest first; how many."""
