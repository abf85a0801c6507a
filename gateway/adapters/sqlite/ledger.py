"""The books in SQLite: one connection, one writer thread, one transaction a batch.

`synchronous=FULL` in WAL mode: a commit returns after its fsync. The standard library's `sqlite3` is used with explicit
`BEGIN IMMEDIATE … COMMIT`; a shared aiosqlite connection would acknowledge an `UPDATE … RETURNING` before it commits.

Beside the file stand `….lock` (a second keeper on the same books is impossible) and `….head`: the chain's newest hash
under a key that is not in the database, so that somebody who drops the last rows, or restores an old copy, is noticed.
The head may lag behind the books and never leads them. It is renewed with a commit, before that is acknowledged: with
every one that holds a credit or a reversal, with the first that is a second or more after the last renewal, and when it
goes quiet.
So money that arrived is never lost without notice; what a lost log (`-wal`) can take away unnoticed are commits without
credits that came within a second after the newest head, and none came after them: costs, in the callers' favour.
"""

import asyncio
import fcntl
import hmac
import json
import os
import sqlite3
import struct
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any, TypeVar

from gateway.adapters.sqlite.copies import sync_folder
from gateway.adapters.sqlite.migrations import MigrationRefused
from gateway.adapters.sqlite.rights import check_rights
from gateway.adapters.sqlite.soundness import check_before_opening
from gateway.adapters.sqlite.upgrade import upgrade
from gateway.core.ledger import (
    GENESIS,
    AccountRow,
    Committed,
    Credit,
    Draft,
    Origin,
    Record,
    Reversal,
    Tail,
    Tariff,
    chain,
    note_lines,
    tariff_note,
)
from gateway.core.money import AMOUNT_MICROS_MAX
from gateway.core.purses import PLAIN, Purse, purse_named
from gateway.ports import StoreBusy, StoreDamaged, StoreFailed, StoreLocked

T = TypeVar("T")

_HEAD_SECONDS = 1.0
_ORIGIN_BATCHES = 256  # a worker waits for its last draft: what a keeper was killed over stands among the last few
_ACCEPT = "or, if the loss is understood, accept the books as they are with `gateway audit --accept-head`"

# One statement for all accounts: Python hands its lock over at each, and a loop that has work keeps it for 5 ms. With
# one statement an account, a commit of 64 took 200 to 450 ms beside a busy loop; with this one it takes 6 to 26. The
# accounts are the names of an object, and what is due its values: of pairs, each was parsed twice more (1.7 us an
# account instead of 0.7).
_SPEND = """
UPDATE account SET spent = spent + due.micros
FROM (SELECT CAST(key AS INTEGER) AS id, value AS micros FROM json_each(?)) AS due
WHERE account.id = due.id
"""


