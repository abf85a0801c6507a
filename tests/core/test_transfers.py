"""Double entry: nothing is lost in splitting, nothing is made, and what is rounded off comes back."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.ledger import Record
from gateway.core.transfers import POINTS, Part, Split, Tally, Terms, Transfer, Usage, hour_of, split, transfers


def test_share_and_commission_are_the_amount_for_every_small_amount_rate_and_carry() -> None:
    for points in (0, 1, 3, 33, 1500, 3333, 5000, 9999, 10_000):
        for carry in (0, 1, 4999, 9999):
            for micros in range(-300, 301):
                parts = split(micros, points, carry)
                assert parts.share + parts.commission == micros
                assert 0 <= parts.carry < POINTS
                for part in (parts.share, parts.commission):
                    assert part * micros >= 0, "one side would pay for the other"
                    assert abs(part) <= abs(micros)


@pytest.mark.parametrize("points", [2000, 1, 333, 9999])
def test_share_and_commission_are_every_amount_up_to_a_whole_unit(points: int) -> None:
    """Whatever the currency: a unit of each is a million micros."""
    for micros in range(1_000_001):
        parts = split(micros, points, 0)
        assert parts.share + parts.commission == micros
        assert parts.commission == micros * points // POINTS
        assert parts.commission * POINTS + parts.carry == micros * points


@given(
    points=st.integers(0, POINTS),
    amounts=st.lists(st.integers(-(10**15), 10**15), max_size=30),
)
def test_commissions_sum_to_the_rate_of_all_however_it_is_cut(points: int, amounts: list[int]) -> None:
    carry = commission = 0
    for micros in amounts:
        parts = split(micros, points, carry)
        carry = parts.carry
        commission += parts.commission
    assert commission == sum(amounts) * points // POINTS
    assert carry == sum(amounts) * points % POINTS


def test_what_is_rounded_off_is_with_the_owner_until_it_is_a_whole_micro() -> None:
    assert split(3, 1500, 0) == Split(share=3, commission=0, carry=4500)
    assert split(4, 1500, 4500) == Split(share=3, commission=1, carry=500)
    assert split(-7, 1500, 500) == Split(share=-6, commission=-1, carry=0)


@pytest.mark.parametrize("points", [-1, 10_001])
def test_a_commission_is_between_nothing_and_all(points: int) -> None:
    with pytest.raises(ValueError, match="no commission"):
        split(1, points, 0)


def test_an_hour_begins_on_the_hour() -> None:
    assert hour_of(7_199_999) == 3_600_000
    assert hour_of(7_200_000) == 7_200_000


TERMS = {1: Terms("anna", 1500), 2: Terms("anna", 1500), 3: Terms("bert", 0)}


def test_an_accounts_usage_goes_to_owners_and_platform_and_its_credits_come_from_clearing() -> None:
    used = [Usage(17, 1, 1, 600), Usage(17, 2, 1, 400), Usage(17, 3, 2, 5)]
    credits: list[Part] = [("credit", "stripe:cs_1", 5000), ("credit", "gift", 1)]
    assert list(transfers(17, "usd", credits, used, TERMS, {})) == [
        Transfer("credit", "clearing:stripe", "account:17", "usd", 5000, "stripe:cs_1"),
        Transfer("credit", "clearing:other", "account:17", "usd", 1, "gift"),
        Transfer("share", "account:17", "owner:anna", "usd", 850, "anna 1500"),
        Transfer("commission", "account:17", "platform", "usd", 150, "anna 1500"),
        Transfer("share", "account:17", "owner:bert", "usd", 5, "bert 0"),
    ]


def test_a_negative_net_goes_the_other_way_and_a_net_of_nothing_goes_nowhere() -> None:
    used = [Usage(17, 1, 0, -1000), Usage(17, 3, 1, 0)]
    assert list(transfers(17, "usd", [], used, TERMS, {})) == [
        Transfer("share", "owner:anna", "account:17", "usd", 850, "anna 1500"),
        Transfer("commission", "platform", "account:17", "usd", 150, "anna 1500"),
    ]


def test_a_void_takes_its_request_back() -> None:
    from gateway.core.ids import RequestId
    from gateway.core.ledger import Kind

    tally = Tally()
    for kind, micros in ((Kind.GATED_CAPTURE, 9), (Kind.CAPTURE, 5), (Kind.CORRECTION, -2), (Kind.VOID, -9)):
        tally.add(Record.packed(kind, 1, 17, 7, micros, RequestId(1, 1)), "")
    assert tally.used_by(17) == [Usage(17, 1, 1, 3)]
    assert tally.used_by(18) == []
