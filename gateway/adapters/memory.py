"""Every port in memory: for tests and demos, and as the model that the databases are compared with."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from gateway.core.auto_top_ups import DAY_MS, MONTH_MS, Ceilings, Pause, Refill, RefillState, Rule, SavedCard, Wish
from gateway.core.caps import CapLine, CapSetting, Period
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
from gateway.core.money import AMOUNT_MICROS_MAX, Money
from gateway.core.orders import Order
from gateway.core.payers import Homecoming, Standing
from gateway.core.payments import Event
from gateway.core.plans import Subscription
from gateway.core.purses import PLAIN, purse_named
from gateway.core.reversals import Credited, Move, Notice
from gateway.core.rotation import Holder, KeyKind, KeyUse
from gateway.core.trail import Step
from gateway.ports import (
    Alias,
    CreditLine,
    Freeze,
    FreezeBook,
    InboxEntry,
    InboxStanding,
    InboxStatus,
    LicenseeRow,
    TokenRow,
)


@dataclass(slots=True)
class StoredAccount:
    """One account row."""

    id: int
    credited: int = 0
    spent: int = 0
    debt: int = 0

    @property
    def available(self) -> int:
        return self.credited - self.spent - self.debt


class MemoryLedgerStore:
    """Implements `ports.LedgerStore`, `ports.Archive`, `ports.CreditLines`, `ports.Standings`, `ports.CapLines`.

    Closing and opening it again is a restart that lost nothing.
    """

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

    async def taken_by(self, ref: str) -> int | None:
        """As `ports.CreditLines`."""
        if ref in self.reversals:
            return self.reversals[ref].amount.micros
        return -self.credits[ref].amount.micros if ref in self.credits else None

    async def credit_of(self, ref: str) -> CreditLine | None:
        """As `ports.CreditLines`."""
        found = self.credits.get(ref)
        return CreditLine(ref, found.account, found.amount) if found else None

    async def entry_of(self, ref: str) -> CreditLine | None:
        """As `ports.EntryLines`."""
        if (taken := self.reversals.get(ref)) is not None:
            return CreditLine(ref, taken.key[0], -taken.amount)
        found = self.credits.get(ref)
        return CreditLine(ref, found.key[0], found.amount) if found else None

    async def standing(self, holder: str, currency: str) -> Money:
        """As `ports.Standings`."""
        found = self.accounts.get((holder, currency)) or StoredAccount(0)
        return Money(found.credited - found.spent - found.debt, currency)

    async def totals(self, holder: str, currency: str) -> tuple[Money, Money]:
        """As `ports.Standings`."""
        found = self.accounts.get((holder, currency)) or StoredAccount(0)
        return Money(found.credited, currency), await self.standing(holder, currency)

    async def paid_since(self, holder: str, currency: str, since_ms: int) -> Money:
        """As `ports.Standings`, but it knows of no times."""
        mine = (line.amount for line in await self.credits_between(0, 0) if line.account == holder)
        return sum((amount for amount in mine if amount.currency == currency), Money.zero(currency))

    async def cap_line(self, name: str, unit: str) -> CapLine:
        """As `ports.CapLines`."""
        found = self.accounts.get((name, unit)) or StoredAccount(0)
        entries: list[Credit | Reversal] = [*self.credits.values(), *self.reversals.values()]
        since = [int(entry.reason) for entry in entries if entry.key == (name, unit)]
        return CapLine(found.credited - found.debt, found.spent, len(since), max(since, default=-1))

    async def units(self, holder: str) -> list[str]:
        """As `ports.Standings`."""
        return sorted({unit for name, unit in self.accounts if purse_named(name)[0] == holder})

    async def credits_between(self, begin_ms: int, end_ms: int) -> list[CreditLine]:
        """As `ports.CreditLines`, but it knows of no times."""
        lines = (CreditLine(ref, found.account, found.amount) for ref, found in self.credits.items())
        return [
            line
            for line in lines
            if line.ref.startswith(("stripe:cs_", "stripe:pi_", "stripe:in_")) and line.ref.count(":") == 1
        ]

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
        if reversal.moved is not None and not self._credit(reversal.moved):
            return None
        self.accounts[reversal.key] = found
        self.reversals[reversal.ref] = reversal
        found.credited -= taken
        found.debt += owed
        return True

    def _row(self, key: tuple[str, str]) -> AccountRow | None:
        found, others = self.accounts.get(key), self._purses(*key)
        if found is None:
            return AccountRow(0, 0, others) if others else None
        return AccountRow(found.id, found.available, others)

    def _purses(self, name: str, unit: str) -> tuple[str, ...]:
        if purse_named(name)[1] != PLAIN:
            return ()
        return tuple(
            other
            for (other, its_unit), account in self.accounts.items()
            if its_unit == unit and other != name and purse_named(other)[0] == name and account.available > 0
        )


class MemoryRecords:
    """Implements `ports.Credentials`, `ports.Inbox`, `ports.Links`, `ports.Receipts` and `ports.Watermarks`.

    And `ports.KeyRoll` and `ports.FreezeBook`, which the others have beside them.
    """

    def __init__(self) -> None:
        self.credited: dict[str, Credited] = {}
        self.heard: dict[str, Notice] = {}
        self.planned: dict[tuple[str, int], Move] = {}
        self.watermarks: dict[str, int] = {}
        self.tokens: dict[bytes, TokenRow] = {}
        self.inbox: dict[str, _StoredEvent] = {}
        self.links: dict[str, str] = {}
        self.called_in: dict[tuple[str, str], Holder] = {}
        self.sealed: dict[tuple[str, str], int] = {}
        self.pepper_ids: dict[bytes, str] = {}
        self.freeze_rows: list[tuple[Freeze, str | None]] = []
        self.key_roll, self.freezes = self, self
        self.trail = MemoryTrail()
        self.caps = MemoryCapBook()
        self.readings = MemoryMeterBook()
        self.ways_to_pay = MemoryWaysToPay(self)
        self.subscriptions = MemorySubscriptions()
        self.licensees = MemoryLicensees()
        self.aliases = MemoryAliases(self, self.ways_to_pay)
        self.payers = MemoryPayers(self.aliases)

    async def find(self, digest: bytes) -> TokenRow | None:
        return self.tokens.get(digest)

    async def add(self, digest: bytes, *, account: str, pepper_id: str, now_ms: int) -> bool:
        if digest in self.tokens:
            return False
        self.tokens[digest] = TokenRow(account, revoked=False, expires_ms=None)
        self.pepper_ids[digest] = pepper_id
        return True

    async def find_any(self, digests: Sequence[bytes]) -> dict[bytes, TokenRow]:
        return {digest: self.tokens[digest] for digest in digests if digest in self.tokens}

    async def redigest(
        self, digest: bytes, older: Sequence[bytes], *, pepper_id: str, key_id: str, last: str = ""
    ) -> None:
        rows = [self.tokens.pop(known) for known in (digest, *older) if known in self.tokens]
        if rows:
            revoked = any(row.revoked for row in rows)
            self.tokens[digest] = replace(rows[0], revoked=revoked, key_id=key_id)
            self.pepper_ids[digest] = pepper_id

    async def call_in(self, holder: str, kind: KeyKind, ids: Sequence[str], *, now_ms: int) -> None:
        self.called_in[holder, kind] = Holder(holder, kind, tuple(ids), now_ms)
        for id in ids[1:]:
            self.sealed.setdefault((kind, id), now_ms)
        self.sealed[kind, ids[0]] = max(now_ms, self.sealed.get((kind, ids[0]), 0))

    async def leave(self, holder: str) -> None:
        self.called_in = {key: value for key, value in self.called_in.items() if key[0] != holder}

    async def retired(self, kind: KeyKind, id: str) -> None:
        """Nobody else comes here."""

    async def holders(self, kind: KeyKind) -> list[Holder]:
        return [holder for (_, of), holder in sorted(self.called_in.items()) if of == kind]

    async def use(self, kind: KeyKind) -> KeyUse:
        keys = (row.key_id for row in self.tokens.values())
        return KeyUse(
            await self.holders(kind),
            {id: at for (of, id), at in self.sealed.items() if of == kind},
            Counter({"sealing_key": keys, "pepper": (self.pepper_ids.get(one) for one in self.tokens)}.get(kind, ())),
        )

    async def add_freeze(
        self, account: str, *, frozen: bool, reason: str, now_ms: int, cause: str | None = None
    ) -> bool:
        if cause is not None and any(known == cause for _, known in self.freeze_rows):
            return False
        self.freeze_rows.append((Freeze(len(self.freeze_rows) + 1, account, frozen, reason, now_ms), cause))
        return True

    async def freezes_after(self, number: int) -> list[Freeze]:
        return [row for row, _ in self.freeze_rows if row.number > number]

    async def freezes_of(self, account: str) -> list[Freeze]:
        return [row for row, _ in self.freeze_rows if row.account == account]

    async def claim(self, event: Event, *, now_ms: int) -> bool:
        if event.id in self.inbox:
            return False
        self.inbox[event.id] = _StoredEvent(event, now_ms)
        return True

    async def close_event(self, id: str, status: InboxStatus, *, error: str | None = None) -> None:
        if id in self.inbox:
            self.inbox[id].status = status
            self.inbox[id].error = error

    async def events(self, status: InboxStatus) -> list[Event]:
        return [entry.event for entry in await self.entries(status)]

    async def entries(self, status: InboxStatus) -> list[InboxEntry]:
        found = [stored.entry() for stored in self.inbox.values() if stored.status == status]
        return sorted(found, key=lambda entry: entry.received_ms)

    async def find_entry(self, id: str) -> InboxEntry | None:
        return self.inbox[id].entry() if id in self.inbox else None

    async def inbox_standing(self) -> InboxStanding:
        waiting = [stored.received_ms for stored in self.inbox.values() if stored.status == "waiting"]
        parked = sum(stored.status == "parked" for stored in self.inbox.values())
        newest = max((stored.received_ms for stored in self.inbox.values()), default=None)
        return InboxStanding(newest, len(waiting), min(waiting, default=None), parked)

    async def reseal(self, key_id: str, *, count: int) -> int:
        return 0  # nothing is sealed here

    async def drop_events(self, *, before_ms: int, count: int) -> int:
        over = [
            id
            for id, stored in self.inbox.items()
            if stored.status in ("done", "ignored") and stored.entry().received_ms < before_ms
        ][:count]
        for id in over:
            del self.inbox[id]
        return len(over)

    async def find_link(self, key: str) -> str | None:
        return self.links.get(key)

    async def keep_link(self, key: str, url: str) -> None:
        self.links[key] = url

    async def keep_credited(self, credited: Credited) -> Credited:
        return self.credited.setdefault(credited.payment, credited)

    async def find_credited(self, payment: str) -> Credited | None:
        return self.credited.get(payment)

    async def keep_notice(self, notice: Notice) -> None:
        self.heard.setdefault(notice.event, notice)

    async def notices(self, payment: str) -> list[Notice]:
        return [notice for notice in self.heard.values() if notice.payment == payment]

    async def moves(self, payment: str) -> list[Move]:
        return sorted((move for key, move in self.planned.items() if key[0] == payment), key=lambda move: move.number)

    async def plan_move(self, move: Move) -> bool:
        return self.planned.setdefault((move.payment, move.number), move) is move

    async def move_made(self, payment: str, number: int) -> None:
        self.planned[payment, number] = replace(self.planned[payment, number], made=True)

    async def correct_move(self, payment: str, number: int, micros: int) -> None:
        self.planned[payment, number] = replace(self.planned[payment, number], micros=micros)

    async def unmade(self) -> list[str]:
        return sorted({move.payment for move in self.planned.values() if not move.made})

    async def watermark(self, name: str) -> int | None:
        return self.watermarks.get(name)

    async def keep_watermark(self, name: str, value: int) -> None:
        self.watermarks[name] = max(value, self.watermarks.get(name, value))

    async def newest_watermark(self, prefix: str) -> int | None:
        return max((value for name, value in self.watermarks.items() if name.startswith(prefix)), default=None)


class MemoryCapBook:
    """Implements `ports.CapBook`."""

    def __init__(self) -> None:
        self.rows: list[CapSetting] = []

    async def add_cap(
        self,
        account: str,
        period: Period,
        unit: str,
        micros: int | None,
        *,
        now_ms: int,
        tell_at: int | None = None,
        zone: str | None = None,
    ) -> None:
        since = max([now_ms, *(row.since_ms + 1 for row in self.rows if row.account == account)])
        self.rows.append(CapSetting(len(self.rows) + 1, account, period, unit, micros, since, tell_at, zone))

    async def caps_after(self, number: int) -> list[CapSetting]:
        return [row for row in self.rows if row.number > number]

    async def caps_of(self, account: str) -> list[CapSetting]:
        return [row for row in self.rows if row.account == account]


class MemoryMeterBook:
    """Implements `ports.MeterBook`."""

    def __init__(self) -> None:
        self.rows: dict[str, tuple[int, str]] = {}

    async def keep(self, rows: Sequence[tuple[str, int, str]]) -> None:
        for request, at_ms, contents in rows:
            self.rows.setdefault(request, (at_ms, contents))

    async def of(self, requests: Sequence[str]) -> dict[str, str]:
        return {request: self.rows[request][1] for request in requests if request in self.rows}

    async def drop(self, *, before_ms: int, rows_max: int, count: int) -> int:
        oldest = sorted(self.rows, key=lambda request: self.rows[request][0])
        beyond = max(0, len(oldest) - rows_max)
        old = [one for place, one in enumerate(oldest) if place < beyond or self.rows[one][0] < before_ms]
        for request in old[:count]:
            del self.rows[request]
        return len(old[:count])


class MemorySubscriptions:
    """Implements `ports.Subscriptions`."""

    def __init__(self) -> None:
        self.rows: dict[str, Subscription] = {}
        self.numbers: dict[str, int] = {}
        self.unpaid: dict[str, tuple[str, str | None, bool]] = {}

    async def keep_subscription(self, found: Subscription) -> None:
        known = self.rows.get(found.id, found)
        newest = max(known, found, key=lambda one: one.recency)
        kept = replace(newest, account=known.account or found.account)
        if self.rows.get(found.id) != kept:
            self.numbers[found.id] = max(self.numbers.values(), default=0) + 1
        self.rows[found.id] = kept

    async def find_subscription(self, id: str) -> Subscription | None:
        return self.rows.get(id)

    async def subscriptions_of(self, account: str) -> list[Subscription]:
        return [self.rows[id] for id in sorted(self.rows) if self.rows[id].account == account]

    async def subscriptions_after(self, number: int, count: int) -> list[tuple[int, Subscription]]:
        later = sorted((own, id) for id, own in self.numbers.items() if own > number)
        return [(own, self.rows[id]) for own, id in later[:count]]

    async def keep_unpaid(self, invoice: str, subscription: str, url: str | None) -> bool:
        _, _, over = self.unpaid.setdefault(invoice, (subscription, url, False))
        return not over

    async def unpaid_over(self, invoice: str, subscription: str) -> None:
        self.unpaid[invoice] = (subscription, None, True)

    async def unpaid_of(self, subscription: str) -> list[str]:
        waiting = ((of, url) for _, (of, url, over) in sorted(self.unpaid.items()) if not over)
        return [url for of, url in waiting if of == subscription and url]


class MemoryLicensees:
    """Implements `ports.LicenseeBook`."""

    def __init__(self) -> None:
        self.rows: dict[str, LicenseeRow] = {}
        self.codes: dict[bytes, tuple[str, int]] = {}
        self.restores: list[tuple[str, int]] = []

    async def keep_licensee(self, row: LicenseeRow) -> None:
        known = self.rows.get(row.customer, row)
        if row.at >= known.at:
            self.rows[row.customer] = replace(row, account=known.account)

    async def find_licensee(self, customer: str) -> LicenseeRow | None:
        return self.rows.get(customer)

    async def find_licensees(self, digests: Sequence[bytes]) -> list[LicenseeRow]:
        return [self.rows[customer] for customer in sorted(self.rows) if self.rows[customer].digest in digests]

    async def add_code(self, digest: bytes, customer: str, *, until_ms: int, now_ms: int) -> None:
        self.codes = {one: known for one, known in self.codes.items() if known[1] > now_ms}
        self.codes[digest] = (customer, until_ms)

    async def take_code(self, digests: Sequence[bytes], *, now_ms: int) -> str | None:
        good = [digest for digest in digests if self.codes.get(digest, ("", 0))[1] > now_ms]
        return self.codes.pop(good[0])[0] if good else None

    async def drop_codes(self, customer: str) -> None:
        self.codes = {one: known for one, known in self.codes.items() if known[0] != customer}

    async def count_restore(self, customer: str, *, now_ms: int, since_ms: int) -> int:
        self.restores.append((customer, now_ms))
        return sum(one == customer and at >= since_ms for one, at in self.restores)


class MemoryAliases:
    """Implements `ports.AliasBook`."""

    def __init__(self, freezes: FreezeBook, ways: "MemoryWaysToPay") -> None:
        self._freezes = freezes
        self._ways = ways
        self.rows: dict[str, Alias] = {}
        self.done: dict[str, int] = {}
        ways.aliases = self.rows

    async def add_alias(self, account: str, into: str, *, why: str, now_ms: int) -> bool:
        root = self.rows[into].into if into in self.rows else into
        for one in (account, root):
            if any(row.frozen for row in (await self._freezes.freezes_of(one))[-1:]):
                return False
        if account in self.rows or account == root:
            return False
        for row in [row for row in self.rows.values() if row.into == account]:
            self.rows[row.account] = replace(row, into=root, asked=row.asked + 1)
        self.rows[account] = Alias(len(self.rows) + 1, account, root, why, now_ms)
        rule = self._ways.rules.get(account)
        if rule is not None and rule.wanted:
            changed_ms = max(rule.changed_ms, now_ms)
            self._ways.rules[account] = replace(rule, wanted=False, paused=None, changed_ms=changed_ms)
        return True

    async def aliases_after(self, number: int) -> list[Alias]:
        return sorted((row for row in self.rows.values() if row.number > number), key=lambda row: row.number)

    async def find_alias(self, account: str) -> Alias | None:
        return self.rows.get(account)

    async def unjoined(self) -> list[Alias]:
        return [row for row in await self.aliases_after(0) if self.done.get(row.account, 0) < row.asked]

    async def ask_to_join(self, account: str) -> None:
        if account in self.rows:
            self.rows[account] = replace(self.rows[account], asked=self.rows[account].asked + 1)

    async def ask_to_join_since(self, at_ms: int) -> None:
        for row in [row for row in self.rows.values() if row.at_ms > at_ms]:
            await self.ask_to_join(row.account)

    async def joined(self, alias: Alias) -> None:
        if self.rows[alias.account].asked == alias.asked:
            self.done[alias.account] = alias.asked


class MemoryPayers:
    """Implements `ports.PayerBook`."""

    def __init__(self, aliases: MemoryAliases) -> None:
        self._aliases = aliases
        self.rows: dict[bytes, tuple[str, tuple[str, bytes] | None]] = {}
        self.homecomings: dict[str, Homecoming] = {}

    async def find_payers(self, digests: Sequence[bytes]) -> dict[bytes, str]:
        return {digest: self.rows[digest][0] for digest in digests if digest in self.rows}

    async def keep_payer(
        self, digest: bytes, *, account: str, pepper_id: str, now_ms: int, sealed: tuple[str, bytes] | None
    ) -> str:
        return self.rows.setdefault(digest, (account, sealed))[0]

    async def redigest_payer(self, digest: bytes, older: Sequence[bytes], *, pepper_id: str) -> None:
        for one in older:
            if one in self.rows:
                self.rows.setdefault(digest, self.rows.pop(one))

    async def has_payer(self, account: str) -> bool:
        aliases = {row.account for row in self._aliases.rows.values() if row.into == account}
        return any(owner in {account, *aliases} for owner, _ in self.rows.values())

    async def addresses_of(self, account: str) -> list[tuple[bytes, str, bytes]]:
        return [(digest, *sealed) for digest, (owner, sealed) in self.rows.items() if owner == account and sealed]

    async def forget_address(self, digest: bytes) -> None:
        self.rows[digest] = (self.rows[digest][0], None)

    async def come_home(self, coming: Homecoming) -> Homecoming:
        return self.homecomings.setdefault(coming.session, coming)

    async def find_homecoming(self, session: str) -> Homecoming | None:
        return self.homecomings.get(session)

    async def coded(self, digests: Sequence[bytes], *, since_ms: int) -> Homecoming | None:
        found = (row for row in self.homecomings.values() if row.state == "coded" and row.at_ms >= since_ms)
        return next((row for row in found if row.browser in digests), None)

    async def turn(self, session: str, was: Standing, now: Standing, *, now_ms: int) -> bool:
        row = self.homecomings.get(session)
        if row is None or row.state != was:
            return False
        key_id, sealed = (row.key_id, row.sealed) if now == "waiting" else (None, None)
        self.homecomings[session] = replace(row, state=now, at_ms=now_ms, key_id=key_id, sealed=sealed)
        return True

    async def waiting(self, before_ms: int) -> list[Homecoming]:
        found = [row for row in self.homecomings.values() if row.state == "waiting" and row.at_ms <= before_ms]
        return sorted(found, key=lambda row: row.at_ms)

    async def drop_homecomings(self, before_ms: int) -> None:
        self.homecomings = {id: row for id, row in self.homecomings.items() if row.at_ms >= before_ms}


class MemoryWaysToPay:
    """Implements `ports.Orders` and `ports.AutoTopUps`."""

    def __init__(self, freezes: FreezeBook | None = None) -> None:
        self._freezes = freezes
        self.aliases: Mapping[str, Alias] = {}
        self.orders: dict[str, Order] = {}
        self.rules: dict[str, Rule] = {}
        self.refills: dict[str, tuple[Refill, RefillState]] = {}

    async def keep_order(self, order: Order) -> Order:
        return self.orders.setdefault(order.id, order)

    async def order_made(self, id: str, url: str) -> None:
        self.orders[id] = replace(self.orders[id], url=url)

    async def drop_orders(self, before_ms: int) -> None:
        self.orders = {id: order for id, order in self.orders.items() if order.created_ms >= before_ms}

    async def find_rule(self, account: str) -> Rule | None:
        return self.rules.get(account)

    async def rules_since(self, changed_ms: int) -> list[Rule]:
        return [rule for rule in self.rules.values() if rule.changed_ms >= changed_ms]

    async def keep_rule(self, account: str, wish: Wish, ceilings: Ceilings, *, now_ms: int) -> None:
        known = self.rules.get(account) or Rule(account, wish, ceilings, None, None, now_ms)
        self.rules[account] = replace(known, wish=wish, ceilings=ceilings, paused=None, wanted=True, changed_ms=now_ms)

    async def keep_card(
        self, account: str, card: SavedCard, wish: Wish, ceilings: Ceilings, *, at_ms: int, now_ms: int
    ) -> None:
        known = self.rules.get(account)
        if known is None or known.changed_ms <= at_ms:
            self.rules[account] = Rule(account, wish, ceilings, card, None, now_ms, customer=card.customer)

    async def drop_rule(self, account: str, *, now_ms: int) -> bool:
        known = self.rules.get(account)
        if known is None or not known.wanted:
            return False
        self.rules[account] = replace(known, card=None, paused=None, wanted=False, changed_ms=now_ms)
        return True

    async def pause(self, method: str, why: Pause, *, now_ms: int) -> None:
        self._change(lambda rule: _uses(rule, method), paused=why, changed_ms=now_ms)

    async def card_expires(self, method: str, expires: str) -> None:
        for account, rule in self.rules.items():
            if rule.card is not None and rule.card.method == method:
                self.rules[account] = replace(rule, card=replace(rule.card, expires=expires))

    async def renew(self, method: str, *, at_ms: int, now_ms: int) -> None:
        declined = lambda rule: _uses(rule, method) and rule.paused == "declined" and rule.changed_ms <= at_ms  # noqa: E731
        self._change(declined, paused=None, changed_ms=now_ms)

    async def drop_card(self, method: str, *, now_ms: int) -> None:
        self._change(lambda rule: _uses(rule, method), card=None, paused="card_removed", changed_ms=now_ms)

    async def drop_customer(self, customer: str, *, now_ms: int) -> None:
        gone = {"card": None, "customer": None, "paused": "card_removed"}
        self._change(lambda rule: rule.customer == customer, **gone, changed_ms=now_ms)

    def _change(self, which: Callable[[Rule], bool], **change: Any) -> None:
        self.rules.update({account: replace(rule, **change) for account, rule in self.rules.items() if which(rule)})

    async def last_refill(self, account: str) -> int:
        return max((refill.number for refill, _ in self.refills.values() if refill.account == account), default=0)

    async def begin_refill(self, refill: Refill, ceilings: Ceilings) -> bool:
        rule = self.rules.get(refill.account)
        if rule is None or rule.state != "on" or not _uses(rule, refill.method):
            return False
        if refill.account in self.aliases:
            return False
        if self._freezes and any(row.frozen for row in (await self._freezes.freezes_of(refill.account))[-1:]):
            return False
        ours = [(one, state) for one, state in self.refills.values() if one.account == refill.account]
        if any(state == "asked" or one.number == refill.number for one, state in ours):
            return False
        for most, length in ((ceilings.day, DAY_MS), (ceilings.month, MONTH_MS)):
            before = await self.refilled_since(refill.account, refill.created_ms - length)
            if before + refill.amount.micros > most.micros:
                return False
        self.refills[refill.key] = refill, "asked"
        return True

    async def end_refill(self, key: str, state: RefillState) -> bool:
        if await self.find_refill(key) is None:
            return False
        self.refills[key] = self.refills[key][0], state
        return True

    async def find_refill(self, key: str) -> Refill | None:
        refill, state = self.refills.get(key, (None, "failed"))
        return refill if state == "asked" else None

    async def open_refills(self, before_ms: int) -> list[Refill]:
        return [refill for refill, state in self.refills.values() if state == "asked" and refill.created_ms < before_ms]

    async def refilled_since(self, account: str, since_ms: int) -> int:
        return sum(
            refill.amount.micros
            for refill, state in self.refills.values()
            if refill.account == account and state != "failed" and refill.created_ms > since_ms
        )


def _uses(rule: Rule, method: str) -> bool:
    return rule.wanted and rule.card is not None and rule.card.method == method


@dataclass(slots=True)
class _StoredEvent:
    event: Event
    received_ms: int
    status: InboxStatus = "waiting"
    error: str | None = field(default=None)

    def entry(self) -> InboxEntry:
        return InboxEntry(self.event, self.status, self.received_ms, self.error)


class MemoryTrail:
    """Implements `ports.TrailBook`."""

    def __init__(self) -> None:
        self.steps: list[Step] = []

    async def last_step(self) -> Step | None:
        return self.steps[-1] if self.steps else None

    async def add_step(self, step: Step, *, action: str, object: str) -> bool:
        if step.number <= len(self.steps):
            return False
        self.steps.append(step)
        return True

    async def steps_after(self, number: int, *, count: int) -> Sequence[Step]:
        return [step for step in self.steps if step.number > number][:count]

    async def steps_before(
        self, number: int, *, count: int, object: str | None = None, action: str | None = None
    ) -> Sequence[Step]:
        newest = [step for step in reversed(self.steps) if step.number < number]
        return [step for step in newest if object in (None, step.act.object) and action in (None, step.act.action)][
            :count
        ]
