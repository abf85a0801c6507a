"""A webhook is verified, written down once, acted on once; what cannot be acted on stays where somebody sees it."""

from typing import Any

import pytest

from gateway.adapters.memory import MemoryRecords
from gateway.core.callers import Caller
from gateway.core.money import Money
from gateway.core.payments import Event, Outcome, Payment
from gateway.core.refusals import LedgerUnavailable, PaymentRequired, Refusal, WebhookRefused
from gateway.flows.receive import Webhooks
from tests.fakes import FakeClock

PAYMENT = Payment("cs_test_1", Money.parse("5.00 usd"), "ref", settled=True, live=False)


class FakePayments:
    """Takes any body whose signature is `right`; the body is the event's id, its first letter says what it is."""

    scope = "fake"

    def verify(self, body: bytes, signature: str | None, *, now_seconds: int) -> Event:
        if signature != "right":
            raise WebhookRefused("no")
        return Event(body.decode(), "paid", False, now_seconds, {})

    def payment(self, event: Event) -> Payment | None:
        if event.id.startswith("odd"):
            raise ValueError("cannot be read")
        return PAYMENT if event.id.startswith("paid") else None

    async def payment_link(self, price: Money, return_url: str) -> str:
        raise AssertionError("not asked here")

    async def find_payment(self, session: str) -> Payment | None:
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

    async def offer(self, refusal: PaymentRequired, caller: Caller) -> Refusal:
        raise AssertionError("not asked here")


def desk(till: FakeTill) -> tuple[Webhooks, MemoryRecords, list[str]]:
    inbox, told = MemoryRecords(), list[str]()

    def report(event: str, **_: Any) -> None:
        told.append(event)

    return Webhooks(payments=FakePayments(), inbox=inbox, till=till, clock=FakeClock(), report=report), inbox, told


async def test_an_event_is_acted_on_once_however_often_it_comes() -> None:
    till = FakeTill("credited")
    webhooks, inbox, _ = desk(till)
    for _ in range(5):
        await webhooks.receive(b"paid", "right")
    await webhooks.settled()
    assert till.asked == 1
    assert inbox.inbox["paid"].status == "done"


async def test_what_is_not_signed_is_not_written_down() -> None:
    webhooks, inbox, _ = desk(FakeTill())
    with pytest.raises(WebhookRefused):
        await webhooks.receive(b"paid", "wrong")
    assert inbox.inbox == {}


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
