"""Statements: what an account used and paid in, or what an owner's routes took, request by request or hour by hour.

A request's records may stand in several batches, far apart: its capture, what corrects it, what voids it, and a refund
even in those of another host. A line is one request, at the time at which it was captured, at the cost that it has
*now*. To merge them in bounded memory the pieces are gathered in a scratch that spills to the disk, and then handed out
one by one.

Where batches were pruned, hours stand for requests. A correction of a request whose capture was pruned is a line of its
own (`adjusted`), so that everything still adds up. Everything is read from one snapshot, and nothing is written.

Lines of one host come in the order of its batches; of several, in the order of time.
"""

import asyncio
import heapq
from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import TypeVar

from gateway.core.ids import RequestId
from gateway.core.ledger import Kind, Record
from gateway.core.money import Money, is_named
from gateway.core.statements import (
    DAY_MS,
    FAR_MS,
    RANKS,
    STATES,
    Chain,
    Day,
    Explained,
    History,
    Line,
    Moved,
    Period,
    Piece,
    Step,
    Sum,
)
from gateway.core.transfers import HOUR_MS, hour_of
from gateway.ports import BooksRefused, BooksSlow, Clock, Scratch, StatementBooks, StatementSource

HISTORY_DAYS = 30
LINES_MAX = 20_000
_MOVES_MAX = 20
_PAGE_SECONDS_MAX = 1.0
_STATEMENT_SECONDS_MAX = 5.0
_READERS = 2
_WAITING_MAX = 8
_PROGRESS_EVERY = 256
_Read = TypeVar("_Read")
_Place = tuple[int, int, int, int]
"""Where a line stands: time (of several hosts), host, batch, record."""


