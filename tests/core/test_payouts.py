"""How much leaves an owner, when, and what may follow what."""

import itertools
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.held import Source
from gateway.core.money import Money, to_minor
from gateway.core.payouts import (
    DAY_MS,
    NEXT,
    PAYOUT_EVENTS,
    PAYOUT_STATES,
    SHORT,
    UNDER_WAY,
    Left,
    OwnersBooks,
    Payable,
    Payout,
    PayoutTerms,
    Shared,
    basis,
    coming_back,
    granularity,
    payable,
    payables,
    posting,
    read_payout_id,
    slot,
)

HOUR = 3_600_000
NOW = 500_000 * HOUR
ANNA = ("anna", "usd")
PAYOUT = Payout("anna", "usd", 7, 3_010_000, "acct_1", "key", fold=4, before_ms=NOW, created_ms=NOW)
SOURCES: tuple[Source, ...] = ("shares", "proceeds")
USUAL = PayoutTerms(hold_back_days=7)


def days_ago(days: float) -> int:
    return NOW - int(days * 24) * HOUR


def shared(*found: tuple[float, int]) -> list[Shared]:
    """So many days ago, so many micros."""
    return [Shared("anna", "usd", days_ago(days), micros) for days, micros in found]


def left(*micros: int, ref: str = "payout:anna:usd") -> list[Left]:
    return [Left("anna", "usd", f"{ref}:{number}", one, NOW, "x") for number, one in enumerate(micros)]


def stands(shares: list[Shared], gone: list[Left] | None = None, terms: PayoutTerms = USUAL) -> Payable:
    return payable(ANNA, shares, gone or [], terms, 4, now_ms=NOW)


LIFE = {
    "planned": {"written": "written", "found": "created"},
    "written": {"sending": "sending"},
    "sending": {"created": "created", "paid": "paid", "refused": "failed"},
    "created": {"paid": "paid", "reversed": "reversed"},
    "paid": {"reversed": "reversed"},
    "failed": {"given back": "returned"},
    "returned": {},
    "reversed": {},
}


def test_every_state_hears_every_event_and_only_these_change_it() -> None:
    assert LIFE.keys() == set(PAYOUT_STATES)
    for state, event in itertools.product(PAYOUT_STATES, PAYOUT_EVENTS):
        assert NEXT.get((state, event)) == LIFE[state].get(event), (state, event)
    assert {state for state, _ in NEXT} | {"returned", "reversed"} == set(PAYOUT_STATES)


def test_while_one_is_under_way_nobody_can_say_yet_whether_the_money_is_gone() -> None:
    ends = {"created", "paid", "returned", "reversed"}
    assert set(UNDER_WAY) == set(PAYOUT_STATES) - ends


def test_what_is_younger_than_the_hold_back_waits_to_the_hour() -> None:
    assert stands(shared((7, 5_000_000))).payable == 0
    assert stands(shared((7 + 1 / 24, 5_000_000))).payable == 5_000_000
    young = stands(shared((8, 5_000_000), (1, 2_000_000)))
    assert (young.due, young.payable, young.held_back) == (7_000_000, 5_000_000, 2_000_000)
    assert stands(shared((0, 5_000_000)), terms=replace(USUAL, hold_back_days=0)).payable == 5_000_000


def test_what_was_given_back_since_is_not_payable_even_if_more_came_after_it() -> None:
    back = stands(shared((8, 5_000_000), (3, -4_000_000), (1, 9_000_000)))
    assert (back.due, back.payable) == (10_000_000, 1_000_000)
    assert stands(shared((8, 5_000_000), (3, -6_000_000), (1, 9_000_000))).payable == 0


def test_a_part_of_what_is_older_is_reserved_and_rounded_up() -> None:
    terms = replace(USUAL, reserve_points=1000, reserve_days=90)
    found = stands(shared((91, 10_000_000), (90, 10_000_000), (8, 1), (1, 7_000_000)), terms=terms)
    assert (found.reserved, found.payable) == (1_000_001, 19_000_000)
    assert stands(shared((8, -5), (91, 10_000_000)), terms=terms).reserved == 0


