"""What a line costs is measured, and is a small part of a request."""

from tests.bench.lines import measured


def test_a_line_and_its_counters_cost_microseconds() -> None:
    """3 where it was measured; five times that is a slow machine, and more is a mistake."""
    assert measured(2_000)["both"] < 15