class Statement:
    """The lines of an account or of an owner. Raises BooksRefused if there is none of that name."""

    def __init__(
        self,
        source: StatementSource,
        period: Period,
        *,
        account: str | None = None,
        owner: str | None = None,
        scratch: Callable[[], Scratch],
        progress: Callable[[int, int], None] = lambda done, total: None,
    ) -> None:
        self._source = source
        self._period = period
        self._scratch = scratch
        self._progress = progress
        self._tariffs = {key: (of, route) for key, of, route in source.tariffs() if owner is None or of == owner}
        self._accounts: dict[int, tuple[str, str]] | None = None
        if account is not None:
            self._accounts = {id: (account, unit) for id, unit in source.accounts(account)}
            if not self._accounts:
                raise BooksRefused(f"there is no account {account}: nobody ever paid into it")
        elif not self._tariffs:
            raise BooksRefused(f"there is no owner {owner}: no route of theirs ever took money")
        self._rules: dict[tuple[int, int], str] = {}
        self._wallets: dict[int, int] = {}
        self._first_of: dict[tuple[str, str], int] = {}
        self._chains = list(source.chains())
        self._several = len(self._chains) > 1

    def requests(self) -> Iterator[Line]:
        """Request by request; hours where batches were pruned; credits between them."""
        scratch = self._scratch()
        try:
            self._gather(scratch)
            self._drop_what_is_known(scratch)
            pruned = {chain.keeper: chain.anchored for chain in self._chains}
            yield from self._merged(self._hours(pruned, "pruned"), self._credits(), self._lines(scratch))
        finally:
            scratch.close()

    def summary(self, *, to_the_hour: bool = False) -> Iterator[Line]:
        """Hour by hour; what is not folded yet is added up on the way, or left out."""
        scratch = self._scratch()
        try:
            for chain in () if to_the_hour else self._chains:
                for seq, booked, _, records in self._batches(chain, chain.folded + 1):
                    scratch.add_hours(
                        Sum(hour_of(booked), chain.keeper, seq, account, tariff, _count(kind), micros)
                        for _, kind, tariff, account, _, micros, _, _ in records
                    )
            folded = {chain.keeper: chain.folded for chain in self._chains}
            yield from self._merged(self._hours(folded, "folded"), self._credits(), self._open_hours(scratch))
        finally:
            scratch.close()

    def _merged(self, *sources: Iterator[tuple[_Place, Line]]) -> Iterator[Line]:
        yield from (line for _, line in heapq.merge(*sources, key=lambda found: found[0]))

    # --- batches ------------------------------------------------------------------------------------------------------

    def _batches(self, chain: Chain, first: int) -> Iterator[tuple[int, int, int, Iterator[tuple[int, ...]]]]:
        """Number, time and first record of each batch from one on, and its records that matter."""
        last = self._source.last_batch(chain.keeper)
        for count, (seq, at, number, payload) in enumerate(
            self._source.batches(chain.keeper, first, list(self._accounts or ()))
        ):
            if not count % _PROGRESS_EVERY:
                self._progress(seq - first, last - first + 1)
            yield seq, at, number, self._records(chain.keeper, payload, number)
        self._progress(last - first + 1, last - first + 1)

    def _records(self, keeper: int, payload: bytes, first: int) -> Iterator[tuple[int, ...]]:
        accounts, tariffs = self._accounts, self._tariffs
        for position, record in enumerate(Record.unpacked(payload), first):
            if (accounts is None or record[2] in accounts) and (keeper, record[1]) in tariffs:
                yield position, *record

    def _gather(self, scratch: Scratch) -> None:
        """Every request that was captured in the period, with whatever became of it up to now.

        What became of it may stand before it: on a host whose clock is behind.
        """
        for chain in self._chains:
            first = self._source.first_batch(chain.keeper, chain.anchored, self._period.begin_ms - HOUR_MS)
            if first is None:
                continue
            for seq, booked, _, records in self._batches(chain, first):
                within = self._period.holds(booked)
                for position, kind, tariff, account, token, micros, at_ms, number in records:
                    captured = kind <= Kind.GATED_CAPTURE
                    if within or not captured:
                        place = at_ms, number, self._wallet(account), chain.keeper, seq, position, booked
                        scratch.add(Piece(*place, tariff, token, micros, RANKS[Kind(kind)], captured))

    def _drop_what_is_known(self, scratch: Scratch) -> None:
        """Corrections of requests whose captures are there, but outside of the period, are no lines of it."""
        if not any(chain.anchored for chain in self._chains):
            scratch.forget_uncaptured()
        if not scratch.has_uncaptured():
            return
        for chain in self._chains:
            for _, _, _, records in self._batches(chain, chain.anchored + 1):
                scratch.forget_uncaptured(
                    (at, number, self._wallet(id))
                    for _, kind, _, id, _, _, at, number in records
                    if kind <= Kind.GATED_CAPTURE
                )

    # --- lines, each with the place where it stands -------------------------------------------------------------------

    def _place(self, at_ms: int, keeper: int, seq: int, position: int) -> _Place:
        return (at_ms if self._several else 0), keeper, seq, position

    def _lines(self, scratch: Scratch) -> Iterator[tuple[_Place, Line]]:
        for piece in scratch.pieces(by_time=self._several):
            if not self._period.holds(piece.booked):
                continue
            state = STATES[piece.rank] if piece.captured else "adjusted"
            line = self._line(
                "request", str(RequestId(piece.at_ms, piece.number)), piece.booked, piece.account,
                (piece.keeper, piece.tariff), int(piece.captured), piece.micros, f"{piece.token:016x}", state,
            )  # fmt: skip
            yield self._place(piece.booked, piece.keeper, piece.seq, piece.position), line

    def _hours(self, last: dict[int, int], state: str) -> Iterator[tuple[_Place, Line]]:
        for sum in self._source.hours(last, list(self._accounts or ())):
            if (sum.keeper, sum.tariff) in self._tariffs and self._period.holds(sum.hour):
                yield self._place(sum.hour, sum.keeper, sum.last, 0), self._hour(sum, state)

    def _open_hours(self, scratch: Scratch) -> Iterator[tuple[_Place, Line]]:
        for sum in scratch.hours():
            if self._period.holds(sum.hour):
                place = (sum.hour, sum.keeper, 0, 0) if self._several else (FAR_MS, 0, 0, 0)
                yield place, self._hour(sum, "open")

    def _hour(self, sum: Sum, state: str) -> Line:
        tariff = sum.keeper, sum.tariff
        return self._line("hour", "", sum.hour, sum.account, tariff, sum.requests, sum.micros, "", state)

    def _credits(self) -> Iterator[tuple[_Place, Line]]:
        """What was paid in and taken back; an owner is not told."""
        moved = [(self._moved_at(found), found) for id in self._accounts or () for found in self._source.money(id)]
        for place, found in sorted(moved, key=lambda each: each[0]):
            if self._period.holds(found.at_ms):
                holder, unit = self._account(found.account)
                line = Line(
                    found.type, found.ref, found.at_ms, holder, "", "", 0, 0, found.micros, unit, "", found.kind
                )
                yield place, line

    def _moved_at(self, moved: Moved) -> _Place:
        return self._place(moved.at_ms, moved.keeper, moved.batch, 0)

    def _line(
        self,
        type: str,
        id: str,
        at_ms: int,
        account: int,
        tariff: tuple[int, int],
        requests: int,
        cost: int,
        token: str,
        state: str,
    ) -> Line:
        (owner, route), (holder, unit) = self._tariffs[tariff], self._account(account)
        rule = self._rules.get(tariff)
        if rule is None:
            rule = self._rules[tariff] = self._source.rule(*tariff)
        return Line(type, id, at_ms, holder, owner, route, requests, cost, 0, unit, token, state, rule)

    def _wallet(self, id: int) -> int:
        """Of what several purses of a holder paid together: one of them, for all."""
        found = self._wallets.get(id)
        if found is None:
            found = self._wallets[id] = self._first_of.setdefault(self._account(id), id)
        return found

    def _account(self, id: int) -> tuple[str, str]:
        return self._source.account(id) if self._accounts is None else self._accounts[id]


