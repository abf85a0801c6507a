"""What is read from Stripe's events about refunds, disputes and warnings."""

from typing import Any

import pytest

from gateway.adapters.stripe.notices import notice
from gateway.core.money import Money
from gateway.core.payments import Event

REFUND: dict[str, Any] = {
    "id": "re_1", "object": "refund", "amount": 150, "currency": "usd", "payment_intent": "pi_1", "charge": "ch_1",
    "status": "succeeded",
}  # fmt: skip
CHARGE: dict[str, Any] = {
    "id": "ch_1", "object": "charge", "amount": 500, "amount_refunded": 150, "currency": "usd",
    "payment_intent": "pi_1", "status": "succeeded", "refunded": False,
}  # fmt: skip
DISPUTE: dict[str, Any] = {
    "id": "dp_1", "object": "dispute", "amount": 500, "currency": "usd", "payment_intent": "pi_1", "charge": "ch_1",
    "status": "needs_response", "balance_transactions": [],
}  # fmt: skip
WITHDRAWN, REINSTATED = {"amount": -500, "fee": 1500}, {"amount": 500, "fee": 0}


def event(type: str, about: dict[str, Any], **change: Any) -> Event:
    return Event("evt_1", type, False, 7, {**about, **change})


@pytest.mark.parametrize("type", ["refund.created", "refund.updated", "refund.failed", "charge.refund.updated"])
@pytest.mark.parametrize(
    ("status", "stands"),
    [("pending", True), ("requires_action", True), ("succeeded", True), ("failed", False), ("canceled", False)],
)
def test_a_refund_stands_until_it_failed(type: str, status: str, stands: bool) -> None:
    found = notice(event(type, REFUND, status=status))
    assert found is not None
    assert (found.kind, found.about, found.payment, found.at) == ("refund", "re_1", "pi_1", 7)
    assert found.amount == Money.parse("1.50 usd")
    assert found.stands == (stands and type != "refund.failed")


def test_a_refunded_charge_says_what_all_refunds_come_to() -> None:
    found = notice(event("charge.refunded", CHARGE))
    assert found is not None
    assert (found.kind, found.about, found.amount) == ("refunded", "ch_1", Money.parse("1.50 usd"))


@pytest.mark.parametrize(
    ("what", "status", "transactions", "stands"),
    [
        ("created", "needs_response", [], True),
        ("created", "warning_needs_response", [], False),
        ("created", "lost", [], True),
        ("created", "prevented", [], False),
        ("updated", "under_review", [], True),
        ("updated", "warning_under_review", [], False),
        ("updated", "appeal_needs_response", [], True),
        ("updated", "appeal_under_review", [WITHDRAWN, REINSTATED], False),
        ("updated", "under_review", [WITHDRAWN], True),
        ("updated", "lost", [WITHDRAWN, REINSTATED], False),
        ("updated", "a_status_of_tomorrow", [], True),
        ("funds_withdrawn", "needs_response", [], True),
        ("funds_withdrawn", "needs_response", [WITHDRAWN], True),
        ("funds_withdrawn", "under_review", [WITHDRAWN, REINSTATED], True),
        ("funds_reinstated", "won", [WITHDRAWN], False),
        ("funds_reinstated", "lost", [WITHDRAWN], False),
        ("closed", "won", [WITHDRAWN], False),
        ("closed", "lost", [WITHDRAWN], True),
        ("closed", "lost", [{"id": "txn_1"}], True),
        ("closed", "warning_closed", [], False),
    ],
)
def test_a_dispute_stands_while_its_money_is_withdrawn(
    what: str, status: str, transactions: list[dict[str, Any]], stands: bool
) -> None:
    found = notice(event(f"charge.dispute.{what}", DISPUTE, status=status, balance_transactions=transactions))
    assert found is not None
    assert (found.kind, found.about, found.stands) == ("dispute", "dp_1", stands)


@pytest.mark.parametrize(
    ("what", "status", "moved", "withheld"),
    [
        ("funds_reinstated", "won", [-500, 500], None),
        ("funds_reinstated", "won", [-500, 200], "3.00 usd"),
        ("funds_reinstated", "lost", [-500, 200], "3.00 usd"),
        ("closed", "won", [-500, 200], "3.00 usd"),
        ("updated", "under_review", [-500, 100, 100], "3.00 usd"),
        ("updated", "under_review", [-500, 600], None),
        ("funds_reinstated", "won", [-500], None),  # the list is late
        ("funds_withdrawn", "under_review", [-500, 200], "5.00 usd"),  # a second time, and the list is late
    ],
)
def test_of_a_dispute_that_gave_back_a_part_the_rest_stands(
    what: str, status: str, moved: list[int], withheld: str | None
) -> None:
    listed = [{"amount": amount, "currency": "usd"} for amount in moved]
    found = notice(event(f"charge.dispute.{what}", DISPUTE, status=status, balance_transactions=listed))
    assert found is not None
    assert (str(found.amount) if found.stands else None) == withheld


def test_what_came_back_in_another_currency_came_back_whole() -> None:
    """Settled in euros, each at the rate of its day: the difference is no part of the dispute."""
    listed = [{"amount": -450, "currency": "eur"}, {"amount": 440, "currency": "eur"}]
    found = notice(event("charge.dispute.funds_reinstated", DISPUTE, status="won", balance_transactions=listed))
    assert found is not None
    assert not found.stands


def test_a_warning_is_kept_without_an_amount() -> None:
    about = {"id": "issfr_1", "charge": "ch_1", "payment_intent": "pi_1", "fraud_type": "misc", "actionable": True}
    found = notice(event("radar.early_fraud_warning.created", about))
    assert found is not None
    assert (found.kind, found.amount.micros) == ("warning", 0)


@pytest.mark.parametrize("currency", ["jpy", "JPY"])
def test_a_currency_without_cents_is_read_as_it_is(currency: str) -> None:
    found = notice(event("refund.created", REFUND, currency=currency))
    assert found is not None
    assert found.amount == Money.parse("150 jpy")


@pytest.mark.parametrize(
    "type",
    [
        "charge.succeeded", "payment_intent.succeeded", "payment_intent.payment_failed", "checkout.session.expired",
        "checkout.session.async_payment_failed", "charge.dispute.imagined", "refund.imagined", "customer.updated",
    ],
)  # fmt: skip
def test_other_events_say_nothing_of_money_that_goes_back(type: str) -> None:
    assert notice(event(type, CHARGE)) is None


def test_what_names_no_payment_intent_is_not_about_a_checkout() -> None:
    assert notice(event("refund.created", REFUND, payment_intent=None)) is None


@pytest.mark.parametrize(
    ("type", "about", "change"),
    [
        ("refund.created", REFUND, {"amount": None}),
        ("refund.created", REFUND, {"amount": "150"}),
        ("refund.created", REFUND, {"amount": True}),
        ("refund.created", REFUND, {"amount": -1}),
        ("refund.created", REFUND, {"currency": None}),
        ("refund.created", REFUND, {"currency": "dollars"}),
        ("refund.created", REFUND, {"status": None}),
        ("refund.created", REFUND, {"id": None}),
        ("refund.created", REFUND, {"payment_intent": {"id": "pi_1"}}),
        ("refund.created", REFUND, {"payment_intent": ""}),
        ("charge.refunded", CHARGE, {"amount_refunded": None}),
        ("charge.dispute.created", DISPUTE, {"status": 7}),
    ],
)
def test_what_cannot_be_read_is_told_apart(type: str, about: dict[str, Any], change: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"the (refund|refunded|dispute) has no"):
        notice(event(type, about, **change))
