"""What a payment has to give back is a function of what is known of it, whatever the order."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.ledger import Credit, Reversal
from gateway.core.money import Money
from gateway.core.reversals import Credited, Move, Notice, NoticeKind, due, entry, next_move

PAID = Money.parse("5.00 usd")
WHOLE = Credited("pi_1", "cs_1", "acct_1", PAID, PAID)
_numbers = itertools.count()


def notice(
    kind: NoticeKind, about: str, amount: str = "5.00 usd", *, stands: bool = True, at: int = 1, event: str = ""
) -> Notice:
    id = event or f"evt_{next(_numbers)}"
    return Notice(id, "pi_1", kind, about, Money.parse(amount), stands, at, False)


def refund(about: str, amount: str, *, stands: bool = True) -> Notice:
    return notice("refund", about, amount, stands=stands)


def dispute(about: str, amount: str, *, stands: bool = True, at: int = 1) -> Notice:
    return notice("dispute", about, amount, stands=stands, at=at)


@pytest.mark.parametrize(
    ("notices", "back"),
    [
        ([], 0),
        ([refund("re_1", "2.00 usd")], 2_000_000),
        ([refund("re_1", "2.00 usd"), refund("re_1", "2.00 usd")], 2_000_000),
        ([refund("re_1", "2.00 usd"), refund("re_2", "2.00 usd")], 4_000_000),
        ([refund("re_1", "5.00 usd"), refund("re_2", "5.00 usd")], 5_000_000),
        ([refund("re_1", "2.00 usd"), refund("re_1", "2.00 usd", stands=False)], 0),
        ([refund("re_1", "2.00 usd", stands=False)], 0),
        ([refund("re_1", "2.00 usd", stands=False), refund("re_2", "3.00 usd")], 3_000_000),
        ([notice("refunded", "ch_1", "2.00 usd")], 2_000_000),
        ([notice("refunded", "ch_1", "2.00 usd"), refund("re_1", "2.00 usd")], 2_000_000),
        ([notice("refunded", "ch_1", "4.00 usd"), refund("re_1", "2.00 usd")], 4_000_000),
        ([notice("refunded", "ch_1", "2.00 usd"), notice("refunded", "ch_1", "4.00 usd")], 4_000_000),
        ([notice("refunded", "ch_1", "2.00 usd"), refund("re_1", "2.00 usd", stands=False)], 0),
        ([notice("refunded", "ch_1", "0.00 usd")], 0),
        ([dispute("dp_1", "5.00 usd")], 5_000_000),
        ([dispute("dp_1", "5.00 usd"), dispute("dp_1", "5.00 usd", at=2)], 5_000_000),
        ([dispute("dp_1", "5.00 usd"), dispute("dp_1", "5.00 usd", stands=False, at=2)], 0),
        ([dispute("dp_1", "5.00 usd", at=3), dispute("dp_1", "5.00 usd", stands=False, at=2)], 5_000_000),
        ([dispute("dp_1", "5.00 usd", at=2), dispute("dp_1", "5.00 usd", stands=False, at=2)], 0),
        ([dispute("dp_1", "2.00 usd"), dispute("dp_2", "2.00 usd")], 4_000_000),
        ([dispute("dp_1", "5.00 usd"), refund("re_1", "5.00 usd")], 5_000_000),
        ([dispute("dp_1", "2.00 usd"), refund("re_1", "2.00 usd")], 4_000_000),
        ([dispute("dp_1", "5.00 usd", stands=False), refund("re_1", "2.00 usd")], 2_000_000),
        ([notice("warning", "issfr_1", "5.00 usd")], 0),
        ([refund("re_1", "2.00 eur"), dispute("dp_1", "2.00 eur")], 0),
    ],
)
def test_what_is_to_be_given_back(notices: list[Notice], back: int) -> None:
    assert due(WHOLE, notices) == back
    assert due(WHOLE, notices[::-1]) == back


def test_a_full_refund_takes_what_was_credited_and_not_the_tax() -> None:
    taxed = Credited("pi_1", "cs_1", "acct_1", Money.parse("5.00 usd"), Money.parse("4.20 usd"))
    assert due(taxed, [refund("re_1", "5.00 usd")]) == 4_200_000
    assert due(taxed, [refund("re_1", "2.50 usd")]) == 2_100_000


def test_thirds_are_rounded_once_and_the_remainder_stays_with_the_account() -> None:
    odd = Credited("pi_1", "cs_1", "acct_1", Money(3, "usd"), Money(2, "usd"))
    refunds = [notice("refund", f"re_{number}") for number in range(3)]
    refunds = [Notice(one.event, "pi_1", "refund", one.about, Money(1, "usd"), True, 1, False) for one in refunds]
    assert [due(odd, refunds[:count]) for count in range(4)] == [0, 0, 1, 2]


def test_the_next_move_is_the_difference_and_has_the_next_number() -> None:
    first = next_move(WHOLE, [refund("re_1", "2.00 usd")], [])
    assert first == Move("pi_1", 1, 2_000_000, "refund")
    notices = [refund("re_1", "2.00 usd", stands=False), dispute("dp_1", "5.00 usd", stands=False)]
    second = next_move(WHOLE, notices, [first])
    assert second == Move("pi_1", 2, -2_000_000, "refund and dispute")
    assert next_move(WHOLE, notices, [first, second]) is None


def test_a_move_is_a_reversal_or_gives_back() -> None:
    back = entry(WHOLE, Move("pi_1", 1, 2_000_000, "refund"))
    assert back == Reversal("stripe:pi_1:1", "acct_1", Money.parse("2.00 usd"), "refund", "refund of cs_1")
    again = entry(WHOLE, Move("pi_1", 2, -2_000_000, "dispute"))
    assert again == Credit("stripe:pi_1:2", "acct_1", Money.parse("2.00 usd"), "restored", "dispute of cs_1")


NOTICES = st.builds(
    Notice,
    event=st.uuids().map(str),
    payment=st.just("pi_1"),
    kind=st.sampled_from(["refund", "refunded", "dispute", "warning"]),
    about=st.sampled_from(["a", "b", "c"]),
    amount=st.integers(0, 6_000_000).map(lambda micros: Money(micros, "usd")),
    stands=st.booleans(),
    at=st.integers(0, 3),
    live=st.just(False),
)


@given(st.lists(NOTICES, max_size=12), st.integers(1, 5_000_000), st.data())
def test_order_and_repetition_change_nothing_and_nobody_gives_back_more_than_was_credited(
    notices: list[Notice], credit: int, data: st.DataObject
) -> None:
    credited = Credited("pi_1", "cs_1", "acct_1", PAID, Money(credit, "usd"))
    repeated = data.draw(st.lists(st.sampled_from(notices), max_size=8)) if notices else []
    shuffled = data.draw(st.permutations([*notices, *repeated]))
    assert 0 <= due(credited, notices) <= credit
    assert due(credited, shuffled) == due(credited, notices)
