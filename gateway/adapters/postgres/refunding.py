"""Refund of one request, whichever host served it.

**Where it is found.** In the batches of all hosts, from shortly before its id says that it began. The server searches
their payloads for the id's sixteen bytes, on a connection of its own, so that no commit waits.

**When it is over.** Only the host that has it knows whether a request is under way, so that host is asked, in the way
in which loans are recalled; it answers once everything that it knows of the request is in the books. A host that is
gone, and was taken over from, has nothing under way. One that neither answers nor is gone leaves it open, and so the
refund is refused: asked again a few seconds later, the host has answered, or has been taken over from.

**Nothing is given back twice.**

- A strict capture whose answer had not begun is voided after a crash, by its own host's recovery, which does not look
  into the books of others. So nothing is refunded before that host's watermark has passed every record of the request:
  from then on it can never be voided. Usually that is a matter of milliseconds, which are waited for.
- The key of the table `refund` decides over all hosts, in the same transaction as the money: whoever writes it first
  has refunded the request. It is refunded whole, after its end, so once is all there can be.

**Where it is written.** In a chain of its own, which no host keeps: `refunds (of operators)` in the table of keepers.
Its row is locked while a refund is written, so they follow one another, and none of them meddles with the numbers of a
host's records. The money goes back to the account itself, not to anybody's loan. A host that is fenced refunds nothing.
If the outcome of an attempt is unknown, asking again is safe: if it was written, its key is there.
"""

import asyncio
import json
import struct
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from gateway.adapters.postgres.desk import Desk
from gateway.adapters.postgres.sessions import PROBLEMS, Address, Connection
from gateway.core.ids import RequestId
from gateway.core.ledger import (
    GENESIS,
    Charge,
    Draft,
    Kind,
    Record,
    Refund,
    Tariff,
    chain,
    charges,
    note_lines,
    tariff_note,
)
from gateway.core.refusals import LedgerUnavailable
from gateway.ports import Borrower, Clock, RequestUnderWay, RequestUnknown, StoreDamaged, StoreFailed, StoreLocked

CHAIN = "refunds (of operators)"
_EARLIER_MS = 24 * 3_600_000
"""A clock may have been set back between the request and its batch."""
_SEARCH_SECONDS = 60
_ANSWER_SECONDS = 1.0
_WATERMARK_SECONDS = 1.0
_LOOK_AGAIN_SECONDS = 0.02

_FIND = """SELECT keeper, first, payload FROM batch
WHERE at >= $1 AND position($2::bytea IN payload) > 0
AND seq > coalesce((SELECT anchor.seq FROM anchor WHERE anchor.keeper = batch.keeper), 0)
AND seq > coalesce((SELECT up_to.seq FROM unnest($3::integer[], $4::bigint[]) AS up_to (keeper, seq)
    WHERE up_to.keeper = batch.keeper), 0)
ORDER BY keeper, seq"""
_ENDS = "SELECT keeper.id, coalesce((SELECT max(seq) FROM batch WHERE keeper = keeper.id), 0) AS seq FROM keeper"
_STARTED = "SELECT started FROM batch WHERE keeper = $1 ORDER BY seq DESC LIMIT 1"
_KEY = "INSERT INTO refund VALUES ($1, $2, $3) ON CONFLICT DO NOTHING RETURNING request"
_TAIL = "SELECT seq, first, count, hash FROM batch WHERE keeper = $1 ORDER BY seq DESC LIMIT 1"
_TARIFF = """SELECT id FROM tariff
WHERE keeper = $1 AND route = $2 AND owner = $3 AND commission_points = $4 AND price = $5"""
_BACK = """UPDATE account SET spent = account.spent + due.micros
FROM unnest($1::bigint[], $2::bigint[]) AS due (id, micros) WHERE account.id = due.id"""


@dataclass(frozen=True, slots=True)
class Found:
    """A record of the request: whose, and its number there."""

    keeper: int
    number: int
    record: Record

    @property
    def captures(self) -> bool:
        return self.record.kind in (Kind.CAPTURE, Kind.GATED_CAPTURE)


