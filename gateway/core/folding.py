"""Folding: how a run of batches is read, and what is written of it, whatever the books are kept in.

A *run* is as many consecutive batches of one chain as are of one hour. They are taken strictly in the order of their
numbers (clocks jump), each batch's hash is checked on the way, so that nothing is ever derived from a chain that does
not hold, and added up in memory. Then the run is written in *parts*, at most a hundred accounts each, so that no commit
waits long. Every part goes on with a hash over all that was ever folded, so that what an anchor vouches for cannot be
changed.

Where a run ends is written with its first part, and how far it is with each: so a run that was cut off is read again to
the same end, and goes on behind the last account. Everything here is pure; the stores read and write.
"""

import hashlib
import json
import struct
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from gateway.core.ledger import Draft, chain
from gateway.core.transfers import HOUR_MS, CarryKey, Tally, Terms, Transfer, Usage, hour_of, transfers

RECORDS_A_STEP = 2000
BATCHES_A_STEP = 32
ACCOUNTS_A_STEP = 100
ROWS_A_STEP = 1000  # an account with very many tariffs
SUMS_MAX = 50_000  # a run is ended early rather than let it fill the memory

UNREADABLE = (ValueError, KeyError, TypeError, IndexError, struct.error)
"""What may come of a batch that is none."""


class Broken(Exception):
    """The batches do not follow from one another; the message says where."""


@dataclass(frozen=True, slots=True)
class Batch:
    """A row of the books, as it is read."""

    seq: int
    at: int
    first: int
    count: int
    started: int
    payload: bytes
    notes: str
    hash: bytes


@dataclass(frozen=True, slots=True)
class Part:
    """What one transaction writes of a run; `account`, `written`, `hash` and `done` are as the run stands after it."""

    accounts: int
    moved: Sequence[Transfer]
    used: Sequence[Usage]
    carries: Sequence[tuple[str, str, int, int]]
    """Those that changed."""
    account: int
    written: int
    hash: bytes
    done: bool


@dataclass(slots=True)
class Folded:
    """What was done."""

    batches: int = 0
    records: int = 0
    transfers: int = 0


