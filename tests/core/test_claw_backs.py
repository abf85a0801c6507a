"""What owners bear of a caller's debt."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.claw_backs import Borne, Debtor, Spent, entries, of_wallet, shares_of_debt
from gateway.core.ledger import Credit, Reversal

HOUR = 3_600_000
SPENT = [Spent(1 * HOUR, "anna", 2000, 1000), Spent(2 * HOUR, "bert", 0, 300), Spent(2 * HOUR, "anna", 1000, 100)]


@pytest.mark.parametrize(
    ("debt", "bears"),
    [
        (0, {}),
        (4, {"anna": 1, "bert": 3}),
        (400, {"anna": 90, "bert": 300}),
        (401, {"anna": 91, "bert": 300}),
        (900, {"anna": 490, "bert": 300}),
        (10_000, {"anna": 890, "bert": 300}),
    ],
)
def test_the_newest_hour_bears_first_each_owner_their_share(debt: int, bears: dict[str, int]) -> None:
    assert {owner: micros for owner, micros in shares_of_debt(debt, SPENT).items() if micros} == bears


def test_what_was_spent_besides_bears_what_is_left() -> None:
    own, besides = SPENT[:1], SPENT[1:]
    assert shares_of_debt(900, own, besides) == {"anna": 720, "bert": 0}
    assert shares_of_debt(1100, own, besides) == {"anna": 823, "bert": 75}
    assert shares_of_debt(10_000, own, besides) == {"anna": 890, "bert": 300}


def test_a_wallet_is_told_by_its_first_row_and_bears_where_the_money_was() -> None:
    borne = {3: {"anna": Borne("anna", 50, 2)}, 7: {"anna": Borne("anna", 40, 1), "bert": Borne("bert", 5, 1)}}
    spent = {3: SPENT[:1], 7: SPENT[1:]}
    made = of_wallet("usd", {7: 0, 3: 100}, spent, borne, [7])
    assert (made.row, made.debt, made.spent, made.spent_besides) == (3, 100, SPENT[1:], SPENT[:1])
    assert sorted(made.borne, key=lambda one: one.owner) == [Borne("anna", 90, 2), Borne("bert", 5, 0)]
    everything = of_wallet("usd", {7: 0, 3: 100}, spent, borne, [9])
    assert (sorted(everything.spent, key=SPENT.index), everything.spent_besides) == (SPENT, [])


def debtor(debt: int, *borne: Borne, unit: str = "usd") -> Debtor:
    return Debtor(17, unit, debt, SPENT, borne)


def told(found: list[Credit | Reversal]) -> list[tuple[str, str, int, bool]]:
    return [(one.ref, one.account, one.amount.micros, isinstance(one, Credit)) for one in found]


def test_only_the_difference_is_written_under_the_next_number() -> None:
    assert told(entries(debtor(400), owners_bear=True)) == [
        ("claw_back:17:anna:0", "owner:anna", 90, False),
        ("claw_back:17:bert:0", "owner:bert", 300, False),
    ]
    found = entries(debtor(400, Borne("anna", 90, 1), Borne("bert", 310, 3)), owners_bear=True)
    assert told(found) == [("claw_back:17:bert:3", "owner:bert", 10, True)]


def test_what_is_settled_or_for_the_platform_to_bear_is_given_back() -> None:
    so_far = (Borne("anna", 90, 1), Borne("bert", 300, 1))
    back = [("claw_back:17:anna:1", "owner:anna", 90, True), ("claw_back:17:bert:1", "owner:bert", 300, True)]
    assert told(entries(Debtor(17, "usd", 0, (), so_far), owners_bear=True)) == back
    assert told(entries(debtor(400, *so_far), owners_bear=False)) == back


def test_the_platform_and_named_credits_bear_nothing() -> None:
    assert told(entries(debtor(400), owners_bear=True, besides=["bert"])) == [
        ("claw_back:17:anna:0", "owner:anna", 90, False)
    ]
    assert entries(debtor(400, unit="unit:export"), owners_bear=True) == []


spendings = st.lists(
    st.builds(
        Spent,
        st.integers(0, 4).map(lambda hour: hour * HOUR),
        st.sampled_from(["anna", "bert"]),
        st.integers(0, 10_000),
        st.integers(-(10**6), 10**9),
    ),
    max_size=8,
)


@given(st.integers(0, 10**10), spendings)
def test_nobody_bears_more_than_the_debt_or_than_they_got(debt: int, spent: list[Spent]) -> None:
    bears = shares_of_debt(debt, spent)
    assert all(micros >= 0 for micros in bears.values())
    assert sum(bears.values()) <= debt
    for owner, micros in bears.items():
        got = [one for one in spent if one.owner == owner and one.micros > 0]
        assert micros <= sum(one.micros * (10_000 - one.commission_points) // 10_000 + 1 for one in got)


@given(st.integers(0, 10**9), st.integers(0, 10**9), spendings)
def test_a_smaller_debt_is_never_borne_by_more(debt: int, less: int, spent: list[Spent]) -> None:
    smaller, whole = shares_of_debt(max(0, debt - less), spent), shares_of_debt(debt, spent)
    assert all(micros <= whole[owner] for owner, micros in smaller.items())