def _count(kind: int) -> int:
    """How many requests a record makes more."""
    return (kind <= Kind.GATED_CAPTURE) - (kind == Kind.VOID)


def explained(source: StatementSource, request: RequestId, holders: Sequence[str] | None = None) -> Explained | None:
    """What the books hold of a request, if it was of one of these holders; of anybody's if none are named.

    The id says when it began, so only the batches from a day before that on are searched: a clock may have been set
    back meanwhile.
    """
    if holders is not None and not any(source.accounts(holder) for holder in holders):
        return None  # nobody ever paid into it: a stranger does not make us search
    found: list[tuple[int, int, Record]] = []
    for chain in source.chains():
        first = source.first_batch(chain.keeper, chain.anchored, request.at_ms - DAY_MS)
        for _, at_ms, _, payload in () if first is None else source.batches_of(chain.keeper, first, request):
            found += [(at_ms, chain.keeper, one) for one in Record.unpack_all(payload) if one.request == request]
    caps = {key for key, _, route in source.tariffs() if not route}  # what a cap counts of it is no cost
    found = [each for each in found if (each[1], each[2].tariff) not in caps]
    if not found:
        return None
    found.sort(key=lambda each: (each[2].kind > Kind.GATED_CAPTURE, each[0]))
    _, keeper, first_record = found[0]
    holder, unit = source.account(first_record.account)
    if holders is not None and holder not in holders:
        return None
    tariff = first_record.tariff
    owner, route = next((owner, route) for key, owner, route in source.tariffs() if key == (keeper, tariff))
    steps: dict[tuple[int, Kind], int] = {}
    for at_ms, _, record in found:  # what was taken from several purses at once is one step
        key = at_ms, record.kind
        steps[key] = steps.get(key, 0) + record.micros
    told = tuple(Step(at_ms, kind, Money(micros, unit)) for (at_ms, kind), micros in steps.items())
    return Explained(request, holder, owner, route, source.rule(keeper, tariff), first_record.token, told)