@dataclass(slots=True)
class Run:
    """A run of batches: what was read of it, and how far it is written."""

    first: int
    chain: bytes
    next: int
    hash: bytes
    name: tuple[int, ...] = ()
    """What tells it from others of the same numbers, if there are several chains."""
    end: int | None = None
    """Where it must end, if its first rows are written."""
    hour: int | None = None
    last: int = 0
    started: int = 0
    tariffs: int = 0
    tally: Tally = field(default_factory=Tally)
    read: bool = False
    account: int = 0
    written: int = 0
    begun: bool = False
    waiting: list[int] = field(default_factory=list)

    @property
    def following(self) -> int:
        """The batch that comes next."""
        return max(self.first, self.last + 1)

    # --- reading ------------------------------------------------------------------------------------------------------

    def take(self, batches: Sequence[Batch], done: Folded, *, closed_before_ms: int) -> bool:
        """Add the next few batches. False: there are no more, and the hour is not over by then.

        Raises Broken, or one of UNREADABLE.
        """
        for batch in batches:
            if not self._take(batch, done):
                break
        few = len(batches) < BATCHES_A_STEP and sum(batch.count for batch in batches) < RECORDS_A_STEP
        if self.end is not None:
            self.read = self.last == self.end
            if not batches and not self.read:
                raise Broken(f"batch {self.following} is missing")
        elif not self.read and few:
            # That was the end. Not to be asked again at once: under load there is always one more.
            if self.hour is None or self.hour + HOUR_MS > closed_before_ms:
                return False
            self.read = True
        if self.read:
            self.waiting = [account for account in self.tally.accounts() if account > self.account]
        return True

    def _take(self, batch: Batch, done: Folded) -> bool:
        """Add a batch to its run; False if it is the first of another one."""
        hour = hour_of(batch.at)
        if self.hour is not None and self.end is None and (hour != self.hour or self.tally.sums >= SUMS_MAX):
            self.read = True
            return False
        if batch.seq != self.following or batch.first != self.next:
            raise Broken(f"batch {self.following} is missing, or does not follow the one before it")
        draft = Draft(
            batch.seq, batch.first, batch.at, batch.started, count=batch.count, payload=bytearray(batch.payload)
        )
        self.chain = chain(self.chain, draft, batch.notes)
        if self.chain != batch.hash:
            raise Broken(f"batch {batch.seq} was changed: its hash is not that of its contents")
        self.tally.add(batch.payload, batch.notes)
        self.hour = hour if self.hour is None else self.hour
        self.last, self.next, self.started = batch.seq, batch.first + batch.count, batch.started
        if not self.begun:
            done.batches += 1
            done.records += batch.count
        return True

    # --- writing ------------------------------------------------------------------------------------------------------

    def next_accounts(self) -> list[int]:
        """Whose rows the next part has."""
        taken, rows = 0, 0
        for account in self.waiting[:ACCOUNTS_A_STEP]:
            rows += len(self.tally.usage.get(account, ())) + len(self.tally.money.get(account, ()))
            if taken and rows > ROWS_A_STEP:
                break
            taken += 1
        return self.waiting[:taken]

    def tariffs_of(self, accounts: Iterable[int]) -> set[int]:
        """The tariffs that they used."""
        return {tariff for account in accounts for tariff in self.tally.usage.get(account, ())}

    @property
    def tariffs_noted(self) -> int:
        """The highest number of a tariff that is noted up to the end of the run."""
        return max(self.tariffs, self.tally.tariffs)

    def part(
        self,
        accounts: Sequence[int],
        units: Mapping[int, str],
        terms: Mapping[int, Terms],
        before: Mapping[CarryKey, int],
    ) -> Part:
        """What these accounts did, as rows. `before` is what was rounded off until now."""
        carries = dict(before)
        moved: list[Transfer] = []
        used: list[Usage] = []
        hash = self.hash if self.begun else self._header_hash()
        for account in accounts:
            usage = self.tally.used_by(account)
            money = self.tally.money.get(account, ())
            holder = self.tally.holders.get(account, ("", ""))[0]
            entries = list(transfers(account, units[account], money, usage, terms, carries, holder))
            if account in self.tally.holders:
                hash = _hashed(hash, [account, *self.tally.holders[account]])
            hash = _hash_rows(hash, usage, entries)
            moved += entries
            used += usage
        changed = [(*key, carry) for key, carry in carries.items() if before.get(key) != carry]
        end = accounts[-1] if accounts else self.account
        done = len(accounts) == len(self.waiting)
        return Part(len(accounts), moved, used, changed, end, self.written + len(moved), hash, done)

    def wrote(self, part: Part) -> None:
        """A part of it is in the books."""
        self.hash, self.begun = part.hash, True
        self.account, self.written = part.account, part.written
        self.waiting = self.waiting[part.accounts :]

    def _header_hash(self) -> bytes:
        numbers = [self.last, self.first, self.hour, self.next, self.started, self.tariffs_noted]
        return _hashed(self.hash, [*self.name, *numbers, self.chain.hex()])


def transfer_row(entry: Transfer) -> tuple[str, str, str, str, int, str]:
    """Its columns."""
    return entry.kind, entry.payer, entry.payee, entry.unit, entry.micros, entry.cause


def usage_row(usage: Usage) -> tuple[int, int, int, int]:
    """Its columns, but for the hour."""
    return usage.account, usage.tariff, usage.requests, usage.micros


def _hash_rows(hash: bytes, used: Sequence[Usage], moved: Sequence[Transfer]) -> bytes:
    """The hash goes on over an account's rows."""
    for usage in used:
        hash = _hashed(hash, usage_row(usage))
    for entry in moved:
        hash = _hashed(hash, transfer_row(entry))
    return hash


def _hashed(before: bytes, row: Sequence[object]) -> bytes:
    return hashlib.sha256(before + json.dumps(row, separators=(",", ":")).encode()).digest()
