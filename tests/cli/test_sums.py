"""What moved at Stripe, line by line, as `gateway books --stripe` counts it."""

import pytest

from gateway.cli.sums import AtStripe
from gateway.core.money import Money
from gateway.ports import BalanceLine


def line(type: str, amount: int, fee: int = 0, category: str = "") -> BalanceLine:
    return BalanceLine("txn_1", type, "", usd(amount), usd(fee), usd(amount - fee), 1, category or type)


def usd(micros: int) -> Money:
    return Money(micros, "usd")


@pytest.mark.parametrize(
    ("one", "moved", "kept", "to_bank"),
    [
        (line("charge", 1000, 59), 1000, {"charge": 59}, 0),
        (line("refund", -400), -400, {}, 0),
        (line("adjustment", -1000, 1500, "dispute"), -1000, {"dispute": 1500}, 0),
        (line("transfer", -70), -70, {}, 0),
        (line("payout", -500, 5), 0, {"payout": 5}, 500),
        (line("payout_failure", 500), 0, {}, -500),
        (line("topup", 800), 0, {}, -800),
        (line("stripe_fee", -200, 0, "fee"), 0, {"fee": 200}, 0),
        (line("stripe_fee", 30, 0, "fee"), 0, {"fee": -30}, 0),
        (line("tax_fee", -19, 0, "tax"), 0, {"tax": 19}, 0),
    ],
)
def test_each_line_is_moved_kept_or_on_its_way_to_the_bank(
    one: BalanceLine, moved: int, kept: dict[str, int], to_bank: int
) -> None:
    found = AtStripe().with_line(one)
    assert (found.moved, dict(found.kept), found.to_bank) == (moved, kept, to_bank)
    assert found.moved - found.fees - found.to_bank == one.net.micros, "the balance is what all lines come to"


def test_what_is_kept_of_a_dispute_that_was_won_comes_back() -> None:
    found = AtStripe().with_line(line("charge", 1000, 59)).with_line(line("adjustment", -1000, 1500, "dispute"))
    found = found.with_line(line("adjustment", 1000, -1500, "dispute_reversal"))
    assert (found.moved, found.fees, dict(found.kept)) == (1000, 59, {"charge": 59, "dispute": 0})
