"""Every port in memory: for tests and demos, and as the model that the databases are compared with."""

from dataclasses import dataclass, field

from gateway.core.ids import RequestId
from gateway.core.ledger import (
    AccountRow,
    Charge,
    Committed,
    Credit,
    Draft,
    Origin,
    Record,
    Reversal,
    Tail,
    Tariff,
    charges,
)
from gateway.core.money import AMOUNT_MICROS_MAX
from gateway.core.payments import Event
from gateway.ports import InboxStatus, TokenRow


@dataclass(slots=True)
class StoredAccount:
    """One account row."""

    id: int
    credited: int = 0
    spent: int = 0
    debt: int = 0


class MemoryLedgerStore:
    """Implements `ports.LedgerStore`, `ports.Archive`. Closing and opening it again is a restart that lost nothing."""

    def __init__(self) -> None:
        self.accounts: dict[tuple[str, str], StoredAccount] = {}
        self.credits: dict[str, Credit] = {}
        self.reversals: dict[str, Reversal] = {}
        self.tariffs: dict[Tariff, int] = {}
        self.records: list[tuple[int, Record]] = []
        self.started = 0
        self._seq = 0
        self._next = 1
        self._credited: list[bool | None] = []  # of the last draft, should it come again
        self._reversed: list[bool | None] = []
        self._origins: list[Origin] = []

    async def open(self) -> Tail:
        unstarted = [record for number, record in self.records if number > self.started]
        return Tail(self._seq, self._next, self.started, dict(self.tariffs), unstarted, tuple(self._origins[-1000:]))

    async def reopen(self) -> None:
        """There is no handle that could have failed."""

    async def commit(self, draft: Draft) -> Committed:
        if draft.seq > self._seq:
            self._credited = [self._credit(credit) for credit in draft.credits]
            self._reversed = [self._reverse(reversal, taken) for reversal, taken in draft.reversals]
        credited = self._credited if draft.credits else []
        reversed = self._reversed if draft.reversals else []
        if draft.writes and draft.seq > self._seq:
            self._write(draft)
        rows = {key: row for key in draft.reads if (row := self._row(key)) is not None}
        return Committed(credited, rows, reversed=reversed)

    async def close(self) -> None:
        """Nothing to let go of."""

    async def charges_of(self, request: RequestId) -> list[Charge]:
        """As `ports.Archive`."""
        holders = {account.id: key for key, account in self.accounts.items()}
        return charges((record for _, record in self.records if record.request == request), holders)

    def _write(self, draft: Draft) -> None:
        by_id = {account.id: account for account in self.accounts.values()}
        for id, micros in draft.spent.items():
            by_id[id].spent += micros
        for id, account in by_id.items():
            if not 0 <= account.spent <= account.credited or account.debt < 0:
                raise AssertionError(f"account {id} would be overspent")
        self.tariffs.update({tariff: id for id, tariff in draft.tariffs})
        self.records.extend(enumerate(Record.unpack_all(bytes(draft.payload)), draft.first))
        self._origins.extend(draft.origins)
        self._seq, self._next, self.started = draft.seq, draft.first + draft.count, draft.started

    def _credit(self, credit: Credit) -> bool | None:
        if credit.ref in self.credits or credit.ref in self.reversals:
            return False
        found = self.accounts.get(credit.key) or StoredAccount(len(self.accounts) + 1)
        repaid = min(found.debt, credit.amount.micros)
        if found.credited + credit.amount.micros - repaid > AMOUNT_MICROS_MAX:
            return None
        self.accounts[credit.key] = found
        self.credits[credit.ref] = credit
        found.credited += credit.amount.micros - repaid
        found.debt -= repaid
        return True

    def _reverse(self, reversal: Reversal, taken: int) -> bool | None:
        if reversal.ref in self.credits or reversal.ref in self.reversals:
            return False
        found = self.accounts.get(reversal.key) or StoredAccount(len(self.accounts) + 1)
        owed = reversal.amount.micros - taken
        if found.debt + owed > AMOUNT_MICROS_MAX:
            return None
        self.accounts[reversal.key] = found
        self.reversals[reversal.ref] = reversal
        found.credited -= taken
        found.debt += owed
        return True

    def _row(self, key: tuple[str, str]) -> AccountRow | None:
        found = self.accounts.get(key)
        return AccountRow(found.id, found.credited - found.spent - found.debt) if found else None


class MemoryRecords:
    """Implements `ports.Credentials`, `ports.Inbox` and `ports.Links`."""

    def __init__(self) -> None:
        self.tokens: dict[bytes, TokenRow] = {}
        self.inbox: dict[str, _StoredEvent] = {}
        self.links: dict[str, str] = {}

    async def find(self, digest: bytes) -> TokenRow | None:
        return self.tokens.get(digest)

    async def add(self, digest: bytes, *, account: str, pepper_id: str, now_ms: int) -> bool:
        if digest in self.tokens:
            return False
        self.tokens[digest] = TokenRow(account, revoked=False, expires_ms=None)
        return True

    async def claim(self, event: Event, *, now_ms: int) -> bool:
        if event.id in self.inbox:
            return False
        self.inbox[event.id] = _StoredEvent(event)
        return True

    async def close_event(self, id: str, status: InboxStatus, *, error: str | None = None) -> None:
        self.inbox[id].status = status
        self.inbox[id].error = error

    async def events(self, status: InboxStatus) -> list[Event]:
        return [stored.event for stored in self.inbox.values() if stored.status == status]

    async def find_link(self, key: str) -> str | None:
        return self.links.get(key)

    async def keep_link(self, key: str, url: str) -> None:
        self.links[key] = url


@dataclass(slots=True)
class _StoredEvent:
    event: Event
    status: InboxStatus = "waiting"
    error: str | None = field(default=None)
