"""The Stripe adapter through the official SDK, against the stand-in."""

from collections.abc import AsyncIterator
from typing import Any

import pytest

from gateway.adapters.stripe.parameters import parameters
from gateway.adapters.stripe.payments import StripePayments, _payment
from gateway.core.money import Money
from gateway.core.payments import Event
from gateway.core.refusals import PaymentServiceUnavailable
from gateway.core.secrets import Secret
from gateway.demo.standin import StandIn
from gateway.demo.standin.till import PaymentRefused

KEY = "sk_test_" + "1a" * 20
RETURN = "http://127.0.0.1:1/-/paid?session_id={CHECKOUT_SESSION_ID}"
SESSION: dict[str, Any] = {
    "id": "cs_test_1", "mode": "payment", "status": "complete", "payment_status": "paid", "amount_total": 500,
    "currency": "usd", "client_reference_id": "ref", "livemode": False, "total_details": {"amount_tax": 0},
    "payment_intent": "pi_1",
}  # fmt: skip


@pytest.fixture
async def stand_in() -> AsyncIterator[StandIn]:
    async with StandIn(api_key=KEY, parameters=parameters) as stand_in:
        yield stand_in


@pytest.fixture
async def payments(stand_in: StandIn) -> AsyncIterator[StripePayments]:
    payments = adapter(stand_in.url)
    yield payments
    await payments.close()


def adapter(url: str, key: str = KEY) -> StripePayments:
    return StripePayments(
        secret_key=Secret(key),
        webhook_secrets=[Secret("whsec_x")],
        api_url=url,
        tolerance_seconds=300,
        report=lambda *_, **__: None,
    )


async def test_a_link_that_is_asked_for_twice_is_made_once(stand_in: StandIn, payments: StripePayments) -> None:
    first = await payments.payment_link(Money.parse("5.00 usd"), RETURN)
    again = await payments.payment_link(Money.parse("5.00 usd"), RETURN)
    assert first == again
    assert [event["type"] for event in stand_in.events].count("payment_link.created") == 1


async def test_the_payer_of_a_link_with_bounds_chooses_within_them(stand_in: StandIn, payments: StripePayments) -> None:
    bounds = Money.parse("2.00 usd"), Money.parse("50.00 usd")
    link = await payments.payment_link(Money.parse("5.00 usd"), RETURN, bounds)
    assert link == await payments.payment_link(Money.parse("5.00 usd"), RETURN, bounds)
    assert link != await payments.payment_link(Money.parse("5.00 usd"), RETURN)
    assert stand_in.pay(link)["amount_total"] == 500
    for minor in (200, 5000):
        found = await payments.find_payment(stand_in.pay(link, amount=minor)["id"])
        assert found is not None
        assert found.amount == Money(minor * 10_000, "usd")
    for minor in (199, 5001):
        with pytest.raises(PaymentRefused):
            stand_in.pay(link, amount=minor)


@pytest.mark.parametrize(("price", "minor"), [("5.00 usd", 500), ("500 jpy", 500), ("5.00 kwd", 5000)])
async def test_a_payment_is_found_with_its_exact_amount(
    stand_in: StandIn, payments: StripePayments, price: str, minor: int
) -> None:
    link = await payments.payment_link(Money.parse(price), RETURN)
    paid = stand_in.pay(link, client_reference_id="ref")
    assert paid["amount_total"] == minor
    found = await payments.find_payment(paid["id"])
    assert found is not None
    assert (found.amount, found.reference, found.settled, found.live) == (Money.parse(price), "ref", True, False)
    assert payments.calls["answered"] > 0
    assert await payments.find_payment("cs_test_nobody") is None
    assert payments.calls["refused"] == 1


async def test_a_checkout_that_is_not_complete_is_no_payment(stand_in: StandIn, payments: StripePayments) -> None:
    link = await payments.payment_link(Money.parse("5.00 usd"), RETURN)
    assert await payments.find_payment(stand_in.open(link)["id"]) is None
    assert await payments.find_payment("cs_test_unknown") is None
    assert await payments.find_payment("../v1/customers") is None


async def test_money_that_may_still_fail_to_arrive_is_not_settled(stand_in: StandIn, payments: StripePayments) -> None:
    link = await payments.payment_link(Money.parse("5.00 usd"), RETURN)
    paid = stand_in.pay(link, method="later")
    found = await payments.find_payment(paid["id"])
    assert found is not None
    assert not found.settled
    stand_in.settle(paid["id"])
    found = await payments.find_payment(paid["id"])
    assert found is not None
    assert found.settled