class Refunding:
    """Implements `ports.Refunds` for the host at a desk, on connections of its own."""

    def __init__(self, address: Address, desk: Desk, clock: Clock) -> None:
        self._address = address
        self._desk = desk
        self._clock = clock
        self._borrower: Borrower | None = None
        self._round = time.time_ns()
        self._asked: dict[int, asyncio.Future[bool]] = {}
        self._answering: set[asyncio.Task[None]] = set()

    def lends_to(self, borrower: Borrower) -> None:
        self._borrower = borrower

    async def refund(self, request: RequestId, reason: str) -> list[Charge]:
        try:
            async with asyncio.timeout(_SEARCH_SECONDS):
                connection = await self._address.connect("refund")
                try:
                    await connection.execute(f"SET statement_timeout = '{_SEARCH_SECONDS}s'")
                    return await self._refund(connection, request, reason)
                finally:
                    connection.terminate()
        except PROBLEMS as error:
            raise StoreFailed(self._address.told(error)) from error

    async def _refund(self, connection: Connection, request: RequestId, reason: str) -> list[Charge]:
        found = await self._everything(connection, request)
        charged = await _charges(connection, found)
        if not charged or not all(charge.captured for charge in charged):
            raise RequestUnknown(str(request))
        due = [
            (Refund(request, charge, reason), await _terms(connection, found, charge))
            for charge in charged
            if charge.micros > 0
        ]
        if not due:
            return []
        async with connection.transaction():
            await connection.execute("SELECT fence($1, $2)", self._desk.id, self._desk.epoch)
            made = await _write(connection, request, due, at_ms=self._clock.now_ms())
            for charge in {(refund.charge.holder, refund.charge.unit) for refund, _ in due}:
                told = json.dumps({"changed": charge})  # a purse that was empty may not be
                await connection.execute("SELECT pg_notify($1, $2)", self._desk.channel, told)
        return [refund.charge for refund, _ in due] if made else []

    # --- what there is ------------------------------------------------------------------------------------------------

    async def _everything(self, connection: Connection, request: RequestId) -> list[Found]:
        """Every record of it, once nothing more can come of it. Raises RequestUnderWay."""
        ends = {row["id"]: row["seq"] for row in await connection.fetch(_ENDS)}
        found = await _find(connection, request, {})
        for keeper in sorted({each.keeper for each in found} | {self._desk.id}):
            if not await self._is_over(connection, keeper, request):
                raise RequestUnderWay(str(request))
        known = {(each.keeper, each.number) for each in found}
        later = await _find(connection, request, ends)
        found += [each for each in later if (each.keeper, each.number) not in known]
        await _until_started(connection, found, request)
        return sorted(found, key=lambda each: not each.captures)

    async def _is_over(self, connection: Connection, keeper: int, request: RequestId) -> bool:
        """Whether it is not under way on a host, and all that is known of it there is in the books."""
        if keeper == self._desk.id:
            assert self._borrower is not None
            async with asyncio.timeout(_ANSWER_SECONDS):
                return await self._borrower.ended(request)
        if not await connection.fetchval("SELECT instance FROM keeper WHERE id = $1", keeper):
            return True  # nobody keeps these books, and what was left open in them has been closed
        self._round += 1
        round = self._round
        answer: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._asked[round] = answer
        question = {"ended": str(request), "host": keeper, "round": round, "asker": self._desk.id}
        try:
            await connection.execute("SELECT pg_notify($1, $2)", self._desk.channel, json.dumps(question))
            async with asyncio.timeout(_ANSWER_SECONDS):
                return await answer
        except TimeoutError:
            return False
        finally:
            del self._asked[round]

    # --- what others ask ----------------------------------------------------------------------------------------------

    def heard(self, told: Mapping[str, object]) -> bool:
        """Whether it was for us: a question of another host, or the answer to one of ours."""
        if "over" in told:
            answer = self._asked.get(int(str(told["round"])))
            if told["asker"] == self._desk.id and answer is not None and not answer.done():
                answer.set_result(told["over"] is True)
            return True
        if "ended" not in told:
            return False
        if told["host"] == self._desk.id:
            task = asyncio.get_running_loop().create_task(self._answer(told), name="say whether a request is over")
            self._answering.add(task)
            task.add_done_callback(self._answering.discard)
        return True

    async def _answer(self, told: Mapping[str, object]) -> None:
        assert self._borrower is not None
        try:
            over = await self._borrower.ended(RequestId.parse(str(told["ended"])))
            words = json.dumps({"over": over, "round": told["round"], "asker": told["asker"]})
            async with self._desk.lock:
                await self._desk.do(lambda found: found.execute("SELECT pg_notify($1, $2)", self._desk.channel, words))
        except (LedgerUnavailable, StoreFailed, StoreLocked, StoreDamaged, ValueError):
            return  # no answer: it is not known, and nothing is given back

    async def close(self) -> None:
        for task in self._answering:
            task.cancel()
        await asyncio.gather(*self._answering, return_exceptions=True)


