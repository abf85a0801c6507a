"""A balance runs low, and a saved card pays.

**Noticing costs a request nothing.** `spent` looks an account up among those with a rule, in this process's memory; for
all others that is all. Whoever is below the line has a task begun, beside the road. Rules that another worker or host
changed are heard of within seconds, and looked after at once. What a worker believes of a balance may be what it was a
while ago, if others spend from it too; then the refusal notices at the latest.

**It is charged once.** Workers and hosts may all notice at the same moment. The task reads the number of the newest
refill, then what the account has by the books (not by what this process believes: others credit too), and then claims
the next number in one statement (`core/auto_top_ups.py`). What is asked of the provider is written down before, and
asked again under the same key until the outcome is known: here, by the sweep, or by an event, whichever comes first.
The credit is the one of every payment (`Till.fulfil`, by the payment intent's id), and the refill is over only after
it, so that who looks next sees the money.

**It is not tried twice.** What the bank refused pauses the rule before the refill is over. A ceiling does not pause it.

**A frozen account is not charged.** The claim asks, and whoever repeats a refill asks again.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import replace

from gateway.core import payment_acts, references
from gateway.core.auto_top_ups import (
    DAY_MS,
    MONTH_MS,
    REPEAT_MS_MAX,
    CardNotice,
    Ceilings,
    Pause,
    Refill,
    Refilled,
    Rule,
    Wish,
    strictest,
)
from gateway.core.callers import Caller
from gateway.core.keyring import Keyring, NotOurs, UnknownKey
from gateway.core.money import Money
from gateway.core.payments import PARKED, Event
from gateway.core.references import NO_TOKEN, Reference
from gateway.core.refusals import (
    AutoTopUpStands,
    LedgerUnavailable,
    PaymentRequired,
    PaymentServiceUnavailable,
    RecordsUnavailable,
    Refusal,
)
from gateway.core.reversals import Notice
from gateway.ports import (
    AutoTopUps,
    Cards,
    Clock,
    FreezeBook,
    Hold,
    Randomness,
    Receipts,
    Standings,
    StoreFailed,
    Till,
    WitnessesOnce,
)

REFRESH_SECONDS = 2.0
SWEEP_SECONDS = 30.0
_OVERLAP_MS = 60_000
"""How far the clocks of hosts may be apart, and a change be on its way."""
_LOOKS_AFTER = (0.0, 0.2, 2.0)
"""When the books are looked at: what a request did cost may take a moment to be committed."""
_REST_SECONDS = 5.0
"""After an account was looked after, in this process; a refused caller waits less."""
_REST_SECONDS_REFUSED = 1.0
_UNDER_WAY_MS = 20_000
"""How long a refill is left to whoever began it."""
_NEVER = -(2**63)
_LOOKED_MAX = 10_000
_FAILURES_MAX = 5
"""In one sweep; then the provider is left alone until the next."""


class Replenish:
    """Implements `ports.Replenishes`."""

    def __init__(
        self,
        *,
        cards: Cards,
        rules: AutoTopUps,
        freezes: FreezeBook,
        receipts: Receipts,
        books: Standings,
        till: Till,
        witness: WitnessesOnce,
        ceilings: Ceilings,
        keyring: Keyring,
        live: bool,
        url: Callable[[Caller], str],
        clock: Clock,
        randomness: Randomness,
        report: Callable[..., None],
        root: Callable[[str], str] = lambda account: account,
    ) -> None:
        self._root = root
        self._cards = cards
        self._rules = rules
        self._freezes = freezes
        self._receipts = receipts
        self._books = books
        self._till = till
        self._witness = witness
        self._ceilings = ceilings
        self._keyring = keyring
        self._live = live
        self._url = url
        self._clock = clock
        self._randomness = randomness
        self._report = report
        self._lines: dict[str, int] = {}
        """By account, in micros; of one whose rule is not on, a line that no balance is below."""
        self._seen_ms = 0
        self._looked: OrderedDict[str, float] = OrderedDict()
        """When an account was last looked after, oldest first."""
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._loops: list[asyncio.Task[None]] = []

    # --- life ---------------------------------------------------------------------------------------------------------

    async def open(self, *, sweeps: bool) -> None:
        """Begin. One of several workers sweeps for all."""
        await self.refresh()
        self._loops.append(asyncio.create_task(self._refresh_often(), name="auto top-up rules"))
        if sweeps:
            self._loops.append(asyncio.create_task(self._sweep_often(), name="auto top-up sweep"))

    async def close(self) -> None:
        """Stop; a refill whose outcome is not known yet is taken up at the next start."""
        tasks = [*self._loops, *self._tasks.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def settled(self) -> None:
        """Until nobody is being looked after."""
        while self._tasks:
            await asyncio.wait(list(self._tasks.values()))

    async def refresh(self) -> None:
        """Hear of rules that changed, here or elsewhere. Raises RecordsUnavailable."""
        begun = self._clock.now_ms()
        for rule in await self._rules.rules_since(max(0, self._seen_ms - _OVERLAP_MS)):
            if self._learn(rule) and self._seen_ms:
                self._look_after(rule.account)
        self._seen_ms = begun

    def _learn(self, rule: Rule) -> bool:
        """Remember its line; whether it pays from now on, at this line."""
        if not rule.wanted:
            self._lines.pop(rule.account, None)
            return False
        line = rule.wish.threshold.micros if self._here(rule).state == "on" else _NEVER
        changed = self._lines.get(rule.account) != line
        self._lines[rule.account] = line
        return changed and line != _NEVER

    async def _refresh_often(self) -> None:
        while True:
            await asyncio.sleep(REFRESH_SECONDS)
            try:
                await self.refresh()
            except RecordsUnavailable:
                continue

    async def _sweep_often(self) -> None:
        while True:
            await self.sweep()
            await asyncio.sleep(SWEEP_SECONDS)

    async def sweep(self, *, begun_before_ms: int = _UNDER_WAY_MS) -> None:
        """Find out what became of refills that nobody heard the end of."""
        failures = 0
        try:
            refills = await self._rules.open_refills(self._clock.now_ms() - begun_before_ms)
        except RecordsUnavailable:
            return
        for refill in refills:
            try:
                await self._finish(refill)
            except Exception as error:
                # Whatever it is, it must not keep the others waiting, nor end the sweep.
                self._report("auto top-up waits", account=refill.account, why=type(error).__name__)
                failures += 1
                if failures == _FAILURES_MAX:
                    return

    # --- noticing -----------------------------------------------------------------------------------------------------

    def spent(self, account: str, hold: Hold) -> None:
        """A request was paid for."""
        line = self._lines.get(account)
        if line is not None and not (balance := hold.balance).named and balance.micros < line:
            self._look_after(account)

    async def offer(self, refusal: PaymentRequired, caller: Caller) -> Refusal:
        """The till's offer, with how auto top-up stands where there is a rule."""
        offered = await self._till.offer(refusal, caller)
        if caller.account not in self._lines or not isinstance(offered, PaymentRequired) or offered.price.named:
            return offered
        try:
            stands = await self.stands(caller.account)
        except RecordsUnavailable:
            return offered
        if stands is None:
            return offered
        rule, reason = stands
        self._learn(rule)
        if rule.state == "on":
            self._look_after(caller.account, rest_seconds=_REST_SECONDS_REFUSED)
        url = None if rule.state == "on" else self._url(caller)
        return replace(offered, auto_top_up=AutoTopUpStands(rule.state, reason, url))

    def _look_after(self, account: str, *, rest_seconds: float | None = None) -> None:
        """Begin, unless somebody does already or has just done."""
        loop = asyncio.get_running_loop()
        rest = _REST_SECONDS if rest_seconds is None else rest_seconds
        if account in self._tasks or self._looked.get(account, -rest) > loop.time() - rest:
            return
        task = loop.create_task(self._replenish(account), name=f"auto top-up {account}")
        self._tasks[account] = task
        task.add_done_callback(lambda _: self._ended(account))

    def _ended(self, account: str) -> None:
        task = self._tasks.pop(account)
        self._looked.pop(account, None)
        self._looked[account] = asyncio.get_running_loop().time()
        if len(self._looked) > _LOOKED_MAX:
            self._looked.popitem(last=False)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._report("auto top-up failed", account=account, error=type(error).__name__)

    # --- paying -------------------------------------------------------------------------------------------------------

    async def _replenish(self, account: str) -> None:
        try:
            for seconds in _LOOKS_AFTER:
                await asyncio.sleep(seconds)
                refill = await self._needed(account)
                if refill is not None:
                    if await self._rules.begin_refill(*refill):
                        await self._finish(refill[0])
                    return
        except (RecordsUnavailable, PaymentServiceUnavailable, LedgerUnavailable, StoreFailed) as error:
            self._report("auto top-up waits", account=account, why=type(error).__name__)

    async def _needed(self, account: str) -> tuple[Refill, Ceilings] | None:
        """What to charge, if by the books it is needed. The number is read first: see above."""
        rule = await self._rules.find_rule(account)
        if rule is None or not rule.wanted or rule.card is None or self._here(rule).paused:
            return None
        number = await self._rules.last_refill(account) + 1
        standing = await self._books.standing(account, rule.wish.threshold.currency)
        if not Money.zero(standing.currency) <= standing < rule.wish.threshold:
            return None  # less than nothing is what a payer took back, or an operator: not for the card to pay
        refill = Refill(
            account=account,
            number=number,
            key=self._randomness.bytes(16).hex(),
            amount=rule.wish.amount,
            customer=rule.card.customer,
            method=rule.card.method,
            reference=self._reference(account),
            created_ms=self._clock.now_ms(),
        )
        return refill, strictest(rule.ceilings, self._ceilings)

    def _here(self, rule: Rule) -> Rule:
        return rule.where(self._ceilings.day.currency)

    def _most(self, known: Rule | None) -> Ceilings:
        """What its holder allowed; all that may be, if that was in another currency or never said."""
        return known.ceilings if known and self._here(known) == known else self._ceilings

    def _reference(self, account: str) -> str:
        known = Reference(account, NO_TOKEN, "0000", self._clock.now_ms() // 1000)
        return references.seal(self._keyring, known, nonce=self._randomness.bytes(12))

    async def _finish(self, refill: Refill) -> None:
        """Ask the provider, and do what follows. Raises PaymentServiceUnavailable and the like; then it stays open."""
        await self._witness.write_once(payment_acts.asked(refill))  # whoever is at it, and before the card is asked
        repeatable = self._clock.now_ms() - refill.created_ms < REPEAT_MS_MAX
        if repeatable and await self._frozen(refill.account):
            # It was asked for before that, or is about to be: what became of it counts, but nobody asks for it now.
            refilled = await self._cards.find_refill(refill) or Refilled("processing")
        elif repeatable:
            refilled = await self._cards.refill(refill)
        else:  # the provider may have forgotten the key: to repeat it might charge it again
            refilled = await self._cards.find_refill(refill) or Refilled("refused", "never arrived")
        if refilled.state == "succeeded":
            await self._paid(refill, refilled)
        elif refilled.state != "processing":
            await self._refused(refill, refilled)

    async def _frozen(self, account: str) -> bool:
        freezes = await self._freezes.freezes_of(account)
        return bool(freezes) and freezes[-1].frozen

    async def _paid(self, refill: Refill, refilled: Refilled) -> None:
        """Credit it; the event does the same. The refill is over when the money is in the books, and not before."""
        payment = refilled.payment
        if payment is None:
            raise PaymentServiceUnavailable()
        outcome = await self._till.fulfil(payment)
        if outcome in PARKED:
            self._report("payment parked", session=payment.id, why=PARKED[outcome])
        if await self._rules.end_refill(refill.key, "succeeded"):
            self._report("auto top-up", level="info", account=refill.account, amount=str(refill.amount))

    async def _refused(self, refill: Refill, refilled: Refilled) -> None:
        pause: Pause = "refused"
        if refilled.state in ("declined", "authentication_required"):
            pause = refilled.state
        if await self._rules.find_refill(refill.key) is None:
            return  # it was over, and somebody may have acted since
        await self._witness.write_once(payment_acts.refused(refill, pause, refilled.why))
        await self._rules.pause(refill.method, pause, now_ms=self._clock.now_ms())
        await self._rules.end_refill(refill.key, "failed")
        self._report("auto top-up paused", level="info", account=refill.account, why=pause, said=refilled.why)
        await self._relearn(refill.account)

    async def _relearn(self, account: str) -> None:
        rule = await self._rules.find_rule(account)
        if rule is not None and self._learn(rule):
            self._look_after(account)

    # --- hearing ------------------------------------------------------------------------------------------------------

    async def goes_back(self, notice: Notice) -> None:
        """A payer takes money back: the card is not to fetch it again."""
        if not notice.stands:
            return
        credited = await self._receipts.find_credited(notice.payment)
        rule = await self._rules.find_rule(self._root(credited.account)) if credited else None
        if rule is not None and rule.card is not None and rule.paused is None:
            await self._rules.pause(rule.card.method, "taken_back", now_ms=self._clock.now_ms())
            self._report("auto top-up paused", level="info", account=rule.account, why="taken_back")
            await self._relearn(rule.account)

    async def heard(self, event: Event) -> bool:
        """Act on what an event says of cards and refills."""
        notice = self._cards.card_notice(event)
        if notice is None or notice.live != self._live:
            return False
        now = self._clock.now_ms()
        if notice.kind == "saved":
            await self._saved(notice)
        elif notice.kind == "removed":
            await self._rules.drop_card(notice.about, now_ms=now)
        elif notice.kind == "customer_gone":
            await self._rules.drop_customer(notice.about, now_ms=now)
        elif notice.kind == "renewed":
            if notice.expires is not None:
                await self._rules.card_expires(notice.about, notice.expires)
            await self._rules.renew(notice.about, at_ms=_latest_ms(notice), now_ms=now)
        elif notice.kind == "paid":
            await self._rules.end_refill(notice.about, "succeeded")
        elif notice.outcome is not None:
            refill = await self._rules.find_refill(notice.about)
            if refill is not None:
                await self._refused(refill, notice.outcome)
        await self.refresh()
        return True

    async def _saved(self, notice: CardNotice) -> None:
        """A card was saved at a checkout, for what was wished there."""
        try:
            account = self._root(references.unseal(self._keyring, notice.reference or "").account)
        except (NotOurs, UnknownKey):
            self._report("a saved card names no account", session=notice.about)
            return
        card = await self._cards.saved_card(notice.about)
        if card is None or notice.wish is None:
            self._report("a checkout saved no card", session=notice.about)
            return
        known = await self._rules.find_rule(account)
        if known is not None and known.wanted and known.state == "on" and known.customer != card.customer:
            # Anybody may pay for an account and save a card for it, but one that works is its holder's to replace.
            self._report("a saved card replaces none", level="info", account=account)
            return
        most = self._most(known)
        now = self._clock.now_ms()
        await self._rules.keep_card(account, card, notice.wish, most, at_ms=_latest_ms(notice), now_ms=now)
        self._report("card saved", level="info", account=account)
        await self._relearn(account)

    # --- the holder's own ---------------------------------------------------------------------------------------------

    async def stands(self, account: str) -> tuple[Rule, str | None] | None:
        """The rule, and why it would not pay just now; None if there is none. Raises RecordsUnavailable."""
        rule = await self._rules.find_rule(account)
        if rule is None or not rule.wanted:
            return None
        rule = self._here(rule)
        if rule.state != "on":
            return rule, rule.paused
        most, now = strictest(rule.ceilings, self._ceilings), self._clock.now_ms()
        for ceiling, length, word in ((most.day, DAY_MS, "day_ceiling"), (most.month, MONTH_MS, "month_ceiling")):
            before = await self._rules.refilled_since(account, now - length)
            if before + rule.wish.amount.micros > ceiling.micros:
                return rule, word
        return rule, None

    async def want(self, account: str, wish: Wish, ceilings: Ceilings | None = None) -> Rule:
        """Make the rule or change it, and use its card again if it was paused. Raises RecordsUnavailable."""
        known = await self._rules.find_rule(account)
        most = ceilings or self._most(known)
        await self._rules.keep_rule(account, wish, most, now_ms=self._clock.now_ms())
        made = await self._rules.find_rule(account)
        assert made is not None, "it was kept"
        if self._learn(made):
            self._look_after(account)
        return made

    async def stop(self, account: str) -> bool:
        """Switch it off; False if it was. Raises RecordsUnavailable."""
        self._lines.pop(account, None)
        return await self._rules.drop_rule(account, now_ms=self._clock.now_ms())

    @property
    def ceilings(self) -> Ceilings:
        """The most that anybody may allow."""
        return self._ceilings


def _latest_ms(notice: CardNotice) -> int:
    """The end of the second in which it happened."""
    return notice.at * 1000 + 999
