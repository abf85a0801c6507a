"""The head of this host's chain, in a file of its own beside its secrets: the database cannot take it back.

A database that was put back to an earlier day, or failed over to a standby that lagged, hangs together as well as
before. That the end is gone shows against the head: when the host starts (`check`), and in the audit on that host. It
is renewed after a commit and before that is acknowledged: with every one that holds a credit or a reversal, with the
first that is a second or more after the last renewal, when it goes quiet, and at the end.

Unlike beside a file of SQLite's, a missing head is no reason to refuse: a host may have moved to another machine, and
its chain is in the database as before. That is told, and from then on there is one. And a head that cannot be written
stops nobody, for the money is in the database: it is told, and the head lags behind until it can be written again.
"""

import asyncio
import time
from collections.abc import Callable, Sequence

from gateway.adapters.postgres.sessions import Connection
from gateway.core.chain_head import ChainHead
from gateway.ports import KeptFile, StoreDamaged

_SECONDS = 1.0
_ACCEPT = (
    "Put the newest books back; or, if the loss is understood or these are other books, accept them as they are with"
    " `gateway audit --accept-head`"
)
_BATCH = "SELECT hash FROM batch WHERE keeper = $1 AND seq = $2"
_PRUNED = "SELECT seq, hash FROM anchor WHERE keeper = $1"
_LAST = """SELECT seq, hash FROM batch JOIN keeper ON keeper.id = batch.keeper WHERE name = $1
ORDER BY seq DESC LIMIT 1"""


class HostHead:
    """The newest of `keys` signs; any of them may have signed."""

    def __init__(self, file: KeptFile, keys: Sequence[bytes], host: str, report: Callable[[str], None]) -> None:
        self._file = file
        self._keys = keys
        self._host = host
        self._report = report
        self._due = 0.0
        self._signed_with = b""
        self._told = ""

    async def check(self, connection: Connection, keeper: int, *, written: bool) -> None:
        """Raises StoreDamaged if the chain ends before the head, or differs from it. `written`: it has batches."""
        try:
            text = await asyncio.to_thread(self._file.read)
        except OSError as error:
            raise StoreDamaged(f"{self._file.name} cannot be read: {error.strerror}") from error
        if text is None:
            if written:
                self._report(f"{self._file.name} is not there: nothing tells whether the end of our chain is")
            return
        try:
            head = ChainHead.read(text, self._keys)
        except ValueError as error:
            raise StoreDamaged(f"{self._file.name} {error}. {_ACCEPT}") from None
        if head.host != self._host:
            raise StoreDamaged(f"{self._file.name} is the head of another host, {head.host!r}. {_ACCEPT}")
        if head.seq and not await _holds(connection, keeper, head):
            raise StoreDamaged(
                f"the books have no batch {head.seq} of {self._host!r} with the hash that {self._file.name} names: rows"
                f" were dropped, or an older copy was put back. {_ACCEPT}"
            )

    @property
    def stale(self) -> bool:
        """Whether it may be signed with a key that is not the newest any more."""
        return self._signed_with != self._keys[0]

    async def renew(self, seq: int, hash: bytes, *, now: bool) -> None:
        """Vouch for this batch, if it is time."""
        if not seq or not (now or time.monotonic() >= self._due):
            return
        try:
            key = self._keys[0]
            await asyncio.to_thread(self._file.write, ChainHead(self._host, seq, hash).signed(key))
            self._signed_with = key
        except OSError as error:
            self._tell(f"{self._file.name} cannot be written, so the head of our chain lags: {error.strerror}")
        else:
            self._told = ""
        self._due = time.monotonic() + _SECONDS

    def _tell(self, problem: str) -> None:
        if problem != self._told:
            self._report(problem)
        self._told = problem


async def accept_head(connection: Connection, file: KeptFile, key: bytes, host: str) -> int:
    """Sign the chain of a host as it ends now, after a loss that was understood; the number of its last batch."""
    row = await connection.fetchrow(_LAST, host)
    head = ChainHead(host, row["seq"], row["hash"]) if row is not None else ChainHead(host, 0, bytes(32))
    await asyncio.to_thread(file.write, head.signed(key))
    return head.seq


async def _holds(connection: Connection, keeper: int, head: ChainHead) -> bool:
    """Whether the batch is there, or was pruned."""
    hash = await connection.fetchval(_BATCH, keeper, head.seq)
    if hash is not None:
        return bool(hash == head.hash)
    anchor = await connection.fetchrow(_PRUNED, keeper)
    return anchor is not None and head.seq < anchor["seq"]
