"""Missed webhooks are found, whatever stops the search on the way."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest

from gateway.adapters.stripe.payments import StripePayments
from gateway.adapters.stripe.subscriptions import payment_of
from gateway.core.money import Money
from gateway.core.payments import Payment
from gateway.core.plans import by_price
from gateway.core.purses import PLAIN, Purse, Share
from gateway.core.secrets import Secret
from gateway.flows.reconcile import KEPT_SECONDS, OVERLAP_SECONDS, PIECE_SECONDS, Difference, Reconcile, audit_payments
from gateway.ports import CreditLine
from tests.tills import FIVE, PLANS, MemoryTill, Provider, invoice, paid, refund
from tests.tills import line as line_of


def seconds(till: MemoryTill) -> int:
    return till.clock.now_ms() // 1000


def reconciler(till: MemoryTill, told: list[str] | None = None) -> Reconcile:
    def report(what: str, **_: Any) -> None:
        if told is not None:
            told.append(what)

    return Reconcile(
        payments=till.provider,
        take=till.webhooks.take,
        settled=till.webhooks.settled,
        watermarks=till.records,
        clock=till.clock,
        report=report,
        every_seconds=300,
    )


@pytest.fixture
async def till() -> Any:
    till = MemoryTill()
    await till.ledger.open()
    yield till
    await till.webhooks.settled()
    await till.ledger.close()


async def test_what_was_missed_is_acted_on_and_what_was_delivered_is_not_repeated(till: MemoryTill) -> None:
    now = seconds(till)
    delivered, missed = paid(number=1, at=now), paid(number=2, at=now)
    await till.hear(delivered)
    till.provider.happened = [delivered, missed]
    told: list[str] = []
    assert await reconciler(till, told).turn() == 1
    assert await reconciler(till, told).turn() == 0
    await till.webhooks.settled()
    assert await till.available() == 2 * FIVE.micros
    assert told == ["missed webhooks were found"]


async def test_a_refund_that_was_missed_is_taken_back(till: MemoryTill) -> None:
    await till.hear(paid(at=seconds(till)))
    till.provider.happened = [refund("re_1", 200, at=seconds(till))]
    await reconciler(till).turn()
    await till.webhooks.settled()
    assert await till.available() == 3_000_000


async def test_an_event_that_is_listed_late_is_found_in_the_overlap(till: MemoryTill) -> None:
    await reconciler(till).turn()
    late = paid(at=seconds(till) - 60)
    till.clock.pass_seconds(OVERLAP_SECONDS - 60)
    till.provider.happened = [late]
    assert await reconciler(till).turn() == 1


async def test_what_happened_during_a_long_stop_is_found(till: MemoryTill) -> None:
    reads = reconciler(till)
    await reads.turn()
    assert reads.read_until == seconds(till)
    start = seconds(till)
    till.provider.happened = [paid(number=day, at=start + day * 86_400) for day in range(1, 10)]
    till.clock.pass_seconds(10 * 86_400)
    assert await reconciler(till).turn() == 9
    await till.webhooks.settled()
    assert await till.available() == 9 * FIVE.micros


async def test_a_key_that_is_exchanged_forgets_nothing_that_was_missed_before(till: MemoryTill) -> None:
    told: list[str] = []
    await reconciler(till, told).turn()
    till.clock.pass_seconds(7200)
    till.provider.happened = [paid(at=seconds(till) - 3600)]
    till.provider.renew(secret_key=Secret("sk_test_" + "2b" * 20), webhook_secrets=[Secret("whsec_x")])
    assert await reconciler(till, told).turn() == 1
    assert told == ["missed webhooks were found"]


async def test_a_watermark_that_was_kept_by_key_is_gone_on_from(till: MemoryTill) -> None:
    told: list[str] = []
    start = seconds(till)
    await till.records.keep_watermark("audited", start + 7000)
    await till.records.keep_watermark("events 0123456789abcdef", start - 86_400)
    await till.records.keep_watermark("events fedcba9876543210", start)
    till.clock.pass_seconds(7200)
    till.provider.happened = [paid(at=start + 60), paid(number=2, at=start - 7200)]
    assert await reconciler(till, told).turn() == 1
    assert told == ["events are read on from where another key was", "missed webhooks were found"]
    assert await reconciler(till, told).turn() == 0
    assert len(told) == 2


async def test_each_mode_has_a_watermark_of_its_own(till: MemoryTill) -> None:
    def scope(key: str, at: str = "https://api.example") -> str:
        how: dict[str, Any] = {"webhook_secrets": [], "tolerance_seconds": 300, "report": print}
        return StripePayments(secret_key=Secret(key), api_url=at, **how).lasting_scope

    assert scope("sk_test_1") == scope("rk_test_2")
    assert len({scope("sk_test_1"), scope("sk_live_1"), scope("sk_test_1", "https://other.example")}) == 3


async def test_what_the_provider_no_longer_lists_is_said(till: MemoryTill) -> None:
    told: list[str] = []
    await reconciler(till, told).turn()
    assert told == []
    till.clock.pass_seconds(KEPT_SECONDS + 1)
    await reconciler(till, told).turn()
    assert told == ["events are too old to be listed"]


@pytest.mark.parametrize("after", range(8))
async def test_cut_off_at_any_event_it_goes_on_and_nothing_is_credited_twice(after: int) -> None:
    till = MemoryTill()
    await till.ledger.open()
    await reconciler(till).turn()
    start = seconds(till)
    till.provider.happened = [paid(number=number, at=start + number * PIECE_SECONDS // 3) for number in range(1, 9)]
    till.clock.pass_seconds(3 * PIECE_SECONDS)
    till.provider.fails_after = after
    told: list[str] = []
    first = reconciler(till, told)
    assert await first.attempt() == 300
    assert told == ["reconciliation waits"]
    mark = await till.records.watermark(f"events {till.provider.lasting_scope}")
    assert mark is not None
    assert mark < seconds(till)
    assert first.read_until in (None, mark), "what it did not read to the end does not count"
    await till.webhooks.close()
    await till.ledger.close()
    again = MemoryTill(till)  # a restart
    await again.ledger.open()
    again.provider.happened = till.provider.happened
    assert await reconciler(again).attempt() == 300
    await again.webhooks.resume()
    await again.webhooks.settled()
    assert await again.available() == 8 * FIVE.micros
    await again.ledger.close()


async def test_it_backs_off_while_the_provider_is_away_and_says_so_once(till: MemoryTill) -> None:
    told: list[str] = []
    reconcile = reconciler(till, told)
    till.provider.happened, till.provider.fails_after = [paid(at=seconds(till))], 0
    waits = [await reconcile.attempt() for _ in range(6)]
    assert waits == [300, 600, 1200, 2400, 3600, 3600]
    till.provider.fails_after = None
    assert await reconcile.attempt() == 300
    assert told == ["reconciliation waits", "missed webhooks were found", "reconciliation goes on"]


async def test_a_bug_in_one_turn_does_not_end_the_task(till: MemoryTill, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(**_: Any) -> Any:
        raise RuntimeError("broken")

    monkeypatch.setattr(till.provider, "events", broken)
    reconcile = reconciler(till)
    reconcile.open()
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert reconcile._task is not None
    assert not reconcile._task.done()
    await reconcile.close()


# --- the operator's comparison ----------------------------------------------------------------------------------------


class Lines:
    """Implements `ports.CreditLines`."""

    def __init__(self, *lines: CreditLine) -> None:
        self.lines = {line.ref: line for line in lines}

    async def taken_by(self, ref: str) -> int | None:
        raise AssertionError("not asked here")

    async def credit_of(self, ref: str) -> CreditLine | None:
        return self.lines.get(ref)

    async def credits_between(self, begin_ms: int, end_ms: int) -> list[CreditLine]:
        return list(self.lines.values())


def line(session: str, amount: Money = FIVE) -> CreditLine:
    return CreditLine(f"stripe:{session}", "acct_1", amount)


def checkout(session: str, **change: Any) -> Payment:
    return Payment(session, **{"amount": FIVE, "reference": None, "settled": True, "live": False, **change})


async def test_both_directions_of_difference_are_named(till: MemoryTill) -> None:
    four = Money.parse("4.00 usd")
    known = [
        checkout("cs_both"), checkout("cs_paid"), checkout("cs_less"), checkout("cs_unpaid", settled=False),
        checkout("cs_live", live=True), checkout("cs_free", amount=Money.zero("usd")),
    ]  # fmt: skip
    till.provider.known = {payment.id: payment for payment in known}
    lines = Lines(line("cs_both"), line("cs_less", four), line("cs_unpaid"), line("cs_nowhere"))
    found = [
        one async for one, _ in audit_payments(till.provider, lines, till.records, begin=1, end=2, live=False) if one
    ]
    assert found == [
        Difference("cs_paid", "paid at Stripe, not credited here", FIVE, None),
        Difference("cs_less", "another amount was credited", FIVE, four, "acct_1"),
        Difference("cs_unpaid", "credited here, not paid at Stripe", None, FIVE, "acct_1"),
        Difference("cs_nowhere", "credited here, not paid at Stripe", None, FIVE, "acct_1"),
    ]


class Elsewhen(Provider):
    """Nothing was begun then: each credit of then is looked up by its own name."""

    async def checkouts(self, *, begin: int, end: int) -> AsyncIterator[Payment]:
        for payment in list[Payment]():
            yield payment


async def compared(till: MemoryTill) -> list[str]:
    """The differences between what is known at the provider and the books."""
    found = audit_payments(till.provider, till.store, till.records, begin=0, end=9, live=False)
    return [one.what async for one, _ in found if one]


async def test_a_payment_of_several_purses_is_compared_purse_by_purse_and_one_of_before_as_a_whole(
    till: MemoryTill,
) -> None:
    one, ending = Money.parse("1.00 usd"), Purse(0, 2_000_000_000_000)
    shares = Share(ending, Money.parse("4.00 usd")), Share(PLAIN, one)
    till.provider.known = {id: checkout(id, shares=shares) for id in ("in_new", "in_half", "in_before")}
    parts = [
        CreditLine(f"stripe:{share.purse.named(id)}", "acct_1", share.amount)
        for id in ("in_new", "in_half")
        for share in shares
    ]
    lines = Lines(*parts[:-1], line("in_before"))
    found = [
        one async for one, _ in audit_payments(till.provider, lines, till.records, begin=1, end=2, live=False) if one
    ]
    assert found == [Difference("in_half", "paid at Stripe, not credited here", one, None)]

    till.provider.__class__ = Elsewhen
    assert [
        one async for one, _ in audit_payments(till.provider, lines, till.records, begin=1, end=2, live=False) if one
    ] == []


@pytest.mark.parametrize("ends", [False, True])
@pytest.mark.parametrize("what", ["it grants more", "it ends with the period", "it has another price", "it is gone"])
async def test_a_period_is_compared_with_what_was_credited_whatever_became_of_its_plan(
    till: MemoryTill, what: str, ends: bool
) -> None:
    event = invoice(line_of("price_ends" if ends else "price_month"), line_of())
    assert await compared(till) == []
    await till.hear(event)
    plans = {
        "it grants more": [replace(plan, grants=Money.parse("25.00 usd")) for plan in PLANS],
        "it ends with the period": [replace(plan, ends=not plan.ends) for plan in PLANS],
        "it has another price": [replace(PLANS[0], price="price_new")],
        "it is gone": [],
    }[what]
    found = payment_of(event.object, by_price(plans))
    assert found is not None
    till.provider.known = {found.id: found}
    assert await compared(till) == []
    till.provider.__class__ = Elsewhen
    assert await compared(till) == []
    till.provider.__class__ = Provider
    till.store.credits.clear()
    assert set(await compared(till)) == {"paid at Stripe, not credited here"}