async def test_a_provider_out_of_reach_is_a_refusal(stand_in: StandIn) -> None:
    nobody, stranger = adapter("http://127.0.0.1:1"), adapter(stand_in.url, "sk_test_" + "9f" * 20)
    for payments in (nobody, stranger):
        with pytest.raises(PaymentServiceUnavailable):
            await payments.payment_link(Money.parse("5.00 usd"), RETURN)
        assert payments.calls == {"answered": 0, "refused": 0, "failed": 1}
        await payments.close()


def test_the_key_is_in_no_text_of_the_adapter() -> None:
    payments = adapter("http://127.0.0.1:1")
    assert KEY not in payments.scope
    assert KEY not in repr(vars(payments))
    assert payments.scope != adapter("http://127.0.0.1:2").scope
    assert payments.scope != adapter("http://127.0.0.1:1", "sk_test_other").scope


def test_tax_is_not_credited() -> None:
    payment = _payment({**SESSION, "total_details": {"amount_tax": 80}})
    assert payment is not None
    assert payment.amount == Money.parse("4.20 usd")
    assert (payment.paid, payment.intent) == (Money.parse("5.00 usd"), "pi_1")


@pytest.mark.parametrize("change", [{"mode": "setup"}, {"mode": "subscription"}, {"status": "open"}, {"status": None}])
def test_other_sessions_sell_no_credit(change: dict[str, Any]) -> None:
    assert _payment({**SESSION, **change}) is None


@pytest.mark.parametrize(
    "change",
    [
        {"id": None}, {"id": 7}, {"amount_total": None}, {"amount_total": "500"}, {"amount_total": True},
        {"amount_total": -1}, {"currency": None}, {"currency": "dollars"}, {"client_reference_id": 7},
        {"livemode": "no"},
    ],
)  # fmt: skip
def test_a_session_that_cannot_be_read_is_told_apart(change: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="the session"):
        _payment({**SESSION, **change})


def test_only_the_two_events_that_bring_money_are_payments() -> None:
    payments = adapter("http://127.0.0.1:1")
    for type in ("checkout.session.completed", "checkout.session.async_payment_succeeded"):
        assert payments.payment(Event("evt", type, False, 1, SESSION)) is not None
    for type in ("checkout.session.expired", "payment_intent.succeeded", "charge.refunded"):
        assert payments.payment(Event("evt", type, False, 1, SESSION)) is None


# --- lists ------------------------------------------------------------------------------------------------------------


async def bought(stand_in: StandIn, payments: StripePayments, count: int) -> list[dict[str, Any]]:
    link = await payments.payment_link(Money.parse("5.00 usd"), RETURN)
    return [stand_in.pay(link, client_reference_id=f"ref{number}") for number in range(count)]


async def test_events_are_listed_page_by_page_those_that_concern_us(
    stand_in: StandIn, payments: StripePayments, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.adapters.stripe.payments._PAGE", 2)
    sessions = await bought(stand_in, payments, 5)
    stand_in.refund(sessions[0]["id"])
    at = stand_in.events[-1]["created"]
    listed = [event async for event in payments.events(begin=at - 60, end=at + 60)]
    assert [event.type for event in listed] == ["charge.refunded", "refund.created"] + [
        "checkout.session.completed"
    ] * 5
    found = payments.payment(listed[2])
    assert found is not None
    assert (found.id, found.reference, found.intent) == (sessions[4]["id"], "ref4", sessions[4]["payment_intent"])
    notice = payments.notice(listed[1])
    assert notice is not None
    assert notice.payment == sessions[0]["payment_intent"]
    assert [event async for event in payments.events(begin=at + 60, end=at + 120)] == []


async def test_checkouts_are_listed_page_by_page(
    stand_in: StandIn, payments: StripePayments, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.adapters.stripe.payments._PAGE", 2)
    sessions = await bought(stand_in, payments, 5)
    stand_in.open(await payments.payment_link(Money.parse("5.00 usd"), RETURN))
    at = sessions[0]["created"]
    listed = [payment.id async for payment in payments.checkouts(begin=at - 60, end=at + 60)]
    assert listed == [session["id"] for session in sessions[::-1]]


async def test_a_payment_is_found_by_its_intent(stand_in: StandIn, payments: StripePayments) -> None:
    [session] = await bought(stand_in, payments, 1)
    found = await payments.find_payment_of(session["payment_intent"])
    assert found is not None
    assert found.id == session["id"]
    assert await payments.find_payment_of("pi_unknown") is None
    assert await payments.find_payment_of("../v1/customers") is None


async def test_a_list_that_cannot_be_read_is_a_refusal() -> None:
    payments = adapter("http://127.0.0.1:1")
    with pytest.raises(PaymentServiceUnavailable):
        await anext(payments.events(begin=1, end=2))
    await payments.close()
