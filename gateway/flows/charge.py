"""The platform's fee of a confirmed refund is charged from a saved method, without the person, exactly once.

Any number of deliveries, workers and hosts may be at the same charge, and any of them may be killed at any point:

1. what is to be charged is written down under the refund's id, on the trail before that, and never with other terms;
2. the seller's money that the platform holds goes into the books, under the charge's id;
3. whoever takes the next turn of it has it for a minute; of two, the other leaves it;
4. its payment intent is made, and written down before it is confirmed. There is one, for ever (`core/charges.py`);
5. it is confirmed. What nobody knows the outcome of is looked up first, and then repeated with the same key;
6. what was paid goes into the books as the platform's, under the intent's id, and only then it is `succeeded`;
7. then what was held is due to the seller, in the books: the payouts pay it as they pay all dues.

Each attempt is a job, so that a stop loses none; a sweep takes up what even a job has left. The provider's events do
the same as an answer of its would have.
"""

from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Any

from gateway.core.charges import (
    DAY_MS,
    NEXT,
    PAID,
    WAIVED,
    WAIVING,
    Charge,
    ChargeEvent,
    ChargeTerms,
    ChargeWish,
    Outcome,
    SellerState,
    fee,
    freed,
    proceeds,
    released,
    revenue,
)
from gateway.core.jobs import Job, TryLater
from gateway.core.keyring import KEY_ID_CHARS, Keyring, NotOurs, UnknownKey
from gateway.core.payments import Event
from gateway.core.refusals import (
    AccountFrozen,
    BadRequest,
    ChargeConflict,
    ChargeTooLarge,
    LedgerUnavailable,
    NoMethodSaved,
    NoRoute,
    PaymentServiceUnavailable,
    RateLimited,
    RecordsUnavailable,
)
from gateway.core.trail import Act, Role
from gateway.ports import (
    ActsFor,
    ChargeBook,
    ChargeRefused,
    ChargesByAgreement,
    Clock,
    Entries,
    FreezeBook,
    Jobs,
    People,
    Randomness,
    Roots,
    StoreFailed,
    Tells,
    Transfers,
    WritesTrail,
)

CHARGE = "charge"
PROVIDER = "stripe"
SWEEP_SECONDS = 30.0
CONFIRM_PATH = "/-/stripe/confirm"
_CALL_MS = 60_000
"""Nobody else tries while a call may be under way."""
_JOB_MS = 30_000
"""A job looks after what its caller was to do, after that."""
_FRESH_MS = 3_600_000
"""So long after it was begun, the provider still knows it by its key."""
_LONGEST_MS = 3_600_000
_PURPOSE = "charge to confirm"
_AT_ONCE = 100


