"""One keeper's chain of batches, as it is read when the books are opened."""

from gateway.adapters.postgres.sessions import Connection
from gateway.core.ledger import GENESIS, Draft, Origin, Record, Tail, Tariff, chain

_TAIL_BATCHES = 1000  # what is looked at before new ones are put upon them
_ORIGIN_BATCHES = 256  # a worker waits for its last draft: what a keeper was killed over stands among the last few
_PIECE = 64


class BooksDamaged(Exception):
    """Batches do not follow from one another; the message says which."""


async def read_tail(connection: Connection, keeper: int) -> tuple[Tail, bytes]:
    """Where a keeper's books end, and the hash of their last batch. Raises BooksDamaged."""
    rows = await connection.fetch("SELECT * FROM tariff WHERE keeper = $1", keeper)
    tariffs = {Tariff(row["route"], row["owner"], row["commission_points"], row["price"]): row["id"] for row in rows}
    last = await connection.fetchrow("SELECT * FROM batch WHERE keeper = $1 ORDER BY seq DESC LIMIT 1", keeper)
    if last is None:
        return Tail(seq=0, first=1, started=0, tariffs=tariffs, unstarted=()), GENESIS
    await _check_tail(connection, keeper)
    unstarted = await _read_unstarted(connection, keeper, last["started"])
    origins = await _read_origins(connection, keeper)
    tail = Tail(last["seq"], last["first"] + last["count"], last["started"], tariffs, unstarted, origins)
    return tail, last["hash"]


async def _check_tail(connection: Connection, keeper: int) -> None:
    rows = await connection.fetch(
        "SELECT * FROM batch WHERE keeper = $1 ORDER BY seq DESC LIMIT $2", keeper, _TAIL_BATCHES + 1
    )
    before: tuple[int, int, bytes] | None = (0, 1, GENESIS)
    if rows[-1]["seq"] != 1:
        before = None  # the oldest that was read only says what the next must build upon
    for row in reversed(rows):
        if before is not None:
            draft = Draft(row["seq"], row["first"], row["at"], row["started"], row["count"], bytearray(row["payload"]))
            follows = (draft.seq, draft.first) == (before[0] + 1, before[1])
            if not follows or chain(before[2], draft, row["notes"]) != row["hash"]:
                raise BooksDamaged(
                    f"batch {draft.seq} is not what its hash and the batch before it say: its bytes were changed, or a"
                    " row is missing; run `gateway audit`, which names all that is wrong, and restore a backup"
                )
        before = (row["seq"], row["first"] + row["count"], row["hash"])


async def _read_unstarted(connection: Connection, keeper: int, started: int) -> list[Record]:
    """The records numbered above the watermark, oldest first; they stand in the last batch or two."""
    batches: list[tuple[int, bytes]] = []
    before = 2**62
    while True:
        rows = await connection.fetch(
            "SELECT seq, first, count, payload FROM batch WHERE keeper = $1 AND seq < $2 ORDER BY seq DESC LIMIT $3",
            keeper, before, _PIECE,
        )  # fmt: skip
        for row in rows:
            if row["first"] + row["count"] - 1 <= started:
                rows = []
                break
            batches.append((row["first"], row["payload"]))
        if not rows:
            break
        before = rows[-1]["seq"]
    return [
        record
        for first, payload in reversed(batches)
        for number, record in enumerate(Record.unpack_all(payload), first)
        if number > started
    ]


async def _read_origins(connection: Connection, keeper: int) -> tuple[Origin, ...]:
    """Those of the last batches, oldest first."""
    rows = await connection.fetch(
        "SELECT notes FROM batch WHERE keeper = $1 ORDER BY seq DESC LIMIT $2", keeper, _ORIGIN_BATCHES
    )
    return tuple(origin for row in reversed(rows) for origin in Origin.among(row["notes"]))
