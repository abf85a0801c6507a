"""A balance runs low, and a saved card pays: once, whoever notices and in whatever order it is heard of."""

import itertools
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass

import pytest

from gateway.adapters.stripe import cards
from gateway.core import references
from gateway.core.auto_top_ups import REPEAT_MS_MAX, CardNotice, Ceilings, Refill, Refilled, SavedCard, Wish
from gateway.core.callers import Caller
from gateway.core.ids import RequestId
from gateway.core.ledger import Credit, Reversal, Tariff
from gateway.core.money import Money
from gateway.core.orders import Order
from gateway.core.payments import Event, Payment
from gateway.core.references import NO_TOKEN
from gateway.core.refusals import PaymentRequired, PaymentServiceUnavailable
from gateway.flows.replenish import Replenish
from tests.fakes import SeededRandomness
from tests.tills import ACCOUNT, FIVE, KEYRING, MemoryTill, paid, refund, sealed

ONE = Money.parse("1.00 usd")
WISH = Wish(ONE, FIVE)
MOST = Ceilings(Money.parse("20.00 usd"), Money.parse("30.00 usd"))
CARD = SavedCard("cus_1", "pm_1", "visa 4242")
CALLER = Caller(ACCOUNT, b"d" * 32, 7)


class Bank:
    """Implements `ports.Cards`: does what it is told to, once per key, and reads events as Stripe's adapter does."""

    def __init__(self) -> None:
        self.says = Refilled("succeeded")
        self.silent = 0
        self.asked: list[str] = []
        self.charged: dict[str, Refilled] = {}
        self.meanwhile: Callable[[], Awaitable[None]] | None = None

    async def checkout(self, order: Order) -> str:
        raise AssertionError("not asked here")

    async def saved_card(self, session: str) -> SavedCard | None:
        if self.silent:
            self.silent -= 1
            raise PaymentServiceUnavailable()
        return CARD

    async def refill(self, refill: Refill) -> Refilled:
        self.asked.append(refill.key)
        made = self.charged.setdefault(refill.key, self._made(refill))
        if self.meanwhile is not None:
            await self.meanwhile()
        if self.silent:
            self.silent -= 1
            raise PaymentServiceUnavailable()
        return made

    async def find_refill(self, refill: Refill) -> Refilled | None:
        return self.charged.get(refill.key)

    def _made(self, refill: Refill) -> Refilled:
        if self.says.state != "succeeded":
            return self.says
        payment = Payment(
            f"pi_{refill.number}", refill.amount, refill.reference, True, False, intent=f"pi_{refill.number}"
        )
        return Refilled("succeeded", payment=payment)

    def card_notice(self, event: Event) -> CardNotice | None:
        return cards.notice(event)


@dataclass
class Shop:
    """One bank, one set of books and records, and as many processes as there are in `flows`."""

    till: MemoryTill
    bank: Bank
    flows: list[Replenish]

    def process(self) -> Replenish:
        flow = Replenish(
            cards=self.bank,
            rules=self.till.records.ways_to_pay,
            freezes=self.till.records.freezes,
            receipts=self.till.records,
            books=self.till.store,
            till=self.till.top_up,
            witness=self.till.trail,
            ceilings=MOST,
            keyring=KEYRING,
            live=False,
            url=lambda caller: f"https://shop.example/-/top-up?for={caller.account}",
            clock=self.till.clock,
            randomness=SeededRandomness(len(self.flows)),
            report=lambda what, **_: self.till.told.append(what),
        )
        self.flows.append(flow)
        return flow

    @property
    def flow(self) -> Replenish:
        return self.flows[0]

    async def notice(self) -> None:
        """Every process is asked for a request that the balance does not cover."""
        for flow in self.flows:
            flow._looked.clear()
            await flow.refresh()
            await flow.offer(PaymentRequired(price=FIVE, balance=ONE), CALLER)
        for flow in self.flows:
            await flow.settled()

    async def give(self, amount: str, ref: str = "manual:1") -> None:
        await self.till.ledger.credit(Credit(ref, ACCOUNT, Money.parse(amount), "manual", "for a test"))

    async def freeze(self, *, frozen: bool = True) -> None:
        now_ms = self.till.clock.now_ms()
        await self.till.records.freezes.add_freeze(ACCOUNT, frozen=frozen, reason="a test", now_ms=now_ms)

    async def state(self) -> tuple[str, str | None]:
        stands = await self.flow.stands(ACCOUNT)
        return ("off", None) if stands is None else (stands[0].state, stands[1])