class ChargeByAgreement:
    """Implements `ports.Hears`; does jobs of the kind `charge`. Calls may raise RecordsUnavailable: then repeat."""

    def __init__(
        self,
        terms: ChargeTerms,
        *,
        book: ChargeBook,
        provider: ChargesByAgreement,
        people: People,
        acts_for: ActsFor,
        freezes: FreezeBook,
        roots: Roots,
        ledger: Entries,
        jobs: Jobs,
        transfers: Transfers,
        tells: Tells,
        witness: WritesTrail,
        keyring: Keyring,
        live: bool,
        public_url: str,
        clock: Clock,
        randomness: Randomness,
        report: Callable[..., None],
    ) -> None:
        self._terms = terms
        self._book = book
        self._provider = provider
        self._people = people
        self._acts_for = acts_for
        self._freezes = freezes
        self._roots = roots
        self._ledger = ledger
        self._jobs = jobs
        self._transfers = transfers
        self._tells = tells
        self._witness = witness
        self._keyring = keyring
        self._live = live
        self._public_url = public_url
        self._clock = clock
        self._randomness = randomness
        self._report = report

    # --- being asked --------------------------------------------------------------------------------------------------

    async def charge(self, wish: ChargeWish, actor: str) -> Charge:
        """There is to be this charge; how it stands. The same again is the same charge.

        Raises ChargeConflict, BadRequest, AccountFrozen, NoMethodSaved, ChargeTooLarge, RateLimited.
        """
        kept = await self._book.charge_of(wish.refund, live=self._live)
        if kept is None:
            kept = await self._planned(wish, actor)
        if not kept.is_of(wish):
            raise ChargeConflict(kept.refund)
        if kept.state != "planned":
            return kept
        try:
            return await self.go_on(kept)
        except (PaymentServiceUnavailable, LedgerUnavailable, StoreFailed):
            return await self.find(kept.id)  # it is written down, and its job goes on with it

    async def _planned(self, wish: ChargeWish, actor: str) -> Charge:
        """Write it down. Raises as `charge`."""
        terms, now_ms = self._terms, self._clock.now_ms()
        user = await self._people.user(wish.user)
        if user is None:
            raise BadRequest("user_id: nobody of this id has signed in")
        await self._refuse_frozen(user.account)
        agreed = await self._book.agreed(wish.user, live=self._live)
        if agreed is None or agreed.customer is None or agreed.method is None:
            raise NoMethodSaved()
        owner = await self._acts_for.owner_of(wish.user) or ""
        if terms.hold_proceeds and not owner:
            raise BadRequest("user_id: they act for no owner, so nobody could be paid what is held")
        points = terms.of_owners.get(owner, terms.points)
        costs = fee(wish.amount, points)
        if not costs:
            raise BadRequest("amount: its fee would be nothing")
        if terms.maximum is not None and costs > terms.maximum:
            raise ChargeTooLarge(maximum=str(terms.maximum))
        charge = Charge(
            id=f"txn_{self._randomness.bytes(12).hex()}",
            live=self._live,
            refund=wish.refund,
            user=wish.user,
            owner=owner,
            amount=wish.amount,
            fee=costs,
            points=points,
            customer=agreed.customer,
            created_ms=now_ms,
            due_ms=now_ms,
            changed_ms=now_ms,
            method=agreed.method,
            seller="held" if terms.hold_proceeds else "none",
        )
        await self._tell_trail(charge, "planned", actor, role="service")
        most = terms.per_day.micros if terms.per_day is not None else None
        bounds = {"since_ms": now_ms - DAY_MS, "count_max": terms.count_per_day, "micros_max": most}
        added = await self._book.add_charge(charge, **bounds)  # type: ignore[arg-type]
        kept = await self._book.charge_of(wish.refund, live=self._live)
        if kept is None:
            raise RateLimited(policy=f"{terms.count_per_day}/day", retry_after_seconds=3600)
        if added:
            await self._put_job(kept, now_ms + _JOB_MS)
        return kept

    async def _refuse_frozen(self, account: str) -> None:
        account = self._roots.root(account)  # whoever was joined with another is frozen with it
        freezes = await self._freezes.freezes_of(account)
        if freezes and freezes[-1].frozen:
            raise AccountFrozen(account=account)

    async def _is_frozen(self, id: str) -> bool:
        user = await self._people.user(id)
        try:
            await self._refuse_frozen(user.account if user is not None else "")
        except AccountFrozen:
            return True
        return False

    async def find(self, id: str) -> Charge:
        """Raises NoRoute."""
        found = await self._book.find_charge(id)
        if found is None or found.live != self._live:
            raise NoRoute()
        return found

    async def page(self, user: str | None, after: str | None, count: int) -> list[Charge]:
        """The newest so many, of all or of this person; those before `after`. Raises BadRequest."""
        before = await self._book.find_charge(after) if after else None
        if after and (before is None or (user is not None and before.user != user)):
            raise BadRequest("after: there is no such transaction")
        return await self._book.charges(live=self._live, user=user, before=before, count=count)

    # --- its life -----------------------------------------------------------------------------------------------------

    async def go_on(self, charge: Charge) -> Charge:
        """Do what is to be done next; how it stands then.

        Raises PaymentServiceUnavailable, LedgerUnavailable, StoreFailed; then it is due again.
        """
        now_ms = self._clock.now_ms()
        if charge.state in PAID:
            return await self._release(charge)
        if charge.state == "failed" and charge.reason == WAIVING:
            return await self._waived(charge)
        if charge.state == "pending" and charge.due_ms <= now_ms:
            return await self._looked_up(charge)
        if (charge.state, "begun") not in NEXT or charge.due_ms > now_ms:
            return charge
        if charge.seller == "held":
            await self._ledger.credit(proceeds(charge))
        if charge.state != "sending" and await self._is_frozen(charge.user):
            later = replace(charge, due_ms=now_ms + _LONGEST_MS, reason="account_frozen", turn=charge.turn + 1)
            return later if await self._book.move_charge(charge, later) else await self.find(charge.id)
        if charge.intent is not None and charge.state == "sending":
            outcome = await self._provider.look(charge.intent)
            if outcome is not None and outcome.event in ("succeeded", "processing"):
                return await self.settle(charge, outcome)
        if charge.state != "sending":
            await self._tell_trail(charge, "sending", after=charge.intent or charge.refund)
        begun = await self._begun(charge, now_ms)
        if begun is None:  # somebody else has it
            return await self.find(charge.id)
        try:
            begun = await self._with_intent(begun)
        except ChargeRefused as refused:
            return await self._failed(begun, str(refused))
        return await self.settle(begun, await self._provider.confirm(begun))

    async def _looked_up(self, charge: Charge) -> Charge:
        """Whether the person has confirmed it, and nobody told us."""
        outcome = await self._provider.look(str(charge.intent))
        if outcome is not None and outcome.event == "succeeded":
            return await self.settle(charge, outcome)
        later = replace(charge, due_ms=self._clock.now_ms() + _LONGEST_MS, turn=charge.turn + 1)
        return later if await self._book.move_charge(charge, later) else await self.find(charge.id)

    async def _begun(self, charge: Charge, now_ms: int) -> Charge | None:
        """Take the next turn of it, with the method that is saved by now."""
        agreed = await self._book.agreed(charge.user, live=self._live)
        method = agreed.method if agreed is not None and agreed.method else charge.method
        if charge.state == "sending":
            method = charge.method  # the same attempt once more is the same words
        return await self._moved(charge, "begun", due_ms=now_ms + _CALL_MS, method=method)

    async def _with_intent(self, charge: Charge) -> Charge:
        if charge.intent is not None:
            return charge
        again = self._clock.now_ms() - charge.created_ms > _FRESH_MS
        intent = await self._provider.intent(charge, again=again)
        known = replace(charge, intent=intent, turn=charge.turn + 1)
        if not await self._book.move_charge(charge, known):
            raise PaymentServiceUnavailable()  # somebody else has it by now
        return known

    async def settle(self, charge: Charge, outcome: Outcome) -> Charge:
        """Write down what became of an attempt, and do what follows. Raises as `go_on`."""
        if (charge.state, outcome.event) not in NEXT:
            return charge
        steps = {"succeeded": self._paid, "declined": self._declined, "authentication": self._waits}
        step = steps.get(outcome.event)
        if step is not None:
            return await step(charge, outcome)
        if outcome.event == "given up":
            return await self._failed(charge, outcome.why)
        later = self._clock.now_ms() + _LONGEST_MS
        return await self._moved(charge, "processing", due_ms=later, reason="processing") or charge

    async def _paid(self, charge: Charge, _: Outcome) -> Charge:
        """Into the books first: what is told to be paid is there."""
        if (now := await self.find(charge.id)).state in PAID:  # an event was faster
            return now
        await self._tell_trail(charge, "succeeded")
        if charge.seller == "held":
            await self._ledger.credit(proceeds(charge))
        await self._ledger.credit(revenue(charge))
        after = await self._moved(charge, "succeeded", reason=None)
        if after is None:
            return await self.find(charge.id)
        self._report("a fee was charged", level="info", id=charge.id, amount=str(charge.fee))
        return await self._release(after)

    async def _declined(self, charge: Charge, outcome: Outcome) -> Charge:
        if charge.tries >= len(self._terms.retry_ms):
            return await self._failed(charge, outcome.why, tries=charge.tries + 1)
        now_ms = self._clock.now_ms()
        due_ms = now_ms + self._terms.retry_ms[charge.tries]
        await self._tell_trail(charge, "declined", why=outcome.why)
        changes = {"tries": charge.tries + 1, "changed_ms": now_ms, "due_ms": due_ms, "reason": outcome.why}
        after = await self._moved(charge, "declined", **changes)
        if after is not None:
            await self._put_job(after, due_ms)
        return after or await self.find(charge.id)

    async def _waits(self, charge: Charge, outcome: Outcome) -> Charge:
        """Their bank wants the person: they are told where."""
        await self._tell_trail(charge, "pending", why=outcome.why)
        later = self._clock.now_ms() + _LONGEST_MS
        after = await self._moved(charge, "authentication", reason=outcome.why, due_ms=later)
        if after is not None:
            await self._tell_person(after, "charge.pending", {"url": self.link(after)})
        return after or await self.find(charge.id)

    async def _failed(self, charge: Charge, why: str, **changes: Any) -> Charge:
        await self._tell_trail(charge, "failed", why=why)
        after = await self._moved(charge, "given up", reason=why, **changes)
        if after is not None:
            await self._tell_person(after, "charge.failed", {})
            self._report("a fee could not be charged", id=charge.id, why=why)
        return after or await self.find(charge.id)

    async def waive(self, charge: Charge, reason: str) -> Charge:
        """An operator gives the fee up, and what is held is the seller's. Raises ChargeConflict, and as `go_on`."""
        if (charge.state, "waived") not in NEXT or charge.reason == WAIVED:
            raise ChargeConflict(charge.refund)
        if charge.reason != WAIVING:
            facts = {"fee": str(charge.fee), "refund": charge.refund, "before": charge.state, "after": charge.id}
            await self._witness.write(Act("operator", "operator", "charge.waive", charge.id, "command", reason, facts))
            moved = await self._moved(charge, "waived", reason=WAIVING)
            if moved is None:
                raise ChargeConflict(charge.refund)  # it is tried again just now
            charge = moved
        return await self.go_on(charge)

    async def _waived(self, charge: Charge) -> Charge:
        """Nobody is to pay it any more. What was paid all the same is believed."""
        if charge.intent is not None:
            outcome = await self._provider.cancel(charge.intent)
            if outcome.event == "succeeded":
                return await self.settle(charge, outcome)
            if outcome.event != "given up":
                raise PaymentServiceUnavailable()
        await self._tell_trail(charge, WAIVED)
        if charge.seller == "held":
            await self._ledger.credit(proceeds(charge))
            await self._free(charge)
        now_ms, seller = self._clock.now_ms(), "due" if charge.seller == "held" else charge.seller
        after = replace(charge, seller=seller, reason=WAIVED, changed_ms=now_ms, turn=charge.turn + 1)
        return after if await self._book.move_charge(charge, after) else await self.find(charge.id)

    async def _moved(self, charge: Charge, event: ChargeEvent, **changes: Any) -> Charge | None:
        """Write down the next state and these; None if somebody else has moved it meanwhile."""
        now_ms = self._clock.now_ms()
        values: dict[str, Any] = {"state": NEXT[charge.state, event], "changed_ms": now_ms, "due_ms": now_ms, **changes}
        after = replace(charge, turn=charge.turn + 1, **values)
        return after if await self._book.move_charge(charge, after) else None

    # --- the seller ---------------------------------------------------------------------------------------------------

    async def _release(self, charge: Charge) -> Charge:
        """What was held is due to the seller, now that the fee is paid; once."""
        if charge.seller not in ("held", "sending") or charge.due_ms > self._clock.now_ms():
            return charge
        if charge.seller == "sending" and await self._transfers.find_transfer(charge.key) is not None:
            # A version before this one has sent it, and was stopped.
            await self._ledger.reverse(released(charge))
            return await self._given(charge, "paid")
        await self._free(charge)
        return await self._given(charge, "due")

    async def _free(self, charge: Charge) -> None:
        out, into = freed(charge)
        await self._tell_trail(charge, "release", before=out.ref, after=into.ref)
        await self._ledger.reverse(out)
        await self._ledger.credit(into)

    async def _given(self, charge: Charge, seller: SellerState) -> Charge:
        now_ms = self._clock.now_ms()
        after = replace(charge, seller=seller, reason=None, changed_ms=now_ms, turn=charge.turn + 1)
        return after if await self._book.move_charge(charge, after) else await self.find(charge.id)

    # --- jobs and the sweep -------------------------------------------------------------------------------------------

    async def _put_job(self, charge: Charge, due_ms: int) -> None:
        """One for each attempt."""
        cause = f"{CHARGE} {charge.id} {charge.tries}"
        id = f"job_{charge.id.removeprefix('txn_')}{charge.tries}"
        await self._jobs.put_job(CHARGE, charge.user, PROVIDER, id=id, cause=cause, now_ms=due_ms)

    async def do(self, job: Job, note: Callable[[Mapping[str, Any]], Awaitable[None]]) -> None:
        """One attempt, if nobody has made it. Raises TryLater, RecordsUnavailable."""
        id, tries = f"txn_{job.id[4:28]}", int(job.id[28:])
        charge = await self._book.find_charge(id)
        if charge is None or charge.tries != tries or (charge.state, "begun") not in NEXT:
            return
        await note({"transaction": charge.id, "attempt": tries + 1})
        now_ms = self._clock.now_ms()
        if charge.due_ms > now_ms:
            raise TryLater("somebody is at it", (charge.due_ms - now_ms) / 1000)
        await self._attempt(charge)

    async def _attempt(self, charge: Charge) -> None:
        try:
            await self.go_on(charge)
        except (PaymentServiceUnavailable, LedgerUnavailable, StoreFailed) as error:
            self._report("a charge waits", id=charge.id, why=type(error).__name__)
            raise TryLater("stripe cannot be asked, or the books cannot be written") from None

    async def sweep(self) -> None:
        """Go on with what is due, whatever became of its job. Raises RecordsUnavailable."""
        now_ms = self._clock.now_ms()
        for charge in await self._book.due_charges(live=self._live, now_ms=now_ms - _JOB_MS, count=_AT_ONCE):
            with suppress(TryLater):
                await self._attempt(charge)

    # --- what comes later ---------------------------------------------------------------------------------------------

    async def heard(self, event: Event) -> bool:
        """An event about a charge of ours, or about a method that may be charged."""
        if event.live != self._live:
            return False
        method = self._provider.method_notice(event)
        if method is not None:
            now_ms = self._clock.now_ms()
            if method.kind == "saved" and await self._book.agreed_by(method.customer) is not None:
                await self._book.keep_method(method.customer, method.method, now_ms=now_ms)
                return True
            return method.kind == "gone" and await self._book.drop_method(method.method, now_ms=now_ms)
        notice = self._provider.intent_notice(event)
        charge = await self._book.find_charge(notice.charge) if notice is not None else None
        if notice is None or charge is None or charge.live != self._live:
            return False
        if charge.intent not in (None, notice.intent):
            self._report("another payment intent is of this charge", id=charge.id, intent=notice.intent)
            return False
        under_way = charge.due_ms > self._clock.now_ms() and charge.reason != "processing"
        if notice.outcome.event != "succeeded" and under_way:
            return True  # whoever is at it hears the same
        known = replace(charge, intent=notice.intent)
        try:
            await self.settle(known, notice.outcome)
        except (LedgerUnavailable, StoreFailed) as error:
            raise RecordsUnavailable() from error
        return True

    # --- where the person confirms it ---------------------------------------------------------------------------------

    def link(self, charge: Charge) -> str:
        """An address of ours that leads to their bank; nobody can make one up."""
        nonce = self._randomness.bytes(12)
        key_id, sealed = self._keyring.seal(_PURPOSE, charge.id.encode(), nonce=nonce)
        return f"{self._public_url}{CONFIRM_PATH}?charge={key_id}{urlsafe_b64encode(sealed).decode().rstrip('=')}"

    async def confirm_page(self, text: str, back: str) -> str:
        """Where it leads to now; back, if there is nothing to confirm. Raises NoRoute, PaymentServiceUnavailable."""
        charge = await self.find(self._opened(text))
        if charge.state != "pending":
            return back
        outcome = await self._provider.confirm_page(charge, back)
        if outcome.event == "succeeded":
            await self.settle(charge, outcome)
        return outcome.url or back

    def _opened(self, text: str) -> str:
        sealed = text[KEY_ID_CHARS:]
        try:
            bytes = urlsafe_b64decode(sealed + "=" * (-len(sealed) % 4))
            return self._keyring.open(_PURPOSE, text[:KEY_ID_CHARS], bytes).decode()
        except (NotOurs, UnknownKey, ValueError):
            raise NoRoute() from None

    # --- telling ------------------------------------------------------------------------------------------------------

    async def _tell_trail(
        self, charge: Charge, what: str, actor: str = "gateway", *, role: Role = "gateway", why: str = "",
        before: str = "", after: str = "",
    ) -> None:  # fmt: skip
        facts = {
            "amount": str(charge.amount),
            "fee": str(charge.fee),
            "refund": charge.refund,
            "attempt": str(charge.tries + 1),
            "before": before or (charge.state if what != "planned" else ""),
            "after": after or charge.intent or charge.id,
        }
        # Of one attempt each of these happens once, however many are at it.
        await self._witness.write_once(Act(actor, role, f"charge.{what}", charge.id, "api", why, facts), by="attempt")

    async def _tell_person(self, charge: Charge, type: Any, more: Mapping[str, Any]) -> None:
        user = await self._people.user(charge.user)
        if user is not None:
            content = {"transaction": charge.id, "micros": charge.fee.micros, "currency": charge.fee.currency, **more}
            cause = f"{type} {charge.id} {charge.turn}"
            await self._tells.put(type, user.account, content, cause=cause, now_ms=self._clock.now_ms())
