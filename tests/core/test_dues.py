"""What is due: fee and share are all of it, at each rate and together."""

from hypothesis import given
from hypothesis import strategies as st

from gateway.core.dues import DayLine, Due, Taking, by_day, by_rate, by_route, by_unit, due_lines
from gateway.core.statements import DAY_MS, Moved, Period


def test_what_is_rounded_off_is_rounded_once_over_all_routes_of_a_rate() -> None:
    takings = [Taking(0, "anna", "a", 2000, "usd", 1, 3), Taking(0, "anna", "b", 2000, "usd", 1, 3)]
    assert by_rate(takings) == [Due("anna", "usd", 2000, 2, 6, commission=1, share=5, open=0)]


def test_each_rate_and_unit_and_owner_is_rounded_by_itself() -> None:
    takings = [
        Taking(0, "bert", "c", 2000, "usd", 1, 4),
        Taking(0, "anna", "a", 2000, "usd", 1, 4),
        Taking(0, "anna", "a", 1000, "usd", 1, 9),
        Taking(0, "anna", "a", 2000, "jpy", 1, 5),
    ]
    rates = by_rate(takings)
    assert [(due.owner, due.unit, due.commission_points, due.commission) for due in rates] == [
        ("anna", "jpy", 2000, 1), ("anna", "usd", 1000, 0), ("anna", "usd", 2000, 0), ("bert", "usd", 2000, 0),
    ]  # fmt: skip
    assert by_unit(rates)[1] == Due("anna", "usd", None, 2, 13, commission=0, share=13, open=0)


def test_what_was_held_and_is_free_is_due_beside_the_share_and_payouts_of_both_leave_it() -> None:
    def moved(ref: str, micros: int) -> Moved:
        return Moved("credit" if micros > 0 else "reversal", ref, 1, micros, "", 0, 1, 1)

    takings = [Taking(0, "anna", "a", 2000, "usd", 1, 100)]
    left = {("anna", "usd"): [moved("payout:anna:usd:1", -50), moved("claw_back:1:anna:0", -7)]}
    freed = {
        ("anna", "usd"): [moved("proceeds:txn_1:due", 40), moved("payout:anna:usd:2", -30)],
        ("bert", "usd"): [moved("proceeds:txn_2:due", 9)],
    }
    anna, bert = due_lines(takings, left, freed)
    assert (anna.due.share, anna.freed, anna.paid_out, anna.clawed_back, anna.left) == (80, 40, 80, 7, 33)
    assert (bert.due, bert.freed, bert.left) == (Due("bert", "usd", None, 0, 0, 0, 0, 0), 9, 9)


def test_the_open_part_is_what_the_transfers_do_not_have_yet() -> None:
    [due] = by_rate([Taking(0, "anna", "a", 2000, "usd", 2, micros=9, open=5)])
    folded = by_rate([Taking(0, "anna", "a", 2000, "usd", 1, micros=4)])[0]
    assert due.share == 8
    assert due.open == due.share - folded.share == 4


def test_what_was_given_back_may_be_more_than_was_sold_since() -> None:
    [due] = by_rate([Taking(0, "anna", "a", 2000, "usd", 0, micros=-10, open=-10)])
    assert (due.commission, due.share, due.open) == (-2, -8, -8)


def test_what_was_sold_at_any_hour_is_one_sum_by_route() -> None:
    takings = [Taking(0, "anna", "a", 2000, "usd", 1, 3, 0), Taking(9, "anna", "a", 2000, "usd", 2, 4, 4)]
    assert by_route(takings) == [Taking(0, "anna", "a", 2000, "usd", 3, 7, 4)]


def test_days_are_shared_by_what_was_carried_from_the_days_before() -> None:
    hours = [Taking(day * DAY_MS + 3_600_000, "anna", "a", 2000, "usd", 1, 3, 0) for day in range(4)]
    lines = by_day([*reversed(hours), Taking(DAY_MS, "anna", "a", 2000, "jpy", 1, 3)], Period())
    assert [(line.commission, line.share) for line in lines if line.unit == "usd"] == [(0, 3), (1, 2), (0, 3), (1, 2)]
    assert lines[1] == DayLine(DAY_MS, "a", "jpy", 2000, 1, 3, 0, 3), "another unit carries what is its own"


def test_a_period_has_the_same_lines_as_the_whole() -> None:
    hours = [Taking(day * DAY_MS, "anna", "a", 333, "usd", 1, 1001 * day) for day in range(9)]
    whole = by_day(hours, Period())
    assert by_day(hours, Period(3 * DAY_MS, 5 * DAY_MS)) == whole[3:5]


@given(
    st.lists(
        st.builds(
            Taking,
            hour=st.integers(0, 90).map(lambda hour: hour * 3_600_000),
            owner=st.just("anna"),
            route=st.sampled_from("ab"),
            commission_points=st.sampled_from([0, 333, 2000]),
            unit=st.sampled_from(["usd", "jpy"]),
            requests=st.integers(-2, 3),
            micros=st.integers(-5000, 9000),
        )
    )
)
def test_days_add_up_to_what_is_due(takings: list[Taking]) -> None:
    lines = by_day(takings, Period())
    for due in by_rate(takings):
        days = [line for line in lines if (line.unit, line.commission_points) == (due.unit, due.commission_points)]
        assert sum(line.commission for line in days) == due.commission
        assert sum(line.share for line in days) == due.share
    assert all(line.share + line.commission == line.sold for line in lines)
