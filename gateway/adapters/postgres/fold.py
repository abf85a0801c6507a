"""The fold of all hosts: derives double entry and hourly usage from their batches, a little at a time.

What a run is, and what is written of it, stands in `core/folding.py`. Here every host has a chain of its own, and the
runs of all of them are folded one after the other: their `number` is the order in which it was done. So what is rounded
off a commission is carried on from host to host, and an owner's commissions are the rate of everything that was sold,
rounded down once, as on a single host; and one hash goes over everything that was folded.

**One host at a time.** Whoever has the turn (`bookkeeping.py`) folds. That is a matter of time, and so only spares
others the work; what makes it right is that each part of a run compares the row of the turn, and the run's own row,
under lock in the transaction that writes it. Who was away meanwhile writes nothing and begins with what is in the
books. A host that dies leaves a run half written; whoever is next goes on behind its last account.

**Commits do not wait.** This is a connection of its own, and no row that a commit writes is locked or written here. A
step is bounded, so that the loop which it shares with the keeper turns.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field

from gateway.adapters.postgres.sessions import Connection
from gateway.core import folding
from gateway.core.folding import Batch, Broken, Folded, Part, Run
from gateway.core.ledger import GENESIS
from gateway.core.transfers import CarryKey, Terms
from gateway.ports import BooksRefused

_NO_END = 2**62

_READ = """SELECT seq, at, first, count, started, payload, notes, hash FROM (
    SELECT *, sum(count) OVER (ORDER BY seq) - count AS before FROM (
        SELECT * FROM batch WHERE keeper = $1 AND seq BETWEEN $2 AND $3 ORDER BY seq LIMIT $4
    ) AS coming
) AS counted WHERE before < $5 ORDER BY seq"""
_LAST = "SELECT DISTINCT ON (keeper) * FROM fold ORDER BY keeper, last DESC"
_BEFORE = "SELECT * FROM fold WHERE keeper = $1 AND last < $2 ORDER BY last DESC LIMIT 1"
_BEHIND = """SELECT id, folded, newest FROM (
    SELECT id, (SELECT coalesce(max(last), 0) FROM fold WHERE fold.keeper = keeper.id) AS folded,
        (SELECT coalesce(max(seq), 0) FROM batch WHERE batch.keeper = keeper.id) AS newest FROM keeper
) AS hosts WHERE newest > folded ORDER BY id"""
_BEGIN_RUN = """INSERT INTO fold SELECT $1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13
WHERE $1 = (SELECT coalesce(max(number), 0) + 1 FROM fold)
AND NOT EXISTS (SELECT 1 FROM fold WHERE (keeper = $2 AND last >= $4) OR NOT done) RETURNING number"""
_GO_ON = """UPDATE fold SET account = $2, written = $3, hash = $4, done = $5
WHERE number = $1 AND account = $6 AND written = $7 AND NOT done RETURNING number"""
_TRANSFERS = "INSERT INTO transfer VALUES ($1, $2, $3, $4, $5, $6, $7, $8)"
_USAGE = "INSERT INTO usage_hour VALUES ($1, $2, $3, $4, $5, $6)"
_CARRY = """INSERT INTO carry VALUES ($1, $2, $3, $4)
ON CONFLICT (owner, unit, commission_points) DO UPDATE SET carry = excluded.carry"""


@dataclass(slots=True)
class _HostRun:
    """A run of one host's batches, under its number once it is known."""

    keeper: int
    run: Run
    number: int = 0


@dataclass(slots=True)
class _Pass:
    """One pass over the hosts: up to where, whom it has done with, and what was read of hours that are not over.

    Under load there is always one more batch: a pass is over when it has seen those that there were at its beginning.
    """

    closed_before_ms: int = 0
    ends: dict[int, int] | None = None
    over: set[int] = field(default_factory=set)
    open: dict[int, _HostRun] = field(default_factory=dict)


