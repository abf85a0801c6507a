"""Finds one request in the books: its id says when it began, batches are indexed by time.

What a request did cost may stand in several batches, and the last of them long after the first. So every batch from
shortly before it on is looked at; SQLite searches payloads for the id's sixteen bytes faster than we could read them.
It is done on a connection and in a thread of its own, so that no commit waits.
"""

import asyncio
import sqlite3
import struct
from contextlib import closing
from pathlib import Path

from gateway.core.ids import RequestId
from gateway.core.ledger import Charge, Record, charges
from gateway.core.purses import Purse
from gateway.ports import StoreFailed

_EARLIER_MS = 24 * 3_600_000
"""A clock may have been set back between the request and its batch."""


class SqliteArchive:
    """Implements `ports.Archive`."""

    def __init__(self, path: Path) -> None:
        self._path = path

    async def charges_of(self, request: RequestId) -> list[Charge]:
        return await asyncio.to_thread(self._find, request)

    def _find(self, request: RequestId) -> list[Charge]:
        try:
            with closing(sqlite3.connect(f"{self._path.absolute().as_uri()}?mode=ro", uri=True, timeout=5)) as sql:
                return _charges(sql, request)
        except sqlite3.Error as error:
            raise StoreFailed(f"{self._path}: {error}") from error


def _charges(sql: sqlite3.Connection, request: RequestId) -> list[Charge]:
    sql.execute("BEGIN")
    payloads = sql.execute(
        "SELECT payload FROM batch WHERE seq > (SELECT coalesce(max(seq), 0) FROM anchor)"
        " AND at >= ? AND instr(payload, ?) ORDER BY seq",
        (request.at_ms - _EARLIER_MS, struct.pack(">qq", request.at_ms, request.number)),
    )
    records = [record for (payload,) in payloads for record in Record.unpack_all(payload) if record.request == request]
    rows = {record.account for record in records}
    return charges(records, {row: _key_of(sql, row) for row in rows})


def _key_of(sql: sqlite3.Connection, row: int) -> tuple[str, str]:
    query = "SELECT holder, unit, priority, expires FROM account WHERE id = ?"
    holder, unit, priority, expires = sql.execute(query, (row,)).fetchone()
    return Purse(priority, expires).named(holder), unit
