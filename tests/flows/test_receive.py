"""A webhook is verified, written down once, acted on once; what cannot be acted on stays where somebody sees it."""

from collections.abc import AsyncIterator
from typing import Any

import pytest

from gateway.adapters.memory import MemoryRecords
from gateway.core.callers import Caller
from gateway.core.ledger import Reversal
from gateway.core.money import Money
from gateway.core.payments import Bounds, Event, NoticeOutcome, Outcome, Payment
from gateway.core.purses import Purse
from gateway.core.refusals import (
    LedgerUnavailable,
    PaymentRequired,
    PaymentServiceUnavailable,
    Refusal,
    WebhookRefused,
)
from gateway.core.reversals import Credited, Notice
from gateway.flows.receive import WAIT_MS_MAX, WAITS, Webhooks
from tests.fakes import FakeClock, Trail

PAYMENT = Payment("cs_test_1", Money.parse("5.00 usd"), "ref", settled=True, live=False)


NOTICE = Notice("refund", "pi_1", "refund", "re_1", Money.parse("5.00 usd"), True, 1, False)


class FakePayments:
    """Takes any body whose signature is `right`; the body is the event's id, its first letter says what it is."""

    scope = lasting_scope = "fake"

    def verify(self, body: bytes, signature: str | None, *, now_seconds: int) -> Event:
        if signature != "right":
            raise WebhookRefused("no")
        return Event(body.decode(), "paid", False, now_seconds, {})

    def payment(self, event: Event) -> Payment | None:
        if event.id.startswith("odd"):
            raise ValueError("cannot be read")
        return PAYMENT if event.id.startswith("paid") else None

    async def payment_link(self, price: Money, return_url: str, bounds: Bounds | None = None) -> str:
        raise AssertionError("not asked here")

    def notice(self, event: Event) -> Notice | None:
        return NOTICE if event.id.startswith("refund") else None

    async def find_payment(self, session: str) -> Payment | None:
        raise AssertionError("not asked here")

    async def find_payment_of(self, intent: str) -> Payment | None:
        raise AssertionError("not asked here")

    def events(self, *, begin: int, end: int) -> AsyncIterator[Event]:
        raise AssertionError("not asked here")

    def checkouts(self, *, begin: int, end: int) -> AsyncIterator[Payment]:
        raise AssertionError("not asked here")


class FakeTill:
    """Counts what it is asked to fulfil, and answers in the order given."""

    def __init__(self, *outcomes: Outcome | Refusal) -> None:
        self.outcomes = list(outcomes)
        self.asked = 0

    async def fulfil(self, payment: Payment) -> Outcome:
        self.asked += 1
        outcome = self.outcomes.pop(0)
        if isinstance(outcome, Refusal):
            raise outcome
        return outcome

    async def fulfil_intent(self, intent: str) -> Outcome | None:
        return await self.fulfil(PAYMENT) if self.outcomes else None

    async def offer(self, refusal: PaymentRequired, caller: Caller) -> Refusal:
        raise AssertionError("not asked here")


class FakeTakeBack:
    """Answers in the order given; the last answer stays."""

    def __init__(self, *outcomes: NoticeOutcome) -> None:
        self.outcomes = list(outcomes)

    async def heard(self, notice: Notice) -> NoticeOutcome:
        return self.outcomes.pop(0) if len(self.outcomes) > 1 else self.outcomes[0]

    async def less(self, reversal: Reversal, purse: Purse) -> bool:
        raise AssertionError("not asked here")

    async def settle(self, credited: Credited) -> list[str]:
        raise AssertionError("not asked here")

    async def resume(self) -> None:
        raise AssertionError("not asked here")


def desk(
    till: FakeTill, take_back: FakeTakeBack | None = None, clock: FakeClock | None = None
) -> tuple[Webhooks, MemoryRecords, list[str]]:
    inbox, told = MemoryRecords(), list[str]()

    def report(event: str, **_: Any) -> None:
        told.append(event)

    webhooks = Webhooks(
        payments=FakePayments(),
        inbox=inbox,
        till=till,
        take_back=take_back or FakeTakeBack("applied"),
        clock=clock or FakeClock(),
        report=report,
        witness=Trail(),
    )
    return webhooks, inbox, told


async def test_an_event_is_acted_on_once_however_often_it_comes() -> None:
    till = FakeTill("credited")
    webhooks, inbox, _ = desk(till)
    for _ in range(5):
        await webhooks.receive(b"paid", "right")
    await webhooks.settled()
    assert till.asked == 1
    assert inbox.inbox["paid"].status == "done"
    assert webhooks.received == {"new": 1, "repeated": 4, "refused": 0}
    assert sum(webhooks.lag.buckets) == 1


async def test_what_is_not_signed_is_not_written_down() -> None:
    webhooks, inbox, _ = desk(FakeTill())
    with pytest.raises(WebhookRefused):
        await webhooks.receive(b"paid", "wrong")
    assert inbox.inbox == {}
    assert webhooks.received == {"new": 0, "repeated": 0, "refused": 1}


