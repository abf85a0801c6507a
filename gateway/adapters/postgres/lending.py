"""Slices of accounts, leased by this host: drawn, given back, and recalled by the others.

What a keeper wants drawn and what it gives back gathers while a transaction is under way, and the next one takes all of
it. Before a no, everybody is asked, as between processes (`flows/keep/slices.py`), and a no is exact because

- **it is somebody's turn.** Who finds too little marks the account; until its turn is over (at its second attempt, or
  after a moment) nobody else is lent any of it. So whatever others part with is there when it is looked at again.
- **an answer is honest.** A host parts with what is not spoken for when no loan is on its way to its keeper: a
  transaction under way is waited for, and so is the keeper's taking of it. What its workers have is called in before
  (`Borrower.called_in`), and not lent on until it has gone. The answer travels with the return, in one transaction: who
  hears it finds the money.
- **who does not answer makes it doubtful**: 503 and try again, never a false 402.

**What was not heard is made up for.** A notice that an account was refunded is said once. Who could not listen, for a
moment or for long, takes every account in its memory for changed, and so spends nothing of any before it has asked. Who
ask at once share one question. Requests that wait for money just then have to ask anew; those that were refused for
their sake may have been refused for money that is left in the end.
"""

import asyncio
import json
import time
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import Any

import asyncpg

from gateway.adapters.postgres.desk import Desk
from gateway.core.ledger import Drawn
from gateway.core.ordered_set import OrderedSet
from gateway.ports import Borrower, StoreDamaged, StoreFailed, StoreLocked

_LEND = """SELECT place, account, granted, elsewhere, outcome, others, purses, owes
FROM lend($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)"""
_READ = """SELECT coalesce(id, 0) AS id, coalesce(credited - spent - debt, 0) AS left,
    purses_beside(wanted.name, wanted.unit) AS purses, coalesce(credited - spent - debt < leased, false) AS owes
FROM unnest($1::text[], $2::text[]) WITH ORDINALITY AS wanted (name, unit, place)
LEFT JOIN account ON account.name = wanted.name AND account.unit = wanted.unit ORDER BY place"""
_READ_AT_ONCE = 1000
_LOOK_AGAIN_SECONDS = 0.005
_MORE_SECONDS = 0.1


@dataclass(frozen=True, slots=True)
class Patience:
    """How long others are waited for, in seconds."""

    answer: float = 0.5  # for those who were asked to part with what they can
    turn: float = 0.8  # for the turn of another to end, and the most that a turn may take


@dataclass(frozen=True, slots=True)
class _Lent:
    account: int
    granted: int
    elsewhere: int
    outcome: str
    others: frozenset[int]
    purses: tuple[str, ...]
    owes: bool

    def drawn(self, *, doubtful: bool) -> Drawn:
        return Drawn(self.account, self.granted, self.elsewhere, doubtful, self.purses, self.owes)


@dataclass(frozen=True, slots=True)
class _Wish:
    holder: str
    unit: str
    micros: int
    final: bool
    round: int
    answer: "asyncio.Future[_Lent]"


@dataclass(frozen=True, slots=True)
class _Question:
    """How an account stands."""

    holder: str
    unit: str
    answer: "asyncio.Future[asyncpg.Record]"


