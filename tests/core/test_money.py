"""Amounts are exact, in every currency and in every direction."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.money import (
    AMOUNT_MICROS_MAX,
    THREE_DECIMAL,
    ZERO_DECIMAL,
    CurrencyMismatch,
    Money,
    MoneySyntax,
    from_minor,
    minor_decimals,
    to_minor,
)

CURRENCIES = st.sampled_from(["usd", "eur", *sorted(ZERO_DECIMAL | THREE_DECIMAL)])
MICROS = st.integers(-AMOUNT_MICROS_MAX, AMOUNT_MICROS_MAX)


@pytest.mark.parametrize(
    ("text", "micros", "currency"),
    [
        ("0.002 usd", 2_000, "usd"),
        ("5.00 USD", 5_000_000, "usd"),
        ("5 jpy", 5_000_000, "jpy"),
        ("0.000001 eur", 1, "eur"),
        ("0.000001000000 eur", 1, "eur"),
        (" 1.5 kwd\n", 1_500_000, "kwd"),
        ("0 usd", 0, "usd"),
        ("4611686018427.387904 usd", AMOUNT_MICROS_MAX, "usd"),
    ],
)
def test_an_amount_is_read_exactly(text: str, micros: int, currency: str) -> None:
    assert Money.parse(text) == Money(micros, currency)


@pytest.mark.parametrize(
    "text",
    ["", "5", "usd", "5usd", "5  usd", "-1 usd", "+1 usd", "1e3 usd", "1,000 usd", "1. usd", ".5 usd", "0x5 usd",
     "5 us", "5 usdx", "5 $", "nan usd", "1_000 usd", "12345678901234 usd", "1.0000000000000 usd"],
)  # fmt: skip
def test_a_text_that_is_no_amount_is_refused(text: str) -> None:
    with pytest.raises(MoneySyntax, match="is not an amount"):
        Money.parse(text)


def test_an_amount_finer_than_a_micro_is_refused_and_not_rounded() -> None:
    with pytest.raises(MoneySyntax, match="finer than a millionth of a usd"):
        Money.parse("0.0000001 usd")


def test_more_than_an_account_can_hold_is_refused() -> None:
    Money(AMOUNT_MICROS_MAX, "usd")
    Money(-AMOUNT_MICROS_MAX, "usd")
    for micros in (AMOUNT_MICROS_MAX + 1, -AMOUNT_MICROS_MAX - 1):
        with pytest.raises(MoneySyntax, match="more than an account can hold"):
            Money(micros, "usd")
    with pytest.raises(MoneySyntax, match="more than an account can hold"):
        Money.parse("4611686018427.387905 usd")


@pytest.mark.parametrize(
    ("micros", "text"),
    [(2_000, "0.002 usd"), (5_000_000, "5.00 usd"), (5_100_000, "5.10 usd"), (1, "0.000001 usd"), (0, "0.00 usd"),
     (-1_500_000, "-1.50 usd")],
)  # fmt: skip
def test_an_amount_is_written_with_at_least_two_decimals(micros: int, text: str) -> None:
    assert str(Money(micros, "usd")) == text


@given(micros=st.integers(0, AMOUNT_MICROS_MAX), currency=CURRENCIES)
def test_what_is_written_is_read_back(micros: int, currency: str) -> None:
    money = Money(micros, currency)
    assert Money.parse(str(money)) == money


@given(micros=MICROS, currency=CURRENCIES)
def test_what_is_written_is_the_exact_number(micros: int, currency: str) -> None:
    assert Decimal(Money(micros, currency).number) * 1_000_000 == micros


@given(text=st.text(max_size=30))
def test_any_text_is_an_amount_or_is_refused(text: str) -> None:
    try:
        money = Money.parse(text)
    except MoneySyntax:
        return
    assert Money.parse(str(money)) == money


@given(a=st.integers(-(2**60), 2**60), b=st.integers(-(2**60), 2**60))
def test_sums_and_comparisons_are_those_of_integers(a: int, b: int) -> None:
    left, right = Money(a, "usd"), Money(b, "usd")
    assert (left + right).micros == a + b
    assert (left - right).micros == a - b
    assert (-left).micros == -a
    assert (left < right, left <= right, left > right, left >= right) == (a < b, a <= b, a > b, a >= b)
    assert bool(left) is bool(a)


def test_two_currencies_never_mix() -> None:
    dollar, yen = Money(1, "usd"), Money(1, "jpy")
    for mix in (
        lambda: dollar + yen,
        lambda: dollar - yen,
        lambda: dollar < yen,
        lambda: dollar <= yen,
    ):
        with pytest.raises(CurrencyMismatch):
            mix()
    assert dollar != yen
    assert Money.zero("usd") != Money.zero("jpy")


@pytest.mark.parametrize(
    ("amount", "currency", "micros"),
    [
        (1, "usd", 10_000),
        (500, "USD", 5_000_000),
        (500, "jpy", 500_000_000),
        (1, "krw", 1_000_000),
        (10, "kwd", 10_000),
    ],
)
def test_the_provider_s_units_depend_on_the_currency(amount: int, currency: str, micros: int) -> None:
    money = from_minor(amount, currency)
    assert money == Money(micros, currency.lower())
    assert to_minor(money) == amount


@pytest.mark.parametrize(("currency", "decimals"), [("usd", 2), ("jpy", 0), ("kwd", 3), ("xof", 0), ("tnd", 3)])
def test_minor_units_have_two_decimals_none_or_three(currency: str, decimals: int) -> None:
    assert minor_decimals(currency) == decimals


@given(amount=st.integers(0, 10**11), currency=CURRENCIES)
def test_a_payment_survives_the_way_to_the_provider_and_back(amount: int, currency: str) -> None:
    amount -= amount % 10 if currency in THREE_DECIMAL else 0
    assert to_minor(from_minor(amount, currency)) == amount


@pytest.mark.parametrize(
    ("micros", "currency"),
    [(9_999, "usd"), (10_001, "usd"), (999_999, "jpy"), (1, "kwd"), (1_000, "kwd"), (11_000, "kwd")],
)
def test_an_amount_too_fine_for_a_payment_is_refused_and_not_rounded(micros: int, currency: str) -> None:
    with pytest.raises(MoneySyntax, match="is finer than a payment"):
        to_minor(Money(micros, currency))


def test_no_currency_has_both_no_decimals_and_three() -> None:
    assert not ZERO_DECIMAL & THREE_DECIMAL


# --- named credits ----------------------------------------------------------------------------------------------------

UNITS = st.from_regex(r"unit:[a-z][a-z0-9_-]{0,30}", fullmatch=True)


@given(count=st.integers(0, AMOUNT_MICROS_MAX // 1_000_000), unit=UNITS)
def test_a_grant_is_read_as_it_is_written(count: int, unit: str) -> None:
    granted = Money(count * 1_000_000, unit)
    assert str(granted) == f"{count} {unit}"
    assert Money.parse_grant(str(granted)) == granted
    assert granted.named


@given(micros=st.integers(0, AMOUNT_MICROS_MAX), currency=CURRENCIES)
def test_a_grant_of_money_is_money(micros: int, currency: str) -> None:
    money = Money(micros, currency)
    assert Money.parse_grant(str(money)) == Money.parse(str(money)) == money
    assert not money.named


@given(micros=MICROS, unit=UNITS)
def test_a_part_of_a_named_credit_is_written_exactly(micros: int, unit: str) -> None:
    number, _, name = str(Money(micros, unit)).partition(" ")
    assert Decimal(number) * 1_000_000 == micros
    assert name == unit


@pytest.mark.parametrize(
    "text",
    ["100 unit:", "1.5 unit:export", "-1 unit:export", "100unit:export", "100 unit:Export", "100 unit:9", "unit:export",
     "100 unit:ex port", "100 unit:ex#1", "12345678901234 unit:x", "1 unit:" + "x" * 32, "1 unit:é"],
)  # fmt: skip
def test_what_is_no_grant_is_refused_in_words(text: str) -> None:
    with pytest.raises(MoneySyntax, match="such as 100 unit:export"):
        Money.parse_grant(text)


def test_more_of_a_named_credit_than_an_account_can_hold_is_refused() -> None:
    most = AMOUNT_MICROS_MAX // 1_000_000
    assert Money.parse_grant(f"{most} unit:x").micros == most * 1_000_000
    with pytest.raises(MoneySyntax, match="more than an account can hold"):
        Money.parse_grant(f"{most + 1} unit:x")


def test_a_named_credit_is_no_money() -> None:
    with pytest.raises(MoneySyntax, match="is not an amount"):
        Money.parse("100 unit:export")
    with pytest.raises(MoneySyntax, match="nothing that can be paid"):
        to_minor(Money(1_000_000, "unit:export"))
    with pytest.raises(CurrencyMismatch):
        Money(1, "unit:export") + Money(1, "usd")
