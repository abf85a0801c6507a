"""What is due: fee and share are all of it, at each rate and together."""

from gateway.core.dues import Due, Taking, by_rate, by_unit


def test_what_is_rounded_off_is_rounded_once_over_all_routes_of_a_rate() -> None:
    takings = [Taking("anna", "a", 2000, "usd", 1, 3), Taking("anna", "b", 2000, "usd", 1, 3)]
    assert by_rate(takings) == [Due("anna", "usd", 2000, 2, 6, commission=1, share=5, open=0)]


def test_each_rate_and_unit_and_owner_is_rounded_by_itself() -> None:
    takings = [
        Taking("bert", "c", 2000, "usd", 1, 4),
        Taking("anna", "a", 2000, "usd", 1, 4),
        Taking("anna", "a", 1000, "usd", 1, 9),
        Taking("anna", "a", 2000, "jpy", 1, 5),
    ]
    rates = by_rate(takings)
    assert [(due.owner, due.unit, due.commission_points, due.commission) for due in rates] == [
        ("anna", "jpy", 2000, 1), ("anna", "usd", 1000, 0), ("anna", "usd", 2000, 0), ("bert", "usd", 2000, 0),
    ]  # fmt: skip
    assert by_unit(rates)[1] == Due("anna", "usd", None, 2, 13, commission=0, share=13, open=0)


def test_the_open_part_is_what_the_transfers_do_not_have_yet() -> None:
    [due] = by_rate([Taking("anna", "a", 2000, "usd", 2, micros=9, open=5)])
    folded = by_rate([Taking("anna", "a", 2000, "usd", 1, micros=4)])[0]
    assert due.share == 8
    assert due.open == due.share - folded.share == 4


def test_what_was_given_back_may_be_more_than_was_sold_since() -> None:
    [due] = by_rate([Taking("anna", "a", 2000, "usd", 0, micros=-10, open=-10)])
    assert (due.commission, due.share, due.open) == (-2, -8, -8)
