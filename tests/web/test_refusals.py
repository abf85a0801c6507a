"""What programs are told of a refusal, in words."""

from gateway.core.money import Money
from gateway.core.refusals import PaymentRequired
from gateway.web.refusals import problem


def required(price: str) -> PaymentRequired:
    money = Money.parse_grant(price)
    return PaymentRequired(money, Money.zero(money.currency))


def test_what_no_plan_adds_is_not_said_to_lack_a_way_to_pay() -> None:
    told = problem(required("1 unit:export"))["detail"]
    assert told.endswith("No subscription adds unit:export; ask the operator for some.")
    assert "No way to pay is configured here" in problem(required("1.00 usd"))["detail"]
