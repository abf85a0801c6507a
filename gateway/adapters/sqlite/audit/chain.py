"""The chain: what it proves is that every batch follows from the one before it, and that what it says can be.

Numbers run on without a gap, hashes hold from the first batch, records are of a known shape, of a tariff that was noted
and of an account that was credited, and no account was overspent at any commit. What the chain says of accounts and
tariffs is kept for `books`, which compares the tables with it.
"""

import hashlib
from collections.abc import Callable

from gateway.adapters.sqlite.audit.credits import Credits
from gateway.adapters.sqlite.audit.database import Database
from gateway.adapters.sqlite.audit.layout import (
    NUMBERS,
    RECORD,
    VOID,
    Row,
    read_note,
    records_of,
    wrong_record,
)
from gateway.adapters.sqlite.audit.report import Findings, short
from gateway.adapters.sqlite.audit.requests import Requests
from gateway.adapters.sqlite.audit.since import Account, Start
from gateway.adapters.sqlite.audit.transfers import Transfers

_PROGRESS_EVERY = 256


class Chain:
    """Walks the batches once, from a start on, and adds up what they say."""

    def __init__(
        self, database: Database, requests: Requests, transfers: Transfers, start: Start, findings: Findings
    ) -> None:
        self.accounts = start.accounts
        self.tariffs = start.tariffs
        self.batches = self.records = self.voided = self.voided_micros = 0
        self._database = database
        self._requests = requests
        self._transfers = transfers
        self._findings = findings
        self._begin = self._seq = start.seq
        self._next = start.next
        self._started = start.started
        self._hashes: tuple[bytes, ...] = (start.hash,)  # what may stand before the next batch; empty: unknown

    def walk(self, progress: Callable[[int, int], None] | None) -> int:
        """Batch by batch, with the credits that each must have brought; how many credits there are."""
        rows = self._database.rows("credit", order="batch", after=self._begin)
        credits = Credits(self._database.sql, self._findings, rows)
        total = self._database.count("batch", after=self._begin)
        for batch in self._database.rows("batch", order="seq", after=self._begin):
            seq = batch["seq"]
            self._check_numbers(batch)
            self._check_hash(batch)
            touched = self._read_notes(batch, credits)
            touched |= self._read_records(batch)
            self._transfers.take(batch)
            self._check_boundary(seq, touched)
            self._seq, self._next, self._started = seq, batch["first"] + batch["count"], batch["started"]
            self.batches += 1
            if progress and not self.batches % _PROGRESS_EVERY:
                progress(self.batches, max(total, self.batches))
        credits.finish()
        if "batch" in self._database.unread:
            self._bad(self._seq + 1, None, "and what follows cannot be read")
        self.last = self._seq
        if progress:
            progress(self.batches, max(total, self.batches))
        return credits.count

    def _check_numbers(self, batch: Row) -> None:
        seq, first, count, started = (batch[name] for name in ("seq", "first", "count", "started"))
        if seq != self._seq + 1:
            self._bad(seq, "seq", f"follows {self._seq}: {seq - self._seq - 1} missing between them")
            self._hashes = ()
        elif first != self._next:
            self._bad(seq, "first", f"is {first} where {self._next} is the next record")
        if len(batch["payload"]) % RECORD.size:
            self._bad(seq, "payload", f"has {len(batch['payload'])} bytes, which are no whole records")
        if count != len(batch["payload"]) // RECORD.size:
            self._bad(seq, "count", f"is {count} but its payload has {len(batch['payload']) // RECORD.size} records")
        if started < self._started:
            self._bad(seq, "started", f"is {started} after it was {self._started}")
        if started >= first + count:
            self._bad(seq, "started", f"is {started} but the last record is {first + count - 1}")
        if batch["at"] <= 0:
            self._bad(seq, "at", f"is {batch['at']}, which is no time")

    def _check_hash(self, batch: Row) -> None:
        """A batch whose hash alone was changed must not make the next one look wrong, so both readings may follow."""
        payload = batch["payload"]
        numbers = NUMBERS.pack(*(batch[name] for name in ("seq", "at", "first", "count", "started")), len(payload))
        contents = numbers + payload + batch["notes"].encode("utf-8", "surrogateescape")
        computed = [hashlib.sha256(before + contents).digest() for before in self._hashes]
        if computed and batch["hash"] not in computed:
            self._bad(batch["seq"], "hash", "is not that of its contents and the hash before it: it was changed")
        self._hashes = tuple(dict.fromkeys((batch["hash"], *computed[:1])))

    def _read_notes(self, batch: Row, credits: Credits) -> set[int]:
        """Take in what a batch says of tariffs and credits; the accounts that it credits."""
        noted = []
        lines = batch["notes"].split("\n")
        if lines.pop():
            self._bad(batch["seq"], "notes", "do not end with a line's end")
        for number, line in enumerate(lines, 1):
            note = read_note(line)
            if note is None:
                self._bad(batch["seq"], "notes", f"hold a line {number} that is no note")
            elif (kind := note.pop("note")) == "tariff":
                self._take_tariff(batch["seq"], note)
            elif kind == "origin":
                self._check_origin(batch, note)
            else:
                noted.append(note)
                self._take_credit(batch, note)
        credits.compare(batch["seq"], noted)
        return {note["account"] for note in noted}

    def _take_tariff(self, seq: int, note: Row) -> None:
        if note["id"] in self.tariffs:
            self._findings.add("tariff", note["id"], None, f"is noted again by batch {seq}")
        self.tariffs.setdefault(note["id"], note)

    def _check_origin(self, batch: Row, note: Row) -> None:
        """The records that a worker process brought are some of this batch."""
        if not batch["first"] <= note["first"] <= note["first"] + note["count"] <= batch["first"] + batch["count"]:
            self._bad(batch["seq"], "notes", f"name records {note['first']} and on, which it does not hold")

    def _take_credit(self, batch: Row, note: Row) -> None:
        id, ref = note["account"], note["ref"]
        if note["micros"] <= 0:
            self._findings.add("credit", ref, "micros", f"is {note['micros']} in the note of batch {batch['seq']}")
        if note["at"] != batch["at"]:
            self._bad(batch["seq"], "notes", f"say that credit {short(ref)} came at {note['at']}, not at {batch['at']}")
        account = self.accounts.setdefault(id, Account(note["holder"], note["unit"]))
        if (account.holder, account.unit) != (note["holder"], note["unit"]):
            self._findings.add("account", id, None, f"belongs to somebody else in the note of batch {batch['seq']}")
        account.credited += note["micros"]

    def _read_records(self, batch: Row) -> set[int]:
        """Add up a batch's records; the accounts that they move."""
        touched = set()
        for number, (kind, padding, tariff, id, token, micros, at_ms, request) in records_of(batch):
            self.records += 1
            wrong = wrong_record(kind, padding, token, micros)
            if wrong:
                self._bad(batch["seq"], "payload", f"holds a record {number} that {wrong}")
            if tariff not in self.tariffs:
                self._bad(batch["seq"], "payload", f"holds a record {number} of tariff {tariff}, which nobody noted")
            account = self.accounts.get(id)
            if account is None:
                self._bad(batch["seq"], "payload", f"holds a record {number} of account {id}, which nobody credited")
            else:
                account.spent += micros
                touched.add(id)
            if kind == VOID:
                self.voided += 1
                self.voided_micros -= micros
            self._requests.take(batch["seq"], number, kind, micros, (at_ms, request, id), self._started)
        return touched

    def _check_boundary(self, seq: int, touched: set[int]) -> None:
        """No account may ever have been overspent: not now, and not between any two commits."""
        for id in touched:
            account = self.accounts[id]
            if not 0 <= account.spent <= account.credited and not account.overspent:
                account.overspent = True
                what = f"has spent {account.spent} of {account.credited} after batch {seq}"
                self._findings.add("account", id, None, what)

    def _bad(self, seq: int, column: str | None, what: str) -> None:
        self._findings.add("batch", seq, column, what)
