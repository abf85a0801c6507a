"""The books in PostgreSQL, for many hosts: each host's keeper leases slices of accounts and writes its own chain.

- **Durable leases.** `account.leased` is the sum of the account's leases, and `credited - spent - leased` is never
  negative (the database checks it). A commit moves what was spent from leased to spent, in the transaction that writes
  the batch; so whatever becomes of a host, no other can spend what it had not given back.
- **One statement a commit**, a function in the database: one round trip, and a host that freezes holds nobody's rows.
  A commit with credits or new tariffs is a transaction of several statements, which the server ends if it stands idle.
- **One order of locks**: the keeper's row, new accounts by name, credits by ref, accounts by id. Keepers wait for one
  another and never in a circle.
- **Credits** are decided by the money key, `credit.ref`, over all hosts.
- **Ambiguous commits** are read back (`desk`), loans are in `lending`, what the dead leave behind is in `reaping`,
  what operators give back in `refunding`.

The chain of a keeper proves that none of its batches was changed, dropped from the middle or reordered. That its end is
still there shows against what the host itself knows: the head that it keeps in a file (`head`) when it starts, and what
it has in memory whenever it connects again. So a fail-over to a standby that lagged, or an older copy of the database
that was put back, is noticed by every host that had written since; a synchronous standby is what loses nothing.
"""

import asyncio
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import asyncpg

from gateway.adapters.postgres.books import BooksDamaged, read_tail
from gateway.adapters.postgres.desk import Desk, Turn
from gateway.adapters.postgres.entries import Entries, Outcomes, landed, write_entries
from gateway.adapters.postgres.head import HostHead
from gateway.adapters.postgres.lending import Lending, Patience
from gateway.adapters.postgres.reaping import reap
from gateway.adapters.postgres.refunding import Refunding
from gateway.adapters.postgres.sessions import PROBLEMS, Address, Connection, Ear, Session
from gateway.core.ids import RequestId
from gateway.core.ledger import (
    GENESIS,
    AccountRow,
    Charge,
    Committed,
    Draft,
    Drawn,
    Reversal,
    Tail,
    chain,
    note_lines,
    tariff_note,
)
from gateway.ports import Borrower, Clock, StoreDamaged, StoreFailed, StoreLocked

_WRITE = "SELECT account, elsewhere FROM write_batch($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)"
_LAST = "SELECT seq, payload, notes, hash FROM batch WHERE keeper = $1 ORDER BY seq DESC LIMIT 1"
_BEAT = "UPDATE keeper SET heartbeat = clock_timestamp() WHERE id = $1 AND epoch = $2 RETURNING id"
_OTHERS = "SELECT id, name, epoch, heartbeat FROM keeper WHERE id <> $1 AND instance <> ''"
_LOANS = """SELECT account, name, unit, micros FROM lease JOIN account ON account.id = lease.account
WHERE keeper = $1 AND micros > 0"""
_ACCOUNTS = """SELECT
    account.id, name, unit, credited - spent - leased - debt + coalesce(lease.micros, 0) AS available
FROM account JOIN unnest($2::text[], $3::text[]) AS wanted (name, unit) USING (name, unit)
LEFT JOIN lease ON lease.account = account.id AND lease.keeper = $1"""
_TELL = "SELECT pg_notify($1, $2)"
_TELL_PURSES = """SELECT pg_notify($1, json_build_object('changed', json_build_array(holder, unit))::text)
FROM account WHERE id = ANY ($2) AND (priority <> 0 OR expires <> 0)"""
Rows = list[asyncpg.Record]


@dataclass(frozen=True, slots=True)
class Pulse:
    """How hosts hear that others live."""

    beat_seconds: float = 1.0
    dead_after_beats: int = 10
    """So many beats of ours without one of theirs."""


