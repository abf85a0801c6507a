"""A worker's side of the line: books that are borrowed from, and news. Limits are in `limits`.

When the line breaks (the keeper's process died), whoever waits for an answer hears so at once, and the line is taken up
again by itself, ten times a second: the new keeper is told what is spoken for before anything else passes. A keeper
that does not want this worker any more (it was given up meanwhile, and its money is somebody else's) says so, and the
worker ends.
"""

import asyncio
import json
import struct
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any, cast

from gateway.adapters.interprocess import entries, frames
from gateway.adapters.interprocess.frames import BrokenLine, FrameReader, Kind
from gateway.core.ids import RequestId
from gateway.core.ledger import AccountRow, Committed, Draft, Drawn, Reversal, Tail, Tariff
from gateway.core.refusals import LedgerUnavailable
from gateway.ports import Borrower, StoreFailed

_RETRY_SECONDS = 0.1
DRAFT = struct.Struct(">qqq")  # seq, started, first
DRAW = struct.Struct(">qqH")  # number of the question, micros, bytes of the unit
DRAWN = struct.Struct(">qqqq??")  # number of the question, row, micros, elsewhere, doubtful, owes; then purses
HAS_ENDED = struct.Struct(">qqq")  # number of the question, time and number of the request
REVERSED = struct.Struct(">qB")  # number of the question, one of `OUTCOMES`
OUTCOMES = (False, True, None)
_REPORT_SECONDS = 1.0


class Line(asyncio.Protocol):
    """The line to the keeper. `begone` is called when the keeper wants this worker no more."""

    def __init__(self, path: str, *, worker: str, begone: Callable[[], None]) -> None:
        self._path = path
        self.worker = worker
        self._begone = begone
        self._transport: asyncio.Transport | None = None
        self._reader = FrameReader()
        self._up = asyncio.Event()
        self._asked: dict[int, asyncio.Future[bytes]] = {}
        self._questions = 0
        self._welcome: asyncio.Future[None] | None = None
        self._again: asyncio.Task[None] | None = None
        self._closed = False
        self.welcomed = False
        """Whether a keeper has ever known this worker."""
        self.hello: Callable[[], dict[str, Any]] = dict
        self.handlers: dict[int, Callable[[bytes], object]] = {}
        self.lost: list[Callable[[], None]] = []
        self.held: Callable[[], list[tuple[int, list[str]]]] = list
        """The places of requests under way, for a keeper that does not know of them."""

    async def open(self) -> None:
        """Take the line up. Raises StoreFailed."""
        loop = asyncio.get_running_loop()
        self._reader = FrameReader()
        self._welcome = loop.create_future()
        try:
            await loop.create_unix_connection(lambda: self, self._path)
            self.send(frames.json_frame(Kind.HELLO, {"worker": self.worker, "held": self.held(), **self.hello()}))
            await self._welcome
        except OSError as error:
            raise StoreFailed(f"the keeper cannot be reached: {error.strerror}") from error
        self._up.set()

    async def opened(self) -> None:
        """Until the line is up. Raises StoreFailed when that takes more than a moment."""
        try:
            async with asyncio.timeout(_RETRY_SECONDS):
                await self._up.wait()
        except TimeoutError:
            raise StoreFailed("the keeper cannot be reached") from None

    def close(self) -> None:
        self._closed = True
        if self._again is not None:
            self._again.cancel()
        if self._transport is not None:
            self._transport.close()

    # --- asking -------------------------------------------------------------------------------------------------------

    def send(self, data: bytes) -> None:
        """Raises StoreFailed when the line is down."""
        if self._transport is None or self._transport.is_closing():
            raise StoreFailed("the keeper cannot be reached")
        self._transport.write(data)

    def say(self, data: bytes) -> None:
        """Send, if the line is up: nothing is lost if it is not."""
        if self._up.is_set():
            self.send(data)

    @contextmanager
    def question(self) -> Iterator[tuple[int, asyncio.Future[bytes]]]:
        """A number to ask under, and its answer. The future fails with StoreFailed when the line breaks."""
        if not self._up.is_set():
            raise StoreFailed("the keeper cannot be reached")
        self._questions += 1
        number = self._questions
        answer = self._asked[number] = asyncio.get_running_loop().create_future()
        try:
            yield number, answer
        finally:
            self._asked.pop(number, None)

    def answered(self, contents: bytes) -> bool:
        """Give an answer, which begins with its question's number, to who asked; whether somebody still wants it."""
        answer = self._asked.get(int.from_bytes(contents[:8]))
        if answer is None or answer.done():
            return False
        answer.set_result(contents)
        return True

    # --- the protocol -------------------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        try:
            for kind, contents in self._reader.feed(data):
                self._take(kind, contents)
        except BrokenLine:
            assert self._transport is not None
            self._transport.abort()

    def _take(self, kind: int, contents: bytes) -> None:
        if kind == Kind.WELCOME:
            assert self._welcome is not None
            self.welcomed = True
            if not self._welcome.done():
                self._welcome.set_result(None)
        elif kind == Kind.BEGONE:
            self._closed = True
            self._begone()
        elif kind == Kind.UNAVAILABLE:
            answer = self._asked.get(int.from_bytes(contents[:8]))
            if answer is not None and not answer.done():
                answer.set_exception(StoreFailed("the ledger is not available"))
        elif (handler := self.handlers.get(kind)) is not None:
            handler(contents)

    def connection_lost(self, error: Exception | None) -> None:
        was_up = self._up.is_set()
        self._up.clear()
        self._transport = None
        broken = StoreFailed("the keeper's process has ended")
        waiting = [self._welcome, *self._asked.values()]
        self._asked.clear()
        for answer in waiting:
            if answer is not None and not answer.done():
                answer.set_exception(broken)
        for tell in self.lost:
            tell()
        if was_up and not self._closed:
            self._again = asyncio.get_running_loop().create_task(self._reconnect(), name="reach the keeper again")

    async def _reconnect(self) -> None:
        while not self._closed:
            try:
                await self.open()
            except StoreFailed:
                await asyncio.sleep(_RETRY_SECONDS)
            else:
                return


