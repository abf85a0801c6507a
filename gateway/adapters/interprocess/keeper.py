"""The keeper's side of the line: every worker is a connection, and ends with it.

Messages of one worker are taken in the order in which they came; the answer to a draft, or to a question that has to
wait for others, comes when it is ready. A worker that reports what it cannot have is cut off: its money is taken back,
its unanswered requests are voided, and its parent starts another.
"""

import asyncio
import json
import struct
from collections.abc import Callable, Coroutine
from typing import Any, cast

from gateway.adapters.interprocess import entries, frames
from gateway.adapters.interprocess.frames import BrokenLine, FrameReader, Kind
from gateway.adapters.interprocess.limits import Counting, asks_for_places
from gateway.adapters.interprocess.worker import DRAFT, DRAW, DRAWN, HAS_ENDED, OUTCOMES, REVERSED
from gateway.core.ids import RequestId
from gateway.core.ledger import Claim, Reversal, Tariff
from gateway.core.refusals import LedgerUnavailable
from gateway.flows.keep.slices import Branch, Disorder, Greeting, Landed, Slices, WorkerDraft


class Counter:
    """Serves the workers."""

    def __init__(
        self,
        slices: Slices,
        *,
        count: Callable[[], Counting],
        counted: Callable[[str, Any], None],
        report: Callable[..., None],
    ) -> None:
        self.slices = slices
        self.count = count
        self.counted = counted
        self.report = report
        self.gathered = asyncio.Event()
        """Set when all workers that were there before this keeper have told what they hold."""
        self._connections: set[WorkerConnection] = set()
        self._server: asyncio.Server | None = None

    async def listen(self, sock: Any) -> None:
        """Serve on a socket that is bound already."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_unix_server(lambda: WorkerConnection(self), sock=sock)

    async def emptied(self, seconds: float) -> None:
        """Until every worker has gone, for so long at most."""
        waits = [asyncio.ensure_future(connection.closed.wait()) for connection in self._connections]
        if waits:
            _, late = await asyncio.wait(waits, timeout=seconds)
            for wait in late:
                wait.cancel()

    async def close(self) -> None:
        if self._server is not None:
            self._server.close()
        for connection in list(self._connections):
            connection.close()
            await connection.closed.wait()

    def opened(self, connection: "WorkerConnection") -> None:
        self._connections.add(connection)

    def ended(self, connection: "WorkerConnection") -> None:
        self._connections.discard(connection)

    def tell_others(self, teller: "WorkerConnection", message: bytes) -> None:
        for connection in self._connections:
            if connection is not teller:
                connection.send(message)


class WorkerConnection(asyncio.Protocol):
    """One worker."""

    def __init__(self, counter: Counter) -> None:
        self._counter = counter
        self._counting = counter.count()
        self._unanswered: set[int] = set()
        self._reader = FrameReader()
        self._branch: Branch | None = None
        self._work: set[asyncio.Task[None]] = set()
        self.closed = asyncio.Event()
        self._questions = 0
        self._asked: dict[int, asyncio.Future[bool]] = {}
        self._handlers: dict[int, Callable[[Branch, bytes], None]] = {
            Kind.DRAFT: self._draft,
            Kind.DRAW: self._draw,
            Kind.BACK: self._back,
            Kind.SOME_BACK: self._some_back,
            Kind.RECALLED: self._recalled,
            Kind.ADMIT: self._admit,
            Kind.LEAVE: self._leave,
            Kind.FORGET: self._forget,
            Kind.COUNTED: self._counted,
            Kind.REVERSE: self._reverse,
            Kind.ENDED: self._ended,
        }

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._counter.opened(self)

    def connection_lost(self, error: Exception | None) -> None:
        if self._branch is not None:
            self._counter.slices.leave(self._branch)
            self._counter.counted(self._branch.worker, None)
        self._counting.end()
        for task in self._work:
            task.cancel()
        self._counter.ended(self)
        self.closed.set()

    def close(self) -> None:
        self._transport.close()

    def send(self, message: bytes) -> None:
        if not self._transport.is_closing():
            self._transport.write(message)

    def data_received(self, data: bytes) -> None:
        try:
            for kind, contents in self._reader.feed(data):
                self._take(kind, contents)
        except (BrokenLine, Disorder, struct.error, ValueError, KeyError, TypeError) as error:
            self._cut_off(error)

    def _take(self, kind: int, contents: bytes) -> None:
        if self._branch is None:
            if kind != Kind.HELLO:
                raise BrokenLine("a worker did not say who it is")
            self._hello(contents)
            return
        self._branch.silent = False
        self._handlers[kind](self._branch, contents)

    def _cut_off(self, error: Exception) -> None:
        self._counter.report("worker cut off", worker=self._branch.worker if self._branch else "", why=str(error))
        self.send(frames.frame(Kind.BEGONE))
        self._transport.close()

    def _hello(self, contents: bytes) -> None:
        told, _ = frames.split_json(len(contents).to_bytes(4) + contents, 0)
        claim = Claim(
            told["started"],
            {id: Tariff(*columns) for id, *columns in told["tariffs"]},
            [(row, holder, unit, micros) for row, holder, unit, micros in told["slices"]],
        )
        greeting = Greeting(told["worker"], told["fresh"], claim, told["pending_seq"], dict(told["pending_spent"]))
        branch = Branch(
            greeting,
            lambda row: self.send(frames.frame(Kind.RECALL, row.to_bytes(8))),
            self._ask_ended,
            lambda: self._cut_off(Disorder("claims what was taken over by another")),
            lambda holder, unit: self.send(frames.json_frame(Kind.CHANGED, [holder, unit])),
            lambda: self.send(frames.frame(Kind.ANYTHING_CHANGED)),
        )
        if self._counter.slices.join(branch):
            self._branch = branch
            self._counting.holds(told["held"])
            self.send(frames.frame(Kind.WELCOME))
        else:
            self.send(frames.frame(Kind.BEGONE))
            self._transport.close()

    def _later(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._work.add(task)
        task.add_done_callback(self._work.discard)

    # --- the books ----------------------------------------------------------------------------------------------------

    def _draft(self, branch: Branch, contents: bytes) -> None:
        seq, started, first = DRAFT.unpack_from(contents)
        rare, payload = frames.split_json(contents, DRAFT.size)
        rare = rare or {}
        draft = WorkerDraft(
            seq,
            started,
            first,
            payload,
            {id: Tariff(*columns) for id, *columns in rare.get("tariffs", ())},
            tuple(entries.credit(columns) for columns in rare.get("credits", ())),
        )
        self._later(self._take_draft(branch, draft))

    async def _take_draft(self, branch: Branch, draft: WorkerDraft) -> None:
        try:
            landed = await self._counter.slices.take(branch, draft)
        except Disorder as disorder:
            self._cut_off(disorder)
        except LedgerUnavailable:
            self._transport.close()  # the keeper is ending
        else:
            self.send(frames.frame(Kind.LANDED, _written(draft, landed)))

    def _draw(self, branch: Branch, contents: bytes) -> None:
        number, micros, unit_bytes = DRAW.unpack_from(contents)
        texts = contents[DRAW.size :]
        self._later(self._lend(branch, number, texts[unit_bytes:].decode(), texts[:unit_bytes].decode(), micros))

    async def _lend(self, branch: Branch, number: int, holder: str, unit: str, micros: int) -> None:
        try:
            drawn = await self._counter.slices.draw(branch, holder, unit, micros)
        except LedgerUnavailable:
            self.send(frames.frame(Kind.UNAVAILABLE, number.to_bytes(8)))
        else:
            packed = DRAWN.pack(number, drawn.row, drawn.micros, drawn.elsewhere, drawn.doubtful, drawn.owes)
            self.send(
                frames.frame(Kind.DRAWN, frames.with_json(packed, None if drawn.purses == () else [drawn.purses]))
            )

    def _back(self, branch: Branch, contents: bytes) -> None:
        self._counter.slices.give_back(branch, dict(frames.read_pairs(contents)))

    def _some_back(self, branch: Branch, contents: bytes) -> None:
        self._counter.slices.give_back(branch, dict(frames.read_pairs(contents)), in_use=True)

    def _recalled(self, branch: Branch, contents: bytes) -> None:
        for row, micros in frames.read_pairs(contents):
            self._counter.slices.recalled(branch, row, micros)

    async def _ask_ended(self, request: RequestId) -> bool:
        self._questions += 1
        number = self._questions
        answer: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._asked[number] = answer
        try:
            self.send(frames.frame(Kind.HAS_ENDED, HAS_ENDED.pack(number, request.at_ms, request.number)))
            return await answer
        finally:
            del self._asked[number]

    def _ended(self, branch: Branch, contents: bytes) -> None:
        answer = self._asked.get(int.from_bytes(contents[:8]))
        if answer is not None and not answer.done():
            answer.set_result(bool(contents[8]))

    def _reverse(self, branch: Branch, contents: bytes) -> None:
        columns, _ = frames.split_json(contents, 8)
        self._later(self._take_back(int.from_bytes(contents[:8]), entries.reversal(columns)))

    async def _take_back(self, number: int, reversal: Reversal) -> None:
        new: bool | None
        try:
            new = await self._counter.slices.reverse(reversal)
        except LedgerUnavailable:
            self.send(frames.frame(Kind.UNAVAILABLE, number.to_bytes(8)))
            return
        except ValueError:
            new = None
        self.send(frames.frame(Kind.REVERSED, REVERSED.pack(number, OUTCOMES.index(new))))

    # --- the rest -----------------------------------------------------------------------------------------------------

    def _admit(self, branch: Branch, contents: bytes) -> None:
        if self._counter.gathered.is_set() or not asks_for_places(contents):
            self.send(self._counting.admit(contents))
        else:
            number = int.from_bytes(contents[:8])
            self._unanswered.add(number)
            self._later(self._admit_when_gathered(number, contents))

    async def _admit_when_gathered(self, number: int, contents: bytes) -> None:
        await self._counter.gathered.wait()
        if number in self._unanswered:
            self._unanswered.discard(number)
            self.send(self._counting.admit(contents))

    def _leave(self, branch: Branch, contents: bytes) -> None:
        number = int.from_bytes(contents)
        self._unanswered.discard(number)
        self._counting.leave(number)

    def _counted(self, branch: Branch, contents: bytes) -> None:
        self._counter.counted(branch.worker, json.loads(contents))

    def _forget(self, branch: Branch, contents: bytes) -> None:
        self._counter.tell_others(self, frames.frame(Kind.FORGET, contents))


def _written(draft: WorkerDraft, landed: Landed) -> bytes:
    rare = {"credited": landed.credited, "rows": landed.rows} if landed.credited else None
    return frames.with_json(draft.seq.to_bytes(8), rare, frames.pairs(landed.elsewhere))