@dataclass(slots=True)
class _Round:
    """Who was asked to part with what they can, and who has."""

    answered: set[int] = field(default_factory=set)
    changed: asyncio.Event = field(default_factory=asyncio.Event)

    async def complete(self, asked: frozenset[int], seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                while not asked <= self.answered:
                    self.changed.clear()
                    await self.changed.wait()
        except TimeoutError:
            pass


class Lending:
    """Implements `ports.Lender` at a desk."""

    def __init__(self, desk: Desk, *, patience: Patience | None = None) -> None:
        self._desk = desk
        self._patience = patience or Patience()
        self._borrower: Borrower | None = None
        self._wishes: list[_Wish] = []
        self._questions: list[_Question] = []
        self._returns: dict[int, int] = {}
        self._say: list[str] = []
        self._rounds: dict[int, _Round] = {}
        self._round = time.time_ns()
        self._undelivered = 0
        self._delivered = asyncio.Event()
        self._delivered.set()
        self._task: asyncio.Task[None] | None = None
        self._reading: asyncio.Task[None] | None = None
        self._answering: OrderedSet[asyncio.Task[None]] = OrderedSet()
        self._closed = False
        self.keepers = 1
        """How many hosts there are that live."""
        desk.settling = self._returns_are_settled

    def lends_to(self, borrower: Borrower) -> None:
        self._borrower = borrower

    async def draw(self, holder: str, unit: str, micros: int) -> Drawn:
        if not micros:
            return await self._read(holder, unit)
        loop = asyncio.get_running_loop()
        until = loop.time() + self._patience.turn
        round, final = _Round(), False
        self._round += 1
        number = self._round
        self._rounds[number] = round
        try:
            while True:
                lent = await self._ask(holder, unit, micros, final=final, round=number)
                if lent.outcome == "done":
                    return lent.drawn(doubtful=lent.granted < micros and not lent.others <= round.answered)
                if loop.time() >= until:
                    return lent.drawn(doubtful=True)
                if lent.outcome == "recall":
                    await round.complete(lent.others, self._patience.answer)
                    final = True
                else:
                    await asyncio.sleep(_LOOK_AGAIN_SECONDS)
                    round.answered.clear()
                    final = False
        finally:
            del self._rounds[number]

    def give_back(self, returns: Mapping[int, int], *, in_use: bool = False) -> None:
        for row, micros in returns.items():
            if micros:
                self._desk.move(row, -micros)
                self._returns[row] = self._returns.get(row, 0) + micros
        self._soon()

    async def call_back(self, holder: str, unit: str, micros: int) -> None:
        """Let everybody, ourselves too, part with what they can of an account. Raises StoreFailed."""
        drawn = await self.draw(holder, unit, micros)
        if drawn.row:
            self.give_back({drawn.row: drawn.micros})
            await self._part_with(drawn.row)

    async def flush(self) -> None:
        """Until what was given back has been taken, or could not be; nothing more is lent."""
        self._closed = True
        if waits := [*self._answering, *(task for task in (self._task, self._reading) if task is not None)]:
            await asyncio.wait(waits)

    def give_up(self) -> None:
        """Another has what was on loan to us: let the keeper spend none of it, and end."""
        assert self._borrower is not None
        for row in list(self._desk.known):
            self._borrower.recall(row)
        self._borrower.lost()

    # --- what comes from others ---------------------------------------------------------------------------------------

    def missed(self) -> None:
        """Something may have been said that was not heard. (Who was not heard to part with money asks again.)"""
        if self._borrower is not None:
            self._borrower.anything_changed()

    def heard(self, message: str) -> None:
        """Somebody is short of money, or has parted with what it could; or a wallet is not what it was."""
        told = json.loads(message)
        if "recall" in told and self._desk.id in told["of"] and not self._closed:
            task = asyncio.get_running_loop().create_task(self._part(told), name="part with what was recalled")
            self._answering.add(task)
            task.add_done_callback(self._answering.discard)
        elif "parted" in told and (round := self._rounds.get(told["round"])) is not None:
            round.answered.add(told["parted"])
            round.changed.set()
        elif "changed" in told and self._borrower is not None:
            self._borrower.changed(*told["changed"])

    async def _part(self, told: Mapping[str, Any]) -> None:
        await self._part_with(int(told["recall"]), json.dumps({"parted": self._desk.id, "round": told["round"]}))

    async def _part_with(self, row: int, *say: str) -> None:
        """Return what is not spoken for, once no loan is on its way to the keeper, and say so in the same transaction.

        What comes free with the draft that is under way is waited for. If that takes too long nothing is said: whoever
        waits for our answer has stopped waiting. If a worker does not part with what it has, the rest goes, and nothing
        is said either: whoever asked is in doubt, and rightly.
        """
        assert self._borrower is not None
        loop = asyncio.get_running_loop()
        until = loop.time() + self._patience.answer
        async with AsyncExitStack() as stack:
            try:
                async with asyncio.timeout(self._patience.answer + _MORE_SECONDS):
                    sure = await stack.enter_async_context(self._borrower.called_in(row))
            except TimeoutError:
                return
            until = max(until, loop.time() + _MORE_SECONDS)  # for what has been called in, even if nobody waits for it
            while loop.time() < until:
                async with self._desk.lock:
                    await self._delivered.wait()
                    parted = self._borrower.recall(row)
                    if parted is not None:
                        self.give_back({row: parted})
                        self._say += say if sure else ()
                        await self._serve_once()
                        return
                await asyncio.sleep(_LOOK_AGAIN_SECONDS)

    # --- transactions -------------------------------------------------------------------------------------------------

    async def _ask(self, holder: str, unit: str, micros: int, *, final: bool, round: int) -> _Lent:
        answer: asyncio.Future[_Lent] = asyncio.get_running_loop().create_future()
        self._wishes.append(_Wish(holder, unit, micros, final, round, answer))
        self._soon()
        try:
            return await answer
        except asyncio.CancelledError:
            if answer.done() and not answer.cancelled() and answer.exception() is None:
                self.give_back({answer.result().account: answer.result().granted})
            raise
        finally:
            if answer.done() and not answer.cancelled() and answer.exception() is None:
                self._undelivered -= 1
                if not self._undelivered:
                    self._delivered.set()

    async def _read(self, holder: str, unit: str) -> Drawn:
        answer: asyncio.Future[asyncpg.Record] = asyncio.get_running_loop().create_future()
        self._questions.append(_Question(holder, unit, answer))
        if self._reading is None or self._reading.done():
            self._reading = asyncio.get_running_loop().create_task(self._read_all(), name="read the database")
        row = await answer
        left = row["left"] - self._desk.known.get(row["id"], 0)
        return Drawn(row["id"], 0, left, False, tuple(row["purses"]), row["owes"])

    async def _read_all(self) -> None:
        while self._questions:
            async with self._desk.lock:
                asked = [one for one in self._questions[:_READ_AT_ONCE] if not one.answer.done()]
                del self._questions[:_READ_AT_ONCE]
                if asked:
                    await self._read_once(asked)

    async def _read_once(self, asked: Sequence[_Question]) -> None:
        """A keeper that asks hears of a fence as of any failure: it is a commit that ends it."""
        holders, units = [one.holder for one in asked], [one.unit for one in asked]
        try:
            rows = await self._desk.do(lambda found: found.fetch(_READ, holders, units))
        except (StoreFailed, StoreLocked, StoreDamaged) as failure:
            _fail(asked, failure)
            return
        for one, row in zip(asked, rows, strict=True):
            if not one.answer.done():
                one.answer.set_result(row)

    def _soon(self) -> None:
        if self._task is None or self._task.done():
            self._task = asyncio.get_running_loop().create_task(self._serve(), name="draw from the database")

    async def _serve(self) -> None:
        while self._wishes or self._returns or self._say:
            async with self._desk.lock:
                await self._serve_once()

    async def _serve_once(self) -> None:
        """One transaction for all that has gathered. The lock is held."""
        desk = self._desk
        try:
            await desk.ready()  # before anything is taken up: what was given back until then is settled by it
        except (StoreFailed, StoreLocked, StoreDamaged) as failure:
            wishes, self._wishes, self._say = self._wishes, [], []
            self._returns = {}
            _fail(wishes, failure)
            return
        wishes = [wish for wish in self._wishes if not wish.answer.done()]
        returns, say = self._returns, self._say
        self._wishes, self._returns, self._say = [], {}, []
        if not wishes and not returns and not say:
            return
        try:
            rows = await desk.do(
                lambda found: found.fetch(
                    _LEND,
                    desk.id,
                    desk.epoch,
                    self.keepers,
                    desk.channel,
                    [wish.holder for wish in wishes],
                    [wish.unit for wish in wishes],
                    [wish.micros for wish in wishes],
                    [wish.final for wish in wishes],
                    [wish.round for wish in wishes],
                    list(returns),
                    list(returns.values()),
                    say,
                    int(self._patience.turn * 1000),
                )
            )
        except (StoreFailed, StoreLocked, StoreDamaged) as failure:
            _fail(wishes, failure)  # what was given back is not lost with it: it is settled with the next connection
            return
        for row in rows:
            self._deliver(wishes[row["place"] - 1], row)

    def _deliver(self, wish: _Wish, row: asyncpg.Record) -> None:
        lent = _Lent(
            row["account"],
            row["granted"],
            row["elsewhere"],
            row["outcome"],
            frozenset(row["others"]),
            tuple(row["purses"]),
            row["owes"],
        )
        self._desk.move(lent.account, lent.granted)
        if wish.answer.done():
            self.give_back({lent.account: lent.granted})  # who asked has given up
            return
        self._undelivered += 1
        self._delivered.clear()
        wish.answer.set_result(lent)

    def _returns_are_settled(self) -> None:
        self._returns = {}


def _fail(wishes: Sequence[_Wish | _Question], failure: Exception) -> None:
    for wish in wishes:
        if not wish.answer.done():
            wish.answer.set_exception(StoreFailed(str(failure)))