class BorrowedLedgerStore:
    """Implements `ports.LedgerStore`, `ports.Lender` and `ports.Teller` over the line."""

    def __init__(self, line: Line) -> None:
        self._line = line
        self._borrower: Borrower | None = None
        self._pending: Draft | None = None
        self._landing: asyncio.Future[bytes] | None = None
        self._owed: set[int] = set()  # rows that were recalled, and come free with what is under way
        line.hello = self._hello
        line.lost.append(self._line_lost)
        line.handlers[Kind.LANDED] = self._landed
        line.handlers[Kind.DRAWN] = self._drawn
        line.handlers[Kind.RECALL] = self._recall
        line.handlers[Kind.REVERSED] = line.answered
        line.handlers[Kind.HAS_ENDED] = self._has_ended
        line.handlers[Kind.CHANGED] = self._changed
        line.handlers[Kind.ANYTHING_CHANGED] = self._anything_changed
        self._asked: set[asyncio.Task[None]] = set()

    def lends_to(self, borrower: Borrower) -> None:
        self._borrower = borrower

    async def open(self) -> Tail:
        """There is nothing to recover: that is the keeper's business."""
        await self._line.open()
        return Tail(seq=0, first=1, started=0, tariffs={}, unstarted=())

    async def reopen(self) -> None:
        await self._line.opened()

    async def commit(self, draft: Draft) -> Committed:
        self._pending = draft
        self._landing = asyncio.get_running_loop().create_future()
        self._line.send(frames.frame(Kind.DRAFT, _written(draft)))
        contents = await self._landing
        self._pending = self._landing = None
        self._pay_soon()  # when the borrower knows that it has landed
        return _committed(draft, contents)

    async def close(self) -> None:
        self._line.close()

    async def draw(self, holder: str, unit: str, micros: int) -> Drawn:
        with self._line.question() as (number, answer):
            unit_bytes = unit.encode()
            packed = DRAW.pack(number, micros, len(unit_bytes)) + unit_bytes + holder.encode()
            self._line.send(frames.frame(Kind.DRAW, packed))
            try:
                drawn = await answer
            except asyncio.CancelledError:
                if answer.done() and not answer.cancelled() and answer.exception() is None:
                    self._return(answer.result())
                raise
        _, row, lent, elsewhere, doubtful, owes = DRAWN.unpack_from(drawn)
        named, _ = frames.split_json(drawn, DRAWN.size)
        return Drawn(row, lent, elsewhere, doubtful, named[0] if named else (), owes)

    def look_again(self) -> None:
        self._pay_soon()

    def give_back(self, returns: Mapping[int, int], *, in_use: bool = False) -> None:
        self._line.say(frames.frame(Kind.SOME_BACK if in_use else Kind.BACK, frames.pairs(returns)))

    async def reverse(self, reversal: Reversal) -> bool:
        with self._line.question() as (number, answer):
            told = frames.with_json(number.to_bytes(8), entries.told(reversal))
            self._line.send(frames.frame(Kind.REVERSE, told))
            _, outcome = REVERSED.unpack(await answer)
        new = OUTCOMES[outcome]
        if new is None:
            raise ValueError("this is more than an account can hold")
        return new

    # --- what comes ---------------------------------------------------------------------------------------------------

    def _hello(self) -> dict[str, Any]:
        assert self._borrower is not None
        claim = self._borrower.claim()
        pending = self._pending
        return {
            "fresh": not self._line.welcomed,
            "started": claim.started,
            "tariffs": [[id, *_columns(tariff)] for id, tariff in claim.tariffs.items()],
            "slices": claim.slices,
            "pending_seq": pending.seq if pending is not None else 0,
            "pending_spent": list(pending.spent.items()) if pending is not None else [],
        }

    def _line_lost(self) -> None:
        self._owed.clear()
        if self._landing is not None and not self._landing.done():
            self._landing.set_exception(StoreFailed("the keeper's process has ended"))

    def _landed(self, contents: bytes) -> None:
        if self._landing is not None and not self._landing.done():
            self._landing.set_result(contents)

    def _drawn(self, contents: bytes) -> None:
        if not self._line.answered(contents):
            self._return(contents)

    def _return(self, drawn: bytes) -> None:
        """Who asked has given up."""
        _, row, micros, *_ = DRAWN.unpack_from(drawn)
        if micros:
            self.give_back({row: micros}, in_use=True)

    def _changed(self, contents: bytes) -> None:
        assert self._borrower is not None
        self._borrower.changed(*json.loads(contents))

    def _anything_changed(self, contents: bytes) -> None:
        assert self._borrower is not None
        self._borrower.anything_changed()

    def _has_ended(self, contents: bytes) -> None:
        task = asyncio.get_running_loop().create_task(self._tell_ended(contents), name="has it ended")
        self._asked.add(task)
        task.add_done_callback(self._asked.discard)

    async def _tell_ended(self, contents: bytes) -> None:
        assert self._borrower is not None
        _, at_ms, unique = HAS_ENDED.unpack(contents)
        with suppress(LedgerUnavailable):  # the keeper does not wait for ever
            ended = await self._borrower.ended(RequestId(at_ms, unique))
            self._line.say(frames.frame(Kind.ENDED, contents[:8] + bytes([ended])))

    def _recall(self, contents: bytes) -> None:
        """One step later: a slice that arrived just before is still on its way to the borrower, and is meant, too."""
        asyncio.get_running_loop().call_soon(self._part_with, int.from_bytes(contents))

    def _part_with(self, row: int) -> None:
        assert self._borrower is not None
        micros = self._borrower.recall(row)
        if micros is None:
            self._owed.add(row)
        else:
            self._line.say(frames.frame(Kind.RECALLED, frames.pairs({row: micros})))

    def _pay_soon(self) -> None:
        if self._owed:
            asyncio.get_running_loop().call_soon(self._pay_what_is_owed)

    def _pay_what_is_owed(self) -> None:
        owed, self._owed = self._owed, set()
        for row in owed:
            self._part_with(row)