class Fold:
    """Folds on a connection of its own. What it remembers may be forgotten."""

    def __init__(self) -> None:
        self.done = Folded()
        self._now: _HostRun | None = None
        self._pass = _Pass()
        self._terms: dict[int, dict[int, Terms]] = {}

    def forget(self) -> None:
        """Begin with what is in the books: somebody else had the turn."""
        self._now, self._pass = None, _Pass()

    async def step(self, connection: Connection, *, closed_before_ms: int) -> bool:
        """One bounded piece of work. False: nothing is left but hours that are not over by then.

        The turn is held, and a transaction is open in which it cannot be lost. Raises BooksRefused.
        """
        if closed_before_ms != self._pass.closed_before_ms:
            self._pass = _Pass(closed_before_ms, open=self._pass.open)
        now, self._now = self._now, None
        if now is None and (now := await self._next(connection)) is None:
            return False
        try:
            if now.run.read:
                await self._write(connection, now)
                return True
            return await self._read(connection, now, closed_before_ms)
        except Broken as broken:
            self.forget()
            raise BooksRefused(f"{await _named(connection, now.keeper)}: {broken}") from broken
        except folding.UNREADABLE as error:
            self.forget()
            name = await _named(connection, now.keeper)
            raise BooksRefused(f"{name}: batch {now.run.following} or the next few cannot be read: {error}") from error

    # --- which --------------------------------------------------------------------------------------------------------

    async def _next(self, connection: Connection) -> _HostRun | None:
        """The run that was cut off, or that of the next host; None at the end of a pass over all of them."""
        if (row := await connection.fetchrow("SELECT * FROM fold WHERE NOT done")) is not None:
            self.forget()
            before = await connection.fetchrow(_BEFORE, row["keeper"], row["last"])
            number, chain = (before["next"], before["chain"]) if before else (1, GENESIS)
            run = Run(
                row["first"], chain, number, row["hash"], end=row["last"], account=row["account"],
                written=row["written"], begun=True,
            )  # fmt: skip
            return _HostRun(row["keeper"], run, row["number"])
        rows = await connection.fetch(_BEHIND)
        ends = self._pass.ends
        if ends is None:
            ends = self._pass.ends = {row["id"]: row["newest"] for row in rows}
        left = [row for row in rows if row["id"] not in self._pass.over and row["folded"] < ends.get(row["id"], 0)]
        if not left:
            self._pass = _Pass(open=self._pass.open)
            return None
        keeper = left[0]["id"]
        known = self._pass.open.pop(keeper, None)
        if known is not None and known.run.first == left[0]["folded"] + 1:
            return known
        before = await connection.fetchrow(_BEFORE, keeper, _NO_END)
        if before is None:
            return _HostRun(keeper, Run(1, GENESIS, 1, GENESIS))
        run = Run(before["last"] + 1, before["chain"], before["next"], GENESIS, tariffs=before["tariffs"])
        return _HostRun(keeper, run)

    async def _read(self, connection: Connection, now: _HostRun, closed_before_ms: int) -> bool:
        run = now.run
        rows = await connection.fetch(
            _READ, now.keeper, run.following, run.end or _NO_END, folding.BATCHES_A_STEP, folding.RECORDS_A_STEP
        )
        batches = [Batch(*row) for row in rows]
        if run.take(batches, self.done, closed_before_ms=closed_before_ms):
            self._now = now
            return True
        self._pass.open[now.keeper] = now
        self._pass.over.add(now.keeper)
        return True

    # --- writing ------------------------------------------------------------------------------------------------------

    async def _write(self, connection: Connection, now: _HostRun) -> None:
        run = now.run
        if not run.begun:
            last = await connection.fetchrow("SELECT number, hash FROM fold ORDER BY number DESC LIMIT 1")
            now.number, run.hash = (last["number"] + 1, last["hash"]) if last else (1, GENESIS)
            run.name = now.number, now.keeper
        accounts = run.next_accounts()
        units = await connection.fetch("SELECT id, unit FROM account WHERE id = ANY ($1::bigint[])", accounts)
        terms = await self._terms_of(connection, now.keeper, run.tariffs_of(accounts))
        part = run.part(accounts, {row["id"]: row["unit"] for row in units}, terms, await _carries(connection))
        if not await _put(connection, now, part):
            self.forget()  # somebody else folds, too: begin with what is in the books now
            return
        run.wrote(part)
        self.done.transfers += len(part.moved)
        if not part.done:
            self._now = now

    async def _terms_of(self, connection: Connection, keeper: int, used: Collection[int]) -> Mapping[int, Terms]:
        known = self._terms.setdefault(keeper, {})
        if not set(used) <= known.keys():
            rows = await connection.fetch("SELECT * FROM tariff WHERE keeper = $1", keeper)
            known.update((row["id"], Terms(row["owner"], row["commission_points"])) for row in rows)
        return known


async def _put(connection: Connection, now: _HostRun, part: Part) -> bool:
    """One part of a run, if the books are where it expects them."""
    run, number = now.run, now.number
    if run.begun:
        found = await connection.fetchval(
            _GO_ON, number, part.account, part.written, part.hash, part.done, run.account, run.written
        )
    else:
        found = await connection.fetchval(
            _BEGIN_RUN, number, now.keeper, run.last, run.first, run.hour, run.next, run.started, run.tariffs_noted,
            run.chain, part.account, part.written, part.hash, part.done,
        )  # fmt: skip
    if found is None:
        return False
    await _many(
        connection,
        _TRANSFERS,
        ((number, place, *folding.transfer_row(entry)) for place, entry in enumerate(part.moved, run.written)),
    )
    await _many(connection, _USAGE, ((number, used.account, used.tariff, run.hour, used.requests, used.micros)
                                     for used in part.used))  # fmt: skip
    await _many(connection, _CARRY, part.carries)
    return True


async def _many(connection: Connection, statement: str, rows: Iterable[tuple[object, ...]]) -> None:
    if found := list(rows):
        await connection.executemany(statement, found)


async def _carries(connection: Connection) -> dict[CarryKey, int]:
    rows = await connection.fetch("SELECT * FROM carry")
    return {(row["owner"], row["unit"], row["commission_points"]): row["carry"] for row in rows}


async def _named(connection: Connection, keeper: int) -> str:
    return str(await connection.fetchval("SELECT name FROM keeper WHERE id = $1", keeper))
