"""What several workers see, told as one."""

import pytest

from gateway.core.readiness import Check, age, over_all

WELL, ILL, WORSE = Check(True, "well"), Check(False, "ill"), Check(False, "worse")


def test_a_part_is_well_only_if_it_is_for_every_worker() -> None:
    assert over_all([]) == {}
    assert over_all([{"a": WELL, "b": WELL}, {"a": ILL, "b": Check(True, "also")}, {"a": WORSE}]) == {
        "a": ILL,
        "b": WELL,
    }


def test_what_is_told_is_heard_as_it_was() -> None:
    assert Check.heard(ILL.told()) == ILL


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(-5, "0 s"), (0.9, "0 s"), (119.9, "119 s"), (120, "2 min"), (7199, "119 min"), (7200, "2 h"), (172_800, "2 d")],
)
def test_a_time_is_said_in_the_unit_that_fits(seconds: float, said: str) -> None:
    assert age(seconds) == said