class Reporter:
    """Tells the keeper every second what was counted."""

    def __init__(self, line: Line, counted: Callable[[], Any]) -> None:
        self._line = line
        self._counted = counted
        self._timer: asyncio.TimerHandle | None = None

    def tell(self) -> None:
        """Now, and from now on."""
        self._line.say(frames.json_frame(Kind.COUNTED, self._counted()))
        self._timer = asyncio.get_running_loop().call_later(_REPORT_SECONDS, self.tell)

    def stop(self) -> None:
        """After a last word."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
            self._line.say(frames.json_frame(Kind.COUNTED, self._counted()))


class News:
    """Tells the other workers that a token was recorded, and hears it from them."""

    def __init__(self, line: Line, forget: Callable[[bytes], None]) -> None:
        self._line = line
        self._forget = forget
        line.handlers[Kind.FORGET] = forget

    def token_recorded(self, digest: bytes) -> None:
        self._forget(digest)
        self._line.say(frames.frame(Kind.FORGET, digest))


def _written(draft: Draft) -> bytes:
    rare: dict[str, Any] = {}
    if draft.tariffs:
        rare["tariffs"] = [[id, *_columns(tariff)] for id, tariff in draft.tariffs]
    if draft.credits:
        rare["credits"] = [entries.told(credit) for credit in draft.credits]
    return frames.with_json(DRAFT.pack(draft.seq, draft.started, draft.first), rare, bytes(draft.payload))


def _committed(draft: Draft, contents: bytes) -> Committed:
    rare, elsewhere = frames.split_json(contents, 8)
    credited: list[bool | None] = rare["credited"] if rare else [None] * len(draft.credits)
    rows: list[int] = rare["rows"] if rare else []
    accounts = {credit.key: AccountRow(row, 0) for credit, row in zip(draft.credits, rows, strict=False) if row}
    return Committed(credited, accounts, dict(frames.read_pairs(elsewhere)))


def _columns(tariff: Tariff) -> tuple[str, str, int, str]:
    return tariff.route, tariff.owner, tariff.commission_points, tariff.price