class PostgresLedgerStore:
    """Implements `ports.LedgerStore`, `ports.Lender`, `ports.Teller` and `ports.Refunds`.

    For one of a `crew`, the processes of one gateway. An `heir` takes up the loans of the crew's keeper before it. With
    a `turn`, others may have the same name, one after the other.
    """

    def __init__(
        self,
        address: Address,
        *,
        name: str,
        clock: Clock,
        pulse: Pulse | None = None,
        patience: Patience | None = None,
        report: Callable[[str], None] = lambda problem: None,
        crew: str = "",
        heir: bool = False,
        head: HostHead | None = None,
        turn: Turn | None = None,
    ) -> None:
        self._address = address
        self._clock = clock
        self._pulse = pulse or Pulse()
        self._report = report
        self._desk = Desk(address, name=name, crew=crew, heir=heir, turn=turn)
        self._desk.resolve = self._read_back
        self._lending = Lending(self._desk, patience=patience)
        self._desk.went_on = self._went_on
        self._refunding = Refunding(address, self._desk, clock)
        self._head = head
        self._ear: Ear | None = None
        self._heart: asyncio.Task[None] | None = None
        self._silent: dict[int, tuple[object, int]] = {}  # a keeper's last heartbeat, and how often it was seen
        self._hash = GENESIS
        self._seq = 0
        self._next = 1
        self._started = 0
        self._kept = self._kept_as = 0  # the keeper's last draft, by its number and by ours
        self._in_doubt: tuple[Draft, int] | None = None
        self._filled: set[int] = set()  # accounts that were empty, and have something again: the others do not know yet
        self._closed = False

    # --- the books ----------------------------------------------------------------------------------------------------

    async def open(self) -> Tail:
        desk = self._desk
        await desk.open()
        try:
            async with desk.lock:
                tail, self._hash = await desk.do(lambda found: read_tail(found, desk.id))
                if (head := self._head) is not None:
                    await desk.do(lambda found: head.check(found, desk.id, written=tail.seq > 0))
                loans = await desk.do(lambda found: found.fetch(_LOANS, desk.id))
            desk.known = {row["account"]: row["micros"] for row in loans}
            self._seq, self._next, self._started = tail.seq, tail.first, tail.started
            self._kept = self._kept_as = tail.seq
            self._ear = Ear(self._address, f"{desk.name} ear", channel=desk.channel, heard=self._heard)
            self._ear.missed = self._lending.missed
            await self._ear.open()
            await self._beat()
        except BooksDamaged as error:
            raise StoreDamaged(f"{self._address.name}: {error}") from error
        except PROBLEMS as error:
            raise StoreFailed(self._address.told(error)) from error
        self._heart = asyncio.get_running_loop().create_task(self._live(), name="heartbeat")
        return replace(tail, loans=tuple(tuple(row) for row in loans), anew=desk.anew)

    async def reopen(self) -> None:
        desk = self._desk
        async with desk.lock:
            desk.lose()
            await desk.do(_is_there)

    async def commit(self, draft: Draft) -> Committed:
        desk = self._desk
        async with desk.lock:
            credited: Outcomes = []
            reversed: Outcomes = []
            elsewhere: Mapping[int, int] = {}
            await desk.ready()  # what is in doubt is read back before anything is written
            if draft.writes and draft.seq <= self._kept:
                seq = self._kept_as
                credited, reversed = await desk.do(lambda found: landed(found, desk.id, draft, seq))
            elif draft.writes:
                entries, elsewhere = await self._write(draft, kept=draft.seq)
                credited, reversed = entries.credited, entries.reversed
            await self._tell_of_filled()
            await self._renew_head(now=draft.quiet or bool(draft.credits or draft.reversals))
            return Committed(credited, await self._accounts(draft), elsewhere, reversed)

    async def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        if self._heart is not None:
            async with self._desk.lock:  # not in the middle of a beat: what is under way would be in doubt
                self._heart.cancel()
            await asyncio.gather(self._heart, return_exceptions=True)
        await self._refunding.close()
        await self._lending.flush()
        if self._ear is not None:
            await self._ear.close()
        async with self._desk.lock:
            await self._renew_head(now=True)
            await self._desk.leave(quiet=self._started >= self._next - 1)

    @property
    def host(self) -> tuple[int, int]:
        """Our row, and the epoch that everything we write shows."""
        return self._desk.id, self._desk.epoch

    # --- loans --------------------------------------------------------------------------------------------------------

    def lends_to(self, borrower: Borrower) -> None:
        self._lending.lends_to(borrower)
        self._refunding.lends_to(borrower)

    async def draw(self, holder: str, unit: str, micros: int) -> Drawn:
        return await self._lending.draw(holder, unit, micros)

    def give_back(self, returns: Mapping[int, int], *, in_use: bool = False) -> None:
        self._lending.give_back(returns)

    def look_again(self) -> None:
        """Whoever waits for money to come free looks again by himself."""

    async def reverse(self, reversal: Reversal) -> bool:
        """What others, and our own keeper, have and can part with is called back; what is available then is taken."""
        await self._lending.call_back(*reversal.key, reversal.amount.micros)
        async with self._desk.lock:
            try:
                await self._desk.ready()
                draft = Draft(0, self._next, self._clock.now_ms(), self._started, reversals=[(reversal, 0)])
                entries, _ = await self._write(draft, kept=0)
                await self._renew_head(now=True)
            except (StoreLocked, StoreDamaged) as lost:
                raise StoreFailed(str(lost)) from lost
        [made] = entries.reversed
        if made is None:
            raise ValueError("this is more than an account can hold")
        return made

    async def refund(self, request: RequestId, reason: str) -> list[Charge]:
        return await self._refunding.refund(request, reason)

    def _went_on(self) -> None:
        """Whatever cut our connection may have cut our ear off, too, and it does not know yet."""
        self._lending.missed()
        if self._ear is not None:
            self._ear.doubt()

    def _heard(self, message: str) -> None:
        if not self._refunding.heard(json.loads(message)):
            self._lending.heard(message)

    # --- commits ------------------------------------------------------------------------------------------------------

    async def _write(self, draft: Draft, *, kept: int) -> tuple[Entries, Mapping[int, int]]:
        """Write a draft under the next number of our chain. `kept` is its keeper's; there are others between those."""
        draft = replace(draft, seq=self._seq + 1)
        self._in_doubt = draft, kept
        if draft.credits or draft.reversals or draft.tariffs:
            entries, hash, rows = await self._desk.do(lambda found: self._write_whole(found, draft))
        else:
            lines = note_lines(origin.note() for origin in draft.origins)
            entries, hash = Entries(), chain(self._hash, draft, lines)
            rows = await self._desk.do(lambda found: self._write_batch(found, draft, lines, hash))
        elsewhere = {row["account"]: row["elsewhere"] for row in rows}
        self._wrote(draft, kept, hash, elsewhere)
        return entries, elsewhere

    async def _tell_of_filled(self) -> None:
        """Other hosts do not ask after a purse that was empty when they last asked. Again if this is cut off."""
        if self._filled:
            filled = sorted(self._filled)
            await self._desk.do(lambda found: found.fetch(_TELL_PURSES, self._desk.channel, filled))
            self._filled.difference_update(filled)

    def _wrote(self, draft: Draft, kept: int, hash: bytes, left: Mapping[int, int]) -> None:
        """It is in the books; so much is left elsewhere of what it moved, if that is known."""
        self._in_doubt = None
        self._seq, self._hash = draft.seq, hash
        self._next, self._started = draft.first + draft.count, draft.started
        if kept:
            self._kept, self._kept_as = kept, draft.seq
        for row, micros in draft.spent.items():
            self._desk.move(row, -micros)
            if micros < 0 and left.get(row, 0) + self._desk.known.get(row, 0) <= -micros:
                self._filled.add(row)

    async def _renew_head(self, *, now: bool) -> None:
        if self._head is not None and not self._desk.fenced:
            await self._head.renew(self._seq, self._hash, now=now)

    async def _write_batch(self, connection: Connection, draft: Draft, lines: str, hash: bytes) -> Rows:
        desk, moved = self._desk, sorted(row for row, micros in draft.spent.items() if micros)
        rows: Rows = await connection.fetch(
            _WRITE, desk.id, desk.epoch, draft.seq, draft.at_ms, draft.first, draft.count, draft.started,
            bytes(draft.payload), lines, hash, moved, [draft.spent[row] for row in moved],
        )  # fmt: skip
        return rows

    async def _write_whole(self, connection: Connection, draft: Draft) -> tuple[Entries, bytes, Rows]:
        """A draft with entries or new tariffs: what is new of it is in the notes, and so in the hash."""
        desk = self._desk
        async with connection.transaction():
            await connection.execute("SELECT fence($1, $2)", desk.id, desk.epoch)
            entries = await write_entries(connection, desk.id, draft)
            if draft.tariffs:
                await connection.executemany(
                    "INSERT INTO tariff VALUES ($1, $2, $3, $4, $5, $6)",
                    [
                        (desk.id, id, tariff.route, tariff.owner, tariff.commission_points, tariff.price)
                        for id, tariff in draft.tariffs
                    ],
                )
            notes = [tariff_note(id, tariff) for id, tariff in draft.tariffs]
            lines = note_lines([*notes, *(origin.note() for origin in draft.origins), *entries.notes])
            hash = chain(self._hash, draft, lines)
            await connection.executemany(_TELL, [(desk.channel, said) for said in entries.changed])
            return entries, hash, await self._write_batch(connection, draft, lines, hash)

    async def _accounts(self, draft: Draft) -> Mapping[tuple[str, str], AccountRow]:
        """What this keeper could spend of the accounts that were asked for or moved."""
        keys = sorted(draft.reads)
        if not keys:
            return {}
        holders, units = [key[0] for key in keys], [key[1] for key in keys]
        rows = await self._desk.do(lambda found: found.fetch(_ACCOUNTS, self._desk.id, holders, units))
        return {(row["name"], row["unit"]): AccountRow(row["id"], row["available"]) for row in rows}

    async def _read_back(self, connection: Connection) -> None:
        """Whether the draft that was under way is in the books; nothing can bring it there any more.

        And whether what was in them before still is: they may be on another server by now.
        """
        last = await connection.fetchrow(_LAST, self._desk.id)
        seq, hash = (last["seq"], last["hash"]) if last is not None else (0, GENESIS)
        if (seq, hash) == (self._seq, self._hash):
            self._in_doubt = None
            return
        if last is None or self._in_doubt is None or seq != self._seq + 1:
            raise StoreDamaged(
                f"{self._address.name}: the chain of {self._desk.name!r} ends with batch {seq}, and {self._seq} was"
                " written: this is an older copy, or a standby that lagged when it took over. Put the newest books back"
            )
        draft, kept = self._in_doubt
        if last["payload"] != draft.payload or hash != chain(self._hash, draft, last["notes"]):
            raise StoreDamaged(f"{self._address.name}: batch {draft.seq} of {self._desk.name} is not what was written")
        self._wrote(draft, kept, hash, {})

    # --- the heart ----------------------------------------------------------------------------------------------------

    async def _live(self) -> None:
        """Beat, and look after those who do not any more."""
        while True:
            await asyncio.sleep(self._pulse.beat_seconds)
            try:
                for row in await self._beat():
                    await self._reap(row)
                if self._head is not None and self._head.stale:
                    async with self._desk.lock:
                        await self._renew_head(now=True)
            except StoreFailed:
                continue
            except (StoreLocked, StoreDamaged) as lost:
                self._lending.give_up()
                self._report(str(lost))
                return

    async def _beat(self) -> list[asyncpg.Record]:
        """Say that we live; who has been silent for too long."""
        desk = self._desk

        async def work(connection: Connection) -> list[asyncpg.Record]:
            if await connection.fetchval(_BEAT, desk.id, desk.epoch) is None:
                await connection.execute("SELECT fence($1, $2)", desk.id, desk.epoch)  # says so
            return await connection.fetch(_OTHERS, desk.id)

        async with desk.lock:
            others = await desk.do(work)
        before, self._silent = self._silent, {}
        for row in others:
            heartbeat, beats = before.get(row["id"], (None, 0))
            self._silent[row["id"]] = (row["heartbeat"], beats + 1 if heartbeat == row["heartbeat"] else 0)
        dead = [row for row in others if self._silent[row["id"]][1] >= self._pulse.dead_after_beats]
        self._lending.keepers = 1 + len(others) - len(dead)
        return dead

    async def _reap(self, seen: asyncpg.Record) -> None:
        session = Session(self._address, f"{self._desk.name} reaper")
        try:
            await session.connect()
            reaped = await session.do(lambda found: reap(found, seen, at_ms=self._clock.now_ms()))
        except (*PROBLEMS, BooksDamaged) as error:
            self._report(f"what {seen['name']!r} left behind could not be taken over: {self._address.told(error)}")
            return
        finally:
            await session.close()
        if reaped is not None:
            self._report(
                f"{seen['name']!r} has been silent: its loans are taken back, and {reaped[0]} requests that it never"
                f" answered are given away ({reaped[1]} micros)"
            )


async def _is_there(connection: Connection) -> None:
    await connection.execute("SELECT 1")


async def read_balance(address: Address, holder: str, unit: str, *, now_ms: int) -> int:
    """What a holder has as committed, on loan or not, in micros; 0 for one that is not there. Raises StoreFailed."""
    try:
        connection = await address.connect("balance")
        try:
            query = """SELECT sum(credited - spent - debt) FROM account
            WHERE holder = $1 AND unit = $2 AND (expires = 0 OR expires > $3)"""
            return int(await connection.fetchval(query, holder, unit, now_ms) or 0)
        finally:
            await connection.close(timeout=1)
    except PROBLEMS as error:
        raise StoreFailed(address.told(error)) from error
