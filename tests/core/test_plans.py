"""What the lines of an invoice grant together, and what goes into which purse: nothing is lost between them."""

from hypothesis import given
from hypothesis import strategies as st

from gateway.core.ledger import Reversal
from gateway.core.money import Money
from gateway.core.plans import Line, Plan, granted
from gateway.core.purses import PLAIN, Purse
from gateway.core.reversals import Credited, parts

PLANS = {
    "plain": Plan("plain", "plain", Money(3, "usd"), "month", Money(1, "usd")),
    "ends": Plan("ends", "ends", Money(7, "usd"), "month", Money(5, "usd"), ends=True),
    "first": Plan("first", "first", Money(11, "usd"), "month", Money(13, "usd"), priority=-5),
}
LINES = st.lists(
    st.builds(
        lambda price, micros, ends: Line(price, Money(micros, "usd"), 1, ends, part=True),
        st.sampled_from([*PLANS, "another"]),
        st.integers(-40, 60),
        st.sampled_from([1000, 2000]),
    ),
    max_size=8,
)


@given(LINES)
def test_what_the_purses_get_is_what_the_invoice_grants(lines: list[Line]) -> None:
    grant = granted(PLANS, lines)
    if grant is None:
        assert not [line for line in lines if line.price in PLANS]
        return
    if grant.shares:
        assert sum(share.amount.micros for share in grant.shares) == grant.amount.micros
        assert min(share.amount.micros for share in grant.shares) > 0
        assert len({share.purse for share in grant.shares}) == len(grant.shares) > 1
        assert grant.purse == grant.shares[0].purse
        asked = {line.ends_ms for line in lines if line.amount.micros > 0 and line.price == "ends"}
        assert {share.purse.expires_ms for share in grant.shares} <= {0, *asked}


def test_what_one_line_gives_back_is_taken_off_the_largest_first_and_then_off_the_next() -> None:
    def line(price: str, micros: int, ends: int = 1000) -> Line:
        return Line(price, Money(micros, "usd"), 1, ends, part=True)

    lines = [line("ends", 7 * 20), line("ends", 7 * 16, 2000), line("plain", -3 * 110), line("first", 11 * 4)]
    grant = granted(PLANS, lines)
    assert grant is not None
    assert {share.purse: share.amount.micros for share in grant.shares} == {
        Purse(0, 2000): 100 + 80 - 110,
        Purse(-5): 52,
    }


@given(LINES, st.integers(1, 500))
def test_what_a_refund_takes_out_of_the_purses_is_what_it_takes(lines: list[Line], micros: int) -> None:
    grant = granted(PLANS, lines)
    if grant is None or grant.amount.micros <= 0:
        return
    micros = min(micros, grant.amount.micros)
    credited = Credited("pi", "in", "acct", Money(1, "usd"), grant.amount, grant.purse, grant.shares)
    out = parts(credited, Reversal("ref", "acct", Money(micros, "usd"), "refund", ""))
    assert sum(part.amount.micros for _, part in out) == micros
    assert len({part.ref for _, part in out}) == len(out)
    got = {share.purse: share.amount.micros for share in grant.shares} or {grant.purse: grant.amount.micros}
    slack = len(out)
    assert all(part.amount.micros <= got[purse] + slack for purse, part in out)


def test_a_name_tells_the_purses_of_one_credit_apart() -> None:
    grant = granted(PLANS, [Line(price, Money(77, "usd"), 1, 1000) for price in PLANS])
    assert grant is not None
    credited = Credited("pi", "in", "acct", Money(1, "usd"), grant.amount, grant.purse, grant.shares)
    assert sorted((name, purse) for name, purse, _ in credited.credits if purse == PLAIN) == [("in", PLAIN)]
    assert sum(amount.micros for *_, amount in credited.credits) == grant.amount.micros


def test_of_a_named_credit_there_are_whole_ones() -> None:
    plan = Plan("team", "team", Money(10_000_000, "usd"), "month", Money(3_000_000, "unit:export"))
    for paid, whole in ((10_000_000, 3), (9_999_999, 2), (5_000_000, 1), (3_333_333, 0), (-5_000_000, -1)):
        grant = granted({"team": plan}, [Line("team", Money(paid, "usd"), 1, 1000)])
        assert grant is not None
        assert grant.amount == Money(whole * 1_000_000, "unit:export")