class SqliteLedgerStore:
    """Implements `ports.LedgerStore`. All SQL runs in one thread of its own."""

    def __init__(self, path: Path, *, head_key: bytes, older_head_keys: Sequence[bytes] = ()) -> None:
        self._path = path
        self._head = Head(path, head_key, older_head_keys)
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="ledger")
        self._connection: sqlite3.Connection | None = None
        self._lock: int | None = None
        self._hash = GENESIS
        self._seq = 0
        self._doubtful = False
        self._head_due = 0.0
        self._closed = False

    def sign_with(self, keys: Sequence[bytes]) -> None:
        """The head's keys, newest first, looked up at each use: they may become others."""
        self._head.keys = keys

    async def open(self) -> Tail:
        return await self._in_thread(self._open)

    async def sign(self) -> None:
        """Sign the head by the newest key, if an older one has."""
        await self._in_thread(self._sign)

    async def reopen(self) -> None:
        await self._in_thread(self._reopen)

    async def commit(self, draft: Draft) -> Committed:
        return await self._in_thread(lambda: self._commit(draft))

    async def between_commits(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Do a short piece of work with the connection, while no commit is under way. Raises StoreBusy, StoreFailed.

        The work leaves no transaction open. After a failure the handle is dropped: the keeper will take a new one.
        """
        return await self._in_thread(lambda: self._between_commits(work))

    async def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        try:
            await self._in_thread(self._close)
        finally:
            self._thread.shutdown()

    async def _in_thread(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)

    # --- in the thread ------------------------------------------------------------------------------------------------

    def _open(self) -> Tail:
        check_rights(self._path)
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._lock = _lock(self._path.with_name(self._path.name + ".lock"))
        try:
            return self._open_books()
        except BaseException:
            self._let_go()  # a later close must not renew the head of books that were refused: it is the evidence
            raise

    def _open_books(self) -> Tail:
        try:
            check_before_opening(self._path, self._head.path, self._head.check)
            self._connect()
            upgrade(self._sql, self._path, "ledger")
            tail = self._read_tail()
            if not self._seq:
                self._head.write(0, GENESIS)
        except (sqlite3.DatabaseError, struct.error, ValueError) as error:
            if _is_busy(error):
                raise StoreLocked(f"{self._path} is locked by another program") from error
            raise StoreDamaged(f"{self._path}: {error}; run `gateway audit` and restore a backup") from error
        except MigrationRefused as error:
            raise StoreDamaged(f"{self._path}: {error}") from error
        return tail

    def _connect(self) -> None:
        if not self._path.exists():
            os.close(os.open(self._path, os.O_CREAT | os.O_WRONLY, 0o600))
        connection = sqlite3.connect(self._path, timeout=0.1, isolation_level=None, cached_statements=64)
        self._connection = connection
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA foreign_keys = ON")

    @property
    def _sql(self) -> sqlite3.Connection:
        if self._connection is None:
            raise StoreFailed(f"{self._path} is not open")
        return self._connection

    def _reopen(self) -> None:
        self._doubtful = True
        if self._connection is not None:
            self._connection.close()
            self._connection = None
        try:
            self._connect()
        except sqlite3.Error as error:
            raise StoreFailed(f"{self._path}: {error}") from error

    def _read_tail(self) -> Tail:
        last = self._sql.execute(
            "SELECT seq, first, count, started, hash FROM batch ORDER BY seq DESC LIMIT 1"
        ).fetchone()
        tariffs = {
            Tariff(*columns): id
            for id, *columns in self._sql.execute("SELECT id, route, owner, commission_points, price FROM tariff")
        }
        if last is None:
            return Tail(seq=0, first=1, started=0, tariffs=tariffs, unstarted=())
        self._seq, first, count, started, self._hash = last
        unstarted = self._read_unstarted(started)
        return Tail(self._seq, first + count, started, tariffs, unstarted, self._read_origins())

    def _read_unstarted(self, started: int) -> list[Record]:
        """The records numbered above the watermark, oldest first; they stand in the last batch or two."""
        batches = []
        for first, count, payload in self._sql.execute("SELECT first, count, payload FROM batch ORDER BY seq DESC"):
            if first + count - 1 <= started:
                break
            batches.append((first, payload))
        return [
            record
            for first, payload in reversed(batches)
            for number, record in enumerate(Record.unpack_all(payload), first)
            if number > started
        ]

    def _read_origins(self) -> tuple[Origin, ...]:
        """Those of the last batches, oldest first."""
        notes = self._sql.execute("SELECT notes FROM batch ORDER BY seq DESC LIMIT ?", (_ORIGIN_BATCHES,))
        found = [list(Origin.among(lines)) for (lines,) in notes]
        return tuple(origin for batch in reversed(found) for origin in batch)

    def _commit(self, draft: Draft) -> Committed:
        try:
            credited, reversed = self._write_once(draft) if draft.writes else ([], [])
            accounts = {}
            for key in draft.reads:
                row = self._read_account(*key)
                if row is not None:
                    accounts[key] = row
        except sqlite3.OperationalError as error:
            if _is_busy(error):
                raise StoreBusy() from error
            raise StoreFailed(f"{self._path}: {error}") from error
        except sqlite3.Error as error:
            raise StoreFailed(f"{self._path}: {error}") from error
        try:
            self._renew_head(now=draft.quiet or bool(draft.credits or draft.reversals))
        except OSError as error:
            raise StoreFailed(f"{self._head.path}: {error}") from error
        return Committed(credited, accounts, reversed=reversed)

    def _write_once(self, draft: Draft) -> tuple[list[bool | None], list[bool | None]]:
        """Write the draft, unless a first attempt whose outcome was unknown did."""
        if self._doubtful:
            found = self._sql.execute("SELECT hash FROM batch WHERE seq = ?", (draft.seq,)).fetchone()
            self._doubtful = False
            if found is not None:
                self._seq, self._hash = draft.seq, found[0]
                return self._landed(draft)
        self._sql.execute("BEGIN IMMEDIATE")
        try:
            credited, reversed, hash = self._write(draft)
            self._sql.execute("COMMIT")
        except BaseException:
            if self._sql.in_transaction:
                self._sql.execute("ROLLBACK")
            raise
        self._seq, self._hash = draft.seq, hash
        return credited, reversed

    def _landed(self, draft: Draft) -> tuple[list[bool | None], list[bool | None]]:
        """Which of a draft's credits and reversals its first attempt wrote; a ref that is named twice, once."""
        credits = [credit.ref for credit in draft.credits]
        reversals = [reversal.ref for reversal, _ in draft.reversals]
        return self._written(draft.seq, "credit", credits), self._written(draft.seq, "reversal", reversals)

    def _written(self, seq: int, table: str, refs: Sequence[str]) -> list[bool | None]:
        query = f"SELECT 1 FROM {table} WHERE ref = ? AND batch = ?"  # noqa: S608
        return [
            ref not in refs[:index] and self._sql.execute(query, (ref, seq)).fetchone() is not None
            for index, ref in enumerate(refs)
        ]

    def _write(self, draft: Draft) -> tuple[list[bool | None], list[bool | None], bytes]:
        notes = [tariff_note(id, tariff) for id, tariff in draft.tariffs]
        notes += [origin.note() for origin in draft.origins]
        notes += [refund.note(draft.at_ms) for refund in draft.refunds]
        for id, tariff in draft.tariffs:
            self._sql.execute(
                "INSERT INTO tariff VALUES (?, ?, ?, ?, ?)",
                (id, tariff.route, tariff.owner, tariff.commission_points, tariff.price),
            )
        credited = [self._write_credit(draft, credit, notes) for credit in draft.credits]
        spent = ",".join([f'"{account}":{micros}' for account, micros in draft.spent.items() if micros])
        if spent:
            self._sql.execute(_SPEND, (f"{{{spent}}}",))
        # After the costs: what a correction among them gives back may be what is taken.
        reversed = [self._write_reversal(draft, reversal, taken, notes) for reversal, taken in draft.reversals]
        lines = note_lines(notes)
        hash = chain(self._hash, draft, lines)
        self._sql.execute(
            "INSERT INTO batch VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            (draft.seq, draft.at_ms, draft.first, draft.count, draft.started, bytes(draft.payload), lines, hash),
        )
        return credited, reversed, hash

    def _write_credit(self, draft: Draft, credit: Credit, notes: list[dict[str, object]]) -> bool | None:
        """Add a credit if its ref is new: the money key decides, in the same transaction as the money."""
        if self._is_known(credit.ref):
            return False  # before the account: a credit that is not made must not make one
        account, credited, debt = self._account_of(credit.key)
        micros, repaid = credit.amount.micros, min(debt, credit.amount.micros)
        if credited + micros - repaid > AMOUNT_MICROS_MAX:
            return None
        self._sql.execute(
            "INSERT INTO credit VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            (credit.ref, account, micros, credit.kind, credit.reason, draft.at_ms, draft.seq, repaid),
        )
        self._move(account, credited=micros - repaid, debt=-repaid)
        notes.append(credit.note(account, draft.at_ms, repaid))
        return True

    def _write_reversal(
        self, draft: Draft, reversal: Reversal, taken: int, notes: list[dict[str, object]]
    ) -> bool | None:
        """Take money back if the ref is new. A reversal may come before the credit that it reverses."""
        if self._is_known(reversal.ref):
            return False
        account, _, debt = self._account_of(reversal.key)
        micros, moved = reversal.amount.micros, reversal.moved
        if debt + micros - taken > AMOUNT_MICROS_MAX or (moved is not None and not self._has_room_for(moved)):
            return None
        self._sql.execute(
            "INSERT INTO reversal VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            (reversal.ref, account, micros, taken, reversal.kind, reversal.reason, draft.at_ms, draft.seq),
        )
        self._move(account, credited=-taken, debt=micros - taken)
        notes.append(reversal.note(account, draft.at_ms, taken))
        if moved is not None:
            self._write_credit(draft, moved, notes)
        return True

    def _has_room_for(self, credit: Credit) -> bool:
        if self._is_known(credit.ref):
            return False
        _, credited, debt = self._account_of(credit.key)
        return credited + max(0, credit.amount.micros - debt) <= AMOUNT_MICROS_MAX

    def _is_known(self, ref: str) -> bool:
        """Whether there is an entry of this money key, of whichever kind."""
        query = "SELECT 1 FROM credit WHERE ref = ?1 UNION ALL SELECT 1 FROM reversal WHERE ref = ?1"
        return self._sql.execute(query, (ref,)).fetchone() is not None

    def _account_of(self, key: tuple[str, str]) -> tuple[int, int, int]:
        """The row of a purse and a unit, made if there is none: its id, credited and debt."""
        holder, purse = purse_named(key[0])
        columns = (holder, key[1], purse.priority, purse.expires_ms)
        self._sql.execute(
            "INSERT INTO account (holder, unit, priority, expires) VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING", columns
        )
        id, credited, debt = self._sql.execute(
            "SELECT id, credited, debt FROM account WHERE holder = ? AND unit = ? AND priority = ? AND expires = ?",
            columns,
        ).fetchone()
        return id, credited, debt

    def _move(self, account: int, *, credited: int, debt: int) -> None:
        self._sql.execute(
            "UPDATE account SET credited = credited + ?, debt = debt + ? WHERE id = ?", (credited, debt, account)
        )

    def _between_commits(self, work: Callable[[sqlite3.Connection], T]) -> T:
        try:
            return work(self._sql)
        except sqlite3.IntegrityError:
            raise
        except sqlite3.Error as error:
            if _is_busy(error):
                raise StoreBusy() from error
            if self._connection is not None:
                self._connection.close()
                self._connection = None
            raise StoreFailed(f"{self._path}: {error}") from error

    def _read_account(self, name: str, unit: str) -> AccountRow | None:
        holder, wanted = purse_named(name)
        rows = self._sql.execute(
            "SELECT id, credited - spent - leased - debt, priority, expires FROM account WHERE holder = ? AND unit = ?",
            (holder, unit),
        ).fetchall()
        found = {Purse(priority, expires): (id, available) for id, available, priority, expires in rows}
        row = found.pop(wanted, (0, 0))
        others = [purse.named(holder) for purse, (_, available) in found.items() if available > 0]
        if wanted != PLAIN or not others:
            return AccountRow(*row) if row[0] else None
        return AccountRow(*row, tuple(others))

    def _renew_head(self, *, now: bool) -> None:
        if self._seq and (now or time.monotonic() >= self._head_due):
            self._head.write(self._seq, self._hash)
            self._head_due = time.monotonic() + _HEAD_SECONDS

    def _sign(self) -> None:
        if self._connection is None or len(self._head.keys) == 1 or self._head.is_signed(self._head.keys[:1]):
            return
        try:
            self._head.write(self._seq, self._hash)
        except OSError as error:
            raise StoreFailed(f"{self._head.path}: {error}") from error

    def _close(self) -> None:
        try:
            if self._connection is not None:
                self._renew_head(now=True)
        finally:
            self._let_go()

    def _let_go(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None


def read_available(path: Path, holder: str, unit: str, *, now_ms: int) -> int:
    """What a holder can spend as committed, in micros; 0 for one that nobody paid into. Reads only, needs no lock."""
    with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=5)) as connection:
        found = connection.execute(
            "SELECT SUM(credited - spent - leased - debt) FROM account"
            " WHERE holder = ? AND unit = ? AND (expires = 0 OR expires > ?)",
            (holder, unit, now_ms),
        ).fetchone()
    return int(found[0] or 0)


