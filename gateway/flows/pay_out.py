"""What is due to owners leaves: planned, written down in the books, then sent; and what comes back comes back.

`core/payouts.py` says how much, and what may follow what; this is the moving part. Any number of processes may be at it
at once, and any of them may be killed at any point:

1. read the numbers of the newest payouts, **then** the books: what somebody pays in between has a higher number;
2. plan the next number, with everything that the call will need. It is free, or somebody else was faster;
3. look for a transfer of its key at the provider. If there is none, take the amount from the owner in the books, under
   the payout's number: doing it twice is doing it once;
4. note the attempt, then send it. Of two who hold the same payout, one notes it and the other leaves it;
5. whoever takes a payout up later looks first, however often it was tried; if there is no transfer, it is sent again
   with the same key. What the provider refuses for good is given back in the books; what our balance there does not
   cover waits.

**An old copy was put back.** Then numbers come again that were used before, and the provider has forgotten their keys
after a day: nothing but the look in step 3 keeps an owner from being paid twice. What is found there has left, whatever
was planned, so the payout becomes what was sent, in the books too. The same is done for a transfer of ours that an
event or the comparison tells of and nobody here knows. It may be more than the books say was due, for the sales of that
time are gone with the rest: then less than nothing is due, and is made up for. The entry names its transfer, not hours.

Should the books have another amount under a number, then these records are older than the books: the books are right,
and the provider is asked for that transfer before it is sent. Of a payout that the books have already, a transfer that
is not what it is changes nothing: its owner is put on hold, for a person to look at it.

Before anything is planned, owners bear their part of what callers owe (`core/claw_backs.py`).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from gateway.core import claw_backs
from gateway.core.ledger import Reversal
from gateway.core.money import Money
from gateway.core.owning import PayoutAccount, Reason
from gateway.core.patience import doubled_ms
from gateway.core.payments import Event
from gateway.core.payouts import (
    NEXT,
    SHORT,
    UNDER_WAY,
    Payable,
    Payout,
    PayoutEvent,
    PayoutTerms,
    TransferNotice,
    coming_back,
    payables,
    posting,
    posting_found,
    read_payout_id,
    slot,
)
from gateway.core.refusals import LedgerUnavailable, PaymentServiceUnavailable, RecordsUnavailable
from gateway.core.trail import Act, Origin
from gateway.ports import (
    Clock,
    CreditLines,
    Entries,
    OwnersMoney,
    PayoutAccounts,
    PayoutBook,
    Roots,
    StoreFailed,
    TransferRefused,
    Transfers,
    WritesTrail,
)

SWEEP_SECONDS = 30.0
RUN_LEASE_MS = 600_000
_CALL_MS = 60_000
"""Nobody else tries while a call may be under way."""
_SHORT_MS, _SHORT_LONGEST_MS = 300_000, 6 * 3_600_000
_FIRST_MS, _LONGEST_MS = 5_000, 3_600_000


@dataclass(frozen=True, slots=True)
class Prospect:
    """What would be paid to an owner now: `amount`, or nothing, and then why."""

    standing: Payable
    account: PayoutAccount
    amount: Money
    why_not: str | None = None


@dataclass(frozen=True, slots=True)
class PayoutRules:
    """What is set of payouts. `named` tells this gateway's transfers from those of others at the same provider.

    `holds`: money is held for owners, too, so a transfer that does not say what it pays out may be of either.
    """

    usual: PayoutTerms
    of_owners: Mapping[str, PayoutTerms]
    owners_bear: bool
    named: str
    never: frozenset[str] = frozenset(("operator",))
    holds: bool = False


class PayOut:
    """Implements `ports.Hears`. Calls may raise RecordsUnavailable, StoreFailed and LedgerUnavailable, then repeat."""

    def __init__(
        self,
        *,
        rules: PayoutRules,
        money: OwnersMoney,
        lines: CreditLines,
        book: PayoutBook,
        ledger: Entries,
        accounts: PayoutAccounts,
        transfers: Transfers,
        roots: Roots,
        witness: WritesTrail,
        clock: Clock,
        report: Callable[..., None],
    ) -> None:
        self._roots = roots
        self._rules = rules
        self._money = money
        self._lines = lines
        self._book = book
        self._ledger = ledger
        self._accounts = accounts
        self._transfers = transfers
        self._witness = witness
        self._clock = clock
        self._report = report

    # --- how much -----------------------------------------------------------------------------------------------------

    async def prospects(self, owner: str | None = None) -> list[Prospect]:
        """Of each owner and unit, what would be paid now; the platform itself is none. Reads only."""
        under_way = {
            (one.owner, one.unit, one.source): _WAITS if one.waits else "a payout is under way"
            for one in await self._book.list_payouts(count=1_000)
            if one.state in UNDER_WAY
        }
        held = {one.owner: one.reason for one in await self._book.holds()}
        books = await self._money.owners_books()
        found = []
        for standing in payables(books, self._rules.of_owners, self._rules.usual, now_ms=self._clock.now_ms()):
            if standing.owner in self._rules.never or owner not in (None, standing.owner):
                continue
            account = await self._accounts.payable(standing.owner)
            why = None
            if standing.owner in held:
                why = f"on hold: {held[standing.owner]}"
            elif (standing.owner, standing.unit, standing.source) in under_way:
                why = under_way[standing.owner, standing.unit, standing.source]
            elif account.account is None:
                why = _WHY[account.reason or "none"]
            elif not standing.payable:
                why = "less than nothing is due" if standing.due < 0 else "too little is payable yet"
            amount = Money(0 if why else standing.payable, standing.unit)
            found.append(Prospect(standing, account, amount, why))
        return found

    # --- paying -------------------------------------------------------------------------------------------------------

    async def run(self, owner: str | None = None, *, origin: Origin = "command") -> list[Payout]:
        """Pay what is payable, whatever the schedule says; the payouts as they stand now."""
        await self.claw_back()
        numbers = dict(await self._book.last_payouts())
        paid = []
        for prospect in await self.prospects(owner):
            if prospect.amount:
                payout = self._planned(prospect, numbers)
                numbers[payout.owner, payout.unit] = payout.number
                if await self._plan(payout, origin):
                    paid.append(await self.go_on(payout))
        return paid

    async def on_schedule(self) -> list[Payout]:
        """Pay those whose turn it is; of all who look, one does."""
        now_ms = self._clock.now_ms()
        paid, owners = [], {one.standing.owner for one in await self.prospects()}
        for owner in sorted(owners):
            due = slot(self._rules.of_owners.get(owner, self._rules.usual), now_ms)
            if await self._book.claim_run(owner, due, now_ms=now_ms, lease_ms=RUN_LEASE_MS):
                paid += await self.run(owner, origin="start")
                await self._book.end_run(owner, due)
        return paid

    async def sweep(self) -> None:
        """Go on with what a stop, or a provider that did not answer, has left; then pay those whose turn it is."""
        try:
            for payout in await self._book.open_payouts(self._clock.now_ms()):
                await self.go_on(payout)
            await self.claw_back()
            await self.on_schedule()
        except (LedgerUnavailable, StoreFailed) as error:
            self._report("payouts wait", why=type(error).__name__)
            raise RecordsUnavailable() from error
        except RecordsUnavailable:
            raise
        except Exception as bug:  # the next round may know better; nobody else is paid later for it
            self._report("payouts failed", error=type(bug).__name__)

    def _planned(self, prospect: Prospect, numbers: Mapping[tuple[str, str], int]) -> Payout:
        standing, now_ms = prospect.standing, self._clock.now_ms()
        assert prospect.account.account is not None
        number = numbers.get((standing.owner, standing.unit), 0) + 1
        return Payout(
            owner=standing.owner,
            unit=standing.unit,
            number=number,
            micros=prospect.amount.micros,
            account=prospect.account.account,
            key=f"{self.prefix}{standing.owner}-{standing.unit}-{number}",
            fold=standing.fold,
            before_ms=standing.before_ms,
            created_ms=now_ms,
            changed_ms=now_ms,
            due_ms=now_ms,
            source=standing.source,
        )

    async def _plan(self, payout: Payout, origin: Origin) -> bool:
        facts = {**_facts(payout), "of": payout.source, "before": "", "after": payout.ref}
        act = Act("gateway", "gateway", "payout.plan", payout.id, origin, facts=facts)
        await self._witness.write_once(act, by="amount")
        return await self._book.plan_payout(payout)

    # --- its life -----------------------------------------------------------------------------------------------------

    async def go_on(self, payout: Payout) -> Payout:
        """Do what is to be done next, until there is nothing left to do now; how it stands then."""
        steps = {"planned": self._write, "written": self._begin}
        looked = payout.state == "planned"  # its first step looks for a transfer, and who goes on at once need not
        while True:
            if payout.came_back < payout.back or payout.state == "failed":
                after = await self._give_back(payout)
            elif payout.state == "sending":
                after = await self._send(payout, look=payout.tries > 0 or not looked)
            elif payout.state in steps:
                after = await steps[payout.state](payout)
            else:
                return payout
            if after is None:  # somebody else has it, an event perhaps, or it has to wait
                return await self._book.find_payout(payout.owner, payout.unit, payout.number) or payout
            payout = after

    async def _write(self, payout: Payout) -> Payout | None:
        """Take it from the owner in the books, unless it was sent before: then it is what was sent."""
        try:
            found = await self._transfers.find_transfer(payout.key)
        except PaymentServiceUnavailable:
            tried = replace(payout, tries=payout.tries + 1)
            await self._later(payout, tried, "the provider cannot be asked for it yet")
            return None
        if found is not None:
            return await self._found(payout, found)
        entry = posting(payout)
        await self._tell(payout, "payout.written", entry.reason, after=entry.ref, by="after")
        if await self._ledger.reverse(entry):
            return await self._move(payout, "written")
        there = await self._taken(entry)
        if there != payout.micros:
            self._report("the records are older than the books", ref=entry.ref)
        return await self._move(payout, "written", micros=there, tries=payout.tries + 1)

    async def _found(self, payout: Payout, notice: TransferNotice, *, on_record: bool = True) -> Payout | None:
        """It has left under this key, whatever is planned: from now on it is what was sent, in the books too."""
        if on_record and await self._book.find_payout(payout.owner, payout.unit, payout.number) != payout:
            return None  # somebody else has sent it just now
        now_ms = self._clock.now_ms()
        sent = replace(
            payout, micros=notice.amount.micros, account=notice.account or payout.account,
            source=notice.source or payout.source, transfer=notice.transfer, state=NEXT["planned", "found"],
            back=min(notice.reversed.micros, notice.amount.micros), changed_ms=now_ms, due_ms=now_ms, error=None,
        )  # fmt: skip
        entry = posting_found(sent, notice.transfer)
        before = payout.state if on_record else ""
        await self._tell(sent, "payout.found", entry.reason, after=entry.ref, by="after", before=before)
        if not await self._ledger.reverse(entry) and await self._taken(entry) != sent.micros:
            await self._doubt(payout, notice)
            if on_record:
                await self._later(payout, replace(payout, tries=payout.tries + 1), _DOUBT)
            return None
        self._report("a payout had been sent before", id=sent.id, amount=str(sent.amount), transfer=notice.transfer)
        kept = await (self._book.move_payout(payout, sent) if on_record else self._book.take_in(sent))
        return sent if kept else None

    async def _later(self, payout: Payout, after: Payout, why: str) -> None:
        wait_ms = doubled_ms(payout.tries, first_ms=_FIRST_MS, longest_ms=_LONGEST_MS)
        await self._book.move_payout(payout, replace(after, due_ms=self._clock.now_ms() + wait_ms, error=why))

    async def _begin(self, payout: Payout) -> Payout | None:
        await self._tell(payout, "payout.sending", "", after=payout.key, by="after")
        return await self._move(payout, "sending")

    async def _send(self, payout: Payout, *, look: bool) -> Payout | None:
        """Note the attempt, make it, and note what became of it. None: it is somebody else's, or to be tried later."""
        now_ms = self._clock.now_ms()
        tried = replace(payout, tries=payout.tries + 1, due_ms=now_ms + _CALL_MS, changed_ms=now_ms)
        if not await self._book.move_payout(payout, tried):
            return None
        try:
            found = await self._transfers.find_transfer(payout.key) if look else None
            notice = found or await self._transfers.transfer(payout)
        except TransferRefused as refused:
            if str(refused) == SHORT:
                await self._wait(tried)
                return None
            self._report("a payout was refused", id=payout.id, why=str(refused))
            await self._tell(tried, "payout.refused", str(refused)[:200], after=payout.key)
            return await self._move(tried, "refused", back=payout.micros, error=str(refused)[:200])
        except PaymentServiceUnavailable:
            await self._later(tried, tried, "what became of it is not known yet")
            return None
        if _is_other(tried, notice):
            await self._later(tried, tried, _DOUBT)
        return await self._told(tried, notice)

    async def _wait(self, payout: Payout) -> None:
        """Our balance at the provider does not cover it: the same payout is asked for again, later, by another key.

        It was refused, so nothing was sent under the key of before; and by its group it would be found.
        """
        later = self._clock.now_ms() + doubled_ms(payout.short, first_ms=_SHORT_MS, longest_ms=_SHORT_LONGEST_MS)
        if not payout.short:
            await self._tell(payout, "payout.waits", SHORT, after=payout.key)
        self._report("a payout waits for the balance", id=payout.id, amount=str(payout.amount), times=payout.short + 1)
        await self._book.move_payout(payout, replace(payout, due_ms=later, short=payout.short + 1, error=SHORT))

    async def _told(self, payout: Payout, notice: TransferNotice) -> Payout | None:
        """Write down what the provider says of its transfer."""
        if payout.state != "planned" and _is_other(payout, notice):
            await self._doubt(payout, notice)
            return None
        event: PayoutEvent = "created" if notice.event == "reversed" else notice.event
        back = max(payout.back, min(notice.reversed.micros, payout.micros))
        stands = NEXT.get((payout.state, event), payout.state)
        if stands == payout.state and back == payout.back:
            if payout.state in ("failed", "returned"):
                self._report("a payout that was refused was made", id=payout.id, transfer=notice.transfer)
            return None
        if stands != payout.state:
            await self._tell(payout, f"payout.{stands}", notice.transfer, after=notice.transfer)
        if payout.state in ("sending", "created", "paid"):
            return await self._move(payout, event, back=back, transfer=notice.transfer, error=None)
        return None

    async def _doubt(self, payout: Payout, notice: TransferNotice) -> None:
        """A transfer has the payout's key and is not the payout: nothing more is paid until a person has looked."""
        there = f"{notice.amount} to {notice.account or payout.account} there, {notice.transfer}"
        why = f"{payout.id} is {payout.amount} to {payout.account} here, and {there}"[:200]
        self._report("a transfer is not what its payout is", id=payout.id, transfer=notice.transfer, why=why)
        if notice.reversed != notice.amount:
            await self._hold(payout.owner, why, notice)

    async def _hold(self, owner: str, why: str, notice: TransferNotice) -> None:
        facts = {"transfer": notice.transfer, "amount": str(notice.amount)}
        await self._witness.write_once(
            Act("gateway", "gateway", "payout.hold", owner, "start", why, facts), by="transfer"
        )
        await self._book.hold_owner(owner, why, now_ms=self._clock.now_ms())

    async def _give_back(self, payout: Payout) -> Payout | None:
        """The next part of what came back, in the books."""
        entry = coming_back(payout)
        came_back = payout.came_back
        if entry is not None:
            what = "returned" if payout.state == "failed" else "reversed"
            about = {"back": str(entry.amount), "before": payout.ref}
            await self._tell(payout, f"payout.{what}", entry.reason, after=entry.ref, by="after", **about)
            if await self._ledger.credit(entry):
                came_back += entry.amount.micros
            else:
                there = await self._lines.taken_by(entry.ref)
                came_back += -there if there is not None else entry.amount.micros
        whole = came_back >= payout.micros
        event: PayoutEvent = "given back" if payout.state == "failed" else "reversed"
        stands = NEXT.get((payout.state, event), payout.state) if whole else payout.state
        after = replace(payout, state=stands, came_back=came_back, changed_ms=self._clock.now_ms())
        return after if await self._book.move_payout(payout, after) else None

    async def _move(self, payout: Payout, event: PayoutEvent, **changes: object) -> Payout | None:
        """Write down the next state and these; None if somebody else has moved it meanwhile."""
        now_ms = self._clock.now_ms()
        stands = NEXT.get((payout.state, event), payout.state)
        values = {"state": stands, "changed_ms": now_ms, "due_ms": now_ms, **changes}
        after = replace(payout, **values)  # type: ignore[arg-type]
        return after if await self._book.move_payout(payout, after) else None

    async def _taken(self, entry: Reversal) -> int:
        there = await self._lines.taken_by(entry.ref)
        return entry.amount.micros if there is None else there

    async def _tell(self, payout: Payout, action: str, why: str, *, after: str, by: str = "", **more: str) -> None:
        """On the trail before it is done, and once, whoever comes first and however often it is repeated."""
        facts = {**_facts(payout), "before": payout.state, "after": after, **more}
        ours = action in ("payout.written", "payout.sending", "payout.returned")
        actor = Act("gateway", "gateway", action, payout.id, "start", why, facts)
        act = actor if ours else Act("stripe", "provider", action, payout.id, "api", why, facts)
        await self._witness.write_once(act, by=by)

    # --- what comes later ---------------------------------------------------------------------------------------------

    async def heard(self, event: Event) -> bool:
        """An event about a transfer of ours, or about a payout of an owner's account to their bank."""
        sent = self._transfers.sent_on(event)
        if sent is not None:
            facts = {"amount": str(sent.amount), "from": sent.account, "before": sent.account, "after": sent.id}
            why = f"{sent.status}: {sent.error}" if sent.error else sent.status
            act = Act("stripe", "provider", "payout.to_bank", sent.id, "webhook", why, {**facts, "status": sent.status})
            await self._witness.write_once(act, by="status")
            await self._book.keep_sent_on(sent)
            return True
        notice = self._transfers.transfer_notice(event)
        return notice is not None and notice.key.startswith(self.prefix) and await self.believe(notice)

    @property
    def prefix(self) -> str:
        """What the keys of our transfers begin with."""
        return f"farebox-{self._rules.named}-"

    async def believe(self, notice: TransferNotice) -> bool:
        """Write down what the provider says of a transfer; False if it is none of ours.

        One of ours that nobody here knows is taken in. Raises PaymentServiceUnavailable if it cannot be looked at.
        """
        while (payout := await self._book.payout_of(notice.key)) is not None:
            after = await self._told(payout, notice)
            if after is None:
                now = await self._book.payout_of(notice.key)
                if now == payout:
                    return True
                continue  # somebody else moved it
            try:
                await self.go_on(after)
            except StoreFailed as failed:
                raise LedgerUnavailable() from failed
            return True
        taken = await self._take_in(notice.key)
        if taken is None:
            self._report("a transfer of an unknown payout", transfer=notice.transfer)
            return False
        await self.go_on(taken)
        return True

    async def _take_in(self, key: str) -> Payout | None:
        """What the provider has sent under a key of ours that is not on record; None if it has not."""
        notice = await self._transfers.find_transfer(key)
        if notice is None:
            return None
        try:
            owner, unit, number = read_payout_id(key.removeprefix(self.prefix))
        except ValueError:
            return None
        if unit != notice.amount.currency:
            return None
        if notice.source is None and self._rules.holds:
            why = f"{notice.transfer} was sent before an old copy was put back, and does not say what it paid out"
            await self._hold(owner, why, notice)
        now_ms = self._clock.now_ms()
        payout = Payout(
            owner, unit, number, notice.amount.micros, notice.account, key, fold=0, before_ms=0, created_ms=now_ms
        )
        try:
            return await self._found(payout, notice, on_record=False) or await self._book.payout_of(key)
        except StoreFailed as failed:
            raise LedgerUnavailable() from failed

    async def reverse(self, payout: Payout, reason: str, actor: str = "operator") -> Payout:
        """Fetch what is left of it back from the owner's account. Raises TransferRefused, PaymentServiceUnavailable."""
        left = Money(payout.micros - payout.back, payout.unit)
        facts = {"amount": str(left), "from": payout.account, "before": payout.ref, "after": payout.transfer or ""}
        await self._witness.write(Act(actor, "operator", "payout.reverse", payout.id, "command", reason, facts))
        await self.believe(await self._transfers.reverse_transfer(payout, left))
        # An event may have told somebody else of it first, who is at it still.
        return await self.go_on(await self._book.find_payout(payout.owner, payout.unit, payout.number) or payout)

    async def cancel(self, payout: Payout, reason: str, actor: str = "operator") -> Payout:
        """Give one up that waits for the balance: it is due again. Raises ValueError, PaymentServiceUnavailable."""
        if not payout.waits:
            raise ValueError(f"{payout.id}: it does not wait for the balance, it is {payout.state}")
        # Who asks for it just now has noted so, and must not be told no: what becomes of that is not known yet.
        if payout.due_ms - payout.changed_ms <= _CALL_MS or await self._transfers.find_transfer(payout.key):
            raise ValueError(f"{payout.id}: it is asked for just now; look again in a minute")
        facts = {**_facts(payout), "before": payout.state, "after": payout.ref}
        await self._witness.write(Act(actor, "operator", "payout.cancel", payout.id, "command", reason, facts))
        after = await self._move(payout, "refused", back=payout.micros, error="cancelled")
        if after is None:
            raise ValueError(f"{payout.id}: it is asked for just now; look again in a minute")
        return await self.go_on(after)

    # --- debts of callers ---------------------------------------------------------------------------------------------

    async def claw_back(self) -> int:
        """Let owners bear their part of what callers owe, or give it back to them; how many entries that was."""
        made = 0
        for debtor in await self._money.debtors(lambda account: self._roots.names(self._roots.root(account))):
            rules = self._rules
            for entry in claw_backs.entries(debtor, owners_bear=rules.owners_bear, besides=rules.never):
                facts = {"amount": str(entry.amount), "before": entry.account, "after": entry.ref}
                act = Act("gateway", "gateway", f"payout.{entry.kind}", entry.account, "start", entry.reason, facts)
                await self._witness.write_once(act, by="after")
                if isinstance(entry, Reversal):
                    made += await self._ledger.reverse(entry)
                else:
                    made += await self._ledger.credit(entry)
        return made


def _is_other(payout: Payout, notice: TransferNotice) -> bool:
    """Whether it is not this payout that was sent, though it has its key."""
    if payout.transfer is not None:
        return notice.transfer != payout.transfer
    return notice.amount != payout.amount or notice.account not in ("", payout.account)


def _facts(payout: Payout) -> dict[str, str]:
    return {"amount": str(payout.amount), "to": payout.account}


_DOUBT = "a transfer that has its key is another one"
_WAITS = "a payout waits until the platform's balance at Stripe covers it"
_WHY: Mapping[Reason, str] = {
    "none": "there is no account to pay into",
    "pending": "the account is being made",
    "restricted": "Stripe needs something of its owner, or sends nothing there",
    "rejected": "Stripe has rejected the account",
    "deauthorised": "its owner has cut the account off",
}
