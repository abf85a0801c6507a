"""Books that are written batch by batch, without a keeper: whatever history a test wants."""

import sqlite3
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from gateway.adapters.sqlite import migrations
from gateway.adapters.sqlite.audit import Since, audit
from gateway.adapters.sqlite.bookkeeping import open_books
from gateway.adapters.sqlite.fold import Fold
from gateway.adapters.sqlite.ledger import Head
from gateway.adapters.sqlite.prune import Prune
from gateway.adapters.sqlite.statement import SqliteStatementSource
from gateway.core.ids import RequestId
from gateway.core.ledger import GENESIS, Credit, Draft, Kind, Reversal, Tariff, chain, note_lines, tariff_note
from gateway.core.money import Money
from gateway.ports import StatementSource

KEY = b"k" * 32
HOUR = 3_600_000
NOON = 497_222 * HOUR


class Batches:
    """Writes drafts as the store does, and knows which accounts and tariffs it has made."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.sql: Any = sqlite3.connect(path, isolation_level=None)
        self.sql.execute("PRAGMA journal_mode = WAL")
        self.sql.execute("PRAGMA synchronous = OFF")
        migrations.apply(self.sql, "ledger")
        self._begin()

    def _begin(self) -> None:
        self._accounts: dict[tuple[str, str], int] = {}
        self._tariffs: dict[Tariff, int] = {}
        self.credited: Counter[int] = Counter()
        self._debts: Counter[int] = Counter()
        self._hash = GENESIS
        self.draft = Draft(seq=1, first=1)
        self._requests = 0
        self._entries: list[tuple[Credit | Reversal, int]] = []  # of the draft, with what repaid or was taken

    def account(self, holder: str = "ann", unit: str = "usd") -> int:
        return self._accounts.setdefault((holder, unit), len(self._accounts) + 1)

    def tariff(self, tariff: Tariff) -> int:
        if tariff not in self._tariffs:
            self._tariffs[tariff] = len(self._tariffs) + 1
            self.draft.tariffs.append((self._tariffs[tariff], tariff))
        return self._tariffs[tariff]

    def credit(
        self, ref: str, micros: int, holder: str = "ann", unit: str = "usd", *, kind: str = "payment", reason: str = ""
    ) -> None:
        self.draft.credits.append(Credit(ref, holder, Money(micros, unit), kind, reason))
        id = self.account(holder, unit)
        repaid = min(micros, self._debts[id])
        self._debts[id] -= repaid
        self.credited[id] += micros - repaid
        self._entries.append((self.draft.credits[-1], repaid))

    def reverse(
        self, ref: str, micros: int, taken: int, holder: str = "ann", unit: str = "usd", *, reason: str = ""
    ) -> None:
        reversal = Reversal(ref, holder, Money(micros, unit), "refund", reason)
        self.draft.reversals.append((reversal, taken))
        id = self.account(holder, unit)
        self._debts[id] += micros - taken
        self.credited[id] -= taken
        self._entries.append((reversal, taken))

    def record(
        self,
        kind: Kind,
        micros: int,
        tariff: Tariff,
        holder: str = "ann",
        unit: str = "usd",
        request: int | None = None,
    ) -> int:
        """One record; the request's number, a new one if none is given."""
        if request is None:
            self._requests += 1
            request = self._requests
        id = RequestId(NOON + request, request)
        self.draft.write(kind, self.tariff(tariff), self.account(holder, unit), 7, micros, id)
        return request

    def commit(self, at_ms: int = NOON, *, started: int | None = None) -> int:
        """Write the batch, and the head beside it."""
        draft = self.draft
        draft.at_ms = at_ms
        draft.started = draft.first + draft.count - 1 if started is None else started
        notes = [tariff_note(id, tariff) for id, tariff in draft.tariffs]
        self.sql.execute("BEGIN IMMEDIATE")
        for id, tariff in draft.tariffs:
            row = (id, tariff.route, tariff.owner, tariff.commission_points, tariff.price)
            self.sql.execute("INSERT INTO tariff VALUES (?, ?, ?, ?, ?)", row)
        for entry, part in self._entries:
            id, micros = self.account(*entry.key), entry.amount.micros
            self.sql.execute(
                "INSERT INTO account (id, holder, unit) VALUES (?, ?, ?) ON CONFLICT DO NOTHING", (id, *entry.key)
            )
            if isinstance(entry, Credit):
                given = (entry.ref, id, micros, entry.kind, entry.reason, at_ms, draft.seq, part)
                self.sql.execute("INSERT INTO credit VALUES (?, ?, ?, ?, ?, ?, ?, ?)", given)
            else:
                taken = (entry.ref, id, micros, part, entry.kind, entry.reason, at_ms, draft.seq)
                self.sql.execute("INSERT INTO reversal VALUES (?, ?, ?, ?, ?, ?, ?, ?)", taken)
            notes.append(entry.note(id, at_ms, part))
        self._entries = []
        moved = dict.fromkeys(self.credited, 0) | draft.spent
        self.sql.executemany(
            "UPDATE account SET spent = spent + ?, credited = ?, debt = ? WHERE id = ?",
            [(micros, self.credited[id], self._debts[id], id) for id, micros in moved.items()],
        )
        lines = note_lines(notes)
        self._hash = chain(self._hash, draft, lines)
        self.sql.execute(
            "INSERT INTO batch VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            (draft.seq, at_ms, draft.first, draft.count, draft.started, bytes(draft.payload), lines, self._hash),
        )
        self.sql.execute("COMMIT")
        self.draft = Draft(seq=draft.seq + 1, first=draft.first + draft.count)
        return draft.seq

    # --- what is done with them ---------------------------------------------------------------------------------------

    def folding(self) -> Callable[[int], bool]:
        """A fold of its own, one step a call."""
        fold = Fold()
        return lambda before_ms: fold.step(self.sql, closed_before_ms=before_ms)

    def pruning(self, keys: Sequence[bytes] = (KEY,)) -> Callable[[int], bool]:
        """Pruning, one step a call."""
        prune = Prune(self.path, keys)
        return lambda before_ms: prune.step(self.sql, before_ms=before_ms)

    def prunable(self, before_ms: int) -> Any:
        with closing(open_books(self.path, write=False)) as sql:
            return Prune(self.path, [KEY]).prunable(sql, before_ms=before_ms)

    @contextmanager
    def source(self) -> Iterator[StatementSource]:
        with closing(open_books(self.path, write=False)) as sql:
            yield SqliteStatementSource(sql)

    def audit(self, keys: Sequence[bytes] = (KEY,), *, batch: int | None = None, at_ms: int | None = None) -> Any:
        """All of the books; from a batch or a time on, if one is given."""
        since = None if batch is None and at_ms is None else Since(batch, at_ms)
        return audit(self.path, head_key=keys, since=since)

    def sign(self) -> None:
        """Renew the head, as the store does about every second."""
        Head(self.path, KEY).write(self.draft.seq - 1, self._hash)

    def close(self) -> None:
        self.sign()
        self.sql.close()