def accept_head(path: Path, key: bytes) -> int:
    """Sign the books as they end now, after a loss that was understood; the number of their last batch.

    Raises StoreLocked while a gateway keeps them, and StoreForbidden.
    """
    lock = lock_books(path)
    try:
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=rw", uri=True, timeout=5)) as connection:
            found = connection.execute("SELECT seq, hash FROM batch ORDER BY seq DESC LIMIT 1").fetchone()
        seq, hash = found or (0, GENESIS)
        Head(path, key).write(seq, hash)
    finally:
        os.close(lock)
    return int(seq)


def lock_books(path: Path) -> int:
    """Keep every gateway away from these books until the handle is closed. Raises StoreForbidden, StoreLocked."""
    check_rights(path)
    return _lock(path.with_name(path.name + ".lock"))


class Head:
    """The chain's newest hash, kept outside the database under a key of its own."""

    def __init__(self, path: Path, key: bytes, older_keys: Sequence[bytes] = ()) -> None:
        self.path = path.with_name(path.name + ".head")
        self.keys: Sequence[bytes] = (key, *older_keys)

    def write(self, seq: int, hash: bytes) -> None:
        """Replace the head, durably: a reader finds the old one or the new one."""
        text = json.dumps({"seq": seq, "hash": hash.hex(), "mac": _mac(self.keys[0], seq, hash.hex())}) + "\n"
        beside = self.path.with_name(self.path.name + ".new")
        handle = os.open(beside, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600)
        try:
            os.write(handle, text.encode())
            os.fsync(handle)
        finally:
            os.close(handle)
        beside.replace(self.path)
        sync_folder(self.path.parent)

    def is_signed(self, keys: Sequence[bytes]) -> bool:
        """Whether there is a head that one of these keys signed."""
        try:
            head = json.loads(self.path.read_text())
            seq, hash, mac = int(head["seq"]), str(head["hash"]), str(head["mac"])
        except (OSError, ValueError, KeyError, TypeError):
            return False
        return any(hmac.compare_digest(mac.encode(), _mac(key, seq, hash).encode()) for key in keys)

    def check(self, connection: sqlite3.Connection) -> None:
        """Raises StoreDamaged if the books end before the head, or differ from it."""
        try:
            head: dict[str, Any] = json.loads(self.path.read_text())
            seq, hash, mac = int(head["seq"]), str(head["hash"]), str(head["mac"])
        except FileNotFoundError:
            if connection.execute("SELECT 1 FROM batch LIMIT 1").fetchone():
                raise StoreDamaged(
                    f"{self.path} is missing: nothing proves that the books are whole; {_ACCEPT}"
                ) from None
            return
        except (ValueError, KeyError, TypeError):
            raise StoreDamaged(f"{self.path} is not a head that the gateway wrote; {_ACCEPT}") from None
        if not any(hmac.compare_digest(mac.encode(), _mac(key, seq, hash).encode()) for key in self.keys):
            raise StoreDamaged(
                f"{self.path} is not signed by this gateway's key: it was changed, or secrets/sealing_key is another"
                f" one. Put back what belongs together; {_ACCEPT}"
            )
        if seq == 0:
            return
        found = connection.execute("SELECT hash FROM batch WHERE seq = ?", (seq,)).fetchone()
        if found is None or found[0].hex() != hash:
            raise StoreDamaged(
                f"the books have no batch {seq} with the hash that {self.path.name} names: rows were dropped or an old"
                f" copy was restored. Put the newest copy back; {_ACCEPT}"
            )


def _mac(key: bytes, seq: int, hash: str) -> str:
    return hmac.digest(key, f"{seq} {hash}".encode(), "sha256").hex()


def _is_busy(error: Exception) -> bool:
    return getattr(error, "sqlite_errorcode", 0) & 0xFF in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)


def _lock(path: Path) -> int:
    """Take the lock file, or raise StoreLocked. The kernel frees it when the process ends, however it ends."""
    handle = os.open(path, os.O_CREAT | os.O_RDWR, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(handle)
        raise StoreLocked(f"another gateway keeps these books ({path} is locked)") from None
    return handle