async def _write(
    connection: Connection, request: RequestId, due: Sequence[tuple[Refund, Tariff]], *, at_ms: int
) -> bool:
    """Put a refund into the books. False, and nothing was written, if another was faster."""
    keeper = await _chain_of_refunds(connection)
    last = await connection.fetchrow(_TAIL, keeper)
    seq, first, hash = (last["seq"] + 1, last["first"] + last["count"], last["hash"]) if last else (1, 1, GENESIS)
    if await connection.fetchval(_KEY, str(request), keeper, seq) is None:
        return False
    draft = Draft(seq, first, at_ms, started=first + len(due) - 1)
    notes: list[dict[str, object]] = []
    for refund, terms in due:
        charge = refund.charge
        tariff = await _number_of(connection, keeper, terms, notes)
        draft.write(Kind.CORRECTION, tariff, charge.row, charge.token, -charge.micros, request)
        notes.append(refund.note(at_ms))
    rows = sorted(draft.spent)
    await connection.execute("SELECT 1 FROM account WHERE id = ANY ($1) ORDER BY id FOR NO KEY UPDATE", rows)
    await connection.execute(_BACK, rows, [draft.spent[row] for row in rows])
    lines = note_lines(notes)
    await connection.execute(
        "INSERT INTO batch VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
        keeper, seq, at_ms, first, draft.count, draft.started, bytes(draft.payload), lines, chain(hash, draft, lines),
    )  # fmt: skip
    return True


async def _chain_of_refunds(connection: Connection) -> int:
    """Its row, locked: whoever refunds at the same time waits here."""
    query = "SELECT id FROM keeper WHERE name = $1 FOR NO KEY UPDATE"
    if (known := await connection.fetchval(query, CHAIN)) is None:
        await connection.execute("INSERT INTO keeper (name, instance) VALUES ($1, '') ON CONFLICT DO NOTHING", CHAIN)
        known = await connection.fetchval(query, CHAIN)
    return int(known)


async def _number_of(connection: Connection, keeper: int, terms: Tariff, notes: list[dict[str, object]]) -> int:
    """Under which number the chain has a tariff; noted in this batch if it is new."""
    columns = (terms.route, terms.owner, terms.commission_points, terms.price)
    known = await connection.fetchval(_TARIFF, keeper, *columns)
    if known is None:
        known = 1 + await connection.fetchval("SELECT count(*) FROM tariff WHERE keeper = $1", keeper)
        await connection.execute("INSERT INTO tariff VALUES ($1, $2, $3, $4, $5, $6)", keeper, known, *columns)
        notes.append(tariff_note(known, terms))
    return int(known)


async def _find(connection: Connection, request: RequestId, after: Mapping[int, int]) -> list[Found]:
    """The records of a request in every host's batches behind these."""
    id = struct.pack(">qq", request.at_ms, request.number)
    rows = await connection.fetch(_FIND, request.at_ms - _EARLIER_MS, id, list(after), list(after.values()))
    return [
        Found(row["keeper"], number, record)
        for row in rows
        for number, record in enumerate(Record.unpack_all(row["payload"]), row["first"])
        if record.request == request
    ]


async def _until_started(connection: Connection, found: Sequence[Found], request: RequestId) -> None:
    """Until no host can void a record of it any more. Raises RequestUnderWay if that takes long."""
    last = {each.keeper: 0 for each in found}
    for each in found:
        last[each.keeper] = max(last[each.keeper], each.number)
    until = time.monotonic() + _WATERMARK_SECONDS
    for keeper, number in last.items():
        while await connection.fetchval(_STARTED, keeper) < number:
            if time.monotonic() > until:
                raise RequestUnderWay(str(request))
            await asyncio.sleep(_LOOK_AGAIN_SECONDS)


async def _charges(connection: Connection, found: Sequence[Found]) -> list[Charge]:
    records = [each.record for each in found]
    rows = await connection.fetch(
        "SELECT id, name, unit FROM account WHERE id = ANY ($1)", list({record.account for record in records})
    )
    return charges(records, {row["id"]: (row["name"], row["unit"]) for row in rows})


async def _terms(connection: Connection, found: Sequence[Found], charge: Charge) -> Tariff:
    """What it was charged by: each host numbers its own."""
    keeper = next(each.keeper for each in found if each.captures and each.record.account == charge.row)
    row = await connection.fetchrow("SELECT * FROM tariff WHERE keeper = $1 AND id = $2", keeper, charge.tariff)
    assert row is not None
    return Tariff(row["route"], row["owner"], row["commission_points"], row["price"])