@pytest.fixture
async def shop(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Shop]:
    monkeypatch.setattr("gateway.flows.replenish._LOOKS_AFTER", (0.0,))
    made = Shop(MemoryTill(), Bank(), [])
    await made.till.ledger.open()
    made.process()
    await made.till.records.ways_to_pay.keep_card(ACCOUNT, CARD, WISH, MOST, at_ms=0, now_ms=1)
    yield made
    await made.till.ledger.close()


def refill_event(type: str, shop: Shop, *, number: int = 1, error: str | None = None) -> Event:
    """What Stripe tells of the refill of this number."""
    (refill,) = [one for one, _ in shop.till.records.ways_to_pay.refills.values() if one.number == number]
    about = {
        "id": f"pi_{number}",
        "status": "succeeded" if error is None else "requires_payment_method",
        "amount_received": 500,
        "currency": "usd",
        "livemode": False,
        "metadata": {cards.KEY: refill.key, cards.REFERENCE: refill.reference},
        "last_payment_error": {"code": error} if error else None,
    }
    return Event(f"evt_{type}_{number}", type, False, shop.till.clock.now_ms() // 1000, about)


async def test_below_the_line_the_card_pays_once_and_at_the_line_it_does_not(shop: Shop) -> None:
    await shop.give("1.00 usd")
    await shop.notice()
    assert shop.bank.asked == []
    await shop.till.spend(1)
    await shop.notice()
    await shop.notice()
    assert len(shop.bank.charged) == 1
    assert await shop.till.available() == 5_999_999
    assert await shop.till.records.find(NO_TOKEN) is None, "a refill has no token to put on record"


async def test_spending_is_noticed_without_waiting_and_nobody_else_is_looked_at(shop: Shop) -> None:
    await shop.flow.refresh()
    await shop.give("1.00 usd")
    for account, tasks in (("acct_of_another", 0), (ACCOUNT, 1)):
        cost, tariff = Money(1, "usd"), Tariff("search", "operator", 0, "p")
        hold = await shop.till.ledger.hold(ACCOUNT, cost, id=RequestId(1, 1), token=7, tariff=tariff)
        shop.till.ledger.settle(hold, cost)
        shop.flow.spent(account, hold)
        assert len(shop.flow._tasks) == tasks
    await shop.flow.settled()


async def test_what_is_left_of_a_named_credit_is_nothing_to_pay_for(shop: Shop) -> None:
    await shop.flow.refresh()
    one = Money(1, "unit:export")
    await shop.till.ledger.credit(Credit("m:u", ACCOUNT, one, "manual", "a test"))
    hold = await shop.till.ledger.hold(
        ACCOUNT, one, id=RequestId(1, 1), token=7, tariff=Tariff("s", "operator", 0, "p")
    )
    shop.flow.spent(ACCOUNT, hold)
    assert not shop.flow._tasks
    shop.till.ledger.settle(hold, one)


async def test_many_processes_notice_and_one_pays(shop: Shop) -> None:
    for _ in range(7):
        shop.process()
    await shop.notice()
    assert len(shop.bank.charged) == 1
    assert await shop.till.available() == 5_000_000
    assert [one.action for one in shop.till.trail.acts] == ["payment.asked", "payment.credited"]
    asked = shop.till.trail.acts[0]
    assert (asked.object, asked.facts["amount"]) == (f"auto_top_up:{ACCOUNT}:1", "5.00 usd")
    assert asked.facts["after"] == shop.bank.asked[0]


async def test_who_looked_before_the_money_came_finds_the_number_taken(shop: Shop) -> None:
    """The number is read before the balance: a late process whose balance is old cannot charge."""
    late = await shop.flow._needed(ACCOUNT)
    assert late is not None
    await shop.notice()
    assert await shop.till.available() == 5_000_000
    assert not await shop.till.records.ways_to_pay.begin_refill(*late)


async def test_an_unknown_outcome_is_asked_for_again_under_the_same_key(shop: Shop) -> None:
    shop.bank.silent = 2
    await shop.notice()
    await shop.notice()
    assert await shop.till.available() == 0
    assert len(set(shop.bank.asked)) == 1, "one is under way, so no other begins"
    await shop.flow.sweep(begun_before_ms=-1)
    await shop.flow.sweep(begun_before_ms=-1)
    assert len(shop.bank.asked) == 3
    assert len(set(shop.bank.asked)) == 1
    assert await shop.till.available() == 5_000_000
    assert [one.action for one in shop.till.trail.acts] == ["payment.asked", "payment.credited"]


@pytest.mark.parametrize(("arrived", "balance"), [(True, 5_000_000), (False, 0)])
async def test_after_a_day_it_is_looked_up_and_not_repeated(shop: Shop, arrived: bool, balance: int) -> None:
    shop.bank.silent = 1
    await shop.notice()
    if not arrived:
        shop.bank.charged.clear()
    shop.till.clock.pass_seconds(REPEAT_MS_MAX / 1000)
    await shop.flow.sweep()
    assert len(shop.bank.asked) == 1
    assert await shop.till.available() == balance
    assert await shop.state() == (("on", None) if arrived else ("paused", "refused"))


@pytest.mark.parametrize("why", ["declined", "authentication_required", "refused"])
async def test_what_the_bank_refuses_is_not_tried_again_and_told_with_a_link(shop: Shop, why: str) -> None:
    shop.bank.says = Refilled(why, "said so")  # type: ignore[arg-type]
    for _ in range(5):
        await shop.notice()
    assert len(shop.bank.asked) == 1
    offered = await shop.flow.offer(PaymentRequired(price=FIVE, balance=ONE), CALLER)
    assert isinstance(offered, PaymentRequired)
    assert offered.auto_top_up is not None
    assert (offered.auto_top_up.state, offered.auto_top_up.reason) == ("paused", why)
    assert offered.auto_top_up.url == f"https://shop.example/-/top-up?for={ACCOUNT}"

    shop.bank.says = Refilled("succeeded")
    await shop.flow.want(ACCOUNT, WISH)
    await shop.notice()
    assert await shop.till.available() == 5_000_000
    acts = [(one.action, one.object.rpartition(":")[2], one.reason) for one in shop.till.trail.acts[:3]]
    assert acts == [
        ("payment.asked", "1", "auto top-up"),
        ("payment.refused", "1", f"{why}: said so"),
        ("payment.asked", "2", "auto top-up"),
    ]


async def test_a_ceiling_stops_it_and_says_so_and_time_lifts_it(shop: Shop) -> None:
    for number in range(1, 10):
        await shop.notice()
        have = await shop.till.available()
        if have:
            await shop.till.spend(have, number=number)
    assert len(shop.bank.charged) == 4
    assert await shop.state() == ("on", "day_ceiling")
    shop.till.clock.pass_seconds(24 * 3600)
    for number in range(11, 20):
        await shop.notice()
        have = await shop.till.available()
        if have:
            await shop.till.spend(have, number=number)
    assert len(shop.bank.charged) == 6
    assert await shop.state() == ("on", "month_ceiling")


async def test_the_holders_own_ceiling_counts_if_it_is_lower(shop: Shop) -> None:
    await shop.flow.want(ACCOUNT, WISH, Ceilings(FIVE, Money.parse("99.00 usd")))
    await shop.notice()
    await shop.till.spend(5_000_000)
    await shop.notice()
    assert len(shop.bank.charged) == 1
    assert await shop.state() == ("on", "day_ceiling")


async def test_switched_off_nothing_is_charged_and_strangers_are_told_nothing(shop: Shop) -> None:
    assert await shop.flow.stop(ACCOUNT)
    await shop.notice()
    assert shop.bank.asked == []
    offered = await shop.flow.offer(PaymentRequired(price=FIVE, balance=ONE), CALLER)
    assert isinstance(offered, PaymentRequired)
    assert offered.auto_top_up is None


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
async def test_whoever_hears_of_the_payment_first_it_is_credited_once(shop: Shop, order: tuple[int, ...]) -> None:
    """The answer was lost. Then come the event, the sweep, and the event again, in any order."""
    shop.till.webhooks._replenish = shop.flow
    shop.bank.silent = 1
    await shop.notice()
    assert await shop.till.available() == 0

    async def event(id: str) -> None:
        told = refill_event("payment_intent.succeeded", shop)
        await shop.till.hear(Event(id, told.type, told.live, told.created, told.object))

    doings = [lambda: event("evt_a"), lambda: shop.flow.sweep(begun_before_ms=-1), lambda: event("evt_b")]
    for number in order:
        await doings[number]()
        assert await shop.till.available() == 5_000_000
    await shop.notice()
    assert len(shop.bank.charged) == 1
    assert set(shop.till.statuses().values()) == {"done"}
    assert await shop.till.records.ways_to_pay.open_refills(2**60) == []


async def test_an_event_tells_of_a_failure_and_of_one_that_is_over_it_tells_nothing(shop: Shop) -> None:
    shop.till.webhooks._replenish = shop.flow
    shop.bank.says = Refilled("processing")
    await shop.notice()
    assert await shop.state() == ("on", None)
    failed = refill_event("payment_intent.payment_failed", shop, error="insufficient_funds")
    await shop.till.hear(failed)
    assert await shop.state() == ("paused", "declined")
    await shop.flow.want(ACCOUNT, WISH)
    await shop.till.hear(Event("evt_again", failed.type, False, failed.created, failed.object))
    assert await shop.state() == ("on", None)


async def test_an_answer_that_comes_after_somebody_acted_on_the_event_pauses_nothing(shop: Shop) -> None:
    shop.bank.says = Refilled("declined")

    async def event_and_resume() -> None:
        await shop.flow.heard(refill_event("payment_intent.payment_failed", shop, error="card_declined"))
        await shop.till.records.ways_to_pay.keep_rule(ACCOUNT, WISH, MOST, now_ms=2)

    shop.bank.meanwhile = event_and_resume
    await shop.notice()
    assert await shop.state() == ("on", None)


async def test_the_payment_intent_of_a_checkout_is_never_a_second_credit(shop: Shop) -> None:
    """Neither as it is, nor if somebody gave it the marks of a refill."""
    shop.till.webhooks._replenish = shop.flow
    own = {"id": "pi_1", "status": "succeeded", "amount_received": 500, "currency": "usd", "livemode": False}
    marked = {**own, "metadata": {cards.KEY: "x", cards.REFERENCE: sealed()}}
    events = [
        paid(),
        Event("evt_own", "payment_intent.succeeded", False, 1, own),
        Event("evt_marked", "payment_intent.succeeded", False, 1, marked),
    ]
    for order in itertools.permutations(events):
        till = MemoryTill()
        await till.ledger.open()
        till.webhooks._replenish = shop.flow
        await till.hear(*order)
        assert till.net() == 5_000_000
        assert till.statuses()["evt_own"] == "ignored"
        await till.ledger.close()


async def test_a_card_is_saved_by_its_checkout_and_waits_while_the_provider_is_away(shop: Shop) -> None:
    shop.till.webhooks._replenish = shop.flow
    await shop.flow.stop(ACCOUNT)
    shop.till.clock.pass_seconds(10)
    saving = paid(
        at=shop.till.clock.now_ms() // 1000, metadata={"farebox_threshold": "2.00 usd", "farebox_amount": "9 usd"}
    )
    shop.bank.silent = 1
    await shop.till.hear(saving)
    assert await shop.till.available() == 5_000_000, "the money does not wait for the card"
    assert shop.till.statuses() == {saving.id: "waiting"}
    await shop.till.webhooks.resume()
    await shop.till.webhooks.settled()
    assert shop.till.statuses() == {saving.id: "done"}
    stands = await shop.flow.stands(ACCOUNT)
    assert stands is not None
    assert (stands[0].state, stands[0].card) == ("on", CARD)
    assert stands[0].wish == Wish(Money.parse("2.00 usd"), Money.parse("9.00 usd"))
    assert await shop.till.available() == 5_000_000


async def test_what_becomes_of_the_card_is_heard_of(shop: Shop) -> None:
    now = shop.till.clock.now_ms() // 1000
    shop.bank.says = Refilled("declined")
    await shop.notice()
    other = {"id": "pm_other"}
    assert await shop.flow.heard(Event("evt_1", "payment_method.automatically_updated", False, now, other))
    assert await shop.state() == ("paused", "declined")
    assert not await shop.flow.heard(Event("evt_2", "payment_method.automatically_updated", True, now, {"id": "pm_1"}))
    assert await shop.state() == ("paused", "declined"), "test and live are two worlds"
    assert await shop.flow.heard(Event("evt_3", "payment_method.automatically_updated", False, now, {"id": "pm_1"}))
    assert await shop.state() == ("on", None)
    assert await shop.flow.heard(Event("evt_4", "payment_method.detached", False, now, {"id": "pm_1"}))
    assert await shop.state() == ("no_card", "card_removed")
    assert await shop.flow.heard(Event("evt_5", "customer.deleted", False, now, {"id": "cus_1"}))
    rule = await shop.till.records.ways_to_pay.find_rule(ACCOUNT)
    assert rule is not None
    assert rule.customer is None


async def test_what_a_payer_takes_back_is_not_fetched_again_by_the_card(shop: Shop) -> None:
    shop.till.webhooks._replenish = shop.flow
    await shop.give("4.00 usd")
    await shop.till.hear(paid())
    await shop.till.hear(refund("re_0", 100, "failed"))
    assert await shop.state() == ("on", None), "one that failed takes nothing"
    await shop.till.spend(4_500_000)
    await shop.till.hear(refund("re_1", 400))
    assert await shop.till.available() == 500_000
    assert await shop.state() == ("paused", "taken_back")
    await shop.notice()
    assert shop.bank.asked == []
    await shop.flow.want(ACCOUNT, WISH)
    await shop.notice()
    assert len(shop.bank.charged) == 1, "whoever resumes it wants it"


async def test_a_refund_leaves_a_pause_what_it_was(shop: Shop) -> None:
    """A card that was declined may be renewed by the bank; a refund has nothing to do with that."""
    shop.till.webhooks._replenish = shop.flow
    shop.bank.says = Refilled("declined")
    await shop.notice()
    await shop.till.hear(paid(), refund("re_1", 400))
    assert await shop.state() == ("paused", "declined")


async def test_a_debt_is_not_for_the_card_to_pay(shop: Shop) -> None:
    await shop.till.ledger.reverse(Reversal("manual:2", ACCOUNT, Money(1, "usd"), "manual", "for a test"))
    await shop.notice()
    assert shop.bank.asked == []


async def test_a_refill_that_cannot_be_finished_does_not_keep_the_others_waiting(shop: Shop) -> None:
    kept, now = shop.till.records.ways_to_pay, shop.till.clock.now_ms()
    for number in range(3):
        account, card = f"acct_{number}" + "a" * 31, SavedCard("cus", f"pm_{number}", "visa")
        await kept.keep_card(account, card, WISH, MOST, at_ms=0, now_ms=number)
        made = Refill(account, 1, f"key {number}", FIVE, "cus", card.method, shop.flow._reference(account), now)
        assert await kept.begin_refill(made, MOST)
    shop.bank.silent = 1
    await shop.flow.sweep(begun_before_ms=-1)
    assert [refill.key for refill in await kept.open_refills(2**60)] == ["key 0"]


async def test_the_reference_of_a_refill_names_the_account(shop: Shop) -> None:
    await shop.notice()
    ((refill, state),) = shop.till.records.ways_to_pay.refills.values()
    assert state == "succeeded"
    assert references.unseal(KEYRING, refill.reference).account == ACCOUNT


async def test_a_frozen_account_is_not_charged(shop: Shop) -> None:
    await shop.freeze()
    await shop.notice()
    assert shop.bank.asked == []
    await shop.freeze(frozen=False)
    await shop.notice()
    assert len(shop.bank.charged) == 1


async def test_what_was_asked_for_before_a_freeze_is_looked_up_and_not_asked_for_again(shop: Shop) -> None:
    needed = await shop.flow._needed(ACCOUNT)
    assert needed is not None
    assert await shop.till.records.ways_to_pay.begin_refill(*needed), "then its process was killed"
    await shop.freeze()
    await shop.flow.sweep(begun_before_ms=-1)
    assert shop.bank.asked == []
    await shop.bank.refill(needed[0])  # it had left, and arrived late
    await shop.flow.sweep(begun_before_ms=-1)
    assert await shop.till.available() == 5_000_000, "what was charged is credited"
    assert len(shop.bank.asked) == 1


async def test_a_rule_that_is_heard_of_is_looked_after_at_once(shop: Shop) -> None:
    """The requests that brought the balance down may have been served before anybody here knew the rule."""
    other = shop.process()
    await other.refresh()
    await shop.flow.stop(ACCOUNT)
    await other.refresh()
    shop.till.clock.pass_seconds(100)
    await shop.till.records.ways_to_pay.keep_card(
        ACCOUNT, CARD, WISH, MOST, at_ms=2**60, now_ms=shop.till.clock.now_ms()
    )
    await other.refresh()
    await other.settled()
    assert await shop.till.available() == 5_000_000
    await other.refresh()
    assert other._tasks == {}, "and not again without a change"


EURO = Money.parse("5.00 eur")


async def test_a_rule_in_another_currency_than_payments_are_in_by_now_is_paused_until_it_is_made_anew(
    shop: Shop,
) -> None:
    shop.flow._ceilings = Ceilings(Money.parse("20.00 eur"), Money.parse("30.00 eur"))
    await shop.flow.refresh()
    refused = PaymentRequired(price=Money.parse("0.01 eur"), balance=Money.zero("eur"))
    offered = await shop.flow.offer(refused, CALLER)
    assert isinstance(offered, PaymentRequired)
    assert offered.auto_top_up is not None
    assert (offered.auto_top_up.state, offered.auto_top_up.reason) == ("paused", "other_currency")
    assert offered.auto_top_up.url is not None
    assert await shop.state() == ("paused", "other_currency")
    shop.flow._look_after(ACCOUNT)
    await shop.flow.settled()
    assert (shop.bank.asked, shop.till.told) == ([], []), "nobody agreed to an amount in this one"
    await shop.flow.want(ACCOUNT, Wish(EURO, EURO))
    assert await shop.state() == ("on", None)
    rule = await shop.till.records.ways_to_pay.find_rule(ACCOUNT)
    assert rule is not None
    assert rule.ceilings == shop.flow.ceilings
    shop.flow._looked.clear()
    shop.flow._look_after(ACCOUNT)
    await shop.flow.settled()
    assert len(shop.bank.asked) == 1
