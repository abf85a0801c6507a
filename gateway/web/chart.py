"""The usage of thirty days as a drawing: where each bar stands. The template draws it, and a table says the same."""

from collections.abc import Sequence
from dataclasses import dataclass

from gateway.core.statements import Day

WIDTH, HEIGHT = 600, 140
_GAP = 4
_LEAST = 2


@dataclass(frozen=True, slots=True)
class Bar:
    """One day's: its corner and its size, in the units of the drawing, whose origin is its upper left corner."""

    day: Day
    x: int
    y: int
    width: int
    height: int


def bars(days: Sequence[Day]) -> list[Bar]:
    """From left to right; the dearest day is as high as the drawing, and a day that did cost anything can be seen."""
    most = max((day.cost.micros for day in days), default=0)
    step = WIDTH // max(1, len(days))
    drawn = []
    for place, day in enumerate(days):
        height = max(_LEAST, day.cost.micros * HEIGHT // most) if day.cost.micros > 0 else 0
        drawn.append(Bar(day, place * step, HEIGHT - height, step - _GAP, height))
    return drawn