@pytest.mark.parametrize(
    ("id", "outcome", "status"),
    [
        ("paid", "credited", "done"),
        ("paid", "repeated", "done"),
        ("paid", "pending", "done"),
        ("paid", "no account", "parked"),
        ("paid", "wrong mode", "parked"),
        ("paid", "wrong currency", "parked"),
        ("other", "credited", "ignored"),
        ("odd", "credited", "parked"),
    ],
)
async def test_what_becomes_of_an_event(id: str, outcome: Outcome, status: str) -> None:
    webhooks, inbox, told = desk(FakeTill(outcome))
    await webhooks.receive(id.encode(), "right")
    await webhooks.settled()
    assert inbox.inbox[id].status == status
    assert {name: number for name, number in webhooks.acted.items() if number} == {status: 1}
    assert bool(inbox.inbox[id].error) == (status == "parked")
    assert ("parked" in " ".join(told)) == (status == "parked")


async def test_while_the_ledger_is_away_an_event_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.flows.receive._RETRY_SECONDS", 0)
    till = FakeTill(LedgerUnavailable(), LedgerUnavailable(), "credited")
    webhooks, inbox, _ = desk(till)
    await webhooks.receive(b"paid", "right")
    await webhooks.settled()
    assert till.asked == 3
    assert inbox.inbox["paid"].status == "done"


async def test_what_a_stop_left_waiting_is_taken_up_at_the_next_start() -> None:
    till = FakeTill("credited")
    webhooks, inbox, _ = desk(till)
    await inbox.claim(Event("paid", "paid", False, 1, {}), now_ms=1)
    assert await webhooks.resume() == 1
    await webhooks.settled()
    assert till.asked == 1


# --- refunds that come before their payment ---------------------------------------------------------------------------


async def test_a_refund_whose_payment_is_known_is_done() -> None:
    webhooks, inbox, _ = desk(FakeTill(), FakeTakeBack("applied"))
    await webhooks.receive(b"refund", "right")
    await webhooks.settled()
    assert inbox.inbox["refund"].status == "done"


@pytest.mark.parametrize("outcome", ["wrong mode", "wrong currency"])
async def test_a_refund_that_cannot_be_ours_is_parked(outcome: NoticeOutcome) -> None:
    webhooks, inbox, told = desk(FakeTill(), FakeTakeBack(outcome))
    await webhooks.receive(b"refund", "right")
    await webhooks.settled()
    assert inbox.inbox["refund"].status == "parked"
    assert told == ["event parked"]


async def test_a_refund_waits_for_its_payment_and_is_parked_after_a_day() -> None:
    clock = FakeClock()
    webhooks, inbox, told = desk(FakeTill(), FakeTakeBack("unknown payment"), clock)
    await webhooks.receive(b"refund", "right")
    await webhooks.settled()
    assert [(one.status, one.error) for one in await inbox.entries("waiting")] == [("waiting", WAITS)]
    clock.ms += WAIT_MS_MAX
    await webhooks.resume()
    await webhooks.settled()
    assert len(await inbox.events("waiting")) == 1
    clock.ms += 1
    await webhooks.resume()
    await webhooks.settled()
    assert len(await inbox.events("parked")) == 1
    assert told == ["event parked"]
    assert await webhooks.resume() == 0


async def test_the_provider_is_asked_for_the_payment_ever_less_often() -> None:
    clock, till = FakeClock(), FakeTill("no account", "no account", "no account", "no account")
    webhooks, _, _ = desk(till, FakeTakeBack("unknown payment"), clock)
    await webhooks.receive(b"refund", "right")
    await webhooks.settled()
    assert till.asked == 0, "it may be on its way"
    asked: list[int] = []
    for minute in range(1, 9):
        clock.pass_seconds(60)
        await webhooks.resume()
        await webhooks.settled()
        if till.asked > len(asked):
            asked.append(minute)
    assert asked == [1, 2, 4, 8]


async def test_a_payment_that_the_provider_knows_brings_its_refund_along() -> None:
    till = FakeTill("credited")
    webhooks, inbox, _ = desk(till, FakeTakeBack("unknown payment", "unknown payment", "applied"))
    await webhooks.receive(b"refund", "right")
    await webhooks.settled()
    await webhooks.resume()
    await webhooks.settled()
    assert till.asked == 1
    assert inbox.inbox["refund"].status == "done"


async def test_a_provider_out_of_reach_parks_nothing() -> None:
    webhooks, inbox, _ = desk(FakeTill(PaymentServiceUnavailable()), FakeTakeBack("unknown payment"))
    await webhooks.receive(b"refund", "right")
    await webhooks.settled()
    await webhooks.resume()
    await webhooks.settled()
    assert inbox.inbox["refund"].status == "waiting"


async def test_a_payment_that_comes_while_its_refund_is_parked_leaves_nothing_parked() -> None:
    clock = FakeClock()
    webhooks, inbox, _ = desk(FakeTill(), FakeTakeBack("unknown payment", "unknown payment", "applied"), clock)
    await webhooks.receive(b"refund", "right")
    await webhooks.settled()
    clock.ms += WAIT_MS_MAX + 1
    await webhooks.resume()
    await webhooks.settled()
    assert inbox.inbox["refund"].status == "done"