class LookBack:
    """What holders see of their own accounts, while requests are served.

    Whoever keeps the books is not asked: a snapshot is read in a thread of its own. There are two of those, so that
    any number of visitors take two readers' share of the disk and no more; each reads for a few seconds at most, and
    a statement has so many lines at most.
    """

    def __init__(self, books: StatementBooks, scratch: Callable[[], Scratch], clock: Clock) -> None:
        self._books = books
        self._scratch = scratch
        self._clock = clock
        self._readers = ThreadPoolExecutor(_READERS, thread_name_prefix="statements")
        self._waiting = 0

    async def close(self) -> None:
        await asyncio.to_thread(self._readers.shutdown, cancel_futures=True)

    async def history(self, account: str, unit: str) -> History:
        """The last thirty days. Raises BooksSlow, BooksRefused."""
        try:
            return await self._read(lambda: self._history(account, unit, to_the_hour=False))
        except BooksSlow:
            return await self._read(lambda: self._history(account, unit, to_the_hour=True))

    async def lines(
        self, account: str, period: Period, *, by_request: bool, tokens: Collection[int] | None = None
    ) -> list[Line]:
        """A statement; none for an account that nobody ever paid into. With `tokens`, their requests alone.

        Raises BooksSlow, BooksRefused, TooManyLines.
        """
        return await self._read(lambda: self._lines(account, period, by_request=by_request, tokens=tokens))

    async def explained(self, request: RequestId, holders: Sequence[str]) -> Explained | None:
        """What is on record of a request of theirs, if it is. Raises BooksSlow, BooksRefused."""
        return await self._read(lambda: self._explained(request, holders))

    async def _read(self, work: Callable[[], _Read]) -> _Read:
        if self._waiting >= _WAITING_MAX:
            raise BooksSlow
        self._waiting += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._readers, work)
        finally:
            self._waiting -= 1

    def _history(self, account: str, unit: str, *, to_the_hour: bool) -> History:
        today = self._clock.now_ms() // DAY_MS
        sums = dict.fromkeys(range(today - HISTORY_DAYS + 1, today + 1), (0, 0))
        with self._books.open(seconds=_PAGE_SECONDS_MAX) as source:
            purses = sorted(
                (purse for purse in source.purses(account) if purse.left),
                key=lambda purse: (purse.unit, purse.priority, purse.expires_ms or FAR_MS),
            )
            rows = [id for id, its_unit in source.accounts(account) if its_unit == unit]
            money = sorted((moved for id in rows for moved in source.money(id)), key=lambda moved: -moved.at_ms)
            if rows:
                period = Period(min(sums) * DAY_MS)
                statement = Statement(source, period, account=account, scratch=self._scratch)
                for line in statement.summary(to_the_hour=to_the_hour):
                    if line.unit == unit and line.at_ms // DAY_MS in sums:
                        requests, micros = sums[line.at_ms // DAY_MS]
                        sums[line.at_ms // DAY_MS] = requests + line.requests, micros + line.cost
        days = (Day(day * DAY_MS, requests, Money(micros, unit)) for day, (requests, micros) in sums.items())
        ours = tuple(purse for purse in purses if purse.unit == unit)
        named = tuple(purse for purse in purses if is_named(purse.unit))
        return History(tuple(days), tuple(money[:_MOVES_MAX]), ours, to_the_hour, named)

    def _explained(self, request: RequestId, holders: Sequence[str]) -> Explained | None:
        with self._books.open(seconds=_STATEMENT_SECONDS_MAX) as source:
            return explained(source, request, holders)

    def _lines(self, account: str, period: Period, *, by_request: bool, tokens: Collection[int] | None) -> list[Line]:
        with self._books.open(seconds=_STATEMENT_SECONDS_MAX) as source:
            if not source.accounts(account):
                return []
            statement = Statement(source, period, account=account, scratch=self._scratch)
            found = list(islice(_of(statement, tokens, by_request=by_request), LINES_MAX + 1))
        if len(found) > LINES_MAX:
            raise TooManyLines
        return found


class TooManyLines(Exception):
    """A statement is longer than one may be."""


def _of(statement: Statement, tokens: Collection[int] | None, *, by_request: bool) -> Iterator[Line]:
    """All lines, or the requests of these tokens."""
    if tokens is None:
        return statement.requests() if by_request else statement.summary()
    named = {f"{token:016x}" for token in tokens}
    return (line for line in statement.requests() if line.type == "request" and line.token in named)
