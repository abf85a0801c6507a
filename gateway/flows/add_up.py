"""What routes took up to now, by hour and tariff: from the folded sums, and from the batches that come after them."""

import asyncio
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TypeVar

from gateway.core.dues import KindSum, Sold, Spent, Taking
from gateway.core.held import Source, due_account
from gateway.core.ledger import Kind, Record
from gateway.core.statements import Chain, Moved
from gateway.core.transfers import hour_of
from gateway.ports import BooksSlow, StatementBooks, StatementSource

_COUNTS = {Kind.CAPTURE: 1, Kind.GATED_CAPTURE: 1, Kind.VOID: -1}
_PROGRESS_EVERY = 256
_SECONDS_MAX = 5.0
_WAITING_MAX = 8
_T = TypeVar("_T")
_Tariffs = Mapping[tuple[int, int], tuple[str, str]]


def takings(source: StatementSource, progress: Callable[[int, int], None] = lambda done, total: None) -> list[Taking]:
    """Of every tariff that took something, in every unit and hour in which it did. Raises BooksRefused."""
    chains = list(source.chains())
    tariffs = {key: (owner, route) for key, owner, route in source.tariffs() if route}  # what a cap counts is nobody's
    points = dict(source.commissions())
    folded = ((one, 0) for one in source.sold({chain.keeper: chain.folded for chain in chains}))
    found = []
    for sold, open in (*folded, *((one, one.micros) for one in _open(source, chains, tariffs, progress))):
        key = sold.keeper, sold.tariff
        if key in tariffs:
            found.append(Taking(sold.hour, *tariffs[key], points[key], sold.unit, sold.requests, sold.micros, open))
    return found


def spent_on(source: StatementSource, owner: str, since_ms: int) -> list[Spent]:
    """What each account spent on an owner's routes in hours from then on. Raises BooksRefused."""
    chains = list(source.chains())
    tariffs = {key for key, of, route in source.tariffs() if route and of == owner}
    sums: dict[tuple[str, str], list[int]] = {}

    def add(account: int, requests: int, micros: int) -> None:
        sum = sums.setdefault(source.account(account), [0, 0])
        sum[0] += requests
        sum[1] += micros

    for one in source.hours({chain.keeper: chain.folded for chain in chains}, ()):
        if (one.keeper, one.tariff) in tariffs and one.hour >= since_ms:
            add(one.account, one.requests, one.micros)
    for chain in chains:
        for _, at_ms, _, payload in source.batches(chain.keeper, chain.folded + 1, ()):
            for kind, tariff, account, _, micros, _, _ in Record.unpacked(payload):
                if (chain.keeper, tariff) in tariffs and hour_of(at_ms) >= since_ms:
                    add(account, _COUNTS.get(Kind(kind), 0), micros)
    found = [Spent(*key, *sum) for key, sum in sums.items() if any(sum)]
    return sorted(found, key=lambda one: (one.unit, -one.micros, one.account))


@dataclass(frozen=True, slots=True)
class OwnersSums:
    """What the books have of owners: what routes took, what left each owner and came back, and who spent it."""

    takings: Sequence[Taking]
    left: Mapping[tuple[str, str], Sequence[Moved]]
    spent: Sequence[Spent] = ()
    freed: Mapping[tuple[str, str], Sequence[Moved]] = field(default_factory=dict)
    """What was held for an owner and became due, and what left of that."""

    @property
    def moved(self) -> Iterator[tuple[str, Moved]]:
        """All entries of owners, by unit, for a statement."""
        for part in (self.left, self.freed):
            yield from ((unit, one) for (_, unit), ones in part.items() for one in ones)


def entries_of_dues(
    source: StatementSource, names: Collection[str], kind: Source
) -> dict[tuple[str, str], Sequence[Moved]]:
    """By owner and unit, every entry of this kind of dues."""
    rows = [(name, unit, id) for name in names for id, unit in source.accounts(due_account(name, kind))]
    return {(name, unit): source.money(id) for name, unit, id in rows}


@dataclass(frozen=True, slots=True)
class MoneySums:
    """What came in, went back and is owed, by kind; and what requests took in each unit: how many, and their sum."""

    kinds: Sequence[KindSum]
    sold: Mapping[str, tuple[int, int]]


class LookAtOwners:
    """What owners see of the books, and the platform of all owners, while requests are served.

    One snapshot, read in a thread of its own, for some seconds at most: whoever keeps the books is not asked.
    """

    def __init__(self, books: StatementBooks) -> None:
        self._books = books
        self._reader = ThreadPoolExecutor(1, thread_name_prefix="owners")
        self._waiting = 0

    async def close(self) -> None:
        await asyncio.to_thread(self._reader.shutdown, cancel_futures=True)

    async def of(self, owner: str, since_ms: int) -> OwnersSums:
        """One owner's; who spent it, since then. Raises BooksSlow, BooksRefused."""
        return await self._read(lambda source: self._sums(source, [owner], since_ms))

    async def of_all(self, owners: Collection[str]) -> OwnersSums:
        """Of these, and of all that the books know. Raises BooksSlow, BooksRefused."""
        return await self._read(lambda source: self._sums(source, owners, None))

    async def of_money(self) -> MoneySums:
        """Of all callers. Raises BooksSlow, BooksRefused."""
        return await self._read(_money)

    async def _read(self, work: Callable[[StatementSource], _T]) -> _T:
        def read() -> _T:
            with self._books.open(seconds=_SECONDS_MAX) as source:
                return work(source)

        if self._waiting >= _WAITING_MAX:
            raise BooksSlow
        self._waiting += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._reader, read)
        finally:
            self._waiting -= 1

    def _sums(self, source: StatementSource, owners: Collection[str], since_ms: int | None) -> OwnersSums:
        found = takings(source)
        if since_ms is not None:
            found = [taking for taking in found if taking.owner in owners]
        names = {*owners, *(taking.owner for taking in found)}
        left, freed = entries_of_dues(source, names, "shares"), entries_of_dues(source, names, "proceeds")
        spent = [one for name in owners for one in spent_on(source, name, since_ms)] if since_ms is not None else []
        return OwnersSums(found, left, spent, freed)


def _money(source: StatementSource) -> MoneySums:
    sold: dict[str, tuple[int, int]] = {}
    for one in takings(source):
        requests, micros = sold.get(one.unit, (0, 0))
        sold[one.unit] = requests + one.requests, micros + one.micros
    return MoneySums(list(source.kinds()), sold)


def _open(
    source: StatementSource, chains: list[Chain], tariffs: _Tariffs, progress: Callable[[int, int], None]
) -> Iterator[Sold]:
    """The same of what is not folded yet."""
    units: dict[int, str] = {}
    sums: dict[tuple[int, int, int, str], list[int]] = {}
    for chain in chains:
        last = source.last_batch(chain.keeper)
        for seq, at_ms, _, payload in source.batches(chain.keeper, chain.folded + 1, ()):
            for kind, tariff, account, _, micros, _, _ in Record.unpacked(payload):
                if (chain.keeper, tariff) not in tariffs:
                    continue
                if account not in units:
                    units[account] = source.account(account)[1]
                sum = sums.setdefault((hour_of(at_ms), chain.keeper, tariff, units[account]), [0, 0])
                sum[0] += _COUNTS.get(Kind(kind), 0)
                sum[1] += micros
            if not seq % _PROGRESS_EVERY:
                progress(seq - chain.folded, last - chain.folded)
    yield from (Sold(*key, *sum) for key, sum in sorted(sums.items()))