def test_what_left_is_not_due_again_and_less_than_nothing_is_carried_over() -> None:
    found = stands(shared((8, 5_000_000)), left(3_000_000, -1_000_000) + left(500_000, ref="claw_back:1:anna"))
    assert (found.paid_out, found.clawed_back, found.due, found.payable) == (2_000_000, 500_000, 2_500_000, 2_500_000)
    owes = stands(shared((8, 5_000_000)), left(5_000_000) + left(2_000_000, ref="claw_back:1:anna"))
    assert (owes.due, owes.payable) == (-2_000_000, 0)
    assert stands(shared((8, 8_000_000)), left(5_000_000) + left(2_000_000, ref="claw_back:1:a")).payable == 1_000_000


def test_a_minimum_is_reached_or_not() -> None:
    terms = replace(USUAL, minimum={"usd": Money.parse("25 usd")})
    assert stands(shared((8, 24_999_999)), terms=terms).payable == 0
    assert stands(shared((8, 25_009_999)), terms=terms).payable == 25_000_000


def test_a_minimum_is_of_both_kinds_of_dues_together() -> None:
    terms = {"anna": replace(USUAL, minimum={"usd": Money.parse("25 usd")})}
    for shares, held, pays in ((20, 4, [0, 0]), (20, 5, [5, 20]), (0, 25, [25]), (26, 0, [26])):
        both = [
            Shared(owner, "usd", days_ago(8), whole * 1_000_000, source)
            for owner in ("anna", "bert")
            for source, whole in zip(SOURCES, (shares, held), strict=True)
            if whole
        ]
        found = payables(OwnersBooks(1, both, []), terms, USUAL, now_ms=NOW)
        paid = {owner: [one.payable // 1_000_000 for one in found if one.owner == owner] for owner in ("anna", "bert")}
        assert paid == {"anna": pays, "bert": [whole for whole in (held, shares) if whole]}


@pytest.mark.parametrize(
    ("currency", "least"),
    [("usd", 10_000), ("jpy", 1_000_000), ("kwd", 10_000), ("isk", 1_000_000), ("ugx", 1_000_000)],
)
def test_an_amount_is_whole_units_of_its_currency(currency: str, least: int) -> None:
    assert granularity(currency) == least
    key = ("anna", currency)
    share = [Shared("anna", currency, days_ago(8), 3 * least - 1)]
    assert payable(key, share, [], USUAL, 1, now_ms=NOW).payable == 2 * least
    assert to_minor(Money(2 * least, currency)) > 0
    assert payable(key, [replace(share[0], micros=least - 1)], [], USUAL, 1, now_ms=NOW).payable == 0


def test_a_named_credit_is_never_paid() -> None:
    share = [Shared("anna", "unit:export", days_ago(8), 10**9)]
    assert payable(("anna", "unit:export"), share, [], USUAL, 1, now_ms=NOW).payable == 0


@given(
    st.lists(st.tuples(st.integers(0, 200), st.integers(-(10**9), 10**9)), max_size=12),
    st.lists(st.integers(-(10**8), 10**9), max_size=5),
    st.integers(0, 30),
    st.integers(0, 10_000),
)
def test_never_more_than_is_due_nor_than_was_shared_before(
    shares: list[tuple[int, int]], gone: list[int], hold_back: int, reserve: int
) -> None:
    terms = PayoutTerms(hold_back_days=hold_back, reserve_points=reserve)
    found = stands(shared(*shares), left(*gone), terms)
    assert found.due == sum(micros for _, micros in shares) - sum(gone)
    assert 0 <= found.payable <= max(0, found.due)
    by_then = sum(one.micros for one in shared(*shares) if one.hour < found.before_ms)
    assert not found.payable or found.payable + sum(gone) <= by_then
    assert found.payable % 10_000 == 0


def test_every_owner_has_their_own_terms_and_units() -> None:
    books = OwnersBooks(
        9,
        [Shared("bert", "usd", days_ago(2), 4_000_000), *shared((2, 4_000_000)), Shared("anna", "eur", days_ago(9), 1)],
        left(1_000_000),
    )
    found = payables(books, {"bert": PayoutTerms(hold_back_days=1)}, USUAL, now_ms=NOW)
    assert [(one.owner, one.unit, one.due, one.payable, one.fold) for one in found] == [
        ("anna", "eur", 1, 0, 9),
        ("anna", "usd", 3_000_000, 0, 9),
        ("bert", "usd", 4_000_000, 4_000_000, 9),
    ]


def test_a_payout_is_an_entry_that_says_by_what_it_was_due() -> None:
    entry = posting(PAYOUT)
    assert (entry.ref, entry.account, str(entry.amount)) == ("payout:anna:usd:7", "owner:anna", "3.01 usd")
    assert entry.reason == basis(PAYOUT) == "of hours before 2027-01-15T08:00Z, up to fold 4"


def test_each_part_comes_back_under_a_name_of_its_own() -> None:
    assert coming_back(PAYOUT) is None
    part = coming_back(replace(PAYOUT, back=1_000_000))
    rest = coming_back(replace(PAYOUT, back=3_010_000, came_back=1_000_000))
    assert part is not None
    assert rest is not None
    assert [(one.ref, one.amount.micros) for one in (part, rest)] == [
        ("payout:anna:usd:7:back:0", 1_000_000),
        ("payout:anna:usd:7:back:1000000", 2_010_000),
    ]


def test_an_id_is_read_back_and_nothing_else_is() -> None:
    assert read_payout_id(PAYOUT.id) == ("anna", "usd", 7)
    assert read_payout_id("a-b-usd-12") == ("a-b", "usd", 12)
    for text in ("", "anna-usd-0", "anna-usd", "anna-USD-1", "anna-usd-1 ", "-usd-1", "anna-usd-9999999999"):
        with pytest.raises(ValueError, match="is not a payout's id"):
            read_payout_id(text)


@pytest.mark.parametrize(
    ("terms", "now", "expected"),
    [
        (PayoutTerms("daily"), "2026-11-22T00:00", "2026-11-22"),
        (PayoutTerms("daily"), "2026-11-22T23:59", "2026-11-22"),
        (PayoutTerms("weekly", 0), "2026-11-22T23:59", "2026-11-16"),
        (PayoutTerms("weekly", 0), "2026-11-23T00:00", "2026-11-23"),
        (PayoutTerms("weekly", 6), "2026-11-22T00:00", "2026-11-22"),
        (PayoutTerms("monthly", 22), "2026-11-22T00:00", "2026-11-22"),
        (PayoutTerms("monthly", 23), "2026-11-22T23:00", "2026-10-23"),
        (PayoutTerms("monthly", 28), "2026-03-01T00:00", "2026-02-28"),
        (PayoutTerms("monthly", 5), "2026-01-04T12:00", "2025-12-05"),
    ],
)
def test_a_run_is_due_at_midnight_of_its_day(terms: PayoutTerms, now: str, expected: str) -> None:
    at_ms = int(datetime.fromisoformat(now).replace(tzinfo=UTC).timestamp() * 1000)
    assert datetime.fromtimestamp(slot(terms, at_ms) / 1000, UTC).isoformat() == f"{expected}T00:00:00+00:00"


@given(st.sampled_from(["daily", "weekly", "monthly"]), st.integers(1, 6), st.integers(0, 2 * 10**12))
def test_a_run_is_never_ahead_and_the_next_is_at_most_a_month_away(every: str, day: int, now_ms: int) -> None:
    terms = PayoutTerms(every, day)  # type: ignore[arg-type]
    assert 0 <= now_ms - slot(terms, now_ms) < 31 * DAY_MS
    assert slot(terms, slot(terms, now_ms)) == slot(terms, now_ms)


def test_what_was_not_covered_is_asked_for_by_another_key_and_is_the_same_payout() -> None:
    short = replace(PAYOUT, state="sending", short=2, error=SHORT)
    assert len({one.asked_as for one in (PAYOUT, replace(short, short=1), short)}) == 3
    assert PAYOUT.asked_as == PAYOUT.key
    assert (short.key, short.ref, short.waits) == (PAYOUT.key, PAYOUT.ref, True)
    assert not replace(short, error="what became of it is not known yet").waits
    assert not replace(short, state="created").waits
