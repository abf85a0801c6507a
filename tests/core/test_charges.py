"""How much a fee is, and what may follow what."""

from dataclasses import replace
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.charges import (
    CHARGE_EVENTS,
    CHARGE_STATES,
    NEXT,
    PAID,
    Charge,
    ChargeWish,
    credited,
    fee,
    freed,
    gone_back,
    proceeds,
    read_wish,
    released,
    revenue,
    told,
)
from gateway.core.money import Money, from_minor, to_minor
from gateway.core.payouts import granularity
from gateway.core.reversals import Notice

ONE = Charge(
    "txn_1", False, "rf_1", "usr_1", "anna", Money(100_000_000, "usd"), Money(20_000_000, "usd"), 2000, "cus_1", 7_000,
    intent="pi_1",
)  # fmt: skip


@given(st.integers(1, 10**12), st.integers(0, 10_000), st.sampled_from(["usd", "jpy", "kwd", "isk"]))
def test_a_fee_is_the_rate_rounded_half_up_to_what_the_provider_moves_and_once(
    minor: int, points: int, currency: str
) -> None:
    amount = from_minor(minor, currency)
    costs, unit = fee(amount, points), granularity(currency)
    assert costs.micros % unit == 0
    exact = Fraction(amount.micros * points, 10_000)
    assert -unit <= 2 * (exact - costs.micros) < unit, "half goes up"
    assert to_minor(costs) >= 0, "it can be asked for"


@pytest.mark.parametrize(("minor", "costs"), [(2, 0), (3, 1), (12, 2), (13, 3), (10_000, 2000), (12_345, 2469)])
def test_twenty_percent_of_a_few_cents(minor: int, costs: int) -> None:
    assert fee(from_minor(minor, "usd"), 2000) == from_minor(costs, "usd")


@pytest.mark.parametrize("points", [-1, 10_001])
def test_more_than_all_and_less_than_nothing_are_no_rate(points: int) -> None:
    with pytest.raises(ValueError, match="basis points"):
        fee(from_minor(100, "usd"), points)


def test_every_cell_of_what_may_follow_what_is_looked_at() -> None:
    for state in CHARGE_STATES:
        for event in CHARGE_EVENTS:
            after = NEXT.get((state, event))
            if event == "succeeded":
                assert after == (None if state in PAID else "succeeded"), "money that came is believed, once"
            elif event == "begun":
                assert after == ("sending" if state in ("planned", "retrying", "sending") else None)
            elif event in ("refunded", "disputed"):
                assert after == (event if state in PAID else None), "only what was paid goes back"
            elif event == "waived":
                assert after == ("failed" if state in ("retrying", "pending", "failed") else None), "what nobody is at"
            elif event == "restored":
                assert after == ("succeeded" if state in ("refunded", "disputed") else None)
            else:
                assert (after is not None) == (state == "sending"), "an outcome is of an attempt"
                assert after not in ("planned", "succeeded")


def test_what_a_service_says_is_read() -> None:
    said = {"refund_id": "rf_1", "user_id": "usr_1", "amount": 1050, "currency": "USD"}
    wish = read_wish(said, "usd")
    assert wish == ChargeWish("rf_1", "usr_1", Money(10_500_000, "usd"))
    for name in said:
        with pytest.raises(ValueError, match=name):
            read_wish({key: value for key, value in said.items() if key != name}, "usd")
    for other in ({"amount": 10**12 + 1}, {"amount": "1050"}, {"refund_id": "x" * 129}, {"currency": "eur"}):
        with pytest.raises(ValueError, match=next(iter(other))):
            read_wish(said | other, "usd")


def test_the_same_refund_is_the_same_charge_only_with_the_same_person_and_amount() -> None:
    assert ONE.is_of(ChargeWish("rf_1", "usr_1", Money(100_000_000, "usd")))
    assert not ONE.is_of(ChargeWish("rf_1", "usr_2", Money(100_000_000, "usd")))
    assert not ONE.is_of(ChargeWish("rf_1", "usr_1", Money(100_000_001, "usd")))


def test_what_the_books_get_is_named_by_what_caused_it() -> None:
    assert (revenue(ONE).ref, revenue(ONE).account, revenue(ONE).amount) == (
        "stripe:charge:pi_1", "platform", ONE.fee
    )  # fmt: skip
    assert (proceeds(ONE).ref, proceeds(ONE).account, proceeds(ONE).amount) == (
        "proceeds:txn_1", "held:anna", ONE.amount
    )  # fmt: skip
    assert (released(ONE).ref, released(ONE).account, released(ONE).amount) == (
        "proceeds:txn_1:paid", "held:anna", ONE.amount
    )  # fmt: skip
    out, into = freed(ONE)
    assert (out.ref, out.account, out.amount) == ("proceeds:txn_1:free", "held:anna", ONE.amount)
    assert (into.ref, into.account, into.amount) == ("proceeds:txn_1:due", "held:anna:due", ONE.amount)
    assert [name for name, _, _ in credited(ONE).credits] == ["charge:pi_1"], "the books have it as that"


def test_a_fee_has_gone_back_as_far_as_it_was_heard_in_whatever_order() -> None:
    def notice(kind: Any, about: str, micros: int, *, stands: bool = True, at: int = 1) -> Notice:
        return Notice(f"evt_{about}_{at}_{stands}", "pi_1", kind, about, Money(micros, "usd"), stands, at, False)

    part, whole = notice("refund", "re_1", 5_000_000), notice("dispute", "dp_1", 20_000_000)
    won = notice("dispute", "dp_1", 20_000_000, stands=False, at=2)
    assert gone_back(ONE, []) == ("restored", 0)
    assert gone_back(ONE, [part]) == ("refunded", 5_000_000)
    assert gone_back(ONE, [part, whole]) == gone_back(ONE, [whole, part]) == ("disputed", 20_000_000)
    assert gone_back(ONE, [won, whole]) == gone_back(ONE, [whole, won]) == ("restored", 0)
    assert gone_back(ONE, [whole, won, part]) == ("refunded", 5_000_000)


def test_amounts_are_told_in_the_smallest_unit_and_ids_of_methods_are_not() -> None:
    shown = told(ONE, "https://x")
    assert (shown["amount"], shown["fee"], shown["status"], shown["created"]) == (10_000, 2000, "processing", 7)
    assert not {"method", "customer"} & shown.keys()


def test_what_goes_back_of_a_fee_is_told_with_what_the_dispute_costs() -> None:
    shown = told(replace(ONE, state="disputed", back=20_000_000, dispute_fee=15_000_000))
    assert (shown["status"], shown["refunded"], shown["dispute_fee"]) == ("disputed", 2000, 1500)
