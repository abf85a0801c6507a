"""The chain: what it proves is that every batch follows from the one before it, and that what it says can be.

Numbers run on without a gap, hashes hold from the first batch, records are of a known shape, of a tariff that was noted
and of an account that was credited, and no account was overspent at any commit. What the chain says of accounts and
tariffs is kept for `books`, which compares the tables with it.
"""

import hashlib
from collections.abc import Callable

from gateway.adapters.sqlite.audit.caps import miscounted
from gateway.adapters.sqlite.audit.credits import Credits
from gateway.adapters.sqlite.audit.database import Database
from gateway.adapters.sqlite.audit.layout import (
    CORRECTION,
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

    def walk(self, progress: Callable[[int, int], None] | None) -> tuple[int, int]:
        """Batch by batch, with what each must have brought; how many credits and reversals there are."""
        credits = Credits(self._database, "credit", self._findings, after=self._begin)
        reversals = Credits(self._database, "reversal", self._findings, after=self._begin)
        total = self._database.count("batch", after=self._begin)
        for batch in self._database.rows("batch", order="seq", after=self._begin):
            seq = batch["seq"]
            self._check_numbers(batch)
            self._check_hash(batch)
            touched = self._read_notes(batch, credits, reversals)
            touched |= self._read_records(batch)
            self._transfers.take(batch)
            self._check_boundary(seq, touched)
            self._seq, self._next, self._started = seq, batch["first"] + batch["count"], batch["started"]
            self.batches += 1
            if progress and not self.batches % _PROGRESS_EVERY:
                progress(self.batches, max(total, self.batches))
        credits.finish()
        reversals.finish()
        if "batch" in self._database.unread:
            self._bad(self._seq + 1, None, "and what follows cannot be read")
        self.last = self._seq
        if progress:
            progress(self.batches, max(total, self.batches))
        return credits.count, reversals.count

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

    def _read_notes(self, batch: Row, credits: Credits, reversals: Credits) -> set[int]:
        """Take in what a batch says of tariffs, credits and reversals; the accounts that it moves."""
        noted: dict[str, list[Row]] = {"credit": [], "reversal": []}
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
            elif kind == "refund":
                self._check_refund(batch, note)
            else:
                noted[kind].append(note)
                self._take_entry(batch, kind, note)
        credits.compare(batch["seq"], noted["credit"])
        reversals.compare(batch["seq"], noted["reversal"])
        return {note["account"] for notes in noted.values() for note in notes}

    def _take_tariff(self, seq: int, note: Row) -> None:
        if note["id"] in self.tariffs:
            self._findings.add("tariff", note["id"], None, f"is noted again by batch {seq}")
        self.tariffs.setdefault(note["id"], note)

    def _check_origin(self, batch: Row, note: Row) -> None:
        """The records that a worker process brought are some of this batch."""
        if not batch["first"] <= note["first"] <= note["first"] + note["count"] <= batch["first"] + batch["count"]:
            self._bad(batch["seq"], "notes", f"name records {note['first']} and on, which it does not hold")

    def _check_refund(self, batch: Row, note: Row) -> None:
        """What an operator gave back stands beside the reason."""
        wanted = (CORRECTION, note["account"], -note["micros"], note["request"])
        for _, (kind, _, _, id, _, micros, at_ms, number) in records_of(batch):
            if (kind, id, micros, f"req_{at_ms:012x}{number:016x}") == wanted and note["at"] == batch["at"]:
                return
        self._bad(batch["seq"], "notes", f"tell of a refund of {short(note['request'])} that is not among its records")

    def _take_entry(self, batch: Row, kind: str, note: Row) -> None:
        """A credit or a reversal."""
        id, ref, micros = note["account"], note["ref"], note["micros"]
        if micros <= 0:
            self._findings.add(kind, ref, "micros", f"is {micros} in the note of batch {batch['seq']}")
        if note["at"] != batch["at"]:
            self._bad(batch["seq"], "notes", f"say that {kind} {short(ref)} came at {note['at']}, not at {batch['at']}")
        whose = (note["holder"], note["unit"], note["priority"], note["expires"])
        account = self.accounts.setdefault(id, Account(*whose))
        if (account.holder, account.unit, account.priority, account.expires) != whose:
            self._findings.add("account", id, None, f"belongs to somebody else in the note of batch {batch['seq']}")
        if kind == "credit":
            self._pay(account, note, batch["seq"])
        else:
            self._take_back(account, note, batch["seq"])

    def _pay(self, account: Account, note: Row, seq: int) -> None:
        """A credit pays the debt first, as far as it goes."""
        owed = min(account.debt, max(0, note["micros"]))
        if note["repaid"] != owed:
            what = f"is {note['repaid']} in the note of batch {seq}, and {owed} was owed"
            self._findings.add("credit", note["ref"], "repaid", what)
        account.credited += note["micros"] - note["repaid"]
        account.debt -= note["repaid"]

    def _take_back(self, account: Account, note: Row, seq: int) -> None:
        if not 0 <= note["taken"] <= note["micros"]:
            what = f"is {note['taken']} of {note['micros']} in the note of batch {seq}"
            self._findings.add("reversal", note["ref"], "taken", what)
        account.credited -= note["taken"]
        account.debt += note["micros"] - note["taken"]

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
            if kind == VOID and self._pays(tariff):
                self.voided += 1
                self.voided_micros -= micros
            self._requests.take(batch["seq"], number, kind, micros, (at_ms, request, id), self._started)
        for what in miscounted(batch, self.tariffs):
            self._bad(batch["seq"], "payload", what)
        return touched

    def _pays(self, tariff: int) -> bool:
        """Whether its records are money, and not what a cap counts of it."""
        return tariff not in self.tariffs or bool(self.tariffs[tariff]["route"])

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
